"""From a vendor's values to canonical ones, and from rows to records, a page at a time.

The functions here read one value; they raise `FieldError` naming the field. `records`
sets aside what cannot be read, so that one odd record never hides its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from crmkit.connectors.base import Unreadable
from crmkit.connectors.exact import builder
from crmkit.model import Kind, Record, Ref

R = TypeVar("R", bound=Record)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = len("2026-09-20T08:00:00")
# Distance from UTC by the end of a date-time; a server writes one or two of them.
_OFFSETS: dict[str, timedelta] = {"+00:00": timedelta(0)}


class FieldError(ValueError):
    """One field of a vendor's record cannot be read."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def records(
    model: type[R],
    connection: str,
    kind: Kind,
    payloads: Iterable[Any],
    translate: Callable[[Any], dict[str, Any]],
    identify: Callable[[Any], str],
) -> tuple[list[R], list[Unreadable]]:
    """Translate a page.

    Args:
        model: The canonical record.
        connection: Name of the connection, for refs.
        kind: What the records are.
        payloads: The vendor's rows.
        translate: Gives the model's fields for one row; raises `FieldError`, or
            `KeyError`/`TypeError`/`AttributeError` when the row has another shape.
        identify: The id of a row, so that an unreadable one can be named.

    Returns:
        The records in order, and those that could not be read.
    """
    build = _build(model)
    found: list[R] = []
    unreadable: list[Unreadable] = []
    misfits: list[Unreadable] = []
    for payload in payloads:
        try:
            row = translate(payload)
        except FieldError as error:
            unreadable.append(_unreadable(connection, kind, payload, identify, error.field, error.reason))
            continue
        except KeyError as error:
            unreadable.append(
                _unreadable(connection, kind, payload, identify, str(error.args[0]), "is missing")
            )
            continue
        except (TypeError, AttributeError, ValueError) as error:
            reason = f"has an unexpected shape ({type(error).__name__})"
            unreadable.append(_unreadable(connection, kind, payload, identify, "?", reason))
            continue
        # Record by record, as what was just made is still in the processor's cache.
        record = build(row)
        if record is not None:
            found.append(record)
            continue
        try:
            found.append(model.model_validate(row))
        except ValidationError as problem:
            first = problem.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "?"
            misfits.append(Unreadable(row["ref"], field, first["msg"]))
    return found, unreadable + misfits


def _build(model: type[R]) -> Callable[[Mapping[str, Any]], R | None]:
    """What makes a record without pydantic's checks where they would find nothing."""
    known = builder(model)
    return known.build if known else lambda row: None


def _unreadable(
    connection: str, kind: Kind, payload: Any, identify: Callable[[Any], str], field: str, reason: str
) -> Unreadable:
    try:
        native = identify(payload)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        native = "unknown"
    return Unreadable(Ref(connection, kind, native), field, reason)


def text(value: Any, field: str) -> str | None:
    """A text, or `None` if unset or empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise FieldError(field, f"is a {type(value).__name__}, not a text")
    return value


def native_id(value: Any, field: str) -> str | None:
    """An id as text, whether the CRM sent digits as a number or as a text."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise FieldError(field, f"is a {type(value).__name__}, not an id")
    return str(value)


def number(value: Any, field: str) -> Decimal | None:
    """An exact number from a JSON number or a decimal text; never through a float."""
    if value is None or value == "":
        return None
    if type(value) is int:
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise FieldError(field, f"is a {type(value).__name__}, not a number")
    try:
        result = Decimal(value)
    except InvalidOperation:
        raise FieldError(field, "is not a number") from None
    if not result.is_finite():
        raise FieldError(field, "is not a finite number")
    return result


def percent(value: Any, field: str) -> Decimal | None:
    """A probability from 0..100 to a fraction from 0 to 1."""
    share = number(value, field)
    if share is None:
        return None
    if not 0 <= share <= 100:
        raise FieldError(field, "is not between 0 and 100")
    return share / 100


def fraction(value: Any, field: str) -> Decimal | None:
    """A probability that the CRM already holds as a fraction from 0 to 1."""
    share = number(value, field)
    if share is not None and not 0 <= share <= 1:
        raise FieldError(field, "is not between 0 and 1")
    return share


def instant(value: Any, field: str, *, naive_is_utc: bool = False) -> datetime | None:
    """An ISO 8601 date-time, in UTC.

    Args:
        value: The text; `None` and `""` are unset.
        field: Its name.
        naive_is_utc: Whether a text without offset means UTC; otherwise it is an error.
    """
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise FieldError(field, "is not a date-time") from None
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        if not naive_is_utc:
            raise FieldError(field, "has no UTC offset")
        return moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def moment(value: Any, field: str) -> datetime | None:
    """A date-time of a server that writes whole seconds and its own offset, in UTC.

    Twice as quick as `instant` for these, and the same for any other text.
    """
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value[:_SECONDS] + "+00:00") - _OFFSETS[value[_SECONDS:]]
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    found = instant(value, field)
    if found is not None:
        _learn_offset(value[_SECONDS:])
    return found


def _learn_offset(end: str) -> None:
    if len(end) == len("+03:00"):  # so no fraction of a second
        offset = datetime.fromisoformat(f"2000-01-01T00:00:00{end}").utcoffset()
        if offset is not None:
            _OFFSETS[end] = offset


def utc_text(time: datetime) -> str:
    """What `isoformat` gives for a time in UTC, in half the time."""
    found: str = msgspec.to_builtins(time)
    return found[:-1] + "+00:00" if found[-1] == "Z" else time.isoformat()


def from_seconds(value: Any, field: str) -> datetime | None:
    """Unix seconds, in UTC."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise FieldError(field, f"is a {type(value).__name__}, not Unix seconds")
    try:
        return _EPOCH + timedelta(seconds=float(value))
    except OverflowError:
        raise FieldError(field, "is not a time that can be") from None


def day(value: Any, field: str) -> date | None:
    """A bare `YYYY-MM-DD`."""
    if value is None or value == "":
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise FieldError(field, "is not a day (YYYY-MM-DD)") from None


def yes_no(value: Any, field: str, *, yes: Iterable[Any], no: Iterable[Any]) -> bool | None:
    """A boolean in the vendor's spelling; `None` and `""` are unset."""
    if value is None or value == "":
        return None
    if value in yes:
        return True
    if value in no:
        return False
    raise FieldError(field, "is neither yes nor no")
