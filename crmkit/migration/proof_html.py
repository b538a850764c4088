"""A proof as one HTML file: no scripts, nothing loaded, every text of a CRM escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from crmkit.migration.proof_changes import Change
from crmkit.migration.proof_file import UNEXPLAINED, Proof, Sum, Verdict
from crmkit.migration.proof_reasons import EXPLANATIONS
from crmkit.migration.proof_tables import (
    agreement_table,
    changes_table,
    counts_table,
    differences_table,
    group_name,
    groupings,
    left_behind_table,
    links_table,
    sums_table,
)
from crmkit.migration.proof_texts import PROOF_ENGLISH
from crmkit.report.ratios import divide
from crmkit.report.render.cells import Table, compact, grouped, money
from crmkit.report.render.charts import Bar, Chart, Segment
from crmkit.report.render.html import ROW_LIMIT, render_page
from crmkit.report.render.texts import Texts
from crmkit.report.render.tiles import Tile
from crmkit.report.render.visible import visible

BARS = 12
"""Groups of one chart: the largest ones; the table below it has all."""
CURRENCIES = 3
"""Charts of one grouping: the currencies with the most deals."""
_TONES = {Verdict.PROVEN: "good", Verdict.EXPLAINED: "soft", Verdict.UNPROVEN: ""}


@dataclass(frozen=True, slots=True)
class _Day:
    """What the frame of every page asks a report for."""

    as_of_date: date


@dataclass(frozen=True, slots=True)
class _Grouping:
    """Sums of one grouping: bars per currency, and the table with all of them."""

    title: str
    charts: tuple[tuple[str, Chart], ...]
    table: Table
    off: int


@dataclass(frozen=True, slots=True)
class _Sort:
    """Differences with one explanation."""

    code: str
    title: str
    table: Table


def proof_html(
    proof: Proof,
    changes: Sequence[Change] | None = None,
    texts: Texts = PROOF_ENGLISH,
    *,
    limit: int = ROW_LIMIT,
) -> str:
    """The proof as a page: the verdict, both sides beside each other, then every difference and why.

    Args:
        proof: What to show.
        changes: What changed since an earlier proof, if there is one to compare with.
        texts: The language.
        limit: Rows of one table; the page says how many it leaves out.
    """
    return render_page(
        "proof.html.j2",
        texts,
        limit,
        {
            "title": texts["proof_title"],
            "report": _Day(proof.made_at.date()),
            "proof": proof,
            "verdict": texts[f"{proof.verdict.value}_words"],
            "tone": _TONES[proof.verdict],
            "tiles": _tiles(proof, texts),
            "moment": lambda at: _moment(at, texts),
            "counts": counts_table(proof, texts),
            "groupings": [_grouping(proof, by, texts) for by in groupings(proof)],
            "sorts": _sorts(proof, texts),
            "changes": changes_table(changes, texts) if changes is not None else None,
            "links": links_table(proof, texts),
            "agreement": agreement_table(proof, texts),
            "left_behind": left_behind_table(proof, texts),
        },
    )


def _tiles(proof: Proof, texts: Texts) -> list[Tile]:
    found = proof.findings
    kinds = {kind: len(rows) for kind, rows in proof.hashes.items()}
    compared = texts["record_count"].format(count=grouped(str(sum(kinds.values())), texts))
    records = texts["on_records"].format(count=grouped(str(found.different), texts))
    bad = proof.verdict is Verdict.UNPROVEN
    return [
        Tile(texts["verdict"], texts[proof.verdict.value], "", compared, "bad" if bad else "main"),
        Tile(texts["same"], grouped(str(found.same), texts), "", compared),
        Tile(
            texts["explained_count"],
            grouped(str(found.explained), texts),
            "",
            records,
            "warn" if found.explained else "",
        ),
        Tile(
            texts["unexplained_count"],
            grouped(str(found.unexplained), texts),
            "",
            texts["must_be_zero"],
            "bad" if found.unexplained else "",
        ),
    ]


def _sorts(proof: Proof, texts: Texts) -> list[_Sort]:
    """Differences by explanation, what nobody can explain first."""
    codes = {one.code for record in proof.records for one in record.differences}
    ordered = sorted(codes, key=lambda code: (code != UNEXPLAINED, code))
    return [
        _Sort(code, EXPLANATIONS.get(code, code), differences_table(proof.records, texts, code))
        for code in ordered
    ]


def _grouping(proof: Proof, by: str, texts: Texts) -> _Grouping:
    sums = [one for one in proof.sums if one.by == by]
    off = sum(bool(one.difference) or one.source_deals != one.target_deals for one in sums)
    charts = () if by in ("total", "left_out") else tuple(_charts(sums, proof, texts))
    return _Grouping(
        texts[f"sum_{by}"], charts, sums_table(proof.sums, texts, by), off if by != "left_out" else 0
    )


def _charts(sums: Iterable[Sum], proof: Proof, texts: Texts) -> list[tuple[str, Chart]]:
    by_currency: dict[str, list[Sum]] = {}
    for one in sums:
        if one.currency:
            by_currency.setdefault(one.currency, []).append(one)
    most = sorted(by_currency, key=lambda name: (-sum(one.source_deals for one in by_currency[name]), name))
    return [(currency, _chart(by_currency[currency], proof, texts)) for currency in most[:CURRENCIES]]


def _chart(sums: Sequence[Sum], proof: Proof, texts: Texts) -> Chart:
    """A pair of bars for each group, with one scale."""
    size = {id(one): max(abs(one.source_amount), abs(one.target_amount)) for one in sums}
    largest = {id(one) for one in sorted(sums, key=lambda one: -size[id(one)])[:BARS]}
    chosen = [one for one in sums if id(one) in largest]
    top = max(size.values(), default=Decimal(0))
    sides = ((proof.source.connection, "s0"), (proof.target.connection, "s2"))
    bars: list[Bar] = []
    for one in chosen:
        group = visible(group_name(one, texts))
        off = texts["off_by"].format(amount=money(one.difference, one.currency, texts))
        labels = (group, texts["balanced"] if not one.difference else off)
        figures = ((one.source_deals, one.source_amount), (one.target_deals, one.target_amount))
        for label, (side, colour), (deals, amount) in zip(labels, sides, figures, strict=True):
            note = f"{grouped(str(deals), texts)} {texts['deals']}"
            exact = money(amount, one.currency, texts)
            spoken = f"{group}, {visible(side)}: {visible(one.currency)} {exact}, {note}"
            bars.append(
                Bar(label, compact(amount, texts), note, spoken, _segment(amount, top, colour, spoken))
            )
    return Chart(tuple(bars), tuple((colour, visible(side)) for side, colour in sides))


def _segment(amount: Decimal, top: Decimal, colour: str, title: str) -> tuple[Segment, ...]:
    # Credits have no length; the value beside the bar tells them.
    share = divide(amount, top) if amount > 0 and top > 0 else None
    if not share:
        return ()
    length = (share * 100).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    return (Segment("0", str(length), colour, title),)


def _moment(at: datetime | None, texts: Texts) -> str:
    return texts["never"] if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
