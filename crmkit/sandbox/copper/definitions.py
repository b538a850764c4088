"""Definitions of custom fields, the only structure that the API can change.

Source: https://developer.copper.com/custom-fields/general/create-a-new-custom-field-definition.html
"""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.answers import Body, not_found
from crmkit.sandbox.copper.records import ENTITY_TYPES
from crmkit.sandbox.copper.seed import data_type_of
from crmkit.sandbox.copper.validation import Form, id_of
from crmkit.sandbox.rows import CustomField, FieldType, Kind, Option
from crmkit.sandbox.wire import Refusal

_WRITABLE = frozenset("name data_type available_on options currency is_filterable connected_id".split())
_READ_ONLY = frozenset({"id", "canonical_name"})
_TYPES: dict[str, FieldType] = {
    "String": "text",
    "Text": "text",
    "URL": "text",
    "Dropdown": "picklist",
    "MultiSelect": "multiselect",
    "Date": "date",
    "Checkbox": "checkbox",
    "Float": "number",
    "Percentage": "number",
    "Currency": "number",
    "Connect": "text",
}
_FEWEST_OPTIONS = {"Dropdown": 1, "MultiSelect": 2}
_ENTITIES = ("lead", "person", "opportunity", "company", "project", "task")
_KIND_OF: dict[str, Kind] = {entity: kind for kind, entity in ENTITY_TYPES.items()}


class DefinitionWrites:
    """Creates, changes and deletes definitions; two may have the same name (inferred)."""

    def __init__(self, account: Account) -> None:
        self.account, self.world, self.records = account, account.world, account.records

    def create(self, body: Body) -> dict[str, Any]:
        """A new definition; nothing can make its values unique or required."""
        form = Form(body, _WRITABLE, _READ_ONLY)
        name = form.text("name", required=True)
        data_type = form.one_of("data_type", _TYPES)
        if body.get("data_type") is None:
            form.wrong("data_type", "can't be blank", "blank")
        entities = self._entities(form)
        options = self._options(form, data_type or "", None)
        form.check()
        field_id = self.world.new_id("field")
        extra = {"data_type": data_type, "currency": body.get("currency") or self.world.base_currency}
        type_ = _TYPES[data_type or ""]
        field = CustomField(field_id, f"cf_{field_id}", name or "", type_, options, extra)
        self._place(field, entities)
        return self.records.definition(field)

    def update(self, field_id: str, body: Body) -> dict[str, Any]:
        """Another name, other entities, other options: an option without its id is a new one (inferred)."""
        field = self._known(field_id)
        form = Form(body, _WRITABLE, _READ_ONLY)
        data_type = data_type_of(field)
        if "data_type" in form and body["data_type"] != data_type:
            form.wrong("data_type", "cannot be changed")
        name = form.text("name", required=True) if "name" in form else field.label
        entities = self._entities(form) if "available_on" in form else None
        options = self._options(form, data_type, field) if "options" in form else field.options
        form.check()
        field.label = name or ""
        if options != field.options:
            gone = {option.id for option in field.options} - {option.id for option in options}
            field.options = options
            self._clear(field, gone)
        if entities is not None:
            self._place(field, entities)
        return self.records.definition(field)

    def delete(self, field_id: str) -> dict[str, Any]:
        """Gone from every record (answer inferred)."""
        field = self._known(field_id)
        for kind in ENTITY_TYPES:
            self.world.fields[kind].pop(field.key, None)
        self.records.elsewhere.pop(field.id, None)
        return {"id": int(field.id), "is_deleted": True}

    def _known(self, field_id: str) -> CustomField:
        field = self.records.field(field_id)
        if field is None:
            raise Refusal(not_found())
        return field

    def _entities(self, form: Form) -> list[str]:
        said = form.body.get("available_on") or []
        if not isinstance(said, list) or any(entity not in _ENTITIES for entity in said):
            form.wrong("available_on")
            return []
        return said

    def _options(self, form: Form, data_type: str, before: CustomField | None) -> tuple[Option, ...]:
        said = form.body.get("options") or []
        fewest = _FEWEST_OPTIONS.get(data_type, 0)
        if not fewest:
            return ()
        names = (
            [part.get("name") for part in said if isinstance(part, dict)] if isinstance(said, list) else []
        )
        if len(names) != len(said) or not all(isinstance(name, str) and name.strip() for name in names):
            form.wrong("options")
            return ()
        if len(names) < fewest:
            form.wrong("options", f"must have at least {fewest}", "too_few")
            return ()
        known = {option.id for option in before.options} if before else set()
        kept = [id_of(part.get("id")) if part.get("id") is not None else None for part in said]
        if any(option_id is not None and option_id not in known for option_id in kept):
            form.wrong("options")
        if form.problems:
            return ()
        return tuple(
            Option(option_id or self.world.new_id("option"), str(name))
            for option_id, name in zip(kept, names, strict=True)
        )

    def _place(self, field: CustomField, entities: list[str]) -> None:
        """Make the definition available on these entities and no other."""
        field.extra["elsewhere"] = tuple(entity for entity in entities if entity not in _KIND_OF)
        for kind, entity in ENTITY_TYPES.items():
            if entity in entities:
                self.world.fields[kind][field.key] = field
            else:
                self.world.fields[kind].pop(field.key, None)
        self.records.elsewhere.pop(field.id, None)
        if not any(entity in _KIND_OF for entity in entities):
            self.records.elsewhere[field.id] = field

    def _clear(self, field: CustomField, gone: set[str]) -> None:
        """Take options that are no more out of the records that hold them."""
        for kind in ENTITY_TYPES:
            for row in list(self.world.live.tables[kind].values()) if gone else ():
                value = row.custom.get(field.key)
                if value is None or gone.isdisjoint(value if isinstance(value, tuple) else (value,)):
                    continue
                left = tuple(one for one in value if one not in gone) if isinstance(value, tuple) else None
                self.world.edit(kind, row.id, touch=False, custom={field.key: left or None})
