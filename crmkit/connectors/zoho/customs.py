"""Custom fields: what Zoho is sent to make one, and which that are there will do.

Zoho itself gives a new field its API name, and refuses a label that another field of the
module has. A choice is known by its actual value, which is its label when it is made.

Source: https://www.zoho.com/crm/developer/docs/api/v8/create-custom-field.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crmkit.connectors import labels
from crmkit.connectors.base import Field
from crmkit.connectors.zoho.columns import KEY_FIELD, MODULES, to_field
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.posts import Posts
from crmkit.connectors.zoho.shape import Shapes
from crmkit.connectors.zoho.values import Meta
from crmkit.errors import AccessDenied, CredentialsError, OutcomeUnknown, Rejected
from crmkit.model import Kind

_PATH = "/settings/fields"
_ONE_LINE_CHARS = 255
_SMALL_AREA_CHARS = 2_000
_NUMBER_DIGITS = 16  # with the decimals
_CHOICE_CHARS = 120
_NO_CHOICE = "-None-"  # every picklist has it by itself
_CHOICES = {"choice": "picklist", "choices": "multiselectpicklist"}
_BODIES: Mapping[str, Mapping[str, Any]] = {
    "number": {"data_type": "double", "length": _NUMBER_DIGITS, "decimal_place": 4},
    # Three decimals are what the smallest coin of any currency needs; two are shown.
    "money": {
        "data_type": "currency",
        "length": _NUMBER_DIGITS,
        "decimal_place": 3,
        "currency": {"rounding_option": "normal", "precision": "2"},
    },
    "boolean": {"data_type": "boolean"},
    "day": {"data_type": "date"},
    "time": {"data_type": "datetime"},
}
CREATABLE: Mapping[Kind, frozenset[str]] = dict.fromkeys(
    (Kind.COMPANY, Kind.CONTACT, Kind.DEAL), frozenset({"text", *_BODIES, *_CHOICES})
)


class Customs:
    """Makes custom fields, and finds those that were made before.

    Args:
        posts: Sends writes.
        shapes: What the org has.
        connection: Name of the connection.
    """

    def __init__(self, posts: Posts, shapes: Shapes, connection: str) -> None:
        self._posts = posts
        self._shapes = shapes
        self._connection = connection

    def create(self, kind: Kind, wanted: Field) -> Field:
        """The wanted field as the org has it; made, or completed by choices that it lacked.

        Raises:
            AccessDenied: The login may not; the hint says what to click.
            Rejected: A label cannot be used, a field of that label has another type, or Zoho
                refuses it.
        """
        try:
            _check(wanted)
        except ValueError as error:
            raise Rejected(f"{self._connection}: no {kind} field was made: {error}") from error
        meta = self._same(kind, wanted) or self._make(kind, wanted)
        if lacking(meta, wanted):
            meta = self._add_choices(kind, meta, wanted)
        return to_field(meta)

    def make(
        self, kind: Kind, body: Mapping[str, Any], hint: str, find: Callable[[str | None], Meta | None]
    ) -> Meta:
        """The metadata of the field that a body makes.

        Args:
            kind: What carries it.
            body: The field.
            hint: What to click where the login may not do this.
            find: Gives the field as the org has it now, by its id if that is known: somebody
                may have made it just now, or an answer was lost.

        Raises:
            AccessDenied: The login may not.
            Rejected: Zoho refuses it, or made something else.
            OutcomeUnknown: No answer came, and the field is not there.
        """
        lost: OutcomeUnknown | None = None
        native, refusal = None, "Zoho made the field, but under another name"
        try:
            native = self._send("POST", kind, body, hint)
        except OutcomeUnknown as error:
            lost = error
        except Rejected as error:
            refusal = str(error)
        meta = find(native)
        if meta is not None:
            return meta
        if lost is not None:
            raise lost
        raise Rejected(f"{self._connection}: no field was made for {MODULES[kind]}: {refusal}", hint=hint)

    def _make(self, kind: Kind, wanted: Field) -> Meta:
        def find(native: str | None) -> Meta | None:
            # By id first: Zoho may have changed the label.
            metas = self._metas(kind)
            made = [meta for meta in metas if native is not None and str(meta.get("id")) == native]
            return made[0] if made else self._fitting(kind, wanted, metas)

        return self.make(kind, field_body(wanted), _hint(kind, wanted), find)

    def _add_choices(self, kind: Kind, meta: Meta, wanted: Field) -> Meta:
        row = {"id": str(meta["id"]), "pick_list_values": all_choices(meta, wanted)}
        lost: OutcomeUnknown | None = None
        try:
            self._send("PATCH", kind, row, _hint(kind, wanted))
        except OutcomeUnknown as error:
            lost = error
        now = next((one for one in self._metas(kind) if one.get("id") == meta["id"]), meta)
        left = lacking(now, wanted)
        if left and lost is not None:
            raise lost
        if left:
            raise Rejected(f"{self._connection}: Zoho did not take the choices {', '.join(left)}")
        return now

    def _send(self, method: str, kind: Kind, row: Mapping[str, Any], hint: str) -> str | None:
        """Send one field; its id, if Zoho tells.

        Raises:
            Rejected: Zoho refuses it.
        """
        params = {"module": MODULES[kind]}
        try:
            rows = self._posts.send(method, _PATH, key="fields", params=params, json={"fields": [row]})
        except CredentialsError as error:
            raise AccessDenied(str(error), hint=hint) from error
        except ZohoRefused as error:
            raise Rejected(_said(str(error), error.details)) from error
        answer = rows[0] if rows else {}
        details = answer.get("details")
        details = details if isinstance(details, dict) else {}
        if answer.get("code") != "SUCCESS":
            raise Rejected(_said(f"{answer.get('code')}: {answer.get('message')}", details))
        return str(details["id"]) if details.get("id") else None

    def _same(self, kind: Kind, wanted: Field) -> Meta | None:
        return self._fitting(kind, wanted, self._metas(kind))

    def _fitting(self, kind: Kind, wanted: Field, metas: Iterable[Meta]) -> Meta | None:
        """The custom field with the wanted label and type.

        Raises:
            Rejected: The one with that label is of another type.
        """
        for meta in metas:
            # Zoho does not tell upper from lower case in labels.
            if (
                not _is_custom(meta)
                or labels.tidy(meta.get("field_label")).casefold() != labels.tidy(wanted.label).casefold()
            ):
                continue
            there = to_field(meta)
            if there.type == wanted.type and not there.read_only:
                return meta
            state = "read-only" if there.type == wanted.type else f"of type {there.type}"
            raise Rejected(
                f"{self._connection}: {MODULES[kind]} has a field {there.id} with the label "
                f"{wanted.label!r}, but it is {state}, and a {wanted.type} is wanted",
                hint="Rename it in Zoho, or map the field to another one.",
            )
        return None

    def _metas(self, kind: Kind) -> Sequence[Meta]:
        return list((self._shapes.fields(kind, fresh=True).fields or {}).values())


def _check(wanted: Field) -> None:
    """Raise for labels that Zoho could not keep.

    Raises:
        ValueError: With the reason.
    """
    choices = wanted_choices(wanted)
    labels.check(wanted, choices)
    if any(len(labels.one_line(label)) > _CHOICE_CHARS for label in choices):
        raise ValueError(f"an option is longer than {_CHOICE_CHARS} characters")


def field_body(wanted: Field) -> dict[str, Any]:
    """What makes the field."""
    body: dict[str, Any] = {"field_label": labels.one_line(wanted.label)}
    if wanted.type in _CHOICES:
        return {
            **body,
            "data_type": _CHOICES[wanted.type],
            "pick_list_values": [_choice(label) for label in lacking({}, wanted)],
        }
    if wanted.type != "text":
        return {**body, **_BODIES[wanted.type]}
    longest = wanted.max_length or 0
    if 0 < longest <= _ONE_LINE_CHARS:
        return {**body, "data_type": "text", "length": longest}
    size = "small" if 0 < longest <= _SMALL_AREA_CHARS else "large"
    return {**body, "data_type": "textarea", "textarea": {"type": size}}


def wanted_choices(wanted: Field) -> list[str]:
    """The labels to have, without the empty one that every picklist begins with."""
    if wanted.type not in _CHOICES:
        return []
    return [label for label in wanted.options.values() if labels.tidy(label) != _NO_CHOICE]


def lacking(meta: Meta, wanted: Field) -> list[str]:
    """The wanted choices that a field does not have, by label."""
    there = (value.get("display_value") for value in meta.get("pick_list_values") or ())
    return labels.lacking(there, wanted_choices(wanted))


def all_choices(meta: Meta, wanted: Field) -> list[dict[str, Any]]:
    """The choices that are there and the lacking ones, whether Zoho replaces the list or adds to it."""
    there = [
        {name: value[name] for name in ("id", "display_value", "actual_value") if value.get(name) is not None}
        for value in meta.get("pick_list_values") or ()
    ]
    return [*there, *(_choice(label) for label in lacking(meta, wanted))]


def _choice(label: str) -> dict[str, Any]:
    return {"display_value": label, "actual_value": label}


def _is_custom(meta: Meta) -> bool:
    return meta.get("custom_field") is True and meta.get("api_name") != KEY_FIELD


def _said(text: str, details: Mapping[str, Any]) -> str:
    """Zoho's words, with the limit that was met."""
    known = [f"{name}={details[name]}" for name in ("maximum_length", "limit") if name in details]
    if "DUPLICATE_DATA" in text:
        known.append("another field of the module has this label")
    return f"{text} ({', '.join(known)})" if known else text


def _hint(kind: Kind, wanted: Field) -> str:
    choices = wanted_choices(wanted)
    with_choices = f" and the choices {', '.join(choices)}" if choices else ""
    return (
        f"In Zoho: Setup > Modules and Fields > {MODULES[kind]}: add a field for {wanted.type} with the "
        f"label {wanted.label!r}{with_choices}. Or grant this user the Customize permission and the scopes "
        "ZohoCRM.settings.fields.CREATE and .UPDATE."
    )
