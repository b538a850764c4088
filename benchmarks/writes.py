"""What writing many deals through the sync engine costs each CRM: requests, seconds, memory.

    python benchmarks/writes.py [--deals 10000] [--latency-ms 0] [CRM...]

One source, one target. The target holds as many deals already, with their companies and people,
who are linked to those of the source. Then as many deals are created in the target, two fields
of each are changed, and all of them are deleted again: each time a plan, then its `apply`, over
HTTP against a sandbox in a process of its own, with its limits off. `memory` as the target
shows what the engine needs by itself.

Requests are exact and told apart by what the engine asked for: the writes themselves, the
re-check right before an update or delete (sync-semantics 6), the look for records that are
there already before a create (6.1), what is read back, and preparation. Seconds and memory are
to be compared with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

from crmkit.connectors.base import Connector, Context
from crmkit.connectors.clock import Clock, SystemClock
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.connectors.usage import Usage
from crmkit.connectors.writing import Act
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import (
    Company,
    Contact,
    Deal,
    DealContact,
    Kind,
    Outcome,
    Owner,
    Pipeline,
    Ref,
    Stage,
    Workspace,
)
from crmkit.session import Session
from crmkit.sync import queries, schema, tables
from crmkit.sync.group import Group, compile_group
from crmkit.sync.hub import Entity, Link
from crmkit.sync.plan import PlanFile, PlannedCost
from crmkit.sync.pull import Pull, PullOutcome
from crmkit.sync.rows import TABLES
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import SyncSettings

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
SOURCE = "source"
ACTS = (Act.CREATE, Act.UPDATE, Act.DELETE)
STAGES = [one for one in DEFAULT_OUTLINE.stages if one.outcome is Outcome.OPEN]
OLD = timedelta(days=9)  # a group that is this old has not lost its memory a moment ago


def by_contract(crm: str, act: Act, deals: int) -> int:
    """Writing requests that the last section of a CRM's contract implies.

    HubSpot and Zoho take 100 records a call, Bitrix24 50; Copper creates and changes ten
    opportunities a call where the account has the bulk endpoints (the sandbox has) and deletes
    them one by one; Close does everything one by one.
    """
    size = {"hubspot": 100, "zoho": 100, "bitrix24": 50, "copper": 1 if act is Act.DELETE else 10}
    return -(-deals // size.get(crm, 1)) if crm != "memory" else 0


class Source(MemoryConnector):
    """A memory CRM with pages of a usual size."""

    records_per_page = 5000


@dataclass
class Counts:
    """Requests by what the engine asked for, and by label."""

    steps: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, step: str, before: Mapping[str, int], usage: Usage) -> None:
        """Count what was sent since `before`."""
        sent = Counter(usage.by_path) - Counter(before)
        if sent:
            self.steps.setdefault(step, Counter()).update(sent)

    def total(self, *steps: str) -> int:
        """Requests of the named steps, or of all."""
        chosen = steps or self.steps
        return sum(sum(self.steps.get(step, Counter()).values()) for step in chosen)


@dataclass
class Measured:
    """One act: the plan, what it said it would cost, and what became of it."""

    act: Act
    file: PlanFile
    result: SyncResult
    counts: Counts
    plan_seconds: float = 0.0
    plan_cpu: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def cost(self) -> PlannedCost:
        """What the plan says about the target."""
        return next(one for one in self.file.costs if one.connection != SOURCE)


class Rehearsal:
    """A source and a target that know each other's companies and people.

    Args:
        folder: Where the state store lies.
        connect: Opens the target; each plan and its `apply` get a connection of their own.
        clock: Where time comes from.
        deals: How many are written.
    """

    def __init__(self, folder: Path, connect: Callable[[], Connector], clock: Clock, deals: int) -> None:
        self.connect, self.clock, self.deals = connect, clock, deals
        self.target = connect()
        self.memory = Memory(Workspace(id="source", name="Source", time_zone="UTC"))
        self.source = Source(Context(SOURCE, _NoSecrets(), clock=clock), memory=self.memory)
        self.state = State(f"sqlite:///{folder / 'writes.db'}")
        kinds = (Kind.PIPELINE, Kind.OWNER, Kind.COMPANY, Kind.CONTACT)
        self._pull(self.target, kinds)
        self.currency = self._currency()
        self.stages = self._stages()
        self._mirror()
        self._pull(self.source, kinds)
        self._introduce()

    def close(self) -> None:
        """Close the state store and the target."""
        self.state.close()
        self.target.close()

    def measure(self, act: Act) -> Measured:
        """Change the source, plan, and apply the plan."""
        {Act.CREATE: self._create, Act.UPDATE: self._update, Act.DELETE: self._delete}[act]()
        self._pull(self.source, (Kind.DEAL,))
        self.target.close()
        self.target = self.connect()
        self.target.check()  # as every sync begins, to compare the clocks
        self._count_calls()
        run = SyncRun(self.group(), self.state, self.clock)
        with _timed() as planned:
            _, file = run.plan()
        self.counts.steps = {"plan": sum(self.counts.steps.values(), Counter())}
        with _timed() as applied:
            result = run.apply(file, {one.name: one.count for one in file.guards})
        counts = Counts({step: count for step, count in self.counts.steps.items() if count})
        return Measured(act, file, result, counts, *planned, *applied)

    def group(self) -> Group:
        """The sync, compiled."""
        settings = SyncSettings.model_validate(
            {
                "members": [SOURCE, self.name],
                "order": [SOURCE, self.name],
                "member": {SOURCE: {"role": "source"}, self.name: {"role": "target"}},
                "deletes": "delete",
            }
        )
        connectors = {SOURCE: self.source, self.name: self.target}
        return compile_group("writes", settings, connectors, self._maps(), self.state)

    @property
    def name(self) -> str:
        """The target's connection."""
        return self.target.context.connection

    # What the target holds

    def _count_calls(self) -> None:
        """Note which requests each of the engine's questions takes."""
        self.counts = Counts()
        steps = {"get": "re-check", "find": "look first", "prepare": "prepare", "unprepared": "prepare"}
        for method, step in steps.items():
            setattr(self.target, method, self._counted(step, getattr(self.target, method)))
        write, usage = self.target.write, self.target.context.usage

        def counted(changes: Any) -> Iterator[Any]:
            # Requests run on while the engine stores outcomes; what it asks meanwhile is not a write.
            before, others = dict(usage.by_path), self._beside_writes()
            try:
                yield from write(changes)
            finally:
                self.counts.add("write", Counter(before) + self._beside_writes() - others, usage)

        self.target.write = counted  # type: ignore[method-assign]

    def _beside_writes(self) -> Counter[str]:
        steps = (counted for step, counted in self.counts.steps.items() if step != "write")
        return sum(steps, Counter())

    def _counted(self, step: str, method: Callable[..., Any]) -> Callable[..., Any]:
        usage = self.target.context.usage

        def call(*arguments: Any) -> Any:
            before = dict(usage.by_path)
            try:
                return method(*arguments)
            finally:
                self.counts.add(step, before, usage)

        return call

    def _pull(self, connector: Connector, kinds: Sequence[Kind]) -> None:
        result = Pull(self.state, connector, kinds=kinds, clock_margin_seconds=10**6).run()
        if result.outcome is not PullOutcome.DONE:
            raise SystemExit(f"{connector.context.connection}: {result.error or 'unreadable records'}")

    def _currency(self) -> str:
        base = self.target.check().base_currency
        if base is None:
            page = next(iter(self.target.read(Kind.DEAL)))
            base = next(one.currency for one in page.records if isinstance(one, Deal) and one.currency)
        return base

    def _rows(self, kind: Kind) -> list[Mapping[str, Any]]:
        table = TABLES[kind]
        query = sa.select(table).where(table.c.connection == self.name, table.c.gone_at.is_(None))
        with self.state.read() as db:
            return [dict(row) for row in db.execute(query.order_by(table.c.id)).mappings()]

    def _stages(self) -> dict[str, str]:
        """The target's open stages in its first pipeline by common stage."""
        pipeline = next(one for one in queries.pipelines(self.state, self.name) if not one.archived)
        native = [one for one in pipeline.stages if one.outcome is Outcome.OPEN and not one.archived]
        return {common.id: stage.id for common, stage in zip(STAGES, native, strict=False)}

    def _maps(self) -> Mapping[str, StageMap]:
        pipelines = {name: queries.pipelines(self.state, name) for name in (SOURCE, self.name)}
        first = next(one for one in pipelines[self.name] if not one.archived)
        configured = {
            SOURCE: {"p": {common: common for common in self.stages}},
            self.name: {first.ref.id: {native: common for common, native in self.stages.items()}},
        }
        return {
            name: resolve(configured[name], pipelines[name], DEFAULT_OUTLINE, connection=name)[0]
            for name in pipelines
        }

    # What the source holds

    def _mirror(self) -> None:
        """The target's owners, companies and people, in the source."""
        stages = tuple(Stage(id=id, name=id, order=order) for order, id in enumerate(self.stages))
        self.memory.put(Pipeline(ref=self._ref(Kind.PIPELINE, "p"), name="Sales", stages=stages))
        with self.state.read() as db:
            table = schema.owners
            owners = db.execute(sa.select(table).where(table.c.connection == self.name, table.c.active)).all()
        # One owner for all: some CRMs list users who left without saying so.
        self.owner = next(one.id for one in owners if one.email)
        for one in owners:
            self.memory.put(Owner(ref=self._ref(Kind.OWNER, one.id), name=one.name, email=one.email))
        for row in self._rows(Kind.COMPANY):
            ref = self._ref(Kind.COMPANY, row["id"])
            self.memory.put(Company(ref=ref, name=row["name"], version="1"))
        # Deals get a company and somebody who works there: some CRMs want it so.
        self.people: list[tuple[str, str]] = []
        for row in self._rows(Kind.CONTACT):
            companies = tuple(row["companies"][:1])
            self.people += [(one, row["id"]) for one in companies]
            ref = self._ref(Kind.CONTACT, row["id"])
            self.memory.put(Contact(ref=ref, name=row["name"], companies=companies, version="1"))

    def _introduce(self) -> None:
        """Link companies and people, as an earlier run would have."""
        group = self.group()
        with self.state.write() as db:
            for kind in (Kind.COMPANY, Kind.CONTACT):
                natives = [row["id"] for row in self._rows(kind)]
                ids = {native: group.entity_id(SOURCE, kind, native) for native in natives}
                group.hub.put_entities(db, [Entity(id, kind) for id in ids.values()])
                group.hub.put_links(
                    db,
                    [
                        Link(id, name, kind, native, evidence="made")
                        for native, id in ids.items()
                        for name in (SOURCE, self.name)
                    ],
                )
            latest = db.execute(sa.select(sa.func.max(tables.changes.c.number))).scalar() or 0
            kinds = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
            group.hub.move(db, {(name, kind): latest for name in (SOURCE, self.name) for kind in kinds})
            db.execute(
                tables.groups.insert().values(
                    sync=group.name, digest=group.digest, accounts=group.accounts, generation=1,
                    created_at=self.clock.now() - OLD,
                )
            )  # fmt: skip

    def _ref(self, kind: Kind, native: str) -> Ref:
        return Ref(SOURCE, kind, native)

    def _create(self) -> None:
        common = list(self.stages)
        for number in range(self.deals):
            company, contact = self.people[number % len(self.people)]
            self.memory.put(
                Deal(
                    ref=self._ref(Kind.DEAL, f"d{number}"),
                    name=f"Deal number {number} with a usual name",
                    pipeline_id="p",
                    stage_id=common[number % len(common)],
                    amount=Decimal(1000 + number),
                    currency=self.currency,
                    owner_id=self.owner,
                    companies=(company,),
                    contacts=(DealContact(id=contact, primary=True),),
                    expected_close=date(2027, 1, 1) + timedelta(days=number % 300),
                    version=self.memory.version(),
                )
            )

    def _update(self) -> None:
        for number in range(self.deals):
            before = self.memory.live(self._ref(Kind.DEAL, f"d{number}"))
            assert isinstance(before, Deal)
            changed = {
                "amount": Decimal(2_000_000 + number),
                "expected_close": date(2028, 1, 1) + timedelta(days=number % 300),
                "version": self.memory.version(),
            }
            self.memory.put(before.model_copy(update=changed))

    def _delete(self) -> None:
        for number in range(self.deals):
            self.memory.remove(self._ref(Kind.DEAL, f"d{number}"))


