"""How a conflict is decided: rules that give the same winner in any order of the members.

Every rule is a join (commutative, associative, idempotent) with a total tie-break: the
order of the members, then the connection's name (sync-semantics 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from importlib.metadata import entry_points

from crmkit.errors import ConfigError
from crmkit.mapping.custom import Plain

GROUP = "crmkit.rules"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One value that wants to be the common one.

    Attributes:
        connection: Whose edit it is.
        value: The common value.
        modified_at: When that CRM's record was last modified; says little about one field.
        error_seconds: How far that time may be off, compared with another CRM's.
    """

    connection: str
    value: Plain
    modified_at: datetime | None = None
    error_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What rules know besides the candidates.

    Attributes:
        order: Connections, the system of record first.
        stages: Common stages in order, for `furthest_stage`.
    """

    order: Sequence[str] = ()
    stages: Sequence[str] = ()

    def rank(self, connection: str) -> tuple[int, str]:
        """Where a connection stands; named ones first."""
        at = self.order.index(connection) if connection in self.order else len(self.order)
        return (at, connection)


Rule = Callable[[Sequence[Candidate], Setting], Candidate | None]
"""Gives the winner, or `None` to hold the conflict for a person."""


def hold(_candidates: Sequence[Candidate], _setting: Setting) -> Candidate | None:
    """Leave it to a person."""
    return None


def priority(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """The first in the order of the members."""
    return min(candidates, key=lambda one: setting.rank(one.connection))


def newest(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """The record that was modified last, if the clocks can tell; else the first in the order."""
    if any(one.modified_at is None for one in candidates):
        return priority(candidates, setting)
    last = max(candidates, key=lambda one: (_moment(one), _reverse(setting.rank(one.connection))))
    tied = [
        one
        for one in candidates
        if abs((_moment(last) - _moment(one)).total_seconds()) <= last.error_seconds + one.error_seconds
    ]
    return priority(tied, setting)


def greatest(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """The largest value; an empty one is the smallest. Amounts in different currencies are held."""
    return _extreme(candidates, setting, largest=True)


def least(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """The smallest value; an empty one never wins over another."""
    filled = [one for one in candidates if one.value is not None]
    return _extreme(filled, setting, largest=False) if filled else priority(candidates, setting)


def furthest_stage(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """The stage that comes last in the outline; stages of different pipelines are held."""
    if len({one.value[0] for one in candidates if one.value is not None}) > 1:
        return None
    position = {stage: at for at, stage in enumerate(setting.stages)}
    best = max(position.get(one.value[1], -1) if one.value is not None else -1 for one in candidates)
    level = [one for one in candidates if one.value is not None and position.get(one.value[1], -1) == best]
    return priority(level, setting) if level else None


def union(candidates: Sequence[Candidate], setting: Setting) -> Candidate | None:
    """All elements of all sets; for other fields the conflict is held."""
    if not all(isinstance(one.value, list) or one.value is None for one in candidates):
        return None
    first = priority(candidates, setting)
    assert first is not None
    everything = sorted({element for one in candidates for element in one.value or ()})
    return Candidate(first.connection, everything, first.modified_at, first.error_seconds)


_RULES: Mapping[str, Rule] = {
    "hold": hold,
    "priority": priority,
    "newest": newest,
    "max": greatest,
    "min": least,
    "furthest_stage": furthest_stage,
    "union": union,
}


def rule(name: str) -> Rule:
    """The rule of a name; a package can add its own through the entry-point group `crmkit.rules`.

    Raises:
        ConfigError: There is no such rule.
    """
    if name in _RULES:
        return _RULES[name]
    for point in entry_points(group=GROUP, name=name):
        found: Rule = point.load()
        return found
    raise ConfigError(f"there is no conflict rule {name!r}", hint=f"Known: {', '.join(_RULES)}.")


def _moment(candidate: Candidate) -> datetime:
    assert candidate.modified_at is not None
    return candidate.modified_at


def _reverse(rank: tuple[int, str]) -> tuple[int, list[int]]:
    return (-rank[0], [-ord(character) for character in rank[1]])


def _extreme(candidates: Sequence[Candidate], setting: Setting, *, largest: bool) -> Candidate | None:
    sizes: list[tuple[Decimal | str, Candidate]] = []
    for one in candidates:
        size = _size(one.value)
        if size is None:
            if largest:
                continue
            return None
        sizes.append((size, one))
    if not sizes:
        return priority(candidates, setting)
    units = {tuple(one.value[1:]) if isinstance(one.value, list) else () for _, one in sizes}
    if len(units) > 1 or len({type(size) for size, _ in sizes}) > 1:
        return None
    chosen = (max if largest else min)(size for size, _ in sizes)
    return priority([one for size, one in sizes if size == chosen], setting)


def _size(value: Plain) -> Decimal | str | None:
    """What a value is compared by: an amount as a number, anything else as a number or text."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or isinstance(value, bool):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return str(value)
