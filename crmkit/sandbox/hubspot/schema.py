"""Property definitions and their groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import flag, invalid, read_body, refuse, reply
from crmkit.sandbox.hubspot.catalogue import Property
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.properties import all_properties, custom_property, find_property, options_of

_GROUPS: Mapping[str, tuple[str, str]] = {
    "deals": ("dealinformation", "Deal information"),
    "companies": ("companyinformation", "Company information"),
    "contacts": ("contactinformation", "Contact information"),
    "notes": ("engagement", "Engagement"),
    "tasks": ("engagement", "Engagement"),
}
_MADE = "2019-08-06T02:41:08.029Z"


class Schema:
    """The calls that describe properties."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/v3/properties/{type}", self.properties, methods=["GET"]),
            Route("/crm/v3/properties/{type}/groups", self.groups, methods=["GET"]),
            Route("/crm/v3/properties/{type}/groups/{group}", self.group, methods=["GET"]),
            Route("/crm/v3/properties/{type}/batch/read", self.batch_read, methods=["POST"]),
            Route("/crm/v3/properties/{type}/{name}", self.property, methods=["GET"]),
        ]

    async def properties(self, request: Request) -> Response:
        """All properties of an object type, without pages."""
        one_type = self._type(request)
        if flag(request, "archived"):
            gone = self.portal.archived_fields[one_type.kind].values() if one_type.kind else ()
            told = [definition(self.portal, one_type, custom_property(field)) for field in gone]
            return reply({"results": [one | {"archived": True} for one in told]})
        return reply(
            {
                "results": [
                    definition(self.portal, one_type, one) for one in all_properties(self.portal, one_type)
                ]
            }
        )

    async def property(self, request: Request) -> Response:
        """One property."""
        one_type, name = self._type(request), request.path_params["name"]
        found = find_property(self.portal, one_type, name)
        if found is None:
            refuse(404, f'Property "{name}" does not exist', "OBJECT_NOT_FOUND")
        return reply(definition(self.portal, one_type, found))

    async def batch_read(self, request: Request) -> Response:
        """Several properties; those that do not exist are told beside the results."""
        one_type = self._type(request)
        inputs = (await read_body(request)).get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(one, dict) and "name" in one for one in inputs):
            invalid("Invalid input JSON: inputs must be a list of objects with a name")
        started = self.portal.now()
        names = [str(one["name"]) for one in inputs]
        found = {name: find_property(self.portal, one_type, name) for name in names}
        missing = [name for name, one in found.items() if one is None]
        results = [definition(self.portal, one_type, one) for one in found.values() if one is not None]
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if missing:
            errors = [
                {
                    "status": "error",
                    "category": "OBJECT_NOT_FOUND",
                    "message": f'Property "{name}" does not exist',
                    "context": {"name": [name]},
                }
                for name in missing
            ]
            answer |= {"numErrors": len(errors), "errors": errors}
        answer |= {"startedAt": started, "completedAt": self.portal.now()}
        return reply(answer, 207 if missing else 200)

    async def groups(self, request: Request) -> Response:
        """The property groups of an object type."""
        one_type = self._type(request)
        own = self.portal.groups.get(one_type.plural, {})
        return reply({"results": [_group(one_type), *own.values()]})

    async def group(self, request: Request) -> Response:
        """One property group."""
        one_type, name = self._type(request), request.path_params["group"]
        found = find_group(self.portal, one_type, name)
        if found is None:
            refuse(404, "resource not found")
        return reply(found)

    def _type(self, request: Request) -> ObjectType:
        found = object_type(request.path_params["type"])
        self.portal.require(f"crm.objects.{found.scope}.read", f"crm.schemas.{found.scope}.read")
        return found


def definition(portal: Portal, one_type: ObjectType, one: Property) -> dict[str, Any]:
    """A property as answers define it."""
    own = one.custom is None
    read_only = one.calculated
    return {
        "updatedAt": _MADE,
        "createdAt": _MADE,
        "name": one.name,
        "label": one.label,
        "type": one.type,
        "fieldType": one.field_type,
        "description": "",
        "groupName": _GROUPS[one_type.plural][0],
        "options": _options(
            options_of(portal, one), one.custom.extra.get("options", {}) if one.custom else {}
        ),
        "displayOrder": -1,
        "calculated": read_only and one.field_type.startswith("calculation"),
        "externalOptions": False,
        "archived": False,
        "hasUniqueValue": False,
        "hidden": False,
        "hubspotDefined": own,
        "modificationMetadata": {
            "archivable": not own,
            "readOnlyDefinition": own,
            "readOnlyOptions": own,
            "readOnlyValue": read_only,
        },
        "formField": not read_only,
        "dataSensitivity": "non_sensitive",
        **(one.more or {}),
    }


def _options(pairs: Iterable[tuple[str, str]], said: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "value": value,
            "displayOrder": order,
            "hidden": False,
            "description": "",
            **said.get(value, {}),
        }
        for order, (label, value) in enumerate(pairs)
    ]


def find_group(portal: Portal, one_type: ObjectType, name: str) -> dict[str, Any] | None:
    """The property group of this name: HubSpot's own, or one that was made."""
    own = _group(one_type)
    return own if own["name"] == name else portal.groups.get(one_type.plural, {}).get(name)


def _group(one_type: ObjectType) -> dict[str, Any]:
    name, label = _GROUPS[one_type.plural]
    return {"name": name, "label": label, "displayOrder": 0, "archived": False}
