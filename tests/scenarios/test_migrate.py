"""A migration from the first look to the proof, through the command line, over real HTTP."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crmkit.sandbox.server import VENDORS, Sandbox
from tests.scenarios.conftest import Crmkit
from tests.scenarios.migrating import Open, open_move

PAIRS = list(itertools.permutations(VENDORS, 2))
DEALS = int(os.environ.get("CRMKIT_MIGRATED", "60"))


@pytest.fixture
def move_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens a migration: `move_of("hubspot", "zoho", deals=300)`."""
    return lambda *ends, **options: open_move(crmkit, up, tmp_path, monkeypatch, *ends, **options)


# Every pair


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_every_pair_is_moved_whole_or_each_difference_is_explained(
    move_of: Open, source: str, target: str
) -> None:
    move = move_of(source, target, deals=DEALS)
    assert move.crmkit("pull").code == 0
    move.click()
    move.apply()
    move.until_quiet()
    code, proof = move.proof()
    assert (unexplained(proof), proof["verdict"]) in (([], "proven"), ([], "explained"))
    assert code == 0
    counted = {one["kind"]: one for one in proof["counts"]}
    settled = counted["deal"]["linked"] + counted["deal"]["left_out"]
    assert settled >= 0.9 * len(move.box[source].world.deals), counted["deal"]


def unexplained(proof: dict) -> list[tuple[str, str, str, str]]:
    """Differences that nothing explains: record, field, and both values."""
    return [
        (record["label"], one["field"], one["source"], one["target"])
        for record in proof["records"]
        for one in record["differences"]
        if one["code"] == "unexplained"
    ]


@pytest.mark.parametrize(("source", "told"), [("zoho", True), ("copper", True), ("close", False)])
def test_people_that_a_source_does_not_show_are_named_before_the_first_write(
    move_of: Open, source: str, told: bool
) -> None:
    move = move_of(source, "hubspot", deals=4, there=2, awkward=False)
    _, plan = move.shown("plan")
    assert ("contacts_unread" in {one["code"] for one in plan["findings"]}) is told
