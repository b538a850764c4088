"""Copper's webhooks: one subscription per type and event, each echoing our token; never sent twice.

Source: https://developer.copper.com/webhooks/overview.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from crmkit.connectors.copper.steps import call
from crmkit.connectors.hooks import (
    COARSE,
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
from crmkit.connectors.http import Call, Http
from crmkit.model import Kind

_KINDS = {"opportunity": Kind.DEAL, "company": Kind.COMPANY, "person": Kind.CONTACT}
_EVENTS = ("new", "update", "delete")
_WANTED = tuple(f"{kind} {event}" for kind in _KINDS for event in _EVENTS)
_ECHOED = "crmkit_token"
_MOST_IDS = 30


class CopperHooks(Hooks):
    """Webhooks of a Copper account.

    Args:
        http: Sends the calls.
        token: Gives our token.
    """

    made = (TOKEN_SECRET,)

    def __init__(self, http: Http, token: Callable[[], str]) -> None:
        self._http, self._token = http, token

    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        said = mapping(json_of(delivery.body))
        if not same(str(said.get(_ECHOED, "")), keys[TOKEN_SECRET]):
            raise Forged("the token is wrong")
        stamp = str(said.get("timestamp", ""))
        moment = _moment(stamp)
        refuse_late(moment, now)
        kind, ids = _KINDS.get(str(said.get("type"))), said.get("ids")
        if not isinstance(ids, list) or len(ids) > _MOST_IDS:
            raise Malformed("the body names no records")
        if kind is None:
            return Heard((), stamp)
        op = Op.GONE if said.get("event") == "delete" else Op.SAVED
        return Heard(tuple(Hint(kind, number(native), op) for native in ids), stamp, moment + COARSE)

    def subscriptions(self) -> Sequence[Subscription]:
        rows = self._http.fetch(call("GET", "/webhooks"), lambda answer: answer.rows())
        return [
            Subscription(str(row["id"]), str(row.get("target", "")), f"{row.get('type')} {row.get('event')}")
            for row in rows
        ]

    def lacking(self, target: str, found: Sequence[Subscription], now: datetime) -> Sequence[str]:
        stale, missing = _differences(target, found)
        return [
            *(f"DELETE /webhooks/{one.id} ({one.about})" for one in stale),
            *(f"POST /webhooks: {about}" for about in missing),
        ]

    def subscribe(self, target: str, found: Sequence[Subscription], now: datetime) -> None:
        stale, missing = _differences(target, found)
        self.unsubscribe(stale)
        for about in missing:
            kind, _, event = about.partition(" ")
            body = {"target": target, "type": kind, "event": event, "secret": {_ECHOED: self._token()}}
            self._http.send(_writing("POST", "/webhooks", body))

    def unsubscribe(self, found: Sequence[Subscription]) -> None:
        for one in found:
            self._http.send(_writing("DELETE", f"/webhooks/{one.id}"))


def _writing(method: str, path: str, json: Any = None) -> Call:
    label = f"{method} /webhooks"
    return Call(method, path, json=json, buckets=call(method, path).buckets, writes=True, label=label)


def _differences(target: str, found: Sequence[Subscription]) -> tuple[list[Subscription], list[str]]:
    """Subscriptions of ours that are wrong or double, and what is told of by none."""
    stale: list[Subscription] = []
    have: set[str] = set()
    for one in ours(found, target):
        if one.target != target or one.about in have:
            stale.append(one)
        else:
            have.add(one.about)
    return stale, [about for about in _WANTED if about not in have]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed("the delivery's time cannot be read") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
