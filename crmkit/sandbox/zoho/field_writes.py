"""Fields the organisation adds: create and change them, the unique key field above all.

Source: https://github.com/zoho/crm-oas/tree/main/v8.0/fields
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import CustomField, FieldType, Kind, Option
from crmkit.sandbox.zoho.answers import refuse
from crmkit.sandbox.zoho.bodies import answer, done, failed, read_body
from crmkit.sandbox.zoho.describe import field_id
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.schema import Module, custom_name
from crmkit.sandbox.zoho.values import Wrong

FIELDS_MOST, LABEL_MOST = 5, 25
UNIQUE_MOST = 10  # a module; "a fixed small number by edition", not restated
_TYPES: Mapping[str, FieldType] = {
    "text": "text",
    "textarea": "text",
    "email": "text",
    "phone": "text",
    "website": "text",
    "bigint": "text",
    "integer": "number",
    "double": "number",
    "currency": "number",
    "percent": "number",
    "date": "date",
    "datetime": "date",
    "boolean": "checkbox",
    "picklist": "picklist",
    "multiselectpicklist": "multiselect",
}
_UNIQUE_TYPES = frozenset({"text", "email", "phone", "integer", "bigint"})
_LENGTH_MOST = {"text": 255, "textarea": 50_000, "email": 100, "phone": 30, "website": 450}
_LENGTH_MOST |= {"integer": 9, "double": 16, "currency": 16, "percent": 5}
_AREAS = {"small": 2_000, "large": 32_000, "rich_text": 50_000}
_DECIMALS_MOST = 9
_PICK_MOST = 120  # as fields describe their values; what a create says of 25 is not kept to there


class FieldWrites:
    """The calls that change fields."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]]) -> None:
        self.org, self._modules = org, modules

    def routes(self) -> list[Route]:
        """What is served."""
        path = "/crm/{version}/settings/fields"
        return [
            Route(path, self.create, methods=["POST"]),
            Route(path, self.update, methods=["PATCH"]),
            Route(path + "/{id}", self.update, methods=["PATCH"]),
        ]

    async def create(self, request: Request) -> Response:
        """New fields of a module; their API names must be read back."""
        module, kind = self._asked(request)
        rows = self._rows(await read_body(request))
        return answer(
            [self._create(module, kind, row, place) for place, row in enumerate(rows)], 201, "fields"
        )

    async def update(self, request: Request) -> Response:
        """Another label, length, uniqueness or more values for fields the organisation added."""
        module, kind = self._asked(request)
        rows = self._rows(await read_body(request))
        in_path = request.path_params.get("id")
        if in_path is not None:
            rows = [{**row, "id": in_path} for row in rows if isinstance(row, Mapping)][:1]
        return answer(
            [self._update(module, kind, row, place) for place, row in enumerate(rows)], 200, "fields"
        )

    def _asked(self, request: Request) -> tuple[Module, Kind]:
        name = request.query_params.get("module")
        if not name:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "module"})
        module = self._modules().get(name)
        if module is None:
            refuse("INVALID_MODULE", {})
        if module.kind is None or module.kind == "note":
            refuse("NOT_SUPPORTED", {})
        return module, module.kind

    def _rows(self, said: Mapping[str, Any]) -> list[Any]:
        rows = said.get("fields")
        if not isinstance(rows, list) or not rows:
            where = {"api_name": "fields", "json_path": "$.fields"}
            refuse("MANDATORY_NOT_FOUND", where, "required field not found")
        if len(rows) > FIELDS_MOST:
            refuse(
                "INVALID_DATA", {"api_name": "fields", "json_path": "$.fields", "maximum_length": FIELDS_MOST}
            )
        return rows

    def _create(self, module: Module, kind: Kind, row: Any, place: int) -> dict[str, Any]:
        said: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
        try:
            label = self._label(module, said, None)
            type_ = self._type(said)
            extra = {"data_type": type_, **self._extra(module, said, type_)}
            options = self._options(said, ())
        except Wrong as wrong:
            return _row(wrong, place)
        world = self.org.world
        one = CustomField(world.new_id("field"), "", label, _TYPES[type_], options, extra)
        # A name that clashes with another field of the module gets a digit. Names are of plain
        # letters; what becomes of a label without any is not documented.
        name, digit = custom_name(one).encode("ascii", "ignore").decode().strip("_"), 0
        name = name if name[:1].isalpha() else f"Field_{name}".rstrip("_")
        while f"{name}{digit or ''}" in module.fields:
            digit += 1
        extra["api_name"] = f"{name}{digit or ''}"
        one.key = extra["api_name"].lower()
        world.fields[kind][one.key] = one
        return done({"id": one.id}, "field created")

    def _update(self, module: Module, kind: Kind, row: Any, place: int) -> dict[str, Any]:
        said: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
        fields = [field for field in module.fields.values() if not field.hidden]
        found = next((field for field in fields if field_id(module, field) == str(said.get("id"))), None)
        try:
            if found is None:
                raise Wrong("INVALID_DATA", "the id given seems to be invalid", api_name="id")
            if found.custom is None:
                raise Wrong("NOT_ALLOWED", "the field cannot be changed", api_name="id")
            before = found.custom
            label = self._label(module, said, before) if "field_label" in said else before.label
            extra = {**before.extra, **self._extra(module, said, found.type)}
            options = self._options(said, before.options)
        except Wrong as wrong:
            return _row(wrong, place)
        extra.setdefault("api_name", custom_name(before))
        after = replace(before, label=label, extra=extra, options=options)
        self.org.world.fields[kind][before.key] = after
        return done({"id": field_id(module, found)}, "field updated")

    def _label(self, module: Module, said: Mapping[str, Any], own: CustomField | None) -> str:
        label = said.get("field_label")
        if not isinstance(label, str) or not label.strip():
            raise Wrong("MANDATORY_NOT_FOUND", "required field not found", api_name="field_label")
        if len(label) > LABEL_MOST:
            raise Wrong("INVALID_DATA", api_name="field_label", maximum_length=LABEL_MOST)
        taken = [one.label for one in module.fields.values() if own is None or one.custom is not own]
        if label.casefold() in {one.casefold() for one in taken}:
            raise Wrong("DUPLICATE_DATA", "duplicate data", api_name="field_label")
        return label

    def _type(self, said: Mapping[str, Any]) -> str:
        type_ = said.get("data_type")
        if type_ is None:
            raise Wrong("MANDATORY_NOT_FOUND", "required field not found", api_name="data_type")
        if type_ not in _TYPES:
            raise Wrong("INVALID_DATA", api_name="data_type", supported_values=list(_TYPES))
        return str(type_)

    def _extra(self, module: Module, said: Mapping[str, Any], type_: str) -> dict[str, Any]:
        """Length, uniqueness and whether it is an external id."""
        extra: dict[str, Any] = {}
        length = said.get("length")
        if length is not None:
            if isinstance(length, bool) or not isinstance(length, int):
                raise Wrong("INVALID_DATA", api_name="length", expected_data_type="integer")
            most = _LENGTH_MOST.get(type_, 18)
            if not 1 <= length <= most:
                raise Wrong("INVALID_DATA", api_name="length", maximum_length=most)
            extra["length"] = length
        extra |= self._shape(said, type_)
        unique = said.get("unique")
        if isinstance(unique, Mapping) and unique.get("_disable") is not None:
            extra["unique"] = False
        elif unique:
            self._check_unique(module, type_)
            extra["unique"] = True
            extra["case_sensitive"] = not isinstance(unique, Mapping) or bool(
                unique.get("case_sensitive", True)
            )
        if isinstance(said.get("external"), Mapping):
            extra["external"] = dict(said["external"])
        return extra

    def _shape(self, said: Mapping[str, Any], type_: str) -> dict[str, Any]:
        """How large a text area is, and how many decimals a number has."""
        extra: dict[str, Any] = {}
        area = said.get("textarea")
        if area is not None and type_ == "textarea":
            size = area.get("type") if isinstance(area, Mapping) else None
            if size not in _AREAS:
                raise Wrong("INVALID_DATA", api_name="type", supported_values=list(_AREAS))
            extra |= {"textarea": size, "length": _AREAS[size]}
        places = said.get("decimal_place")
        if places is not None and type_ in {"double", "currency"}:
            if isinstance(places, bool) or not isinstance(places, int) or not 0 <= places <= _DECIMALS_MOST:
                raise Wrong("INVALID_DATA", api_name="decimal_place", maximum_length=_DECIMALS_MOST)
            extra["decimal_place"] = places
        currency = said.get("currency")
        if isinstance(currency, Mapping) and type_ == "currency":
            extra["currency"] = {
                "rounding_option": str(currency.get("rounding_option", "normal")),
                "precision": int(currency.get("precision", 2)),
            }
        return extra

    def _check_unique(self, module: Module, type_: str) -> None:
        if type_ not in _UNIQUE_TYPES:
            dependee = {"api_name": "data_type", "json_path": "data_type"}
            raise Wrong(
                "DEPENDENT_MISMATCH", "the data type cannot be unique", api_name="unique", dependee=dependee
            )
        if sum(field.unique for field in module.fields.values()) >= UNIQUE_MOST:
            raise Wrong("LIMIT_EXCEEDED", "the limit of unique fields is reached", limit=UNIQUE_MOST)

    def _options(self, said: Mapping[str, Any], before: tuple[Option, ...]) -> tuple[Option, ...]:
        """The values of a picklist: those that are known keep their ids."""
        rows = said.get("pick_list_values")
        if not isinstance(rows, list):
            return before
        ids = {option.label: option.id for option in before}
        labels = [self._pick(row) for row in rows]
        if len(set(labels)) < len(labels):
            raise Wrong("DUPLICATE_DATA", "duplicate data", api_name="pick_list_values")
        added = [label for label in labels if label not in ids]
        return (*before, *(Option(self.org.world.new_id("option"), label) for label in added))

    def _pick(self, row: Any) -> str:
        """The actual value of one row of a picklist; a value is shown as what it is here."""
        said: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
        for name in ("display_value", "actual_value"):
            if not isinstance(said.get(name), str) or not said[name].strip():
                raise Wrong("MANDATORY_NOT_FOUND", "required field not found", api_name=name)
            if len(said[name]) > _PICK_MOST:
                raise Wrong("INVALID_DATA", api_name=name, maximum_length=_PICK_MOST)
        return str(said["actual_value"])


def _row(wrong: Wrong, place: int) -> dict[str, Any]:
    path, details = f"$.fields[{place}]", dict(wrong.details)
    if "api_name" in details:
        details["json_path"] = f"{path}.{details['api_name']}"
    if "dependee" in details:
        name = details["dependee"]["api_name"]
        details["dependee"] = {"api_name": name, "json_path": f"{path}.{name}"}
    return failed(wrong.code, details, wrong.message)
