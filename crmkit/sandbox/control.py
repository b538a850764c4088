"""The control plane: look into a sandbox and change it from another process.

| Call under `/_sandbox/` | Gives or does |
| --- | --- |
| `GET stats` | requests by family, kind and status, faults that struck, crashes |
| `GET requests` | method, path and status of the last thousand requests |
| `GET deals` | the deals a reader must find, in neutral words |
| `GET deleted` | what was deleted or merged away |
| `GET side-effects` | the automations that writes have started |
| `POST create` | `{kind?, fields}` -> `{id}` |
| `POST edit` | `{kind?, id, fields}` |
| `POST delete` | `{kind?, id}` |
| `POST merge` | `{kind?, loser, winner}` |
| `POST faults` | `{profile?, seed?, share?, slow_seconds?, late_seconds?, script?: [{fault, kind, skip}]}` |
| `POST commit-late` | carries out what the fault `commit_late` put off -> `{calls}` |
| `POST click` | `{pipeline?, to?, stages: [{name, outcome, probability?}]}`: what an administrator makes |
| `POST clock` | `{advance: seconds}` and / or `{stop: true}` -> `{now}` |
| `POST webhooks` | `{target?, duplicates?, shuffle?, lose?, tries?}` -> `{sent, answers, idle}` |
| `POST settings` | `{latency_ms?, limits?, lag_seconds?}` |
| `POST clear` | sets the counters to zero |

`kind` is `deal` unless given. Times are ISO 8601, days too, amounts are strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.clicks import Wanted, click_pipeline, click_stages
from crmkit.sandbox.faults import FaultPlan, read_script

if TYPE_CHECKING:
    from crmkit.sandbox.app import VendorApp

CONTROL_PREFIX = "/_sandbox/"
_TIMES = {"created", "modified", "stage_entered", "last_activity", "closed_at"}
_LISTS = {"contact_ids", "emails", "phones", "tags"}


def control(app: VendorApp, request: Request, body: bytes) -> Response:
    """Answer a call of the control plane."""
    act = _CALLS.get((request.method, request.scope["path"].removeprefix(CONTROL_PREFIX)))
    if act is None:
        return _json({"error": "no such call of the control plane"}, 404)
    try:
        return _json(act(app, msgspec.json.decode(body) if body else {}))
    except (KeyError, TypeError, ValueError) as error:
        return _json({"error": f"{type(error).__name__}: {error}"}, 400)


def read_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a record as they come in JSON, turned into what a `World` takes."""
    return {name: _read_field(name, value) for name, value in fields.items()}


def _read_field(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(value)
    if name in _LISTS:
        return tuple(value)
    if name == "expected_close":
        return date.fromisoformat(value)
    if name == "amount":
        return Decimal(str(value))
    return value


def _stats(app: VendorApp, _: Any) -> Any:
    log = app.requests
    return {
        "total": log.total,
        "mutating": log.mutating,
        "families": log.families,
        "kinds": log.kinds,
        "statuses": {str(status): count for status, count in log.statuses.items()},
        "faults": app.faults.hits,
        "crashes": app.crashes,
        "late": len(app.late),
        "deals": len(app.world.deals),
        "generation": app.world.generation,
    }


def _deleted(app: VendorApp, _: Any) -> Any:
    gone = [{"kind": row.kind, "id": row.id, "at": row.at} for row in app.world.deleted]
    merged = [
        {"kind": row.kind, "id": row.loser, "at": row.at, "merged_into": row.winner}
        for row in app.world.merged
    ]
    return gone + merged


def _create(app: VendorApp, said: Any) -> Any:
    return {"id": app.world.create(said.get("kind", "deal"), **read_fields(said.get("fields", {}))).id}


def _edit(app: VendorApp, said: Any) -> Any:
    row = app.world.edit(said.get("kind", "deal"), said["id"], **read_fields(said["fields"]))
    return {"id": row.id}


def _delete(app: VendorApp, said: Any) -> Any:
    return {"id": app.world.delete(said.get("kind", "deal"), said["id"]).id}


def _merge(app: VendorApp, said: Any) -> Any:
    return {"id": app.world.merge(said.get("kind", "deal"), said["loser"], said["winner"]).id}


def _faults(app: VendorApp, said: Any) -> Any:
    script = read_script(said.get("script", ()))
    app.faults = FaultPlan(
        said.get("profile", "none"),
        said.get("seed", app.settings.seed),
        said.get("share"),
        said.get("slow_seconds", app.faults.slow_seconds),
        script,
        late_seconds=said.get("late_seconds", app.faults.late_seconds),
    )
    return {"profile": app.faults.profile}


def _commit_late(app: VendorApp, _: Any) -> Any:
    now = app.world.clock()
    for call in app.late:  # the app carries them out before this answer leaves
        call.due = min(call.due, now)
    return {"calls": len(app.late)}


def _click(app: VendorApp, said: Any) -> Any:
    stages = [Wanted(one["name"], one["outcome"], one.get("probability")) for one in said["stages"]]
    if "to" in said:
        click_stages(app, said["to"], stages)
    else:
        click_pipeline(app, said["pipeline"], stages)
    return {"pipelines": list(app.world.pipelines)}


def _side_effects(app: VendorApp, _: Any) -> Any:
    return app.world.side_effects


def _clock(app: VendorApp, said: Any) -> Any:
    clock = app.world.clock
    if said.get("stop"):
        clock.stop()
    clock.advance(said.get("advance", 0))
    return {"now": clock()}


def _settings(app: VendorApp, said: Any) -> Any:
    app.settings.latency_ms = said.get("latency_ms", app.settings.latency_ms)
    app.settings.limits = said.get("limits", app.settings.limits)
    app.world.lag_seconds = said.get("lag_seconds", app.world.lag_seconds)
    return {}


def _webhooks(app: VendorApp, said: Any) -> Any:
    if "target" in said and not app.click_webhook(said["target"]):
        raise ValueError("here webhooks are made by API")
    for name in ("duplicates", "shuffle", "lose", "tries"):
        if name in said:
            setattr(app.courier.habits, name, said[name])
    return {"sent": app.courier.sent, "answers": list(app.courier.answers), "idle": app.courier.idle()}


def _clear(app: VendorApp, _: Any) -> Any:
    app.requests.clear()
    app.faults.hits.clear()
    return {}


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


_CALLS: Mapping[tuple[str, str], Callable[[VendorApp, Any], Any]] = {
    ("GET", "stats"): _stats,
    ("GET", "requests"): lambda app, _: list(app.requests.recent),
    ("GET", "deals"): lambda app, _: app.expected_deals(),
    ("GET", "deleted"): _deleted,
    ("GET", "side-effects"): _side_effects,
    ("POST", "click"): _click,
    ("POST", "commit-late"): _commit_late,
    ("POST", "create"): _create,
    ("POST", "edit"): _edit,
    ("POST", "delete"): _delete,
    ("POST", "merge"): _merge,
    ("POST", "faults"): _faults,
    ("POST", "clock"): _clock,
    ("POST", "settings"): _settings,
    ("POST", "webhooks"): _webhooks,
    ("POST", "clear"): _clear,
}
