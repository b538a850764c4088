"""Writing pipelines: four rounds for all of them, as each needs what the one before brought.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/category/index.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import command
from crmkit.connectors.bitrix24.encoding import Unwritable, id_text, key_pair
from crmkit.connectors.bitrix24.lists import paged
from crmkit.connectors.bitrix24.records import Rows
from crmkit.connectors.bitrix24.sender import PILOT, Sender
from crmkit.connectors.bitrix24.settling import REASON_CHARACTERS, id_of, refused
from crmkit.connectors.bitrix24.structure import StageEdits, amend, check, directory, reshape
from crmkit.connectors.bitrix24.wire import Request
from crmkit.connectors.sending import outcomes, stops
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CredentialsError, CrmkitError, Interrupted
from crmkit.model import Kind, Pipeline, Ref

_FIELDS = {"name": "name", "sort": "name", "stages": "stages"}


class PipelineWriter:
    """Creates, renames and deletes pipelines, and shapes their stages."""

    def __init__(self, portal: Portal, context: Context, sender: Sender) -> None:
        self._portal = portal
        self._context = context
        self._sender = sender
        self._written: dict[str, Written] = {}
        self._refs: dict[str, Ref] = {}
        self._unwritten: dict[str, str] = {}

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """The outcomes, of a few pipelines at a time."""
        stopped: CrmkitError | None = None
        for begin in range(0, len(changes), PILOT):
            part = changes[begin : begin + PILOT]
            error = stopped
            if stopped is None:
                try:
                    self._carry_out(part)
                except CrmkitError as raised:
                    error = raised
                    stopped = raised if stops(raised) else None
            yield self._outcomes(part, error)
        if isinstance(stopped, CredentialsError | Interrupted):
            raise stopped

    def _outcomes(self, changes: Sequence[Change], error: CrmkitError | None) -> list[Written]:
        """What is known; a pipeline that exists stays done although its stages are not."""
        found: list[Written] = []
        for change in changes:
            if change.id in self._written:
                found.append(self._written[change.id])
            elif change.id in self._refs:
                reason = str(error)[:REASON_CHARACTERS] if error else self._unwritten.get(change.id, "")
                told = {"stages": reason} if reason else {}
                found.append(Written(change.id, Result.DONE, self._refs[change.id], unwritten=told))
            elif error is not None:
                found += outcomes([change], error)
            else:
                found.append(Written(change.id, Result.DONE, change.ref))
        return found

    def _carry_out(self, changes: Sequence[Change]) -> None:
        requests: dict[str, Request] = {}
        for change in changes:
            try:
                request = _request(change)
            except Unwritable as error:
                reason = f"{error.field} {error.reason}"
                self._written[change.id] = Written(
                    change.id, Result.REJECTED, field=error.field, reason=reason
                )
                continue
            if request is not None:
                requests[change.id] = request
            elif change.ref is not None:
                self._refs[change.id] = change.ref
        self._send({change.id: change for change in changes}, requests)
        shaped = [one for one in changes if one.id in self._refs and one.values.get("stages")]
        if not shaped:
            return
        directories = {one.id: self._refs[one.id].id for one in shaped}
        rows = self._stages(directories)
        for one in shaped:
            # Every pipeline has stages; a directory without a pipeline is empty and not refused.
            if not rows[one.id] and one.act is Act.UPDATE:
                self._written[one.id] = Written(one.id, Result.GONE)
            elif not rows[one.id]:
                self._unwritten[one.id] = "the portal does not show the new pipeline's stages"
        shaped = [one for one in shaped if rows[one.id]]
        edits = {
            one.id: (reshape if one.act is Act.CREATE else amend)(
                directories[one.id], rows[one.id], one.values["stages"]
            )
            for one in shaped
        }
        for one in shaped:
            self._shape(one, edits[one.id])
        if shaped:
            self._show(shaped, {one.id: directories[one.id] for one in shaped})

    def _send(self, changes: Mapping[str, Change], requests: Mapping[str, Request]) -> None:
        by_key = {f"w{index}": name for index, name in enumerate(requests)}

        def take(key: str, value: object, error: CrmkitError | None) -> None:
            change = changes[by_key[key]]
            if error is not None:
                self._written[change.id] = refused(change, error, _FIELDS)
                return
            if change.act is Act.DELETE:
                self._written[change.id] = Written(change.id, Result.DONE, change.ref)
                return
            row = value.get("category", value) if isinstance(value, Mapping) else None
            native = id_of(row)
            if change.ref is not None:
                self._refs[change.id] = change.ref
            elif native is not None:
                self._refs[change.id] = Ref(self._context.connection, Kind.PIPELINE, native)
            else:
                reason = "the answer does not name the pipeline"
                self._written[change.id] = Written(change.id, Result.UNKNOWN, reason=reason)

        self._sender.send({key: requests[name] for key, name in by_key.items()}, take)

    def _stages(self, directories: Mapping[str, str]) -> dict[str, list[Any]]:
        lists = {
            f"d{index}": (("filter[ENTITY_ID]", directory(native)), ("order[SORT]", "ASC"))
            for index, native in enumerate(directories.values())
        }
        found = paged(self._portal, "crm.status.list", lists, "STATUS_ID")
        return {name: found[f"d{index}"] for index, name in enumerate(directories)}

    def _shape(self, change: Change, edits: StageEdits) -> None:
        """Edit the stages of one pipeline, in order; what fails leaves the pipeline itself done."""
        problems = list(edits.problems)

        def take(key: str, value: object, error: CrmkitError | None) -> None:
            if error is not None:
                problems.append(str(error)[:REASON_CHARACTERS])

        for begin in range(0, len(edits.requests), PILOT):
            part = edits.requests[begin : begin + PILOT]
            self._sender.send({f"s{begin + index}": one for index, one in enumerate(part)}, take)
        if problems:
            self._unwritten[change.id] = "; ".join(problems)[:REASON_CHARACTERS]

    def _show(self, changes: Sequence[Change], directories: Mapping[str, str]) -> None:
        """The pipelines as they are now: only this tells the ids of stages that were added."""
        categories = self._portal.run({"all": command("crm.category.list", ("entityTypeId", 2))}).values[
            "all"
        ]
        rows = self._stages(directories)
        by_id = {str(one["id"]): one for one in categories}
        translate: Callable[[Any], Any] = Rows(self._context.connection, self._portal.root).pipelines
        for change in changes:
            ref = self._refs[change.id]
            found, _ = translate([(by_id[ref.id], rows[change.id])]) if ref.id in by_id else ([], [])
            record: Pipeline | None = found[0] if found else None
            reason = self._unwritten.get(change.id)
            self._written[change.id] = Written(
                change.id,
                Result.DONE,
                ref,
                record=record,
                unwritten={"stages": reason} if reason else {},
            )


def _request(change: Change) -> Request | None:
    """The call for the pipeline itself; `None` if only its stages change."""
    place: dict[str, Any] = {"entityTypeId": 2}
    if change.act is not Act.CREATE:
        place["id"] = id_text(change.ref.id if change.ref else "", "ref")
    if change.act is Act.DELETE:
        return Request("crm.category.delete", place)
    check(change.values, creating=change.act is Act.CREATE)
    fields = {"name": change.values["name"]} if "name" in change.values else {}
    if change.act is Act.CREATE:
        if change.key:
            fields |= key_pair(change.key)
        return Request("crm.category.add", {**place, "fields": fields})
    return Request("crm.category.update", {**place, "fields": fields}) if fields else None
