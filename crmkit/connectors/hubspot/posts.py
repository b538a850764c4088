"""HubSpot's write endpoints, and reads by unique value: answers checked for their shape.

An answer of another shape than the endpoint promises leaves open what happened: `Http`
makes `OutcomeUnknown` of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.hubspot import answers
from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.calls import ASSOCIATIONS, OBJECTS, PIPELINES, PROPERTIES
from crmkit.connectors.hubspot.dialect import WRITES
from crmkit.errors import BadAnswer, NotFound

LINK_CREATE_LIMIT = 2000
LINK_REMOVE_LIMIT = 1000  # not documented; what reading takes
_RECORDS = ("default", WRITES)
_LINKS = ("default", "associations", WRITES)


@dataclass(frozen=True, slots=True)
class Said:
    """What a batch answers: rows in any order, and errors that name their input or do not."""

    results: list[Row]
    errors: list[Row]


class Posts:
    """HubSpot's write endpoints over one `Http`."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def create(self, of: str, inputs: Sequence[Row]) -> Said:
        """Create records; with a trace id each, good ones are created beside bad ones."""
        return self._batch(f"{OBJECTS}/{of}/batch/create", inputs, "id")

    def update(self, of: str, inputs: Sequence[Row]) -> Said:
        """Set properties of records."""
        return self._batch(f"{OBJECTS}/{of}/batch/update", inputs, "id")

    def archive(self, of: str, ids: Sequence[str]) -> None:
        """Put records into the recycle bin; those that are not there are passed over."""
        self._post(f"{OBJECTS}/{of}/batch/archive", {"inputs": [{"id": id_} for id_ in ids]}, _RECORDS)

    def link(self, of: str, to: str, inputs: Sequence[Row]) -> Said:
        """Create links, or replace their kinds."""
        return self._batch(f"{ASSOCIATIONS}/{of}/{to}/batch/create", inputs, "", _LINKS)

    def unlink(self, of: str, to: str, inputs: Sequence[Row]) -> None:
        """Remove links of every kind."""
        self._post(f"{ASSOCIATIONS}/{of}/{to}/batch/archive", {"inputs": inputs}, _LINKS)

    def unlabel(self, of: str, to: str, inputs: Sequence[Row]) -> None:
        """Remove some kinds of links."""
        self._post(f"{ASSOCIATIONS}/{of}/{to}/batch/labels/archive", {"inputs": inputs}, _LINKS)

    def make_property(self, of: str, body: Row) -> Row:
        """Create a field."""
        return self._document(Call("POST", f"{PROPERTIES}/{of}", json=body), "name", f"{PROPERTIES}/{of}")

    def change_property(self, of: str, name: str, body: Row) -> Row:
        """Change a field; options are replaced as a whole."""
        call = Call("PATCH", f"{PROPERTIES}/{of}/{quote(name, safe='')}", json=body)
        return self._document(call, "name", f"{PROPERTIES}/{of}/{{name}}")

    def make_pipeline(self, body: Row) -> Row:
        """Create a deal pipeline with its stages."""
        path = f"{PIPELINES}/deals"
        return self._document(Call("POST", path, json=body), "id", path)

    def change_pipeline(self, pipeline: str, body: Row) -> Row:
        """Rename a deal pipeline."""
        path = f"{PIPELINES}/deals"
        call = Call("PATCH", f"{path}/{quote(pipeline, safe='')}", json=body)
        return self._document(call, "id", f"{path}/{{id}}")

    def make_stage(self, pipeline: str, body: Row) -> Row:
        """Add a stage to a deal pipeline."""
        path = f"{PIPELINES}/deals/{quote(pipeline, safe='')}/stages"
        return self._document(Call("POST", path, json=body), "id", f"{PIPELINES}/deals/{{id}}/stages")

    def change_stage(self, pipeline: str, stage: str, body: Row) -> Row:
        """Rename a stage or change its place or probability."""
        path = f"{PIPELINES}/deals/{quote(pipeline, safe='')}/stages/{quote(stage, safe='')}"
        label = f"{PIPELINES}/deals/{{id}}/stages/{{id}}"
        return self._document(Call("PATCH", path, json=body), "id", label)

    def by_value(
        self, of: str, name: str, values: Sequence[str], *, archived: bool = False
    ) -> tuple[list[Row], set[str]]:
        """Records by the value of a unique property, and the values that nothing has.

        It reads the records, not the search index (inferred from the endpoint's kind).
        """
        path = f"{OBJECTS}/{of}/batch/read"
        body = {"inputs": [{"id": value} for value in values], "idProperty": name, "properties": [name]}
        query = "?archived=true" if archived else ""
        call = Call("POST", path + query, json=body, label=f"POST {path}")
        try:
            return self.http.fetch(call, answers.batch_rows)
        except NotFound:
            return [], set(values)

    def one_by_value(self, of: str, name: str, value: str) -> Row | None:
        """One record by the value of a unique property."""
        path = f"{OBJECTS}/{of}"
        query = urlencode({"idProperty": name, "properties": name})
        call = Call("GET", f"{path}/{quote(value, safe='')}?{query}", label=f"GET {path}/{{id}}")
        try:
            row = self.http.fetch(call, lambda answer: answers.identified(answer, "id"))
        except NotFound:
            return None
        return None if row.get("archived") else row

    def _batch(self, path: str, inputs: Sequence[Row], key: str, buckets: tuple[str, ...] = _RECORDS) -> Said:
        call = Call("POST", path, json={"inputs": inputs}, buckets=buckets, writes=True, label=f"POST {path}")
        return self.http.fetch(call, lambda answer: _said(answer, key))

    def _post(self, path: str, body: Mapping[str, Any], buckets: tuple[str, ...]) -> None:
        # 204 without a body; the versions of 2026 answer 200 with one.
        self.http.fetch(
            Call("POST", path, json=body, buckets=buckets, writes=True, label=f"POST {path}"), _accepted
        )

    def _document(self, call: Call, key: str, label: str) -> Row:
        call = Call(
            call.method,
            call.path,
            json=call.json,
            buckets=_RECORDS,
            writes=True,
            label=f"{call.method} {label}",
        )
        return self.http.fetch(call, lambda answer: answers.identified(answer, key))


def _said(answer: Answer, key: str) -> Said:
    body = answer.mapping()
    results, errors = body.get("results"), body.get("errors") or []
    if not isinstance(results, list) or not all(
        isinstance(row, dict) and (not key or row.get(key) is not None) for row in results
    ):
        raise BadAnswer(f"{answer.what}: the answer has no list of results ({answer.shape()})")
    if not isinstance(errors, list):
        raise BadAnswer(f"{answer.what}: the errors of the answer cannot be read ({answer.shape()})")
    return Said(results, [error for error in errors if isinstance(error, dict)])


def _accepted(answer: Answer) -> None:
    if answer.status // 100 != 2:
        raise BadAnswer(f"{answer.what}: not an answer of this endpoint ({answer.shape()})")
    answer.json()  # a page of a proxy proves nothing
