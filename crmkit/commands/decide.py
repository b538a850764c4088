"""Commands for what waits for a person after a sync: `conflicts`, `refused`, `undo`, `why`."""

from __future__ import annotations

from typing import Any

import click

from crmkit.commands.run import Run
from crmkit.commands.sync import show_result
from crmkit.errors import UsageError
from crmkit.mapping.fields import Plain
from crmkit.model import Ref
from crmkit.report.render.visible import visible
from crmkit.sync.group import Group
from crmkit.sync.hub import HeldConflict
from crmkit.sync.run import latest_run
from crmkit.sync.shown import named_in, names, shown
from crmkit.sync.state import State
from crmkit.sync.undo import plan_undo
from crmkit.sync.why import why as explain
from crmkit.syncing import open_local, open_sync


@click.group()
def conflicts() -> None:
    """Values that contradict each other and wait for a person."""


@conflicts.command("list")
@click.argument("sync")
@click.pass_obj
def list_conflicts(run: Run, sync: str) -> None:
    """List held conflicts with the value of each CRM. Exits 4 if there are any."""
    session = run.open()
    with session.state() as state, open_local(session, state, sync) as group:
        rows, records = _conflicts(group, state)
    if run.terminal.as_json:
        run.terminal.json(records)
    elif rows:
        run.terminal.table(("deal", "field", "values", "since", "why", "decided"), rows)
        run.terminal.say(f"Decide with `crmkit conflicts resolve {sync} DEAL FIELD --take CONNECTION`.")
    else:
        run.terminal.say("No conflict waits.")
    raise SystemExit(4 if rows else 0)


@conflicts.command("resolve")
@click.argument("sync")
@click.argument("deal")
@click.argument("field")
@click.option("--take", required=True, metavar="CONNECTION", help="The connection whose value is right.")
@click.pass_obj
def resolve(run: Run, sync: str, deal: str, field: str, take: str) -> None:
    """Say which CRM's value of a held field is right. The next plan shows what that writes.

    DEAL is the deal as `conflicts list` prints it, or connection:deal:id. Changes nothing
    in a CRM by itself.
    """
    session = run.open()
    with session.state() as state, open_local(session, state, sync) as group:
        held = _find(group, state, deal, field)
        members = [member for member, _ in held.candidates]
        if take not in members:
            raise UsageError(
                f"{take} has no value in this conflict", hint=f"Choose one of: {', '.join(members)}."
            )
        with state.write() as db:
            group.hub.decide(db, held.entity, field, take)
    run.terminal.say(f"Noted: {field} of {deal} is what {take} says. Next: crmkit plan {sync}", "green")


@click.command()
@click.argument("sync")
@click.option("--retry", is_flag=True, help="Forget them, so that the next run tries again.")
@click.pass_obj
def refused(run: Run, sync: str, retry: bool) -> None:
    """List writes that a CRM refuses, with its reason. Exits 4 if there are any.

    A refused write is tried twice, then only when its values, the settings or the stage
    maps change, or after --retry.
    """
    session = run.open()
    with session.state() as state, open_local(session, state, sync) as group:
        with state.read() as db:
            found = sorted(group.hub.refusals(db).values(), key=lambda one: (one.connection, one.entity))
        if retry:
            with state.write() as db:
                count = group.hub.drop_refusals(db)
                group.hub.set_pending(db, add={one.entity for one in found})
            run.terminal.say(f"{count:,} writes will be tried again by the next run.", "green")
            raise SystemExit(0)
    if run.terminal.as_json:
        run.terminal.json(
            [
                {
                    "connection": one.connection, "record": one.entity, "act": one.act, "field": one.field,
                    "reason": run.redact(one.reason), "tries": one.tries, "since": one.since.isoformat(),
                }
                for one in found
            ]
        )  # fmt: skip
    elif found:
        run.terminal.table(
            ("CRM", "record", "act", "field", "reason", "tries", "since"),
            [
                [one.connection, one.entity, one.act, one.field or "", run.redact(one.reason), one.tries,
                 f"{one.since:%Y-%m-%d %H:%M}"]
                for one in found
            ],
            right=(5,),
        )  # fmt: skip
    else:
        run.terminal.say("No write is refused.")
    raise SystemExit(4 if found else 0)


