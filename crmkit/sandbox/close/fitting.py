"""How a real organization's records become rows: names and keys are custom fields, all is on leads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import fitting
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.close.app import CloseApp
from crmkit.sandbox.close.seed import DEAL_NAME
from crmkit.sandbox.fitting import Unfit, custom_values
from crmkit.sandbox.rows import CustomField, Option, Pipeline, Stage

KEY_LABEL = "crmkit_id"
NAME_LABELS = ("crmkit_name", "deal name")  # what readers take for a deal's name
_TYPES: Mapping[str, str] = {
    "number": "number",
    "day": "date",
    "time": "datetime",
    "choice": "choices",
    "choices": "choices",
    "owner": "user",
    "link": "contact",
}


class Fitting(fitting.Fitting):
    """An organization."""

    numbered = False
    most: ClassVar = {("deal", "companies"): 1, ("deal", "contacts"): 1, ("contact", "companies"): 1}

    def __init__(self, blueprint: plan.Blueprint) -> None:
        super().__init__(blueprint)
        deals = blueprint.fields.get("deal", ())
        self._name_field = _name_field(deals, blueprint.name_field)
        self._currency = blueprint.base_currency
        self._several = {field_id for field_id, value in custom_values(blueprint) if isinstance(value, tuple)}
        self._on_deals = {note.deal_id: note.text for note in blueprint.notes if note.id == note.deal_id}

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A custom field; choices have no ids."""
        made = super().field(kind, field)
        made.options = tuple(Option(label, label) for label in field.options)
        several = field.type in {"choices", "other"} or field.id in self._several
        made.extra = {"type": _TYPES.get(field.type, "text"), "multiple": several}
        if kind == "deal" and field.id == self._name_field:
            made.key = DEAL_NAME
        return made

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """A lead with its address, whatever of it is known."""
        if (company.country or company.postcode) and not company.city:
            base["custom"]["_addresses"] = (
                {
                    "address_1": None,
                    "city": None,
                    "country": company.country,
                    "label": "business",
                    "zipcode": company.postcode,
                },
            )
        self._mark(base, "company", company.key)
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """A contact, which has one name and belongs to a lead."""
        if not contact.company_ids:
            raise Unfit("contact", contact.id, "companies", "name no lead, which every contact belongs to")
        base |= {"first": contact.name, "last": ""}
        self._mark(base, "contact", contact.key)
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """An opportunity, which belongs to a lead and is in the organization's currency."""
        if not deal.company_ids:
            raise Unfit("deal", deal.id, "companies", "name no lead, which every opportunity belongs to")
        if deal.currency is not None and self._currency not in (None, deal.currency):
            raise Unfit(
                "deal", deal.id, "currency", f"is {deal.currency}, the organization's {self._currency}"
            )
        if deal.amount is not None and deal.amount != round(deal.amount, 2):
            raise Unfit("deal", deal.id, "amount", "has parts of a cent")
        base["custom"].pop(DEAL_NAME, None)  # it stands in the row's own name
        if self._name_field is None:
            base["name"] = ""  # readers make a name of the lead's
        text = self._on_deals.get(deal.id)
        if text is not None:
            base["custom"]["note"] = text
        self._mark(base, "deal", deal.key)
        return base

    def notes(self) -> Iterable[plan.Note]:
        """The notes of leads; a deal's own note is a field of it."""
        return (note for note in self.blueprint.notes if note.id != note.deal_id)

    def _mark(self, base: dict[str, Any], kind: plan.FieldKind, key: str | None) -> None:
        if key is None:
            return
        found = next((field for field in self.fields[kind].values() if field.label == KEY_LABEL), None)
        if found is None:
            raise Unfit(kind, base["id"], "key", f"needs the custom field {KEY_LABEL}")
        base["custom"][found.key] = key

    def finish(self, app: VendorApp) -> None:
        """Histories still name statuses that were deleted since."""
        former = cast("CloseApp", app).records.former
        gone = Pipeline("pipe_deleted", "Deleted", 0, [])
        for visit in self.blueprint.visits:
            for stage_id in (visit.from_stage_id, visit.to_stage_id):
                if stage_id is not None and stage_id not in former:
                    former[stage_id] = (gone, Stage(stage_id, "Deleted", 0, "open"))


def _name_field(fields: Iterable[plan.Field], said: str | None) -> str | None:
    if said is not None:
        return next((field.id for field in fields if said in (field.id, field.label)), None)
    labels = [(field.label.lower(), field.id) for field in fields]
    return next((native for wanted in NAME_LABELS for label, native in labels if label == wanted), None)
