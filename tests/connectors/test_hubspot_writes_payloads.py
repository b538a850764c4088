"""What is written to HubSpot is what its OpenAPI file and its examples have; its answers are understood."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot.bodies import associations, properties
from crmkit.connectors.hubspot.connector import HubSpotConnector
from crmkit.connectors.hubspot.posts import Said
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import Account
from crmkit.connectors.hubspot.settling import settle
from crmkit.connectors.hubspot.structure import pipeline_body
from crmkit.connectors.writing import Act, Change, Lookup, Result
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage
from tests.connectors.hubspot_writing import FakePortal, created, deleted, serve, updated, written
from tests.connectors.test_spec_requests import EXCEPTIONS, SPECS, Sent, Spec

pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="the official specs (../shared/specs) are absent")
EXAMPLES = SPECS / "hubspot" / "examples"
ACCOUNT = Account.of("hub", {"portalId": 1, "timeZone": "UTC", "companyCurrency": "USD"})


def example(name: str) -> Any:
    return json.loads((Path(EXAMPLES) / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def portal() -> Iterator[FakePortal]:
    fake = FakePortal()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        serve(mock, fake)
        yield fake


@pytest.fixture
def connector(portal: FakePortal, make_context: Callable[..., Context]) -> Iterator[HubSpotConnector]:
    made = HubSpotConnector(make_context("hub", token="t"))
    yield made
    made.close()


def write_everything(portal: FakePortal, connector: HubSpotConnector) -> None:
    del portal.properties["deals"]["crmkit_uid"]
    connector.prepare([Kind.DEAL])
    firms = [written(connector, created(n, Kind.COMPANY, name=n, domain="x.org"))[n].ref.id for n in "ab"]
    people = [
        written(connector, created(n, Kind.CONTACT, last_name=n, emails=(f"{n}@x.org",), companies=firms))[
            n
        ].ref.id
        for n in "cd"
    ]
    linked = (DealContact(id=people[0], role="Champion"), DealContact(id=people[1]))
    first = created("1", amount=Decimal("1.5"), companies=tuple(firms), contacts=linked)
    deal = written(connector, first)["1"].ref.id
    turned = (DealContact(id=people[0], role="Decision maker"),)
    written(connector, updated(deal, amount=None, companies=tuple(firms[:1]), contacts=turned))
    written(connector, updated(people[0], Kind.CONTACT, emails=(), companies=()))
    note = Change("n", Act.CREATE, Kind.NOTE, values={"text": "x", "deal_id": deal}, key="ck1:n")
    written(connector, note)
    connector.find(
        [Lookup(Kind.DEAL, first.key or ""), Lookup(Kind.NOTE, "ck1:n", Ref("hub", Kind.DEAL, deal))]
    )
    written(connector, replace(first, values={**first.values, "owner_id": "BOOM"}))
    written(connector, deleted(deal))
    stages = (Stage(id="", name="S", order=0), Stage(id="", name="W", order=1, outcome=Outcome.WON))
    made = written(connector, Change("p", Act.CREATE, Kind.PIPELINE, values={"name": "P", "stages": stages}))
    ref = made["p"].ref
    values = {"name": "Q", "stages": (replace_name(made["p"].record.stages[0], "T"), *stages[1:], stages[0])}
    written(connector, Change("p", Act.UPDATE, Kind.PIPELINE, ref, values))


def replace_name(stage: Stage, name: str) -> Stage:
    return stage.model_copy(update={"name": name})


def test_every_write_is_one_that_the_spec_allows(portal, connector) -> None:
    write_everything(portal, connector)
    spec = Spec(
        json.loads((SPECS / "hubspot" / "openapi.json").read_text(encoding="utf-8")), EXCEPTIONS["hubspot"]
    )
    sent = [
        Sent(method, path, tuple((k, v) for k, many in query.items() for v in many), body)
        for method, path, query, body in portal.asked
    ]
    assert len({(one.method, one.path) for one in sent if one.method != "GET"}) > 15
    assert sorted({problem for one in sent for problem in spec.problems(one)}) == []


def test_example_of_a_deal_with_links_is_made() -> None:
    wanted = example("deals_create_with_associations_request")
    values = {
        "name": "New deal",
        "pipeline_id": "default",
        "stage_id": "contractsent",
        "amount": Decimal("1500.00"),
        "owner_id": "910901",
        "closed_at": datetime(2019, 12, 7, 16, 50, 6, 678000, tzinfo=UTC),
        "companies": ("201",),
        "contacts": (DealContact(id="301"),),
    }
    assert properties(Kind.DEAL, values, ACCOUNT, None) == wanted["properties"]
    assert associations(Kind.DEAL, values, {}) == as_texts(wanted["associations"])


def test_example_of_a_note_with_links_is_made() -> None:
    wanted = example("notes_create_with_associations_request")
    text = wanted["properties"]["hs_note_body"]
    values = {"text": text, "deal_id": "401", "company_id": "301", "author_id": "14240720"}
    found = properties(Kind.NOTE, values, ACCOUNT, None)
    assert found.items() <= wanted["properties"].items()
    ordered = sorted(as_texts(wanted["associations"]), key=lambda link: link["to"]["id"])
    assert sorted(associations(Kind.NOTE, values, {}), key=lambda link: link["to"]["id"]) == ordered


def as_texts(links: list[Any]) -> list[Any]:
    """The example's links; ids may be sent as texts too, as the spec has them."""
    return [{**link, "to": {"id": str(link["to"]["id"])}} for link in links]


