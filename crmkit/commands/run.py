"""What every command shares: the options of `crmkit` itself and the open workspace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crmkit.errors import UsageError
from crmkit.model import Ref
from crmkit.session import Session
from crmkit.terminal import Terminal

# The exit code that wins when several apply: what needs a person first.
_SEVERITY = (130, 7, 8, 2, 1, 6, 5, 4, 3)


@dataclass(slots=True)
class Run:
    """One invocation of crmkit."""

    config: Path | None
    terminal: Terminal
    session: Session | None = field(default=None)

    def open(self) -> Session:
        """The workspace of this run.

        Raises:
            ConfigError: There is none, or its configuration is wrong.
        """
        if self.session is None:
            self.session = Session.open(self.config)
        return self.session

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
