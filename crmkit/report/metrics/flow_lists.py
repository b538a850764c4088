"""The deals behind the bars of a waterfall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.metrics.flow_figures import ENTRIES, EXITS, VALUE_CHANGES, FlowDeal
from crmkit.report.metrics.flow_lines import BARS
from crmkit.report.metrics.pairs import REFS, Between, States, states

MOVED = (*VALUE_CHANGES, *ENTRIES, *EXITS)
"""The bars between the first and the last."""


def level_refs(facts: Facts, lines: str, name: str) -> tuple[str, ...]:
    """The deals of the first or the last bar, the largest first."""
    where, value = BARS[name]
    rows = facts.rows(
        f"SELECT ref FROM {lines} WHERE {where} ORDER BY {value} DESC NULLS LAST, ref NULLS LAST LIMIT {REFS}"
    )
    return tuple(row["ref"] for row in rows)


@dataclass(frozen=True, slots=True)
class Line:
    """A deal in a bar and what it adds to it."""

    logical: str
    ref: str
    value: Decimal
    reason: str | None
    survivor: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """The deals of one bar, the largest first, and the first of them with all their values."""

    lines: tuple[Line, ...] = ()
    deals: tuple[FlowDeal, ...] = ()


def moved_lists(facts: Facts, found: Between, lines: str, detailed: int) -> dict[str, Listed]:
    """The deals of every bar between the first and the last, the largest first."""
    union = " UNION ALL ".join(
        f"SELECT '{name}' AS bar, logical, ref, {value} AS value, "
        f"{_reason(name)} AS reason, survivor FROM {lines} WHERE {where}"
        for name, (where, value) in BARS.items()
        if name in MOVED
    )
    ranked = facts.keep(
        f"moved {lines}",
        f"""
        SELECT * FROM (
            SELECT *, row_number() OVER (
                PARTITION BY bar ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST
            ) AS bar_place
            FROM ({union}) bars
        ) placed
        WHERE bar_place <= {REFS}
        """,
    )
    shown = facts.keep(
        f"shown {lines} {detailed}",
        f"SELECT DISTINCT logical FROM {ranked} WHERE bar_place <= $n",
        n=detailed,
    )
    told = states(facts, found, shown)
    grouped: dict[str, list[Line]] = {}
    for row in facts.rows(f"SELECT * FROM {ranked} ORDER BY bar NULLS LAST, bar_place NULLS LAST"):
        grouped.setdefault(row["bar"], []).append(_line(row))
    return {
        name: Listed(tuple(found_lines), tuple(_flow_deals(name, found_lines[:detailed], told)))
        for name, found_lines in grouped.items()
    }


def _reason(bar: str) -> str:
    """Reasons belong to the entry or the exit; a value that changed has none but a rate's coming or going."""
    if bar == "fx":
        return "CASE WHEN unpriced THEN 'unpriced' END"
    if bar in {"won", "lost"}:
        return "CASE WHEN reason = 'closed_again' THEN reason END"
    told = {"removed", "transferred_in", "transferred_out", "backfilled", "reopened"}
    return "reason" if bar in told else "NULL"


def _line(row: dict[str, Any]) -> Line:
    return Line(row["logical"], row["ref"], scale.money(row["value"]), row["reason"], row["survivor"])


def _flow_deals(bar: str, lines: Iterable[Line], told: States) -> Iterable[FlowDeal]:
    removed = bar == "removed"
    for line in lines:
        survivor = line.survivor if removed else None
        yield told.line(
            line.logical, line.value, ref=line.ref, gone=removed, reason=line.reason, survivor=survivor
        )
