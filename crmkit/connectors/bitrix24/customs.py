"""Custom fields: how each is read, decided once per read from `crm.item.fields`.

Source: https://apidocs.bitrix24.com/api-reference/crm/data-types.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from crmkit.connectors.base import Field
from crmkit.connectors.bitrix24.values import day
from crmkit.connectors.translate import FieldError, moment, number, yes_no
from crmkit.model import CustomValue

Reader: TypeAlias = Callable[[Any, str], CustomValue]

_YES = (True, 1, "1", "Y", "y")
_NO = (False, 0, "0", "N", "n")
_UNSET: tuple[Any, ...] = ("", [])
_LINKS = frozenset(
    {"enumeration", "employee", "user", "file", "crm", "crm_status", "iblock_element", "iblock_section"}
)
_TYPES = {
    "string": "text",
    "text": "text",
    "char": "text",
    "url": "text",
    "address": "text",
    "integer": "number",
    "double": "number",
    "money": "money",
    "boolean": "boolean",
    "date": "day",
    "datetime": "time",
    "enumeration": "choice",
    "crm_status": "choice",
    "employee": "owner",
    "user": "owner",
    "crm": "link",
    "crm_company": "link",
    "crm_contact": "link",
    "crm_lead": "link",
    "crm_category": "link",
    "iblock_element": "link",
    "iblock_section": "link",
}


class Customs:
    """The custom fields of one kind of record, ready to read rows.

    Args:
        described: `fields` of `crm.item.fields`.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._readers: list[tuple[str, Reader]] = [
            (name, _reader(str(one.get("type") or ""), multiple=one.get("isMultiple") in _YES))
            for name, one in described.items()
            if isinstance(one, Mapping) and one.get("isDynamic") in _YES
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, as rows carry them."""
        return tuple(name for name, _ in self._readers)

    def read(self, row: Mapping[str, Any]) -> dict[str, CustomValue]:
        """The values that are set.

        Raises:
            FieldError: A value is not of its field's type.
        """
        values: dict[str, CustomValue] = {}
        for name, reader in self._readers:
            raw = row.get(name)
            if raw is None or raw in _UNSET:
                continue
            value = reader(raw, name)
            if value is not None:
                values[name] = value
        return values


def field_of(name: str, described: Mapping[str, Any]) -> Field:
    """One field of `crm.item.fields`; `id` is the name that rows carry."""
    vendor_type = str(described.get("type") or "")
    multiple = described.get("isMultiple") in _YES
    kind = _TYPES.get(vendor_type, "other")
    if multiple:
        kind = {"choice": "choices", "owner": "owner", "link": "link"}.get(kind, "other")
    options = described.get("items") or ()
    return Field(
        id=name,
        label=str(described.get("title") or name),
        type=kind,
        custom=described.get("isDynamic") in _YES,
        required=described.get("isRequired") in _YES,
        read_only=described.get("isReadOnly") in _YES,
        max_length=_longest(described.get("settings")),
        options={
            str(one["ID"]): str(one.get("VALUE") or "")
            for one in (options.values() if isinstance(options, Mapping) else options)
            if isinstance(one, Mapping) and "ID" in one
        },
    )


def _longest(settings: Any) -> int | None:
    """How many characters a text may have; 0 is no limit."""
    told = settings.get("MAX_LENGTH") if isinstance(settings, Mapping) else None
    return int(told) or None if isinstance(told, (int, str)) and str(told).isdecimal() else None


def _reader(vendor_type: str, *, multiple: bool) -> Reader:
    single = _SINGLE.get(vendor_type, _link if vendor_type in _LINKS else _text)
    return _many(single) if multiple else single


def _many(single: Reader) -> Reader:
    def read(value: Any, field: str) -> CustomValue:
        if value is False:
            return None
        if isinstance(value, dict) and "id" not in value:
            value = list(value.values())
        several: Sequence[Any] = value if isinstance(value, list) else [value]
        texts = [_as_text(one) for raw in several if (one := single(raw, field)) is not None]
        return tuple(texts) or None

    return read


def _as_text(value: CustomValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)


def _text(value: Any, field: str) -> str | None:
    if value is None or value == "" or value is False:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Decimal)):
        return str(value)
    # A type that is not known here: kept as it came rather than dropped.
    return msgspec.json.encode(value).decode() if value else None


def _link(value: Any, field: str) -> str | None:
    """An id: of an option, a person, a record or a file; 0 is none."""
    if type(value) is dict:
        # A file's addresses carry tokens, so only its id is kept.
        value = value.get("id", value.get("ID"))
    if not value or value == "0":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise FieldError(field, f"is a {type(value).__name__}, not an id")
    return str(value)


def _integer(value: Any, field: str) -> int | None:
    if value is False:
        return None
    amount = number(value, field)
    if amount is None:
        return None
    if amount != amount.to_integral_value():
        raise FieldError(field, "is not a whole number")
    return int(amount)


def _double(value: Any, field: str) -> Decimal | None:
    return None if value is False else number(value, field)


def _money(value: Any, field: str) -> str | None:
    """Amount and currency as `300.00|USD`: one value, kept together."""
    if value is None or value is False or value == "":
        return None
    if not isinstance(value, str):
        raise FieldError(field, f"is a {type(value).__name__}, not an amount with a currency")
    amount, _, currency = value.partition("|")
    if number(amount.strip(), field) is None:
        return None
    if currency and not (len(currency) == 3 and currency.isalpha()):
        raise FieldError(field, "has no currency code behind the amount")
    return value


def _boolean(value: Any, field: str) -> bool | None:
    return yes_no(value, field, yes=_YES, no=_NO)


def _time(value: Any, field: str) -> datetime | None:
    return None if value is False else moment(value, field)


_SINGLE: dict[str, Reader] = {
    "integer": _integer,
    "double": _double,
    "money": _money,
    "boolean": _boolean,
    "date": day,
    "datetime": _time,
}
