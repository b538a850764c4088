"""Bitrix24's online events: bound by an app, or set by hand as an outgoing webhook; form-encoded, sent once.

An outgoing webhook is made in the portal's UI; here `POST /_sandbox/webhooks` with `{target}` does.

Source: https://apidocs.bitrix24.com/api-reference/events/index.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, need
from crmkit.sandbox.courier import Courier, Parcel
from crmkit.sandbox.rows import Change

APPLICATION_TOKEN = "51856fefc120afa4b628cc82d3935cce"  # noqa: S105 - made up, good for this sandbox only
_KINDS = ("deal", "company", "contact")
_MOVED = "ONCRMDEALMOVETOCATEGORY"
KNOWN = (*(f"ONCRM{kind.upper()}{act}" for kind in _KINDS for act in ("ADD", "UPDATE", "DELETE")), _MOVED)
Bound = list[tuple[str, str]]


class Events:
    """The handlers of one portal's events."""

    def __init__(self, portal: Portal, courier: Courier) -> None:
        self.portal, self._courier = portal, courier
        self.target = ""  # of the outgoing webhook
        portal.world.listeners.append(self._heard)

    def _heard(self, change: Change) -> None:
        bound = handlers(self.portal)
        if change.kind not in _KINDS or not (bound or self.target):
            return
        name = self._name(change)
        usual = name.replace("MOVETOCATEGORY", "UPDATE")  # an outgoing webhook does not know the other one
        targets = [(handler, True) for event, handler in bound if event == name]
        targets += [(self.target, False)] if self.target else []
        for target, app in targets:
            body = self._form(name if app else usual, change, app=app)
            parcel = Parcel({"Content-Type": "application/x-www-form-urlencoded"}, body)
            self._courier.post(target, lambda _, parcel=parcel: parcel)  # type: ignore[misc]

    def _name(self, change: Change) -> str:
        start = f"ONCRM{change.kind.upper()}"
        if change.before is None:
            return start + "ADD"
        if change.after is None:
            return start + "DELETE"
        moved = change.kind == "deal" and change.before.pipeline_id != change.after.pipeline_id
        return _MOVED if moved else start + "UPDATE"

    def _form(self, name: str, change: Change, *, app: bool) -> bytes:
        world = self.portal.world
        said = {"event": name, "event_handler_id": "1", "data[FIELDS][ID]": change.id}
        if name == _MOVED and change.after is not None:
            said["data[FIELDS][CATEGORY_ID]"] = change.after.pipeline_id
            said["data[FIELDS][STAGE_ID]"] = change.after.stage_id
        said |= {
            "ts": str(int(change.at.timestamp())),
            "auth[domain]": "portal.example.com",
            "auth[client_endpoint]": "https://portal.example.com/rest/",
            "auth[server_endpoint]": "https://oauth.bitrix.info/rest/",
            "auth[member_id]": world.workspace_id,
            "auth[application_token]": APPLICATION_TOKEN,
        }
        if app:
            said |= {"auth[scope]": "crm", "auth[status]": "L"}
        return urlencode(said).encode()


def handlers(portal: Portal) -> Bound:
    """Event and address of each bound handler."""
    found: Bound = portal.once("event handlers", list)
    return found


def event_bind(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """Bind a handler; the same one twice is refused."""
    name, handler = _told(params)
    if str(params.get("event_type") or "online") != "online":
        raise Failure("ERROR_CORE", "Only online events are in the sandbox")
    if urlsplit(handler).scheme not in ("http", "https"):
        raise Failure("ERROR_EVENT_BINDING", "Wrong handler URL")
    if (name, handler) in handlers(portal):
        raise Failure("ERROR_EVENT_BINDING", "Handler already binded")
    handlers(portal).append((name, handler))
    return Answer(True)


def event_unbind(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """Unbind a handler; how many there were."""
    bound, wanted = handlers(portal), _told(params)
    count = bound.count(wanted)
    bound[:] = [one for one in bound if one != wanted]
    return Answer({"count": count})


def event_get(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """The bound handlers."""
    return Answer(
        [
            {"event": name, "handler": handler, "auth_type": "0", "offline": 0}
            for name, handler in handlers(portal)
        ]
    )


def _told(params: Mapping[str, Any]) -> tuple[str, str]:
    name, handler = str(need(params, "event")).upper(), str(need(params, "handler"))
    if name not in KNOWN:
        raise Failure("ERROR_EVENT_NOT_FOUND", "Event not found")
    return name, handler
