"""Records: list, get, deleted, related lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import Contact, Deal
from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.zoho.answers import no_content, not_modified, refuse, whole_number
from crmkit.sandbox.zoho.deals import stage_rows
from crmkit.sandbox.zoho.org import Org, read_time
from crmkit.sandbox.zoho.paging import PAGE_MOST, ordering, take_page
from crmkit.sandbox.zoho.schema import Module, Plan, write
from crmkit.sandbox.zoho.seed import ORG_BASE
from crmkit.sandbox.zoho.views import find, rows_of, rows_since, sort_key

FIELDS_MOST = 50
_IDS_MOST = 100
_PURGE_DAYS = 20.0
_ROLES_MOST = 100
ROLES = ("Decision Maker", "Product Management", "Developer/Evaluator", "Purchasing", "Executive Sponsor")
FindModule = Callable[[Request], Module]


class Lists:
    """The calls that read records without a condition."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]]) -> None:
        self.org, self._modules = org, modules

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/{version}/{module}/deleted", self.deleted, methods=["GET"]),
            Route("/crm/{version}/{module}", self.page, methods=["GET"]),
            Route("/crm/{version}/{module}/{id}", self.read, methods=["GET"]),
            Route("/crm/{version}/{module}/{id}/{related}", self.related, methods=["GET"]),
        ]

    def module(self, request: Request) -> Module:
        """The module an address names; its API name is case-sensitive."""
        found = self._modules().get(request.path_params["module"])
        if found is None:
            refuse("INVALID_MODULE", {"resource_path_index": 0})
        return found

    async def page(self, request: Request) -> Response:
        """A page of a module."""
        module = self.module(request)
        if module.name == "Notes" and not self.org.settings.extra.get("admin", True):
            refuse("NOT_SUPPORTED", {}, "This API is supported only for admin users.", status=403)
        plan = self._plan(request, module)
        sort_by, descending = ordering(request)
        self._refuse_views(request)
        store, since = self.org.world.live, modified_since(request)
        ids = request.query_params.get("ids")
        rows: Sequence[Any]
        if ids:
            rows = sorted(self._by_ids(module, ids, since), key=lambda row: sort_key(row, sort_by))
        elif since is not None:
            rows = rows_since(store, module, since, sort_by)
        else:
            rows = rows_of(store, module, sort_by)
        if since is not None and not rows:
            return not_modified()
        page = take_page(self.org, request, rows)
        if not page.rows:
            return no_content()
        info = {
            **page.info,
            "sort_by": sort_by,
            "sort_order": "desc" if descending else "asc",
        }
        if module.name != "Notes":
            info |= {"call": False, "email": False}
        return json_reply({"data": [write(row, plan) for row in page.rows], "info": info})

    async def read(self, request: Request) -> Response:
        """One record; without `fields` it shows all of them."""
        module, record_id = self.module(request), _record_id(request)
        plan = self._plan(request, module, required=False)
        row = find(self.org.world.live, module, record_id)
        if row is None:
            return no_content()
        since = modified_since(request)
        if since is not None and row.modified < since:
            return not_modified()
        return json_reply({"data": [write(row, plan)]})

    async def deleted(self, request: Request) -> Response:
        """What was deleted or merged away, the last first; it has page numbers only."""
        module = self.module(request)
        wanted = request.query_params.get("type") or "all"
        if wanted not in {"all", "recycle", "permanent"}:
            refuse("INVALID_DATA", {"param_name": "type"}, "the type given seems to be invalid")
        size = whole_number(request, "per_page", PAGE_MOST, PAGE_MOST)
        page = whole_number(request, "page", 1, 10**9)
        since = modified_since(request)
        rows = [
            row
            for row in self._gone(module)
            if wanted in {"all", row[3]} and (since is None or row[0] >= since)
        ]
        if since is not None and not rows:
            return not_modified()
        start = (page - 1) * size
        cut = rows[start : start + size]
        if not cut:
            return no_content()
        return json_reply(
            {
                "data": [self._gone_row(module, *row) for row in cut],
                "info": {
                    "per_page": size,
                    "count": len(cut),
                    "page": page,
                    "more_records": start + size < len(rows),
                },
            }
        )

    async def related(self, request: Request) -> Response:
        """A related list of one record."""
        module, record_id = self.module(request), _record_id(request)
        name = request.path_params["related"]
        if name not in module.related:
            refuse("INVALID_DATA", {"resource_path_index": 2}, "the relation name given seems to be invalid")
        child = self._modules().get(_CHILDREN.get(name, ""))
        if child is None:
            return no_content()
        plan = self._plan(request, child)
        parent = find(self.org.world.live, module, record_id)
        if parent is None:
            return no_content()
        since = modified_since(request)
        rows = self._children(module, name, parent)
        if since is not None:
            rows = [row for row in rows if row.modified >= since]
            if not rows:
                return not_modified()
        sort_by, _ = ordering(request)
        rows = sorted(rows, key=lambda row: sort_key(row, sort_by))
        most = _ROLES_MOST if name == "Contact_Roles" else PAGE_MOST
        page = take_page(self.org, request, rows, size_most=most)
        if not page.rows:
            return no_content()
        data = [write(row, plan) for row in page.rows]
        if name == "Contact_Roles":
            for row, contact in zip(data, page.rows, strict=True):
                row["Contact_Role"] = role_of(parent, contact)
        return json_reply({"data": data, "info": page.info})

    def _plan(self, request: Request, module: Module, *, required: bool = True) -> Plan:
        text = request.query_params.get("fields")
        if not text:
            # Up to v2 a list shows every field unasked.
            if required and request.path_params["version"] != "v2":
                refuse("REQUIRED_PARAM_MISSING", {"param_name": "fields"})
            return module.plan(None)
        names = [name.strip() for name in text.split(",") if name.strip()]
        if len(names) > FIELDS_MOST:
            refuse("LIMIT_EXCEEDED", {"limit": FIELDS_MOST, "param_name": "fields"})
        return module.plan(names)

    def _refuse_views(self, request: Request) -> None:
        if "cvid" not in request.query_params:
            return
        if "sort_by" in request.query_params:
            both = {"ambiguity_due_to": [{"param_name": "cvid"}, {"param_name": "sort_by"}]}
            refuse("AMBIGUITY_DURING_PROCESSING", both)
        # This organisation has no custom views.
        refuse("INVALID_DATA", {"param_name": "cvid"}, "the cvid given seems to be invalid")

    def _by_ids(self, module: Module, text: str, since: datetime | None) -> list[Any]:
        ids = dict.fromkeys(part.strip() for part in text.split(",") if part.strip())
        if len(ids) > _IDS_MOST:
            refuse("LIMIT_EXCEEDED", {"limit": _IDS_MOST, "param_name": "ids"})
        found = (find(self.org.world.live, module, record_id) for record_id in ids)
        return [row for row in found if row is not None and (since is None or row.modified >= since)]

    def _gone(self, module: Module) -> list[tuple[datetime, str, str, str, str | None]]:
        world = self.org.world
        if module.kind is None:
            return []
        days = float(self.org.settings.extra.get("purge_days", _PURGE_DAYS))
        purged = world.clock() - timedelta(days=days)
        gone = [(row.at, row.id, row.row, row.by_user_id) for row in world.deleted if row.kind == module.kind]
        gone += [(row.at, row.loser, row.row, None) for row in world.merged if row.kind == module.kind]
        gone.sort(key=lambda row: (row[0], int(row[1])), reverse=True)
        return [
            (at, row_id, module.display(row), "permanent" if at < purged else "recycle", by)
            for at, row_id, row, by in gone
        ]

    def _gone_row(
        self, module: Module, at: datetime, row_id: str, name: str, type_: str, by: str | None
    ) -> dict[str, Any]:
        """One row; of what was purged nothing is known but when."""
        short = self.org.user_short
        known = type_ == "recycle"
        deleted_by = short(by or self.org.me.id) if known else None
        return {
            "deleted_by": deleted_by,
            "id": row_id,
            "display_name": name if known else None,
            "type": type_,
            "created_by": deleted_by,
            "deleted_time": self.org.stamp(at),
        }

    def _children(self, module: Module, name: str, parent: Any) -> list[Any]:
        live = self.org.world.live
        field = {"Deals": "deal_id", "Accounts": "company_id", "Contacts": "contact_id"}.get(module.name, "")
        if name == "Notes":
            notes = live.group("note", field, parent.id)
            # A note on a deal also names its company, but hangs on the deal.
            return [note for note in notes if module.name == "Deals" or note.deal_id is None]
        if name == "Stage_History":
            return list(stage_rows(parent))
        if name == "Contact_Roles":
            return [contact for one in parent.contact_ids if (contact := self.org.world.contacts.get(one))]
        if name == "Deals":
            return live.group("deal", "company_id" if module.name == "Accounts" else "contact_ids", parent.id)
        return live.group("contact", "company_id", parent.id)


