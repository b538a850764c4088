"""Sandbox CRMs on real HTTP with users, and a sync over them; all go by one clock, and nobody waits.

The server is started once; a history gets new apps with new worlds behind the same ports.
"""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.types import Receive, Scope, Send

from crmkit.connectors.base import Connector, Context, Page
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.registry import connector as connector_class
from crmkit.connectors.writing import Change, Keys, Lookup, Written
from crmkit.errors import Transient
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import AnyRecord, Kind, Outcome, Pipeline, Ref
from crmkit.model import Deal as ModelDeal
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.faults import FaultPlan
from crmkit.sandbox.rows import Change as RowChange
from crmkit.sandbox.rows import Deal
from crmkit.sandbox.seed import seed_worlds
from crmkit.sandbox.server import Sandbox, vendor_app
from crmkit.sandbox.wire import Settings
from crmkit.sync import pull
from crmkit.sync.group import digest8
from crmkit.sync.pull import Pull
from crmkit.sync.run import SyncResult
from crmkit.sync_settings import Role
from tests.connectors.conftest import FakeSecrets
from tests.sandbox_bench import NOW, BoxClock
from tests.scenarios import syncing
from tests.sync.base_lab import BaseLab
from tests.sync.faulty import Fuse
from tests.sync.ledger import TOLD, Ledger
from tests.sync.stores import StoreFiles

ON_THE_WAY = (0, 4, 5)
STEADY_KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
STAGES = ("s1", "s2", "s3", "won")
COMMON = ("qualification", "proposal", "negotiation")
COMPANIES = (("Northwind Traders", "northwind.example"), ("Öl & Gas", "oel.example"))
PLANTED = "PO-4711"  # in a field that no sync names
_KEY_FIELDS = {"crmkit_key", "crmkit_id", "b24:originatorId", "b24:originId"}
_OURS = {  # what an update may change, and what a CRM changes by itself together with it
    "name", "pipeline_id", "stage_id", "status", "closed_at", "stage_entered", "history", "amount",
    "currency", "expected_close", "company_id", "contact_ids", "custom", "tags", "modified", "probability",
    "last_activity",
}  # fmt: skip


class LabClock(BoxClock):
    """The sandbox's clock on the engine's side; it knows the lab, for whoever knows only the clock."""

    lab: SandboxLab


class Port:
    """The address of one CRM, behind which the app can be changed."""

    origin = "http://127.0.0.1:0"

    def __init__(self, crm: str) -> None:
        self.name = crm
        self.app: VendorApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@contextmanager
def served(crms: Sequence[str]) -> Iterator[dict[str, Port]]:
    """A server with a port for each CRM."""
    ports = {crm: Port(crm) for crm in crms}
    box = Sandbox(ports)  # type: ignore[arg-type]
    box.start()
    try:
        yield ports
    finally:
        box.stop()


def fresh_apps(ports: Mapping[str, Port], clock: Clock) -> dict[str, VendorApp]:
    """New apps behind the ports, with users and pipelines and nothing else."""
    classes = {crm: vendor_app(crm) for crm in ports}
    seeds = {crm: app.vendor_seed() for crm, app in classes.items()}
    worlds = seed_worlds(seeds, deals=1, seed=1, now=clock(), clock=clock)
    apps = {}
    for crm, world in worlds.items():
        for kind in ("note", "deal", "contact", "company"):
            world.live.tables[kind].clear()  # type: ignore[index]
        world.deleted.clear()
        world.merged.clear()
        apps[crm] = classes[crm](world, Settings(limits=False, slow_seconds=0.0))
        apps[crm].origin = ports[crm].origin
        ports[crm].app = apps[crm]
    return apps


