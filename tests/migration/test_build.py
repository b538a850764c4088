"""The builder makes each pipeline, stage and field once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.connectors.base import Field
from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Act, Change, Result, Writing, Written
from crmkit.errors import OutcomeUnknown, Rejected
from crmkit.mapping.custom import converted
from crmkit.migration.build import Builder, Built, checklist
from crmkit.migration.compile import Migration, compile_migration
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage
from crmkit.sync import tables
from crmkit.sync.hub import Hub, Intent
from crmkit.sync.lease import hold
from crmkit.sync.pull import Pull
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock
from tests.sync.engine import Bench, Box

WAIT_SECONDS = 300.0


class Building(MemoryConnector):
    """A CRM in memory whose pipelines can be made; it does what `asked` says, one after the other.

    `asked` holds errors to raise before anything happens, results to answer instead of
    doing it, and `lost` for a creation that happens while its answer is lost.
    """

    capabilities = replace(
        MemoryConnector.capabilities,
        writing={
            **MemoryConnector.capabilities.writing,
            Kind.PIPELINE: Writing(frozenset({Act.CREATE, Act.UPDATE}), frozenset({"name", "stages"})),
        },
    )
    asked: list[Any] = []  # noqa: RUF012 - shared by every connection to the CRM, emptied by the fixture
    seen: list[tuple[Intent, ...]] = []  # noqa: RUF012
    state: State | None = None

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        if any(change.kind is not Kind.PIPELINE for change in changes):
            return super().write(changes)
        return ([self._shape(change)] for change in changes)

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        self._look()
        step = self.asked.pop(0) if self.asked else None
        if isinstance(step, BaseException):
            raise step
        made = super().create_field(kind, wanted)
        if step == "lost":
            raise OutcomeUnknown("the answer was lost")
        return made

    def _shape(self, change: Change) -> Written:
        self._look()
        step = self.asked.pop(0) if self.asked else None
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Written):
            return replace(step, id=change.id)
        stages = tuple(
            one.model_copy(update={"id": one.id.replace("new:", "made-"), "order": at})
            for at, one in enumerate(change.values["stages"])
        )
        if change.act is Act.CREATE:
            ref = self.memory.new_ref(self.context.connection, Kind.PIPELINE)
            self.memory.put(Pipeline(ref=ref, name=change.values["name"], stages=stages))
        else:
            assert change.ref is not None
            ref = change.ref
            there = self.memory.live(ref)
            assert isinstance(there, Pipeline)
            self.memory.put(there.model_copy(update={"stages": stages}))
        return Written(change.id, Result.UNKNOWN if step == "lost" else Result.DONE, ref)

    def _look(self) -> None:
        """Remember what the journal says while the call is under way."""
        assert self.state is not None
        with self.state.read() as db:
            states = db.execute(sa.select(tables.journal.c.state).order_by(tables.journal.c.id)).scalars()
            self.seen.append(tuple(Intent(one) for one in states))


class Site:
    """A source with a pipeline and a field that the target lacks."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder).add("old", "new")
        self.source, self.target = self.bench["old"], self.bench["new"]
        self.target.connector = Building
        self.clock: FakeClock = self.bench.clock
        self.settings = MigrationSettings(
            source="old", target="new", history=False, in_flight_seconds=WAIT_SECONDS
        )
        self.source.memory.put_field(Kind.DEAL, Field("", "Region", "text"))
        self.source.deal("d1", pipeline_id="r", stage_id="r1", custom={"f1": "EMEA"})
        self.source.memory.put(line(self.source, "r", "Renewals", "Due", "Called"))
        self.state = self.bench.state()

    def compiled(self, **decided: Any) -> Migration:
        for box in self.bench.boxes.values():
            assert Pull(self.state, box.connect()).run().error is None
        connectors = {name: box.connect() for name, box in self.bench.boxes.items()}
        settings = self.settings.model_copy(update=decided)
        return compile_migration(settings, connectors, self.state)

    def build(self, migration: Migration | None = None, *, run: int = 1, **decided: Any) -> Built:
        migration = migration or self.compiled(**decided)
        with hold(self.state, f"sync:{migration.group.name}", self.clock.now) as lease:
            look = partial(self.compiled, **decided)
            return Builder(migration, self.state, lease, self.clock, run, look).run()

    def journal(self, *, of: Kind = Kind.PIPELINE) -> list[tuple[str, str]]:
        """(act, state) of every write of a kind, oldest first."""
        table = tables.journal.c
        query = sa.select(table.act, table.state).where(table.kind == of.value)
        with self.state.read() as db:
            return [(row[0], row[1]) for row in db.execute(query.order_by(table.sent_at, table.id))]

    def lines(self) -> list[tuple[str, list[str]]]:
        """The target's pipelines and their stages by name."""
        held = [one for one in self.target.memory.now().values() if isinstance(one, Pipeline)]
        return [(one.name, [stage.name for stage in one.stages]) for one in held]

    def fields(self, kind: Kind = Kind.DEAL) -> list[str]:
        return [one.label for one in self.target.memory.fields[kind].values()]


