"""Settings of a rehearsal: decisions are masked like records, and the file says what production's says."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crmkit import config
from crmkit.connectors import registry
from crmkit.rehearsal.decisions import Decisions
from crmkit.rehearsal.masked import masked
from crmkit.rehearsal.masking import Masking
from crmkit.rehearsal.settings import settings_of_twins, toml_text
from crmkit.rehearsal.thinned import thinned
from crmkit.sandbox import blueprint as plan

MASK = Masking(b"salt")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIELDS = (
    plan.Field(id="tier", label="Tier", type="choice", options={"t1": "Gold", "t2": "Silver"}),
    plan.Field(id="region", label="Region", type="text"),
    plan.Field(id="seats", label="Seats", type="number"),
)
TOML = """
[connections.left]
crm = "close"
name_field = "Title"
base_url = "https://secret.example.com"

[connections.left.stages."Sales \\"Line\\""]
"Neu 🚀" = "qualification"

[connections.right]
crm = "copper"
user_email = "ann@example.com"
time_zone = "Europe/Berlin"

[connections.other]
crm = "hubspot"

[report]
currency = "EUR"
record_order = ["other", "right", "left"]
rates = { USD = { 2026-01-01 = 0.92 } }

[migrations.move]
source = "left"
target = "right"
fields = { deal = { Region = "Area" } }
stages = { "Sales" = { "New" = "Open" } }