@dataclass
class SandboxFaults:
    """What goes wrong in one run.

    Attributes:
        plans: Per CRM, what goes wrong on the wire.
        kill_after: After how many steps the process dies.
        edits: What users do in the middle of a call: (CRM, call, after how many requests) to an action.
        after_pull: What users do between pull and plan.
    """

    plans: Mapping[str, FaultPlan] = field(default_factory=dict)
    kill_after: int | None = None
    edits: dict[tuple[str, str, int], Callable[[], None]] = field(default_factory=dict)
    after_pull: Callable[[], None] = lambda: None

    @property
    def any(self) -> bool:
        """Whether a run may fail because of them."""
        return bool(self.plans) or self.kill_after is not None


class SandboxBox:
    """One sandbox CRM and its users.

    Attributes:
        app: The CRM.
        planted: Deals that take no part, as they must stay.
        acting: Whether users change something now, and not the sync.
        gap: Whether what users change now may be overwritten before the sync can see it.
    """

    def __init__(self, app: VendorApp, ledger: Ledger) -> None:
        self.app, self.ledger = app, ledger
        self.name = app.name
        self.world = app.world
        self.acting = self.gap = False
        self.clones: set[str] = set()
        self.dead_keys: set[str] = set()
        self.is_linked: Callable[[Ref], bool] = lambda ref: False
        self.read_deals: Callable[[list[str]], Sequence[ModelDeal]] = lambda ids: []
        pipelines = list(self.world.pipelines.values())
        self.pipeline = next(one for one in pipelines if len(_open(one)) >= 4)
        elsewhere = next(one for one in pipelines if one is not self.pipeline)
        self.unmapped = _open(self.pipeline)[3]
        self.abilities = connector_class(self.name).capabilities
        self.owner = next(iter(self.world.users))
        self.companies, self.contacts = [], []
        for name, domain in COMPANIES:
            company = self.world.create_company(name=name, domain=domain, owner_id=self.owner)
            self.companies.append(company.id)
            person = self.world.create_contact(
                first="Ana", last=f"of {domain}", emails=(f"ana@{domain}",), company_id=company.id,
                owner_id=self.owner,
            )  # fmt: skip
            self.contacts.append(person.id)
        self.planted = {}
        for number in range(3):
            deal = self.world.create_deal(
                name=f"Elsewhere {number}", pipeline_id=elsewhere.id, owner_id=self.owner,
                company_id=self.companies[0], contact_ids=(self.contacts[0],),
            )  # fmt: skip
            self.planted[deal.id] = deal
        self.world.listeners.append(self._changed)

    # What is there

    def rows(self) -> dict[str, Deal]:
        """The deals that take part."""
        return {id: row for id, row in self.world.deals.items() if id not in self.planted}

    def deals(self) -> Mapping[str, ModelDeal]:
        return {one.ref.id: one for one in self.read_deals(sorted(self.rows()))}

    def company_of(self, native: str) -> str | None:
        """The name of a deal's company."""
        company = self.world.companies.get(self.world.deals[native].company_id or "")
        return company.name if company else None

    def live_keys(self, doubtful: set[str]) -> Counter[str]:
        return Counter(
            key for id, row in self.rows().items() if id not in doubtful for key in set(keys_of(row))
        )

    def pick(self, number: int) -> Deal | None:
        # In the order of creation, which ids do not tell everywhere.
        rows = list(self.rows().values())
        return rows[number % len(rows)] if rows else None

    @property
    def spoke(self) -> str:
        return digest8(f"{self.name}:{self.world.workspace_id}")

    # What users do

    @contextmanager
    def _users(self) -> Iterator[None]:
        self.settle()
        self.acting = True
        try:
            yield
        finally:
            self.acting = False

    def create(self, **values: Any) -> Deal:
        fields: dict[str, Any] = {name: self._value(name) for name in TOLD}
        with self._users():
            row = self.world.create_deal(
                **{
                    "currency": "USD",
                    "pipeline_id": self.pipeline.id,
                    "owner_id": self.owner,
                    "company_id": self.companies[0],
                    "contact_ids": (self.contacts[0],),
                    "custom": {"po_number": PLANTED},
                    **fields,
                    **values,
                }
            )
        return self._noted(row, None)

    def edit(self, deal: Deal, name: str, stage: str = "s2") -> None:
        before = self.world.deals.get(deal.id)
        if before is None:
            return
        if name == "stage":
            values = self._moved(stage)
        elif name == "company":
            other = self.companies[self.companies[0] == before.company_id]
            person = self.contacts[self.companies.index(other)]
            values = {"company_id": other, "contact_ids": (person,)}
        elif name == "planted":
            values = {"custom": {"po_number": f"{PLANTED}-{self.ledger.last}"}}
        else:
            values = {name: self._value(name)}
        with self._users():
            after = self.world.edit_deal(deal.id, **values)
        self._noted(after, before)

    def delete(self, deal: Deal, group8: str) -> None:
        if deal.id in self.world.deals:
            self._forget(deal, group8)
            with self._users():
                self.world.delete_deal(deal.id)

    def merge(self, loser: Deal, winner: Deal, *, third: bool) -> None:
        if self.name == "close":  # merges leads, never deals
            return
        if self.name != "hubspot":  # elsewhere nothing tells a merge from a deletion
            self._forget(loser, "")
        with self._users():
            self.world.merge_deals(loser.id, winner.id)

    def clone(self, deal: Deal) -> None:
        current = self.world.deals.get(deal.id, deal)
        custom: dict[str, Any] = {"po_number": PLANTED}
        if self.abilities.writing[Kind.DEAL].keys is not Keys.UNIQUE:
            custom |= {name: value for name, value in current.custom.items() if name in _KEY_FIELDS}
        copy = self.create(custom=custom, tags=current.tags)
        if keys_of(copy):
            self.clones.add(copy.id)

    def settle(self) -> None:
        """Let the CRM carry out what is due by now."""
        if self.app.late:
            with urllib.request.urlopen(f"{self.app.origin}/_sandbox/stats", timeout=30) as answer:
                answer.read()

    def _value(self, name: str) -> Any:
        return self.ledger.value(name, cents=True, blanks=False)

    def _moved(self, stage: str) -> dict[str, Any]:
        opens = _open(self.pipeline)
        if stage != "won":
            return {"stage_id": opens[STAGES.index(stage)].id, "status": "open", "closed_at": None}
        won = [one for one in self.pipeline.stages if one.outcome == "won"]
        if won:
            return {"stage_id": won[0].id}
        return {"status": "won", "closed_at": self.world.now()}

    def _noted(self, row: Deal, before: Deal | None) -> Deal:
        old = self.ledger.tokens(before) if before is not None else {}
        for name, token in self.ledger.tokens(row).items():
            if token == old.get(name):
                continue
            self.ledger.parent[token] = old.get(name)
            self.ledger.at[token] = self.name
            if self.gap or self.app.late:
                self.ledger.gap.add(token)
        return row

    def _forget(self, deal: Deal, group8: str) -> None:
        for token in self.ledger.tokens(deal).values():
            self.ledger.deleted |= self.ledger.history(token)
        if group8 and deal.id not in self.clones and self.is_linked(Ref(self.name, Kind.DEAL, deal.id)):
            keys = keys_of(deal)
            self.dead_keys |= set(keys) or {f"{group8}:{self.spoke}:deal:{deal.id}"}

    # What the sync does here

    def _changed(self, change: RowChange) -> None:
        if self.acting or change.before is None:
            return
        if change.kind in ("company", "contact"):
            self._check_party(change)
        elif change.kind == "deal":
            if change.id in self.planted:
                self.problem(f"the deal {change.id} takes no part, and was changed")
            elif change.after is None:
                for token in self.ledger.tokens(change.before).values():
                    if token not in self.ledger.deleted and token not in self.ledger.gap:
                        self.problem(f"deleted {token}, which no deleter had seen")
            else:
                self._check_update(change.before, change.after)

    def _check_update(self, before: Deal, after: Deal) -> None:
        changed = {name for name in Deal.__slots__ if getattr(before, name) != getattr(after, name)}
        kept = [
            name
            for name in self.world.fields["deal"].keys() - _KEY_FIELDS
            if before.custom.get(name) != after.custom.get(name)
        ]
        if changed - _OURS or kept:
            self.problem(f"changed {sorted(changed - _OURS)} {kept} of {before.id}, which nobody named")
        now = self.ledger.tokens(after)
        for name, token in self.ledger.tokens(before).items():
            if now.get(name) == token or token in self.ledger.seen or token not in self.ledger.parent:
                continue
            if token in self.ledger.gap:
                self.ledger.excuse(token)
            else:
                self.problem(f"overwrote {token} without looking")

    def _check_party(self, change: RowChange) -> None:
        for name in ("name", "domain", "first", "last", "emails"):
            before, after = getattr(change.before, name, None), getattr(change.after, name, None)
            if change.id in (*self.companies, *self.contacts) and before != after:
                self.problem(f"changed the {name} of the {change.kind} {change.id}")

    def problem(self, what: str) -> None:
        self.ledger.problems.append(f"{self.name}: {what}")


