"""Close's records as they stand on the wire.

Opportunities are asked for by the hundred thousand, so the JSON of each is kept
until its row is replaced or a name that it quotes changes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec

from crmkit.sandbox.close.answers import naive, only, stamp
from crmkit.sandbox.close.customs import native_value
from crmkit.sandbox.close.phones import country_of, phone_formatted
from crmkit.sandbox.close.seed import DEAL_NAME
from crmkit.sandbox.rows import (
    Change,
    Company,
    Contact,
    CustomField,
    Deal,
    Kind,
    Note,
    Pipeline,
    Stage,
    User,
    Visit,
)
from crmkit.sandbox.world import World

Fields = tuple[str, ...] | None
STATUS_TYPES = {"open": "active", "won": "won", "lost": "lost"}
LEAD_STATUSES = (
    ("stat_1ZdiZqcSIkoGVnNOyxiEY58eTGQmFNG3LPlEVQ4V7Nk", "Potential"),
    ("stat_2ZdiZqcSIkoGVnNOyxiEY58eTGQmFNG3LPlEVQ4V7Nk", "Bad Fit"),
    ("stat_3ZdiZqcSIkoGVnNOyxiEY58eTGQmFNG3LPlEVQ4V7Nk", "Qualified"),
)
_FOUNDED = datetime(2019, 11, 4, 11, 4, 13, 14979)  # noqa: DTZ001 - written without an offset
_MOST_FIELD_LISTS = 8
_encoder = msgspec.json.Encoder(decimal_format="number")
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_TAG = re.compile(r"<[^>]*>")
_LINE_END = re.compile(r"</p>\s*<p>|<br\s*/?>|</li>\s*<li>", re.IGNORECASE)


class Records:
    """Renders the rows of one world.

    Attributes:
        places: The pipeline and the stage behind each status id.
        former: The same with the statuses that were deleted, which histories still name.
        fields_by_id: The custom fields of a kind by their id on the wire.
        editors, creators: Who last wrote a record over the API, and who made it there; people's own edits
            are anonymous, and then count as the owner's.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.organization_id = world.workspace_id
        self.places: dict[str, tuple[Pipeline, Stage]] = {}
        self.former: dict[str, tuple[Pipeline, Stage]] = {}
        self.fields_by_id: dict[Kind, dict[str, CustomField]] = {}
        self.editors: dict[str, str] = {}
        self.creators: dict[str, str] = {}
        self._named: list[Any] = []
        self._kept: dict[Fields, dict[str, msgspec.Raw]] = {}
        # Parts of an opportunity that many share, made once.
        self._fixed = {
            "integration_links": [],
            "organization_id": world.workspace_id,
            "value_currency": world.base_currency,
        }
        self._statuses: dict[str, dict[str, Any]] = {}
        self._owners: dict[str | None, dict[str, Any]] = {}
        self._creators: dict[str | None, dict[str, Any]] = {}
        self._customs: dict[str, tuple[str, CustomField]] = {}
        self.refresh()

    # What keeps the kept JSON true

    def refresh(self) -> None:
        """Notice edits of pipelines and fields, which no listener tells of; asked before every answer."""
        world = self.world
        named: list[Any] = [
            (pipeline.name, [(stage.id, stage.name, stage.outcome) for stage in pipeline.stages])
            for pipeline in world.pipelines.values()
        ]
        kinds: tuple[Kind, ...] = ("deal", "company", "contact")
        named += [[(field.id, field.type) for field in world.fields[kind].values()] for kind in kinds]
        if named == self._named:
            return
        self._named = named
        self.fields_by_id = {
            kind: {field.id: field for field in world.fields[kind].values()} for kind in kinds
        }
        self.places = {
            stage.id: (pipeline, stage) for pipeline in world.pipelines.values() for stage in pipeline.stages
        }
        self.former |= self.places
        self._statuses = {stage_id: status_part(*place) for stage_id, place in self.former.items()}
        self._customs = {key: (f"custom.{field.id}", field) for key, field in world.fields["deal"].items()}
        self._kept.clear()

    def changed(self, change: Change) -> None:
        """Forget the changed record, and what quotes one whose name may have changed."""
        self._sign(change)
        if change.kind == "user":
            self._owners.clear()
            self._creators.clear()
            self._kept.clear()
        stale = [change.id]
        quoting = {"company": "company_id", "contact": "contact_ids"}.get(change.kind)
        if quoting is not None:
            stale = [deal.id for deal in self.world.live.group("deal", quoting, change.id)]
        for kept in self._kept.values():
            for deal_id in stale:
                kept.pop(deal_id, None)

    def _sign(self, change: Change) -> None:
        before, after, by = change.before, change.after, change.by_user_id
        if after is None or change.kind == "user":
            return
        if by is not None:
            self.editors[change.id] = by
            if before is None:
                self.creators[change.id] = by
        elif before is not None and before.modified != after.modified:
            self.editors.pop(change.id, None)

    # Opportunities

    def opportunity_json(self, deal: Deal, fields: Fields = None) -> msgspec.Raw:
        """A living opportunity as JSON, cut to the fields asked for."""
        kept = self._kept.get(fields)
        if kept is None:
            if len(self._kept) >= _MOST_FIELD_LISTS:
                self._kept.clear()
            kept = self._kept[fields] = {}
        known = kept.get(deal.id)
        if known is None:
            # Taking a made opportunity apart is cheaper than going back to rows all over the memory.
            whole = self.opportunity(deal) if fields is None else _decode(self.opportunity_json(deal))
            known = kept[deal.id] = msgspec.Raw(_encoder.encode(only(whole, fields)))
        return known

    def prepare(self) -> None:
        """Render every opportunity, so that the first reader is not slowed down by it."""
        for deal in self.world.deals.values():
            self.opportunity_json(deal)

    def opportunity(self, deal: Deal) -> dict[str, Any]:
        """An opportunity in the shape of the list."""
        companies, contacts = self.world.companies, self.world.contacts
        cents, confidence, period = cents_of(deal), confidence_of(deal), deal.value_period
        yearly = cents * 12 if cents is not None and period == "monthly" else cents
        lead = companies.get(deal.company_id or "")
        contact = contacts.get(deal.contact_ids[0]) if deal.contact_ids else None
        creator = deal.history[0].by_user_id if deal.history else deal.owner_id
        note, day = deal.custom.get("note"), deal.expected_close
        editor = self.editors.get(deal.id, deal.owner_id)
        shown: dict[str, Any] = {
            **self._fixed,
            **self._statuses[deal.stage_id],
            **(self._owners.get(deal.owner_id) or self._owner_part(deal.owner_id)),
            **(self._creators.get(creator) or self._creator_part(creator)),
            "attachments": deal.custom.get("_attachments", ()),
            "annualized_expected_value": None if yearly is None else yearly * confidence // 100,
            "annualized_value": yearly,
            "confidence": confidence,
            "contact_id": contact.id if contact else None,
            "contact_name": person_name(contact) if contact else None,
            "date_created": stamp(deal.created),
            "date_lost": stamp(deal.closed_at) if deal.status == "lost" else None,
            "date_updated": stamp(deal.modified),
            "date_won": day.isoformat() if day else None,
            "expected_value": None if cents is None else cents * confidence // 100,
            "id": deal.id,
            "lead_id": deal.company_id,
            "lead_name": (lead.name or "Untitled") if lead else None,
            "note": note,
            "note_html": note_html(note, deal.custom.get("_note_html")),
            "updated_by": editor,
            "updated_by_name": self.user_name(editor),
            "value": cents,
            "value_formatted": formatted(cents, self.world.base_currency, period),
            "value_period": period,
        }
        # Custom values that are not set do not show up.
        customs = self._customs
        for key, value in (
            (DEAL_NAME, deal.name),
            ("source", deal.source),
            ("tags", deal.tags),
            ("lost_reason", deal.lost_reason),
            *deal.custom.items(),
        ):
            if value not in (None, "", ()) and key in customs:
                name, field = customs[key]
                shown[name] = value if value.__class__ is str else custom_value(field, value)
        return shown

    def _owner_part(self, user_id: str | None) -> dict[str, Any]:
        name = self.user_name(user_id)
        part = {"user_id": user_id, "user_name": name}
        self._owners[user_id] = part
        return part

    def _creator_part(self, user_id: str | None) -> dict[str, Any]:
        part = {"created_by": user_id, "created_by_name": self.user_name(user_id)}
        self._creators[user_id] = part
        return part

    # Leads, contacts, users

    def lead(self, company: Company, *, nested: bool = True) -> dict[str, Any]:
        """A lead; nested are its contacts and opportunities, never its activities."""
        live = self.world.live
        contacts = live.group("contact", "company_id", company.id)
        custom = company.custom
        status_id = custom.get("_status_id", LEAD_STATUSES[0][0])
        shown: dict[str, Any] = {
            "addresses": addresses_of(company),
            "contact_ids": [contact.id for contact in contacts],
            "created_by": self.creators.get(company.id),
            "date_created": company.created.isoformat(),
            "date_updated": company.modified.isoformat(),
            "description": custom.get("_description", ""),
            "display_name": company.name or "Untitled",
            "html_url": f"https://app.close.com/lead/{company.id}/",
            "id": company.id,
            "name": company.name or None,
            "organization_id": self.organization_id,
            "status_id": status_id,
            "status_label": dict(LEAD_STATUSES)[status_id],
            "updated_by": self.editors.get(company.id, company.owner_id),
            "url": url_of(company),
        }
        if nested:
            shown["contacts"] = [self.contact(contact) for contact in contacts]
            deals = live.group("deal", "company_id", company.id)
            shown["opportunities"] = [self.opportunity_json(deal) for deal in deals]
            shown["tasks"] = []
        return shown | self._customs_of("company", company)

    def contact(self, contact: Contact) -> dict[str, Any]:
        """A contact of a lead."""
        name = person_name(contact)
        custom = contact.custom
        mail_types, phone_types = custom.get("_emails", {}), custom.get("_phones", {})
        shown = {
            "created_by": self.creators.get(contact.id),
            "date_created": contact.created.isoformat(),
            "date_updated": contact.modified.isoformat(),
            "display_name": name,
            "emails": [
                {"email": email, "is_unsubscribed": False, "type": mail_types.get(email, "office")}
                for email in contact.emails
            ],
            "id": contact.id,
            "integration_links": [],
            "lead_id": contact.company_id,
            "name": name,
            "organization_id": self.organization_id,
            "phones": [
                {
                    "country": country_of(phone),
                    "phone": "+" + "".join(sign for sign in phone if sign.isdigit()),
                    "phone_formatted": phone_formatted(phone),
                    "type": phone_types.get(phone, "office"),
                }
                for phone in contact.phones
            ],
            "title": custom.get("_title", ""),
            "updated_by": self.editors.get(contact.id, contact.owner_id),
            "urls": list(custom.get("_urls", ())),
        }
        return shown | self._customs_of("contact", contact)

    def _customs_of(self, kind: Kind, row: Any) -> dict[str, Any]:
        """The custom values that are set."""
        return {
            f"custom.{field.id}": custom_value(field, value)
            for field in self.world.fields[kind].values()
            if (value := native_value(kind, row, field)) not in (None, "", ())
        }

    def user(self, user: User) -> dict[str, Any]:
        """A user; a former member shares no organization any more."""
        first, _, last = user.name.partition(" ")
        return {
            "date_created": user.created.isoformat(),
            "date_updated": user.created.isoformat(),
            "email": user.email,
            "first_name": first,
            "id": user.id,
            "image": "https://secure.gravatar.com/avatar/00000000000000000000000000000000",
            "last_name": last,
            "last_used_timezone": "Europe/London",
            "organizations": [self.organization_id] if user.active else [],
        }

    def user_name(self, user_id: str | None) -> str | None:
        """A user's full name."""
        user = self.world.users.get(user_id or "")
        return user.name if user else None

    # Activities

    def note(self, note: Note) -> dict[str, Any]:
        """A note; it hangs on the lead and names the deal only in its title."""
        deal = self.world.deals.get(note.deal_id or "")
        made, lead_id, custom = note.created, lead_of(note, deal), note.custom
        creator = self.creators.get(note.id, note.author_id)
        editor = self.editors.get(note.id, note.author_id)
        return {
            **self._activity("Note", note.id, lead_id, note.author_id, made, note.modified),
            "activity_at": custom.get("_activity_at", made).isoformat(),
            "attachments": custom.get("_attachments", ()),
            "contact_id": note.contact_id,
            "created_by": creator,
            "created_by_name": self.user_name(creator),
            "note": note.text,
            "note_html": note_html(note.text, custom.get("_note_html")),
            "note_mentions": [],
            "pinned": "_pinned_at" in custom,
            "pinned_at": stamp(custom.get("_pinned_at")),
            "source": "api" if note.id in self.creators else None,
            "title": custom.get("_title", deal.name if deal and deal.name else None),
            "updated_by": editor,
            "updated_by_name": self.user_name(editor),
        }

    def status_change(self, deal: Deal, place: int) -> dict[str, Any]:
        """The step from visit `place - 1` of a deal's history to visit `place`."""
        return self.step(deal, change_id(deal, place), deal.history[place - 1], deal.history[place])

    def step(self, deal: Deal, activity_id: str, before: Visit, after: Visit) -> dict[str, Any]:
        """A status change from one visit to the next."""
        cents = cents_of(deal)
        made = self._activity(
            "OpportunityStatusChange",
            activity_id,
            deal.company_id,
            after.by_user_id,
            after.at,
            after.at,
        )
        day = deal.expected_close
        return {
            **made,
            **self._side("new", after),
            **self._side("old", before),
            "opportunity_confidence": confidence_of(deal),
            "opportunity_date_won": f"{day.isoformat()}T00:00:00+00:00" if day else None,
            "opportunity_id": deal.id,
            "opportunity_value": cents,
            "opportunity_value_currency": self.world.base_currency,
            "opportunity_value_formatted": formatted(cents, self.world.base_currency, deal.value_period),
            "opportunity_value_period": deal.value_period,
        }

    def _side(self, side: str, visit: Visit) -> dict[str, Any]:
        pipeline, stage = self.former[visit.stage_id]
        return {
            f"{side}_pipeline_id": pipeline.id,
            f"{side}_pipeline_name": pipeline.name,
            f"{side}_status_id": stage.id,
            f"{side}_status_label": stage.name,
            f"{side}_status_type": STATUS_TYPES[stage.outcome],
        }

    def _activity(
        self,
        kind: str,
        activity_id: str,
        lead_id: str | None,
        user_id: str | None,
        made: datetime,
        edited: datetime,
    ) -> dict[str, Any]:
        name = self.user_name(user_id)
        return {
            "_type": kind,
            "activity_at": made.isoformat(),
            "contact_id": None,
            "created_by": user_id,
            "created_by_name": name,
            "date_created": made.isoformat(),
            "date_updated": edited.isoformat(),
            "id": activity_id,
            "lead_id": lead_id,
            "organization_id": self.organization_id,
            "updated_by": user_id,
            "updated_by_name": name,
            "user_id": user_id,
            "user_name": name,
            "users": [],
        }

    # Pipelines

    def pipeline(self, pipeline: Pipeline) -> dict[str, Any]:
        """A pipeline with its statuses in order."""
        extra = pipeline.extra
        by = extra.get("by")
        return {
            "created_by": by,
            "date_created": naive(extra.get("created", _FOUNDED)),
            "date_updated": naive(extra.get("updated", _FOUNDED)),
            "id": pipeline.id,
            "name": pipeline.name,
            "organization_id": self.organization_id,
            "statuses": [
                {"id": stage.id, "label": stage.name, "type": STATUS_TYPES[stage.outcome]}
                for stage in pipeline.stages
            ],
            "updated_by": extra.get("updated_by", by),
        }

    def status(self, pipeline: Pipeline, stage: Stage) -> dict[str, Any]:
        """A status; the opportunity calls its `type` `status_type`."""
        return {
            "id": stage.id,
            "label": stage.name,
            "organization_id": self.organization_id,
            "pipeline_id": pipeline.id,
            "type": STATUS_TYPES[stage.outcome],
        }


