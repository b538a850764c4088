"""Tables of results by month, owner, team and CRM, and of win rates by stage entered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from crmkit.report.metrics.result_figures import MonthResults, ResultPart, ResultsInParts
from crmkit.report.render import fragments
from crmkit.report.render.cells import Cell, Column, Table, share_cell
from crmkit.report.render.tables.building import Tables, ended_deals

Part = TypeVar("Part", bound=ResultPart)


def month_deals(row: MonthResults, *status: str) -> str:
    """The fragment for deals closed in a month as one of some outcomes."""
    return fragments.deals(*fragments.days("closed", row.start, row.end), *fragments.any_of("status", status))


class PartTables(Tables):
    """Tables whose rows add up to the results of a window: the trailing one first, then the period."""

    def by_month(self) -> Table:
        """Results by calendar month."""
        return self._table(
            "results_by_month",
            "month",
            lambda span: span.by_month,
            lambda row: row.key,
            lambda span, row: month_deals(row, "won", "lost"),
        )

    def by_owner(self) -> Table:
        """Results by owner."""
        called = {
            span.start: Counter(row.owner for row in span.by_owner)
            for span in (self._report.trailing, self._report.period)
        }
        return self._table(
            "results_by_owner",
            "owner",
            lambda span: span.by_owner,
            lambda row: self._texts["no_owner"] if row.owner is None else row.owner,
            # Two owners may share a name; a fragment knows names only.
            lambda span, row: (
                ended_deals(span, ("owner", "=", row.owner)) if called[span.start][row.owner] == 1 else None
            ),
        )

    def by_team(self) -> Table:
        """Results by team."""
        return self._table(
            "results_by_team",
            "team",
            lambda span: span.by_team,
            lambda row: self._texts["no_team"] if row.team is None else row.team,
            lambda span, row: ended_deals(span, ("team", "=", row.team)),
        )

    def by_connection(self) -> Table:
        """Results by connection."""
        return self._table(
            "results_by_connection",
            "connection",
            lambda span: span.by_connection,
            lambda row: row.connection,
            lambda span, row: ended_deals(span, ("connection", "=", row.connection)),
        )

    def from_stage(self) -> Table:
        """Win rates over the deals that ever entered a stage."""
        report = self._report
        rows = tuple(
            (
                row.name,
                *(
                    cell
                    for rate in (row.win_rate, now.win_rate)
                    for cell in (share_cell(rate), int(rate.numerator), int(rate.denominator))
                ),
            )
            for row, now in zip(
                report.trailing.win_rate_from_stage, report.period.win_rate_from_stage, strict=True
            )
        )
        texts = self._texts
        columns = (
            self._column("stage", numeric=False),
            Column("trailing", texts["col_trailing"], numeric=True),
            Column("trailing_part", texts["col_won"], numeric=True),
            Column("trailing_of", texts["col_base"], numeric=True),
            Column("period", texts["col_period"], numeric=True),
            Column("period_part", texts["col_won"], numeric=True),
            Column("period_of", texts["col_base"], numeric=True),
        )
        return Table("win_rate_from_stage", texts["win_rate_from_stage"], columns, rows)

    def _table(
        self,
        name: str,
        column: str,
        parts: Callable[[ResultsInParts], Iterable[Part]],
        label: Callable[[Part], str],
        behind: Callable[[ResultsInParts, Part], str | None],
    ) -> Table:
        texts, report = self._texts, self._report
        spans = ((report.trailing, texts["col_trailing"]), (report.period, texts["col_period"]))
        columns = (
            self._column(column, numeric=False),
            self._column("window", numeric=False),
            Column("deals", texts["col_closed_deals"], numeric=True),
            *(self._column(key) for key in _COLUMNS),
        )
        found = [(span, title, row) for span, title in spans for row in parts(span)]
        rows = tuple((label(row), title, *self._cells(row)) for _, title, row in found)
        return Table(
            name, texts[name], columns, rows, None, tuple(behind(span, row) for span, _, row in found)
        )

    def _cells(self, row: ResultPart) -> Iterator[Cell]:
        yield row.won.count + row.lost.count
        for part in (row.won, row.lost, row.created):
            yield part.count
            yield self._money(part.amount)
        yield self._money(row.net_new_pipeline)
        yield share_cell(row.win_rate)


_COLUMNS = (
    "won_deals", "won_amount", "lost_deals", "lost_amount", "created_deals", "created_amount",
    "net_new", "rate",
)  # fmt: skip
