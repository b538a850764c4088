"""What a look ahead finds: each sort once, with a count, a few examples and what helps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from crmkit.model import Kind

EXAMPLES = 3
_VARIANTS_KEPT = 50
_VARIANTS_SHOWN = 5
_REASONS_KEPT = 12
_OTHER = "for other reasons"
_ADDRESS = re.compile(r"[^\s@<>()\"',;:]+@[^\s@<>()\"',;]+")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_REF = re.compile(rf"[\w.-]+:(?:{'|'.join(Kind)}):[^\s:;,()]+")
_ID = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{6,}")
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    STOPS = "stops"  # the CRM would refuse it: the record is not written
    HELD = "held"  # it is not tried, and waits for a person
    LOSES = "loses"  # it is written, but with less than there was
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Example:
    """One record that a finding concerns: what a person knows it by, and its id."""

    label: str
    id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One sort of trouble.

    Attributes:
        code: Its name, the same in every version.
        severity: How much it matters.
        kind: What is concerned, if it is records.
        field: The field at fault, by the name that a person knows.
        count: How many records or values.
        examples: Up to three of them.
        reason: What would happen, without personal data.
        advice: Which setting or click helps.
    """

    code: str
    severity: Severity
    kind: Kind | None
    field: str | None
    count: int
    examples: tuple[Example, ...]
    reason: str
    advice: str


_ADVICE: Mapping[str, str] = {
    "required": "Fill it in at the source, map another field onto it, or make it optional in the target.",
    "required_unknown": "Look whether every new record gets it; if not, make it optional in the target.",
    "too_long": "Shorten the texts at the source, or map them onto a field that takes longer ones.",
    "cut": "Map the texts onto a field that takes longer ones, or accept the cut.",
    "option": "Add the options to the target's field, or name what stands for them in `values`.",
    "read_only": "Leave the field out of the mapping, or map it onto another one.",
    "twice": "Merge the duplicates at the source, or take the ban on duplicates off the target's field.",
    "taken": "Link the records with `crmkit links`, or empty the field in one of them.",
    "changed": "Accept it, or map the value onto a field that holds it as it is.",
    "fewer": "The first ones are kept. Map the others onto a custom field if they matter.",
    "dropped": "The target has no place for it: map it onto a custom field.",
    "no_field": "Create the field in the target and name it in `custom`.",
    "cannot_hold": "Correct the values at the source, or leave the field out.",
    "currency": "Add the currency in the target's settings, or let deals go without: "
    'missing = { amount = "without" }.',
    "owner": "Invite the person in the target, say in `owners` who stands for them, or let records go "
    'without: missing = { owner = "without" }.',
    "stage": "Make the stage in the target, or name another one under `stages` of the migration.",
    "company": "Give the deal a company at the source, or leave it there: "
    'missing = { company = "leave_out" }.',
    "contacts": "Give the deal a person at the source, or leave it there: "
    'missing = { contacts = "leave_out" }.',
    "companies": "The first company is kept. Map the others onto a custom field if they matter.",
    "review": "Decide with `crmkit links review` whether they are the same.",
    "conflict": "Decide with `crmkit conflicts`.",
    "frozen": "Decide with `crmkit conflicts`.",
    "unmapped": "Name what stands for the value in the stage map, `owners` or `values`.",
    "told": "Nothing: the note about the deal's past tells it. Map it onto a custom field to report on it.",
    "unwritable": "Leave the field out, or map it onto one that can be written.",
    "refused": "Look at `crmkit refused`; correct the values, then try again.",
    "parked": "Nothing: an earlier write is looked up first.",
    "blocked": "Settle what they wait for; it is named by itself.",
    "clone": "Merge or delete the copies in the CRM.",
    "merged": "Look at them in the CRM.",
    "left_out": "They stay where they are, as the settings say.",
    "foreign": "Nothing: another installation of crmkit looks after them.",
    "limit": "Raise the plan or its limit, or move less.",
    "quota": "Nothing: the run stops when the day's quota is used up, and goes on the next day.",
    "rights": "Let an administrator grant the right, then run `crmkit doctor`.",
    "prepare": "Nothing: it is created first. To do it by hand, see `crmkit doctor`.",
    "guard": "Look at the plan; if it is what you want, confirm it with `--confirm`.",
    "left_behind": "Add it to the fields that are moved, or accept that it stays behind.",
}  # fmt: skip


@dataclass(slots=True)
class _Group:
    severity: Severity
    count: int = 0
    examples: list[Example] = field(default_factory=list)
    variants: Counter[str] = field(default_factory=Counter)
    longest: int = 0


_Key = tuple[str, Kind | None, str | None, str]


class Findings:
    """Collects findings; its size depends on how many sorts there are, not on how many records."""

    def __init__(self) -> None:
        self._groups: dict[_Key, _Group] = {}
        self._reasons: Counter[tuple[str, Kind | None, str | None]] = Counter()

    def add(
        self,
        code: str,
        severity: Severity,
        kind: Kind | None,
        field: str | None,
        reason: str,
        example: Example | None = None,
        *,
        variant: str = "",
        length: int = 0,
        count: int = 1,
    ) -> None:
        """Count one case.

        Args:
            code: The sort.
            severity: How much it matters.
            kind: What is concerned.
            field: The field at fault.
            reason: The same for all cases of the sort.
            example: The record.
            variant: What tells this case from others of the sort, if it is no personal data.
            length: The length of a text, of which the greatest is told.
            count: How many cases.
        """
        key = (code, kind, field, reason)
        group = self._groups.get(key)
        if group is None:
            sort = (code, kind, field)
            self._reasons[sort] += 1
            if self._reasons[sort] > _REASONS_KEPT:
                key = (*sort, _OTHER)
            group = self._groups.setdefault(key, _Group(severity))
        group.count += count
        group.longest = max(group.longest, length)
        if example is not None and len(group.examples) < EXAMPLES:
            group.examples.append(example)
        if variant and (variant in group.variants or len(group.variants) < _VARIANTS_KEPT):
            group.variants[variant] += count

    def found(self) -> list[Finding]:
        """All findings, the worst and the most frequent first."""
        order = list(Severity)
        findings = [
            Finding(
                code, group.severity, kind, field, group.count, tuple(group.examples),
                _told(reason, group), _ADVICE.get(code, ""),
            )
            for (code, kind, field, reason), group in self._groups.items()
        ]  # fmt: skip
        return sorted(
            findings,
            key=lambda one: (
                order.index(one.severity), -one.count, one.code, one.kind or "", one.field or "", one.reason
            ),
        )  # fmt: skip


def shape(reason: str) -> str:
    """A reason without what differs from record to record: addresses, quotations, ids, numbers."""
    for pattern in (_ADDRESS, _QUOTED, _REF, _ID):
        reason = pattern.sub("…", reason)
    return _NUMBER.sub("#", reason)


def _told(reason: str, group: _Group) -> str:
    alone = next(iter(group.variants), "") if len(group.variants) == 1 else ""
    if alone and shape(alone) == reason:
        return alone
    parts = [reason]
    if group.longest:
        parts.append(f"the longest has {group.longest:,} characters")
    if group.variants:
        shown = [f"{variant} ({count:,})" for variant, count in group.variants.most_common(_VARIANTS_SHOWN)]
        rest = len(group.variants) - len(shown)
        parts.append(", ".join(shown) + (f" and {rest} more" if rest else ""))
    return "; ".join(parts)
