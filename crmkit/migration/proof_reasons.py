"""Why two records differ: every code that a proof knows, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crmkit.migration.proof_file import UNEXPLAINED
from crmkit.model import Kind
from crmkit.sync.plan import Held

EXPLANATIONS: Mapping[str, str] = {
    UNEXPLAINED: "nothing that is known explains it",
    # Edits since
    "edited_in_target": "edited in the target after the migration wrote it",
    "edited_in_source": "edited in the source since: `crmkit migrate delta` carries it over",
    "new_in_source": "new in the source since: `crmkit migrate delta` carries it over",
    "deleted_in_target": "deleted in the target after the migration made it",
    "gone_from_source": "gone from the source since; the migration deletes nothing",
    "out_of_scope": "left the scope in the source since; the migration deletes nothing",
    "undone": "taken back by an undo",
    "due": "not written yet: run the migration again",
    # What the target can hold
    "inexact": "the target cannot hold it exactly, and holds what is nearest",
    "unwritable": "the target cannot hold it",
    "unmapped": "it has no common value",
    "not_carried": "the migration does not carry it",
    # Decisions
    "left_out": "left out by decision",
    "pre_existing": "was in the target before; the migration leaves it as it is",
    "put_in": "empty in the source; the target puts in a value of its own",
    "filled_in": "empty in the source; the person got the company of their deal",
    "needs_another": "the record that needs it is not there, or holds something else",
    # What a plan holds back
    "conflict": "changed on both sides: it waits for a decision",
    "frozen": "two automations disagree: it waits for a decision",
    "review": "may be in the target already: it waits for a review",
    "clone": "a second record of the same thing",
    "foreign": "made by another crmkit; left alone",
    "required": "the target requires something that the source does not have",
    "refused": "the target refuses it",
    "parked": "an earlier write's outcome is not known yet",
    "blocked": "a company or person that it needs is not there",
    "delete_conflict": "deleted on one side and edited on the other",
    "merged": "its counterpart went up in another record",
    "told": "the target has no place for it; the note about the deal's past tells it",
}
"""What each explanation means."""

INEXPRESSIBLE = frozenset({"inexact", "unwritable", "unmapped"})


@dataclass(frozen=True, slots=True)
class Why:
    """An explanation: its code and the reason in words."""

    code: str
    reason: str = ""

    @property
    def words(self) -> str:
        """The reason, or what the code means."""
        return self.reason or EXPLANATIONS.get(self.code, self.code)


class HeldIndex:
    """What a fresh plan holds back, by what it is about."""

    def __init__(self, held: Iterable[Held]) -> None:
        self._entities: dict[str, list[Held]] = defaultdict(list)
        self._records: dict[tuple[str, str], list[Held]] = defaultdict(list)
        for one in held:
            if one.entity:
                self._entities[one.entity].append(one)
            if not one.entity or one.kind == "clone":
                # Records without an entity are named by their own id.
                self._records[one.connection, one.label].append(one)

    def field(self, entity: str, name: str, kinds: Iterable[str]) -> Why | None:
        """Why a field waits."""
        found = (one for one in self._entities.get(entity, ()) if one.field == name and one.kind in kinds)
        return _first(found)

    def whole(self, entity: str) -> Why | None:
        """Why a record of an entity is not written."""
        kinds = {
            "refused",
            "parked",
            "blocked",
            "required",
            "delete_conflict",
            "merged",
            "unwritable",
            "left_out",
        }
        return _first(
            one
            for one in self._entities.get(entity, ())
            if one.kind in kinds and (one.field is None or one.kind in ("required", "refused", "left_out"))
        )

    def record(self, connection: str, kind: Kind, native: str) -> Why | None:
        """Why a record itself waits."""
        return _first(
            one
            for one in self._records.get((connection, native), ())
            if one.kind in {"clone", "foreign"} or one.reason.startswith(f"{kind}: ")
        )


def _first(found: Iterable[Held]) -> Why | None:
    one = next(iter(found), None)
    return Why(one.kind, one.reason) if one is not None else None
