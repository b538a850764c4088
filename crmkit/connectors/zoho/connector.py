"""Zoho CRM as a connector (API v8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

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
)
from crmkit.connectors.hooks import TOKEN_SECRET
from crmkit.connectors.http import Http
from crmkit.connectors.logins import Login
from crmkit.connectors.quota import Quota
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.connectors.writing import Budget, Change, Lookup, Written
from crmkit.connectors.zoho import columns, coql, costs, holding, login, rights, writes
from crmkit.connectors.zoho.calls import Calls, Gate, has_ids
from crmkit.connectors.zoho.coql import Source, chunks
from crmkit.connectors.zoho.customs import CREATABLE
from crmkit.connectors.zoho.dialect import (
    DOMAINS,
    MissingPermission,
    ZohoDialect,
    accounts_host,
    api_host,
    hosts_pattern,
    limits,
)
from crmkit.connectors.zoho.history import StageHistory
from crmkit.connectors.zoho.hooks import ZohoHooks
from crmkit.connectors.zoho.keys import KEYED
from crmkit.connectors.zoho.lists import Notes
from crmkit.connectors.zoho.posts import Posts
from crmkit.connectors.zoho.records import Reading, row_id
from crmkit.connectors.zoho.shape import Shapes
from crmkit.connectors.zoho.stages import pipelines
from crmkit.connectors.zoho.translation import Translation
from crmkit.connectors.zoho.walks import read_module
from crmkit.connectors.zoho.workspace import Metadata, missing_scopes, organisation, understood
from crmkit.connectors.zoho.writer import WRITING, Writer
from crmkit.errors import MissingScope, UnreadableRecord, Unsupported
from crmkit.model import (
    AnyRecord,
    Kind,
    Owner,
    Ref,
    StageChange,
    Workspace,
)

# Zoho shares 10 calls at once between COQL, sorted lists and large writes, in all editions.
_CALLS_AT_ONCE = 10
# A page is 2,000 records and several megabytes: more of them only fill the memory.
_PAGES_AT_ONCE = 4
_TABS = {Kind.DEAL: "Potentials", Kind.COMPANY: "Accounts", Kind.CONTACT: "Contacts"}


class ZohoOptions(ConnectorOptions):
    """Options of a Zoho connection in crmkit.toml.

    Attributes:
        data_centre: Where the org lives: us, eu, in, au, cn, jp, ca or sa. Tokens of one
            data centre do not work in another.
        environment: production, sandbox or developer.
        accounts_url: The token endpoint's host, beside `base_url`; `base_url` if absent.
        calls_at_once: The most calls at the same time: 5 in the Free edition, 10 in all
            others (Zoho allows more for some calls, but not for the ones made most).
        contact_role: The contact role of a deal's further contacts that have none of their
            own; without it such contacts are reported and not linked.
    """

    data_centre: Literal["us", "eu", "in", "au", "cn", "jp", "ca", "sa"] = "us"
    environment: Literal["production", "sandbox", "developer"] = "production"
    accounts_url: str | None = None
    calls_at_once: int = Option(default=_CALLS_AT_ONCE, ge=1, le=25)
    contact_role: str | None = None


class ZohoConnector(Connector):
    """Reads and writes deals and what belongs to them in Zoho CRM.

    A deal's contact is its `Contact_Name`; further contact roles need one call per deal
    and are not read. Notes on anything but deals and accounts are left out. A merged
    record is reported as deleted: Zoho does not say which one survived. A merge of accounts
    or contacts moves the links of deals without changing the deals (inferred), so only a
    whole read sees it; the same goes for records restored from the recycle bin.

    A whole read of stage changes gives `from_stage_id` only where the row itself tells it;
    `history` gives it always, and so do increments where COQL takes the module.

    A deal's stage tells its outcome, so nothing else is written for that. Notes carry their
    key as title; looking for it goes through lists, which may lag a little.
    """

    name = "zoho"
    title = "Zoho CRM"
    Options = ZohoOptions
    capabilities = Capabilities(
        incremental=frozenset({Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.STAGE_CHANGE, Kind.NOTE}),
        deletions={
            Kind.DEAL: Evidence.LISTED,
            Kind.COMPANY: Evidence.LISTED,
            Kind.CONTACT: Evidence.LISTED,
            Kind.PIPELINE: Evidence.ABSENT,
            Kind.OWNER: Evidence.ABSENT,
            Kind.NOTE: Evidence.ABSENT,
            Kind.STAGE_CHANGE: Evidence.ABSENT,
        },
        merges=Support.CANNOT,
        stage_history=Support.YES,
        notes=Support.YES,
        reads_one_contact=True,
        max_in_flight=_CALLS_AT_ONCE,
        version_seconds=1.0,
        search_lag_seconds=0.0,  # COQL reads the database
        find_lag_seconds=60.0,  # lists of notes; records are found by COQL
        side_effects_off=Support.YES,
        webhooks=Support.YES,
        writing=WRITING,
        creatable_fields=CREATABLE,
        field_label_length=25,  # field_label of the official "create fields" schema
    )
    secret_names = ("client_id", "client_secret", "refresh_token")
    example_options = (
        'data_centre = "us"               # where the org lives: us, eu, in, au, cn, jp, ca or sa',
        "# calls_at_once = 10             # 5 in the Free edition",
        '# contact_role = "Influencer"    # for further contacts of a deal that have no role of their own',
    )

    @classmethod
    def logins(cls, options: Any) -> tuple[Login, ...]:
        return login.logins(_accounts(options))

    def __init__(self, context: Context, options: ZohoOptions) -> None:
        super().__init__(context, options)
        base = options.base_url or api_host(options.data_centre, options.environment)
        accounts = _accounts(options)
        self._in_flight = min(options.in_flight or _PAGES_AT_ONCE, options.calls_at_once)
        gate = Gate(options.calls_at_once, context.clock, context.cancelled)
        self._dialect = ZohoDialect(
            context,
            accounts_url=accounts,
            environment=options.environment,
            fixed_host=options.base_url is not None,
            gate=gate,
        )
        http = Http(
            context,
            base_url=base,
            dialect=self._dialect,
            limits=limits(),
            hosts=hosts_pattern(options.accounts_url),
            configured=options.base_url is not None,
            in_flight=max(options.calls_at_once, 4),
        )
        self._dialect.use(http)
        self._calls = Calls(http, gate)
        self._hooks = ZohoHooks(
            self._calls, Posts(http, gate), lambda: context.secrets.get(TOKEN_SECRET).get_secret_value()
        )
        self._metadata = Metadata(self._calls, context.clock)
        self._notes = Notes(self._calls, context.connection)
        self._history = StageHistory(self._calls, self._metadata, context, in_flight=self._in_flight)
        self._shapes = Shapes(self._metadata, self._calls)
        at_once = min(options.in_flight or options.calls_at_once, options.calls_at_once)
        self._writer = Writer(
            context,
            self._calls,
            Posts(http, gate),
            self._metadata,
            self._shapes,
            self._notes,
            contact_role=options.contact_role,
            short=self._dialect.short,
            in_flight=at_once,
        )

    def hooks(self) -> ZohoHooks:
        return self._hooks

    def check(self) -> Workspace:
        lacking: Sequence[str] = ()
        org: Mapping[str, Any] = {}
        answer = None
        try:
            answer = self._calls.listing("/org")
            org = organisation(answer)
        except MissingPermission:
            raise
        except MissingScope:
            lacking = ("ZohoCRM.org.READ",)
        _, extra = self._dialect.tokens.current()
        lacking = tuple(dict.fromkeys((*lacking, *missing_scopes(self._calls, extra.get("scope")))))
        if lacking:
            raise MissingScope(f"{self.context.connection}: the credentials lack {', '.join(lacking)}")
        base = org.get("iso_code")
        currencies = self._currencies(org, base)
        self._shapes.saw_currencies(base, currencies)
        limits = {"calls_at_once": self.options.calls_at_once}
        if self._dialect.credits_remaining is not None:
            limits["credits_remaining"] = self._dialect.credits_remaining
        return Workspace(
            id=str(org.get("zgid") or org["id"]),
            name=str(org.get("company_name") or ""),
            time_zone=org.get("time_zone"),
            base_currency=base,
            currencies=currencies,
            limits=limits,
            server_time=answer.date if answer else None,
        )

    def _currencies(self, org: Mapping[str, Any], base: str | None) -> tuple[str, ...]:
        codes = [base] if base else []
        # The contract does not show its type: a flag or a word.
        if org.get("mc_status") in (True, "enabled"):
            try:
                rows = self._calls.listing("/org/currencies").rows
            except MissingScope:
                rows = []  # only a nicety: deals name their own currency
            codes += [row["iso_code"] for row in rows if row.get("is_active") is not False]
        return tuple(dict.fromkeys(codes))

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        if kind is Kind.PIPELINE:
            return self._read_pipelines()
        if kind is Kind.OWNER:
            return self._read_owners(since)
        if kind is Kind.NOTE:
            return self._notes.read(since)
        if kind is Kind.STAGE_CHANGE:
            return self._history.read(since)
        return self._read_module(kind, since)

    def _read_module(self, kind: Kind, since: str | None) -> Iterator[Page]:
        source = self._source(kind)
        return read_module(
            source,
            self.context.connection,
            kind,
            since,
            in_flight=self._in_flight,
            prepare=lambda: self._metadata.load(deals=kind is Kind.DEAL, module=source.module),
        )

    def _source(self, kind: Kind) -> Source:
        rows = Translation(self._metadata, self.context.connection, kind, partial(self._tab, kind))
        return Source(self._calls, columns.MODULES[kind], passes=rows.passes, translate=rows, deleted=True)

    def _tab(self, kind: Kind, org: Mapping[str, Any]) -> str | None:
        """Where records of a kind are in Zoho's UI; not known for sandboxes."""
        options = self.options
        if options.base_url or options.environment != "production" or not org.get("zgid"):
            return None
        centre = options.data_centre
        host = "crm.zohocloud.ca" if centre == "ca" else f"crm.zoho.{DOMAINS[centre]}"
        return f"https://{host}/crm/org{org['zgid']}/tab/{_TABS[kind]}/"

    def _read_pipelines(self) -> Iterator[Page]:
        self._metadata.forget_names()
        stage_field, rows = self._metadata.stage_field(), self._metadata.pipelines()
        found = understood("pipelines", lambda: pipelines(self.context.connection, stage_field, rows))
        yield Page(records=found, cursor=pack({"phase": "done"}), last=True, whole=True)

    def _read_owners(self, since: str | None) -> Iterator[Page]:
        at: dict[str, Any] = unpack(since) if since else {"phase": "done"}
        if at["phase"] == "done":
            at = {"phase": "users", "type": "AllUsers", "page": 1}
        while True:
            params = {"type": at["type"], "page": at["page"], "per_page": coql.ROWS_PER_LIST}
            answer = self._calls.listing("/users", params, check=has_ids)
            reading = Reading(self.context.connection)
            found, unreadable = translate.records(
                Owner, self.context.connection, Kind.OWNER, answer.rows, reading.owner, row_id
            )
            last = False
            if answer.more:
                at = {**at, "page": at["page"] + 1}
            elif at["type"] == "AllUsers":
                at = {"phase": "users", "type": "DeletedUsers", "page": 1}
            else:
                at, last = {"phase": "done"}, True
            yield Page(records=found, unreadable=unreadable, cursor=pack(at), last=last, whole=last)
            if last:
                return

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        found: list[AnyRecord] = []
        for kind in dict.fromkeys(ref.kind for ref in refs):
            ids = list(dict.fromkeys(ref.id for ref in refs if ref.kind is kind))
            found += self._get(kind, ids)
        return found

    def _get(self, kind: Kind, ids: Sequence[str]) -> Sequence[AnyRecord]:
        if kind in (Kind.PIPELINE, Kind.OWNER):
            pages = list(self.read(kind))
            wanted = set(ids)
            return [record for page in pages for record in page.records if record.ref.id in wanted]
        # Zoho's ids are digits; anything else cannot exist and must not get into a query.
        real = [native for native in ids if native.isascii() and native.isdigit()]
        if not real:
            return []
        if kind is Kind.STAGE_CHANGE:
            return self._history.get(real)
        read = self._notes.get if kind is Kind.NOTE else self._get_records(kind)
        segments = [{"ids": list(some)} for some in chunks(real, coql.IDS_PER_QUERY)]

        def step(segment: Segment) -> tuple[Page, Sequence[Segment]]:
            return read(segment["ids"]), ()

        found: list[AnyRecord] = []
        for page, _ in walk(segments, step, in_flight=self._in_flight):
            for odd in page.unreadable:
                raise UnreadableRecord(str(odd.ref), odd.field, odd.reason)
            found += page.records
        return found

    def _get_records(self, kind: Kind) -> Callable[[Sequence[str]], Page]:
        source = self._source(kind)
        self._metadata.load(deals=kind is Kind.DEAL, module=source.module)

        def read(ids: Sequence[str]) -> Page:
            records, unreadable = source.translate(source.with_ids(ids))
            return Page(records=records, unreadable=unreadable)

        return read

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        return self._history.of([ref.id for ref in deals if ref.id.isascii() and ref.id.isdigit()])

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in columns.MODULES:
            raise Unsupported(f"{self.context.connection}: Zoho describes no fields of a {kind}")
        metadata = self._metadata.fields(columns.MODULES[kind])
        if kind not in KEYED:
            return [columns.to_field(meta) for meta in metadata]
        self._shapes.saw_fields(kind, metadata)
        required = self._metadata.required(columns.MODULES[kind])
        return [columns.to_field(meta, required) for meta in metadata]

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        return self._writer.write(changes)

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        return self._writer.find(lookups)

    def unprepared(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return self._writer.unprepared(kinds)

    def prepare(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return self._writer.prepare(kinds)

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        return self._writer.create_field(kind, wanted)

    def quota(self) -> Quota | None:
        org = self._metadata.org()
        return rights.read_quota(org, self._dialect.credits_remaining)

    def unwritable(self, kinds: Sequence[Kind]) -> Sequence[str]:
        return rights.unwritable(self._dialect.tokens.current()[1].get("scope"), kinds)

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return holding.holds(kind, values, self._shapes.seen(kind))

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return self._writer.cannot_hold(kind, values)

    def budget(self, changes: Sequence[Change]) -> Budget:
        return writes.budget(changes)

    def reading_budget(self, kind: Kind, records: int, *, whole: bool = False) -> Budget:
        read = costs.whole_read if whole else costs.get
        return read(kind, records, self._shapes.seen(kind))

    def finding_budget(self, kind: Kind, lookups: Sequence[Lookup], *, existing: int = 0) -> Budget:
        return costs.find(kind, lookups, existing)

    def close(self) -> None:
        self._calls.http.close()


def _accounts(options: ZohoOptions) -> str:
    return options.accounts_url or options.base_url or accounts_host(options.data_centre)
