"""What a person sees while crmkit works: tables, progress, errors. Nothing here decides."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crmkit.connectors.usage import Usage
from crmkit.errors import CrmkitError
from crmkit.report.render.visible import visible
from crmkit.session import RunningPull
from crmkit.sync.pull import PullOutcome, PullResult

if TYPE_CHECKING:  # the engine behind it is not needed by commands that only read
    from crmkit.syncing import RunningWrites

REFRESH_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.002
_PIPED_WIDTH = 160


class Terminal:
    """Results go to stdout, everything else to stderr.

    Args:
        as_json: Whether results are JSON for a program.
        quiet: Whether to leave out everything but results and errors.
        verbose: Whether to say more.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        try:
            return not self.as_json and sys.stdin is not None and sys.stdin.isatty()
        except ValueError:  # it was closed
            return False

    def say(self, text: str = "", style: str | None = None) -> None:
        """Tell a person something; never part of the result."""
        if not self.quiet:
            self.err.print(Text(visible_lines(text), style=style or ""), soft_wrap=True)

    def alert(self, text: str, style: str = "bold red") -> None:
        """Tell a person something that has to be known, quiet or not; never part of the result."""
        if not self.as_json:
            self.err.print(Text(visible_lines(text), style=style), soft_wrap=True)

    def tell(self, text: Text | str, *, result: bool = False, style: str | None = None) -> None:
        """Write a line for a person: as a result, or beside it.

        Args:
            text: The line; a styled one must be harmless already.
            result: Whether it is what was asked for.
            style: How it looks, if it has no style of its own.
        """
        line = Text(visible_lines(text), style=style or "") if isinstance(text, str) else text
        if result:
            self.out.print(line, soft_wrap=True)
        elif not self.quiet:
            self.err.print(line, soft_wrap=True)

    def result(self, text: str) -> None:
        """Write a result as it is."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def json(self, value: Any) -> None:
        """Write a result as JSON."""
        self.result(json_text(value))

    def line(self, value: Any) -> None:
        """Write a result as JSON on one line, at once."""
        self.result(json_text(value, indent=None))
        sys.stdout.flush()

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Sequence[int] = (),
        result: bool = True,
    ) -> None:
        """Write a table.

        Args:
            columns: Their headings.
            rows: Cells; a tuple is a cell of several lines.
            right: Which columns hold numbers.
            result: Whether it is what was asked for; otherwise it goes to stderr.
        """
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for at, column in enumerate(columns):
            table.add_column(column, justify="right" if at in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(_cell, row))
        if result:
            self.out.print(table)
        elif not self.quiet:
            self.err.print(table)

    def styled(self, text: str, style: str) -> Text:
        """A cell of a table with a style of its own."""
        return Text(visible(text), style=style)

    def error(self, problem: CrmkitError, redact: Callable[[str], str]) -> None:
        """Say what went wrong and what helps."""
        if self.as_json:
            self.json({"error": failure(problem, redact)})
            return
        message, hint = redact(str(problem)), redact(problem.hint)
        lines = Text()
        lines.append("Error: ", style="bold red")
        lines.append(visible_lines(message))
        if hint:
            lines.append("\nHint: ", style="bold")
            lines.append(visible_lines(hint))
        self.err.print(lines, soft_wrap=True)

    def watch_pulls(self, running: Sequence[RunningPull], done: Callable[[], bool]) -> None:
        """Show one line per connection until all have ended; nothing where nobody looks."""
        self._watch(lambda: _pulling(running), done)

    def watch_writes(self, running: Callable[[], Sequence[RunningWrites]], done: Callable[[], bool]) -> None:
        """Show one line per CRM until a run has ended; nothing where nobody looks."""
        self._watch(lambda: _writing(running()), done)

    def _watch(self, table: Callable[[], Table], done: Callable[[], bool]) -> None:
        if self.quiet or self.as_json or not self.err.is_terminal:
            pause = FIRST_PAUSE_SECONDS  # what ends soon is not waited for any longer
            while not done():
                time.sleep(pause)
                pause = min(2 * pause, REFRESH_SECONDS / 4)
            return
        with Live(table(), console=self.err, refresh_per_second=5, transient=True) as live:
            while not done():
                live.update(table())
                time.sleep(REFRESH_SECONDS)


def failure(problem: CrmkitError, redact: Callable[[str], str]) -> dict[str, Any]:
    """The documented JSON of an error."""
    return {
        "type": type(problem).__name__,
        "message": redact(str(problem)),
        "hint": redact(problem.hint),
        "exit_code": problem.exit_code,
    }


# What `visible` makes visible, but for the line breaks that JSON itself is written with.
_HIDDEN_IN_JSON = re.compile(
    "[\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON of which nothing reaches a terminal as a control or a hidden mark: those are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=not _writes_unicode(), default=str)
    return _HIDDEN_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _writes_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def visible_lines(text: str) -> str:
    """The text with its line breaks, and nothing else that would do something to a terminal."""
    return "\n".join(map(visible, text.split("\n")))


def _cell(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    lines = cell if isinstance(cell, tuple) else (cell,)
    return Text("\n".join(visible(str(line)) for line in lines))


class _Console(Console):
    """A console that leaves it to `cli.main` what happens when nobody reads on."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH  # a file or a pipe has no edge to fold text at
    return console


