"""Pipelines: made and changed one at a time, from stages that the org has already.

A stage is a value of the Stage picklist, shared by all pipelines. Zoho's API can put it
into a pipeline, but neither create it nor rename it nor give it a probability.

Source: https://github.com/zoho/crm-oas (v8.0/pipeline)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crmkit.connectors import sending
from crmkit.connectors.sending import Job
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.connectors.zoho.bodies import Body, Refused
from crmkit.connectors.zoho.calls import Calls, has_ids
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.posts import Posts
from crmkit.connectors.zoho.shape import Shape, Shapes, WritableStage
from crmkit.connectors.zoho.values import trimmed
from crmkit.connectors.zoho.workspace import Metadata
from crmkit.model import Kind, Outcome, Ref, Stage

Raw = Mapping[str, Any]
_PATH = "/settings/pipeline"


class Pipelines:
    """Creates and changes pipelines.

    Args:
        calls: Sends reads.
        posts: Sends writes.
        metadata: What the org has.
        shapes: What of it can be written.
        connection: Name of the connection.
        short: Makes Zoho's words fit for messages.
    """

    def __init__(
        self,
        calls: Calls,
        posts: Posts,
        metadata: Metadata,
        shapes: Shapes,
        connection: str,
        short: Callable[[str], str],
    ) -> None:
        self._calls = calls
        self._posts = posts
        self._metadata = metadata
        self._shapes = shapes
        self._connection = connection
        self._short = short

    def run(self, act: Act, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """One outcome per change; see `Connector.write`."""
        write = self._create if act is Act.CREATE else self._update

        def job(change: Change) -> Job:
            return Job([change], lambda: [write(change)])

        yield from sending.send([job(change) for change in changes], 1)

    def _create(self, change: Change) -> Written:
        try:
            made = new_pipeline(change.values, self._stages())
        except Refused as refused:
            return Written(change.id, Result.REJECTED, field=refused.field, reason=str(refused))
        # The model does not know layouts: the first one, which is the only one in most orgs.
        layouts = self._calls.listing("/settings/layouts", {"module": "Deals"}, check=has_ids).rows
        if not layouts:
            return Written(change.id, Result.REJECTED, reason="this org has no layout of deals")
        return self._send(change, "POST", str(layouts[0]["id"]), made)

    def _update(self, change: Change) -> Written:
        self._metadata.forget_names()
        wanted = change.ref.id if change.ref else ""
        row = next((one for one in self._metadata.pipelines() if str(one["id"]) == wanted), None)
        if row is None:
            return Written(change.id, Result.GONE, change.ref)
        try:
            made = changed_pipeline(change.values, row, self._stages())
        except Refused as refused:
            return Written(change.id, Result.REJECTED, field=refused.field, reason=str(refused))
        if not made.row:
            if made.unwritten:
                name, reason = next(iter(made.unwritten.items()))
                return Written(change.id, Result.REJECTED, field=name, reason=reason)
            return Written(change.id, Result.DONE, change.ref, reason="it is so already")
        made.row["id"] = wanted
        return self._send(change, "PATCH", str(row["layout_id"]), made)

    def _send(self, change: Change, method: str, layout: str, made: Body) -> Written:
        params, body = {"layout_id": layout}, {"pipeline": [made.row]}
        try:
            rows = self._posts.send(method, _PATH, key="pipeline", params=params, json=body)
        except ZohoRefused as error:
            return self._refused(change, error)
        finally:
            self._metadata.forget_names()  # deals name pipelines by what is displayed
        row = rows[0] if rows else {}
        details = row.get("details")
        native = details.get("id") if isinstance(details, dict) else None
        if row.get("code") != "SUCCESS":
            reason = self._short(f"{row.get('code')}: {row.get('message')}")
            return Written(change.id, Result.REJECTED, change.ref, reason=reason)
        if not isinstance(native, str):
            return Written(change.id, Result.UNKNOWN, reason="Zoho does not say which pipeline it made")
        ref = Ref(self._connection, Kind.PIPELINE, native)
        return Written(change.id, Result.DONE, ref, unwritten=made.unwritten)

    def _refused(self, change: Change, error: ZohoRefused) -> Written:
        if error.code == "DUPLICATE_DATA":
            name = trimmed(str(change.values.get("name") or ""))
            self._metadata.forget_names()
            for row in self._metadata.pipelines():
                if str(row["display_value"]) == name:
                    ref = Ref(self._connection, Kind.PIPELINE, str(row["id"]))
                    return Written(change.id, Result.EXISTS, ref, field="name", reason=str(error))
        path = str(error.details.get("json_path", ""))
        field = "stages" if ".maps" in path else "name" if "display_value" in path else None
        return Written(change.id, Result.REJECTED, change.ref, field=field, reason=str(error))

    def _stages(self) -> Mapping[str, WritableStage]:
        # Read anew: what was lacking may have been added by hand just now.
        return self._shapes.fields(Kind.DEAL, fresh=True).stages or {}


def new_pipeline(values: Mapping[str, Any], stages: Mapping[str, WritableStage]) -> Body:
    """The row that creates a pipeline.

    Args:
        values: `name` and `stages` of the model.
        stages: All stages of the org, by id.

    Raises:
        Refused: It has no name or no stages, or stages that the org does not have.
    """
    wanted: Sequence[Stage] = values.get("stages") or ()
    if not wanted:
        raise Refused("stages", "a pipeline of Zoho has at least one stage")
    ids = _resolved(wanted, stages)
    maps = [{"id": native, "sequence_number": at} for at, native in enumerate(ids, 1)]
    other = _others(values)
    return Body({"display_value": _name(values.get("name")), "maps": maps}, other)


def changed_pipeline(values: Mapping[str, Any], row: Raw, stages: Mapping[str, WritableStage]) -> Body:
    """The row that changes a pipeline, without its id; empty if it is so already.

    Stages that are not wanted stay: deals may stand in them.
    """
    made: dict[str, Any] = {}
    unwritten = _others(values)
    if "name" in values and _name(values["name"]) != row["display_value"]:
        made["display_value"] = _name(values["name"])
    if "stages" in values:
        wanted: Sequence[Stage] = values["stages"] or ()
        ids = _resolved(wanted, stages)
        now = sorted(row.get("maps") or (), key=lambda one: int(one.get("sequence_number") or 0))
        before = [str(one["id"]) for one in now]
        kept = [native for native in before if native not in ids]
        if [*ids, *kept] != before:
            # All of them, whether Zoho replaces the list or adds to it.
            made["maps"] = [
                {"id": native, "sequence_number": at} for at, native in enumerate([*ids, *kept], 1)
            ]
        shown = {str(one["id"]): str(one["display_value"]) for one in now}
        renamed = [one.name for one in wanted if one.id in shown and shown[one.id] != one.name]
        told = []
        if kept:
            told.append(f"{len(kept)} stages stay in the pipeline: crmkit removes none")
        if renamed:
            told.append(f"Zoho's API renames no stages ({', '.join(renamed)})")
        if told:
            unwritten["stages"] = "; ".join(told)
    return Body(made, unwritten)


def pipeline_problems(values: Mapping[str, Any], shape: Shape) -> dict[str, str]:
    """What a pipeline cannot hold, as far as the org is known."""
    try:
        if "stages" in values and shape.stages is not None:
            _resolved(values["stages"] or (), shape.stages)
    except Refused as refused:
        return {refused.field: str(refused)}
    return {}


def _resolved(wanted: Sequence[Stage], stages: Mapping[str, WritableStage]) -> list[str]:
    """The ids of stages, by id or else by name and outcome.

    Raises:
        Refused: The org lacks some of them; the reason names them.
    """
    by_name: dict[tuple[str, Outcome], str] = {}
    for native, value in stages.items():
        by_name.setdefault((value.display.casefold(), value.outcome), native)
    for native, value in stages.items():
        by_name.setdefault((value.actual.casefold(), value.outcome), native)
    found = [
        one.id if one.id in stages else by_name.get((one.name.casefold(), one.outcome)) for one in wanted
    ]
    lacking = [one.name for one, native in zip(wanted, found, strict=True) if native is None]
    if lacking:
        raise Refused(
            "stages",
            f"this org has no stages {', '.join(lacking)} of that outcome, and Zoho's API cannot make them: "
            "add them in Zoho (Setup > Modules and Fields > Deals > Stage-Probability Mapping)",
        )
    return list(dict.fromkeys(native for native in found if native is not None))


def _name(value: Any) -> str:
    name = trimmed(value) if isinstance(value, str) else None
    if not name:
        raise Refused("name", "a pipeline has a name")
    return name


def _others(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: "Zoho's API does not write it" for name in values if name not in {"name", "stages"}}
