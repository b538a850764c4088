"""What Close makes of a value that it stores, and what it cannot store; pure.

Documented: whole cents, whole percents, one lead and one contact per deal, days without a
time, phones as E.164. Not documented is whether texts are trimmed and e-mails lower-cased:
both are done before sending, so that what comes back is the same either way.

Source: https://developer.close.com/api/resources/opportunities/create
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlsplit

from crmkit.connectors.base import Field
from crmkit.connectors.close.custom import CustomFields
from crmkit.model import DealContact, Kind, LostKind, Outcome, Stage, ValuePeriod

NO_NAME_FIELD = "no custom field holds the names of deals: `crmkit doctor` tells how to make one"
CLOSED_ITSELF = "only the day of a won deal can be written: Close sets that of a lost one itself"
OUR_KEY = "this field holds crmkit's own key"
_PHONE_SIGNS = re.compile(r"[\s().\-/]")
_E164 = re.compile(r"\+[0-9]{4,}")
_WORD = re.compile(r"[\w:.-]+")
_HOST = re.compile(r"[^\s/@?#]+\.[^\s/@?#.]+")
_ABSENT: dict[Kind, frozenset[str]] = {
    Kind.DEAL: frozenset({"lost_reason", "forecast_category", "source", "tags"}),
    Kind.COMPANY: frozenset({"phones", "owner_id", "tax_id"}),
    Kind.CONTACT: frozenset({"owner_id", "city", "country", "postcode"}),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What was read about the organization; whatever is not known is not judged.

    Attributes:
        currency: The organization's currency.
        exponent: Decimals of the unit that `value` counts.
        fields: The custom fields by kind.
        described: Each custom field's description by kind and id.
    """

    currency: str | None = None
    exponent: int = 2
    fields: Mapping[Kind, CustomFields] = field(default_factory=dict)
    described: Mapping[Kind, Mapping[str, Field]] = field(default_factory=dict)


