"""Records by our key: by origin pair, or by the marker line of a comment.

The portal neither promises that an origin pair is unique nor compares texts case by case,
so what comes back is checked against the key.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, Command, command
from crmkit.connectors.bitrix24.encoding import Unwritable, key_pair
from crmkit.connectors.bitrix24.getting import ENTITY_TYPES
from crmkit.connectors.bitrix24.lists import comments_of
from crmkit.connectors.bitrix24.values import key_of
from crmkit.connectors.writing import Lookup
from crmkit.errors import BadAnswer, Unsupported
from crmkit.model import Kind, Ref

_BREAKS = re.compile(r"\r\n|\r|\n|<br\s*/?>|\[br\]", re.IGNORECASE)


def find(portal: Portal, context: Context, lookups: Sequence[Lookup]) -> dict[str, list[Ref]]:
    """Live records that carry the keys, lowest id first; 2,500 keys of one source a request.

    Raises:
        Unsupported: A note is looked for without its deal, or a kind carries no key.
    """
    by_kind: dict[Kind, list[Lookup]] = {}
    for lookup in lookups:
        by_kind.setdefault(lookup.kind, []).append(lookup)
    notes = by_kind.pop(Kind.NOTE, [])
    wrong = [kind for kind in by_kind if kind not in ENTITY_TYPES and kind is not Kind.PIPELINE]
    if wrong or any(_deal_of(one) is None for one in notes):
        what = wrong[0] if wrong else "note without its deal"
        raise Unsupported(f"{context.connection}: Bitrix24 cannot find a {what} by key")
    found: dict[str, list[int]] = {}
    kinds = {lookup.key: lookup.kind for lookup in lookups}
    for kind, ones in by_kind.items():
        pairs = _by_list if kind is Kind.PIPELINE else _by_filter
        for key, native in pairs(portal, kind, [one.key for one in ones]):
            found.setdefault(key, []).append(native)
    for key, native in _by_marker(portal, notes):
        found.setdefault(key, []).append(native)
    return {
        key: [Ref(context.connection, kinds[key], str(native)) for native in sorted(set(natives))]
        for key, natives in found.items()
    }


def _by_filter(portal: Portal, kind: Kind, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
    wanted = set(keys)
    origins: dict[str, set[str]] = {}
    for key in wanted:
        try:
            pair = key_pair(key)
        except Unwritable:
            continue  # no record can carry it
        origins.setdefault(pair["originatorId"], set()).add(pair["originId"])
    pending: dict[str, tuple[str, list[str], int]] = {}
    for originator, ones in sorted(origins.items()):
        ids = sorted(ones)
        for begin in range(0, len(ids), PAGE_ROWS):
            pending[f"f{len(pending)}"] = (originator, ids[begin : begin + PAGE_ROWS], 0)
    while pending:
        results = portal.run({name: _lookup(kind, *asked) for name, asked in pending.items()})
        onward: dict[str, tuple[str, list[str], int]] = {}
        for name, (originator, ids, after) in pending.items():
            rows = results.values[name]
            natives = [_native(row) for row in rows]
            for row, native in zip(rows, natives, strict=True):
                carried = key_of(row)
                if carried is not None and carried in wanted:
                    yield carried, native
            if len(rows) >= PAGE_ROWS and max(natives) > after:
                onward[name] = (originator, ids, max(natives))
        pending = onward


def _lookup(kind: Kind, originator: str, origins: Sequence[str], after: int) -> Command:
    return command(
        "crm.item.list",
        ("entityTypeId", ENTITY_TYPES[kind]),
        ("filter[=originatorId]", originator),
        *(("filter[@originId][]", one) for one in origins),
        ("filter[>id]", after),
        ("order[id]", "ASC"),
        ("start", -1),
        *(("select[]", name) for name in ("id", "originatorId", "originId")),
    )


def _by_list(portal: Portal, kind: Kind, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Pipelines cannot be filtered, and there are only a few."""
    rows = portal.run({"pipelines": command("crm.category.list", ("entityTypeId", 2))}).values["pipelines"]
    yield from ((key, _native(row)) for row in rows if (key := key_of(row)) is not None and key in keys)


def _by_marker(portal: Portal, lookups: Sequence[Lookup]) -> Iterator[tuple[str, int]]:
    if not lookups:
        return
    deals = sorted({int(deal) for one in lookups if (deal := _deal_of(one)) is not None})
    lines = [
        (str(row.get("ENTITY_ID")), _native(row, "ID"), set(lines_of(str(row.get("COMMENT") or ""))))
        for row in comments_of(portal, deals)
    ]
    for one in lookups:
        yield from (
            (one.key, native) for deal, native, found in lines if deal == _deal_of(one) and one.key in found
        )


def lines_of(text: str) -> list[str]:
    """The lines of a comment, which may come back with other line breaks than it was sent with."""
    return [line.strip() for line in _BREAKS.split(text)]


def _deal_of(lookup: Lookup) -> str | None:
    parent = lookup.parent
    return parent.id if parent is not None and parent.kind is Kind.DEAL and parent.id.isdecimal() else None


def _native(row: Mapping[str, object], field: str = "id") -> int:
    try:
        return int(str(row[field]))
    except (KeyError, TypeError, ValueError):
        raise BadAnswer(f"a row without {field} among the records that carry a key") from None
