"""The interface that every connector implements, and what it hands over."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, SecretStr

from crmkit.connectors.clock import Clock, SystemClock
from crmkit.connectors.pacing import Allowance, Shared
from crmkit.connectors.quota import Quota
from crmkit.connectors.usage import Usage
from crmkit.connectors.writing import Budget, Change, Lookup, Writing, Written, budget_by_batch
from crmkit.errors import Unsupported
from crmkit.model import AnyRecord, Kind, Ref, StageChange, Tombstone, Workspace
from crmkit.observing import SILENT, Observer

if TYPE_CHECKING:
    from crmkit.connectors.hooks import Hooks
    from crmkit.connectors.logins import Login


class Support(StrEnum):
    """Whether a connector can do something."""

    YES = "yes"
    CANNOT = "the CRM cannot"
    NOT_BUILT = "not built yet"


class Evidence(StrEnum):
    """How a CRM tells that a record is gone."""

    LISTED = "listed"  # a list or feed of deleted records, read by `read`
    ABSENT = "absent"  # only by its absence from a full read, proven by `get`


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a connector can do; callers ask here, never for the vendor's name.

    Attributes:
        incremental: Kinds for which `read(kind, since)` reads only what changed.
        deletions: Per kind, how deletions become known.
        merges: Whether merged records name their survivor.
        stage_history: Whether past stage changes can be read.
        notes: Whether notes can be read.
        notes_are_html: Whether the text of a note is HTML; elsewhere it is plain.
        writing: What can be written, by kind; a kind that is not named cannot be.
        creatable_fields: Per kind, the `Field` types of which `create_field` can make a custom field.
        field_label_length: The longest label that `create_field` can give one; `None` if no limit is known.
        side_effects_off: Whether a write can be kept from starting the CRM's own automations.
        closing_sets_close_date: Whether moving a deal to a won or lost stage replaces its
            expected close date, unless the same write gives one.
        reads_one_contact: Whether of a deal's people only the main one is read.
        one_close_date: Whether the day a deal is expected to close and the time it was closed
            are one field, so that writing one replaces the other.
        presets_month_end: Whether a deal that is made without an expected close date gets the
            last day of that month.
        find_lag_seconds: How far `find` may trail behind writes.
        deal_names: Whether deals have a name of their own.
        deal_currencies: Whether each deal has its own currency.
        stage_probability: Whether stages carry a probability.
        max_in_flight: The CRM's own ceiling of parallel calls.
        version_seconds: Granularity of record versions, in seconds.
        search_lag_seconds: How far lists may trail behind writes.
        webhooks: Whether the CRM tells of changes by itself, see `Connector.hooks`.
    """

    incremental: frozenset[Kind] = frozenset()
    deletions: Mapping[Kind, Evidence] = field(default_factory=dict)
    merges: Support = Support.CANNOT
    stage_history: Support = Support.CANNOT
    notes: Support = Support.CANNOT
    notes_are_html: bool = False
    writing: Mapping[Kind, Writing] = field(default_factory=dict)
    creatable_fields: Mapping[Kind, frozenset[str]] = field(default_factory=dict)
    field_label_length: int | None = None
    side_effects_off: Support = Support.CANNOT
    closing_sets_close_date: bool = False
    reads_one_contact: bool = False
    one_close_date: bool = False
    presets_month_end: bool = False
    find_lag_seconds: float = 0.0
    deal_names: Support = Support.YES
    deal_currencies: Support = Support.YES
    stage_probability: Support = Support.YES
    max_in_flight: int = 8
    version_seconds: float = 1.0
    search_lag_seconds: float = 0.0
    webhooks: Support = Support.NOT_BUILT


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One record of a page that could not be translated; it is quarantined, not dropped.

    Attributes:
        ref: Which record.
        field: The vendor's name of the field at fault.
        reason: What is wrong with it, without personal data.
    """

    ref: Ref
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one step of a read brought, and where to go on after it.

    Attributes:
        records: Translated records; a record may come again on a later page.
        tombstones: Records that are gone.
        unreadable: Records that could not be translated.
        cursor: Opaque text; `read(kind, since=cursor)` goes on after this page. The
            cursor of the last page starts the next incremental read.
        last: Whether the read is complete with this page.
        whole: On the last page: whether the read listed every live record, so that a
            record it did not show is gone or out of reach.
    """

    records: Sequence[AnyRecord] = ()
    tombstones: Sequence[Tombstone] = ()
    unreadable: Sequence[Unreadable] = ()
    cursor: str = ""
    last: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a kind, as the CRM describes it.

    `type` is one of text, number, money, boolean, day, time, choice, choices, owner,
    link, other. `options` maps option id to label.
    """

    id: str
    label: str
    type: str
    custom: bool = False
    required: bool = False
    read_only: bool = False
    unique: bool = False
    max_length: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Secrets(Protocol):
    """Where a connection's secrets come from; see `crmkit.credentials`."""

    def get(self, name: str) -> SecretStr:
        """The secret stored under `name`.

        Raises:
            MissingSecret: Nothing is stored; the message says how to store it.
        """
        ...

    def find(self, name: str) -> SecretStr | None:
        """The secret stored under `name`, or `None`."""
        ...

    def put(self, name: str, value: SecretStr) -> None:
        """Store a rotated secret durably, before it is used.

        Raises:
            MissingSecret: The source cannot be written.
        """
        ...

    def learn(self, secret: str) -> None:
        """From now on mask this text too, for example a token that was given out just now."""
        ...

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        ...


