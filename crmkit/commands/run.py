"""What every command shares: the options of `crmkit` itself and the open workspace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crmkit.errors import UsageError
from crmkit.logs import Log, LogOptions
from crmkit.model import Ref
from crmkit.observers import attach
from crmkit.session import Session
from crmkit.sync.upgrade import Upgrade
from crmkit.terminal import Terminal

# The exit code that wins when several apply: what needs a person first.
_SEVERITY = (130, 7, 8, 2, 1, 6, 5, 4, 3)


@dataclass(slots=True)
class Run:
    """One invocation of crmkit; `log` says what is logged, if anything."""

    config: Path | None
    terminal: Terminal
    session: Session | None = field(default=None)
    log: LogOptions | None = None

    def open(self) -> Session:
        """The workspace of this run.

        Raises:
            ConfigError: There is none, or its configuration is wrong.
        """
        if self.session is None:
            self.session = Session.open(self.config)
            self.session.on_upgrade = self._upgraded
            for warning in self.session.config.warnings:
                self.terminal.say(f"Note: {warning}", "yellow")
            self.observe(self.session)
        return self.session

    def another(self) -> Session:
        """The same workspace once more, for another thread: it masks the same secrets."""
        own = self.open()
        session = Session(own.config, redactor=own.redactor, clock=own.clock)
        self.observe(session)
        return session

    def observe(self, session: Session) -> None:
        """Let the logs, metrics and traces that are asked for listen to a workspace."""
        log = Log(self.log, session.redactor.redact) if self.log is not None else None
        attach(session, log, os.environ)

    def close(self) -> None:
        """Write what logs and traces hold back; tell what a person should know although nothing failed."""
        if self.session is not None:
            warnings, self.session.warnings = self.session.warnings, []
            for line in warnings:
                self.terminal.alert(f"Warning: {self.redact(line)}", "yellow")
            self.session.observer.close()

    def _upgraded(self, upgrade: Upgrade) -> None:
        self.terminal.say(
            f"The local state was brought from schema {upgrade.old} to {upgrade.new}; "
            f"the old one is kept as {upgrade.backup}."
        )

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        return self.session.redactor.redact(text) if self.session else text


def record(text: str) -> Ref:
    """A record as a person wrote it.

    Raises:
        UsageError: It has another shape.
    """
    try:
        return Ref.parse(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no record",
            hint="Write it as connection:kind:id, for example hubspot-us:deal:4711.",
        ) from None


def worst(codes: Iterable[int]) -> int:
    """One exit code for several endings."""
    found = set(codes)
    return next((code for code in _SEVERITY if code in found), 0)
