"""From values of the model to the row that Zoho is sent: the inverse of records.py. No calls.

What a field cannot hold is told per field. Where leaving the field out would write
something wrong (an amount in another currency, a deal without its stage), the whole
change is refused; otherwise the rest is written and the field is named as unwritten.

Source: https://www.zoho.com/crm/developer/docs/api/v8/insert-records.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from crmkit.connectors.zoho import values as wire
from crmkit.connectors.zoho.columns import KEY_FIELD
from crmkit.connectors.zoho.places import place
from crmkit.connectors.zoho.shape import Shape
from crmkit.connectors.zoho.values import CannotHold, Meta
from crmkit.model import DealContact, Kind, ValuePeriod

Encoder: TypeAlias = Callable[[Any, Meta], Any]

NOTE_CHARS = 65_535
TITLE_CHARS = 120
CUSTOM = "custom."
_PHONES = ("Phone", "Mobile", "Home_Phone", "Other_Phone")
_EMAILS = ("Email", "Secondary_Email")


def _link(value: Any, meta: Meta) -> Any:
    return wire.link(value)


def _owner(value: Any, meta: Meta) -> Any:
    if value is None:
        raise CannotHold("a record of Zoho always has an owner")
    return wire.link(value)


def _name(value: Any, meta: Meta) -> str:
    short = wire.text(value, meta)
    if not short:
        raise CannotHold("a record of Zoho always has a name")
    return short


def _first_company(value: Any, meta: Meta) -> Any:
    return wire.link(value[0] if value else None)


def _main_contact(value: Any, meta: Meta) -> Any:
    main = main_contact(value or ())
    return wire.link(main.id if main else None)


def _tags(value: Any, meta: Meta) -> list[dict[str, str]]:
    # The set is replaced (inferred). If Zoho only added, a tag taken away would show again
    # in the next read, as somebody's edit there.
    return [{"name": name} for name in tags(value or ())]


# Model field to Zoho's field and how it is written, where one stands for one.
_PLAIN: Mapping[Kind, Mapping[str, tuple[str, Encoder]]] = {
    Kind.DEAL: {
        "name": ("Deal_Name", _name),
        "amount": ("Amount", lambda value, meta: None if value is None else wire.number(value, meta)),
        # With a stage in the same row Zoho sets that stage's default first (inferred).
        "probability": ("Probability", lambda value, _: wire.percent(value)),
        "owner_id": ("Owner", _owner),
        "companies": ("Account_Name", _first_company),
        "contacts": ("Contact_Name", _main_contact),
        "expected_close": ("Closing_Date", lambda value, _: wire.day(value)),
        "source": ("Lead_Source", wire.choice),
        "lost_reason": ("Reason_For_Loss__s", wire.choice),
        "tags": ("Tag", _tags),
    },
    Kind.COMPANY: {
        "name": ("Account_Name", _name),
        "domain": ("Website", wire.text),
        "owner_id": ("Owner", _owner),
        "city": ("Billing_City", wire.text),
        "country": ("Billing_Country", wire.text),
        "postcode": ("Billing_Code", wire.text),
    },
    Kind.CONTACT: {
        "owner_id": ("Owner", _owner),
        "companies": ("Account_Name", _first_company),
        "city": ("Mailing_City", wire.text),
        "country": ("Mailing_Country", wire.text),
        "postcode": ("Mailing_Zip", wire.text),
    },
}
# Model field to the fields that hold its values one by one.
_SEVERAL: Mapping[Kind, Mapping[str, Sequence[str]]] = {
    Kind.DEAL: {},
    Kind.COMPANY: {"phones": ("Phone",)},
    Kind.CONTACT: {"phones": _PHONES, "emails": _EMAILS},
}
# Every record has them, whatever the metadata lists.
_ALWAYS = {"Deal_Name", "Stage", "Account_Name", "Last_Name", "Owner"}
# Told by other fields of the same record, so there is nothing to write.
DERIVED = {"outcome", "forecast_category"}
# Without these the rest of the change would say something else than what was meant.
_VITAL = {
    "name", "pipeline_id", "stage_id", "amount", "currency", "value_period", "first_name", "last_name",
}  # fmt: skip


class Refused(Exception):
    """A change that must not be sent: `field` is the model's."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class Body:
    """One row, and the fields that are not in it, with the reason."""

    row: dict[str, Any]
    unwritten: dict[str, str] = field(default_factory=dict)


