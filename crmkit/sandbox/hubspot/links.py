"""Associations: which records are linked, under which type ids, and the calls that read them.

Type ids have a direction. Source:
https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associate-records/guide
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import (
    batch_answer,
    batch_inputs,
    invalid,
    missing_record,
    page_size,
    read_body,
    refuse,
    reply,
)
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.linkbook import LinkType
from crmkit.sandbox.hubspot.portal import Portal

_BATCH_MOST = 1_000
_PAGE = 500
_INLINE_MOST = 100


WriteLinks = Callable[[Sequence[str], Mapping[str, Sequence[LinkType]]], list[dict[str, Any]]]
LinksOf = Callable[[Any], dict[str, tuple[LinkType, ...]]]
# The unlabelled type comes first. A row's company is its primary one, which comes with the unlabelled type.
TYPES: Mapping[tuple[str, str], tuple[LinkType, ...]] = {
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
FIELDS: Mapping[tuple[str, str], str] = {
    ("deal", "company"): "company_id",
    ("deal", "contact"): "contact_ids",
    ("contact", "company"): "company_id",
    ("note", "deal"): "deal_id",
    ("note", "company"): "company_id",
    ("note", "contact"): "contact_id",
}


def link_types(portal: Portal, source: ObjectType, target: ObjectType) -> tuple[LinkType, ...]:
    """The types of link from one object type to another: HubSpot's own, then those that users made."""
    pair = source.singular, target.singular
    return (*TYPES.get(pair, ()), *portal.book.labels.get(pair, ()))


def linked(portal: Portal, source: ObjectType, target: ObjectType) -> LinksOf:
    """Gives the ids that a row of the source type is linked to, with the types of each link.

    The primary company is not always the first: links without a label come before it.
    """
    pair, back = (source.singular, target.singular), (target.singular, source.singular)
    own = TYPES.get(pair, ())
    known = {one.type_id: one for one in link_types(portal, source, target)}
    if not own:
        return lambda row: {}
    if pair in FIELDS:
        there = _as_row(FIELDS[pair])
        beside: Callable[[tuple[str, str], str], Mapping[str, frozenset[int]]] = portal.book.from_source
        twins: Mapping[int, int] = {one: one for one in known}
        plain = own[0].type_id
    else:
        live, field, kind = portal.world.live, FIELDS[back], target.kind
        assert kind is not None

        def there(row: Any) -> Sequence[str]:
            return [other.id for other in live.group(kind, field, row.id)]

        beside = lambda pair, record_id: portal.book.from_target((pair[1], pair[0]), record_id)  # noqa: E731
        twins = _twins(portal, back, pair)
        plain = TYPES[back][0].type_id

    def read(row: Any) -> dict[str, tuple[LinkType, ...]]:
        ids, more = there(row), beside(pair, row.id)
        if not more:
            return dict.fromkeys(ids, own)
        found = {
            one: _known(known, twins, types)
            for one, types in more.items()
            if plain in types and one not in ids
        }
        return found | {one: (*own, *_known(known, twins, more.get(one, ()))) for one in ids}

    return read


def _known(
    known: Mapping[int, LinkType], twins: Mapping[int, int], types: Iterable[int]
) -> tuple[LinkType, ...]:
    return tuple(known[twins[one]] for one in sorted(types) if twins.get(one) in known)


def _twins(portal: Portal, there: tuple[str, str], back: tuple[str, str]) -> Mapping[int, int]:
    """The type ids of the way back, by those of the way there."""
    own = zip(TYPES[there], TYPES[back], strict=False)
    return {one.type_id: twin.type_id for one, twin in own} | portal.book.twins


def linked_ids(portal: Portal, source: ObjectType, target: ObjectType) -> Callable[[Any], Sequence[str]]:
    """Gives the ids that a row of the source type is linked to."""
    read = linked(portal, source, target)
    return lambda row: list(read(row))


def inline_links(
    portal: Portal, source: ObjectType, targets: Sequence[ObjectType]
) -> Callable[[Any], dict[str, Any] | None]:
    """Gives the `associations` of a record in a list or read; `None` if it has none."""
    readers = [(target, linked(portal, source, target)) for target in targets]
    base = f"{portal.origin}/crm/v3/objects/{source.plural}"

    def write(row: Any) -> dict[str, Any] | None:
        answer: dict[str, Any] = {}
        for target, read in readers:
            links = read(row)
            if not links:
                continue
            shown = list(links)[:_INLINE_MOST]
            block: dict[str, Any] = {"results": _named(shown, links)}
            if len(links) > _INLINE_MOST:
                after = _token(target, shown[-1])
                link = f"{base}/{row.id}/associations/{target.plural}?after={after}"
                block["paging"] = {"next": {"after": after, "link": link}}
            answer[target.plural] = block
        return answer or None

    return write