def status_part(pipeline: Pipeline, stage: Stage) -> dict[str, Any]:
    """What an opportunity says of its stage."""
    return {
        "pipeline_id": pipeline.id,
        "pipeline_name": pipeline.name,
        "status_display_name": stage.name,
        "status_id": stage.id,
        "status_label": stage.name,
        "status_type": STATUS_TYPES[stage.outcome],
    }


def cents_of(deal: Deal) -> int | None:
    """A deal's value in minor units."""
    return None if deal.amount is None else int(deal.amount.scaleb(2))


def confidence_of(deal: Deal) -> int:
    """A deal's confidence; statuses carry none, so a deal without one follows its status."""
    if deal.probability is not None:
        return round(deal.probability * 100)
    return {"won": 100, "lost": 0}.get(deal.status, 50)


def expected_of(cents: int | None, confidence: int) -> int | None:
    """A value weighed by its confidence."""
    return None if cents is None else cents * confidence // 100


def formatted(cents: int | None, currency: str, period: str) -> str | None:
    """A value as Close spells it: `$3,000`, `$50 monthly`."""
    if cents is None:
        return None
    whole, rest = divmod(abs(cents), 100)
    sign = "-" if cents < 0 else ""
    unit = "$" if currency == "USD" else f"{currency} "
    text = f"{sign}{unit}{whole:,}.{rest:02}" if rest else f"{sign}{unit}{whole:,}"
    return f"{text} monthly" if period == "monthly" else text


