"""Bodies of writes, value by value; everything that is wrong with one is told in one answer.

Only the opportunity's bodies are published as closed (`additionalProperties: false`); those of the other
kinds are taken as closed too (inferred), so that a client cannot come to rely on a key that is dropped.
Texts of messages are ours but for the recorded ones.
Source: https://developer.close.com/api/overview/http-response-codes
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from crmkit.sandbox.close.answers import invalid

NO_SUCH_OBJECT = "Object does not exist."  # recorded
REQUIRED = "This field is required."
FILES = "https://app.close.com/go/file/"


class Body:
    """A JSON object being read.

    Attributes:
        said: What was sent.
        problems: What is wrong with it, by the key that is told; references lose their `_id`.
        tz: How far from UTC the caller's day is, from `x-tz-offset`.
    """

    def __init__(
        self, said: Mapping[str, Any], known: Collection[str] | None, tz: timedelta = timedelta()
    ) -> None:
        self.said, self.tz = said, tz
        self.problems: dict[str, str] = {}
        if known is not None:
            for key in said:
                if key not in known and not key.startswith("custom."):
                    self.problems[key] = "Unknown field."

    def __contains__(self, name: str) -> bool:
        return name in self.said

    def wrong(self, name: str, message: str) -> None:
        """Remember what is wrong with a value."""
        self.problems.setdefault(name.removesuffix("_id"), message)

    def finish(self, errors: Iterable[str] = ()) -> None:
        """Refuse the body if anything is wrong with it."""
        if self.problems or errors:
            raise invalid(self.problems, errors)

    def given(self, name: str, *, nullable: bool = True) -> bool:
        """Whether there is a value to read; says so where null is not allowed."""
        if name not in self.said:
            return False
        if self.said[name] is None:
            if not nullable:
                self.wrong(name, "This field may not be null.")
            return False
        return True

    def text(self, name: str, *, nullable: bool = True, required: bool = False) -> str | None:
        """A text; required ones are not empty."""
        if not self.given(name, nullable=nullable and not required):
            if required:
                self.wrong(name, REQUIRED)
            return None
        value = self.said[name]
        if not isinstance(value, str):
            self.wrong(name, "Expected a string.")
            return None
        if required and not value.strip():
            self.wrong(name, REQUIRED)
        return value

    def whole(
        self, name: str, *, low: int | None = None, high: int | None = None, nullable: bool = True
    ) -> int | None:
        """A whole number; 12.0 and "12" are none."""
        if not self.given(name, nullable=nullable):
            return None
        value = self.said[name]
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(name, "Expected an integer.")
            return None
        if (low is not None and value < low) or (high is not None and value > high):
            self.wrong(name, f"Must be between {low} and {high}.")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        if not self.given(name):
            return None
        value = self.said[name]
        if not isinstance(value, bool):
            self.wrong(name, "Expected a boolean.")
            return None
        return value

    def choice(self, name: str, allowed: Collection[str], *, nullable: bool = True) -> str | None:
        """One of a few words."""
        value = self.text(name, nullable=nullable)
        if value is not None and value not in allowed:
            self.wrong(name, f"Not a valid choice: {value}.")
        return value

    def moment(self, name: str) -> datetime | None:
        """A time, kept to the millisecond as stored values show it (whether more survives is unknown)."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return read_stored_moment(value)
        except ValueError:
            self.wrong(name, "Expected an ISO 8601 date-time.")
            return None

    def day(self, name: str) -> date | None:
        """A day; a date-time is cut to the day it is in the caller's zone."""
        value = self.text(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            return (moment.astimezone(UTC) + self.tz).date() if moment.tzinfo else moment.date()
        except (ValueError, OverflowError):
            self.wrong(name, "Expected a date or an ISO 8601 date-time.")
            return None

    def rows(self, name: str, required: Collection[str]) -> list[Mapping[str, Any]]:
        """A list of objects with these keys in each."""
        value = self.said.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
            self.wrong(name, "Expected a list of objects.")
            return []
        for row in value:
            for key in required:
                if not isinstance(row.get(key), str) or not row[key].strip():
                    self.wrong(name, f"{key}: {REQUIRED}")
        return value

    def attachments(self) -> tuple[dict[str, Any], ...]:
        """Files that were uploaded before; only Close's own addresses are taken."""
        rows = self.rows("attachments", ("filename", "url"))
        if not all(str(row.get("url")).startswith(FILES) for row in rows):
            self.wrong("attachments", f"url: Must begin with {FILES}.")
        return tuple(
            {
                "content_type": row.get("content_type") or "",
                "filename": row.get("filename"),
                "size": 0,
                "thumbnail_url": None,
                "url": row.get("url"),
            }
            for row in rows
        )


def read_stored_moment(text: str) -> datetime:
    """A time as a record keeps it: in UTC, to the millisecond; raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
