"""The deals that can have changed since an instant: the few that have to be put together as they were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crmkit.report.facts.deals import OPEN, deals_at, deals_name, deals_query
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.facts.snapshot import changed_fields, records_query
from crmkit.report.facts.zone import ahead
from crmkit.report.inputs import Settings

_GROUP = "coalesce(d.logical, concat(d.connection, ':deal:', d.id))"
"""SQL for the logical deal that a record `d` of `deals` belongs to."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Tables with the records of some deals and what changed of them since an instant.

    `steps` are those of the records that may have to tell by them when they were closed.
    """

    name: str
    deals: str
    changes: str
    steps: str


def touched(facts: Facts, settings: Settings, start: datetime) -> Touched:
    """The records that were open since an instant or changed since, with all members of their linked deals.

    Whatever was closed before and is as it was then is in no figure of what moved: most
    of all deals. At every instant from the given one until the report, they are as they are now.
    """
    name = f"touched since {start.isoformat()}"
    deals = facts.keep(
        name,
        f"""
        WITH moved AS (
            SELECT connection, id FROM changes WHERE at_us >= $t0
            UNION SELECT connection, id FROM stage_steps WHERE at_us >= $t0
        ),
        groups AS (
            SELECT {_GROUP} AS logical FROM deals d
            WHERE d.status = '{OPEN}'
                OR d.first_seen_us > $t0 OR d.gone_us > $t0 OR d.closed_us >= $t0
                -- It counts as closed at noon of its close date, in whatever zone; without one it
                -- is valued by the rates of the day that is looked at.
                OR (d.closed_us IS NULL AND (d.close_day IS NULL OR d.close_day >= $day0 - 1))
            UNION
            SELECT {_GROUP} FROM deals d SEMI JOIN moved m ON d.connection = m.connection AND d.id = m.id
        )
        SELECT d.* FROM deals d SEMI JOIN groups g ON {_GROUP} = g.logical
        """,
        t0=instant(start),
        day0=day_number(start.astimezone(settings.zone).date()),
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
        f"""
        SELECT s.* FROM stage_steps s SEMI JOIN (
            SELECT connection, id FROM {deals} WHERE status <> '{OPEN}' AND closed_us IS NULL
            UNION SELECT connection, id FROM {changes} WHERE field IN ('status', 'closed_us')
        ) d ON s.connection = d.connection AND s.id = d.id
        """,
    )
    return Touched(name, deals, changes, steps)


def touched_at(facts: Facts, settings: Settings, some: Touched, at: datetime) -> str:
    """The table of these deals at an instant, maybe with others; columns as `deals_at`."""
    name = f"deals at {at.isoformat()} {some.name}"
    whole = facts.kept(deals_name(at))
    if whole is not None and facts.kept(name) is None:  # the small table is the faster one
        return whole
    # Kept by itself: names inside of a query within a query can clash.
    records = facts.keep(
        f"records at {at.isoformat()} {some.name}",
        records_query(changed_fields(facts, instant(at)), some.deals, some.changes),
        at=instant(at),
    )
    query, values = deals_query(records, settings, at, steps=some.steps)
    return facts.keep(name, query, **values)


def prepare_earlier(facts: Facts, settings: Settings, at: datetime) -> None:
    """Let `deals_at` at an earlier instant put together only the deals that can have changed since.

    Args:
        facts: The fact tables.
        settings: Those of the report.
        at: The earlier instant.
    """
    if ahead(at, settings.zone) != ahead(settings.as_of, settings.zone):
        return  # Noon of a close date is another instant then, so that all deals can differ.
    now = deals_at(facts, settings)
    some = touched(facts, settings, at)
    then = touched_at(facts, settings, some, at)
    # Not those of the earlier instant: a deal that came since is in none of its rows.
    facts.view(
        deals_name(at),
        f"""
        SELECT n.* FROM {now} n
        ANTI JOIN (SELECT {_GROUP} AS logical FROM {some.deals} d) t ON n.logical = t.logical
        UNION ALL SELECT * FROM {then}
        """,
    )
