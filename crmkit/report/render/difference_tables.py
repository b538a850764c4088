"""The differences as tables, the same for every format."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crmkit.report.compared import Differences, Missing, PairDifferences, StageMapCoverage
from crmkit.report.render.cells import Cell, Column, Link, Money, Table, share_cell
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import visible

_Rows = tuple[tuple[Cell, ...], ...]


def difference_tables(found: Differences, texts: Texts = ENGLISH) -> list[Table]:
    """Every table: the overview, then each kind of difference over all pairs."""
    tables = _Tables(found, texts)
    return [
        tables.overview(),
        tables.link_rates(),
        tables.field_agreement(found.pairs),
        tables.field_differences(found.pairs),
        tables.missing([missing for pair in found.pairs for missing in pair.missing]),
        tables.stage_parity(found.pairs),
        tables.amount_parity(found.pairs),
        tables.duplicates(),
        tables.coverage(),
        tables.missing_rates(),
    ]


def pair_tables(found: Differences, pair: PairDifferences, texts: Texts = ENGLISH) -> PairTables:
    """The tables of one pair, for a page that shows pair by pair under the names of the CRMs."""
    tables = _Tables(found, texts)
    return PairTables(
        field_differences=tables.pair_differences(pair),
        missing=tuple(
            replace(tables.missing([one]), title=texts["only_in"].replace("{name}", visible(one.present_in)))
            for one in pair.missing
        ),
        stage_parity=_named(tables.stage_parity((pair,)), pair),
        amount_parity=_named(tables.amount_parity((pair,)), pair),
    )


@dataclass(frozen=True, slots=True)
class PairTables:
    """What differs between two connections; `missing` has one table for each side."""

    field_differences: Table
    missing: tuple[Table, ...]
    stage_parity: Table
    amount_parity: Table


def overview_table(found: Differences, texts: Texts = ENGLISH) -> Table:
    """One line for each pair."""
    return _Tables(found, texts).overview()


def _named(table: Table, pair: PairDifferences) -> Table:
    """The table with the sides under their names instead of first and second."""
    sides = {"x_deals": pair.x, "y_deals": pair.y, "x_amount": pair.x, "y_amount": pair.y}
    columns = tuple(
        replace(column, title=visible(sides.get(column.key, column.title))) for column in table.columns
    )
    return replace(table, columns=columns)


class _Tables:
    def __init__(self, found: Differences, texts: Texts) -> None:
        self._found = found
        self._texts = texts
        self._currency = found.report_currency

    def _words(self, *keys: str) -> tuple[Column, ...]:
        return tuple(Column(key, self._texts[f"col_{key}"]) for key in keys)

    def _numbers(self, *keys: str) -> tuple[Column, ...]:
        return tuple(Column(key, self._texts[f"col_{key}"], numeric=True) for key in keys)

    def _table(self, name: str, columns: tuple[Column, ...], rows: _Rows) -> Table:
        return Table(name, self._texts[name], columns, rows)

    def overview(self) -> Table:
        rows = tuple(
            (
                pair.x,
                pair.y,
                pair.linked,
                share_cell(pair.link_rates[0].rate),
                share_cell(pair.link_rates[1].rate),
                pair.missing[0].count,
                pair.missing[1].count,
                len(pair.field_differences),
            )
            for pair in self._found.pairs
        )
        columns = (
            *self._words("x", "y"),
            *self._numbers("linked"),
            Column("link_rate_x", f"{self._texts['col_linked_of']}, {self._texts['col_x']}", numeric=True),
            Column("link_rate_y", f"{self._texts['col_linked_of']}, {self._texts['col_y']}", numeric=True),
            *self._numbers("missing_x", "missing_y", "differing"),
        )
        return self._table("overview", columns, rows)

    def link_rates(self) -> Table:
        rows = tuple(
            (
                one.connection,
                one.other,
                int(one.rate.numerator),
                int(one.rate.denominator),
                share_cell(one.rate),
            )
            for pair in self._found.pairs
            for one in pair.link_rates
        )
        columns = (*self._words("connection", "other"), *self._numbers("linked", "deals", "linked_of"))
        return self._table("link_rates", columns, rows)

    def field_agreement(self, pairs: tuple[PairDifferences, ...]) -> Table:
        rows = tuple(
            (
                pair.x,
                pair.y,
                self._texts[one.field.value],
                share_cell(one.agreement),
                int(one.agreement.numerator),
                int(one.agreement.denominator),
                one.differing,
                one.not_comparable,
            )
            for pair in pairs
            for one in pair.field_agreement
        )
        columns = (
            *self._words("x", "y", "field"),
            *self._numbers("agreement"),
            Column("equal", "=", numeric=True),
            *self._numbers("base"),
            Column("differing", "≠", numeric=True),
            *self._numbers("not_comparable"),
        )
        return self._table("field_agreement", columns, rows)

    def field_differences(self, pairs: tuple[PairDifferences, ...]) -> Table:
        rows = tuple(
            (
                one.name,
                self._texts[one.field.value],
                Link(pair.x, one.x_url),
                one.x_value,
                Link(pair.y, one.y_url),
                one.y_value,
                one.x_ref,
                one.y_ref,
            )
            for pair in pairs
            for one in pair.field_differences
        )
        columns = (
            *self._words("deal", "field", "x"),
            Column("x_value", self._texts["col_value"]),
            *self._words("y"),
            Column("y_value", self._texts["col_value"]),
            Column("x_ref", self._texts["col_ref"]),
            Column("y_ref", self._texts["col_ref"]),
        )
        return self._table("field_differences", columns, rows)

    def pair_differences(self, pair: PairDifferences) -> Table:
        none = self._texts["no_value"]
        rows = tuple(
            (
                one.name,
                self._texts[one.field.value],
                Link(none if one.x_value is None else one.x_value, one.x_url),
                Link(none if one.y_value is None else one.y_value, one.y_url),
            )
            for one in pair.field_differences
        )
        columns = (
            *self._words("deal", "field"),
            Column("x_value", visible(pair.x)),
            Column("y_value", visible(pair.y)),
        )
        return self._table("field_differences", columns, rows)

    def missing(self, found: list[Missing]) -> Table:
        rows = tuple(
            (
                Link(deal.name, deal.url),
                one.present_in,
                one.missing_in,
                deal.stage,
                self._texts[deal.outcome.value],
                deal.company,
                deal.owner,
                deal.expected_close,
                Money(deal.amount, deal.currency) if deal.amount is not None else None,
                deal.currency,
                deal.ref,
            )
            for one in found
            for deal in one.deals
        )
        columns = (
            *self._words("deal", "present", "missing_in", "stage", "outcome", "company", "owner", "close"),
            *self._numbers("amount"),
            *self._words("currency", "ref"),
        )
        return self._table("missing", columns, rows)

    def stage_parity(self, pairs: tuple[PairDifferences, ...]) -> Table:
        rows = tuple(
            (
                pair.x,
                pair.y,
                one.name or self._texts["unmapped"],
                one.x_count,
                one.y_count,
                one.count_difference,
                Money(one.x_amount, self._currency),
                Money(one.y_amount, self._currency),
                Money(one.amount_difference, self._currency),
            )
            for pair in pairs
            for one in pair.stage_parity
            if one.stage is not None or one.x_count or one.y_count
        )
        columns = (
            *self._words("x", "y", "stage"),
            *self._numbers("x_deals", "y_deals"),
            Column("count_difference", self._texts["col_difference"], numeric=True),
            *self._numbers("x_amount", "y_amount"),
            Column("amount_difference", self._texts["col_difference"], numeric=True),
        )
        return self._table("stage_parity", columns, rows)

    def amount_parity(self, pairs: tuple[PairDifferences, ...]) -> Table:
        rows = tuple(
            (
                pair.x,
                pair.y,
                self._texts["in_report_currency"].format(currency=one.currency)
                if one.converted
                else one.currency or self._texts["no_currency"],
                Money(one.x_amount, one.currency),
                Money(one.y_amount, one.currency),
                Money(one.difference, one.currency),
            )
            for pair in pairs
            for one in pair.amount_parity
        )
        columns = (*self._words("x", "y", "currency"), *self._numbers("x_amount", "y_amount", "difference"))
        return self._table("amount_parity", columns, rows)

    def duplicates(self) -> Table:
        rows = tuple((one.connection, ", ".join(one.refs)) for one in self._found.duplicate_links)
        return self._table("duplicate_links", self._words("connection", "refs"), rows)

    def missing_rates(self) -> Table:
        rows = tuple(
            (
                one.name,
                one.currency or self._texts["no_currency"],
                one.day,
                Money(one.amount, one.currency),
                one.ref,
            )
            for one in self._found.fx_missing
        )
        columns = (*self._words("deal", "currency", "day"), *self._numbers("amount"), *self._words("ref"))
        return self._table("missing_rates", columns, rows)

    def coverage(self) -> Table:
        rows = tuple(
            row
            for one in self._found.stage_map_coverage
            for row in (self._covered(one), *self._findings(one))
        )
        columns = (
            *self._words("connection", "pipeline", "stage", "finding"),
            *self._numbers("deals", "coverage"),
        )
        return self._table("stage_map_coverage", columns, rows)

    def _covered(self, one: StageMapCoverage) -> tuple[Cell, ...]:
        return (one.connection, None, None, None, one.coverage.sample, share_cell(one.coverage))

    def _findings(self, one: StageMapCoverage) -> _Rows:
        texts = self._texts
        return (
            *(
                (one.connection, found.pipeline, found.stage, texts["finding_unmapped"], found.deals, None)
                for found in one.unmapped
            ),
            *(
                (
                    one.connection,
                    found.pipeline,
                    ", ".join(found.stages),
                    texts["finding_many"].replace("{stage}", found.common_stage),
                    None,
                    None,
                )
                for found in one.many_to_one
            ),
            *(
                (
                    one.connection,
                    found.pipeline,
                    found.stage,
                    texts["finding_clash"]
                    .replace("{outcome}", texts[found.outcome.value])
                    .replace("{common}", texts[found.common_outcome.value])
                    .replace("{stage}", found.common_stage),
                    None,
                    None,
                )
                for found in one.clashes
            ),
        )
