"""Every text of the reports in one place: a language is one more module with the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from crmkit.errors import UsageError
from crmkit.report.render.texts.en import TEXTS as _ENGLISH
from crmkit.report.render.texts.flow_en import TEXTS as _ENGLISH_FLOW
from crmkit.report.render.texts.results_en import TEXTS as _ENGLISH_RESULTS
from crmkit.report.render.texts.review_en import TEXTS as _ENGLISH_REVIEW
from crmkit.report.render.texts.tables_en import TEXTS as _ENGLISH_TABLES

Texts = Mapping[str, str]

LANGUAGES = ("en", "de", "ja")
"""Languages by their ISO 639-1 codes; each has a module of that name here."""

ENGLISH: Texts = {**_ENGLISH, **_ENGLISH_TABLES, **_ENGLISH_FLOW, **_ENGLISH_RESULTS, **_ENGLISH_REVIEW}


def texts_of(language: str) -> Texts:
    """The texts of a language, which may name a region too: `de-CH` reads German.

    Raises:
        UsageError: There are no texts in that language.
    """
    code = language.replace("_", "-").partition("-")[0].lower()
    if code not in LANGUAGES:
        raise UsageError(
            f"there are no texts in the language {language!r}", hint=f"Take one of: {', '.join(LANGUAGES)}."
        )
    found: Texts = {
        **import_module(f"{__name__}.{code}").TEXTS,
        **import_module(f"{__name__}.tables_{code}").TEXTS,
        **import_module(f"{__name__}.flow_{code}").TEXTS,
        **import_module(f"{__name__}.results_{code}").TEXTS,
        **import_module(f"{__name__}.review_{code}").TEXTS,
    }
    return found
