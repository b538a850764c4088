"""Conversion, funnel and forecast of given facts, to compare engines with."""

from __future__ import annotations

from crmkit.report.facts.engine import Facts
from crmkit.report.figures import Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.conversion import conversion
from crmkit.report.metrics.forecast import forecast
from crmkit.report.metrics.funnel import funnel


def everything(facts: Facts, settings: Settings) -> tuple[Figure, ...]:
    found = conversion(facts, settings)
    return found, funnel(facts, settings, found), forecast(facts, settings)
