"""What is wrong with a write, and how Copper says it: one way for a call, another for an item of a bulk.

Sources: https://developer.copper.com/introduction/responses.html ,
https://developer.copper.com/leads/bulk-update-leads.html
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from crmkit.sandbox.copper.answers import Body, failure

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field; `base` stands for what belongs to no field.

    The recorded text is "Name: can't be blank" and the documented code `invalid`; the other texts and codes
    follow the same Rails conventions (inferred).
    """

    field: str
    code: str
    text: str

    @property
    def label(self) -> str:
        """What people call the field."""
        return self.field.removesuffix("_id").replace("_", " ").capitalize()


class Invalid(Exception):
    """A write that is not carried out, with everything that is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(", ".join(f"{problem.label}: {problem.text}" for problem in problems))
        self.problems = problems

    def response(self) -> Response:
        """The answer to a call of its own; several problems are joined by commas (inferred)."""
        return failure(422, f"Invalid input: Validation errors: {self}")

    def item(self, record_id: Any = None) -> dict[str, Any]:
        """What stands in the answer of a bulk in the place of the record."""
        message: dict[str, list[dict[str, str]]] = {}
        for problem in self.problems:
            message.setdefault(problem.field, []).append({"error": problem.code})
        shown: dict[str, Any] = {"success": False, "message": message}
        return shown if record_id is None else {**shown, "id": record_id}


def invalid(field: str, text: str = "is invalid", code: str = "invalid") -> Invalid:
    """A write with one thing wrong."""
    return Invalid(Problem(field, code, text))


class Form:
    """Takes values out of the body of a write and collects what is wrong with them.

    Read-only fields are passed over in silence, so that a record that was read can be sent back whole; a key
    that no record has is refused, as it is in searches (both inferred for writes).

    Attributes:
        problems: What is wrong so far.
    """

    def __init__(self, body: Body, writable: Collection[str], read_only: Collection[str]) -> None:
        self.body = body
        self.problems: list[Problem] = []
        for key in body:
            if key not in writable and key not in read_only:
                self.wrong("base", f"Unknown parameter {key}", "unknown")

    def __contains__(self, key: str) -> bool:
        return key in self.body

    def wrong(self, field: str, text: str = "is invalid", code: str = "invalid") -> None:
        """Note a problem."""
        self.problems.append(Problem(field, code, text))

    def check(self) -> None:
        """Give up if anything is wrong.

        Raises:
            Invalid: Something is.
        """
        if self.problems:
            raise Invalid(*self.problems)

    def text(self, key: str, *, required: bool = False, most: int | None = None) -> str | None:
        """A text, or `None`."""
        value = self.body.get(key)
        if value is not None and not isinstance(value, str):
            self.wrong(key)
            return None
        if required and not (value or "").strip():
            self.wrong(key, "can't be blank", "blank")
        if value and most and len(value) > most:
            self.wrong(key, f"is too long (maximum is {most} characters)", "too_long")
        return value

    def record(self, key: str, known: Collection[str]) -> str | None:
        """The id of something that exists, as our rows have it, or `None`."""
        value = self.body.get(key)
        if value is None:
            return None
        found = id_of(value)
        if found is None or found not in known:
            self.wrong(key)
            return None
        return found

    def number(self, key: str) -> Decimal | None:
        """An amount of money, to the cent (rounding inferred), or `None`."""
        value = self.body.get(key)
        if value is None:
            return None
        number = decimal_of(value)
        if number is None:
            self.wrong(key, "is not a number", "not_a_number")
            return None
        exponent = number.as_tuple().exponent
        fine = isinstance(exponent, int) and exponent >= -2
        return number if fine else number.quantize(_CENT)

    def percent(self, key: str) -> float | None:
        """A whole number from 0 to 100, as a share, or `None`."""
        value = self.body.get(key)
        if value is None:
            return None
        number = decimal_of(value)
        if number is None or number != int(number) or not 0 <= number <= 100:
            self.wrong(key, "must be an integer between 0 and 100")
            return None
        return int(number) / 100

    def one_of(self, key: str, choices: Collection[str]) -> str | None:
        """One of the words, spelled exactly so, or `None`."""
        value = self.body.get(key)
        if value is not None and (not isinstance(value, str) or value not in choices):
            self.wrong(key, "does not have a valid value", "inclusion")
            return None
        return value

    def tags(self) -> tuple[str, ...]:
        """All tags of the record: a write replaces them (inferred)."""
        value = self.body.get("tags")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            self.wrong("tags")
            return ()
        return tuple(dict.fromkeys(tag.strip() for tag in value if tag.strip()))

    def parts(
        self, key: str, name: str, categories: Sequence[str], default: str
    ) -> tuple[tuple[str, str], ...]:
        """A list such as `[{"number": ..., "category": ...}]`, as pairs; a write replaces it (inferred)."""
        value = self.body.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong(key)
            return ()
        pairs = []
        for part in value:
            said = part.get(name) if isinstance(part, dict) else None
            category = (part.get("category") if isinstance(part, dict) else None) or default
            if not isinstance(said, str) or not said.strip() or category not in categories:
                self.wrong(key)
                return ()
            pairs.append((said.strip(), category))
        return tuple(dict.fromkeys(pairs))


def id_of(value: Any) -> str | None:
    """An id as our rows have it; old documents write ids as strings, and both work (inferred)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None


def decimal_of(value: Any) -> Decimal | None:
    """A number with the digits it has, or `None`; digits in a string are one too (inferred)."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None
