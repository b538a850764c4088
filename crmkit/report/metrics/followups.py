"""What is to be done next: deals without a next step, with one that is overdue, and with one soon."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.zone import start_of
from crmkit.report.figures import DealLine, Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.hygiene.checked import next_readable, silent
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.lines import LINE_COLUMNS, line_fields
from crmkit.report.metrics.open_deals import open_table
from crmkit.report.metrics.pairs import REFS
from crmkit.report.metrics.signs import signs
from crmkit.report.money import Number


class FollowUp(DealLine):
    """A deal and its next step; `next_step_at` is `None` where there is none.

    `days` are the local days until then, negative if it is past.
    """

    next_step_at: datetime | None
    days: int | None


class OwnerFollowUps(Figure):
    """How many deals of one owner wait for what; `owner` is `None` for deals without one."""

    owner_key: str | None
    owner: str | None
    without: int
    overdue: int
    due: int


class FollowUpList(Figure):
    """Deals that wait for the same; `refs` names the first 20,000 of `count`, `deals` shows the first."""

    count: int
    amount: Number
    refs: tuple[str, ...]
    deals: tuple[FollowUp, ...]


class FollowUps(Figure):
    """Next steps of open deals.

    `without`: no next step is planned and none is past, the largest deals first. `overdue`:
    the next step was to be done before `as_of`, the longest overdue first. `due`: until the
    end of the local day `until`, the next first. The deals of connections that tell no next
    step at all are in none of these; `not_readable` names them.
    """

    until: date
    without: FollowUpList
    overdue: FollowUpList
    due: FollowUpList
    by_owner: tuple[OwnerFollowUps, ...]
    not_readable: tuple[str, ...]


_WAITS = {
    "without": "next_at IS NULL",
    "overdue": "next_at < $at",
    "due": "next_at >= $at AND next_at < $end",
}


def follow_ups(facts: Facts, settings: Settings) -> FollowUps:
    """What is to be done next, deal by deal, in the next `follow_up_days` local days."""
    until = settings.as_of_date + timedelta(days=settings.follow_up_days)
    table = _table(facts, settings, until)
    return FollowUps(
        until=until,
        without=_list(facts, settings, table, "without", "abs(value) DESC NULLS LAST"),
        overdue=_list(facts, settings, table, "overdue", "next_at NULLS LAST"),
        due=_list(facts, settings, table, "due", "next_at NULLS LAST"),
        by_owner=_by_owner(facts, table),
        not_readable=silent(facts, settings),
    )


def _table(facts: Facts, settings: Settings, until: date) -> str:
    """Open deals of connections that tell next steps, with what each waits for."""
    waits = " ".join(f"WHEN {where} THEN '{name}'" for name, where in _WAITS.items())
    query = f"""
        SELECT *, CASE {waits} END AS waits_for
        FROM (
            SELECT d.ref, d.owner_key, coalesce(d.owner_name, d.owner_email, d.owner_id) AS owner,
                d.value, s.next_us AS next_at
            FROM {open_table(facts, settings)} d
            SEMI JOIN {next_readable(facts)} n ON d.connection = n.connection
            LEFT JOIN {signs(facts, settings)} s ON d.logical = s.logical
        ) planned
    """
    return facts.keep(
        f"follow-ups {settings.as_of.isoformat()}",
        query,
        at=scale.instant(settings.as_of),
        end=start_of(until + timedelta(days=1), settings.zone),
    )


def _list(facts: Facts, settings: Settings, table: str, name: str, order: str) -> FollowUpList:
    total = facts.row(f"SELECT count(*) AS n, sum(value) AS amount FROM {table} WHERE waits_for = '{name}'")
    ranked = f"FROM {table} WHERE waits_for = '{name}' ORDER BY {order}, ref NULLS LAST"
    refs = facts.rows(f"SELECT ref {ranked} LIMIT {REFS}")
    return FollowUpList(
        count=int(total["n"]),
        amount=scale.money(total["amount"]),
        refs=tuple(row["ref"] for row in refs),
        deals=tuple(
            _line(row, settings)
            for row in facts.rows(
                f"""
                SELECT {LINE_COLUMNS}, i.idle_days, f.next_at, f.line_place
                FROM (
                    SELECT ref, next_at, row_number() OVER (ORDER BY {order}, ref NULLS LAST) AS line_place
                    FROM {table} WHERE waits_for = '{name}'
                ) f
                JOIN {open_table(facts, settings)} d ON f.ref = d.ref
                LEFT JOIN {idle(facts, settings)} i ON f.ref = i.ref
                WHERE f.line_place <= $top ORDER BY f.line_place NULLS LAST
                """,
                top=settings.top,
            )
        ),
    )


def _line(row: dict[str, Any], settings: Settings) -> FollowUp:
    at = scale.moment(row["next_at"])
    days = None if at is None else (at.astimezone(settings.zone).date() - settings.as_of_date).days
    return FollowUp(**line_fields(row, settings), next_step_at=at, days=days)


def _by_owner(facts: Facts, table: str) -> tuple[OwnerFollowUps, ...]:
    counts = ", ".join(f"count(*) FILTER (WHERE waits_for = '{name}') AS {name}_n" for name in _WAITS)
    rows = facts.rows(
        f"""
        SELECT owner_key, min(owner) AS owner, {counts}
        FROM {table} WHERE waits_for IS NOT NULL GROUP BY owner_key
        """
    )
    found = [
        OwnerFollowUps(
            owner_key=row["owner_key"],
            owner=row["owner"],
            without=int(row["without_n"]),
            overdue=int(row["overdue_n"]),
            due=int(row["due_n"]),
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda one: (one.owner_key is None, one.owner or "", one.owner_key or "")))
