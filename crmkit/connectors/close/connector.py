"""Reads Close.

A lead is the company, an opportunity the deal, its status the stage. Opportunities have
no name: see `CloseConnector.Options.name_field`.

Source: https://developer.close.com/api
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

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
from crmkit.connectors.close import custom, dialect, plans, records, walks
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.steps import PATHS, Found, Steps, merged, server_time
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.errors import AccessDenied, BadAnswer, ConfigError, IncompleteRead, UnreadableRecord
from crmkit.model import AnyRecord, Kind, Owner, Pipeline, Ref, StageChange, Workspace

OVERLAP = timedelta(minutes=5)
# Events are kept for 30 days; an increment that reaches further back cannot see deletions.
EVENTS_KEPT = timedelta(days=29, hours=23)
LEAD_ROUNDS = 3
BULK_HISTORY_ABOVE = 200
_SCHEMAS = {Kind.DEAL: "opportunity", Kind.COMPANY: "lead", Kind.CONTACT: "contact"}


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
        stage_history=Support.YES,
        notes=Support.YES,
        deal_names=Support.CANNOT,
        deal_currencies=Support.CANNOT,
        stage_probability=Support.CANNOT,
        version_seconds=0.001,
    )
    secret_names = ("api_key", "client_id", "client_secret", "refresh_token")

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
        self._known: dict[Kind, CustomFields] = {}

    def check(self) -> Workspace:
        me = self._steps(Kind.DEAL, CustomFields(), full=True).ask(_get("/me/"), _dated)
        native = self._organization_id(me[0])
        organization = self._organization(native, "id,name,currency")
        currency = organization.get("currency")
        return Workspace(
            id=native,
            name=str(organization.get("name") or native),
            # Close has no zone of the organization; each user has one.
            time_zone=None,
            base_currency=currency,
            currencies=(currency,) if currency else (),
            server_time=me[1],
            user=me[0].get("email") or me[0].get("id"),
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
            wanted = [ref.id for ref in refs if ref.kind is kind]
            if kind in (Kind.PIPELINE, Kind.OWNER):
                pages = self._pipelines() if kind is Kind.PIPELINE else self._owners()
                found += [record for page in pages for record in page.records if record.ref.id in wanted]
            else:
                found += self._singles(kind, wanted)
        return found

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        wanted = {ref.id for ref in deals}
        if len(wanted) > BULK_HISTORY_ABOVE:
            yield from self._bulk_history(wanted)
            return
        steps = self._steps(Kind.STAGE_CHANGE, CustomFields(), full=True)

        def step(segment: Segment) -> tuple[list[StageChange], Sequence[Segment]]:
            params = {
                "opportunity_id": segment["id"],
                "_limit": str(walks.ACTIVITIES_PER_PAGE),
                "_skip": str(segment["skip"]),
            }
            call = _get(PATHS[Kind.STAGE_CHANGE], params)
            rows, more, _ = steps.ask(call, lambda answer: walks.page_of(answer.json()))
            changes = _readable(steps.translated(rows))
            rest = [{**segment, "skip": segment["skip"] + len(rows)}] if more else []
            return [change for change in changes if isinstance(change, StageChange)], rest

        gathered: dict[str, list[StageChange]] = {}
        segments: list[Segment] = [{"id": native, "skip": 0} for native in sorted(wanted)]
        for changes, _ in walk(segments, step, in_flight=self.in_flight, cancel=_nothing):
            for change in changes:
                gathered.setdefault(change.deal_id, []).append(change)
        for changes in gathered.values():
            yield _in_order(changes)

    def fields(self, kind: Kind) -> Sequence[Field]:
        schema = _SCHEMAS.get(kind)
        if schema is None:
            return super().fields(kind)
        rows, _ = self._schema(schema)
        fixed = [Field(id=name, label=name, type=type_) for name, type_ in custom.FIXED_FIELDS[kind]]
        return [*fixed, *(custom.describe(row) for row in rows)]

    def close(self) -> None:
        self.http.close()

    # Small lists, read whole.

    def _pipelines(self) -> Iterator[Page]:
        body = self._ask_mapping(_get("/pipeline/"))
        rows, _, _ = walks.page_of(body)
        good, bad = translate.records(
            Pipeline,
            self.context.connection,
            Kind.PIPELINE,
            list(enumerate(rows)),
            records.pipeline_translator(self.context.connection),
            records.identify,
        )
        yield Page(good, (), bad, pack({"k": Kind.PIPELINE}), last=True, whole=True)

    def _owners(self) -> Iterator[Page]:
        native = self._organization_id(self._ask_mapping(_get("/me/")))
        organization = self._organization(native, "id,memberships,inactive_memberships")
        rows: dict[str, Row] = {}
        former: set[str] = set()
        for name in ("memberships", "inactive_memberships"):
            for membership in organization.get(name) or ():
                rows[membership["user_id"]] = membership
                if name == "inactive_memberships":
                    former.add(membership["user_id"])
        current = {row["user_id"] for row in organization.get("memberships") or ()}
        for user in self._users():
            rows[user["id"]] = user
        good, bad = translate.records(
            Owner,
            self.context.connection,
            Kind.OWNER,
            rows.values(),
            records.owner_translator(self.context.connection, frozenset(former - current)),
            lambda row: str(row.get("user_id") or row["id"]),
        )
        yield Page(good, (), bad, pack({"k": Kind.OWNER}), last=True, whole=True)

    def _users(self) -> Iterator[Row]:
        skip = 0
        while True:
            params = {"_limit": "1000", "_skip": str(skip)}
            rows, more, _ = walks.page_of(self._ask_mapping(_get("/user/", params)))
            yield from rows
            skip += len(rows)
            if not more:
                return

    def _organization_id(self, me: Row) -> str:
        if isinstance(me.get("organization_id"), str):
            return str(me["organization_id"])
        for found in me.get("organizations") or ():
            return str(found["id"] if isinstance(found, dict) else found)
        for membership in me.get("memberships") or ():
            if membership.get("organization_id"):
                return str(membership["organization_id"])
        raise AccessDenied(f"{self.context.connection}: the user belongs to no organization in Close")

    def _organization(self, native: str, fields: str) -> Row:
        call = Call(
            "GET",
            f"/organization/{native}/",
            params={"_fields": fields},
            buckets=("GET organization",),
            label="GET /organization/{id}/",
        )
        return self._ask_mapping(call)

    def _schema(self, what: str) -> tuple[list[Row], datetime]:
        """Custom field definitions, and the server's time when they were read."""
        label = f"GET /custom_field_schema/{what}/"
        call = Call("GET", f"/custom_field_schema/{what}/", buckets=("GET custom_field_schema",), label=label)

        def read(answer: Answer) -> tuple[list[Row], datetime]:
            rows = answer.mapping().get("fields")
            if not isinstance(rows, list):
                raise BadAnswer("the answer holds no list of fields")
            return [row for row in rows if isinstance(row, dict)], server_time(answer)

        return self._steps(Kind.DEAL, CustomFields(), full=True).ask(call, read)

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
            asking = self._steps(kind, CustomFields(), full=False)
            state = plans.increment(asking, walks.moment(cursor["since"]), now)
        yield from self._pages(self._steps(kind, fields, full=state["full"]), state)

    def _prepared(self, kind: Kind) -> tuple[CustomFields, datetime]:
        rows, now = self._schema(_SCHEMAS.get(kind, "opportunity"))
        try:
            wanted = self.options.name_field if kind is Kind.DEAL else None
            self._known[kind] = CustomFields.of(rows, name_field=wanted)
            return self._known[kind], now
        except LookupError as error:
            raise ConfigError(
                f"{self.context.connection}: {error.args[0]} on opportunities",
                hint="Name it in `name_field` by its id (cf_…); `crmkit doctor` lists the fields.",
            ) from error

    def _pages(self, steps: Steps, state: dict[str, Any]) -> Iterator[Page]:
        rounds = 0
        while True:
            steps.begin(state["segs"])
            last = Found()
            for found, still_open in self._walk(state["segs"], steps):
                if not still_open:
                    last = found
                    continue
                cursor = pack({**state, "segs": list(still_open)})
                yield Page(found.records, found.tombstones, found.unreadable, cursor)
            if not plans.slid(steps, state):
                break
            rounds += 1
            if rounds >= LEAD_ROUNDS:
                raise IncompleteRead(
                    f"{self.context.connection}: leads are deleted or merged faster than they can be listed"
                )
            state = plans.full(steps.kind, self._prepared(steps.kind)[1])
            yield Page(last.records, last.tombstones, last.unreadable, pack(state))
        start = walks.wire(walks.moment(state["t0"]) - OVERLAP)
        cursor = pack({"k": state["k"], "since": start})
        yield Page(last.records, last.tombstones, last.unreadable, cursor, last=True, whole=state["full"])

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
        for (native, row), _ in walk(segments, step, in_flight=self.in_flight, cancel=_nothing):
            rows[native] = row
        if kind is Kind.COMPANY and None in rows.values():
            rows = {**rows, **self._survivors(steps, [native for native, row in rows.items() if row is None])}
        unique = {row["id"]: row for row in rows.values() if row is not None}
        if kind is Kind.NOTE:
            unique = {native: row for native, row in unique.items() if row.get("note")}
        return _readable(steps.translated(list(unique.values())))

    def _survivors(self, steps: Steps, lost: Iterable[str]) -> dict[str, Row | None]:
        now = self._schema("lead")[1]
        into: dict[str, str] = {}
        for event in steps.events("lead", "merged", now - EVENTS_KEPT):
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

    def _bulk_history(self, wanted: set[str]) -> Iterator[Sequence[StageChange]]:
        gathered: dict[str, dict[str, StageChange]] = {}
        for page in self.read(Kind.STAGE_CHANGE):
            for change in page.records:
                if isinstance(change, StageChange) and change.deal_id in wanted:
                    gathered.setdefault(change.deal_id, {})[change.ref.id] = change
        for changes in gathered.values():
            yield _in_order(changes.values())

    def _walk(self, segments: Sequence[Segment], steps: Steps) -> Iterator[tuple[Found, Sequence[Segment]]]:
        return walk(segments, steps.step, in_flight=self.in_flight, cancel=_nothing)

    def _steps(self, kind: Kind, fields: CustomFields, *, full: bool) -> Steps:
        return Steps(self.context, self.http, kind, fields, self.in_flight, full=full)

    def _ask_mapping(self, call: Call) -> Row:
        return self._steps(Kind.DEAL, CustomFields(), full=True).ask(call, Answer.mapping)


def _api_root(base_url: str) -> str:
    """The configured address, with the API's path if it names only a host."""
    return base_url if urlsplit(base_url).path.strip("/") else f"{base_url.rstrip('/')}/api/v1"


def _get(path: str, params: dict[str, str] | None = None) -> Call:
    return Call(
        "GET", path, params=params, buckets=(f"GET {path.strip('/').partition('/')[0]}",), label=f"GET {path}"
    )


def _dated(answer: Answer) -> tuple[Row, datetime]:
    return answer.mapping(), server_time(answer)


def _readable(found: Found) -> list[AnyRecord]:
    for bad in found.unreadable:
        raise UnreadableRecord(str(bad.ref), bad.field, bad.reason)
    return list(found.records)


def _in_order(changes: Iterable[StageChange]) -> list[StageChange]:
    return sorted(changes, key=lambda change: (change.at, change.ref.id))


def _nothing() -> None:
    """Steps in flight end by themselves; nothing has to be woken."""
