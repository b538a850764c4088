"""The waterfall: how the open pipeline at one instant became the one at another (metrics.md 6).

Every deal is classified once, from what it was at both instants, and its own sum is checked:
where one does not balance nothing is shown. There is no balancing row.
"""

from __future__ import annotations

from datetime import datetime

from crmkit.errors import CrmkitError
from crmkit.report.calendar import Span
from crmkit.report.facts import scale
from crmkit.report.facts.deals import WON
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.metrics.flow_figures import (
    BUCKETS,
    ENTRIES,
    EXITS,
    Bucket,
    ConnectionFlow,
    Part,
    Waterfall,
    Waterfalls,
    WonCheck,
)
from crmkit.report.metrics.flow_lines import BARS, flow_lines
from crmkit.report.metrics.flow_lists import MOVED, Listed, level_refs, moved_lists
from crmkit.report.metrics.pairs import DETAILED, REFS, between, history_starts
from crmkit.report.metrics.periods import current_period, local_date, review_start
from crmkit.report.money import ZERO, add, subtract
from crmkit.report.ratios import share

_NONE = Listed()
_NAMED_IN_ERROR = 10


class UnbalancedWaterfall(CrmkitError):
    """A waterfall does not balance, so nothing in it can be trusted."""

    hint = "Please report it with `crmkit -v review --json`; no figure was shown."


def waterfalls(
    facts: Facts, settings: Settings, *, since: datetime | None = None, detailed: int = DETAILED
) -> Waterfalls:
    """The two standard waterfalls up to `as_of`: all open pipeline, and that due in the period.

    Args:
        facts: The fact tables.
        settings: The instant, the period (else the fiscal quarter of `as_of`) and the scope.
        since: The start; `settings.since`, or seven days before, if none is given.
        detailed: How many deals of a bar are told with all their values.
    """
    start = since or review_start(settings)
    return Waterfalls(
        all_open=waterfall(facts, settings, start, detailed=detailed),
        period=waterfall(facts, settings, start, current_period(settings), detailed=detailed),
    )


def waterfall(
    facts: Facts,
    settings: Settings,
    start: datetime,
    window: Span | None = None,
    *,
    end: datetime | None = None,
    detailed: int = DETAILED,
) -> Waterfall:
    """What came into the open pipeline and what left it between two instants.

    Args:
        facts: The fact tables.
        settings: The zone, the currency and the scope.
        start: The instant of the first bar.
        window: Only deals expected to close in these days; all if none is given.
        end: The instant of the last bar; `as_of` if none is given.
        detailed: How many deals of a bar are told with all their values.

    Raises:
        UnbalancedWaterfall: The sum of the bars is not the last bar; names the deals.
    """
    found = between(facts, settings, start, end or settings.as_of)
    lines = flow_lines(facts, settings, found, window)
    parts = _parts(facts, lines)
    totals = {name: _total(parts, name) for name in (*BUCKETS, "unchanged")}
    _check(facts, lines, totals)
    refs = {name: level_refs(facts, lines, name) for name in ("start", "end")}
    moved = moved_lists(facts, found, lines, detailed)
    buckets = {
        name: Bucket(
            count=part.count,
            value=part.value,
            refs=refs[name] if name in refs else tuple(one.ref for one in moved.get(name, _NONE).lines),
            deals=() if name in refs else moved.get(name, _NONE).deals,
        )
        for name, part in totals.items()
        if name != "unchanged"
    }
    first, last = totals["start"], totals["end"]
    missing = facts.rows(
        f"SELECT ref, count(*) OVER () AS n FROM {lines} WHERE unpriced ORDER BY ref NULLS LAST LIMIT {REFS}"
    )
    net = subtract(last.value, first.value)
    return Waterfall(
        start_at=found.start,
        end_at=found.end,
        start_rates_on=local_date(found.start, settings),
        end_rates_on=local_date(found.end, settings),
        window_start=window and window.start,
        window_end=window and window.end,
        buckets=buckets,
        unchanged=Bucket(count=totals["unchanged"].count, value=totals["unchanged"].value),
        net_change=net,
        growth_rate=share(net, first.value, sample=first.count, min_sample=settings.min_sample),
        by_connection=_by_connection(parts),
        fx_missing_count=missing[0]["n"] if missing else 0,
        fx_missing_refs=tuple(row["ref"] for row in missing),
        won_check=None if window else _won_check(facts, lines, totals["won"]),
        history_starts=history_starts(facts, settings, found.start),
    )


def _parts(facts: Facts, lines: str) -> dict[str, dict[str, Part]]:
    """Count and value of every bar by connection."""
    columns = ", ".join(
        f"count(*) FILTER (WHERE {where}) AS {name}_count, sum({value}) FILTER (WHERE {where}) AS {name}_sum"
        for name, (where, value) in BARS.items()
    )
    rows = facts.rows(
        f"SELECT connection, {columns} FROM {lines} GROUP BY connection ORDER BY connection NULLS LAST"
    )
    return {
        row["connection"]: {
            name: Part(count=row[f"{name}_count"], value=scale.money(row[f"{name}_sum"])) for name in BARS
        }
        for row in rows
    }


def _total(parts: dict[str, dict[str, Part]], name: str) -> Part:
    count, value = 0, ZERO
    for one in parts.values():
        count, value = count + one[name].count, add(value, one[name].value)
    return Part(count=count, value=value)


def _by_connection(parts: dict[str, dict[str, Part]]) -> tuple[ConnectionFlow, ...]:
    return tuple(
        ConnectionFlow(
            connection=connection, buckets={name: found[name] for name in BUCKETS if found[name].count}
        )
        for connection, found in parts.items()
    )


def _check(facts: Facts, lines: str, totals: dict[str, Part]) -> None:
    """Refuse a waterfall whose bars do not add up, deal by deal or altogether (metrics.md 6.4)."""
    wrong = facts.rows(
        f"""
        SELECT ref FROM {lines} WHERE gap <> 0 OR count_gap <> 0 OR gap IS NULL OR count_gap IS NULL
        ORDER BY ref NULLS LAST LIMIT {_NAMED_IN_ERROR + 1}
        """
    )
    entries = sum(totals[name].count for name in ENTRIES) - sum(totals[name].count for name in EXITS)
    money = totals["start"].value
    for name in MOVED:
        money = add(money, totals[name].value)
    if not wrong and money == totals["end"].value and totals["start"].count + entries == totals["end"].count:
        return
    named = [str(row["ref"]) for row in wrong]
    more = " and others" if len(named) > _NAMED_IN_ERROR else ""
    raise UnbalancedWaterfall(
        f"the waterfall does not balance: {', '.join(named[:_NAMED_IN_ERROR])}{more}"
        if named
        else "the waterfall does not balance, though every deal of it does"
    )


def _won_check(facts: Facts, lines: str, bar: Part) -> WonCheck:
    row = facts.row(
        f"""
        SELECT count(*) AS n, sum(final_value) AS at_end, sum(y_frozen) AS frozen
        FROM {lines} WHERE closed_between AND y_status = '{WON}'
        """
    )
    other = facts.rows(
        f"""
        SELECT ref FROM {lines} WHERE exit_ = '{WON}' AND NOT closed_between
        ORDER BY went NULLS LAST, ref NULLS LAST LIMIT {REFS}
        """
    )
    return WonCheck(
        bar=subtract(ZERO, bar.value),
        won_count=row["n"],
        won_amount=scale.money(row["at_end"]),
        won_amount_frozen=scale.money(row["frozen"]),
        other_refs=tuple(one["ref"] for one in other),
    )
