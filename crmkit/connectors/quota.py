"""What a CRM tells about the calls that are left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Quota:
    """A budget that the CRM itself counts, with everything that other programs used of it.

    Attributes:
        limit: How much there is in all.
        left: How much is left; see `at_least`.
        used: How much was used; `None` if the CRM does not tell.
        resets_at: When it is whole again; `None` if it comes back bit by bit, or nobody tells.
        counts: What is counted, in words: "API calls a day of the account".
        at_least: Whether `left` is only a lower bound, as the CRM speaks up late.
        short: Whether it is whole again within a minute or so. The pacer minds such a limit;
            there is nothing to plan a day by.
    """

    limit: int
    left: int
    used: int | None = None
    resets_at: datetime | None = None
    counts: str = "API calls"
    at_least: bool = False
    short: bool = False
