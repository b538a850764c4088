"""What can be written of each kind in HubSpot."""

from __future__ import annotations

from collections.abc import Mapping

from crmkit.connectors.hubspot.bodies import LINKS, PROPERTIES
from crmkit.connectors.writing import Act, Keys, Writing
from crmkit.model import Kind

_PER_WRITE = 1000  # ten batches of records side by side, and one call for the links of all
_ACTS = frozenset(Act)


def _fields(kind: Kind, *more: str) -> frozenset[str]:
    named = PROPERTIES[kind].keys() | LINKS.get(kind, {}).keys() | set(more)
    return frozenset(named - {"created_at"})


WRITING: Mapping[Kind, Writing] = {
    Kind.DEAL: Writing(
        _ACTS,
        _fields(Kind.DEAL, "custom"),
        frozenset({"created_at"}),
        frozenset({"name", "pipeline_id", "stage_id"}),
        Keys.UNIQUE,
        chunk=_PER_WRITE,
    ),
    Kind.COMPANY: Writing(
        _ACTS,
        _fields(Kind.COMPANY, "custom"),
        required=frozenset({"name"}),
        keys=Keys.UNIQUE,
        chunk=_PER_WRITE,
    ),
    # A contact needs a name or an e-mail address, any of them.
    Kind.CONTACT: Writing(_ACTS, _fields(Kind.CONTACT, "custom"), keys=Keys.UNIQUE, chunk=_PER_WRITE),
    Kind.NOTE: Writing(
        frozenset({Act.CREATE, Act.DELETE}),
        _fields(Kind.NOTE),
        required=frozenset({"text"}),
        keys=Keys.SEARCHABLE,
        chunk=_PER_WRITE,
    ),
    Kind.PIPELINE: Writing(
        frozenset({Act.CREATE, Act.UPDATE}),
        frozenset({"name", "stages"}),
        required=frozenset({"name", "stages"}),
        chunk=10,
    ),
}
