"""Sections that list deals, and what waits for a person."""

from __future__ import annotations

from crmkit.report.render.page.section import Page, Section

WAITING = ("unmapped_stages", "missing_rates", "errors")


def top_deals(page: Page) -> Section | None:
    """The largest open deals."""
    return _listed(page, "top_deals")


def stale_deals(page: Page) -> Section | None:
    """The largest stale deals."""
    return _listed(page, "stale_deals")


def _listed(page: Page, table: str) -> Section | None:
    found = page.tables[table]
    if not found.rows:
        return None
    return Section(
        table,
        found.title,
        "deals",
        table,
        tables=(page.table(table),),
        wide=True,
        hidden_columns=("ref",),
        deals=True,
    )


def waiting(page: Page) -> Section:
    """What the figures could not use as it is."""
    tables = tuple(page.table(one) for one in WAITING if page.tables[one].rows)
    return Section(
        "waiting",
        page.texts["waiting"],
        "waiting",
        "waiting",
        tables=tables,
        note="" if tables else page.texts["nothing_waits"],
        wide=True,
    )
