"""What fields there are: `crm.item.fields`, the old `fields` calls, custom fields.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-fields.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.directory import paged
from crmkit.sandbox.bitrix24.fields import Field, fields_of
from crmkit.sandbox.bitrix24.php import as_map
from crmkit.sandbox.bitrix24.portal import Answer, Failure, Portal
from crmkit.sandbox.bitrix24.records import kind_of
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.seed import KEY_FIELD

_STATUS_TYPES = {"sourceId": "SOURCE", "stageId": "DEAL_STAGE"}
_TYPE_DIRECTORIES = {"deal": "DEAL_TYPE", "contact": "CONTACT_TYPE", "company": "COMPANY_TYPE"}


def item_fields(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.item.fields`; `upperName` leads to the old name."""
    kind = kind_of(params)
    fields = {
        field.name: {**_described(field, kind), "upperName": field.legacy or _upper(field.name)}
        for field in fields_of(portal, kind)
        if field.name
    }
    return Answer({"fields": fields})


def old_fields(portal: Portal, kind: Kind) -> Answer:
    """`crm.deal.fields`, `crm.company.fields`, `crm.contact.fields`."""
    fields = {field.legacy: _described(field, kind) for field in fields_of(portal, kind) if field.legacy}
    return Answer(fields)


def _described(field: Field, kind: Kind) -> dict[str, Any]:
    type_ = field.type.removeprefix("uf_")
    described: dict[str, Any] = {
        "type": type_,
        "isRequired": _is_required(field, kind),
        "isReadOnly": field.read_only,
        "isImmutable": False,
        "isMultiple": field.multi,
        "isDynamic": field.dynamic is not None,
    }
    if field.dynamic is not None and type_ == "enumeration":
        described["items"] = [{"ID": option.id, "VALUE": option.label} for option in field.dynamic.options]
    if type_ == "crm_status":
        directory = _STATUS_TYPES.get(field.name, _TYPE_DIRECTORIES[kind])
        described["statusType"] = directory
    if field.dynamic is not None:
        # The old calls title a custom field by its name and label it beside; both keys are always there.
        if field.dynamic.extra.get("SETTINGS"):
            described["settings"] = field.dynamic.extra["SETTINGS"]
        described |= {"listLabel": field.title, "formLabel": field.title, "filterLabel": field.title}
    described["title"] = field.title or field.legacy or field.name
    return described


def _is_required(field: Field, kind: Kind) -> bool:
    if field.dynamic is not None:
        return bool(field.dynamic.extra.get("mandatory"))
    return field.name == "title" and kind == "company"


def _upper(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).upper()


def user_fields(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Answer:
    """`crm.deal.userfield.list`: labels only if the filter names a language."""
    said = as_map(params.get("filter"))
    if isinstance(params.get("filter"), str) and params["filter"]:
        raise Failure("", "Parameter 'filter' must be array.")
    language = said.pop("LANG", None)
    rows = user_field_rows(portal, kind)
    for name, value in said.items():
        rows = [row for row in rows if str(row.get(name)) == str(value)]
    if language is not None:
        labels = {field.legacy: field.title for field in fields_of(portal, kind) if field.dynamic}
        for row in rows:
            label = labels[row["FIELD_NAME"]]
            row |= {"EDIT_FORM_LABEL": label, "LIST_COLUMN_LABEL": label, "LIST_FILTER_LABEL": label}
    return paged(rows, params)


def user_field(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Answer:
    """`crm.deal.userfield.get`: labels in every language."""
    for row in user_field_rows(portal, kind):
        if row["ID"] == str(params.get("id")):
            title = next(f.title for f in fields_of(portal, kind) if f.legacy == row["FIELD_NAME"])
            label = {"de": title, "en": title}
            return Answer({**row, "EDIT_FORM_LABEL": label, "LIST_COLUMN_LABEL": label})
    raise Failure("", "The entity with this ID is not found.")


def number_fields(portal: Portal, kind: Kind) -> None:
    """Give an id to each custom field that has none; it stays when others are added or deleted."""
    for field in portal.world.fields[kind].values():
        if field.key != KEY_FIELD and "row_id" not in field.extra:
            field.extra["row_id"] = portal.user_field_id(kind)


def user_field_rows(portal: Portal, kind: Kind) -> list[dict[str, Any]]:
    """The custom fields of a kind in the words of `crm.deal.userfield.list`."""
    number_fields(portal, kind)
    rows = []
    for place, field in enumerate(field for field in fields_of(portal, kind) if field.dynamic):
        extra = field.dynamic.extra if field.dynamic is not None else {}
        row: dict[str, Any] = {
            "ID": str(extra["row_id"]),
            "ENTITY_ID": f"CRM_{kind.upper()}",
            "FIELD_NAME": field.legacy,
            "USER_TYPE_ID": field.type.removeprefix("uf_"),
            "XML_ID": extra.get("XML_ID"),
            "SORT": extra.get("SORT", str(100 * (place + 1))),
            "MULTIPLE": "Y" if field.multi else "N",
            "MANDATORY": extra.get("MANDATORY", "N"),
            "SHOW_FILTER": extra.get("SHOW_FILTER", "N"),
            "SHOW_IN_LIST": extra.get("SHOW_IN_LIST", "Y"),
            "EDIT_IN_LIST": extra.get("EDIT_IN_LIST", "Y"),
            "IS_SEARCHABLE": extra.get("IS_SEARCHABLE", "N"),
            # PHP writes an empty map as a list.
            "SETTINGS": extra.get("SETTINGS") or [],
        }
        if field.dynamic is not None and field.dynamic.options:
            row["LIST"] = [
                {
                    "ID": option.id,
                    "SORT": str(10 * (number + 1)),
                    "VALUE": option.label,
                    "DEF": "N",
                    "XML_ID": "",
                }
                for number, option in enumerate(field.dynamic.options)
            ]
        rows.append(row)
    return rows