def line(box: Box, native: str, name: str, *stages: str) -> Pipeline:
    held = [Stage(id=f"{native}{at}", name=label, order=at) for at, label in enumerate(stages, start=1)] + [
        Stage(id=f"{native}w", name="Won", order=8, outcome=Outcome.WON)
    ]
    return Pipeline(ref=box.ref(native, Kind.PIPELINE), name=name, stages=tuple(held))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.setattr(Building, "asked", [])
    monkeypatch.setattr(Building, "seen", [])
    monkeypatch.setattr(Building, "state", made.state)
    with closing(made.state):
        yield made


RENEWALS = ("Renewals", ["Due", "Called", "Won"])
SALES = ("Sales", ["New", "Offer", "Haggling", "Won", "Lost"])


def test_what_is_missing_is_made_and_told(site: Site) -> None:
    built = site.build()
    assert site.lines() == [SALES, RENEWALS]
    assert site.fields() == ["Region", "Closed in memory"]
    assert built.made == [
        "pipeline 'Renewals' with 3 stages",
        "deal field 'Region' (text)",
        "deal field 'Closed in memory' (time)",
    ]


def test_each_intent_is_in_the_journal_before_its_call(site: Site) -> None:
    site.build()
    assert [sorted(states).count(Intent.SENT) for states in Building.seen] == [1, 1, 1]
    assert len(Building.seen[-1]) == 3


def test_each_outcome_is_in_the_journal_after_its_call(site: Site) -> None:
    site.build()
    assert site.journal() == [("create", "acked")]
    assert site.journal(of=Kind.DEAL) == [("create", "acked")] * 2


def test_building_twice_makes_nothing_twice(site: Site) -> None:
    site.build()
    again = site.build(run=2)
    assert again.made == []
    assert site.lines() == [SALES, RENEWALS]
    assert site.fields() == ["Region", "Closed in memory"]


def test_stages_are_added_to_a_pipeline_that_is_there(site: Site) -> None:
    site.target.memory.put(line(site.target, "q", "Renewals", "Due"))
    built = site.build()
    assert site.lines() == [SALES, RENEWALS]
    assert built.made[0] == "stages of 'Renewals': 'Called'"


def test_two_pipelines_that_go_to_one_add_their_stages_at_once(site: Site) -> None:
    site.source.deal("d2", pipeline_id="u", stage_id="u1")
    site.source.memory.put(line(site.source, "u", "Upsell", "Found", "Called"))
    built = site.build(pipelines={"Upsell": "p", "Renewals": "p"})
    stages = ["Due", "Called", "Found", "New", "Offer", "Haggling", "Won", "Lost"]
    assert sorted(site.lines()[0][1]) == sorted(stages)
    assert built.made[0] == "stages of 'Sales': 'Due', 'Called', 'Found'"
    assert site.journal() == [("update", "acked")]
    assert site.build(run=2, pipelines={"Upsell": "p", "Renewals": "p"}).made == []


