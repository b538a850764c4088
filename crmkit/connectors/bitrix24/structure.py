"""Pipelines and their stages: what has to change, and the calls that change it.

A new pipeline is born with eight stages. They are renamed into the wanted ones in order,
what is left over is deleted and what is missing added. Open stages come first, then the one
won stage, then the lost ones; the portal refuses a stage that is sorted elsewhere, so the
last ones make room first.

Source: https://apidocs.bitrix24.com/api-reference/crm/status/index.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.connectors.bitrix24.encoding import Unwritable
from crmkit.connectors.bitrix24.wire import Request
from crmkit.model import Outcome, Stage

SORT_STEP = 10
NAME_CHARACTERS = 255
_ORDER = (Outcome.OPEN, Outcome.WON, Outcome.LOST)
_SEMANTICS = {Outcome.OPEN: "", Outcome.WON: "S", Outcome.LOST: "F"}


@dataclass(slots=True)
class StageEdits:
    """Calls in the order in which they must run, and what cannot be done."""

    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """One stage of the wanted order: a row of the directory, or a new one."""

    row: Mapping[str, Any] | None
    name: str
    outcome: Outcome


def directory(pipeline_id: str) -> str:
    """The directory of a pipeline's stages; the default pipeline's has no number."""
    return "DEAL_STAGE" if pipeline_id == "0" else f"DEAL_STAGE_{pipeline_id}"


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """Whether deals in a stage are open, won or lost."""
    extra = row.get("EXTRA")
    told = row.get("SEMANTICS") or (extra.get("SEMANTICS") if isinstance(extra, Mapping) else None) or "P"
    first = str(told).upper()[:1]
    # `success` and `failure`, `apology` say the same in the second place.
    return {"S": Outcome.WON, "F": Outcome.LOST, "A": Outcome.LOST}.get(first, Outcome.OPEN)


def check(values: Mapping[str, Any], *, creating: bool) -> None:
    """Refuse what no portal can hold, before anything is sent.

    Raises:
        Unwritable: A name is missing or too long, or there is more than one won stage.
    """
    name = values.get("name")
    if (creating or "name" in values) and (not isinstance(name, str) or not name.strip()):
        raise Unwritable("name", "is empty")
    if isinstance(name, str) and len(name) > NAME_CHARACTERS:
        raise Unwritable("name", f"is longer than {NAME_CHARACTERS} characters")
    stages = _live(values.get("stages") or ())
    if sum(stage.outcome is Outcome.WON for stage in stages) > 1:
        raise Unwritable("stages", "a pipeline of Bitrix24 has one won stage")
    if any(not stage.name.strip() or len(stage.name) > NAME_CHARACTERS for stage in stages):
        raise Unwritable("stages", f"a stage has no name, or one of more than {NAME_CHARACTERS} characters")


def cannot_hold(values: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a pipeline whose value no portal can hold, with the reason."""
    reasons = {}
    for name in values:
        try:
            check({name: values[name]}, creating=False)
        except Unwritable as error:
            reasons[error.field] = error.reason
    return reasons


def reshape(pipeline_id: str, rows: Sequence[Mapping[str, Any]], stages: Sequence[Stage]) -> StageEdits:
    """Make the stages of a new pipeline the wanted ones; it holds no deals yet."""
    places: list[_Place] = []
    surplus: list[Mapping[str, Any]] = []
    for outcome in _ORDER:
        mine = [row for row in rows if outcome_of(row) is outcome]
        wanted = [stage for stage in _live(stages) if stage.outcome is outcome]
        # What the portal made by itself cannot be deleted without force, so it is used first.
        kept = sorted(mine, key=lambda row: row.get("SYSTEM") != "Y")[: max(len(wanted), 0)]
        for row, stage in zip(_in_order(kept), wanted, strict=False):
            places.append(_Place(row, stage.name, outcome))
        places += [_Place(None, stage.name, outcome) for stage in wanted[len(kept) :]]
        for row in mine:
            if row in kept:
                continue
            if row.get("SYSTEM") == "Y":
                places.append(_Place(row, str(row.get("NAME") or ""), outcome))
            else:
                surplus.append(row)
    edits = _edits(pipeline_id, rows, places)
    edits.requests += [Request("crm.status.delete", {"id": str(row["ID"])}) for row in surplus]
    return edits


