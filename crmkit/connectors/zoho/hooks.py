"""Zoho's notifications: a channel that echoes our token, and ends after a week at the most.

There is no signature; what comes is believed if it carries the token and the channel's id.

Source: https://www.zoho.com/crm/developer/docs/api/v8/notifications/overview.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from crmkit.connectors.hooks import (
    TOKEN_SECRET,
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
    number,
    ours,
    refuse_late,
    same,
)
from crmkit.connectors.zoho.calls import Calls
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.posts import Posts
from crmkit.errors import Rejected
from crmkit.model import Kind

LIFE = timedelta(days=6, hours=23)
RENEWED_BEFORE = timedelta(days=6)  # of a life of seven: once a day
PATH = "/actions/watch"
_MODULES = {"Deals": Kind.DEAL, "Accounts": Kind.COMPANY, "Contacts": Kind.CONTACT}
_EVENTS = tuple(f"{module}.all" for module in _MODULES)


class ZohoHooks(Hooks):
    """One notification channel for deals, accounts and contacts.

    Args:
        calls: Sends what reads.
        posts: Sends what changes.
        token: Gives our token.
    """

    made = (TOKEN_SECRET,)
    expires = True

    def __init__(self, calls: Calls, posts: Posts, token: Callable[[], str]) -> None:
        self._calls, self._posts, self._token = calls, posts, token

    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        said = mapping(json_of(delivery.body))
        token = keys[TOKEN_SECRET]
        known = same(str(said.get("token", "")), token)
        if not (same(str(said.get("channel_id", "")), channel_id(token)) and known):
            raise Forged("the token or the channel is wrong")
        stamp = number(said.get("server_time"))
        refuse_late(_moment(stamp), now)
        kind, ids = _MODULES.get(str(said.get("module"))), said.get("ids")
        if not isinstance(ids, list):
            raise Malformed("the body names no records")
        if kind is None:
            return Heard((), stamp)
        op = Op.GONE if said.get("operation") == "delete" else Op.SAVED
        return Heard(tuple(Hint(kind, number(native), op) for native in ids), stamp)

    def subscriptions(self) -> Sequence[Subscription]:
        channel = channel_id(self._token())
        try:
            rows = self._calls.listing(PATH, {"channel_id": channel}).rows
        except ZohoRefused as error:
            if error.code in ("NOT_SUBSCRIBED", "INVALID_DATA"):  # which one is inferred
                return ()
            raise
        return [_subscription(row) for row in rows if str(row.get("channel_id", channel)) == channel]

    def lacking(self, target: str, found: Sequence[Subscription], now: datetime) -> Sequence[str]:
        good = [one for one in ours(found, target) if one.target == target]
        until = min((one.expires_at for one in good if one.expires_at), default=None)
        if not good or until is None or until <= now:
            return (f"POST {PATH}: {', '.join(_EVENTS)}, for a week",)
        renewed = f"PUT {PATH}: {', '.join(_EVENTS)}, for another week"
        return (renewed,) if until - now < RENEWED_BEFORE else ()

    def subscribe(self, target: str, found: Sequence[Subscription], now: datetime) -> None:
        token = self._token()
        channel = {
            "channel_id": channel_id(token),
            "events": list(_EVENTS),
            "channel_expiry": (now + LIFE).isoformat(timespec="seconds"),
            "token": token,
            "notify_url": target,
        }
        method = "PUT" if found else "POST"
        rows = self._posts.send(method, PATH, key="watch", json={"watch": [channel]})
        for row in rows:
            if row.get("status") != "success":
                raise Rejected(f"Zoho refused the channel: {row.get('code')} {row.get('message')}")

    def unsubscribe(self, found: Sequence[Subscription]) -> None:
        channels = ",".join(sorted({one.id for one in found}))
        if channels:
            params = {"channel_ids": channels}
            self._posts.send("DELETE", PATH, key="watch", params=params)

    def renew_at(self, found: Sequence[Subscription]) -> datetime | None:
        until = min((one.expires_at for one in found if one.expires_at), default=None)
        return until - RENEWED_BEFORE if until is not None else None


def channel_id(token: str) -> str:
    """Our channel's number: always the same for a token, so that nothing has to remember it."""
    digest = hashlib.sha256(b"channel:" + token.encode()).digest()
    return str(int.from_bytes(digest[:7], "big") + 1)


def _moment(millis: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(millis) / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Malformed("the delivery's time cannot be read") from error


def _subscription(row: Mapping[str, Any]) -> Subscription:
    until = row.get("channel_expiry")
    return Subscription(
        id=str(row.get("channel_id", "")),
        target=str(row.get("notify_url", "")),
        about=str(row.get("resource_name") or ""),
        expires_at=datetime.fromisoformat(until).astimezone(UTC) if isinstance(until, str) else None,
    )
