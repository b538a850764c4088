"""Tables that list deals, and what the figures could not use as it is."""

from __future__ import annotations

from decimal import Decimal

from crmkit.report.figures import DealLine
from crmkit.report.ratios import divide
from crmkit.report.render import fragments
from crmkit.report.render.cells import Link, Money, Share, Table
from crmkit.report.render.tables.building import Tables


class ListTables(Tables):
    """The largest deals, and what waits for a person."""

    def top_deals(self) -> Table:
        """The largest open deals."""
        return self._deals("top_deals", self._report.top_deals, idle=False)

    def stale_deals(self) -> Table:
        """The largest stale deals."""
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
        """What waits for a person."""
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


def _part_of(amount: Decimal | None, total: Decimal) -> Share:
    return Share(divide(amount, total) if amount is not None and total > 0 else None)
