"""Everything about what moved, so that two engines can be compared."""

from __future__ import annotations

from pydantic import BaseModel

from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.metrics.movement import movement
from crmkit.report.metrics.slip import slips
from crmkit.report.metrics.waterfall import waterfalls


def everything(facts: Facts, settings: Settings) -> list[BaseModel]:
    """The waterfalls, the movement and the slip rates of given facts."""
    return [waterfalls(facts, settings), movement(facts, settings), slips(facts, settings, previous=2)]
