"""Stage changes: looked up by deal, and told where each deal came from.

A row of the stage history names the stage that was reached, not the one before.

Source: https://apidocs.bitrix24.com/api-reference/crm/crm-stage-history-list.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, Command, command
from crmkit.connectors.translate import FieldError, instant
from crmkit.errors import BadAnswer, IncompleteRead

METHOD = "crm.stagehistory.list"
HISTORY_DEALS = 10
HISTORY_BLOCK = 500
LOOKED_UP = 20
REMEMBERED_DEALS = 50_000
CREATED = "1"
Row = Mapping[str, Any]


def histories(portal: Portal, deals: Sequence[str]) -> Iterator[list[Any]]:
    """Stage changes of some deals in blocks: all changes of a deal are in one block, by id."""
    for begin in range(0, len(deals), HISTORY_BLOCK):
        block = deals[begin : begin + HISTORY_BLOCK]
        after = {
            f"deals{group}": (block[group : group + HISTORY_DEALS], 0)
            for group in range(0, len(block), HISTORY_DEALS)
        }
        rows: list[Any] = []
        while after:
            results = portal.run({key: _of_deals(*one, above=True) for key, one in after.items()})
            onward: dict[str, tuple[Sequence[str], int]] = {}
            for key, (owners, last) in after.items():
                found = results.values[key]
                rows += found
                if len(found) >= PAGE_ROWS:
                    newest = _number(found[-1])
                    if newest <= last:
                        raise IncompleteRead(f"{portal.context.connection}: {METHOD}: a page repeats")
                    onward[key] = (owners, newest)
            after = onward
        yield sorted(rows, key=_number)


def changes_by_id(portal: Portal, ids: Sequence[str]) -> tuple[list[Any], dict[int, str]]:
    """The changes with the given ids, and the stage before each."""
    commands = {
        f"h{begin}": command(
            METHOD,
            ("entityTypeId", 2),
            *(("filter[@ID][]", one) for one in ids[begin : begin + PAGE_ROWS]),
            ("order[ID]", "ASC"),
            ("start", -1),
        )
        for begin in range(0, len(ids), PAGE_ROWS)
    }
    results = portal.run(commands)
    found = [row for key in commands for row in results.values[key]]
    deals = sorted({deal for row in found if (deal := str(row.get("OWNER_ID"))).isdecimal()}, key=int)
    came_from: dict[int, str] = {}
    for rows in histories(portal, deals):
        came_from |= previous_stages(rows, {})
    return found, came_from


def earlier_stages(portal: Portal, changes: Sequence[Row], known: Mapping[str, str]) -> dict[str, str]:
    """Per deal its stage before the first of some changes, where it had one.

    The change before it is looked up, unless it is the deal's creation or already known.

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
        results = portal.run({key: _of_deals(*one, above=False) for key, one in groups.items()})
        onward: dict[str, tuple[Sequence[str], int]] = {}
        for key, (owners, before) in groups.items():
            found = results.values[key]
            for row in found:
                deal = str(row.get("OWNER_ID"))
                stages[deal] = stages.get(deal) or str(row.get("STAGE_ID") or "")
            left = [deal for deal in owners if not stages[deal]]
            if left and len(found) >= PAGE_ROWS and _number(found[-1]) < before:
                onward[key] = (left, _number(found[-1]))
        groups = onward
    return {deal: stage for deal, stage in stages.items() if stage}


def previous_stages(rows: Sequence[Row], before: Mapping[str, str]) -> dict[int, str]:
    """The stage before each change, by the change's id.

    Args:
        rows: Changes in order of id.
        before: Per deal, its stage before the first of these changes, if it had one.
    """
    stages = dict(before)
    came_from: dict[int, str] = {}
    for row in rows:
        deal, stage = str(row.get("OWNER_ID")), row.get("STAGE_ID")
        if deal in stages:
            came_from[_number(row)] = stages[deal]
        if stage:
            stages[deal] = str(stage)
    return came_from


def latest_stages(rows: Sequence[Row], before: Mapping[str, str]) -> dict[str, str]:
    """Per deal its stage after the last of some changes; the longest known are forgotten."""
    stages = dict(before)
    for row in rows:
        deal = str(row.get("OWNER_ID"))
        stages.pop(deal, None)
        stages[deal] = str(row.get("STAGE_ID") or "")
    surplus = len(stages) - REMEMBERED_DEALS
    for deal in list(stages)[: max(0, surplus)]:
        del stages[deal]
    return stages


def settled_up_to(changes: Sequence[Row], before: datetime) -> int:
    """The highest id up to which no change will turn up any more; 0 if none is old enough."""
    for change in reversed(changes):
        try:
            at = instant(change.get("CREATED_TIME"), "CREATED_TIME")
        except FieldError:
            continue
        if at is not None and at < before:
            return _number(change)
    return 0


def _of_deals(deals: Sequence[str], edge: int, *, above: bool) -> Command:
    return command(
        METHOD,
        ("entityTypeId", 2),
        *(("filter[@OWNER_ID][]", one) for one in deals),
        ("filter[>ID]" if above else "filter[<ID]", edge),
        ("order[ID]", "ASC" if above else "DESC"),
        ("start", -1),
    )


def _number(row: Row) -> int:
    try:
        return int(row["ID"])
    except (KeyError, TypeError, ValueError):
        raise BadAnswer(f"{METHOD}: a row without ID") from None
