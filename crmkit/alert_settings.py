"""`[alerts]` of crmkit.toml: who is told when a sync needs somebody, and about what.

```toml
[alerts]
to = ["team-slack", "ops-mail"]     # names, as for [report.notify]; their addresses are secrets
on = ["failed", "guard", "conflicts", "drift", "partly"]
conflicts_days = 3                  # a conflict that waits longer is told
drift_deals = 10                    # from this many linked deals that differ on
repeat_hours = 24                   # what lasts is told again after this time
```
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from crmkit.notify_settings import Targets


class Topic(StrEnum):
    """What somebody can be told about."""

    FAILED = "failed"  # a run ended with 1 or 7
    GUARD = "guard"  # a guard stopped it
    PARTLY = "partly"  # it was done in part only, twice in a row
    CONFLICTS = "conflicts"  # conflicts wait for long
    DRIFT = "drift"  # linked deals differ, and nothing is going to change that


class AlertSettings(BaseModel):
    """Who is told, about what, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Targets = ()
    on: tuple[Topic, ...] = tuple(Topic)
    conflicts_days: Annotated[float, Field(ge=0)] = 3.0
    drift_deals: Annotated[int, Field(ge=1)] = 10
    repeat_hours: Annotated[float, Field(gt=0)] = 24.0

    @property
    def repeat_after(self) -> timedelta:
        """The time after which what lasts is told again."""
        return timedelta(hours=self.repeat_hours)

    @property
    def conflicts_wait(self) -> timedelta:
        """The time that a conflict may wait untold."""
        return timedelta(days=self.conflicts_days)
