"""The few deals of which a comparison of two instants has to know more: those that can have changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crmkit.report.facts.deals import OPEN, deals_query
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.facts.snapshot import records_query
from crmkit.report.inputs import Settings


@dataclass(frozen=True, slots=True)
class Touched:
    """Tables with the records of some deals, what changed of them since an instant, and their steps."""

    name: str
    deals: str
    changes: str
    steps: str


def touched(facts: Facts, settings: Settings, start: datetime, end: datetime) -> Touched:
    """The records that were open since an instant or changed since, with all members of their linked deals.

    Whatever was closed before and is as it was then is in no figure of what moved: most
    of all deals, so that only few have to be put together as they were.
    """
    group = "coalesce(d.logical, concat(d.connection, ':deal:', d.id))"
    name = f"touched {start.isoformat()} {end.isoformat()}"
    deals = facts.keep(
        name,
        f"""
        WITH moved AS (
            SELECT connection, id FROM changes WHERE at_us >= $t0
            UNION SELECT connection, id FROM stage_steps WHERE at_us >= $t0
        ),
        groups AS (
            SELECT {group} AS logical FROM deals d
            WHERE (d.status = '{OPEN}' AND (d.gone_us IS NULL OR d.gone_us > $t0))
                OR d.first_seen_us > $t0 OR d.gone_us > $t0 OR d.closed_us >= $t0
                -- It counts as closed at noon of its close date, in whatever zone.
                OR (d.closed_us IS NULL AND d.close_day BETWEEN $day0 - 1 AND $day1 + 1)
            UNION
            SELECT {group} FROM deals d SEMI JOIN moved m ON d.connection = m.connection AND d.id = m.id
        )
        SELECT d.* FROM deals d SEMI JOIN groups g ON {group} = g.logical
        """,
        t0=instant(start),
        day0=day_number(start.astimezone(settings.zone).date()),
        day1=day_number(end.astimezone(settings.zone).date()),
    )
    changes = facts.keep(
        f"changes {name}",
        f"""
        SELECT c.* FROM changes c SEMI JOIN {deals} d ON c.connection = d.connection AND c.id = d.id
        WHERE c.at_us >= $t0
        """,
        t0=instant(start),
    )
    steps = facts.keep(
        f"steps {name}",
        f"SELECT s.* FROM stage_steps s SEMI JOIN {deals} d ON s.connection = d.connection AND s.id = d.id",
    )
    return Touched(name, deals, changes, steps)


def touched_at(facts: Facts, settings: Settings, some: Touched, at: datetime) -> str:
    """The table of these deals at an instant; columns as `deals_at`, without companies."""
    # Kept by itself: names inside of a query within a query can clash.
    records = facts.keep(
        f"records at {at.isoformat()} {some.name}",
        records_query(some.deals, some.changes),
        at=instant(at),
    )
    query, values = deals_query(
        records,
        settings,
        at,
        steps=some.steps,
        companies="(SELECT * FROM companies WHERE 1 = 0)",
    )
    return facts.keep(f"deals at {at.isoformat()} {some.name}", query, **values)
