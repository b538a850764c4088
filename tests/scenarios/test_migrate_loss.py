"""What migrations lose: each value is in the target, or it is named where a person looks for it.

Named means: in the pre-flight before the first write, in the proof after it, and in the
note about the deal's past, so that whoever works in the new CRM finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.scenarios.loss import DAY, LABELS, LONG, PLAIN, PO_LABEL, Moved, moved, placed

PAIRS = (
    ("hubspot", "zoho"), ("hubspot", "copper"), ("zoho", "hubspot"), ("copper", "bitrix24"),
    ("bitrix24", "close"),
)  # fmt: skip
CUTS_NAMES = {"zoho", "bitrix24"}  # at 255 characters
MAIN_CONTACT_ONLY = {"zoho", "copper", "close"}
# Zoho and Copper tell only the main person of a deal when they are read.
TELLS_EVERYBODY = {"hubspot", "bitrix24"}
TELLS_WHEN_CLOSED = {"hubspot", "bitrix24"}


@pytest.fixture(scope="module", params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """A migration of all awkward records, from the plan to the proof."""
    return moved(tmp_path_factory.mktemp("loss"), *request.param)


# Everything


def test_the_proof_explains_every_difference(done: Moved) -> None:
    codes = {one["code"] for record in done.proof["records"] for one in record["differences"]}
    assert "unexplained" not in codes
    assert done.proof["verdict"] in ("proven", "explained")


def test_no_value_differs_in_silence(done: Moved) -> None:
    """Compares what both CRMs hold themselves, whatever crmkit made of it."""
    silent = [
        (label, field, mine, theirs)
        for label in done.ids
        if done.arrived(label)
        for field, (mine, theirs) in _fields(done, label).items()
        if mine != theirs and done.proven(label, field) is None
    ]
    assert silent == []


def test_every_deal_arrives_or_is_named(done: Moved) -> None:
    missing = {label: done.proven(label, "") for label in done.ids if not done.arrived(label)}
    target = done.target.crm
    wanted = {"long": "required"} if target in CUTS_NAMES else {}
    assert missing == {**wanted, **({"no company": "left_out"} if target == "close" else {})}


def test_what_the_target_cannot_take_is_named_before_the_first_write(done: Moved) -> None:
    unforeseen = [
        (record["label"], one["field"], one["code"])
        for record in done.proof["records"]
        for one in record["differences"]
        if record["kind"] == "deal"
        and one["code"] in ("unwritable", "inexact")
        and one["field"] not in {found["field"] for found in done.plan["findings"]}
    ]
    assert unforeseen == []


def _fields(done: Moved, label: str) -> Mapping[str, tuple[Any, Any]]:
    here, there = done.here(label), done.there(label)
    found: dict[str, tuple[Any, Any]] = {
        "name": (here.name, there.name),
        "amount": (_money(here), _money(there)),
        "owner": (_mail(done.source, here), _mail(done.target, there)),
        "company": (_company(done.source, here), _company(done.target, there)),
        # That a lost deal was abandoned is told in the note about its past.
        "stage": (here.status.replace("abandoned", "lost"), there.status),
    }
    if here.status == "open":  # HubSpot has one close date, Copper's ends with the deal
        found["expected_close"] = (here.expected_close, there.expected_close)
    if done.source.crm in TELLS_EVERYBODY:
        found["contacts"] = (_people(done.source, here), _people(done.target, there))
    if done.source.crm in ("copper", "zoho"):
        found["source"] = here.source, there.source or there.custom.get("b24:sourceId") or None
        found["tags"] = _tags(here), _tags(there)
    if here.lost_reason and done.source.crm != "bitrix24":  # which has no such field
        found["lost_reason"] = (here.lost_reason, there.lost_reason)
    if here.probability is not None:
        found["probability"] = (here.probability, there.probability)
    return found


def _money(deal: Any) -> Any:
    return None if deal.amount is None else (deal.amount, deal.currency)


def _mail(world: Any, deal: Any) -> str | None:
    return None if deal.owner_id is None else world.users[deal.owner_id].email


def _company(world: Any, deal: Any) -> str | None:
    return None if deal.company_id is None else world.companies[deal.company_id].name


def _people(world: Any, deal: Any) -> list[str]:
    people = (world.contacts[one] for one in deal.contact_ids)
    return sorted(f"{one.first} {one.last}" for one in people)


def _tags(deal: Any) -> set[str]:
    return {one for one in deal.tags if "ck1:" not in one}


# Money


@pytest.mark.parametrize("label", ["fraction", "cent", "large", "zero", "unknown amount"])
def test_amounts_arrive_to_the_cent(done: Moved, label: str) -> None:
    assert _money(done.there(label)) == _money(done.here(label))


@pytest.mark.parametrize("label", ["euro", "odd currency"])
def test_a_currency_arrives_or_its_amount_is_told_and_never_converted(done: Moved, label: str) -> None:
    here, there = done.here(label), done.there(label)
    known = here.currency in done.target.rates
    assert _money(there) == (_money(here) if known else None)
    if not known:
        refused = done.target.crm == "copper"  # which currencies it has, only a write tells
        assert done.proven(label, "amount") == ("refused" if refused else "unwritable")
        assert refused or f"- Amount: 1,000 {here.currency}" in done.letter(label)


# Days and times


@pytest.mark.parametrize("label", ["leap day", "new year", "no day", "late", "early"])
def test_days_do_not_move_across_time_zones(done: Moved, label: str) -> None:
    assert done.there(label).expected_close == done.here(label).expected_close


@pytest.mark.parametrize("label", ["born late", "born early"])
def test_the_time_of_creation_is_kept_at_the_border_of_a_day(done: Moved, label: str) -> None:
    there = done.there(label)
    assert done.stamp(label, "Created", there.created) == done.here(label).created
    assert f"\nCreated: {done.here(label).created:%Y-%m-%d %H:%M} UTC" in done.letter(label)


@pytest.mark.parametrize("label", ["late", "early"])
def test_the_time_of_closing_is_kept_at_the_border_of_a_day(done: Moved, label: str) -> None:
    if done.source.crm not in TELLS_WHEN_CLOSED:  # but the day only
        assert done.there(label).closed_at.date() == done.here(label).expected_close
        return
    assert done.stamp(label, "Closed", done.there(label).closed_at) == done.here(label).closed_at


def test_both_sides_of_midnight_stay_two_days(done: Moved) -> None:
    assert done.there("late").expected_close == DAY
    assert done.there("early").expected_close == DAY + timedelta(days=1)


def test_stage_history_is_told_with_its_times(done: Moved) -> None:
    at = done.here("moved").history[1].at
    who = "" if done.source.crm == "bitrix24" else " (Alex Morgan)"  # which does not tell it
    lines = done.letter("moved").splitlines()
    assert f"- {at:%Y-%m-%d %H:%M} UTC  Start → Middle{who}" in lines


# Choices


def test_several_options_arrive_whatever_their_labels_hold(done: Moved) -> None:
    assert done.custom("choices", "Products (2)") == sorted(["Core", *LABELS])


def test_one_option_of_several_arrives(done: Moved) -> None:
    assert done.custom("one choice", "Products (2)") == [LABELS[1]]


def test_a_field_for_the_options_is_made_once(done: Moved) -> None:
    """Every run looks again; `Products` lacks the options, so a second one was made."""
    labels = [one.label for one in done.target.fields["deal"].values()]
    assert [one for one in labels if one.startswith("Products")] == ["Products", "Products (2)"]


def test_a_field_whose_label_is_long_is_made_once_and_filled(done: Moved) -> None:
    labels = [one.label for one in done.target.fields["deal"].values()]
    (label,) = [one for one in labels if one.startswith("PO number") and one != "PO number"]
    short = "PO number  of the customer"[:25].split() if done.target.crm == "zoho" else PO_LABEL.split()
    assert label.split() == short
    assert done.custom("labelled", label) == "PO-1"


# Texts


def test_emoji_and_other_scripts_arrive(done: Moved) -> None:
    assert done.there("emoji").name == "🚀 Rocket – 日本 עברית"


def test_a_name_of_300_characters_arrives_whole_or_waits_and_is_named(done: Moved) -> None:
    if done.target.crm not in CUTS_NAMES:
        assert done.there("long").name == LONG
        return
    assert done.proven("long", "") == "required"
    assert done.foreseen("name", "long") == {"required"}
    assert [one["kind"] for one in done.runs[-1]["held"] if one["label"] == LONG] == ["required"]


def test_a_note_is_readable_and_keeps_its_links(done: Moved) -> None:
    (note,) = [text for text in done.texts("plain") if not text.startswith("Migrated")]
    if done.source.crm == "hubspot":
        lines = ["Dear Ann,", "- 5 < 6 & so on", "- 🙂", "see the offer (https://x.test/?a=1&b=2)"]
    else:
        lines = PLAIN.splitlines()
    assert [line for line in lines if line not in note.splitlines()] == []


def test_a_notes_text_never_becomes_markup(done: Moved) -> None:
    if done.target.crm != "hubspot":  # notes are plain text there
        (text,) = [one for one in done.texts("plain") if not one.startswith("Migrated")]
        assert ("<b>" in text) == (done.source.crm != "hubspot")
        return
    (raw,) = [text for text in done.texts("plain", raw=True) if "Said" in text]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in raw
    assert "<script" not in raw
    assert "<b>" not in raw


def test_a_note_by_somebody_whom_the_target_does_not_know_names_them(done: Moved) -> None:
    (note,) = [text for text in done.texts("euro") if "one line" in text]
    assert note.splitlines()[0].startswith("Hannah Lindqvist")


# Pipelines, stages, outcomes


def test_stages_of_one_name_stay_in_their_own_pipelines(done: Moved) -> None:
    found = [placed(done.target, done.there(label))[:2] for label in ("plain", "twin", "moved")]
    assert found == [("Twin one", "Start"), ("Twin two", "Start"), ("Twin one", "Middle")]


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_won_and_lost_arrive_also_where_they_stand_beside_the_stage(done: Moved, outcome: str) -> None:
    stage = {"won": "Done", "lost": "Gone"}[outcome]
    if done.target.crm == "copper":
        stage = {"won": "Middle", "lost": "Start"}[outcome]
    elif done.source.crm == "copper":
        stage = outcome.title()
    assert placed(done.target, done.there(outcome)) == ("Twin one", stage, outcome)


# People


@pytest.mark.parametrize(
    ("label", "name"), [("inactive", "Hannah Lindqvist"), ("stranger", "Ingrid Solberg")]
)
def test_an_owner_whom_the_target_does_not_have_is_told(done: Moved, label: str, name: str) -> None:
    if done.proven(label, "owner") == "refused":  # Copper does not tell who is inactive
        assert (label, done.target.crm) == ("inactive", "copper")
        return
    assert done.proven(label, "owner") == "unwritable"
    assert f"\nOwner: {name}" in done.letter(label)


def test_a_contact_without_an_address_arrives(done: Moved) -> None:
    assert _people(done.target, done.there("no address")) == ["Nomail Loss"]


def test_a_deal_without_a_company_gets_none_in_silence(done: Moved) -> None:
    if done.target.crm == "close":
        assert done.proven("no company", "") == "left_out"
        assert done.foreseen("company", "no company") == {"company"}
    elif done.target.crm == "copper":  # takes it from the person
        assert done.proven("no company", "company") == "put_in"
    else:
        assert done.there("no company").company_id is None


def test_everybody_on_a_deal_arrives_or_is_told(done: Moved) -> None:
    everybody = ["Ada Loss", "Bob Loss", "Cleo Loss"]
    if done.source.crm not in TELLS_EVERYBODY:
        assert _people(done.target, done.there("several")) == ["Ada Loss"]
        return
    if done.target.crm not in MAIN_CONTACT_ONLY:
        assert _people(done.target, done.there("several")) == everybody
        return
    assert _people(done.target, done.there("several")) == ["Ada Loss"]
    assert done.proven("several", "contacts") == "inexact"
    assert done.foreseen("contacts", "several") == {"fewer"}
    assert f"- Contacts: {', '.join(everybody)}" in done.letter("several")


def test_further_companies_of_a_deal_are_told(done: Moved) -> None:
    several = done.source.crm == "hubspot"  # elsewhere a deal has one
    told = "- Companies: Loss & Söhne GmbH, Second GmbH" in done.letter("several").splitlines()
    assert told == several


# What the target may have no place for


@pytest.mark.parametrize(
    ("label", "field", "words"),
    [
        ("lost", "lost_reason", "Lost reason"),
        ("tagged", "tags", "Tags"),
        ("tagged", "source", "Source"),
        ("likely", "probability", "Probability"),
    ],
)
def test_what_has_no_field_stands_in_the_note_about_the_past(
    done: Moved, label: str, field: str, words: str
) -> None:
    known = {"hubspot": {"lost_reason", "source"}, "bitrix24": {"source", "probability"}}
    if field not in known.get(done.source.crm, {"lost_reason", "tags", "source", "probability"}):
        return  # nobody reads it there
    if done.proven(label, field) in (None, "inexact"):  # it has a field
        there = done.there(label)
        assert getattr(there, field) or there.custom.get("b24:sourceId")
        return
    assert done.proven(label, field) == "unwritable"
    assert f"\n- {words}: " in done.letter(label)


@pytest.mark.parametrize(
    ("label", "words"), [("abandoned", "Lost as: abandoned"), ("forecast", "Forecast category: BEST_CASE")]
)
def test_what_no_sync_keeps_in_step_is_told_too(done: Moved, label: str, words: str) -> None:
    tells = {"abandoned": "copper", "forecast": "hubspot"}[label] == done.source.crm
    assert (label in done.ids and f"- {words}" in done.letter(label).splitlines()) == tells
