"""Saved plans: the documented format, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crmkit.errors import UsageError
from crmkit.sync.plan import PlanFile, load_plan

SCHEMA = Path(__file__).parents[2] / "docs" / "plan.schema.json"


def test_the_documented_schema_is_the_one_in_use() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == PlanFile.model_json_schema()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"crmkit_plan": 2}', '{"crmkit_plan": 1, "sync": "main", "host": "https://evil.test"}'],
)
def test_what_is_not_a_plan_is_refused_with_advice(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    assert "crmkit plan" in caught.value.hint


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.json"):
        load_plan(tmp_path / "nothing.json")
