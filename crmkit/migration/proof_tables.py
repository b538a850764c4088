"""A proof as tables, the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crmkit.migration.proof_changes import CHANGES, Change
from crmkit.migration.proof_file import Proof, Record, Sum
from crmkit.migration.proof_reasons import EXPLANATIONS
from crmkit.migration.proof_sums import GROUPS, NO_CURRENCY
from crmkit.migration.proof_texts import PROOF_ENGLISH
from crmkit.report.render.cells import Cell, Column, Link, Money, Table
from crmkit.report.render.texts import Texts

_Rows = Iterable[tuple[Cell, ...]]


def proof_tables(
    proof: Proof, changes: Sequence[Change] | None = None, texts: Texts = PROOF_ENGLISH
) -> list[Table]:
    """Every table: the verdict first, then figures, then each difference."""
    tables = [
        verdict_table(proof, texts),
        counts_table(proof, texts),
        sums_table(proof.sums, texts),
        links_table(proof, texts),
        agreement_table(proof, texts),
        left_behind_table(proof, texts),
        explanations_table(proof, texts),
        differences_table(proof.records, texts),
    ]
    return [*tables, changes_table(changes, texts)] if changes is not None else tables


def verdict_table(proof: Proof, texts: Texts) -> Table:
    """What is proven, with the figures behind it."""
    found = proof.findings
    rows: _Rows = (
        (texts["verdict"], texts[proof.verdict.value]),
        (texts["same"], found.same),
        (texts["explained_count"], found.explained),
        (texts["unexplained_count"], found.unexplained),
        (texts["hash"], proof.hash),
    )
    columns = (*_words(texts, "metric"), Column("value", texts["col_value"], numeric=True))
    return _table(texts, "verdict", columns, rows)


def counts_table(proof: Proof, texts: Texts) -> Table:
    """Records per kind."""
    names = ("in_scope", "linked", "missing", "left_out", "extra", "pre_existing")
    rows = ((one.kind, *(getattr(one, name) for name in names)) for one in proof.counts)
    return _table(texts, "counts", (*_words(texts, "kind"), *_numbers(texts, *names)), rows)


def sums_table(sums: Sequence[Sum], texts: Texts, by: str = "") -> Table:
    """Deals and money on both sides, of one grouping or of all."""
    chosen = [one for one in sums if not by or one.by == by]
    rows = (
        (
            *(() if by else (texts[f"sum_{one.by}"],)),
            group_name(one, texts),
            currency_name(one, texts),
            one.source_deals,
            one.target_deals,
            one.target_deals - one.source_deals,
            *_money(one),
        )
        for one in chosen
    )
    columns = (
        *(() if by else _words(texts, "by")),
        *_words(texts, "group", "currency"),
        *_numbers(texts, "source_deals", "target_deals"),
        Column("deals_difference", texts["col_difference"], numeric=True),
        *_numbers(texts, "source_amount", "target_amount"),
        Column("amount_difference", texts["col_difference"], numeric=True),
    )
    title = texts[f"sum_{by}"] if by else texts["sums"]
    return Table(f"sum_{by}" if by else "sums", title, columns, tuple(rows))


def links_table(proof: Proof, texts: Texts) -> Table:
    """Ties on both sides."""
    names = ("source", "target", "both", "missing", "not_carried", "extra")
    rows = ((one.link, *(getattr(one, name) for name in names)) for one in proof.links)
    return _table(texts, "links", (*_words(texts, "link"), *_numbers(texts, *names)), rows)


def agreement_table(proof: Proof, texts: Texts) -> Table:
    """Agreement per kind and field."""
    names = ("agree", "differ", "inexpressible")
    rows = ((one.kind, one.field, *(getattr(one, name) for name in names)) for one in proof.agreement)
    columns = (*_words(texts, "kind", "field"), *_numbers(texts, *names))
    return _table(texts, "agreement", columns, rows)


def left_behind_table(proof: Proof, texts: Texts) -> Table:
    """Fields that the migration does not take."""
    rows = ((one.field, one.deals) for one in proof.left_behind)
    return _table(texts, "left_behind", (*_words(texts, "field"), *_numbers(texts, "deals")), rows)


def explanations_table(proof: Proof, texts: Texts) -> Table:
    """How many differences there are of each sort."""
    rows = ((EXPLANATIONS.get(code, code), code, count) for code, count in proof.findings.by_code.items())
    columns = (*_words(texts, "why", "code"), *_numbers(texts, "count"))
    return _table(texts, "explanations", columns, rows)


def differences_table(records: Sequence[Record], texts: Texts, code: str = "") -> Table:
    """Each difference, of one sort or of all, with addresses in both CRMs."""
    rows = (
        (
            Link(record.label or record.source or record.target, record.source_url or record.target_url),
            record.kind,
            one.field or texts["whole"],
            Link(one.source, record.source_url),
            Link(one.target, record.target_url),
            *(() if code else (one.code,)),
            one.reason,
            record.source,
            record.target,
        )
        for record in records
        for one in record.differences
        if not code or one.code == code
    )
    columns = (
        *_words(texts, "record", "kind", "field", "source", "target"),
        *(() if code else _words(texts, "code")),
        *_words(texts, "why"),
        Column("source_id", f"{texts['col_ref']}, {texts['col_source']}"),
        Column("target_id", f"{texts['col_ref']}, {texts['col_target']}"),
    )
    return _table(texts, "differences", columns, rows)


def changes_table(changes: Sequence[Change], texts: Texts) -> Table:
    """What changed since an earlier proof."""
    rows = (
        (CHANGES.get(one.what, one.what), one.kind, one.source, one.target, one.before, one.after)
        for one in changes
    )
    columns = _words(texts, "change", "kind", "source", "target", "before", "after")
    return _table(texts, "changes", columns, rows)


def group_name(one: Sum, texts: Texts) -> str:
    """A group in words."""
    return " / ".join(part or texts["no_value"] for part in one.key) or texts["all"]


def currency_name(one: Sum, texts: Texts) -> str:
    """A currency in words."""
    if not one.currency:
        return texts["no_amount"]
    return texts["no_currency"] if one.currency == NO_CURRENCY else one.currency


def groupings(proof: Proof) -> list[str]:
    """The groupings that have sums, in order."""
    there = {one.by for one in proof.sums}
    return [by for by in GROUPS if by in there]


def _money(one: Sum) -> tuple[Cell, ...]:
    if not one.currency:
        return (None, None, None)
    amounts = (one.source_amount, one.target_amount, one.difference)
    return tuple(Money(amount, one.currency) for amount in amounts)


def _words(texts: Texts, *keys: str) -> tuple[Column, ...]:
    return tuple(Column(key, texts[f"col_{key}"]) for key in keys)


def _numbers(texts: Texts, *keys: str) -> tuple[Column, ...]:
    return tuple(Column(key, texts[f"col_{key}"], numeric=True) for key in keys)


def _table(texts: Texts, name: str, columns: tuple[Column, ...], rows: _Rows) -> Table:
    return Table(name, texts[name], columns, tuple(rows))
