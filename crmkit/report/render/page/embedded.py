"""The deals of a page as compact JSON that cannot end the element that it stands in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from crmkit.report.listed import ListedDeal
from crmkit.report.money import plain, rounded_to
from crmkit.report.render.cells import safe_url
from crmkit.report.render.formats import Formats
from crmkit.report.render.visible import visible

Json: TypeAlias = str | int | float | Sequence["Json"] | Mapping[str, "Json"] | None

COLUMNS = {
    "ref": "ref",
    "name": "name",
    "company": "company",
    "connection": "connection",
    "pipeline": "pipeline",
    "stage": "stage",
    "native_stage": "native_stage",
    "status": "status",
    "owner": "owner",
    "team": "team",
    "amount": "amount",
    "native_amount": "native_amount",
    "currency": "currency",
    "probability": "probability",
    "weighted": "weighted",
    "forecast_category": "forecast_category",
    "close": "expected_close",
    "created": "created_on",
    "closed": "closed_on",
    "stage_age_days": "stage_age_days",
    "idle_days": "idle_days",
    "push_count": "push_count",
    "next_step": "next_step_on",
    "lost_kind": "lost_kind",
    "lost_reason": "lost_reason",
    "findings": "findings",
    "url": "url",
}
"""Column of the page and of its fragments -> field of a deal."""

_DIGITS = 6
"""Digits after the point: enough for sums over thousands of converted amounts."""
_OWN_WORDS = frozenset({"ref", "name", "url"})
"""Texts that hardly ever repeat; all others are stored once and counted."""


def columns(deals: Sequence[ListedDeal]) -> dict[str, Json]:
    """The deals column by column: plain values, or `words` with the place of each row's word."""
    return {
        column: _column(
            [getattr(deal, field) for deal in deals], own=column in _OWN_WORDS, url=column == "url"
        )
        for column, field in COLUMNS.items()
    }


def explored(
    formats: Formats,
    stages: Mapping[str, str],
    deals: Sequence[ListedDeal],
    left_out: int,
    refs: Mapping[str, Sequence[str]],
) -> dict[str, Json]:
    """Everything that the page's script lists deals with.

    Args:
        formats: The language and the currency.
        stages: The names of common stages by their ids.
        deals: What the page carries.
        left_out: How many deals in scope are not among them.
        refs: Lists of refs by name, for `#deals?refs=name`.
    """
    texts = formats.texts
    places = {deal.ref: place for place, deal in enumerate(deals)}
    return {
        "language": formats.tag,
        "currency": formats.currency,
        "left_out": left_out,
        "texts": {name: texts[name] for name in _SPOKEN},
        "titles": {name: texts[f"col_{name}"] for name in _TITLED},
        "labels": {
            "stage": {stage: visible(name) for stage, name in stages.items()}
            | {name: texts[name] for name in ("won", "lost", "post_purchase") if name in texts},
            "status": {name: texts[name] for name in ("open", "won", "lost")},
            "lost_kind": {name: texts[f"kind_{name}"] for name in _KINDS},
        },
        "unmapped": texts["unmapped"],
        "refs": {name: [places[ref] for ref in listed if ref in places] for name, listed in refs.items()},
        "columns": columns(deals),
    }


_SPOKEN = (
    *("none_filter", "filter_all", "search", "reset", "page_of", "previous", "next", "save_csv", "total"),
    *("nothing_matches", "deal_one", "deal_many", "left_out", "filtered", "show_all"),
)
_TITLED = (
    *("deal", "company", "stage", "owner", "connection", "pipeline", "status", "close", "idle", "amount"),
    *("weighted", "ref", "closed"),
)
_KINDS = ("lost", "abandoned", "disqualified", "duplicate")


def embedded(content: Mapping[str, Json]) -> str:
    """The content as JSON for a `<script>` element: plain ASCII without angle brackets or ampersands.

    `</script>`, `<!--` and line separators can neither end the element nor start a comment.
    """
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _column(values: Iterable[object], *, own: bool, url: bool) -> Json:
    found = [safe_url(value) if url and isinstance(value, str) else _value(value) for value in values]
    if own or not any(isinstance(value, str) for value in found):
        return found if any(value is not None for value in found) else []
    words: dict[str, int] = {}
    places = [-1 if value is None else words.setdefault(str(value), len(words)) for value in found]
    return {"words": list(words), "at": places}


def _value(value: object) -> str | int | float | None:
    match value:
        case None:
            return None
        case str():
            return visible(value)
        case Decimal():
            return _number(value)
        case date():
            return value.isoformat()
        case tuple():
            return " ".join(visible(str(one)) for one in value)
        case _:
            return int(str(value))


def _number(value: Decimal) -> int | float:
    digits = plain(rounded_to(value, _DIGITS))
    return float(digits) if "." in digits else int(digits)
