"""How a real portal's records become rows: notes are HTML, and further links stand in a book."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import fitting
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.fitting import Unfit, structure_ids, unused
from crmkit.sandbox.hubspot.app import HubSpotApp
from crmkit.sandbox.hubspot.catalogue import KEPT
from crmkit.sandbox.hubspot.content import KEY_PROPERTY
from crmkit.sandbox.hubspot.links import TYPES
from crmkit.sandbox.rows import CustomField

_SAID: Mapping[str, Mapping[str, Any]] = {
    "owner": {"externalOptions": True, "referencedObjectType": "OWNER"},
    "money": {"showCurrencySymbol": True},
}
_WIRE: Mapping[str, tuple[str, str]] = {
    "number": ("number", "number"),
    "money": ("number", "number"),
    "boolean": ("bool", "booleancheckbox"),
    "day": ("date", "date"),
    "time": ("datetime", "date"),
    "choice": ("enumeration", "select"),
    "choices": ("enumeration", "checkbox"),
    "owner": ("enumeration", "select"),
}


class Fitting(fitting.Fitting):
    """A portal."""

    most: ClassVar = {("contact", "phones"): 2, ("company", "phones"): 1}
    any_stage = True

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A property; what is unique or worked out by HubSpot stays so."""
        made = super().field(kind, field)
        said = _SAID.get(field.type, {})
        made.extra = {"wire": _WIRE.get(field.type, ("string", "text")), "said": said}
        if field.unique:
            made.extra["hasUniqueValue"] = True
        if field.read_only:
            made.extra["calculated"] = True
        return made

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """A company with its key."""
        self._keep(base, "company", company.key)
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """A contact with its key and its place."""
        self._keep(
            base, "contact", contact.key, city=contact.city, country=contact.country, zip=contact.postcode
        )
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """A deal; its close date is one moment, which is kept for closed ones alone."""
        if deal.outcome == "open":
            base["closed_at"] = None
        if self.outcomes.get((deal.pipeline_id, deal.stage_id), "open") != deal.outcome:
            raise Unfit("deal", deal.id, "stage", f"{deal.stage_id} is not one of its pipeline")
        self._keep(
            base,
            "deal",
            deal.key,
            notes_next_activity_date=deal.next_activity,
            hs_manual_forecast_category=deal.forecast_category,
        )
        return base

    def _keep(self, base: dict[str, Any], kind: plan.FieldKind, key: str | None, **kept: Any) -> None:
        custom = base["custom"]
        custom |= {KEPT + name: value for name, value in kept.items() if value is not None}
        if key is not None:
            field = self.fields[kind].get(KEY_PROPERTY)
            if field is None:
                raise Unfit(kind, base["id"], "key", f"needs the property {KEY_PROPERTY}")
            custom[field.key] = key

    def notes(self) -> Iterable[plan.Note]:
        """Each note once: a reader gives a note of several deals several times, as `<note>:<deal>`."""
        return (note for note in self.blueprint.notes if ":" not in note.id)

    def note(self, note: plan.Note, base: dict[str, Any]) -> dict[str, Any]:
        """A note whose HTML stays as it is."""
        base["custom"] = {KEPT + "hs_note_body": (note.text, note.text)}
        return base

    def finish(self, app: VendorApp) -> None:
        """Write down further companies and deals, and the parts that people play."""
        portal = cast("HubSpotApp", app).portal
        portal.made_ids = unused(portal.made_ids, structure_ids(self.blueprint))
        book = portal.book
        labels: dict[str, int] = {}
        pair = ("deal", "contact")
        for deal in self.blueprint.deals:
            for company in deal.company_ids[1:]:
                book.put(("deal", "company"), deal.id, company, _plain("deal", "company"))
            for person in deal.people:
                if person.role is None:
                    continue
                if person.role not in labels:
                    name = f"role_{len(labels) + 1}"
                    labels[person.role] = book.add_label(pair, name, person.role, None)[1].type_id
                book.put(pair, deal.id, person.id, _plain(*pair) | {labels[person.role]})
        for contact in self.blueprint.contacts:
            for company in contact.company_ids[1:]:
                book.put(("contact", "company"), contact.id, company, _plain("contact", "company"))
        for note in self.blueprint.notes:
            native, copy, _ = note.id.partition(":")
            if copy and note.deal_id is not None:
                book.put(("note", "deal"), native, note.deal_id, _plain("note", "deal"))


def _plain(source: str, target: str) -> frozenset[int]:
    return frozenset({TYPES[source, target][0].type_id})
