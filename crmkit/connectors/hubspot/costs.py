"""What writing and reading will cost against HubSpot's limits. Pure: no calls, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crmkit.connectors.hubspot.bodies import DERIVED, LINKS
from crmkit.connectors.hubspot.calls import (
    BATCH_LIMIT,
    HISTORY_BATCH_LIMIT,
    HISTORY_LIMIT,
    LINKS_LIMIT,
    LIST_LIMIT,
)
from crmkit.connectors.hubspot.posts import LINK_CREATE_LIMIT, LINK_REMOVE_LIMIT
from crmkit.connectors.hubspot.schema import WIRES
from crmkit.connectors.writing import Act, Budget, Change, Lookup
from crmkit.model import Kind


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of a portal so far.

    Attributes:
        account: Whether its zone and currencies were.
        schema: Whether what translating the kind needs was.
        in_flight: How many ranges a whole read walks side by side.
    """

    account: bool = False
    schema: bool = False
    in_flight: int = 1


def budget(changes: Sequence[Change], calls: float, seconds: float) -> Budget:
    """Requests, and the floor in seconds of a rolling window whose first burst is free.

    New records carry their links. To change the links of records that exist, the current
    ones are read first: one call per 1,000 records and linked type, then one to add and
    one to remove; the latter two are counted as if every link changed.
    """
    groups: dict[tuple[Kind, Act], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.act), []).append(change)
    requests = sum(_requests(kind, act, group) for (kind, act), group in groups.items())
    return priced(requests, calls, seconds)


def priced(requests: int, calls: float, seconds: float) -> Budget:
    """Requests with the floor of a rolling window whose first burst is free."""
    floor = max(0, requests - 1) // max(1, int(calls)) * seconds
    return Budget(requests, floor, requests)


def get(kind: Kind, records: int, known: Known) -> int:
    """Requests of one `get`: 100 records a call, and one call for the links of 1,000."""
    if kind in (Kind.PIPELINE, Kind.OWNER):
        return whole_read(kind, records, known) if records else 0
    lists = 0 if known.schema else _lists(kind, known)
    wire = WIRES[kind]
    size = HISTORY_BATCH_LIMIT if wire.history else BATCH_LIMIT
    return lists + _calls(records, size) + len(wire.links) * _calls(records, LINKS_LIMIT)


def whole_read(kind: Kind, records: int, known: Known) -> int:
    """Requests of a whole `read`: a page of 100 with its links, and the archived ones at the end.

    Ranges are walked side by side, and each may end in a page that is not full. Not counted
    are the pages of archived records after their first, and calls for more links or
    properties than a list shows.
    """
    if kind is Kind.PIPELINE:
        return 1 if records else 0
    if kind is Kind.OWNER:
        return 1 + max(1, _calls(records, LIST_LIMIT)) if records else 0
    lists = _lists(kind, known)  # read anew each time
    if not records:
        return lists
    pages = _calls(records, HISTORY_LIMIT if WIRES[kind].history else LIST_LIMIT)
    ranges = min(known.in_flight, (pages - 1) // 4) if pages > 1 else 0
    archived = int(kind is not Kind.STAGE_CHANGE)
    # The highest id is asked for once there is a second page.
    return lists + pages + (1 + max(0, ranges - 1) if pages > 1 else 0) + archived


def find(kind: Kind, lookups: Sequence[Lookup]) -> int:
    """Requests of one `find`: 100 keys a call; notes by the links and texts of their parents."""
    if kind is not Kind.NOTE:
        return _calls(len({one.key for one in lookups}), BATCH_LIMIT)
    parents = {one.parent for one in lookups if one.parent is not None}
    kinds = {one.kind for one in parents}
    links = sum(_calls(sum(one.kind is each for one in parents), LINKS_LIMIT) for each in kinds)
    # How many notes a record has is not known: one.
    return links + _calls(len(parents), BATCH_LIMIT)


def _lists(kind: Kind, known: Known) -> int:
    """Properties, the account, pipelines and labels of deals, the people of a history."""
    more = {Kind.DEAL: 2, Kind.STAGE_CHANGE: 2}.get(kind, 0)
    return 1 + int(not known.account) + more


def _requests(kind: Kind, act: Act, changes: Sequence[Change]) -> int:
    if kind is Kind.PIPELINE:
        # The list of pipelines first; then one call, or one for the name and for each stage.
        return sum(2 if act is Act.CREATE else 2 + len(one.values.get("stages") or ()) for one in changes)
    if act is Act.DELETE:
        return _calls(len(changes), BATCH_LIMIT)
    if act is Act.CREATE:
        keyed = sum(1 for change in changes if change.key)
        return _calls(keyed, BATCH_LIMIT) + len(changes) - keyed
    linked = LINKS.get(kind, {})
    fields = sum(1 for change in changes if change.values.keys() - linked.keys() - DERIVED)
    return _calls(fields, BATCH_LIMIT) + sum(_link_requests(name, changes) for name in linked)


def _link_requests(name: str, changes: Sequence[Change]) -> int:
    mine = [change for change in changes if name in change.values]
    requests = 0
    for at in range(0, len(mine), LINKS_LIMIT):
        batch = mine[at : at + LINKS_LIMIT]
        pairs = sum(len(change.values[name] or ()) for change in batch)
        requests += 1 + _calls(pairs, LINK_CREATE_LIMIT) + _calls(len(batch), LINK_REMOVE_LIMIT)
    return requests


def _calls(count: int, size: int) -> int:
    return -(-count // size)
