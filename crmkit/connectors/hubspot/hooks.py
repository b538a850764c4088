"""HubSpot's webhooks: signed with the app's client secret; an app's settings are made by hand.

Source: https://developers.hubspot.com/docs/api/webhooks/validating-requests
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from crmkit.connectors.hooks import (
    Delivery,
    Forged,
    Heard,
    Hint,
    Hooks,
    Malformed,
    Op,
    json_of,
    mapping,
    number,
    refuse_late,
    same,
)
from crmkit.model import Kind

_KINDS = {"deal": Kind.DEAL, "company": Kind.COMPANY, "contact": Kind.CONTACT}
_TYPE_IDS = {"0-3": Kind.DEAL, "0-2": Kind.COMPANY, "0-1": Kind.CONTACT}
_DECODED = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
_SUBSCRIBED = ("creation", "deletion", "restore", "merge", "propertyChange", "associationChange")


class HubSpotHooks(Hooks):
    """Webhooks of a HubSpot app."""

    needed = ("client_secret",)

    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        stamp = delivery.headers.get("x-hubspot-request-timestamp", "")
        signed = delivery.headers.get("x-hubspot-signature-v3", "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
            raise Forged("the delivery is not signed (v3)")
        if not same(signed, signature(keys["client_secret"], delivery, stamp)):
            raise Forged("the signature is wrong")
        refuse_late(datetime.fromtimestamp(int(stamp) / 1000, tz=UTC), now)
        events = json_of(delivery.body)
        if not isinstance(events, list):
            raise Malformed("the body is not a list of events")
        hints = [hint for event in events for hint in _hints(mapping(event))]
        return Heard(tuple(dict.fromkeys(hints)), stamp)

    def clicks(self, target: str) -> Sequence[str]:
        return (
            "Open the app in HubSpot (a private app: Settings, Integrations; a public one: the developer "
            "account), tab Webhooks.",
            f"Target URL: {target}",
            "Subscribe deals, companies and contacts to: created, deleted, restored, merged, "
            "association changed, and property changed for every property that is kept in step.",
            "Store the app's client secret as `client_secret` of this connection; settings take up to "
            "five minutes.",
        )


def signature(client_secret: str, delivery: Delivery, stamp: str) -> str:
    """Signature v3 of a delivery."""
    uri = _DECODED.sub(lambda found: chr(int(found[1], 16)), delivery.url)
    source = delivery.method.encode() + uri.encode() + delivery.body + stamp.encode()
    return base64.b64encode(hmac.new(client_secret.encode(), source, hashlib.sha256).digest()).decode()


def _hints(event: Mapping[str, Any]) -> Iterator[Hint]:
    said = event.get("subscriptionType") or event.get("eventType") or ""
    if not isinstance(said, str):
        raise Malformed("an event has no type")
    word, _, what = said.partition(".")
    if what == "associationChange":
        sides = str(event.get("associationType", "")).lower().split("_to_")
        for side, key in zip(sides, ("fromObjectId", "toObjectId"), strict=False):
            if side in _KINDS:
                yield Hint(_KINDS[side], number(event.get(key)))
        return
    kind = _TYPE_IDS.get(str(event.get("objectTypeId"))) if word == "object" else _KINDS.get(word)
    if kind is None or what not in _SUBSCRIBED:
        return
    if what == "merge":
        lost = event.get("mergedObjectIds") or []
        for native in lost if isinstance(lost, list) else ():
            yield Hint(kind, number(native), Op.GONE)
        for key in ("primaryObjectId", "newObjectId"):
            if event.get(key):
                yield Hint(kind, number(event[key]))
        return
    yield Hint(kind, number(event.get("objectId")), Op.GONE if what == "deletion" else Op.SAVED)
