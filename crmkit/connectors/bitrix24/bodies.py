"""Canonical values as the fields of a request: pure, the inverse of `records.py`.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crmkit.connectors.bitrix24.encoding import (
    CustomFields,
    Unwritable,
    day_text,
    decimal_text,
    id_text,
    time_text,
)
from crmkit.connectors.bitrix24.holding import held
from crmkit.connectors.bitrix24.multifields import TYPES, new_rows, wanted_of
from crmkit.model import Kind

# The model's field behind each field of a request; `contactIds` and `companyIds` hold whole sets.
WIRE_NAMES: Mapping[Kind, Mapping[str, str]] = {
    Kind.DEAL: {
        "name": "title",
        "pipeline_id": "categoryId",
        "stage_id": "stageId",
        "amount": "opportunity",
        "currency": "currencyId",
        "probability": "probability",
        "owner_id": "assignedById",
        "companies": "companyId",
        "contacts": "contactIds",
        "expected_close": "closedate",
        "source": "sourceId",
        "created_at": "createdTime",
        "closed_at": "movedTime",
    },
    Kind.COMPANY: {"name": "title", "owner_id": "assignedById", "created_at": "createdTime"},
    Kind.CONTACT: {
        "first_name": "name",
        "last_name": "lastName",
        "owner_id": "assignedById",
        "companies": "companyIds",
        "created_at": "createdTime",
    },
}
# The same in the older methods, which clear what `crm.item.update` leaves as it is.
LEGACY_NAMES: Mapping[str, str] = {
    "title": "TITLE",
    "opportunity": "OPPORTUNITY",
    "probability": "PROBABILITY",
    "companyId": "COMPANY_ID",
    "closedate": "CLOSEDATE",
    "sourceId": "SOURCE_ID",
    "name": "NAME",
    "lastName": "LAST_NAME",
}
UNCLEARABLE = {
    "name": "a record without a name gets one from Bitrix24",
    "pipeline_id": "a deal is always in a pipeline",
    "stage_id": "a deal is always in a stage",
    "owner_id": "a record always has a responsible person",
    "currency": "a deal always has a currency",
}
_SETS = frozenset({"contacts", "companies"})


@dataclass(slots=True)
class Body:
    """What one change becomes.

    Attributes:
        fields: `fields` of the request.
        emptied: Fields of the model that are cleared by a call of their own.
        multi: Wanted texts of the multi-field by type, for an update.
        unwritten: Fields that cannot be written, with the reason.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    emptied: list[str] = field(default_factory=list)
    multi: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unwritten: dict[str, str] = field(default_factory=dict)


def body_of(kind: Kind, values: Mapping[str, Any], customs: CustomFields, *, creating: bool) -> Body:
    """The request for values of a deal, company or contact.

    Raises:
        Unwritable: A value cannot be stored.
    """
    body = Body()
    wanted = held(kind, values, customs)
    for name, value in wanted.items():
        if name.startswith("custom."):
            _custom(body, name.removeprefix("custom."), value, customs, creating=creating)
        elif name in TYPES:
            continue
        elif kind is Kind.CONTACT and name == "name":
            _contact_name(body, wanted)
        elif name not in WIRE_NAMES[kind]:
            body.unwritten[name] = "Bitrix24 keeps no such field"
        elif value in (None, (), ""):
            _clear(body, kind, name, creating=creating)
        else:
            encode = _company if kind is Kind.DEAL and name == "companies" else _ENCODERS[name]
            body.fields[WIRE_NAMES[kind][name]] = encode(value, name)
    if not import_times(body.fields):
        body.fields.pop("movedTime", None)  # a deal cannot have moved before it was created
    if "opportunity" in body.fields:
        # Otherwise the sum of the deal's products takes the amount's place.
        body.fields["isManualOpportunity"] = "Y"
    if kind is Kind.DEAL and creating:
        # Without a word about them a new deal ends in a week and came from the first source.
        body.fields = {"closedate": "", "sourceId": "", **body.fields}
    texts = wanted_of(wanted)
    if creating and (rows := new_rows(texts)):
        body.fields["fm"] = rows
    elif not creating:
        body.multi = texts
    return body


