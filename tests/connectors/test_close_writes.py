"""Writing to Close. The traps of the contract, and the test that each would fail:

 2  no name               test_the_name_goes_to_its_custom_field,
                          test_without_a_name_field_the_name_is_reported
 3  cents                 test_money_is_sent_as_whole_cents, test_yen_that_are_counted_in_yen_are_put_right
 4  status                test_a_new_pipeline_is_named_by_its_stage_only
 6  one lead, one contact test_a_deal_without_a_company_is_not_sent, test_a_second_contact_is_reported,
                          test_a_contact_of_another_lead_does_not_cost_the_deal
 8  no batch              test_changes_cost_what_the_budget_says (keys)
11 date_won               test_a_won_deal_gets_the_day_it_was_won, test_leaving_won_keeps_the_expected_close
12 x-tz-offset            test_today_is_a_day_in_utc
13 leads take their deals test_a_company_with_deals_is_not_deleted
14 limits                 test_429_waits_and_is_never_unknown
15 closed bodies          test_an_update_sends_no_key_that_only_a_create_takes
"""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import requests
import responses

from crmkit.connectors.close.connector import CloseConnector
from crmkit.connectors.writing import Act, Change, Keys, Result
from crmkit.errors import MissingScope, Unsupported
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage, ValuePeriod
from tests.connectors.close_writing import DEAL_KEY, NOW, FakeClose

KEY = "ck1:ab12cd34:ef56ab78:deal:9001"


@pytest.fixture
def fake():
    close = FakeClose()
    close.schemas["opportunity"] += [{"id": f"cf_{one}", "name": one, "type": "text"} for one in "xnd"]
    close.lead("lead_1")
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "DELETE"):
            mock.add_callback(method, re.compile(r"https://api\.close\.com/.*"), callback=close)
        yield close


@pytest.fixture
def connector(fake, make_context):
    made = CloseConnector(make_context("eu", api_key="k3y-secret"), CloseConnector.Options())
    yield made
    made.close()


def create(kind: Kind, key: str | None = None, **values) -> Change:
    return Change("c1", Act.CREATE, kind, values=spelled(values), key=key)


def update(kind: Kind, native: str, **values) -> Change:
    return Change("c1", Act.UPDATE, kind, Ref("eu", kind, native), values=spelled(values))


def delete(kind: Kind, native: str) -> Change:
    return Change("c1", Act.DELETE, kind, Ref("eu", kind, native))


def spelled(values: dict) -> dict:
    return {name.replace("custom_", "custom."): value for name, value in values.items()}


def written(connector, *changes):
    found = [one for group in connector.write(list(changes)) for one in group]
    assert sorted(one.id for one in found) == sorted(change.id for change in changes)
    return found[0] if len(found) == 1 else {one.id: one for one in found}


def new_deal(key: str | None = KEY, **values) -> Change:
    return create(Kind.DEAL, key, **{"companies": ("lead_1",), **values})


