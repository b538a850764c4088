"""The deals behind the figures, one flat line each, so that a reader can go from a figure to its deals."""

from __future__ import annotations

from datetime import date
from typing import Literal

from crmkit.report.figures import Figure
from crmkit.report.money import Number

LISTED = 20_000
"""Deals that a page carries unless its caller says otherwise."""


class ListedDeal(Figure):
    """One logical deal at `as_of`.

    `stage` is the id of its common stage, `None` where it is unmapped. `amount` and
    `weighted` are in the report currency: `None` without an amount or a rate, `weighted`
    also without a probability and for closed deals. `findings` are ids of hygiene rules.
    """

    ref: str
    name: str
    connection: str
    pipeline: str | None
    native_stage: str | None
    stage: str | None
    status: Literal["open", "won", "lost"]
    lost_kind: str | None = None
    lost_reason: str | None = None
    owner: str | None
    team: str | None = None
    company: str | None
    amount: Number | None
    native_amount: Number | None
    currency: str | None
    probability: Number | None
    weighted: Number | None
    forecast_category: str | None = None
    expected_close: date | None
    created_on: date | None
    closed_on: date | None
    stage_age_days: int | None
    idle_days: int | None
    push_count: int | None = None
    next_step_on: date | None = None
    url: str | None
    findings: tuple[str, ...] = ()
