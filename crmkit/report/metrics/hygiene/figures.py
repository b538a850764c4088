"""What the hygiene rules found, as data (metrics.md 14)."""

from __future__ import annotations

from crmkit.report.figures import Figure
from crmkit.report.metrics.hygiene.rules import Severity
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio


class OwnerFindings(Figure):
    """The findings of one rule among one owner's deals; `owner` is `None` for those without one."""

    owner_key: str | None
    owner: str | None
    count: int
    amount: Number


class RuleFindings(Figure):
    """The deals that break a rule.

    `refs` names them, the largest first, 20,000 at most; `count` is complete. `amount` is in the
    report currency. `not_readable` names the connections with open deals that do not tell what
    the rule asks for: none of their deals is judged.
    """

    rule: str
    severity: Severity
    name: str
    count: int
    amount: Number
    refs: tuple[str, ...]
    by_owner: tuple[OwnerFindings, ...]
    not_readable: tuple[str, ...]


class ScorePart(Figure):
    """The hygiene score of one owner or one connection.

    `score` is the share of `open_count` open deals without a finding of high severity; its
    value is `None` without open deals.
    """

    key: str | None
    name: str | None
    open_count: int
    high_count: int
    score: Ratio


class LookAlike(Figure):
    """Two open deals that are probably one, and how similar their names are, 80 to 100."""

    ref: str
    name: str
    other_ref: str
    other_name: str
    company: str | None
    likeness: Number


class Hygiene(Figure):
    """What is wrong with the deals.

    `hygiene_score` is the share of open deals without a finding of high severity.
    `outlier_limit` is the amount from which on H04 doubts one, `None` where too few deals were
    won to tell. `crowded_count` deals of H14 and `uncompared_pairs` were not compared,
    because too many are alike. `look_alikes` holds 1,000 pairs at most, of `look_alike_count`.
    """

    hygiene_score: Ratio
    open_count: int
    high_count: int
    rules: tuple[RuleFindings, ...]
    by_owner: tuple[ScorePart, ...]
    by_connection: tuple[ScorePart, ...]
    outlier_limit: Number | None
    look_alike_count: int
    look_alikes: tuple[LookAlike, ...]
    crowded_count: int
    uncompared_pairs: int
