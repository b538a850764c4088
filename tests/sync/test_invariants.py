"""I8, I10 and I12 of sync-semantics 10: when an edit arrives, what a kill leaves, how much a run writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmkit.connectors.writing import Act, Change, Written
from crmkit.model import Deal, Kind
from crmkit.sync import apply, schema, tables
from crmkit.sync.run import SyncResult
from crmkit.sync.state import State
from tests.sync.base_lab import ram_folder
from tests.sync.faulty import Behaviour
from tests.sync.lab import Faults, Lab, LabBox, template
from tests.sync.ledger import TOLD
from tests.sync.machine import Serial

EXAMPLES = int(os.environ.get("CRMKIT_EXAMPLES", "50"))


def checked(share: int) -> settings:
    return settings(
        max_examples=max(1, EXAMPLES // share),
        deadline=None,
        derandomize="CRMKIT_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # a history takes too long to look for a shorter one
        print_blob=True,
    )


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Folders for state stores, each empty, in memory if there is a place for it."""
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    with ram_folder(tmp_path) as folder:
        made = iter(range(10**6))

        def another() -> Path:
            own = folder / str(next(made))
            own.mkdir()
            return own

        yield another


# I8: bounded staleness


@dataclass
class Arrival:
    """An edit: what it wrote, where and when, and when each other member showed it."""

    token: tuple[str, int]
    at: datetime


class Timed(Lab):
    """A sync that takes time: every call to a CRM does, and users do not wait for it to end.

    Attributes:
        call_seconds: How long one call takes.
        plan: What users do, and when: (seconds from the begin, what).
    """

    call_seconds: float
    begun: datetime
    users: list[tuple[float, Callable[[], None]]]

    def _between(self, box: LabBox, what: str) -> None:
        self.clock.advance(self.call_seconds)
        self.catch_up()

    def catch_up(self) -> None:
        """Users do what they would have done by now."""
        while self.users and self.begun + timedelta(seconds=self.users[0][0]) <= self.clock.now():
            self.users.pop(0)[1]()

    def wait_until(self, moment: datetime) -> None:
        while self.users and self.begun + timedelta(seconds=self.users[0][0]) <= moment:
            ahead = self.begun + timedelta(seconds=self.users[0][0]) - self.clock.now()
            self.advance(max(0.0, ahead.total_seconds()))
            self.catch_up()
        self.advance(max(0.0, (moment - self.clock.now()).total_seconds()))


def shows(box: LabBox, token: tuple[str, int]) -> datetime | None:
    """When a CRM showed a value first."""
    found = [
        entry.at
        for entries in box.memory.entries.values()
        for entry in entries
        if isinstance(entry.state, Deal) and box.ledger.tokens(entry.state).get(token[0]) == token
    ]
    return min(found, default=None)


