"""What a connector adds to hear a CRM's webhooks: checking a delivery, and subscribing.

A delivery is a hint: it names records to look at. What else it says is never stored
(sync-semantics 5), so that a forged or outdated one can do no more than cost a request.
"""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from crmkit.errors import CrmkitError
from crmkit.model import Kind

OLDEST = timedelta(minutes=5)
"""How far the time of a delivery may be off this machine's, both ways (sync-semantics 14)."""

COARSE = timedelta(seconds=6)
"""A time in whole seconds, and five of difference between two clocks."""

PATH_SECRET = "webhook_path"  # noqa: S105 - a secret's name
TOKEN_SECRET = "webhook_token"  # noqa: S105 - a secret's name
_NUMBER = re.compile(r"[0-9]{1,20}")


class Op(StrEnum):
    """What is said to have happened to a record."""

    SAVED = "saved"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Hint:
    """A record to look at."""

    kind: Kind
    id: str
    op: Op = Op.SAVED


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as it came in.

    Attributes:
        method: The HTTP verb.
        url: The public address it was sent to: configured, never taken from the request.
        headers: By small-letter name.
        body: The raw bytes, which signatures are over.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What a good delivery says.

    Attributes:
        hints: Records to look at; empty if it is about something else.
        stamp: The sender's time as it was sent: with the body it tells a repetition.
        distinct_until: Until then an equal delivery may tell of another change, as the sender's
            time is too coarse to tell two apart; one that comes later is a repetition.
    """

    hints: tuple[Hint, ...]
    stamp: str = ""
    distinct_until: datetime | None = None


class Refused(CrmkitError):
    """A delivery that is not believed; `status` is what its sender is answered."""

    status: ClassVar[int] = 400


class Malformed(Refused):
    """It is not what this CRM sends."""


class Late(Refused):
    """Its time is too far from now: it may have been recorded and sent again."""


class Forged(Refused):
    """Its signature or token is not the right one."""

    status = 401


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook as the CRM has it.

    Attributes:
        id: The CRM's own id.
        target: Where it delivers to.
        about: What it tells of, in the CRM's words.
        active: Whether it delivers.
        expires_at: When it ends by itself; `None` if it does not.
    """

    id: str
    target: str
    about: str
    active: bool = True
    expires_at: datetime | None = None


class Hooks(ABC):
    """A CRM's webhooks, for one connection.

    Attributes:
        needed: Names of the secrets that `verify` needs besides those of `made`.
        made: Names of the secrets that crmkit makes up itself, such as a token to be echoed.
        created: The secret that `subscribe` is given by the CRM, if there is one.
        expires: Whether a webhook ends by itself, see `renew_at`.
    """

    needed: ClassVar[tuple[str, ...]] = ()
    made: ClassVar[tuple[str, ...]] = ()
    created: ClassVar[str | None] = None
    expires: ClassVar[bool] = False

    @abstractmethod
    def verify(self, delivery: Delivery, keys: Mapping[str, str], now: datetime) -> Heard:
        """What a delivery says, if it is the CRM's own, new and whole; pure.

        Raises:
            Forged: The signature or token is wrong.
            Late: Its time is more than five minutes off.
            Malformed: It has another shape.
        """

    def clicks(self, target: str) -> Sequence[str]:
        """What a person clicks in the CRM's own settings; empty where `subscribe` does it."""
        return ()

    def subscriptions(self) -> Sequence[Subscription]:
        """All webhooks that this login can see, ours or not."""
        return ()

    def lacking(self, target: str, found: Sequence[Subscription], now: datetime) -> Sequence[str]:
        """What `subscribe` would change, one line each; empty if everything is as it should be."""
        return ()

    def subscribe(  # noqa: B027 - where a person does it there is nothing to do
        self, target: str, found: Sequence[Subscription], now: datetime
    ) -> None:
        """Make what is lacking; harmless to repeat."""

    def unsubscribe(self, found: Sequence[Subscription]) -> None:  # noqa: B027 - as above
        """Remove webhooks."""

    def renew_at(self, found: Sequence[Subscription]) -> datetime | None:
        """When `subscribe` is due again so that nothing expires; `None` for never."""
        return None


def ours(found: Sequence[Subscription], target: str) -> list[Subscription]:
    """Those that deliver to the secret path of a target, at whatever host."""
    path = urlsplit(target).path
    return [one for one in found if hmac.compare_digest(urlsplit(one.target).path.encode(), path.encode())]


def same(one: str | bytes, other: str | bytes) -> bool:
    """Whether two secrets are the same; takes as long whether they are or not."""
    left = one.encode() if isinstance(one, str) else one
    right = other.encode() if isinstance(other, str) else other
    return hmac.compare_digest(left, right) and bool(right)


def refuse_late(sent_at: datetime, now: datetime) -> None:
    """Refuse what is older than five minutes, or that far in the future.

    Raises:
        Late: It is.
    """
    if abs(now - sent_at) > OLDEST:
        raise Late("the delivery's time is more than five minutes off")


def json_of(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        Malformed: It is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Malformed("the body is not JSON") from error


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        Malformed: It is something else.
    """
    if not isinstance(value, dict):
        raise Malformed("the body has another shape than this CRM's")
    return value


def number(value: Any) -> str:
    """An id that is a number, as text.

    Raises:
        Malformed: It is something else: an id gets into addresses and queries.
    """
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise Malformed("an id is not a number")
    return text
