"""Credentials that will end: told before they do.

Whoever knows when a secret ends gives it to `gather.expiries` as an `Expiry`; nothing else
has to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from crmkit.health.findings import CREDENTIALS, Finding, age, error, ok, warning

SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Expiry:
    """The end of a secret: its name, and when it stops working."""

    secret: str
    at: datetime


def check(connection: str, expiries: Iterable[Expiry], now: datetime) -> Iterator[Finding]:
    """What has ended, and what ends soon."""
    login = f"crmkit login {connection}"
    for one in expiries:
        left = (one.at - now).total_seconds()
        if left <= 0:
            yield error(connection, "expiry", f"the secret {one.secret} ended {age(-left)} ago",
                        command=login, code=CREDENTIALS)  # fmt: skip
        elif left < SOON.total_seconds():
            yield warning(connection, "expiry", f"the secret {one.secret} ends in {age(left)}", command=login)
        else:
            yield ok(connection, "expiry", f"the secret {one.secret} works for another {age(left)}")
