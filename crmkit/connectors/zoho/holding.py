"""Values as Zoho would give them back after storing them. No calls.

Left out of the result, because other fields tell them: `outcome`, `forecast_category` and
`closed_at` of a deal (its stage), and `name` of a contact where the parts are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crmkit.connectors.zoho import values as wire
from crmkit.connectors.zoho.bodies import CUSTOM, DERIVED, main_contact, person, several, slots, tags
from crmkit.connectors.zoho.records import Reading
from crmkit.connectors.zoho.shape import Shape
from crmkit.model import DealContact, Kind, Outcome, ValuePeriod

_HAS_VALUES = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
_TEXTS = {"name", "source", "lost_reason", "city", "country", "postcode", "text"}


def holds(kind: Kind, values: Mapping[str, Any], shape: Shape) -> Mapping[str, Any]:
    """The values as a read would bring them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if not (kind is Kind.DEAL and (name in DERIVED or name == "closed_at")):
            found[name] = _held(kind, name, value, shape)
    if kind is Kind.CONTACT:
        _hold_person(found, values)
    if kind is Kind.DEAL:
        _hold_deal(found, shape)
    return found


def _held(kind: Kind, name: str, value: Any, shape: Shape) -> Any:
    if name.startswith(CUSTOM):
        return wire.held(value, shape.meta(name.removeprefix(CUSTOM)))
    if name in _TEXTS and isinstance(value, str):
        return wire.trimmed(value) or ("" if name == "name" else None)
    if name in {"phones", "emails"} and kind in _HAS_VALUES:
        return several(value)[: len(slots(kind, name, shape))]
    if name == "domain":
        return _domain(value)
    if name == "companies":
        return tuple(value or ())[:1]
    return value


def _hold_deal(found: dict[str, Any], shape: Shape) -> None:
    amount, probability = found.get("amount"), found.get("probability")
    if isinstance(amount, Decimal):
        found["amount"] = wire.rounded(amount, shape.meta("Amount"))
    if isinstance(probability, Decimal) and 0 <= probability <= 1:
        found["probability"] = Decimal(wire.percent(probability) or 0) / 100
    if "value_period" in found:
        found["value_period"] = ValuePeriod.ONE_TIME
    if "tags" in found:
        found["tags"] = tags(found["tags"] or ())
    if "currency" in found:
        found["currency"] = found["currency"] or shape.currency
    if "contacts" in found:
        # Only `Contact_Name` is read: further contacts are contact roles.
        main = main_contact(found["contacts"] or ())
        found["contacts"] = (DealContact(id=main.id, primary=True),) if main else ()
    stage = (shape.stages or {}).get(found.get("stage_id") or "")
    if stage is not None and stage.outcome is not Outcome.LOST and "lost_reason" in found:
        found["lost_reason"] = None


def _hold_person(found: dict[str, Any], values: Mapping[str, Any]) -> None:
    parts = person(values)
    if "first_name" in values or "last_name" in values:
        found.pop("name", None)
        found.update({name: part for name, part in parts.items() if name in values or part})
    elif "name" in values:
        found["name"] = " ".join(part for part in parts.values() if part)


def _domain(value: Any) -> str | None:
    """A web address as its host, in the very way in which it is read."""
    if not isinstance(value, str):
        return None
    row = {"id": "0", "Website": wire.trimmed(value)}
    found: str | None = Reading("").company(row)["domain"]
    return found