def holds(kind: Kind, values: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """The values as Close gives them back.

    Left out, because Close derives them: a deal's `outcome` (from its stage), and a contact's
    `first_name` and `last_name` (there is one name).
    """
    described = known.described.get(kind, {})
    held: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("custom."):
            held[name] = custom(value, described.get(name.removeprefix("custom.")))
        elif name == "custom" and isinstance(value, Mapping):
            read = {native: custom(item, described.get(native)) for native, item in value.items()}
            held[name] = {native: item for native, item in read.items() if item is not None}
        else:
            rule = _RULES.get(kind, {}).get(name)
            held[name] = rule(value) if rule else value
    if kind is Kind.DEAL:
        held.pop("outcome", None)
        if held.get("amount") is not None:
            held["amount"] = money(held["amount"], known.exponent)
        held |= _days(held, values.get("outcome"))
    if kind is Kind.CONTACT:
        _one_name(held)
    return held


def cannot_hold(kind: Kind, values: Mapping[str, Any], known: Known) -> dict[str, str]:
    """Fields that Close cannot store, with the reason."""
    bad = {
        name: "Close has no field for it"
        for name in _ABSENT.get(kind, frozenset()) & values.keys()
        if values[name] not in (None, "", (), [])
    }
    if kind is Kind.DEAL:
        bad |= _deal_refusals(values, known)
    if kind is Kind.CONTACT and "companies" in values and not values["companies"]:
        bad["companies"] = "a contact needs a lead (company)"
    if kind is Kind.COMPANY and values.get("domain") and host(values["domain"]) is None:
        bad["domain"] = "is not a host name"
    if kind in (Kind.COMPANY, Kind.PIPELINE) and "name" in values and text(values["name"]) is None:
        bad["name"] = "is empty"
    if kind is Kind.CONTACT and any(not _E164.fullmatch(number) for number in phones(values.get("phones"))):
        # Close would complete a number with the country of whoever the key belongs to.
        bad["phones"] = "a number without its country code would be given one by Close"
    for name, value in values.items():
        reason = _custom_refusal(kind, name, value, known) if name.startswith("custom.") else None
        if reason:
            bad[name] = reason
    return bad


def other_currency(currency: str) -> str:
    """Why an amount cannot be stored."""
    return f"every amount is in the organization's currency, {currency}"


def money(amount: Decimal, exponent: int) -> Decimal:
    """An amount rounded to what `value` can count."""
    return amount.quantize(Decimal(1).scaleb(-exponent), ROUND_HALF_UP)


def share(value: Decimal | None) -> Decimal | None:
    """A probability in whole percents."""
    return None if value is None else value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def text(value: Any) -> str | None:
    """A text without space around it; an empty one is unset."""
    return (value.strip() or None) if isinstance(value, str) else value


def prose(value: Any) -> str | None:
    """A text of several lines, with one kind of line end."""
    return text(value.replace("\r\n", "\n").replace("\r", "\n")) if isinstance(value, str) else value


def email(value: str) -> str:
    """An e-mail address in one spelling."""
    return value.strip().lower()


def phone(value: str) -> str:
    """A phone number as E.164 if it names its country, else as it is."""
    bare = _PHONE_SIGNS.sub("", value)
    return bare if _E164.fullmatch(bare) else value.strip()


def emails(values: Iterable[str] | None) -> tuple[str, ...]:
    """Each address once."""
    return tuple(dict.fromkeys(found for value in values or () if (found := email(value))))


def phones(values: Iterable[str] | None) -> tuple[str, ...]:
    """Each number once."""
    return tuple(dict.fromkeys(found for value in values or () if (found := phone(value))))


def host(value: Any) -> str | None:
    """A domain as it is read from a lead's address; `None` if it is none."""
    bare = text(value)
    if not bare:
        return None
    try:
        found = urlsplit(bare if "//" in bare else f"//{bare}").hostname
    except ValueError:
        return None
    while found and found.startswith("www."):
        found = found.removeprefix("www.")
    return found if found and _HOST.fullmatch(found) else None


def won_day(moment: datetime) -> date:
    """The day (UTC) on which a deal was won."""
    return moment.astimezone(UTC).date()


def marks(text: str) -> set[str]:
    """What could be a key in a note's text: every word, without the signs around it."""
    words = (word.strip(".:-") for word in _WORD.findall(text))
    return {form for word in words for form in (word, word.removeprefix("crmkit:"))}


def main_contact(contacts: Iterable[DealContact] | None) -> DealContact | None:
    """The one contact that a deal can have."""
    found = list(contacts or ())
    return next((one for one in found if one.primary), found[0] if found else None)


def custom(value: Any, described: Field | None) -> Any:
    """A custom field's value; the type of a field that is not known is not judged."""
    if isinstance(value, str):
        value = text(value)
    if isinstance(value, (tuple, list)):
        return tuple(dict.fromkeys(item for item in map(text, value) if item)) or None
    if described is None or value is None:
        return value
    if described.type == "choices" and isinstance(value, str):
        return (value,)
    if described.type == "day" and isinstance(value, datetime):
        return won_day(value)
    if described.type == "number" and type(value) is int:
        return Decimal(value)
    if described.type == "time" and isinstance(value, datetime):
        return millis(value)
    return value


def millis(value: datetime) -> datetime:
    """A time as exact as Close shows it."""
    # What Close shows has three decimals, also where it was given six.
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _contacts(value: Iterable[DealContact] | None) -> tuple[DealContact, ...]:
    first = main_contact(value)
    return (DealContact(id=first.id, primary=True),) if first else ()


def _stages(value: Iterable[Stage]) -> tuple[Stage, ...]:
    return tuple(
        stage.model_copy(update={"name": text(stage.name) or "", "probability": None}) for stage in value
    )


_RULES: dict[Kind, dict[str, Any]] = {
    Kind.DEAL: {
        "name": text,
        "probability": share,
        "value_period": lambda value: value or ValuePeriod.ONE_TIME,
        "companies": lambda value: tuple(value or ())[:1],
        "contacts": _contacts,
        "created_at": lambda value: value and millis(value),
    },
    Kind.COMPANY: {
        "name": text,
        "domain": lambda value: host(value) or text(value),
        "city": text,
        "country": text,
        "postcode": text,
    },
    Kind.CONTACT: {
        "name": lambda value: text(value) or "",
        "emails": emails,
        "phones": phones,
        "companies": lambda value: tuple(value or ())[:1],
    },
    Kind.NOTE: {"text": lambda value: prose(value) or "", "at": lambda value: value and millis(value)},
    Kind.PIPELINE: {"name": text, "stages": _stages},
}


def _days(held: Mapping[str, Any], outcome: Outcome | None) -> dict[str, Any]:
    """`date_won` is the expected close and, of a won deal, also the day it was won."""
    closed, expected = held.get("closed_at"), held.get("expected_close")
    if outcome is Outcome.LOST:
        return {}
    if outcome is Outcome.OPEN:
        return {"closed_at": None} if "closed_at" in held else {}
    day = won_day(closed) if closed else expected
    if day is None:
        return {}
    both = {"closed_at": datetime.combine(day, time(12), UTC), "expected_close": day}
    if outcome is None:
        # Not told to be won: then only what is given as closed is.
        return {"closed_at": both["closed_at"]} if closed else {}
    return {name: value for name, value in both.items() if name in held}


def _one_name(held: dict[str, Any]) -> None:
    parts = (held.pop("first_name", None), held.pop("last_name", None))
    if "name" not in held and any(parts):
        held["name"] = text(" ".join(part for part in parts if part)) or ""


def _deal_refusals(values: Mapping[str, Any], known: Known) -> dict[str, str]:
    bad: dict[str, str] = {}
    amount, currency = values.get("amount"), values.get("currency")
    if amount is not None and not amount.is_finite():
        bad["amount"] = "is not a finite number"
    if currency and known.currency and currency != known.currency:
        bad["currency"] = other_currency(known.currency)
        if amount is not None:
            bad["amount"] = bad["currency"]
    chance = values.get("probability")
    if chance is not None and not 0 <= chance <= 1:
        bad["probability"] = "is not between 0 and 1"
    if "companies" in values and not values["companies"]:
        bad["companies"] = "a deal needs a lead (company)"
    fields = known.fields.get(Kind.DEAL)
    if values.get("name") and fields is not None and fields.name is None:
        bad["name"] = NO_NAME_FIELD
    if values.get("closed_at") is not None and values.get("outcome") is Outcome.LOST:
        bad["closed_at"] = CLOSED_ITSELF
    if values.get("lost_kind") not in (None, LostKind.LOST):
        bad["lost_kind"] = "Close has no field for it"
    return bad


def _custom_refusal(kind: Kind, name: str, value: Any, known: Known) -> str | None:
    fields, described = known.fields.get(kind), known.described.get(kind)
    if fields is None or described is None:
        return None
    if name == fields.key:
        return OUR_KEY
    found = described.get(name.removeprefix("custom."))
    if found is None:
        return "there is no such custom field"
    chosen = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
    if found.options and any(text(one) not in found.options for one in chosen if text(one)):
        return "is not one of the field's choices"
    return None
