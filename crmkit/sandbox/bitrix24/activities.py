"""To-dos: those of the seed, one for each deal that somebody has worked on, and those written since.

Source: https://apidocs.bitrix24.com/api-reference/crm/timeline/activities/activity-base/crm-activity-list.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crmkit.sandbox.bitrix24.php import as_list, as_map
from crmkit.sandbox.bitrix24.portal import Answer, Failure, Portal, need, stamp, whole
from crmkit.sandbox.bitrix24.timeline import page_of, passes_id
from crmkit.sandbox.rows import Deal, Kind

ACTIVITY_IDS_FROM = 500_000


def activity_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.activity.list`: to-dos; the seed has one for each deal that somebody has worked on."""
    said = as_map(params.get("filter"))
    type_id = str(said.get("OWNER_TYPE_ID") or "2")
    if type_id not in {"2", "3", "4"} or said.get("PROVIDER_ID", "CRM_TODO") != "CRM_TODO":
        return page_of([], params)
    owners = said.get("@OWNER_ID", said.get("OWNER_ID"))
    named = None if owners is None else dict.fromkeys(str(owner) for owner in as_list(owners))
    rows = [row for row in _activities(portal, type_id, named) if passes_id(row, said)]
    order = {name.upper(): str(way).upper() for name, way in as_map(params.get("order")).items()}
    name = next(iter(order), "START_TIME")
    if name == "ID":
        rows.sort(key=lambda row: int(row["ID"]))
    else:
        rows.sort(key=lambda row: str(row.get(name) or ""))
    if order.get(name) == "DESC":
        rows.reverse()
    return page_of(rows, params)


def _activities(portal: Portal, type_id: str, owners: Iterable[str] | None) -> list[dict[str, Any]]:
    table = portal.world.live.tables[_ACTIVITY_OWNERS[type_id]]
    own = own_activities(portal)
    seeded: Iterable[Any] = ()
    if type_id == "2":
        seeded = table.values() if owners is None else [table[one] for one in owners if one in table]
    rows = [_seeded_activity(deal) for deal in seeded if deal.last_activity is not None]
    rows = [row for row in rows if row["ID"] not in own.changed]
    wanted = None if owners is None else set(owners)
    return rows + [
        row
        for row in own.changed.values()
        if row is not None
        and row["OWNER_TYPE_ID"] == type_id
        and row["OWNER_ID"] in table
        and (wanted is None or row["OWNER_ID"] in wanted)
    ]


class Activities:
    """To-dos by id: those somebody wrote, and behind them those of the seed; `None` if deleted."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self.changed: dict[str, dict[str, Any] | None] = {}

    def get(self, number: str) -> dict[str, Any] | None:
        """The to-do, if it and its owner are there."""
        tables = self._portal.world.live.tables
        if number in self.changed:
            row = self.changed[number]
            alive = row is not None and row["OWNER_ID"] in tables[_ACTIVITY_OWNERS[row["OWNER_TYPE_ID"]]]
            return row if alive else None
        deal_id = str(int(number) - ACTIVITY_IDS_FROM) if number.isdigit() else ""
        deal = tables["deal"].get(deal_id)
        return _seeded_activity(deal) if deal is not None and deal.last_activity is not None else None

    def __setitem__(self, number: str, row: dict[str, Any] | None) -> None:
        self.changed[number] = row


def own_activities(portal: Portal) -> Activities:
    """The portal's to-dos."""
    found: Activities = portal.once("activities", lambda: Activities(portal))
    return found


def activity_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.activity.get`."""
    row = own_activities(portal).get(str(whole(need(params, "id"))))
    if row is None:
        raise Failure("", "Access denied.")
    return Answer(row)


def _seeded_activity(deal: Deal) -> dict[str, Any]:
    at = stamp(deal.last_activity or deal.created)
    owner = deal.owner_id or "1"
    return activity_row(
        ID=str(ACTIVITY_IDS_FROM + int(deal.id)),
        OWNER_ID=deal.id,
        SUBJECT="Call back",
        CREATED=at,
        LAST_UPDATED=at,
        START_TIME=at,
        END_TIME=at,
        DEADLINE=at,
        COMPLETED="N" if deal.status == "open" else "Y",
        STATUS="1" if deal.status == "open" else "2",
        RESPONSIBLE_ID=owner,
        AUTHOR_ID=owner,
        EDITOR_ID=owner,
    )


def activity_row(**columns: str) -> dict[str, Any]:
    """A to-do on the wire; what is not given is as for a new one of a deal."""
    return {**_ACTIVITY, **columns}


_ACTIVITY_OWNERS: Mapping[str, Kind] = {"2": "deal", "3": "contact", "4": "company"}
_ACTIVITY: Mapping[str, Any] = {
    "ID": None,
    "OWNER_ID": None,
    "OWNER_TYPE_ID": "2",
    "TYPE_ID": "6",
    "PROVIDER_ID": "CRM_TODO",
    "PROVIDER_TYPE_ID": "TODO",
    "PROVIDER_GROUP_ID": None,
    "ASSOCIATED_ENTITY_ID": "0",
    "SUBJECT": "",
    "CREATED": None,
    "LAST_UPDATED": None,
    "START_TIME": None,
    "END_TIME": None,
    "DEADLINE": None,
    "COMPLETED": "N",
    "STATUS": "1",
    "RESPONSIBLE_ID": None,
    "PRIORITY": "2",
    "NOTIFY_TYPE": "0",
    "NOTIFY_VALUE": "0",
    "DESCRIPTION": "",
    "DESCRIPTION_TYPE": "1",
    "DIRECTION": "0",
    "LOCATION": "",
    "SETTINGS": [],
    "ORIGINATOR_ID": None,
    "ORIGIN_ID": None,
    "AUTHOR_ID": None,
    "EDITOR_ID": None,
    "PROVIDER_PARAMS": [],
    "PROVIDER_DATA": None,
    "RESULT_MARK": "0",
    "RESULT_VALUE": None,
    "RESULT_SUM": None,
    "RESULT_CURRENCY_ID": None,
    "RESULT_STATUS": "0",
    "RESULT_STREAM": "0",
    "RESULT_SOURCE_ID": None,
    "AUTOCOMPLETE_RULE": "0",
}
