"""Reads and writes Copper.

Source: https://developer.copper.com
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crmkit.connectors import translate
from crmkit.connectors.base import (
    Capabilities,
    Connector,
    ConnectorOptions,
    Context,
    Evidence,
    Field,
    Page,
    Support,
)
from crmkit.connectors.copper import budgets, dialect, holding, login, records, values, walks
from crmkit.connectors.copper.bodies import FIELDS
from crmkit.connectors.copper.choices import Account, Book
from crmkit.connectors.copper.definitions import CREATABLE, PATH, Definitions
from crmkit.connectors.copper.hooks import CopperHooks
from crmkit.connectors.copper.steps import (
    ACTIVITY_TYPES,
    Steps,
    Wire,
    call,
    server_time,
)
from crmkit.connectors.copper.values import Row
from crmkit.connectors.copper.writes import Writer
from crmkit.connectors.hooks import TOKEN_SECRET
from crmkit.connectors.http import Http
from crmkit.connectors.logins import Login
from crmkit.connectors.walk import Found, Segment, pack, unpack, walk
from crmkit.connectors.walk import pages as walk_pages
from crmkit.connectors.writing import Act, Budget, Change, Keys, Lookup, Writing, Written
from crmkit.errors import ConfigError, IncompleteRead, UnreadableRecord
from crmkit.model import AnyRecord, Kind, Owner, Pipeline, Ref, StageChange, Workspace

OVERLAP = timedelta(minutes=5)
BULK_HISTORY_ABOVE = 100
_RECHECKED_AT_ONCE = 20
_WRITES = {
    kind: Writing(
        acts=acts,
        fields=FIELDS[kind],
        required=required,
        keys=Keys.SEARCHABLE,
        answers_record=True,
        chunk=200,
    )
    for kind, acts, required in (
        (Kind.DEAL, frozenset(Act), frozenset({"name", "contacts"})),
        (Kind.COMPANY, frozenset(Act), frozenset({"name"})),
        (Kind.CONTACT, frozenset(Act), frozenset({"name"})),
        (Kind.NOTE, frozenset({Act.CREATE, Act.DELETE}), frozenset({"text"})),
    )
}


class CopperConnector(Connector):
    """One account in Copper."""

    class Options(ConnectorOptions):
        """Options of a Copper connection.

        Attributes:
            auth: `api_key` (secret `api_key` and the option `user_email`) or `oauth` (secret
                `access_token`).
            user_email: Address of the API key's owner.
            day_first: Whether the account writes close dates as D/M/YYYY; the API does not tell.
            time_zone: The account's zone, for example "America/Los_Angeles"; the API does not
                tell. Needed only for zones below -10 or above +13 hours, and as a check.
            currency: The account's currency as an ISO code, for deals that name none.
            calls_per_minute: Copper's limit, if it granted another one than 180.
            fresh_reads: Reads each record by its own address, never through the search that may
                trail behind by up to a minute; `false` reads 200 at a time and may miss edits of
                the last minute, so that a sync may overwrite them.
        """

        auth: Literal["api_key", "oauth"] = "api_key"
        user_email: str | None = None
        day_first: bool = False
        time_zone: str | None = None
        currency: str | None = None
        calls_per_minute: int = dialect.CALLS_PER_MINUTE
        fresh_reads: bool = True

    name = "copper"
    title = "Copper"
    capabilities = Capabilities(
        incremental=frozenset({Kind.COMPANY, Kind.CONTACT, Kind.DEAL, Kind.STAGE_CHANGE, Kind.NOTE}),
        # Deletions are permanent and listed nowhere; a merge looks like one.
        deletions=dict.fromkeys(
            (Kind.PIPELINE, Kind.OWNER, Kind.COMPANY, Kind.CONTACT, Kind.DEAL, Kind.NOTE), Evidence.ABSENT
        ),
        stage_history=Support.YES,
        notes=Support.YES,
        reads_one_contact=True,
        # Not documented: assume that a search trails its writes.
        search_lag_seconds=60.0,
        find_lag_seconds=60.0,  # keys are found by the search
        # Pipelines, stages, loss reasons and sources are made by hand in the web app.
        writing=_WRITES,
        creatable_fields=dict.fromkeys((Kind.DEAL, Kind.COMPANY, Kind.CONTACT), CREATABLE),
        side_effects_off=Support.CANNOT,
        webhooks=Support.YES,
        max_in_flight=12,  # none is documented; the rate limit decides
    )
    secret_names = ("api_key", "access_token")
    example_options = (
        'user_email = "admin@example.com" # CHANGE: the address of the API key\'s owner, an admin',
        "day_first = false                # true if close dates are written day first, as in 31/12/2026",
        '# time_zone = "America/New_York" # the account\'s own zone; Copper does not tell it',
        '# currency = "USD"               # of deals that name none',
        "# fresh_reads = true             # false is faster, and may miss edits of the last minute",
    )

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        return login.logins(options.auth)

    def __init__(self, context: Context, options: Any = None) -> None:
        super().__init__(context, options or self.Options())
        if self.options.auth == "api_key" and not self.options.user_email:
            raise ConfigError(
                f"{context.connection}: `user_email` is missing",
                hint="Copper wants the address of the API key's owner beside the key.",
            )
        self.in_flight = self.options.in_flight or self.capabilities.max_in_flight
        zone = self._zone()
        self.days = values.Days(day_first=self.options.day_first, zone=zone)
        self.http = Http(
            context,
            base_url=_api_root(self.options.base_url) if self.options.base_url else dialect.BASE,
            dialect=dialect.CopperDialect(context, self.options.auth, self.options.user_email),
            limits=dialect.limits(self.options.calls_per_minute),
            hosts=dialect.HOSTS,
            configured=self.options.base_url is not None,
            in_flight=self.in_flight,
        )
        self.wire = Wire(context, self.http, in_flight=self.in_flight, fresh_reads=self.options.fresh_reads)
        self._known: dict[Kind, Steps] = {}
        self.account = Account(
            day_first=self.options.day_first,
            zone=zone,
            currency=self.options.currency,
            book=Book(),
        )
        self.writer = Writer(self.wire, self.account, self.days, self.in_flight)

    def _zone(self) -> ZoneInfo | None:
        if self.options.time_zone is None:
            return None
        try:
            return ZoneInfo(self.options.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"{self.context.connection}: {self.options.time_zone!r} is not a time zone",
                hint="Use an IANA name such as Europe/Vienna.",
            ) from error

    def hooks(self) -> CopperHooks:
        secrets = self.context.secrets
        return CopperHooks(self.http, lambda: secrets.get(TOKEN_SECRET).get_secret_value())

    def check(self) -> Workspace:
        account, now = self.http.fetch(
            call("GET", "/account"), lambda answer: (answer.mapping(), server_time(answer))
        )
        currency = self.options.currency
        return Workspace(
            id=str(account["id"]),
            name=str(account.get("name") or account["id"]),
            time_zone=self.options.time_zone,
            base_currency=currency,
            currencies=(currency,) if currency else (),
            limits={"per_minute": self.options.calls_per_minute},
            server_time=now,
            user=self.options.user_email,
        )

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        if kind is Kind.PIPELINE:
            return self._pipelines()
        if kind is Kind.OWNER:
            return self._owners()
        return self._walked(kind, unpack(since) if since else None)

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        found: list[AnyRecord] = []
        for kind in dict.fromkeys(ref.kind for ref in refs):
            wanted = list(dict.fromkeys(ref.id for ref in refs if ref.kind is kind))
            if kind in (Kind.PIPELINE, Kind.OWNER):
                found += [
                    record for page in self.read(kind) for record in page.records if record.ref.id in wanted
                ]
            else:
                found += self._current(kind, wanted)
        return found

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        wanted = sorted({ref.id for ref in deals})
        numbers = _numbers(wanted)
        if not numbers:
            return
        translate_row, now = self._prepared(Kind.STAGE_CHANGE)
        steps = Steps(self.wire, Kind.STAGE_CHANGE, translate_row, self.in_flight, frozenset(wanted))
        # All activities of a kind, 200 a page, or those of one deal after the other.
        window = _all(Kind.STAGE_CHANGE, int(now.timestamp()))
        bulk = len(numbers) > BULK_HISTORY_ABOVE
        segments = [window] if bulk else [{**window, "deal": number} for number in numbers]
        steps.room.begin(segments)
        gathered: dict[str, dict[str, StageChange]] = {}
        for found, _ in walk(segments, steps.step, in_flight=self.in_flight):
            for change in _readable(found):
                if isinstance(change, StageChange):
                    gathered.setdefault(change.deal_id, {})[change.ref.id] = change
        for native in wanted:
            if native in gathered:
                yield sorted(gathered[native].values(), key=lambda change: (change.at, change.ref.id))

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in records.ENTITIES:
            return super().fields(kind)
        rows = self._learn_definitions()
        custom = [values.describe(row) for row in values.on(records.ENTITIES[kind], rows)]
        return [*values.fixed_fields(kind, self._options() if kind is Kind.DEAL else {}), *custom]

    def _learn_definitions(self) -> Sequence[Row]:
        """The custom fields as they are now, for all that reads or writes from here on."""
        rows, _ = self.wire.listed(PATH)
        self.account.book.learn_definitions(rows)
        self._known.clear()
        self.writer.forget_fields()
        return rows

    def _options(self) -> dict[str, dict[str, str]]:
        """What those closed lists of a deal hold that are no records of their own."""
        book = self.account.book
        book.loss_reasons = self.wire.named("/loss_reasons")
        book.sources = self.wire.named("/customer_sources")
        return {
            "loss_reason_id": {str(native): name for native, name in book.loss_reasons.items()},
            "customer_source_id": {str(native): name for native, name in book.sources.items()},
        }

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        if wanted.type not in self.capabilities.creatable_fields.get(kind, ()):
            return super().create_field(kind, wanted)
        definitions = Definitions(self.wire, self.account.currency)
        return definitions.create(kind, wanted, self._learn_definitions)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        return self.writer.write(changes) if changes else iter(())

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        return self.writer.finder.find(lookups)

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return holding.holds(kind, values, self.account)

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return holding.cannot_hold(kind, values, self.account)

    def changes_at_once(self, kind: Kind) -> int:
        return _RECHECKED_AT_ONCE if self.options.fresh_reads else super().changes_at_once(kind)

    def budget(self, changes: Sequence[Change]) -> Budget:
        return budgets.budget(
            changes,
            self.account.book,
            self.writer.bulk,
            self.options.calls_per_minute,
            fresh_reads=self.options.fresh_reads,
        )

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        requests = (
            budgets.whole_read(kind, records)
            if whole
            else budgets.get(kind, records, known=kind in self._known, fresh_reads=self.options.fresh_reads)
        )
        return budgets.priced(requests, self.options.calls_per_minute)

    def finding_budget(self, kind: Kind, lookups: Sequence[Lookup], *, existing: int = 0) -> Budget:
        return budgets.priced(budgets.find(kind, lookups, existing), self.options.calls_per_minute)

    def close(self) -> None:
        self.http.close()

    # Small lists, read whole.

    def _pipelines(self) -> Iterator[Page]:
        rows, _ = self.wire.listed("/pipelines")
        good, bad = translate.records(
            Pipeline,
            self.context.connection,
            Kind.PIPELINE,
            list(enumerate(row for row in rows if records.is_deal_pipeline(row))),
            records.pipeline_translator(self.context.connection),
            records.identify,
        )
        yield Page(good, (), bad, pack({"k": Kind.PIPELINE}), last=True, whole=True)

    def _owners(self) -> Iterator[Page]:
        good, bad = translate.records(
            Owner,
            self.context.connection,
            Kind.OWNER,
            self.wire.users(),
            records.owner_translator(self.context.connection),
            records.identify,
        )
        yield Page(good, (), bad, pack({"k": Kind.OWNER}), last=True, whole=True)

    # Long lists.

    def _walked(self, kind: Kind, cursor: dict[str, Any] | None) -> Iterator[Page]:
        if cursor is not None and cursor.get("k") != kind:
            raise IncompleteRead(f"{self.context.connection}: the cursor belongs to another kind than {kind}")
        steps, now = self._steps(kind)
        if cursor is None:
            state = {"k": kind, "full": True, "t0": now, "segs": [_all(kind, now)]}
        elif "segs" in cursor:
            state = cursor
        else:
            state = {"k": kind, "full": False, "t0": now, "segs": [_changed(kind, cursor["since"], now)]}
        yield from self._pages(steps, state)

    def _pages(self, steps: Steps, state: dict[str, Any]) -> Iterator[Page]:
        steps.room.begin(state["segs"])
        last = yield from walk_pages(
            state["segs"],
            steps.step,
            in_flight=self.in_flight,
            cursor=lambda still_open: pack({**state, "segs": list(still_open)}),
        )
        cursor = pack({"k": state["k"], "since": state["t0"] - int(OVERLAP.total_seconds())})
        yield last.page(cursor, last=True, whole=state["full"])

    def _steps(self, kind: Kind) -> tuple[Steps, int]:
        """The steps of a kind with the names that its rows need, and the server's second."""
        translate_row, now = self._prepared(kind)
        self._known[kind] = Steps(self.wire, kind, translate_row, self.in_flight)
        return self._known[kind], int(now.timestamp())

    def _prepared(self, kind: Kind) -> tuple[Callable[[Row], Row], datetime]:
        connection = self.context.connection
        if kind is Kind.STAGE_CHANGE:
            pipelines, now = self.wire.listed("/pipelines")
            return records.stage_change_translator(connection, records.stage_ids(pipelines)), now
        if kind is Kind.NOTE:
            return records.note_translator(connection), self.http.fetch(call("GET", "/account"), server_time)
        definitions, now = self.wire.listed(PATH)
        book = self.account.book
        book.learn_definitions(definitions)
        if kind is Kind.DEAL:
            book.loss_reasons = self.wire.named("/loss_reasons")
            book.sources = self.wire.named("/customer_sources")
        names = values.Names(
            readers=values.readers(definitions, self.days),
            loss_reasons=book.loss_reasons or {},
            sources=book.sources or {},
            days=self.days,
            currency=self.options.currency,
        )
        make = {
            Kind.DEAL: records.deal_translator,
            Kind.COMPANY: records.company_translator,
            Kind.CONTACT: records.contact_translator,
        }[kind]
        return make(connection, names), now

    # Single records.

    def _current(self, kind: Kind, wanted: Sequence[str]) -> list[AnyRecord]:
        numbers = _numbers(wanted)
        if not numbers:
            return []
        steps = self._known.get(kind) or self._steps(kind)[0]
        rows = list(self.wire.current(kind, numbers).values())
        if kind in ACTIVITY_TYPES:
            rows = [row for row in rows if row.get("type") == ACTIVITY_TYPES[kind]]
        return _readable(steps.translated(rows))


def _all(kind: Kind, now: int) -> Segment:
    if kind in ACTIVITY_TYPES:
        return walks.window("activity_date", None, now, hint=now)
    # By the time of creation, which never changes: nothing moves while the pages are read.
    return walks.window("date_created", None, None, hint=now)


def _changed(kind: Kind, since: int, now: int) -> Segment:
    if kind in ACTIVITY_TYPES:
        # `activity_date` can be set back: activities entered below `since` come with a full read.
        return walks.window("activity_date", since, now, hint=now)
    return walks.window("date_modified", since, None, hint=now)


def _numbers(natives: Iterable[str]) -> list[int]:
    """Ids as Copper wants them; what is no number cannot be one of Copper's records."""
    return [int(native) for native in natives if native.isdecimal()]


def _api_root(base_url: str) -> str:
    """The configured address, with the API's path if it names only a host."""
    return base_url if urlsplit(base_url).path.strip("/") else f"{base_url.rstrip('/')}/developer_api/v1"


def _readable(found: Found) -> list[AnyRecord]:
    for bad in found.unreadable:
        raise UnreadableRecord(str(bad.ref), bad.field, bad.reason)
    return list(found.records)
