"""Values of custom fields: between a CRM's own options and types and what every CRM understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

Plain: TypeAlias = Any
"""A JSON value: text, number, boolean, null or a list of them."""

_SPOKEN = frozenset({"text", "choice", "choices"})


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A value without a counterpart: never merged and never written, only reported."""

    reason: str


@dataclass(frozen=True, slots=True)
class CustomField:
    """A custom field of one connection.

    Attributes:
        id: The CRM's id of it.
        type: As `connectors.base.Field.type`.
        common: The CRM's value to the common value.
        options_only: Whether a value that is not in `common` has no counterpart.
    """

    id: str
    type: str = "text"
    common: Mapping[str, str] = field(default_factory=dict)
    options_only: bool = False


def decoded(custom: CustomField, native: Plain) -> Plain | Unmapped:
    """The common value of what a custom field holds."""
    if native is None or native == []:
        return None
    if isinstance(native, list):
        values = [decoded(custom, one) for one in native]
        missing = next((one for one in values if isinstance(one, Unmapped)), None)
        return missing if missing is not None else sorted(values, key=str)
    if isinstance(native, str) and native in custom.common:
        return custom.common[native]
    if custom.options_only and isinstance(native, str):
        return Unmapped(f"the value {native!r} of {custom.id} has no common value")
    return tidy(native)


def fitted(custom: CustomField, value: Plain) -> list[Any] | Unmapped:
    """A common value in a field's own options and type; several values only where it holds several."""
    back = {common: native for native, common in custom.common.items()}
    natives: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        if one is None:
            continue
        said = ("Yes" if one else "No") if isinstance(one, bool) and custom.type in _SPOKEN else one
        if custom.options_only and said not in back:
            return Unmapped(f"the common value {said!r} has no value of {custom.id}")
        natives.append(back.get(said, said) if isinstance(said, str) else said)
    if len(natives) > 1 and custom.type != "choices":
        if custom.type != "text":
            return Unmapped(f"{custom.id} holds one value, not {len(natives)}")
        natives = [", ".join(map(str, natives))]
    try:
        return [typed(one, custom.type) for one in natives]
    except (ValueError, KeyError, InvalidOperation):
        return Unmapped(f"{value!r} is not a {custom.type}, which {custom.id} holds")


def written_custom(custom: CustomField, value: Plain) -> dict[str, Any] | Unmapped:
    """The model value that expresses a common value, under `custom.<id>`."""
    found = fitted(custom, value)
    if isinstance(found, Unmapped):
        return found
    return {f"custom.{custom.id}": _whole(custom, found) if found else None}


def restored_custom(custom: CustomField, native: Plain) -> dict[str, Any]:
    """The model value that puts back exactly what the field held, under `custom.<id>`."""
    many = native if isinstance(native, list) else [native]
    found = [typed(one, custom.type) for one in many if one is not None]
    return {f"custom.{custom.id}": _whole(custom, found)}


def _whole(custom: CustomField, values: list[Any]) -> Any:
    """Several values where the field holds several, else the one; `None` if there is none."""
    if custom.type == "choices":
        return tuple(values)
    return values[0] if values else None


def converted(source: CustomField, target: CustomField, value: Any) -> Plain | Unmapped:
    """A custom field's stored value as another CRM's field holds it, as plain JSON; `None` if it is empty."""
    native = plain_custom(value, source.type)
    if native is None or native == []:
        return None
    many = native if isinstance(native, list) else [native]
    found = fitted(target, [source.common.get(one, one) if isinstance(one, str) else one for one in many])
    if isinstance(found, Unmapped):
        return found
    plain = [plain_custom(one, target.type) for one in found]
    return plain if target.type == "choices" else plain[0]


def plain_custom(value: Any, kind: str) -> Plain:
    """A custom field's value as plain JSON; numbers alike, however they were written."""
    if value is None or value in ((), []):
        return None
    if isinstance(value, (tuple, list)):
        return sorted((plain_custom(one, kind) for one in value), key=str)
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, Decimal)) or kind in ("number", "money"):
        try:
            return plain_number(value)
        except InvalidOperation:
            return value
    if isinstance(value, datetime):
        return value.isoformat()
    return plain_text(value)


def typed(value: Any, kind: str) -> Any:
    """A plain value as the model has it for a type of field.

    Raises:
        ValueError, KeyError, InvalidOperation: It is no value of that type.
    """
    if kind in ("number", "money"):
        return Decimal(value)
    if kind == "boolean" and isinstance(value, str):
        return {"true": True, "false": False}[value.lower()]
    if kind == "day":
        return date.fromisoformat(value)
    if kind == "time":
        return datetime.fromisoformat(value)
    return value if isinstance(value, str) or kind == "boolean" else str(value)


def plain_number(value: Any) -> str | None:
    """A number as text, the same for equal numbers; `None` stays.

    Raises:
        InvalidOperation: It is no number.
    """
    if value is None:
        return None
    text = format(Decimal(value).normalize(), "f")
    return "0" if text == "-0" else text


def plain_text(value: Any) -> str | None:
    """A day or a text as text; `None` stays."""
    return value.isoformat() if isinstance(value, date) else value


def tidy(value: Plain) -> Plain:
    """A text without the blanks and line ends that CRMs change by themselves."""
    if not isinstance(value, str):
        return value
    return value.replace("\r\n", "\n").strip() or None
