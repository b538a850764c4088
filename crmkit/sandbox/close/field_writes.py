"""Custom fields as they are created, changed and deleted; shared ones are not part of this sandbox.

Source: https://developer.close.com/api/resources/custom-fields
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from crmkit.sandbox.close.answers import missing, stamp
from crmkit.sandbox.close.bodies import Body
from crmkit.sandbox.close.customs import native_value, put_value, takes_several, wire_type
from crmkit.sandbox.close.desk import Call, Desk
from crmkit.sandbox.close.people import FIELD_KINDS, People
from crmkit.sandbox.close.structure import CUSTOMIZE
from crmkit.sandbox.rows import CustomField, FieldType, Kind, Option

# Types seen; the list is partly inferred. What our rows do not tell apart is a text.
_TYPES: dict[str, FieldType] = {
    "text": "text",
    "textarea": "text",
    "url": "text",
    "hidden": "text",
    "number": "number",
    "date": "date",
    "datetime": "text",
    "choices": "picklist",
    "user": "text",
    "contact": "text",
}
_KEYS = frozenset("name type description accepts_multiple_values choices editable_with_roles".split())


class FieldWrites:
    """Changes the custom fields of one organization."""

    def __init__(self, desk: Desk, people: People, muted: Callable[[], AbstractContextManager[None]]) -> None:
        self.desk, self.people, self.world, self._muted = desk, people, desk.world, muted

    def create(self, call: Call) -> Any:
        """A new field; its name need not be its own."""
        self.desk.need(CUSTOMIZE)
        kind = self._kind(call)
        body = Body(call.said, _KEYS)
        name = body.text("name", required=True)
        wire = body.text("type", required=True)
        if wire is not None and wire not in _TYPES:
            body.wrong("type", f"Not a valid choice: {wire}.")
        several = body.flag("accepts_multiple_values") or False
        choices = self._choices(body, required=wire == "choices")
        description, roles = body.text("description"), self._roles(body)
        body.finish()
        field_id = self.world.new_id("field")
        made = stamp(self.world.now())
        extra = {
            "type": wire,
            "multiple": several,
            "description": description,
            "editable_with_roles": roles,
            "created": made,
            "updated": made,
            "by": call.by,
        }
        type_: FieldType = "multiselect" if wire == "choices" and several else _TYPES[str(wire)]
        field = CustomField(field_id, field_id, str(name), type_, choices or (), extra)
        self.world.fields[kind][field.key] = field
        return self.people.show_field(field)

    def update(self, call: Call) -> Any:
        """Renamed, described, with other choices; another type would be a conversion, which is left out."""
        self.desk.need(CUSTOMIZE)
        field = self._field(call)
        body = Body(call.said, _KEYS)
        name = body.text("name", required="name" in body)
        if "type" in body and body.said["type"] != wire_type(field):
            body.wrong("type", "Changing the type is not part of this sandbox.")
        if "accepts_multiple_values" in body and body.flag("accepts_multiple_values") != takes_several(field):
            body.wrong("accepts_multiple_values", "Changing this is not part of this sandbox.")
        choices = self._choices(body, required=False)
        description, roles = body.text("description"), self._roles(body)
        if choices is not None and wire_type(field) != "choices":
            body.wrong("choices", "Only fields of type choices have choices.")
        body.finish()
        field.label = name or field.label
        field.options = field.options if choices is None else choices
        field.extra["updated"] = stamp(self.world.now())
        if "description" in body:
            field.extra["description"] = description
        if "editable_with_roles" in body:
            field.extra["editable_with_roles"] = roles
        return self.people.show_field(field)

    def delete(self, call: Call) -> Any:
        """Gone, and its values in all records with it."""
        self.desk.need(CUSTOMIZE)
        kind, field = self._kind(call), self._field(call)
        del self.world.fields[kind][field.key]
        with self._muted():
            for row in list(self.world.live.tables[kind].values()):
                if native_value(kind, row, field) not in (None, "", ()):
                    cleared: dict[str, Any] = {}
                    put_value(kind, cleared, field, None)
                    self.world.edit(kind, row.id, touch=False, **cleared)
        return {}

    def _kind(self, call: Call) -> Kind:
        kind = FIELD_KINDS.get(call.path["type"])
        if kind is None:
            raise missing("CustomField")
        return kind

    def _field(self, call: Call) -> CustomField:
        for field in self.world.fields[self._kind(call)].values():
            if field.id == call.path["id"]:
                return field
        raise missing("CustomField")

    def _choices(self, body: Body, *, required: bool) -> tuple[Option, ...] | None:
        said = body.said.get("choices")
        if said is None and not required:
            return None
        if not isinstance(said, list) or not said or not all(isinstance(one, str) and one for one in said):
            body.wrong("choices", "Expected a list of at least one string.")
            return None
        return tuple(Option(text, text) for text in dict.fromkeys(said))

    def _roles(self, body: Body) -> tuple[str, ...]:
        said = body.said.get("editable_with_roles") or ()
        if not isinstance(said, list | tuple) or not all(isinstance(one, str) for one in said):
            body.wrong("editable_with_roles", "Expected a list of role ids.")
            return ()
        return tuple(said)