def test_example_of_a_pipeline_is_made() -> None:
    names = [("In Progress", "0.2", Outcome.OPEN), ("Contract signed", "0.8", Outcome.OPEN),
             ("Closed Won", "1", Outcome.WON), ("Closed Lost", "0", Outcome.LOST)]  # fmt: skip
    stages = tuple(
        Stage(id="", name=name, order=at, probability=Decimal(share), outcome=outcome)
        for at, (name, share, outcome) in enumerate(names)
    )
    body = pipeline_body({"name": "New deal pipeline", "stages": stages}, 3)
    assert body == example("pipelines_create_request")


def test_example_of_a_unique_property_has_what_ours_has(portal, connector) -> None:
    del portal.properties["deals"]["crmkit_uid"]
    connector.prepare([Kind.DEAL])
    wanted = example("properties_create_unique_request")
    made = portal.properties["deals"]["crmkit_uid"]
    names = ("name", "label")
    assert {k: made[k] for k in wanted if k not in names} == {
        k: v for k, v in wanted.items() if k not in names
    }


def test_example_of_a_delete_and_of_removed_links_are_made(portal, connector) -> None:
    ids = [one["id"] for one in example("deals_batch_archive_request")["inputs"]]
    written(connector, *[deleted(native) for native in ids])
    assert portal.bodies("/batch/archive") == [example("deals_batch_archive_request")]
    wanted = example("associations_batch_archive_request")
    portal.asked.clear()
    for one in wanted["inputs"]:
        portal.link("deals", one["from"]["id"], "companies", one["to"][0]["id"], 5, 341)
    written(connector, *[updated(one["from"]["id"], companies=()) for one in wanted["inputs"]])
    assert portal.bodies("/batch/archive") == [wanted]


def test_example_of_a_lookup_by_key_is_made(portal, connector) -> None:
    connector.find([Lookup(Kind.DEAL, "0001111"), Lookup(Kind.DEAL, "0001112")])
    (body,) = portal.bodies("/batch/read")
    wanted = example("deals_batch_read_by_unique_property_request")
    assert (body["inputs"], body.keys()) == (wanted["inputs"], wanted.keys())


def test_example_of_a_207_is_settled_by_trace_id() -> None:
    answer = example("batch_create_multi_status_207_response")
    trace = answer["errors"][0]["context"]["objectWriteTraceId"][0]
    answer["errors"][0]["context"]["objectWriteTraceId"] = [f"crmkit-{trace}"]
    answer["results"][0]["properties"]["crmkit_uid"] = "ck1:good"
    good = Change("549b1c2a9350", Act.CREATE, Kind.DEAL, key="ck1:good")
    bad = Change(trace, Act.CREATE, Kind.DEAL, key="ck1:bad")
    said = Said(answer["results"], answer["errors"])
    reply = settle([good, bad], said, connection="hub", modified="hs_lastmodifieddate")
    (done,) = reply.outcomes
    ((refused, fault),) = reply.refused
    assert (done.id, done.result, done.ref) == (good.id, Result.DONE, Ref("hub", Kind.DEAL, "1145814089"))
    assert done.version == "2024-08-15T17:09:13.648Z"
    assert (refused.id, fault.causes) == (bad.id, (("PROPERTY_DOESNT_EXIST", "missing"),))
    assert fault.field(bad) == "custom.missing"


def test_example_of_a_taken_address_names_the_contact_that_has_it() -> None:
    fault = Fault.of(example("error_409_contact_exists_response"))
    assert (fault.clashes, fault.existing) == (True, "37765128953")


@pytest.mark.parametrize(
    ("name", "code", "field"),
    [
        ("error_400_property_doesnt_exist_response", "PROPERTY_DOESNT_EXIST", "custom.testproperty"),
        ("error_400_conditional_required_2026_09_response", "MISSING_CONDITIONAL_REQUIRED_PROPERTY",
         "custom.my_property"),
    ],
)  # fmt: skip
def test_example_refusals_name_their_property_once(name: str, code: str, field: str) -> None:
    change = Change("1", Act.CREATE, Kind.DEAL)
    text = (Path(EXAMPLES) / f"{name}.json").read_text(encoding="utf-8").replace("{HubId}", "1")
    fault = Fault.of(json.loads(text))
    assert [cause for cause, _ in fault.causes] == [code]
    assert fault.field(change) == field
