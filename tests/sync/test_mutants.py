"""The rules that `python -m tests.mutants` takes out are still where it looks for them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant, copied, killers


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_every_mutant_still_fits_the_code(mutant: Mutant):
    ast.parse(mutant.source(ROOT))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_the_tests_that_kill_it_exist(mutant: Mutant):
    for test in mutant.tests:
        file, _, names = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert all(f" {name}" in text for name in names.split("::") if name)


def test_a_mutant_is_killed(tmp_path: Path):
    mutant = next(one for one in MUTANTS if one.rule == "no parking")

    assert killers(mutant, copied(tmp_path))
