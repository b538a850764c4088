"""What moved between two instants, as data: the waterfall and the deals behind each of its bars.

Money is in the report currency and exact.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from crmkit.report.figures import Figure
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio

Status = Literal["open", "won", "lost"]

ENTRIES = (
    "created",
    "backfilled",
    "restored",
    "reopened",
    "transferred_in",
    "date_set",
    "pulled_in",
    "pushed_in",
)
EXITS = ("won", "lost", "removed", "transferred_out", "date_cleared", "pushed_out", "pulled_out")
VALUE_CHANGES = ("fx", "increased", "decreased")
BUCKETS = ("start", *VALUE_CHANGES, *ENTRIES, *EXITS, "end")
"""Every bar of a waterfall, in the order of metrics.md 6.4."""


class DealState(Figure):
    """A deal as it was at an instant.

    `amount` is in the deal's own `currency`, `value` in the report currency by the rates
    of the instant's local day: `None` without an amount or a rate. `stage` is the id of the
    common stage, `None` if unmapped.
    """

    status: Status
    amount: Number | None
    currency: str | None
    value: Number | None
    stage: str | None
    native_stage: str | None
    pipeline: str | None
    owner: str | None
    close_date: date | None


class FlowDeal(Figure):
    """A deal in a list of what moved; `value` is what it adds to the sum of its list.

    `old` is `None` if it was not known at the start, `new` if it exists no more.
    `reason` tells more about the cause where there are several: `deleted`, `archived` or
    `merged` (into `survivor`, a ref) of what was removed; `owner`, `team` or `pipeline` of
    what was handed over; `first_pull` (its connection was first pulled after the start) or
    `seen_late` of what was backfilled; `closed_again` of what was closed at both instants in the
    same way, with a later closing now; `unpriced` where the rate of a currency came or went.
    """

    ref: str
    name: str
    connection: str
    url: str | None
    value: Number
    old: DealState | None
    new: DealState | None
    reason: str | None = None
    survivor: str | None = None


class Bucket(Figure):
    """One bar of a waterfall: its deals and what they add; decreases and exits are negative.

    `refs` names the deals, the largest first, at most 20,000 of `count`; `deals` tells more
    about the first of them. `start`, `unchanged` and `end` have no `deals`.
    """

    count: int
    value: Number
    refs: tuple[str, ...] = ()
    deals: tuple[FlowDeal, ...] = ()


class Part(Figure):
    """A part of a bar."""

    count: int
    value: Number


class ConnectionFlow(Figure):
    """The part of a waterfall whose deals take their values from this connection; it balances too.

    A deal that is linked across connections counts where its values come from at the end.
    Only the bars that it has are in `buckets`.
    """

    connection: str
    buckets: dict[str, Part]


class HistoryStart(Figure):
    """Since when deals of a connection are known; `late`: only since after the start of the period.

    Everything that a late connection held already is `backfilled`.
    """

    connection: str
    at: datetime
    late: bool


class WonCheck(Figure):
    """The bar `won` beside `won_amount` of the same instants (metrics.md 4).

    `bar` is what left as won, by the rates of the end, as a positive amount.
    `won_amount` has the deals closed between the instants by the same rates,
    `won_amount_frozen` by the rates of the days on which they were closed: they differ
    from each other by currency alone. `other_refs` are the deals that left as won
    although their CRM says that they were closed at another time: `bar` is `won_amount`
    with them. It is `None` over a window of close dates, which section 4 does not know.
    """

    bar: Number
    won_count: int
    won_amount: Number
    won_amount_frozen: Number
    other_refs: tuple[str, ...]


class Waterfall(Figure):
    """How the open pipeline at `start_at` became the one at `end_at` (metrics.md 6).

    Deals count while their close date is in `[window_start, window_end)`, days; over all
    close dates both are `None`. `start + fx + increased + decreased + all entries + all
    exits = end` holds exactly, for money and for counts (entries less exits). `unchanged`
    stayed with the same amount in the same currency and is no part of the sum.
    `fx_missing` deals have an amount that no rate converts at one of the instants; there
    they count and add nothing, and a rate that came or went is in `fx`.
    """

    start_at: datetime
    end_at: datetime
    start_rates_on: date
    end_rates_on: date
    window_start: date | None
    window_end: date | None
    buckets: dict[str, Bucket]
    unchanged: Bucket
    net_change: Number
    growth_rate: Ratio
    by_connection: tuple[ConnectionFlow, ...]
    fx_missing_count: int
    fx_missing_refs: tuple[str, ...]
    won_check: WonCheck | None
    history_starts: tuple[HistoryStart, ...]


class Waterfalls(Figure):
    """The two standard reports: all open pipeline, and that due in the period."""

    all_open: Waterfall
    period: Waterfall
