"""Writes records: every value is text or null, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from operator import attrgetter
from typing import Any

from crmkit.sandbox.hubspot.answers import stamp
from crmkit.sandbox.hubspot.catalogue import Property, WireType, write_number, write_options
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.portal import Facts, Portal
from crmkit.sandbox.hubspot.properties import find_property
from crmkit.sandbox.rows import Deal, Note

_WRITERS: dict[WireType, Callable[[Any], str]] = {
    "string": str,
    "number": write_number,
    "date": date.isoformat,
    "datetime": stamp,
    "bool": lambda value: "true" if value else "false",
    "enumeration": write_options,
}


class Plan:
    """Writes records of one type with the properties that a call asked for; good for that call.

    Args:
        names: What was asked for; names that do not exist are left out. `None`: the defaults.
    """

    def __init__(self, portal: Portal, object_type: ObjectType, names: Iterable[str] | None) -> None:
        wanted = object_type.always | set(object_type.defaults if names is None else names)
        found = [one for name in sorted(wanted) if (one := find_property(portal, object_type, name))]
        self._unset: dict[str, str | None] = {one.name: None for one in found}  # in order of name
        # At 100,000 deals every call counts: fields of the row are fetched in one go, and what the stage
        # alone decides is written once per stage.
        self._facts = facts = portal.facts()
        texts = [one for one in found if one.attribute and one.type in {"string", "enumeration"}]
        times = [one for one in found if one.attribute and one.type == "datetime"]
        self._texts, self._times = [one.name for one in texts], [one.name for one in times]
        self._fields = attrgetter("id", "id", *(one.attribute for one in (*texts, *times) if one.attribute))
        staged = [(one.name, one.of_stage, _WRITERS[one.type]) for one in found if one.of_stage]
        self._stages = {
            key: {name: _write(write, read(stage)) for name, read, write in staged}
            for key, stage in facts.stages.items()
            if staged
        }
        done = {"hs_object_id", *self._texts, *self._times}
        self._others = [
            (one.name, one.value, _WRITERS[one.type])
            for one in found
            if one.name not in done and one.of_stage is None
        ]
        self._created, self._modified = object_type.created, object_type.modified
        self._url = f"https://app.hubspot.com/contacts/{portal.portal_id}/record/{object_type.type_id}/"

    def record(self, row: Any) -> dict[str, Any]:
        """A record without its address in the UI, as search and writes answer with it."""
        facts, texts = self._facts, self._texts
        properties = self._unset.copy()
        record_id, properties["hs_object_id"], *fields = self._fields(row)
        for name, text in zip(texts, fields, strict=False):
            if text:
                properties[name] = text
        for name, moment in zip(self._times, fields[len(texts) :], strict=True):
            if moment is not None:
                properties[name] = stamp(moment)
        if self._stages:
            properties.update(self._stages.get((row.pipeline_id, row.stage_id), ()))
        for name, value, write in self._others:
            known = value(row, facts)
            if known is not None:
                properties[name] = write(known)
        return {
            "id": record_id,
            "properties": properties,
            "createdAt": properties[self._created],
            "updatedAt": properties[self._modified],
            "archived": False,
        }

    def record_with_url(self, row: Any) -> dict[str, Any]:
        """A record as list, read and batch read answer with it."""
        record = self.record(row)
        record["url"] = self._url + row.id
        return record


def _write(write: Callable[[Any], str], value: Any) -> str | None:
    return None if value is None else write(value)


def history_of(
    portal: Portal, object_type: ObjectType, names: Iterable[str]
) -> Callable[[Any], dict[str, Any]]:
    """Writes a record's `propertiesWithHistory`, newest first.

    The world keeps the past of the stage only; any other property has one entry, with what it holds now.
    """
    facts = portal.facts()
    wanted = [one for name in names if (one := find_property(portal, object_type, name))]

    def write(row: Any) -> dict[str, Any]:
        return {
            one.name: _stage_history(row) if one.name == "dealstage" else _present(one, row, facts)
            for one in wanted
        }

    return write


def _stage_history(row: Deal) -> list[dict[str, Any]]:
    return [
        {"value": stage_id, "timestamp": stamp(at), **_by(by_user_id)}
        for stage_id, at, by_user_id in reversed(row.history)
    ]


def _present(one: Property, row: Any, facts: Facts) -> list[dict[str, Any]]:
    value = one.value(row, facts)
    if value is None:
        return []
    moment = row.created if isinstance(row, Note) else row.modified
    return [{"value": _WRITERS[one.type](value), "timestamp": stamp(moment), **_by(None)}]


@lru_cache(maxsize=1_024)
def _by(owner_id: str | None) -> dict[str, Any]:
    if owner_id is None:
        return {"sourceType": "INTEGRATION", "sourceId": "1234444"}
    kind, _, number = owner_id.rpartition(":")  # a user who owns nothing has no owner's id
    user = int(number) if kind else user_id(owner_id)
    return {"sourceType": "CRM_UI", "sourceId": f"userId:{user}", "updatedByUserId": user}


def user_id(owner_id: str) -> int:
    """The id of the user behind an owner: another number, from another count."""
    return int(owner_id) * 3 + 41
