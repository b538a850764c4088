"""From checked property values to the fields of a row, with what one property asks of another."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crmkit.sandbox.hubspot.answers import Rejected, invalid, invalid_properties
from crmkit.sandbox.hubspot.catalogue import KEPT
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.portal import CLOSE_MOMENT, Portal, close_moment
from crmkit.sandbox.hubspot.values import Reader
from crmkit.sandbox.rows import Contact, Deal, Visit

# Where a row has a field for a property; `None`: set by what is below, or kept in `custom`.
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "deals": {
        "amount": "amount",
        "closed_lost_reason": "lost_reason",
        "deal_currency_code": "currency",
        "dealname": "name",
        "dealstage": "stage_id",
        "hubspot_owner_id": "owner_id",
        "pipeline": "pipeline_id",
    },
    "companies": {
        "address": "street",
        "city": "city",
        "country": "country",
        "domain": "domain",
        "hubspot_owner_id": "owner_id",
        "name": "name",
        "phone": "phone",
        "zip": "postcode",
    },
    "contacts": {"firstname": "first", "hubspot_owner_id": "owner_id", "lastname": "last"},
    "notes": {"hubspot_owner_id": "author_id"},
}
_NEVER_NONE = {"name", "first", "last"}
_EMPTY = {"companies": ("name",), "contacts": ("first", "last"), "notes": ("text",)}
_SPECIAL: Mapping[str, frozenset[str]] = {
    "deals": frozenset({"closedate", "createdate"}),
    "contacts": frozenset({"email", "hs_additional_emails", "phone", "mobilephone"}),
    "notes": frozenset({"hs_note_body", "hs_timestamp"}),
}
_LIFECYCLE = "lifecyclestage"
_TAG = re.compile(r"<[^>]*>")
_BREAK = re.compile(r"<br\s*/?>|</p>\s*<p[^>]*>", re.IGNORECASE)


@dataclass(slots=True)
class Draft:
    """One record to be written: the fields of its row, its unique values, and what was put right."""

    fields: dict[str, Any]
    unique: dict[str, tuple[str, ...]]
    warnings: list[dict[str, Any]]
    sent: frozenset[str]
    links: list[Any] = field(default_factory=list)


def draft(portal: Portal, reader: Reader, said: Any, before: Any | None) -> Draft:
    """What a write of these properties makes of a record; `before` is `None` for a new one."""
    one_type = reader.one_type
    values, warnings = reader.read(said, before)
    if before is None:
        _check_required(portal, one_type, values, reader.lenient)
    attributes, special = _ATTRIBUTES[one_type.plural], _SPECIAL.get(one_type.plural, frozenset())
    fields: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for name, value in values.items():
        attribute = attributes.get(name)
        if attribute is not None:
            fields[attribute] = "" if value is None and attribute in _NEVER_NONE else value
        elif name == _LIFECYCLE:
            _move_on(reader, value, before, custom)
        elif name not in special:
            one = reader.property(name)
            assert one is not None
            custom[one.custom.key if one.custom else KEPT + name] = value
    if one_type.plural == "deals":
        _fit_deal(portal, values, before, fields, custom)
    elif one_type.plural == "contacts":
        _fit_contact(values, before, fields)
    elif one_type.plural == "notes":
        _fit_note(values, fields, custom)
    if before is None:
        for attribute in _EMPTY.get(one_type.plural, ()):
            fields.setdefault(attribute, "")
        custom = {key: value for key, value in custom.items() if value is not None}
    if custom:
        fields["custom"] = custom
    return Draft(fields, _unique(portal, one_type, values), warnings, frozenset(values))


def _check_required(portal: Portal, one_type: ObjectType, values: Mapping[str, Any], strict: bool) -> None:
    given = {name for name, value in values.items() if value is not None}
    missing: list[str] = []
    if one_type.plural == "deals":
        missing = [name for name in ("dealname", "dealstage") if name not in given]
    elif one_type.plural == "notes":
        missing = [name for name in ("hs_timestamp",) if name not in given]
    elif one_type.plural == "companies" and not given & {"name", "domain"}:
        missing = ["name", "domain"]
    elif one_type.plural == "contacts" and not given & {"email", "firstname", "lastname"}:
        missing = ["email", "firstname", "lastname"]
    if strict:  # from 2026-09 on the portal's own rules for new records hold as well
        rules = portal.settings.extra.get("required_on_create", {}).get(one_type.plural, ())
        missing += [name for name in rules if name not in given]
        _check_conditions(portal, one_type, given)
    if missing:
        raise Rejected(
            400,
            f"Error creating {one_type.singular.upper()}. Some required properties were not set.",
            "VALIDATION_ERROR",
            context={"properties": missing},
        )


def _check_conditions(portal: Portal, one_type: ObjectType, given: set[str]) -> None:
    """Hold new records to rules such as: with a country there must be a state. The body says little more."""
    rules = portal.settings.extra.get("conditional_required", {}).get(one_type.plural, {})
    errors = [
        {
            "code": "MISSING_CONDITIONAL_REQUIRED_PROPERTY",
            "message": f"{name} is required because of a conditional property rule based on [{on}]",
            "context": {"propertyName": [name]},
        }
        for name, on in rules.items()
        if on in given and name not in given
    ]
    if errors:
        invalid("Some required properties were not set.", errors=errors)


def _fit_deal(
    portal: Portal,
    values: Mapping[str, Any],
    before: Deal | None,
    fields: dict[str, Any],
    custom: dict[str, Any],
) -> None:
    world = portal.world
    if fields.get("currency", "") is None:
        fields["currency"] = world.base_currency
    outcome = _place(portal, before, fields)
    if "closedate" in values:
        moment = values["closedate"]
        fields["expected_close"] = None if moment is None else moment.astimezone(portal.zone).date()
        custom[CLOSE_MOMENT] = moment
        if outcome != "open":
            fields["closed_at"] = moment
    elif before is not None and "stage_id" in fields:
        # One property for the forecast and for the fact: what it held stays when a deal is opened again, and
        # when it closes unless the pipeline sets the date by itself (contract, section 5).
        moment = close_moment(before, portal.zone)
        if outcome == "open" and before.closed_at is not None and moment is not None:
            fields["expected_close"] = moment.astimezone(portal.zone).date()
            custom[CLOSE_MOMENT] = moment
        elif outcome != "open" and (
            before.status != "open" or not portal.settings.extra.get("auto_close_date", True)
        ):
            fields["closed_at"] = moment
    created = values.get("createdate")
    if created is not None:
        now = world.now()
        fields["created"] = created
        custom[KEPT + "hs_createdate"] = (
            now if before is None else before.custom.get(KEPT + "hs_createdate", before.created)
        )
        if before is None:
            fields |= {"stage_entered": now, "history": (Visit(fields["stage_id"], now, None),)}


def _place(portal: Portal, before: Deal | None, fields: dict[str, Any]) -> str:
    """Check that stage and pipeline fit; gives the outcome of the stage.

    What HubSpot does with a pair that does not fit is not documented; here it is refused.
    """
    pipelines = portal.world.pipelines
    if before is None:
        first = next(iter(one.id for one in pipelines.values() if not one.archived))
        fields["pipeline_id"] = fields.get("pipeline_id") or first
    if "pipeline_id" not in fields and "stage_id" not in fields:
        assert before is not None
        return before.status
    pipeline_id = fields.get("pipeline_id", before.pipeline_id if before else None)
    stage_id = fields.get("stage_id", before.stage_id if before else None)
    stage = portal.world.stage(pipeline_id or "", stage_id or "")
    if stage is None:
        options = [one.id for one in pipelines[pipeline_id].stages] if pipeline_id in pipelines else []
        message = f"{stage_id} was not one of the allowed options: [{', '.join(options)}]"
        invalid_properties({"dealstage": ("INVALID_OPTION", message)}, portal.portal_id)
    fields |= {"pipeline_id": pipeline_id, "stage_id": stage_id}
    return stage.outcome


def _fit_contact(values: Mapping[str, Any], before: Contact | None, fields: dict[str, Any]) -> None:
    if "email" in values or "hs_additional_emails" in values:
        known = before.emails if before else ()
        first = values["email"] if "email" in values else known[0] if known else None
        rest = values["hs_additional_emails"] if "hs_additional_emails" in values else known[1:]
        fields["emails"] = tuple(dict.fromkeys(one for one in (first, *(rest or ())) if one))
    if "phone" in values or "mobilephone" in values:
        known = (*(before.phones if before else ()), "", "")
        phone = values["phone"] if "phone" in values else known[0]
        mobile = values["mobilephone"] if "mobilephone" in values else known[1]
        pair = (phone or "", mobile or "")
        fields["phones"] = pair if pair[1] else pair[:1] if pair[0] else ()


def _fit_note(values: Mapping[str, Any], fields: dict[str, Any], custom: dict[str, Any]) -> None:
    if "hs_note_body" in values:
        body = values["hs_note_body"] or ""
        text = html.unescape(_TAG.sub("", _BREAK.sub("\n", body))).strip()
        fields["text"] = text
        custom[KEPT + "hs_note_body"] = (text, body)
    if values.get("hs_timestamp") is not None:
        custom[KEPT + "hs_timestamp"] = values["hs_timestamp"]


def _move_on(reader: Reader, value: str | None, before: Any | None, custom: dict[str, Any]) -> None:
    """A lifecycle stage only moves forward unless cleared; a step back is ignored (in silence: inferred)."""
    one = reader.property(_LIFECYCLE)
    assert one is not None
    present = before.custom.get(KEPT + _LIFECYCLE) if before is not None else None
    if value is None or present is None or one.options.index(value) > one.options.index(present):
        custom[KEPT + _LIFECYCLE] = value


def _unique(portal: Portal, one_type: ObjectType, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in portal.unique_properties(one_type.kind):
        if values.get(name) is not None:
            found[name] = (str(values[name]).casefold(),)
    if one_type.plural == "contacts" and values.get("hs_additional_emails"):
        found["email"] = (*found.get("email", ()), *values["hs_additional_emails"])
    return found
