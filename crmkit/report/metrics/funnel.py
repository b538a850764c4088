"""The pipeline beside the funnel: what is in each common stage now, and what went through it."""

from __future__ import annotations

from datetime import date

from crmkit.model import Outcome
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.conversion_figures import Conversion, LineConversion
from crmkit.report.money import ZERO, Number
from crmkit.report.ratios import Ratio, share


class FunnelStage(Figure):
    """One common stage: now, and in the period.

    `now_count` and `now_amount` are over open deals in it at `as_of`. `reached_count`
    deals entered it in the period, by the skip policy; `touched_count` were in it themselves.
    `step` is the share of those that went on (converted / reached), `step_resolved` the same
    without deals that are still open; `None` for won. `from_start` is reached / reached of
    the first stage.
    """

    stage: str
    name: str
    outcome: Outcome
    now_count: int
    now_amount: Number
    now_weighted_amount: Number
    reached_count: int
    touched_count: int
    step: Ratio | None
    step_resolved: Ratio | None
    immature: bool
    from_start: Ratio


class Funnel(Figure):
    """Pipeline versus funnel over the common stages, in order, with won last.

    The pipeline is what is open now; the funnel what went through in `[start, end)`, local
    days. `unmapped_count` open deals are in no common stage of open deals.
    """

    start: date
    end: date
    stages: tuple[FunnelStage, ...]
    unmapped_count: int
    unmapped_amount: Number


def funnel(facts: Facts, settings: Settings, found: Conversion) -> Funnel:
    """Pipeline versus funnel.

    Args:
        facts: The fact tables.
        settings: The common stages and the instant.
        found: The conversion of the same facts.
    """
    now = {
        row["stage"]: (int(row["n"]), scale.money(row["amount"]), scale.weighted(row["weighted"]))
        for row in facts.rows(
            f"""
            SELECT stage, count(*) AS n, sum(value) AS amount, sum(weighted) AS weighted
            FROM {live_at(facts, settings)} WHERE status = '{OPEN}' GROUP BY stage
            """
        )
    }
    nothing = (0, ZERO, ZERO)
    stages = _stages(settings, found.common, {key: now.get(key, nothing) for key in now if key})
    placed = {stage.stage for stage in stages}
    apart = [sums for key, sums in now.items() if key not in placed]
    return Funnel(
        start=found.start,
        end=found.end,
        stages=stages,
        unmapped_count=sum(count for count, _, _ in apart),
        unmapped_amount=sum((amount for _, amount, _ in apart), ZERO),
    )


def _stages(
    settings: Settings, line: LineConversion, now: dict[str, tuple[int, Number, Number]]
) -> tuple[FunnelStage, ...]:
    first = line.stages[0].cohort if line.stages else 0
    rows = []
    for one in line.stages:
        count, amount, weighted = now.get(one.stage, (0, ZERO, ZERO))
        rows.append(
            FunnelStage(
                stage=one.stage,
                name=one.name,
                outcome=Outcome.OPEN,
                now_count=count,
                now_amount=amount,
                now_weighted_amount=weighted,
                reached_count=one.cohort,
                touched_count=one.funnel_any,
                step=one.conversion_raw,
                step_resolved=one.conversion_resolved,
                immature=one.immature,
                from_start=share(one.cohort, first, sample=first, min_sample=settings.min_sample),
            )
        )
    won = min(
        (stage for stage in settings.stages if stage.outcome is Outcome.WON),
        key=lambda stage: (stage.order, stage.id),
        default=None,
    )
    if won is not None:
        count, amount, weighted = now.get(won.id, (0, ZERO, ZERO))
        rows.append(
            FunnelStage(
                stage=won.id,
                name=won.name,
                outcome=Outcome.WON,
                now_count=count,
                now_amount=amount,
                now_weighted_amount=weighted,
                reached_count=line.won,
                touched_count=line.won,
                step=None,
                step_resolved=None,
                immature=False,
                from_start=share(line.won, first, sample=first, min_sample=settings.min_sample),
            )
        )
    return tuple(rows)
