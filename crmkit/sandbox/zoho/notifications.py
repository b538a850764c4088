"""Zoho's notification channels: made by API, ended by their expiry, unsigned, never repeated.

Source: https://www.zoho.com/crm/developer/docs/api/v8/notifications/overview.html and the
official OpenAPI file (actions/watch). Zoho takes https only; the sandbox plain HTTP too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.courier import Courier, Parcel, is_here
from crmkit.sandbox.rows import Change
from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.zoho.answers import no_content, refuse
from crmkit.sandbox.zoho.bodies import answer, done, read_body
from crmkit.sandbox.zoho.org import Org

_MODULES = {"deal": "Deals", "company": "Accounts", "contact": "Contacts"}
_OPERATIONS = ("create", "edit", "delete", "all")
_SAID = {"create": "insert", "edit": "update", "delete": "delete"}
_LONGEST, _USUAL = timedelta(days=7), timedelta(hours=1)
_TOKEN_LENGTH = 50


class Notifications:
    """The channels of one organisation."""

    def __init__(self, org: Org, courier: Courier) -> None:
        self.org, self.world, self._courier = org, org.world, courier
        self.channels: dict[str, dict[str, Any]] = {}
        self.world.listeners.append(self._heard)

    def routes(self) -> list[Route]:
        """What is served."""
        path = "/crm/{version}/actions/watch"
        return [
            Route(path, self.listing, methods=["GET"]),
            Route(path, self.create, methods=["POST"]),
            Route(path, self.create, methods=["PUT"]),
            Route(path, self.delete, methods=["DELETE"]),
        ]

    async def listing(self, request: Request) -> Response:
        """Living channels, one line per module."""
        wanted = request.query_params.get("channel_id")
        rows = [
            {
                "notify_on_related_action": False,
                "channel_expiry": self.org.stamp(channel["until"]),
                "resource_uri": f"https://www.zohoapis.com/crm/v8/{module}",
                "resource_id": str(number),
                "notify_url": channel["url"],
                "resource_name": module,
                "channel_id": channel_id,
                "events": channel["events"],
                "token": channel["token"],
            }
            for channel_id, channel in self.channels.items()
            for number, module in enumerate(_MODULES.values(), start=1)
            if channel["until"] > self.world.clock()
            and wanted in (None, channel_id)
            and any(event.startswith(f"{module}.") for event in channel["events"])
        ]
        info = {"per_page": 200, "count": len(rows), "page": 1, "more_records": False}
        return json_reply({"watch": rows, "info": info}) if rows else no_content()

    async def create(self, request: Request) -> Response:
        """A channel, or the same anew."""
        said = await read_body(request)
        rows = said.get("watch")
        if not isinstance(rows, list) or not rows:
            refuse("MANDATORY_NOT_FOUND", {"api_name": "watch", "json_path": "$.watch"})
        made = [self._keep(row) for row in rows]
        return answer(made, 201 if request.method == "POST" else 200, "watch")

    def _keep(self, row: Mapping[str, Any]) -> dict[str, Any]:
        url, channel_id = str(row.get("notify_url") or ""), str(row.get("channel_id") or "")
        events, token = row.get("events"), str(row.get("token") or "")
        if not (url.startswith("https://") or is_here(url)):
            refuse("INVALID_DATA", {"api_name": "notify_url", "json_path": "$.watch[0].notify_url"})
        if not channel_id.isdigit() or int(channel_id) >= 2**63:
            refuse("INVALID_DATA", {"api_name": "channel_id", "json_path": "$.watch[0].channel_id"})
        if len(token) > _TOKEN_LENGTH:
            refuse("INVALID_DATA", {"api_name": "token", "json_path": "$.watch[0].token"})
        known = [f"{module}.{operation}" for module in _MODULES.values() for operation in _OPERATIONS]
        if not isinstance(events, list) or not events or any(event not in known for event in events):
            refuse("INVALID_DATA", {"api_name": "events", "json_path": "$.watch[0].events"})
        now = self.world.clock()
        until = datetime.fromisoformat(row["channel_expiry"]) if row.get("channel_expiry") else now + _USUAL
        if until > now + _LONGEST:
            refuse("INVALID_DATA", {"api_name": "channel_expiry", "json_path": "$.watch[0].channel_expiry"})
        self.channels[channel_id] = {"url": url, "events": events, "token": token, "until": until}
        told = [
            {
                "channel_expiry": self.org.stamp(until),
                "resource_uri": f"https://www.zohoapis.com/crm/v8/{event.partition('.')[0]}",
                "resource_id": str(number),
                "resource_name": event.partition(".")[0],
                "channel_id": channel_id,
            }
            for number, event in enumerate(events, start=1)
        ]
        return done({"events": told}, "Successfully subscribed for actions-watch of the given module")

    async def delete(self, request: Request) -> Response:
        """The end of channels."""
        ids = [one for one in request.query_params.get("channel_ids", "").split(",") if one]
        if not ids:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "channel_ids"})
        gone = [one for one in ids if self.channels.pop(one, None) is not None]
        if not gone:
            refuse("NOT_SUBSCRIBED", {}, "the channel is not subscribed")
        rows = [
            done(
                {
                    "resource_uri": "https://www.zohoapis.com/crm/v8/Deals",
                    "resource_id": "1",
                    "channel_id": one,
                },
                "Successfully unsubscribed",
            )
            for one in gone
        ]
        return answer(rows, 200, "watch")

    def _heard(self, change: Change) -> None:
        module = _MODULES.get(change.kind)
        if module is None or not self.channels:
            return
        event = "create" if change.before is None else "delete" if change.after is None else "edit"
        for channel_id, channel in self.channels.items():
            wanted = f"{module}.{event}" in channel["events"] or f"{module}.all" in channel["events"]
            if not wanted or channel["until"] <= self.world.clock():
                continue
            said = {
                "server_time": int(change.at.timestamp() * 1000),
                "affected_values": [],
                "query_params": {},
                "module": module,
                "resource_uri": f"https://www.zohoapis.com/crm/v8/{module}",
                "ids": [change.id],
                "affected_fields": [],
                "operation": _SAID[event],
                "channel_id": channel_id,
                "token": channel["token"],
            }
            parcel = Parcel({"Content-Type": "application/json"}, json.dumps(said).encode())
            self._courier.post(channel["url"], lambda _, parcel=parcel: parcel)  # type: ignore[misc]
