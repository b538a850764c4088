"""Custom properties: what HubSpot is sent to make one, and which that are there will do.

A property has a name of its own that never changes, and so has each option a value: both
are made from labels here, and the labels are what counts. Sources: contracts/hubspot.md,
section 4, and https://developers.hubspot.com/docs/api-reference/latest/crm/properties/guide
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from crmkit.connectors import labels
from crmkit.connectors.base import Field
from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.fields import describe
from crmkit.connectors.hubspot.posts import Posts
from crmkit.connectors.hubspot.schema import KEY_PROPERTY, WIRES
from crmkit.errors import AccessDenied, MissingScope, OutcomeUnknown, Rejected
from crmkit.model import Kind

GROUPS = {
    Kind.COMPANY: "companyinformation",
    Kind.CONTACT: "contactinformation",
    Kind.DEAL: "dealinformation",
}
# Field type to HubSpot's `type` and `fieldType`.
_SHAPES: Mapping[str, tuple[str, str]] = {
    "text": ("string", "text"),
    "number": ("number", "number"),
    "money": ("number", "number"),
    "boolean": ("bool", "booleancheckbox"),
    "day": ("date", "date"),
    "time": ("datetime", "date"),
    "choice": ("enumeration", "select"),
    "choices": ("enumeration", "checkbox"),
}
CREATABLE: Mapping[Kind, frozenset[str]] = dict.fromkeys(GROUPS, frozenset(_SHAPES))
# To HubSpot money is a number with a currency sign: values of both are the same.
_ALIKE = {"money": "number"}
_ONE_LINE_CHARS = 255
_NAME_CHARS = 80
_OPTION_KEYS = ("label", "value", "description", "displayOrder", "hidden")
_YES_NO = (("true", "Yes"), ("false", "No"))


class Customs:
    """Makes custom properties, and finds those that were made before.

    Args:
        connection: Name of the connection.
        api: HubSpot's read endpoints.
        posts: Its write endpoints.
    """

    def __init__(self, connection: str, api: Api, posts: Posts) -> None:
        self._connection = connection
        self._api = api
        self._posts = posts

    def rows(self, kind: Kind) -> list[Row]:
        """All properties of a kind that are in use."""
        rows, _ = self._api.properties(WIRES[kind].of)
        return [row for row in rows if not row.get("archived")]

    def create(self, kind: Kind, wanted: Field) -> tuple[str, list[Row]]:
        """The name of the wanted property, and all properties with it among them.

        Raises:
            AccessDenied: The login may not.
            Rejected: A label cannot be used, a property of that label has another type, or
                HubSpot refuses it.
        """
        try:
            labels.check(wanted, wanted.options.values() if wanted.type in labels.CHOICES else ())
        except ValueError as error:
            raise Rejected(f"{self._connection}: no {kind} field was made: {error}") from error
        rows = self.rows(kind)
        row = self._same(kind, wanted, rows) or self._make(kind, wanted, rows)
        if lacking(row, wanted):
            row = self._add_options(kind, row, wanted)
        return row["name"], [*(one for one in rows if one["name"] != row["name"]), row]

    def make(self, kind: Kind, body: Row, hint: str, find: Callable[[Sequence[Row]], Row | None]) -> Row:
        """The property that a body makes.

        Args:
            kind: What carries it.
            body: The property.
            hint: What to click where the login may not do this.
            find: Picks it among all properties, after a refusal or a lost answer: somebody
                may have made it just now.
        """
        try:
            return self._posts.make_property(WIRES[kind].of, body)
        except (MissingScope, AccessDenied) as error:
            raise AccessDenied(str(error), hint=hint) from error
        except (Rejected, OutcomeUnknown):
            row = find(self.rows(kind))
            if row is None:
                raise
            return row

    def _make(self, kind: Kind, wanted: Field, rows: Sequence[Row]) -> Row:
        archived, _ = self._api.properties(WIRES[kind].of, archived=True)
        # The name of an archived property would bring that one back, with its old values.
        taken = {row["name"] for row in (*rows, *archived)} | set(WIRES[kind].properties)
        body = property_body(kind, wanted, taken)
        row = self.make(kind, body, _hint(kind, wanted), lambda now: self._same(kind, wanted, now))
        if not _fits(kind, row, wanted):
            raise Rejected(
                f"{self._connection}: HubSpot made the {kind} property {row['name']} of another type"
            )
        return row

    def _same(self, kind: Kind, wanted: Field, rows: Sequence[Row]) -> Row | None:
        """The custom property with the wanted label and type.

        Raises:
            Rejected: Only one of another type has that label.
        """
        named = [
            row
            for row in rows
            if _is_custom(kind, row) and labels.tidy(row.get("label")) == labels.tidy(wanted.label)
        ]
        fitting = [row for row in named if _fits(kind, row, wanted)]
        exact = [row for row in fitting if _described(kind, row).type == wanted.type]
        if named and not fitting:
            there = _described(kind, named[0])
            state = "calculated" if there.read_only else f"of type {there.type}"
            raise Rejected(
                f"{self._connection}: the {kind} property {there.id} has the label {wanted.label!r}, "
                f"but is {state} instead of {wanted.type}",
                hint="Rename it in HubSpot, or map the field to another one.",
            )
        return next(iter([*exact, *fitting]), None)

    def _add_options(self, kind: Kind, row: Row, wanted: Field) -> Row:
        of = WIRES[kind].of
        # The list is replaced as a whole.
        body = {"type": row["type"], "fieldType": row["fieldType"], "options": all_options(row, wanted)}
        try:
            changed = self._posts.change_property(of, row["name"], body)
        except (MissingScope, AccessDenied) as error:
            raise AccessDenied(str(error), hint=_hint(kind, wanted)) from error
        except OutcomeUnknown:
            found = next((one for one in self.rows(kind) if one["name"] == row["name"]), row)
            if lacking(found, wanted):
                raise
            return found
        left = lacking(changed, wanted)
        if left:
            raise Rejected(f"{self._connection}: HubSpot did not take the options {', '.join(left)}")
        return changed


def property_body(kind: Kind, wanted: Field, taken: Collection[str]) -> Row:
    """What makes the property; its name is one that is not taken."""
    type_, field_type = _SHAPES[wanted.type]
    if wanted.type == "text" and not 0 < (wanted.max_length or 0) <= _ONE_LINE_CHARS:
        field_type = "textarea"
    body: Row = {
        "groupName": GROUPS[kind],
        "name": property_name(wanted, taken),
        "label": labels.one_line(wanted.label),
        "type": type_,
        "fieldType": field_type,
    }
    if wanted.type == "money":
        # Older versions of the call know these two; what does not know them makes a number.
        body |= {"showCurrencySymbol": True, "numberDisplayHint": "currency"}
    if wanted.type == "boolean":
        # HubSpot's own have these; whether a call has to name them is not documented.
        body["options"] = [_option(label, value, at) for at, (value, label) in enumerate(_YES_NO)]
    if wanted.type in labels.CHOICES:
        body["options"] = all_options({}, wanted)
    return body


def property_name(wanted: Field, taken: Collection[str]) -> str:
    """A name of lower case letters, digits and `_`, after the hint or else the label."""
    hint = _slug(wanted.id)
    base = hint if hint[:1].isalpha() else _slug(wanted.label)
    if not base[:1].isalpha():
        base = f"field_{base}".rstrip("_")
    if base.startswith("hs_"):
        base = f"own_{base}"  # that beginning is HubSpot's own
    if base.endswith("_id"):
        base = f"{base}_value"  # what is called an id is read as text, whatever its type
    return _free(base, taken)


def lacking(row: Mapping[str, Any], wanted: Field) -> list[str]:
    """The wanted options that a property does not have, by label."""
    if wanted.type not in labels.CHOICES:
        return []
    there = (option.get("label") for option in row.get("options") or ())
    return labels.lacking(there, wanted.options.values())


def all_options(row: Mapping[str, Any], wanted: Field) -> list[Row]:
    """The options that are there, as they are, and the lacking ones after them."""
    there = [
        {key: option[key] for key in _OPTION_KEYS if option.get(key) is not None}
        for option in row.get("options") or ()
    ]
    # ";" separates options in a record, and case may not tell values apart.
    taken = {str(option.get("value")).casefold() for option in there}
    last = max((int(option.get("displayOrder", -1)) for option in there), default=-1)
    for at, label in enumerate(lacking(row, wanted), last + 1):
        value = _free(_slug(label) or "option", taken)
        taken.add(value)
        there.append(_option(label, value, at))
    return there


def _option(label: str, value: str, at: int) -> Row:
    return {"label": label, "value": value, "displayOrder": at, "hidden": False}


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:_NAME_CHARS]


def _free(base: str, taken: Collection[str]) -> str:
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _described(kind: Kind, row: Row) -> Field:
    return describe(kind, [row])[0]


def _is_custom(kind: Kind, row: Row) -> bool:
    return row["name"] != KEY_PROPERTY and not row.get("archived") and _described(kind, row).custom


def _fits(kind: Kind, row: Row, wanted: Field) -> bool:
    there = _described(kind, row)
    same = _ALIKE.get(there.type, there.type) == _ALIKE.get(wanted.type, wanted.type)
    return same and not there.read_only


def schema_scope(kind: Kind) -> str:
    """The scope that making a property needs."""
    return f"crm.schemas.{WIRES[kind].of}.write"


def _hint(kind: Kind, wanted: Field) -> str:
    listed: Iterable[str] = wanted.options.values() if wanted.type in labels.CHOICES else ()
    with_options = f" and the options {', '.join(listed)}" if listed else ""
    return (
        f"Grant the app the scope {schema_scope(kind)}; or in HubSpot: Settings, Properties, {kind} "
        f"properties, Create property: label {wanted.label!r}, a field for {wanted.type}{with_options}."
    )
