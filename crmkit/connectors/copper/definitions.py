"""Custom field definitions: creates them, and gives them more options.

Whether Copper takes two definitions of one name is not documented: it is never asked to,
for a definition of the same label and type on the same kind is taken as it is.

Source: https://developer.copper.com/custom-fields/general/create-a-new-custom-field-definition.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.copper.records import ENTITIES
from crmkit.connectors.copper.settling import write_call
from crmkit.connectors.copper.steps import Wire
from crmkit.connectors.copper.values import STRING_LENGTH, Row, describe, on
from crmkit.connectors.http import Answer
from crmkit.connectors.labels import labels_of
from crmkit.errors import AccessDenied, BadAnswer, MissingScope, OutcomeUnknown, Rejected
from crmkit.model import Kind

PATH = "/custom_field_definitions"
_DATA_TYPES = {
    "number": "Float",
    "money": "Currency",
    "boolean": "Checkbox",
    "day": "Date",
    "choice": "Dropdown",
    "choices": "MultiSelect",
}
CREATABLE = frozenset({"text", *_DATA_TYPES})  # Copper has no custom field for a time of day
_FEWEST_OPTIONS = {"choice": 1, "choices": 2}


class Definitions:
    """The definitions of one account.

    Args:
        wire: Sends calls.
        currency: What new money fields count in; `None` leaves it to Copper.
    """

    def __init__(self, wire: Wire, currency: str | None) -> None:
        self.wire = wire
        self.currency = currency

    def create(self, kind: Kind, wanted: Field, listed: Callable[[], Iterable[Row]]) -> Field:
        """The definition with the wanted label and type, made if it is not there yet.

        Args:
            kind: What carries it.
            wanted: The field.
            listed: Reads all definitions anew.

        Raises:
            AccessDenied: The key's owner may not.
            OutcomeUnknown: No answer came, and the definition or an option is not there.
            Rejected: Copper refuses it, or cannot hold such a field.
        """
        self._refuse_misfits(kind, wanted)
        row = self._find(kind, wanted, listed())
        if row is None:
            answered = self._send("POST", PATH, body_of(ENTITIES[kind], wanted, self.currency))
            row = self._find(kind, wanted, listed()) or answered
        elif missing := missing_options(row, wanted):
            before, answered = row, self._with_options(row, missing)
            row = self._find(kind, wanted, listed()) or answered or before
            self._refuse_loss(wanted, before, row)
        if row is None or missing_options(row, wanted):
            raise OutcomeUnknown(
                f"{self._name}: whether Copper has the {kind} field {wanted.label!r} with its options "
                "cannot be told"
            )
        return describe(row)

    @property
    def _name(self) -> str:
        return self.wire.context.connection

    def _find(self, kind: Kind, wanted: Field, rows: Iterable[Row]) -> Row | None:
        try:
            return fitting(on(ENTITIES[kind], rows), wanted)
        except ValueError as error:
            raise Rejected(f"{self._name}: {error}") from error

    def _with_options(self, row: Row, missing: Sequence[str]) -> Row | None:
        # An option named without its id becomes a new one, and the old one is gone.
        kept = [{"id": option["id"], "name": option["name"]} for option in row.get("options") or ()]
        body = {"options": [*kept, *({"name": label} for label in missing)]}
        return self._send("PUT", f"{PATH}/{row['id']}", body, label=f"PUT {PATH}/{{id}}")

    def _refuse_loss(self, wanted: Field, before: Row, after: Row) -> None:
        lost = describe(before).options.keys() - describe(after).options.keys()
        if lost:
            raise Rejected(
                f"{self._name}: Copper gave {len(lost)} options of {wanted.label!r} another id: "
                "records that held them may have lost them",
                hint="Compare the field's values with a backup before going on.",
            )

    def _send(self, method: str, path: str, body: Any, *, label: str | None = None) -> Row | None:
        """The definition of the answer; `None` if no answer came."""

        def row_of(answer: Answer) -> Row:
            row = answer.mapping()
            if not {"id", "name", "data_type"} <= row.keys():
                raise BadAnswer("the answer is no definition of a field")
            return row

        try:
            return self.wire.http.fetch(write_call(method, path, body, label=label), row_of)
        except MissingScope as error:
            raise AccessDenied(
                f"{self._name}: this login may not change custom fields",
                hint="Use the API key of an admin, or add the field in Copper "
                "(Settings, Customize Copper, Manage Fields on Records).",
            ) from error
        except OutcomeUnknown:
            return None

    def _refuse_misfits(self, kind: Kind, wanted: Field) -> None:
        """Refuse what Copper would refuse, before any call."""
        labels = labels_of(wanted)
        fewest = _FEWEST_OPTIONS.get(wanted.type, 0)
        if not wanted.label.strip():
            raise Rejected(f"{self._name}: a custom field of a {kind} needs a label")
        if not all(label.strip() for label in labels):
            raise Rejected(f"{self._name}: the field {wanted.label!r} has an option without a label")
        if len(labels) < fewest:
            raise Rejected(
                f"{self._name}: the field {wanted.label!r} has {len(labels)} options, "
                f"and Copper wants at least {fewest} of a {wanted.type} field"
            )


def body_of(entity: str, wanted: Field, currency: str | None) -> Row:
    """What creates a definition that is available on one entity."""
    short = wanted.max_length is not None and wanted.max_length <= STRING_LENGTH
    text_type = "String" if short else "Text"
    body: Row = {
        "name": wanted.label,
        "data_type": _DATA_TYPES.get(wanted.type, text_type),
        "available_on": [entity],
    }
    if wanted.type in _FEWEST_OPTIONS:
        body["options"] = [{"name": label} for label in labels_of(wanted)]
    if wanted.type == "money" and currency:
        body["currency"] = currency
    return body


def fitting(rows: Iterable[Row], wanted: Field) -> Row | None:
    """The definition with the wanted label and type; of several texts the longest.

    Raises:
        ValueError: The label is taken by a field of another type.
    """
    named = [row for row in rows if row.get("name") == wanted.label]
    typed = [row for row in named if describe(row).type == wanted.type]
    if named and not typed:
        raise ValueError(
            f"the field {wanted.label!r} has the type {named[0].get('data_type')}, "
            f"which cannot hold a {wanted.type}"
        )
    return max(typed, key=lambda row: describe(row).max_length is None, default=None)


def missing_options(row: Mapping[str, Any], wanted: Field) -> Sequence[str]:
    """Labels that the definition lacks."""
    if wanted.type not in _FEWEST_OPTIONS:
        return ()
    known = {str(option.get("name")) for option in row.get("options") or ()}
    return [label for label in labels_of(wanted) if label not in known]
