"""Pipelines of Bitrix24: created with the wanted stages, renamed, given new stages, deleted."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from crmkit.connectors.bitrix24.structure import amend, reshape
from crmkit.connectors.writing import Act, Change, Lookup, Result
from crmkit.model import Kind, Outcome, Stage
from tests.connectors.bitrix24_writing_portal import WritablePortal
from tests.connectors.test_bitrix24 import Refused
from tests.connectors.test_bitrix24_writes import connector, create, one, portal, ref, written

__all__ = ["connector", "portal"]  # fixtures

P, W, L = Outcome.OPEN, Outcome.WON, Outcome.LOST


def stages(*wanted: tuple[str, Outcome], ids: dict[str, str] | None = None) -> tuple[Stage, ...]:
    ids = ids or {}
    return tuple(
        Stage(id=ids.get(name, f"src-{place}"), name=name, order=place, outcome=outcome)
        for place, (name, outcome) in enumerate(wanted)
    )


def shown(record: Any) -> list[tuple[str, Outcome]]:
    return [(stage.name, stage.outcome) for stage in record.stages]


def pipeline(native: Any, **values: Any) -> Change:
    return Change("c1", Act.UPDATE, Kind.PIPELINE, ref(Kind.PIPELINE, native), values)


@pytest.mark.parametrize(
    "wanted",
    [
        [("Lead", P), ("Offer", P), ("Won", W), ("Lost", L)],
        [(f"Step {n}", P) for n in range(12)] + [("Won", W)] + [(f"Lost {n}", L) for n in range(4)],
        [("Only", P), ("Yes", W), ("No", L)],
        [("A", P), ("B", P), ("C", P), ("D", P), ("E", P), ("Won", W), ("Lost", L), ("Later", L)],
    ],
)
def test_a_new_pipeline_has_exactly_the_wanted_stages_in_order(portal, connector, wanted):
    outcome = one(connector, create(Kind.PIPELINE, name="EMEA", stages=stages(*wanted)))
    assert (outcome.result, outcome.unwritten, outcome.record.name) == (Result.DONE, {}, "EMEA")
    assert shown(outcome.record) == wanted
    assert [outcome.record] == list(connector.get([outcome.ref]))


def test_stages_that_the_portal_needs_stay_although_nobody_asked_for_them(portal, connector):
    outcome = one(connector, create(Kind.PIPELINE, name="EMEA", stages=stages(("Lead", P))))
    assert shown(outcome.record) == [("Lead", P), ("Deal won", W), ("Deal lost", L)]


def test_ids_are_read_and_never_built(portal, connector):
    wanted = [(f"Step {n}", P) for n in range(8)]
    outcome = one(connector, create(Kind.PIPELINE, name="EMEA", stages=stages(*wanted)))
    rows = portal.statuses[f"DEAL_STAGE_{outcome.ref.id}"]
    assert [stage.id for stage in outcome.record.stages] == [row["STATUS_ID"] for row in rows]
    assert max(len(row["STATUS_ID"]) for row in rows) <= 21


def test_two_won_stages_are_refused_before_anything_is_sent(portal, connector):
    change = create(Kind.PIPELINE, name="EMEA", stages=stages(("Won", W), ("Also won", W)))
    outcome = one(connector, change)
    assert (outcome.result, outcome.field, portal.requests) == (Result.REJECTED, "stages", [])
    assert set(connector.cannot_hold(Kind.PIPELINE, change.values)) == {"stages"}


def test_a_pipeline_whose_stages_fail_is_done_and_says_so(portal, connector):
    def rule(method: str, params: Any) -> None:
        if method == "crm.status.add":
            raise Refused("", "Access denied.")

    portal.rules.append(rule)
    wanted = [(f"Step {n}", P) for n in range(7)]
    outcome = one(connector, create(Kind.PIPELINE, name="EMEA", stages=stages(*wanted)))
    assert (outcome.result, set(outcome.unwritten)) == (Result.DONE, {"stages"})
    assert len(portal.categories) == 3


def test_a_pipeline_whose_stages_are_never_answered_is_done_and_says_so(portal, connector):
    def front(request: Any, body: dict[str, Any]) -> Any:
        if "crm.status.update" in str(body):
            raise requests.ReadTimeout("too late")
        return None

    portal.fronts.append(front)
    outcome = one(connector, create(Kind.PIPELINE, name="EMEA", stages=stages(("Lead", P))))
    assert (outcome.result, set(outcome.unwritten)) == (Result.DONE, {"stages"})


def test_a_pipeline_that_is_never_answered_is_unknown_and_found_by_its_key(portal, connector):
    def front(request: Any, body: dict[str, Any]) -> Any:
        if "crm.category.add" in str(body):
            portal.batch(body)
            raise requests.ReadTimeout("too late")
        return None

    portal.fronts.append(front)
    outcome = one(connector, create(Kind.PIPELINE, key="ck1:a:pipeline:3", name="EMEA"))
    assert outcome.result is Result.UNKNOWN
    native = portal.categories[-1]["id"]
    found = connector.find([Lookup(Kind.PIPELINE, "ck1:a:pipeline:3")])
    assert found == {"ck1:a:pipeline:3": [ref(Kind.PIPELINE, native)]}


def test_a_pipeline_and_a_stage_are_renamed_and_nothing_else_moves(portal, connector):
    (before,) = connector.get([ref(Kind.PIPELINE, 7)])
    wanted = tuple(
        stage.model_copy(update={"name": "Signed"}) if stage.outcome is W else stage
        for stage in before.stages
    )
    outcome = one(connector, pipeline(7, name="Resellers", stages=wanted))
    assert outcome.record == before.model_copy(update={"name": "Resellers", "stages": wanted})
    assert portal.done == ["crm.category.update", "crm.status.update"]


def test_a_new_stage_goes_behind_the_one_before_it_and_none_is_deleted(portal, connector):
    (before,) = connector.get([ref(Kind.PIPELINE, 7)])
    new = Stage(id="", name="Legal", order=0, outcome=P)
    outcome = one(connector, pipeline(7, stages=(before.stages[0], new, before.stages[5])))
    names = [stage.name for stage in before.stages]
    assert [stage.name for stage in outcome.record.stages] == [names[0], "Legal", *names[1:]]
    assert [stage.id for stage in outcome.record.stages if stage.name != "Legal"] == [
        stage.id for stage in before.stages
    ]


def test_the_default_pipelines_stages_are_in_the_directory_without_a_number(portal, connector):
    outcome = one(connector, pipeline(0, stages=stages(("Extra", P))))
    assert "Extra" in {row["NAME"] for row in portal.statuses["DEAL_STAGE"]}
    assert outcome.unwritten == {}


def test_another_outcome_of_a_stage_is_reported(portal, connector):
    wanted = (Stage(id="C7:NEW", name="New", order=0, outcome=W),)
    outcome = one(connector, pipeline(7, stages=wanted))
    assert (outcome.result, set(outcome.unwritten)) == (Result.DONE, {"stages"})


def test_stages_are_not_added_to_a_pipeline_that_is_gone(portal, connector):
    portal.statuses["DEAL_STAGE_99"] = []
    assert one(connector, pipeline(99, stages=stages(("Lead", P)))).result is Result.GONE
    assert one(connector, pipeline(99, name="X")).result is Result.GONE
    assert portal.statuses["DEAL_STAGE_99"] == []


def test_a_pipeline_with_deals_is_not_deleted(portal, connector):
    portal.deal(1, categoryId=7)
    change = Change("c1", Act.DELETE, Kind.PIPELINE, ref(Kind.PIPELINE, 7))
    assert one(connector, change).result is Result.REJECTED
    del portal.items[2][1]
    assert one(connector, change).result is Result.DONE


def test_pipelines_take_four_requests_and_one_for_the_stages_of_each(portal, connector):
    many = [
        create(Kind.PIPELINE, ident=f"c{n}", name=f"P{n}", stages=stages(("Lead", P), ("Won", W)))
        for n in range(4)
    ]
    planned = connector.budget(many).requests
    written(connector, *many)
    assert len(portal.requests) == planned == 4 + 4


def test_the_plan_of_a_pipeline_that_is_right_already_is_empty():
    rows = WritablePortal().statuses["DEAL_STAGE"]
    right = stages(*[(row["NAME"], {None: P, "S": W, "F": L}[row["SEMANTICS"]]) for row in rows])
    assert reshape("0", rows, right).requests == []
    same = tuple(
        stage.model_copy(update={"id": row["STATUS_ID"]}) for stage, row in zip(right, rows, strict=True)
    )
    assert amend("0", rows, same).requests == []
