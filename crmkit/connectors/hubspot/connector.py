"""HubSpot as a connector: what it can do, and how its walks become pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from crmkit.connectors.hubspot import records, rows
from crmkit.connectors.hubspot.calls import HISTORY_BATCH_LIMIT, LINKS_LIMIT, Api, list_query
from crmkit.connectors.hubspot.dialect import BASE_URL, HOSTS, Auth, HubSpotDialect, ScopesMissing, limits
from crmkit.connectors.hubspot.rows import Found
from crmkit.connectors.hubspot.schema import (
    WIRES,
    Account,
    Schema,
    custom_readers,
    describe,
    entered_properties,
)
from crmkit.connectors.hubspot.walks import (
    ArchivedWalk,
    ChangeWalk,
    FullWalk,
    NotById,
    millis,
    moment,
)
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.errors import MissingScope, NotFound, UnreadableRecord, Unsupported, UsageError
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
    """Reads a HubSpot portal."""

    name = "hubspot"
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
        max_in_flight=8,  # none is published; eight fill every tier's window
        version_seconds=0.001,
        search_lag_seconds=120.0,
    )
    secret_names: ClassVar[tuple[str, ...]] = ("token", "client_id", "client_secret", "refresh_token")

    def __init__(self, context: Context, options: HubSpotOptions | None = None) -> None:
        options = options or HubSpotOptions()
        super().__init__(context, options)
        self._lag = options.search_lag_seconds
        self._overlap = options.overlap_seconds
        self._in_flight = options.in_flight or self.capabilities.max_in_flight
        dialect = HubSpotDialect(context, options.auth)
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
        self._account: Account | None = None
        self._schemas: dict[Kind, Schema] = {}

    def close(self) -> None:
        self._http.close()

    def check(self) -> Workspace:
        row, answer = self._api.account()
        account = self._account = Account.of(self.context.connection, row)
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
        more = [code for code in row.get("additionalCurrencies") or () if code]
        currencies = [account.currency, *more] if account.currency else more
        return Workspace(
            id=account.portal_id,
            name=f"HubSpot {account.portal_id}",  # the API tells no name of a portal
            time_zone=account.zone.key,
            base_currency=account.currency,
            currencies=tuple(dict.fromkeys(currencies)),
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
        return found, [{**segment, "after": listing.after}] if listing.after else []

    def _changing(self, kind: Kind, position: dict[str, Any] | None) -> Iterator[Page]:
        schema, now = self._schema(kind)
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
            ids = [ref.id for ref in wanted if ref.kind is kind]
            if kind is Kind.PIPELINE or kind is Kind.OWNER:
                listed = [record for page in self.read(kind) for record in _all_readable(page)]
                found += [record for record in listed if record.ref.id in ids]
            else:
                found += self._get(kind, ids)
        return list({record.ref: record for record in found}.values())

    def _get(self, kind: Kind, ids: Sequence[str]) -> list[AnyRecord]:
        schema = self._schemas.get(kind) or self._schema(kind)[0]
        natives = list(dict.fromkeys(id_.partition(":")[0] for id_ in ids))
        found = self._fetch(schema, natives)
        if kind is Kind.NOTE:
            return [record for record in found if record.ref.id in ids]
        seen = {record.ref.id for record in found}
        # Whether a batch finds a record by the id of a merged one is not known; a single
        # read does. What it does not find is gone.
        missing = [{"id": native} for native in natives if native not in seen]
        names = ["hs_object_id"]
        singles = self._walk(
            lambda segment: (self._api.one(schema.wire.of, segment["id"], names), ()), missing
        )
        survivors = [str(row["id"]) for row, _ in singles if row is not None]
        return [*found, *self._fetch(schema, [id_ for id_ in survivors if id_ not in seen])]

    def _fetch(self, schema: Schema, ids: Sequence[str]) -> list[AnyRecord]:
        segments = _chunks(list(dict.fromkeys(ids)), LINKS_LIMIT)
        found: list[AnyRecord] = []
        for batch, _ in self._walk(
            lambda segment: (rows.fetch(self._api, schema, segment["ids"]), ()), segments
        ):
            found += _readable(rows.translated(schema, batch))
        return found

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        ids = list(dict.fromkeys(ref.id for ref in deals))
        if not ids:
            return
        schema = self._schemas.get(Kind.STAGE_CHANGE) or self._schema(Kind.STAGE_CHANGE)[0]
        for batch, _ in self._walk(
            lambda segment: (rows.fetch(self._api, schema, segment["ids"]), ()),
            _chunks(ids, HISTORY_BATCH_LIMIT),
        ):
            found = _readable(rows.translated(schema, batch))
            yield [change for change in found if isinstance(change, StageChange)]

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in WIRES or kind is Kind.STAGE_CHANGE:
            return super().fields(kind)
        return describe(kind, self._api.properties(WIRES[kind].of)[0])

    def _schema(self, kind: Kind) -> tuple[Schema, datetime]:
        """What translating a kind needs, read anew, and the server's time before anything else."""
        wire, api = WIRES[kind], self._api
        properties, now = api.properties(wire.of)
        account = self._account = self._account or Account.of(self.context.connection, api.account()[0])
        custom = () if kind in (Kind.NOTE, Kind.STAGE_CHANGE) else custom_readers(wire, properties)
        pipelines = api.pipelines() if kind is Kind.DEAL else ()
        entered = entered_properties(pipelines)
        schema = Schema(
            connection=self.context.connection,
            wire=wire,
            names=(*(wire.properties or ("hs_object_id",)), *entered.values(), *(name for name, _ in custom)),
            custom=custom,
            zone=account.zone,
            currency=account.currency,
            url=f"https://{account.ui}/contacts/{account.portal_id}/record/{wire.type_id}/",
            entered=entered,
            outcomes=records.outcomes(pipelines),
            people=self._people() if kind is Kind.STAGE_CHANGE else {},
            labelled=kind is Kind.DEAL and self._labelled(),
        )
        self._schemas[kind] = schema
        return schema, now

    def _people(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for archived in (True, False):
            after: str | None = None
            while True:
                listing = self._api.owners(archived=archived, after=after)
                found.update(records.users(listing.rows))
                after = listing.after
                if after is None:
                    break
        return found

    def _labelled(self) -> bool:
        """Whether the portal has labels of its own for contacts of deals."""
        try:
            labels = self._api.labels("deals", "contacts")
        except NotFound:
            return False
        return any(label.get("category") != "HUBSPOT_DEFINED" for label in labels)

    def _walk(
        self, step: Any, segments: Sequence[Segment], *, in_flight: int | None = None
    ) -> Iterator[tuple[Any, Sequence[Segment]]]:
        """`walk` with the connection's own number of calls in flight."""
        return walk(segments, step, in_flight=in_flight or self._in_flight)


def _probes() -> list[Segment]:
    return [{"of": of} for of in _PROBES]


def _chunks(ids: Sequence[str], size: int) -> list[Segment]:
    return [{"ids": ids[start : start + size]} for start in range(0, len(ids), size)]


def _native(row: Any) -> str:
    return str(row["id"])


def _merged(dead: Tombstone, merged: dict[str, str]) -> Tombstone:
    winner = merged.get(dead.ref.id)
    return dead.model_copy(update={"merged_into": winner}) if winner else dead


def _readable(found: Found) -> Sequence[AnyRecord]:
    return _or_raise(found.records, found.unreadable)


def _all_readable(page: Page) -> Sequence[AnyRecord]:
    return _or_raise(page.records, page.unreadable)


def _or_raise(found: Sequence[AnyRecord], unreadable: Sequence[Unreadable]) -> Sequence[AnyRecord]:
    for one in unreadable:
        raise UnreadableRecord(str(one.ref), one.field, one.reason)
    return found
