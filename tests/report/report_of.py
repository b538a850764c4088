"""The pipeline report of some rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from crmkit.model import Ref
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Links, PipelineRow, Settings
from crmkit.report.listed import ListedDeal
from crmkit.report.metrics.listed import listed_deals
from crmkit.report.pipeline import pipeline_report
from crmkit.report.rates import Rates
from crmkit.report.whole import PipelineReport
from tests.report.fact_rows import Book, Change, facts_of
from tests.report.rows import USD, settings


def report_from(rows: Iterable[PipelineRow], links: Links, rates: Rates, chosen: Settings) -> PipelineReport:
    """The report of rows; what a row says about changes by people becomes its history."""
    with _facts(rows, links, rates, chosen) as facts:
        return pipeline_report(facts, chosen)


def page_of(
    rows: Iterable[PipelineRow], links: Links, rates: Rates, chosen: Settings
) -> tuple[PipelineReport, tuple[ListedDeal, ...], int]:
    """What a page shows: the report of rows, its deals, and how many are left out."""
    with _facts(rows, links, rates, chosen) as facts:
        return pipeline_report(facts, chosen), *listed_deals(facts, chosen)


def _facts(
    rows: Iterable[PipelineRow], links: Links, rates: Rates, chosen: Settings
) -> AbstractContextManager[Facts]:
    known = list(rows)
    changes = [change for row in known for change in _changes(row)]
    return facts_of(Book(known, links, changes=changes), rates, chosen)


def report_of(
    *rows: PipelineRow, links: Mapping[Ref, str] | None = None, rates: Rates = USD, **changes: object
) -> PipelineReport:
    """The report of rows, with settings by name."""
    return report_from(rows, links or {}, rates, settings(**changes))


def _changes(row: PipelineRow) -> Iterable[Change]:
    for at, own in ((row.last_human_change_at, False), (row.modified_at, True)):
        if row.last_human_change_at is not None and isinstance(at, datetime):
            yield Change(row.ref, "modified_us", at, at, at, own=own)
