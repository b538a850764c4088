"""Which deals moved from which stage to which: the matrices, and the lists by kind (metrics.md 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.metrics.movement_figures import STEP_KINDS, StageMove, StepKind, StepTotal
from crmkit.report.metrics.pairs import REFS, Between, States, states
from crmkit.report.metrics.steps import net_moved, steps_between
from crmkit.report.money import ZERO


def net_moves(facts: Facts, found: Between) -> tuple[StageMove, ...]:
    """From each deal's first to its last common stage."""
    return _matrix(facts, net_moved(facts, found), {"from_stage": "from_stage", "to_stage": "to_stage"})


def gross_moves(facts: Facts, found: Between) -> tuple[StageMove, ...]:
    """Every step from one common stage to another."""
    return _matrix(facts, steps_between(facts, found), {"from_stage": "from_stage", "to_stage": "to_stage"})


def native_moves(facts: Facts, found: Between) -> tuple[StageMove, ...]:
    """From each deal's first to its last native stage."""
    named = {
        "connection": "connection",
        "from_pipeline": "coalesce(from_pipeline, from_pipeline_id)",
        "from_stage": "coalesce(from_native_stage, from_stage_id)",
        "to_pipeline": "coalesce(to_pipeline, to_pipeline_id)",
        "to_stage": "coalesce(to_native_stage, to_stage_id)",
    }
    return _matrix(facts, net_moved(facts, found), named, where="same_record")


def _matrix(
    facts: Facts, moved: str, named: Mapping[str, str], *, where: str = "from_stage IS DISTINCT FROM to_stage"
) -> tuple[StageMove, ...]:
    """One line for each pair of stages, the most frequent first."""
    groups = ", ".join(named)
    columns = ", ".join(f"{text} AS {name}" for name, text in named.items())
    order = ", ".join(f"{name} NULLS LAST" for name in named)
    rows = facts.rows(
        f"""
        SELECT * FROM (
            SELECT *,
                row_number() OVER (
                    PARTITION BY {groups} ORDER BY value DESC NULLS LAST, ref NULLS LAST
                ) AS cell_place,
                count(*) OVER (PARTITION BY {groups}) AS n,
                sum(value) OVER (PARTITION BY {groups}) AS amount
            FROM (SELECT {columns}, ref, value FROM {moved} WHERE {where}) m
        ) r WHERE cell_place <= {REFS}
        ORDER BY n DESC NULLS LAST, {order}, cell_place NULLS LAST
        """
    )
    cells: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault(tuple(row[name] for name in named), []).append(row)
    return tuple(
        StageMove(
            **{name: found[0][name] for name in named},
            count=found[0]["n"],
            amount=scale.money(found[0]["amount"]),
            # Step by step one deal can take the same way twice.
            refs=tuple(dict.fromkeys(row["ref"] for row in found)),
        )
        for found in cells.values()
    )


def kinds(facts: Facts, found: Between, detailed: int) -> dict[StepKind, StepTotal]:
    """Deals by how their first and last native stage differ, and how many single steps were of each kind."""
    net = net_moved(facts, found)
    query = f"SELECT kind, count(*) AS n FROM {steps_between(facts, found)} GROUP BY kind"
    counted = {row["kind"]: int(row["n"]) for row in facts.rows(query)}
    ranked = facts.keep(
        f"net ranked {net}",
        f"""
        SELECT * FROM (
            SELECT kind, logical, ref, value,
                row_number() OVER (PARTITION BY kind ORDER BY value DESC NULLS LAST, ref NULLS LAST) AS place,
                count(*) OVER (PARTITION BY kind) AS n, sum(value) OVER (PARTITION BY kind) AS amount
            FROM {net} WHERE kind IS NOT NULL
        ) r WHERE place <= {REFS}
        """,
    )
    shown = facts.keep(
        f"net shown {net} {detailed}", f"SELECT logical FROM {ranked} WHERE place <= $n", n=detailed
    )
    told = states(facts, found, shown)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in facts.rows(f"SELECT * FROM {ranked} ORDER BY kind NULLS LAST, place NULLS LAST"):
        rows.setdefault(row["kind"], []).append(row)
    return {kind: _total(rows.get(kind, ()), counted.get(kind, 0), told, detailed) for kind in STEP_KINDS}


def _total(rows: Sequence[Mapping[str, Any]], steps: int, told: States, detailed: int) -> StepTotal:
    return StepTotal(
        count=rows[0]["n"] if rows else 0,
        amount=scale.money(rows[0]["amount"]) if rows else ZERO,
        steps=steps,
        refs=tuple(row["ref"] for row in rows),
        deals=tuple(_lines(rows[:detailed], told)),
    )


def _lines(rows: Iterable[Mapping[str, Any]], told: States) -> Iterable[Any]:
    for row in rows:
        yield told.line(row["logical"], scale.money(row["value"]))
