"""The pipeline report as tables, the same for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal

from crmkit.report.figures import (
    AgeBucket,
    CloseFigures,
    DealLine,
    LostPart,
    OpenFigures,
    PeriodResults,
)
from crmkit.report.ratios import divide
from crmkit.report.render import fragments
from crmkit.report.render.cells import (
    Cell,
    Column,
    Days,
    Link,
    Money,
    Share,
    Table,
    days_cell,
    money_cell,
    share_cell,
)
from crmkit.report.render.flow_tables import flow_tables
from crmkit.report.render.tables import further_tables
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.whole import PipelineReport


def pipeline_tables(report: PipelineReport, texts: Texts = ENGLISH) -> list[Table]:
    """Every table of the report, in the order in which it is read."""
    builder = _Builder(report, texts)
    return [
        builder.summary(),
        builder.by_stage(),
        builder.by_connection(),
        builder.by_close_month(),
        builder.by_close_quarter(),
        builder.ageing(),
        builder.results(),
        builder.win_rates(),
        builder.lost_reasons(),
        builder.lost_kinds(),
        builder.velocity(),
        builder.by_owner(),
        builder.by_native_stage(),
        builder.top_deals(),
        builder.stale_deals(),
        *flow_tables(report, texts),
        *further_tables(report, texts),
        *builder.items(),
    ]


def age_label(bucket: AgeBucket, texts: Texts) -> str:
    """The bucket's range in words."""
    if bucket.first_day is None:
        return texts["age_unknown"]
    if bucket.last_day is None:
        return texts["age_over"].format(first=bucket.first_day - 1)
    return texts["age_days"].format(first=bucket.first_day, last=bucket.last_day)


def shown_ages(report: PipelineReport) -> list[AgeBucket]:
    """The buckets of ages, the one of unknown ages only if it holds deals."""
    return [one for one in report.ageing.age_buckets if one.first_day is not None or one.count]


def overdue_deals(report: PipelineReport) -> str:
    """The fragment for open deals that should have closed."""
    return fragments.open_deals(("close", "<", report.as_of_date), ("close", "!=", None))


def closing_deals(report: PipelineReport, row: CloseFigures) -> str:
    """The fragment for open deals that are expected in a month or quarter and not overdue."""
    start = max(row.start, report.as_of_date)
    return fragments.open_deals(*fragments.days("close", start, row.end))


def aged_deals(report: PipelineReport, bucket: AgeBucket) -> str | None:
    """The fragment for open deals of an age; `None` for those of unknown age."""
    if bucket.first_day is None:
        return None
    today = report.as_of_date
    tests: list[fragments.Test] = [("created", "<=", today - timedelta(days=bucket.first_day))]
    if bucket.last_day is not None:
        tests.append(("created", ">=", today - timedelta(days=bucket.last_day)))
    else:
        tests.append(("created", "!=", None))
    return fragments.open_deals(*tests)


def closed_deals(span: PeriodResults, status: str, *tests: fragments.Test) -> str:
    """The fragment for deals won or lost in the days of a period."""
    return fragments.deals(*fragments.days("closed", span.start, span.end), *tests, status=status)


