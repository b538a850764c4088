"""Close's webhooks: subscriptions by API, deliveries of single events signed with the subscription's key.

The delay in which Close consolidates events is left out.

Source: https://developer.close.com/topics/webhooks/
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from typing import Any

from crmkit.sandbox.close.answers import Params, missing, naive
from crmkit.sandbox.close.bodies import Body
from crmkit.sandbox.close.desk import Call, Write
from crmkit.sandbox.close.events import Event, EventLog
from crmkit.sandbox.close.seed import opaque
from crmkit.sandbox.courier import Courier, Parcel
from crmkit.sandbox.wire import json_reply

TRIES = 10  # with growing gaps over 72 hours
_MOST = 40
_KNOWN = frozenset({"url", "events", "verify_ssl"})


class Webhooks:
    """The subscriptions of one organization."""

    def __init__(self, log: EventLog, seed: int, courier: Courier) -> None:
        self._log, self._courier = log, courier
        self._rng = random.Random(f"close-webhooks-{seed}")
        self.by_id: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        courier.habits.tries = TRIES
        log.followers.append(self._heard)

    def reads(self) -> dict[str, Any]:
        """The addresses that can be read."""
        return {
            "/webhook/": lambda params, path: self._page(params),
            "/webhook/{id}/": lambda params, path: self._known(path["id"]),
        }

    def writes(self) -> dict[str, dict[str, Write]]:
        """The addresses that write, by method."""
        return {
            "/webhook/": {"POST": self._create},
            "/webhook/{id}/": {"PUT": self._put, "DELETE": self._delete},
        }

    def _page(self, params: Params) -> dict[str, Any]:
        return {"data": list(self.by_id.values()), "has_more": False}

    def _known(self, webhook_id: str) -> dict[str, Any]:
        found = self.by_id.get(webhook_id)
        if found is None:
            raise missing("Webhook subscription")
        return found

    def _create(self, call: Call) -> Any:
        body = Body(call.said, _KNOWN)
        url, events = body.text("url", required=True), call.said.get("events")
        if not isinstance(events, list) or not events:
            body.wrong("events", "This field is required.")
        elif any(not isinstance(one, dict) or not {"object_type", "action"} <= one.keys() for one in events):
            body.wrong("events", "Expected a list of events.")
        if len(self.by_id) >= _MOST:
            body.wrong("url", f"No more than {_MOST} subscriptions are allowed.")
        body.finish()
        webhook_id = f"whsub_{opaque(self._rng, 22)}"
        now = naive(self._log.world.clock())
        self.by_id[webhook_id] = {
            "id": webhook_id, "url": url, "events": events, "status": "active",
            "verify_ssl": call.said.get("verify_ssl", True), "date_created": now, "date_updated": now,
        }  # fmt: skip
        self._keys[webhook_id] = self._rng.randbytes(32).hex()
        # The key is told in this answer and never again.
        return json_reply({**self.by_id[webhook_id], "signature_key": self._keys[webhook_id]}, 201)

    def _put(self, call: Call) -> Any:
        found = self._known(call.path["id"])
        body = Body(call.said, frozenset({*_KNOWN, "status"}))
        if call.said.get("status") not in (None, "active", "paused"):
            body.wrong("status", "Not a valid choice.")
        body.finish()
        found.update(call.said)
        return found

    def _delete(self, call: Call) -> Any:
        self._known(call.path["id"])
        del self.by_id[call.path["id"]]
        return {}

    def _heard(self, event: Event) -> None:
        if not self.by_id:
            return
        wanted = {"object_type": event.object_type, "action": event.action}
        for webhook_id, one in self.by_id.items():
            subscribed = any(wanted.items() <= dict(said).items() for said in one["events"])
            if subscribed and one["status"] == "active":
                said = {"event": self._log.show(event), "subscription_id": webhook_id}
                self._post(str(one["url"]), bytes.fromhex(self._keys[webhook_id]), said)

    def _post(self, url: str, key: bytes, said: dict[str, Any]) -> None:
        body = json.dumps(said, default=str).encode()

        def pack(_: int) -> Parcel:
            stamp = str(int(self._log.world.clock().timestamp()))
            signed = hmac.digest(key, stamp.encode() + body, hashlib.sha256).hex()
            headers = {"close-sig-timestamp": stamp, "close-sig-hash": signed}
            return Parcel({"Content-Type": "application/json", **headers}, body)

        self._courier.post(url, pack)
