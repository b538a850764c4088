"""Bitrix24's online events: form-encoded, told from forgeries by the application token.

The queue of offline events would need an app of an administrator and a poll of its own;
what an online event misses, the next scheduled pull finds.

Source: https://apidocs.bitrix24.com/api-reference/events/index.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from crmkit.connectors.hooks import (
    COARSE,
    Delivery,
    Forged,
    Heard,
    Hint,
    Hooks,
    Malformed,
    Op,
    Subscription,
    number,
    ours,
    refuse_late,
    same,
)
from crmkit.errors import BadAnswer
from crmkit.model import Kind

TOKEN = "application_token"  # noqa: S105 - a secret's name
_KINDS = {"DEAL": Kind.DEAL, "COMPANY": Kind.COMPANY, "CONTACT": Kind.CONTACT}
_NAME = re.compile("ONCRM(DEAL|COMPANY|CONTACT)(ADD|UPDATE|DELETE|MOVETOCATEGORY)")
_MOVED = "ONCRMDEALMOVETOCATEGORY"  # comes in place of the update event on a pipeline change
_EVENTS = (*(f"ONCRM{kind}{act}" for kind in _KINDS for act in ("ADD", "UPDATE", "DELETE")), _MOVED)
_MOST_FIELDS = 1000
Ask = Callable[[str, Mapping[str, Any]], Any]


class Bitrix24Hooks(Hooks):
    """Events of a portal.

    Args:
        ask: Calls a method of the portal.
        oauth: Whether an app calls; a webhook's credential cannot bind events.
    """

    needed = (TOKEN,)

    def __init__(self, ask: Ask, *, oauth: bool) -> None:
        self._ask, self._oauth = ask, oauth

    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        try:
            pairs = parse_qsl(delivery.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError as error:
            raise Malformed("the body is not a form") from error
        said = dict(pairs)
        if not same(said.get(f"auth[{TOKEN}]", ""), keys[TOKEN]):
            raise Forged("the application token is wrong")
        stamp = said.get("ts", "")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
            raise Malformed("the delivery's time cannot be read")
        moment = datetime.fromtimestamp(int(stamp), tz=UTC)
        refuse_late(moment, now)
        name = _NAME.fullmatch(said.get("event", "").upper())
        if name is None:
            return Heard((), stamp)
        op = Op.GONE if name[2] == "DELETE" else Op.SAVED
        hint = Hint(_KINDS[name[1]], number(said.get("data[FIELDS][ID]", "")), op)
        return Heard((hint,), stamp, moment + COARSE)

    def clicks(self, target: str) -> Sequence[str]:
        if self._oauth:
            return ()
        return (
            "Open the portal as an administrator: Developer resources, Other, Outgoing webhook.",
            f"Your handler URL: {target}",
            f"Event types: {', '.join(name for name in _EVENTS if name != _MOVED)}",
            f"Store the card's authentication code as `{TOKEN}` of this connection.",
        )

    def subscriptions(self) -> Sequence[Subscription]:
        if not self._oauth:
            return ()
        rows = self._ask("event.get", {})
        if not isinstance(rows, list):
            raise BadAnswer("event.get: the result is not a list")
        return [
            Subscription(str(row["event"]).upper(), str(row.get("handler", "")), str(row["event"]).upper())
            for row in rows
            if not int(row.get("offline") or 0)
        ]

    def lacking(self, target: str, found: Sequence[Subscription], now: datetime) -> Sequence[str]:
        if not self._oauth:
            return ()
        stale, missing = _differences(target, found)
        return [*(f"event.unbind {one.id}" for one in stale), *(f"event.bind {name}" for name in missing)]

    def subscribe(self, target: str, found: Sequence[Subscription], now: datetime) -> None:
        if not self._oauth:
            return
        stale, missing = _differences(target, found)
        self.unsubscribe(stale)
        for name in missing:
            self._ask("event.bind", {"event": name, "handler": target, "event_type": "online"})

    def unsubscribe(self, found: Sequence[Subscription]) -> None:
        for one in found:
            self._ask("event.unbind", {"event": one.id, "handler": one.target})


def _differences(target: str, found: Sequence[Subscription]) -> tuple[list[Subscription], list[str]]:
    stale = [one for one in ours(found, target) if one.target != target]
    have = {one.id for one in found if one.target == target}
    return stale, [name for name in _EVENTS if name not in have]
