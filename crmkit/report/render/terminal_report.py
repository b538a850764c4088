"""The whole report for a terminal: the digest first, then what fits on a few screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from rich.console import Group
from rich.text import Text

from crmkit.report.render.cells import Table
from crmkit.report.render.digest import digest
from crmkit.report.render.table import terminal_tables
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.whole import PipelineReport

SHOWN = (
    "by_stage",
    "waterfall",
    "forecast",
    "coverage",
    "funnel",
    "by_connection",
    "by_close_month",
    "ageing",
    "results",
    "results_by_month",
    "focus",
    "follow_ups",
    "hygiene",
    "stale_deals",
    "unmapped_stages",
    "missing_rates",
    "errors",
)
"""The tables that a terminal shows, in the order in which they are read there."""
LONGEST = 20
"""Rows of each of them."""


def terminal_report(
    report: PipelineReport,
    tables: Sequence[Table],
    texts: Texts = ENGLISH,
    *,
    changes: Mapping[str, Decimal | None] | None = None,
    since: date | None = None,
    everything: bool = False,
) -> Group:
    """What `crmkit report` prints.

    Args:
        report: The figures.
        tables: All of its tables.
        texts: The language.
        changes: What was added to each headline since an earlier day, by its id.
        since: That day.
        everything: Whether to print every table with every row.
    """
    known = {table.id: table for table in tables if table.rows}
    head = digest(report, texts, changes=changes, since=since)
    if everything:
        return Group(head, terminal_tables(known.values(), texts, limit=0))
    shown = [known[name] for name in SHOWN if name in known]
    rest = len(known) - len(shown)
    end = [Text(texts["tables_left_out"].format(count=rest), style="dim")] if rest else []
    return Group(head, terminal_tables(shown, texts, limit=LONGEST), *end)
