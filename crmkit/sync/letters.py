"""The note that a migrated deal gets about its past: dates, stages, and what found no place. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Past:
    """One step of a deal: when, between which stages, by whom; names as people know them."""

    at: datetime
    came_from: str | None
    went_to: str
    by: str | None = None


def letter(
    crm: str,
    row: Mapping[str, Any],
    past: Sequence[Past],
    untold: Sequence[tuple[str, str]],
    owner: str | None,
) -> str:
    """The text of the note; the same deal gives the same text.

    Args:
        crm: The CRM that the deal comes from.
        row: The deal as it is stored.
        past: Its stage changes, oldest first.
        untold: Label and value of what the new CRM has no place for.
        owner: Who owned it, if the new CRM has nobody of that address.
    """
    lines = [f"Migrated by crmkit from {crm}, deal {row['id']}" + (f" ({row['url']})" if row["url"] else "")]
    for label, name in (("Created", "created_at"), ("Closed", "closed_at")):
        if row[name] is not None:
            lines.append(f"{label}: {moment(row[name])}")
    if owner:
        lines.append(f"Owner: {owner}")
    if past:
        lines += ["", "Stages:"]
        lines += [_step(one) for one in past]
    if untold:
        lines += ["", "Without a field of its own here:"]
        lines += [f"- {label}: {text}" for label, text in untold]
    return "\n".join(lines)


def signature(author: str | None, at: datetime | None) -> str:
    """The line above a note that tells who wrote it and when, for a CRM that puts in its own."""
    head = ", ".join(part for part in (author, moment(at) if at is not None else None) if part)
    return f"{head}:\n" if head else ""


def moment(at: datetime) -> str:
    """A time as people read it, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def plain_words(value: Any, labels: Mapping[str, str]) -> str:
    """A custom field's stored value in words; `labels` of its options by id."""
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_words(one, labels) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    return labels.get(str(value), str(value))


def _step(one: Past) -> str:
    way = f"{one.came_from} → {one.went_to}" if one.came_from else one.went_to
    return f"- {moment(one.at)}  {way}" + (f" ({one.by})" if one.by else "")
