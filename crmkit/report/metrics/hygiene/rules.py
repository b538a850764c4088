"""The hygiene rules (metrics.md 14): each one a condition over the rows of `checked`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from crmkit.report.facts.deals import CERTAIN, LOST, OPEN, WON
from crmkit.report.facts.scale import DAY, SECOND


class Severity(StrEnum):
    """How much a finding spoils the figures."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `condition` is SQL that is TRUE for a row that breaks it.

    `$at` is the instant of the report, `$today` its local day, `$p0` and `$p1` the first day
    of the period and the first after it; the others are thresholds of the settings.
    """

    id: str
    severity: Severity
    name: str
    condition: str
    readable: str | None = None
    """A column of `checked` that says whether the connection tells what the rule asks for."""


# A CRM stamps a new record's creation and its first stage one after the other.
_STAMPS = 60 * SECOND
QUICK_PUSHES = 14 * DAY
"""Two pushes within this time are a finding (inferred)."""

_IS_OPEN = f"status = '{OPEN}'"
_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW

RULES = (
    Rule("H01", _HIGH, "close date is past", f"{_IS_OPEN} AND close_day < $today"),
    Rule("H02", _HIGH, "no close date", f"{_IS_OPEN} AND close_day IS NULL"),
    Rule(
        "H03",
        _HIGH,
        "no amount",
        # Without a required stage every open deal needs one. An absurd amount is found by H04.
        f"""{_IS_OPEN} AND (native IS NULL OR native = 0) AND NOT amount_unreadable
            AND ($amount_from IS NULL OR stage_order >= $amount_from)""",
    ),
    Rule(
        "H04",
        _MEDIUM,
        "amount negative or far out of line",
        f"{_IS_OPEN} AND (native < 0 OR amount_unreadable OR is_outlier)",
    ),
    Rule(
        "H05",
        _HIGH,
        "no active owner",
        f"""{_IS_OPEN} AND (owner_id IS NULL OR NOT owner_active
            OR (owners_readable AND NOT owner_listed))""",
    ),
    Rule("H06", _MEDIUM, "no company", f"{_IS_OPEN} AND company_id IS NULL"),
    Rule("H07", _MEDIUM, "no contact", f"{_IS_OPEN} AND contacts = 0"),
    Rule(
        "H08",
        _MEDIUM,
        "no next step",
        f"{_IS_OPEN} AND (next_us IS NULL OR next_us <= $at)",
        readable="next_readable",
    ),
    Rule("H09", _MEDIUM, "stale", "stale"),
    Rule("H10", _MEDIUM, "stuck in its stage", "stuck"),
    Rule(
        "H11",
        _MEDIUM,
        "close date pushed again and again",
        f"{_IS_OPEN} AND (push_count >= $push_limit OR push_gap_us <= {QUICK_PUSHES})",
    ),
    Rule(
        "H12",
        _HIGH,
        "impossible dates",
        f"""(status <> '{OPEN}' AND closed_day < created_day)
            OR (status = '{WON}' AND closed_us > $at)
            OR ({_IS_OPEN} AND stage_entered_us < created_us - {_STAMPS})""",
    ),
    Rule(
        "H13",
        _HIGH,
        "stage and status disagree, or the stage is unknown or unmapped",
        f"""{_IS_OPEN} AND (stage_status <> status OR common_status <> status
            OR share = 0 OR share = {CERTAIN} OR native_stage IS NULL OR stage IS NULL)""",
    ),
    Rule("H14", _MEDIUM, "looks like another deal", "has_look_alike"),
    Rule(
        "H15",
        _LOW,
        "lost without a reason",
        f"""status = '{LOST}' AND nullif(trim(lost_reason), '') IS NULL
            AND closed_day >= $p0 AND closed_day < $p1""",
    ),
    Rule(
        "H16",
        _LOW,
        "close date far away or never chosen",
        f"{_IS_OPEN} AND (close_day > $today + $far_days OR is_default_close)",
    ),
    Rule("H17", _HIGH, "no currency or no rate", f"{_IS_OPEN} AND fx_missing"),
    Rule("H18", _MEDIUM, "changed after it was closed", f"status <> '{OPEN}' AND was_edited"),
)
