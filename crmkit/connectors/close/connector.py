"""Reads and writes Close.

A lead is the company, an opportunity the deal, its status the stage. Opportunities have
no name: see `CloseConnector.Options.name_field`.

Source: https://developer.close.com/api
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

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
from crmkit.connectors.close import costs, custom, dialect, holding, login, plans, rights, walks
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.events import EventLog, merged
from crmkit.connectors.close.hooks import CloseHooks
from crmkit.connectors.close.keys import SCHEMAS as _SCHEMAS
from crmkit.connectors.close.keys import Keys
from crmkit.connectors.close.learnt import Learnt
from crmkit.connectors.close.lists import Lists
from crmkit.connectors.close.making import CREATABLE, Maker
from crmkit.connectors.close.posts import Posts
from crmkit.connectors.close.steps import PATHS, Steps
from crmkit.connectors.close.structure import Structure
from crmkit.connectors.close.writes import Writer
from crmkit.connectors.http import Http
from crmkit.connectors.logins import Login
from crmkit.connectors.quota import Quota
from crmkit.connectors.walk import Found, Segment, pack, unpack, walk
from crmkit.connectors.walk import pages as walk_pages
from crmkit.connectors.writing import Budget, Change, Lookup, Written
from crmkit.errors import ConfigError, IncompleteRead, UnreadableRecord
from crmkit.model import AnyRecord, Kind, Ref, StageChange, Workspace

OVERLAP = timedelta(minutes=5)
# Events are kept for 30 days; an increment that reaches further back cannot see deletions.
EVENTS_KEPT = timedelta(days=29, hours=23)
LEAD_ROUNDS = 3
BULK_HISTORY_ABOVE = 200


class CloseConnector(Connector):
    """One organization in Close."""

    class Options(ConnectorOptions):
        """Options of a Close connection.

        Attributes:
            auth: `api_key` (secret `api_key`) or `oauth` (secrets `client_id`,
                `client_secret`, `refresh_token`).
            name_field: Id or label of the opportunity custom field that holds the deal's
                name. Without it a field labelled "crmkit_name" or "Deal name" is used;
                where neither has a value, the deal is called like its lead.
        """

        auth: Literal["api_key", "oauth"] = "api_key"
        name_field: str | None = None

    name = "close"
    title = "Close"
    capabilities = Capabilities(
        incremental=frozenset({Kind.COMPANY, Kind.CONTACT, Kind.DEAL, Kind.STAGE_CHANGE, Kind.NOTE}),
        deletions={
            Kind.PIPELINE: Evidence.ABSENT,
            Kind.OWNER: Evidence.ABSENT,
            Kind.COMPANY: Evidence.LISTED,
            Kind.CONTACT: Evidence.LISTED,
            Kind.DEAL: Evidence.LISTED,
            Kind.NOTE: Evidence.LISTED,
        },
        merges=Support.YES,
        max_in_flight=12,  # "no concurrency rule" (contract, section 8); the rate limits decide
        stage_history=Support.YES,
        notes=Support.YES,
        one_close_date=True,
        deal_names=Support.CANNOT,
        deal_currencies=Support.CANNOT,
        stage_probability=Support.CANNOT,
        version_seconds=0.001,
        writing=costs.WRITING,
        creatable_fields=dict.fromkeys((Kind.DEAL, Kind.COMPANY, Kind.CONTACT), CREATABLE),
        webhooks=Support.YES,
        side_effects_off=Support.CANNOT,  # workflows and webhooks see every write
        find_lag_seconds=30.0,  # that lists show what was just written is inferred (contract, 12)
        closing_sets_close_date=True,  # a won deal without a day gets today (contract, 2)
    )
    secret_names = ("api_key", "client_id", "client_secret", "refresh_token")
    example_options = (
        '# auth = "oauth"                 # an OAuth app; without it an API key',
        '# name_field = "Deal name"       # the custom field that holds names of deals: Close has none',
    )

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        return login.logins(
            options.auth,
            _api_root(options.base_url) if options.base_url else dialect.BASE,
            dialect.HOSTS,
            own=options.base_url is not None,
        )

    def __init__(self, context: Context, options: Any = None) -> None:
        super().__init__(context, options or self.Options())
        self.in_flight = self.options.in_flight or self.capabilities.max_in_flight
        base_url = _api_root(self.options.base_url) if self.options.base_url else dialect.BASE
        spoken = dialect.CloseDialect(context, self.options.auth, base_url)
        self.http = Http(
            context,
            base_url=base_url,
            dialect=spoken,
            limits=dialect.limits(),
            hosts=dialect.HOSTS,
            configured=self.options.base_url is not None,
            in_flight=self.in_flight,
        )
        spoken.http = self.http
        self.lists = Lists(context, self.http)
        self._known: dict[Kind, CustomFields] = {}
        self.learnt = Learnt(self.lists, lambda kind: self._prepared(kind)[0])
        structure = Structure(context, self.http)
        posts = Posts(context, self.http, self.learnt, self.in_flight)
        self._writer = Writer(posts, structure.write)
        self._keys = Keys(context, self.http, self.lists, self.learnt, self.read, self.in_flight)

    def hooks(self) -> CloseHooks:
        return CloseHooks(self.context, self.http)

    def check(self) -> Workspace:
        return self.learnt.take_workspace(self.lists.workspace())

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        if kind is Kind.PIPELINE:
            return self.lists.pipelines()
        if kind is Kind.OWNER:
            return self.lists.owners()
        return self._walked(kind, unpack(since) if since else None)

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        found: list[AnyRecord] = []
        for kind in dict.fromkeys(ref.kind for ref in refs):
            wanted = [ref.id for ref in refs if ref.kind is kind]
            if kind in (Kind.PIPELINE, Kind.OWNER):
                found += [
                    record for page in self.read(kind) for record in page.records if record.ref.id in wanted
                ]
            else:
                found += self._singles(kind, wanted)
        return found

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        wanted = frozenset(ref.id for ref in deals)
        steps = self._steps(Kind.STAGE_CHANGE, CustomFields(), full=True, deals=wanted)
        if len(wanted) > BULK_HISTORY_ABOVE:
            segments = plans.full(Kind.STAGE_CHANGE, self.lists.schema("opportunity")[1])["segs"]
            step = steps.step
            steps.room.begin(segments)
        else:
            segments, step = [{"id": native, "skip": 0} for native in sorted(wanted)], steps.history_page
        gathered: dict[str, dict[str, StageChange]] = {}
        for found, _ in walk(segments, step, in_flight=self.in_flight):
            for change in _readable(found):
                if isinstance(change, StageChange):
                    gathered.setdefault(change.deal_id, {})[change.ref.id] = change
        for changes in gathered.values():
            yield sorted(changes.values(), key=lambda change: (change.at, change.ref.id))

    def fields(self, kind: Kind) -> Sequence[Field]:
        schema = _SCHEMAS.get(kind)
        if schema is None:
            return super().fields(kind)
        self._prepared(kind)
        return [*custom.fixed_fields(kind), *self.learnt.known().described[kind].values()]

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        if wanted.type not in self.capabilities.creatable_fields.get(kind, ()):
            return super().create_field(kind, wanted)

        def schema() -> Sequence[Row]:
            # Whatever reads or writes from here on knows the fields as they are now.
            self._prepared(kind)
            return self.learnt.rows(kind)

        return Maker(self.context, self.http).create(_SCHEMAS[kind], wanted, schema)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        return self._writer.write(changes)

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        return self._keys.find(lookups)

    def unprepared(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return self._keys.unprepared(kinds)

    def prepare(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return self._keys.prepare(kinds)

    def quota(self) -> Quota | None:
        return rights.quota(self.http)

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return holding.holds(kind, values, self.learnt.known())

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return holding.cannot_hold(kind, values, self.learnt.known())

    def changes_at_once(self, kind: Kind) -> int:
        return costs.RECHECKED_AT_ONCE  # each is read by its own address

    def budget(self, changes: Sequence[Change]) -> Budget:
        return costs.budget(changes, self.learnt)

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        if whole:
            return costs.priced(costs.whole_read(kind, records))
        return costs.priced(costs.get(kind, records, known=kind in self._known))

    def finding_budget(self, kind: Kind, lookups: Sequence[Lookup], *, existing: int = 0) -> Budget:
        known = self.learnt.knows(kind)
        return costs.priced(costs.find(kind, lookups, existing, known=known, in_flight=self.in_flight))

    def close(self) -> None:
        self.http.close()

    # Long lists.

    def _walked(self, kind: Kind, cursor: dict[str, Any] | None) -> Iterator[Page]:
        if cursor is not None and cursor.get("k") != kind:
            raise IncompleteRead(f"{self.context.connection}: the cursor belongs to another kind than {kind}")
        fields, now = self._prepared(kind)
        if cursor is None or walks.moment(cursor.get("t0") or cursor["since"]) < now - EVENTS_KEPT:
            state = plans.full(kind, now)
        elif "segs" in cursor:
            state = cursor
        else:
            state = plans.increment(kind, EventLog(self.http), walks.moment(cursor["since"]), now)
        yield from self._pages(self._steps(kind, fields, full=state["full"]), state)

    def _prepared(self, kind: Kind) -> tuple[CustomFields, datetime]:
        rows, now = self.lists.schema(_SCHEMAS.get(kind, "opportunity"))
        try:
            wanted = self.options.name_field if kind is Kind.DEAL else None
            self._known[kind] = CustomFields.of(rows, name_field=wanted)
            if kind in _SCHEMAS:
                self.learnt.take_fields(kind, rows, self._known[kind])
            return self._known[kind], now
        except LookupError as error:
            raise ConfigError(
                f"{self.context.connection}: {error.args[0]} on opportunities",
                hint="Name it in `name_field` by its id (cf_…); `crmkit doctor` lists the fields.",
            ) from error

    def _pages(self, steps: Steps, state: dict[str, Any]) -> Iterator[Page]:
        rounds = 0
        while True:
            steps.room.begin(state["segs"])

            def cursor(still_open: Sequence[Segment], state: dict[str, Any] = state) -> str:
                return pack({**state, "segs": list(still_open)})

            last = yield from walk_pages(state["segs"], steps.step, in_flight=self.in_flight, cursor=cursor)
            if not plans.slid(steps.log, state):
                break
            rounds += 1
            if rounds >= LEAD_ROUNDS:
                raise IncompleteRead(
                    f"{self.context.connection}: leads are deleted or merged faster than they can be listed"
                )
            state = plans.full(steps.kind, self._prepared(steps.kind)[1])
            yield last.page(pack(state))
        start = walks.wire(walks.moment(state["t0"]) - OVERLAP)
        yield last.page(pack({"k": state["k"], "since": start}), last=True, whole=state["full"])

    # Single records.

    def _singles(self, kind: Kind, wanted: Sequence[str]) -> list[AnyRecord]:
        """Close has no call that reads several: one each, side by side."""
        fields = self._known.get(kind) or (self._prepared(kind)[0] if kind in _SCHEMAS else CustomFields())
        steps = self._steps(kind, fields, full=True)

        def step(segment: Segment) -> tuple[tuple[str, Row | None], Sequence[Segment]]:
            native = segment["id"]
            deal_note = kind is Kind.NOTE and native.startswith("oppo_")
            return (native, steps.row("/opportunity/" if deal_note else PATHS[kind], native)), []

        rows: dict[str, Row | None] = {}
        segments = [{"id": native} for native in dict.fromkeys(wanted)]
        for (native, row), _ in walk(segments, step, in_flight=self.in_flight):
            rows[native] = row
        if kind is Kind.COMPANY and None in rows.values():
            rows |= self._survivors(steps, [native for native, row in rows.items() if row is None])
        unique = {row["id"]: row for row in rows.values() if row is not None}
        if kind is Kind.NOTE:
            unique = {native: row for native, row in unique.items() if row.get("note")}
        return _readable(steps.translated(list(unique.values())))

    def _survivors(self, steps: Steps, lost: Iterable[str]) -> dict[str, Row | None]:
        now = self.lists.schema("lead")[1]
        into: dict[str, str] = {}
        for event in steps.log.since("lead", "merged", now - EVENTS_KEPT):
            source, survivor = merged(event)
            if source and survivor:
                into[source] = survivor
        found: dict[str, Row | None] = {}
        for native in lost:
            at, path = native, {native}
            while at in into and into[at] not in path:
                at = into[at]
                path.add(at)
            if at != native:
                found[native] = steps.row("/lead/", at)
        return found

    def _steps(
        self, kind: Kind, fields: CustomFields, *, full: bool, deals: frozenset[str] | None = None
    ) -> Steps:
        return Steps(self.context, self.http, kind, fields, self.in_flight, full=full, deals=deals)


def _api_root(base_url: str) -> str:
    """The configured address, with the API's path if it names only a host."""
    return base_url if urlsplit(base_url).path.strip("/") else f"{base_url.rstrip('/')}/api/v1"


def _readable(found: Found) -> list[AnyRecord]:
    for bad in found.unreadable:
        raise UnreadableRecord(str(bad.ref), bad.field, bad.reason)
    return list(found.records)
