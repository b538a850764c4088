"""Pseudonyms: shape stays, words go, what is equal stays equal."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.mapping import identity
from crmkit.rehearsal.masked import masked
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox import blueprint as plan

MASK = Masking(b"salt")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXTS = st.text(max_size=60)
LATIN = st.text(st.sampled_from("abcdefgXYZéüñ"), min_size=1, max_size=12)


@given(TEXTS)
def test_texts_keep_their_length(text: str) -> None:
    assert [len(MASK.text(text)), len(MASK.name(text)), len(MASK.html(text))] == [len(text)] * 3


@given(TEXTS)
def test_signs_between_words_stay(text: str) -> None:
    def signs(some: str) -> list[tuple[int, str]]:
        return [(at, one) for at, one in enumerate(some) if unicodedata.category(one)[0] in "PSZC"]

    assert signs(MASK.name(text)) == signs(text)


@given(LATIN, LATIN)
def test_two_words_are_equal_after_masking_if_and_only_if_before(one: str, other: str) -> None:
    def same(left: str, right: str) -> bool:
        return identity.words(left) == identity.words(right)

    assert same(MASK.word(one), MASK.word(other)) == same(one, other)


@given(st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1, max_size=20))
def test_letters_stay_letters_of_the_same_case(word: str) -> None:
    made = MASK.word(word)
    assert all(one.isalpha() for one in made)
    latin = [at for at, one in enumerate(word) if one.isascii()]
    assert [word[at].isupper() for at in latin] == [made[at].isupper() for at in latin]


@pytest.mark.parametrize(
    "word", ["Jane", "Müller", "O", "Zoë", "Иванова", "דוד", "أحمد", "山田太郎", "이영희", "Weiß"]
)
def test_no_word_stays_as_it_was(word: str) -> None:
    assert MASK.word(word) != word


@pytest.mark.parametrize("word", ["Иванова", "דודכהן", "山田太郎", "이영희", "Γιάννης"])
def test_words_keep_their_script(word: str) -> None:
    def scripts(some: str) -> set[str]:
        return {unicodedata.name(one).partition(" ")[0] for one in some}

    assert scripts(MASK.word(word)) == scripts(word)


@pytest.mark.parametrize("word", ["Wałbworks", "Øster", "Иванова", "ΓΙΆΝΝΗΣ", "ırmak", "ſtadt", "Ǆ"])
def test_case_does_not_tell_two_spellings_apart(word: str) -> None:
    made = {tuple(identity.words(MASK.word(one))) for one in (word, word.upper(), word.casefold())}
    same = {tuple(identity.words(one)) for one in (word, word.upper(), word.casefold())}
    assert len(made) <= len(same)


def test_right_to_left_marks_and_emoji_stay() -> None:
    made = MASK.text("\u202bעסקה\u202c 🎯 Größe 👨‍👩‍👧")
    assert re.fullmatch("\u202b[\u05d0-\u05ef]{4}\u202c 🎯 [A-Z][a-z]\\wß[a-z] 👨‍👩‍👧", made)


def test_spellings_of_a_company_stay_spellings_of_one_company() -> None:
    names = ("Acme Widgets GmbH", "ACME Widgets, Inc.", "acme widgets G.m.b.H.", "Ácmé Widgets S.A.")
    made = {identity.company_name(MASK.text(name)) for name in names}
    assert len(made) == 1
    assert "acme widgets" not in made


def test_legal_forms_stay() -> None:
    assert MASK.text("Acme GmbH & Co. KG").endswith(" GmbH & Co. KG")
    assert MASK.text("株式会社山田").startswith("株式会社")


def test_a_company_and_its_domain_are_masked_alike() -> None:
    assert MASK.text("acme-widgets.co.uk") == f"{MASK.word('acme')}-{MASK.word('widgets')}.co.uk"


@given(
    st.sampled_from(["Jane.Doe@Acme.example.com", "jane.doe@acme.EXAMPLE.com", "JANE.DOE@ACME.example.COM"])
)
def test_one_mailbox_stays_one_mailbox(address: str) -> None:
    assert identity.email(MASK.text(address)) == identity.email(MASK.text("jane.doe@acme.example.com"))


def test_e_mails_stay_e_mails_and_their_providers_known() -> None:
    made = MASK.text("jane.doe+crm@gmail.com")
    assert re.fullmatch(r"[a-z]{4}\.[a-z]{3}\+[a-z]{3}@gmail\.com", made)
    assert "jane" not in made


@pytest.mark.parametrize(
    ("phone", "shape"),
    [
        ("+49 (30) 123-45 67", r"\+49 \(\d0\) \d{3}-\d\d \d\d"),
        ("0044 20 7946 0958", r"0044 \d0 \d{4} 0\d{3}"),
        ("+1 800-444-5555", r"\+1 \d00-\d{3}-\d{4}"),
        ("+420 123 456 789", r"\+420 \d{3} \d{3} \d{3}"),
    ],
)
def test_phones_keep_length_country_and_spelling(phone: str, shape: str) -> None:
    made = MASK.phone(phone)
    assert re.fullmatch(shape, made)
    assert made != phone


def test_one_number_in_several_spellings_stays_one_number() -> None:
    spelled = ("+49 30 1234567", "0049 (30) 123 45 67", "030/1234567", "+49301234567")
    assert len({identity.phone(MASK.phone(phone)) for phone in spelled}) == 1


def test_two_numbers_stay_two() -> None:
    numbers = [f"+4930{number:07}" for number in range(1111111, 1111611)]
    assert len({MASK.phone(number) for number in numbers}) == len(numbers)


def test_notes_keep_their_tags() -> None:
    made = MASK.html('<p class="x">Call <b>Jane</b> &amp; co<br/></p><a href="mailto:jane@acme.com">her</a>')
    tags = re.findall(r"</?\w+|/?>", made)
    assert tags == ["<p", ">", "<b", ">", "</b", ">", "<br", "/>", "</p", ">", "<a", ">", "</a", ">"]
    assert "&amp;" in made
    assert not re.search("jane|acme|call", made, re.IGNORECASE)


@pytest.mark.parametrize(
    "text", ["write to <Jane@acme.com>", "<Jane Doe> said", "1 < 2 Jane > 1", "<!-- Jane -->"]
)
def test_what_only_looks_like_a_tag_is_masked(text: str) -> None:
    assert not re.search("jane|doe|acme", MASK.html(text), re.IGNORECASE)


def test_another_salt_gives_other_names() -> None:
    assert Masking(b"other").word("Montgomery") != MASK.word("Montgomery")
    assert Masking.random().word("Montgomery") != Masking.random().word("Montgomery")


def _texts(value: Any) -> list[str]:
    """Every text in a blueprint, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, (tuple, list, frozenset)):
        return [text for part in value for text in _texts(part)]
    if is_dataclass(value):
        return [text for one in fields(value) for text in _texts(getattr(value, one.name))]
    return []


