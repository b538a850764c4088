"""Answers in JSON, how a sandbox is set up, and the count of what came in."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def json_reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; decimals become numbers, with the digits they have."""
    return Response(_encoder.encode(content), status, headers, "application/json")


def read_json(body: bytes) -> Any:
    """What a JSON body says, with `Decimal` for every number that is not whole.

    Raises:
        ValueError: It is not JSON.
    """
    return _decoder.decode(body)


class Refusal(Exception):
    """Raised anywhere in a handler: this is the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"answered with status {response.status_code}")
        self.response = response


@dataclass(slots=True)
class Settings:
    """How a sandbox behaves.

    Attributes:
        latency_ms: How long every answer takes at least.
        limits: Whether the CRM's rate limits hold.
        faults: The fault profile at the start.
        slow_seconds: How late a slow answer is.
        lag_seconds: How far the search index trails; `None` for the vendor's default.
        seed: Makes the same faults again.
        extra: Whatever a single vendor knows.
    """

    latency_ms: float = 0.0
    limits: bool = True
    faults: str = "none"
    slow_seconds: float = 2.0
    lag_seconds: float | None = None
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RequestLog:
    """Counts what came in; the control plane is not counted.

    Attributes:
        total: All requests.
        mutating: Those of kind `write` that reached their handler, whether or not they succeeded.
        families: By method and route, such as `GET /deals/{id}`, and whatever `note` was given.
        recent: Method, path and status of the last thousand; status 0 for a connection that was cut.
    """

    total: int = 0
    mutating: int = 0
    families: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    recent: deque[tuple[str, str, int]] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, family: str, count: int = 1) -> None:
        """Count what one request carries, such as the commands of a batch."""
        self.families[family] += count

    def clear(self) -> None:
        """Begin again at zero."""
        self.total = self.mutating = 0
        for counter in (self.families, self.kinds, self.statuses, self.recent):
            counter.clear()
