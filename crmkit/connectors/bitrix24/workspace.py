"""What a portal says about itself, its user and its clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from crmkit.connectors.bitrix24.batch import Portal, Results
from crmkit.connectors.bitrix24.commands import command
from crmkit.connectors.translate import FieldError, instant
from crmkit.errors import BadAnswer, MissingScope
from crmkit.model import Workspace

QUARTER = timedelta(minutes=15)
QUARTERS = 56  # 14 hours to either side
_SCOPES = {
    "base": "crm",
    "currencies": "crm",
    "pipelines": "crm",
    "deals": "crm",
    "user": "user_basic",
}


def check_portal(portal: Portal, *, enterprise: bool, work_limit_seconds: int) -> Workspace:
    """The portal as a workspace, from one request.

    Raises:
        AccessDenied: The credentials are refused.
        MissingScope: Names every scope or right that reading needs and lacks.
    """
    results = portal.run(
        {
            "profile": command("profile"),
            "user": command("user.current"),
            "base": command("crm.currency.base.get"),
            "currencies": command("crm.currency.list", ("order[SORT]", "ASC")),
            "pipelines": command("crm.category.list", ("entityTypeId", 2)),
            "deals": command("crm.item.list", ("entityTypeId", 2), ("select[]", "id"), ("start", -1)),
        },
        tolerated=("profile", *_SCOPES),
    )
    _raise_missing(portal, results)
    profile = _map(results.values.get("profile"))
    base = results.values.get("base")
    currencies = [_map(one) for one in results.values.get("currencies") or []]
    if not isinstance(base, str):
        base = next((one.get("CURRENCY") for one in currencies if one.get("BASE") == "Y"), None)
    return Workspace(
        id=portal.host,
        name=portal.host,
        time_zone=_zone(profile, results.time),
        base_currency=base,
        currencies=tuple(str(one["CURRENCY"]) for one in currencies if one.get("CURRENCY")),
        limits={
            "burst": 250 if enterprise else 50,
            "per_second": 5 if enterprise else 2,
            "commands_per_request": 50,
            "work_seconds_per_10_minutes": work_limit_seconds,
        },
        server_time=results.date or results.started,
        user=_user(profile, _map(results.values.get("user"))),
    )


def _raise_missing(portal: Portal, results: Results) -> None:
    """One error that names every scope that a command lacked; other errors as they came."""
    lacking: dict[str, list[str]] = {}
    for key, scope in _SCOPES.items():
        error = results.errors.get(key)
        if isinstance(error, MissingScope):
            lacking.setdefault(scope, []).append(key)
        elif error is not None:
            raise error
    if lacking:
        told = ", ".join(f"{scope} (needed for: {', '.join(keys)})" for scope, keys in lacking.items())
        raise MissingScope(
            f"{portal.context.connection}: missing scope or right: {told}",
            hint="Add the named scopes to the webhook or app in Bitrix24, and let an administrator own "
            "it; user_brief works instead of user_basic, without e-mail addresses.",
        )


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _user(profile: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    who = profile or current
    name = " ".join(part for part in (who.get("NAME"), who.get("LAST_NAME")) if part)
    native = who.get("ID")
    if native is None and not name:
        return None
    admin = profile.get("ADMIN")
    rights = {True: "administrator", False: "not an administrator: sees only what this user may read"}
    told = rights.get(admin) if isinstance(admin, bool) else None
    return " ".join(part for part in (name, f"(user {native})") if part) + (f", {told}" if told else "")


def _zone(profile: Mapping[str, Any], time: Mapping[str, Any]) -> str | None:
    """The zone of the connection's user, or the server's as a fixed offset.

    An empty `TIME_ZONE` means the server's zone, of which only the offset is ever told.
    """
    if zone := profile.get("TIME_ZONE"):
        return str(zone)
    try:
        offset = datetime.fromisoformat(str(time.get("date_start"))).utcoffset()
    except ValueError:
        return None
    if offset is None or offset.total_seconds() % 3600:
        return None
    hours = int(offset.total_seconds() // 3600)
    return "UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"  # the sign of these names is turned round


def measure_shift(portal: Portal) -> int | None:
    """Minutes by which the portal shifts date bounds, or `None` if they cannot be told.

    A bound in a filter is taken as its value minus the distance of the user's time zone
    from the server's (measured on a live portal, contract 4.3). So the highest bound
    under which a record is still found is its change plus that distance.
    """
    newest = portal.run(
        {
            "newest": command(
                "crm.item.list",
                ("entityTypeId", 2),
                ("order[updatedTime]", "DESC"),
                ("order[id]", "DESC"),
                ("start", -1),
                ("select[]", "id"),
                ("select[]", "updatedTime"),
            )
        }
    )
    rows = newest.values["newest"]
    if not rows:
        return None
    try:
        changed = instant(rows[0]["updatedTime"], "updatedTime")
        native = int(rows[0]["id"])
    except (FieldError, KeyError, TypeError, ValueError):
        raise BadAnswer(
            f"{portal.context.connection}: crm.item.list: a row without id or updatedTime"
        ) from None
    if changed is None:
        return None
    steps = range(-QUARTERS, QUARTERS + 1)
    results = portal.run(
        {
            f"k{step}": command(
                "crm.item.list",
                ("entityTypeId", 2),
                ("filter[=id]", native),
                ("filter[>=updatedTime]", (changed + step * QUARTER).isoformat()),
                ("start", -1),
                ("select[]", "id"),
            )
            for step in steps
        }
    )
    found = [step for step in steps if results.values[f"k{step}"]]
    # Found under no bound or under all of them: the record was changed or removed meanwhile.
    if not found or found[-1] == QUARTERS or found != list(range(-QUARTERS, found[-1] + 1)):
        return None
    return found[-1] * 15