class _NoSecrets:
    """A memory CRM has no secrets."""

    def get(self, name: str) -> Any:
        raise KeyError(name)

    def find(self, name: str) -> None:
        return None

    def put(self, name: str, value: Any) -> None:
        raise KeyError(name)

    def learn(self, secret: str) -> None:
        """Nothing to mask."""

    def redact(self, text: str) -> str:
        return text


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Seconds and CPU seconds of a block, once it has ended."""
    found: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    yield found
    found += [time.perf_counter() - started, time.process_time() - cpu]


def memory_target(clock: Clock, deals: int) -> Callable[[], Connector]:
    """Connections to a memory CRM with companies and people."""
    memory = Memory(Workspace(id="target", name="Target", time_zone="UTC", base_currency="EUR"))
    name = "memory"
    stages = tuple(Stage(id=one.id, name=one.name, order=order) for order, one in enumerate(STAGES))
    memory.put(Pipeline(ref=Ref(name, Kind.PIPELINE, "p"), name="Sales", stages=stages))
    memory.put(Owner(ref=Ref(name, Kind.OWNER, "o"), name="Ann", email="ann@example.test"))
    for number in range(max(1, deals // 4)):
        memory.put(Company(ref=Ref(name, Kind.COMPANY, f"c{number}"), name=f"Company {number}", version="1"))
        memory.put(
            Contact(
                ref=Ref(name, Kind.CONTACT, f"p{number}"), name=f"Person {number}",
                companies=(f"c{number}",), version="1",
            )
        )  # fmt: skip
    return lambda: Source(Context(name, _NoSecrets(), clock=clock), memory=memory)


# The command


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crms", nargs="*", metavar="CRM", default=[])
    parser.add_argument("--deals", type=int, default=10_000)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--labels", action="store_true", help="also print the requests by label")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _client(options.client, options.crms[0], options.deals)
        return
    head = (
        "CRM", "act", "deals", "requests", "writes", "contract", "budget", "beside the writes", "seconds",
        "plan CPU", "apply CPU", "ms a deal", "peak memory",
    )  # fmt: skip
    print(f"| {' | '.join(head)} |\n| --- | --- | {'---: | ' * 5}--- | {'---: | ' * 5}".strip(), flush=True)
    labels: list[str] = []
    for crm in options.crms or (*CRMS, "memory"):
        for found in _measure(crm, options.deals, options.latency_ms):
            _show(crm, found)
            labels += [
                f"{crm} {found['act']}: {step}: {count:,} {label}"
                for step, by_label in found["steps"].items()
                for label, count in sorted(by_label.items())
            ]
    if options.labels:
        print("\n" + "\n".join(labels))


def _measure(crm: str, deals: int, latency: float) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        if crm == "memory":
            yield from _run_client(crm, deals, folder)
            return
        server = subprocess.Popen(
            [
                sys.executable, "-m", "crmkit.cli", "-q", "--json", "sandbox", "up", crm,
                "--deals", str(deals), "--latency-ms", str(latency), "--limits", "off",
                "--workspace", folder,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            told = server.stdout.readline()
            if not told:
                raise SystemExit(f"the sandbox of {crm} did not start")
            # The acts follow each other at once; in life an index has caught up by then.
            address = urlsplit(json.loads(told)["base_url"])
            control = f"{address.scheme}://{address.netloc}/_sandbox/settings"
            requests.post(control, json={"lag_seconds": 0}, timeout=10).raise_for_status()
            yield from _run_client(crm, deals, folder)
        finally:
            server.terminate()
            server.wait()


def _run_client(crm: str, deals: int, folder: str) -> Iterator[dict[str, Any]]:
    """What the client tells of each act, as it comes."""
    command = [sys.executable, __file__, crm, "--client", folder, "--deals", str(deals)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        yield from map(json.loads, client.stdout)
    if client.returncode:
        raise SystemExit(f"{crm}: the client failed")


def _show(crm: str, found: Mapping[str, Any]) -> None:
    writes = sum(found["steps"].get("write", {}).values())
    beside = {step: sum(counts.values()) for step, counts in found["steps"].items() if step != "write"}
    deals = found["deals"]
    cells = (
        crm,
        found["act"],
        f"{deals:,}",
        f"{writes + sum(beside.values()):,}",
        f"{writes:,}",
        f"{by_contract(crm, Act(found['act']), deals):,}",
        f"{found['budget']:,}",
        ", ".join(f"{count:,} {step}" for step, count in beside.items() if count),
        f"{found['seconds']:.1f}",
        f"{found['plan_cpu']:.1f} s",
        f"{found['cpu']:.1f} s",
        f"{(found['cpu'] - found['plan_cpu']) / deals * 1000:.2f}",
        f"{found['peak_mb']:.0f} MB",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def _client(folder: str, crm: str, deals: int) -> None:
    clock = SystemClock()
    if crm == "memory":
        connect = memory_target(clock, deals)
    else:
        session = Session.open(Path(folder) / "crmkit.toml")

        def connect() -> Connector:
            return session.connect(crm)

    with closing(Rehearsal(Path(folder), connect, clock, deals)) as rehearsal:
        for act in ACTS:
            _forget_peak()
            one = rehearsal.measure(act)
            tally = one.result.tallies[rehearsal.name]
            done = sum(tally.counts[name] for name in ("created", "updated", "deleted"))
            if done != deals:
                held = Counter((held.kind, held.reason) for held in one.file.held)
                raise SystemExit(
                    f"{crm}: {act}: {dict(tally.counts)}, {tally.error}, {tally.notes[:3]}, "
                    f"{len(one.file.writes)} planned, {held.most_common(3)}"
                )
            found = {
                "act": act,
                "deals": done,
                "steps": one.counts.steps,
                "budget": one.cost.requests,
                "plan_seconds": one.plan_seconds,
                "plan_cpu": one.plan_cpu,
                "seconds": one.seconds,
                "cpu": one.cpu,
                "peak_mb": _peak_megabytes(),
            }
            print(json.dumps(found), flush=True)


def _forget_peak() -> None:
    """Let the kernel count the peak memory anew, where it can (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _peak_megabytes() -> float:
    path = Path("/proc/self/status")
    if path.exists():
        found = next(line for line in path.read_text().splitlines() if line.startswith("VmHWM"))
        return int(found.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