SECRETS = ("Quentin", "Zwolinski", "Brackwater", "quentin", "brackwater", "5551234", "Żółkiewski", "Пётр")
SAID = "Quentin Zwolinski of Brackwater (quentin@brackwater.com, +1 202 555 5551234) Żółkiewski Пётр"


def planted() -> plan.Blueprint:
    """A blueprint with the same personal text wherever a person could have typed it."""
    custom = {
        "note": SAID,
        "parts": (SAID, "Quentin"),
        "choice": SAID,
        "kept": "opt_1",
        "number": Decimal("12.5"),
        "day": date(2026, 1, 2),
        "flag": True,
        "money": SAID,
        "price": "300.00|USD",
        "link": SAID,
        "time": NOW,
    }
    types = {
        "note": "text",
        "parts": "other",
        "choice": "choice",
        "kept": "choice",
        "number": "number",
        "day": "day",
        "flag": "boolean",
        "money": "money",
        "price": "money",
        "link": "link",
        "time": "time",
    }
    described = tuple(
        plan.Field(id=name, label=name, type=type_, options={"opt_1": "Option"} if type_ == "choice" else {})
        for name, type_ in types.items()
    )
    place = {"city": "Brackwater", "country": "Brackwater", "postcode": "Brackwater", "key": SAID}
    return plan.Blueprint(
        crm="hubspot",
        workspace_id="1",
        workspace_name=SAID,
        pipelines=(
            plan.Pipeline(
                id="p",
                name="Sales",
                order=0,
                stages=(plan.Stage(id="s", name="New", order=0, outcome="open"),),
            ),
        ),
        users=(plan.User(id="7", name="Quentin Zwolinski", email="quentin@brackwater.com"),),
        fields={"deal": described, "company": described, "contact": described},
        companies=(
            plan.Company(
                id="1",
                name=SAID,
                domain="brackwater.com",
                tax_id="DE5551234",
                phones=(SAID,),
                custom=custom,
                **place,
            ),
        ),
        contacts=(
            plan.Contact(
                id="2",
                name=SAID,
                first="Quentin",
                last="Żółkiewski",
                emails=("quentin@brackwater.com",),
                phones=("+1 202 555 5551234",),
                company_ids=("1",),
                custom=custom,
                **place,
            ),
        ),
        deals=(
            plan.Deal(
                id="3",
                name=SAID,
                lost_reason=SAID,
                forecast_category=SAID,
                source=SAID,
                tags=(SAID, "Пётр"),
                people=(plan.Person(id="2", role=SAID),),
                key=SAID,
                custom=custom,
                amount=Decimal("10.50"),
                currency="EUR",
                owner_id="7",
                pipeline_id="p",
                stage_id="s",
                company_ids=("1",),
            ),
        ),
        notes=(
            plan.Note(
                id="4", deal_id="3", text=f'<p title="{SAID}">{SAID}</p><!-- {SAID} -->', author_id="7"
            ),
        ),
    )


