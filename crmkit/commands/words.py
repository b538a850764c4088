"""Numbers with the right form of their noun."""

from __future__ import annotations

from collections.abc import Mapping

_RECORDS = {"company": "companies", "contact": "contacts", "deal": "deals"}
_HELD = {
    "conflict": ("conflict", "conflicts"),
    "frozen": ("frozen field", "frozen fields"),
    "review": ("record to review", "records to review"),
    "required": ("missing required value", "missing required values"),
    "unmapped": ("unmapped value", "unmapped values"),
    "unwritable": ("unwritable value", "unwritable values"),
    "refused": ("refused write", "refused writes"),
    "delete_conflict": ("delete conflict", "delete conflicts"),
    "merged": ("merged record", "merged records"),
    "clone": ("copied record", "copied records"),
    "blocked": ("blocked write", "blocked writes"),
    "parked": ("parked write", "parked writes"),
    "foreign": ("record of another crmkit", "records of another crmkit"),
}


def plural(count: int, one: str, several: str = "") -> str:
    """`1 write`, `2 writes`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def records(count: int, kind: str) -> str:
    """`1 company`, `2 companies`."""
    return plural(count, kind, _RECORDS.get(kind, ""))


def many(count: int, kind: str) -> str:
    """So many held findings of a kind."""
    return plural(count, *_HELD.get(kind, (kind, kind)))


def counted(kinds: Mapping[str, int]) -> str:
    """Held findings by kind, in one phrase."""
    return ", ".join(many(count, kind) for kind, count in sorted(kinds.items()))
