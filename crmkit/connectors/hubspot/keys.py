"""Records by our key: the property that holds it, and looking it up without the search index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.bodies import carries
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, Api
from crmkit.connectors.hubspot.customs import GROUPS, Customs, schema_scope
from crmkit.connectors.hubspot.posts import Posts
from crmkit.connectors.hubspot.schema import KEY_PROPERTY, WIRES
from crmkit.connectors.walk import Segment, walk
from crmkit.connectors.writing import Lookup
from crmkit.errors import Rejected, Unsupported
from crmkit.model import Kind, Ref

KEYED = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)


class KeyBook:
    """Finds records by key, and makes the property that holds it.

    Args:
        connection: Name of the connection.
        api: HubSpot's read endpoints.
        posts: Its write endpoints.
        customs: Makes properties.
        in_flight: How many calls may run at once.
    """

    def __init__(self, connection: str, api: Api, posts: Posts, customs: Customs, in_flight: int) -> None:
        self._connection = connection
        self._api = api
        self._posts = posts
        self._customs = customs
        self._in_flight = in_flight

    def find(self, lookups: Sequence[Lookup]) -> dict[str, list[Ref]]:
        """Live records by key, lowest id first."""
        found: dict[str, list[Ref]] = {}
        for kind in dict.fromkeys(lookup.kind for lookup in lookups):
            mine = [lookup for lookup in lookups if lookup.kind is kind]
            if kind is Kind.NOTE:
                found.update(self._notes(mine))
            elif kind in KEYED:
                found.update(self._records(kind, [lookup.key for lookup in mine]))
            else:
                raise Unsupported(f"{self._connection}: HubSpot keeps no key of a {kind}")
        return found

    def _records(self, kind: Kind, keys: Sequence[str]) -> dict[str, list[Ref]]:
        try:
            ids = self.ids(kind, KEY_PROPERTY, keys)
        except Rejected:
            if self._property(kind) is not None:
                raise
            return {}  # without the property nothing can carry a key
        return {key: [Ref(self._connection, kind, native)] for key, native in ids.items()}

    def ids(self, kind: Kind, name: str, values: Sequence[str], *, archived: bool = False) -> dict[str, str]:
        """Record ids by the value of a unique property.

        Raises:
            Rejected: The property does not exist, or is not unique.
        """
        of = WIRES[kind].of
        chunks = list(dict.fromkeys(values))
        steps: list[Segment] = [
            {"values": chunks[at : at + BATCH_LIMIT]} for at in range(0, len(chunks), BATCH_LIMIT)
        ]

        def step(segment: Segment) -> tuple[dict[str, str], Sequence[Segment]]:
            return self._some(of, name, segment["values"], archived=archived), ()

        found: dict[str, str] = {}
        for some, _ in walk(steps, step, in_flight=self._in_flight):
            found.update(some)
        return found

    def _some(self, of: str, name: str, values: Sequence[str], *, archived: bool) -> dict[str, str]:
        rows, absent = self._posts.by_value(of, name, values, archived=archived)
        found = dict(_values(rows, name))
        for value in values:
            if value in found or value in absent or archived:
                continue
            # Neither given nor named as missing. A missed key would be created twice, so it
            # is asked for by itself.
            row = self._posts.one_by_value(of, name, value)
            if row is not None:
                found.update(_values([row], name))
        # Whether HubSpot tells upper from lower case is not documented; a key is exact.
        return {value: found[value] for value in values if value in found}

    def _notes(self, lookups: Sequence[Lookup]) -> dict[str, list[Ref]]:
        """Notes whose text carries the key, among all notes of the parent."""
        found: dict[str, list[Ref]] = {}
        parents: dict[Kind, list[str]] = {}
        for lookup in lookups:
            if lookup.parent is None or lookup.parent.kind not in (Kind.DEAL, Kind.COMPANY):
                raise Unsupported(f"{self._connection}: a note is found only by its deal or company")
            parents.setdefault(lookup.parent.kind, []).append(lookup.parent.id)
        notes: dict[tuple[Kind, str], list[str]] = {}
        for kind, ids in parents.items():
            linked = self._api.links(WIRES[kind].of, "notes", list(dict.fromkeys(ids)))
            for native, rows in linked.items():
                notes[kind, native] = [str(row["toObjectId"]) for row in rows]
        texts = self._texts(list(dict.fromkeys(note for some in notes.values() for note in some)))
        for lookup in lookups:
            if lookup.parent is None:  # pragma: no cover - refused above
                continue
            candidates = dict.fromkeys(notes.get((lookup.parent.kind, lookup.parent.id), ()))
            mine = [note for note in candidates if carries(texts.get(note, ""), lookup.key)]
            if mine:
                mine.sort(key=lambda native: (len(native), native))
                found[lookup.key] = [Ref(self._connection, Kind.NOTE, native) for native in mine]
        return found

    def _texts(self, ids: Sequence[str]) -> dict[str, str]:
        steps: list[Segment] = [{"ids": ids[at : at + BATCH_LIMIT]} for at in range(0, len(ids), BATCH_LIMIT)]
        texts: dict[str, str] = {}
        for rows, _ in walk(
            steps,
            lambda segment: (self._api.batch("notes", segment["ids"], ["hs_note_body"]), ()),
            in_flight=self._in_flight,
        ):
            texts.update((str(row["id"]), row["properties"].get("hs_note_body") or "") for row in rows)
        return texts

    def missing(self, kinds: Sequence[Kind]) -> list[Kind]:
        """The kinds without the property for our key.

        Raises:
            Rejected: One has a property of that name that cannot hold a key.
        """
        lacking = []
        for kind in dict.fromkeys(kinds):
            if kind in KEYED:
                row = self._property(kind)
                if row is None:
                    lacking.append(kind)
                else:
                    self._usable(kind, row)
        return lacking

    def make(self, kind: Kind) -> None:
        """Create the property for our key.

        Raises:
            AccessDenied: The login may not.
            Rejected: A property of that name cannot hold a key, or there are too many.
        """
        body: Row = {
            "groupName": GROUPS[kind],
            "name": KEY_PROPERTY,
            "label": "crmkit id",
            "description": "Ties this record to its origin in another CRM. Please leave it alone.",
            "type": "string",
            "fieldType": "text",
            "hasUniqueValue": True,
        }
        self._usable(kind, self._customs.make(kind, body, self._hint(kind), _key_property))

    def _property(self, kind: Kind) -> Row | None:
        return _key_property(self._customs.rows(kind))

    def _usable(self, kind: Kind, row: Row) -> None:
        # That values are unique is fixed when a property is made.
        if row.get("hasUniqueValue") is True and row.get("type") == "string":
            return
        raise Rejected(
            f"{self._connection}: the {kind} property {KEY_PROPERTY} exists, but does not hold unique texts",
            hint=f"Archive it in HubSpot. {self._hint(kind)}",
        )

    def _hint(self, kind: Kind) -> str:
        return (
            f"Grant the app the scope {schema_scope(kind)}; or in HubSpot: Settings, Properties, {kind} "
            f"properties, Create property: single-line text, internal name {KEY_PROPERTY}, "
            '"Require unique values" ticked.'
        )


def described(kind: Kind) -> str:
    """The key property of a kind, in words for a person."""
    return f"the {kind} property {KEY_PROPERTY} (single-line text, unique values)"


def _key_property(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row["name"] == KEY_PROPERTY), None)


def _values(rows: Sequence[Row], name: str) -> Iterator[tuple[str, str]]:
    for row in rows:
        properties = row.get("properties")
        value = properties.get(name) if isinstance(properties, Mapping) else None
        if isinstance(value, str):
            yield value, str(row["id"])