class TestDeals:
    def test_a_created_deal_reads_back_as_it_was_written(self, fake, connector):
        values = {
            "name": "Big one", "pipeline_id": "pipe_2", "stage_id": "stat_r", "amount": Decimal("12.50"),
            "currency": "USD", "value_period": ValuePeriod.MONTHLY, "probability": Decimal("0.4"),
            "owner_id": "user_7", "companies": ("lead_1",), "expected_close": date(2027, 1, 2),
            "created_at": datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        }  # fmt: skip
        outcome = written(connector, create(Kind.DEAL, KEY, **values))
        assert (outcome.result, dict(outcome.unwritten)) == (Result.DONE, {})
        [read] = connector.get([outcome.ref])
        assert read == outcome.record
        assert read.key == KEY
        assert outcome.version == read.version
        held = connector.holds(Kind.DEAL, values)
        assert {name: getattr(read, name) for name in held} == held

    def test_money_is_sent_as_whole_cents(self, fake, connector):
        outcome = written(connector, new_deal(amount=Decimal("1234.565")))
        assert fake.bodies("POST")[0]["value"] == 123457
        assert outcome.record.amount == Decimal("1234.57")

    def test_the_name_goes_to_its_custom_field(self, fake, connector):
        written(connector, new_deal(name=" Big one "))
        assert fake.bodies("POST")[0]["custom.cf_name"] == "Big one"

    def test_without_a_name_field_the_name_is_reported(self, fake, connector):
        fake.schemas["opportunity"] = [DEAL_KEY]
        outcome = written(connector, new_deal(name="Big one"))
        assert (outcome.result, list(outcome.unwritten)) == (Result.DONE, ["name"])

    def test_a_deal_without_a_company_is_not_sent(self, fake, connector):
        outcome = written(connector, create(Kind.DEAL, KEY, name="x"))
        assert (outcome.result, outcome.field, fake.writes()) == (Result.REJECTED, "companies", [])

    def test_a_key_is_not_sent_where_nothing_can_hold_it(self, fake, connector):
        fake.schemas["opportunity"] = []
        outcome = written(connector, new_deal())
        assert (outcome.result, fake.writes()) == (Result.UNSENT, [])

    def test_a_key_field_made_meanwhile_is_used(self, fake, connector):
        fake.schemas["opportunity"] = []
        connector.budget([])
        list(connector.read(Kind.DEAL))
        fake.schemas["opportunity"] = [DEAL_KEY]
        assert written(connector, new_deal()).record.key == KEY

    def test_an_update_touches_only_what_it_names(self, fake, connector):
        fake.deal("oppo_1", **{"custom.cf_other": "x"})
        outcome = written(connector, update(Kind.DEAL, "oppo_1", probability=Decimal("0.75")))
        assert fake.bodies("PUT") == [{"confidence": 75}]
        assert outcome.record.custom["cf_other"] == "x"

    def test_an_update_sends_no_key_that_only_a_create_takes(self, fake, connector):
        fake.deal("oppo_1")
        change = update(
            Kind.DEAL,
            "oppo_1",
            pipeline_id="pipe_2",
            stage_id="stat_r",
            companies=("lead_2",),
            created_at=NOW,
        )
        outcome = written(connector, change)
        assert fake.bodies("PUT") == [{"status_id": "stat_r"}]
        assert sorted(outcome.unwritten) == ["companies", "created_at"]

    def test_a_new_pipeline_is_named_by_its_stage_only(self, fake, connector):
        fake.deal("oppo_1")
        outcome = written(connector, update(Kind.DEAL, "oppo_1", pipeline_id="pipe_2", stage_id="stat_r"))
        assert (outcome.record.pipeline_id, dict(outcome.unwritten)) == ("pipe_2", {})

    def test_a_pipeline_without_a_stage_is_refused(self, fake, connector):
        fake.deal("oppo_1")
        outcome = written(connector, update(Kind.DEAL, "oppo_1", pipeline_id="pipe_2"))
        assert (outcome.result, outcome.field, fake.writes()) == (Result.REJECTED, "pipeline_id", [])

    @pytest.mark.parametrize("name", ["amount", "probability"])
    def test_what_an_update_cannot_clear_is_reported(self, fake, connector, name):
        fake.deal("oppo_1")
        outcome = written(connector, update(Kind.DEAL, "oppo_1", **{name: None, "name": "x"}))
        assert (outcome.result, list(outcome.unwritten)) == (Result.DONE, [name])

    def test_none_clears_what_can_be_cleared(self, fake, connector):
        fake.contact("cont_1")
        fake.deal("oppo_1", contact_id="cont_1", date_won="2027-01-01", **{"custom.cf_x": "y"})
        change = update(
            Kind.DEAL, "oppo_1", contacts=(), owner_id=None, expected_close=None, custom_cf_x=None
        )
        record = written(connector, change).record
        cleared = (record.contacts, record.owner_id, record.expected_close, record.custom)
        assert cleared == ((), None, None, {})

    def test_a_second_contact_is_reported(self, fake, connector):
        fake.contact("cont_1")
        contacts = (DealContact(id="cont_2"), DealContact(id="cont_1", primary=True))
        outcome = written(connector, new_deal(contacts=contacts))
        assert [one.id for one in outcome.record.contacts] == ["cont_1"]
        assert list(outcome.unwritten) == ["contacts"]

    def test_a_contact_of_another_lead_does_not_cost_the_deal(self, fake, connector):
        fake.contact("cont_9", lead="lead_9")
        outcome = written(connector, new_deal(contacts=(DealContact(id="cont_9"),)))
        assert (outcome.result, list(outcome.unwritten)) == (Result.DONE, ["contacts"])
        assert len(fake.rows["opportunity"]) == 1

    def test_a_contact_that_is_silently_dropped_is_reported(self, fake, connector):
        fake.contact("cont_1")
        deal = fake.deal("oppo_1")
        fake.after = lambda method, path: (200, {**deal, "contact_id": None}) if method == "PUT" else None
        outcome = written(
            connector, update(Kind.DEAL, "oppo_1", contacts=(DealContact(id="cont_1"),), name="x")
        )
        assert "contacts" in outcome.unwritten

    def test_a_field_that_is_silently_dropped_is_reported(self, fake, connector):
        fake.deal("oppo_1")
        fake.merge = lambda row, body: None
        outcome = written(connector, update(Kind.DEAL, "oppo_1", custom_cf_x="y", probability=Decimal("0.9")))
        assert sorted(outcome.unwritten) == ["custom.cf_x", "probability"]

    def test_an_amount_in_another_currency_is_not_written(self, fake, connector):
        outcome = written(connector, new_deal(amount=Decimal(5), currency="EUR"))
        assert sorted(outcome.unwritten) == ["amount", "currency"]
        assert "value" not in fake.bodies("POST")[0]

    def test_no_owner_is_said_so_that_the_caller_does_not_become_it(self, fake, connector):
        outcome = written(connector, new_deal(owner_id=None))
        assert outcome.record.owner_id is None

    def test_custom_numbers_stay_exact(self, fake, connector):
        fake.deal("oppo_1")
        written(
            connector, update(Kind.DEAL, "oppo_1", custom_cf_n=Decimal("0.10"), custom_cf_d=date(2027, 1, 2))
        )
        assert fake.raw[-1] == b'{"custom.cf_n":0.10,"custom.cf_d":"2027-01-02"}'

    def test_our_key_is_never_overwritten_as_a_custom_field(self, fake, connector):
        fake.deal("oppo_1", **{"custom.cf_key": KEY})
        outcome = written(connector, update(Kind.DEAL, "oppo_1", custom_cf_key="other", name="x"))
        assert (outcome.record.key, list(outcome.unwritten)) == (KEY, ["custom.cf_key"])

    def test_yen_that_are_counted_in_yen_are_put_right(self, fake, connector):
        fake.currency, fake.unit = "JPY", 0
        first = written(connector, new_deal(amount=Decimal(1500)))
        assert (first.record.amount, dict(first.unwritten)) == (Decimal(1500), {})
        written(connector, new_deal(amount=Decimal(70)))
        assert [body["value"] for method, _, body in fake.writes()] == [150000, 1500, 70]

    def test_a_deleted_deal_is_gone(self, fake, connector):
        fake.deal("oppo_1")
        assert written(connector, delete(Kind.DEAL, "oppo_1")).result is Result.DONE
        assert written(connector, delete(Kind.DEAL, "oppo_1")).result is Result.GONE
        assert fake.rows["opportunity"] == {}

    def test_an_update_of_nothing_sends_nothing(self, fake, connector):
        assert written(connector, update(Kind.DEAL, "oppo_1")).result is Result.DONE
        assert fake.writes() == []