_CHILDREN = {
    "Notes": "Notes",
    "Contact_Roles": "Contacts",
    "Stage_History": "DealHistory",
    "Deals": "Deals",
    "Contacts": "Contacts",
}


def role_of(deal: Deal, contact: Contact) -> dict[str, str]:
    """The part a contact plays in a deal: the one that was written, else the first one decides."""
    place = deal.custom.get("$Roles", {}).get(contact.id)
    if place is None:
        place = 0 if deal.contact_ids[0] == contact.id else 1 + int(contact.id) % (len(ROLES) - 1)
    return {"name": ROLES[place], "id": role_id(place)}


def role_id(place: int) -> str:
    """The id of a role."""
    return str(ORG_BASE + 7_160 + 5 * place)


def modified_since(request: Request) -> datetime | None:
    """The time in `If-Modified-Since`; the filter includes it."""
    text = request.headers.get("if-modified-since")
    if not text:
        return None
    moment = read_time(text)
    if moment is None:
        refuse("INVALID_DATA", {"param_name": "If-Modified-Since"}, "the header given seems to be invalid")
    return moment


def _record_id(request: Request) -> str:
    record_id = str(request.path_params["id"])
    if not record_id.isdecimal():
        refuse("INVALID_DATA", {"resource_path_index": 1}, "the id given seems to be invalid")
    return record_id
