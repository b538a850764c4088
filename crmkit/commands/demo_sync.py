"""The second half of the demo: two CRMs are kept in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from crmkit.commands.planned import show_plan
from crmkit.commands.ran import summary
from crmkit.commands.run import Run
from crmkit.commands.words import many, records
from crmkit.model import Kind
from crmkit.sandbox.server import Sandbox
from crmkit.session import Session, pull
from crmkit.sync.hub import Status
from crmkit.sync.plan import PlanFile
from crmkit.sync.state import State
from crmkit.syncing import open_sync
from crmkit.terminal import Terminal

SYNC = "main"
INDEX_LAG_SECONDS = 20
_SHOWN = 4
Step = Callable[[Terminal, int, str], None]


def keep_in_step(run: Run, session: Session, box: Sandbox, step: Step) -> None:
    """Plan, write, plan again, and let two users contradict each other.

    Args:
        run: The command.
        session: The demo's workspace.
        box: The running sandbox.
        step: Announces a step.
    """
    terminal = run.terminal
    members = session.config.settings.syncs[SYNC].members
    pair = " and ".join(members)
    with session.state() as state:
        step(terminal, 6, f"Planning to keep {pair} in step; nothing is written yet")
        file = _plan(session, state)
        _show(terminal, file)
        terminal.say("   A first sync always stops at this guard, until somebody confirms the numbers.")

        step(terminal, 7, "Carrying out the plan")
        confirmed = {guard.name: guard.count for guard in sorted(file.guards, key=lambda one: one.count)}
        with open_sync(session, state, SYNC, watch=None, read_only=False) as opened:
            result = opened.run.apply(file, confirmed)
        terminal.say(f"   {summary(result)}")
        for tally in result.tallies.values():
            if tally.error is not None:
                raise tally.error

        step(terminal, 8, "Planning again: there is nothing left to write")
        _pull_settled(session, state, box, terminal)
        terminal.say(f"   {len(_plan(session, state).writes)} writes planned")

        step(terminal, 9, "Two users now give one deal two different amounts")
        name = _contradict(session, state, box)
        if name is None:
            terminal.say("   (no deal is in both CRMs in this small world)")
            return
        _pull_settled(session, state, box, terminal)
        again = _plan(session, state)
        for held in again.held:
            if held.kind == "conflict" and held.label == name:
                terminal.say(f"   Held, not overwritten: {held.label}: {held.reason}", "yellow")
        terminal.say(f"   Decide with: crmkit conflicts list {SYNC}, then crmkit conflicts resolve {SYNC} …")


def _plan(session: Session, state: State) -> PlanFile:
    with open_sync(session, state, SYNC, watch=None, read_only=True) as opened:
        return opened.run.plan()[1]


def _show(terminal: Terminal, file: PlanFile) -> None:
    kinds = Counter((write.act, write.kind, write.connection) for write in file.writes)
    for (act, kind, connection), count in sorted(kinds.items()):
        terminal.say(f"   {records(count, kind)} to {act} in {connection}")
    waiting = Counter(held.kind for held in file.held)
    for kind, count in sorted(waiting.items()):
        terminal.say(f"   {many(count, kind)}, waiting", "yellow")
    if not terminal.quiet and not terminal.as_json:
        updates = [write for write in file.writes if write.act == "update"][:_SHOWN]
        terminal.say("   For example:")
        show_plan(terminal, file.model_copy(update={"writes": updates, "held": [], "costs": []}), limit=None)


def _pull_settled(session: Session, state: State, box: Sandbox, terminal: Terminal) -> None:
    """Let the CRMs' search indexes catch up, then refresh the local copy."""
    box.clock.advance(INDEX_LAG_SECONDS)
    members = session.config.settings.syncs[SYNC].members
    for result in pull(session, state, members, watch=terminal.watch_pulls):
        if result.error is not None:
            raise result.error


def _contradict(session: Session, state: State, box: Sandbox) -> str | None:
    """Edit one deal in both CRMs, as users would; its name."""
    members = session.config.settings.syncs[SYNC].members
    with open_sync(session, state, SYNC, watch=None, read_only=True) as opened, state.read() as db:
        by_entity: dict[str, list[str]] = {}
        links: dict[tuple[str, str], str] = {}
        for connection, native, entity, status in opened.group.hub.addresses(db, Kind.DEAL):
            if status is Status.LIVE:
                by_entity.setdefault(entity, []).append(connection)
                links[entity, connection] = native
        held = {one.entity for one in opened.group.hub.conflicts(db)}
    for entity in sorted(by_entity):
        if sorted(by_entity[entity]) != sorted(members) or entity in held:
            continue
        rows = [box[name].world.deals.get(links[entity, name]) for name in members]
        if any(row is None or row.amount is None or row.currency != "USD" for row in rows):
            continue
        for at, name in enumerate(members, start=1):
            box[name].world.edit_deal(links[entity, name], amount=Decimal(1000 * at))
        return str(rows[0].name)  # type: ignore[union-attr]
    return None