class TestDays:
    WON = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)

    def test_a_won_deal_gets_the_day_it_was_won(self, fake, connector):
        fake.deal("oppo_1", date_won="2027-05-05")
        change = update(Kind.DEAL, "oppo_1", stage_id="stat_w", closed_at=self.WON)
        outcome = written(connector, change)
        assert outcome.record.closed_at == datetime(2026, 3, 4, 12, tzinfo=UTC)

    def test_leaving_won_keeps_the_expected_close(self, fake, connector):
        fake.deal("oppo_1", status_id="stat_w", status_type="won", date_won="2026-03-04")
        outcome = written(connector, update(Kind.DEAL, "oppo_1", stage_id="stat_a", closed_at=None))
        assert fake.bodies("PUT") == [{"status_id": "stat_a"}]
        assert outcome.record.expected_close == date(2026, 3, 4)

    def test_a_later_day_of_a_won_deal_asks_whether_it_is_won(self, fake, connector):
        fake.deal("oppo_1", status_id="stat_w", status_type="won", date_won="2026-01-01")
        written(connector, update(Kind.DEAL, "oppo_1", closed_at=self.WON))
        assert fake.rows["opportunity"]["oppo_1"]["date_won"] == "2026-03-04"

    @pytest.mark.parametrize("stage", ["stat_l", "stat_a"])
    def test_the_day_a_deal_was_lost_cannot_be_written(self, fake, connector, stage):
        fake.deal("oppo_1", date_won="2027-05-05")
        outcome = written(connector, update(Kind.DEAL, "oppo_1", stage_id=stage, closed_at=self.WON))
        assert list(outcome.unwritten) == ["closed_at"]
        assert outcome.record.expected_close == date(2027, 5, 5)

    def test_today_is_a_day_in_utc(self, fake, connector):
        written(connector, new_deal(stage_id="stat_w"))
        assert fake.headers[-1]["x-tz-offset"] == "0"


