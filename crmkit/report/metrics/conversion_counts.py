"""Which deals entered a stage in the period, went on or were lost: counted, and listed (metrics.md 9)."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

from crmkit.report.facts.deals import LOST, OPEN, WON, live_at, period_us
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings, SkipPolicy
from crmkit.report.listed import LISTED
from crmkit.report.metrics.stays import WON_LEVEL, beginnings, moved, places, rungs, stays


def counts(
    facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool
) -> list[dict[str, Any]]:
    """Cohort, converted and lost per line and level; `won` is a level of its own."""
    start, end = period_us(period, settings)
    return facts.rows(
        f"""
        {_judged(facts, settings, period, stays(facts, settings, period), common=common)}
        SELECT line, level,
            count(CASE WHEN counts THEN 1 END) AS cohort,
            count(CASE WHEN counts AND converted THEN 1 END) AS converted,
            count(CASE WHEN counts AND NOT converted AND status = '{LOST}' THEN 1 END) AS lost_from,
            count(CASE WHEN counts_itself THEN 1 END) AS funnel_any,
            count(CASE WHEN counts_itself AND touched_levels = level THEN 1 END) AS funnel_all
        FROM judged GROUP BY line, level
        """,
        start=start,
        end=end,
    )


def cohorts(
    facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool, limit: int = LISTED
) -> dict[tuple[int, int], tuple[str, ...]]:
    """The refs of the cohort of every line and level, of the deals that a page lists and no others.

    Open deals come first, the largest first; then closed ones, the latest first.
    """
    start, end = period_us(period, settings)
    source = facts.keep(
        f"listed stays {settings.as_of.isoformat()} {period} {limit}",
        f"""
        SELECT s.* FROM {stays(facts, settings, period)} s
        SEMI JOIN {_listed(facts, settings, period, limit)} l ON s.nr = l.nr
        """,
    )
    found: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for row in facts.rows(
        f"""
        {_judged(facts, settings, period, source, common=common)}
        SELECT j.line, j.level, l.ref
        FROM judged j JOIN {_listed(facts, settings, period, limit)} l ON j.nr = l.nr
        WHERE j.counts = TRUE AND j.level < {WON_LEVEL}
        ORDER BY j.line NULLS LAST, j.level NULLS LAST, l.list_place NULLS LAST
        """,
        start=start,
        end=end,
    ):
        found[row["line"], row["level"]].append(row["ref"])
    return {key: tuple(refs) for key, refs in found.items()}


def _listed(facts: Facts, settings: Settings, period: tuple[date, date], limit: int) -> str:
    """The table of the deals of `moved` that a page lists: nr, ref and `list_place`."""
    return facts.keep(
        f"listed moved {settings.as_of.isoformat()} {period} {limit}",
        f"""
        SELECT m.nr, d.ref, d.list_place
        FROM (
            SELECT ref, connection, id, row_number() OVER (
                ORDER BY CASE WHEN status = '{OPEN}' THEN 0 ELSE 1 END NULLS LAST,
                    CASE WHEN status = '{OPEN}' THEN value END DESC NULLS LAST,
                    closed_day DESC NULLS LAST, ref NULLS LAST
            ) AS list_place
            FROM {live_at(facts, settings)}
        ) d
        JOIN {moved(facts, settings, period)} m ON d.connection = m.connection AND d.id = m.id
        WHERE d.list_place <= $limit
        """,
        limit=limit,
    )


def _judged(facts: Facts, settings: Settings, period: tuple[date, date], source: str, *, common: bool) -> str:
    """The head of a query over `judged`: what became of every deal of `source` at every level."""
    line, level = places(common=common)
    filled = "TRUE" if settings.skip_policy is SkipPolicy.FILL else "FALSE"
    levels = f"SELECT DISTINCT {line} AS line, {level} AS level FROM {rungs(facts)} WHERE {level} > 0"
    return f"""
        WITH touched AS (
            SELECT nr, {line} AS line, {level} AS level, status,
                min(entered_us) AS first_us, max(entered_us) AS last_us
            FROM {source} WHERE {level} > 0 GROUP BY nr, line, {level}, status
        ),
        levels AS (
            {levels} UNION SELECT DISTINCT {line} AS line, {WON_LEVEL} AS level FROM {rungs(facts)}
        ),
        -- Whatever is filled is filled at the time of another entry: no other deal is in a cohort.
        grid AS (
            SELECT d.nr, l.level, l.line FROM (
                SELECT DISTINCT nr, line FROM touched WHERE first_us >= $start AND first_us < $end
            ) d JOIN levels l ON d.line = l.line
        ),
        above AS (
            SELECT g.nr, g.line, g.level, t.status,
                min(CASE WHEN t.level = g.level THEN t.first_us END) AS first_us,
                min(CASE WHEN t.level > g.level THEN t.first_us END) AS above_first_us,
                max(CASE WHEN t.level > g.level THEN t.last_us END) AS above_last_us,
                count(CASE WHEN t.level <= g.level THEN 1 END) AS touched_levels
            FROM grid g JOIN touched t ON g.nr = t.nr
            GROUP BY g.nr, g.line, g.level, t.status
        ),
        entered AS (
            SELECT a.*, coalesce(
                a.first_us, CASE WHEN {filled} AND a.level > coalesce(b.{level}, 0) THEN a.above_first_us END
            ) AS entered_us
            FROM above a LEFT JOIN {beginnings(facts, settings, period)} b ON a.nr = b.nr
        ),
        judged AS (
            SELECT *, entered_us >= $start AND entered_us < $end AS counts,
                first_us >= $start AND first_us < $end AS counts_itself,
                status = '{WON}' OR coalesce(above_last_us >= entered_us, FALSE) AS converted
            FROM entered
        )
    """
