"""How the records of a blueprint become rows of a world; each vendor bends what its CRM keeps elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from crmkit.errors import SandboxError
from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import rows
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.rows import CustomField, FieldType, Option, Visit
from crmkit.sandbox.world import World

UNKNOWN = datetime(2000, 1, 1, tzinfo=UTC)  # when nobody says when
FIELD_TYPES: Mapping[str, FieldType] = {
    "number": "number",
    "money": "number",
    "boolean": "checkbox",
    "day": "date",
    "choice": "picklist",
    "choices": "multiselect",
}
KINDS: tuple[plan.FieldKind, ...] = ("company", "contact", "deal")


class Unfit(SandboxError):
    """A record of the blueprint that the CRM could not hold.

    Args:
        kind: What it is.
        record_id: Its id.
        field: The field at fault, in neutral words.
        reason: What is wrong with it, without personal data.
    """

    hint = "The blueprint does not come from this CRM, or the sandbox knows less than the CRM does."

    def __init__(self, kind: str, record_id: str, field: str, reason: str) -> None:
        super().__init__(f"{kind} {record_id}: {field} {reason}")


class Fitting:
    """Makes the rows of one twin; a vendor's own is the class `Fitting` in its module `fitting`.

    Attributes:
        numbered: Whether ids are numbers.
        one_id_space: Whether records of all kinds are numbered together.
        most: How many values a list of a record can hold, by kind and field; no entry: any number.
        any_stage: Whether a deal's stage may be one that its pipeline does not have.
        fields: The custom fields made, by kind and by their id in the blueprint.
        outcomes: What each stage means, by pipeline and stage.
        visits_by_deal: The stage history of each deal.
    """

    numbered: ClassVar[bool] = True
    one_id_space: ClassVar[bool] = False
    most: ClassVar[Mapping[tuple[str, str], int]] = {}
    any_stage: ClassVar[bool] = False

    def __init__(self, blueprint: plan.Blueprint) -> None:
        self.blueprint = blueprint
        self.fields: dict[plan.FieldKind, dict[str, CustomField]] = {kind: {} for kind in KINDS}
        self.outcomes: dict[tuple[str | None, str | None], str] = {}
        self.visits_by_deal: dict[str, list[plan.Visit]] = {}

    # What a vendor bends

    def extra(self) -> Mapping[str, Any]:
        """Settings of the vendor's own that the twin needs."""
        return {}

    def stage(self, pipeline: plan.Pipeline, stage: plan.Stage) -> rows.Stage:
        """A stage."""
        probability = None if stage.probability is None else float(stage.probability)
        return rows.Stage(stage.id, stage.name, stage.order, stage.outcome, probability)

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A custom field."""
        return CustomField(
            field.id, field.id, field.label, FIELD_TYPES.get(field.type, "text"), options_of(field)
        )

    def value(self, field: CustomField, value: plan.Value) -> Any:
        """A custom value as a row holds it."""
        return value

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """The columns of a company; `base` has those that are the same everywhere."""
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """The columns of a contact."""
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """The columns of a deal."""
        return base

    def note(self, note: plan.Note, base: dict[str, Any]) -> dict[str, Any]:
        """The columns of a note."""
        return base

    def finish(self, app: VendorApp) -> None:
        """Give the app what no row has room for."""

    def notes(self) -> Iterable[plan.Note]:
        """The notes that become rows."""
        return self.blueprint.notes

    # What is the same everywhere

    def fill(self, world: World) -> None:
        """Put everything into a world.

        Raises:
            Unfit: The CRM could not hold a record.
        """
        blueprint = self.blueprint
        for pipeline in blueprint.pipelines:
            stages = [self.stage(pipeline, stage) for stage in pipeline.stages]
            world.pipelines[pipeline.id] = rows.Pipeline(
                pipeline.id, pipeline.name, pipeline.order, stages, pipeline.archived
            )
            self.outcomes |= {(pipeline.id, stage.id): stage.outcome for stage in pipeline.stages}
        for kind, fields in blueprint.fields.items():
            for field in fields:
                made = self.field(kind, field)
                self.fields[kind][field.id] = world.fields[kind][made.key] = made
        for visit in blueprint.visits:
            self.visits_by_deal.setdefault(visit.deal_id, []).append(visit)
        self._fill_users(world)
        self._fill_parties(world)
        for deal in blueprint.deals:
            self._check("deal", deal, {"companies": deal.company_ids, "contacts": deal.people})
            self._check_links("deal", deal.id, world, deal.company_ids, [one.id for one in deal.people])
            self._check_stage(world, deal)
            columns = self.deal(deal, self._deal_columns(deal, world))
            world.load("deal", rows.Deal(**columns))
        for note in self.notes():
            self._check("note", note, {})
            columns = self.note(note, _note_columns(note))
            world.load("note", rows.Note(**columns))

    def _fill_users(self, world: World) -> None:
        for user in self.blueprint.users:
            self._check("user", user, {})
            row = rows.User(
                id=user.id, name=user.name, email=user.email or "", active=user.active, created=UNKNOWN
            )
            world.load("user", row)
        if not any(user.active for user in self.blueprint.users):
            raise SandboxError(
                f"{self.blueprint.crm}: the blueprint has no active user, who could own a login"
            )

    def _fill_parties(self, world: World) -> None:
        for company in self.blueprint.companies:
            self._check("company", company, {"phones": company.phones})
            world.load("company", rows.Company(**self.company(company, self._company_columns(company))))
        for contact in self.blueprint.contacts:
            lists = {"emails": contact.emails, "phones": contact.phones, "companies": contact.company_ids}
            self._check("contact", contact, lists)
            self._check_links("contact", contact.id, world, contact.company_ids, ())
            world.load("contact", rows.Contact(**self.contact(contact, self._contact_columns(contact))))

    def customs(
        self, kind: plan.FieldKind, record: plan.Company | plan.Contact | plan.Deal
    ) -> dict[str, Any]:
        """The custom values of a record, by `CustomField.key`."""
        found = {}
        for field_id, value in record.custom.items():
            field = self.fields[kind].get(field_id)
            if field is None:
                raise Unfit(kind, record.id, f"custom field {field_id}", "does not exist")
            found[field.key] = self.value(field, value)
        return found

    def visits_of(self, deal: plan.Deal) -> tuple[Visit, ...]:
        """The stage history of a deal, which ends where the deal is."""
        known = self.visits_by_deal.get(deal.id, [])
        made = [Visit(one.to_stage_id, one.at, one.by) for one in known]
        if known and known[0].from_stage_id is not None:
            made.insert(0, Visit(known[0].from_stage_id, min(deal.created or UNKNOWN, known[0].at), None))
        stage_id = deal.stage_id or ""
        if not made or made[-1].stage_id != stage_id:
            at = deal.stage_entered or deal.created or UNKNOWN
            made.append(Visit(stage_id, max(at, made[-1].at) if made else at, None))
        return tuple(made)

    def _company_columns(self, company: plan.Company) -> dict[str, Any]:
        return {
            "id": company.id,
            "name": company.name,
            "domain": company.domain,
            "phone": company.phones[0] if company.phones else None,
            "owner_id": company.owner_id,
            "city": company.city,
            "country": company.country,
            "postcode": company.postcode,
            "custom": self.customs("company", company),
            **_stamps(company.created, company.modified),
        }

    def _contact_columns(self, contact: plan.Contact) -> dict[str, Any]:
        return {
            "id": contact.id,
            "first": contact.first or "",
            "last": contact.last or "",
            "emails": contact.emails,
            "phones": contact.phones,
            "company_id": contact.company_ids[0] if contact.company_ids else None,
            "owner_id": contact.owner_id,
            "custom": self.customs("contact", contact),
            **_stamps(contact.created, contact.modified),
        }

    def _deal_columns(self, deal: plan.Deal, world: World) -> dict[str, Any]:
        history = self.visits_of(deal)
        return {
            "id": deal.id,
            "name": deal.name,
            "amount": deal.amount,
            "currency": deal.currency or "",
            "value_period": deal.value_period,
            "pipeline_id": deal.pipeline_id or "",
            "stage_id": deal.stage_id or "",
            "status": "abandoned" if deal.abandoned and not world.status_follows_stage else deal.outcome,
            "owner_id": deal.owner_id,
            "company_id": deal.company_ids[0] if deal.company_ids else None,
            "contact_ids": tuple(person.id for person in deal.people),
            "expected_close": deal.expected_close,
            "closed_at": deal.closed_at,
            "probability": None if deal.probability is None else float(deal.probability),
            "source": deal.source,
            "tags": deal.tags,
            "custom": self.customs("deal", deal),
            "stage_entered": deal.stage_entered or history[-1].at,
            "last_activity": deal.last_activity,
            "lost_reason": deal.lost_reason,
            "history": history,
            **_stamps(deal.created, deal.modified),
        }

    def _check(self, kind: str, record: Any, lists: Mapping[str, Sequence[Any]]) -> None:
        if self.numbered and not (record.id.isascii() and record.id.isdigit()):
            raise Unfit(kind, record.id, "id", "is not a number")
        for name, values in lists.items():
            most = self.most.get((kind, name))
            if most is not None and len(values) > most:
                raise Unfit(kind, record.id, name, f"are {len(values)}, more than the {most} it can have")

    def _check_links(
        self,
        kind: str,
        record_id: str,
        world: World,
        companies: Collection[str],
        contacts: Collection[str],
    ) -> None:
        for name, wanted, table in (
            ("companies", companies, world.companies),
            ("contacts", contacts, world.contacts),
        ):
            for one in wanted:
                if one not in table:
                    raise Unfit(kind, record_id, name, f"name {one}, which is not in the blueprint")

    def _check_stage(self, world: World, deal: plan.Deal) -> None:
        outcome = self.outcomes.get((deal.pipeline_id, deal.stage_id))
        if outcome is None:
            if not self.any_stage:
                raise Unfit("deal", deal.id, "stage", f"{deal.stage_id} is not one of its pipeline")
        elif world.status_follows_stage and outcome != deal.outcome:
            raise Unfit("deal", deal.id, "outcome", f"is {deal.outcome}, but its stage says {outcome}")


def custom_values(blueprint: plan.Blueprint) -> Iterator[tuple[str, plan.Value]]:
    """Every custom value with the id of its field."""
    for deal in blueprint.deals:
        yield from deal.custom.items()
    for company in blueprint.companies:
        yield from company.custom.items()
    for contact in blueprint.contacts:
        yield from contact.custom.items()


def options_of(field: plan.Field) -> tuple[Option, ...]:
    """The options of a field with their ids."""
    return tuple(Option(option_id, label) for option_id, label in field.options.items())


def structure_ids(blueprint: plan.Blueprint) -> set[str]:
    """The ids of pipelines, stages, fields and options."""
    found = {one.id for one in blueprint.pipelines}
    found |= {stage.id for one in blueprint.pipelines for stage in one.stages}
    for fields in blueprint.fields.values():
        found |= {one.id for one in fields}
        found |= {option for one in fields for option in one.options}
    return found


def unused(make: Callable[[], str], taken: Collection[str]) -> Callable[[], str]:
    """A maker of ids that leaves out those that are taken."""

    def following() -> str:
        made = make()
        while made in taken:
            made = make()
        return made

    return following


def _stamps(created: datetime | None, modified: datetime | None) -> dict[str, datetime]:
    made = created or modified or UNKNOWN
    return {"created": made, "modified": modified or made}


def _note_columns(note: plan.Note) -> dict[str, Any]:
    return {
        "id": note.id,
        "deal_id": note.deal_id,
        "company_id": note.company_id,
        "author_id": note.author_id,
        "text": note.text,
        **_stamps(note.at, note.modified),
    }
