"""HubSpot's webhooks: an array of events to the app's one target URL, with signature v3.

The target and the subscriptions are an app's settings, which a person makes by hand; here
`POST /_sandbox/webhooks` with `{target}` does. Everything is then subscribed.

Source: https://developers.hubspot.com/docs/api/webhooks
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from crmkit.sandbox.courier import Courier, Parcel
from crmkit.sandbox.rows import Change
from crmkit.sandbox.world import World

TRIES = 11  # the first and ten more
_KINDS = {"deal": "deal", "company": "company", "contact": "contact"}
_PROPERTIES = {
    "name": {"deal": "dealname", "company": "name"},
    "amount": {"deal": "amount"},
    "stage_id": {"deal": "dealstage"},
    "pipeline_id": {"deal": "pipeline"},
    "expected_close": {"deal": "closedate"},
    "owner_id": dict.fromkeys(_KINDS, "hubspot_owner_id"),
    "domain": {"company": "domain"},
    "first": {"contact": "firstname"},
    "last": {"contact": "lastname"},
}
_ESCAPED = {"%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'",
            "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";"}  # fmt: skip


class Webhooks:
    """The webhooks of one app."""

    def __init__(self, world: World, portal_id: int, client_secret: str, courier: Courier) -> None:
        self.world, self.target = world, ""
        self._portal_id, self._secret, self._courier = portal_id, client_secret, courier
        self._ids = count(1_000_001)
        courier.habits.tries = TRIES
        world.listeners.append(self._heard)

    def _heard(self, change: Change) -> None:
        if not self.target or change.kind not in _KINDS:
            return
        now = int(change.at.timestamp() * 1000)
        events = [
            {
                "eventId": next(self._ids), "subscriptionId": 12345, "portalId": self._portal_id,
                "appId": 54321, "occurredAt": now, "changeSource": "CRM_UI", **said,
            }
            for said in self._events(change)
        ]  # fmt: skip
        if events:
            target = self.target
            self._courier.post(target, lambda tried: self._pack(target, events, tried))

    def _events(self, change: Change) -> Iterator[dict[str, Any]]:
        kind, object_id = change.kind, int(change.id)
        if change.before is None:
            yield {"subscriptionType": f"{kind}.creation", "objectId": object_id, "changeFlag": "NEW"}
        elif change.after is None:
            merged = self.world.merged[-1] if self.world.merged else None
            if merged is not None and (merged.kind, merged.loser) == (kind, change.id):
                winner = int(merged.winner)
                yield {
                    "subscriptionType": f"{kind}.merge", "objectId": winner, "primaryObjectId": winner,
                    "mergedObjectIds": [object_id], "newObjectId": winner, "numberOfPropertiesMoved": 0,
                }  # fmt: skip
            else:
                yield {"subscriptionType": f"{kind}.deletion", "objectId": object_id, "changeFlag": "DELETED"}
        else:
            yield from self._edits(change, object_id)

    def _edits(self, change: Change, object_id: int) -> Iterator[dict[str, Any]]:
        for field, names in _PROPERTIES.items():
            name = names.get(change.kind)
            if name is None:
                continue
            before, after = getattr(change.before, field, None), getattr(change.after, field, None)
            if before != after:
                yield {
                    "subscriptionType": f"{change.kind}.propertyChange", "objectId": object_id,
                    "propertyName": name, "propertyValue": "" if after is None else str(after),
                }  # fmt: skip
        before, after = _links(change.before), _links(change.after)
        for other, native in sorted(before ^ after):
            yield {
                "subscriptionType": f"{change.kind}.associationChange",
                "associationType": f"{change.kind}_TO_{other}".upper(),
                "fromObjectId": object_id, "toObjectId": int(native),
                "associationRemoved": (other, native) in before, "isPrimaryAssociation": False,
            }  # fmt: skip

    def _pack(self, target: str, events: list[dict[str, Any]], tried: int) -> Parcel:
        body = json.dumps([{**event, "attemptNumber": tried} for event in events]).encode()
        stamp = str(int(self.world.clock().timestamp() * 1000))
        headers = {
            "Content-Type": "application/json",
            "X-HubSpot-Request-Timestamp": stamp,
            "X-HubSpot-Signature-v3": sign("POST", target, body, stamp, self._secret),
        }
        return Parcel(headers, body)


def sign(method: str, uri: str, body: bytes, stamp: str, secret: str) -> str:
    """Signature v3, as HubSpot's guide describes it."""
    for escaped, sign_ in _ESCAPED.items():
        uri = uri.replace(escaped, sign_).replace(escaped.lower(), sign_)
    source = f"{method}{uri}".encode() + body + stamp.encode()
    return base64.b64encode(hmac.digest(secret.encode(), source, hashlib.sha256)).decode()


def _links(row: Any) -> set[tuple[str, str]]:
    company = getattr(row, "company_id", None)
    found: set[tuple[str, str]] = {("company", company)} if company else set()
    return found | {("contact", one) for one in getattr(row, "contact_ids", ())}
