"""The figures at the top of a page."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from crmkit.report.compared import Differences
from crmkit.report.figures import PipelineReport
from crmkit.report.render.cells import compact, fixed, grouped, money, percent
from crmkit.report.render.texts import Texts


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: what it is, how much, the exact value or the parts, and whether it alarms."""

    label: str
    value: str
    unit: str
    note: str
    tone: str = ""
    low_sample: bool = False


def pipeline_tiles(report: PipelineReport, texts: Texts) -> list[Tile]:
    """Open money first, then what becomes of it, then what is wrong with it."""
    opened, trailing, ageing = report.open, report.trailing, report.ageing
    rate, cycle = trailing.win_rates.count, trailing.average_cycle_days
    window = trailing_window(report, texts)

    def amount(label: str, value: Decimal, note: str, tone: str = "") -> Tile:
        return Tile(texts[label], compact(value, texts), report.report_currency, note, tone)

    def deals(count: int) -> str:
        return f"{grouped(str(count), texts)} {texts['deals']}"

    exact = money(opened.amount, report.report_currency, texts)
    return [
        amount("open_amount", opened.amount, f"{exact} · {deals(opened.count)}", "main"),
        amount(
            "weighted_amount",
            opened.weighted_amount,
            f"{deals(opened.count - opened.weighted_excluded_count)} · "
            f"{texts['weighted_excluded'].lower()}: {grouped(str(opened.weighted_excluded_count), texts)}",
        ),
        Tile(
            texts["win_rate"],
            percent(rate.value, texts),
            "",
            f"{grouped(str(rate.numerator), texts)} {texts['of']} {grouped(str(rate.denominator), texts)}"
            f" · {window}",
            low_sample=rate.low_sample,
        ),
        amount("won", trailing.won.amount, f"{deals(trailing.won.count)} · {window}"),
        Tile(
            texts["cycle"],
            texts["none"] if cycle.value is None else fixed(cycle.value, 0, texts),
            texts["days"],
            f"{deals(cycle.sample)} · {window}",
            low_sample=cycle.low_sample,
        ),
        amount(
            "overdue",
            report.overdue.amount,
            deals(report.overdue.count),
            "bad" if report.overdue.count else "",
        ),
        amount(
            "stale",
            ageing.stale.amount,
            f"{deals(ageing.stale.count)} · ≥ {report.stale_days} {texts['days']}",
            "warn" if ageing.stale.count else "",
        ),
    ]


def trailing_window(report: PipelineReport, texts: Texts) -> str:
    """The trailing window in words."""
    days = (report.trailing.end - report.trailing.start).days
    return texts["last_days"].format(count=grouped(str(days), texts))


def difference_tiles(found: Differences, texts: Texts) -> list[Tile]:
    """How much is linked, missing and different over all pairs."""
    linked = sum(pair.linked for pair in found.pairs)
    missing = sum(one.count for pair in found.pairs for one in pair.missing)
    fields = sum(len(pair.field_differences) for pair in found.pairs)
    deals = sum(len({one.deal for one in pair.field_differences}) for pair in found.pairs)

    def tile(label: str, count: int, note: str, tone: str = "") -> Tile:
        return Tile(texts[label], grouped(str(count), texts), "", note, tone if count else "")

    several = texts["pair_count"].format(count=len(found.pairs))
    where = several if len(found.pairs) > 1 else texts["one_pair"]
    return [
        tile("linked_pairs", linked, where, "main"),
        tile("missing_deals", missing, where, "warn"),
        tile("differing_fields", fields, texts["on_deals"].format(count=grouped(str(deals), texts)), "warn"),
        tile("duplicate_links", len(found.duplicate_links), texts["must_be_none"], "bad"),
    ]
