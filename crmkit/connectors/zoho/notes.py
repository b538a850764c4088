"""Notes: what is sent for one, and where the marker of each is looked for.

Notes have no unique field. The marker goes into the title, because a title is short and
comes whole in every list; a read gives it as the first line of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crmkit.connectors.walk import Segment, pack, walk
from crmkit.connectors.writing import Change, Lookup
from crmkit.connectors.zoho.bodies import NOTE_CHARS, Body, Refused
from crmkit.connectors.zoho.calls import BASE, Calls, Raw, has_ids
from crmkit.connectors.zoho.columns import MODULES
from crmkit.connectors.zoho.coql import ROWS_PER_LIST
from crmkit.connectors.zoho.lists import Notes
from crmkit.connectors.zoho.walks import to_text
from crmkit.model import Kind, Note, Ref

_PAGES_BY_NUMBER = 10
_UNWRITABLE = {
    "author_id": "Zoho names the user of the connection as the author of every note",
    "at": "Zoho sets the time of a note itself",
}


def note_body(change: Change) -> Body:
    """The row that creates a note.

    Raises:
        Refused: It has no text, too much of it, or no record to be on.
    """
    values = change.values
    problems = note_problems(values)
    for name in ("text", "deal_id"):
        if name in problems:
            raise Refused(name, problems[name])
    parent = (
        ("Deals", values.get("deal_id")) if values.get("deal_id") else ("Accounts", values.get("company_id"))
    )
    if not parent[1]:
        raise Refused("deal_id", "a note is on a deal or a company")
    if not values.get("text"):
        raise Refused("text", "a note needs a text")
    row: dict[str, Any] = {"Note_Content": values["text"]}
    if change.key and not carries(values["text"], change.key):
        row = {"Note_Title": change.key, **row}
    # The same endpoint for all modules, so that a hundred notes of any records go together.
    row["Parent_Id"] = {"module": {"api_name": parent[0]}, "id": parent[1]}
    return Body(row, {name: why for name, why in problems.items() if name not in row})


def note_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """What a note cannot hold."""
    found = {name: why for name, why in _UNWRITABLE.items() if values.get(name) is not None}
    text = values.get("text")
    if isinstance(text, str) and len(text) > NOTE_CHARS:
        found["text"] = f"is {len(text)} characters long, and a note takes {NOTE_CHARS}"
    if values.get("deal_id") and values.get("company_id"):
        found["company_id"] = "a note of Zoho is on one record, and this one is on the deal"
    return found


def carries(text: str, key: str) -> bool:
    """Whether one line of a text is the marker."""
    return any(line.strip() == key for line in text.splitlines())


class NoteMarkers:
    """Finds notes by their marker: in the notes of one record, or in all of them.

    The list of all notes is for administrators; it is asked for only where the record that
    the note is on is not known.
    """

    def __init__(self, calls: Calls, notes: Notes, connection: str, in_flight: int) -> None:
        self._calls = calls
        self._notes = notes
        self._connection = connection
        self._in_flight = in_flight

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        """Refs by marker, lowest id first."""
        wanted: dict[Ref, set[str]] = {}
        loose: list[Lookup] = []
        for lookup in lookups:
            if lookup.parent is not None and lookup.parent.kind in (Kind.DEAL, Kind.COMPANY):
                wanted.setdefault(lookup.parent, set()).add(lookup.key)
            else:
                loose.append(lookup)
        found: dict[str, set[str]] = {}
        for key, native in [*self._under(wanted), *self._anywhere(loose)]:
            found.setdefault(key, set()).add(native)
        return {
            key: [Ref(self._connection, Kind.NOTE, native) for native in sorted(ids, key=int)]
            for key, ids in found.items()
        }

    def _under(self, wanted: Mapping[Ref, set[str]]) -> Iterator[tuple[str, str]]:
        def step(segment: Segment) -> tuple[list[Raw], Sequence[Segment]]:
            parent = Ref.parse(segment["parent"])
            module = MODULES[parent.kind]
            # 200 rows a page without being asked; the pages that numbers reach are ten.
            params: dict[str, Any] = {"fields": "Note_Title,Note_Content"}
            if segment["token"]:
                params["page_token"] = segment["token"]
            else:
                params["page"] = segment["page"]
            answer = self._calls.listing(
                f"/{module}/{parent.id}/Notes", params, label=f"GET {BASE}/{module}/Notes", check=has_ids
            )
            rows = [{**row, "parent": segment["parent"]} for row in answer.rows]
            if not answer.more and len(rows) < ROWS_PER_LIST:
                return rows, []
            following = segment["page"] + 1
            token = answer.token if following > _PAGES_BY_NUMBER else None
            return rows, [{**segment, "page": following, "token": token}]

        segments: list[Segment] = [{"parent": str(parent), "page": 1, "token": None} for parent in wanted]
        for rows, _ in walk(segments, step, in_flight=self._in_flight):
            for row in rows:
                text = "\n".join(str(row.get(part) or "") for part in ("Note_Title", "Note_Content"))
                for key in wanted[Ref.parse(row["parent"])]:
                    if carries(text, key):
                        yield key, row["id"]

    def _anywhere(self, loose: Sequence[Lookup]) -> Iterator[tuple[str, str]]:
        if not loose:
            return
        times = [lookup.since for lookup in loose if lookup.since]
        since = None
        if len(times) == len(loose):
            since = pack({"phase": "done", "mark": to_text(min(times))})
        keys = {lookup.key for lookup in loose}
        for page in self._notes.read(since):
            for note in page.records:
                lines = {line.strip() for line in note.text.splitlines()} if isinstance(note, Note) else set()
                for key in keys & lines:
                    yield key, note.ref.id
