"""The command `runs`: what was run, when, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import sqlalchemy as sa

from crmkit.commands.run import Run
from crmkit.report.render.visible import shortened
from crmkit.sync import schema, tables
from crmkit.sync.hub import Intent
from crmkit.sync.state import State

_SHOWN = 20
_ERROR_LENGTH = 300
_COLUMNS = (
    "run", "command", "of", "started (UTC)", "took", "outcome", "records", "writes", "requests", "error",
)  # fmt: skip


@click.command()
@click.argument("what", required=False, metavar="[SYNC|NAME]")
@click.option("--last", type=click.IntRange(1), default=_SHOWN, show_default=True, help="How many to list.")
@click.pass_obj
def runs(run: Run, what: str | None, last: int) -> None:
    """List pulls and runs of syncs, the last one first; of one sync or connection if named.

    Works on the local state; changes nothing. `crmkit undo RUN --sync SYNC` takes a run of
    a sync back.
    """
    session = run.open()
    known = [*session.config.settings.syncs, *session.config.settings.connections]
    if what is not None and what not in known:
        session.config.chosen([what])  # says which connection was meant
    with session.state() as state:
        found = _runs(state, what, last)
    for one in found:
        one["error"] = run.redact(one["error"]) if one["error"] else None
    if run.terminal.as_json:
        run.terminal.json(
            [{**one, **{name: _iso(one[name]) for name in ("started_at", "ended_at")}} for one in found]
        )
    elif found:
        run.terminal.table(
            _COLUMNS,
            [
                [
                    one["run"], one["command"], one["of"], f"{one['started_at']:%Y-%m-%d %H:%M:%S}",
                    _took(one), one["outcome"], _number(one["records"]), _number(one["writes"]),
                    _number(one["requests"]), shortened(one["error"] or "", _ERROR_LENGTH),
                ]
                for one in found
            ],
            right=(0, 4, 6, 7, 8),
        )  # fmt: skip
    else:
        run.terminal.say("Nothing was run yet.")


def _runs(state: State, what: str | None, last: int) -> list[dict[str, Any]]:
    columns = schema.runs.c
    query = sa.select(schema.runs).order_by(columns.number.desc()).limit(last)
    if what is not None:
        query = query.where(columns.connection == what)
    journal = tables.journal.c
    with state.read() as db:
        rows = db.execute(query).all()
        query = (
            sa.select(journal.run, sa.func.count())
            .where(journal.run.in_([row.number for row in rows]), journal.state == Intent.ACKED.value)
            .group_by(journal.run)
        )
        written: dict[int, int] = {row[0]: row[1] for row in db.execute(query)}
    return [_described(row, written.get(row.number, 0)) for row in rows]


def _described(row: sa.Row[Any], written: int) -> dict[str, Any]:
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
    }


def _took(one: dict[str, Any]) -> str:
    if one["ended_at"] is None:
        return ""
    return f"{(one['ended_at'] - one['started_at']).total_seconds():.1f} s"


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
