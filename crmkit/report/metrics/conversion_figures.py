"""How deals move from stage to stage, as data (metrics.md 9)."""

from __future__ import annotations

from datetime import date
from typing import Literal

from crmkit.report.figures import Figure
from crmkit.report.ratios import Average, Ratio


class StageConversion(Figure):
    """One stage and the deals that entered it in the period, each counted at its first entry.

    `stage` is the id of the native or common stage, `position` its place among the stages of
    open deals, from 1. `cohort` = `converted` + `lost_from` + `still_open`. `conversion_raw` is
    converted / cohort, `conversion_resolved` leaves those still open out, and `immature`
    says that they are too many to judge. `funnel_any` deals entered the stage itself in the
    period (nothing filled), `funnel_all` of them were in every earlier stage too. Durations are
    days over deals that left the stage for good in the period, all their stays together;
    `current_count` deals are in it at `as_of`, for `current_age_*` days since they entered. `refs` are
    the deals of the cohort that are among the first 20,000 deals of the report (open ones before
    closed ones): those that a page lists.
    """

    stage: str
    name: str
    position: int
    cohort: int
    converted: int
    lost_from: int
    still_open: int
    conversion_raw: Ratio
    conversion_resolved: Ratio
    immature: bool
    funnel_all: int
    funnel_any: int
    stage_duration_median: Average
    stage_duration_p90: Average
    current_count: int
    current_age_median: Average
    current_age_p90: Average
    refs: tuple[str, ...]


class DeletedStage(Figure):
    """A stage that the CRM does not list any more: without a place in the order, so without conversion.

    `name` is its id where nothing else is known; `entered` deals entered it first in the period.
    """

    stage: str
    name: str
    entered: int
    stage_duration_median: Average
    stage_duration_p90: Average


class LineConversion(Figure):
    """The stages of one pipeline in order, or the common stages (`connection` and `pipeline_id` are `None`).

    `won` deals entered won in the period. `pipeline_changed`: in the period deals were in stages
    that are gone since. Of `beginning_unknown` deals only the later stages are known, so nothing
    is filled before them; `without_history` deals were created in the period and no stage of theirs
    is known: they are in no cohort.
    """

    connection: str | None
    pipeline_id: str | None
    pipeline: str | None
    stages: tuple[StageConversion, ...]
    won: int
    deleted: tuple[DeletedStage, ...]
    pipeline_changed: bool
    beginning_unknown: int
    without_history: int


class Conversion(Figure):
    """Conversion and duration of stages in `[start, end)`, local days.

    Under `fill` a skipped stage counts as entered when the next one was, under `exclude`
    it does not. A deal counts in the pipeline that it is in at `as_of`.
    """

    start: date
    end: date
    skip_policy: Literal["fill", "exclude"]
    by_pipeline: tuple[LineConversion, ...]
    common: LineConversion
