"""HubSpot as a connector: what it can do, and how its walks become pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field as Option

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
    Unreadable,
)
from crmkit.connectors.http import Http
from crmkit.connectors.hubspot import costs, holding, login, records, rights
from crmkit.connectors.hubspot.abilities import WRITING
from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.calls import Api, list_query
from crmkit.connectors.hubspot.changes import ArchivedWalk, ChangeWalk, millis, moment
from crmkit.connectors.hubspot.customs import CREATABLE, Customs
from crmkit.connectors.hubspot.dialect import BASE_URL, HOSTS, Auth, HubSpotDialect, ScopesMissing, limits
from crmkit.connectors.hubspot.fields import describe
from crmkit.connectors.hubspot.hooks import HubSpotHooks
from crmkit.connectors.hubspot.keys import KeyBook, described
from crmkit.connectors.hubspot.linking import Linker
from crmkit.connectors.hubspot.lookup import Lookup, readable
from crmkit.connectors.hubspot.portal import Portal
from crmkit.connectors.hubspot.posts import Posts
from crmkit.connectors.hubspot.rows import Found
from crmkit.connectors.hubspot.schema import WIRES, Account, Schema
from crmkit.connectors.hubspot.structure import Builder
from crmkit.connectors.hubspot.verdicts import Verdicts
from crmkit.connectors.hubspot.walks import FullWalk, NotById
from crmkit.connectors.hubspot.writes import Writer
from crmkit.connectors.logins import Login
from crmkit.connectors.pacing import Window
from crmkit.connectors.quota import Quota
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.connectors.writing import Act, Budget, Change, Written
from crmkit.connectors.writing import Lookup as KeyLookup
from crmkit.errors import IncompleteRead, MissingScope, Unsupported, UsageError
from crmkit.model import AnyRecord, Kind, Owner, Pipeline, Ref, StageChange, Tombstone, Workspace

_CHANGING = frozenset(WIRES)
_ARCHIVED: Segment = {"archived": True, "after": None, "serial": True}
_PROBES = ("deals", "companies", "contacts", "owners")


class HubSpotOptions(ConnectorOptions):
    """Options of a HubSpot connection."""

    auth: Auth = Option("token", description="A private app's or service key's token, or an OAuth app.")
    search_lag_seconds: float = Option(
        120.0, ge=0, description="How far the search index may trail behind; cursors stay behind it."
    )
    overlap_seconds: float = Option(
        600.0, ge=0, description="How far an incremental read reaches back behind its cursor."
    )


class HubSpotConnector(Connector):
    """Reads and writes a HubSpot portal."""

    name = "hubspot"
    title = "HubSpot"
    Options = HubSpotOptions
    capabilities = Capabilities(
        incremental=_CHANGING,
        deletions={
            Kind.PIPELINE: Evidence.ABSENT,
            Kind.OWNER: Evidence.ABSENT,
            Kind.COMPANY: Evidence.LISTED,
            Kind.CONTACT: Evidence.LISTED,
            Kind.DEAL: Evidence.LISTED,
            Kind.NOTE: Evidence.LISTED,
        },
        merges=Support.YES,
        stage_history=Support.YES,
        notes=Support.YES,
        one_close_date=True,
        # https://knowledge.hubspot.com/properties/hubspots-default-deal-properties, "Close Date"
        presets_month_end=True,
        notes_are_html=True,
        writing=WRITING,
        creatable_fields=CREATABLE,
        side_effects_off=Support.CANNOT,  # workflows start whoever writes
        find_lag_seconds=0.0,  # read by value, not through the search index (inferred)
        closing_sets_close_date=True,  # today, whatever it was before
        max_in_flight=12,  # none is published; the rate limits decide
        version_seconds=0.001,
        search_lag_seconds=120.0,
        webhooks=Support.YES,
    )
    secret_names: ClassVar[tuple[str, ...]] = ("token", "client_id", "client_secret", "refresh_token")
    example_options: ClassVar[tuple[str, ...]] = (
        '# auth = "oauth"                 # an OAuth app; without it the token of a private app or service',
        "# search_lag_seconds = 120       # how far the search index may trail behind",
    )

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        return login.logins(options.auth, options.base_url)

    def __init__(self, context: Context, options: HubSpotOptions | None = None) -> None:
        options = options or HubSpotOptions()
        super().__init__(context, options)
        self._lag = options.search_lag_seconds
        self._overlap = options.overlap_seconds
        self._in_flight = options.in_flight or self.capabilities.max_in_flight
        dialect = self._dialect = HubSpotDialect(context, options.auth)
        self._http = Http(
            context,
            base_url=options.base_url or BASE_URL,
            dialect=dialect,
            limits=limits(),
            hosts=HOSTS,
            configured=options.base_url is not None,
            in_flight=self._in_flight,
        )
        dialect.http = self._http
        self._api = Api(self._http)
        self._portal = Portal(context.connection, self._api, self._in_flight)
        self._lookup = Lookup(self._api, self._in_flight)
        self._described: dict[Kind, dict[str, Field]] = {}
        self._labels: dict[str, dict[str, Any]] | None = None
        posts, redact = Posts(self._http), context.secrets.redact
        self._customs = Customs(context.connection, self._api, posts)
        self._keys = KeyBook(context.connection, self._api, posts, self._customs, self._in_flight)
        self._writer = Writer(
            context,
            posts,
            Verdicts(context.connection, self._keys, self._known, redact),
            Linker(self._api, posts, redact),
            Builder(context.connection, self._api, posts, redact),
            self._known,
            self._in_flight,
        )

    def hooks(self) -> HubSpotHooks:
        return HubSpotHooks()

    def close(self) -> None:
        self._http.close()

    def check(self) -> Workspace:
        row, answer = self._api.account()
        account = self._portal.account = Account.of(self.context.connection, row)
        missing = [
            scope
            for scope, _ in self._walk(lambda probe: (self._probe(probe["of"]), ()), _probes())
            if scope is not None
        ]
        if missing:
            raise MissingScope(
                f"{self.context.connection}: missing scopes: {', '.join(sorted(missing))}",
                hint="Grant them to the app in HubSpot's settings, then run `crmkit doctor` again.",
            )
        told = {
            "daily": answer.headers.get("X-HubSpot-RateLimit-Daily", ""),
            "per_10_seconds": answer.headers.get("X-HubSpot-RateLimit-Max", ""),
        }
        return Workspace(
            id=account.portal_id,
            name=f"HubSpot {account.portal_id}",  # the API tells no name of a portal
            time_zone=account.zone.key,
            base_currency=account.currency,
            currencies=account.currencies,
            limits={name: int(text) for name, text in told.items() if text.isdigit()},
            server_time=answer.date,
        )

    def _probe(self, of: str) -> str | None:
        """The scope that is missing to read a type, if one is."""
        try:
            if of == "owners":
                self._api.owners(archived=False, after=None, limit=1)
            else:
                self._api.page(of, list_query(["hs_object_id"], limit=1), None)
        except ScopesMissing as error:
            usual = f"crm.objects.{of}.read"
            return usual if usual in error.scopes or not error.scopes else error.scopes[0]
        return None

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        position = self._position(kind, since)
        if kind is Kind.PIPELINE:
            return self._pipelines()
        if kind is Kind.OWNER:
            return self._owners(position)
        return self._changing(kind, position)

    def _position(self, kind: Kind, since: str | None) -> dict[str, Any] | None:
        if since is None:
            return None
        try:
            position = unpack(since)
        except ValueError:
            position = {}
        if position.get("kind") != kind or position.get("walk") not in ("full", "changes", "done"):
            raise UsageError(f"{self.context.connection}: this is not a cursor of HubSpot's {kind} records")
        return position

    def _pipelines(self) -> Iterator[Page]:
        found, unreadable = self._read_pipelines()
        cursor = pack({"kind": Kind.PIPELINE, "walk": "done"})
        yield Page(found, unreadable=unreadable, cursor=cursor, last=True, whole=True)

    def _read_pipelines(self) -> tuple[Sequence[Pipeline], Sequence[Unreadable]]:
        name = self.context.connection
        return translate.records(
            Pipeline,
            name,
            Kind.PIPELINE,
            self._api.pipelines(),
            lambda row: records.pipeline(row, name),
            _native,
        )

    def _owners(self, position: dict[str, Any] | None) -> Iterator[Page]:
        """Archived owners first, so that one who is listed in both ways ends as active."""
        segments = [{"archived": True, "after": None}, {"archived": False, "after": None}]
        if position and position["walk"] != "done":
            segments = position["open"]
        for found, rest in self._walk(self._owner_step, segments, in_flight=1):
            state = {"walk": "full", "open": rest} if rest else {"walk": "done"}
            yield Page(
                found.records,
                unreadable=found.unreadable,
                cursor=pack({"kind": Kind.OWNER, **state}),
                last=not rest,
                whole=not rest,
            )

    def _owner_step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        listing = self._api.owners(archived=segment["archived"], after=segment["after"])
        name = self.context.connection
        found = Found()
        found.records, found.unreadable = translate.records(
            Owner, name, Kind.OWNER, listing.rows, lambda row: records.owner(row, name), _native
        )
        if listing.after is not None and listing.after == segment["after"]:
            raise IncompleteRead(f"{name}: listing owners: a page token came twice")
        return found, [{**segment, "after": listing.after}] if listing.after else []

    def _changing(self, kind: Kind, position: dict[str, Any] | None) -> Iterator[Page]:
        schema, now = self._portal.schema(kind)
        state = self._begin(kind, position, now)
        live = [segment for segment in state["open"] if not segment.get("archived")]
        gone = [segment for segment in state["open"] if segment.get("archived")]
        full = state["walk"] == "full"
        since = None if full else moment(state["since"])
        merged: dict[str, str] = {}
        for found, rest in self._live(schema, live, since):
            merged.update((dead.ref.id, dead.merged_into) for dead in found.tombstones if dead.merged_into)
            yield self._page(found, state, [*rest, *gone])
        for found, rest in self._walk(ArchivedWalk(self._api, schema, since).step, gone):
            # The list of archived records does not say that one was merged, its survivor did.
            found.tombstones = [_merged(dead, merged) for dead in found.tombstones]
            yield self._page(found, state, rest)

    def _begin(self, kind: Kind, position: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
        """The state of a walk: a new full one, a new incremental one, or one to go on with."""
        if position is not None and position["walk"] != "done":
            return position
        # Archived deals have stage changes too, but their deal is gone from every report.
        gone = [] if kind is Kind.STAGE_CHANGE else [_ARCHIVED]
        if position is None:
            return {"kind": kind, "walk": "full", "at": millis(now), "open": [{}, *gone]}
        return {
            "kind": kind,
            "walk": "changes",
            "since": position["at"] - int(self._overlap * 1000),
            "at": max(position["at"], millis(now) - int(self._lag * 1000)),
            "open": [{"gt": 0}, *gone],
        }

    def _live(
        self, schema: Schema, segments: Sequence[Segment], since: datetime | None
    ) -> Iterator[tuple[Found, Sequence[Segment]]]:
        if since is not None:
            yield from self._walk(ChangeWalk(self._api, schema, since).step, segments)
            return
        try:
            full = FullWalk(self._api, schema, self._in_flight, len(segments))
            yield from self._walk(full.step, segments)
        except NotById:
            serial = FullWalk(self._api, schema, 1)
            yield from self._walk(serial.step, [{"serial": True, "after": None}])

    def _page(self, found: Found, state: dict[str, Any], rest: Sequence[Segment]) -> Page:
        if rest:
            cursor = {**state, "open": rest}
        else:
            cursor = {"kind": state["kind"], "walk": "done", "at": state["at"]}
        return Page(
            found.records,
            found.tombstones,
            found.unreadable,
            pack(cursor),
            last=not rest,
            whole=not rest and state["walk"] == "full",
        )

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        wanted = list(dict.fromkeys(refs))
        if any(ref.kind is Kind.STAGE_CHANGE for ref in wanted):
            raise Unsupported(f"{self.context.connection}: stage changes are read with their deals")
        found: list[AnyRecord] = []
        for kind in dict.fromkeys(ref.kind for ref in wanted):
            ids = {ref.id: None for ref in wanted if ref.kind is kind}
            if kind is Kind.PIPELINE or kind is Kind.OWNER:
                pages = self.read(kind)
                listed = [one for page in pages for one in readable(page.records, page.unreadable)]
                found += [record for record in listed if record.ref.id in ids]
            else:
                found += self._lookup.records(self._portal.known(kind), list(ids))
        return list({record.ref: record for record in found}.values())

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        ids = list(dict.fromkeys(ref.id for ref in deals))
        if ids:
            yield from self._lookup.history(self._portal.known(Kind.STAGE_CHANGE), ids)

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in WIRES or kind is Kind.STAGE_CHANGE:
            return super().fields(kind)
        return self._saw_properties(kind, self._api.properties(WIRES[kind].of)[0])

    def _saw_properties(self, kind: Kind, rows: Sequence[Row]) -> Sequence[Field]:
        found = describe(kind, rows)
        self._described[kind] = {field.id: field for field in found}
        return found

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        name = self.context.connection
        if wanted.type not in self.capabilities.creatable_fields.get(kind, ()):
            raise Unsupported(f"{name}: HubSpot's API makes no field of type {wanted.type} for a {kind}")
        if self.context.read_only:
            raise Unsupported(f"{name}: this run only reads")
        made, rows = self._customs.create(kind, wanted)
        self._portal.saw_properties(kind, rows)
        return next(field for field in self._saw_properties(kind, rows) if field.id == made)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        return self._write(changes)

    def _write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        if any(change.act is not Act.DELETE for change in changes):
            self._portal.known_account()
        deals = [change for change in changes if change.kind is Kind.DEAL]
        if any(person.role for change in deals for person in change.values.get("contacts") or ()):
            self._read_labels()
        try:
            yield from self._writer.write(changes)
        finally:
            if any(change.kind is Kind.PIPELINE for change in changes):
                self._portal.forget()

    def _read_labels(self) -> None:
        """The portal's own labels for people of deals: the roles that it can hold."""
        rows = self._api.labels("deals", "contacts")
        own = [row for row in rows if row.get("category") != "HUBSPOT_DEFINED" and row.get("label")]
        self._labels = {str(row["label"]): row for row in own}

    def find(self, lookups: Sequence[KeyLookup]) -> Mapping[str, Sequence[Ref]]:
        return self._keys.find(lookups)

    def unprepared(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return [described(kind) for kind in self._keys.missing(kinds)]

    def prepare(self, kinds: Sequence[Kind]) -> Sequence[str]:
        made = []
        for kind in self._keys.missing(kinds):
            self._keys.make(kind)
            made.append(described(kind))
        if made:
            self._portal.forget()
        return made

    def quota(self) -> Quota | None:
        return rights.quota(self._http)

    def unwritable(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return rights.unwritable(self._dialect.granted(), kinds)

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return holding.holds(kind, values, self._known(kind))

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return holding.cannot_hold(kind, values, self._known(kind))

    def budget(self, changes: Sequence[Change]) -> Budget:
        return costs.budget(changes, *self._rate())

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        known = costs.Known(
            account=self._portal.account is not None,
            schema=self._portal.knows(kind),
            in_flight=self._in_flight,
        )
        read = costs.whole_read if whole else costs.get
        return costs.priced(read(kind, records, known), *self._rate())

    def finding_budget(self, kind: Kind, lookups: Sequence[KeyLookup], *, existing: int = 0) -> Budget:
        return costs.priced(costs.find(kind, lookups), *self._rate())

    def _rate(self) -> tuple[float, float]:
        limit = self._http.pacer.limit("default")
        return (limit.calls, limit.seconds) if isinstance(limit, Window) else (100.0, 10.0)

    def _known(self, kind: Kind) -> holding.Known:
        return holding.Known(
            account=self._portal.account,
            fields=self._described.get(kind, {}),
            outcomes=self._portal.known_outcomes(),
            labels=self._labels,
        )

    def _walk(
        self, step: Any, segments: Sequence[Segment], *, in_flight: int | None = None
    ) -> Iterator[tuple[Any, Sequence[Segment]]]:
        """`walk` with the connection's own number of calls in flight."""
        return walk(segments, step, in_flight=in_flight or self._in_flight)


def _probes() -> list[Segment]:
    return [{"of": of} for of in _PROBES]


def _native(row: Any) -> str:
    return str(row["id"])


def _merged(dead: Tombstone, merged: dict[str, str]) -> Tombstone:
    winner = merged.get(dead.ref.id)
    return dead.model_copy(update={"merged_into": winner}) if winner else dead
