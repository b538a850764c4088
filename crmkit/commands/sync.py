"""Commands that keep CRMs in step: `plan`, `apply`, `sync`, `resume`."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from crmkit.commands.alerting import Ending, alerting
from crmkit.commands.planned import SHOWN, show_plan
from crmkit.commands.pull import show_quarantine
from crmkit.commands.ran import exit_code, result_json, show_result
from crmkit.commands.run import Run, worst
from crmkit.commands.words import plural
from crmkit.errors import CrmkitError, Interrupted, UsageError
from crmkit.private_file import write_private
from crmkit.report.render.visible import shortened
from crmkit.session import Session
from crmkit.sync.guard import stop
from crmkit.sync.plan import PlanFile, load_plan, waits_for_a_person
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.state import State
from crmkit.syncing import OpenSync, named, open_sync, watched
from crmkit.terminal import failure, json_text

_GUARDS = ("creates", "deletes", "settings")
_GUARDS_OF_FIELDS = ("field.", "emptied.")
_COUNT = re.compile(r"[0-9]{1,12}")


def confirmed_counts(values: Iterable[str]) -> dict[str, int]:
    """`NAME=COUNT` options.

    Raises:
        UsageError: One has another shape, or there is no such guard.
    """
    found: dict[str, int] = {}
    for value in values:
        name, sign, count = value.partition("=")
        shown = shortened(value, 40)
        if not sign or not _COUNT.fullmatch(count):
            raise UsageError(f"--confirm {shown}: write it as NAME=COUNT, for example creates=120")
        if name not in _GUARDS and not name.startswith(_GUARDS_OF_FIELDS):
            near = difflib.get_close_matches(name, _GUARDS, 1)
            raise UsageError(
                f"--confirm {shown}: there is no guard of that name",
                hint=f"Did you mean {near[0]!r}?"
                if near
                else f"Known: {', '.join(_GUARDS)}, field.FIELD, emptied.FIELD.",
            )
        found[name] = max(int(count), found.get(name, 0))
    return found


confirm_option = click.option(
    "--confirm", "confirm", multiple=True, metavar="GUARD=COUNT",
    help="Let a guard pass that found at most COUNT; the guard's message names it.",
)  # fmt: skip


@click.command()
@click.argument("sync")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan, to apply exactly that."
)
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.option("--all", "everything", is_flag=True, help="Show every record, not only the first ones.")
@click.pass_obj
def plan(run: Run, sync: str, out: Path | None, no_pull: bool, everything: bool) -> None:
    """Show what a sync would write, and why. Changes nothing in a CRM.

    Refreshes the local copy first. Shows per record the fields with their old and new
    values and the rule that decided; then what is not written and why, what the writes cost
    each CRM in requests and minutes (the reads before them included), and the guards that
    would stop it. Exits 4 if something waits for a person, 6 if a guard would stop it.
    """
    session = run.open()
    named(session, sync)
    if out is not None:
        _check_folder(out)
    watch = None if no_pull else run.terminal.watch_pulls
    with session.state() as state, open_sync(session, state, sync, watch=watch, read_only=True) as opened:
        tell_unread(run, opened.pulls)
        _, file = opened.run.plan()
    if out is not None:
        _save(out, file)
    if run.terminal.as_json:
        run.terminal.json(file.model_dump(mode="json"))
    else:
        show_plan(run.terminal, file, limit=None if everything else SHOWN)
        if out is not None:
            run.terminal.say(f"Saved as {out}; carry it out with `crmkit apply {out}`.")
    raise SystemExit(plan_code(file, opened))


@click.command()
@click.argument("what", metavar="FILE|SYNC")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@confirm_option
@click.pass_obj
def apply(run: Run, what: str, yes: bool, confirm: Sequence[str]) -> None:
    """Carry out a saved plan exactly, or plan a sync and carry that out.

    Writes to the CRMs. A saved plan is refused if anything was pulled, written or
    configured since it was made. Every record is read again right before it is changed;
    what moved on is left alone and named. Asks before it writes unless --yes. Exits as
    `crmkit sync` does.
    """
    session = run.open()
    confirmed = confirmed_counts(confirm)
    file = _plan_of(session, what)
    name = file.sync if file is not None else what
    named(session, name)
    if not yes and not run.terminal.can_ask:
        raise UsageError("nobody is there to confirm the plan", hint="Add --yes to write without asking.")
    watch = None if file is not None else run.terminal.watch_pulls
    with (
        session.state() as state,
        alerting(run, state, name) if yes else nullcontext(Ending()) as ending,
        open_sync(session, state, name, watch=watch, read_only=False) as opened,
    ):
        tell_unread(run, opened.pulls)
        if file is None:
            _, file = opened.run.plan()
        if not yes:
            # Guards are told by whoever stops at them; a confirmed one is no news.
            show_plan(run.terminal, file.model_copy(update={"guards": []}), limit=SHOWN, asking=True)
            if not file.writes:
                raise SystemExit(plan_code(file, opened))
            # Nobody is asked about a plan that would be refused afterwards.
            stop(name, file.guards, confirmed)
            _ask(file)
        totals = {one.connection: one.creates + one.updates + one.deletes for one in file.costs}
        result = watched(
            opened, state, lambda: opened.run.apply(file, confirmed), run.terminal.watch_writes, totals
        )
        ending.code = code = exit_code(result, opened)
        ending.held = result.held
    if run.terminal.as_json:
        run.terminal.json(result_json(result, run, code))
    else:
        # What waits was shown already to whoever was asked.
        show_result(run, result, brief=not yes)
    raise SystemExit(code)


@click.command()
@click.argument("sync")
@confirm_option
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.pass_obj
def sync(run: Run, sync: str, confirm: Sequence[str], no_pull: bool) -> None:
    """Pull, plan and apply in one go: for cron.

    Writes to the CRMs without asking; guards stop a run that looks like an accident.
    Says nothing when nothing happened and nothing waits; otherwise one line, and what went
    wrong. Exits 0 done, 4 something waits for a person, 5 partly done, 6 a guard stopped
    it, 7 credentials, 8 busy.
    """
    session = run.open()
    confirmed = confirmed_counts(confirm)
    named(session, sync)
    watch = None if no_pull else run.terminal.watch_pulls
    with (
        session.state() as state,
        alerting(run, state, sync) as ending,
        open_sync(session, state, sync, watch=watch, read_only=False) as opened,
    ):
        tell_unread(run, opened.pulls)
        result = watched(opened, state, lambda: opened.run.sync(confirmed), run.terminal.watch_writes)
        ending.code = code = exit_code(result, opened)
        ending.held = result.held
    if run.terminal.as_json:
        run.terminal.json(result_json(result, run, code))
    else:
        show_result(run, result, brief=True)
    raise SystemExit(code)


@click.command()
@click.argument("sync", required=False)
@confirm_option
@click.pass_obj
def resume(run: Run, sync: str | None, confirm: Sequence[str]) -> None:
    """Go on after a crash or a partial run.

    Looks up every write whose answer never came, waits for none of them, and carries out
    what is still due. Writes to the CRMs. Without a name: all syncs with open writes. Its
    JSON is a list with one result for each sync.
    """
    session = run.open()
    confirmed = confirmed_counts(confirm)
    names = [sync] if sync else list(session.config.settings.syncs)
    for name in names:
        named(session, name)
    codes: list[int] = []
    documents: list[dict[str, Any]] = []
    with session.state() as state:
        for name in names:
            try:
                found = _resume(run, session, state, name, confirmed, asked=sync is not None)
            except Interrupted:
                raise
            except CrmkitError as error:
                # One sync that cannot go on does not keep the others from it.
                codes.append(error.exit_code)
                documents.append(
                    {"sync": name, "exit_code": error.exit_code, "error": failure(error, run.redact)}
                )
                if not run.terminal.as_json:
                    run.terminal.error(error, run.redact)
                continue
            if found is not None:
                codes.append(found["exit_code"])
                documents.append(found)
    if run.terminal.as_json:
        run.terminal.json(documents)
    elif not codes:
        run.terminal.say("Nothing to resume: no write is open and nothing is due.")
    raise SystemExit(worst(codes))


def _resume(
    run: Run, session: Session, state: State, name: str, confirmed: Mapping[str, int], *, asked: bool
) -> dict[str, Any] | None:
    """Go on with one sync; its result as JSON, or `None` if nothing of it is open or due."""
    with (
        alerting(run, state, name) as ending,
        open_sync(session, state, name, watch=run.terminal.watch_pulls, read_only=False) as opened,
    ):
        with state.read() as db:
            unfinished = opened.group.hub.intents(db) or opened.group.hub.pending(db)
        if not unfinished and not asked:
            return None
        tell_unread(run, opened.pulls)
        result = watched(opened, state, lambda: opened.run.sync(confirmed), run.terminal.watch_writes)
        ending.code = code = exit_code(result, opened)
        ending.held = result.held
    if not run.terminal.as_json:
        show_result(run, result)
    return result_json(result, run, code)


def _plan_of(session: Session, what: str) -> PlanFile | None:
    """The saved plan of that name, or `None` if it names a sync.

    Raises:
        UsageError: It is neither.
    """
    path = Path(what)
    if what in session.config.settings.syncs:
        return None
    if path.is_file() or path.suffix == ".json":
        return load_plan(path)
    if path.exists():
        raise UsageError(f"{path} is not a file", hint="Name a saved plan or a sync.")
    return None


def plan_code(file: PlanFile, opened: OpenSync) -> int:
    """How `plan` ends: what a guard would stop first, then what waits for a person."""
    waiting = any(waits_for_a_person(one.kind) for one in file.held)
    quarantined = any(one.outcome is PullOutcome.HELD for one in opened.pulls)
    return worst(
        [
            6 if file.guards else 0,
            5 if any(one.error is not None for one in opened.pulls) else 0,
            4 if waiting or quarantined else 0,
        ]
    )


def _ask(file: PlanFile) -> None:
    acts = Counter(write.act for write in file.writes)
    words = ", ".join(plural(count, act) for act, count in sorted(acts.items()))
    click.confirm(f"Write this to the CRMs ({words})?", abort=True, err=True)


def tell_unread(run: Run, pulls: Sequence[PullResult]) -> None:
    """Pulls that failed or left records out are told; the others are nobody's concern here."""
    if not run.terminal.as_json:
        for result in pulls:
            if result.error is not None:
                run.terminal.error(result.error, run.redact)
            elif result.outcome is PullOutcome.HELD:
                show_quarantine(run.terminal, result.progress.connection)


def _check_folder(path: Path) -> None:
    """A plan takes minutes to make; a folder that is not there is told before."""
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")


def _save(path: Path, file: PlanFile) -> None:
    """Write a plan, readable by its owner only: it holds customers' data.

    A link of that name is replaced, never followed.
    """
    write_private(path, [json_text(file.model_dump(mode="json")).encode(), b"\n"])
