"""What is told now: pure, from what is known, the time and what a run showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crmkit.sync.told import Known


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should know.

    Attributes:
        topic: What it is about.
        text: One sentence in our words, and what to do.
        quoted: The text of an error, which may quote what a CRM said.
        times: In how many runs in a row it must be found before it is told.
    """

    topic: str
    text: str
    times: int = 1
    quoted: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run showed.

    Attributes:
        found: What somebody should know.
        checked: The topics that were looked at: only these can be over.
    """

    found: Sequence[Finding]
    checked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is told, and what is known from now on.

    Attributes:
        new: Told for the first time.
        again: Told before, and lasting.
        resolved: Told before, and over.
        quiet: What stays as it is known: told lately, not told yet, or not looked at.
        due: What is known of those that are told now.
    """

    new: Sequence[Finding]
    again: Sequence[Finding]
    resolved: Sequence[Known]
    quiet: Sequence[Known]
    due: Sequence[Known]

    @property
    def tell(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.new or self.again or self.resolved)

    def statuses(self) -> dict[str, str]:
        """What is told about each topic: new, again or resolved."""
        return {
            **{one.topic: "new" for one in self.new},
            **{one.topic: "again" for one in self.again},
            **{one.topic: "resolved" for one in self.resolved},
        }

    def kept(self, now: datetime, *, told: bool) -> list[Known]:
        """What is known from now on; where nobody could be told, the next run tells it."""
        if told:
            return [*self.quiet, *(replace(one, told_at=now) for one in self.due)]
        return [*self.quiet, *self.due, *self.resolved]


def decide(known: Sequence[Known], now: datetime, findings: Findings, repeat_after: timedelta) -> Decision:
    """What is told after a run.

    Args:
        known: What earlier runs of the sync showed.
        now: The time.
        findings: What this run showed.
        repeat_after: After which time what lasts is told again.
    """
    before = {one.topic: one for one in known}
    new: list[Finding] = []
    again: list[Finding] = []
    due: list[Known] = []
    quiet: list[Known] = []
    for finding in findings.found:
        earlier = before.pop(finding.topic, None)
        seen = Known(finding.topic, now) if earlier is None else replace(earlier, times=earlier.times + 1)
        if seen.told_at is None and seen.times >= finding.times:
            new.append(finding)
            due.append(seen)
        elif seen.told_at is not None and now - seen.told_at >= repeat_after:
            again.append(finding)
            due.append(seen)
        else:
            quiet.append(seen)
    resolved = [one for one in before.values() if one.topic in findings.checked and one.told_at is not None]
    quiet += [one for one in before.values() if one.topic not in findings.checked]
    return Decision(new, again, resolved, quiet, due)