def _named(shown: Sequence[str], links: Mapping[str, Sequence[LinkType]]) -> list[dict[str, Any]]:
    return [{"id": one, "type": known.name} for one in shown for known in reversed(links[one])]


def _labelled(shown: Sequence[str], links: Mapping[str, Sequence[LinkType]]) -> list[dict[str, Any]]:
    return [
        {"toObjectId": int(one), "associationTypes": [label_json(known) for known in links[one]]}
        for one in shown
    ]


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
        return await self._batch(request, _labelled, paged=True)

    async def batch_read_v3(self, request: Request) -> Response:
        """The same without labels; this version ignores an input's `after`."""
        return await self._batch(request, _named, paged=False)

    async def labels(self, request: Request) -> Response:
        """The types of link between two object types."""
        return reply({"results": [label_json(one) for one in link_types(self.portal, *self._pair(request))]})

    async def types_v3(self, request: Request) -> Response:
        """The same with their names."""
        types = link_types(self.portal, *self._pair(request))
        return reply({"results": [{"id": str(one.type_id), "name": one.name} for one in types]})

    async def links_of(self, request: Request) -> Response:
        """The links of one record, up to 500 a page."""
        return reply(self._page(request, _labelled))

    async def links_of_v3(self, request: Request) -> Response:
        """The same in the shape of inline associations."""
        return reply(self._page(request, _named))

    def _pair(self, request: Request) -> tuple[ObjectType, ObjectType]:
        source = object_type(request.path_params["source"])
        target = object_type(request.path_params["target"])
        for one in (source, target):
            self.portal.may_read(one)
        return source, target

    def _page(self, request: Request, write: WriteLinks) -> dict[str, Any]:
        source, target = self._pair(request)
        record_id = request.path_params["id"]
        size = page_size(request, _PAGE, _PAGE)
        row = self.portal.table(source).get(record_id)
        if row is None:
            # The id of a record that was merged away still answers, without links (changelog of 2021).
            if not self.portal.merged_away(source, record_id):
                missing_record(record_id)
            return {"results": []}
        links = linked(self.portal, source, target)(row)
        shown, after = _page_of(list(links), target, request.query_params.get("after"), size)
        answer: dict[str, Any] = {"results": write(shown, links)}
        if after is not None:
            link = f"{self.portal.origin}{request.url.path}?after={after}"
            answer["paging"] = {"next": {"after": after, "link": link}}
        return answer

    async def _batch(self, request: Request, write: WriteLinks, *, paged: bool) -> Response:
        source, target = self._pair(request)
        inputs = read_inputs(await read_body(request), _BATCH_MOST)
        started = self.portal.now()
        table = self.portal.table(source)
        read = linked(self.portal, source, target)
        size = int(self.portal.settings.extra.get("associations_per_page", _PAGE))
        results, errors = [], []
        for record_id, said in inputs.items():
            row = table.get(record_id)
            links = read(row) if row is not None else {}
            if not links:
                errors.append(_without_links(source, target, record_id))
                continue
            shown, after = _page_of(list(links), target, said.get("after") if paged else None, size)
            result: dict[str, Any] = {"from": {"id": record_id}, "to": write(shown, links)}
            if after is not None:
                link = (
                    f"{self.portal.origin}/crm/v4/objects/{source.type_id}/{record_id}"
                    f"/associations/{target.type_id}?after={after}"
                )
                result["paging"] = {"next": {"after": after, "link": link}}
            results.append(result)
        return batch_answer(results, errors, started, self.portal.now(), 200)


def read_inputs(body: Mapping[str, Any], most: int) -> dict[str, Mapping[str, Any]]:
    """The inputs of a batch by id, each once; 400 if there are too many. The texts are ours."""
    inputs = batch_inputs(body, most)
    if not all("id" in one for one in inputs):
        refuse(400, "Invalid input JSON: inputs must be a list of objects with an id", "VALIDATION_ERROR")
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


def label_json(one: LinkType) -> dict[str, Any]:
    """A type of link as answers show it."""
    return {"category": one.category, "typeId": one.type_id, "label": one.label}


def _as_row(field: str) -> Callable[[Any], Sequence[str]]:
    def read(row: Any) -> tuple[str, ...]:
        value = getattr(row, field)
        return value if isinstance(value, tuple) else () if value is None else (value,)

    return read
