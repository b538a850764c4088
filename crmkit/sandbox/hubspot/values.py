"""Property values as they are written: texts, numbers, days, moments, options; and what is wrong with them.

Codes are HubSpot's (contract, section 9) but for `INVALID_OWNER_ID`, `VALUE_TOO_LONG` and
`VALIDATION_RULE_FAILED`, which nothing public names; most texts are ours.
Source: https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from crmkit.sandbox.hubspot.answers import invalid, invalid_properties
from crmkit.sandbox.hubspot.catalogue import Property, WireType
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.properties import find_property, options_of

T = TypeVar("T")
_TEXT_MOST = 65_536
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_WHOLE = re.compile(r"-?\d{1,15}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]{2,}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MOST = 100_000_000_000  # more than that can only be milliseconds


class BadValue(Exception):
    """A value that its property does not take."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Written(NamedTuple):
    """The checked values of one record by name of property, and what was made of sloppy ones."""

    values: dict[str, Any]
    warnings: list[dict[str, Any]]


class Reader:
    """Checks what a call writes to records of one type; good for that call.

    Args:
        lenient: Whether sloppy dates are put right with a warning, as from 2026-09 on.
    """

    def __init__(self, portal: Portal, one_type: ObjectType, *, lenient: bool) -> None:
        self.portal, self.one_type, self.lenient = portal, one_type, lenient
        self._known: dict[str, Property | None] = {}
        self._rules = portal.settings.extra.get("validation_rules", {}).get(one_type.plural, {})
        self._options: dict[str, dict[str, None]] = {}

    def property(self, name: str) -> Property | None:
        """The property of this name."""
        if name not in self._known:
            self._known[name] = find_property(self.portal, self.one_type, name)
        return self._known[name]

    def read(self, said: Any, before: Any | None) -> Written:
        """The values of one record; 400 with all bad ones at once."""
        if not isinstance(said, Mapping):
            invalid("Invalid input JSON: properties must be an object")
        values: dict[str, Any] = {}
        warnings: list[dict[str, Any]] = []
        bad: dict[str, tuple[str, str]] = {}
        for name, raw in said.items():
            one = self.property(name)
            if one is None:
                bad[name] = ("PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist')
                continue
            if one.calculated:
                # The guides of notes and tasks say that what cannot be written is ignored there.
                if self.one_type.plural not in {"notes", "tasks"}:
                    bad[name] = (
                        "READ_ONLY_VALUE",
                        f'"{name}" is a read only property; its value cannot be set.',
                    )
                continue
            try:
                text = _as_text(raw)
                values[name] = self._value(one, text, before, warnings)
                self._check_rule(name, text)
            except BadValue as error:
                bad[name] = (error.code, error.message)
        if bad:
            invalid_properties(bad, self.portal.portal_id)
        return Written(values, warnings)

    def _check_rule(self, name: str, text: str) -> None:
        # A portal's admins may make rules of their own; what their refusal is called is not known.
        rule = self._rules.get(name)
        if rule is not None and text and not re.fullmatch(rule, text):
            raise BadValue("VALIDATION_RULE_FAILED", f"{text} does not follow the rule of this property.")

    def _value(self, one: Property, text: str, before: Any | None, warnings: list[dict[str, Any]]) -> Any:
        if text == "":
            return None
        if one.type in {"date", "datetime"} and self.lenient:
            value, normal = _sloppy(one.type, text)
            if normal is not None:
                context = {"propertyName": one.name, "rawValue": text, "normalizedValue": normal}
                warnings.append(
                    {
                        "category": "PROPERTY_VALUE_NORMALIZED",
                        "message": f"{one.name} was normalized",
                        "context": context,
                    }
                )
            return value
        if one.type == "enumeration":
            return self._chosen(one, text, before)
        if one.name == "email":
            return _email(text)
        return _READERS[one.type](text)

    def _chosen(self, one: Property, text: str, before: Any | None) -> str | tuple[str, ...]:
        # A semicolon in front appends to what is there instead of replacing it.
        parts = [part for part in text.split(";") if part] if one.multiple else [text]
        if one.name == "hs_additional_emails":
            parts = [_email(part) for part in parts]
        for part in parts:
            self._check_option(one, part)
        if not one.multiple:
            return text
        present: tuple[str, ...] = ()
        if text.startswith(";") and before is not None:
            known = one.value(before, self.portal.facts()) or ()
            present = tuple(known.split(";")) if isinstance(known, str) else known
        return tuple(dict.fromkeys((*present, *parts)))

    def _check_option(self, one: Property, value: str) -> None:
        if one.of_owners:
            owner = self.portal.world.users.get(value)
            if owner is None or not owner.active:
                # That an archived owner is refused is not documented; who never assigns one is right.
                raise BadValue("INVALID_OWNER_ID", f"{value} was not the id of an active owner.")
            return
        options = self._options.get(one.name)
        if options is None:
            options = self._options[one.name] = {option: None for _, option in options_of(self.portal, one)}
        if value not in options and (options or one.custom is not None):
            raise BadValue(
                "INVALID_OPTION", f"{value} was not one of the allowed options: [{', '.join(options)}]"
            )


def day_of(text: str) -> date:
    """A day, as text or as the milliseconds at which it begins in UTC."""
    if _DAY.fullmatch(text):
        return _try(date.fromisoformat, text)
    if _WHOLE.fullmatch(text):
        moment = _EPOCH + timedelta(milliseconds=int(text))
        if moment.time() == time.min:
            return moment.date()
    raise BadValue("INVALID_DATE", f"{text} is not at midnight UTC, or not a date.")


def moment_of(text: str) -> datetime:
    """A moment, as ISO text with its zone, a day, or milliseconds; kept to the millisecond."""
    if _WHOLE.fullmatch(text):
        return _try(lambda digits: _EPOCH + timedelta(milliseconds=int(digits)), text)
    moment = _try(datetime.fromisoformat, text)
    if moment.tzinfo is None:
        if not _DAY.fullmatch(text):
            raise BadValue("INVALID_DATE", f"{text} has no time zone.")
        moment = moment.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def _sloppy(kind: WireType, text: str) -> tuple[date | datetime, str | None]:
    """The value of what 2026-09 puts right, with the milliseconds it stores; `None`: nothing had to be."""
    try:
        return (day_of if kind == "date" else moment_of)(text), None
    except BadValue:
        pass
    if _WHOLE.fullmatch(text) and abs(int(text)) < _SECONDS_MOST:
        moment = _EPOCH + timedelta(seconds=int(text))
    elif _WHOLE.fullmatch(text):
        moment = moment_of(text)
    else:
        moment = _try(datetime.fromisoformat, text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if kind == "date":
        moment = datetime.combine(moment.date(), time.min, UTC)
    millis = str(int((moment - _EPOCH).total_seconds() * 1_000))
    return (moment.date() if kind == "date" else moment), millis


def _as_text(raw: Any) -> str:
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return raw
    if isinstance(raw, Decimal):
        return format(raw, "f")
    if isinstance(raw, int):
        return str(raw)
    invalid("Invalid input JSON: the value of a property must be a text, a number or a boolean")


def _text(text: str) -> str:
    if len(text) > _TEXT_MOST:
        raise BadValue("VALUE_TOO_LONG", f"A value has at most {_TEXT_MOST} characters, not {len(text)}.")
    return text


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise BadValue("INVALID_LONG", f"{text} was not a valid long.")
    return Decimal(text)


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise BadValue("INVALID_OPTION", f"{text} was not one of the allowed options: [true, false]")
    return text == "true"


def _email(text: str) -> str:
    # Stored in lower case and without spaces around it (widely seen; not in the reference).
    cleaned = text.strip().lower()
    if not _EMAIL.fullmatch(cleaned):
        raise BadValue("INVALID_EMAIL", f"Email address {text} is invalid")
    return cleaned


def _try(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except (ValueError, OverflowError) as error:
        raise BadValue("INVALID_DATE", f"{text} was not a valid date.") from error


_READERS: Mapping[WireType, Callable[[str], Any]] = {
    "string": _text,
    "number": _number,
    "date": day_of,
    "datetime": moment_of,
    "bool": _boolean,
}
