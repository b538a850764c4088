"""An opportunity as a write brings it.

Sources: https://developer.copper.com/opportunities/create-a-new-opportunity.html ,
https://developer.copper.com/opportunities/update-an-opportunity.html
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.answers import Body
from crmkit.sandbox.copper.custom_values import custom_values
from crmkit.sandbox.copper.records import STATUSES, primary_of
from crmkit.sandbox.copper.validation import Form
from crmkit.sandbox.rows import Deal

_WRITABLE = frozenset(
    "name primary_contact_id company_id assignee_id pipeline_id pipeline_stage_id status loss_reason_id"
    " customer_source_id priority win_probability monetary_value monetary_unit close_date details tags"
    " custom_fields".split()
)
# A company's name alone creates nothing (inferred).
_READ_ONLY = frozenset(
    "id company_name pipeline_type pipeline_is_revenue converted_value converted_unit date_created"
    " date_modified date_stage_changed date_last_contacted date_lead_created interaction_count"
    " leads_converted_from".split()
)
_PRIORITIES = ("None", "Low", "Medium", "High")
_STATUS_OF = {shown: status for status, shown in STATUSES.items()}
_DAY = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)


def opportunity_fields(account: Account, before: Deal | None, body: Body) -> dict[str, Any]:
    """What the write sets, in the words of a `Deal`; `custom` holds only what is set or cleared.

    Raises:
        Invalid: Something is wrong with it.
    """
    form = Form(body, _WRITABLE, _READ_ONLY)
    fields: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    if before is None or "name" in form:
        fields["name"] = form.text("name", required=True)
    _read_parties(account, before, form, fields, custom)
    _read_place(account, before, form, fields)
    _read_state(account, before, form, fields)
    _read_value(account, before, form, fields)
    if "close_date" in form:
        fields["expected_close"] = _day(form, day_first=account.records.day_first)
    if "tags" in form:
        fields["tags"] = form.tags()
    if "details" in form:
        custom["details"] = form.text("details")
    if "priority" in form:
        priority = form.one_of("priority", _PRIORITIES)
        custom["priority"] = None if priority == "None" else priority
    custom |= custom_values(form, account.world.fields["deal"], account.world.time_zone)
    form.check()
    return {**fields, "custom": custom}


def assignee_of(account: Account, before: Any, form: Form) -> str | None:
    """The owner a write names: somebody who left is refused, unless it was theirs before (inferred)."""
    users = account.world.users
    owner_id = form.record("assignee_id", users)
    if owner_id is None or (before is not None and before.owner_id == owner_id):
        return owner_id
    if not users[owner_id].active and not account.extra.get("copper_left_assignees"):
        form.wrong("assignee_id")
    return owner_id


def _read_parties(
    account: Account, before: Deal | None, form: Form, fields: dict[str, Any], custom: dict[str, Any]
) -> None:
    world = account.world
    if "assignee_id" in form:
        fields["owner_id"] = assignee_of(account, before, form)
    if "company_id" in form:
        fields["company_id"] = form.record("company_id", world.companies)
    if before is not None and "primary_contact_id" not in form:
        return
    contact_id = form.record("primary_contact_id", world.contacts)
    if before is None:
        missing = form.body.get("primary_contact_id") is None
        if missing and not account.extra.get("copper_contact_optional"):
            form.wrong("primary_contact_id", "can't be blank", "blank")
        fields["contact_ids"] = (contact_id,) if contact_id else ()
        if contact_id and not fields.get("company_id"):
            fields["company_id"] = world.contacts[contact_id].company_id
        return
    former = primary_of(before)
    if contact_id == former:
        return
    # Whether the former primary contact stays related is unknown.
    gone = {contact_id} if account.extra.get("copper_former_primary_stays") else {contact_id, former}
    rest = tuple(other for other in before.contact_ids if other not in gone)
    fields["contact_ids"] = (contact_id, *rest) if contact_id else rest
    custom["no_primary"] = True if rest and not contact_id else None


def _read_place(account: Account, before: Deal | None, form: Form, fields: dict[str, Any]) -> None:
    """Pipeline and stage: they must fit; another pipeline alone means its first stage (both inferred)."""
    world, places = account.world, account.records.places
    pipeline_id = form.record("pipeline_id", world.pipelines)
    stage_id = form.record("pipeline_stage_id", places)
    if before is not None:
        for key in ("pipeline_id", "pipeline_stage_id"):
            if key in form and form.body[key] is None:
                form.wrong(key, "can't be blank", "blank")
    where = pipeline_id or (before.pipeline_id if before else next(iter(world.pipelines)))
    if stage_id is not None:
        if places[stage_id][0].id != where:
            form.wrong("pipeline_stage_id", "does not belong to the pipeline")
        fields |= {"pipeline_id": where, "stage_id": stage_id}
    elif pipeline_id is not None and (before is None or pipeline_id != before.pipeline_id):
        fields |= {"pipeline_id": pipeline_id, "stage_id": world.pipelines[pipeline_id].stages[0].id}


def _read_state(account: Account, before: Deal | None, form: Form, fields: dict[str, Any]) -> None:
    """Status and what explains it; neither stage nor probability follow the status, nor it them."""
    if "status" in form:
        said = form.one_of("status", _STATUS_OF)
        if form.body["status"] is None and before is not None:
            form.wrong("status", "can't be blank", "blank")
        status = _STATUS_OF[said or "Open"]
        fields["status"] = status
        if before is None or before.status != status:
            fields["closed_at"] = None if status == "open" else account.world.now()
    for key, field, listed in (
        ("loss_reason_id", "lost_reason", account.records.loss_reasons),
        ("customer_source_id", "source", account.records.sources),
    ):
        if key in form:
            names = {str(number): name for name, number in listed.ids.items()}
            fields[field] = names.get(form.record(key, names) or "")


def _read_value(account: Account, before: Deal | None, form: Form, fields: dict[str, Any]) -> None:
    if "monetary_value" in form:
        fields["amount"] = form.number("monetary_value")
    if "monetary_unit" in form:
        unit = form.one_of("monetary_unit", account.world.rates)
        fields["currency"] = unit or account.world.base_currency
    if "win_probability" in form:
        share = form.percent("win_probability")
        # The stage's own, sent back as it was read, is none of the deal's; null is the stage's again
        # (both inferred).
        if before is None or share is None or round(share * 100) != account.records.win_probability(before):
            fields["probability"] = share


def _day(form: Form, *, day_first: bool) -> date | None:
    """A close date as the account writes it, padded or not; any other form is refused (inferred)."""
    value = form.body["close_date"]
    if value is None or value == "":
        return None
    found = _DAY.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        first, second, year = (int(part) for part in found.groups())
        day, month = (first, second) if day_first else (second, first)
        try:
            return date(year, month, day)
        except ValueError:
            pass
    form.wrong("close_date")
    return None
