"""What goes wrong on the wire, on purpose and repeatably.

A profile is a row of rules; which request a rule hits follows from the seed and
the number of the request alone. The same call never fails more than twice in a
row, so that a client that retries always gets through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

CallKind = Literal["read", "list", "write", "token"]
_READS: frozenset[CallKind] = frozenset({"read", "list"})
_ALL: frozenset[CallKind] = frozenset({"read", "list", "write"})
_LIST: frozenset[CallKind] = frozenset({"list"})
_WRITE: frozenset[CallKind] = frozenset({"write"})


class Fault(StrEnum):
    """One thing that can go wrong with a call.

    All but `TRUNCATED`, `SLOW`, `EDITS` and `TIMEOUT_AFTER_COMMIT` happen before
    the call is carried out, and instead of it.
    """

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    DROPPED = "dropped"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    SLOW = "slow"
    EXPIRED = "expired"
    EDITS = "edits"
    TIMEOUT_AFTER_COMMIT = "timeout_after_commit"


@dataclass(frozen=True, slots=True)
class Rule:
    """Hits `share` of the calls of these kinds, `burst` calls in a row at a time.

    Two hits are at least `apart` calls away from each other.
    """

    fault: Fault
    kinds: frozenset[CallKind]
    share: float
    burst: int = 1
    apart: int = 0


PROFILES: Mapping[str, tuple[Rule, ...]] = {
    "none": (),
    "storm": (Rule(Fault.RATE_LIMITED, _ALL, 0.25, burst=8),),
    "flaky": (Rule(Fault.SERVER_ERROR, _ALL, 0.06), Rule(Fault.DROPPED, _ALL, 0.04)),
    "truncated": (Rule(Fault.TRUNCATED, _ALL, 0.08),),
    "garbage": (Rule(Fault.GARBAGE, _ALL, 0.08),),
    "slow": (Rule(Fault.SLOW, _ALL, 0.1),),
    # No CRM lets a token expire that it has only just given out.
    "expired": (Rule(Fault.EXPIRED, _ALL, 0.5, apart=40),),
    "edits": (Rule(Fault.EDITS, _LIST, 0.5),),
    "timeout-after-commit": (Rule(Fault.TIMEOUT_AFTER_COMMIT, _WRITE, 0.15),),
}


@dataclass(slots=True)
class Scripted:
    """A fault for exactly one call: the first of this kind after `skip` others."""

    fault: Fault
    kind: CallKind
    skip: int = 0


@dataclass(slots=True)
class FaultPlan:
    """Decides call by call what goes wrong.

    Attributes:
        profile: A key of `PROFILES`, or several with commas between them.
        share: Replaces every rule's share, if given.
        slow_seconds: How late a slow answer is.
        script: Faults for single calls; they come before the profile.
        hits: How often each fault struck.
    """

    profile: str = "none"
    seed: int = 0
    share: float | None = None
    slow_seconds: float = 2.0
    script: list[Scripted] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    _rules: tuple[Rule, ...] = ()
    _streaks: dict[int, int] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name.strip() for name in self.profile.split(",")]
        unknown = [name for name in names if name not in PROFILES]
        if unknown:
            raise ValueError(f"no such fault profile: {', '.join(unknown)}; there are {', '.join(PROFILES)}")
        rules = [rule for name in names for rule in PROFILES[name]]
        if self.share is not None:
            rules = [replace(rule, share=self.share) for rule in rules]
        self._rules = tuple(rules)

    @property
    def quiet(self) -> bool:
        """Whether nothing will ever go wrong."""
        return not self._rules and not self.script

    def choose(self, kind: CallKind, call: int) -> Fault | None:
        """The fault that strikes now; `call` is the same number whenever the same call is repeated."""
        self.calls += 1
        fault = self._scripted(kind) or self._ruled(kind, call)
        if fault is not None:
            self.hits[fault] += 1
        return fault

    def _scripted(self, kind: CallKind) -> Fault | None:
        for line in self.script:
            if line.kind != kind:
                continue
            if line.skip == 0:
                self.script.remove(line)
                return line.fault
            line.skip -= 1
        return None

    def _ruled(self, kind: CallKind, call: int) -> Fault | None:
        for number, rule in enumerate(self._rules):
            struck = kind in rule.kinds and fraction(self.seed, number, self.calls // rule.burst) < rule.share
            if not struck or self.calls < self._next.get(number, 0):
                continue
            self._next[number] = self.calls + rule.apart
            streak = self._streaks.get(call, 0)
            if streak < 2:
                self._streaks[call] = streak + 1
                return rule.fault
        self._streaks.pop(call, None)
        return None


def fraction(*numbers: int) -> float:
    """A number from 0 to below 1 that follows from the given ones as if by chance."""
    state = 0
    for number in numbers:
        state = (state + number * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state / 2**64


def read_script(lines: Iterable[Mapping[str, Any]]) -> list[Scripted]:
    """A fault script from JSON: `[{"fault": "dropped", "kind": "write", "skip": 2}, ...]`."""
    return [
        Scripted(Fault(line["fault"]), line.get("kind", "write"), int(line.get("skip", 0))) for line in lines
    ]
