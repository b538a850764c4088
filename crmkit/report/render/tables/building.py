"""What the makers of the report's tables share: columns by key, amounts, rows of open figures."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from crmkit.report.figures import OpenFigures, PeriodResults
from crmkit.report.render import fragments
from crmkit.report.render.cells import Cell, Column, Money, Table
from crmkit.report.render.texts import Texts
from crmkit.report.whole import PipelineReport


def closed_deals(span: PeriodResults, status: str, *tests: fragments.Test) -> str:
    """The fragment for deals of one outcome in the days of a period."""
    return fragments.deals(*fragments.days("closed", span.start, span.end), *tests, status=status)


def ended_deals(span: PeriodResults, *tests: fragments.Test) -> str:
    """The fragment for deals won or lost in the days of a period."""
    either = fragments.any_of("status", ("won", "lost"))
    return fragments.deals(*fragments.days("closed", span.start, span.end), *either, *tests)


class Tables:
    """A report, and the language of its tables."""

    def __init__(self, report: PipelineReport, texts: Texts) -> None:
        self._report = report
        self._texts = texts
        self._currency = report.report_currency

    def _money(self, amount: Decimal | None) -> Money:
        return Money(amount, self._currency)

    def _column(self, key: str, *, text: str | None = None, numeric: bool = True) -> Column:
        return Column(key, self._texts[f"col_{text or key}"], numeric)

    def _open_columns(self) -> tuple[Column, ...]:
        return (
            self._column("deals"),
            self._column("amount"),
            self._column("weighted"),
            self._column("no_amount"),
            self._column("no_rate"),
            self._column("no_probability"),
        )

    def _open_cells(self, figures: OpenFigures) -> tuple[Cell, ...]:
        return (
            figures.count,
            self._money(figures.amount),
            self._money(figures.weighted_amount),
            figures.amount_missing_count,
            figures.fx_missing_count,
            figures.weighted_excluded_count,
        )

    def _open_table(
        self,
        name: str,
        leading: tuple[Column, ...],
        rows: Iterable[tuple[tuple[Cell, ...], OpenFigures, str | None]],
        *,
        records: int | None = None,
    ) -> Table:
        """Rows of open figures that add up to the whole open pipeline."""
        blank = (None,) * (len(leading) - 1)
        extra: tuple[Cell, ...] = blank if records is None else (records,)
        listed = list(rows)
        return Table(
            name,
            self._texts[name],
            (*leading, *self._open_columns()),
            tuple((*cells, *self._open_cells(figures)) for cells, figures, _ in listed),
            (self._texts["all"], *extra, *self._open_cells(self._report.open)),
            tuple(behind for _, _, behind in listed),
        )
