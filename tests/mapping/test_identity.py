"""Legal forms of companies, in every spelling that is in use."""

from __future__ import annotations

import pytest

from crmkit.mapping import identity


@pytest.mark.parametrize(
    "name",
    ["Acme", "Acme G.m.b.H.", "ACME Gesellschaft mbH", "Acme, L.L.C.", "Acme Société Anonyme",
     "Acme Kabushiki Kaisha", "株式会社Acme", "Acme Gesellschaft mit beschränkter Haftung"],
)  # fmt: skip
def test_legal_forms_say_nothing_however_they_are_written(name: str) -> None:
    assert identity.company_name(name) == "acme"


def test_a_name_that_is_only_a_legal_form_is_kept() -> None:
    assert identity.company_name("株式会社") == "株式会社"
    assert identity.company_name("The Limited") == "the limited"