def test_an_answer_that_is_lost_stops_the_run_and_says_what_to_do(site: Site) -> None:
    Building.asked.append("lost")
    with pytest.raises(OutcomeUnknown, match="whether the pipeline 'Renewals' was made is not known"):
        site.build()
    assert site.journal() == [("create", "unknown")]
    assert site.fields() == []


def test_a_run_too_soon_after_a_lost_answer_makes_nothing(site: Site) -> None:
    Building.asked.append(Written("", Result.UNKNOWN))
    with pytest.raises(OutcomeUnknown):
        site.build()
    site.bench.wait(WAIT_SECONDS - 61)
    with pytest.raises(OutcomeUnknown, match="'Renewals' was made is not known yet") as caught:
        site.build(run=2)
    assert caught.value.hint == "Run this again in 1 minutes; it looks before it makes anything."
    assert site.lines() == [SALES]


def test_what_landed_although_its_answer_was_lost_is_not_made_again(site: Site) -> None:
    Building.asked.append("lost")
    with pytest.raises(OutcomeUnknown):
        site.build()
    site.bench.wait(WAIT_SECONDS)
    built = site.build(run=2)
    assert site.lines() == [SALES, RENEWALS]
    assert built.made == ["deal field 'Region' (text)", "deal field 'Closed in memory' (time)"]


def test_what_never_landed_is_made_when_it_cannot_land_any_more(site: Site) -> None:
    Building.asked.append(Written("", Result.UNKNOWN))
    with pytest.raises(OutcomeUnknown):
        site.build()
    site.bench.wait(WAIT_SECONDS)
    site.build(run=2)
    assert site.lines() == [SALES, RENEWALS]
    assert site.journal() == [("create", "dropped"), ("create", "acked")]


def test_what_was_under_way_when_the_run_was_killed_is_waited_for(site: Site) -> None:
    Building.asked.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        site.build()
    assert site.journal() == [("create", "sent")]
    with pytest.raises(OutcomeUnknown):
        site.build(run=2)
    site.bench.wait(WAIT_SECONDS)
    site.build(run=3)
    assert site.lines() == [SALES, RENEWALS]


def test_a_look_from_before_the_wait_was_over_is_not_trusted(site: Site) -> None:
    Building.asked.append("lost")
    before = site.compiled()
    with pytest.raises(OutcomeUnknown):
        site.build(before)
    site.bench.wait(WAIT_SECONDS)
    site.build(before, run=2)
    assert site.lines() == [SALES, RENEWALS]


def test_a_pipeline_that_is_refused_says_why_and_what_helps(site: Site) -> None:
    Building.asked.append(Written("", Result.REJECTED, reason="the plan allows one pipeline"))
    with pytest.raises(Rejected, match="'Renewals': the plan allows one pipeline") as caught:
        site.build()
    assert "Make it by hand" in caught.value.hint


def test_a_pipeline_of_which_a_part_was_not_written_is_no_success(site: Site) -> None:
    Building.asked.append(Written("", Result.DONE, unwritten={"stages": "no stage may be added"}))
    with pytest.raises(Rejected, match="no stage may be added"):
        site.build()


def test_a_pipeline_that_somebody_just_made_is_fine(site: Site) -> None:
    Building.asked.append(Written("", Result.EXISTS))
    assert site.build().made[0] == "pipeline 'Renewals' with 3 stages"


def test_a_refused_call_is_written_down_as_failed(site: Site) -> None:
    Building.asked.append(Rejected("no such right"))
    with pytest.raises(Rejected, match="no such right"):
        site.build()
    assert site.journal() == [("create", "failed")]


