"""What Zoho's answer to a batch means for each of its rows. No calls.

Rows answer in the order of the request, whatever the HTTP status says; each tells its own
outcome.

Source: https://www.zoho.com/crm/developer/docs/api/v8/status-codes.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crmkit.connectors.sending import unanswered
from crmkit.connectors.translate import FieldError, instant
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.connectors.zoho.bodies import model_field
from crmkit.model import Kind, Ref

Row = Mapping[str, Any]
_PLACE = re.compile(r"\$\.data\[(\d+)\](?:\.([^.\[]+))?")
# Somebody or something holds the record: another run may find it free.
_HELD = {"RECORD_LOCKED", "NOT_APPROVED", "NOT_REVIEWED", "RECORD_IN_BLUEPRINT", "DEPENDENT_SERVICE_ERROR"}
_LIMITS = {"TOO_MANY_REQUESTS", "RATE_LIMIT_EXCEEDED"}
_UNCLEAR = {"INTERNAL_ERROR", "INTERNAL_SERVER_ERROR"}


def succeeded(row: Row) -> bool:
    """Whether a row was written."""
    return row.get("code") == "SUCCESS" or row.get("status") == "success"


def outcomes(
    changes: Sequence[Change], rows: Sequence[Row], connection: str, short: Callable[[str], str]
) -> list[Written]:
    """One outcome per change: by position, unless what the rows say contradicts it.

    Args:
        changes: In the order in which they were sent.
        rows: The rows of the answer.
        connection: Name of the connection, for refs.
        short: Makes Zoho's words fit for messages.
    """
    if len(rows) == len(changes) and all(map(_fits, changes, range(len(rows)), rows)):
        pairs = list(zip(changes, rows, strict=True))
    else:
        pairs = _by_identity(changes, rows)
    found = [outcome(change, row, connection, short) for change, row in pairs]
    return found + unanswered(changes, found)


def outcome(change: Change, row: Row, connection: str, short: Callable[[str], str]) -> Written:
    """What one row says about one change."""
    details = _details(row)
    if succeeded(row):
        return _done(change, details, connection)
    errors = _errors(row)
    clash = next((one for one in errors if one.get("code") == "DUPLICATE_DATA"), None)
    if clash is not None:
        other = _existing(_details(clash))
        field = _field(change.kind, clash)
        if other is not None:
            ref = Ref(connection, change.kind, other)
            return Written(change.id, Result.EXISTS, ref, field=field, reason=_reason([clash], short))
        return Written(change.id, Result.REJECTED, field=field, reason=_reason([clash], short))
    result = _result(change, errors[0])
    field = _field(change.kind, errors[0]) if result is Result.REJECTED else None
    return Written(change.id, result, change.ref, field=field, reason=_reason(errors, short))


def _done(change: Change, details: Row, connection: str) -> Written:
    native = details.get("id") or (change.ref.id if change.ref else None)
    if not isinstance(native, str):
        reason = "Zoho says that it was written, but not under which id"
        return Written(change.id, Result.UNKNOWN, reason=reason)
    version = None if change.act is Act.DELETE else _version(details.get("Modified_Time"))
    return Written(change.id, Result.DONE, Ref(connection, change.kind, native), version)


def _result(change: Change, error: Row) -> Result:
    code = error.get("code")
    if code == "ALREADY_MODIFIED":
        return Result.STALE
    if code in _HELD or code in _LIMITS:
        return Result.UNSENT
    if code in _UNCLEAR:
        return Result.UNKNOWN
    if code == "INVALID_DATA" and change.act is not Act.CREATE and _about_the_id(change, error):
        return Result.GONE
    return Result.REJECTED


def _about_the_id(change: Change, error: Row) -> bool:
    """Whether the id of the record itself is what is wrong, not one that it points at.

    The shapes are inferred: the field `id` of the row, the id in the path, or, for a
    delete, nothing but the id.
    """
    details = _details(error)
    place = _PLACE.match(str(details.get("json_path", "")))
    if place is not None and place[2] is not None:
        return place[2] == "id"
    named = details.get("api_name")
    if named is not None:
        return bool(named == "id")
    by_path = details.get("resource_path_index") is not None
    return by_path or change.act is Act.DELETE or details.get("id") == (change.ref and change.ref.id)


def _fits(change: Change, at: int, row: Row) -> bool:
    """Whether a row can be the answer to the change that was sent at its position."""
    index = _index(row)
    if index is not None and index != at:
        return False
    native = _details(row).get("id")
    mine = change.ref.id if change.ref else None
    about_itself = succeeded(row) or row.get("code") == "ALREADY_MODIFIED"
    return not (about_itself and mine and native and native != mine)


def _by_identity(changes: Sequence[Change], rows: Sequence[Row]) -> list[tuple[Change, Row]]:
    by_id = {change.ref.id: change for change in changes if change.ref}
    found: dict[str, tuple[Change, Row]] = {}
    for row in rows:
        index = _index(row)
        if index is not None and index < len(changes):
            change: Change | None = changes[index]
        else:  # in a clash the id is the other record's, but then there is an index
            change = by_id.get(str(_details(row).get("id")))
        if change is not None:
            found.setdefault(change.id, (change, row))
    return list(found.values())


def _index(row: Row) -> int | None:
    errors = [row] if succeeded(row) else _errors(row)
    for error in errors:
        place = _PLACE.match(str(_details(error).get("json_path", "")))
        if place is not None:
            return int(place[1])
    return None


def _errors(row: Row) -> list[Row]:
    """The row itself, or what it gathers."""
    gathered = row.get("errors") or _details(row).get("errors")
    if row.get("code") == "MULTIPLE_OR_MULTI_ERRORS" and isinstance(gathered, list):
        found: list[Row] = [one for one in gathered if isinstance(one, dict)]
        if found:
            return found
    return [row]


def _existing(details: Row) -> str | None:
    other = details.get("duplicate_record")
    native = details.get("id") or (other.get("id") if isinstance(other, dict) else None)
    return native if isinstance(native, str) and native else None


def _field(kind: Kind, error: Row) -> str | None:
    details = _details(error)
    place = _PLACE.match(str(details.get("json_path", "")))
    name = (place[2] if place else None) or details.get("api_name")
    if name is None:
        expected = details.get("expected_fields")
        first = expected[0] if isinstance(expected, list) and expected else None
        name = first.get("api_name") if isinstance(first, dict) else None
    return model_field(kind, name) if isinstance(name, str) else None


def _reason(errors: Sequence[Row], short: Callable[[str], str]) -> str:
    """Codes, Zoho's words, and which field; never a value of the record."""
    return short("; ".join(_one_reason(error) for error in errors))


def _one_reason(error: Row) -> str:
    details = _details(error)
    told = [
        f"{name}={details[name]}"
        for name in ("api_name", "expected_data_type", "maximum_length", "action")
        if name in details
    ]
    words = f"{error.get('code')}: {error.get('message')}"
    return f"{words} ({', '.join(told)})" if told else words


def _details(row: Row) -> Row:
    details = row.get("details")
    return details if isinstance(details, dict) else {}


def _version(text: Any) -> str | None:
    """The version that a read of the same state would give."""
    try:
        moment = instant(text, "Modified_Time")
    except FieldError:
        return None
    return moment.isoformat() if moment else None
