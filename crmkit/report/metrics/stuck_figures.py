"""Stale and stuck deals as data (metrics.md 13)."""

from __future__ import annotations

from crmkit.report.figures import AgeBucket, DealLine, Figure, Idle
from crmkit.report.money import Number
from crmkit.report.ratios import Average


class StageIdleness(Figure):
    """Open deals in a common stage by age; `stage` is `None` for those in unmapped stages.

    `by_age` counts days since the creation, `by_stage_age` since the entry into the stage;
    both end with a bucket from `None` to `None` for unknown ages. Deals are stale after
    `stale_days` without a sign of life.
    """

    stage: str | None
    name: str | None
    stale_days: int
    count: int
    amount: Number
    stale: Idle
    warning: Idle
    stuck: Idle
    by_age: tuple[AgeBucket, ...]
    by_stage_age: tuple[AgeBucket, ...]


class StuckLimit(Figure):
    """From how many days in a native stage on a deal is stuck.

    `median_days` is how long won deals stayed there. `from_history` says that enough of them
    tell; otherwise `limit_days` is the setting of the common stage.
    """

    connection: str
    pipeline_id: str | None
    pipeline: str | None
    stage_id: str | None
    stage: str | None
    open_count: int
    stuck_count: int
    median_days: Average
    limit_days: Number
    from_history: bool


class StuckDeals(Figure):
    """Open deals that nobody touches or that do not move.

    `stale_refs` and `stuck_refs` name them, the largest first, 20,000 at most; `stuck_deals`
    shows the largest. `stage_age_unknown_count` deals entered their stage nobody knows when.
    """

    stale: Idle
    warning: Idle
    stuck: Idle
    stage_age_unknown_count: int
    stages: tuple[StageIdleness, ...]
    limits: tuple[StuckLimit, ...]
    stale_refs: tuple[str, ...]
    stuck_refs: tuple[str, ...]
    stuck_deals: tuple[DealLine, ...]