class _Builder:
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

    def summary(self) -> Table:
        report, texts, opened = self._report, self._texts, self._report.open
        rates, ageing = report.trailing.win_rates, report.ageing
        rows: list[tuple[Cell, ...]] = [
            (texts["open_amount"], self._money(opened.amount), opened.count),
            (texts["weighted_amount"], self._money(opened.weighted_amount), _weighted(opened)),
            (texts["average_amount"], money_cell(opened.average_amount, self._currency), _sample(opened)),
            (texts["median_amount"], money_cell(opened.median_amount, self._currency), _sample(opened)),
            (texts["top_deal_share"], share_cell(opened.top_deal_share), _sample(opened)),
            (texts["overdue"], self._money(report.overdue.amount), report.overdue.count),
            (texts["no_close_date"], self._money(report.no_close_date.amount), report.no_close_date.count),
            (texts["stale"], self._money(ageing.stale.amount), ageing.stale.count),
            (texts["warning"], self._money(ageing.warning.amount), ageing.warning.count),
            (texts["amount_missing"], None, opened.amount_missing_count),
            (texts["fx_missing_count"], None, opened.fx_missing_count),
            (
                texts["weighted_excluded"],
                self._money(opened.weighted_excluded_amount),
                opened.weighted_excluded_count,
            ),
            (texts["win_rate"], share_cell(rates.count), rates.count.sample),
            (
                texts["cycle"],
                days_cell(report.trailing.average_cycle_days),
                report.trailing.average_cycle_days.sample,
            ),
            (texts["open_older"], None, report.trailing.open_older_than_cycle_count),
        ]
        columns = (
            self._column("metric", numeric=False),
            self._column("value"),
            self._column("deals"),
        )
        return Table("summary", texts["summary"], columns, tuple(rows))

    def by_stage(self) -> Table:
        return self._open_table(
            "by_stage",
            (self._column("stage", numeric=False),),
            (
                ((row.name or self._texts["unmapped"],), row, fragments.open_deals(stage=row.stage))
                for row in self._report.by_stage
                if row.stage is not None or row.count
            ),
        )

    def by_native_stage(self) -> Table:
        leading = tuple(
            self._column(key, numeric=False) for key in ("connection", "pipeline", "stage", "common_stage")
        )
        names = {row.stage: row.name for row in self._report.by_stage}
        # Two stages of a pipeline may share a name; a fragment knows names only.
        called = Counter((row.connection, row.pipeline, row.stage) for row in self._report.by_native_stage)
        return self._open_table(
            "by_native_stage",
            leading,
            (
                (
                    (
                        row.connection,
                        row.pipeline,
                        row.stage,
                        names.get(row.common_stage) or row.common_stage or self._texts["unmapped"],
                    ),
                    row,
                    fragments.open_deals(
                        connection=row.connection,
                        pipeline=row.pipeline,
                        native_stage=row.stage or row.stage_id,
                    )
                    if called[row.connection, row.pipeline, row.stage] == 1
                    else None,
                )
                for row in self._report.by_native_stage
            ),
        )

    def by_connection(self) -> Table:
        leading = (self._column("connection", numeric=False), self._column("records"))
        return self._open_table(
            "by_connection",
            leading,
            (
                ((row.connection, row.records), row, fragments.open_deals(connection=row.connection))
                for row in self._report.by_connection
            ),
            records=self._report.records,
        )

    def by_owner(self) -> Table:
        inactive = self._texts["inactive"]
        called = Counter(row.owner for row in self._report.by_owner)
        return self._open_table(
            "by_owner",
            (self._column("owner", numeric=False),),
            (
                (
                    (
                        self._texts["no_owner"]
                        if row.owner is None
                        else row.owner
                        if row.active
                        else f"{row.owner} ({inactive})",
                    ),
                    row,
                    fragments.open_deals(owner=row.owner) if called[row.owner] == 1 else None,
                )
                for row in self._report.by_owner
            ),
        )

    def by_close_month(self) -> Table:
        return self._by_close("by_close_month", "month", self._report.by_close_month)

    def by_close_quarter(self) -> Table:
        return self._by_close("by_close_quarter", "quarter", self._report.by_close_quarter)

    def _by_close(self, name: str, column: str, rows: tuple[CloseFigures, ...]) -> Table:
        report, texts = self._report, self._texts
        return self._open_table(
            name,
            (self._column(column, numeric=False),),
            (
                ((texts["overdue"],), report.overdue, overdue_deals(report)),
                *(((row.key,), row, closing_deals(report, row)) for row in rows),
                ((texts["no_close_date"],), report.no_close_date, fragments.open_deals(close=None)),
            ),
        )

    def ageing(self) -> Table:
        texts = self._texts
        buckets = shown_ages(self._report)
        rows = tuple(
            (age_label(bucket, texts), bucket.count, self._money(bucket.amount)) for bucket in buckets
        )
        columns = (self._column("age", numeric=False), self._column("deals"), self._column("amount"))
        total = (texts["all"], self._report.open.count, self._money(self._report.open.amount))
        behind = tuple(aged_deals(self._report, bucket) for bucket in buckets)
        return Table("ageing", texts["ageing"], columns, rows, total, behind)

    def results(self) -> Table:
        texts = self._texts
        spans = (self._report.trailing, self._report.period)
        lines: tuple[tuple[str, Callable[[PeriodResults], Cell]], ...] = (
            ("won", lambda span: span.won.count),
            ("won", lambda span: self._money(span.won.amount)),
            ("lost", lambda span: span.lost.count),
            ("lost", lambda span: self._money(span.lost.amount)),
            ("created", lambda span: span.created.count),
            ("created", lambda span: self._money(span.created.amount)),
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
        parts = self._report.trailing.lost_by_reason
        return self._lost("lost_reasons", "reason", "lost_reason", parts, lambda name: name)

    def lost_kinds(self) -> Table:
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

    def top_deals(self) -> Table:
        return self._deals("top_deals", self._report.top_deals, idle=False)

    def stale_deals(self) -> Table:
        return self._deals("stale_deals", self._report.ageing.stale_deals, idle=True)

    def _deals(self, name: str, deals: tuple[DealLine, ...], *, idle: bool) -> Table:
        total = self._report.open.amount
        rows = tuple(
            (
                Link(deal.name, deal.url),
                deal.company,
                deal.connection,
                deal.stage,
                deal.owner,
                deal.expected_close,
                deal.idle_days if idle else _part_of(deal.amount, total),
                self._money(deal.amount),
                deal.ref,
            )
            for deal in deals
        )
        columns = (
            *(
                self._column(key, numeric=False)
                for key in ("deal", "company", "connection", "stage", "owner")
            ),
            self._column("close", numeric=False),
            self._column("idle") if idle else self._column("share"),
            self._column("amount"),
            self._column("ref", numeric=False),
        )
        behind = tuple(fragments.deals(ref=deal.ref) for deal in deals)
        return Table(name, self._texts[name], columns, rows, None, behind)

    def items(self) -> tuple[Table, Table, Table]:
        return self._unmapped(), self._missing_rates(), self._errors()

    def _unmapped(self) -> Table:
        rows = tuple(
            (
                row.connection,
                row.pipeline,
                row.stage or row.stage_id,
                row.deals,
                row.open_deals,
                self._money(row.open_amount),
            )
            for row in self._report.items.unmapped
        )
        columns = (
            *(self._column(key, numeric=False) for key in ("connection", "pipeline", "stage")),
            self._column("deals"),
            self._column("open_deals"),
            self._column("open_amount"),
        )
        behind = tuple(
            fragments.deals(
                connection=row.connection,
                pipeline=row.pipeline,
                native_stage=row.stage or row.stage_id,
                stage=None,
            )
            for row in self._report.items.unmapped
        )
        return Table("unmapped_stages", self._texts["unmapped_stages"], columns, rows, None, behind)

    def _missing_rates(self) -> Table:
        rows = tuple(
            (
                Link(row.name, row.url),
                row.connection,
                self._texts[row.outcome.value],
                row.currency or self._texts["no_currency"],
                row.day,
                Money(row.amount, row.currency),
                row.ref,
            )
            for row in self._report.items.fx_missing
        )
        columns = (
            *(
                self._column(key, numeric=False)
                for key in ("deal", "connection", "outcome", "currency", "day")
            ),
            self._column("amount"),
            self._column("ref", numeric=False),
        )
        return Table("missing_rates", self._texts["missing_rates"], columns, rows)

    def _errors(self) -> Table:
        rows = tuple(
            (self._texts[row.code], Link(row.name, row.url), row.connection, row.ref)
            for row in self._report.items.errors
        )
        columns = tuple(self._column(key, numeric=False) for key in ("problem", "deal", "connection", "ref"))
        return Table("errors", self._texts["errors"], columns, rows)


RATES = ("count", "amount", "competitive", "created", "created_resolved", "created_open", "strict")
"""The win rates, by their names in the report, in the order in which they are shown."""


def _sample(figures: OpenFigures) -> int:
    return figures.count - figures.amount_missing_count - figures.fx_missing_count


def _weighted(figures: OpenFigures) -> int:
    return figures.count - figures.weighted_excluded_count


def _part_of(amount: Decimal | None, total: Decimal) -> Share:
    return Share(divide(amount, total) if amount is not None and total > 0 else None)
