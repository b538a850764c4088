"""Bars as numbers from 0 to 100: a template draws them as SVG with colours of the page.

Labels and values stay text of the page, so that they keep their size on a telephone
and are read aloud; only the bars are SVG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from crmkit.report.figures import OpenFigures, PipelineReport
from crmkit.report.money import ZERO, add
from crmkit.report.ratios import divide
from crmkit.report.render.cells import compact, grouped, money, percent
from crmkit.report.render.pipeline_tables import RATES, age_label
from crmkit.report.render.texts import Texts
from crmkit.report.render.visible import visible

SERIES = 8
"""Colours of the page; more series than that start over."""

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar: where it starts and how long it is, of 100, and what it says."""

    start: str
    length: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its label, its value and what is read aloud."""

    label: str
    value: str
    note: str
    spoken: str
    segments: tuple[Segment, ...]
    low_sample: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with one scale; `legend` pairs a colour with a name; `ticks` are the scale's marks."""

    bars: tuple[Bar, ...]
    legend: tuple[tuple[str, str], ...] = ()
    ticks: tuple[str, ...] = ()


def stage_chart(report: PipelineReport, texts: Texts) -> Chart:
    """Open money by common stage, each bar in the colours of the CRMs."""
    connections = [row.connection for row in report.by_connection]
    colours = {name: f"s{place % SERIES}" for place, name in enumerate(connections)}
    rows = [row for row in report.by_stage if row.stage is not None or row.count]
    # Negative parts (credits) have no length; the value beside the bar includes them.
    top = max((_positive(part.amount for part in row.by_connection) for row in rows), default=ZERO)
    bars = []
    for row in rows:
        pieces = [
            (
                part.amount,
                colours[part.connection],
                f"{visible(part.connection)}: {_money(part.amount, report, texts)}"
                f" · {grouped(str(part.count), texts)} {texts['deals']}",
            )
            for part in row.by_connection
        ]
        label = visible(row.name or texts["unmapped"])
        bars.append(_bar(label, row, pieces, top, report, texts))
    return Chart(tuple(bars), tuple((colours[name], visible(name)) for name in connections))


def month_chart(report: PipelineReport, texts: Texts) -> Chart:
    """Open money by month of expected close: overdue, twelve months, later, no date."""
    horizon = report.by_close_month[:12]
    later = report.by_close_month[12:]
    columns: list[tuple[str, Decimal, int, str]] = [_column(texts["overdue"], report.overdue, "bad")]
    columns += [(_month(row.start), row.amount, row.count, "s0") for row in horizon]
    if later:
        amount = ZERO
        for row in later:
            amount = add(amount, row.amount)
        columns.append((texts["later"], amount, sum(row.count for row in later), "s0"))
    columns.append(_column(texts["no_close_date"], report.no_close_date, "mute"))
    top, ticks = _scale(max((amount for _, amount, _, _ in columns), default=ZERO), texts)
    bars = []
    for label, amount, count, colour in columns:
        spoken = f"{label}: {_money(amount, report, texts)} · {grouped(str(count), texts)} {texts['deals']}"
        segments = _segments([(amount, colour, spoken)], top)
        bars.append(Bar(label, compact(amount, texts) if amount else "", str(count), spoken, segments))
    return Chart(tuple(bars), ticks=ticks)


def age_chart(report: PipelineReport, texts: Texts) -> Chart:
    """Open money by age, darker the older."""
    buckets = [one for one in report.ageing.age_buckets if one.first_day is not None or one.count]
    top = max((one.amount for one in buckets), default=ZERO)
    bars = []
    for place, bucket in enumerate(buckets):
        label = age_label(bucket, texts)
        deals = f"{grouped(str(bucket.count), texts)} {texts['deals']}"
        title = f"{label}: {_money(bucket.amount, report, texts)} · {deals}"
        colour = f"a{place}" if bucket.first_day is not None else "mute"
        segments = _segments([(bucket.amount, colour, title)], top)
        bars.append(Bar(label, compact(bucket.amount, texts), deals, title, segments))
    return Chart(tuple(bars))


def win_chart(report: PipelineReport, texts: Texts) -> Chart:
    """The win rates of the trailing window, out of 100 percent."""
    bars = []
    for name in RATES:
        if name == "created_open":
            continue
        ratio = getattr(report.trailing.win_rates, name)
        parts = (
            [compact(part, texts) for part in (ratio.numerator, ratio.denominator)]
            if name == "amount"
            else [grouped(str(part), texts) for part in (ratio.numerator, ratio.denominator)]
        )
        note = f"{parts[0]} {texts['of']} {parts[1]}"
        label, value = texts[f"rate_{name}"], percent(ratio.value, texts)
        spoken = f"{label}: {value}, {note} ({texts[f'note_{name}']})"
        segments = _segments(
            [(ratio.value or ZERO, "s0" if name == "count" else "s0 soft", spoken)], Decimal(1)
        )
        bars.append(Bar(label, value, note, spoken, segments, ratio.low_sample))
    return Chart(tuple(bars))


def share_bar(value: Decimal | None, title: str) -> tuple[Segment, ...]:
    """A bar for one fraction."""
    return _segments([(value or ZERO, "s0", title)], Decimal(1))


def _bar(
    label: str,
    figures: OpenFigures,
    pieces: Sequence[tuple[Decimal, str, str]],
    top: Decimal,
    report: PipelineReport,
    texts: Texts,
) -> Bar:
    deals = f"{grouped(str(figures.count), texts)} {texts['deals']}"
    parts = "; ".join(title for _, _, title in pieces)
    spoken = f"{label}: {_money(figures.amount, report, texts)}, {deals}" + (f". {parts}" if parts else "")
    return Bar(label, compact(figures.amount, texts), deals, spoken, _segments(pieces, top))


def _segments(pieces: Iterable[tuple[Decimal, str, str]], top: Decimal) -> tuple[Segment, ...]:
    found: list[Segment] = []
    start = ZERO
    for amount, colour, title in pieces:
        length = (divide(amount, top) or ZERO) * _HUNDRED if amount > 0 and top > 0 else ZERO
        if length > 0:
            found.append(Segment(_digits(start), _digits(length), colour, title))
            start += length
    return tuple(found)


def _scale(largest: Decimal, texts: Texts) -> tuple[Decimal, tuple[str, ...]]:
    """A round top at or above the largest value, and four marks from the top down to zero."""
    if largest <= 0:
        return Decimal(1), ()
    unit = Decimal(1).scaleb(largest.adjusted())
    step = next(
        unit * size
        for size in (Decimal(n) for n in ("1", "1.5", "2", "3", "4", "6", "8", "10"))
        if unit * size >= largest
    )
    return step, tuple(compact(step * part / 4, texts) for part in (4, 3, 2, 1, 0))


def _positive(amounts: Iterable[Decimal]) -> Decimal:
    result = ZERO
    for amount in amounts:
        result = add(result, max(amount, ZERO))
    return result


def _column(label: str, figures: OpenFigures, colour: str) -> tuple[str, Decimal, int, str]:
    return label, figures.amount, figures.count, colour


def _money(amount: Decimal, report: PipelineReport, texts: Texts) -> str:
    return f"{report.report_currency} {money(amount, report.report_currency, texts)}"


def _month(day: date) -> str:
    return f"{day.year:04d}-{day.month:02d}"


def _digits(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
