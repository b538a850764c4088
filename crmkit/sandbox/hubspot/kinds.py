"""The object types of a portal: their names in addresses, their ids, and what they show unasked."""

from __future__ import annotations

from dataclasses import dataclass

from crmkit.sandbox.hubspot.answers import refuse
from crmkit.sandbox.rows import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectType:
    """One type of object.

    Attributes:
        kind: Its rows in the world; `None`: the type exists, but this portal holds none.
        created, modified: The properties that carry a record's stamps.
        defaults: The properties of an answer when none are asked for.
        scope: The object whose scopes it takes; activities take those of contacts.
    """

    type_id: str
    singular: str
    plural: str
    kind: Kind | None
    created: str = "createdate"
    modified: str = "hs_lastmodifieddate"
    defaults: tuple[str, ...]
    scope: str

    @property
    def always(self) -> frozenset[str]:
        """The properties of every answer, whatever is asked for."""
        return frozenset({self.created, self.modified, "hs_object_id"})


DEAL = ObjectType(
    type_id="0-3",
    singular="deal",
    plural="deals",
    kind="deal",
    defaults=("amount", "closedate", "dealname", "dealstage", "pipeline"),
    scope="deals",
)
COMPANY = ObjectType(
    type_id="0-2",
    singular="company",
    plural="companies",
    kind="company",
    defaults=("name", "domain"),
    scope="companies",
)
CONTACT = ObjectType(
    type_id="0-1",
    singular="contact",
    plural="contacts",
    kind="contact",
    modified="lastmodifieddate",
    defaults=("email", "firstname", "lastname"),
    scope="contacts",
)
NOTE = ObjectType(
    type_id="0-46",
    singular="note",
    plural="notes",
    kind="note",
    created="hs_createdate",
    defaults=(),
    scope="contacts",
)
TASK = ObjectType(
    type_id="0-27",
    singular="task",
    plural="tasks",
    kind=None,
    created="hs_createdate",
    defaults=(),
    scope="contacts",
)
ALL = (DEAL, COMPANY, CONTACT, NOTE, TASK)
_BY_NAME = {
    name: object_type
    for object_type in ALL
    for name in (object_type.type_id, object_type.singular, object_type.plural)
}


def find_type(name: str) -> ObjectType | None:
    """The object type that an address or a parameter names, in any of the three ways."""
    return _BY_NAME.get(name.lower())


def object_type(name: str) -> ObjectType:
    """The object type that an address names; 400 if there is none."""
    found = find_type(name)
    if found is None:
        refuse(400, f"Unable to infer object type from: {name}")
    return found
