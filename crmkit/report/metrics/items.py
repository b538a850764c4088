"""What the figures could not use as it is, deal by deal."""

from __future__ import annotations

from crmkit.model import Outcome
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import Items, MissingRate, Problem, UnmappedStage
from crmkit.report.inputs import Settings

_CODES = {
    "amount_unreadable": "amount_unreadable",
    "closed_after_as_of": f"status <> '{OPEN}' AND closed_day > $today",
    "closed_before_created": "closed_day < created_day",
    "closed_without_date": f"status <> '{OPEN}' AND closed_day IS NULL",
    "created_after_as_of": "created_day > $today",
    "probability_out_of_range": "share_unreadable",
    "unknown_common_stage": "stage_unknown",
}
"""What can be wrong with a deal, and how it is found."""


def items(facts: Facts, settings: Settings) -> Items:
    """What waits for a person: complete lists, nothing left out."""
    table = live_at(facts, settings)
    return Items(
        fx_missing=_fx_missing(facts, table),
        unmapped=_unmapped(facts, table),
        errors=_errors(facts, table, scale.day_number(settings.as_of_date)),
    )


def _fx_missing(facts: Facts, table: str) -> tuple[MissingRate, ...]:
    rows = facts.rows(f"SELECT * FROM {table} WHERE fx_missing ORDER BY ref NULLS LAST")
    found = []
    for row in rows:
        on = scale.day(row["rate_day"])
        assert on is not None
        found.append(
            MissingRate(
                ref=row["ref"],
                name=row["name"],
                connection=row["connection"],
                outcome=Outcome(row["status"]),
                amount=scale.number(row["native"], scale.AMOUNT_DIGITS),
                currency=row["currency"],
                day=on,
                url=row["url"],
            )
        )
    return tuple(found)


def _unmapped(facts: Facts, table: str) -> tuple[UnmappedStage, ...]:
    rows = facts.rows(
        f"""
        SELECT connection, coalesce(pipeline_id, '') AS pipeline_id, coalesce(stage_id, '') AS stage_id,
            min(pipeline) AS pipeline, min(native_stage) AS native_stage, count(*) AS n,
            count(*) FILTER (WHERE status = '{OPEN}') AS open_n,
            sum(value) FILTER (WHERE status = '{OPEN}') AS amount
        FROM {table} WHERE stage IS NULL AND NOT stage_unknown
        GROUP BY connection, coalesce(pipeline_id, ''), coalesce(stage_id, '')
        """
    )
    found = [
        UnmappedStage(
            connection=row["connection"],
            pipeline_id=row["pipeline_id"] or None,
            pipeline=row["pipeline"],
            stage_id=row["stage_id"] or None,
            stage=row["native_stage"],
            deals=int(row["n"]),
            open_deals=int(row["open_n"]),
            open_amount=scale.money(row["amount"]),
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda one: (one.connection, one.pipeline_id or "", one.stage_id or "")))


def _errors(facts: Facts, table: str, today: int) -> tuple[Problem, ...]:
    query = " UNION ALL ".join(
        f"SELECT '{code}' AS code, ref, name, connection, url FROM {table} WHERE {where}"
        for code, where in _CODES.items()
    )
    rows = facts.rows(f"SELECT * FROM ({query}) x ORDER BY code NULLS LAST, ref NULLS LAST", today=today)
    return tuple(Problem(**row) for row in rows)