class Watched:
    """A connector whose calls are seen by the lab; everything else is the connector's own."""

    def __init__(self, inner: Connector, lab: SandboxLab, box: SandboxBox) -> None:
        self._inner, self._lab, self._box = inner, lab, box

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        with self._lab.during(self._box, "list"):
            for page in self._inner.read(kind, since):
                self._shown(page.records)
                yield page

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        with self._lab.during(self._box, "get"):
            found = self._inner.get(refs)
            self._shown(found)
            return found

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        with self._lab.during(self._box, "find"):
            return self._inner.find(lookups)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        for change in changes:
            self._lab.asked(self._box, change)
        with self._lab.during(self._box, "write"):
            for some in self._inner.write(changes):
                self._shown([one.record for one in some if one.record is not None])
                yield some

    def _shown(self, records: Sequence[AnyRecord]) -> None:
        for record in records:
            self._lab.ledger.seen.update(self._lab.ledger.tokens(record).values())


class SandboxLab(BaseLab[SandboxBox, SandboxFaults]):
    """Sandbox CRMs, their users, and a sync.

    Args:
        ports: Where the CRMs are served.
        store: Where the state store lives.
        settings: Of the sync.
        lagging: Whether indexes trail behind nearly as far as the connectors say.
    """

    needs_a_whole_read = True
    fields = ("name", "stage", "amount", "expected_close", "company", "contacts")

    def __init__(
        self,
        ports: Mapping[str, Port],
        store: StoreFiles,
        settings: Mapping[str, Any],
        *,
        lagging: bool = False,
    ) -> None:
        self._sandbox_clock = Clock(NOW)
        clock, ledger = LabClock(self._sandbox_clock), Ledger()
        clock.lab = self
        boxes = {crm: SandboxBox(app, ledger) for crm, app in fresh_apps(ports, self._sandbox_clock).items()}
        self._connectors: list[Connector] = []
        self._doing: tuple[SandboxBox, str] | None = None
        self._requests_of_call = 0
        self.faults = SandboxFaults()
        for box in boxes.values():
            box.is_linked = self.is_linked
            box.read_deals = lambda ids, box=box: self._read(box, ids)
            if lagging:
                box.world.lag_seconds = 0.8 * _lag(box)
        scope = {name: {"pipelines": [box.pipeline.id]} for name, box in boxes.items()}
        member = {name: {"pipeline": box.pipeline.id} for name, box in boxes.items()}
        for name, more in settings.get("member", {}).items():
            member[name] |= more
        super().__init__(store, boxes, ledger, clock, {**settings, "scope": scope, "member": member})

    @property
    def maps(self) -> Mapping[str, StageMap]:
        return {
            name: _stage_map(name, box.pipeline.id, self._pipelines(box)) for name, box in self.boxes.items()
        }

    @property
    def lag(self) -> float:
        return max(map(_lag, self.boxes.values()))

    def advance(self, seconds: float) -> None:
        clock = self._sandbox_clock
        end = clock() + timedelta(seconds=seconds)
        while due := sorted(
            call.due for box in self.boxes.values() for call in box.app.late if call.due <= end
        ):
            clock.advance(max(0.0, (due[0] - clock()).total_seconds()))
            for box in self.boxes.values():
                box.settle()
        clock.advance(max(0.0, (end - clock()).total_seconds()))

    def connect(self, name: str) -> Connector:
        connector = self._plain(self.boxes[name])
        return Watched(connector, self, self.boxes[name])  # type: ignore[return-value]

    def _plain(self, box: SandboxBox) -> Connector:
        kind = connector_class(box.name)
        context = Context(box.name, FakeSecrets(**box.app.credentials), clock=self.clock)
        connector = kind(context, kind.Options(**{**box.app.connection, "in_flight": 1}))
        self._connectors.append(connector)
        return connector

    def pull(self, *, full: bool = False) -> Mapping[str, str]:
        kinds = pull.KINDS if self.fresh else STEADY_KINDS
        failed: dict[str, str] = {}
        for name in self.boxes:
            result = Pull(self.state, self.connect(name), kinds=kinds, full=full).run()
            if result.error is not None:
                assert self.faults.any, result.error
                failed[name] = str(result.error)
        self.fresh = self.fresh and bool(failed)
        return failed

    def run(self, faults: SandboxFaults | None, act: Any, **options: Any) -> Any:
        try:
            result = super().run(faults, act, **options)
        except Transient:
            if faults is None or not faults.any:
                raise
            return None
        finally:
            for connector in self._connectors:
                connector.close()
            self._connectors.clear()
        if isinstance(result, SyncResult):
            assert result.exit_code in ON_THE_WAY, result
        for box in self.boxes.values():
            assert not box.app.crashes, box.app.crashes
        return result

    def plan(self) -> Any:
        before = self._written()
        file = super().plan()
        assert self._written() == before, "a plan wrote something"
        return file

    def _written(self) -> list[int]:
        return [box.app.requests.kinds["write"] for box in self.boxes.values()]

    @contextmanager
    def failing(self, faults: SandboxFaults | None) -> Iterator[None]:
        self.faults = faults or SandboxFaults()
        for name, plan in self.faults.plans.items():
            self.boxes[name].app.faults = plan
        self.fuse.left = self.faults.kill_after
        try:
            yield
        finally:
            for box in self.boxes.values():
                box.app.faults = FaultPlan()
            self.faults = SandboxFaults()

    def between_pull_and_plan(self) -> None:
        self.faults.after_pull()

    def check(self) -> None:
        super().check()
        for box in self.boxes.values():
            for id, deal in box.planted.items():
                assert box.world.deals[id] == deal
            for kind in ("company", "contact"):
                rows = box.world.live.tables[kind].values()  # type: ignore[index]
                keys = Counter(key for row in rows for key in set(keys_of(row)))
                assert all(count == 1 for count in keys.values()), f"{box.name} holds a {kind} twice"

    def _check_member(self, group, entity, there, links, box, name, excused) -> None:
        super()._check_member(group, entity, there, links, box, name, excused)
        # Close fixes a deal's company; it refuses a person of another one, and that is what is reported.
        told = {(entity.id, "company"), (entity.id, "contacts"), (entity.id, None)}
        if told & excused or len(there) < len(self.boxes):
            return
        if any(group.members[one].settings.role is Role.TARGET for one in there):
            return
        found = {one: self.boxes[one].company_of(link.native_id) for one, link in there.items()}
        assert len(set(found.values())) == 1, f"the company of {entity.id} is {found}"

    # What is seen of the engine's calls

    @contextmanager
    def during(self, box: SandboxBox, call: str) -> Iterator[None]:
        """One call of a connector."""
        before, self._doing, self._requests_of_call = self._doing, (box, call), 0
        try:
            yield
        finally:
            self._doing = before

    def asked(self, box: SandboxBox, change: Change) -> None:
        """Every write has an older intent that is stored."""
        native = change.ref.id if change.ref else None
        found = self.intents(box.name, change.act.value, native, change.key)
        if found != 1:
            box.problem(f"{change.act} of {change.ref or change.key} with {found} stored intents")
        self.requests[box.name, change.act.value, change.key or str(change.ref)] += 1

    def sent(self, http: Http, send: Callable[[], Answer]) -> Answer:
        """One request on its way."""
        self.fuse.touch()
        self._sandbox_clock.advance(0.001)
        if self._doing is not None:
            box, call = self._doing
            action = self.faults.edits.pop((box.name, call, self._requests_of_call), None)
            if action is not None:
                box.gap = call == "write" or (call == "get" and self._requests_of_call > 0)
                action()
                box.gap = False
            self._requests_of_call += 1
        answer = send()
        self.fuse.touch()
        return answer

    def _read(self, box: SandboxBox, ids: list[str]) -> Sequence[ModelDeal]:
        with self._unwatched() as connector:
            found = connector(box).get([Ref(box.name, Kind.DEAL, id) for id in ids])
        return [one for one in found if isinstance(one, ModelDeal)]

    @contextmanager
    def _unwatched(self) -> Iterator[Callable[[SandboxBox], Connector]]:
        fuse, self.fuse = self.fuse, Fuse()
        try:
            yield self._plain
        finally:
            self.fuse = fuse

    def _pipelines(self, box: SandboxBox) -> tuple[Pipeline, ...]:
        if box.name not in _PIPELINES:
            with self._unwatched() as connector:
                pages = list(connector(box).read(Kind.PIPELINE))
            records = [one for page in pages for one in page.records]
            _PIPELINES[box.name] = tuple(one for one in records if isinstance(one, Pipeline))
        return _PIPELINES[box.name]


