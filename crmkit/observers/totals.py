"""The figures behind the metrics: sums over the store's runs, and what waits in it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from crmkit.sync import schema, tables
from crmkit.sync.hub import Intent
from crmkit.sync.run_usage import OUTCOMES, run_usage
from crmkit.sync.told import alerts

Samples = dict[tuple[str, ...], float | int]
# How a run ends in `runs` that somebody may call a success: all that could be done was done.
_SUCCESS = ("done", "held", "exit 4")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric; one that counts only grows, and gets the ending `_total`."""

    name: str
    labels: tuple[str, ...]
    help: str
    counts: bool = False


BUILD = Family("crmkit_build_info", ("version",), "The version of crmkit.")
_OF = ("command", "of")
FAMILIES = (
    Family("crmkit_runs", (*_OF, "outcome"), "Runs that have ended; `of` is a connection or a sync.", True),
    Family("crmkit_run_last_end_timestamp_seconds", _OF, "When the last run ended."),
    Family("crmkit_run_last_success_timestamp_seconds", _OF, "When the last run ended that did all."),
    Family("crmkit_run_last_seconds", _OF, "How long the last run took."),
    Family("crmkit_requests", ("connection",), "Requests sent to a CRM, repeated ones too.", True),
    Family("crmkit_retries", ("connection",), "Requests that repeated an earlier one.", True),
    Family("crmkit_waited_seconds", ("connection",), "Waiting for limits of a CRM, all threads.", True),
    Family("crmkit_records_read", ("connection",), "Records received by pulls.", True),
    Family("crmkit_records_changed", ("connection",), "Records that were new or different.", True),
    Family("crmkit_writes", ("sync", "connection", "outcome"), "Writes by what became of them.", True),
    Family("crmkit_last_run_held", ("sync",), "What the last run of a sync left waiting."),
    Family("crmkit_conflicts", ("sync",), "Conflicts that wait for a person."),
    Family("crmkit_conflict_oldest_timestamp_seconds", ("sync",), "Since when the oldest one waits."),
    Family("crmkit_refused_writes", ("sync",), "Writes that a CRM refuses."),
    Family("crmkit_unknown_writes", ("sync",), "Writes whose answer never came, not looked up yet."),
    Family("crmkit_unreadable_records", ("connection",), "Records that could not be read."),
    Family("crmkit_alert", ("sync", "alert"), "1 while an alert is standing."),
)  # fmt: skip


def read(db: sa.Connection) -> Mapping[str, Samples]:
    """The samples of every family, by its name."""
    return {**{family.name: {} for family in FAMILIES}, **_runs(db), **_usage(db), **_waiting(db)}


def _runs(db: sa.Connection) -> Mapping[str, Samples]:
    runs = schema.runs.c
    query = sa.select(runs.command, runs.connection, runs.outcome, sa.func.count(), sa.func.max(runs.number))
    query = query.where(runs.outcome.is_not(None))
    counts: Samples = {}
    last: dict[tuple[str, str], int] = {}
    success: dict[tuple[str, str], int] = {}
    for command, of, outcome, count, number in db.execute(
        query.group_by(runs.command, runs.connection, runs.outcome)
    ):
        counts[command, of, outcome] = count
        last[command, of] = max(number, last.get((command, of), 0))
        if outcome in _SUCCESS:
            success[command, of] = max(number, success.get((command, of), 0))
    query = sa.select(runs.number, runs.started_at, runs.ended_at).where(
        runs.number.in_({*last.values(), *success.values()})
    )
    times: dict[int, tuple[datetime, datetime]] = {
        row.number: (row.started_at, row.ended_at) for row in db.execute(query)
    }
    return {
        "crmkit_runs": counts,
        "crmkit_run_last_end_timestamp_seconds": {of: times[at][1].timestamp() for of, at in last.items()},
        "crmkit_run_last_success_timestamp_seconds": {
            of: times[at][1].timestamp() for of, at in success.items()
        },
        "crmkit_run_last_seconds": {
            of: (times[at][1] - times[at][0]).total_seconds() for of, at in last.items()
        },
    }


def _usage(db: sa.Connection) -> Mapping[str, Samples]:
    usage, runs = run_usage.c, schema.runs.c
    names = {
        "crmkit_requests": "requests", "crmkit_retries": "retries", "crmkit_waited_seconds": "waited_seconds",
        "crmkit_records_read": "read", "crmkit_records_changed": "changed",
    }  # fmt: skip
    found: dict[str, Samples] = {name: {} for name in (*names, "crmkit_writes", "crmkit_last_run_held")}
    sums = [sa.func.sum(usage[column]).label(column) for column in names.values()]
    query = sa.select(usage.connection, *sums).where(usage.connection != "").group_by(usage.connection)
    for row in db.execute(query):
        for family, column in names.items():
            found[family][(row.connection,)] = row._mapping[column]
    written = [sa.func.sum(usage[name]).label(name) for name in OUTCOMES]
    joined = run_usage.join(schema.runs, usage.run == runs.number)
    query = (
        sa.select(runs.connection.label("sync"), usage.connection, *written)
        .select_from(joined)
        .where(runs.command != "pull", usage.connection != "")
        .group_by(runs.connection, usage.connection)
    )
    for row in db.execute(query):
        for name in OUTCOMES:
            if name in ("created", "updated", "deleted") or row._mapping[name]:
                found["crmkit_writes"][row.sync, row.connection, name] = row._mapping[name]
    latest = sa.select(sa.func.max(runs.number)).where(runs.command.in_(("sync", "apply")))
    query = (
        sa.select(runs.connection, sa.func.sum(usage.held))
        .select_from(joined)
        .where(usage.run.in_(latest.where(runs.outcome != "failed").group_by(runs.connection)))
        .group_by(runs.connection)
    )
    found["crmkit_last_run_held"] = {(row[0],): row[1] for row in db.execute(query)}
    return found


def _waiting(db: sa.Connection) -> Mapping[str, Samples]:
    conflicts, journal = tables.conflicts.c, tables.journal.c
    open_writes = (Intent.SENT.value, Intent.UNKNOWN.value)
    oldest: Samples = {}
    counts: Samples = {}
    query = sa.select(conflicts.sync, sa.func.count(), sa.func.min(conflicts.since))
    for sync, count, since in db.execute(query.where(conflicts.winner.is_(None)).group_by(conflicts.sync)):
        counts[(sync,)], oldest[(sync,)] = count, since.timestamp()
    standing = sa.select(alerts.c.sync, alerts.c.topic).where(alerts.c.told_at.is_not(None))
    return {
        "crmkit_conflicts": counts,
        "crmkit_conflict_oldest_timestamp_seconds": oldest,
        "crmkit_refused_writes": _count(db, tables.refusals.c.sync),
        "crmkit_unknown_writes": _count(db, journal.sync, journal.state.in_(open_writes)),
        "crmkit_unreadable_records": _count(db, schema.quarantine.c.connection),
        "crmkit_alert": {(row.sync, row.topic): 1 for row in db.execute(standing)},
    }


def _count(db: sa.Connection, by: sa.ColumnElement[str], *where: sa.ColumnElement[bool]) -> Samples:
    query = sa.select(by, sa.func.count()).where(*where).group_by(by)
    return {(row[0],): row[1] for row in db.execute(query)}
