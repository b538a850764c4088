"""Stage changes from the rows of Zoho's stage history. No calls, no clock.

Each row is one period of a deal in one stage: `Stage`, `Moved_To__s` (empty while the deal
is still there) and one `Modified_Time`. Zoho does not document whether that is when the
deal entered the stage or left it. Integrations in use read it as entering; recorded-looking
samples show the last two rows with the same time, which only leaving explains. So it is
found out from the rows themselves: where the time of a period that ended equals the time
of the current one, rows are stamped on leaving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from crmkit.connectors.translate import FieldError, instant, text
from crmkit.connectors.zoho.columns import lookup_id
from crmkit.connectors.zoho.stages import Names
from crmkit.model import Kind, Ref

FIELDS = ("Potential_Name", "Stage", "Moved_To__s", "Modified_Time", "Modified_By")
Step: TypeAlias = tuple[Mapping[str, Any], str | None]
"""A row and, where it is known, the stage text of the deal's row before it."""


class Stamp(StrEnum):
    """What `Modified_Time` of a row means."""

    ENTERED = "entered"
    LEFT = "left"


def stamp_of(chains: Iterable[Sequence[Mapping[str, Any]]]) -> Stamp | None:
    """How an org stamps its rows, given all rows of some deals; `None` if they do not tell."""
    entered = left = 0
    for rows in chains:
        current = [row for row in rows if not row.get("Moved_To__s")]
        if len(current) != 1:
            continue
        before = [row for row in rows if row.get("Moved_To__s") == current[0].get("Stage")]
        if before:
            now = instant(current[0].get("Modified_Time"), "Modified_Time")
            same = any(instant(row.get("Modified_Time"), "Modified_Time") == now for row in before)
            left, entered = left + same, entered + (not same)
    if left == entered == 0:
        return None
    return Stamp.LEFT if left > entered else Stamp.ENTERED


def by_deal(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, list[Mapping[str, Any]]], list[Mapping[str, Any]]]:
    """Rows of the stage history by deal, oldest first, and the rows that cannot be placed.

    Rows of deleted deals, which name no deal any more, are in neither.
    """
    placed: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    odd: list[Mapping[str, Any]] = []
    for row in rows:
        if row.get("Potential_Name") is None:
            continue
        try:
            deal = lookup_id(row["Potential_Name"], "Potential_Name")
            at = instant(row["Modified_Time"], "Modified_Time")
            if deal is None or at is None:
                raise FieldError("Modified_Time", "is empty")
            # The open period comes last: it may share its second with the one before.
            placed[deal].append((at, not row.get("Moved_To__s"), int(row["id"]), row))
        except (FieldError, KeyError, ValueError):
            odd.append(row)
    return {deal: [entry[-1] for entry in sorted(chain, key=_place)] for deal, chain in placed.items()}, odd


def _place(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    return entry[:-1]


def steps(chains: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[Step]:
    """Every row with the stage text of the one before it, deal by deal."""
    for chain in chains:
        before: str | None = None
        for row in chain:
            yield row, before
            before = row.get("Stage")


def is_change(stamp: Stamp, row: Mapping[str, Any]) -> bool:
    """Whether a row tells a change by itself: a period that lasts tells none of leaving."""
    return stamp is Stamp.ENTERED or bool(row.get("Moved_To__s"))


def change(connection: str, stamp: Stamp, names: Names, step: Step) -> dict[str, Any]:
    """Fields of a `StageChange`, from a row that is one."""
    row, before = step
    stage = text(row.get("Stage"), "Stage")
    if stamp is Stamp.LEFT:
        before, stage = stage, text(row.get("Moved_To__s"), "Moved_To__s")
    if stage is None:
        raise FieldError("Stage", "is empty")
    return {
        "ref": Ref(connection, Kind.STAGE_CHANGE, row["id"]),
        "deal_id": lookup_id(row["Potential_Name"], "Potential_Name"),
        "from_stage_id": names.stage_id(before) if before else None,
        "to_stage_id": names.stage_id(stage),
        "at": instant(row["Modified_Time"], "Modified_Time"),
        "by": lookup_id(row.get("Modified_By"), "Modified_By"),
    }
