"""How long a plan takes over many linked deals, of which few changed.

    python benchmarks/plan.py --deals 1000000 --changed 10000

Fills a state store with deals that two CRMs hold alike and that are linked, changes some in
one of them, and plans: once with the changes, once after nothing changed. Prints seconds
and peak memory; the filling is not measured.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crmkit.model import Deal, Kind, Ref
from crmkit.sync import tables
from crmkit.sync.commit import commit
from crmkit.sync.hub import Entity, HubField, Link, encode
from crmkit.sync.planner import Planner
from crmkit.sync.reconcile import Base
from crmkit.sync.state import State
from crmkit.sync.store import Batch, Store
from tests.sync.engine import Bench

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHUNK = 20_000


def fill(bench: Bench, state: State, deals: int) -> None:
    """Deals that two CRMs hold alike, linked and agreed on."""
    group = bench.group(state)
    members = list(group.members)
    for start in range(0, deals, CHUNK):
        numbers = range(start, min(start + CHUNK, deals))
        entities = []
        links = []
        with state.write() as db:
            for name in members:
                records = [deal(bench, name, number) for number in numbers]
                Store(state.engine.dialect, name).put(
                    db, Kind.DEAL, Batch(records=list(records)), walk=1, now=NOW, first=True
                )
            for number in numbers:
                entity = group.entity_id(members[0], Kind.DEAL, str(number))
                hub = {}
                for name in members:
                    codec = group.members[name].codec
                    row = vars(deal(bench, name, number))
                    bases = {}
                    for field in group.fields:
                        native = codec.native(field, row)
                        value = codec.decode(field, native)
                        bases[field] = Base(native, value)
                        hub[field] = HubField(value, members[0])
                    links.append(Link(entity, name, Kind.DEAL, str(number), bases=bases, evidence="made"))
                entities.append(Entity(entity, Kind.DEAL, hub=hub))
            db.execute(
                tables.entities.insert(),
                [
                    {
                        "sync": group.name, "id": one.id, "kind": "deal", "status": "live",
                        "hub": encode({name: [field.value, field.origin] for name, field in one.hub.items()}),
                    }
                    for one in entities
                ],
            )  # fmt: skip
            db.execute(
                tables.links.insert(),
                [
                    {
                        "sync": group.name, "connection": one.connection, "kind": "deal",
                        "native_id": one.native_id, "entity": one.entity, "status": "live",
                        "base": encode({name: [base.native, base.stood] for name, base in one.bases.items()}),
                        "evidence": "made", "rebuilt": False,
                    }
                    for one in links
                ],
            )  # fmt: skip
    with state.write() as db:
        db.execute(tables.changes.delete())
        group.hub.move(
            db, {(name, kind): 0 for name in members for kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)}
        )
        db.execute(
            tables.groups.insert().values(
                sync=group.name, digest=group.digest, accounts=group.accounts, generation=1,
                created_at=NOW - timedelta(days=9),
            )
        )  # fmt: skip


def deal(bench: Bench, name: str, number: int, amount: int | None = None) -> Deal:
    """One deal, the same in every CRM."""
    return Deal(
        ref=Ref(name, Kind.DEAL, str(number)),
        name=f"Deal number {number} with a usual name",
        pipeline_id="p",
        stage_id=("s1", "s2", "s3")[number % 3],
        amount=Decimal(amount if amount is not None else 1000 + number % 977),
        currency="EUR",
        owner_id=f"{name}-{'ann' if number % 2 else 'bob'}",
        expected_close=(NOW + timedelta(days=number % 300)).date(),
        created_at=NOW - timedelta(days=number % 900),
        modified_at=NOW,
        version=NOW.isoformat(),
    )


def change(bench: Bench, state: State, count: int, deals: int) -> None:
    """Other amounts in the first CRM, as a pull finds them."""
    name = next(iter(bench.boxes))
    store = Store(state.engine.dialect, name)
    step = max(1, deals // count)
    records = [deal(bench, name, number, 7) for number in range(0, deals, step)][:count]
    with state.write() as db:
        store.put(db, Kind.DEAL, Batch(records=list(records)), walk=2, now=NOW, first=False)


def child(folder: Path, what: str, count: int, deals: int) -> None:
    """Measure one plan in a process of its own, so that its peak memory is its own."""
    bench = Bench(folder).add("a", "b")
    state = bench.state()
    if what == "changed":
        change(bench, state, count, deals)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    group = bench.group(state)
    found = Planner(group, state, NOW).compute()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:>8}: {seconds:6.1f} s, {len(found.ops):,} writes, "
        f"peak {peak:,.0f} MB (before {before / 1024:,.0f})"
    )
    if what == "changed":
        with bench.run(state).lease() as lease:
            commit(group, state, lease, found, 1, NOW)
        with state.write() as db:
            db.execute(tables.pending.delete())  # as if every write had been made
    state.close()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--deals", type=int, default=1_000_000)
    arguments.add_argument("--changed", type=int, default=10_000)
    arguments.add_argument("--child", nargs=2)
    chosen = arguments.parse_args()
    if chosen.child:
        child(Path(chosen.child[1]), chosen.child[0], chosen.changed, chosen.deals)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder).add("a", "b")
        state = bench.state()
        started = time.perf_counter()
        bench.pull(state)
        fill(bench, state, chosen.deals)
        state.close()
        size = (folder / "state.db").stat().st_size / 1e6
        print(f"filled {chosen.deals:,} deals in {time.perf_counter() - started:.0f} s, {size:,.0f} MB")
        for what in ("changed", "nothing"):
            subprocess.run(
                [sys.executable, __file__, "--child", what, name, "--deals", str(chosen.deals),
                 "--changed", str(chosen.changed)],
                check=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
