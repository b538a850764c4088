"""Whether every native stage has a common stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crmkit.health.findings import Finding, counted, note, ok, waits, warning
from crmkit.mapping import lint

# What matters only where somebody writes to the CRM.
_OF_WRITING = frozenset({"no-default", "archived-stage", "inexpressible"})
_PHRASES = {
    "unmapped-stage": ("stage has no common stage", "stages have no common stage"),
    "unlisted-stage": ("stage holds deals and is not listed by the CRM",
                       "stages hold deals and are not listed by the CRM"),
    "no-such-stage": ("mapped stage is gone from the CRM", "mapped stages are gone from the CRM"),
    "outcome-clash": ("stage is mapped to another outcome than its own",
                      "stages are mapped to another outcome than their own"),
    "name-clash": ("stage is named like an outcome that it does not have",
                   "stages are named like an outcome that they do not have"),
    "no-default": ("common stage has several stages and none is declared as the one to write",
                   "common stages have several stages and none is declared as the one to write"),
    "open-after-sale": ("stage of open deals is mapped to one after the sale",
                        "stages of open deals are mapped to one after the sale"),
    "order-falls": ("stage goes against the order of the common stages",
                    "stages go against the order of the common stages"),
    "archived-stage": ("archived stage is still mapped", "archived stages are still mapped"),
    "inexpressible": ("pipeline has no stage for some common stages",
                      "pipelines have no stage for some common stages"),
    "probability-falls": ("step forward lowers the probability", "steps forward lower the probability"),
}  # fmt: skip


def check(
    connection: str, found: Sequence[lint.Finding], *, stages: int, mapped: int, written: bool
) -> Finding:
    """What the linter found in one connection's stage map, in one line.

    Args:
        connection: Whose map.
        found: What `crmkit stages check` would show, errors first.
        stages: How many native stages there are.
        mapped: How many of them are mapped.
        written: Whether a sync or migration writes to the connection.
    """
    if stages and not mapped:
        return waits(
            connection, "stages", f"none of its {counted(stages, 'stage')} has a common stage",
            hint="Paste what is suggested into crmkit.toml.", command=f"crmkit stages suggest {connection}",
        )  # fmt: skip
    relevant = [one for one in found if written or one.code not in _OF_WRITING]
    command = f"crmkit stages check {connection}"
    for severity, told in (
        (lint.Severity.ERROR, waits), (lint.Severity.WARNING, warning), (lint.Severity.NOTE, note),
    ):  # fmt: skip
        if any(one.severity is severity for one in relevant):
            worth = [one for one in relevant if one.severity is not lint.Severity.NOTE] or relevant
            return told(connection, "stages", f"stage map: {_summed(worth)}", command=command)
    return ok(connection, "stages", f"stage map: {mapped} of {counted(stages, 'stage')} mapped")


def _summed(found: Sequence[lint.Finding]) -> str:
    """The one finding in its own words, or how many there are of each sort."""
    if len(found) == 1:
        return found[0].message
    counts = Counter(one.code if one.code in _PHRASES else "" for one in found)
    other = counts.pop("", 0)
    parts = [counted(number, *_PHRASES[code]) for code, number in counts.items()]
    return "; ".join([*parts, counted(other, "other finding")] if other else parts)
