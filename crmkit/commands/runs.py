"""The command `runs`: what was run, when, how it ended, and what it did in each CRM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
import sqlalchemy as sa

from crmkit.commands.run import Run
from crmkit.errors import UsageError
from crmkit.report.render.visible import shortened
from crmkit.sync import run_usage, schema, tables
from crmkit.sync.hub import Intent
from crmkit.sync.run_usage import RunUsage
from crmkit.sync.state import State

_SHOWN = 20
_ERROR_LENGTH = 300
_COLUMNS = (
    "run", "command", "of", "started (UTC)", "took", "outcome", "records", "writes", "requests", "waited",
    "error",
)  # fmt: skip
# What is summed over the CRMs in a list; the rest is shown for each CRM.
_SUMMED = ("read", "created", "updated", "deleted", "held", "refused", "unknown", "retries")
_OF_A_PULL = ("read", "changed", "gone", "unreadable")
_OF_A_SYNC = (
    "created", "updated", "deleted", "adopted", "stale", "held", "refused", "unknown", "unsent", "blocked",
)  # fmt: skip


@click.command()
@click.argument("what", required=False, metavar="[SYNC|NAME|RUN]")
@click.option("--last", type=click.IntRange(1), default=_SHOWN, show_default=True, help="How many to list.")
@click.pass_obj
def runs(run: Run, what: str | None, last: int) -> None:
    """List pulls and runs of syncs, the last one first; of one sync or connection if named.

    With the number of a run: what it read, wrote, left waiting and used in each CRM. Works
    on the local state; changes nothing. `crmkit undo RUN --sync SYNC` takes a run of a sync
    back.
    """
    session = run.open()
    known = [*session.config.settings.syncs, *session.config.settings.connections]
    number = int(what) if what is not None and what not in known and _is_number(what) else None
    if what is not None and number is None and what not in known:
        session.config.chosen([what])  # says which connection was meant
    with session.state() as state:
        found = _runs(state, what if number is None else None, last, number)
    for one in found:
        one["error"] = run.redact(one["error"]) if one["error"] else None
    if number is not None:
        if not found:
            raise UsageError(f"there is no run {number}", hint="`crmkit runs` lists them.")
        _show_one(run, found[0])
    elif run.terminal.as_json:
        run.terminal.json([_told(one) for one in found])
    elif found:
        run.terminal.table(
            _COLUMNS,
            [
                [
                    one["run"], one["command"], one["of"], f"{one['started_at']:%Y-%m-%d %H:%M:%S}",
                    _took(one), one["outcome"], _number(one["records"]), _number(one["writes"]),
                    _number(one["requests"]), _seconds(one["waited_seconds"]),
                    shortened(one["error"] or "", _ERROR_LENGTH),
                ]
                for one in found
            ],
            right=(0, 4, 6, 7, 8, 9),
        )  # fmt: skip
    else:
        run.terminal.say("Nothing was run yet.")


def _show_one(run: Run, one: dict[str, Any]) -> None:
    usages: Sequence[RunUsage] = one["crms"]
    if run.terminal.as_json:
        run.terminal.json(_told(one))
        return
    tell = run.terminal.tell
    started = f"{one['started_at']:%Y-%m-%d %H:%M:%S} UTC"
    took = f", took {_took(one)}" if one["ended_at"] is not None else ""
    tell(
        f"Run {one['run']}: {one['command']} {one['of']}, started {started}{took}: {one['outcome']}",
        result=True,
    )
    if one["error"]:
        tell(f"  {one['error']}", result=True)
    if not usages:
        tell("An older crmkit kept nothing more about this run, or it has not ended.", result=True)
        return
    counts = _OF_A_PULL if one["command"] == "pull" else _OF_A_SYNC
    run.terminal.table(
        ("CRM", *counts, "requests", "retries", "waited"),
        [
            [
                usage.connection or "several", *(_number(getattr(usage, name)) for name in counts),
                _number(usage.requests), _number(usage.retries), _seconds(usage.waited_seconds),
            ]
            for usage in usages
        ],
        right=range(1, len(counts) + 4),
    )  # fmt: skip


def _runs(state: State, what: str | None, last: int, number: int | None) -> list[dict[str, Any]]:
    columns = schema.runs.c
    query = sa.select(schema.runs).order_by(columns.number.desc()).limit(last)
    if what is not None:
        query = query.where(columns.connection == what)
    if number is not None:
        query = query.where(columns.number == number)
    journal = tables.journal.c
    with state.read() as db:
        rows = db.execute(query).all()
        numbers = [row.number for row in rows]
        query = (
            sa.select(journal.run, sa.func.count())
            .where(journal.run.in_(numbers), journal.state == Intent.ACKED.value)
            .group_by(journal.run)
        )
        written: dict[int, int] = {row[0]: row[1] for row in db.execute(query)}
        usages = run_usage.of_runs(db, numbers)
    return [_described(row, written.get(row.number, 0), usages.get(row.number, [])) for row in rows]


def _described(row: sa.Row[Any], written: int, usages: list[RunUsage]) -> dict[str, Any]:
    """A run as the JSON promises it; what does not apply to its command is `None`."""
    pulls = row.command == "pull"
    return {
        "run": row.number,
        "command": row.command,
        "of": row.connection,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        # A run that never ended is under way, or its process is gone.
        "outcome": row.outcome or "not ended",
        "records": row.records if pulls else None,
        "writes": None if pulls else written,
        "requests": row.requests,
        "waited_seconds": row.waited_seconds,
        "error": row.error,
        **{name: sum(getattr(one, name) for one in usages) for name in _SUMMED},
        "crms": usages,
    }


def _told(one: dict[str, Any]) -> dict[str, Any]:
    """A run as JSON: what waits between several CRMs has no connection."""
    crms = [{**asdict(usage), "connection": usage.connection or None} for usage in one["crms"]]
    return {**one, **{name: _iso(one[name]) for name in ("started_at", "ended_at")}, "crms": crms}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _took(one: dict[str, Any]) -> str:
    if one["ended_at"] is None:
        return ""
    return f"{(one['ended_at'] - one['started_at']).total_seconds():.1f} s"


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds else ""


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
