"""What changed since an earlier proof of the same migration. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crmkit.errors import UsageError
from crmkit.migration.proof_file import HashRow, Proof, Sum
from crmkit.report.money import ZERO, plain

CHANGES = {
    "vanished": "was in the source or the target, and is gone",
    "appeared": "is new",
    "relinked": "has another counterpart",
    "source_changed": "changed in the source",
    "target_changed": "changed in the target",
    "both_changed": "changed on both sides",
    "sum_moved": "deals or money of a group changed",
}
"""What each change means."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        what: See `CHANGES`.
        kind: Deal, company, contact; `sum` for a group of deals.
        source: The source's id; for a sum the group.
        target: The target's id; for a sum the currency.
        before: The counterpart or the figures before; empty where that says nothing.
        after: The same now.
    """

    what: str
    kind: str
    source: str
    target: str
    before: str = ""
    after: str = ""


def against(now: Proof, before: Proof) -> list[Change]:
    """What changed since an earlier proof, records first, in a fixed order.

    Raises:
        UsageError: They are not about the same two accounts.
    """
    for one, other in ((now.source, before.source), (now.target, before.target)):
        if (one.crm, one.account) != (other.crm, other.account):
            raise UsageError(
                f"the earlier proof is about {other.crm} account {other.account}, "
                f"this one about {one.crm} account {one.account}",
                hint="Name a proof of the same migration with --against.",
            )
    kinds = [*now.hashes, *(kind for kind in before.hashes if kind not in now.hashes)]
    found = [
        change
        for kind in kinds
        for change in _records(kind, now.hashes.get(kind, []), before.hashes.get(kind, []))
    ]
    return [*found, *_sums(now, before)]


def _records(kind: str, now: list[HashRow], before: list[HashRow]) -> Iterator[Change]:
    # A record goes by its source; what has none goes by its target.
    then = {(row[0], "" if row[0] else row[1]): row for row in before}
    for row in now:
        old = then.pop((row[0], "" if row[0] else row[1]), None)
        what = _what(row, old)
        if what:
            was, target = (old[1] if old is not None else ""), row[1]
            relinked = what == "relinked"
            yield Change(what, kind, row[0], target, was if relinked else "", target if relinked else "")
    for old in then.values():
        yield Change("vanished", kind, old[0], old[1])


def _what(row: HashRow, old: HashRow | None) -> str:
    if old is None:
        return "appeared"
    if row[1] != old[1]:
        return "relinked"
    changed = (row[2] != old[2], row[3] != old[3])
    return {
        (True, True): "both_changed",
        (True, False): "source_changed",
        (False, True): "target_changed",
    }.get(changed, "")


def _sums(now: Proof, before: Proof) -> Iterator[Change]:
    new = {(one.by, one.key, one.currency): one for one in now.sums}
    old = {(one.by, one.key, one.currency): one for one in before.sums}
    for key in [*new, *(key for key in old if key not in new)]:
        one, other = _figures(old.get(key)), _figures(new.get(key))
        if one != other:
            by, group, currency = key
            yield Change("sum_moved", "sum", " / ".join((by, *group)), currency, one, other)


def _figures(one: Sum | None) -> str:
    figures = (0, ZERO, 0, ZERO)
    if one is not None:
        figures = (one.source_deals, one.source_amount, one.target_deals, one.target_amount)
    deals, money, target, other = figures
    return f"source {deals}: {plain(money)}; target {target}: {plain(other)}"
