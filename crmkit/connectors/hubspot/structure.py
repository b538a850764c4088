"""Pipelines and stages. Pure bodies, and the few calls that carry them out.

Stages are added, renamed and put in order; none is removed, because deals may be in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.hubspot import records
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.dialect import Refusal
from crmkit.connectors.hubspot.holding import stage_probability
from crmkit.connectors.hubspot.posts import Posts
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.sending import outcomes
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, Rejected
from crmkit.model import Kind, Pipeline, Ref, Stage

Row = dict[str, Any]


def stage_body(stage: Stage, at: int) -> Row:
    """A stage as HubSpot wants it; `probability` is required, also when nothing else changes."""
    return {
        "label": stage.name,
        "displayOrder": at,
        "metadata": {"probability": str(stage_probability(stage))},
    }


def pipeline_body(values: Mapping[str, Any], order: int) -> Row:
    """A new pipeline, placed after those that are there."""
    stages = [stage_body(stage, at) for at, stage in enumerate(values.get("stages") or ())]
    return {"label": values.get("name") or "", "displayOrder": order, "stages": stages}


class Builder:
    """Creates and changes deal pipelines.

    Args:
        connection: Name of the connection.
        api: HubSpot's read endpoints.
        posts: Its write endpoints.
        redact: Masks secrets.
    """

    def __init__(self, connection: str, api: Api, posts: Posts, redact: Callable[[str], str]) -> None:
        self._connection = connection
        self._api = api
        self._posts = posts
        self._redact = redact

    def write(self, change: Change) -> Written:
        """Carry out one change of a pipeline."""
        return self._create(change) if change.act is Act.CREATE else self._update(change)

    def _create(self, change: Change) -> Written:
        there = self._api.pipelines()
        order = max((_order(row) for row in there), default=-1) + 1
        try:
            row = self._posts.make_pipeline(pipeline_body(change.values, order))
        except Rejected as refusal:
            # Labels are unique; how a clash is answered is not documented, so look.
            named = str(change.values.get("name") or "").casefold()
            for row in self._api.pipelines():
                if str(row.get("label") or "").casefold() == named:
                    return Written(change.id, Result.EXISTS, self._ref(row), reason=self._said(refusal))
            return Written(change.id, Result.REJECTED, reason=self._said(refusal))
        record, _ = translate.records(
            Pipeline,
            self._connection,
            Kind.PIPELINE,
            [row],
            lambda one: records.pipeline(one, self._connection),
            lambda one: str(one["id"]),
        )
        return Written(change.id, Result.DONE, self._ref(row), record=record[0] if record else None)

    def _update(self, change: Change) -> Written:
        native = change.ref.id if change.ref else ""
        row = next((row for row in self._api.pipelines() if str(row["id"]) == native), None)
        if row is None:
            return Written(change.id, Result.GONE)
        steps = [("name", step) for step in self._naming(change, row)]
        steps += [("stages", step) for step in self._staging(change, row)]
        failed: dict[str, str] = {}
        for at, (name, step) in enumerate(steps):
            try:
                step()
            except CrmkitError as error:
                if at == 0:
                    return outcomes([change], error)[0]
                failed[name] = self._said(error)
                break
        return Written(change.id, Result.DONE, change.ref, unwritten=failed)

    def _naming(self, change: Change, row: Row) -> list[Callable[[], Row]]:
        name = change.values.get("name")
        if name is None or name == row.get("label"):
            return []
        return [lambda: self._posts.change_pipeline(str(row["id"]), {"label": name})]

    def _staging(self, change: Change, row: Row) -> list[Callable[[], Row]]:
        native = str(row["id"])
        current = {str(stage["id"]): stage for stage in row.get("stages") or ()}
        labelled = {stage.get("label"): id_ for id_, stage in current.items()}
        steps: list[Callable[[], Row]] = []
        for at, stage in enumerate(change.values.get("stages") or ()):
            id_ = stage.id if stage.id in current else labelled.get(stage.name)
            body = stage_body(stage, at)
            if id_ is None:
                steps.append(lambda body=body: self._posts.make_stage(native, body))  # type: ignore[misc]
            elif _differs(current[id_], stage, at):
                steps.append(
                    lambda id_=id_, body=body: self._posts.change_stage(native, id_, body)  # type: ignore[misc]
                )
        return steps

    def _ref(self, row: Row) -> Ref:
        return Ref(self._connection, Kind.PIPELINE, str(row["id"]))

    def _said(self, error: CrmkitError) -> str:
        text = Fault.of(error.said, str(error)).text if isinstance(error, Refusal) else str(error)
        return self._redact(text)[:300]


def _order(row: Row) -> int:
    at = row.get("displayOrder")
    return at if isinstance(at, int) else 0


def _differs(row: Row, stage: Stage, at: int) -> bool:
    held = translate.fraction((row.get("metadata") or {}).get("probability"), "probability")
    return (row.get("label"), row.get("displayOrder"), held) != (stage.name, at, stage_probability(stage))
