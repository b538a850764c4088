"""Lists that page by offset: people, pipelines with their stages, comments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, command
from crmkit.errors import BadAnswer, IncompleteRead

READINGS = 3
Pairs: TypeAlias = tuple[tuple[str, object], ...]


def paged(portal: Portal, method: str, lists: Mapping[str, Pairs], id_field: str) -> dict[str, list[Any]]:
    """All rows of several lists that page by offset, each row once.

    A row that vanishes between two pages shifts the others, and one of them is on no
    page; a list that comes out short of its own total is therefore read again.

    Args:
        portal: Where to ask.
        method: The list method.
        lists: Its parameters by a key, which must not be a number.
        id_field: What tells two rows apart.

    Raises:
        IncompleteRead: A list's pages hold fewer rows than it says it has, each time.
    """
    found: dict[str, list[Any]] = {}
    left: Collection[str] = list(lists)
    for _ in range(READINGS):
        totals: dict[str, int] = {}
        rows = _read_once(portal, method, {key: lists[key] for key in left}, id_field, totals)
        found |= {key: list(by_id.values()) for key, by_id in rows.items()}
        left = [key for key in rows if len(rows[key]) < totals[key]]
        if not left:
            return {key: found[key] for key in lists}
    told = ", ".join(f"{len(found[key])} rows of {totals[key]}" for key in left)
    raise IncompleteRead(f"{portal.context.connection}: {method}: {told} came")


def _read_once(
    portal: Portal, method: str, lists: Mapping[str, Pairs], id_field: str, totals: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Rows by id; once the first page tells the total, the other pages are asked for together."""
    found: dict[str, dict[str, Any]] = {key: {} for key in lists}
    pending = {(key, 0) for key in lists}
    asked: set[tuple[str, int]] = set()
    while pending:
        asked |= pending
        names = {f"{key}_{start}": (key, start) for key, start in sorted(pending)}
        results = portal.run(
            {name: command(method, *lists[key], ("start", start)) for name, (key, start) in names.items()}
        )
        pending = set()
        for name, (key, start) in names.items():
            rows = results.values[name]
            before = len(found[key])
            found[key].update({_id(row, id_field, method): row for row in rows})
            totals[key] = max(totals.get(key, 0), _whole(results.totals.get(name)))
            pending |= {(key, begin) for begin in range(PAGE_ROWS, totals[key], PAGE_ROWS)}
            # Some lists count wrongly or not at all: `next` and a full page say that there is more.
            if len(found[key]) > before and (
                onward := _whole(results.nexts.get(name)) or (len(rows) >= PAGE_ROWS and start + PAGE_ROWS)
            ):
                pending.add((key, onward))
        pending -= asked
    return found


def users(portal: Portal, ids: Sequence[str] = ()) -> list[Any]:
    """Everybody, dismissed people too, or those with the given ids.

    Bots and people outside of the portal are not listed, so that a deal may name an owner
    who is not here.

    Source: https://apidocs.bitrix24.com/api-reference/user/user-get.html
    """
    order: Pairs = (("sort", "ID"), ("order", "ASC"))
    lists: dict[str, Pairs] = {"users": order}
    if ids:
        lists = {
            f"users{begin}": (
                *order,
                *(("FILTER[@ID][]", one) for one in ids[begin : begin + PAGE_ROWS]),
            )
            for begin in range(0, len(ids), PAGE_ROWS)
        }
    return [row for rows in paged(portal, "user.get", lists, "ID").values() for row in rows]


def pipelines(portal: Portal) -> list[tuple[Any, list[Any]]]:
    """Each pipeline with the rows of its stage directory.

    The default pipeline has the id 0 and the directory `DEAL_STAGE`; `DEAL_STAGE_0` exists
    too and is empty.

    Source: https://apidocs.bitrix24.com/api-reference/crm/universal/category/crm-category-list.html
    """
    categories = portal.run({"categories": command("crm.category.list", ("entityTypeId", 2))}).values[
        "categories"
    ]
    directories: dict[str, Pairs] = {
        f"pipeline{one['id']}": (
            ("filter[ENTITY_ID]", "DEAL_STAGE" if str(one["id"]) == "0" else f"DEAL_STAGE_{one['id']}"),
            ("order[SORT]", "ASC"),
        )
        for one in categories
    }
    stages = paged(portal, "crm.status.list", directories, "STATUS_ID")
    return [(one, stages[f"pipeline{one['id']}"]) for one in categories]


def comments_of(portal: Portal, deals: Sequence[int]) -> list[Any]:
    """The timeline comments of some deals; a deal that is gone meanwhile has none.

    Source: https://apidocs.bitrix24.com/api-reference/crm/timeline/comments/crm-timeline-comment-list.html
    """
    lists: dict[str, Pairs] = {
        f"deal{one}": (
            ("filter[ENTITY_ID]", one),
            ("filter[ENTITY_TYPE]", "deal"),
            ("order[ID]", "ASC"),
        )
        for one in deals
    }
    found = paged(portal, "crm.timeline.comment.list", lists, "ID")
    return [row for rows in found.values() for row in rows]


def _id(row: Any, id_field: str, method: str) -> str:
    try:
        return str(row[id_field])
    except (KeyError, TypeError):
        raise BadAnswer(f"{method}: a row without {id_field}") from None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
