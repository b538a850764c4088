"""The weekly review as data: what changed in the pipeline since a day, and the deals behind it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from crmkit.report.facts.engine import Facts
from crmkit.report.figures import Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.flow_figures import HistoryStart, Waterfalls
from crmkit.report.metrics.movement import movement
from crmkit.report.metrics.movement_figures import Movement
from crmkit.report.metrics.pairs import DETAILED, history_starts
from crmkit.report.metrics.periods import current_period, review_start
from crmkit.report.metrics.slip import slip
from crmkit.report.metrics.slip_figures import Slip
from crmkit.report.metrics.waterfall import waterfalls


class WeeklyReview(Figure):
    """What changed from `since` to `until`, both instants.

    `waterfalls` balance, over all open deals and over those due in the period
    `[period_start, period_end)`; `movement` has the close dates and stages that were
    changed, `slip` what became so far of the deals that were due in the period when it began,
    `None` before it began. `stages` names the common stages by their ids. Whatever a
    connection of `history_starts` that is `late` held before it was first pulled is not known:
    its deals are `backfilled`, and what happened to them before is in no figure.
    """

    kind: Literal["weekly_review"] = "weekly_review"
    version: Literal[1] = 1
    since: datetime
    until: datetime
    time_zone: str
    report_currency: str
    amount_basis: str
    scope: dict[str, tuple[str, ...]]
    period_key: str
    period_start: date
    period_end: date
    stages: dict[str, str]
    waterfalls: Waterfalls
    movement: Movement
    slip: Slip | None
    history_starts: tuple[HistoryStart, ...]

    @property
    def late(self) -> tuple[HistoryStart, ...]:
        """The connections of which nothing is known at the start."""
        return tuple(one for one in self.history_starts if one.late)


def weekly_review(facts: Facts, settings: Settings, *, detailed: int = DETAILED) -> WeeklyReview:
    """The review that ends at `settings.as_of`; it begins at `settings.since`, or seven days before.

    Args:
        facts: The fact tables.
        settings: The instants, the period, the zone, the currency and the scope.
        detailed: How many deals of a list are told with all their values, the largest first.

    Raises:
        UnbalancedWaterfall: The sum of what changed is not the difference of the ends.
        ValueError: The review does not begin before it ends.
    """
    since, period = review_start(settings), current_period(settings)
    return WeeklyReview(
        since=since,
        until=settings.as_of,
        time_zone=settings.time_zone,
        report_currency=settings.report_currency,
        amount_basis=settings.amount_basis.value,
        scope=settings.scope.words,
        period_key=period.key,
        period_start=period.start,
        period_end=period.end,
        stages={stage.id: stage.name for stage in settings.stages},
        waterfalls=waterfalls(facts, settings, since=since, detailed=detailed),
        movement=movement(facts, settings, since, period=period, detailed=detailed),
        slip=slip(facts, settings, period, detailed=detailed),
        history_starts=history_starts(facts, settings, since),
    )
