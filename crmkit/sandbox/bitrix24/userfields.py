"""Writes custom fields: `crm.deal.userfield.*` and its sisters.

Source: https://apidocs.bitrix24.com/api-reference/crm/deals/user-defined-fields/crm-deal-userfield-add.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.metadata import number_fields, user_field_rows
from crmkit.sandbox.bitrix24.php import as_list, as_map, truth
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, whole
from crmkit.sandbox.bitrix24.writes import old_fields_of
from crmkit.sandbox.rows import CustomField, FieldType, Kind, Option

NAME_LENGTH = 50
_PREFIX = "UF_CRM_"
_NAME = re.compile(r"[A-Z0-9_]+")
USER_TYPES: Mapping[str, FieldType] = {
    "string": "text",
    "integer": "number",
    "double": "number",
    "boolean": "checkbox",
    "datetime": "text",
    "date": "date",
    "money": "text",
    "url": "text",
    "address": "text",
    "enumeration": "picklist",
    "file": "text",
    "employee": "text",
    "crm_status": "text",
    "iblock_element": "text",
    "iblock_section": "text",
    "crm": "text",
}
_LABELS = ("EDIT_FORM_LABEL", "LIST_COLUMN_LABEL", "LIST_FILTER_LABEL", "LABEL")
_FLAGS = ("MANDATORY", "SHOW_FILTER", "SHOW_IN_LIST", "EDIT_IN_LIST", "IS_SEARCHABLE")


def field_add(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.userfield.add`: the id; `UF_CRM_` comes before the name unless it is there."""
    said = old_fields_of(params)
    type_ = str(said.get("USER_TYPE_ID") or "")
    if type_ not in USER_TYPES:
        raise Failure("", "The field USER_TYPE_ID is required." if not type_ else "Unknown field type.")
    name = _field_name(portal, said)
    held = portal.world.fields[kind]
    if any(field.id == name for field in held.values()):
        raise Failure("", f"The field {name} for CRM_{kind.upper()} already exists.")
    number_fields(portal, kind)
    multiple = truth(said.get("MULTIPLE", "N"))
    row_id = portal.user_field_id(kind)
    extra = {"user_type": type_, "multiple": multiple, "row_id": row_id, "revision": 0, **_settings(said)}
    # Values of a deleted field stay behind in our rows: a new field of that name must not show them.
    key = name if name not in portal.used_field_keys else f"{name}#{row_id}"
    portal.used_field_keys.add(name)
    neutral: FieldType = "multiselect" if multiple and type_ == "enumeration" else USER_TYPES[type_]
    options = tuple(
        Option(portal.world.new_id("option"), str(as_map(one).get("VALUE") or ""))
        for one in as_list(said.get("LIST"))
    )
    held[key] = CustomField(name, key, _label(said) or name, neutral, options, extra)
    return Answer(row_id)


def field_update(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.userfield.update`: labels, list values and flags; name and type never change."""
    field = _known(portal, kind, params)
    said = old_fields_of(params)
    field.label = _label(said) or field.label
    field.extra |= _settings(said)
    if field.extra.get("user_type", "enumeration") == "enumeration" and "LIST" in said:
        field.options = _options(portal, field, as_list(said["LIST"]))
    field.extra["revision"] = field.extra.get("revision", 0) + 1
    return Answer(True)


def field_delete(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.userfield.delete`: with all its values."""
    field = _known(portal, kind, params)
    del portal.world.fields[kind][field.key]
    portal.used_field_keys.add(field.id)
    return Answer(True)


def _known(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> CustomField:
    wanted = str(whole(params.get("id")))
    row = next((row for row in user_field_rows(portal, kind) if row["ID"] == wanted), None)
    if row is None:
        raise Failure("", "The entity with this ID is not found.")
    return next(field for field in portal.world.fields[kind].values() if field.id == row["FIELD_NAME"])


def _field_name(portal: Portal, said: Mapping[str, Any]) -> str:
    name = str(said.get("FIELD_NAME") or "").upper()
    if not name:
        name = str(int(portal.world.clock().timestamp() * 1000))
    if not name.startswith(_PREFIX):
        name = _PREFIX + name
    if not _NAME.fullmatch(name):
        raise Failure("", "The field name contains invalid characters (A-Z, 0-9 and _ are allowed).")
    if len(name) > NAME_LENGTH:
        raise Failure("", f"The field name must not be longer than {NAME_LENGTH} characters.")
    return name


def _label(said: Mapping[str, Any]) -> str:
    for name in _LABELS:
        label = said.get(name)
        if isinstance(label, Mapping):
            label = label.get("en") or next(iter(label.values()), "")
        if label:
            return str(label)
    return ""


def _settings(said: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {name: "Y" if truth(said[name]) else "N" for name in _FLAGS if name in said}
    if "MANDATORY" in told:
        told["mandatory"] = told["MANDATORY"] == "Y"
    for name in ("SORT", "XML_ID"):
        if name in said:
            told[name] = str(said[name])
    if isinstance(said.get("SETTINGS"), Mapping):
        told["SETTINGS"] = dict(said["SETTINGS"])
    return told


def _options(portal: Portal, field: CustomField, said: list[Any]) -> tuple[Option, ...]:
    """The list values after an update: by id changed or deleted, without one added, not named kept."""
    options = {option.id: option for option in field.options}
    for one in map(as_map, said):
        option_id = str(one.get("ID") or "")
        if option_id in options and truth(one.get("DEL", "N")):
            del options[option_id]
        elif option_id in options:
            options[option_id] = Option(option_id, str(one.get("VALUE") or options[option_id].label))
        elif not option_id and one.get("VALUE"):
            added = Option(portal.world.new_id("option"), str(one["VALUE"]))
            options[added.id] = added
    return tuple(options.values())
