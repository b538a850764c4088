"""Settings that got another name or went away: the old file goes on working and says what to write now.

A renamed setting is read under its old name for at least two minor versions, with a warning
that shows the exact replacement. One that is gone is a problem with the way to say it now.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renamed:
    """A setting under its former name.

    Attributes:
        old: Its path; `*` stands for any name, for example `("syncs", "*", "rule")`.
        new: Where it stands now, with the same `*` in the same order.
        since: The version that renamed it.
    """

    old: Path
    new: Path
    since: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A setting that is no more; `instead` is what to write or do now."""

    old: Path
    instead: str
    since: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What to tell about one setting of a file; `path` is where it stands there."""

    path: Path
    text: str


CHANGES: Sequence[Renamed | Removed] = ()
"""All of them, oldest first. No setting was renamed or removed up to 0.5."""


def brought_forward(
    document: Mapping[str, Any], changes: Sequence[Renamed | Removed] | None = None
) -> tuple[dict[str, Any], list[Notice], list[Notice]]:
    """A document with today's names, what to warn about, and what cannot stay as it is.

    Args:
        document: The file as it was read; it is not changed.
        changes: The renamed and removed settings; all that there are by default.
    """
    current = copy.deepcopy(dict(document))
    warnings: list[Notice] = []
    problems: list[Notice] = []
    for change in CHANGES if changes is None else changes:
        for path in list(_found(current, change.old)):
            name = ".".join(path)
            if isinstance(change, Removed):
                _take(current, path)
                problems.append(Notice(path, f"{name}: is no more since {change.since}: {change.instead}"))
                continue
            target = _filled(change.new, change.old, path)
            if _has(current, target):
                _take(current, path)
                problems.append(Notice(path, f"{name}: is called {'.'.join(target)} now, which is set too"))
                continue
            _put(current, target, _take(current, path))
            warnings.append(
                Notice(path, f"{name}: is called {'.'.join(target)} since {change.since}; write it like that")
            )
    return current, warnings, problems


def _found(table: Any, pattern: Path, before: Path = ()) -> Iterator[Path]:
    """The paths in a document that a pattern fits."""
    if not isinstance(table, dict):
        return
    names = list(table) if pattern[0] == "*" else [pattern[0]]
    for name in names:
        if name in table:
            if len(pattern) == 1:
                yield (*before, name)
            else:
                yield from _found(table[name], pattern[1:], (*before, name))


def _filled(new: Path, old: Path, path: Path) -> Path:
    names = iter(name for part, name in zip(old, path, strict=True) if part == "*")
    return tuple(next(names) if part == "*" else part for part in new)


def _has(table: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _take(table: dict[str, Any], path: Path) -> Any:
    for part in path[:-1]:
        table = table[part]
    return table.pop(path[-1])


def _put(table: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        table = table.setdefault(part, {})
    table[path[-1]] = value
