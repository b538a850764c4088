"""The report in a few lines: first thing on a terminal, and all there is in a notification."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from crmkit.report.figures import (
    DealLine,
)
from crmkit.report.notify import Message
from crmkit.report.render.cells import Cell, Money, Share, compact, grouped, percent, share_cell
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import shortened, visible
from crmkit.report.whole import PipelineReport

_LONGEST_TEXT = 60
_NAMED_DEALS = 3

# What chats take for a mention, a link, a format or a picture reads the same in another letter.
_OTHER_LETTERS = str.maketrans(
    {
        "@": "＠", "#": "＃", "<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "*": "∗", "_": "＿",
        "~": "∼", "|": "¦", "&": "＆", "\\": "＼", "!": "ǃ", "$": "＄", "{": "(", "}": ")",
    }
)  # fmt: skip
_ADDRESS = re.compile(r"(?<=\w)\.(?=\w)|:(?=//)|:(?=\w)")


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure: `change` is since `since`, `None` where it is not known; `count` is of deals."""

    id: str
    label: str
    value: Cell
    count: int
    change: Decimal | None = None


def headlines(
    report: PipelineReport, texts: Texts = ENGLISH, changes: Mapping[str, Decimal | None] | None = None
) -> tuple[Headline, ...]:
    """The five figures: open, weighted, won in the period, win rate, overdue.

    Args:
        report: Where they are from.
        texts: The language.
        changes: What was added to each since an earlier day, by its id.
    """
    opened, won, rate = report.open, report.period.won, report.trailing.win_rates.count
    known = changes or {}

    def money(name: str, label: str, amount: Decimal, count: int) -> Headline:
        value = Money(amount, report.report_currency)
        return Headline(name, texts[label], value, count, known.get(name))

    return (
        money("open_amount", "open_amount", opened.amount, opened.count),
        money(
            "weighted_amount",
            "weighted_amount",
            opened.weighted_amount,
            opened.count - opened.weighted_excluded_count,
        ),
        money("won_amount", "won_in_period", won.amount, won.count),
        Headline(
            "win_rate", texts["win_rate"], share_cell(rate), int(rate.denominator), known.get("win_rate")
        ),
        money("overdue_amount", "overdue", report.overdue.amount, report.overdue.count),
    )


def digest(
    report: PipelineReport,
    texts: Texts = ENGLISH,
    *,
    changes: Mapping[str, Decimal | None] | None = None,
    since: date | None = None,
) -> Group:
    """The five figures and what waits for a person, for a terminal.

    Args:
        report: What to tell.
        texts: The language.
        changes: What was added to each figure since an earlier day, by its id.
        since: That day.
    """
    lines = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column()
    lines.add_column(justify="right", no_wrap=True)
    lines.add_column(justify="right", no_wrap=True)
    lines.add_column()
    for one in headlines(report, texts, changes):
        count = texts["deal_one" if one.count == 1 else "deal_many"]
        lines.add_row(
            Text(one.label),
            Text(_value(one.value, texts), style="bold"),
            Text(count.format(count=grouped(str(one.count), texts))),
            Text(_change(one, since, texts)),
        )
    waits = list(_waiting(report, texts))
    title = f"{texts['pipeline_title']} · {texts['as_of']} {report.as_of_date} · {report.report_currency}"
    end = Text(
        f"{texts['notify_waiting']}: {', '.join(waits)}" if waits else texts["notify_nothing"],
        style="yellow" if waits else "",
    )
    return Group(Text(title, style="bold"), Text(), lines, Text(), end, Text())


def announcement(
    report: PipelineReport,
    texts: Texts = ENGLISH,
    *,
    place: str | None = None,
    changes: Mapping[str, Decimal | None] | None = None,
    since: date | None = None,
) -> Message:
    """The report as a message for people in a chat or a mailbox.

    Texts of a CRM in it mention nobody, link nowhere and format nothing.

    Args:
        report: What to tell.
        texts: The language.
        place: Address or path of the whole report.
        changes: What was added to each figure since an earlier day, by its id.
        since: That day.
    """
    title = f"{texts['pipeline_title']}, {report.as_of_date}"
    plain: list[str] = []
    marked: list[str] = []
    for one in headlines(report, texts, changes):
        count = texts["deal_one" if one.count == 1 else "deal_many"].format(
            count=grouped(str(one.count), texts)
        )
        unit = f" {report.report_currency}" if isinstance(one.value, Money) else ""
        change = _change(one, since, texts)
        rest = f" · {count}" + (f" · {change}" if change else "")
        value = _value(one.value, texts) + unit
        plain.append(f"{one.label}: {value}{rest}")
        marked.append(f"- {one.label}: **{value}**{rest}")
    waits = list(_waiting(report, texts))
    if waits:
        plain += ["", f"{texts['notify_waiting']}:", *(f"- {one}" for one in waits)]
        marked += ["", f"**{texts['notify_waiting']}**", "", *(f"- {one}" for one in waits)]
    else:
        plain += ["", texts["notify_nothing"]]
        marked += ["", texts["notify_nothing"]]
    named = [_named(deal, report, texts) for deal in report.ageing.stale_deals[:_NAMED_DEALS]]
    if named:
        plain += ["", f"{texts['notify_stale_deals']}:", *(f"- {one}" for one in named)]
        marked += ["", f"**{texts['notify_stale_deals']}**", "", *(f"- {one}" for one in named)]
    if place:
        where = visible(place)
        plain += ["", f"{texts['notify_report']}: {where}"]
        linked = where.startswith(("https://", "http://"))
        target = where.replace("<", "%3C").replace(">", "%3E") if linked else where.replace("`", "'")
        marked += ["", f"{texts['notify_report']}: " + (f"<{target}>" if linked else f"`{target}`")]
    return Message(title, "\n".join(plain) + "\n", "\n".join(marked) + "\n")


def harmless(text: str) -> str:
    """A text of a CRM for a chat: on one line, without anything that a chat acts on."""
    seen = shortened(visible(text), _LONGEST_TEXT).translate(_OTHER_LETTERS)
    return _ADDRESS.sub(lambda found: "․" if found.group() == "." else "：", seen)


def _named(deal: DealLine, report: PipelineReport, texts: Texts) -> str:
    amount = f"{compact(deal.amount, texts)} {report.report_currency}"
    idle = "" if deal.idle_days is None else f", {deal.idle_days} {texts['days']}"
    owner = f", {harmless(deal.owner)}" if deal.owner else ""
    return f"{harmless(deal.name)}: {amount}{idle}{owner}"


def _waiting(report: PipelineReport, texts: Texts) -> Iterator[str]:
    for key, found in (
        ("notify_unmapped", report.items.unmapped),
        ("notify_rates", report.items.fx_missing),
        ("notify_errors", report.items.errors),
    ):
        if found:
            yield texts[key].format(count=grouped(str(len(found)), texts))


def _value(cell: Cell, texts: Texts) -> str:
    match cell:
        case Money():
            return compact(cell.amount, texts)
        case Share():
            return percent(cell.value, texts)
        case _:
            return texts["none"]


def _change(one: Headline, since: date | None, texts: Texts) -> str:
    """What was added since the day; empty where that is not known."""
    if one.change is None or since is None:
        return ""
    money = isinstance(one.value, Money)
    size = compact(one.change, texts) if money else percent(one.change, texts)
    sign = "+" if one.change > 0 else ""
    return texts["notify_change"].format(change=f"{sign}{size}", day=since.isoformat())
