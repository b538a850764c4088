"""What can be written to Zoho, and which module carries it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Context, Field
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Writing, Written
from crmkit.connectors.zoho import bodies
from crmkit.connectors.zoho.calls import Calls
from crmkit.connectors.zoho.customs import CREATABLE, Customs
from crmkit.connectors.zoho.keys import KEYED, RecordKeys, label_of
from crmkit.connectors.zoho.lists import Notes
from crmkit.connectors.zoho.notes import NoteMarkers, note_problems
from crmkit.connectors.zoho.posts import Posts
from crmkit.connectors.zoho.roles import Roles
from crmkit.connectors.zoho.shape import Shapes
from crmkit.connectors.zoho.structure import Pipelines, pipeline_problems
from crmkit.connectors.zoho.workspace import Metadata
from crmkit.connectors.zoho.writes import Writes
from crmkit.errors import Unsupported
from crmkit.model import Kind, Ref

# Ten batches of a hundred, which is what Zoho executes side by side.
_CHANGES_AT_ONCE = 1000


def _records(kind: Kind, *required: str) -> Writing:
    return Writing(
        acts=frozenset(Act),
        fields=bodies.writable_fields(kind),
        required=frozenset(required),
        keys=Keys.UNIQUE,
        update_if_unchanged=True,
        chunk=_CHANGES_AT_ONCE,
    )


WRITING: Mapping[Kind, Writing] = {
    Kind.DEAL: _records(Kind.DEAL, "name", "pipeline_id", "stage_id"),
    Kind.COMPANY: _records(Kind.COMPANY, "name"),
    Kind.CONTACT: _records(Kind.CONTACT, "name"),
    Kind.NOTE: Writing(
        frozenset({Act.CREATE, Act.DELETE}),
        frozenset({"text", "deal_id", "company_id"}),
        required=frozenset({"text"}),
        keys=Keys.SEARCHABLE,
        chunk=_CHANGES_AT_ONCE,
    ),
    Kind.PIPELINE: Writing(
        frozenset({Act.CREATE, Act.UPDATE}),
        frozenset({"name", "stages"}),
        required=frozenset({"name", "stages"}),
        chunk=1,
    ),
}


class Writer:
    """The writing side of one connection.

    Args:
        context: Name and secrets of the connection.
        calls: Sends reads.
        posts: Sends writes.
        metadata: What the org has set up.
        shapes: What of it matters for writing.
        notes: Reads notes.
        contact_role: The role of further contacts that have none of their own.
        short: Makes Zoho's words fit for messages.
        in_flight: How many requests at once.
    """

    def __init__(
        self,
        context: Context,
        calls: Calls,
        posts: Posts,
        metadata: Metadata,
        shapes: Shapes,
        notes: Notes,
        *,
        contact_role: str | None,
        short: Callable[[str], str],
        in_flight: int,
    ) -> None:
        self._context = context
        self._shapes = shapes
        name = context.connection
        self._customs = Customs(posts, shapes, name)
        self._keys = RecordKeys(calls, self._customs, shapes, name, in_flight)
        self._markers = NoteMarkers(calls, notes, name, in_flight)
        self._pipelines = Pipelines(calls, posts, metadata, shapes, name, short)
        roles = Roles(calls, posts, contact_role)
        self._writes = Writes(context, posts, shapes, self._keys, roles, short, in_flight)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """See `Connector.write`."""
        for (act, kind), some in _groups(changes).items():
            if kind is Kind.PIPELINE:
                yield from self._pipelines.run(act, some)
            else:
                yield from self._writes.run(act, kind, some)

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        """See `Connector.find`."""
        found: dict[str, Sequence[Ref]] = {}
        for kind in dict.fromkeys(lookup.kind for lookup in lookups):
            some = [lookup for lookup in lookups if lookup.kind is kind]
            if kind in KEYED:
                found |= self._keys.find(kind, some)
            elif kind is Kind.NOTE:
                found |= self._markers.find(some)
            else:
                raise Unsupported(f"{self._context.connection}: a {kind} of Zoho carries no key")
        return found

    def unprepared(self, kinds: Sequence[Kind]) -> Sequence[str]:
        """See `Connector.unprepared`."""
        return [label_of(kind) for kind in self._keys.missing(kinds)]

    def prepare(self, kinds: Sequence[Kind]) -> Sequence[str]:
        """See `Connector.prepare`."""
        missing = self._keys.missing(kinds)
        for kind in missing:
            self._keys.make(kind)
        return [label_of(kind) for kind in missing]

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        """See `Connector.create_field`."""
        name = self._context.connection
        if wanted.type not in CREATABLE.get(kind, ()):
            raise Unsupported(f"{name}: Zoho's API makes no field of type {wanted.type} for a {kind}")
        if self._context.read_only:
            raise Unsupported(f"{name}: this run only reads")
        return self._customs.create(kind, wanted)

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        """See `Connector.cannot_hold`."""
        if kind is Kind.NOTE:
            return note_problems(values)
        if kind is Kind.PIPELINE:
            return pipeline_problems(values, self._shapes.seen(Kind.DEAL))
        return bodies.cannot_hold(kind, values, self._shapes.seen(kind)) if kind in KEYED else {}


def _groups(changes: Sequence[Change]) -> Mapping[tuple[Act, Kind], list[Change]]:
    found: dict[tuple[Act, Kind], list[Change]] = {}
    for change in changes:
        found.setdefault((change.act, change.kind), []).append(change)
    return found
