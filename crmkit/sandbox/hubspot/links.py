"""Associations: which records are linked, under which type ids, and the calls that read them.

Type ids have a direction. Source:
https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associate-records/guide
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import invalid, missing_record, page_size, read_body, refuse, reply
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.portal import Portal

_BATCH_MOST = 1_000
_PAGE = 500
_INLINE_MOST = 100


class LinkType(NamedTuple):
    """One type of link in one direction; `name` is what inline associations call it."""

    type_id: int
    label: str | None
    name: str


# A company is linked as the primary one, which HubSpot always pairs with the unlabelled type.
_TYPES: Mapping[tuple[str, str], tuple[LinkType, ...]] = {
    ("deal", "company"): (
        LinkType(341, None, "deal_to_company_unlabeled"),
        LinkType(5, "Primary", "deal_to_company"),
    ),
    ("company", "deal"): (
        LinkType(342, None, "company_to_deal_unlabeled"),
        LinkType(6, "Primary", "company_to_deal"),
    ),
    ("contact", "company"): (
        LinkType(279, None, "contact_to_company_unlabeled"),
        LinkType(1, "Primary", "contact_to_company"),
    ),
    ("company", "contact"): (LinkType(280, None, "company_to_contact"),),
    ("deal", "contact"): (LinkType(3, None, "deal_to_contact"),),
    ("contact", "deal"): (LinkType(4, None, "contact_to_deal"),),
    ("note", "deal"): (LinkType(214, None, "note_to_deal"),),
    ("deal", "note"): (LinkType(213, None, "deal_to_note"),),
    ("note", "company"): (LinkType(190, None, "note_to_company"),),
    ("company", "note"): (LinkType(189, None, "company_to_note"),),
    ("note", "contact"): (LinkType(202, None, "note_to_contact"),),
    ("contact", "note"): (LinkType(201, None, "contact_to_note"),),
}
# Where a row keeps its own links; every other pair is the way back of one of these.
_FIELDS: Mapping[tuple[str, str], str] = {
    ("deal", "company"): "company_id",
    ("deal", "contact"): "contact_ids",
    ("contact", "company"): "company_id",
    ("note", "deal"): "deal_id",
    ("note", "company"): "company_id",
    ("note", "contact"): "contact_id",
}


def link_types(source: ObjectType, target: ObjectType) -> tuple[LinkType, ...]:
    """The types of link from one object type to another."""
    return _TYPES.get((source.singular, target.singular), ())


def linked_ids(portal: Portal, source: ObjectType, target: ObjectType) -> Callable[[Any], Sequence[str]]:
    """Gives the ids that a row of the source type is linked to."""
    field = _FIELDS.get((source.singular, target.singular))
    if field is not None:
        return lambda row: _as_tuple(getattr(row, field))
    back = _FIELDS.get((target.singular, source.singular))
    kind = target.kind
    if back is None or kind is None:
        return lambda row: ()
    live = portal.world.live
    return lambda row: [other.id for other in live.group(kind, back, row.id)]


def inline_links(
    portal: Portal, source: ObjectType, targets: Sequence[ObjectType]
) -> Callable[[Any], dict[str, Any] | None]:
    """Gives the `associations` of a record in a list or read; `None` if it has none."""
    readers = [
        (
            target,
            [one.name for one in reversed(link_types(source, target))],
            linked_ids(portal, source, target),
        )
        for target in targets
    ]
    base = f"{portal.origin}/crm/v3/objects/{source.plural}"

    def write(row: Any) -> dict[str, Any] | None:
        answer: dict[str, Any] = {}
        for target, names, read in readers:
            ids = read(row)
            if not ids:
                continue
            shown = ids if len(ids) <= _INLINE_MOST else ids[:_INLINE_MOST]
            block: dict[str, Any] = {
                "results": [{"id": one, "type": name} for one in shown for name in names]
            }
            if len(ids) > _INLINE_MOST:
                after = _token(target, shown[-1])
                link = f"{base}/{row.id}/associations/{target.plural}?after={after}"
                block["paging"] = {"next": {"after": after, "link": link}}
            answer[target.plural] = block
        return answer or None

    return write


class Links:
    """The calls that read associations, v4 and v3."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/v4/associations/{source}/{target}/batch/read", self.batch_read, methods=["POST"]),
            Route("/crm/v4/associations/{source}/{target}/labels", self.labels, methods=["GET"]),
            Route("/crm/v4/objects/{source}/{id}/associations/{target}", self.links_of, methods=["GET"]),
            Route("/crm/v3/associations/{source}/{target}/batch/read", self.batch_read_v3, methods=["POST"]),
            Route("/crm/v3/associations/{source}/{target}/types", self.types_v3, methods=["GET"]),
            Route("/crm/v3/objects/{source}/{id}/associations/{target}", self.links_of_v3, methods=["GET"]),
        ]

    async def batch_read(self, request: Request) -> Response:
        """The links of up to 1,000 records; a record without any is an error beside the results."""
        source, target = self._pair(request)
        types = [_label(one) for one in link_types(source, target)]

        def target_json(ids: Sequence[str]) -> list[dict[str, Any]]:
            return [{"toObjectId": int(one), "associationTypes": types} for one in ids]

        return await self._batch(request, source, target, target_json, paged=True)

    async def batch_read_v3(self, request: Request) -> Response:
        """The same without labels; this version ignores an input's `after`."""
        source, target = self._pair(request)
        names = [one.name for one in reversed(link_types(source, target))]

        def target_json(ids: Sequence[str]) -> list[dict[str, Any]]:
            return [{"id": one, "type": name} for one in ids for name in names]

        return await self._batch(request, source, target, target_json, paged=False)

    async def labels(self, request: Request) -> Response:
        """The types of link between two object types."""
        return reply({"results": [_label(one) for one in link_types(*self._pair(request))]})

    async def types_v3(self, request: Request) -> Response:
        """The same with their names."""
        types = link_types(*self._pair(request))
        return reply({"results": [{"id": str(one.type_id), "name": one.name} for one in types]})

    async def links_of(self, request: Request) -> Response:
        """The links of one record, up to 500 a page."""
        source, target = self._pair(request)
        shown, after = self._page(request, source, target)
        types = [_label(one) for one in link_types(source, target)]
        results = [{"toObjectId": int(one), "associationTypes": types} for one in shown]
        return reply(self._paged(request, results, after))

    async def links_of_v3(self, request: Request) -> Response:
        """The same in the shape of inline associations."""
        source, target = self._pair(request)
        shown, after = self._page(request, source, target)
        names = [one.name for one in reversed(link_types(source, target))]
        results = [{"id": one, "type": name} for one in shown for name in names]
        return reply(self._paged(request, results, after))

    def _pair(self, request: Request) -> tuple[ObjectType, ObjectType]:
        source = object_type(request.path_params["source"])
        target = object_type(request.path_params["target"])
        for one in (source, target):
            self.portal.may_read(one)
        return source, target

    def _page(
        self, request: Request, source: ObjectType, target: ObjectType
    ) -> tuple[Sequence[str], str | None]:
        record_id = request.path_params["id"]
        size = page_size(request, _PAGE, _PAGE)
        row = self.portal.table(source).get(record_id)
        if row is None:
            # The id of a record that was merged away still answers, without links (changelog of 2021).
            if not self.portal.merged_away(source, record_id):
                missing_record(record_id)
            return (), None
        return _page_of(
            linked_ids(self.portal, source, target)(row), target, request.query_params.get("after"), size
        )

    def _paged(self, request: Request, results: list[dict[str, Any]], after: str | None) -> dict[str, Any]:
        if after is None:
            return {"results": results}
        link = f"{self.portal.origin}{request.url.path}?after={after}"
        return {"results": results, "paging": {"next": {"after": after, "link": link}}}

    async def _batch(
        self,
        request: Request,
        source: ObjectType,
        target: ObjectType,
        target_json: Callable[[Sequence[str]], list[dict[str, Any]]],
        *,
        paged: bool,
    ) -> Response:
        inputs = read_inputs(await read_body(request), _BATCH_MOST)
        started = self.portal.now()
        table = self.portal.table(source)
        read = linked_ids(self.portal, source, target)
        size = int(self.portal.settings.extra.get("associations_per_page", _PAGE))
        results, errors = [], []
        for record_id, said in inputs.items():
            row = table.get(record_id)
            ids = read(row) if row is not None else ()
            if not ids:
                errors.append(_without_links(source, target, record_id))
                continue
            shown, after = _page_of(ids, target, said.get("after") if paged else None, size)
            result: dict[str, Any] = {"from": {"id": record_id}, "to": target_json(shown)}
            if after is not None:
                link = (
                    f"{self.portal.origin}/crm/v4/objects/{source.type_id}/{record_id}"
                    f"/associations/{target.type_id}?after={after}"
                )
                result["paging"] = {"next": {"after": after, "link": link}}
            results.append(result)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        answer |= {"startedAt": started, "completedAt": self.portal.now()}
        return reply(answer, 207 if errors else 200)