def test_a_refused_field_stops_nothing_and_is_tried_again_by_the_next_run(site: Site) -> None:
    Building.asked += [None, Rejected("too many fields")]
    assert "the API refused: too many fields" in site.build().checklist[-1]
    assert ("create", "failed") in site.journal(of=Kind.DEAL)
    assert site.fields() == ["Closed in memory"]
    site.build(run=2)
    assert site.fields() == ["Closed in memory", "Region"]


def test_a_field_whose_answer_was_lost_needs_no_waiting(site: Site) -> None:
    Building.asked += [None, "lost"]
    with pytest.raises(OutcomeUnknown):
        site.build()
    assert site.journal(of=Kind.DEAL) == [("create", "unknown")]
    site.build(run=2)
    assert site.fields() == ["Region", "Closed in memory"]


def test_a_field_that_got_a_number_is_found_again(site: Site) -> None:
    site.target.memory.put_field(Kind.DEAL, Field("", "Region", "number"))
    assert site.build().made[1] == "deal field 'Region (2)' (text)"
    assert site.build(run=2).made == []


@pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.CONTACT])
def test_fields_of_companies_and_people_are_made_too(site: Site, kind: Kind) -> None:
    site.source.memory.put_field(kind, Field("", "Size", "number"))
    add = site.source.company if kind is Kind.COMPANY else site.source.contact
    add("x1", "X", custom={"f1": 3})
    assert f"{kind} field 'Size' (number)" in site.build().made
    assert site.fields(kind) == ["Size"]


def test_options_are_made_as_they_are_decided(site: Site) -> None:
    options = {"1": "EMEA", "2": "APAC"}
    site.source.memory.put_field(Kind.DEAL, Field("", "Area", "choice", options=options))
    site.source.deal("d3", custom={"f2": "f2.1"})
    site.build(options={"Area": {"EMEA": "Europe"}})
    made = next(one for one in site.target.memory.fields[Kind.DEAL].values() if one.label == "Area")
    assert sorted(made.options.values()) == ["APAC", "Europe"]


def test_options_of_companies_go_to_those_they_are_decided_for(site: Site) -> None:
    site.source.memory.put_field(Kind.COMPANY, Field("", "Area", "choice", options={"1": "EMEA"}))
    site.source.company("x1", "X", custom={"f1": "f1.1"})
    site.target.memory.put_field(Kind.COMPANY, Field("", "Area", "choice", options={"1": "Europe"}))
    migration = site.compiled(options={"Area": {"EMEA": "Europe"}})
    (field,) = migration.moving.party_fields[Kind.COMPANY]
    assert converted(field.source, field.target, "f1.1") == "f1.1"
    assert migration.group.members["old"].parties[Kind.COMPANY].decode("area", "f1.1") == "Europe"


def test_a_pipeline_to_be_made_by_hand_is_on_the_checklist_with_its_stages(site: Site) -> None:
    site.target.connector = MemoryConnector
    migration = site.compiled()
    assert checklist(migration) == ["make the pipeline 'Renewals' with the stages 'Due', 'Called', 'Won'"]


def test_a_stage_to_be_made_by_hand_is_on_the_checklist(site: Site) -> None:
    site.target.connector = MemoryConnector
    site.target.memory.put(line(site.target, "q", "Renewals", "Due"))
    assert checklist(site.compiled()) == [
        "add the stage 'Called' (open) to the pipeline that takes 'Renewals'"
    ]


def test_a_stage_of_another_connection_is_never_written(site: Site) -> None:
    site.build()
    assert [one.ref for one in site.source.memory.now().values() if isinstance(one, Pipeline)] == [
        Ref("old", Kind.PIPELINE, "p"), Ref("old", Kind.PIPELINE, "r"),
    ]  # fmt: skip


def test_the_journal_of_building_is_not_the_journal_of_the_migration(site: Site) -> None:
    migration = site.compiled()
    site.build(migration)
    with site.state.read() as db:
        assert migration.group.hub.intents(db, run=1) == []
        assert len(Hub(f"{migration.group.name}/structure").intents(db, run=1)) == 3
