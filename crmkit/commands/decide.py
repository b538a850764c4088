"""Commands for what waits for a person after a sync: `conflicts`, `refused`, `undo`, `why`."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

import click

from crmkit.commands.ran import result_json, show_result
from crmkit.commands.run import Run, record
from crmkit.commands.words import plural
from crmkit.config import suggestion
from crmkit.connectors.writing import Act
from crmkit.errors import UsageError
from crmkit.mapping.custom import Plain
from crmkit.migrating import open_group
from crmkit.report.render.visible import shortened, visible
from crmkit.sync.group import Group
from crmkit.sync.hub import HeldConflict
from crmkit.sync.shown import named_in, names, shown
from crmkit.sync.state import State
from crmkit.sync.undo import Undo, plan_undo
from crmkit.sync.why import why as explain
from crmkit.syncing import last_that_wrote, named, open_sync, watched

_LENGTH = 200


@click.group()
def conflicts() -> None:
    """Values that contradict each other and wait for a person."""


@conflicts.command("list")
@click.argument("sync")
@click.pass_obj
def list_conflicts(run: Run, sync: str) -> None:
    """List held conflicts with the value of each CRM. Exits 4 if there are any."""
    session = run.open()
    with session.state() as state, open_group(session, state, sync) as group:
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
    with session.state() as state, open_group(session, state, sync) as group:
        held = _find(group, state, deal, field)
        members = [member for member, _ in held.candidates]
        if take not in members:
            raise UsageError(
                f"{take!r} has no value in this conflict", hint=f"Choose one of: {', '.join(members)}."
            )
        with state.write() as db:
            group.hub.decide(db, held.entity, field, take)
    if run.terminal.as_json:
        run.terminal.json({"deal": held.entity, "field": field, "decided": take})
    else:
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
    with session.state() as state, open_group(session, state, sync) as group:
        with state.read() as db:
            found = sorted(group.hub.refusals(db).values(), key=lambda one: (one.connection, one.entity))
        if retry:
            with state.write() as db:
                count = group.hub.drop_refusals(db)
                group.hub.set_pending(db, add={one.entity for one in found})
            if run.terminal.as_json:
                run.terminal.json({"retried": count})
            else:
                run.terminal.say(f"The next run tries again: {plural(count, 'refused write')}.", "green")
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
@click.argument("number", metavar="[RUN]", type=click.IntRange(1), required=False)
@click.option("--sync", "sync", required=True, help="The sync whose run it was.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def undo(run: Run, number: int | None, sync: str, yes: bool) -> None:
    """Take a run of a sync back, field by field, only where nobody edited since.

    Writes to the CRMs: puts old values back and deletes what the run created. What was
    edited since stays, and is named. Without RUN: the last one that wrote; `crmkit runs`
    lists them. Asks before it writes unless --yes.
    """
    session = run.open()
    named(session, sync)
    if not yes and not run.terminal.can_ask:
        raise UsageError("nobody is there to confirm", hint="Add --yes to write without asking.")
    with session.state() as state:
        chosen = number if number is not None else last_that_wrote(state, sync)
        if chosen is None:
            raise UsageError(
                f"no run of {sync} has written anything yet", hint="`crmkit runs` lists the runs."
            )
        with open_sync(session, state, sync, watch=None, read_only=False) as opened:
            found = plan_undo(opened.group, state, chosen)
            for text in found.impossible:
                run.terminal.say(f"Stays: {visible(text)}", "yellow")
            if not found.ops:
                _nothing_to_undo(run, sync, chosen, found.impossible)
            if not yes:
                _ask_undo(found, chosen)
            totals = Counter(op.connection for op in found.ops)
            result = watched(opened, state, lambda: opened.run.undo(found), run.terminal.watch_writes, totals)
    code = result.exit_code or (4 if found.impossible else 0)
    if run.terminal.as_json:
        run.terminal.json({**result_json(result, run, code), "undone": chosen, "stays": found.impossible})
    else:
        show_result(run, result)
    raise SystemExit(code)


def _nothing_to_undo(run: Run, sync: str, number: int, stays: list[str]) -> NoReturn:
    code = 4 if stays else 0
    if run.terminal.as_json:
        run.terminal.json({"sync": sync, "exit_code": code, "writes": 0, "undone": number, "stays": stays})
    else:
        run.terminal.say(f"Nothing of run {number} can be taken back.")
    raise SystemExit(code)


def _ask_undo(found: Undo, number: int) -> None:
    acts = Counter(op.act for op in found.ops)
    words = ", ".join(
        phrase
        for phrase in (
            f"{plural(acts[Act.UPDATE], 'record')} put back" if acts[Act.UPDATE] else "",
            f"{plural(acts[Act.DELETE], 'record')} deleted" if acts[Act.DELETE] else "",
        )
        if phrase
    )
    click.confirm(f"Take run {number} back ({words})?", abort=True, err=True)


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
    address = record(ref)
    session.config.chosen([address.connection])
    with session.state() as state, open_group(session, state, sync or syncs[0]) as group:
        if field is not None and field not in group.fields:
            raise UsageError(
                f"{field!r} is no field of {group.name}",
                hint=suggestion(field, group.fields),
            )
        steps = explain(group, state, address, field)
        with state.read() as db:
            known = {**group.words, **names(group, db, named_in((step.field, step.new) for step in steps))}

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
    if not steps:
        run.terminal.say("Nothing is known of it: no value was seen to change, decided or written.")
        return
    run.terminal.table(
        ("when (UTC)", "what", "CRM", "field", "old", "new", "why", "run"),
        [
            [
                f"{step.at:%Y-%m-%d %H:%M:%S}", step.what, step.connection, step.field,
                _cut(text(step.field, step.old, step.what)), _cut(text(step.field, step.new, step.what)),
                step.reason,
                step.run or "",
            ]
            for step in steps
        ],
    )  # fmt: skip


def _cut(text: str) -> str:
    return shortened(text, _LENGTH)


def _short(value: Plain) -> str:
    if value is None:
        return "(empty)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _conflicts(group: Group, state: State) -> tuple[list[list[object]], list[dict[str, Any]]]:
    with state.read() as db:
        held = group.hub.conflicts(db)
        spoken = named_in((one.field, value) for one in held for _, value in one.candidates)
        known = {**group.words, **names(group, db, spoken | {one.entity for one in held})}
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
                (one.entity, _cut(label)), one.field,
                tuple(f"{member}: {_cut(text)}" for member, text in values.items()),
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
            ref = record(deal)
            link = group.hub.links_to(db, ref.connection, ref.kind, [ref.id]).get(ref.id)
            entity = link.entity if link is not None else deal
        for one in group.hub.conflicts(db, [entity]):
            if one.field == field:
                return one
    raise UsageError(
        f"no conflict of {field} is held for {deal}", hint=f"`crmkit conflicts list {group.name}` lists them."
    )
