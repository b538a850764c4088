"""The command `run`: scheduled work that is due, or one task of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from crmkit.commands.ran import summary
from crmkit.commands.run import Run, worst
from crmkit.commands.words import plural
from crmkit.config import suggestion
from crmkit.errors import Busy, CrmkitError, UsageError
from crmkit.report.render.visible import visible
from crmkit.scheduling.task import Task
from crmkit.session import Session
from crmkit.slices import Slice, run_slice
from crmkit.sync import schedules_table
from crmkit.sync.schedules_table import Stored
from crmkit.sync.state import State
from crmkit.terminal import failure

REPORT_FILE = "pipeline-report.html"


@dataclass(frozen=True, slots=True)
class Done:
    """A task that was run; `schedule` is the name of its schedule, if it was one that was due."""

    task: Task
    schedule: str | None
    ended: Slice
    seconds: float


@click.command("run")
@click.argument("what", required=False, metavar="[TASK]")
@click.option("--due", is_flag=True, help="Run what is due by `crmkit schedule`, and nothing else.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=4, show_default=True,
    help="How many tasks side by side.",
)  # fmt: skip
@click.pass_obj
def run_command(run: Run, what: str | None, due: bool, jobs: int) -> None:
    """Run scheduled work: for cron, every minute.

    With --due: every schedule whose time has come, each once however often it was missed,
    several side by side. What another machine or worker does already is left to it; what one
    left behind when it died is taken up. Says nothing if nothing is due. Writes to the CRMs
    where a sync is due; guards stop what looks like an accident.

    With a TASK: that one now. A task is the name of a sync, sync:NAME, pull, pull:NAME,NAME
    or report, which is written to pipeline-report.html beside crmkit.toml.

    \b
    Ends with  the code of the task that needs a person first, see `crmkit --help`;
               8 if all that was due is done by somebody else already
    """
    if due == (what is not None):
        raise UsageError("say either --due or which task", hint="crmkit run --due, or crmkit run main")
    session = run.open()
    task = parsed(session, what) if what is not None else None
    with session.state() as state:
        done = [_one(run, session, state, task)] if task is not None else _due(run, session, state, jobs)
    if run.terminal.as_json:
        run.terminal.json([_record(run, one) for one in done])
    codes = [one.ended.code for one in done]
    if Busy.exit_code in codes and any(code != Busy.exit_code for code in codes):
        codes = [code for code in codes if code != Busy.exit_code]
    raise SystemExit(worst(codes))


def parsed(session: Session, text: str) -> Task:
    """A task as a person wrote it; the name of a sync alone is enough.

    Raises:
        UsageError: There is no such task.
    """
    known = session.config.settings
    try:
        task = Task("sync", (text,)) if text in known.syncs else Task.parse(text)
    except ValueError as error:
        options = [*known.syncs, "pull", "report"]
        raise UsageError(f"{text!r} is no task: {error}", hint=suggestion(text, options)) from None
    check(session, task)
    return task


def check(session: Session, task: Task) -> None:
    """Refuse a task of a sync or connection that is not configured.

    Raises:
        ConfigError: There is none of that name.
    """
    from crmkit.syncing import named  # noqa: PLC0415 - only where a task comes from outside

    if task.kind == "sync":
        named(session, task.names[0])
    elif task.kind == "pull":
        session.config.chosen(task.names)


def _due(run: Run, session: Session, state: State, jobs: int) -> list[Done]:
    """Run what is due, and show each as it ends; Ctrl-C ends all at their next border."""
    now = session.clock.now()
    stored = schedules_table.load(state)
    left = [(one, one.last_due) for one in schedules_table.abandoned(state, stored, now)]
    todo = [*left, *schedules_table.waiting([one for one in stored if one not in dict(left)], now)]
    done: list[Done] = []
    if not todo:
        return done
    asked = threading.Event()
    # Two tasks that pull one connection would find each other busy: one waits for the other.
    turns = {name: threading.Lock() for name in session.config.settings.connections}
    with ThreadPoolExecutor(min(jobs, len(todo)), thread_name_prefix="task") as pool:
        running = {
            pool.submit(_in_turn, run, turns, one, tick, asked, again=(one, tick) in left)
            for one, tick in todo
        }
        while running:
            try:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    done += _shown(run, future)
            except KeyboardInterrupt:
                asked.set()
    return done


def _shown(run: Run, future: Future[Done | None]) -> list[Done]:
    one = future.result()
    if one is None:
        return []
    show(run, one)
    return [one]


def _in_turn(
    run: Run,
    turns: Mapping[str, threading.Lock],
    stored: Stored,
    tick: datetime,
    asked: threading.Event,
    *,
    again: bool,
) -> Done | None:
    with ExitStack() as held:
        for name in sorted(pulled_by(run.open(), stored.schedule.what)):
            held.enter_context(turns[name])
        return _scheduled(run, stored, tick, asked, again=again)


def pulled_by(session: Session, task: Task) -> set[str]:
    """The connections that a task pulls; none where it names what is not configured."""
    known = session.config.settings
    if task.kind == "pull":
        return set(task.names or known.connections) & set(known.connections)
    sync = known.syncs.get(task.names[0]) if task.kind == "sync" else None
    return set(sync.members) if sync is not None else set()


def _scheduled(
    run: Run, stored: Stored, tick: datetime, asked: threading.Event, *, again: bool
) -> Done | None:
    """Run one tick, if nobody else does; with a session of its own, as it has a thread of its own."""
    session = run.another()
    try:
        with session.state() as state:
            now, name = session.clock.now(), stored.schedule.name
            if asked.is_set():
                return None
            mine = (
                schedules_table.retake(state, stored, now)
                if again
                else schedules_table.claim(state, name, tick, now)
            )
            if not mine:
                return None
            task = stored.schedule.what
            begun = session.clock.monotonic()
            try:
                check(session, task)
                ended = _ended(session, state, task, asked)
            except CrmkitError as error:
                ended = Slice(error.exit_code, error=error)
            schedules_table.ended(state, name, tick, ended.code, session.clock.now())
            return Done(task, name, ended, session.clock.monotonic() - begun)
    finally:
        session.observer.close()


def _one(run: Run, session: Session, state: State, task: Task) -> Done:
    begun = session.clock.monotonic()
    asked = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="task") as pool:
        future = pool.submit(_ended, session, state, task, asked)
        while not future.done():
            try:
                wait([future])
            except KeyboardInterrupt:
                asked.set()
        done = Done(task, None, future.result(), session.clock.monotonic() - begun)
    show(run, done)
    return done


def _ended(session: Session, state: State, task: Task, asked: threading.Event) -> Slice:
    return report(session) if task.kind == "report" else run_slice(session, state, task, asked=asked)


def report(session: Session) -> Slice:
    """Make the report in a process of its own: it takes much memory, and gives it back that way."""
    path = session.config.folder / REPORT_FILE
    told = ["--notify"] if session.config.settings.report.notify.targets else []
    done = subprocess.run(  # noqa: S603 - our own program, and a path that crmkit.toml stands in
        [
            sys.executable, "-m", "crmkit.cli", "--config", str(session.config.path), "-q",
            "report", "--format", "html", "--out", str(path), *told,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    error = None
    if done.returncode not in (0, 4):
        said = session.redactor.redact(done.stderr.strip())
        error = CrmkitError(f"the report could not be made: {said[:500]}", hint="")
    return Slice(done.returncode, error=error)


def show(run: Run, done: Done) -> None:
    """One line for a task, and what went wrong; nothing on a quiet terminal if all is well."""
    terminal, ended = run.terminal, done.ended
    for line in ended.untold:
        terminal.alert(f"Warning: {run.redact(line)}", "yellow")
    if terminal.as_json:
        return
    name = f"{done.schedule} ({done.task})" if done.schedule else str(done.task)
    if ended.error is not None:
        terminal.alert(visible(f"{name}:"), "yellow")
        terminal.error(ended.error, run.redact)
        return
    line = visible(f"{name}: {_words(ended)} in {done.seconds:.1f} s")
    terminal.tell(line, result=ended.code != 0, style="yellow" if ended.code else None)


def _words(ended: Slice) -> str:
    if ended.more:
        return "stopped; the next run goes on"
    if ended.result is not None:
        return summary(ended.result).partition(": ")[2]
    if ended.pulls:
        read = sum(one.progress.total for one in ended.pulls)
        changed = sum(one.progress.changed for one in ended.pulls)
        return f"read {plural(read, 'record')}, {changed:,} new or changed"
    return "done" if ended.code == 0 else f"ended with {ended.code}"


def _record(run: Run, done: Done) -> dict[str, Any]:
    """The documented JSON of a task."""
    ended = done.ended
    return {
        "schedule": done.schedule,
        "task": str(done.task),
        "exit_code": ended.code,
        "more": ended.more,
        "run": ended.result.run if ended.result is not None else None,
        "read": sum(one.progress.total for one in ended.pulls),
        "writes": ended.result.writes if ended.result is not None else 0,
        "seconds": round(done.seconds, 3),
        "error": failure(ended.error, run.redact) if ended.error is not None else None,
        "warnings": [run.redact(line) for line in ended.untold],
    }
