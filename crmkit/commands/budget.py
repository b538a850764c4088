"""What a sync or migration will cost, before it runs: `budget`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from crmkit.commands.run import Run
from crmkit.commands.sync import tell_unread
from crmkit.errors import UsageError
from crmkit.migrating import costs_of, open_migration, settings_of
from crmkit.sync.estimate import Cost
from crmkit.syncing import named, open_sync


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="SYNC | SOURCE TARGET")
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.pass_obj
def budget(run: Run, what: Sequence[str], no_pull: bool) -> None:
    """Say what a sync or a migration will cost each CRM, before it runs. Changes nothing.

    Requests and minutes at each CRM's real limits, the reads that come with the writes
    included, and the share of the day's quota. Name a sync, or the source and target of a
    migration. Pulls first.
    """
    session = run.open()
    watch = None if no_pull else run.terminal.watch_pulls
    if len(what) == 1:
        named(session, what[0])
        with (
            session.state() as state,
            open_sync(session, state, what[0], watch=watch, read_only=True) as opened,
        ):
            tell_unread(run, opened.pulls)
            found, _ = opened.run.plan()
            _show(run, costs_of(session, state, opened, found))
        return
    if len(what) != 2:
        raise UsageError("name a sync, or the source and target of a migration")
    source, target = what
    settings_of(session, source, target)
    with (
        session.state() as state,
        open_migration(session, state, source, target, watch=watch, read_only=True) as moving,
    ):
        tell_unread(run, moving.pulls)
        planned = moving.as_sync(moving.as_planned())
        found, _ = planned.run.plan()
        _show(run, costs_of(session, state, planned, found))


def _show(run: Run, costs: Sequence[Cost]) -> None:
    if run.terminal.as_json:
        run.terminal.json([cost_json(one) for one in costs])
        return
    run.terminal.table(COST_COLUMNS, [cost_row(one) for one in costs], right=(1, 2, 3, 4, 5), result=True)


COST_COLUMNS = ("CRM", "writes", "requests", "of them reads", "minutes", "of the day's quota")


def cost_row(one: Cost) -> list[object]:
    """A cost as a row of a table."""
    return [
        one.connection, f"{one.creates + one.updates + one.deletes:,}", f"{one.requests:,}",
        f"{one.reads:,}", f"{one.minutes:,.1f}", "" if one.share is None else f"{one.share:.1%}",
    ]  # fmt: skip


def cost_json(one: Cost) -> dict[str, Any]:
    """A cost as JSON."""
    return {
        "connection": one.connection,
        "creates": one.creates,
        "updates": one.updates,
        "deletes": one.deletes,
        "requests": one.requests,
        "reads": one.reads,
        "minutes": round(one.minutes, 2),
        "units": one.units,
        "quota": one.quota,
        "parts": {
            part.value: {"requests": budget.requests, "minutes": round(budget.seconds / 60, 2)}
            for part, budget in one.parts.items()
        },
    }
