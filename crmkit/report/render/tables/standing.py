"""Tables of the open pipeline as it stands: the summary, stages, CRMs, owners, expected close, age."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from crmkit.report.figures import AgeBucket, CloseFigures, OpenFigures
from crmkit.report.render import fragments
from crmkit.report.render.cells import Cell, Table, days_cell, money_cell, share_cell
from crmkit.report.render.tables.building import Tables
from crmkit.report.render.texts import Texts
from crmkit.report.whole import PipelineReport


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


class OpenTables(Tables):
    """Tables over open deals; every partition adds up to all of them."""

    def summary(self) -> Table:
        """The figures of the head, and what is missing in them."""
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
            (
                texts["due_in_period"],
                self._money(report.due_in_period.amount),
                report.due_in_period.count,
            ),
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
        """Open deals by common stage."""
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
        """Open deals by the stages of each CRM."""
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
        """Open deals by connection."""
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
        """Open deals by owner."""
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
        """Open deals by month of expected close."""
        return self._by_close("by_close_month", "month", self._report.by_close_month)

    def by_close_quarter(self) -> Table:
        """Open deals by fiscal quarter of expected close."""
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
        """Open deals by age."""
        texts = self._texts
        buckets = shown_ages(self._report)
        rows = tuple(
            (age_label(bucket, texts), bucket.count, self._money(bucket.amount)) for bucket in buckets
        )
        columns = (self._column("age", numeric=False), self._column("deals"), self._column("amount"))
        total = (texts["all"], self._report.open.count, self._money(self._report.open.amount))
        behind = tuple(aged_deals(self._report, bucket) for bucket in buckets)
        return Table("ageing", texts["ageing"], columns, rows, total, behind)


def _sample(figures: OpenFigures) -> int:
    return figures.count - figures.amount_missing_count - figures.fx_missing_count


def _weighted(figures: OpenFigures) -> int:
    return figures.count - figures.weighted_excluded_count
