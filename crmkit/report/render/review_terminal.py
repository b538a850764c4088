"""The weekly review for a terminal: what it is, the waterfalls with small bars, then the lists of deals."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from rich.console import Group
from rich.text import Text

from crmkit.report.render.cells import Table
from crmkit.report.render.review_tables import review_notes
from crmkit.report.render.table import terminal_tables
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import visible
from crmkit.report.review import WeeklyReview

LONGEST = 20
"""Rows of each list."""


def terminal_review(review: WeeklyReview, tables: Iterable[Table], texts: Texts = ENGLISH) -> Group:
    """What `crmkit review` prints."""
    zone = ZoneInfo(review.time_zone)
    since, until = (f"{at.astimezone(zone):%Y-%m-%d %H:%M}" for at in (review.since, review.until))
    head = Text(f"{texts['review_title']} · {since} – {until} {review.time_zone}", style="bold")
    notes = [
        Text(visible(note), style="" if place == 0 else "yellow")
        for place, note in enumerate(review_notes(review, texts))
    ]
    return Group(head, *notes, Text(), terminal_tables(tables, texts, limit=LONGEST))
