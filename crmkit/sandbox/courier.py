"""Delivers webhooks from a thread of its own, to this machine only.

What a vendor sends is made when it is due: a signature carries the time of the try. Trouble
can be switched on: repetitions, wrong order, and how often a failed delivery is tried again.
"""

from __future__ import annotations

import http.client
import ipaddress
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_ANSWER_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.2  # vendors wait minutes; a test should not
_GROUP = 100
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request to deliver."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Habits:
    """How a vendor delivers, and what a test adds.

    Attributes:
        tries: How often a delivery is sent until it is answered 2xx; 1 where the vendor never repeats.
        duplicates: Whether every delivery is sent twice.
        shuffle: Whether deliveries that wait go out in any order.
        lose: Whether nothing is sent at all.
    """

    tries: int = 1
    duplicates: bool = False
    shuffle: bool = False
    lose: bool = False


@dataclass(slots=True)
class Letter:
    """What waits to be sent; `pack` gives the request for the given try, counted from 0."""

    target: str
    pack: Callable[[int], Parcel]
    tried: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Courier:
    """The deliveries of one CRM.

    Attributes:
        habits: How it delivers.
        answers: Status of the last deliveries, 0 where no answer came.
        sent: How many requests were sent.
    """

    habits: Habits = field(default_factory=Habits)
    seed: int = 0
    answers: deque[int] = field(default_factory=lambda: deque(maxlen=_SHOWN))
    sent: int = 0
    _waiting: list[Letter] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _under_way: int = 0

    def post(self, target: str, pack: Callable[[int], Parcel]) -> None:
        """Deliver something soon; a target that is not this machine gets nothing."""
        if self.habits.lose or not is_here(target):
            return
        letters = [Letter(target, pack) for _ in range(2 if self.habits.duplicates else 1)]
        with self._changed:
            self._waiting += letters
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                self._thread.start()
            self._changed.notify()

    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        with self._changed:
            return not self._waiting and not self._under_way

    def _run(self) -> None:
        rng = random.Random(self.seed)
        connections: dict[str, http.client.HTTPConnection] = {}
        while True:
            for letter in self._due(rng):
                status = _send(connections, letter)
                self.sent += 1
                self.answers.append(status)
                with self._changed:
                    self._under_way -= 1
                    letter.tried += 1
                    if not 200 <= status < 300 and letter.tried < self.habits.tries:
                        letter.due = time.monotonic() + _FIRST_PAUSE_SECONDS * letter.tried
                        self._waiting.append(letter)

    def _due(self, rng: random.Random) -> Sequence[Letter]:
        with self._changed:
            while True:
                now = time.monotonic()
                due = [letter for letter in self._waiting if letter.due <= now][:_GROUP]
                if due:
                    break
                soonest = min((letter.due for letter in self._waiting), default=None)
                self._changed.wait(None if soonest is None else max(0.001, soonest - now))
            chosen = set(map(id, due))
            self._waiting = [letter for letter in self._waiting if id(letter) not in chosen]
            self._under_way += len(due)
        if self.habits.shuffle:
            rng.shuffle(due)
        return due


def is_here(target: str) -> bool:
    """Whether an address is plain HTTP on this machine: a sandbox sends nothing anywhere else."""
    parts = urlsplit(target)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.scheme == "http" and parts.hostname == "localhost"


def _send(connections: dict[str, http.client.HTTPConnection], letter: Letter) -> int:
    """The status of the answer; 0 if none came."""
    parts = urlsplit(letter.target)
    parcel = letter.pack(letter.tried)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = connections.get(parts.netloc)
    if connection is None:
        connection = http.client.HTTPConnection(parts.netloc, timeout=_ANSWER_SECONDS)
        connections[parts.netloc] = connection
    try:
        connection.request("POST", path, parcel.body, dict(parcel.headers))
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        connections.pop(parts.netloc, None)
        return 0
    return answer.status
