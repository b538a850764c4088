"""Custom fields: creates them, and gives a field of choices more of them.

Close takes several fields of one label, so a field is looked for before it is made.

Source: https://developer.close.com/api/resources/custom-fields
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from crmkit.connectors.base import Context, Field
from crmkit.connectors.close.custom import KEY_FIELD, Row, describe
from crmkit.connectors.close.posts import call_for, row_of
from crmkit.connectors.http import Call, Http
from crmkit.connectors.labels import CHOICES, labels_of
from crmkit.errors import AccessDenied, MissingScope, OutcomeUnknown, Rejected

_SHORT = 255  # Close tells no limit; longer texts get the field with several lines
_TYPES = {
    "number": "number",
    "day": "date",
    "time": "datetime",
    "choice": "choices",
    "choices": "choices",
}
CREATABLE = frozenset({"text", *_TYPES})  # there is neither a yes/no field nor one for money


class Maker:
    """Makes the custom fields of one organization.

    Args:
        context: The connection.
        http: Its HTTP side.
    """

    def __init__(self, context: Context, http: Http) -> None:
        self.context = context
        self.http = http

    def create(self, what: str, wanted: Field, schema: Callable[[], Iterable[Row]]) -> Field:
        """The field with the wanted label and type, made if it is not there yet.

        Args:
            what: What carries it, in Close's words.
            wanted: The field; the space around its label and those of its options is dropped,
                as it is around values.
            schema: Reads the custom fields of `what` anew.

        Raises:
            AccessDenied: The role may not.
            OutcomeUnknown: No answer came, and the field or a choice is not there.
            Rejected: Close refuses it, or the label is taken.
        """
        wanted = trimmed(wanted)
        self._refuse_misfits(what, wanted)
        row = self._find(schema(), wanted)
        if row is None:
            body = body_of(wanted)
            answered = self.post(what, body)
            # What the answer shows of the field is not published: the schema does.
            row = self._find(schema(), wanted) or (answered and {**body, **answered})
        elif missing := missing_choices(row, wanted):
            row = self._with_choices(what, wanted, row, missing)
            row = self._find(schema(), wanted) or row
        if not row or missing_choices(row, wanted):
            raise OutcomeUnknown(
                f"{self.context.connection}: whether Close has the {what} field {wanted.label!r} "
                "with its choices cannot be told"
            )
        return describe(row)

    def _with_choices(self, what: str, wanted: Field, row: Row, missing: Sequence[str]) -> Row:
        choices = [*(row.get("choices") or ()), *missing]
        where = "shared" if row.get("is_shared") else what
        call = call_for("PUT", f"/custom_field/{where}/", str(row["id"]))
        return {**row, **(self._send(call, {"choices": choices}, where, wanted.label) or {})}

    def post(self, what: str, body: Row) -> Row | None:
        """Create a field; `None` if no answer came.

        Raises:
            AccessDenied: The role may not.
            Rejected: Close refuses it.
        """
        return self._send(call_for("POST", f"/custom_field/{what}/"), body, what, str(body["name"]))

    def _send(self, call: Call, body: Row, what: str, label: str) -> Row | None:
        try:
            return self.http.fetch(replace(call, json=body), row_of)
        except MissingScope as error:
            raise AccessDenied(
                f"{self.context.connection}: this login may not create or change custom fields",
                hint=f"In Close, Settings, Custom Fields, {what.title()}: add the field "
                f"{label!r}; or let an administrator run this once.",
            ) from error
        except OutcomeUnknown:
            return None

    def _find(self, rows: Iterable[Row], wanted: Field) -> Row | None:
        try:
            return fitting(rows, wanted)
        except ValueError as error:
            raise Rejected(f"{self.context.connection}: {error}") from error

    def _refuse_misfits(self, what: str, wanted: Field) -> None:
        """Refuse what could not be used, before any call."""
        labels = wanted.options.values()
        where = f"{self.context.connection}: the {what} field {wanted.label!r}"
        if not wanted.label:
            raise Rejected(f"{where} needs a label")
        if wanted.label == KEY_FIELD:
            raise Rejected(f"{where} is crmkit's own")
        if wanted.type in CHOICES and not (labels and all(labels)):
            raise Rejected(f"{where} needs choices, each with a label")


def trimmed(wanted: Field) -> Field:
    """The field with labels as Close holds texts."""
    options = {native: label.strip() for native, label in wanted.options.items()}
    return replace(wanted, label=wanted.label.strip(), options=options)


def body_of(wanted: Field) -> Row:
    """What creates a field."""
    short = wanted.max_length is not None and wanted.max_length <= _SHORT
    body: Row = {
        "name": wanted.label,
        "type": _TYPES.get(wanted.type, "text" if short else "textarea"),
    }
    if wanted.type in CHOICES:
        body["choices"] = labels_of(wanted)
        body["accepts_multiple_values"] = wanted.type == "choices"
    return body


def fitting(rows: Iterable[Row], wanted: Field) -> Row | None:
    """The field with the wanted label and type; labels may repeat.

    Raises:
        ValueError: Only fields of other types have the label.
    """
    named = [row for row in rows if str(row.get("name") or "").strip() == wanted.label]
    found = next((row for row in named if describe(row).type == wanted.type), None)
    if named and found is None:
        raise ValueError(
            f"the field {wanted.label!r} has the type {named[0].get('type')}, "
            f"which cannot hold a {wanted.type}"
        )
    return found


def missing_choices(row: Row, wanted: Field) -> Sequence[str]:
    """Labels that a field of choices lacks."""
    if wanted.type not in CHOICES:
        return ()
    known = {str(choice).strip() for choice in row.get("choices") or ()}
    return [label for label in labels_of(wanted) if label not in known]
