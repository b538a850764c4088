"""The descriptions that metadata calls give: of users, modules, fields and layouts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.sandbox.rows import User
from crmkit.sandbox.zoho.org import Org, split_name
from crmkit.sandbox.zoho.schema import MULTI_LINE, Field, Module
from crmkit.sandbox.zoho.seed import ORG_BASE, STAGE_FIELD_ID

_LOOKUP_IDS = {
    "Accounts": str(ORG_BASE + 2_177),
    "Contacts": str(ORG_BASE + 2_179),
    "Deals": str(ORG_BASE + 2_181),
    "Campaigns": str(ORG_BASE + 2_199),
}
_ADMINISTRATOR = {"name": "Administrator", "id": str(ORG_BASE + 26_011)}
_STANDARD = {"name": "Standard", "id": str(ORG_BASE + 26_014)}


def describe_user(org: Org, user: User) -> dict[str, Any]:
    """A user; the keys mix cases, as Zoho's do."""
    first, last = split_name(user.name)
    gone = user.id in org.deleted_user_ids
    number = int(user.id) % 10**8
    author = org.user_short(org.me.id)
    return {
        "role": {"name": "CEO" if user is org.me else "Manager", "id": str(ORG_BASE + 26_005)},
        "microsoft": False,
        "locale": "en_US",
        "Modified_By": author,
        "$shift_effective_from": None,
        "$current_shift": None,
        "alias": None,
        "id": user.id,
        "sandboxDeveloper": False,
        "first_name": first,
        "email": user.email,
        "Reporting_To": None,
        "decimal_separator": "Period",
        "created_time": org.stamp(user.created),
        "Modified_Time": org.stamp(user.created),
        "$next_shift": None,
        "profile": _ADMINISTRATOR if user is org.me else _STANDARD,
        "last_name": last,
        "created_by": author,
        "zuid": str(number),
        "confirm": True,
        "full_name": user.name,
        "phone": None,
        "date_format": "MM/dd/yyyy",
        "status": "active" if user.active else "deleted" if gone else "disabled",
        "type__s": "Regular User",
    }


def describe_module(org: Org, module: Module, place: int) -> dict[str, Any]:
    """A module, with the keys of a list of modules."""
    plain = module.generated_type == "default"
    return {
        "global_search_supported": plain,
        "public_fields_configured": False,
        "recycle_bin_on_delete": plain,
        "has_more_profiles": False,
        "sub_menu_available": True,
        "profile_count": 2,
        "deletable": plain,
        "description": None,
        "creatable": plain,
        "modified_time": None,
        "presence_sub_menu": plain,
        "triggers_supported": plain,
        "id": module.id,
        "visibility": 1,
        "convertable": module.name == "Leads",
        "editable": plain,
        "profiles": [_ADMINISTRATOR, _STANDARD],
        "filter_supported": plain,
        "show_as_tab": plain,
        "web_link": None,
        "sequence_number": place + 1,
        "singular_label": module.singular,
        "viewable": True,
        "api_supported": True,
        "api_name": module.name,
        "quick_create": plain,
        "generated_type": module.generated_type,
        "feeds_required": False,
        "plural_label": module.plural,
        "module_name": module.plural,
        "status": "visible",
        "isBlueprintSupported": plain,
    }


