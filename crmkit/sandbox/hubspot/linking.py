"""Makes and takes away links: in the rows where there is room, in the portal's book where there is none.

A link never moves a record's modified stamp. Source:
https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associate-records/guide
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from crmkit.sandbox.hubspot.answers import invalid, missing_fields, refuse
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.linkbook import LinkType, TypeIds
from crmkit.sandbox.hubspot.links import FIELDS, TYPES, link_types, linked
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.rows import Kind

# Only for writing: the way back of a contact's primary company (association_types.json, in the specs).
_MORE_TWINS = {2: 1}


class Link(NamedTuple):
    """A link in the direction in which rows keep theirs, with type ids of that direction."""

    pair: tuple[str, str]
    source_id: str
    target_id: str
    types: TypeIds


def read_types(portal: Portal, source: ObjectType, target: ObjectType, said: Any) -> TypeIds:
    """The type ids of a link as they were sent; 400 for those that this direction does not have."""
    if not isinstance(said, list) or not said:
        missing_fields("types")
    known = {one.type_id: one.category for one in link_types(portal, source, target)}
    if (source.singular, target.singular) == ("company", "contact"):
        known[2] = "HUBSPOT_DEFINED"
    found = set()
    for one in said:
        if not isinstance(one, dict) or "associationTypeId" not in one or "associationCategory" not in one:
            missing_fields("associationCategory", "associationTypeId")
        type_id, category = one["associationTypeId"], one["associationCategory"]
        if not str(type_id).isdigit() or known.get(int(type_id)) != category:
            invalid(
                f"Invalid association type: {category} {type_id} does not link {source.type_id} "
                f"to {target.type_id}"
            )
        found.add(int(type_id))
    return frozenset(found)


def in_order(
    portal: Portal, source: ObjectType, source_id: str, target: ObjectType, target_id: str, types: TypeIds
) -> Link:
    """The link in the direction of the rows, whichever end it was named from."""
    pair = source.singular, target.singular
    if pair in FIELDS:
        return Link(pair, source_id, target_id, types)
    back = pair[1], pair[0]
    if back not in FIELDS:
        invalid(f"No association types between {source.type_id} and {target.type_id}")
    own = zip(TYPES[pair], TYPES[back], strict=False)
    twins = {one.type_id: twin.type_id for one, twin in own} | portal.book.twins | _MORE_TWINS
    return Link(back, target_id, source_id, frozenset(twins[one] for one in types))


def check_ends(
    portal: Portal, source: ObjectType, source_id: str, target: ObjectType, target_id: str
) -> None:
    """End the call with 404 unless both records exist. The text is ours."""
    for one_type, record_id in ((source, source_id), (target, target_id)):
        if record_id not in portal.table(one_type):
            refuse(
                404,
                f"Could not associate: no {one_type.singular.upper()} with id {record_id} exists",
                "OBJECT_NOT_FOUND",
            )


def check_cap(portal: Portal, source: ObjectType, source_id: str, target: ObjectType, target_id: str) -> None:
    """End the call with 400 if the portal allows a record of the source type no more links."""
    caps = portal.settings.extra.get("association_limits", {})
    cap = caps.get(f"{source.singular}_to_{target.singular}")
    if cap is None or source_id not in portal.table(source):
        return
    known = linked(portal, source, target)(portal.table(source)[source_id])
    if target_id not in known and len(known) >= cap:
        invalid(f"{source.singular} {source_id} may be associated with at most {cap} {target.plural}")


def add(portal: Portal, link: Link, *, replace: bool = False) -> None:
    """Link two records, or change the types of their link: add to its labels, or replace them all."""
    pair, source_id, target_id, types = link
    book = portal.book
    plain, primary = _base(pair)
    known = book.from_source(pair, source_id).get(target_id, frozenset())
    labels = types - {plain, primary} if replace else (known | types) - {plain, primary}
    held = _held(portal, pair, source_id)
    in_row = target_id in held
    if primary is None:
        fits = in_row or pair == ("deal", "contact") or not held
    else:
        fits = primary in types or (in_row and not replace)
    if not fits:
        if in_row:
            _hold(portal, pair, source_id, ())
        book.put(pair, source_id, target_id, labels | {plain})
        return
    book.put(pair, source_id, target_id, labels)
    if in_row:
        return
    if primary is not None and held:  # only one can be the primary one; the former stays linked
        former = book.from_source(pair, source_id).get(held[0], frozenset())
        book.put(pair, source_id, held[0], former | {plain})
    _hold(portal, pair, source_id, (*held, target_id) if pair == ("deal", "contact") else (target_id,))


def fold(
    one_type: ObjectType, fields: dict[str, Any], links: Iterable[tuple[ObjectType, str, TypeIds]]
) -> list[tuple[ObjectType, str, TypeIds]]:
    """Put links into the fields of a row to be made, as far as it has room; gives the links that are left.

    The same as `add` afterwards, at half the cost.
    """
    left = []
    for target, target_id, types in links:
        pair = one_type.singular, target.singular
        name = FIELDS.get(pair)
        plain, primary = _base(pair) if name else (0, None)
        fits = name is not None and not types - {plain, primary} and (primary is None or primary in types)
        if name == "contact_ids" and fits:
            fields[name] = tuple(dict.fromkeys((*fields.get(name, ()), target_id)))
        elif name is not None and fits and fields.get(name) is None:
            fields[name] = target_id
        else:
            left.append((target, target_id, types))
    return left


def remove(portal: Portal, link: Link) -> None:
    """Take a link away with all its labels; a link that is not there is no error."""
    pair, source_id, target_id, _ = link
    portal.book.put(pair, source_id, target_id, frozenset())
    held = _held(portal, pair, source_id)
    if target_id in held:
        _hold(portal, pair, source_id, tuple(one for one in held if one != target_id))


def remove_labels(portal: Portal, link: Link) -> None:
    """Take labels off a link; without the unlabelled type there is no link."""
    pair, source_id, target_id, types = link
    plain, primary = _base(pair)
    if plain in types:
        remove(portal, link)
        return
    known = portal.book.from_source(pair, source_id).get(target_id, frozenset())
    if primary in types and target_id in _held(portal, pair, source_id):
        _hold(portal, pair, source_id, ())
        known |= {plain}
    portal.book.put(pair, source_id, target_id, known - types)


def label_names(portal: Portal, source: ObjectType, target: ObjectType, types: Iterable[int]) -> list[str]:
    """The labels of these types, as a link's answer tells them."""
    known: dict[int, LinkType] = {one.type_id: one for one in link_types(portal, source, target)}
    return [label for one in sorted(types) if one in known and (label := known[one].label) is not None]


def _base(pair: tuple[str, str]) -> tuple[int, int | None]:
    own = TYPES[pair]
    return own[0].type_id, own[1].type_id if len(own) > 1 else None


def _held(portal: Portal, pair: tuple[str, str], source_id: str) -> tuple[str, ...]:
    row = portal.world.live.tables[cast("Kind", pair[0])].get(source_id)
    value = getattr(row, FIELDS[pair], None)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _hold(portal: Portal, pair: tuple[str, str], source_id: str, ids: tuple[str, ...]) -> None:
    value: Any = ids if pair == ("deal", "contact") else ids[0] if ids else None
    portal.world.edit(cast("Kind", pair[0]), source_id, touch=False, **{FIELDS[pair]: value})
