"""What Copper does to values by itself, and what it cannot store; pure.

Left out of `holds` is what Copper derives: `closed_at` from the close date, first and last
name from the name. Only the primary company and person of a deal come back on reading,
and people have no roles there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from crmkit.connectors.copper.bodies import DERIVED, FIELDS, percent_of, primary, ready
from crmkit.connectors.copper.choices import Account, Unfit, available, choice_id, held_custom
from crmkit.connectors.copper.records import ENTITIES, MARKER
from crmkit.connectors.writing import Act, Change
from crmkit.model import AnyRecord, DealContact, Kind, LostKind, Outcome, ValuePeriod

_NEVER_NULL = ("name", "text")


def holds(kind: Kind, values: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Values as Copper would give them back."""
    if kind not in FIELDS:
        return dict(values)
    held = {
        name: _held(kind, name, value, account) for name, value in values.items() if name not in DERIVED[kind]
    }
    if kind is Kind.DEAL and "lost_kind" in held and "outcome" in held:
        held["lost_kind"] = _lost_kind(held["outcome"], held["lost_kind"])
    return held


def _held(kind: Kind, name: str, value: Any, account: Account) -> Any:
    if name.startswith("custom."):
        return _custom(kind, name.removeprefix("custom."), value, account)
    if name == "custom":
        return _all_custom(kind, value, account)
    match name:
        case "value_period":
            return ValuePeriod.ONE_TIME
        case "currency":
            return value or account.currency
        case "probability":
            return _percent(value)
        case "companies":
            return tuple(value or ())[:1]
        case "contacts":
            first = primary(value or ())
            return () if first is None else (DealContact(id=first.id, primary=True),)
        case "tags":
            return tuple(dict.fromkeys(tag for tag in value or () if not tag.startswith(MARKER)))
        case "phones" | "emails":
            return tuple(dict.fromkeys(text for text in value or () if text))
        case "lost_reason":
            return _named(value, account.book.loss_reasons)
        case "source":
            return _named(value, account.book.sources)
        case "expected_close":
            return value.date() if isinstance(value, datetime) else value
        case "lost_kind":
            return value if value in (None, LostKind.ABANDONED) else LostKind.LOST
        case "at":
            return value if value is None else value.replace(microsecond=0)
    return None if value == "" and name not in _NEVER_NULL else value


def cannot_hold(kind: Kind, values: Mapping[str, Any], account: Account) -> dict[str, str]:
    """Fields whose value Copper cannot store, with the reason.

    Lists that were not read yet forbid nothing: `write` reads them and reports then.
    """
    if kind not in FIELDS:
        return {}
    known = {name: value for name, value in values.items() if _is_known(name, account)}
    # As an update: there a value that is named and empty counts.
    tried = ready(Change("", Act.UPDATE, kind, values=known), account)
    found = {**tried.refused, **tried.unwritten}
    if kind is Kind.CONTACT and len(values.get("companies") or ()) > 1:
        # The first is written, and the outcome names the rest.
        found.pop("companies", None)
    return {name: reason for name, reason in found.items() if name in values}


def differences(kind: Kind, values: Mapping[str, Any], record: AnyRecord, account: Account) -> dict[str, str]:
    """Fields that the answer to a write shows otherwise than they were sent.

    Copper's own samples show creates that answer other values than were asked for.
    """
    found: dict[str, str] = {}
    for name, wanted in holds(kind, values, account).items():
        if name.startswith("custom."):
            custom: Mapping[str, Any] = getattr(record, "custom", {})
            got = _custom(kind, name.removeprefix("custom."), custom.get(name[7:]), account)
        elif name in FIELDS[kind]:
            got = getattr(record, name, None)
        else:
            continue
        if not _alike(wanted, got):
            found[name] = "Copper answers another value than was written"
    return found


def _alike(wanted: Any, got: Any) -> bool:
    """Whether they differ at most by order, case and the space around texts."""
    return bool(_loose(wanted) == _loose(got))


def _loose(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip().casefold() or None
    if isinstance(value, tuple):
        return {_loose(part) for part in value}
    if isinstance(value, DealContact):
        return value.id
    return value


def _is_known(name: str, account: Account) -> bool:
    book = account.book
    if name.startswith("custom."):
        return book.definitions is not None
    lists = {"lost_reason": book.loss_reasons, "source": book.sources}
    return name not in lists or lists[name] is not None


def _custom(kind: Kind, native: str, value: Any, account: Account) -> Any:
    try:
        return held_custom(available(account.book, ENTITIES[kind], native), value)
    except (Unfit, KeyError):
        return value


def _all_custom(kind: Kind, value: Mapping[str, Any], account: Account) -> dict[str, Any]:
    held = {native: _custom(kind, native, part, account) for native, part in (value or {}).items()}
    return {native: part for native, part in held.items() if part is not None}


def _percent(value: Decimal | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return Decimal(percent_of(value)) / 100
    except Unfit:
        return value


def _named(value: str | None, names: Mapping[int, str] | None) -> str | None:
    if not value:
        return None
    try:
        return (names or {})[choice_id(names or {}, value, "choice")]
    except Unfit:
        return value


def _lost_kind(outcome: Outcome | None, lost_kind: LostKind | None) -> LostKind | None:
    if outcome is not Outcome.LOST:
        return None
    return LostKind.ABANDONED if lost_kind is LostKind.ABANDONED else LostKind.LOST
