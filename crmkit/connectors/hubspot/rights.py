"""What an app may do in a portal, and how much of the day's budget is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.hubspot import answers
from crmkit.connectors.quota import Quota
from crmkit.connectors.translate import FieldError, instant
from crmkit.model import Kind

USAGE = "/account-info/v3/api-usage/daily/private-apps"
_OBJECTS = {Kind.DEAL: "deals", Kind.COMPANY: "companies", Kind.CONTACT: "contacts"}


def quota(http: Http) -> Quota | None:
    """What is left of the account's calls of today; an OAuth install has no daily limit.

    The answer's own headers are exact. Its body may be some minutes old (inferred from its
    `collectedAt`), but tells when the day ends.

    Source: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
    """
    call = Call("GET", USAGE, label=f"GET {USAGE}")
    return http.fetch(call, lambda answer: read_quota(answer.headers, _line(answer)))


def read_quota(headers: Mapping[str, str], line: Mapping[str, Any]) -> Quota | None:
    """The quota from an answer's headers, and from the usage line where they say nothing."""
    limit = _whole(headers.get("X-HubSpot-RateLimit-Daily"))
    left = _whole(headers.get("X-HubSpot-RateLimit-Daily-Remaining"))
    if limit is None or left is None:
        limit, used = _whole(line.get("usageLimit")), _whole(line.get("currentUsage"))
        if limit is None or used is None:
            return None
        left = max(limit - used, 0)
    return Quota(limit, left, limit - left, _time(line.get("resetsAt")), "API calls a day of the account")


def unwritable(granted: str | None, kinds: Iterable[Kind]) -> list[str]:
    """The scopes that writing these kinds needs and an OAuth install was not given.

    Args:
        granted: Scopes of the access token; `None` if unknown, as with static tokens.
        kinds: What is to be written.
    """
    if granted is None:
        return []
    have = set(granted.split())
    # The key field and pipelines are properties of the object's schema.
    needed = [
        scope
        for of in (_OBJECTS[kind] for kind in kinds if kind in _OBJECTS)
        for scope in (f"crm.objects.{of}.write", f"crm.schemas.{of}.write")
    ]
    return [f"the scope {scope}" for scope in needed if scope not in have]


def _line(answer: Answer) -> Mapping[str, Any]:
    rows: Sequence[Mapping[str, Any]] = answers.results(answer, "usageLimit")
    return rows[0] if rows else {}


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isdecimal() else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: Any) -> datetime | None:
    try:
        return instant(value, "resetsAt")
    except FieldError:
        return None