def amend(pipeline_id: str, rows: Sequence[Mapping[str, Any]], stages: Sequence[Stage]) -> StageEdits:
    """Rename the stages that are there and add those that are not; none is deleted.

    A stage is there if its id is. What is new goes behind the stage that comes before it.
    """
    by_id = {str(row["STATUS_ID"]): row for row in rows}
    problems: list[str] = []
    order: dict[Outcome, list[_Place]] = {outcome: [] for outcome in _ORDER}
    named = {stage.id: stage for stage in _live(stages) if stage.id in by_id}
    for row in _in_order(rows):
        stage = named.get(str(row["STATUS_ID"]))
        outcome = outcome_of(row)
        if stage is not None and stage.outcome is not outcome:
            problems.append(f"the outcome of stage {stage.id} cannot be changed")
        order[outcome].append(_Place(row, stage.name if stage else str(row.get("NAME") or ""), outcome))
    before: str | None = None
    for stage in _live(stages):
        if stage.id in by_id:
            before = stage.id
            continue
        if stage.outcome is Outcome.WON and order[Outcome.WON]:
            problems.append("a pipeline of Bitrix24 has one won stage")
            continue
        group = order[stage.outcome]
        behind = next((at + 1 for at, one in enumerate(group) if _id(one.row) == before), len(group))
        while behind < len(group) and group[behind].row is None:
            behind += 1
        group.insert(behind, _Place(None, stage.name, stage.outcome))
    edits = _edits(pipeline_id, rows, [place for outcome in _ORDER for place in order[outcome]])
    edits.problems = problems
    return edits


def _edits(pipeline_id: str, rows: Sequence[Mapping[str, Any]], places: Sequence[_Place]) -> StageEdits:
    sorts: list[int] = []
    for place in places:
        before = sorts[-1] if sorts else 0
        now = _sort(place.row) if place.row is not None else 0
        sorts.append(now if now > before else before + SORT_STEP)
    taken = {str(row["STATUS_ID"]).rpartition(":")[2] for row in rows}
    updates: list[Request] = []
    adds: list[Request] = []
    for place, sort in zip(places, sorts, strict=True):
        if place.row is None:
            adds.append(_add(pipeline_id, place, sort, taken))
            continue
        fields = {}
        if place.name != place.row.get("NAME"):
            fields["NAME"] = place.name
        if sort != _sort(place.row):
            fields["SORT"] = str(sort)
        if fields:
            updates.append(Request("crm.status.update", {"id": str(place.row["ID"]), "fields": fields}))
    # Stages only ever move back; from the last to the first none passes another.
    return StageEdits([*reversed(updates), *adds])


def _add(pipeline_id: str, place: _Place, sort: int, taken: set[str]) -> Request:
    """A new stage. Its id is ours, so that adding it twice is refused; 21 characters with the prefix."""
    number = next(n for n in range(1, 10_000) if f"CK{n}" not in taken)
    taken.add(f"CK{number}")
    fields = {
        "ENTITY_ID": directory(pipeline_id),
        "STATUS_ID": f"CK{number}",
        "NAME": place.name,
        "SORT": str(sort),
    }
    if semantics := _SEMANTICS[place.outcome]:
        fields["SEMANTICS"] = semantics
    return Request("crm.status.add", {"fields": fields})


def _live(stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if not stage.archived]


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=_sort)


def _sort(row: Mapping[str, Any]) -> int:
    try:
        return int(str(row.get("SORT") or 0))
    except ValueError:
        return 0


def _id(row: Mapping[str, Any] | None) -> str | None:
    return None if row is None else str(row["STATUS_ID"])
