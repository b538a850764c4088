"""Who and what opportunities belong to: leads, contacts, users, the organization, pipelines, fields.

Sources: https://developer.close.com/api/resources/leads/list , /contacts/list , /users/list ,
/organizations/get , /pipelines/list , /opportunity-statuses/list , /custom-fields
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from crmkit.sandbox.close.answers import Params, field_list, missing, only, page_of, read_moment, refuse
from crmkit.sandbox.close.customs import takes_several, wire_type
from crmkit.sandbox.close.records import LEAD_STATUSES, STATUS_TYPES, Records
from crmkit.sandbox.close.seed import ROLE_ID
from crmkit.sandbox.rows import Company, CustomField, Kind, User

FIELD_KINDS: dict[str, Kind | None] = {
    "opportunity": "deal",
    "lead": "company",
    "contact": "contact",
    "shared": None,
}
_UPDATED = re.compile(r'(?:date_)?updated\s*(>=|<=|>|<|:)\s*"?([0-9T:\-]+(?: \d\d:\d\d)?)"?')


class People:
    """The lists and single reads around opportunities."""

    def __init__(self, records: Records, max_skip: int) -> None:
        self.records, self.world, self.max_skip = records, records.world, max_skip

    # Leads and contacts

    def leads(self, params: Params) -> dict[str, Any]:
        """One page of leads with their contacts and opportunities, newest first."""
        skip, limit = page_of(params, 200, max_skip=self.max_skip)
        fields = field_list(params)
        query = params.get("query", "")
        if query:
            rows = self.world.search.memo(("lead query", query), lambda: self._queried(query))
            page, total = rows[skip : skip + limit], len(rows)
        else:
            view = self.world.live.companies("created")
            page, total = view.page(skip, limit, descending=True), len(view)
        nested = fields is None or not {"contacts", "opportunities", "tasks"}.isdisjoint(fields)
        return {
            "data": [only(self.records.lead(row, nested=nested), fields) for row in page],
            "has_more": skip + limit < total,
            "total_results": total,
        }

    def lead(self, lead_id: str, params: Params) -> dict[str, Any]:
        """One lead."""
        row = self.world.companies.get(lead_id)
        if row is None:
            raise missing("Lead")
        return only(self.records.lead(row), field_list(params))

    def _queried(self, query: str) -> list[Company]:
        """What the deprecated `query` finds: dates of update to the minute, words in the name."""
        rows = self.world.search.companies("created").rows[::-1]
        for operator, text in _UPDATED.findall(query):
            at = read_moment(text.replace(" ", "T"), "query").replace(second=0, microsecond=0)
            holds = _COMPARE[operator]
            rows = [row for row in rows if holds(row.modified.replace(second=0, microsecond=0), at)]
        if "sort:updated" in query:
            rows.sort(key=lambda row: row.modified)
        rest = _UPDATED.sub("", query).replace("sort:updated", "").replace("*", "")
        for word in rest.replace('"', " ").split():
            rows = [row for row in rows if word.casefold() in row.name.casefold()]
        return rows

    def contacts(self, params: Params) -> dict[str, Any]:
        """One page of contacts, of one lead if asked so."""
        skip, limit = page_of(params, 100, max_skip=self.max_skip)
        fields = field_list(params)
        lead_id = params.get("lead_id")
        if lead_id:
            rows = self.world.live.group("contact", "company_id", lead_id)
            page, total = rows[skip : skip + limit], len(rows)
        else:
            view = self.world.live.contacts("created")
            page, total = view.page(skip, limit, descending=True), len(view)
        data = [only(self.records.contact(row), fields) for row in page]
        return {"data": data, "has_more": skip + limit < total}

    def contact(self, contact_id: str, params: Params) -> dict[str, Any]:
        """One contact."""
        row = self.world.contacts.get(contact_id)
        if row is None:
            raise missing("Contact")
        return only(self.records.contact(row), field_list(params))

    # Users and the organization

    def me(self, caller: str) -> dict[str, Any]:
        """The user whose key or token this is."""
        user = self.world.users[caller]
        return {
            **self.records.user(user),
            "organization_id": self.records.organization_id,
            "organizations": [
                {"id": self.records.organization_id, "name": self.world.workspace_name, **self._statuses()}
            ],
            "memberships": [
                {"organization_id": self.records.organization_id, **_membership(user)},
            ],
        }

    def users(self, params: Params) -> dict[str, Any]:
        """All users who ever shared the organization."""
        skip, limit = page_of(params, 1000, default=100)
        view = self.world.live.users("created")
        page = view.page(skip, limit)
        return {"data": [self.records.user(row) for row in page], "has_more": skip + limit < len(view)}

    def user(self, user_id: str) -> dict[str, Any]:
        """One user."""
        row = self.world.users.get(user_id)
        if row is None:
            raise missing("User")
        return self.records.user(row)

    def organization(self, organization_id: str, params: Params) -> dict[str, Any]:
        """The organization; `_expand=memberships__user` nests the users."""
        if organization_id != self.records.organization_id:
            raise missing("Organization")
        expanded = "memberships__user" in params.get("_expand", "").split(",")
        members: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for user in self.world.live.users("created"):
            nested = {"user": self.records.user(user)} if expanded else {}
            members[user.active].append({**_membership(user), **nested})
        first = next(iter(self.world.live.users("created")))
        shown = {
            "created_by": None,
            "currency": self.world.base_currency,
            "date_created": first.created.isoformat(),
            "date_updated": first.created.isoformat(),
            "id": self.records.organization_id,
            "inactive_memberships": members[False],
            "memberships": members[True],
            "name": self.world.workspace_name,
            "pipelines": [self.records.pipeline(pipeline) for pipeline in self.world.pipelines.values()],
            "updated_by": None,
            **self._statuses(),
        }
        return only(shown, field_list(params))

    def _statuses(self) -> dict[str, Any]:
        return {
            "lead_statuses": [{"id": status_id, "label": label} for status_id, label in LEAD_STATUSES],
            "opportunity_statuses": [
                {"id": stage.id, "label": stage.name, "type": STATUS_TYPES[stage.outcome]}
                for _, stage in self.records.places.values()
            ],
        }

    # Pipelines and statuses

    def pipelines(self) -> dict[str, Any]:
        """All pipelines; no paging, no `has_more`."""
        return {"data": [self.records.pipeline(pipeline) for pipeline in self.world.pipelines.values()]}

    def pipeline(self, pipeline_id: str) -> dict[str, Any]:
        """One pipeline."""
        if pipeline_id not in self.world.pipelines:
            raise missing("Pipeline")
        return self.records.pipeline(self.world.pipelines[pipeline_id])

    def statuses(self, params: Params) -> dict[str, Any]:
        """The opportunity statuses of all pipelines."""
        skip, limit = page_of(params, 100)
        rows = [self.records.status(pipeline, stage) for pipeline, stage in self.records.places.values()]
        return {"data": rows[skip : skip + limit], "has_more": skip + limit < len(rows)}

    def status(self, status_id: str) -> dict[str, Any]:
        """One opportunity status."""
        place = self.records.places.get(status_id)
        if place is None:
            raise missing("OpportunityStatus")
        return self.records.status(*place)

    def lead_statuses(self) -> dict[str, Any]:
        """The statuses of leads: another list, not to be mixed with the opportunities'."""
        rows = [
            {"id": status_id, "label": label, "organization_id": self.records.organization_id}
            for status_id, label in LEAD_STATUSES
        ]
        return {"data": rows, "has_more": False}

    # Custom fields

    def custom_fields(self, object_type: str, params: Params) -> dict[str, Any]:
        """The custom fields of a kind."""
        skip, limit = page_of(params, 1000, default=100)
        rows = self._fields_of(object_type)
        return {
            "data": [self.show_field(row) for row in rows[skip : skip + limit]],
            "has_more": skip + limit < len(rows),
        }

    def custom_field(self, object_type: str, field_id: str) -> dict[str, Any]:
        """One custom field."""
        for field in self._fields_of(object_type):
            if field.id == field_id:
                return self.show_field(field)
        raise missing("CustomField")

    def custom_field_schema(self, object_type: str) -> dict[str, Any]:
        """The custom fields of a kind in the order of display, shared ones among them."""
        fields = [{**self.show_field(field), "is_shared": False} for field in self._fields_of(object_type)]
        return {"fields": fields, "object_type": object_type}

    def _fields_of(self, object_type: str) -> list[CustomField]:
        if object_type not in FIELD_KINDS:
            raise refuse(f"Invalid object type: {object_type}.", 404)
        kind = FIELD_KINDS[object_type]
        return list(self.world.fields[kind].values()) if kind else []

    def show_field(self, field: CustomField) -> dict[str, Any]:
        """A custom field on the wire."""
        extra, made = field.extra, "2020-02-07T11:54:50.770000+00:00"
        return {
            "accepts_multiple_values": takes_several(field),
            "choices": [option.label for option in field.options] if field.options else None,
            "created_by": extra.get("by"),
            "date_created": extra.get("created", made),
            "date_updated": extra.get("updated", made),
            "description": extra.get("description"),
            "editable_with_roles": list(extra.get("editable_with_roles", ())),
            "id": field.id,
            "name": field.label,
            "organization_id": self.records.organization_id,
            "type": wire_type(field),
            "updated_by": extra.get("by"),
        }


def _membership(user: User) -> dict[str, Any]:
    first, _, last = user.name.partition(" ")
    return {
        "id": "memb_" + user.id[5:],
        "permissions_granted": ["export", "bulk_edit"],
        "role_id": ROLE_ID,
        "user_email": user.email,
        "user_first_name": first,
        "user_full_name": user.name,
        "user_id": user.id,
        "user_last_name": last,
        "user_phone": None,
    }


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ":": lambda left, right: left == right,
}