[migrations.away]
source = "left"
target = "other"
"""


def blueprint(**more: Any) -> plan.Blueprint:
    """A CRM with two users and three fields."""
    return plan.Blueprint(
        crm="hubspot",
        workspace_id="1",
        workspace_name="One",
        users=(
            plan.User(id="7", name="Ann Miller", email="ann@example.com"),
            plan.User(id="8", name="Bob Stone"),
        ),
        fields={"deal": FIELDS},
        **more,
    )


def deal(**custom: Any) -> plan.Deal:
    """A deal with custom values."""
    return plan.Deal(id="1", name="One", custom=custom)


DECISIONS = Decisions(MASK, {"left": blueprint(), "right": blueprint()})


@pytest.mark.parametrize("said", ["ann@example.com", "Ann@Example.COM"])
def test_a_decision_names_an_owner_by_the_address_of_their_pseudonym(said: str) -> None:
    table = DECISIONS.migration({"source": "left", "target": "right", "owners": {said: said}})
    (user, _) = masked(blueprint(), MASK).users
    ((who, whom),) = table["owners"].items()
    assert (who.casefold(), whom.casefold()) == (user.email, user.email)


def test_a_decision_that_names_an_owner_by_name_or_id_still_names_them() -> None:
    table = DECISIONS.migration(
        {"source": "left", "target": "right", "owners": {"Bob Stone": "nobody", "7": "nobody"}}
    )
    (_, bob) = masked(blueprint(), MASK).users
    assert table["owners"] == {bob.name: "nobody", "7": "nobody"}


@pytest.mark.parametrize(("field", "value"), [("tier", "t1"), ("tier", "Gold"), ("region", "North Shore")])
def test_a_scope_still_holds_the_deals_with_a_value(field: str, value: str) -> None:
    scope = {"where": {field: [value]}, "owners": ["ann@example.com"]}
    made = DECISIONS.sync({"members": ["left", "right"], "scope": {"left": scope}})["scope"]["left"]
    (one,) = masked(blueprint(deals=(deal(**{field: value}),)), MASK).deals
    assert made["where"] == {field: [one.custom[field]]}
    assert made["owners"] == [MASK.text("ann@example.com")]


def test_values_that_are_no_words_stay() -> None:
    scope = {"where": {"seats": ["25"]}}
    assert DECISIONS.migration({"source": "left", "target": "right", "scope": scope})["scope"] == scope


def test_values_of_a_custom_field_stay_if_a_list_offers_them_and_are_masked_if_not() -> None:
    custom = {
        "in": {"left": "tier", "right": "region"},
        "values": {"left": {"t1": "Gold"}, "right": {"Upper Bay": "Gold", "Low": "Bronze Age"}},
    }
    made = DECISIONS.sync({"members": ["left", "right"], "custom": {"kind": custom}})["custom"]["kind"]
    assert made["values"]["left"] == {"t1": "Gold"}
    assert made["values"]["right"] == {
        MASK.html("Upper Bay"): "Gold",
        MASK.html("Low"): MASK.html("Bronze Age"),
    }


def test_what_says_how_to_reach_production_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text(TOML, encoding="utf-8")
    before = config.load(path, registry.OptionModels())
    addresses = {"left": {"base_url": "http://127.0.0.1:1"}, "right": {"user_email": "x@y.example"}}
    text = toml_text(settings_of_twins(before, ["left", "right"], addresses, None))
    assert "secret.example.com" not in text
    assert "ann@example.com" not in text
    made = tomllib.loads(text)
    assert made["connections"]["left"]["base_url"] == "http://127.0.0.1:1"
    assert made["connections"]["right"]["user_email"] == "x@y.example"


def test_everything_else_is_as_in_production(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text(TOML, encoding="utf-8")
    before = config.load(path, registry.OptionModels())
    addresses = {"left": {"base_url": "http://127.0.0.1:1"}, "right": {"user_email": "x@y.example"}}
    path.write_text(toml_text(settings_of_twins(before, ["left", "right"], addresses, None)), "utf-8")
    after = config.load(path, registry.OptionModels())
    assert after.options["left"].model_dump()["name_field"] == "Title"
    assert after.options["right"].model_dump()["time_zone"] == "Europe/Berlin"
    assert after.settings.connections["left"].stages == before.settings.connections["left"].stages
    assert after.settings.report.rates == before.settings.report.rates
    assert after.settings.report.record_order == ("right", "left")
    assert after.settings.migrations == {"move": before.settings.migrations["move"]}


def test_texts_of_all_sorts_survive_the_file() -> None:
    document = {
        "texts": ['quote " and \\ and\nline', "\x7f\x01", "日本 🚀", ""],
        "tables": {"with space": {"a.b": {"deep": 1.5}, "empty": {}}, "on": True},
    }
    assert tomllib.loads(toml_text(document)) == document


def test_a_part_of_a_crm_has_what_hangs_on_its_deals_and_counts_the_rest() -> None:
    whole = plan.Blueprint(
        crm="hubspot",
        workspace_id="1",
        workspace_name="One",
        companies=tuple(plan.Company(id=one, name=one) for one in "1234"),
        contacts=(
            plan.Contact(id="11", name="a", company_ids=("2",)),
            plan.Contact(id="12", name="b", company_ids=("3",)),
        ),
        deals=(
            plan.Deal(id="21", name="a", company_ids=("1",), people=(plan.Person(id="11"),)),
            plan.Deal(id="22", name="b", company_ids=("4",), people=(plan.Person(id="12"),)),
        ),
        notes=(
            plan.Note(id="31", deal_id="21", text="a"),
            plan.Note(id="32", deal_id="22", text="b"),
            plan.Note(id="33", company_id="2", text="c"),
            plan.Note(id="34", company_id="4", text="d"),
        ),
        visits=(
            plan.Visit(deal_id="21", to_stage_id="s", at=NOW),
            plan.Visit(deal_id="22", to_stage_id="s", at=NOW),
        ),
    )
    part = thinned(whole, {"21"})
    kept = [[one.id for one in some] for some in (part.deals, part.contacts, part.companies, part.notes)]
    assert kept == [["21"], ["11"], ["1", "2"], ["31", "33"]]
    assert [one.deal_id for one in part.visits] == ["21"]
    assert part.left_out == tuple(
        f"{count} {what} outside the sample"
        for what, count in {"deals": 1, "companies": 2, "contacts": 1, "notes": 2}.items()
    )
