"""Copper's two families of refusals, and how it writes times.

Source: https://developer.copper.com/introduction/responses.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from crmkit.sandbox.wire import Refusal, json_reply

Body = Mapping[str, Any]
TIME_ZONE = "America/Los_Angeles"


def failure(status: int, message: str) -> Response:
    """The family with a message: 401, 403, 422, 429 (401, 403 and 429 inferred)."""
    return json_reply({"success": False, "status": status, "message": message}, status)


def not_found() -> Response:
    """The family with only an `error`."""
    return json_reply({"error": "not_found"}, 404)


def invalid(field: str, text: str) -> Refusal:
    """422; the field is a label for people, `Base` for what belongs to no field."""
    return Refusal(failure(422, f"Invalid input: Validation errors: {field}: {text}"))


def seconds(moment: datetime | None) -> int | None:
    """A time as records and filters have it: Unix seconds."""
    return None if moment is None else int(moment.timestamp())


@lru_cache(maxsize=8192)
def midnight(day: date, zone: str) -> int:
    """A custom date: Unix seconds of midnight where the account is."""
    return int(datetime.combine(day, time(), ZoneInfo(zone)).timestamp())


@lru_cache(maxsize=8192)
def short_day(day: date, *, day_first: bool = False) -> str:
    """A close date: month first unless the account has it otherwise, nothing padded."""
    return f"{day.day}/{day.month}/{day.year}" if day_first else f"{day.month}/{day.day}/{day.year}"


def moment_of(value: Any, name: str) -> datetime:
    """A time in a filter."""
    try:
        return datetime.fromtimestamp(number_of(value, name), UTC)
    except (OverflowError, OSError):
        raise invalid(name, "is not a valid timestamp") from None


def number_of(value: Any, name: str) -> float:
    """A number in a filter; old documents write them as strings, and both work (inferred)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid(name, "is not a number") from None


def ids_of(value: Any, name: str) -> frozenset[str]:
    """A list of ids in a filter, or a single one, as our rows have them."""
    listed = value if isinstance(value, list) else [value]
    try:
        return frozenset(str(int(item)) for item in listed)
    except (TypeError, ValueError):
        raise invalid(name, "is invalid") from None