class Permit:
    """Asked right before each request that writes; whoever runs the writes says what it checks."""

    def __init__(self) -> None:
        self.check: Callable[[], None] = _granted

    def __call__(self) -> None:
        """Let a request go.

        Raises:
            Interrupted: It must not be sent any more, for example as another run took over.
        """
        self.check()


def _granted() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector is given besides its options: its name and the outside world.

    `pace=False` drops the limits kept on this side; only a CRM on this machine allows it.
    `read_only` makes the transport refuse every call that would change something; `permit`
    is asked before each one. `observer` is told what happens. `shared` keeps the limits where
    several processes draw from them; `allowance` is asked before every request.
    """

    connection: str
    secrets: Secrets
    clock: Clock = field(default_factory=SystemClock)
    usage: Usage = field(default_factory=Usage)
    cancelled: threading.Event = field(default_factory=threading.Event)
    pace: bool = True
    read_only: bool = False
    permit: Permit = field(default_factory=Permit)
    observer: Observer = SILENT
    shared: Shared | None = None
    allowance: Allowance | None = None


class ConnectorOptions(BaseModel):
    """Options of one connection in crmkit.toml; each connector adds its own.

    `base_url` points the connector at another host (the sandbox, a proxy); without it
    only the CRM's own hosts are allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str | None = None
    in_flight: int | None = None


