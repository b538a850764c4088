"""Close's words for refusals, and how it writes and reads times, pages and field lists.

Sources: https://developer.close.com/api/overview/http-response-codes ,
https://developer.close.com/api/overview/pagination
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from crmkit.sandbox.wire import Refusal, json_reply, read_json

Params = Mapping[str, str]

UNAUTHORIZED = (
    "The server could not verify that you are authorized to access the URL requested.  You either supplied "
    "the wrong credentials (e.g. a bad password), or your browser doesn't understand how to supply the "
    "credentials required."
)
NO_SUCH_URL = (
    "The requested URL was not found on the server. If you entered the URL manually please check your "
    "spelling and try again."
)


def refuse(message: str, status: int = 400) -> Refusal:
    """A refusal with one message: bad parameters, 401, 403, 404."""
    return Refusal(json_reply({"error": message}, status))


def invalid(fields: Mapping[str, str], errors: Iterable[str] = ()) -> Refusal:
    """A body that failed validation; reference fields lose their `_id`."""
    return Refusal(json_reply({"errors": list(errors), "field-errors": dict(fields)}, 400))


def missing(kind: str) -> Refusal:
    """No record of that kind has this id."""
    return refuse(f"Empty query: {kind} matching query does not exist.", 404)


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds."""
    try:
        said = read_json(body)
    except ValueError:
        raise refuse("Invalid JSON.") from None
    if not isinstance(said, dict):
        raise refuse("Invalid JSON: expected an object.")
    return said


def stamp(moment: datetime | None) -> str | None:
    """A time as records show it; without microseconds where there are none, as recorded."""
    # Twice as fast as letting `isoformat` ask the zone for its offset: all rows are in UTC.
    return None if moment is None else moment.replace(tzinfo=None).isoformat() + "+00:00"


def naive(moment: datetime) -> str:
    """A time as events, webhooks and pipelines show it: UTC without saying so."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def read_moment(text: str, name: str) -> datetime:
    """A time from a filter; without an offset it is UTC, a day is its first moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refuse(f"Invalid value for {name}: expected a date or an ISO 8601 date-time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_day(text: str, name: str) -> date:
    """A day from a filter; of a date-time the day counts."""
    return read_moment(text, name).date()


def page_of(
    params: Params, most: int, *, max_skip: int | None = None, default: int | None = None
) -> tuple[int, int]:
    """`_skip` and `_limit`; beyond the resource's maximum they are refused."""
    limit = _whole(params, "_limit", min(100, most) if default is None else default)
    skip = _whole(params, "_skip", 0)
    if limit > most:
        raise _too_large("limit", most)
    if max_skip is not None and skip > max_skip:
        raise _too_large("skip", max_skip)
    return skip, limit


def field_list(params: Params) -> tuple[str, ...] | None:
    """The names in `_fields`; `None` for all."""
    text = params.get("_fields", "")
    return tuple(name.strip() for name in text.split(",") if name.strip()) or None


def only(record: dict[str, Any], fields: tuple[str, ...] | None) -> dict[str, Any]:
    """A record cut to the fields asked for; `custom` stands for all custom values."""
    if fields is None:
        return record
    cut = {name: record[name] for name in fields if name in record}
    if "custom" in fields:
        cut |= {name: value for name, value in record.items() if name.startswith("custom.")}
    return cut


def _too_large(what: str, most: int) -> Refusal:
    return refuse(
        f"The {what} you set is larger than the maximum {what} for this resource (max_{what} = {most}).\n"
        "Please refine your search query."
    )


def _whole(params: Params, name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise refuse(f"Invalid value for {name}: expected a non-negative integer.")
    return int(text)
