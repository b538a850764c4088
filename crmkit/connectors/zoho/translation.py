"""Rows of deals, companies and contacts as records, by what the org has set up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Unreadable
from crmkit.connectors.zoho.calls import Raw
from crmkit.connectors.zoho.columns import MODULES, Columns
from crmkit.connectors.zoho.records import Reading, row_id
from crmkit.connectors.zoho.stages import NO_NAMES
from crmkit.connectors.zoho.workspace import Metadata
from crmkit.model import AnyRecord, Company, Contact, Deal, Kind


class Translation:
    """Translates the rows of one read of one kind; shared by the threads of a walk.

    The columns stay what they were when the read began; what stages and pipelines are
    called is looked up again when a deal names one that is not known.

    Args:
        metadata: What the org has set up.
        connection: Name of the connection.
        kind: Deals, companies or contacts.
        url: Where a kind's records are in Zoho's UI, given the org.
    """

    def __init__(
        self,
        metadata: Metadata,
        connection: str,
        kind: Kind,
        url: Callable[[Mapping[str, Any]], str | None],
    ) -> None:
        self._metadata = metadata
        self._connection = connection
        self._kind = kind
        self._url = url
        self._columns: Columns | None = None
        self._reading: Reading | None = None
        self._strangers: set[str] = set()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def passes(self) -> Sequence[Sequence[str]]:
        """The columns to ask for, in as many lists as there are queries to make."""
        return self._planned().passes

    def __call__(self, rows: Sequence[Raw]) -> tuple[Sequence[AnyRecord], list[Unreadable]]:
        """Records of a page, and those rows that cannot be read."""
        if not rows:
            return [], []
        reading, connection, kind = self._reading_for(rows), self._connection, self._kind
        # One page at a time: threads gain nothing from working on several, and pages half done
        # would take half as much memory again.
        with self._turn:
            if kind is Kind.DEAL:
                return translate.records(Deal, connection, kind, rows, reading.deal, row_id)
            if kind is Kind.COMPANY:
                return translate.records(Company, connection, kind, rows, reading.company, row_id)
            return translate.records(Contact, connection, kind, rows, reading.contact, row_id)

    def _planned(self) -> Columns:
        with self._lock:
            if self._columns is None:
                self._columns = self._metadata.columns(self._kind, MODULES[self._kind])
            return self._columns

    def _reading_for(self, rows: Sequence[Raw]) -> Reading:
        custom = self._planned().custom
        with self._lock:
            if self._reading is None:
                self._reading = self._new_reading(custom)
            if self._kind is Kind.DEAL:
                # Added or renamed since the names were read, or one that never was a stage:
                # Zoho stores any text. Each is asked about once.
                strangers = self._reading.names.unknown(rows) - self._strangers
                if strangers:
                    self._strangers |= strangers
                    self._metadata.forget_names()
                    self._reading = self._new_reading(custom)
            return self._reading

    def _new_reading(self, custom: Sequence[tuple[str, Any]]) -> Reading:
        org = self._metadata.org()
        return Reading(
            self._connection,
            custom=custom,
            names=self._metadata.names() if self._kind is Kind.DEAL else NO_NAMES,
            currency=org.get("iso_code"),
            url=self._url(org),
        )