class TestCompaniesAndContacts:
    def test_a_created_company_reads_back(self, fake, connector):
        values = {"name": " Acme ", "domain": "WWW.Acme.example", "city": "Wien", "postcode": "1010"}
        outcome = written(connector, create(Kind.COMPANY, "ck1:a:b:company:1", **values))
        [read] = connector.get([outcome.ref])
        assert (read, read.key) == (outcome.record, "ck1:a:b:company:1")
        held = connector.holds(Kind.COMPANY, values)
        assert {name: getattr(read, name) for name in held} == held

    def test_a_new_city_keeps_the_street_and_further_addresses(self, fake, connector):
        second = {"label": "mailing", "city": "Graz"}
        fake.lead("lead_2", addresses=[{"label": "business", "address_1": "Ring 1", "city": "Linz"}, second])
        written(connector, update(Kind.COMPANY, "lead_2", city="Wien"))
        first = {"label": "business", "address_1": "Ring 1", "city": "Wien"}
        assert fake.bodies("PUT") == [{"addresses": [first, second]}]

    def test_a_cleared_city_is_no_city(self, fake, connector):
        fake.lead("lead_2", addresses=[{"label": "business", "city": "Linz"}])
        assert written(connector, update(Kind.COMPANY, "lead_2", city=None)).record.city is None

    def test_a_cleared_city_is_not_replaced_by_that_of_the_next_address(self, fake, connector):
        fake.lead("lead_2", addresses=[{"label": "business", "city": "Linz"}, {"city": "Graz"}])
        assert written(connector, update(Kind.COMPANY, "lead_2", city=None)).record.city is None

    def test_a_company_with_deals_is_not_deleted(self, fake, connector):
        fake.lead("lead_2", opportunities=[{"id": "oppo_1"}])
        outcome = written(connector, delete(Kind.COMPANY, "lead_2"))
        assert (outcome.result, "lead_2" in fake.rows["lead"]) == (Result.REJECTED, True)

    def test_an_empty_company_is_deleted(self, fake, connector):
        assert written(connector, delete(Kind.COMPANY, "lead_1")).result is Result.DONE

    def test_a_nameless_company_is_not_sent(self, fake, connector):
        outcome = written(connector, create(Kind.COMPANY, city="Wien"))
        assert (outcome.result, outcome.field, fake.writes()) == (Result.REJECTED, "name", [])

    def test_fields_that_a_lead_lacks_are_reported(self, fake, connector):
        outcome = written(
            connector, create(Kind.COMPANY, name="Acme", phones=("+431234567",), owner_id="user_1")
        )
        assert (outcome.result, sorted(outcome.unwritten)) == (Result.DONE, ["owner_id", "phones"])

    def test_a_created_contact_reads_back(self, fake, connector):
        values = {
            "name": "Ada L", "emails": ("A@Example.com",), "phones": ("+43 1 234-567",),
            "companies": ("lead_1",),
        }  # fmt: skip
        outcome = written(connector, create(Kind.CONTACT, "ck1:a:b:contact:1", **values))
        [read] = connector.get([outcome.ref])
        assert (read, read.key) == (outcome.record, "ck1:a:b:contact:1")
        held = connector.holds(Kind.CONTACT, values)
        assert {name: getattr(read, name) for name in held} == held

    def test_a_contact_without_a_company_is_not_sent(self, fake, connector):
        outcome = written(connector, create(Kind.CONTACT, name="Ada"))
        assert (outcome.result, outcome.field, fake.writes()) == (Result.REJECTED, "companies", [])

    def test_addresses_that_stay_keep_their_type(self, fake, connector):
        fake.contact("cont_1", emails=[{"email": "a@example.com", "type": "home"}])
        written(connector, update(Kind.CONTACT, "cont_1", emails=("b@example.com", "a@example.com")))
        rows = [{"email": "b@example.com", "type": "office"}, {"email": "a@example.com", "type": "home"}]
        assert fake.bodies("PUT") == [{"emails": rows}]

    def test_a_number_without_its_country_is_reported_and_not_completed(self, fake, connector):
        outcome = written(
            connector, create(Kind.CONTACT, name="Ada", companies=("lead_1",), phones=("1234",))
        )
        assert list(outcome.unwritten) == ["phones"]
        assert outcome.record.phones == ()

    def test_first_and_last_name_make_the_name(self, fake, connector):
        change = create(Kind.CONTACT, first_name="Ada", last_name="Lovelace", companies=("lead_1",))
        assert written(connector, change).record.name == "Ada Lovelace"

    def test_an_update_whose_record_cannot_be_read_first_is_unsent(self, fake, connector):
        fake.faults = lambda method, path: (503, "") if path == "/contact/cont_1/" else None
        outcome = written(connector, update(Kind.CONTACT, "cont_1", emails=()))
        assert (outcome.result, fake.writes()) == (Result.UNSENT, [])

    def test_an_update_of_a_vanished_record_is_gone(self, fake, connector):
        assert written(connector, update(Kind.CONTACT, "cont_1", emails=())).result is Result.GONE
        assert written(connector, update(Kind.CONTACT, "cont_1", name="x")).result is Result.GONE


