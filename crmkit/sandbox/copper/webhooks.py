"""Subscriptions to changes and their deliveries: unsigned, sent once, dropped above a rate.

Copper takes https targets only; the sandbox plain HTTP on this machine too, to deliver there.

Source: https://developer.copper.com/webhooks/overview.html
"""

from __future__ import annotations

import json
from typing import Any

from crmkit.sandbox.copper.answers import Body, seconds
from crmkit.sandbox.copper.validation import Form, invalid
from crmkit.sandbox.courier import Courier, Parcel, is_here
from crmkit.sandbox.limits import Budget
from crmkit.sandbox.rows import Change
from crmkit.sandbox.world import World

_TYPES = ("lead", "person", "company", "opportunity", "project", "task", "activity_log")
_EVENTS = ("new", "update", "delete")
_MOST = 100
_MOST_A_MINUTE = 600
_ENTITIES = {"deal": "opportunity", "company": "company", "contact": "person"}
_ATTRIBUTES = {
    "name": "name",
    "amount": "monetary_value",
    "stage_id": "pipeline_stage_id",
    "owner_id": "assignee_id",
}
_FIRST_ID = 17_065
_WRITABLE = frozenset({"target", "type", "event", "secret", "headers", "custom_field_computed_values"})


class Webhooks:
    """The subscriptions of one account."""

    def __init__(self, world: World, courier: Courier | None = None) -> None:
        self._clock, self._courier = world.clock, courier or Courier()
        self._minute = Budget(_MOST_A_MINUTE, 60, world.clock.monotonic)
        world.listeners.append(self._heard)
        self._next = _FIRST_ID
        self.by_id: dict[str, dict[str, Any]] = {}
        self._wanted: set[tuple[str, str]] = set()

    def wants(self, entity: str, event: str) -> bool:
        """Whether somebody is told of this."""
        return (entity, event) in self._wanted

    def create(self, body: Body) -> dict[str, Any]:
        """Subscribe to one event of one type."""
        form = Form(body, _WRITABLE, ())
        target = form.text("target", required=True)
        if target and not target.startswith("https://") and not is_here(target):
            form.wrong("target", "must be HTTPS")
        for key, choices in (("type", _TYPES), ("event", _EVENTS)):
            if form.one_of(key, choices) is None and body.get(key) is None:
                form.wrong(key, "can't be blank", "blank")
        form.check()
        if len(self.by_id) >= _MOST:
            raise invalid("base", f"no more than {_MOST} subscriptions are allowed", "too_many")
        made = {
            "id": self._next,
            "target": target,
            "type": body["type"],
            "event": body["event"],
            "secret": body.get("secret"),
            "created_at": seconds(self._clock()),
        }
        self._next += 1
        self.by_id[str(made["id"])] = made
        self._note()
        return made

    def delete(self, webhook_id: str) -> dict[str, Any] | None:
        """End a subscription; `None` if there is no such one."""
        gone = self.by_id.pop(webhook_id, None)
        self._note()
        return {"id": gone["id"]} if gone else None

    def _heard(self, change: Change) -> None:
        entity = _ENTITIES.get(change.kind)
        if entity is None or not self.by_id:
            return
        event = "new" if change.before is None else "delete" if change.after is None else "update"
        for made in self.by_id.values():
            if (made["type"], made["event"]) != (entity, event) or self._minute.take():
                continue
            said: dict[str, Any] = {
                "ids": [int(change.id)],
                "type": entity,
                "event": event,
                "subscription_id": made["id"],
                "timestamp": change.at.isoformat(timespec="milliseconds"),
                **(made["secret"] or {}),
            }
            if event == "update":
                said["updated_attributes"] = _updated(change)
            parcel = Parcel({"Content-Type": "application/json"}, json.dumps(said).encode())
            self._courier.post(str(made["target"]), lambda _, parcel=parcel: parcel)  # type: ignore[misc]

    def _note(self) -> None:
        self._wanted = {(made["type"], made["event"]) for made in self.by_id.values()}


def _updated(change: Change) -> dict[str, list[Any]]:
    """The attributes that an edit changed, old and new; only some of them are told here."""
    found: dict[str, list[Any]] = {}
    for field, name in _ATTRIBUTES.items():
        before, after = getattr(change.before, field, None), getattr(change.after, field, None)
        if before != after:
            found[name] = [None if one is None else str(one) for one in (before, after)]
    return found