@click.command()
@click.argument("number", metavar="RUN", type=int, required=False)
@click.option("--sync", "sync", required=True, help="The sync whose run it was.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def undo(run: Run, number: int | None, sync: str, yes: bool) -> None:
    """Take a run of a sync back, field by field, only where nobody edited since.

    Writes to the CRMs: puts old values back and deletes what the run created. What was
    edited since stays, and is named. Without RUN: the last one.
    """
    session = run.open()
    with session.state() as state, open_sync(session, state, sync, watch=None, read_only=False) as opened:
        chosen = number if number is not None else latest_run(state, sync)
        if chosen is None:
            raise UsageError(f"{sync} has not run yet")
        found = plan_undo(opened.group, state, chosen)
        for text in found.impossible:
            run.terminal.say(visible(f"Stays: {text}"), "yellow")
        if not found.ops:
            run.terminal.say(f"Nothing of run {chosen} can be taken back.")
            raise SystemExit(4 if found.impossible else 0)
        if not yes:
            if not run.terminal.can_ask:
                raise UsageError("nobody is there to confirm", hint="Add --yes to write without asking.")
            click.confirm(f"Take back {len(found.ops):,} writes of run {chosen}?", abort=True, err=True)
        result = opened.run.undo(found)
    show_result(run, result)
    raise SystemExit(result.exit_code or (4 if found.impossible else 0))


@click.command()
@click.argument("ref", metavar="REF")
@click.argument("field", required=False)
@click.option("--sync", "sync", help="The sync to ask; needed if there are several.")
@click.pass_obj
def why(run: Run, ref: str, field: str | None, sync: str | None) -> None:
    """Tell where the values of a deal came from: REF is connection:deal:id."""
    session = run.open()
    syncs = list(session.config.settings.syncs)
    if sync is None and len(syncs) != 1:
        raise UsageError("name the sync with --sync", hint=f"Known: {', '.join(syncs) or 'none'}.")
    try:
        address = Ref.parse(ref)
    except ValueError:
        raise UsageError(f"{ref!r} is no record", hint="Write it as connection:deal:id.") from None
    with session.state() as state, open_local(session, state, sync or syncs[0]) as group:
        steps = explain(group, state, address, field)
        with state.read() as db:
            known = names(group, db, named_in((step.field, step.new) for step in steps))

    def text(name: str, value: Plain, what: str) -> str:
        return shown(name, value, lambda one: known.get(one, one)) if what == "decided" else _short(value)

    if run.terminal.as_json:
        run.terminal.json(
            [
                {
                    "at": step.at.isoformat(), "what": step.what, "connection": step.connection,
                    "field": step.field, "old": step.old, "new": step.new, "reason": step.reason,
                    "run": step.run,
                }
                for step in steps
            ]
        )  # fmt: skip
        return
    run.terminal.table(
        ("when (UTC)", "what", "CRM", "field", "old", "new", "why", "run"),
        [
            [
                f"{step.at:%Y-%m-%d %H:%M:%S}", step.what, step.connection, step.field,
                text(step.field, step.old, step.what), text(step.field, step.new, step.what), step.reason,
                step.run or "",
            ]
            for step in steps
        ],
    )  # fmt: skip


def _short(value: Plain) -> str:
    if value is None:
        return "(empty)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _conflicts(group: Group, state: State) -> tuple[list[list[object]], list[dict[str, Any]]]:
    with state.read() as db:
        held = group.hub.conflicts(db)
        spoken = named_in((one.field, value) for one in held for _, value in one.candidates)
        known = names(group, db, spoken | {one.entity for one in held})
    rows: list[list[object]] = []
    records: list[dict[str, Any]] = []
    for one in held:
        values = {
            member: shown(one.field, value, lambda entity: known.get(entity, entity))
            for member, value in one.candidates
        }
        label = known.get(one.entity, "")
        rows.append(
            [
                f"{one.entity}  {label}", one.field,
                "\n".join(f"{member}: {text}" for member, text in values.items()),
                f"{one.since:%Y-%m-%d %H:%M}", one.reason, one.winner or "",
            ]
        )  # fmt: skip
        records.append(
            {
                "deal": one.entity, "name": label, "field": one.field, "values": values,
                "since": one.since.isoformat(), "reason": one.reason, "frozen": one.frozen,
                "decided": one.winner,
            }
        )  # fmt: skip
    return rows, records


def _find(group: Group, state: State, deal: str, field: str) -> HeldConflict:
    with state.read() as db:
        entity = deal
        if deal.split(":", 1)[0] in group.members:
            ref = Ref.parse(deal)
            link = group.hub.links_to(db, ref.connection, ref.kind, [ref.id]).get(ref.id)
            entity = link.entity if link is not None else deal
        for one in group.hub.conflicts(db, [entity]):
            if one.field == field:
                return one
    raise UsageError(
        f"no conflict of {field} is held for {deal}", hint=f"`crmkit conflicts list {group.name}` lists them."
    )
