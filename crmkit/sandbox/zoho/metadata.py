"""What the organisation is like: users, modules, fields, layouts, pipelines, currencies, roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import Stage, User
from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.zoho.answers import no_content, not_modified, refuse, whole_number
from crmkit.sandbox.zoho.deals import LAYOUT_ID
from crmkit.sandbox.zoho.describe import describe_field, describe_layout, describe_module, describe_user
from crmkit.sandbox.zoho.lists import ROLES, modified_since, role_id
from crmkit.sandbox.zoho.org import Org, actual_value
from crmkit.sandbox.zoho.organisation import describe_currencies, describe_organisation
from crmkit.sandbox.zoho.schema import Module
from crmkit.sandbox.zoho.seed import FORECAST_IDS, ORG_BASE

_LAYOUTS = {"Deals": LAYOUT_ID, "Accounts": str(ORG_BASE + 91_029), "Contacts": str(ORG_BASE + 91_033)}
_FORECAST = {
    "open": ("Open", "Pipeline"),
    "won": ("Closed Won", "Closed"),
    "lost": ("Closed Lost", "Omitted"),
}


class Metadata:
    """The calls that read no records."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]], edition: str) -> None:
        self.org, self._modules, self._edition = org, modules, edition

    def routes(self) -> list[Route]:
        """What is served."""
        start = "/crm/{version}"
        calls = {
            "/users": self.users,
            "/users/{id}": self.user,
            "/org": self.organisation,
            "/org/currencies": self.currencies,
            "/Contacts/roles": self.roles,
            "/contacts/roles": self.roles,
            "/settings/modules": self.list_modules,
            "/settings/modules/{name}": self.one_module,
            "/settings/fields": self.fields,
            "/settings/fields/{id}": self.one_field,
            "/settings/layouts": self.layouts,
            "/settings/layouts/{id}": self.one_layout,
            "/settings/pipeline": self.pipelines,
            "/settings/pipeline/{id}": self.one_pipeline,
            "/settings/related_lists": self.related_lists,
        }
        return [Route(start + path, call, methods=["GET"]) for path, call in calls.items()]

    # People

    async def users(self, request: Request) -> Response:
        """Users of a type; `AllUsers` are the active and the disabled ones, not the deleted."""
        type_ = request.query_params.get("type") or "AllUsers"
        choose = _USER_TYPES.get(type_)
        if choose is None:
            refuse("INVALID_REQUEST", {"param_name": "type"}, "the type given seems to be invalid")
        since = modified_since(request)
        gone, me = self.org.deleted_user_ids, self.org.me
        found = [user for user in self.org.world.users.values() if choose(user, user.id in gone, me)]
        if since is not None:
            found = [user for user in found if user.created >= since]
            if not found:
                return not_modified()
        size = whole_number(request, "per_page", 200, 200)
        page = whole_number(request, "page", 1, 10**9)
        cut = found[(page - 1) * size : page * size]
        if not cut:
            return no_content()
        info = {"per_page": size, "count": len(cut), "page": page, "more_records": page * size < len(found)}
        return json_reply({"users": [describe_user(self.org, user) for user in cut], "info": info})

    async def user(self, request: Request) -> Response:
        """One user."""
        user = self.org.world.users.get(request.path_params["id"])
        if user is None:
            return no_content()
        return json_reply({"users": [describe_user(self.org, user)]})

    async def roles(self, request: Request) -> Response:
        """The parts a contact can play in a deal."""
        rows = [
            {"id": role_id(place), "name": name, "sequence_number": place + 1}
            for place, name in enumerate(ROLES)
        ]
        return json_reply({"contact_roles": rows})

    # The organisation

    async def organisation(self, request: Request) -> Response:
        """The organisation itself."""
        return json_reply({"org": [describe_organisation(self.org, self._edition)]})

    async def currencies(self, request: Request) -> Response:
        """The currencies; without multi-currency there is nothing to tell."""
        if not self.org.multi_currency:
            return no_content()
        return json_reply({"currencies": describe_currencies(self.org)})

    # Modules and fields

    async def list_modules(self, request: Request) -> Response:
        """The modules."""
        modules = enumerate(self._modules().values())
        return json_reply({"modules": [describe_module(self.org, one, place) for place, one in modules]})

    async def one_module(self, request: Request) -> Response:
        """A module by its name or id."""
        wanted = request.path_params["name"]
        for place, one in enumerate(self._modules().values()):
            if wanted in {one.name, one.id}:
                return json_reply({"modules": [describe_module(self.org, one, place)]})
        refuse("INVALID_MODULE", {"resource_path_index": 2})

    async def fields(self, request: Request) -> Response:
        """The fields of a module."""
        module = self._asked(request)
        rows = [
            describe_field(module, one, self._picks(module, one.name))
            for one in module.fields.values()
            if not one.hidden
        ]
        return json_reply({"fields": rows})

    async def one_field(self, request: Request) -> Response:
        """A field of a module, by its id."""
        module = self._asked(request)
        for one in module.fields.values():
            row = None if one.hidden else describe_field(module, one, self._picks(module, one.name))
            if row is not None and row["id"] == request.path_params["id"]:
                return json_reply({"fields": [row]})
        return no_content()

    async def layouts(self, request: Request) -> Response:
        """The layouts of a module: one each."""
        module = self._asked(request)
        layout_id = _LAYOUTS.get(module.name)
        if layout_id is None:
            return no_content()
        return json_reply({"layouts": [self._layout(module, layout_id)]})

    async def one_layout(self, request: Request) -> Response:
        """A layout by its id."""
        module = self._asked(request)
        layout_id = _LAYOUTS.get(module.name)
        if layout_id is None or layout_id != request.path_params["id"]:
            return no_content()
        return json_reply({"layouts": [self._layout(module, layout_id)]})

    async def related_lists(self, request: Request) -> Response:
        """The related lists of a module."""
        module = self._asked(request)
        rows = [
            {
                "id": str(ORG_BASE + 92_001 + 2 * place),
                "sequence_number": str(place + 1),
                "display_label": name.replace("_", " "),
                "api_name": name,
                "module": self._related_module(name),
                "name": name.replace("_", " "),
                "action": None,
                "href": f"{module.name}/{{ENTITYID}}/{name}",
                "type": "default",
                "customize_sort": False,
                "customize_fields": False,
                "customize_display_label": False,
                "status": "visible",
            }
            for place, name in enumerate(module.related)
        ]
        return json_reply({"related_lists": rows}) if rows else no_content()

    # Pipelines

    async def pipelines(self, request: Request) -> Response:
        """The pipelines of a layout."""
        self._check_layout(request)
        if not self.org.has_pipelines:
            return no_content()
        return json_reply({"pipeline": self._pipelines()})

    async def one_pipeline(self, request: Request) -> Response:
        """A pipeline by its id."""
        self._check_layout(request)
        wanted = request.path_params["id"]
        found = [row for row in self._pipelines() if row["id"] == wanted]
        if not found:
            message = "the related id given seems to be invalid"
            refuse("INVALID_DATA", {"resource_path_index": 2}, message)
        return json_reply({"pipeline": found})

    def _check_layout(self, request: Request) -> None:
        layout_id = request.query_params.get("layout_id")
        if not layout_id:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "layout_id"})
        if layout_id != LAYOUT_ID:
            refuse("INVALID_DATA", {"param_name": "layout_id"}, "Invalid layoutid")

    def _pipelines(self) -> list[dict[str, Any]]:
        pipelines = sorted(self.org.world.pipelines.values(), key=lambda one: one.order)
        return [
            {
                "display_value": one.name,
                "default": bool(one.extra.get("default")),
                "maps": [
                    {
                        "display_value": stage.name,
                        "sequence_number": place,
                        "forecast_category": _forecast(stage)[1],
                        "actual_value": actual_value(stage),
                        "id": stage.id,
                        "forecast_type": _forecast(stage)[0],
                    }
                    for place, stage in enumerate(sorted(one.stages, key=lambda stage: stage.order), 1)
                ],
                "actual_value": one.extra.get("actual_value", one.name),
                "id": one.id,
            }
            for one in pipelines
            if not one.archived
        ]

    def _picks(self, module: Module, name: str) -> list[dict[str, Any]] | None:
        """Picklist values with more than a label: stages carry their meaning here and nowhere else."""
        if module.name != "Deals" or name != "Stage":
            return None
        return [
            {
                "display_value": stage.name,
                "sequence_number": place,
                "deal_category": _forecast(stage)[0],
                "reference_value": actual_value(stage),
                "probability": round((stage.probability or 0) * 100),
                "forecast_category": _forecast(stage)[1],
                "actual_value": actual_value(stage),
                "id": stage.id,
                "type": "used",
                "forecast_type": _forecast(stage)[0],
            }
            for place, stage in enumerate(self.org.picklist(), 1)
        ]

    def _layout(self, module: Module, layout_id: str) -> dict[str, Any]:
        fields = [
            describe_field(module, one, self._picks(module, one.name))
            for one in module.fields.values()
            if not one.hidden
        ]
        return describe_layout(self.org, module, layout_id, fields)

    def _related_module(self, name: str) -> dict[str, str] | None:
        target = {"Stage_History": "DealHistory", "Contact_Roles": "Contacts"}.get(name, name)
        found = self._modules().get(target)
        return {"api_name": found.name, "id": found.id} if found else None

    def _asked(self, request: Request) -> Module:
        name = request.query_params.get("module")
        if not name:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "module"})
        found = self._modules().get(name)
        if found is None:
            refuse("INVALID_MODULE", {"param_name": "module"})
        return found


def _forecast(stage: Stage) -> tuple[str, dict[str, str]]:
    type_, category = _FORECAST[stage.outcome]
    name = stage.extra.get("forecast_category", category)  # an organisation may have more than Zoho's own
    return type_, {"name": name, "id": FORECAST_IDS.get(name, FORECAST_IDS[category])}


_Choose = Callable[[User, bool, User], bool]
_USER_TYPES: Mapping[str, _Choose] = {
    "AllUsers": lambda user, gone, me: not gone,
    "ActiveUsers": lambda user, gone, me: user.active,
    "DeactiveUsers": lambda user, gone, me: not user.active and not gone,
    "ConfirmedUsers": lambda user, gone, me: not gone,
    "NotConfirmedUsers": lambda user, gone, me: False,
    "DeletedUsers": lambda user, gone, me: gone,
    "ActiveConfirmedUsers": lambda user, gone, me: user.active,
    "AdminUsers": lambda user, gone, me: user is me,
    "ActiveConfirmedAdmins": lambda user, gone, me: user is me,
    "CurrentUser": lambda user, gone, me: user is me,
}