_PIPELINES: dict[str, tuple[Pipeline, ...]] = {}  # they are the same in every history


def watch_requests(monkeypatch: Any) -> None:
    """Let labs see every request of their connectors."""
    transfer = Http._transfer

    def watched(http: Http, call: Call, attempts: Any) -> Answer:
        clock = http.context.clock
        if isinstance(clock, LabClock):
            return clock.lab.sent(http, lambda: transfer(http, call, attempts))
        return transfer(http, call, attempts)

    monkeypatch.setattr(Http, "_transfer", watched)


def keys_of(row: Any) -> list[str]:
    """Our keys in one record, spelt alike everywhere."""
    return [key.replace("/", ":") for key in syncing.keys_of(row)]


def _lag(box: SandboxBox) -> float:
    return max(box.abilities.find_lag_seconds, box.abilities.search_lag_seconds)


def _open(pipeline: Any) -> list[Any]:
    return [one for one in pipeline.stages if one.outcome == "open"]


def _stage_map(name: str, pipeline_id: str, pipelines: Sequence[Pipeline]) -> StageMap:
    """The first three open stages of the pipeline mean something; the fourth stays without a meaning."""
    (pipeline,) = (one for one in pipelines if one.ref.id == pipeline_id)
    opens = [one.id for one in pipeline.stages if one.outcome is Outcome.OPEN]
    named = dict(zip(opens, COMMON, strict=False))
    for outcome in (Outcome.WON, Outcome.LOST):
        ended = [one.id for one in pipeline.stages if one.outcome is outcome]
        named |= dict.fromkeys(ended[:1], outcome.value)
    return resolve({pipeline_id: named}, pipelines, DEFAULT_OUTLINE, connection=name)[0]
