"""Parameters as PHP reads them: bracket names, `$result` references, yes and no."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

_PARTS = re.compile(r"\[([^\]]*)\]")
_REFERENCE = re.compile(r"\$result((?:\[[^\]]*\])+)")


@lru_cache(maxsize=512)
def parse_query(text: str) -> Mapping[str, Any]:
    """What `parse_str` makes of a query: `filter[>id]=5&select[]=id` becomes nested mappings.

    A list too becomes a mapping, from `"0"`, `"1"`, ... A name ends at the first `=`, so `filter[>=id]` has
    to be encoded as `filter[%3E%3Did]`; without its closing bracket a name is none that a method knows.
    The answer is shared: do not change it.
    """
    found: dict[str, Any] = {}
    for pair in text.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        path = _path(name)
        if "%" in value or "+" in value:
            value = unquote_plus(value)
        if len(path) == 1:
            found[path[0]] = value
        else:
            _place(found, path, value)
    return found


@lru_cache(maxsize=4096)
def _path(name: str) -> tuple[str, ...]:
    name = unquote_plus(name)
    cut = name.find("[") if name.endswith("]") else -1
    head = name if cut <= 0 else name[:cut]
    inner = _PARTS.findall(name[cut:]) if cut > 0 else ()
    return (head.replace(".", "_").replace(" ", "_"), *inner)


def _place(target: dict[str, Any], path: Sequence[str], value: str) -> None:
    for step in path[:-1]:
        key = step or _next_index(target)
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[path[-1] or _next_index(target)] = value


def _next_index(target: Mapping[str, Any]) -> str:
    return str(max((int(key) for key in target if key.isdigit()), default=-1) + 1)


def as_list(value: Any) -> list[Any]:
    """A list from what may be a list, a mapping from indices, one value or nothing."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return list(value.values())
    return [] if value is None else [value]


def as_map(value: Any) -> dict[str, Any]:
    """A mapping from what may be a mapping, a list or nothing."""
    if isinstance(value, (dict, Mapping)):
        return dict(value)
    return {str(index): item for index, item in enumerate(value)} if isinstance(value, list) else {}


def php_array(value: dict[str, Any]) -> Any:
    """A PHP array as `json_encode` writes it: without keys `[]`, with the keys 0, 1, ... a list."""
    if all(key == str(index) for index, key in enumerate(value)):
        return list(value.values())
    return value


def truth(value: Any) -> bool:
    """Whether a parameter says yes: true, 1, `"1"`, `"Y"`, `"true"`."""
    return str(value).lower() in {"true", "1", "y", "yes"}


def fill_references(value: Any, results: Mapping[str, Any]) -> Any:
    """A parameter with `$result[key][...]` replaced by what earlier commands answered.

    A value that is one reference keeps the type of what it points at; a path that does not exist gives
    the deepest container it reaches (self-hosted product source, `CRestUtil`).
    """
    if isinstance(value, str):
        if "$result" not in value:
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return _resolve(whole[1], results)
        return _REFERENCE.sub(lambda match: _as_text(_resolve(match[1], results)), value)
    if isinstance(value, dict):
        return {
            key: inner if type(inner) is str and "$result" not in inner else fill_references(inner, results)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [fill_references(inner, results) for inner in value]
    return value


def _resolve(path: str, results: Mapping[str, Any]) -> Any:
    reached: Any = results
    for step in _PARTS.findall(path):
        if isinstance(reached, Mapping) and step in reached:
            reached = reached[step]
        elif isinstance(reached, list) and step.isdigit() and int(step) < len(reached):
            reached = reached[int(step)]
        else:
            break
    return reached


def _as_text(value: Any) -> str:
    if isinstance(value, (Mapping, list)):
        return "Array"
    return "" if value is None else str(value)
