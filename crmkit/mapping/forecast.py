"""Forecast categories: the six that reports know, and what CRMs call them.

In order of confidence: omitted, pipeline, best case, most likely, commit, closed (metrics.md 12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import product


class Category(StrEnum):
    """How sure a deal of the period is, weakest first."""

    OMITTED = "omitted"
    PIPELINE = "pipeline"
    BEST_CASE = "best_case"
    MOST_LIKELY = "most_likely"
    COMMIT = "commit"
    CLOSED = "closed"


SPELLINGS: Mapping[Category, tuple[str, ...]] = {
    # HubSpot, property hs_manual_forecast_category: OMIT ("Not forecasted"), PIPELINE, BEST_CASE,
    # MOST_LIKELY, COMMIT, CLOSED ("Closed won").
    # https://knowledge.hubspot.com/forecast/set-up-the-forecast-tool
    # Zoho, forecast_category of a stage: Pipeline, Best Case, Committed, Closed, Omitted, and up to two
    # of an organisation's own, which settings must name.
    # https://help.zoho.com/portal/en/community/topic/custom-forecast-categories-in-crm-public-early-access-2023
    # Copper, Bitrix24 and Close have no such field: there the stage or the probability decides.
    Category.OMITTED: ("omitted", "omit", "not forecasted", "not forecast"),
    Category.PIPELINE: ("pipeline",),
    Category.BEST_CASE: ("best case",),
    Category.MOST_LIKELY: ("most likely",),
    Category.COMMIT: ("commit", "committed"),
    Category.CLOSED: ("closed", "closed won"),
}
"""What CRMs write for each category; case, and what stands between two words, do not matter."""

_GAP = re.compile(r"[\s_-]+")
_JOINTS = (" ", "_", "-", "")


def category_of(said: str | None, names: Mapping[str, str] | None = None) -> Category | None:
    """The category that a CRM's text means; `None` for none and for one that nobody knows.

    Args:
        said: What the CRM holds.
        names: A workspace's own categories and what they stand for.
    """
    words = (said or "").strip().lower()
    return spellings(names).get(words) or spellings(names).get(_GAP.sub(" ", words))


def spellings(names: Mapping[str, str] | None = None) -> dict[str, Category]:
    """Every text, in lower case, that means a category: a table to compare with.

    Args:
        names: A workspace's own categories and what they stand for; they outweigh the CRMs' own.

    Raises:
        ValueError: A name stands for something that is no category.
    """
    found = {
        variant: category
        for category, texts in SPELLINGS.items()
        for text in texts
        for variant in _ways(text)
    }
    return found | {name.strip().lower(): Category(category) for name, category in (names or {}).items()}


def _ways(text: str) -> list[str]:
    """A text with every way to join its words."""
    words = text.split(" ")
    joints = product(_JOINTS, repeat=len(words) - 1)
    return [
        "".join(word + joint for word, joint in zip(words, (*between, ""), strict=True)) for between in joints
    ]
