"""Links between records: inline in a list, or from the associations API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from crmkit.model import DealContact

Row = dict[str, Any]


def inline(links: Sequence[Row], primary: tuple[str, int] | None) -> Row:
    """Links of the associations API in the shape that a list carries inline.

    A label of the portal's own is the role of the linked person.
    """
    results: list[Row] = []
    for link in links:
        types = link.get("associationTypes") or ()
        own = sorted(
            str(type_["label"])
            for type_ in types
            if type_.get("category") != "HUBSPOT_DEFINED" and type_.get("label")
        )
        first = primary is not None and any(type_.get("typeId") == primary[1] for type_ in types)
        name = primary[0] if primary and first else "other"
        results.append({"id": str(link["toObjectId"]), "type": name, "role": "; ".join(own) or None})
    return {"results": results}


def block(row: Row, to: str) -> Row | None:
    """The inline links of a row to one type, if it has any."""
    links = row.get("associations")
    found = links.get(to) if isinstance(links, dict) else None
    return found if isinstance(found, dict) else None


def cut_short(row: Row, to: str) -> bool:
    """Whether the inline links of a row end at the hundredth."""
    found = block(row, to)
    return found is not None and "paging" in found


def linked(found: Any, primary: str | None) -> tuple[str, ...]:
    """Linked ids, the primary one first, then by id: HubSpot's own order is not stable.

    The same id comes once per kind of link.
    """
    if found is None:
        return ()
    results = found["results"]
    only = results[0]["id"] if results else None
    for link in results:
        if link["id"] != only:
            break
    else:
        return (str(only),) if results else ()
    ids = {str(link["id"]) for link in results}
    first = {str(link["id"]) for link in results if link.get("type") == primary}
    return (*sorted(first, key=_by_number), *sorted(ids - first, key=_by_number))


def people(found: Any) -> tuple[DealContact, ...]:
    """The people that are linked to a deal, in order of id."""
    if found is None:
        return ()
    results = found["results"]
    if len(results) == 1:
        return (_person(str(results[0]["id"]), results[0].get("role")),)
    roles: dict[str, str | None] = {}
    for link in results:
        native = str(link["id"])
        roles[native] = link.get("role") or roles.get(native)
    return tuple([_person(native, roles[native]) for native in sorted(roles, key=_by_number)])


@lru_cache(maxsize=16_384)  # the same people are on many deals, and checking one anew costs a microsecond
def _person(native: str, role: str | None) -> DealContact:
    return DealContact(id=native, role=role)


def _by_number(native: str) -> tuple[int, str]:
    return len(native), native
