"""The deals behind the figures, from the fact tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.listed import LISTED, ListedDeal
from crmkit.report.metrics.hygiene import findings
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.movement import pushes


def listed_deals(
    facts: Facts, settings: Settings, *, limit: int = LISTED, closed_since: date | None = None
) -> tuple[tuple[ListedDeal, ...], int]:
    """The deals in scope, and how many more there are than `limit`.

    Open deals come first, the largest first; then closed ones, the latest first. Deals closed on or
    after the day `closed_since` come before all others.
    """
    early = None if closed_since is None else scale.day_number(closed_since)
    table = live_at(facts, settings)
    rows = facts.rows(
        f"""
        SELECT d.*, i.idle_days, i.stage_age_us, p.push_count
        FROM (
            SELECT *, row_number() OVER (
                ORDER BY CASE WHEN closed_day >= $early THEN 0 WHEN status = '{OPEN}' THEN 1 ELSE 2 END
                        NULLS LAST,
                    CASE WHEN status = '{OPEN}' THEN value END DESC NULLS LAST,
                    closed_day DESC NULLS LAST, ref NULLS LAST
            ) AS list_place
            FROM {table}
        ) d
        LEFT JOIN {idle(facts, settings)} i ON d.ref = i.ref
        LEFT JOIN {pushes(facts, settings)} p ON d.connection = p.connection AND d.id = p.id
        WHERE d.list_place <= $limit
        ORDER BY d.list_place NULLS LAST
        """,
        limit=limit,
        early=scale.day_number(date.max) if early is None else early,
    )
    total = facts.row(f"SELECT count(*) AS n FROM {table}")["n"]
    broken = _broken(facts, settings)
    return tuple(_listed(row, broken.get(row["ref"], ())) for row in rows), int(total) - len(rows)


def _broken(facts: Facts, settings: Settings) -> dict[str, list[str]]:
    """The hygiene rules that each deal breaks."""
    found: dict[str, list[str]] = {}
    query = f"SELECT ref, rule FROM {findings(facts, settings)} ORDER BY ref NULLS LAST, rule NULLS LAST"
    for row in facts.rows(query):
        found.setdefault(row["ref"], []).append(row["rule"])
    return found


def _listed(row: dict[str, Any], rules: Sequence[str]) -> ListedDeal:
    is_open = row["status"] == OPEN
    value = None if row["value"] is None else scale.money(row["value"])
    weighted = None if row["weighted"] is None else scale.weighted(row["weighted"])
    return ListedDeal(
        ref=row["ref"],
        name=row["name"],
        connection=row["connection"],
        pipeline=row["pipeline"] or row["pipeline_id"],
        native_stage=row["native_stage"] or row["stage_id"],
        stage=row["stage"],
        status=row["status"],
        lost_kind=row["lost_kind"],
        lost_reason=row["lost_reason"],
        owner=row["owner_name"] or row["owner_email"] or row["owner_id"],
        team=row["team"],
        company=row["company"],
        amount=value,
        native_amount=_number(row["native"], scale.AMOUNT_DIGITS),
        currency=row["currency"],
        probability=_number(row["share"], scale.SHARE_DIGITS) if is_open else None,
        weighted=weighted if is_open and value is not None else None,
        forecast_category=row["forecast_category"],
        expected_close=scale.day(row["close_day"]),
        created_on=scale.day(row["created_day"]),
        closed_on=scale.day(row["closed_day"]),
        stage_age_days=_days(row["stage_age_us"]) if is_open else None,
        idle_days=row["idle_days"] if is_open else None,
        push_count=row["push_count"],
        next_step_on=_day_of(row["next_us"]),
        url=row["url"],
        findings=tuple(rules),
    )


def _number(value: int | None, digits: int) -> Decimal | None:
    return None if value is None else scale.number(value, digits)


def _days(duration_us: int | None) -> int | None:
    return None if duration_us is None else int(duration_us) // scale.DAY


def _day_of(at_us: int | None) -> Any:
    moment = scale.moment(at_us)
    return None if moment is None else moment.date()
