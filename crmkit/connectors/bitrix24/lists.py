"""Lists that are not walked by id: people, pipelines, comments, and the past of a deal's stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from crmkit.connectors.bitrix24.batch import PAGE_ROWS, Command, Portal, command
from crmkit.connectors.bitrix24.walks import rows_of
from crmkit.errors import BadAnswer, IncompleteRead

HISTORY_DEALS = 10
HISTORY_BLOCK = 500
LOOKED_UP = 20
CREATED = "1"
T = TypeVar("T")
Pairs = tuple[tuple[str, object], ...]


def paged(portal: Portal, method: str, lists: Mapping[str, Pairs], id_field: str) -> dict[str, list[Any]]:
    """All rows of several lists that page by offset, each row once.

    Once the first page tells the total, the other pages are asked for together.

    Args:
        portal: Where to ask.
        method: The list method.
        lists: Its parameters by a key, which must not be a number.
        id_field: What tells two rows apart.

    Raises:
        IncompleteRead: A list's pages hold fewer rows than it says it has.
    """
    found: dict[str, dict[str, Any]] = {key: {} for key in lists}
    totals: dict[str, int] = {}
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
            rows = rows_of(results.values[name], method)
            before = len(found[key])
            found[key].update({_id(row, id_field, method): row for row in rows})
            totals[key] = max(totals.get(key, 0), _whole(results.totals.get(name)))
            begins = range(PAGE_ROWS, totals[key], PAGE_ROWS)
            pending |= {(key, begin) for begin in begins}
            if not totals[key] and len(rows) >= PAGE_ROWS and len(found[key]) > before:
                pending.add((key, start + PAGE_ROWS))
        pending -= asked
    for key, rows_by_id in found.items():
        if len(rows_by_id) < totals.get(key, 0):
            raise IncompleteRead(
                f"{portal.context.connection}: {method}: {len(rows_by_id)} rows of {totals[key]} came"
            )
    return {key: list(rows_by_id.values()) for key, rows_by_id in found.items()}


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
    told = portal.run({"categories": command("crm.category.list", ("entityTypeId", 2))}).values["categories"]
    categories = told.get("categories") if isinstance(told, dict) else told
    if isinstance(categories, dict):
        categories = list(categories.values())
    if not isinstance(categories, list) or not all(isinstance(one, dict) for one in categories):
        raise BadAnswer(f"{portal.context.connection}: crm.category.list: the result is not a list")
    directories: dict[str, Pairs] = {
        f"pipeline{one['id']}": (
            ("filter[ENTITY_ID]", "DEAL_STAGE" if str(one["id"]) == "0" else f"DEAL_STAGE_{one['id']}"),
            ("order[SORT]", "ASC"),
        )
        for one in categories
    }
    stages = paged(portal, "crm.status.list", directories, "STATUS_ID") if directories else {}
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


def histories(portal: Portal, deals: Sequence[str]) -> Iterator[list[Any]]:
    """Stage changes of some deals in blocks: all changes of a deal are in one block, by id.

    Source: https://apidocs.bitrix24.com/api-reference/crm/crm-stage-history-list.html
    """
    for begin in range(0, len(deals), HISTORY_BLOCK):
        block = deals[begin : begin + HISTORY_BLOCK]
        after = {
            f"deals{group}": (block[group : group + HISTORY_DEALS], 0)
            for group in range(0, len(block), HISTORY_DEALS)
        }
        rows: list[Any] = []
        while after:
            results = portal.run({key: _changes(*one, above=True) for key, one in after.items()})
            onward: dict[str, tuple[Sequence[str], int]] = {}
            for key, (owners, last) in after.items():
                found = rows_of(results.values[key], "crm.stagehistory.list")
                rows += found
                if len(found) >= PAGE_ROWS:
                    newest = _number(found[-1])
                    if newest <= last:
                        raise IncompleteRead(
                            f"{portal.context.connection}: crm.stagehistory.list: a page repeats"
                        )
                    onward[key] = (owners, newest)
            after = onward
        yield sorted(rows, key=_number)


def earlier_stages(
    portal: Portal, changes: Sequence[Mapping[str, Any]], known: Mapping[str, str]
) -> dict[str, str]:
    """Per deal its stage before the first of some changes, where it had one.

    A change does not say where the deal came from, so the change before it is looked up,
    unless it is the deal's creation or already known.

    Args:
        portal: Where to ask.
        changes: Consecutive changes, by id.
        known: Stages that are known already.
    """
    stages: dict[str, str] = {}
    unknown: list[str] = []
    for change in changes:
        deal = str(change.get("OWNER_ID"))
        if deal in stages:
            continue
        stages[deal] = known.get(deal, "")
        if not stages[deal] and str(change.get("TYPE_ID")) != CREATED and deal.isdecimal():
            unknown.append(deal)
    groups: dict[str, tuple[Sequence[str], int]] = {
        f"deals{begin}": (unknown[begin : begin + LOOKED_UP], _number(changes[0]))
        for begin in range(0, len(unknown), LOOKED_UP)
    }
    while groups:
        results = portal.run({key: _changes(*one, above=False) for key, one in groups.items()})
        onward: dict[str, tuple[Sequence[str], int]] = {}
        for key, (owners, before) in groups.items():
            found = rows_of(results.values[key], "crm.stagehistory.list")
            for row in found:
                stages[str(row["OWNER_ID"])] = stages.get(str(row["OWNER_ID"])) or str(row["STAGE_ID"])
            left = [deal for deal in owners if not stages[deal]]
            if left and len(found) >= PAGE_ROWS and _number(found[-1]) < before:
                onward[key] = (left, _number(found[-1]))
        groups = onward
    return {deal: stage for deal, stage in stages.items() if stage}


def grouped(values: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    """Values by a key, in order."""
    groups: dict[str, list[T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _changes(deals: Sequence[str], edge: int, *, above: bool) -> Command:
    return command(
        "crm.stagehistory.list",
        ("entityTypeId", 2),
        *(("filter[@OWNER_ID][]", one) for one in deals),
        ("filter[>ID]" if above else "filter[<ID]", edge),
        ("order[ID]", "ASC" if above else "DESC"),
        ("start", -1),
    )


def _number(row: Any) -> int:
    try:
        return int(row["ID"])
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("crm.stagehistory.list: a row without ID") from None


def _id(row: Any, id_field: str, method: str) -> str:
    try:
        return str(row[id_field])
    except (KeyError, TypeError):
        raise BadAnswer(f"{method}: a row without {id_field}") from None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
