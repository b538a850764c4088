"""Pipelines and opportunity statuses as they are created, renamed, ordered, moved and deleted.

Source: https://developer.close.com/api/resources/pipelines/create , /update , /delete ,
https://developer.close.com/api/resources/opportunity-statuses/create
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from datetime import UTC
from typing import Any

from starlette.responses import Response

from crmkit.sandbox.close.answers import field_list, missing, only
from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, Body
from crmkit.sandbox.close.desk import Call, Desk
from crmkit.sandbox.close.seed import opaque
from crmkit.sandbox.rows import Outcome, Pipeline, Stage
from crmkit.sandbox.wire import json_reply

CUSTOMIZE = "manage_customizations"  # that it covers pipelines and fields is inferred
_OUTCOMES: dict[str, Outcome] = {"active": "open", "won": "won", "lost": "lost"}


class Structure:
    """Changes the pipelines of one organization."""

    def __init__(self, desk: Desk, muted: Callable[[], AbstractContextManager[None]]) -> None:
        self.desk, self.records, self.world, self._muted = desk, desk.records, desk.world, muted
        self._rng = random.Random(f"close-structure-{desk.records.organization_id}")

    # Pipelines

    def create_pipeline(self, call: Call) -> Response:
        """A new pipeline (201), with statuses if it brings some; ids in them are foreign and dropped."""
        self.desk.need(CUSTOMIZE)
        body = Body(call.said, {"name", "statuses"})
        name = body.text("name", required=True)
        rows = body.rows("statuses", ("label", "type"))
        if any(row.get("type") not in _OUTCOMES for row in rows):
            body.wrong("statuses", "type: Not a valid choice.")
        body.finish()
        now = self.world.clock().astimezone(UTC)
        pipeline = Pipeline(
            self._new_id("pipe_", 22, self.world.pipelines),
            str(name),
            len(self.world.pipelines),
            [self._stage(row["label"], row["type"], place) for place, row in enumerate(rows)],
            extra={"created": now, "updated": now, "by": call.by},
        )
        self.world.pipelines[pipeline.id] = pipeline
        where = {"location": f"/api/v1/pipeline/{pipeline.id}/"}
        return json_reply(self.records.pipeline(pipeline), 201, where)

    def update_pipeline(self, call: Call) -> Any:
        """Renamed, its statuses in a new order, or with statuses taken over from other pipelines.

        Statuses that are not named stay behind those that are (inferred).
        """
        self.desk.need(CUSTOMIZE)
        pipeline = self._pipeline(call.path["id"])
        body = Body(call.said, {"name", "statuses"})
        name = body.text("name", required="name" in body)
        wanted = [row["id"] for row in body.rows("statuses", ("id",)) if isinstance(row.get("id"), str)]
        if any(status_id not in self.records.places for status_id in wanted):
            body.wrong("statuses", NO_SUCH_OBJECT)
        if len(set(wanted)) < len(wanted):
            body.wrong("statuses", "A status is named twice.")
        body.finish()
        if name is not None:
            pipeline.name = name
        if wanted:
            self._order(pipeline, wanted)
        pipeline.extra |= {"updated": self.world.clock().astimezone(UTC), "updated_by": call.by}
        return self.records.pipeline(pipeline)

    def delete_pipeline(self, call: Call) -> Response:
        """Gone (204), if it is empty; that the last one cannot go is inferred."""
        self.desk.need(CUSTOMIZE)
        pipeline = self._pipeline(call.path["id"])
        body = Body({}, None)
        if pipeline.stages:
            body.finish(["Pipeline still has statuses. Delete or move them first."])
        if len(self.world.pipelines) == 1:
            body.finish(["The last pipeline cannot be deleted."])
        del self.world.pipelines[pipeline.id]
        return Response(status_code=204)

    def _pipeline(self, pipeline_id: str) -> Pipeline:
        pipeline = self.world.pipelines.get(pipeline_id)
        if pipeline is None:
            raise missing("Pipeline")
        return pipeline

    def _order(self, pipeline: Pipeline, wanted: list[str]) -> None:
        stages = [self.records.places[status_id][1] for status_id in wanted]
        came = [stage for stage in stages if stage not in pipeline.stages]
        for other in self.world.pipelines.values():
            if other is not pipeline:
                other.stages = [stage for stage in other.stages if stage not in came]
        pipeline.stages = stages + [stage for stage in pipeline.stages if stage not in stages]
        for place, stage in enumerate(pipeline.stages):
            stage.order = place
        with self._muted():  # an opportunity's pipeline follows its status
            for stage in came:
                for deal in self.world.live.group("deal", "stage_id", stage.id):
                    self.world.edit(
                        "deal",
                        deal.id,
                        touch=False,
                        pipeline_id=pipeline.id,
                        history=deal.history,
                        stage_entered=deal.stage_entered,
                        closed_at=deal.closed_at,
                        status=deal.status,
                    )

    # Statuses

    def create_status(self, call: Call) -> Any:
        """A new status at the end of its pipeline."""
        self.desk.need(CUSTOMIZE)
        body = Body(call.said, {"label", "type", "pipeline_id"})
        label = body.text("label", required=True)
        kind = body.text("type", required=True)
        pipeline_id = body.text("pipeline_id", required=True)
        if kind is not None and kind not in _OUTCOMES:
            body.wrong("type", f"Not a valid choice: {kind}.")
        pipeline = self.world.pipelines.get(pipeline_id or "")
        if pipeline_id is not None and pipeline is None:
            body.wrong("pipeline_id", NO_SUCH_OBJECT)
        body.finish()
        assert pipeline is not None
        stage = self._stage(str(label), str(kind), len(pipeline.stages))
        pipeline.stages.append(stage)
        return only(self.records.status(pipeline, stage), field_list(call.params))

    def rename_status(self, call: Call) -> Any:
        """A new label; type and pipeline are not changed here."""
        self.desk.need(CUSTOMIZE)
        pipeline, stage = self._place(call.path["id"])
        body = Body(call.said, {"label"})
        label = body.text("label", required=True)
        body.finish()
        stage.name = str(label)
        return only(self.records.status(pipeline, stage), field_list(call.params))

    def delete_status(self, call: Call) -> Any:
        """Gone, if no opportunity has it; the shape of that refusal is inferred."""
        self.desk.need(CUSTOMIZE)
        pipeline, stage = self._place(call.path["id"])
        body = Body({}, None)
        if self.world.live.group("deal", "stage_id", stage.id):
            body.finish(["Status is still used by opportunities."])
        if len(self.records.places) == 1:
            body.finish(["The last status cannot be deleted."])
        pipeline.stages = [other for other in pipeline.stages if other is not stage]
        return {}

    def _place(self, status_id: str) -> tuple[Pipeline, Stage]:
        place = self.records.places.get(status_id)
        if place is None:
            raise missing("OpportunityStatus")
        return place

    def _stage(self, label: str, kind: str, order: int) -> Stage:
        return Stage(self._new_id("stat_", 43, self.records.former), label, order, _OUTCOMES[kind])

    def _new_id(self, prefix: str, length: int, taken: Container[str]) -> str:
        made = prefix + opaque(self._rng, length)
        while made in taken:
            made = prefix + opaque(self._rng, length)
        return made
