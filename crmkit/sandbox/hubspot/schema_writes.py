"""Properties that the workspace adds, and groups for them.

Source: https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import (
    Rejected,
    batch_answer,
    batch_inputs,
    invalid,
    missing_fields,
    read_body,
    refuse,
    reply,
    stamp,
)
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.properties import custom_property, find_property
from crmkit.sandbox.hubspot.schema import definition, find_group
from crmkit.sandbox.hubspot.writes import kind_of
from crmkit.sandbox.rows import CustomField, FieldType, Option

_UNIQUE_MOST = 10
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_PAIRS: Mapping[str, frozenset[str]] = {
    "bool": frozenset({"booleancheckbox"}),
    "enumeration": frozenset({"booleancheckbox", "checkbox", "radio", "select"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"date"}),
    "number": frozenset({"number"}),
    "string": frozenset({"text", "textarea", "file", "html", "phonenumber"}),
}
_KINDS: Mapping[str, FieldType] = {
    "bool": "checkbox",
    "enumeration": "picklist",
    "date": "date",
    "datetime": "date",
    "number": "number",
    "string": "text",
}
# What a definition says as it was sent.
_SAID = (
    "description",
    "groupName",
    "displayOrder",
    "hidden",
    "formField",
    "showCurrencySymbol",
    "numberDisplayHint",
    "textDisplayHint",
    "currencyPropertyName",
    "dataSensitivity",
)
_OPTION_SAID = ("description", "displayOrder", "hidden")


class SchemaWrites:
    """The calls that write property definitions."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        base = "/crm/v3/properties/{type}"
        return [
            Route(base, self.create, methods=["POST"]),
            Route(f"{base}/batch/create", self.batch_create, methods=["POST"]),
            Route(f"{base}/batch/archive", self.batch_archive, methods=["POST"]),
            Route(f"{base}/groups", self.create_group, methods=["POST"]),
            Route(f"{base}/groups/{{group}}", self.patch_group, methods=["PATCH"]),
            Route(f"{base}/groups/{{group}}", self.drop_group, methods=["DELETE"]),
            Route(f"{base}/{{name}}", self.patch, methods=["PATCH"]),
            Route(f"{base}/{{name}}", self.archive, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Make a property; the name of an archived one brings that one back."""
        one_type = self._type(request)
        return reply(self._create(one_type, await read_body(request)), 201)

    async def batch_create(self, request: Request) -> Response:
        """Make properties; what fails is told beside the results."""
        one_type, started = self._type(request), self.portal.now()
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for said in batch_inputs(await read_body(request), 100):
            try:
                results.append(self._create(one_type, said))
            except Rejected as error:
                errors.append(error.beside(name=[str(said.get("name"))]))
        return batch_answer(results, errors, started, self.portal.now(), 201)

    async def patch(self, request: Request) -> Response:
        """Change a definition: `options` replace the whole list; whether it is unique never changes."""
        one_type = self._type(request)
        field = self._field(one_type, request.path_params["name"])
        body = await read_body(request)
        wire_type, field_type = _wire(field)
        if body.get("type", wire_type) != wire_type:
            invalid(f"The type of property {field.id} cannot be changed")
        field_type = body.get("fieldType", field_type)
        _check_pair(wire_type, field_type)
        if "groupName" in body:
            self._check_group(one_type, body["groupName"])
        if "options" in body:
            field.options = _options(body["options"])
            field.extra["options"] = _option_details(body["options"])
        field.label = str(body.get("label", field.label))
        field.extra["wire"] = (wire_type, field_type)
        said = {name: body[name] for name in _SAID if name in body}
        stamped = {"updatedAt": self.portal.now()}
        field.extra["said"] = {**field.extra.get("said", {}), **said, **stamped}
        return reply(definition(self.portal, one_type, custom_property(field)))

    async def archive(self, request: Request) -> Response:
        """Archive a property; its values stay, unseen."""
        one_type = self._type(request)
        self._archive(one_type, request.path_params["name"])
        return Response(status_code=204)

    async def batch_archive(self, request: Request) -> Response:
        """Archive properties; names that do not exist are passed over."""
        one_type = self._type(request)
        for said in batch_inputs(await read_body(request), 100):
            name = str(said.get("name"))
            if find_property(self.portal, one_type, name) is not None:
                self._archive(one_type, name)
        return Response(status_code=204)

    async def create_group(self, request: Request) -> Response:
        """Make a property group."""
        one_type = self._type(request)
        body = await read_body(request)
        absent = [name for name in ("label", "name") if not body.get(name)]
        if absent:
            missing_fields(*absent)
        if find_group(self.portal, one_type, body["name"]) is not None:
            refuse(409, f"A group named {body['name']} exists already", "OBJECT_ALREADY_EXISTS")
        name = str(body["name"])
        made = {
            "name": name,
            "label": str(body["label"]),
            "displayOrder": int(body.get("displayOrder", -1)),
            "archived": False,
        }
        self.portal.groups.setdefault(one_type.plural, {})[name] = made
        return reply(made, 201)

    async def patch_group(self, request: Request) -> Response:
        """Change label or place of a group that was made."""
        group = self._group(request)
        body = await read_body(request)
        group |= {name: body[name] for name in ("label", "displayOrder") if name in body}
        return reply(group)

    async def drop_group(self, request: Request) -> Response:
        """Take a group away that was made."""
        group = self._group(request)
        del self.portal.groups[self._type(request).plural][group["name"]]
        return Response(status_code=204)

    def _type(self, request: Request) -> ObjectType:
        found = object_type(request.path_params["type"])
        self.portal.may_shape(found)
        if found.kind is None:
            refuse(400, f"Unable to infer object type from: {found.plural}")
        return found

    def _group(self, request: Request) -> dict[str, Any]:
        made = self.portal.groups.get(self._type(request).plural, {})
        if request.path_params["group"] not in made:
            refuse(404, "resource not found")
        return made[request.path_params["group"]]

    def _check_group(self, one_type: ObjectType, name: Any) -> None:
        if find_group(self.portal, one_type, str(name)) is None:
            invalid(f"The property group {name} does not exist")

    def _create(self, one_type: ObjectType, said: dict[str, Any]) -> dict[str, Any]:
        kind = kind_of(one_type)
        absent = [one for one in ("fieldType", "groupName", "label", "name", "type") if not said.get(one)]
        if absent:
            missing_fields(*absent)
        name = str(said["name"])
        if find_property(self.portal, one_type, name) is not None:
            refuse(
                409,
                f"A property named '{name}' already exists.",
                "OBJECT_ALREADY_EXISTS",
                subCategory="Properties.PROPERTY_WITH_NAME_EXISTS",
            )
        if not _NAME.fullmatch(name):
            invalid(f"Property name {name} may hold lower case letters, digits and underscores only")
        _check_pair(said["type"], said["fieldType"])
        self._check_group(one_type, said["groupName"])
        known = self.portal.world.fields[kind]
        back = self.portal.archived_fields[kind].pop(name, None)
        if back is not None:
            known[back.key] = back
            return definition(self.portal, one_type, custom_property(back))
        unique = bool(said.get("hasUniqueValue"))
        if unique and said["type"] not in {"string", "number"}:
            invalid(f"A property of type {said['type']} cannot have unique values")
        if unique and sum(bool(one.extra.get("hasUniqueValue")) for one in known.values()) >= _UNIQUE_MOST:
            invalid(f"At most {_UNIQUE_MOST} properties of an object can have unique values")
        made = CustomField(name, name, str(said["label"]), _KINDS[said["type"]])
        options = said.get("options") or []
        if said["type"] == "enumeration" and not options and not said.get("externalOptions"):
            missing_fields("options")
        made.options = _options(options)
        if said["type"] == "enumeration" and said["fieldType"] == "checkbox":
            made.type = "multiselect"
        now = stamp(self.portal.world.clock())
        told = {one: said[one] for one in _SAID if one in said}
        made.extra = {
            "wire": (said["type"], said["fieldType"]),
            "hasUniqueValue": unique,
            "options": _option_details(options),
            "said": {"createdAt": now, "updatedAt": now, **told},
        }
        known[name] = made
        return definition(self.portal, one_type, custom_property(made))

    def _field(self, one_type: ObjectType, name: str) -> CustomField:
        found = find_property(self.portal, one_type, name)
        if found is None:
            refuse(404, f'Property "{name}" does not exist', "OBJECT_NOT_FOUND")
        if found.custom is None:
            invalid(f"Property {name} is defined by HubSpot and cannot be changed")
        return found.custom

    def _archive(self, one_type: ObjectType, name: str) -> None:
        field = self._field(one_type, name)
        kind = kind_of(one_type)
        self.portal.archived_fields[kind][name] = self.portal.world.fields[kind].pop(field.key)


def _wire(field: CustomField) -> tuple[str, str]:
    one = custom_property(field)
    return one.type, one.field_type


def _check_pair(wire_type: Any, field_type: Any) -> None:
    if field_type not in _PAIRS.get(str(wire_type), ()):
        invalid(f"Invalid property type: {wire_type} does not go with field type {field_type}")


def _options(said: Any) -> tuple[Option, ...]:
    if not isinstance(said, list) or not all(
        isinstance(one, dict) and one.get("value") and one.get("label") for one in said
    ):
        invalid("Invalid input JSON: options must be a list of objects with a label and a value")
    options = tuple(Option(str(one["value"]), str(one["label"])) for one in said)
    # That labels are unique too is inferred.
    for what in ({one.id for one in options}, {one.label for one in options}):
        if len(what) < len(options):
            invalid("The labels and values of options must be unique")
    return options


def _option_details(said: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What an option says besides label and value, by value."""
    return {str(one["value"]): {name: one[name] for name in _OPTION_SAID if name in one} for one in said}