class TestNotes:
    def test_a_deal_note_hangs_on_the_lead_and_names_the_deal(self, fake, connector):
        fake.deal("oppo_1", lead="lead_7", **{"custom.cf_name": "Big one"})
        at = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
        change = create(
            Kind.NOTE, "ck1:a:b:note:1", text="Hello", deal_id="oppo_1", author_id="user_2", at=at
        )
        outcome = written(connector, change)
        assert fake.bodies("POST") == [
            {
                "lead_id": "lead_7",
                "note": "Hello\n\nck1:a:b:note:1",
                "title": "Deal: Big one (oppo_1)",
                "user_id": "user_2",
                "date_created": "2024-05-06T07:08:09.000000+00:00",
                "activity_at": "2024-05-06T07:08:09.000000+00:00",
            }
        ]
        assert (outcome.record.company_id, outcome.record.at) == ("lead_7", at)

    def test_a_key_that_the_text_has_is_not_added_again(self, fake, connector):
        written(
            connector, create(Kind.NOTE, "ck1:a:b:note:1", text="Hi\n[ ck1:a:b:note:1 ]", company_id="lead_1")
        )
        assert fake.bodies("POST")[0]["note"] == "Hi\n[ ck1:a:b:note:1 ]"

    def test_many_notes_of_one_deal_ask_for_its_lead_once(self, fake, connector):
        fake.deal("oppo_1")
        changes = [
            dataclasses.replace(create(Kind.NOTE, text=f"n{n}", deal_id="oppo_1"), id=f"c{n}")
            for n in range(20)
        ]
        assert {one.result for one in written(connector, *changes).values()} == {Result.DONE}
        assert fake.count()["GET /opportunity/*/"] == 1

    def test_a_note_of_a_vanished_deal_is_rejected(self, fake, connector):
        outcome = written(connector, create(Kind.NOTE, text="x", deal_id="oppo_1"))
        assert (outcome.result, outcome.field) == (Result.REJECTED, "deal_id")

    def test_the_own_note_of_a_deal_is_not_deleted_as_one(self, fake, connector):
        fake.deal("oppo_1")
        assert written(connector, delete(Kind.NOTE, "oppo_1")).result is Result.REJECTED


