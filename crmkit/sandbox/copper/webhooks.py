"""Subscriptions to changes; the sandbox logs what would be sent and sends nothing.

Source: https://developer.copper.com/webhooks/overview.html
"""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.clock import Clock
from crmkit.sandbox.copper.answers import Body, seconds
from crmkit.sandbox.copper.validation import Form, invalid

_TYPES = ("lead", "person", "company", "opportunity", "project", "task", "activity_log")
_EVENTS = ("new", "update", "delete")
_MOST = 100
_FIRST_ID = 17_065
_WRITABLE = frozenset({"target", "type", "event", "secret", "headers", "custom_field_computed_values"})


class Webhooks:
    """The subscriptions of one account."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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
        if target and not target.startswith("https://"):
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

    def _note(self) -> None:
        self._wanted = {(made["type"], made["event"]) for made in self.by_id.values()}
