"""Everything about what needs attention, so that two engines can be compared."""

from __future__ import annotations

from pydantic import BaseModel

from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.metrics.coverage import coverage
from crmkit.report.metrics.focus import focus
from crmkit.report.metrics.followups import follow_ups
from crmkit.report.metrics.hygiene import hygiene
from crmkit.report.metrics.renewals import renewals
from crmkit.report.metrics.stuck import stuck


def everything(facts: Facts, settings: Settings) -> list[BaseModel]:
    """Coverage, stuck deals, hygiene, follow-ups, focus and renewals of given facts."""
    return [part(facts, settings) for part in (coverage, stuck, hygiene, follow_ups, focus, renewals)]