def writable_fields(kind: Kind) -> frozenset[str]:
    """The model fields that can be written at all."""
    own = {
        Kind.DEAL: {"pipeline_id", "stage_id", "currency", "custom"},
        Kind.COMPANY: {"custom"},
        Kind.CONTACT: {"name", "first_name", "last_name", "custom"},
    }
    return frozenset(own[kind] | _PLAIN[kind].keys() | _SEVERAL[kind].keys())


def body(kind: Kind, values: Mapping[str, Any], shape: Shape, *, creating: bool) -> Body:
    """The row for a create or an update; a create leaves unset fields out.

    Raises:
        Refused: A field that the change cannot do without cannot be held.
    """
    problems = dict(cannot_hold(kind, values, shape))
    for name in values:
        if name in _VITAL and name in problems:
            raise Refused(name, problems[name])
    row: dict[str, Any] = {}
    for name, value in values.items():
        if name not in problems:
            row |= _cells(kind, name, value, values, shape)
    if creating:
        row = {name: value for name, value in row.items() if value is not None and value != []}
        # An unset value in a create is what Zoho fills in by itself, such as the owner.
        problems = {name: why for name, why in problems.items() if values[name] not in (None, ())}
    return Body(row, {**problems, **_left_over(kind, values, shape, problems)})


def cannot_hold(kind: Kind, values: Mapping[str, Any], shape: Shape) -> Mapping[str, str]:
    """The fields whose value Zoho cannot store, with the reason."""
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            _check(kind, name, value, values, shape)
        except CannotHold as error:
            found[name] = str(error)
    return found


def main_contact(contacts: Sequence[DealContact]) -> DealContact | None:
    """The contact that becomes the deal's `Contact_Name`."""
    return next((one for one in contacts if one.primary), contacts[0] if contacts else None)


def tags(names: Sequence[str]) -> tuple[str, ...]:
    """Tags as Zoho keeps them: each once, without blanks around."""
    return tuple(dict.fromkeys(short for name in names if (short := wire.trimmed(name))))


def several(value: Sequence[str] | None) -> tuple[str, ...]:
    """Values as they are spread over fields: each once, none empty."""
    return tuple(dict.fromkeys(short for one in value or () if (short := wire.trimmed(one))))


def slots(kind: Kind, name: str, shape: Shape) -> Sequence[str]:
    """The fields of this org that hold a model field's values one by one."""
    every = _SEVERAL[kind][name]
    return [one for one in every if shape.fields is None or one in shape.fields]


def person(values: Mapping[str, Any]) -> dict[str, str | None]:
    """First and last name as they are written: Zoho wants a last name.

    The whole name is used only where the parts do not tell it: its last word is the last
    name then.
    """
    first, last, whole = (_short(values.get(name)) for name in ("first_name", "last_name", "name"))
    if last or ("last_name" not in values and ("first_name" in values or "name" not in values)):
        given = {"first_name": first, "last_name": last}
        return {name: part for name, part in given.items() if name in values}
    *before, final = (whole or first or "").split() or [""]
    return {"first_name": " ".join(before) or None, "last_name": final or None}


def model_field(kind: Kind, api_name: str) -> str | None:
    """The model's name of one of Zoho's fields."""
    special = {"Stage": "stage_id", "Pipeline": "pipeline_id", "Currency": "currency", KEY_FIELD: "key"}
    special |= {"First_Name": "first_name", "Last_Name": "last_name", "Note_Content": "text"}
    if api_name in special:
        return special[api_name]
    for name, (cell, _) in _PLAIN.get(kind, {}).items():
        if cell == api_name:
            return name
    for name, cells in _SEVERAL.get(kind, {}).items():
        if api_name in cells:
            return name
    if kind not in _PLAIN or api_name in {"id", "Layout", "data"}:
        return None
    return CUSTOM + api_name


def _check(kind: Kind, name: str, value: Any, values: Mapping[str, Any], shape: Shape) -> None:
    if name.startswith(CUSTOM):
        api_name = name.removeprefix(CUSTOM)
        if api_name == KEY_FIELD:
            raise CannotHold("holds crmkit's own key")
        _writable(api_name, shape)
        if shape.fields is not None:
            wire.encode(value, shape.meta(api_name))
    elif name in _PLAIN[kind]:
        cell, encode = _PLAIN[kind][name]
        # An empty value of a field that this org does not have is already there.
        if value not in (None, (), []):
            _writable(cell, shape)
        encode(value, shape.meta(cell))
    elif name in _SEVERAL[kind]:
        wanted = several(value)
        if wanted and not slots(kind, name, shape):
            raise CannotHold("this org has no field for it")
        for one, cell in zip(wanted, slots(kind, name, shape), strict=False):
            wire.text(one, shape.meta(cell))
    elif kind is Kind.DEAL and name in {"pipeline_id", "stage_id"}:
        place(values, shape, name)
    elif kind is Kind.DEAL and name == "currency":
        _check_currency(value, values, shape)
    elif kind is Kind.DEAL and name == "value_period":
        if value not in (None, ValuePeriod.ONE_TIME):
            raise CannotHold("Zoho has no recurring amounts")
    elif kind is Kind.DEAL and name == "outcome":
        stage = (shape.stages or {}).get(values.get("stage_id") or "")
        if stage is not None and value not in (None, stage.outcome):
            raise CannotHold(f"the stage counts as {stage.outcome} in Zoho")
    elif kind is Kind.CONTACT and name in {"name", "first_name", "last_name"}:
        _check_person(name, values, shape)
    elif name not in DERIVED and value not in (None, (), ""):
        raise CannotHold("Zoho's API does not write it")


