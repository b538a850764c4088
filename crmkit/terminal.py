"""What a person sees while crmkit works: tables, progress, errors. Nothing here decides."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crmkit.errors import CrmkitError
from crmkit.report.render.visible import visible
from crmkit.session import RunningPull
from crmkit.sync.pull import PullOutcome, PullResult

REFRESH_SECONDS = 0.2
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
        return not self.as_json and sys.stdin.isatty()

    def say(self, text: str = "", style: str | None = None) -> None:
        """Tell a person something; never part of the result."""
        if not self.quiet:
            self.err.print(Text(text, style=style or ""), soft_wrap=True)

    def result(self, text: str) -> None:
        """Write a result as it is."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def json(self, value: Any) -> None:
        """Write a result as JSON."""
        self.result(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    def line(self, value: Any) -> None:
        """Write a result as JSON on one line, at once."""
        self.result(json.dumps(value, ensure_ascii=False, default=str))
        sys.stdout.flush()

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()
    ) -> None:
        """Write a table; columns named in `right` hold numbers."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for at, column in enumerate(columns):
            table.add_column(column, justify="right" if at in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(visible(str(cell))) for cell in row))
        self.out.print(table)

    def styled(self, text: str, style: str) -> Text:
        """A cell of a table with a style of its own."""
        return Text(visible(text), style=style)

    def error(self, problem: CrmkitError, redact: Callable[[str], str]) -> None:
        """Say what went wrong and what helps."""
        message = redact(str(problem))
        hint = redact(problem.hint)
        if self.as_json:
            self.json(
                {
                    "error": {
                        "type": type(problem).__name__,
                        "message": message,
                        "hint": hint,
                        "exit_code": problem.exit_code,
                    }
                }
            )
            return
        lines = Text()
        lines.append("Error: ", style="bold red")
        lines.append("\n".join(visible(line) for line in message.splitlines()))
        if hint:
            lines.append("\nHint: ", style="bold")
            lines.append("\n".join(visible(line) for line in hint.splitlines()))
        self.err.print(lines, soft_wrap=True)

    def watch_pulls(self, running: Sequence[RunningPull], done: Callable[[], bool]) -> None:
        """Show one line per connection until all have ended; nothing where nobody looks."""
        if self.quiet or self.as_json or not self.err.is_terminal:
            while not done():
                time.sleep(REFRESH_SECONDS / 4)
            return
        with Live(_progress(running), console=self.err, refresh_per_second=5, transient=True) as live:
            while not done():
                live.update(_progress(running))
                time.sleep(REFRESH_SECONDS)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH  # a file or a pipe has no edge to fold text at
    return console


def _progress(running: Sequence[RunningPull]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column, justify in (
        ("connection", "left"),
        ("reading", "left"),
        ("records", "right"),
        ("requests", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify, style="" if column else "yellow")  # type: ignore[arg-type]
    for one in running:
        waiting = f"waiting for the limit {one.usage.waiting_for!r}" if one.usage.waiting_for else ""
        reading = f"{one.progress.kind}s" if one.progress.kind else "…"
        table.add_row(one.connection, reading, f"{one.progress.total:,}", f"{one.usage.requests:,}", waiting)
    return table


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
