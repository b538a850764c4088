"""Finding records in Close by our key, what its values become, and what writing costs."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
import responses
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.connectors.close import bodies, holding, parties
from crmkit.connectors.close.connector import CloseConnector
from crmkit.connectors.close.custom import CustomFields
from crmkit.connectors.writing import Act, Change, Lookup, Result
from crmkit.model import DealContact, Kind, LostKind, Outcome, Ref, Stage, ValuePeriod
from tests.connectors.close_writing import NOW, FakeClose, iso

KEY = "ck1:ab12cd34:ef56ab78:deal:9001"
SPECS = Path(__file__).parents[2].parent / "shared" / "specs" / "close"
needs_specs = pytest.mark.skipif(not SPECS.exists(), reason="the official specs (../shared/specs) are absent")


@pytest.fixture
def fake():
    close = FakeClose()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "DELETE"):
            mock.add_callback(method, re.compile(r"https://api\.close\.com/.*"), callback=close)
        yield close


@pytest.fixture
def connector(fake, make_context):
    made = CloseConnector(make_context("eu", api_key="k3y-secret"), CloseConnector.Options())
    yield made
    made.close()


def ref(kind: Kind, native: str) -> Ref:
    return Ref("eu", kind, native)


def carrying(key: str) -> dict:
    return {"custom.cf_key": key}


class TestFind:
    LEAD = ref(Kind.COMPANY, "lead_1")

    def test_a_deal_is_found_in_the_list_of_its_lead(self, fake, connector):
        fake.deal("oppo_1", **carrying(KEY))
        fake.deal("oppo_2", **carrying(KEY + "2"))
        found = connector.find([Lookup(Kind.DEAL, KEY, self.LEAD), Lookup(Kind.DEAL, "none", self.LEAD)])
        assert found == {KEY: [ref(Kind.DEAL, "oppo_1")]}
        assert fake.count()["GET /opportunity/"] == 1

    def test_several_carriers_come_lowest_id_first(self, fake, connector):
        for native in ("oppo_b", "oppo_a", "oppo_long"):
            fake.deal(native, **carrying(KEY))
        found = connector.find([Lookup(Kind.DEAL, KEY, self.LEAD)])
        assert [one.id for one in found[KEY]] == ["oppo_a", "oppo_b", "oppo_long"]

    def test_a_lead_with_more_deals_than_a_page_is_read_to_its_end(self, fake, connector):
        for n in range(600):
            fake.deal(f"oppo_{n:03}", **carrying(f"k{n}"))
        assert connector.find([Lookup(Kind.DEAL, "k599", self.LEAD)])["k599"]

    def test_the_contact_of_a_deal_leads_to_its_lead(self, fake, connector):
        fake.contact("cont_1", lead="lead_4")
        fake.deal("oppo_1", lead="lead_4", **carrying(KEY))
        assert KEY in connector.find([Lookup(Kind.DEAL, KEY, ref(Kind.CONTACT, "cont_1"))])
        assert fake.count()["GET /opportunity/"] == 1

    def test_without_a_lead_whatever_changed_since_is_read(self, fake, connector):
        fake.deal("oppo_old", date_updated=iso(NOW - timedelta(days=9)), **carrying(KEY))
        for n in range(2):
            back_dated = iso(NOW - timedelta(days=900))
            fake.deal(f"oppo_{n}", date_created=back_dated, **carrying(f"k{n}"))
        found = connector.find([Lookup(Kind.DEAL, key, since=NOW) for key in (KEY, "k0", "k1")])
        assert sorted(found) == ["k0", "k1"]
        assert fake.count()["GET /opportunity/"] == 1

    def test_without_anything_known_every_deal_is_read(self, fake, connector):
        fake.deal("oppo_1", **carrying(KEY))
        assert KEY in connector.find([Lookup(Kind.DEAL, KEY)])

    def test_many_leads_of_few_deals_are_read_as_one_list(self, fake, connector):
        for n in range(300):
            fake.deal(f"oppo_{n:03}", lead=f"lead_{n}", **carrying(f"k{n}"))
        lookups = [Lookup(Kind.DEAL, f"k{n}", ref(Kind.COMPANY, f"lead_{n}")) for n in range(300)]
        assert len(connector.find(lookups)) == 300
        assert fake.count()["GET /opportunity/"] < 20

    def test_a_deal_that_cannot_be_translated_is_found_all_the_same(self, fake, connector):
        fake.deal("oppo_1", value="much", **carrying(KEY))
        assert KEY in connector.find([Lookup(Kind.DEAL, KEY, since=NOW)])

    def test_a_company_is_found_in_the_list_of_all(self, fake, connector):
        fake.lead("lead_1", **carrying("k"))
        assert connector.find([Lookup(Kind.COMPANY, "k")]) == {"k": [ref(Kind.COMPANY, "lead_1")]}

    def test_a_new_company_is_found_through_the_event_log(self, fake, connector):
        fake.lead("lead_1", **carrying("k"))
        fake.events = [self.created("lead", "lead_1", data=carrying("k"))]
        assert "k" in connector.find([Lookup(Kind.COMPANY, "k", since=NOW)])
        assert fake.count()["GET /lead/"] == 0

    def test_an_event_without_content_is_looked_behind(self, fake, connector):
        fake.lead("lead_1", **carrying("k"))
        fake.events = [self.created("lead", "lead_1")]
        assert "k" in connector.find([Lookup(Kind.COMPANY, "k", since=NOW)])
        assert fake.count()["GET /lead/"] == 0

    def test_a_company_that_the_event_log_does_not_show_yet_is_found(self, fake, connector):
        fake.lead("lead_1", **carrying("k"))
        assert "k" in connector.find([Lookup(Kind.COMPANY, "k", since=NOW)])

    def test_a_deleted_company_is_not_found_through_its_event(self, fake, connector):
        fake.events = [self.created("lead", "lead_1", data=carrying("k"))]
        assert connector.find([Lookup(Kind.COMPANY, "k", since=NOW)]) == {}

    def test_a_contact_is_found_in_its_lead(self, fake, connector):
        fake.contact("cont_1", **carrying("k"))
        assert "k" in connector.find([Lookup(Kind.CONTACT, "k", self.LEAD)])

    def test_a_note_is_found_by_the_key_in_its_text(self, fake, connector):
        fake.deal("oppo_1")
        for native, text in (("acti_1", "Hi\n\nck1:a:b:note:1"), ("acti_2", "Hi\n\nck1:a:b:note:12")):
            fake.rows["note"][native] = {"id": native, "lead_id": "lead_1", "note": text}
        found = connector.find([Lookup(Kind.NOTE, "ck1:a:b:note:1", ref(Kind.DEAL, "oppo_1"))])
        assert found == {"ck1:a:b:note:1": [ref(Kind.NOTE, "acti_1")]}

    def test_nothing_is_found_where_no_field_holds_keys(self, fake, connector):
        fake.schemas["opportunity"] = []
        assert connector.find([Lookup(Kind.DEAL, KEY, self.LEAD)]) == {}
        assert fake.count()["GET /opportunity/"] == 0

    def test_a_note_that_was_written_is_found(self, fake, connector):
        change = Change("c", Act.CREATE, Kind.NOTE, values={"text": "Hi", "company_id": "lead_1"}, key="k1")
        [[outcome]] = connector.write([change])
        assert connector.find([Lookup(Kind.NOTE, "k1", self.LEAD)]) == {"k1": [outcome.ref]}

    def created(self, what: str, native: str, **more) -> dict:
        stamp = NOW.replace(tzinfo=None).isoformat()
        return {
            "id": "ev_1", "object_type": what, "action": "created", "object_id": native,
            "date_created": stamp, "date_updated": stamp, **more,
        }  # fmt: skip


TEXT = st.text(max_size=20)
MOMENT = st.datetimes(datetime(2001, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DAY = st.dates(date(2001, 1, 1), date(2040, 1, 1))
DEALS = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT,
        "amount": st.none() | st.decimals(-(10**9), 10**9, allow_nan=False),
        "probability": st.none() | st.decimals(0, 1),
        "value_period": st.none() | st.sampled_from(ValuePeriod),
        "companies": st.lists(TEXT, max_size=3).map(tuple),
        "contacts": st.lists(st.builds(DealContact, id=TEXT, primary=st.booleans()), max_size=3).map(tuple),
        "outcome": st.sampled_from(Outcome),
        "expected_close": st.none() | DAY,
        "closed_at": st.none() | MOMENT,
        "created_at": st.none() | MOMENT,
        "custom.cf_1": st.none() | TEXT | st.integers() | DAY | st.lists(TEXT, max_size=3).map(tuple),
        "source": TEXT,
    },
)
PARTIES = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT,
        "domain": st.none()
        | TEXT
        | st.sampled_from(["WWW.a.example", "https://a.example/x", "www.www.b.example"]),
        "city": st.none() | TEXT,
        "emails": st.lists(TEXT | st.emails(), max_size=3).map(tuple),
        "phones": st.lists(TEXT | st.just("+43 (1) 234-567"), max_size=3).map(tuple),
        "first_name": st.none() | TEXT,
        "last_name": st.none() | TEXT,
        "text": TEXT,
    },
)
KNOWN = holding.Known("USD")


class TestHolding:
    @given(DEALS)
    @settings(max_examples=200, deadline=None)
    def test_holding_a_deal_twice_changes_nothing_more(self, values):
        once = holding.holds(Kind.DEAL, values, KNOWN)
        again = {**once, "outcome": values["outcome"]} if "outcome" in values else once
        assert holding.holds(Kind.DEAL, again, KNOWN) == once
        assert holding.holds(Kind.DEAL, once, KNOWN) == once or "closed_at" in once

    @given(st.sampled_from([Kind.COMPANY, Kind.CONTACT, Kind.NOTE, Kind.OWNER]), PARTIES)
    @settings(max_examples=200, deadline=None)
    def test_holding_twice_changes_nothing_more(self, kind, values):
        once = holding.holds(kind, values, KNOWN)
        assert holding.holds(kind, once, KNOWN) == once

    @given(DEALS)
    @settings(max_examples=200, deadline=None)
    def test_two_values_that_are_held_alike_are_sent_alike(self, values):
        terms = bodies.Terms(CustomFields(name="custom.cf_name"), won=values.get("outcome") is Outcome.WON)
        held = {**holding.holds(Kind.DEAL, values, KNOWN)}
        if "outcome" in values:
            held["outcome"] = values["outcome"]
        sent = [bodies.deal(one, terms, create=True).wire for one in (values, held)]
        # A day given as closed on a deal that is open is reported, not sent.
        assert sent[0] == sent[1]

    @pytest.mark.parametrize("outcome", ["stat_a", "stat_w", "stat_l"])
    def test_what_is_read_is_held_unchanged(self, fake, connector, outcome):
        kind = {"stat_a": "active", "stat_w": "won", "stat_l": "lost"}[outcome]
        fake.deal(
            "oppo_1", status_id=outcome, status_type=kind, value=12345, confidence=33, contact_id="cont_1",
            date_won="2026-03-04", date_lost=iso(NOW) if kind == "lost" else None,
            **{"custom.cf_name": "Big one", "custom.cf_x": ["a", "b"]},
        )  # fmt: skip
        fake.lead("lead_1", url="https://www.acme.example/x", addresses=[{"city": "Wien"}])
        fake.contact("cont_1", emails=[{"email": "a@example.com"}], phones=[{"phone": "+431234567"}])
        for one in connector.get(
            [ref(Kind.DEAL, "oppo_1"), ref(Kind.COMPANY, "lead_1"), ref(Kind.CONTACT, "cont_1")]
        ):
            values = {name: getattr(one, name) for name in type(one).model_fields}
            held = connector.holds(one.ref.kind, values)
            assert {name: values[name] for name in held} == held

    @pytest.mark.parametrize(
        ("kind", "values", "bad"),
        [
            (Kind.DEAL, {"amount": Decimal(1), "currency": "EUR"}, {"amount", "currency"}),
            (Kind.DEAL, {"amount": Decimal("NaN")}, {"amount"}),
            (Kind.DEAL, {"probability": Decimal("1.2")}, {"probability"}),
            (Kind.DEAL, {"companies": ()}, {"companies"}),
            (Kind.DEAL, {"lost_reason": "price", "tags": ("x",), "source": None}, {"lost_reason", "tags"}),
            (Kind.DEAL, {"lost_kind": LostKind.DUPLICATE}, {"lost_kind"}),
            (Kind.DEAL, {"outcome": Outcome.LOST, "closed_at": NOW}, {"closed_at"}),
            (Kind.DEAL, {"amount": Decimal(1), "currency": "USD", "probability": Decimal(1)}, set()),
            (Kind.COMPANY, {"domain": "no host", "tax_id": "ATU1"}, {"domain", "tax_id"}),
            (Kind.COMPANY, {"name": " "}, {"name"}),
            (Kind.CONTACT, {"phones": ("+431234567", "0660 1234")}, {"phones"}),
            (Kind.CONTACT, {"companies": (), "city": "Wien"}, {"companies", "city"}),
        ],
    )
    def test_what_cannot_be_held_is_named(self, kind, values, bad):
        assert set(holding.cannot_hold(kind, values, KNOWN)) == bad

    def test_choices_and_missing_fields_are_judged_once_they_are_known(self, fake, connector):
        fake.schemas["opportunity"].append(
            {
                "id": "cf_c",
                "name": "Tier",
                "type": "choices",
                "choices": ["A", "B"],
                "accepts_multiple_values": False,
            }
        )
        values = {"custom.cf_c": "C", "custom.cf_9": "x"}
        assert connector.cannot_hold(Kind.DEAL, values) == {}
        list(connector.read(Kind.DEAL))
        assert sorted(connector.cannot_hold(Kind.DEAL, values)) == ["custom.cf_9", "custom.cf_c"]


def many(act: Act, kind: Kind, values: dict, count: int) -> list[Change]:
    prefix = {Kind.DEAL: "oppo", Kind.COMPANY: "lead", Kind.CONTACT: "cont", Kind.NOTE: "acti"}[kind]
    return [
        Change(f"c{n}", act, kind, None if act is Act.CREATE else ref(kind, f"{prefix}_{n}"), values)
        for n in range(count)
    ]


LEAD = {"companies": ("lead_1",)}
COSTS = [
    (Act.CREATE, Kind.DEAL, {**LEAD, "name": "x", "amount": Decimal(5), "currency": "USD"}, 10_000, 10_003),
    (Act.UPDATE, Kind.DEAL, {"stage_id": "stat_w", "pipeline_id": "pipe_1"}, 2_000, 2_001),
    (Act.DELETE, Kind.DEAL, {}, 2_000, 2_000),
    (Act.UPDATE, Kind.DEAL, {"stage_id": "stat_w", "closed_at": NOW}, 100, 102),
    (Act.UPDATE, Kind.DEAL, {"closed_at": NOW}, 100, 201),
    (Act.CREATE, Kind.COMPANY, {"name": "x", "city": "Wien"}, 100, 101),
    (Act.UPDATE, Kind.COMPANY, {"name": "x"}, 100, 101),
    (Act.UPDATE, Kind.COMPANY, {"city": "Wien"}, 100, 201),
    (Act.DELETE, Kind.COMPANY, {}, 100, 200),
    (Act.CREATE, Kind.CONTACT, {**LEAD, "name": "x", "emails": ("a@example.com",)}, 100, 101),
    (Act.UPDATE, Kind.CONTACT, {"emails": ("a@example.com",)}, 100, 201),
    (Act.DELETE, Kind.CONTACT, {}, 100, 100),
    (Act.CREATE, Kind.NOTE, {"text": "x", "company_id": "lead_1"}, 100, 100),
    (Act.CREATE, Kind.NOTE, {"text": "x", "deal_id": "oppo_1"}, 100, 102),
]


class TestBudget:
    @pytest.mark.parametrize(("act", "kind", "values", "count", "requests"), COSTS)
    def test_changes_cost_what_the_budget_says(self, fake, connector, act, kind, values, count, requests):
        for n in range(count):
            fake.deal(f"oppo_{n}", status_type="won")
            if kind is Kind.COMPANY:
                fake.lead(f"lead_{n}")
            if kind is Kind.CONTACT:
                fake.contact(f"cont_{n}")
        changes = many(act, kind, values, count)
        promised = connector.budget(changes)
        assert promised.requests == requests
        # Contract, section 14: 500 s for 10,000 at 20 a second.
        assert promised.seconds == requests / 20
        sent = changes[:500]  # what is promised for some is what sending them takes
        expected = connector.budget(sent).requests
        outcomes = [one.result for group in connector.write(sent) for one in group]
        assert outcomes == [Result.DONE] * len(sent)
        assert connector.context.usage.requests == expected

    def test_a_pipeline_costs_a_call_and_its_update_at_most_one_per_stage(self, fake, connector):
        stages = tuple(Stage(id=f"x{n}", name=f"S{n}", order=n) for n in range(3))
        values = {"name": "New", "stages": stages}
        changes = [Change("c", Act.UPDATE, Kind.PIPELINE, ref(Kind.PIPELINE, "pipe_1"), values)]
        promised = connector.budget(changes).requests
        list(connector.write(changes))
        assert connector.context.usage.requests == promised == 6

    def test_writes_run_side_by_side(self, fake, connector):
        assert connector.in_flight == 12
        assert connector.capabilities.writing[Kind.DEAL].chunk == 100


def example(name: str) -> dict:
    return json.loads((SPECS / "examples" / name).read_text(encoding="utf-8"))


@needs_specs
class TestOfficialPayloads:
    def test_the_recorded_deal_is_made_as_it_was(self):
        sent = example("opportunity_create_recorded_request.json")
        values = {
            "amount": Decimal(5), "probability": Decimal("0.9"), "value_period": ValuePeriod.MONTHLY,
            "companies": (sent["lead_id"],), "stage_id": sent["status_id"],
        }  # fmt: skip
        del sent["note"]
        assert bodies.deal(values, bodies.Terms(CustomFields()), create=True).wire == sent

    def test_a_deal_is_won_as_in_the_documentation(self):
        sent = example("opportunity_update_won_request.json")
        values = {"stage_id": sent["status_id"], "pipeline_id": "pipe_1", "outcome": Outcome.WON}
        assert bodies.deal(values, bodies.Terms(CustomFields()), create=False).wire == sent

    def test_the_recorded_contact_is_made_as_it_was(self):
        sent = example("contact_create_recorded_request.json")
        values = {"name": "Big Bird", "companies": (sent["lead_id"],), "emails": ("BigBird@example.com",)}
        wire = parties.contact({**values, "phones": ("1234",)}, CustomFields(), create=True).wire
        assert wire == sent

    def test_a_status_is_made_as_in_the_documentation(self):
        sent = example("status_opportunity_create_request.json")
        made = bodies.status(Stage(id="x", name="Closed", order=0, outcome=Outcome.WON))
        assert {**made, "pipeline_id": sent["pipeline_id"]} == sent

    @pytest.mark.parametrize(
        ("answer", "whole"),
        [
            ("opportunity_create_response_200.json", True),
            ("opportunity_create_recorded_response_200.json", False),
        ],
    )
    def test_a_record_is_answered_only_if_it_is_complete(self, fake, connector, answer, whole):
        row = example(answer)
        fake.faults = lambda method, path: (200, row) if method == "POST" else None
        values = {"companies": (row["lead_id"],)}
        [[outcome]] = connector.write([Change("c", Act.CREATE, Kind.DEAL, values=values)])
        assert (outcome.result, outcome.ref.id) == (Result.DONE, row["id"])
        assert (outcome.record is not None) == whole

    @pytest.mark.parametrize(
        ("error", "status", "result", "field"),
        [
            ("error_lead_create_bad_status_400.json", 400, Result.REJECTED, "stage_id"),
            ("error_task_create_unknown_lead_400.json", 400, Result.REJECTED, "companies"),
            ("error_lead_unknown_404.json", 404, Result.GONE, None),
            ("error_url_unknown_404.json", 404, Result.REJECTED, None),
        ],
    )
    def test_recorded_refusals_are_understood(self, fake, connector, error, status, result, field):
        fake.faults = lambda method, path: (status, example(error)) if method == "PUT" else None
        change = Change("c", Act.UPDATE, Kind.DEAL, ref(Kind.DEAL, "oppo_1"), {"name": "x"})
        [[outcome]] = connector.write([change])
        assert (outcome.result, outcome.field) == (result, field)

    def test_every_written_body_is_one_that_the_spec_allows(self, fake, connector):
        spec_requests = pytest.importorskip("tests.connectors.test_spec_requests")
        fake.lead("lead_1")
        fake.contact("cont_1")
        fake.deal("oppo_1")
        fake.schemas["lead"] = []
        connector.prepare([Kind.COMPANY])
        everything = {
            "name": "x", "amount": Decimal("1.5"), "currency": "USD", "probability": Decimal("0.5"),
            "value_period": ValuePeriod.ANNUAL, "owner_id": "user_1", "expected_close": date(2027, 1, 1),
            "contacts": (DealContact(id="cont_1"),), "stage_id": "stat_a", "pipeline_id": "pipe_1", **LEAD,
        }  # fmt: skip
        cleared = {**everything, **dict.fromkeys(("amount", "probability", "owner_id", "expected_close"))}
        person = {"name": "x", "emails": ("a@example.com",), "phones": ("+431234567",)}
        note = {"text": "x", "company_id": "lead_1", "at": NOW, "author_id": "user_1"}
        stages = (
            Stage(id="x", name="X", order=0),
            Stage(id="stat_w", name="W", order=1, outcome=Outcome.WON),
        )
        for act, kind, values in (
            (Act.CREATE, Kind.DEAL, {**everything, "created_at": NOW}),
            (Act.CREATE, Kind.DEAL, cleared),
            (Act.UPDATE, Kind.DEAL, everything),
            (Act.UPDATE, Kind.DEAL, cleared),
            (Act.CREATE, Kind.COMPANY, {"name": "x", "domain": "a.example", "city": "Wien"}),
            (Act.UPDATE, Kind.COMPANY, {"name": "x", "city": "Wien"}),
            (Act.CREATE, Kind.CONTACT, {**person, **LEAD}),
            (Act.UPDATE, Kind.CONTACT, person),
            (Act.CREATE, Kind.NOTE, note),
            (Act.CREATE, Kind.PIPELINE, {"name": "x", "stages": stages}),
            (Act.UPDATE, Kind.PIPELINE, {"name": "x", "stages": stages}),
            (Act.DELETE, Kind.CONTACT, {}),
            (Act.DELETE, Kind.DEAL, {}),
        ):
            native = {"deal": "oppo_1", "company": "lead_1", "contact": "cont_1", "pipeline": "pipe_1"}.get(
                kind, ""
            )
            there = None if act is Act.CREATE else ref(kind, native)
            [[outcome]] = connector.write(
                [Change("c", act, kind, there, values, key="k" * (act is Act.CREATE))]
            )
            assert outcome.result is Result.DONE, (act, kind, outcome)
        document = json.loads((SPECS / "openapi.json").read_text(encoding="utf-8"))
        spec = spec_requests.Spec(document, spec_requests.EXCEPTIONS["close"])
        sent = [
            SimpleNamespace(method=method, path=path, query=(), body=body or None)
            for method, path, body in fake.writes()
        ]
        assert len(sent) > 15
        assert sorted({problem for one in sent for problem in spec.problems(one)}) == []
