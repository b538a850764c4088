"""Requests that change something, as a batch's text or as JSON.

A batch carries every value as query text: it has no null and no empty list, and it puts
results of other commands in the place of `$result[...]`, wherever that stands. What cannot
go there is sent by itself.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmkit.connectors.bitrix24.commands import Command, command

_REFERENCE = "$result"


@dataclass(frozen=True, slots=True)
class Request:
    """One method call with its parameters: texts, lists of them, and maps of either."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batchable(self) -> bool:
        """Whether a batch would carry the parameters unharmed."""
        return _plain(self.params)

    def command(self) -> Command:
        """The same as a command of a batch, with PHP's bracket names."""
        return command(self.method, *_pairs(self.params))


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_plain(one) for one in value.values())
    if isinstance(value, list):
        return bool(value) and all(_plain(one) for one in value)
    return value is not None and _REFERENCE not in str(value)


def _pairs(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _pairs(one, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _pairs(one, f"{name}[{index}]")
    else:
        yield name, value
