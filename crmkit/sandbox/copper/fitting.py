"""How a real account's records become rows: keys are tags, options are known by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import fitting
from crmkit.sandbox.copper.seed import FIRST_REASON, FIRST_SOURCE, NamedList
from crmkit.sandbox.fitting import Unfit
from crmkit.sandbox.rows import CustomField

MARKER = "crmkit:"
_DATA_TYPES: Mapping[str, str] = {
    "number": "Float",
    "money": "Currency",
    "boolean": "Checkbox",
    "day": "Date",
    "choice": "Dropdown",
    "choices": "MultiSelect",
    "link": "Connect",
}


class Fitting(fitting.Fitting):
    """An account."""

    most: ClassVar = {("deal", "companies"): 1, ("deal", "contacts"): 1, ("contact", "companies"): 1}

    def __init__(self, blueprint: plan.Blueprint) -> None:
        super().__init__(blueprint)
        self._made: dict[str, CustomField] = {}

    def extra(self) -> Mapping[str, Any]:
        """The account's closed lists, which a deal can be given nothing else than."""
        lists = self.blueprint.lists.get("deal", {})
        reasons, sources = (NamedList(first, ()) for first in (FIRST_REASON, FIRST_SOURCE))
        reasons.take(lists.get("loss_reason_id", {}))
        sources.take(lists.get("customer_source_id", {}))
        return {"copper_lists": (reasons, sources)}

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A definition, which is the same one on every kind that has it."""
        known = self._made.get(field.id)
        if known is not None:
            return known
        if not field.id.isdigit():
            raise Unfit("custom field", field.id, "id", "is not a number")
        made = super().field(kind, field)
        made.key = f"cf_{field.id}"
        text = "String" if field.max_length else "Text"
        data_type = _DATA_TYPES.get(field.type, text if field.type == "text" else "Other")
        made.extra = {"data_type": data_type}
        self._made[field.id] = made
        return made

    def value(self, field: CustomField, value: plan.Value) -> Any:
        """A value; options by id, as rows have them."""
        if not field.options:
            return value
        ids = {option.label: option.id for option in field.options}
        if isinstance(value, tuple):
            return tuple(ids.get(one, one) for one in value)
        return ids.get(str(value), value)

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """A company with all its phones; its key is a tag."""
        if company.phones:
            base["custom"]["phones"] = tuple((phone, "work") for phone in company.phones)
        base["tags"] = _tags((), company.key)
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """A person; what stands around first and last name is prefix, middle name and suffix."""
        custom = base["custom"]
        if contact.city or contact.country or contact.postcode:
            custom["address"] = {
                "street": None,
                "city": contact.city,
                "state": None,
                "postal_code": contact.postcode,
                "country": contact.country,
            }
        custom |= _name_parts(contact)
        base["tags"] = _tags((), contact.key)
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """An opportunity; its key is a tag."""
        base["tags"] = _tags(deal.tags, deal.key)
        return base

    def note(self, note: plan.Note, base: dict[str, Any]) -> dict[str, Any]:
        """A note on a deal, or else on a company."""
        if note.deal_id:
            base["company_id"] = None
        return base


def _tags(tags: tuple[str, ...], key: str | None) -> tuple[str, ...]:
    return tags if key is None else (*tags, MARKER + key)


def _name_parts(contact: plan.Contact) -> dict[str, str]:
    first, last, name = contact.first or "", contact.last or "", contact.name
    if name == " ".join(part for part in (first, last) if part):
        return {}
    before, found, rest = name.partition(first) if first else ("", "", name)
    middle, named, after = rest.rpartition(last) if last else ("", "", rest)
    if (first and not found) or (last and not named):
        raise Unfit("contact", contact.id, "name", "does not hold first and last name")
    parts = {"prefix": before.strip(), "middle_name": middle.strip(), "suffix": after.strip()}
    return {part: text for part, text in parts.items() if text}