def describe_field(
    module: Module, field: Field, stages: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """A field, with the keys of a recorded one (field_stage_200) and those the specification demands.

    Args:
        stages: The values of the Stage picklist, which say more than others.
    """
    history = None
    if stages is not None:
        history = {
            "module": {"api_name": "DealHistory", "id": str(ORG_BASE + 174_001)},
            "duration_configured_field": {
                "api_name": "Stage_Duration_Calendar_Days",
                "id": str(ORG_BASE + 174_009),
            },
        }
    writable = not field.read_only
    extra = field.custom.extra if field.custom is not None else {}
    return {
        "associated_module": None,
        "webhook": True,
        "operation_type": {
            "web_update": writable,
            "api_create": writable,
            "web_create": writable,
            "api_update": writable,
        },
        "colour_code_enabled_by_system": False,
        "field_label": field.label,
        "tooltip": None,
        "display_format_properties": None,
        "type": "used",
        "field_read_only": field.read_only,
        "customizable_properties": None,
        "display_label": field.label,
        "read_only": field.read_only,
        "association_details": None,
        "businesscard_supported": True,
        "multi_module_lookup": {},
        "id": field_id(module, field),
        "created_time": None,
        "filterable": field.type not in MULTI_LINE,
        "visible": field.name != "id",
        "profiles": [
            {"permission_type": "read_write", **_ADMINISTRATOR},
            {"permission_type": "read_write", **_STANDARD},
        ],
        "view_type": {"view": True, "edit": writable, "quick_create": field.mandatory, "create": writable},
        "separator": False,
        "searchable": field.type not in MULTI_LINE,
        "history_tracking_enabled": history is not None,
        "external": extra.get("external"),
        "api_name": field.name,
        "parent_field": None,
        "unique": {"case_sensitive": extra.get("case_sensitive", True)} if field.unique else {},
        "enable_colour_code": False,
        "child_fields": None,
        "pick_list_values": list(stages) if stages is not None else _values(module, field),
        "system_mandatory": field.mandatory,
        "virtual_field": False,
        "json_type": field.json_type,
        "crypt": None,
        "range": None,
        "created_source": "default",
        "display_type": -1,
        "ui_type": 26,
        "modified_time": None,
        "public": False,
        "quick_sequence_number": "0",
        "email_parser": {"fields_update_supported": False, "record_operations_supported": False},
        "currency": extra.get("currency") or _currency(field),
        "custom_field": field.custom is not None,
        "lookup": _lookup(field),
        "convert_mapping": {},
        "address": None,
        "rollup_summary": {},
        "length": field.length,
        "display_field": field.name in {"Deal_Name", "Account_Name", "Full_Name"},
        "pick_list_values_sorted_lexically": False,
        "sortable": field.type not in MULTI_LINE,
        "global_picklist": None,
        "display_format": None,
        "history_tracking": history,
        "data_type": field.type,
        "formula": {},
        "decimal_place": extra.get("decimal_place", 2) if field.type in {"currency", "double"} else None,
        "mass_update": writable,
        "blueprint_supported": True,
        "multiselectlookup": {},
        "auto_number": {},
        **({"textarea": {"type": extra.get("textarea", "large")}} if field.type == "textarea" else {}),
    }


def field_id(module: Module, field: Field) -> str:
    """The id of a field: its own for what the organisation added, made up from the name for the rest."""
    if field.custom is not None and field.custom.id.isdecimal():
        return field.custom.id
    if (module.name, field.name) == ("Deals", "Stage"):
        return STAGE_FIELD_ID
    return str(ORG_BASE + 20_000_000_000 + zlib.crc32(f"{module.name}.{field.name}".encode()))


def describe_layout(org: Org, module: Module, layout_id: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """A layout with one section that holds every field."""
    for field in fields:
        field["required"] = field["system_mandatory"]
        del field["email_parser"]
        for value in field["pick_list_values"]:
            value["maps"] = []
    section_actions = (
        "add_field",
        "rename",
        "change_tab_traversal",
        "reorder",
        "remove_field",
        "change_column_count",
    )
    layout_actions = ("edit", "rename", "clone", "downgrade", "deactivate", "set_layout_permissions")
    view = {"name": "Standard View", "id": str(int(layout_id) + 600_000), "type": "layout"}
    section = {
        "isSubformSection": False,
        "type": "used",
        "display_label": f"{module.singular} Information",
        "mode": "all",
        "sequence_number": 1,
        "actions_allowed": {**dict.fromkeys(section_actions, True), "delete": False},
        "tab_traversal": "left_to_right",
        "api_name": f"{module.singular}_Information",
        "column_count": 2,
        "name": f"{module.singular} Information",
        "generated_type": "default",
        "id": str(int(layout_id) + 500_000),
        "fields": fields,
        "properties": None,
    }
    return {
        "has_more_profiles": False,
        "created_time": None,
        "convert_mapping": None,
        "visible": True,
        "created_for": None,
        "profiles": [
            {
                "default": True,
                **_ADMINISTRATOR,
                "_default_view": view,
                "_default_assignment_view": view,
            }
        ],
        "source": "crm",
        "created_by": None,
        "sections": [section],
        "display_label": "Standard",
        "show_business_card": True,
        "actions_allowed": {**dict.fromkeys(layout_actions, True), "delete": False},
        "modified_time": None,
        "api_name": "Standard",
        "name": "Standard",
        "modified_by": None,
        "generated_type": "system",
        "id": layout_id,
        "status": "active",
    }


def _values(module: Module, field: Field) -> list[dict[str, Any]]:
    values = list(field.picks or ())
    ids = {option.label: option.id for option in field.custom.options} if field.custom else {}
    labels = field.custom.extra.get("labels", {}) if field.custom else {}
    made = []
    for place, value in enumerate(values, 1):
        known = ids.get(value, "")
        number = ORG_BASE + 30_000_000_000 + zlib.crc32(f"{module.name}.{field.name}.{value}".encode())
        made.append(
            {
                "display_value": labels.get(value, value),
                "sequence_number": place,
                "reference_value": value,
                "actual_value": value,
                "id": known if known.isdecimal() else str(number),
                "type": "used",
            }
        )
    return made


def _currency(field: Field) -> dict[str, Any]:
    if field.type != "currency":
        return {}
    return {"rounding_option": "normal", "precision": 2}


def _lookup(field: Field) -> dict[str, Any]:
    if field.lookup not in _LOOKUP_IDS:
        return {}
    return {
        "display_label": field.label,
        "revalidate_filter_during_edit": False,
        "api_name": field.name,
        "module": {"api_name": field.lookup, "crypt": False, "id": _LOOKUP_IDS[field.lookup]},
        "id": str(ORG_BASE + 40_000_000_000 + zlib.crc32(field.name.encode())),
    }