class Connector(ABC):
    """One open connection to one CRM.

    Reading methods may be called from one thread at a time; a connector uses several
    threads inside as far as the CRM allows.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""  # how its makers write it
    Options: ClassVar[type[ConnectorOptions]] = ConnectorOptions
    capabilities: ClassVar[Capabilities] = Capabilities()
    secret_names: ClassVar[tuple[str, ...]] = ()
    # Lines of crmkit.toml below `crm`, with a comment each, that `crmkit init` writes; what needs
    # a person's own value is commented out, so that they load as they are.
    example_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, context: Context, options: Any) -> None:
        self.context = context
        self.options = options

    @abstractmethod
    def check(self) -> Workspace:
        """The workspace, by the cheapest call that proves the credentials.

        Raises:
            AccessDenied: The CRM refuses the credentials.
            MissingScope: A right that reading needs is missing; all missing ones are named.
        """

    @abstractmethod
    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        """Pages of one kind.

        Args:
            kind: What to read.
            since: A cursor of an earlier page: goes on where an interrupted read stopped,
                or reads what changed since a complete one. `None` reads everything.

        Raises:
            Unsupported: The CRM has no such records; raised before any call.
        """

    @abstractmethod
    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        """Current records in the fewest calls; refs that no longer exist are left out.

        A ref that was merged away gives its survivor, which carries another ref.

        Raises:
            UnreadableRecord: A record cannot be translated.
        """

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        """Stage changes of the given deals, oldest first within a deal."""
        raise Unsupported(f"{self.context.connection}: {self.name} keeps no stage history")

    def fields(self, kind: Kind) -> Sequence[Field]:
        """The fields that the CRM has for a kind."""
        raise Unsupported(f"{self.context.connection}: {self.name} cannot list the fields of a {kind}")

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """Carry out changes in the fewest calls; exactly one outcome each, in any order.

        Outcomes are given as soon as they are known, in groups. All changes of one call
        are of one act and one kind, and name every record once. One bad record never
        fails its neighbours. Nothing is retried unless the failure proves that it was
        not executed; what may have been executed is `UNKNOWN`. If this raises, the
        changes without an outcome so far are to be taken as `UNKNOWN`.

        Raises:
            Unsupported: The kind or the act cannot be written; raised before any call.
            AccessDenied: The credentials do not allow writing.
            QuotaExhausted: The day's quota is used up; what was not sent is `UNSENT`.
        """
        raise Unsupported(f"{self.context.connection}: {self.name} cannot write")

    def changes_at_once(self, kind: Kind) -> int:
        """How many records are read again, and then changed, in one go.

        Few where each is read by a request of its own, so that little time passes between the
        look and the write: nothing but that look keeps a user's edit from being overwritten.
        """
        return max(1, min(self.capabilities.writing.get(kind, Writing()).chunk, 500))

    def refuse_unwritable(self, changes: Sequence[Change]) -> None:
        """The first thing that `write` does: nothing is sent that the capabilities do not name.

        Raises:
            Unsupported: The kind or the act cannot be written, or this run only reads.
        """
        name = self.context.connection
        for kind, act in dict.fromkeys((change.kind, change.act) for change in changes):
            if act not in self.capabilities.writing.get(kind, Writing()).acts:
                raise Unsupported(f"{name}: {self.name} cannot {act} a {kind}")
        if changes and self.context.read_only:
            raise Unsupported(f"{name}: this run only reads")

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        """Live records that carry our keys, lowest id first, by key; keys not found are left out.

        Never through an index that lags more than `find_lag_seconds`.
        """
        raise Unsupported(f"{self.context.connection}: {self.name} cannot find by key")

    def unprepared(self, kinds: Sequence[Kind]) -> Sequence[str]:
        """What `prepare` would create, in words for a person; empty if nothing is missing."""
        return ()

    def prepare(self, kinds: Sequence[Kind]) -> Sequence[str]:
        """Create the key field of each kind, and only that, where it is missing; what was created.

        Harmless to repeat.

        Raises:
            AccessDenied: The login may not; the hint says what to click instead.
            Rejected: A field of that name exists and cannot hold our key.
        """
        return ()

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        """Create a custom field, or find the one that an earlier call made; the field as the CRM has it.

        Harmless to repeat: a custom field with the same label and type is given back, with
        those of the wanted options added that it lacks.

        Args:
            kind: What carries the field: deal, company or contact.
            wanted: `label`, `type` and for a choice `options` (their labels count; the ids
                are the caller's). `id` is a hint for CRMs whose fields have a readable name.

        Returns:
            The field with the CRM's own id and option ids.

        Raises:
            Unsupported: The type is not one of `capabilities.creatable_fields`; raised before any call.
            AccessDenied: The login may not; the hint says what to click instead.
            Rejected: The CRM refuses it, for example as the plan allows no more fields, or a
                field of that name has another type.
        """
        raise Unsupported(
            f"{self.context.connection}: {self.name} cannot create a {wanted.type} field of a {kind}"
        )

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values of the model as the CRM would give them back after storing them; pure.

        Rounded, cut and normalised in the CRM's own way, for example money to whole
        cents. Two values are the same to this CRM if it holds them alike. Idempotent:
        a value that was read from the CRM comes back unchanged.
        """
        return values

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        """Fields whose value the CRM cannot store at all, with the reason; pure.

        For example an amount in a currency that it does not have. Such a field is
        reported and not written.
        """
        return {}

    def budget(self, changes: Sequence[Change]) -> Budget:
        """What writing the changes will cost, without any call."""
        return budget_by_batch(changes, 1, 1.0)

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        """What reading records of a kind will cost, without any call.

        Args:
            kind: What is read.
            records: How many. 0 is what has to be read once before, such as a list of
                fields, as far as it is not known yet; any other number contains that too.
            whole: Whether `read` lists them from the beginning to the end; otherwise one
                call of `get` names them, and all of them are there.
        """
        return Budget(records, float(records), records)

    def finding_budget(self, kind: Kind, lookups: Sequence[Lookup], *, existing: int = 0) -> Budget:
        """What one call of `find` will cost where it finds nothing, without any call.

        Args:
            kind: What is looked for.
            lookups: The keys, with what is known about their place; none for what has to be
                read once before, as with `reading_budget`.
            existing: How many records of the kind the CRM has, as far as is known: some CRMs
                have to be read whole to find one.
        """
        return Budget(len(lookups), float(len(lookups)), len(lookups))

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        """The ways to log in that fit the options, the usual one first; makes no call."""
        del options
        from crmkit.connectors.logins import typed  # noqa: PLC0415 - it needs the transport, which needs this

        return (typed(cls.secret_names),)

    def hooks(self) -> Hooks:
        """The CRM's webhooks; makes no call.

        Raises:
            Unsupported: It has none, or crmkit does not hear them yet.
        """
        raise Unsupported(
            f"{self.context.connection}: {self.name} cannot be listened to: "
            f"{self.capabilities.webhooks.value}",
            hint="Its changes come with the next pull.",
        )

    def quota(self) -> Quota | None:
        """How much of the budget that the CRM counts is left, in at most one or two calls.

        `None` if the CRM tells nothing of the kind. One that is `short` is no budget of a day.
        """
        return None

    def unwritable(self, kinds: Sequence[Kind]) -> Sequence[str]:
        """Rights that writing these kinds needs and the credentials lack, in words for a person.

        Found out without writing; empty where nothing is known to lack, or the CRM does not tell.
        """
        return ()

    def close(self) -> None:  # noqa: B027 - most connectors hold nothing but the HTTP session
        """Give back connections and threads."""
