"""What Bitrix24 does to values: pure, total, and the same when done twice.

A deal has one company, so the primary one is held; people on a deal have no role. The
name of a contact is made of its first and last name and is theirs when both are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from crmkit.connectors.bitrix24.encoding import CustomFields, once
from crmkit.connectors.bitrix24.values import domain
from crmkit.model import DealContact, Kind

_CENT = Decimal("0.01")


def held(kind: Kind, values: Mapping[str, Any], customs: CustomFields) -> dict[str, Any]:
    """The values as the portal would give them back."""
    rules = _RULES.get(kind, {})
    found: dict[str, Any] = {
        name: customs.holds(name.removeprefix("custom."), value)
        if name.startswith("custom.")
        else rules[name](value)
        if name in rules
        else value
        for name, value in values.items()
    }
    if kind is Kind.CONTACT and "name" in found:
        if "first_name" in found and "last_name" in found:
            found["name"] = " ".join(part for part in (found["first_name"], found["last_name"]) if part)
        elif "first_name" in found or "last_name" in found:
            del found["name"]
    return found


def _amount(value: Any) -> Any:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) >= Decimal(10) ** 20:
        return value
    return value.quantize(_CENT, ROUND_HALF_UP)


def _probability(value: Any) -> Any:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) > 100:
        return value
    return (value * 100).quantize(Decimal(1), ROUND_HALF_UP) / 100


def _contacts(value: Any) -> Any:
    people = [one for one in value or () if isinstance(one, DealContact)]
    ordered = sorted(people, key=lambda one: not one.primary)
    ids = list(dict.fromkeys(one.id for one in ordered))
    return tuple(DealContact(id=one, primary=index == 0) for index, one in enumerate(ids))


def _first(value: Any) -> Any:
    return tuple(value or ())[:1]


def _each(value: Any) -> Any:
    return tuple(dict.fromkeys(value or ()))


def _texts(value: Any) -> Any:
    return once(value or ())


def _domain(value: Any) -> Any:
    return (domain((value,)) or value) if isinstance(value, str) and value else None


def _text(value: Any) -> Any:
    return value or None


def _title(value: Any) -> Any:
    return value or ""


def _stages(value: Any) -> Any:
    """Stages without a probability, which Bitrix24 does not keep for them."""
    return tuple(one.model_copy(update={"probability": None}) for one in value or () if not one.archived)


_PARTY: dict[str, Callable[[Any], Any]] = {"name": _title, "phones": _texts}
_RULES: Mapping[Kind, Mapping[str, Callable[[Any], Any]]] = {
    Kind.DEAL: {
        "name": _title,
        "amount": _amount,
        "probability": _probability,
        "companies": _first,
        "contacts": _contacts,
        "source": _text,
    },
    Kind.COMPANY: {**_PARTY, "domain": _domain},
    Kind.CONTACT: {
        **_PARTY,
        "emails": _texts,
        "first_name": _text,
        "last_name": _text,
        "companies": _each,
    },
    Kind.PIPELINE: {"name": _title, "stages": _stages},
    Kind.NOTE: {"text": _title},
}
