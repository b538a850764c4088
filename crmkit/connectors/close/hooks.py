"""Close's webhooks: one subscription for all events, signed with the key it was created with.

Source: https://developer.close.com/topics/webhooks/
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.hooks import (
    Delivery,
    Forged,
    Heard,
    Hint,
    Hooks,
    Malformed,
    Op,
    Subscription,
    json_of,
    mapping,
    ours,
    refuse_late,
    same,
)
from crmkit.connectors.http import Call, Http
from crmkit.errors import BadAnswer
from crmkit.model import Kind

KEY_SECRET = "webhook_key"  # noqa: S105 - a secret's name
_KINDS = {"opportunity": Kind.DEAL, "lead": Kind.COMPANY, "contact": Kind.CONTACT}
_EVENTS = (
    *({"object_type": kind, "action": act} for kind in _KINDS for act in ("created", "updated", "deleted")),
    {"object_type": "lead", "action": "merged"},
)
_ID = re.compile(r"[a-z]{2,8}_[A-Za-z0-9]{1,64}")


class CloseHooks(Hooks):
    """Webhooks of a Close organization."""

    created = KEY_SECRET
    needed = (KEY_SECRET,)

    def __init__(self, context: Context, http: Http) -> None:
        self._context, self._http = context, http

    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        stamp = delivery.headers.get("close-sig-timestamp", "")
        signed = delivery.headers.get("close-sig-hash", "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
            raise Forged("the delivery is not signed")
        if not same(signed.lower(), signature(keys[KEY_SECRET], stamp, delivery.body)):
            raise Forged("the signature is wrong")
        refuse_late(datetime.fromtimestamp(int(stamp), tz=UTC), now)
        event = mapping(mapping(json_of(delivery.body)).get("event"))
        return Heard(tuple(_hints(event)), stamp)

    def subscriptions(self) -> Sequence[Subscription]:
        call = Call("GET", "/webhook/", buckets=(), label="GET /webhook/")
        rows = self._http.fetch(call, lambda answer: answer.mapping().get("data") or [])
        return [
            Subscription(
                id=str(row["id"]),
                target=str(row.get("url", "")),
                about=", ".join(f"{one['object_type']} {one['action']}" for one in row.get("events", ())),
                active=row.get("status", "active") == "active",
            )
            for row in rows
        ]

    def lacking(self, target: str, found: Sequence[Subscription], now: datetime) -> Sequence[str]:
        stale = [one for one in ours(found, target) if not self._good(one, target)]
        lines = [f"DELETE /webhook/{one.id}/" for one in stale]
        if len(stale) == len(ours(found, target)):
            lines.append(f"POST /webhook/: {len(_EVENTS)} events of opportunities, leads and contacts")
        return lines

    def subscribe(self, target: str, found: Sequence[Subscription], now: datetime) -> None:
        mine = ours(found, target)
        stale = [one for one in mine if not self._good(one, target)]
        self.unsubscribe(stale)
        if len(stale) < len(mine):
            return
        body = {"url": target, "events": list(_EVENTS), "verify_ssl": True}
        call = Call("POST", "/webhook/", json=body, buckets=(), writes=True, label="POST /webhook/")
        key = self._http.fetch(call, lambda answer: answer.mapping().get("signature_key"))
        if not isinstance(key, str) or not re.fullmatch("[0-9a-fA-F]{16,}", key):
            raise BadAnswer(f"{self._context.connection}: POST /webhook/ gave no signature key")
        self._context.secrets.put(KEY_SECRET, SecretStr(key))

    def unsubscribe(self, found: Sequence[Subscription]) -> None:
        for one in found:
            path, label = f"/webhook/{one.id}/", "DELETE /webhook/"
            self._http.send(Call("DELETE", path, buckets=(), writes=True, label=label))

    def _good(self, one: Subscription, target: str) -> bool:
        # The key is told once, at the creation: without it the subscription is of no use.
        return one.active and one.target == target and self._context.secrets.find(KEY_SECRET) is not None


def signature(key: str, stamp: str, body: bytes) -> str:
    """The signature of a delivery: the key is hexadecimal for its bytes, not a text.

    Raises:
        Forged: The stored key is no such number.
    """
    try:
        secret = bytes.fromhex(key)
    except ValueError as error:
        raise Forged("the stored webhook_key is not hexadecimal") from error
    return hmac.new(secret, stamp.encode() + body, hashlib.sha256).hexdigest()


def _hints(event: Mapping[str, Any]) -> Iterator[Hint]:
    kind, action = _KINDS.get(str(event.get("object_type"))), event.get("action")
    if kind is None:
        return
    if action == "merged":
        meta = mapping(event.get("meta"))
        yield Hint(kind, _id(meta.get("merge_source_lead_id")), Op.GONE)
        yield Hint(kind, _id(meta.get("merge_destination_lead_id")))
        return
    yield Hint(kind, _id(event.get("object_id")), Op.GONE if action == "deleted" else Op.SAVED)
    lead = event.get("lead_id")
    if kind is not Kind.COMPANY and action == "created" and isinstance(lead, str):
        yield Hint(Kind.COMPANY, _id(lead))


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Malformed("an event names no record")
    return value
