"""Records of different CRMs that may be the same: suggested with evidence, never linked unasked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crmkit.model import Kind, Ref
from crmkit.sync.link import Decided, LinkableCompany, LinkableContact, LinkableDeal, Links


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Two records that may be the same.

    Attributes:
        one: The first record.
        other: The second, of another connection.
        score: How alike they are, 0 to 100.
        evidence: What speaks for it, for a person.
    """

    one: Ref
    other: Ref
    score: float
    evidence: str

    def partner(self, ref: Ref) -> Ref:
        """The other record of the pair."""
        return self.other if ref == self.one else self.one


def suggest(
    kind: Kind,
    records: Sequence[LinkableCompany | LinkableContact | LinkableDeal],
    decided: Decided,
    found: Links,
) -> list[Suggestion]:
    """Pairs of unlinked records that a person should look at, best first.

    Args:
        kind: What the records are.
        records: All of them.
        decided: What is linked already, and what a person said.
        found: What the exact ladder linked.
    """
    return []
