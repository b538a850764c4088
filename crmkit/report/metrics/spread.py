"""Percentiles of many groups in one query: only the neighbours of each rank leave the engine."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from crmkit.report.facts.engine import Facts
from crmkit.report.money import add, multiply, subtract
from crmkit.report.ratios import Average, divide

_WHOLE = 10_000
"""Fractions of this many parts are exact."""


def spreads(
    facts: Facts,
    source: str,
    by: Sequence[str],
    fractions: Sequence[Decimal],
    *,
    min_sample: int,
    unit: int,
) -> dict[tuple[Any, ...], dict[Decimal, Average]]:
    """Per group the percentiles of the whole numbers in `spent`, by linear interpolation (metrics.md 2.7).

    Args:
        facts: The fact tables.
        source: A table, or a query, with the columns of `by`, `spent` and `tie`.
        by: The columns that make a group; groups without rows are not in the answer.
        fractions: From 0 (smallest) to 1 (largest), of at most four digits.
        min_sample: Below this many values a result is marked `low_sample`.
        unit: What one is in the answer, in units of `spent`.
    """
    groups = ", ".join(by)
    ranks = [f"(n - 1) * {int(fraction * _WHOLE)} // {_WHOLE}" for fraction in fractions]
    wanted = ", ".join(place for rank in ranks for place in (rank, f"{rank} + 1"))
    rows = facts.rows(
        f"""
        SELECT {groups}, n, place, spent FROM (
            SELECT {groups}, spent,
                row_number() OVER (
                    PARTITION BY {groups} ORDER BY spent NULLS LAST, tie NULLS LAST
                ) - 1 AS place,
                count(*) OVER (PARTITION BY {groups}) AS n
            FROM {source if " " not in source else f"({source}) rows_of_groups"}
        ) ranked
        WHERE place IN ({wanted})
        """
    )
    found: dict[tuple[Any, ...], tuple[int, dict[int, Decimal]]] = {}
    for row in rows:
        _, places = found.setdefault(tuple(row[name] for name in by), (int(row["n"]), {}))
        places[int(row["place"])] = Decimal(int(row["spent"]))
    return {
        key: {
            fraction: Average(
                value=divide(_between(places, count, fraction), Decimal(unit)),
                sample=count,
                low_sample=count < min_sample,
            )
            for fraction in fractions
        }
        for key, (count, places) in found.items()
    }


def _between(places: dict[int, Decimal], count: int, fraction: Decimal) -> Decimal:
    rank = multiply(Decimal(count - 1), fraction)
    below = int(rank)
    low = places[below]
    high = places.get(below + 1, low)
    return add(low, multiply(subtract(high, low), subtract(rank, Decimal(below))))
