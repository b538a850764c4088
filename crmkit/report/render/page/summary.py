"""The five figures at the top of the page."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from crmkit.report.metrics.summary import Moved
from crmkit.report.render import fragments
from crmkit.report.render.page.section import Headline, Page
from crmkit.report.render.tables.building import closed_deals
from crmkit.report.render.tables.standing import overdue_deals


def headlines(page: Page) -> tuple[Headline, ...]:
    """What there is, what it is worth, what was won, how often, and what is late."""
    moved = page.report.summary
    return (
        _changed(page, _open(page), moved.open_amount),
        _changed(page, _weighted(page), moved.weighted_amount),
        _changed(page, _won(page), moved.won_amount),
        _changed(page, _win_rate(page), moved.win_rate, share=True),
        _changed(page, _overdue(page), moved.overdue_amount, welcome=False),
    )


def _changed(
    page: Page, headline: Headline, moved: Moved, *, share: bool = False, welcome: bool = True
) -> Headline:
    """The headline with its change since the start of the review; `welcome` says whether more is good."""
    change = moved.change
    if change is None:
        return headline
    size = page.formats.percent(abs(change)) if share else page.formats.compact(abs(change))
    sign = "+" if change > 0 else "−" if change < 0 else "±"
    day = page.formats.day(page.report.since_date)
    trend = "" if change == 0 else "up" if (change > 0) is welcome else "down"
    return replace(headline, change=f"{sign}{size} {page.texts['since_day'].format(day=day)}", trend=trend)


def _open(page: Page) -> Headline:
    opened = page.report.open
    return Headline(
        "open_amount",
        page.texts["open_amount"],
        page.formats.compact(opened.amount),
        f"{page.formats.exact(opened.amount)} · {page.formats.deals(opened.count)}",
        "open_amount",
        page.target(fragments.open_deals()),
        opened.count,
        "main",
    )


def _weighted(page: Page) -> Headline:
    opened = page.report.open
    counted = opened.count - opened.weighted_excluded_count
    note = page.formats.deals(counted)
    if opened.weighted_excluded_count:
        left = page.formats.count(opened.weighted_excluded_count)
        note += f" · {page.texts['weighted_excluded']}: {left}"
    return Headline(
        "weighted_amount",
        page.texts["weighted_amount"],
        page.formats.compact(opened.weighted_amount),
        note,
        "weighted_amount",
        page.target(fragments.open_deals(("probability", "!=", None))),
        counted,
    )


def _won(page: Page) -> Headline:
    span = page.report.period
    return Headline(
        "won",
        page.texts["won_in_period"],
        page.formats.compact(span.won.amount),
        f"{page.formats.deals(span.won.count)} · {page.formats.span(span.start, span.end)}",
        "results",
        page.target(closed_deals(span, "won")),
        span.won.count,
    )


def _win_rate(page: Page) -> Headline:
    span, rate = page.report.trailing, page.report.trailing.win_rates.count
    return Headline(
        "win_rate",
        page.texts["win_rate"],
        page.formats.percent(rate.value),
        f"{page.ratio(rate)} · {page.window}",
        "win_rates",
        page.target(
            fragments.deals(
                *fragments.days("closed", span.start, span.end),
                *fragments.any_of("status", ("won", "lost")),
                ("lost_kind", "!=", "duplicate"),
            )
        ),
        int(rate.denominator),
        low_sample=rate.low_sample,
    )


def _overdue(page: Page) -> Headline:
    late = page.report.overdue
    total = page.report.open.amount
    share = page.formats.percent(late.amount / total) if total > 0 else page.texts["none"]
    return Headline(
        "overdue",
        page.texts["overdue"],
        page.formats.compact(late.amount),
        f"{page.formats.deals(late.count)} · {page.texts['of_open'].format(share=share)}",
        "overdue",
        page.target(overdue_deals(page.report)),
        late.count,
        "bad" if late.amount > Decimal(0) else "",
    )
