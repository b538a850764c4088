"""Links of HubSpot records become the wanted set, and pipelines the wanted stages.

The traps of the contract that concern links and pipelines:

 section 6   no call replaces links              test_wanted_set_replaces_links_with_what_differs_only
             one primary company per record      test_other_primary_company_is_made_primary
             sent kinds replace a pair's kinds   test_label_of_the_portals_own_survives_a_new_primary
             inline links need existing records  test_hubspot_writes (link_to_a_record_that_is_gone)
             no links come as an error entry     test_record_without_links_gets_its_first_ones
 section 5   labels are unique                   test_pipeline_whose_name_is_taken_exists
             probability in tenths, closed or not test_open_stage_never_becomes_a_closed_one
             PUT deletes stages                  test_stages_are_added_and_renamed_and_none_is_removed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot.connector import HubSpotConnector
from crmkit.connectors.writing import Act, Change, Result
from crmkit.model import DealContact, Kind, Outcome, Pipeline, Ref, Stage
from tests.connectors.hubspot_writing import FakePortal, created, refusal, serve, updated, written

READ = "POST /crm/v4/associations/deals/companies/batch/read"
LINK = "POST /crm/v4/associations/deals/companies/batch/create"
UNLINK = "POST /crm/v4/associations/deals/companies/batch/archive"


@pytest.fixture
def portal() -> Iterator[FakePortal]:
    fake = FakePortal()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        serve(mock, fake)
        yield fake


@pytest.fixture
def connector(portal: FakePortal, make_context: Callable[..., Context]) -> Iterator[HubSpotConnector]:
    made = HubSpotConnector(make_context("hub", token="pat-na1-secret"))
    yield made
    made.close()


@pytest.fixture
def deal(portal: FakePortal) -> str:
    return portal.put("deals", dealname="A")


@pytest.fixture
def firms(portal: FakePortal) -> list[str]:
    return [portal.put("companies") for _ in range(4)]


@pytest.fixture
def folk(portal: FakePortal) -> list[str]:
    return [portal.put("contacts") for _ in range(3)]


def test_wanted_set_replaces_links_with_what_differs_only(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    portal.link("deals", deal, "companies", firms[1], 341)
    outcome = written(connector, updated(deal, companies=(firms[0], firms[2])))[f"u{deal}"]
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    assert portal.linked("deals", deal, "companies") == {firms[0]: [5, 341], firms[2]: [341]}
    assert portal.bodies("/batch/create") == [
        {"inputs": [{"from": {"id": deal}, "to": {"id": firms[2]},
                     "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 341}]}]}
    ]  # fmt: skip
    assert portal.bodies("companies/batch/archive") == [
        {"inputs": [{"from": {"id": deal}, "to": [{"id": firms[1]}]}]}
    ]


def test_links_that_are_as_wanted_are_not_written(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    portal.link("deals", deal, "companies", firms[1], 341)
    written(connector, updated(deal, companies=(firms[0], firms[1])))
    assert portal.counted()[READ] == 1
    assert portal.counted()[LINK] + portal.counted()[UNLINK] == 0


def test_record_without_links_gets_its_first_ones(portal, connector, deal, firms) -> None:
    written(connector, updated(deal, companies=(firms[1], firms[0])))
    assert portal.linked("deals", deal, "companies") == {firms[1]: [5, 341], firms[0]: [341]}


def test_no_companies_removes_all_links(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    written(connector, updated(deal, companies=()))
    assert portal.linked("deals", deal, "companies") == {}


def test_other_primary_company_is_made_primary(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    portal.link("deals", deal, "companies", firms[1], 341)
    written(connector, updated(deal, companies=(firms[1], firms[0])))
    assert portal.linked("deals", deal, "companies") == {firms[0]: [341], firms[1]: [5, 341]}


def test_label_of_the_portals_own_survives_a_new_primary(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[1], 37, 341)
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    written(connector, updated(deal, companies=(firms[1], firms[0])))
    assert portal.linked("deals", deal, "companies")[firms[1]] == [5, 37, 341]


def test_people_come_go_and_change_their_role(portal, connector, deal, folk) -> None:
    portal.link("deals", deal, "contacts", folk[0], 3, 37)
    portal.link("deals", deal, "contacts", folk[1], 3)
    wanted = (DealContact(id=folk[0], role="Champion"), DealContact(id=folk[2], role="Decision maker"))
    outcome = written(connector, updated(deal, contacts=wanted))[f"u{deal}"]
    assert outcome.unwritten == {}
    assert portal.linked("deals", deal, "contacts") == {folk[0]: [3, 38], folk[2]: [3, 37]}


def test_role_that_hubspot_has_no_label_for_is_reported_and_the_person_linked(
    portal, connector, deal, folk
) -> None:
    portal.link("deals", deal, "contacts", folk[0], 3, 37)
    wanted = (DealContact(id=folk[0], role="Buyer"), DealContact(id=folk[1], role="Buyer"))
    outcome = written(connector, updated(deal, contacts=wanted))[f"u{deal}"]
    assert outcome.result is Result.DONE
    assert "no label Buyer" in outcome.unwritten["contacts"]
    assert portal.linked("deals", deal, "contacts") == {folk[0]: [3, 37], folk[1]: [3]}


def test_person_with_a_role_is_linked_with_it_when_the_deal_is_made(portal, connector, folk) -> None:
    change = created("1", contacts=(DealContact(id=folk[0], role="Champion"),))
    outcome = written(connector, change)["1"]
    assert portal.linked("deals", outcome.ref.id, "contacts") == {folk[0]: [3, 38]}


def test_contact_is_linked_to_its_companies(portal, connector, folk, firms) -> None:
    written(connector, updated(folk[0], Kind.CONTACT, companies=(firms[1], firms[0])))
    assert portal.linked("contacts", folk[0], "companies") == {firms[1]: [1, 279], firms[0]: [279]}


def test_link_that_is_refused_leaves_the_record_done_and_says_so(portal, connector, deal, firms) -> None:
    outcome = written(connector, updated(deal, name="B", companies=("404404",)))[f"u{deal}"]
    assert outcome.result is Result.DONE
    assert outcome.unwritten == {"companies": "no such record"}
    assert portal.objects["deals"][deal]["dealname"] == "B"


def test_record_keeps_its_links_where_new_ones_are_refused(portal, connector, deal, firms) -> None:
    portal.link("deals", deal, "companies", firms[0], 5, 341)
    written(connector, updated(deal, companies=("404404",)))
    assert portal.linked("deals", deal, "companies") == {firms[0]: [5, 341]}


def test_change_of_links_alone_that_is_refused_is_refused(portal, connector, deal) -> None:
    outcome = written(connector, updated(deal, companies=("404404",)))[f"u{deal}"]
    assert (outcome.result, outcome.field) == (Result.REJECTED, "companies")


def test_lost_answer_about_links_alone_is_unknown(portal, connector, deal, firms) -> None:
    portal.hooks.append(
        lambda method, path, body: (500, {}) if path.endswith("companies/batch/create") else None
    )
    outcome = written(connector, updated(deal, companies=(firms[0],)))[f"u{deal}"]
    assert (outcome.result, outcome.field) == (Result.UNKNOWN, "companies")


def test_links_refused_as_a_whole_are_bisected(portal, connector, firms) -> None:
    deals = [portal.put("deals") for _ in range(8)]

    def strict(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        mine = path.endswith("companies/batch/create")
        bad = mine and any(one["to"]["id"] == "404404" for one in body["inputs"])
        return (400, refusal("no such company")) if bad else None

    portal.hooks.append(strict)
    wanted = dict.fromkeys(deals, firms[0]) | {deals[5]: "404404"}
    found = written(connector, *[updated(native, companies=(wanted[native],)) for native in deals])
    assert [id_ for id_, one in found.items() if one.result is not Result.DONE] == [f"u{deals[5]}"]
    assert all(portal.linked("deals", native, "companies") for native in deals if native != deals[5])


def test_links_do_not_follow_where_the_record_was_refused(portal, connector, deal, firms) -> None:
    outcome = written(connector, updated(deal, owner_id="BOOM", companies=(firms[0],)))[f"u{deal}"]
    assert outcome.result is Result.REJECTED
    assert portal.linked("deals", deal, "companies") == {}


def test_ten_thousand_changes_of_fields_and_links_take_the_requests_of_the_budget(
    portal, connector, firms
) -> None:
    connector.check()
    ids = [portal.put("deals") for _ in range(10_000)]
    for native in ids:
        portal.link("deals", native, "companies", firms[0], 5, 341)
    changes = [updated(native, name="B", companies=(firms[1],)) for native in ids]
    portal.asked.clear()
    for at in range(0, len(changes), 1000):
        written(connector, *changes[at : at + 1000])
    # 100 for fields; for links 10 reads, 10 that add and 10 that remove.
    assert len(portal.asked) == 130
    budget = connector.budget(changes)
    assert (budget.requests, budget.units, budget.seconds) == (130, 130, 10.0)


def test_new_links_of_two_records_take_one_call(portal, connector, firms) -> None:
    deals = [portal.put("deals") for _ in range(20)]
    written(connector, *[updated(native, companies=tuple(firms)) for native in deals])
    assert (portal.counted()[READ], portal.counted()[LINK]) == (1, 1)


# pipelines

STAGES = (
    Stage(id="", name="In Progress", order=0, probability=Decimal("0.2")),
    Stage(id="", name="Contract signed", order=1, probability=Decimal("0.8")),
    Stage(id="", name="Closed Won", order=2, outcome=Outcome.WON, probability=Decimal(1)),
    Stage(id="", name="Closed Lost", order=3, outcome=Outcome.LOST, probability=Decimal(0)),
)


def pipeline(act: Act, native: str | None = None, **values: Any) -> Change:
    return Change("p", act, Kind.PIPELINE, Ref("hub", Kind.PIPELINE, native) if native else None, values)


def test_pipeline_is_created_with_its_stages_and_answered_as_read(portal, connector) -> None:
    outcome = written(connector, pipeline(Act.CREATE, name="New deals", stages=STAGES))["p"]
    assert outcome.result is Result.DONE
    read = next(one for page in connector.read(Kind.PIPELINE) for one in page.records if one.name != "Sales")
    assert isinstance(read, Pipeline)
    assert outcome.record == read
    assert [stage.outcome for stage in read.stages] == [stage.outcome for stage in STAGES]
    assert read.order == 1


def test_pipeline_whose_name_is_taken_exists(portal, connector) -> None:
    outcome = written(connector, pipeline(Act.CREATE, name="sales", stages=STAGES))["p"]
    assert (outcome.result, outcome.ref.id) == (Result.EXISTS, "default")


def test_open_stage_never_becomes_a_closed_one(portal, connector) -> None:
    stages = (
        Stage(id="", name="Cold", order=0, probability=Decimal("0.02")),
        Stage(id="", name="Sure", order=1, probability=Decimal("0.99")),
        Stage(id="", name="Odd", order=2, probability=Decimal("0.44")),
        Stage(id="", name="Unknown", order=3),
    )
    outcome = written(connector, pipeline(Act.CREATE, name="New", stages=stages))["p"]
    assert [stage.outcome for stage in outcome.record.stages] == [Outcome.OPEN] * 4
    assert [str(stage.probability) for stage in outcome.record.stages] == ["0.1", "0.9", "0.4", "0.1"]


def test_stages_are_added_and_renamed_and_none_is_removed(portal, connector) -> None:
    stages = (
        Stage(id="new", name="Fresh", order=0, probability=Decimal("0.2")),
        Stage(id="", name="Demo", order=1, probability=Decimal("0.5")),
        Stage(id="closedwon", name="Won", order=2, outcome=Outcome.WON, probability=Decimal(1)),
    )
    outcome = written(connector, pipeline(Act.UPDATE, "default", name="EU sales", stages=stages))["p"]
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    (held,) = portal.pipelines
    assert held["label"] == "EU sales"
    assert {stage["label"]: stage["displayOrder"] for stage in held["stages"]} == {
        "Fresh": 0,
        "Demo": 1,
        "Won": 2,
        "Lost": 2,
    }
    assert {method for method, _, _, _ in portal.asked if method != "GET"} == {"PATCH", "POST"}


def test_pipeline_as_wanted_is_not_written(portal, connector) -> None:
    stages = (
        Stage(id="new", name="New", order=0, probability=Decimal("0.2")),
        Stage(id="closedwon", name="Won", order=1, outcome=Outcome.WON),
    )
    outcome = written(connector, pipeline(Act.UPDATE, "default", name="Sales", stages=stages))["p"]
    assert outcome.result is Result.DONE
    assert {method for method, _, _, _ in portal.asked} == {"GET"}


def test_stage_that_fails_after_the_name_is_reported(portal, connector) -> None:
    portal.hooks.append(
        lambda method, path, body: (400, refusal("too many stages")) if path.endswith("/stages") else None
    )
    stages = (Stage(id="", name="Demo", order=0),)
    outcome = written(connector, pipeline(Act.UPDATE, "default", name="EU", stages=stages))["p"]
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {"stages": "too many stages"})


def test_pipeline_that_is_gone_says_so(portal, connector) -> None:
    assert written(connector, pipeline(Act.UPDATE, "nope", name="X"))["p"].result is Result.GONE


def test_lost_answer_to_a_pipeline_is_unknown(portal, connector) -> None:
    portal.hooks.append(lambda method, path, body: (502, b"") if method == "POST" else None)
    assert written(connector, pipeline(Act.CREATE, name="X", stages=STAGES))["p"].result is Result.UNKNOWN
