"""The weekly review as tables: the waterfalls, and every list of deals behind them."""

from __future__ import annotations

from collections.abc import Iterator

from crmkit.report.metrics.flow_figures import Bucket, Waterfall
from crmkit.report.metrics.movement_figures import StepKind, StepTotal
from crmkit.report.metrics.slip_figures import OUTCOMES
from crmkit.report.render.cells import Cell, Link, Table, grouped, money
from crmkit.report.render.flow_tables import shown_buckets
from crmkit.report.render.tables.flow import date_moves
from crmkit.report.render.tables.making import Making
from crmkit.report.render.texts import Texts
from crmkit.report.review import WeeklyReview

FLOW = (
    "created", "won", "lost", "increased", "decreased", "reopened", "restored", "backfilled",
    "transferred_in", "transferred_out", "removed", "fx",
)  # fmt: skip
"""The bars of the whole pipeline with a list of their own, in the order in which they are read."""
PERIOD = {
    "pushed_out": "review_slipped",
    "pulled_in": "review_pulled_in",
    "date_set": "review_date_set",
    "date_cleared": "review_date_cleared",
    "pushed_in": "review_pushed_in",
    "pulled_out": "review_pulled_out",
}
"""The bars that only the pipeline of the period has, and the titles of their lists."""
STEPS: tuple[StepKind, ...] = ("advance", "regress", "pipeline_move")


def review_tables(review: WeeklyReview, texts: Texts) -> list[Table]:
    """The tables, in the order in which they are read; those of nothing are empty."""
    making = Making(texts, review.report_currency, review.stages)
    flows = review.waterfalls
    found = [
        _waterfall(making, "waterfall", texts["waterfall"], flows.all_open),
        _waterfall(
            making, "waterfall_period", f"{texts['waterfall_period']}, {review.period_key}", flows.period
        ),
    ]
    found += [
        _deals(making, f"review_{name}", texts[f"bucket_{name}"], flows.all_open.buckets[name])
        for name in ("created", "won", "lost")
    ]
    found += [
        _deals(
            making,
            f"review_{name}",
            texts[title].format(period=review.period_key),
            flows.period.buckets[name],
        )
        for name, title in PERIOD.items()
    ]
    found += [
        date_moves(making, "review_pushed", review.movement.pushed),
        date_moves(making, "review_pulled", review.movement.pulled),
    ]
    found += [
        _deals(making, f"review_{kind}", texts[f"moved_{kind}"], review.movement.by_kind[kind])
        for kind in STEPS
    ]
    found += [
        _deals(making, f"review_{name}", texts[f"bucket_{name}"], flows.all_open.buckets[name])
        for name in FLOW[3:]
    ]
    return [*found, *_slip(making, review)]


def review_notes(review: WeeklyReview, texts: Texts) -> list[str]:
    """What a reader has to know beside the figures, in sentences."""
    flow, currency = review.waterfalls.all_open, review.report_currency
    ends = {
        name: f"{money(flow.buckets[name].value, currency, texts)} {currency}" for name in ("start", "end")
    }
    notes = [texts["review_balance"].format(**ends), *history_notes(review, texts)]
    if flow.won_check is not None and flow.won_check.other_refs:
        deals = _count(len(flow.won_check.other_refs), texts)
        notes.append(texts["review_won_elsewhen"].format(deals=deals))
    if flow.fx_missing_count:
        notes.append(texts["review_fx_missing"].format(deals=_count(flow.fx_missing_count, texts)))
    return notes


def history_notes(review: WeeklyReview, texts: Texts) -> list[str]:
    """Since when connections are known that were not yet at the start."""
    since: dict[str, list[str]] = {}
    for one in review.late:
        since.setdefault(f"{one.at:%Y-%m-%d %H:%M} UTC", []).append(one.connection)
    return [
        texts["review_history"].format(names=", ".join(names), since=at)
        for at, names in sorted(since.items())
    ]


def _count(number: int, texts: Texts) -> str:
    key = "deal_one" if number == 1 else "deal_many"
    return texts[key].format(count=grouped(str(number), texts))


def _waterfall(making: Making, name: str, title: str, flow: Waterfall) -> Table:
    rows = tuple(
        (
            making.texts[f"bucket_{bucket}"],
            flow.buckets[bucket].count,
            making.money(flow.buckets[bucket].value),
        )
        for bucket in shown_buckets(flow)
    )
    return Table(name, title, (*making.words("change"), *making.numbers("deals", "amount")), rows)


def _deals(making: Making, name: str, title: str, found: Bucket | StepTotal) -> Table:
    texts = making.texts
    rows = tuple(
        (
            Link(deal.name, deal.url),
            deal.connection,
            state.owner if state else None,
            making.stage(deal.old.stage) if deal.old else None,
            making.stage(deal.new.stage) if deal.new else None,
            deal.old.close_date if deal.old else None,
            deal.new.close_date if deal.new else None,
            making.money(deal.value),
            deal.survivor or (texts.get(f"flow_reason_{deal.reason}", deal.reason) if deal.reason else None),
            deal.ref,
        )
        for deal in found.deals
        for state in [deal.new or deal.old]
    )
    columns = (
        *making.words("deal", "connection", "owner", "old_stage", "new_stage", "old_close", "new_close"),
        *making.numbers("value"),
        *making.words("reason", "ref"),
    )
    # Of all its deals, listed or not.
    value = found.value if isinstance(found, Bucket) else found.amount
    return Table(
        name, title, columns, rows, _total(making, columns_before=7, value=making.money(value), after=2)
    )


def _total(making: Making, *, columns_before: int, value: Cell, after: int) -> tuple[Cell, ...]:
    return (making.texts["all"], *[None] * (columns_before - 1), value, *[None] * after)


def _slip(making: Making, review: WeeklyReview) -> Iterator[Table]:
    """What became of the deals that were due in the period when it began."""
    found = review.slip
    if found is None:
        return
    parts = [(making.texts[f"slip_{name}"], found.outcomes[name]) for name in OUTCOMES]
    rows = tuple((label, part.count, making.money(part.amount)) for label, part in parts if part.count)
    title = making.texts["review_slip"].format(period=review.period_key)
    columns = (*making.words("outcome"), *making.numbers("deals", "amount"))
    yield Table(
        "review_slip", title, columns, rows, (making.texts["all"], found.count, making.money(found.amount))
    )
