"""Who edited what and what they saw: how a lost update is found.

Every edit writes a value that nobody wrote before, and remembers which value its editor saw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

TOLD = ("name", "amount", "expected_close")  # every edit of these writes a value of its own
Token = tuple[str, int]
_FIRST_DAY = date(2000, 1, 1)


def named(number: int) -> str:
    """A deal name that is like no other."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:14]


@dataclass
class Ledger:
    """Edits, what their editors saw, and what the sync was shown."""

    last: int = 0
    parent: dict[Token, Token | None] = field(default_factory=dict)
    at: dict[Token, str] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    seen: set[Token] = field(default_factory=set)
    gap: set[Token] = field(default_factory=set)
    excused: set[Token] = field(default_factory=set)
    deleted: set[Token] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def value(self, name: str, *, cents: bool, blanks: bool = True) -> Any:
        """A new value of a field; some names have a blank behind them."""
        self.last += 1
        if name == "name":
            self.names[named(self.last)] = self.last
            return f"{named(self.last)} " if blanks and self.last % 3 == 0 else named(self.last)
        if name == "amount":
            return Decimal(f"{self.last}.25") if cents else Decimal(self.last)
        return _FIRST_DAY + timedelta(days=self.last)

    def token(self, name: str, value: Any) -> Token | None:
        """The edit that wrote a value."""
        if value is None:
            return None
        if name == "name":
            number = self.names.get(value.strip())
            return None if number is None else (name, number)
        return (name, int(value) if name == "amount" else (value - _FIRST_DAY).days)

    def tokens(self, record: Any) -> dict[str, Token]:
        """The edits that a deal shows, by field; none for other records."""
        if not hasattr(record, "expected_close"):
            return {}
        found = {name: self.token(name, getattr(record, name)) for name in TOLD}
        return {name: token for name, token in found.items() if token is not None}

    def history(self, token: Token | None) -> set[Token]:
        """An edit and everything that its editor had been shown, and so on."""
        found: set[Token] = set()
        while token is not None and token not in found:
            found.add(token)
            token = self.parent.get(token)
        return found

    def excuse(self, token: Token | None) -> None:
        """An edit that nobody could have read before it was overwritten."""
        while token is not None and token not in self.seen:
            self.excused.add(token)
            token = self.parent.get(token)

    def dominated(self) -> set[Token]:
        """Edits that somebody replaced after seeing them."""
        found: set[Token] = set()
        for token, shown in self.parent.items():
            if token not in self.excused:
                found |= self.history(shown)
        return found
