"""The properties that a portal has: HubSpot's own, the workspace's, and two for each stage of a deal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crmkit.sandbox.hubspot.catalogue import PROPERTIES, Property, Value, WireType
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.portal import Facts, Portal
from crmkit.sandbox.names import SOURCES
from crmkit.sandbox.rows import CustomField, Deal

_ENTERED, _EXITED = "hs_v2_date_entered_", "hs_v2_date_exited_"
_BY_NAME = {plural: {one.name: one for one in some} for plural, some in PROPERTIES.items()}
_CUSTOM_TYPES: Mapping[str, tuple[WireType, str]] = {
    "text": ("string", "text"),
    "number": ("number", "number"),
    "date": ("date", "date"),
    "picklist": ("enumeration", "select"),
    "multiselect": ("enumeration", "checkbox"),
    "checkbox": ("bool", "booleancheckbox"),
}


def find_property(portal: Portal, object_type: ObjectType, name: str) -> Property | None:
    """The property of this name: HubSpot's own, the workspace's, or one of the two that each stage has."""
    known = _BY_NAME[object_type.plural].get(name)
    if known is not None or object_type.kind is None:
        return known
    for field in portal.world.fields[object_type.kind].values():
        if field.id == name:
            return custom_property(field)
    if object_type.plural == "deals":
        if name == _IN_STAGE_SINCE.name:
            return _IN_STAGE_SINCE
        for prefix in (_ENTERED, _EXITED):
            if name.startswith(prefix):
                return _stage_property(portal, prefix, name.removeprefix(prefix))
    return None


def all_properties(portal: Portal, object_type: ObjectType) -> list[Property]:
    """Every property of an object type, in order of name."""
    found = list(PROPERTIES[object_type.plural])
    if object_type.kind is not None:
        found += [custom_property(field) for field in portal.world.fields[object_type.kind].values()]
    if object_type.plural == "deals":
        found.append(_IN_STAGE_SINCE)
        for pipeline in portal.world.pipelines.values():
            for stage in pipeline.stages:
                for prefix in (_ENTERED, _EXITED):
                    made = _stage_property(portal, prefix, stage.id)
                    found += [made] if made else []
    return sorted(found, key=lambda one: one.name)


def options_of(portal: Portal, one: Property) -> list[tuple[str, str]]:
    """Label and value of what can be chosen; nothing where any text is taken."""
    pipelines = [known for known in portal.world.pipelines.values() if not known.archived]
    if one.custom is not None:
        return [(option.label, option.id) for option in one.custom.options]
    if one.name == "pipeline":
        return [(pipeline.name, pipeline.id) for pipeline in pipelines]
    if one.name == "dealstage":
        return [
            (f"{stage.name} ({pipeline.name})", stage.id)
            for pipeline in pipelines
            for stage in pipeline.stages
        ]
    if one.name == "deal_currency_code":
        return [(code, code) for code in portal.world.rates]
    if one.name == "hs_analytics_source":
        return [(name, name.upper().replace(" ", "_")) for name in SOURCES if name]
    return [(value.replace("_", " ").capitalize(), value) for value in one.options]


def custom_property(field: CustomField) -> Property:
    """The property that a field of the workspace is."""
    key = field.key
    # A field that was made through the API says itself what it is on the wire.
    wire_type, field_type = field.extra.get("wire") or _CUSTOM_TYPES[field.type]
    unique = {"hasUniqueValue": True} if field.extra.get("hasUniqueValue") else {}
    return Property(
        field.id,
        field.label,
        wire_type,
        field_type,
        lambda row, _: _unless_empty(row.custom.get(key)),
        calculated=bool(field.extra.get("calculated")),
        more={**field.extra.get("said", {}), **unique},
        custom=field,
    )


def _unless_empty(value: Any) -> Any:
    return None if value in ((), "") else value


def _stage_property(portal: Portal, prefix: str, stage_id: str) -> Property | None:
    for pipeline in portal.world.pipelines.values():
        for stage in pipeline.stages:
            if stage.id == stage_id:
                entered = prefix == _ENTERED
                label = f'Date {"entered" if entered else "exited"} "{stage.name} ({pipeline.name})"'
                value = _entered(stage_id) if entered else _exited(stage_id)
                return Property(
                    prefix + stage_id, label, "datetime", "calculation_read_time", value, calculated=True
                )
    return None


def _entered(stage_id: str) -> Value:
    def value(row: Deal, facts: Facts) -> datetime | None:
        for visit in reversed(row.history):  # the latest entry counts (inferred: the page does not say which)
            if visit.stage_id == stage_id:
                return visit.at
        return None

    return value


def _exited(stage_id: str) -> Value:
    def value(row: Deal, facts: Facts) -> datetime | None:
        following = None
        for visit in reversed(row.history):
            if visit.stage_id == stage_id:
                return following
            following = visit.at
        return None

    return value


# Not in the contract: seen asked for by public connectors beside the properties per stage.
_IN_STAGE_SINCE = Property(
    _ENTERED + "current_stage",
    "Date entered current stage",
    "datetime",
    "calculation_read_time",
    lambda row, _: row.stage_entered,
    calculated=True,
)
