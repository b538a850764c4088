"""Bitrix24 as a connector: deals, people, pipelines, comments and stage changes of a portal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

from crmkit.connectors.base import (
    Capabilities,
    Connector,
    Context,
    Evidence,
    Field,
    Page,
    Support,
)
from crmkit.connectors.bitrix24 import bodies, costs, keys, login, rights, structure, userfields
from crmkit.connectors.bitrix24.batch import Portal, Results
from crmkit.connectors.bitrix24.changes import (
    earlier_stages,
    histories,
    latest_stages,
    previous_stages,
    settled_up_to,
)
from crmkit.connectors.bitrix24.commands import command
from crmkit.connectors.bitrix24.customs import Customs, field_of
from crmkit.connectors.bitrix24.dialect import connect, portal_address, webhook_address
from crmkit.connectors.bitrix24.encoding import CustomFields
from crmkit.connectors.bitrix24.getting import ENTITY_TYPES, fields_command, get_records, translator
from crmkit.connectors.bitrix24.holding import held
from crmkit.connectors.bitrix24.hooks import Bitrix24Hooks
from crmkit.connectors.bitrix24.lists import comments_of, pipelines, users
from crmkit.connectors.bitrix24.options import Bitrix24Options
from crmkit.connectors.bitrix24.pipelines import PipelineWriter
from crmkit.connectors.bitrix24.records import DEAL_FIELDS, Found, Rows, readable_or_raise
from crmkit.connectors.bitrix24.sender import Sender
from crmkit.connectors.bitrix24.walks import Listing, Position, ranges, read_stretch, walk_ranges
from crmkit.connectors.bitrix24.workspace import check_portal, measure_shift
from crmkit.connectors.bitrix24.writes import Writer
from crmkit.connectors.logins import Login
from crmkit.connectors.walk import Segment, pack, walk
from crmkit.connectors.writing import Budget, Change, Lookup, Written
from crmkit.errors import BadAnswer, Unsupported
from crmkit.model import AnyRecord, Kind, Ref, StageChange, Workspace

MAX_SELECTED_CUSTOMS = 60
NOTE_DEALS = 50
# A change is in the list once its request is committed, and no request runs longer than 60 s.
SETTLED_AFTER = timedelta(minutes=10)


class Bitrix24Connector(Connector):
    """One Bitrix24 portal, cloud or self-hosted.

    Reads go through `batch`: 50 chained pages of 50 rows a request, up to four ranges of
    ids side by side. Deletions and merges never show in a list; they are found by the
    absence of a record from a complete read.
    """

    name = "bitrix24"
    title = "Bitrix24"
    Options = Bitrix24Options
    capabilities = Capabilities(
        incremental=frozenset({Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.STAGE_CHANGE}),
        deletions=dict.fromkeys(
            (Kind.PIPELINE, Kind.OWNER, Kind.COMPANY, Kind.CONTACT, Kind.DEAL, Kind.NOTE), Evidence.ABSENT
        ),
        merges=Support.CANNOT,
        stage_history=Support.YES,
        notes=Support.YES,
        writing=costs.WRITING,
        creatable_fields=dict.fromkeys((Kind.DEAL, Kind.COMPANY, Kind.CONTACT), userfields.CREATABLE),
        # Robots start after every add and update; only an import of a new record starts none.
        side_effects_off=Support.CANNOT,
        webhooks=Support.YES,
        find_lag_seconds=0.0,
        stage_probability=Support.CANNOT,
        max_in_flight=4,
        version_seconds=1.0,
        search_lag_seconds=0.0,
    )
    secret_names: ClassVar[tuple[str, ...]] = (
        "webhook_url",
        "client_id",
        "client_secret",
        "refresh_token",
    )
    example_options = (
        '# portal = "acme.bitrix24.com"   # needed for an OAuth app and for a self-hosted portal',
        '# auth = "oauth"                 # an installed app; without it an administrator\'s inbound webhook',
        "# enterprise = true              # the Enterprise plan, with its higher rate limit",
    )

    options: Bitrix24Options

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        return login.logins(options)

    def __init__(self, context: Context, options: Bitrix24Options | None = None) -> None:
        super().__init__(context, options or Bitrix24Options())
        wanted = self.options.in_flight or self.capabilities.max_in_flight
        self._in_flight = max(1, min(wanted, self.capabilities.max_in_flight))
        self._described: dict[Kind, Mapping[str, Any]] = {}
        self._currencies: tuple[str, ...] = ()
        self._base_currency: str | None = None

    def hooks(self) -> Bitrix24Hooks:
        return Bitrix24Hooks(self._ask, oauth=self.options.auth == "oauth")

    def _ask(self, method: str, params: Mapping[str, Any]) -> Any:
        return self._portal.single(method, params)  # the portal is opened at the first call

    def check(self) -> Workspace:
        workspace = check_portal(
            self._portal,
            enterprise=self.options.enterprise,
            work_limit_seconds=self.options.work_limit_seconds,
        )
        self._currencies = workspace.currencies
        self._base_currency = workspace.base_currency
        return workspace

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        readers: Mapping[Kind, Callable[[str | None], Iterator[Page]]] = {
            Kind.PIPELINE: self._read_pipelines,
            Kind.OWNER: self._read_owners,
            Kind.COMPANY: lambda since: self._read_crm(Kind.COMPANY, since),
            Kind.CONTACT: lambda since: self._read_crm(Kind.CONTACT, since),
            Kind.DEAL: lambda since: self._read_crm(Kind.DEAL, since),
            Kind.NOTE: self._read_notes,
            Kind.STAGE_CHANGE: self._read_stage_changes,
        }
        return readers[kind](since)

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        found: dict[Ref, AnyRecord] = {}
        for kind in Kind:
            # An id of this CRM is a number; anything else is nobody's and would spoil its batch.
            ids = sorted({ref.id for ref in refs if ref.kind is kind and ref.id.isdecimal()}, key=int)
            if ids:
                found |= {one.ref: one for one in readable_or_raise(*get_records(self._portal, kind, ids))}
        return [found[ref] for ref in dict.fromkeys(refs) if ref in found]

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        ids = sorted({ref.id for ref in deals if ref.id.isdecimal()}, key=int)
        for rows in histories(self._portal, ids):
            changes, unreadable = self._rows().stage_changes(rows, previous_stages(rows, {}))
            readable_or_raise(changes, unreadable)
            by_deal: dict[str, list[StageChange]] = {}
            for change in changes:
                by_deal.setdefault(change.deal_id, []).append(change)
            yield from by_deal.values()

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in ENTITY_TYPES:
            raise Unsupported(f"{self.context.connection}: Bitrix24 does not describe the fields of a {kind}")
        described = self._describe(kind)
        return [field_of(name, one) for name, one in described.items()]

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        if wanted.type not in self.capabilities.creatable_fields.get(kind, ()):
            return super().create_field(kind, wanted)
        return userfields.create(self._portal, kind, wanted, lambda: self._describe(kind))

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        if len({(change.kind, change.act) for change in changes}) > 1:
            raise Unsupported(f"{self.context.connection}: changes of one kind and act are written at a time")
        return self._write(changes)

    def _write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        if not changes:
            return
        kind = changes[0].kind
        if kind is Kind.PIPELINE:
            yield from PipelineWriter(self._portal, self.context, self._sender).write(changes)
            return
        if kind in ENTITY_TYPES and kind not in self._described:
            self._describe(kind)
        writer = Writer(self._portal, self.context, self._sender, kind, self._customs(kind), self._in_flight)
        yield from writer.write(changes)

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        return keys.find(self._portal, self.context, lookups)

    def unwritable(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return rights.unwritable(self._portal) if kinds else ()

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return held(kind, values, self._customs(kind))

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        if kind in ENTITY_TYPES:
            return bodies.cannot_hold(kind, values, self._customs(kind), self._currencies)
        return structure.cannot_hold(values) if kind is Kind.PIPELINE else {}

    def budget(self, changes: Sequence[Change]) -> Budget:
        return costs.budget(
            changes,
            described=lambda kind: kind in self._described,
            proven=lambda method: "_sender" in self.__dict__ and self._sender.proven(method),
            enterprise=self.options.enterprise,
            work_limit_seconds=self.options.work_limit_seconds,
        )

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        commands = costs.whole_read(kind, records) if whole else costs.get(kind, records)
        return self._priced(commands, split=self._in_flight if whole else 1)

    def finding_budget(self, kind: Kind, lookups: Sequence[Lookup], *, existing: int = 0) -> Budget:
        return self._priced(costs.find(kind, lookups))

    def _priced(self, commands: int, split: int = 1) -> Budget:
        return costs.priced(
            commands,
            split=split,
            enterprise=self.options.enterprise,
            work_limit_seconds=self.options.work_limit_seconds,
        )

    def _describe(self, kind: Kind) -> Mapping[str, Any]:
        """The fields of a kind as the portal has them now; what else writing asks for comes along."""
        results = self._portal.run(
            {"fields": fields_command(kind), "currencies": command("crm.currency.list")},
            tolerated=("currencies",),
        )
        rows = [one for one in results.values.get("currencies") or () if isinstance(one, Mapping)]
        told = tuple(str(one["CURRENCY"]) for one in rows if one.get("CURRENCY"))
        self._currencies = told or self._currencies
        base = next((str(one["CURRENCY"]) for one in rows if one.get("BASE") == "Y"), None)
        self._base_currency = base or self._base_currency
        described: Mapping[str, Any] = results.values["fields"]
        self._described[kind] = described
        return described

    def _customs(self, kind: Kind) -> CustomFields:
        return CustomFields(self._described.get(kind), self._base_currency)

    def measure_zone_shift(self) -> int | None:
        """Minutes for the option `zone_shift_minutes`, or `None` if they cannot be told.

        Takes a few batches: asks for a deal that was just changed under bounds of a
        quarter of an hour's distance and looks up to which one it is still found.
        """
        return measure_shift(self._portal)

    def close(self) -> None:
        if "_portal" in self.__dict__:
            self._portal.close()

    @cached_property
    def _sender(self) -> Sender:
        return Sender(self._portal)

    @cached_property
    def _portal(self) -> Portal:
        options, connection = self.options, self.context.connection
        oauth = options.auth == "oauth"
        if oauth:
            address = portal_address(connection, options.portal, options.base_url)
        else:
            address = webhook_address(connection, self.context.secrets.get("webhook_url"), options.base_url)
        http, dialect = connect(
            self.context,
            address,
            portal=options.portal,
            token_url=options.token_url if oauth else None,
            configured=options.base_url is not None,
            enterprise=options.enterprise,
            in_flight=self._in_flight,
        )
        return Portal(self.context, http, dialect, work_limit_seconds=options.work_limit_seconds)

    def _rows(self, customs: Customs | None = None) -> Rows:
        return Rows(self.context.connection, self._portal.root, customs)

    def _listing(self, kind: Kind, bound: str | None, customs: Customs) -> Listing:
        pairs: tuple[tuple[str, object], ...] = (("entityTypeId", ENTITY_TYPES[kind]),)
        if bound is not None:
            pairs = (*pairs, ("filter[>=updatedTime]", bound))
        # Phones and e-mail addresses (`fm`) come only with everything else.
        select: tuple[str, ...] = ("*",)
        if kind is Kind.DEAL and len(customs.names) <= MAX_SELECTED_CUSTOMS:
            select = (*DEAL_FIELDS, *customs.names)
        return Listing("crm.item.list", pairs, select)

    def _read_crm(self, kind: Kind, since: str | None) -> Iterator[Page]:
        position = Position.parse(since) if since else None
        ends: Results | None = None
        if position is None or not position.segments:
            bound = self._bound(position.mark) if position else None
            bare = self._listing(kind, bound, Customs({}))
            ends = self._portal.run(
                {"fields": fields_command(kind), "first": bare.edge("ASC"), "last": bare.edge("DESC")}
            )
            described = ends.values["fields"]
            position = Position(self._mark(ends), bound, self._ranges(bare, ends))
        else:
            described = self._portal.run({"fields": fields_command(kind)}).values["fields"]
        self._described[kind] = described
        customs = Customs(described)
        listing = self._listing(kind, position.bound, customs)
        yield from self._pages(
            position,
            walk_ranges(
                self._portal,
                listing,
                position.segments,
                translator(self._rows(customs), kind),
                in_flight=self._in_flight,
            ),
        )

    def _pages(self, position: Position, steps: Iterator[tuple[Found, Sequence[Segment]]]) -> Iterator[Page]:
        """Pages from the steps of a walk; an empty walk still has its last page."""
        complete = position.bound is None
        if not position.segments:
            yield Page(cursor=position.text(), last=True, whole=complete)
        for (records, unreadable), segments in steps:
            yield Page(
                records=records,
                unreadable=unreadable,
                cursor=position.at(segments).text(),
                last=not segments,
                whole=complete and not segments,
            )

    def _read_notes(self, since: str | None) -> Iterator[Page]:
        """Comments deal by deal, 50 deals a batch: the CRM has no list across deals."""
        deals = Listing("crm.item.list", (("entityTypeId", 2),), ("id",))
        position = Position.parse(since) if since else None
        if position is None or not position.segments:
            ends = self._portal.run({"first": deals.edge("ASC"), "last": deals.edge("DESC")})
            position = Position(self._mark(ends), None, _side_by_side(self._ranges(deals, ends)))
        rows = self._rows()

        def step(segment: Segment) -> tuple[Found, Sequence[Segment]]:
            if "ids" in segment:
                return rows.notes(comments_of(self._portal, segment["ids"])), []
            stretch = read_stretch(self._portal, deals, segment["after"], segment["upto"])
            ids = [int(row["id"]) for row in stretch.rows]
            chunks: list[Segment] = []
            after = segment["after"]
            for begin in range(0, len(ids), NOTE_DEALS):
                chunk = ids[begin : begin + NOTE_DEALS]
                chunks.append({"after": after, "upto": chunk[-1], "ids": chunk})
                after = chunk[-1]
            if stretch.after is not None:
                chunks.append({"after": stretch.after, "upto": segment["upto"]})
            return ((), ()), chunks

        yield from self._pages(position, walk(position.segments, step, in_flight=self._in_flight))

    def _read_stage_changes(self, since: str | None) -> Iterator[Page]:
        """Changes by id, which only grows; each read begins again ten minutes before the last."""
        listing = Listing("crm.stagehistory.list", (("entityTypeId", 2),), id_field="ID")
        position = Position.parse(since) if since else None
        if position is None or not position.segments:
            floor = position.settled if position else 0
            begin = Listing(listing.method, (*listing.pairs, ("filter[>ID]", floor)), id_field="ID")
            ends = self._portal.run({"first": begin.edge("ASC"), "last": begin.edge("DESC")})
            open_ranges = self._ranges(begin, ends, floor)
            # A bound only says that this is not a complete read.
            position = Position(self._mark(ends), str(floor) if floor else None, open_ranges, floor)
        settled_before = datetime.fromisoformat(position.mark) - SETTLED_AFTER
        rows = self._rows()

        def step(segment: Segment) -> tuple[tuple[Found, int], Sequence[Segment]]:
            stretch = read_stretch(self._portal, listing, segment["after"], segment["upto"])
            changes, stages = stretch.rows, segment.get("stages", {})
            earlier = earlier_stages(self._portal, changes, stages)
            found = rows.stage_changes(changes, previous_stages(changes, earlier))
            stages = latest_stages(changes, stages)
            rest = [] if stretch.after is None else [{**segment, "after": stretch.after, "stages": stages}]
            return (found, settled_up_to(changes, settled_before)), rest

        if not position.segments:
            yield Page(cursor=position.text(), last=True, whole=position.bound is None)
        steps = walk(position.segments, step, in_flight=self._in_flight)
        for ((records, unreadable), settled), segments in steps:
            position = replace(position, segments=segments, settled=max(position.settled, settled))
            yield Page(
                records=records,
                unreadable=unreadable,
                cursor=position.text(),
                last=not segments,
                whole=position.bound is None and not segments,
            )

    def _read_pipelines(self, since: str | None) -> Iterator[Page]:
        records, unreadable = self._rows().pipelines(pipelines(self._portal))
        yield Page(records, (), unreadable, cursor=pack({}), last=True, whole=True)

    def _read_owners(self, since: str | None) -> Iterator[Page]:
        records, unreadable = self._rows().owners(users(self._portal))
        yield Page(records, (), unreadable, cursor=pack({}), last=True, whole=True)

    def _ranges(self, listing: Listing, ends: Results, floor: int = 0) -> list[Segment]:
        first = [listing.id_of(row) for row in ends.values["first"]]
        last = [listing.id_of(row) for row in ends.values["last"]]
        if not first:
            return []
        found = ranges(first, max([*first, *last]), self._in_flight)
        return [{**found[0], "after": floor}, *found[1:]]

    def _mark(self, results: Results) -> str:
        if results.started is None:
            raise BadAnswer(f"{self.context.connection}: the portal does not tell its time")
        return results.started.isoformat()

    def _bound(self, mark: str) -> str:
        """Where an incremental read begins, as a bound that the portal's shift makes right."""
        moment = datetime.fromisoformat(mark)
        return (moment - self.options.overlap + self.options.shift).isoformat(timespec="seconds")


def _side_by_side(segments: Sequence[Segment]) -> list[Segment]:
    """The segments, of which even a single one may be walked by several threads."""
    return [{"after": one["after"], "upto": one["upto"]} for one in segments]