def stage(native: str, name: str, outcome: Outcome = Outcome.OPEN) -> Stage:
    return Stage(id=native, name=name, order=0, outcome=outcome)


def labels(fake: FakeClose, place: int) -> list[str]:
    return [one["label"] for one in fake.pipelines[place]["statuses"]]


class TestPipelines:
    NEW = (stage("x1", "First"), stage("x2", "Won", Outcome.WON), stage("x3", "Lost", Outcome.LOST))

    def test_a_pipeline_is_created_with_its_stages_in_one_call(self, fake, connector):
        outcome = written(connector, create(Kind.PIPELINE, name="New", stages=self.NEW))
        [read] = connector.get([outcome.ref])
        assert [(one.name, one.outcome) for one in read.stages] == [(s.name, s.outcome) for s in self.NEW]
        assert len(fake.writes()) == 1

    def test_stages_that_the_answer_lacks_are_made_one_by_one(self, fake, connector):
        fake.nested_statuses = False
        outcome = written(connector, create(Kind.PIPELINE, name="New", stages=self.NEW))
        assert (outcome.result, labels(fake, 2)) == (Result.DONE, ["First", "Won", "Lost"])

    def test_a_stage_that_cannot_be_made_leaves_the_pipeline_done(self, fake, connector):
        fake.nested_statuses = False
        fake.faults = lambda method, path: (
            (400, {"error": "no"}) if (method, path) == ("POST", "/status/opportunity/") else None
        )
        outcome = written(connector, create(Kind.PIPELINE, name="New", stages=self.NEW))
        assert (outcome.result, list(outcome.unwritten)) == (Result.DONE, ["stages"])

    def test_stages_are_added_renamed_and_put_in_order(self, fake, connector):
        wanted = (stage("stat_a", "Open"), stage("new", "Demo"), stage("stat_w", "Won", Outcome.WON))
        outcome = written(connector, update(Kind.PIPELINE, "pipe_1", name="Deals", stages=wanted))
        assert (outcome.result, dict(outcome.unwritten)) == (Result.DONE, {})
        assert (fake.pipelines[0]["name"], labels(fake, 0)) == ("Deals", ["Open", "Demo", "Won", "Lost"])

    def test_the_stage_of_another_pipeline_is_not_moved_here(self, fake, connector):
        written(connector, update(Kind.PIPELINE, "pipe_1", stages=(stage("stat_r", "Due"),)))
        assert labels(fake, 1) == ["Due"]
        assert "Due" in labels(fake, 0)

    def test_the_type_of_a_stage_is_fixed_and_reported(self, fake, connector):
        outcome = written(
            connector, update(Kind.PIPELINE, "pipe_1", stages=(stage("stat_a", "Active", Outcome.LOST),))
        )
        assert list(outcome.unwritten) == ["stages"]

    def test_the_same_update_again_changes_nothing(self, fake, connector):
        change = update(Kind.PIPELINE, "pipe_1", stages=(stage("new", "Demo"),))
        written(connector, change)
        before = len(fake.writes())
        written(connector, change)
        assert len(fake.writes()) == before

    def test_two_stages_of_one_name_stay_two(self, fake, connector):
        wanted = (stage("x", "Active"), stage("y", "Active"))
        written(connector, update(Kind.PIPELINE, "pipe_1", stages=wanted))
        assert labels(fake, 0) == ["Active", "Active", "Won", "Lost"]

    def test_a_vanished_pipeline_is_gone(self, fake, connector):
        assert written(connector, update(Kind.PIPELINE, "pipe_9", name="x")).result is Result.GONE


