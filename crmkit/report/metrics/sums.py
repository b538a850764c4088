"""Sums, means and percentiles in SQL, exact to the last digit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any, TypedDict

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.figures import OpenFigures
from crmkit.report.money import ZERO, add, multiply, subtract
from crmkit.report.ratios import Average, divide

OPEN_SUMS = """
    count(*) AS n, sum(value) AS amount, sum(weighted) AS weighted,
    sum(CASE WHEN priced THEN 0 ELSE 1 END) AS unpriced,
    sum(CASE WHEN fx_missing THEN 1 ELSE 0 END) AS unrated,
    sum(CASE WHEN share IS NULL THEN 1 ELSE 0 END) AS unlikely,
    sum(CASE WHEN share IS NULL THEN value END) AS unlikely_amount
"""
"""What `OpenFigures` adds up over rows of `deals_at`."""


class OpenSums(TypedDict):
    """The fields of `OpenFigures`."""

    count: int
    amount: Decimal
    amount_missing_count: int
    fx_missing_count: int
    weighted_amount: Decimal
    weighted_excluded_count: int
    weighted_excluded_amount: Decimal


NOTHING: OpenSums = {
    "count": 0,
    "amount": ZERO,
    "amount_missing_count": 0,
    "fx_missing_count": 0,
    "weighted_amount": ZERO,
    "weighted_excluded_count": 0,
    "weighted_excluded_amount": ZERO,
}


def open_sums(row: Mapping[str, Any] | None) -> OpenSums:
    """The fields of `OpenFigures` from a row of `OPEN_SUMS`; zeros without one."""
    if row is None:
        return NOTHING
    return {
        "count": int(row["n"]),
        "amount": scale.money(row["amount"]),
        "amount_missing_count": int(row["unpriced"] or 0),
        "fx_missing_count": int(row["unrated"] or 0),
        "weighted_amount": scale.weighted(row["weighted"]),
        "weighted_excluded_count": int(row["unlikely"] or 0),
        "weighted_excluded_amount": scale.money(row["unlikely_amount"]),
    }


def open_figures(row: Mapping[str, Any] | None) -> OpenFigures:
    """`OpenFigures` from a row of `OPEN_SUMS`."""
    return OpenFigures(**open_sums(row))


def average(total: Decimal, sample: int, min_sample: int) -> Average:
    """The mean of `sample` values that add up to `total`."""
    return Average(value=divide(total, Decimal(sample)), sample=sample, low_sample=sample < min_sample)


def percentile(
    facts: Facts,
    source: str,
    column: str,
    fraction: Decimal,
    *,
    min_sample: int,
    read: Callable[[Any], Decimal],
    **values: Value,
) -> Average:
    """The percentile of a column by linear interpolation, with NULLs left out (metrics.md 2.7).

    Only the two neighbours of the rank leave the engine.

    Args:
        facts: The fact tables.
        source: A table, or a table with a WHERE.
        column: Whole numbers.
        fraction: From 0 (smallest) to 1 (largest).
        min_sample: Below this many values the result is marked `low_sample`.
        read: What a whole number of the column means.
        values: Bound in `source`.
    """
    ranked = f"SELECT {column} AS v FROM {source}"
    count = int(facts.row(f"SELECT count(v) AS n FROM ({ranked}) x", **values)["n"])
    if count == 0:
        return Average(value=None, sample=0, low_sample=min_sample > 0)
    rank = multiply(Decimal(count - 1), fraction)
    below = int(rank.to_integral_value(rounding=ROUND_FLOOR))
    found = facts.rows(
        f"""
        SELECT v FROM (
            SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS place FROM ({ranked}) x WHERE v IS NOT NULL
        ) y WHERE place BETWEEN $first_place AND $last_place ORDER BY place NULLS LAST
        """,
        first_place=below + 1,
        last_place=below + 2,
        **values,
    )
    low, high = read(found[0]["v"]), read(found[-1]["v"])
    step = multiply(subtract(high, low), subtract(rank, Decimal(below)))
    return Average(value=add(low, step), sample=count, low_sample=count < min_sample)


def median(
    facts: Facts,
    source: str,
    column: str,
    *,
    min_sample: int,
    read: Callable[[Any], Decimal],
    **values: Value,
) -> Average:
    """The middle value of a column; of an even count, the mean of the two middle ones."""
    return percentile(facts, source, column, Decimal("0.5"), min_sample=min_sample, read=read, **values)


def whole_seconds(duration_us: int) -> Decimal:
    """Exact days of so many microseconds, cut to whole seconds."""
    return divide(Decimal(int(duration_us) // scale.SECOND), Decimal(scale.DAY_SECONDS)) or ZERO
