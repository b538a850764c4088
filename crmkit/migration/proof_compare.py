"""Two records of one thing, field by field: do they mean the same, and if not, why. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from crmkit.mapping import identity
from crmkit.mapping.custom import Plain, Unmapped
from crmkit.mapping.fields import Codec
from crmkit.migration.evidence import Background, Row
from crmkit.migration.proof_file import UNEXPLAINED
from crmkit.migration.proof_reasons import HeldIndex, Why
from crmkit.model import Kind
from crmkit.sync.group import Member
from crmkit.sync.hub import Link, encode
from crmkit.sync.reconcile import NOTHING

PARTY_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.COMPANY: ("name", "domain", "tax_id", "phones", "city", "country", "postcode"),
    Kind.CONTACT: ("name", "emails", "phones", "city", "country", "postcode", "company"),
}
Values = Mapping[str, Any]
"""Common values by field; one that has no common value is `Unmapped`."""


def digest(values: Values, native_of: Callable[[str], Plain]) -> str:
    """SHA-256 of a record's values in common terms, as canonical JSON.

    Args:
        values: Its common values.
        native_of: What the CRM holds, for a value that has no common one.
    """
    plain = {
        name: {"native": native_of(name)} if isinstance(one, Unmapped) else one
        for name, one in values.items()
    }
    return hashlib.sha256(encode(plain).encode()).hexdigest()


def native_digest(natives: Mapping[str, Plain]) -> str:
    """SHA-256 of what a CRM holds, for a record that has nothing to compare it with."""
    return hashlib.sha256(encode(natives).encode()).hexdigest()


def differing(one: Values, other: Values) -> list[str]:
    """Fields that do not mean the same; what has no common value never does."""
    return [name for name, value in one.items() if isinstance(value, Unmapped) or value != other[name]]


def deal_values(codec: Codec, fields: Mapping[str, bool], row: Row) -> dict[str, Any]:
    """A deal in common terms; a field that its CRM lacks is empty.

    Args:
        codec: The connection's.
        fields: The fields that are compared, and whether the CRM has them.
        row: The stored deal.
    """
    return {
        name: codec.decode(name, codec.native(name, row)) if has else None for name, has in fields.items()
    }


@dataclass(frozen=True, slots=True)
class DealPair:
    """A deal in both CRMs, with what is remembered of it."""

    source: Row
    target: Row
    background: Background


class DealReasons:
    """Explains differences between deals.

    Args:
        source: The source's codec, with everybody in its directory.
        target: The target's.
        held: What a fresh plan holds back.
        error: How far the target's times may be off this machine's.
    """

    def __init__(self, source: Codec, target: Codec, held: HeldIndex, error: timedelta) -> None:
        self._source = source
        self._target = target
        self._held = held
        self._error = error

    def why(self, name: str, mine: Any, theirs: Any, pair: DealPair, *, lacks: bool) -> Why:
        """Why a field differs.

        Args:
            name: The field.
            mine: The source's value.
            theirs: The target's.
            pair: The deal.
            lacks: Whether the target has no such field.
        """
        background = pair.background
        entity = background.entity.id
        conflict = self._held.field(entity, name, ("conflict", "frozen"))
        if conflict is not None:
            return conflict
        if isinstance(mine, Unmapped):
            return Why("unmapped", f"in the source: {mine.reason}")
        if lacks:
            return Why("unwritable", "the target has no such field")
        native = self._target.native(name, pair.target)
        projected = self._target.project(name, mine, native)
        if projected == theirs and not isinstance(theirs, Unmapped):
            return Why("inexact")
        moved = self._moved(name, native, theirs, pair)
        # What cannot be written comes before an edit in the source that asks for it, but an edit
        # in the target of what could not be written in the first place is an edit all the same.
        if isinstance(projected, Unmapped) and (moved is None or moved.code == "edited_in_source"):
            return Why("unwritable", projected.reason)
        if moved is not None:
            return moved
        if isinstance(theirs, Unmapped):
            return Why("unmapped", f"in the target: {theirs.reason}")
        waits = self._held.field(entity, name, ("unwritable", "unmapped", "refused", "required"))
        waits = waits or self._held.whole(entity)
        if waits is not None:
            return waits
        if name in background.sent.refused:
            return Why("refused", background.sent.refused[name])
        if background.target is not None and self._is_due(name, projected, native, background):
            return Why("due")
        return self._as_it_was(name, mine, native, background) or Why(UNEXPLAINED)

    def _as_it_was(self, name: str, mine: Any, native: Plain, background: Background) -> Why | None:
        """What the target held before, or put in by itself when the deal was made; unchanged since."""
        link = background.target
        if link is None:
            return None
        base = link.bases.get(name)
        unchanged = base is None or native == base.native
        if not unchanged or name in (background.sent.last or ()):
            return None
        if not background.sent.created:
            return Why("pre_existing")
        return Why("put_in") if mine in (None, "", []) and base is not None else None

    def _moved(self, name: str, native: Plain, theirs: Any, pair: DealPair) -> Why | None:
        """An edit on either side since both agreed."""
        links = pair.background
        base = links.target.bases.get(name) if links.target is not None else None
        if base is not None and links.target is not None and native != base.native:
            edited = self._target.decode(name, base.native) != theirs
            if edited and not untouched(links.target, pair.target, name, links.sent.last, self._error):
                return Why("edited_in_target")
        base = links.source.bases.get(name) if links.source is not None else None
        if base is None:
            return None
        mine = self._source.native(name, pair.source)
        if mine != base.native:
            was, now = self._source.decode(name, base.native), self._source.decode(name, mine)
            if was != now:
                return Why("edited_in_source")
        return None

    def _is_due(self, name: str, projected: Plain, native: Plain, background: Background) -> bool:
        """Whether the group agreed on the source's value and the target was never sent it."""
        known = background.entity.hub.get(name)
        base = background.target.bases.get(name) if background.target is not None else None
        if known is None or base is None or native != base.native:
            return False
        wanted = self._target.project(name, known.value, native)
        return wanted == projected and base.stood is not NOTHING and base.stood != projected