def _pulling(running: Sequence[RunningPull]) -> Table:
    table = _live_table("connection", "reading", "records")
    for one in running:
        reading = f"{one.progress.kind}s" if one.progress.kind else "…"
        table.add_row(one.connection, reading, f"{one.progress.total:,}", *_used(one.usage))
    return table


def _writing(running: Sequence[RunningWrites]) -> Table:
    table = _live_table("CRM", "", "written")
    for one in running:
        of = f"{one.done:,} of {one.total:,}" if one.total is not None else f"{one.done:,}"
        table.add_row(one.connection, "writing" if one.done else "…", of, *_used(one.usage))
    return table


def _live_table(connection: str, doing: str, count: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(connection)
    table.add_column(doing)
    table.add_column(count, justify="right")
    table.add_column("requests", justify="right")
    table.add_column("", style="yellow")
    return table


def _used(usage: Usage) -> tuple[str, str]:
    waiting = f"waiting for the limit {usage.waiting_for!r}" if usage.waiting_for else ""
    return f"{usage.requests:,}", waiting


def pull_rows(results: Sequence[PullResult]) -> list[list[object]]:
    """One table row per pulled connection."""
    rows: list[list[object]] = []
    for result in results:
        progress = result.progress
        outcome = {
            PullOutcome.DONE: "done",
            PullOutcome.HELD: "done, some quarantined",
            PullOutcome.FAILED: "failed",
            PullOutcome.INTERRUPTED: "interrupted",
        }[result.outcome]
        rows.append(
            [
                progress.connection,
                outcome + (" (resumed)" if progress.resumed else ""),
                f"{progress.total:,}",
                f"{progress.changed:,}",
                f"{progress.gone:,}",
                f"{progress.quarantined:,}",
                f"{result.requests:,}",
                f"{result.waited_seconds:.0f} s",
                f"{result.seconds:.1f} s",
            ]
        )
    return rows


PULL_COLUMNS = (
    "connection", "outcome", "records", "changed", "gone", "quarantined", "requests", "waited", "took",
)  # fmt: skip


def pull_json(results: Sequence[PullResult], redact: Callable[[str], str]) -> list[Mapping[str, Any]]:
    """The documented JSON of `crmkit --json pull`."""
    return [
        {
            "connection": result.progress.connection,
            "outcome": result.outcome.name.lower(),
            "resumed": result.progress.resumed,
            "records": {str(kind): count for kind, count in result.progress.records.items()},
            "changed": result.progress.changed,
            "gone": result.progress.gone,
            "quarantined": result.progress.quarantined,
            "requests": result.requests,
            "waited_seconds": round(result.waited_seconds, 3),
            "seconds": round(result.seconds, 3),
            "warnings": [redact(text) for text in result.progress.warnings],
            "error": redact(str(result.error)) if result.error else None,
            "hint": redact(result.error.hint) if result.error else None,
        }
        for result in results
    ]
