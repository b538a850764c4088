"""The forecast category of every deal, in SQL (metrics.md 12)."""

from __future__ import annotations

from collections import defaultdict

from crmkit.mapping.forecast import Category, spellings
from crmkit.report.facts.deals import OPEN, WON
from crmkit.report.facts.engine import Value
from crmkit.report.facts.scale import SHARE_DIGITS, whole
from crmkit.report.inputs import Settings

UNKNOWN = "unknown"
"""The CRM names a category that nobody knows."""
STRENGTH = tuple(Category)
"""Weakest first."""

_SAID = "lower(trim(coalesce({deal}.forecast_category, '')))"


def category_sql(settings: Settings, values: dict[str, Value], *, deal: str, outline: str) -> str:
    """SQL for the category of a row of `deals_at`; NULL for a lost deal.

    What the CRM says comes first, then the category of the common stage, then the
    probability; a deal without one is in the pipeline.

    Args:
        settings: The workspace's own names and the thresholds.
        values: Gets what is bound.
        deal: The name that the query gives the deals.
        outline: The name that it gives the table `outline`, joined by stage.
    """
    said = _SAID.format(deal=deal)
    words = _words(settings, values)
    told = " ".join(
        f"WHEN {said} IN ({texts}) THEN '{category}'"
        for category, texts in words.items()
        if category is not Category.CLOSED
    )
    staged = ", ".join(f"'{category}'" for category in STRENGTH if category is not Category.CLOSED)
    values["commit_share"] = whole(settings.commit_share, SHARE_DIGITS)
    values["best_case_share"] = whole(settings.best_case_share, SHARE_DIGITS)
    # The status decides what is closed: an open deal that says so falls through.
    return f"""
        CASE WHEN {deal}.status = '{WON}' THEN '{Category.CLOSED}'
            WHEN {deal}.status <> '{OPEN}' THEN NULL
            {told}
            WHEN {said} <> '' AND {said} NOT IN ({words[Category.CLOSED]}) THEN '{UNKNOWN}'
            WHEN {outline}.stage_category IN ({staged}) THEN {outline}.stage_category
            WHEN {deal}.share >= $commit_share THEN '{Category.COMMIT}'
            WHEN {deal}.share >= $best_case_share THEN '{Category.BEST_CASE}'
            ELSE '{Category.PIPELINE}' END
    """


def says_closed_sql(settings: Settings, values: dict[str, Value], *, deal: str) -> str:
    """SQL that asks whether the CRM calls a deal closed."""
    return f"{_SAID.format(deal=deal)} IN ({_words(settings, values)[Category.CLOSED]})"


def _words(settings: Settings, values: dict[str, Value]) -> dict[Category, str]:
    """The texts that mean each category, as lists in SQL: our own as they are, a workspace's bound."""
    own = {name.strip().lower() for name in settings.forecast_names}
    found: defaultdict[Category, list[str]] = defaultdict(list)
    for place, (text, category) in enumerate(sorted(spellings(settings.forecast_names).items())):
        if text in own:
            values[f"named{place}"] = text
        found[category].append(f"$named{place}" if text in own else f"'{text}'")
    return {category: ", ".join(found[category]) for category in STRENGTH}
