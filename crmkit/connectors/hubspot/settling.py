"""Which change each part of a batch's answer belongs to. Pure: no calls, no clock.

Results come in any order, so that they are matched by trace id, by our key or by record id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.connectors.hubspot.posts import Said
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import KEY_PROPERTY
from crmkit.connectors.translate import FieldError, instant
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.model import Kind, Ref

Row = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """What is known after a batch: outcomes, and changes that were refused, with the fault."""

    outcomes: list[Written] = field(default_factory=list)
    refused: list[tuple[Change, Fault]] = field(default_factory=list)

    def add(self, other: Reply) -> None:
        """Take over what another part of the batch brought."""
        self.outcomes += other.outcomes
        self.refused += other.refused


def settle(
    changes: Sequence[Change],
    said: Said,
    *,
    connection: str,
    modified: str,
    carries: Callable[[Row, Change], bool] | None = None,
) -> Reply:
    """The outcome of each change that the answer mentions; the others are left out.

    Args:
        changes: What was sent.
        said: What came back.
        connection: Name of the connection, for refs.
        modified: The property that orders a record's states.
        carries: Whether a row is the record that a create made, where no trace id tells.
    """
    left = {change.id: change for change in changes}
    traces = {trace(change): change.id for change in changes}
    traces |= {change.ref.id: change.id for change in changes if change.ref}
    keys = {change.key: change.id for change in changes if change.key}
    reply = Reply()
    unnamed: list[Fault] = []
    for error in said.errors:
        fault = Fault.of(error)
        named = [change for id_ in sorted(fault.ids) if (change := left.pop(traces.get(id_, ""), None))]
        reply.refused += [(change, fault) for change in named]
        if not named:
            unnamed.append(fault)
    for row in said.results:
        native = str(row["id"])
        told = (row.get("objectWriteTraceId"), _properties(row).get(KEY_PROPERTY), native)
        known = (traces.get(str(told[0])), keys.get(str(told[1])), traces.get(native))
        change = next((found for id_ in known if id_ and (found := left.pop(id_, None))), None)
        if change is None and carries is not None:
            fitting = [one for one in left.values() if one.act is Act.CREATE and carries(row, one)]
            alone = len(changes) == 1 and len(said.results) == 1 and not said.errors
            fitting = fitting or (list(left.values()) if alone else [])
            change = left.pop(fitting[0].id) if len(fitting) == 1 else None
        if change is not None:
            ref = Ref(connection, change.kind, native)
            reply.outcomes.append(Written(change.id, Result.DONE, ref, version(row, modified)))
    if unnamed and len(unnamed) == len(left):
        # As many errors as changes without a result: none of these was carried out. Which
        # error is whose is told only if there is one.
        fault = unnamed[0] if len(unnamed) == 1 else Fault(unnamed[0].category, text=_joined(unnamed))
        reply.refused += [(change, fault) for change in left.values()]
    return reply


def trace(change: Change) -> str:
    """What a batch's answer calls a change by; never the id of a record."""
    return f"crmkit-{change.id}"


def version(row: Row, modified: str) -> str | None:
    """A record's version as `records.py` makes it from the same moment."""
    stamp = _properties(row).get(modified) or row.get("updatedAt")
    try:
        moment = instant(stamp, modified)
    except FieldError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def gone(change: Change, fault: Fault) -> bool:
    """Whether an update was refused because its record is not there."""
    return (
        change.act is Act.UPDATE and change.kind is not Kind.PIPELINE and fault.category == "OBJECT_NOT_FOUND"
    )


def _properties(row: Row) -> Row:
    found = row.get("properties")
    return found if isinstance(found, dict) else {}


def _joined(faults: Sequence[Fault]) -> str:
    return "; ".join(dict.fromkeys(fault.text or fault.category for fault in faults))