class TestFailures:
    def lose(self, failure):
        return lambda method, path: failure if method == "POST" and path == "/opportunity/" else None

    @pytest.mark.parametrize(
        "failure",
        [
            requests.ReadTimeout("timed out"),
            requests.ConnectionError("reset"),
            (502, ""),
            (503, ""),
            (200, "{"),
            (200, "{}"),
            (200, "[]"),
        ],
    )
    def test_a_create_whose_answer_is_lost_is_unknown_and_not_repeated(self, fake, connector, failure):
        fake.after = self.lose(failure)
        assert written(connector, new_deal()).result is Result.UNKNOWN
        assert len(fake.writes()) == 1

    def test_429_waits_and_is_never_unknown(self, fake, connector, clock):
        answers = [(429, "", {"RateLimit": "limit=100, remaining=0, reset=0.59"})]
        fake.faults = lambda method, path: answers.pop() if method == "POST" and answers else None
        assert written(connector, new_deal()).result is Result.DONE
        assert sum(clock.slept) >= 0.59
        assert len(fake.rows["opportunity"]) == 1

    def test_one_bad_record_does_not_cost_its_neighbours(self, fake, connector):
        changes = [
            dataclasses.replace(new_deal(owner_id="user_left" if n == 3 else "user_1"), id=f"c{n}")
            for n in range(8)
        ]
        found = written(connector, *changes)
        assert [one.id for one in found.values() if one.result is not Result.DONE] == ["c3"]
        assert found["c3"].field == "owner_id"

    @pytest.mark.parametrize(
        ("said", "name"),
        [
            ({"status": "x"}, "stage_id"),
            ({"lead": "x"}, "companies"),
            ({"user_id": "x"}, "owner_id"),
            ({"value": "x"}, "amount"),
            ({"custom.cf_key": "x"}, "key"),
            ({"custom.cf_name": "x"}, "name"),
            ({"custom.cf_9": "x"}, "custom.cf_9"),
            ({}, None),
        ],
    )
    def test_the_refused_field_is_named_in_words_of_the_model(self, fake, connector, said, name):
        refusal = (400, {"errors": ["bad"], "field-errors": said})
        fake.faults = lambda method, path: refusal if method == "POST" else None
        outcome = written(connector, new_deal())
        assert (outcome.result, outcome.field) == (Result.REJECTED, name)

    def test_a_refused_create_is_never_gone(self, fake, connector):
        missing = (404, {"error": "Empty query: Lead matching query does not exist."})
        fake.faults = lambda method, path: missing if method == "POST" else None
        assert written(connector, new_deal()).result is Result.REJECTED

    def test_a_wrong_address_does_not_mean_gone(self, fake, connector):
        wrong = (404, {"error": "The requested URL was not found on the server."})
        fake.faults = lambda method, path: wrong if method == "PUT" else None
        assert written(connector, update(Kind.DEAL, "oppo_1", name="x")).result is Result.REJECTED

    def test_reasons_hold_neither_secrets_nor_people(self, fake, connector):
        said = {"emails": "k3y-secret ada@example.com +43 660 1234567 is invalid"}
        fake.faults = lambda method, path: (
            (400, {"errors": [], "field-errors": said}) if method == "POST" else None
        )
        reason = written(connector, create(Kind.CONTACT, name="Ada", companies=("lead_1",))).reason
        assert not re.search("k3y|ada@|660", reason)
        assert "is invalid" in reason

    def test_somebody_elses_deal_is_refused_alone(self, fake, connector):
        for n in range(12):
            fake.deal(f"oppo_{n}")
        fake.faults = lambda method, path: (403, {"error": "no"}) if path == "/opportunity/oppo_3/" else None
        changes = [
            dataclasses.replace(update(Kind.DEAL, f"oppo_{n}", name="x"), id=f"c{n}") for n in range(12)
        ]
        found = written(connector, *changes)
        assert [one.id for one in found.values() if one.result is Result.REJECTED] == ["c3"]

    def test_a_role_that_may_not_write_stops_after_a_few(self, fake, connector):
        fake.faults = lambda method, path: (403, {"error": "no"}) if method == "POST" else None
        changes = [dataclasses.replace(new_deal(), id=f"c{n}") for n in range(100)]
        outcomes = []

        def run():
            for group in connector.write(changes):
                outcomes.extend(group)

        with pytest.raises(MissingScope):
            run()
        assert sorted(one.id for one in outcomes) == sorted(change.id for change in changes)
        assert len(fake.writes()) < 40

    def test_nothing_is_sent_if_the_fields_cannot_be_read(self, fake, connector):
        fake.faults = lambda method, path: (500, "") if "schema" in path else None
        outcome = written(connector, new_deal())
        assert (outcome.result, fake.writes()) == (Result.UNSENT, [])

    def test_a_run_that_only_reads_sends_nothing(self, fake, make_context):
        context = dataclasses.replace(make_context("eu", api_key="k"), read_only=True)
        connector = CloseConnector(context)
        with pytest.raises(Unsupported):
            connector.write([new_deal()])
        fake.schemas["lead"] = []
        with pytest.raises(Unsupported):
            connector.prepare([Kind.COMPANY])
        assert fake.writes() == []
        connector.close()

    def test_a_custom_field_that_does_not_exist_is_reported(self, fake, connector):
        outcome = written(connector, new_deal(custom_cf_none="x"))
        assert (outcome.result, list(outcome.unwritten)) == (Result.DONE, ["custom.cf_none"])

    def test_a_custom_field_made_meanwhile_is_written(self, fake, connector):
        list(connector.read(Kind.DEAL))
        fake.schemas["opportunity"].append({"id": "cf_late", "name": "late", "type": "text"})
        assert written(connector, new_deal(custom_cf_late="x")).record.custom["cf_late"] == "x"

    @pytest.mark.parametrize(
        "change", [create(Kind.OWNER), delete(Kind.PIPELINE, "pipe_1"), update(Kind.NOTE, "acti_1", text="x")]
    )
    def test_what_cannot_be_written_is_refused_before_any_call(self, fake, connector, change):
        with pytest.raises(Unsupported):
            connector.write([change])
        assert fake.sent == []