def _clear(body: Body, kind: Kind, name: str, *, creating: bool) -> None:
    if name in UNCLEARABLE:
        # A new record gets what the portal's settings say; a name made up for it is reported.
        if not creating or name == "name":
            body.unwritten[name] = UNCLEARABLE[name]
    elif name in ("created_at", "closed_at") or creating:
        return
    elif name in _SETS and WIRE_NAMES[kind][name].endswith("Ids"):
        # An empty list cannot travel in a batch, so a call of its own empties it.
        body.emptied.append(name)
    else:
        body.fields[WIRE_NAMES[kind][name]] = "0" if name == "companies" else ""


def _custom(body: Body, name: str, value: Any, customs: CustomFields, *, creating: bool) -> None:
    if value is not None:
        body.fields[name] = customs.wire(name, value)
    elif not creating:
        customs.wire(name, None)  # raises for a field that cannot be written
        if customs.multiple(name):
            body.emptied.append(f"custom.{name}")
        else:
            body.fields[name] = ""


def _contact_name(body: Body, wanted: Mapping[str, Any]) -> None:
    """A contact's name is made of its two halves; by itself it is split at its first space."""
    if "first_name" in wanted or "last_name" in wanted:
        return
    first, last = halves_of(str(wanted["name"] or ""))
    body.fields |= {"name": first, "lastName": last}


def halves_of(name: str) -> tuple[str, str]:
    """A first and a last name that are read back as the same name."""
    at = name.find(" ", len(name) - len(name.lstrip()))
    return (name, "") if at < 0 or at + 1 == len(name) else (name[:at], name[at + 1 :])


def import_times(fields: Mapping[str, Any]) -> bool:
    """Whether a create sets times, which only an import may."""
    return "createdTime" in fields


def legacy_name(wire: str, customs: CustomFields) -> str | None:
    """A field's name in the older methods."""
    return customs.legacy(wire) or LEGACY_NAMES.get(wire)


def cannot_hold(
    kind: Kind, values: Mapping[str, Any], customs: CustomFields, currencies: Sequence[str]
) -> dict[str, str]:
    """Fields whose value cannot be stored, with the reason."""
    reasons: dict[str, str] = {}
    wanted = held(kind, values, customs)
    for name in wanted:
        try:
            body = body_of(kind, {name: wanted[name]}, customs, creating=False)
        except Unwritable as error:
            reasons[error.field] = error.reason
        else:
            reasons |= body.unwritten
    if kind is Kind.DEAL and wanted.get("amount") is None and wanted.get("currency") is None:
        reasons.pop("currency", None)
    currency = wanted.get("currency")
    if kind is Kind.DEAL and currency and currencies and currency not in currencies:
        reasons["currency"] = f"the portal has no currency {currency}"
    if kind is Kind.CONTACT and "first_name" in values and "last_name" in values and "name" in values:
        made = " ".join(part for part in (values["first_name"], values["last_name"]) if part)
        if values["name"] and values["name"] != made:
            reasons["name"] = "a contact's name is made of its first and last name"
    return reasons


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unwritable(name, "is not a text")
    if len(value) > 255:
        raise Unwritable(name, "is longer than 255 characters")  # (inferred: the column's width)
    return value


def _amount(value: Any, name: str) -> str:
    # The portal calculates with binary floating point: fifteen digits are exact (inferred).
    if isinstance(value, Decimal) and value.is_finite() and abs(value) >= Decimal(10) ** 13:
        raise Unwritable(name, "is too large to be kept exactly")
    return decimal_text(value, name)


def _percent(value: Any, name: str) -> str:
    share = Decimal(decimal_text(value, name))
    if not 0 <= share <= 1:
        raise Unwritable(name, "is not between 0 and 1")
    return format((share * 100).to_integral_value(), "f")


def _currency(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) != 3 or not value.isalpha():
        raise Unwritable(name, "is not a currency code")
    return value


def _company(value: Any, name: str) -> str:
    return id_text(value[0], name)


def _people(value: Any, name: str) -> list[str]:
    return [id_text(one.id, name) for one in value]


def _companies(value: Any, name: str) -> list[str]:
    return [id_text(one, name) for one in value]


def _stage(value: Any, name: str) -> str:
    return str(value)


_ENCODERS: Mapping[str, Callable[[Any, str], Any]] = {
    "name": _name,
    "first_name": _name,
    "last_name": _name,
    "pipeline_id": id_text,
    "stage_id": _stage,
    "amount": _amount,
    "currency": _currency,
    "probability": _percent,
    "owner_id": id_text,
    "companies": _companies,
    "contacts": _people,
    "expected_close": day_text,
    "source": _stage,
    "created_at": time_text,
    "closed_at": time_text,
}
