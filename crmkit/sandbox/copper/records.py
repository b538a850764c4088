"""Copper's records as they stand on the wire.

Opportunities are asked for by the hundred thousand, so the JSON of each is kept
until its row is replaced or a name that it quotes changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from crmkit.sandbox.copper.answers import midnight, seconds, short_day
from crmkit.sandbox.copper.seed import (
    NamedList,
    contact_types,
    customer_sources,
    data_type_of,
    loss_reasons,
)
from crmkit.sandbox.rows import Change, Company, Contact, CustomField, Deal, Kind, Pipeline, Stage, User
from crmkit.sandbox.world import World

ENTITY_TYPES: dict[Kind, str] = {"deal": "opportunity", "company": "company", "contact": "person"}
KINDS: dict[str, Kind] = {"opportunities": "deal", "companies": "company", "people": "contact"}
STATUSES = {"open": "Open", "won": "Won", "lost": "Lost", "abandoned": "Abandoned"}
_EMPTY: dict[str, Any] = {"MultiSelect": [], "Connect": [], "Checkbox": False}
_CENT = Decimal("0.01")
Pairs = Sequence[tuple[str, str]]
_encoder = msgspec.json.Encoder(decimal_format="number")


class Records:
    """Renders the rows of one world.

    Attributes:
        places: The pipeline and the stage behind each stage id.
        loss_reasons, sources: Closed lists of the account; `lists` replaces those of the seed.
        day_first: Whether close dates are written `D/M/YYYY` instead of `M/D/YYYY`.
        elsewhere: Definitions of custom fields on nothing that the sandbox has, such as leads.
    """

    def __init__(
        self,
        world: World,
        *,
        day_first: bool = False,
        lists: tuple[NamedList, NamedList] | None = None,
    ) -> None:
        self.world, self.day_first = world, day_first
        self.elsewhere: dict[str, CustomField] = {}
        self.loss_reasons, self.sources = lists or (loss_reasons(), customer_sources())
        self.contact_types = contact_types()
        self.places: dict[str, tuple[Pipeline, Stage]] = {}
        self._seen: list[Any] = []
        self._kept: dict[str, msgspec.Raw] = {}
        self._kept_computed: dict[str, msgspec.Raw] = {}
        self._definitions: dict[Kind, list[tuple[str, CustomField, bytes, bytes]]] = {}
        self._unset: dict[Kind, msgspec.Raw] = {}
        self._rates = {currency: Decimal(str(rate)) for currency, rate in world.rates.items()}
        world.listeners.append(self._changed)
        self.refresh()

    # What keeps the kept JSON true

    def refresh(self) -> None:
        """Notice edits of pipelines and fields, which no listener tells of; asked before every answer."""
        world = self.world
        seen: list[Any] = [
            (pipeline.id, [(stage.id, stage.probability) for stage in pipeline.stages])
            for pipeline in world.pipelines.values()
        ]
        seen += [
            [(key, field.id, field.options) for key, field in world.fields[kind].items()]
            for kind in ENTITY_TYPES
        ]
        if seen == self._seen:
            return
        self._seen = seen
        self.places = {
            stage.id: (pipeline, stage) for pipeline in world.pipelines.values() for stage in pipeline.stages
        }
        for kind in ENTITY_TYPES:
            made = []
            for key, field in world.fields[kind].items():
                start = b'{"custom_field_definition_id":%s,"value":' % field.id.encode()
                made.append((key, field, start, start + _encoder.encode(empty_value(field)) + b"}"))
            self._definitions[kind] = made
            self._unset[kind] = msgspec.Raw(b"[%s]" % b",".join(unset for _, _, _, unset in made))
        self._forget()

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_computed.clear()

    def _changed(self, change: Change) -> None:
        stale = [change.id]
        if change.kind == "company":
            stale = [deal.id for deal in self.world.live.group("deal", "company_id", change.id)]
        for deal_id in stale:
            self._kept.pop(deal_id, None)
            self._kept_computed.pop(deal_id, None)

    def shower(self, kind: Kind, *, computed: bool = False) -> Callable[[Any], Any]:
        """What shows a row of this kind; `computed` shows names of options instead of their ids."""
        show: dict[Kind, Callable[..., Any]] = {
            "deal": self.opportunity_json,
            "company": self.company,
            "contact": self.person,
        }
        return partial(show[kind], computed=computed)

    # Opportunities

    def opportunity_json(self, deal: Deal, *, computed: bool = False) -> msgspec.Raw:
        """An opportunity as JSON; `computed` shows names of options instead of their ids."""
        if self.world.deals.get(deal.id) is not deal:  # the index still knows a former version
            return msgspec.Raw(_encoder.encode(self.opportunity(deal, computed=computed)))
        kept = self._kept_computed if computed else self._kept
        known = kept.get(deal.id)
        if known is None:
            shown = self.opportunity(deal, computed=computed)
            known = kept[deal.id] = msgspec.Raw(_encoder.encode(shown))
        return known

    def prepare(self) -> None:
        """Render every opportunity, so that the first reader is not slowed down by it."""
        for deal in self.world.deals.values():
            self.opportunity_json(deal)

    def opportunity(self, deal: Deal, *, computed: bool = False) -> dict[str, Any]:
        """An opportunity in its newest shape."""
        world = self.world
        company = world.companies.get(deal.company_id or "")
        amount, custom = deal.amount, deal.custom
        contact_id = primary_of(deal)
        return {
            "id": int(deal.id),
            "name": deal.name,
            "assignee_id": int(deal.owner_id) if deal.owner_id else None,
            "close_date": short_day(deal.expected_close, day_first=self.day_first)
            if deal.expected_close
            else None,
            "company_id": int(deal.company_id) if deal.company_id else None,
            "company_name": company.name if company else None,
            "customer_source_id": self.sources.id_of(deal.source),
            "details": custom.get("details"),
            "loss_reason_id": self.loss_reasons.id_of(deal.lost_reason),
            "pipeline_id": int(deal.pipeline_id),
            "pipeline_is_revenue": False,
            "pipeline_stage_id": int(deal.stage_id),
            "pipeline_type": "opportunity",
            "primary_contact_id": int(contact_id) if contact_id else None,
            "priority": custom.get("priority", "None"),
            "status": STATUSES[deal.status],
            "tags": deal.tags,
            "interaction_count": len(deal.history) if deal.last_activity else 0,
            "monetary_unit": deal.currency,
            "monetary_value": None if amount is None else plain(amount),
            "converted_unit": world.base_currency,
            "converted_value": None if amount is None else self._converted(amount, deal.currency),
            "win_probability": self.win_probability(deal),
            "date_stage_changed": int(deal.stage_entered.timestamp()),
            "date_last_contacted": seconds(deal.last_activity),
            "leads_converted_from": [],
            "date_lead_created": None,
            "date_created": int(deal.created.timestamp()),
            "date_modified": int(deal.modified.timestamp()),
            "custom_fields": self._custom("deal", custom, computed),
        }

    def win_probability(self, deal: Deal) -> int:
        """In percent: the deal's own, else the stage's; winning or losing does not change it."""
        if deal.probability is not None:
            return round(deal.probability * 100)
        return percent(self.places[deal.stage_id][1])

    def _converted(self, amount: Decimal, currency: str) -> int | Decimal:
        if currency == self.world.base_currency:
            return plain(amount)
        return plain((amount * self._rates[currency]).quantize(_CENT))

    def _custom(self, kind: Kind, custom: Any, computed: bool) -> msgspec.Raw:
        """Every definition that the kind has, set or not, as JSON: most are not set."""
        if not custom:
            return self._unset[kind]
        zone = self.world.time_zone
        parts = [
            unset
            if (value := custom.get(key)) is None
            else start + _encoder.encode(custom_value(field, value, zone, computed)) + b"}"
            for key, field, start, unset in self._definitions[kind]
        ]
        return msgspec.Raw(b"[%s]" % b",".join(parts))

    # Companies, people, users

    def company(self, company: Company, *, computed: bool = False) -> dict[str, Any]:
        """A company."""
        custom = company.custom
        return {
            "id": int(company.id),
            "name": company.name,
            "address": address_of(company),
            "assignee_id": int(company.owner_id) if company.owner_id else None,
            "contact_type_id": self._contact_type(custom, "Potential Customer"),
            "details": custom.get("details"),
            "email_domain": company.domain,
            "phone_numbers": _parts("number", phones_of(company)),
            "primary_contact_id": self._first_person(company),
            "socials": _parts("url", custom.get("socials", ())),
            "tags": company.tags,
            "websites": _parts("url", websites_of(company)),
            "custom_fields": self._custom("company", custom, computed),
            "interaction_count": 0,
            "date_created": seconds(company.created),
            "date_modified": seconds(company.modified),
        }

    def person(self, person: Contact, *, computed: bool = False) -> dict[str, Any]:
        """A person; of one company at most."""
        company = self.world.companies.get(person.company_id or "")
        custom = person.custom
        return {
            "id": int(person.id),
            "name": person_name(person),
            "prefix": custom.get("prefix"),
            "first_name": person.first,
            "middle_name": custom.get("middle_name"),
            "last_name": person.last or None,
            "suffix": custom.get("suffix"),
            "address": custom.get("address"),
            "assignee_id": int(person.owner_id) if person.owner_id else None,
            "company_id": int(person.company_id) if person.company_id else None,
            "company_name": company.name if company else None,
            "contact_type_id": self._contact_type(custom, "Uncategorized"),
            "details": custom.get("details"),
            "emails": _parts("email", _paired(person.emails, custom.get("email_categories"), "work")),
            "phone_numbers": _parts(
                "number", _paired(person.phones, custom.get("phone_categories"), "mobile")
            ),
            "socials": _parts("url", custom.get("socials", ())),
            "tags": person.tags,
            "title": custom.get("title"),
            "websites": _parts("url", custom.get("websites", ())),
            "custom_fields": self._custom("contact", custom, computed),
            "date_created": seconds(person.created),
            "date_modified": seconds(person.modified),
            "date_last_contacted": None,
            "interaction_count": 0,
            "leads_converted_from": [],
            "date_lead_created": None,
        }

    def user(self, user: User) -> dict[str, Any]:
        """A user."""
        return {"id": int(user.id), "name": user.name, "email": user.email}

    def _contact_type(self, custom: Mapping[str, Any], default: str) -> int | None:
        said = custom.get("contact_type_id")
        return self.contact_types.id_of(default) if said is None else said or None

    def _first_person(self, company: Company) -> int | None:
        """Somebody of the company: the one it was given, else the oldest (inferred)."""
        people = [person.id for person in self.world.live.group("contact", "company_id", company.id)]
        given = company.custom.get("primary_contact_id")
        if not people:
            return None
        return int(people[0] if given not in people else str(given))

    # Lists

    def pipelines(self) -> list[dict[str, Any]]:
        """All pipelines with their stages in order."""
        return [
            {
                "id": int(pipeline.id),
                "name": pipeline.name,
                "stages": [
                    {"id": int(stage.id), "name": stage.name, "win_probability": percent(stage)}
                    for stage in pipeline.stages
                ],
                "type": "opportunity",
                "is_revenue": False,
            }
            for pipeline in self.world.pipelines.values()
        ]

    def stages(self, pipeline_id: str | None = None) -> list[dict[str, Any]]:
        """The stages of one pipeline or of all."""
        return [
            {
                "id": int(stage.id),
                "name": stage.name,
                "pipeline_id": int(pipeline.id),
                "win_probability": percent(stage),
            }
            for pipeline in self.world.pipelines.values()
            if pipeline_id in (None, pipeline.id)
            for stage in pipeline.stages
        ]

    def definitions(self) -> list[dict[str, Any]]:
        """All custom field definitions; one may be available on several kinds."""
        found: dict[str, CustomField] = dict(self.elsewhere)
        for kind in ENTITY_TYPES:
            found |= {field.id: field for field in self.world.fields[kind].values()}
        return [self.definition(found[field_id]) for field_id in sorted(found, key=int)]

    def field(self, field_id: str) -> CustomField | None:
        """A custom field by the id of its definition."""
        for kind in ENTITY_TYPES:
            for field in self.world.fields[kind].values():
                if field.id == field_id:
                    return field
        return self.elsewhere.get(field_id)

    def definition(self, field: CustomField) -> dict[str, Any]:
        """One definition."""
        data_type = data_type_of(field)
        kinds = [entity for kind, entity in ENTITY_TYPES.items() if field.key in self.world.fields[kind]]
        shown: dict[str, Any] = {
            "id": int(field.id),
            "name": field.label,
            "canonical_name": None,
            "data_type": data_type,
            "available_on": [*kinds, *field.extra.get("elsewhere", ())],
            "is_filterable": data_type not in {"String", "Text", "URL"},
        }
        if field.options:
            shown["options"] = [
                {"id": int(option.id), "name": option.label, "rank": rank}
                for rank, option in enumerate(field.options)
            ]
        if data_type == "Currency":
            shown["currency"] = field.extra.get("currency", self.world.base_currency)
        return shown

    def tags(self) -> list[dict[str, Any]]:
        """All tags in use, and how often."""
        counts: dict[str, int] = {}
        for kind in ENTITY_TYPES:
            for row in self.world.live.tables[kind].values():
                for tag in row.tags:
                    counts[tag] = counts.get(tag, 0) + 1
        return [{"name": name, "count": count} for name, count in sorted(counts.items())]


def primary_of(deal: Deal) -> str | None:
    """The primary contact; people may be related to a deal that has none."""
    return deal.contact_ids[0] if deal.contact_ids and not deal.custom.get("no_primary") else None


def person_name(person: Contact) -> str:
    """The whole name, with its prefix and suffix."""
    custom = person.custom
    parts = (
        custom.get("prefix"),
        person.first,
        custom.get("middle_name"),
        person.last,
        custom.get("suffix"),
    )
    return " ".join(part for part in parts if part)


def phones_of(company: Company) -> Pairs:
    """Numbers with their categories: as written, unless the first was changed since."""
    pairs: Pairs = company.custom.get("phones", ())
    if (pairs[0][0] if pairs else None) == company.phone:
        return pairs
    return ((company.phone, "work"),) if company.phone else ()


def websites_of(company: Company) -> Pairs:
    """Websites as written; what was seeded has the one of its domain."""
    written: Pairs | None = company.custom.get("websites")
    if written is not None:
        return written
    return ((f"https://{company.domain}", "work"),) if company.domain else ()


def _paired(values: Sequence[str], categories: Sequence[str] | None, default: str) -> Pairs:
    known = categories or ()
    return [(value, known[place] if place < len(known) else default) for place, value in enumerate(values)]


def _parts(name: str, pairs: Pairs) -> list[dict[str, str]]:
    return [{name: value, "category": category} for value, category in pairs]


def plain(amount: Decimal) -> int | Decimal:
    """An amount in major units, without decimals where there are none."""
    whole = int(amount)
    return whole if whole == amount else amount


def percent(stage: Stage) -> int:
    """A stage's probability of a win."""
    return round((stage.probability or 0) * 100)


def empty_value(field: CustomField) -> Any:
    """What stands in answers where nothing is set."""
    return _EMPTY.get(data_type_of(field))


def custom_value(field: CustomField, value: Any, zone: str, computed: bool = False) -> Any:
    """A custom value on the wire; days begin at midnight of the account's zone."""
    if isinstance(value, date):
        return midnight(value, zone)
    data_type = data_type_of(field)
    if data_type in {"Dropdown", "MultiSelect"}:
        labels = {option.id: option.label for option in field.options} if computed else {}
        several = value if isinstance(value, tuple) else (value,)
        shown = [labels.get(option_id) or int(option_id) for option_id in several]
        return shown if data_type == "MultiSelect" else shown[0]
    return value


def address_of(company: Company) -> dict[str, Any] | None:
    """An address; null if nothing is known."""
    address = {
        "street": company.street,
        "city": company.city,
        "state": company.custom.get("state"),
        "postal_code": company.postcode,
        "country": company.country,
    }
    return address if any(address.values()) else None