def read_inputs(body: Mapping[str, Any], most: int) -> dict[str, Mapping[str, Any]]:
    """The inputs of a batch by id, each once; 400 if there are too many. The texts are ours."""
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) and "id" in one for one in inputs):
        refuse(400, "Invalid input JSON: inputs must be a list of objects with an id", "VALIDATION_ERROR")
    if len(inputs) > most:
        invalid(f"The maximum number of inputs supported in a batch request is {most}. Actual: {len(inputs)}")
    return {str(one["id"]): one for one in inputs}


def _without_links(source: ObjectType, target: ObjectType, record_id: str) -> dict[str, Any]:
    return {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": f"No {target.singular} is associated with {source.singular} {record_id}.",
        "context": {
            "fromObjectId": [record_id],
            "fromObjectType": [source.singular],
            "toObjectType": [target.singular],
        },
    }


def _page_of(
    ids: Sequence[str], target: ObjectType, after: str | None, size: int
) -> tuple[Sequence[str], str | None]:
    start = 0
    if after:
        last = _read_token(after)
        start = next((place + 1 for place, one in enumerate(ids) if one == last), len(ids))
    shown = ids[start : start + size]
    return shown, _token(target, shown[-1]) if len(ids) > start + size else None


def _token(target: ObjectType, last_id: str) -> str:
    return quote(base64.b64encode(f"{target.type_id}-{last_id}".encode()).decode(), safe="")


def _read_token(text: str) -> str:
    try:
        told = base64.b64decode(unquote(text), validate=True).decode()
    except (binascii.Error, ValueError):
        invalid("Invalid input: after is not a paging cursor")
    return told.rpartition("-")[2]


def _label(one: LinkType) -> dict[str, Any]:
    return {"category": "HUBSPOT_DEFINED", "typeId": one.type_id, "label": one.label}


def _as_tuple(value: Any) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)
