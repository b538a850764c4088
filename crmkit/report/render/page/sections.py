"""The sections of the page, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable

from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.page import flow, lists, outcome, standing
from crmkit.report.render.page.section import Page, Section

GROUPS = ("changes", "pipeline", "results", "attention", "tables", "deals", "waiting")
"""The chapters; each has a text `nav_...`."""

SECTIONS: tuple[Callable[[Page], Section | None], ...] = (
    flow.waterfall,
    flow.forecast,
    flow.waterfall_period,
    flow.moves,
    standing.stages,
    standing.expected_close,
    standing.owners,
    standing.ageing,
    flow.heat,
    outcome.trend,
    outcome.win_rates,
    outcome.losses,
    flow.funnel,
    flow.focus,
    flow.hygiene,
    flow.follow_ups,
    standing.connections,
    outcome.results,
    outcome.parts,
    outcome.from_stage,
    flow.conversion,
    outcome.velocity,
    standing.native_stages,
    lists.top_deals,
    lists.stale_deals,
    lists.waiting,
)


def sections(page: Page) -> list[Section]:
    """The sections whose figures are there."""
    return [found for make in SECTIONS if (found := make(page)) is not None]


def pictures(page: Page) -> list[Picture]:
    """Every chart of the page."""
    return [picture for section in sections(page) for picture in section.pictures]
