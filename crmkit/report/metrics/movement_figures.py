"""How close dates and stages moved, as data (metrics.md 5)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from crmkit.report.figures import Figure
from crmkit.report.metrics.flow_figures import FlowDeal
from crmkit.report.money import Number

StepKind = Literal["advance", "regress", "pipeline_move", "won", "lost", "reopened"]
STEP_KINDS: tuple[StepKind, ...] = ("advance", "regress", "pipeline_move", "won", "lost", "reopened")


class DateMove(Figure):
    """A deal whose close date was moved while it was open.

    `old_date` is the date before the first of the `moves`, `new_date` that after the last;
    `days` adds all of them up, earlier ones negative. `amount` is in the report currency.
    `push_count` and `push_days` are those since its creation.
    """

    ref: str
    name: str
    connection: str
    url: str | None
    owner: str | None
    stage: str | None
    status: Literal["open", "won", "lost"]
    amount: Number | None
    old_date: date
    new_date: date
    moves: int
    days: int
    last_at: datetime
    push_count: int
    push_days: int


class DateMoves(Figure):
    """Deals pushed, or pulled in: `count` deals by `moves` changes of `days` altogether.

    `amount` adds up what the deals are worth now; `refs` names them, the largest first.
    """

    count: int
    moves: int
    days: int
    amount: Number
    refs: tuple[str, ...]
    deals: tuple[DateMove, ...]


class StageMove(Figure):
    """From one stage to another: common stages by their ids, `None` for unmapped ones.

    In the native list `connection` and the pipelines are set and stages have their names.
    `count` is deals, in the gross list steps; `amount` is what the deals are worth at the end.
    """

    connection: str | None = None
    from_pipeline: str | None = None
    from_stage: str | None
    to_pipeline: str | None = None
    to_stage: str | None
    count: int
    amount: Number
    refs: tuple[str, ...]


class StepTotal(Figure):
    """Deals whose first and last stage of the period differ in one way, and every single step of it."""

    count: int
    amount: Number
    steps: int
    refs: tuple[str, ...]
    deals: tuple[FlowDeal, ...]


class Movement(Figure):
    """How close dates and stages moved between two instants (metrics.md 5).

    `cross_period` are the pushes from a date in `[period_start, period_end)` to one at or
    after its end: only these are slips of the period. `by_kind` tells by native stages:
    advance and regress inside one pipeline and among open stages, `pipeline_move` to another
    one, `won`, `lost` and `reopened` by the outcome of the stages. `net` takes a deal's first and last
    common stage, `native` the same by native stages, `gross` every step.
    """

    start_at: datetime
    end_at: datetime
    period_start: date
    period_end: date
    pushed: DateMoves
    pulled: DateMoves
    cross_period: DateMoves
    by_kind: dict[StepKind, StepTotal]
    net: tuple[StageMove, ...]
    gross: tuple[StageMove, ...]
    native: tuple[StageMove, ...]
