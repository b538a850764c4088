"""Reading names: dirt is put aside, typing errors are forgiven, nothing crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.mapping.names import fold, read_name


@pytest.mark.parametrize(
    "name",
    [
        "Proposal",
        "3. PROPOSAL",
        "03 - proposal",
        "Stage 3: Proposal",
        "(3) proposal",
        "📄 Proposal!",
        "propo\u0301sal",
    ],
)
def test_numbers_emoji_case_and_accents_do_not_matter(name: str) -> None:
    assert "proposal" in read_name(name).meanings()


@pytest.mark.parametrize("name", ["Propsal", "Porposal", "Negotation", "Qualfied", "Presentaton"])
def test_a_typing_error_is_forgiven_and_costs_certainty(name: str) -> None:
    hits = read_name(name).hits

    assert hits
    assert all(hit.corrected and hit.score < 0.9 for hit in hits)


@pytest.mark.parametrize(
    ("name", "percent"), [("Negotiation 75%", 75), ("75 % Verhandlung", 75), ("Stage 3", None)]
)
def test_a_percentage_is_read_from_the_name(name: str, percent: int | None) -> None:
    assert read_name(name).percent == percent


def test_half_width_and_voiced_kana_are_one_word() -> None:
    assert fold("ﾃﾞﾓ") == fold("デモ") != fold("テモ")


def test_words_run_together_by_capitals_are_parted() -> None:
    assert read_name("ClosedWon").meanings().keys() == {"won"}


def test_a_phrase_outweighs_the_words_inside_it() -> None:
    assert read_name("Proposal accepted").meanings().keys() == {"negotiation"}


@given(st.text())
def test_any_text_can_be_read(name: str) -> None:
    reading = read_name(name)

    assert all(0 < hit.score <= 1 for hit in reading.hits)
    assert reading.percent is None or 0 <= reading.percent <= 100
