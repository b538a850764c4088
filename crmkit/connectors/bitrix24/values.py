"""Single values of Bitrix24 rows: ids, times, days, people, addresses, keys.

Source: https://apidocs.bitrix24.com/api-reference/crm/data-types.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from crmkit.connectors.translate import FieldError, instant, native_id, number

KEY_PREFIX = "crmkit:"


def day(value: Any, field: str) -> date | None:
    """A date field, which comes as a date-time.

    At midnight the printed date counts, whatever the offset; any other time is what the
    server's zone made of midnight UTC, so the date in UTC counts (contract 4.2, inferred
    from the official samples, which show both).
    """
    if value is None or value == "" or value is False:
        return None
    try:
        return _day(value)
    except (TypeError, ValueError, AttributeError):
        raise FieldError(field, "is not a date") from None


@lru_cache(maxsize=4096)
def _day(text: str) -> date:
    if len(text) == 10 or text[11:19] in ("00:00:00", "00:00"):
        return date.fromisoformat(text[:10])
    found = instant(text, "")
    if found is None:
        raise ValueError(text)
    return found.date()


def some_id(value: Any, field: str) -> str | None:
    """An id; 0 and nothing both mean none."""
    if type(value) is int:
        return str(value) if value else None
    if value is None or value in (0, "0", ""):
        return None
    return native_id(value, field)


def ids(first: Any, others: Any, field: str) -> tuple[str, ...]:
    """Ids with the primary one first, each once."""
    primary = some_id(first, field)
    if not others:
        return () if primary is None else (primary,)
    listed = others.values() if isinstance(others, Mapping) else others
    found = [native for one in listed if (native := some_id(one, field)) is not None]
    if primary is not None and found[:1] != [primary]:
        found.insert(0, primary)
    return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)


def deal_contacts(primary: Any, listed: Any) -> tuple[dict[str, Any], ...]:
    """The people on a deal; `contactId` is deprecated and the first of `contactIds` is the same."""
    if type(listed) is list and listed == [primary] and type(primary) is int and primary:
        return ({"id": str(primary), "primary": True},)
    found = ids(primary, listed, "contactIds")
    return tuple(
        [{"id": native, "primary": True} if native is found[0] else {"id": native} for native in found]
    )


def amount_of(value: Any, field: str) -> Decimal | None:
    """An exact amount."""
    return Decimal(value) if type(value) is int else number(value, field)


def key_of(row: Mapping[str, Any]) -> str | None:
    """Our key, kept in `originatorId` and `originId`; other systems use the two as well."""
    originator, origin = row.get("originatorId"), row.get("originId")
    if not originator or not origin or not str(originator).startswith(KEY_PREFIX):
        return None
    return f"{str(originator).removeprefix(KEY_PREFIX)}:{origin}"


def reached_by(fm: Any, type_id: str) -> tuple[str, ...]:
    """Values of one type (PHONE, EMAIL, WEB) from the multi-field `fm`, each once.

    Raises:
        FieldError: It is neither a list nor a map.
    """
    if not fm:
        return ()
    if not isinstance(fm, (list, Mapping)):
        raise FieldError("fm", f"is a {type(fm).__name__}, not a list")
    return tuple(dict.fromkeys(_values(fm.values() if isinstance(fm, Mapping) else fm, type_id)))


def _values(entries: Any, type_id: str) -> Iterator[str]:
    for one in entries:
        if one.get("typeId") == type_id and (value := one.get("value")) and (text := value.strip()):
            yield text


def domain(addresses: Sequence[str]) -> str | None:
    """The host of the first web address that has one."""
    for address in map(str.strip, addresses):
        try:
            host = urlsplit(address if "://" in address else f"//{address}").hostname
        except ValueError:
            continue
        if host and "." in host:
            return host.removeprefix("www.")
    return None


def required(value: str | None, field: str) -> str:
    """The value, which must be there.

    Raises:
        FieldError: It is not.
    """
    if value is None:
        raise FieldError(field, "is empty")
    return value
