"""Records as a write leaves them, where its answer does not show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.connectors.writing import Change, Written
from crmkit.model import AnyRecord, Company, Contact, Deal, Kind, Note, Outcome, ValuePeriod
from crmkit.sync.plan import Op

_CLASSES: dict[Kind, type[Any]] = {
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.DEAL: Deal,
}  # notes have neither a key nor a version
_EMPTY_DEAL: dict[str, Any] = {
    "name": "", "pipeline_id": None, "stage_id": None, "outcome": Outcome.OPEN, "lost_reason": None,
    "amount": None, "currency": None, "value_period": ValuePeriod.ONE_TIME, "probability": None,
    "owner_id": None, "companies": (), "contacts": (), "expected_close": None, "source": None,
    "tags": (), "custom": {},
}  # fmt: skip


def fresh_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A deal that holds nothing but what was sent, as the codec reads it."""
    return {**_EMPTY_DEAL, **_plain(values), "custom": _custom(values)}


def after_write(
    op: Op,
    outcome: Written,
    change: Change,
    left: Mapping[str, Any],
    before: AnyRecord | None,
    shown: AnyRecord | None,
) -> AnyRecord:
    """The record after a write: as the CRM shows it, else as the write must have left it.

    Args:
        op: What was planned.
        outcome: What became of it.
        change: What was sent.
        left: What follows from it by itself, for example the outcome from the stage.
        before: The record before an update.
        shown: The record as the CRM shows it now.
    """
    if shown is not None:
        return shown
    update = {**_plain(change.values), **_plain(left)}
    if outcome.version is not None:
        update["version"] = outcome.version
    if before is not None:
        custom = {**getattr(before, "custom", {}), **_custom(change.values)}
        update["custom"] = {name: value for name, value in custom.items() if value is not None}
        copy: AnyRecord = before.model_copy(update=update)
        return copy
    if op.kind is Kind.NOTE and outcome.ref is not None:
        update.pop("version", None)
        return Note(ref=outcome.ref, **update)
    made: AnyRecord = _CLASSES[op.kind](
        ref=outcome.ref, key=change.key, **{"name": op.label, **update, "custom": _custom(change.values)}
    )
    return made


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith("custom.")}


def _custom(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix("custom."): value
        for name, value in values.items()
        if name.startswith("custom.") and value is not None
    }
