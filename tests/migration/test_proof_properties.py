"""Whatever people edit after a migration, a proof finds all of it and says who it was."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmkit.migration.proof import Verdict
from tests.migration.proof_bench import Migration, found

DEALS = ("d1", "d2", "d3")
VALUES: dict[str, tuple[dict[str, Any], ...]] = {
    "name": ({"name": "One"}, {"name": "Two"}, {"name": "Deal d1"}),
    "stage": ({"stage_id": "s1"}, {"stage_id": "s2"}, {"stage_id": "lost"}),
    "amount": ({"amount": Decimal("100.5"), "currency": "EUR"}, {"amount": None, "currency": None}),
    "tags": ({"tags": ()}, {"tags": ("vip",)}, {"tags": ("a", "b")}),
}
EDITS = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.tuples(
            st.sampled_from(("old", "new")),
            st.sampled_from(DEALS),
            st.just(name),
            st.sampled_from(VALUES[name]),
        )
    ),
    max_size=8,
)


def state_of(migration: Migration, box: str, native: str) -> dict[str, Any]:
    """What matters of a deal, alike in both CRMs."""
    deal = migration.bench[box].get(native)
    return {
        "name": deal.name,
        "stage": deal.stage_id,
        "amount": None if deal.amount is None else (deal.amount, deal.currency),
        "tags": tuple(sorted(deal.tags)),
    }


def expected(before: Any, source: Any, target: Any) -> str | None:
    """The explanation of one field, from its values alone."""
    if source == target:
        return None
    if source != before and target != before:
        return "conflict"
    return "edited_in_source" if source != before else "edited_in_target"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EDITS)
def test_every_edit_is_found_and_rightly_explained(edits: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        migration = Migration(Path(folder)).fill()
        migration.run()
        there = {native: migration.moved(native) for native in DEALS}
        before = {native: state_of(migration, "old", native) for native in DEALS}
        for box, native, _, values in edits:
            migration.bench[box].edit(native if box == "old" else there[native], **values)
        proof = migration.prove()
        wanted = set()
        for native in DEALS:
            mine, theirs = state_of(migration, "old", native), state_of(migration, "new", there[native])
            for name, was in before[native].items():
                code = expected(was, mine[name], theirs[name])
                if code is not None:
                    wanted.add((native, name, code))
        assert found(proof) == wanted
        assert proof.verdict is (Verdict.EXPLAINED if wanted else Verdict.PROVEN)