def untouched(link: Link, row: Row, name: str, last_sent: frozenset[str] | None, error: timedelta) -> bool:
    """Whether the CRM itself proves that nobody touched a record since our last write of a field.

    A field that reads otherwise than it was written, in a record that is as we left it, is
    no user's edit: the CRM took the write and kept something else.
    """
    if last_sent is None or name not in last_sent:
        return False
    if link.version is not None and row["version"] is not None:
        return bool(row["version"] == link.version)
    if link.written_at is None or row["modified_at"] is None:
        return False
    return bool(row["modified_at"] + error < link.written_at)


EntityOf = Callable[[str], str | None]
"""The entity of a company by its id in one CRM."""


def party_values(kind: Kind, row: Row, entity_of: EntityOf) -> dict[str, Any]:
    """A company or person in common terms: spellings that mean the same are one."""
    return {name: _party_value(name, row, entity_of) for name in PARTY_FIELDS[kind]}


def _party_value(name: str, row: Mapping[str, Any], entity_of: EntityOf) -> Any:
    if name == "company":
        first = row["companies"][0] if row["companies"] else None
        if first is None:
            return None
        return entity_of(first) or Unmapped("the company is not linked")
    value = row.get(name)
    if name == "emails":
        return sorted({identity.email(one) or one for one in map(_tidy, value or ()) if one})
    if name == "phones":
        return sorted({identity.phone(one) or one for one in map(_tidy, value or ()) if one})
    text = _tidy(value)
    if text is None:
        return None
    if name == "domain":
        return identity.domain(text) or text.casefold()
    if name == "tax_id":
        return identity.tax_id(text) or text
    return text


@dataclass(frozen=True, slots=True)
class PartyPair:
    """A company or person in both CRMs."""

    kind: Kind
    source: Row
    target: Row
    background: Background
    made_here: bool


class PartyReasons:
    """Explains differences between companies or people: they are copied once, and never merged."""

    def __init__(self, target: Member, held: HeldIndex, error: timedelta) -> None:
        self._target = target
        self._held = held
        self._error = error

    def why(self, name: str, mine: Any, theirs: Any, pair: PartyPair) -> Why:
        """Why a field differs."""
        if not pair.made_here:
            return Why("pre_existing")
        if isinstance(mine, Unmapped):
            return Why("unmapped", f"in the source: {mine.reason}")
        lost = self._lost(name, theirs, pair)
        if lost is not None:
            return lost
        if name == "company" and mine is None:
            return Why("filled_in")
        background = pair.background
        if _EDITED.get(name, name) in background.source_edits:
            reason = "edited in the source since; companies and people are carried over once"
            return Why("edited_in_source", reason)
        link = background.target
        if link is not None and not untouched(link, pair.target, "", frozenset({""}), self._error):
            return Why("edited_in_target")
        if isinstance(theirs, Unmapped):
            return Why("unmapped", f"in the target: {theirs.reason}")
        return self._held.whole(background.entity.id) or Why(UNEXPLAINED)

    def _lost(self, name: str, theirs: Any, pair: PartyPair) -> Why | None:
        """What the target can hold of the source's value, if that is what it holds."""
        field = _EDITED.get(name, name)
        writing = self._target.writing(pair.kind)
        if field not in writing.fields | writing.create_fields and not (
            name == "name" and "last_name" in writing.fields
        ):
            return Why("unwritable", "the target has no such field, or it cannot be written")
        if name == "company":
            return None
        value = pair.source[name]
        given = {name: tuple(value) if isinstance(value, list) else value}
        refused = self._target.connector.cannot_hold(pair.kind, given)
        if refused:
            return Why("unwritable", "; ".join(sorted(set(refused.values()))))
        held = {**given, **self._target.connector.holds(pair.kind, given)}
        if _party_value(name, held, _nobody) == theirs:
            return Why("inexact")
        if name == "name" and "last_name" in pair.source:
            parts = (pair.source["first_name"], pair.source["last_name"])
            if " ".join(part for part in parts if part) == theirs:
                return Why("inexact", "the target puts the name together from its parts")
        return None


_EDITED = {"company": "companies"}


def _nobody(_native: str) -> None:
    return None


def _tidy(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return value.replace("\r\n", "\n").strip() or None
