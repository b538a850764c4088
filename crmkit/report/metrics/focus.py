"""The deals to focus on: a score from 0 to 100 that shows what it is made of.

The points a deal can get are in `WEIGHTS` and nowhere else (inferred, all of them):

| factor | points | how |
|---|---|---|
| `value` | 0 to 30 | the share of open deals that are worth less |
| `probability` | 0 to 25 | the probability itself; none if unknown |
| `changes` | 0 to 10 | two for each change by a person in the last 30 days |
| `advance` | 0 or 10 | it was in an earlier stage of its pipeline within the last 30 days |
| `pushes` | -15 to 0 | five off for each time that its close date was pushed |
| `freshness` | 0 to 15 | all of them today, none once it is stale, in a straight line |
| `age` | 0 to 10 | all of them when new, none after 180 days, in a straight line |

Points are whole; fractions are cut. A sum below zero is zero.
"""

from __future__ import annotations

from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.deals import CERTAIN
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY
from crmkit.report.facts.visits import visits_at
from crmkit.report.figures import DealLine, Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.dates import pushes
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.lines import LINE_COLUMNS, line_fields
from crmkit.report.metrics.open_deals import open_table
from crmkit.report.metrics.signs import NO_WORK
from crmkit.report.money import Number

WEIGHTS = {
    "value": 30,
    "probability": 25,
    "changes": 10,
    "advance": 10,
    "pushes": -15,
    "freshness": 15,
    "age": 10,
}
"""The most points that a factor gives, or takes."""
PER_CHANGE = 2
PER_PUSH = 5
RECENT_DAYS = 30
OLD_DAYS = 180


class FocusDeal(DealLine):
    """An open deal and its score, 0 to 100; `points` by factor add up to it, unless they are below 0.

    The reasons: `probability` (0 to 1), `recent_changes` and `advanced` in the last 30
    days, `push_count`, `age_days` since the creation.
    """

    score: int
    points: dict[str, int]
    probability: Number | None
    recent_changes: int
    advanced: bool
    push_count: int
    age_days: int | None


class Focus(Figure):
    """The open deals with the highest scores, `top` of `count`; `weights` are the most points by factor."""

    weights: dict[str, int]
    count: int
    deals: tuple[FocusDeal, ...]


def focus(facts: Facts, settings: Settings) -> Focus:
    """The open deals with the highest scores; of equal ones the largest first."""
    table = scores(facts, settings)
    rows = facts.rows(
        f"""
        SELECT {LINE_COLUMNS}, d.share, s.*, i.idle_days FROM {table} s
        JOIN {open_table(facts, settings)} d ON s.scored_ref = d.ref
        LEFT JOIN {idle(facts, settings)} i ON d.ref = i.ref
        ORDER BY s.score DESC NULLS LAST, d.value DESC NULLS LAST, d.ref NULLS LAST LIMIT $top
        """,
        top=settings.top,
    )
    return Focus(
        weights=dict(WEIGHTS),
        count=int(facts.row(f"SELECT count(*) AS n FROM {table}")["n"]),
        deals=tuple(_deal(row, settings) for row in rows),
    )


def scores(facts: Facts, settings: Settings) -> str:
    """The table with one row per open deal: `scored_ref`, `score`, and `<factor>_points` for each factor."""
    total = " + ".join(f"{name}_points" for name in WEIGHTS)
    query = f"""
        SELECT *, CASE WHEN {total} < 0 THEN 0 ELSE {total} END AS score
        FROM (
            SELECT ref AS scored_ref, recent_changes, advanced, pushed, age,
                CASE WHEN value IS NULL OR all_deals < 2 THEN 0
                    ELSE {WEIGHTS["value"]} * (smaller - 1) // (all_deals - 1) END AS value_points,
                coalesce({WEIGHTS["probability"]} * share // {CERTAIN}, 0) AS probability_points,
                {_at_most(f"{PER_CHANGE} * recent_changes", WEIGHTS["changes"])} AS changes_points,
                CASE WHEN advanced THEN {WEIGHTS["advance"]} ELSE 0 END AS advance_points,
                -{_at_most(f"{PER_PUSH} * pushed", -WEIGHTS["pushes"])} AS pushes_points,
                CASE WHEN idle_us IS NULL OR idle_us >= stale_us THEN 0
                    ELSE {WEIGHTS["freshness"]} * (stale_us - idle_us) // stale_us END AS freshness_points,
                CASE WHEN age IS NULL OR age >= {OLD_DAYS} THEN 0
                    ELSE {WEIGHTS["age"]} * ({OLD_DAYS} - age) // {OLD_DAYS} END AS age_points
            FROM ({_factors(facts, settings)}) factors
        ) pointed
    """
    return facts.keep(
        f"focus {settings.as_of.isoformat()}",
        query,
        at=scale.instant(settings.as_of),
        since=scale.instant(settings.as_of) - RECENT_DAYS * DAY,
        today=scale.day_number(settings.as_of_date),
        stale=settings.stale_days,
    )


def _factors(facts: Facts, settings: Settings) -> str:
    table = open_table(facts, settings)
    return f"""
        SELECT d.ref, d.value, d.share, i.idle_us,
            coalesce(o.stale_days, $stale) * {DAY} AS stale_us,
            CASE WHEN d.created_day <= $today THEN $today - d.created_day END AS age,
            rank() OVER (ORDER BY d.value NULLS FIRST) AS smaller,
            count(*) OVER () AS all_deals,
            coalesce(c.recent_changes, 0) AS recent_changes,
            coalesce(p.push_count, 0) AS pushed,
            coalesce(v.lowest < d.place, FALSE) AS advanced
        FROM {table} d
        LEFT JOIN outline o ON d.stage = o.stage
        LEFT JOIN {idle(facts, settings)} i ON d.ref = i.ref
        LEFT JOIN {pushes(facts, settings)} p ON d.connection = p.connection AND d.id = p.id
        LEFT JOIN (
            SELECT connection, id, count(*) AS recent_changes FROM changes
            WHERE at_us > $since AND at_us <= $at AND NOT own AND field NOT IN {NO_WORK}
                AND field <> 'modified_us'
            GROUP BY connection, id
        ) c ON d.connection = c.connection AND d.id = c.id
        LEFT JOIN (
            SELECT e.ref, min(t.place) AS lowest
            FROM {table} e
            JOIN {visits_at(facts, scale.instant(settings.as_of))} w
                ON e.connection = w.connection AND e.id = w.id
            JOIN stages t
                ON w.connection = t.connection AND w.stage_id = t.stage_id AND e.pipeline_id = t.pipeline_id
            WHERE w.left_us > $since
            GROUP BY e.ref
        ) v ON d.ref = v.ref
    """


def _at_most(points: str, most: int) -> str:
    return f"CASE WHEN {points} > {most} THEN {most} ELSE {points} END"


def _deal(row: dict[str, Any], settings: Settings) -> FocusDeal:
    share = row["share"]
    return FocusDeal(
        **line_fields(row, settings),
        score=int(row["score"]),
        points={name: int(row[f"{name}_points"]) for name in WEIGHTS},
        probability=None if share is None else scale.number(share, scale.SHARE_DIGITS),
        recent_changes=int(row["recent_changes"]),
        advanced=bool(row["advanced"]),
        push_count=int(row["pushed"]),
        age_days=row["age"],
    )