def person_name(contact: Contact) -> str:
    """A contact's one name."""
    return f"{contact.first} {contact.last}".strip()


def rich_text(text: str | None) -> str | None:
    """A text as the HTML that Close keeps beside it."""
    if text is None:
        return None
    lines = "</p><p>".join(html.escape(line) for line in text.split("\n"))
    return f"<body><p>{lines}</p></body>"


def note_html(text: str | None, said: str | None) -> str | None:
    """The HTML as it was written; made of the text if that was written, or edited since."""
    if said is not None and plain_text(said) == text:
        return said
    return rich_text(text) if text else text


def plain_text(rich: str) -> str:
    """The text that Close keeps beside a note's HTML: its words, a line for each paragraph (inferred)."""
    return html.unescape(_TAG.sub("", _LINE_END.sub("\n", rich))).strip()


def custom_value(field: CustomField, value: Any) -> Any:
    """A custom value on the wire; `None` if it shows no key at all."""
    if value is None or value == ():
        return None
    if field.type == "checkbox":
        return "Yes" if value else "No"
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, date) else value


def domain_of(url: str | None) -> str | None:
    """The host that a lead's web address names, without `www.`."""
    if not url:
        return None
    try:
        host = urlsplit(url if "://" in url else f"http://{url}").hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def url_of(company: Company) -> str | None:
    """A lead's web address as it was written, or one made of its domain."""
    said: str | None = company.custom.get("_url")
    if said is not None and domain_of(said) == company.domain:
        return said
    return f"https://{company.domain}/" if company.domain else None


def addresses_of(company: Company) -> list[Mapping[str, Any]]:
    """A lead's addresses; our rows hold the first, whatever else was written stands beside it."""
    said: tuple[Mapping[str, Any], ...] = company.custom.get("_addresses", ())
    if said and place_of(said[0]) == (company.street, company.city, company.country, company.postcode):
        return list(said)
    return [address_of(company)] if company.city or company.street else []


def place_of(address: Mapping[str, Any]) -> tuple[Any, ...]:
    """What our rows hold of an address: street, city, country, postcode."""
    return tuple(address.get(name) for name in ("address_1", "city", "country", "zipcode"))


def address_of(company: Company) -> dict[str, Any]:
    """A lead's business address."""
    return {
        "address_1": company.street,
        "address_2": None,
        "city": company.city,
        "country": company.country,
        "label": "business",
        "state": None,
        "zipcode": company.postcode,
    }


def lead_of(note: Note, deal: Deal | None) -> str | None:
    """The lead on which a note hangs; a deal that moved takes its notes along."""
    return (deal.company_id if deal else None) or note.company_id


def change_id(deal: Deal, place: int) -> str:
    """The id of a status change, made of the deal's own."""
    return f"acti_{deal.id[5:-2]}{place:02}"
