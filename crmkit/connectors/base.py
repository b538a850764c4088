"""The interface that every connector implements, and what it hands over."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, SecretStr

from crmkit.connectors.clock import Clock, SystemClock
from crmkit.connectors.usage import Usage
from crmkit.errors import Unsupported
from crmkit.model import AnyRecord, Kind, Ref, StageChange, Tombstone, Workspace


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
        writes: Whether deals can be written.
        deal_names: Whether deals have a name of their own.
        deal_currencies: Whether each deal has its own currency.
        stage_probability: Whether stages carry a probability.
        max_in_flight: The CRM's own ceiling of parallel calls.
        version_seconds: Granularity of record versions, in seconds.
        search_lag_seconds: How far lists may trail behind writes.
    """

    incremental: frozenset[Kind] = frozenset()
    deletions: Mapping[Kind, Evidence] = field(default_factory=dict)
    merges: Support = Support.CANNOT
    stage_history: Support = Support.CANNOT
    notes: Support = Support.CANNOT
    writes: Support = Support.NOT_BUILT
    deal_names: Support = Support.YES
    deal_currencies: Support = Support.YES
    stage_probability: Support = Support.YES
    max_in_flight: int = 8
    version_seconds: float = 1.0
    search_lag_seconds: float = 0.0


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


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector is given besides its options: its name and the outside world.

    `pace=False` drops the limits kept on this side; only a CRM on this machine allows it.
    """

    connection: str
    secrets: Secrets
    clock: Clock = field(default_factory=SystemClock)
    usage: Usage = field(default_factory=Usage)
    cancelled: threading.Event = field(default_factory=threading.Event)
    pace: bool = True


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
    Options: ClassVar[type[ConnectorOptions]] = ConnectorOptions
    capabilities: ClassVar[Capabilities] = Capabilities()
    secret_names: ClassVar[tuple[str, ...]] = ()

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

    def write(self, changes: Sequence[Any]) -> Sequence[Any]:
        """Carry out changes, one outcome each."""
        raise Unsupported(f"{self.context.connection}: writing to {self.name} is not built yet")

    def find(self, keys: Sequence[str]) -> Mapping[str, Ref]:
        """Refs of records that carry our key, for crash recovery."""
        raise Unsupported(f"{self.context.connection}: finding by key in {self.name} is not built yet")

    def prepare(self) -> None:
        """Create the key field, and only that, when it is missing."""
        raise Unsupported(f"{self.context.connection}: preparing {self.name} is not built yet")

    def close(self) -> None:  # noqa: B027 - most connectors hold nothing but the HTTP session
        """Give back connections and threads."""
