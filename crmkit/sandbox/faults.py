"""What goes wrong on the wire, on purpose and repeatably.

A profile is a row of rules; which request a rule hits follows from the seed and
the number of the request alone. The same call never fails more than twice in a
row, so that a client that retries always gets through.

`flaky:write` is the profile for writes alone, `flaky:read+list` for what reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

CallKind = Literal["read", "list", "write", "token"]
CALL_KINDS: tuple[CallKind, ...] = ("read", "list", "write", "token")
_READS: frozenset[CallKind] = frozenset({"read", "list"})
_ALL: frozenset[CallKind] = frozenset({"read", "list", "write"})
_LIST: frozenset[CallKind] = frozenset({"list"})
_WRITE: frozenset[CallKind] = frozenset({"write"})


class Fault(StrEnum):
    """One thing that can go wrong with a call.

    `TRUNCATED`, `TIMEOUT_AFTER_COMMIT` and `SERVER_ERROR_AFTER_COMMIT` spoil the answer of a call that was
    carried out; `SLOW` and `EDITS` come before it; all others come instead of it. After `COMMIT_LATE` the
    connection is closed at once, and the call is carried out when the sandbox's clock is `late_seconds` on.
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
    SERVER_ERROR_AFTER_COMMIT = "server_error_after_commit"
    COMMIT_LATE = "commit_late"


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
    "commit-late": (Rule(Fault.COMMIT_LATE, _WRITE, 0.15),),
    "5xx-before-commit": (Rule(Fault.SERVER_ERROR, _WRITE, 0.15),),
    "5xx-after-commit": (Rule(Fault.SERVER_ERROR_AFTER_COMMIT, _WRITE, 0.15),),
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
        profile: A key of `PROFILES`, or several with commas between them; `:write` or `:read+list` behind one
            narrows it to calls of these kinds.
        share: Replaces every rule's share, if given.
        slow_seconds: How late a slow answer is.
        late_seconds: How long after its call a `COMMIT_LATE` is carried out.
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
    late_seconds: float = 30.0
    _rules: tuple[Rule, ...] = ()
    _streaks: dict[int, int] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = [rule for name in self.profile.split(",") for rule in _read_profile(name.strip())]
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


def _read_profile(text: str) -> Sequence[Rule]:
    name, _, said = text.partition(":")
    if name not in PROFILES:
        raise ValueError(f"no such fault profile: {name}; there are {', '.join(PROFILES)}")
    if not said:
        return PROFILES[name]
    kinds = frozenset(kind for kind in CALL_KINDS if kind in said.split("+"))
    if len(kinds) != len(said.split("+")):
        raise ValueError(f"no such kind of call: {said}; there are {', '.join(CALL_KINDS)}")
    rules = [replace(rule, kinds=rule.kinds & kinds) for rule in PROFILES[name] if rule.kinds & kinds]
    if not rules and PROFILES[name]:
        raise ValueError(f"the fault profile {name} never hits {said} calls")
    return rules


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
