"""Users, and who a phone number or an e-mail address belongs to.

Sources: https://apidocs.bitrix24.com/api-reference/user/user-get.html,
https://apidocs.bitrix24.com/api-reference/crm/duplicates/crm-duplicate-find-by-comm.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.channels import channels
from crmkit.sandbox.bitrix24.directory import paged
from crmkit.sandbox.bitrix24.php import as_list, as_map, truth
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, stamp
from crmkit.sandbox.rows import Kind, User

_MAX_HITS = 20
_PREFIX = re.compile(r"(!@|!%|!|@|%|>=|<=|>|<|=)?(\w+)")
_NOT_FILTERS = {"sort", "order", "start", "select", "filter", "admin_mode", "image_resize", "auth"}


def user_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`user.get`; filters stand in `FILTER` or beside it."""
    said = {name.upper(): value for name, value in params.items() if name not in _NOT_FILTERS}
    said |= as_map(params.get("filter"))
    rows = [_user(portal, user) for user in portal.world.live.users()]
    for key, value in said.items():
        match = _PREFIX.fullmatch(key)
        if match and match[2] in _FILTERABLE:
            rows = [row for row in rows if _passes(row.get(match[2]), match[1] or "", value)]
    name = str(params.get("sort") or "ID").upper()
    if name in _FILTERABLE:
        descending = str(params.get("order")).upper() == "DESC"
        rows.sort(key=lambda row: int(row["ID"]) if name == "ID" else str(row[name]), reverse=descending)
    return paged(rows, params)


def user_current(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`user.current`."""
    return Answer(_user(portal, portal.world.users[caller.user_id]))


def profile(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`profile`, which any scope may ask for."""
    user = portal.world.users[caller.user_id]
    first, _, last = user.name.partition(" ")
    shift = portal.filter_shift.total_seconds() / 3600
    # The service user's own zone; an empty text is the server's. POSIX turns the sign round.
    zone = f"Etc/GMT{-round(3 + shift):+d}" if shift else ""
    return Answer(
        {
            "ID": user.id,
            "ADMIN": bool(portal.setting("admin", True)),
            "NAME": first,
            "LAST_NAME": last,
            "PERSONAL_GENDER": "",
            "PERSONAL_PHOTO": "",
            "TIME_ZONE": zone,
            "TIME_ZONE_OFFSET": round(shift * 3600),
        }
    )


def _user(portal: Portal, user: User) -> dict[str, Any]:
    first, _, last = user.name.partition(" ")
    row: dict[str, Any] = {
        "ID": user.id,
        "ACTIVE": user.active,
        "NAME": first,
        "LAST_NAME": last,
        "SECOND_NAME": "",
        "EMAIL": user.email,
        "LAST_LOGIN": stamp(portal.world.clock()),
        "DATE_REGISTER": stamp(user.created)[:11] + "00:00:00" + stamp(user.created)[19:],
        "TIME_ZONE": "",
        "IS_ONLINE": "N",
        "TIMESTAMP_X": {},
        "LAST_ACTIVITY_DATE": {},
        "PERSONAL_GENDER": "",
        "PERSONAL_WWW": "",
        "PERSONAL_BIRTHDAY": "",
        "PERSONAL_MOBILE": "",
        "PERSONAL_CITY": "",
        "WORK_PHONE": "",
        "WORK_POSITION": "",
        "UF_EMPLOYMENT_DATE": "",
        "UF_DEPARTMENT": [1],
        "USER_TYPE": "employee",
    }
    scopes = portal.scopes
    if "user" not in scopes and "user_basic" not in scopes:
        for hidden in ("EMAIL", "PERSONAL_MOBILE", "WORK_PHONE"):
            del row[hidden]
    return row


_FILTERABLE = {"ID", "ACTIVE", "NAME", "LAST_NAME", "EMAIL", "USER_TYPE", "WORK_POSITION", "UF_DEPARTMENT"}


def _passes(held: Any, op: str, value: Any) -> bool:
    if isinstance(held, bool):
        return (held == truth(value)) != op.startswith("!")
    texts = [str(one).casefold() for one in (held if isinstance(held, list) else [held])]
    wanted = [str(one).casefold() for one in as_list(value)]
    if "%" in op:
        hit = any(want in text for text in texts for want in wanted)
    elif op in {">", ">=", "<", "<="} and wanted and wanted[0].isdigit() and texts[0].isdigit():
        left, right = int(texts[0]), int(wanted[0])
        hit = {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[op]
    else:
        hit = any(text in wanted for text in texts)
    return hit != op.startswith("!")


def find_by_comm(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.duplicate.findbycomm`: ends at 20 hits, and then leaves the later kinds out."""
    type_ = str(params.get("type", "")).upper()
    values = as_list(params.get("values"))
    if type_ not in {"EMAIL", "PHONE"}:
        raise Failure("", "Communication type is not supported in current context.")
    if not values:
        raise Failure("", "Communication values is not defined.")
    wanted = {_normal(type_, value) for value in values[:_MAX_HITS]}
    said = str(params.get("entity_type") or "").upper()
    kinds: list[tuple[str, Kind]] = [("CONTACT", "contact"), ("COMPANY", "company")]
    found: dict[str, list[int]] = {}
    left = _MAX_HITS
    for name, kind in kinds:
        if said in {"", name} and left:
            hits = [int(row.id) for row in portal.world.live.ordered(kind) if _answers(row, type_, wanted)][
                :left
            ]
            if hits:
                found[name] = hits
                left -= len(hits)
    return Answer(found or [])


def _answers(row: Any, type_: str, wanted: set[str]) -> bool:
    return any(one["typeId"] == type_ and _normal(type_, one["value"]) in wanted for one in channels(row))


def _normal(type_: str, value: Any) -> str:
    return re.sub(r"\D", "", str(value)) if type_ == "PHONE" else str(value).strip().casefold()
