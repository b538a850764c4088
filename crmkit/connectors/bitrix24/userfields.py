"""Custom fields: creates them, and gives lists more options.

A field's name on the wire is made of its label and type, so that a second create of the
same field is refused by the portal itself, however late the first one arrives.

Source: https://apidocs.bitrix24.com/api-reference/crm/deals/user-defined-fields/index.html
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, command
from crmkit.connectors.bitrix24.customs import field_of
from crmkit.connectors.labels import CHOICES, labels_of
from crmkit.errors import AccessDenied, BadAnswer, MissingScope, OutcomeUnknown, Rejected
from crmkit.model import Kind

_TYPES = {
    "text": "string",
    "number": "double",
    "money": "money",
    "boolean": "boolean",
    "day": "date",
    "time": "datetime",
    "choice": "enumeration",
    "choices": "enumeration",
}
CREATABLE = frozenset(_TYPES)
_SHORT = 255
# Decimals that a number keeps; left alone, a new field rounds to fewer.
_PRECISION = 10
_SORT_STEP = 100
# Names were once limited to 20 characters with their prefix, and are to 50 now.
_PREFIX = "UF_CRM_"
_NAME_CHARACTERS = 10

Described = Mapping[str, Any]


def create(portal: Portal, kind: Kind, wanted: Field, describe: Callable[[], Described]) -> Field:
    """The custom field with the wanted label and type, made if it is not there yet.

    Args:
        portal: Where.
        kind: What carries it.
        wanted: The field.
        describe: Reads `crm.item.fields` anew.

    Raises:
        AccessDenied: The login is no administrator's.
        OutcomeUnknown: No answer came, and the field or an option is not there.
        Rejected: The portal refuses it, or the label is taken.
    """
    connection = portal.context.connection
    _refuse_misfits(connection, wanted)
    found = _find(connection, describe(), wanted)
    if found is None:
        refusal = _send(portal, kind, f"crm.{kind}.userfield.add", {"fields": body_of(wanted)}, wanted)
        found = _find(connection, describe(), wanted)
        if found is None and refusal is not None:
            raise refusal
    elif missing := missing_options(field_of(*found), wanted):
        native, options = _list_of(portal, kind, str(found[1].get("upperName") or ""))
        body = {"id": native, "fields": {"LIST": [*options, *_listed(missing, after=len(options))]}}
        refusal = _send(portal, kind, f"crm.{kind}.userfield.update", body, wanted)
        found = _find(connection, describe(), wanted) or found
        if refusal is not None and missing_options(field_of(*found), wanted):
            raise refusal
    if found is None or missing_options(field_of(*found), wanted):
        raise OutcomeUnknown(
            f"{connection}: whether the portal has the {kind} field {wanted.label!r} with its options "
            "cannot be told"
        )
    return field_of(*found)


def body_of(wanted: Field) -> dict[str, Any]:
    """What creates a field; `LABEL` stands for its labels in every place and language."""
    body: dict[str, Any] = {
        "FIELD_NAME": name_of(wanted),
        "USER_TYPE_ID": _TYPES[wanted.type],
        "LABEL": wanted.label,
        "MULTIPLE": "Y" if wanted.type == "choices" else "N",
        "MANDATORY": "N",
    }
    if wanted.type in CHOICES:
        body["LIST"] = _listed(labels_of(wanted))
    if wanted.type == "number":
        body["SETTINGS"] = {"PRECISION": _PRECISION}
    if wanted.type == "text" and (wanted.max_length is None or wanted.max_length > _SHORT):
        body["SETTINGS"] = {"ROWS": 4}
    return body


def name_of(wanted: Field) -> str:
    """The field's name on the wire: the same for the same label and type, in all of A-Z and 0-9."""
    digest = hashlib.sha256(f"{wanted.type}:{wanted.label}".encode()).hexdigest()
    return f"{_PREFIX}CK{digest[:_NAME_CHARACTERS].upper()}"


def missing_options(there: Field, wanted: Field) -> Sequence[str]:
    """Labels that a list lacks; a portal may give them back with HTML entities (inferred)."""
    if wanted.type not in CHOICES:
        return ()
    known = {html.unescape(label) for label in there.options.values()}
    return [label for label in labels_of(wanted) if html.unescape(label) not in known]


def _listed(labels: Sequence[str], *, after: int = 0) -> list[dict[str, Any]]:
    return [
        {"VALUE": label, "SORT": _SORT_STEP * (after + place + 1), "DEF": "N"}
        for place, label in enumerate(labels)
    ]


def _find(connection: str, described: Described, wanted: Field) -> tuple[str, Mapping[str, Any]] | None:
    """The field's name and description, by its label or by the name that we gave it.

    Raises:
        Rejected: Only fields of other types have the label.
    """
    own = [
        (name, one, field_of(name, one))
        for name, one in described.items()
        if isinstance(one, Mapping) and field_of(name, one).custom
    ]
    named = [(name, one, field) for name, one, field in own if html.unescape(field.label) == wanted.label]
    # Somebody may have given it another label since.
    named += [entry for entry in own if str(entry[1].get("upperName")) == name_of(wanted)]
    for name, one, field in named:
        if field.type == wanted.type and one.get("type") != "crm_status":
            return name, one
    if named:
        raise Rejected(
            f"{connection}: the field {wanted.label!r} has the type {named[0][1].get('type')}, "
            f"which cannot hold a {wanted.type}"
        )
    return None


def _list_of(portal: Portal, kind: Kind, upper_name: str) -> tuple[str, list[dict[str, Any]]]:
    """The id of a field in the older methods, and its options with all that is known of them."""
    method = f"crm.{kind}.userfield.list"
    start = 0
    while True:
        ask = command(method, ("filter[FIELD_NAME]", upper_name), ("order[ID]", "ASC"), ("start", start))
        rows = portal.run({"fields": ask}).values["fields"]
        if not isinstance(rows, list):
            raise BadAnswer(f"{portal.context.connection}: {method}: the result is not a list")
        for row in rows:
            if isinstance(row, Mapping) and row.get("FIELD_NAME") == upper_name:
                return str(row["ID"]), [dict(one) for one in row.get("LIST") or ()]
        if len(rows) < PAGE_ROWS:
            raise BadAnswer(f"{portal.context.connection}: {method} does not list {upper_name}")
        start += PAGE_ROWS


def _send(
    portal: Portal, kind: Kind, method: str, params: Mapping[str, Any], wanted: Field
) -> Rejected | None:
    """Carry the call out; its refusal, or `None` also if no answer came: the description tells."""
    try:
        portal.single(method, params)
    except MissingScope as error:
        raise AccessDenied(
            f"{portal.context.connection}: this login may not create or change custom fields",
            hint="Let an administrator own the webhook or app, or add the field in the portal "
            f"(CRM, Settings, Custom fields, {kind}): {wanted.label!r}.",
        ) from error
    except OutcomeUnknown:
        return None
    except Rejected as error:
        return error
    return None


def _refuse_misfits(connection: str, wanted: Field) -> None:
    """Refuse what could not be used, before any call."""
    if not wanted.label.strip():
        raise Rejected(f"{connection}: a custom field needs a label")
    labels = labels_of(wanted)
    if wanted.type in CHOICES and not (labels and all(label.strip() for label in labels)):
        raise Rejected(f"{connection}: the field {wanted.label!r} needs options, each with a label")
    long = [label for label in (wanted.label, *labels) if len(label) > _SHORT]
    if long:  # a longer one would be cut (inferred), and not be found again
        raise Rejected(f"{connection}: a label of {wanted.label[:40]!r} is longer than {_SHORT} characters")