class TestPreparing:
    KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.NOTE, Kind.PIPELINE)

    def test_missing_fields_are_made_once_and_used_at_once(self, fake, connector):
        fake.schemas = {"opportunity": [], "lead": [], "contact": []}
        list(connector.read(Kind.DEAL))
        told = connector.unprepared(self.KINDS)
        assert len(told) == 4
        assert connector.prepare(self.KINDS) == told
        assert (connector.unprepared(self.KINDS), connector.prepare(self.KINDS)) == ([], [])
        record = written(connector, new_deal(name="Big one")).record
        assert (record.key, record.name) == (KEY, "Big one")

    def test_a_field_that_cannot_hold_the_key_is_refused(self, fake, connector):
        fake.schemas["lead"] = [{**DEAL_KEY, "type": "number"}]
        with pytest.raises(Exception, match="cannot hold crmkit's key"):
            connector.prepare([Kind.COMPANY])
        assert fake.writes() == []

    def test_who_may_not_is_told_what_to_click(self, fake, connector):
        fake.schemas["lead"] = []
        fake.faults = lambda method, path: (403, {"error": "no"}) if method == "POST" else None
        with pytest.raises(Exception, match="may not create") as caught:
            connector.prepare([Kind.COMPANY])
        assert "Custom Fields" in caught.value.hint

    def test_a_lost_answer_is_looked_up(self, fake, connector):
        fake.schemas["lead"] = []
        fake.after = lambda method, path: requests.ReadTimeout("x") if method == "POST" else None
        assert len(connector.prepare([Kind.COMPANY])) == 1
        assert len(fake.schemas["lead"]) == 1


def test_capabilities_promise_what_close_has(connector):
    writing = connector.capabilities.writing
    assert {kind: one.keys for kind, one in writing.items() if one.keys is not Keys.NONE} == dict.fromkeys(
        (Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.NOTE), Keys.SEARCHABLE
    )
    assert not any(one.update_if_unchanged for one in writing.values())
