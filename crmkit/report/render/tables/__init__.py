"""Tables of the metrics beyond the open pipeline and its results; one module for each group of sections."""

from __future__ import annotations

from crmkit.report.render.tables.further import further_tables

__all__ = ["further_tables"]
