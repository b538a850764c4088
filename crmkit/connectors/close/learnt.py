"""What a connector has learnt about its organization: asked once, and again on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.close import custom, holding
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.lists import Lists
from crmkit.connectors.close.records import ODD_EXPONENTS
from crmkit.connectors.close.records import amount as read_amount
from crmkit.model import Kind, Outcome, Pipeline, Workspace


class Learnt:
    """The custom fields, the currency and the stages of one organization.

    Args:
        lists: Reads them.
        schema: Reads the custom fields of a kind, and tells `take_fields` about them.
    """

    def __init__(self, lists: Lists, schema: Callable[[Kind], CustomFields]) -> None:
        self._lists = lists
        self._schema = schema
        self._lock = threading.Lock()
        self._fields: dict[Kind, CustomFields] = {}
        self._described: dict[Kind, Mapping[str, Field]] = {}
        self._rows: dict[Kind, Sequence[Row]] = {}
        self._stages: dict[str, Outcome] = {}
        self._exponent = 2
        self.currency: str | None = None

    def known(self) -> holding.Known:
        """What is known by now."""
        return holding.Known(self.currency, self._exponent, self._fields, self._described)

    def take_fields(self, kind: Kind, rows: Sequence[Row], fields: CustomFields | None = None) -> None:
        """Remember the custom fields of a kind."""
        self._described[kind] = {row["id"]: custom.describe(row) for row in rows if "id" in row}
        self._rows[kind] = rows
        if fields is not None:
            self._fields[kind] = fields

    def rows(self, kind: Kind) -> Sequence[Row]:
        """The custom fields of a kind as Close describes them, if they were read."""
        return self._rows.get(kind, ())

    def take_workspace(self, workspace: Workspace) -> Workspace:
        """Remember the organization's currency."""
        self.currency = workspace.base_currency
        return workspace

    def knows(self, kind: Kind) -> bool:
        """Whether the custom fields of a kind were read."""
        return kind in self._fields

    def fields(self, kind: Kind, *, anew: bool = False) -> CustomFields:
        """The custom fields of a kind."""
        if anew or kind not in self._fields:
            with self._lock:
                if anew or kind not in self._fields:
                    self._fields[kind] = self._schema(kind)
        return self._fields[kind]

    def learn_currency(self) -> None:
        """Ask for the organization's currency, if it is not known."""
        if self.currency is None:
            self.take_workspace(self._lists.workspace())

    def outcome(self, stage_id: str) -> Outcome | None:
        """The outcome of a stage; `None` if there is no such stage."""
        with self._lock:
            if stage_id not in self._stages:
                for page in self._lists.pipelines():
                    for record in page.records:
                        if isinstance(record, Pipeline):
                            self._stages |= {one.id: one.outcome for one in record.stages}
            return self._stages.get(stage_id)

    def learn_unit(self, row: Mapping[str, Any], sent: int) -> int:
        """The decimals of the unit that `value` counts, as an opportunity shows it.

        For currencies without hundredths nothing says whether Close multiplies by 100, but
        `value_formatted` shows what it made of a value: see `records.amount`.

        Args:
            row: The opportunity.
            sent: The decimals that its value was sent with; the answer if it shows nothing.
        """
        currency, value = row.get("value_currency"), row.get("value")
        own = ODD_EXPONENTS.get(currency or "", 2)
        if own == 2 or not value or not row.get("value_formatted"):
            return sent
        shown = read_amount(value, currency, row["value_formatted"])
        self._exponent = own if shown.scaleb(own) == value else 2
        return self._exponent
