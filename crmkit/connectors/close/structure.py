"""Creates and changes pipelines and their statuses.

Statuses are never deleted here (deals may sit in them), and their type is fixed.

Source: https://developer.close.com/api/resources/pipelines/list
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.close import bodies, holding, walks
from crmkit.connectors.close.custom import Row
from crmkit.connectors.close.posts import NotSent, asked, call_for, row_of
from crmkit.connectors.close.refusals import Roles, plain
from crmkit.connectors.http import Answer, Http
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import BadAnswer, CrmkitError
from crmkit.model import Kind, Ref, Stage


class Structure:
    """Writes pipelines, one change after the other in the order that their statuses have."""

    def __init__(self, context: Context, http: Http) -> None:
        self.context = context
        self.http = http

    def write(self, change: Change, roles: Roles) -> Written:
        """Carry out one change of a pipeline."""
        bad = holding.cannot_hold(change.kind, change.values, holding.Known())
        if bad:
            name, reason = next(iter(bad.items()))
            return Written(change.id, Result.REJECTED, field=name, reason=reason)
        if change.act is Act.CREATE:
            return self._create(change, roles)
        return self._update(change, roles)

    def _create(self, change: Change, roles: Roles) -> Written:
        name, wanted = holding.text(change.values.get("name")), change.values.get("stages") or ()
        if not name:
            return Written(change.id, Result.REJECTED, field="name", reason="is empty")
        body: dict[str, Any] = {"name": name}
        if wanted:
            body["statuses"] = bodies.stages(wanted)
        row = self.http.fetch(replace(call_for("POST", "/pipeline/"), json=body), row_of)
        roles.allow()
        # That a new pipeline takes statuses is known from the vendor's own script only: those
        # that the answer does not show are made one by one.
        return self._completed(change, row, wanted)

    def _update(self, change: Change, roles: Roles) -> Written:
        row = self._current(change)
        name = holding.text(change.values.get("name"))
        body: dict[str, Any] = {"name": name} if name and name != row.get("name") else {}
        if body:
            row = self._put(row, body)
            roles.allow()
        return self._completed(change, row, change.values.get("stages") or ())

    def _completed(self, change: Change, row: Row, wanted: Sequence[Stage]) -> Written:
        """The outcome after missing statuses were added, others renamed, and all put in order.

        What fails from here on fails after the pipeline itself was written.
        """
        left: dict[str, str] = {}
        try:
            if wanted:
                row = self._with_stages(row, wanted, left)
        except CrmkitError as error:
            left["stages"] = plain(error)
        ref = Ref(self.context.connection, Kind.PIPELINE, row["id"])
        # No record: the answer does not tell the pipeline's place among the others.
        return Written(change.id, Result.DONE, ref, unwritten=left)

    def _with_stages(self, row: Row, wanted: Sequence[Stage], left: dict[str, str]) -> Row:
        there = [dict(status) for status in row.get("statuses") or ()]
        placed: list[Row] = []
        for stage in wanted:
            status = _same(stage, [one for one in there if one not in placed])
            if status is None:
                status = self._add(row["id"], stage)
                there.append(status)
            elif status["label"] != holding.text(stage.name):
                status["label"] = self._rename(status["id"], stage)["label"]
            if status.get("type") != bodies.type_of(stage.outcome):
                left["stages"] = (
                    f"the type of a stage is fixed: {status['label']!r} stays {status.get('type')}"
                )
            placed.append(status)
        order = [*placed, *(status for status in there if status not in placed)]
        if [one["id"] for one in order] != [one["id"] for one in there]:
            # All of this pipeline's own ids, and no other: a foreign one would move here.
            row = self._put(row, {"statuses": [{"id": one["id"]} for one in order]})
        return {**row, "statuses": order}

    def _add(self, pipeline: str, stage: Stage) -> Row:
        body = {**bodies.status(stage), "pipeline_id": pipeline}
        return self.http.fetch(replace(call_for("POST", "/status/opportunity/"), json=body), row_of)

    def _rename(self, status: str, stage: Stage) -> Row:
        body = {"label": holding.text(stage.name)}
        return self.http.fetch(replace(call_for("PUT", "/status/opportunity/", status), json=body), _status)

    def _put(self, row: Row, body: dict[str, Any]) -> Row:
        answer = self.http.fetch(replace(call_for("PUT", "/pipeline/", row["id"]), json=body), row_of)
        return {**row, **answer}

    def _current(self, change: Change) -> Row:
        native = change.ref.id if change.ref else ""

        def read(answer: Answer) -> Row | None:
            rows, _, _ = walks.page_of(answer.json())
            found = next((row for row in rows if row.get("id") == native), None)
            if found is not None and not isinstance(found.get("statuses"), list):
                raise BadAnswer("the pipeline comes without its statuses")
            return found

        found = asked(change, lambda: self.http.fetch(call_for("GET", "/pipeline/"), read))
        if found is None:
            raise NotSent(Written(change.id, Result.GONE, reason="there is no such pipeline"))
        return found


def _same(stage: Stage, there: Sequence[Row]) -> Row | None:
    """The status of this pipeline that a wanted stage means: by id, else by name.

    An id of another pipeline is not looked at: it would move that pipeline's status.
    """
    by_id = next((status for status in there if status["id"] == stage.id), None)
    name = holding.text(stage.name)
    return by_id or next((status for status in there if status["label"] == name), None)


def _status(answer: Answer) -> Row:
    row = row_of(answer)
    if not isinstance(row.get("label"), str):
        raise BadAnswer("the answer to a write shows no label")
    return row
