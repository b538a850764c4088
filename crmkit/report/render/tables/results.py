"""Tables of what became of deals: results, win rates, losses, velocity."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from crmkit.report.figures import LostPart, PeriodResults
from crmkit.report.metrics.result_figures import ResultsInParts
from crmkit.report.render.cells import Cell, Column, Days, Money, Table, days_cell, money_cell, share_cell
from crmkit.report.render.tables.building import Tables, closed_deals

RATES = ("count", "amount", "competitive", "created", "created_resolved", "created_open", "strict")
"""The win rates, by their names in the report, in the order in which they are shown."""


class ResultTables(Tables):
    """Tables over the trailing window and the period."""

    def results(self) -> Table:
        """Won, lost and created."""
        texts = self._texts
        spans = (self._report.trailing, self._report.period)
        lines: tuple[tuple[str, Callable[[ResultsInParts], Cell]], ...] = (
            ("won", lambda span: span.won.count),
            ("won", lambda span: self._money(span.won.amount)),
            ("lost", lambda span: span.lost.count),
            ("lost", lambda span: self._money(span.lost.amount)),
            ("created", lambda span: span.created.count),
            ("created", lambda span: self._money(span.created.amount)),
            ("created_at_creation", lambda span: span.created_at_creation_count),
            ("created_at_creation", lambda span: self._money(span.created_amount_at_creation)),
            ("net_new", lambda span: self._money(span.net_new_pipeline)),
            ("col_average_won", lambda span: money_cell(span.average_won_amount, self._currency)),
            ("cycle", lambda span: days_cell(span.average_cycle_days)),
            ("median_cycle", lambda span: days_cell(span.median_cycle_days)),
        )
        rows = tuple(
            (self._line(key, cell(spans[0])), *(cell(span) for span in spans)) for key, cell in lines
        )
        columns = (
            self._column("metric", numeric=False),
            Column("trailing", self._span_title("col_trailing", spans[0]), numeric=True),
            Column("period", self._span_title("col_period", spans[1]), numeric=True),
        )
        return Table("results", texts["results"], columns, rows)

    def _line(self, key: str, cell: Cell) -> str:
        unit = {Money: self._currency, Days: self._texts["days"], int: self._texts["deals"]}.get(
            type(cell), ""
        )
        return f"{self._texts[key]}, {unit}"

    def _span_title(self, key: str, span: PeriodResults) -> str:
        return f"{self._texts[key]} {span.start.isoformat()}/{span.end.isoformat()}"

    def win_rates(self) -> Table:
        """The win rates with their parts."""
        texts, rates, period = self._texts, self._report.trailing.win_rates, self._report.period.win_rates
        rows = tuple(
            (
                texts[f"rate_{name}"],
                share_cell(getattr(rates, name)),
                self._part(name, getattr(rates, name).numerator),
                self._part(name, getattr(rates, name).denominator),
                share_cell(getattr(period, name)),
                self._part(name, getattr(period, name).numerator),
                self._part(name, getattr(period, name).denominator),
                texts[f"note_{name}"],
            )
            for name in RATES
        )
        columns = (
            self._column("rate", numeric=False),
            Column("trailing", texts["col_trailing"], numeric=True),
            Column("trailing_part", texts["col_won"], numeric=True),
            Column("trailing_of", texts["col_base"], numeric=True),
            Column("period", texts["col_period"], numeric=True),
            Column("period_part", texts["col_won"], numeric=True),
            Column("period_of", texts["col_base"], numeric=True),
            self._column("note", numeric=False),
        )
        return Table("win_rates", texts["win_rates"], columns, rows)

    def _part(self, rate: str, value: Decimal) -> Cell:
        return self._money(value) if rate == "amount" else int(value)

    def lost_reasons(self) -> Table:
        """Lost deals by reason."""
        parts = self._report.trailing.lost_by_reason
        return self._lost("lost_reasons", "reason", "lost_reason", parts, lambda name: name)

    def lost_kinds(self) -> Table:
        """Lost deals by kind."""
        texts = self._texts
        parts = self._report.trailing.lost_by_kind
        return self._lost("lost_kinds", "kind", "lost_kind", parts, lambda name: texts[f"kind_{name}"])

    def _lost(
        self,
        table: str,
        column: str,
        field: str,
        parts: tuple[LostPart, ...],
        label: Callable[[str], str],
    ) -> Table:
        texts, lost = self._texts, self._report.trailing.lost
        rows = tuple(
            (label(part.name) if part.name else texts["no_reason"], part.count, self._money(part.amount))
            for part in parts
        )
        columns = (self._column(column, numeric=False), self._column("deals"), self._column("amount"))
        behind = tuple(closed_deals(self._report.trailing, "lost", (field, "=", part.name)) for part in parts)
        total = (texts["all"], lost.count, self._money(lost.amount))
        return Table(table, texts[table], columns, rows, total, behind)

    def velocity(self) -> Table:
        """Money per day by pipeline."""
        rows = tuple(
            (
                row.connection,
                row.pipeline,
                row.open_count,
                money_cell(row.average_won_amount, self._currency),
                share_cell(row.win_rate),
                days_cell(row.average_cycle_days),
                self._money(row.per_day),
            )
            for row in self._report.velocity
        )
        columns = (
            self._column("connection", numeric=False),
            self._column("pipeline", numeric=False),
            self._column("open_deals"),
            self._column("average_won"),
            Column("win_rate", self._texts["win_rate"], numeric=True),
            self._column("cycle"),
            self._column("velocity"),
        )
        # Velocity counts qualified deals only where a stage is set as such, which a fragment cannot tell.
        return Table("velocity", self._texts["velocity"], columns, rows)
