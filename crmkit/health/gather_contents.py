"""Asks the state store what the last pulls and runs left in it."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from crmkit.health import freshness, maps, waiting
from crmkit.health.findings import Finding
from crmkit.health.gather import guarded, writers
from crmkit.mapping import lint
from crmkit.migration.compile import name_of
from crmkit.report import load
from crmkit.session import Session
from crmkit.sync import schema, tables
from crmkit.sync.state import State


def of_contents(session: Session, state: State, connections: Sequence[str]) -> list[Finding]:
    """What the store says about connections, syncs and migrations."""
    now = session.clock.now()
    held = _held(state, now)
    syncs = _syncs(session, state, connections)
    found: list[Finding] = []
    for name in connections:
        found += guarded(name, "pull", partial(_pull, session, state, name, held, now))[0]
        found += guarded(name, "stages", partial(_stages, session, state, name))[0]
    quarantined = _by(state, schema.quarantine.c.connection, schema.quarantine.c.observed_at)
    for name in connections:
        count, oldest = quarantined.get(name, (0, None))
        found.append(waiting.check_quarantine(name, count, oldest, now))
    for sync in session.config.settings.syncs:
        if sync in syncs:
            last = _last(state, schema.runs.c.connection == sync, schema.runs.c.command != "pull")
            found.append(freshness.check_sync(sync, _alive(last, f"sync:{sync}", held), now))
    for sync, left in _left(state, syncs, held).items():
        found += waiting.check_left(sync, left, now)
    found += [waiting.check_lease(lease, now) for lease in held.values()]
    return found


def _syncs(session: Session, state: State, connections: Sequence[str]) -> dict[str, str]:
    """The syncs with a chosen member, and the migrations that wrote to one; each with what resumes it."""
    known = session.config.settings.syncs
    found = {
        sync: f"crmkit resume {sync}" for sync, one in known.items() if set(one.members) & set(connections)
    }
    with state.read() as db:
        written = set(db.execute(sa.select(tables.journal.c.sync).distinct()).scalars())
    for source in session.config.settings.connections:
        for target in connections:
            name = name_of(source, target)
            if name in written and name not in known:
                found[name] = f"crmkit migrate apply {source} {target}"
    return found


def _pull(
    session: Session, state: State, name: str, held: dict[str, waiting.HeldLease], now: datetime
) -> Finding:
    runs = schema.runs.c
    mine = (runs.command == "pull", runs.connection == name)
    good = sa.select(sa.func.max(runs.started_at)).where(*mine, runs.outcome.in_(("done", "held")))
    with state.read() as db:
        whole = db.execute(good).scalar()
    last = _alive(_last(state, *mine), f"pull:{name}", held)
    sweep = timedelta(hours=session.config.settings.sweep_hours)
    return freshness.check_pull(name, whole, last, now, wanted_within=sweep)


def _last(state: State, *where: sa.ColumnElement[bool]) -> freshness.LastRun | None:
    runs = schema.runs.c
    with state.read() as db:
        row = db.execute(
            sa.select(schema.runs).where(*where).order_by(runs.number.desc()).limit(1)
        ).one_or_none()
    if row is None:
        return None
    return freshness.LastRun(
        row.number, row.command, row.started_at, row.ended_at, row.outcome, row.error or None
    )


def _alive(
    last: freshness.LastRun | None, lease: str, held: dict[str, waiting.HeldLease]
) -> freshness.LastRun | None:
    holder = held.get(lease)
    if last is None or last.outcome is not None or holder is None or holder.gone:
        return last
    return freshness.LastRun(
        last.number, last.command, last.started_at, last.ended_at, None, last.error, under_way=True
    )


def _stages(session: Session, state: State, name: str) -> Iterator[Finding]:
    known = session.config.settings
    mapped = load.stage_map(state, name, known.connections[name], load.outline(known))
    pipelines = mapped.stage_map.pipelines
    stages = [(pipeline.ref.id, stage.id) for pipeline in pipelines for stage in pipeline.stages]
    if not stages:
        return  # nothing was pulled yet, which is told elsewhere
    found = lint.check(
        mapped.stage_map, pipelines, load.deals_by_stage(state, name), problems=mapped.problems
    )
    done = sum(key in mapped.stage_map.entries for key in stages)
    yield maps.check(name, found, stages=len(stages), mapped=done, written=bool(writers(session, name)))


def _by(
    state: State,
    key: sa.ColumnElement[str],
    since: sa.ColumnElement[datetime],
    *where: sa.ColumnElement[bool],
) -> dict[str, tuple[int, datetime | None]]:
    """How many rows each key has, and the oldest of them."""
    query = sa.select(key, sa.func.count(), sa.func.min(since)).where(*where).group_by(key)
    with state.read() as db:
        return {row[0]: (row[1], row[2]) for row in db.execute(query)}


def _left(
    state: State, syncs: Mapping[str, str], held: dict[str, waiting.HeldLease]
) -> dict[str, waiting.Left]:
    conflicts = _by(
        state, tables.conflicts.c.sync, tables.conflicts.c.since, tables.conflicts.c.winner.is_(None)
    )
    refused = _by(state, tables.refusals.c.sync, tables.refusals.c.since)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    unknown = tables.journal.c.state.in_(("sent", "unknown"))
    with state.read() as db:
        for what, table, where in (("reviews", tables.reviews, ()), ("unknown", tables.journal, (unknown,))):
            query = sa.select(table.c.sync, sa.func.count()).where(*where).group_by(table.c.sync)
            for row in db.execute(query):
                counts[what][row[0]] = row[1]
    found: dict[str, waiting.Left] = {}
    for sync, resume in syncs.items():
        count, oldest = conflicts.get(sync, (0, None))
        holder = held.get(f"sync:{sync}")
        found[sync] = waiting.Left(
            conflicts=count,
            oldest=oldest,
            refused=refused.get(sync, (0, None))[0],
            reviews=counts["reviews"].get(sync, 0),
            unknown=counts["unknown"].get(sync, 0),
            under_way=holder is not None and not holder.gone,
            resume=resume,
        )
    return found


def _held(state: State, now: datetime) -> dict[str, waiting.HeldLease]:
    """Leases that have not run out, by name."""
    with state.read() as db:
        rows = db.execute(sa.select(schema.leases).order_by(schema.leases.c.name)).all()
    here = socket.gethostname()
    found: dict[str, waiting.HeldLease] = {}
    for row in rows:
        if row.expires_at > now:
            host, _, process = row.owner.partition(":")
            gone = host == here and process.isdigit() and not _lives(int(process))
            found[row.name] = waiting.HeldLease(row.name, row.owner, row.since, gone)
    return found


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