def test_an_edit_is_everywhere_within_the_interval_the_lag_and_two_runs(folders: Any) -> None:
    @checked(8)
    @given(
        names=st.sampled_from(["ab", "abc"]),
        minutes=st.sampled_from([2, 5, 15]),
        lag=st.sampled_from([0.0, 30.0, 120.0]),
        call_seconds=st.sampled_from([0.0, 1.0, 7.0]),
        edits=st.lists(
            st.tuples(st.floats(1, 1200), st.integers(0, 8), st.integers(0, 2)),
            min_size=1, max_size=9, unique_by=lambda one: one[1],
        ),
        created=st.floats(1, 1200),
        seed=st.integers(0, 1000),
    )  # fmt: skip
    def whenever_it_is_made(names, minutes, lag, call_seconds, edits, created, seed) -> None:
        made = {name: Behaviour(list_lag=lag, random=Random(f"{seed}{name}")) for name in names}
        folder = folders()
        lab = Timed(folder, template(folder), made, {"order": list(names)})
        lab.call_seconds, lab.users, lab.begun = 0.0, [], lab.clock.now()
        arrivals: list[Arrival] = []
        boxes = list(lab.boxes.values())
        deals = [boxes[0].create() for _ in range(3)]
        lab.settle()
        group = lab.group()

        def edit(pair: int, where: int) -> None:
            # Every field of every deal is edited once, so that no edit replaces another.
            entity = group.entity_id(boxes[0].name, Kind.DEAL, deals[pair % 3].ref.id)
            with lab.looking() as db:
                links = group.hub.links_of(db, [entity])[entity]
            box, name = boxes[where % len(boxes)], TOLD[pair // 3]
            native = next(link.native_id for link in links if link.connection == box.name)
            done = box.edit(box.deals()[native], name)
            assert done is not None
            arrivals.append(Arrival(lab.ledger.tokens(done)[name], lab.clock.now()))

        def create() -> None:
            done = boxes[-1].create()
            arrivals.append(Arrival(lab.ledger.tokens(done)["amount"], lab.clock.now()))

        lab.begun, lab.call_seconds = lab.clock.now(), call_seconds
        acts = [(at, lambda pair=pair, where=where: edit(pair, where)) for at, pair, where in edits]
        lab.users = sorted([*acts, (created, create)], key=lambda one: one[0])
        longest, due = timedelta(0), lab.begun
        interval = timedelta(minutes=minutes)
        while lab.users or lab.clock.now() < lab.begun + timedelta(seconds=1200) + 3 * interval + 6 * longest:
            while due < lab.clock.now():
                due += interval  # a run that was due while another one was under way is skipped
            lab.wait_until(due)
            started = lab.clock.now()
            assert lab.sync() is not None
            longest = max(longest, lab.clock.now() - started)
        bound = interval + timedelta(seconds=lag) + 2 * longest
        try:
            assert len(arrivals) == len(edits) + 1
            for one in arrivals:
                for box in boxes:
                    shown = shows(box, one.token)
                    assert shown is not None, f"{one.token} never came to {box.name}"
                    assert shown - one.at <= bound, f"{one.token} took {shown - one.at} of {bound}"
        finally:
            lab.close()

    whenever_it_is_made()


# I10: what a kill leaves


def held_by(state: State) -> dict[str, list[tuple[Any, ...]]]:
    """All that somebody else finds in the store: what a kill at this moment leaves behind."""
    with state.read() as db:
        return {
            table.name: sorted(map(tuple, db.execute(sa.select(table))), key=repr)
            for table in schema.metadata.sorted_tables
        }


def half_done(state: State, deals: Mapping[str, int]) -> list[str]:
    """What belongs together by sync-semantics 5 and 6, and of which only one half is there."""
    journal, links, cursors, copies = tables.journal, tables.links, schema.cursors, schema.deals
    wrong: list[str] = []
    with state.read() as db:
        found = {(row.connection, row.native_id): row for row in db.execute(sa.select(links))}
        acked = sa.select(journal).where(journal.c.state == "acked").order_by(journal.c.ended_at)
        latest = {(row.connection, row.native_id): row for row in db.execute(acked)}
        for key, row in latest.items():
            if key not in found:
                wrong.append(f"{row.act} of {key} is acknowledged, but nothing is linked")
            elif row.reason is None and found[key].written_at != row.ended_at:  # not found out later
                wrong.append(f"{row.act} of {key} is acknowledged, but its link knows an older one")
        for key, link in found.items():
            if link.written_at is not None and key not in latest:
                wrong.append(f"{key} was written, but its write is still open")
        for row in db.execute(sa.select(cursors).where(cursors.c.kind == "deal", cursors.c.finished)):
            stored = db.execute(
                sa.select(sa.func.count()).where(copies.c.connection == row.connection)
            ).scalar_one()
            if stored < deals[row.connection]:
                wrong.append(f"the cursor of {row.connection} is behind deals that are not stored")
    return wrong


def test_a_kill_at_any_statement_leaves_what_was_there_before_or_after_a_transaction(folders: Any) -> None:
    @checked(10)
    @given(
        every=st.integers(7, 23),
        answers=st.sampled_from(["record", "version", "nothing"]),
        unique=st.booleans(),
        fates=st.lists(st.sampled_from(["done", "lost after", "unsent", "cut"]), max_size=3),
        seed=st.integers(0, 1000),
    )
    def whenever_it_comes(every, answers, unique, fates, seed) -> None:
        habits: dict[str, Any] = {"answers": answers, "unique_keys": unique}
        made = {name: Behaviour(random=Random(f"{seed}{name}"), **habits) for name in "ab"}
        folder = folders()
        lab = Lab(folder, template(folder), made, {"order": ["a", "b"]})
        for box in lab.boxes.values():
            for _ in range(2):
                box.create()
        deals = dict.fromkeys("ab", 2)
        onlooker = State(lab.store.url)
        write, last, count = lab.state.write, held_by(onlooker), 0

        def look(*_event: Any) -> None:
            nonlocal count
            count += 1
            if count % every == 0:
                assert held_by(onlooker) == last, f"statement {count} left half a transaction behind"
                assert half_done(onlooker, deals) == []

        @contextmanager
        def whole() -> Iterator[sa.Connection]:
            nonlocal last
            with write() as db:
                yield db
            last = held_by(onlooker)

        sa.event.listen(lab.state.engine, "before_cursor_execute", look)
        sa.event.listen(lab.state.engine, "after_cursor_execute", look)
        sa.event.listen(lab.state.engine, "commit", look)
        lab.state.write = whole  # type: ignore[method-assign]
        try:
            lab.sync(Faults({"b": fates}))
            lab.boxes["a"].edit(lab.boxes["a"].pick(0), "amount")
            lab.boxes["b"].edit(lab.boxes["b"].pick(1), "name")
            lab.advance(400)
            lab.sync()
            assert count > 100
        finally:
            onlooker.close()
            lab.close()

    whenever_it_comes()


# I12: bounded work


@dataclass
class Automation:
    """A rule inside a CRM that edits a deal back after every write of the sync.

    `wants` is the value it puts there; without one it writes a new one each time.
    """

    field: str
    wants: Any = None

    def run(self, box: LabBox, native: str) -> None:
        deal = box.deals().get(native)
        if deal is None:
            return
        if self.wants is None:
            box.edit(deal, self.field)
        elif getattr(deal, self.field) != self.wants:
            box._save(deal.model_copy(update={self.field: self.wants}), deal)


def automate(box: LabBox, automations: Sequence[Automation]) -> None:
    commit = box.memory.commit

    def commit_and_edit(change: Change) -> Written:
        done = commit(change)
        if change.kind is Kind.DEAL and change.act is not Act.DELETE and done.ref is not None:
            box.writing = True
            for one in automations:
                one.run(box, done.ref.id)
            box.writing = False
        return done

    box.memory.commit = commit_and_edit  # type: ignore[method-assign]


def wishes(name: str) -> dict[str, Any]:
    """What the automations of a CRM want, other than those of any other."""
    number = 900_000 + ord(name)
    return {"amount": Decimal(number), "expected_close": date(2090, 1, 1) + timedelta(days=ord(name))}


def test_automations_that_edit_back_every_write_never_make_a_run_write_more(folders: Any) -> None:
    @checked(8)
    @given(
        names=st.sampled_from(["ab", "abc"]),
        rules=st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from(["amount", "expected_close"]), st.booleans()),
            min_size=1, max_size=4,
        ),
        answers=st.sampled_from(["record", "version", "nothing"]),
        rule=st.sampled_from(["hold", "priority", "newest"]),
        fates=st.lists(st.sampled_from(["done", "done", "lost after", "cut", "unsent"]), max_size=4),
        minutes=st.sampled_from([1, 10, 30]),
        seed=st.integers(0, 1000),
    )  # fmt: skip
    def whoever_fights(names, rules, answers, rule, fates, minutes, seed) -> None:
        made = {name: Behaviour(answers=answers, random=Random(f"{seed}{name}")) for name in names}
        folder = folders()
        lab = Lab(folder, template(folder), made, {"order": list(names), "rule": rule, "deletes": "delete"})
        for box in lab.boxes.values():
            box.create()
        fighting: dict[str, dict[str, Automation]] = {name: {} for name in names}
        for where, field, fixed in rules:
            name = names[where % len(names)]
            fighting[name][field] = Automation(field, wishes(name)[field] if fixed else None)
        # Two that never write the same twice answer each other for ever; that is no oscillation.
        restless = [mine for mine in fighting.values() if any(one.wants is None for one in mine.values())]
        endless = len(restless) > 1
        for name, automations in fighting.items():
            automate(lab.boxes[name], list(automations.values()))
        try:
            results: list[SyncResult] = []
            for turn in range(14):
                if turn == 3:
                    lab.boxes["a"].edit(lab.boxes["a"].pick(0), "amount")
                result = lab.sync(Faults({"b": fates if turn < 4 else []}))
                assert result is not None
                results.append(result)
                for (where, act, record), count in lab.requests.items():
                    allowed = 2 if act == "update" else 1
                    assert count <= allowed, f"{count} times {act} of {record} in {where}"
                lab.advance(60 * minutes + 400)
            assert endless or not lab.requests, [one.kind for one in results[-1].held]
        finally:
            lab.close()

    whoever_fights()
