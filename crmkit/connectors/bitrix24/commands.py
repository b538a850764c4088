"""Commands of a batch, and the shape in which each method's result comes back.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crmkit.errors import BadAnswer

COMMANDS = 50
PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Command:
    """One method call inside a batch; `query` is URL-encoded in PHP's style."""

    method: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.method}?{self.query}" if self.query else self.method


def command(method: str, *pairs: tuple[str, object]) -> Command:
    """A command from names and values; both are encoded, brackets stay as they are.

    An operator belongs to the name and holds `=` and `>`, so the name is encoded too.
    """
    return Command(method, "&".join(f"{encoded(name)}={quote(str(value), safe='')}" for name, value in pairs))


def encoded(name: str) -> str:
    """A parameter's name, with its operator encoded."""
    return quote(name, safe="[]")


def as_map(value: Any, what: str, field: str) -> dict[str, Any]:
    """A PHP map: an empty one comes as `[]`, one with the keys 0..n as a list.

    Raises:
        BadAnswer: It is neither.
    """
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if isinstance(value, list):
        return {str(index): one for index, one in enumerate(value)}
    raise BadAnswer(f"{what}: {field} is a {type(value).__name__}, not a map")


def result_of(method: str, value: Any, what: str) -> Any:
    """The result of a method: rows of a list, fields by name, or as it came.

    Raises:
        BadAnswer: It has not the shape that the method promises.
    """
    shape = _SHAPES.get(method)
    return value if shape is None else shape(value, f"{what}: {method}")


def _rows(value: Any, what: str) -> list[Any]:
    """Rows, whether bare or under `items`."""
    rows = value.get("items") if isinstance(value, Mapping) else value
    if not isinstance(rows, list):
        raise BadAnswer(f"{what}: the result is not a list")
    return rows


def _categories(value: Any, what: str) -> list[Any]:
    told = value.get("categories") if isinstance(value, Mapping) else value
    rows = list(told.values()) if isinstance(told, Mapping) else told
    if not isinstance(rows, list) or not all(isinstance(one, Mapping) and "id" in one for one in rows):
        raise BadAnswer(f"{what}: the result is not a list of pipelines")
    return rows


def _fields(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "fields" not in value:
        raise BadAnswer(f"{what}: the result holds no fields")
    return as_map(value["fields"], what, "fields")


def _item(value: Any, what: str) -> dict[str, Any]:
    row = value.get("item") if isinstance(value, Mapping) else None
    if not isinstance(row, dict):
        raise BadAnswer(f"{what}: the result holds no item")
    return row


_SHAPES: Mapping[str, Callable[[Any, str], Any]] = {
    "crm.item.list": _rows,
    "crm.stagehistory.list": _rows,
    "crm.status.list": _rows,
    "crm.timeline.comment.list": _rows,
    "crm.currency.list": _rows,
    "user.get": _rows,
    "crm.category.list": _categories,
    "crm.item.fields": _fields,
    "crm.item.get": _item,
}