def _check_currency(value: Any, values: Mapping[str, Any], shape: Shape) -> None:
    if value is None:
        if values.get("amount") is not None:
            raise CannotHold("an amount needs a currency")
    elif shape.one_currency:
        if shape.currency is not None and value != shape.currency:
            raise CannotHold("this org uses one currency only, and it is another one")
    elif shape.currencies is not None and value not in shape.currencies:
        raise CannotHold("this org does not have the currency, or not in use")


def _check_person(name: str, values: Mapping[str, Any], shape: Shape) -> None:
    parts = person(values)
    if "last_name" in parts and not parts["last_name"]:
        if name == "last_name" or "last_name" not in values:
            raise CannotHold("a contact of Zoho always has a last name")
        return
    cell = {"first_name": "First_Name", "last_name": "Last_Name"}.get(name)
    if cell and parts.get(name):
        wire.text(parts[name], shape.meta(cell))
    elif name == "name" and "first_name" not in values and "last_name" not in values:
        wire.text(parts["last_name"], shape.meta("Last_Name"))
        wire.text(parts["first_name"], shape.meta("First_Name"))


def _writable(api_name: str, shape: Shape) -> None:
    """Raise `CannotHold` for a field that Zoho would ignore in silence, or refuse."""
    if shape.fields is None or api_name in _ALWAYS:
        return
    meta = shape.fields.get(api_name)
    if meta is None:
        raise CannotHold(f"this org has no field {api_name}")
    allowed = meta.get("operation_type")
    closed = isinstance(allowed, dict) and allowed.get("api_update") is False
    if closed or meta.get("read_only") is True or meta.get("field_read_only") is True:
        raise CannotHold(f"{api_name} is read-only")


def _cells(kind: Kind, name: str, value: Any, values: Mapping[str, Any], shape: Shape) -> Mapping[str, Any]:
    """The part of a row that one model field stands for; it was checked."""
    if name.startswith(CUSTOM):
        api_name = name.removeprefix(CUSTOM)
        return {api_name: wire.encode(value, shape.meta(api_name))}
    if name in _PLAIN[kind]:
        cell, encode = _PLAIN[kind][name]
        if value in (None, (), []) and shape.fields is not None and cell not in {*shape.fields, *_ALWAYS}:
            return {}
        return {cell: encode(value, shape.meta(cell))}
    if name in _SEVERAL[kind]:
        free = slots(kind, name, shape)
        wanted = several(value)
        return {cell: wanted[at] if at < len(wanted) else None for at, cell in enumerate(free)}
    if kind is Kind.DEAL and name in {"pipeline_id", "stage_id"}:
        return place(values, shape, name)
    if kind is Kind.DEAL and name == "currency" and value is not None and not shape.one_currency:
        return {"Currency": value}
    if kind is Kind.CONTACT and name in {"name", "first_name", "last_name"}:
        cells = {"first_name": "First_Name", "last_name": "Last_Name"}
        return {cells[part]: text for part, text in person(values).items()}
    return {}


def _left_over(
    kind: Kind, values: Mapping[str, Any], shape: Shape, problems: Mapping[str, str]
) -> dict[str, str]:
    """What has no room beside the first values."""
    found: dict[str, str] = {}
    companies = values.get("companies") or ()
    if "companies" in _PLAIN[kind] and "companies" not in problems and len(companies) > 1:
        found["companies"] = f"Zoho links one company; {len(companies) - 1} more are not linked"
    for name in _SEVERAL[kind].keys() & values.keys() - problems.keys():
        more = len(several(values[name])) - len(slots(kind, name, shape))
        if more > 0:
            found[name] = f"Zoho has no room for {more} of them"
    return found


def _short(value: Any) -> str | None:
    return wire.trimmed(value) if isinstance(value, str) else None