def test_no_personal_text_remains_anywhere() -> None:
    texts = _texts(masked(planted(), MASK))
    assert len(texts) > 100
    found = [(secret, text) for secret in SECRETS for text in texts if secret.casefold() in text.casefold()]
    assert found == []


def test_the_address_of_a_workspace_is_masked_and_its_number_is_not() -> None:
    ids = [
        masked(replace(planted(), workspace_id=one), MASK).workspace_id
        for one in ("brackwater.bitrix24.de", "42")
    ]
    assert "brackwater" not in ids[0]
    assert ids[0].endswith(".de")
    assert ids[1] == "42"


def test_numbers_links_options_and_structure_stay() -> None:
    before, after = planted(), masked(planted(), MASK)
    deal, made = before.deals[0], after.deals[0]
    kept = ("kept", "number", "day", "flag", "price", "time")
    assert {name: made.custom[name] for name in kept} == {name: deal.custom[name] for name in kept}
    unchanged = {
        "name": made.name,
        "lost_reason": made.lost_reason,
        "forecast_category": made.forecast_category,
    }
    unchanged |= {"source": made.source, "tags": made.tags, "people": made.people, "key": made.key}
    assert replace(deal, custom=made.custom, **unchanged) == made  # type: ignore[arg-type]
    assert (after.pipelines, after.fields) == (before.pipelines, before.fields)


def test_sources_that_the_crm_offers_stay() -> None:
    before = replace(
        planted(), deals=(replace(planted().deals[0], source="Trade fair", lost_reason="Price"),)
    )
    (deal,) = masked(before, MASK, frozenset({"Trade fair", "Price"})).deals
    assert (deal.source, deal.lost_reason) == ("Trade fair", "Price")


@pytest.mark.parametrize(
    "key", ["hubspot-eu:deal:9812400150", "zoho:deal:7328395000000600001", "close:oppo_8QyPqWx1vNabcd"]
)
def test_keys_of_crmkits_own_stay(key: str) -> None:
    (deal,) = masked(replace(planted(), deals=(replace(planted().deals[0], key=key),)), MASK).deals
    assert deal.key == key


@settings(max_examples=50)
@given(st.lists(st.integers(100_000, 999_999), min_size=2, max_size=50, unique=True))
def test_unique_texts_stay_unique(numbers: list[int]) -> None:
    texts = [f"PO-{number}" for number in numbers]
    assert len({MASK.html(text) for text in texts}) == len(texts)
