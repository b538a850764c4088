"""What the functions that make tables share: columns by key, money in the report currency."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from crmkit.report.figures import DealLine
from crmkit.report.ratios import Ratio
from crmkit.report.render.cells import Cell, Column, Link, Money, Table, share_cell
from crmkit.report.render.texts import Texts

_Rows = tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Making:
    """The language, the currency, and the names of common stages by their ids."""

    texts: Texts
    currency: str
    stages: dict[str, str]

    def words(self, *keys: str) -> tuple[Column, ...]:
        """Columns of texts and days."""
        return tuple(Column(key, self.texts[f"col_{key}"]) for key in keys)

    def numbers(self, *keys: str) -> tuple[Column, ...]:
        """Columns of numbers."""
        return tuple(Column(key, self.texts[f"col_{key}"], numeric=True) for key in keys)

    def table(
        self, name: str, columns: tuple[Column, ...], rows: _Rows, total: tuple[Cell, ...] | None = None
    ) -> Table:
        """A table under the title of its name."""
        return Table(name, self.texts[name], columns, rows, total)

    def money(self, amount: Decimal | None) -> Money:
        """An amount in the report currency."""
        return Money(amount, self.currency)

    def share(self, ratio: Ratio) -> Cell:
        """A ratio in percent."""
        return share_cell(ratio)

    def stage(self, stage: str | None) -> str:
        """The name of a common stage; `None` is unmapped."""
        return self.texts["unmapped"] if stage is None else self.stages.get(stage, stage)

    def owner(self, owner: str | None) -> str:
        """The owner, or that there is none."""
        return self.texts["no_owner"] if owner is None else owner

    def deal(self, deal: DealLine) -> tuple[Cell, ...]:
        """The cells of `DEAL`."""
        return (Link(deal.name, deal.url), deal.company, deal.connection, deal.stage, deal.owner)


DEAL = ("deal", "company", "connection", "stage", "owner")
"""The columns that `Making.deal` fills."""
