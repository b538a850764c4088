"""The calls that write associations, v4: link, label, unlink, and the labels that users make.

Source: https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associate-records/guide
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot import linking
from crmkit.sandbox.hubspot.answers import (
    Rejected,
    batch_answer,
    batch_inputs,
    invalid,
    missing_fields,
    read_body,
    refuse,
    reply,
    version_of,
)
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.linkbook import TypeIds
from crmkit.sandbox.hubspot.links import TYPES, label_json
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.wire import read_json

_MOST = 2_000
_LABELS_MOST = 10
_Ends = tuple[ObjectType, str, ObjectType, str]


class LinkWrites:
    """The calls that write links; they take the scopes of both sides."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        one = "/crm/v4/objects/{source}/{id}/associations"
        many = "/crm/v4/associations/{source}/{target}"
        return [
            Route(f"{one}/default/{{target}}/{{to}}", self.link_by_default, methods=["PUT"]),
            Route(f"{one}/{{target}}/{{to}}", self.label, methods=["PUT"]),
            Route(f"{one}/{{target}}/{{to}}", self.unlink, methods=["DELETE"]),
            Route(f"{many}/batch/associate/default", self.batch_default, methods=["POST"]),
            Route(f"{many}/batch/create", self.batch_create, methods=["POST"]),
            Route(f"{many}/batch/archive", self.batch_archive, methods=["POST"]),
            Route(f"{many}/batch/labels/archive", self.batch_unlabel, methods=["POST"]),
            Route(f"{many}/labels", self.make_label, methods=["POST"]),
            Route(f"{many}/labels", self.rename_label, methods=["PUT"]),
            Route(f"{many}/labels/{{type_id}}", self.drop_label, methods=["DELETE"]),
        ]

    async def link_by_default(self, request: Request) -> Response:
        """Link two records without a label; a batch answer with one result for each direction."""
        ends, started = self._ends(request), self.portal.now()
        return batch_answer(self._default(ends), [], started, self.portal.now(), 200)

    async def label(self, request: Request) -> Response:
        """Link two records under these types, which replace those that the pair had."""
        ends = self._ends(request)
        try:
            said = read_json(await request.body())
        except ValueError as error:
            invalid(f"Invalid input JSON: {error}")
        types = linking.read_types(self.portal, ends[0], ends[2], said)
        self._link(ends, types, replace=True)
        return reply(self._pair_json(ends, types), 201)

    async def unlink(self, request: Request) -> Response:
        """Take a link away; one that is not there is answered alike."""
        source, source_id, target, target_id = self._ends(request)
        linking.remove(
            self.portal, linking.in_order(self.portal, source, source_id, target, target_id, frozenset())
        )
        return Response(status_code=204)

    async def batch_default(self, request: Request) -> Response:
        """Link up to 2,000 pairs without a label."""
        return await self._batch(request, 200, lambda ends, said: self._default(ends))

    async def batch_create(self, request: Request) -> Response:
        """Link up to 2,000 pairs under types, added to those that a pair has."""

        def create(ends: _Ends, said: dict[str, Any]) -> list[dict[str, Any]]:
            types = linking.read_types(self.portal, ends[0], ends[2], said.get("types"))
            self._link(ends, types, replace=False)
            return [self._pair_json(ends, types)]

        # The file of 2026-09 knows 200 only, the older ones 201.
        return await self._batch(request, 200 if version_of(request) else 201, create)

    async def batch_archive(self, request: Request) -> Response:
        """Take links away: all of a pair's types."""
        source, target = self._types(request)
        inputs = batch_inputs(await read_body(request), _MOST)
        for said in inputs:
            for to in said.get("to") or missing_fields("to"):
                link = linking.in_order(
                    self.portal, source, _id(said, "from"), target, _id_of(to), frozenset()
                )
                linking.remove(self.portal, link)
        return self._done(request)

    async def batch_unlabel(self, request: Request) -> Response:
        """Take labels off links; with the unlabelled type goes the link."""
        source, target = self._types(request)
        inputs = batch_inputs(await read_body(request), _MOST)
        links = []
        for said in inputs:
            types = linking.read_types(self.portal, source, target, said.get("types"))
            ends = _id(said, "from"), _id(said, "to")
            links.append(linking.in_order(self.portal, source, ends[0], target, ends[1], types))
        for link in links:
            linking.remove_labels(self.portal, link)
        return self._done(request)

    async def make_label(self, request: Request) -> Response:
        """Make a label with its two directions; at most ten for a pair of object types."""
        source, target = self._types(request, shape=True)
        body = await read_body(request)
        absent = [name for name in ("label", "name") if not body.get(name)]
        if absent:
            missing_fields(*absent)
        pair = source.singular, target.singular
        known = self.portal.book.labels.get(pair, [])
        if pair not in TYPES:
            invalid(f"No association types between {source.type_id} and {target.type_id}")
        if any(body["label"] == one.label or body["name"] == one.name for one in known):
            invalid(f"A label {body['label']} exists already")
        if len(known) >= _LABELS_MOST:
            invalid(f"At most {_LABELS_MOST} labels for a pair of object types")
        made = self.portal.book.add_label(
            pair, str(body["name"]), str(body["label"]), body.get("inverseLabel")
        )
        return reply({"results": [label_json(one) for one in made]})

    async def rename_label(self, request: Request) -> Response:
        """Give a label another text."""
        source, target = self._types(request, shape=True)
        body = await read_body(request)
        known = self.portal.book.labels.get((source.singular, target.singular), [])
        for place, one in enumerate(known):
            if str(one.type_id) == str(body.get("associationTypeId")):
                known[place] = one._replace(label=str(body.get("label") or missing_fields("label")))
                return Response(status_code=204)
        refuse(404, "resource not found")

    async def drop_label(self, request: Request) -> Response:
        """Take a label away, from all links too."""
        source, target = self._types(request, shape=True)
        pair, type_id = (source.singular, target.singular), request.path_params["type_id"]
        if type_id not in {str(one.type_id) for one in self.portal.book.labels.get(pair, ())}:
            refuse(404, "resource not found")
        self.portal.book.drop_label(pair, int(type_id))
        return Response(status_code=204)

    def _types(self, request: Request, *, shape: bool = False) -> tuple[ObjectType, ObjectType]:
        source = object_type(request.path_params["source"])
        target = object_type(request.path_params["target"])
        for one in (source, target):
            (self.portal.may_shape if shape else self.portal.may_write)(one)
        return source, target

    def _ends(self, request: Request) -> _Ends:
        source, target = self._types(request)
        return source, request.path_params["id"], target, request.path_params["to"]

    def _link(self, ends: _Ends, types: TypeIds, *, replace: bool) -> None:
        source, source_id, target, target_id = ends
        linking.check_ends(self.portal, *ends)
        linking.check_cap(self.portal, *ends)
        linking.check_cap(self.portal, target, target_id, source, source_id)
        link = linking.in_order(self.portal, source, source_id, target, target_id, types)
        linking.add(self.portal, link, replace=replace)

    def _default(self, ends: _Ends) -> list[dict[str, Any]]:
        source, source_id, target, target_id = ends
        there = TYPES.get((source.singular, target.singular))
        if there is None:
            invalid(f"No association types between {source.type_id} and {target.type_id}")
        back = TYPES[target.singular, source.singular]
        self._link(ends, frozenset({there[0].type_id}), replace=False)
        return [
            _spec(source_id, target_id, there[0].type_id),
            _spec(target_id, source_id, back[0].type_id),
        ]

    def _pair_json(self, ends: _Ends, types: TypeIds) -> dict[str, Any]:
        source, source_id, target, target_id = ends
        return {
            "fromObjectTypeId": source.type_id,
            "fromObjectId": int(source_id),
            "toObjectTypeId": target.type_id,
            "toObjectId": int(target_id),
            "labels": linking.label_names(self.portal, source, target, types),
        }

    async def _batch(
        self,
        request: Request,
        status: int,
        act: Callable[[_Ends, dict[str, Any]], Sequence[dict[str, Any]]],
    ) -> Response:
        source, target = self._types(request)
        inputs = batch_inputs(await read_body(request), _MOST)
        started = self.portal.now()
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for said in inputs:
            ends = source, _id(said, "from"), target, _id(said, "to")
            try:
                results += act(ends, said)
            except Rejected as error:
                errors.append(error.beside(fromObjectId=[ends[1]], toObjectId=[ends[3]]))
        return batch_answer(results, errors, started, self.portal.now(), status)

    def _done(self, request: Request) -> Response:
        if not version_of(request):
            return Response(status_code=204)
        now = self.portal.now()
        return batch_answer([], [], now, now, 200)


def _id(said: dict[str, Any], name: str) -> str:
    return _id_of(said.get(name) or missing_fields(name))


def _id_of(said: Any) -> str:
    if not isinstance(said, dict) or "id" not in said:
        missing_fields("id")
    return str(said["id"])


def _spec(from_id: str, to_id: str, type_id: int) -> dict[str, Any]:
    return {
        "from": {"id": from_id},
        "to": {"id": to_id},
        "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id},
    }
