"""Finds records again: by our tag, by the marker line of a note, by what Copper keeps unique.

All of it goes through Copper's search, which may trail behind writes (inferred).

Source: https://developer.copper.com/opportunities/list-opportunities-search.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crmkit.connectors.copper.answers import carries, has_marker, in_text
from crmkit.connectors.copper.bodies import marker
from crmkit.connectors.copper.choices import chunks
from crmkit.connectors.copper.steps import ACTIVITY_TYPES, SEARCHES, Wire, call, rows_of
from crmkit.connectors.copper.values import Row
from crmkit.connectors.copper.walks import PER_PAGE, REACH
from crmkit.connectors.http import Answer
from crmkit.connectors.writing import Lookup
from crmkit.errors import IncompleteRead, NotFound, Rejected
from crmkit.model import Kind, Ref

# How many tags one search takes is not documented; id lists take this many.
KEYS_PER_SEARCH = 200
_PARENTS = {Kind.DEAL: "opportunity", Kind.COMPANY: "company"}
_BY_TAG = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)


class Finder:
    """Searches of one connection."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        # The list is documented; later descriptions wrap it with an option (unverified).
        self._wrapped = False

    def find(self, lookups: Sequence[Lookup]) -> dict[str, list[Ref]]:
        """Records per key, lowest id first; keys not found are left out."""
        found: dict[str, set[int]] = {}
        kinds: dict[str, Kind] = {lookup.key: lookup.kind for lookup in lookups}
        for kind in _BY_TAG:
            keys = list(dict.fromkeys(lookup.key for lookup in lookups if lookup.kind is kind))
            for some in chunks(keys, KEYS_PER_SEARCH):
                for key, natives in self.by_tags(kind, some).items():
                    found.setdefault(key, set()).update(natives)
        for parent, keys in _by_parent(lookups).items():
            for key, native in self._notes(parent, keys):
                found.setdefault(key, set()).add(native)
        connection = self.wire.context.connection
        return {
            key: [Ref(connection, kinds[key], str(native)) for native in sorted(natives)]
            for key, natives in found.items()
        }

    def by_tags(self, kind: Kind, keys: Sequence[str]) -> dict[str, list[int]]:
        """Ids per key, of records that have its tag; at most `KEYS_PER_SEARCH` keys."""
        found: dict[str, list[int]] = {}
        for rows in self._pages(kind, [marker(key) for key in keys]):
            for row in rows:
                for key in keys:
                    if carries(row, key):
                        found.setdefault(key, []).append(row["id"])
            if len(rows) == PER_PAGE and not any(has_marker(row) for row in rows):
                raise IncompleteRead(
                    f"{self.wire.context.connection}: POST {SEARCHES[kind]} does not search by tag"
                )
        return found

    def _pages(self, kind: Kind, tags: Sequence[str]) -> Iterable[list[Row]]:
        if not self._wrapped:
            try:
                yield from self._paged(SEARCHES[kind], {"tags": list(tags)}, by="date_created")
                return
            except Rejected:
                self._wrapped = True
        wrapped = {"tags": {"option": "ANY", "value": list(tags)}}
        yield from self._paged(SEARCHES[kind], wrapped, by="date_created")

    def _paged(self, path: str, wanted: Mapping[str, Any], *, by: str | None) -> Iterable[list[Row]]:
        order = {"sort_by": by, "sort_direction": "asc"} if by else {}
        for number in range(1, REACH // PER_PAGE + 1):
            body = {**wanted, **order, "page_number": number, "page_size": PER_PAGE}
            rows = self.wire.http.fetch(call("POST", path, json=body), rows_of)
            yield rows
            if len(rows) < PER_PAGE:
                return
        raise IncompleteRead(f"{self.wire.context.connection}: POST {path} finds more than it can show")

    def _notes(self, parent: Ref | None, keys: Sequence[str]) -> Iterable[tuple[str, int]]:
        body: Row = {"activity_types": [ACTIVITY_TYPES[Kind.NOTE]]}
        if parent is not None:
            body["parent"] = {"type": _PARENTS[parent.kind], "id": int(parent.id)}
        for rows in self._paged(SEARCHES[Kind.NOTE], body, by=None):
            for row in rows:
                for key in keys:
                    if not row.get("is_deleted") and in_text(row, key):
                        yield key, row["id"]

    # What Copper itself keeps unique.

    def by_email(self, emails: Sequence[str]) -> dict[str, int]:
        """The person who has an address, by the address in lower case."""
        wanted = {email.casefold() for email in emails}
        found: dict[str, int] = {}
        for some in chunks(list(dict.fromkeys(emails)), KEYS_PER_SEARCH):
            for rows in self._paged("/people/search", {"emails": list(some)}, by="date_created"):
                for row in rows:
                    own = {str(part.get("email")).casefold() for part in row.get("emails") or ()}
                    found.update(dict.fromkeys(own & wanted, int(row["id"])))
        return found

    def person_with(self, email: str) -> int | None:
        """The person who has an address, not through the search; `None` if there is none."""
        request = call("POST", "/people/fetch_by_email", json={"email": email})
        try:
            row = self.wire.http.fetch(request, Answer.mapping)
        except NotFound:
            return None
        return row["id"] if isinstance(row.get("id"), int) else None

    def by_domain(self, domains: Sequence[str]) -> dict[str, int]:
        """The company that has a domain, by the domain in lower case."""
        wanted = {domain.casefold() for domain in domains}
        found: dict[str, int] = {}
        for some in chunks(list(dict.fromkeys(domains)), KEYS_PER_SEARCH):
            for rows in self._paged("/companies/search", {"email_domains": list(some)}, by="date_created"):
                for row in rows:
                    own = str(row.get("email_domain")).casefold()
                    if own in wanted:
                        found[own] = row["id"]
        return found


def _by_parent(lookups: Sequence[Lookup]) -> dict[Ref | None, list[str]]:
    """Keys of notes by the record under which they hang: one walk each."""
    groups: dict[Ref | None, list[str]] = {}
    for lookup in lookups:
        if lookup.kind is Kind.NOTE:
            known = lookup.parent if lookup.parent and lookup.parent.kind in _PARENTS else None
            groups.setdefault(known, []).append(lookup.key)
    return groups
