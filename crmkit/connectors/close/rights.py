"""What Close tells about the calls that are left: a window of seconds, no day."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.quota import Quota

_PART = re.compile(r"(limit|remaining|reset)=([0-9]+(?:\.[0-9]+)?)")


def quota(http: Http) -> Quota | None:
    """The limit of `GET /me/` as its answer tells it; other groups of endpoints count by themselves.

    Source: https://developer.close.com/api/overview/rate-limits
    """
    return http.fetch(Call("GET", "/me/", buckets=("GET me",), label="GET /me/"), _of)


def _of(answer: Answer) -> Quota | None:
    return read_quota(answer.headers.get("RateLimit", ""), answer.date)


def read_quota(header: str, now: datetime | None) -> Quota | None:
    """The quota in a `RateLimit` header, or `None` if it says nothing of use."""
    told = {name: float(number) for name, number in _PART.findall(header)}
    if "limit" not in told or "remaining" not in told:
        return None
    limit, left = int(told["limit"]), int(told["remaining"])
    resets_at = now + timedelta(seconds=told["reset"]) if now is not None and "reset" in told else None
    return Quota(limit, left, max(limit - left, 0), resets_at, "calls of GET /me/ in a window of seconds",
                 short=True)  # fmt: skip
