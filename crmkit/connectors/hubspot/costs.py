"""What writing will cost against HubSpot's limits. Pure: no calls, no clock."""

from __future__ import annotations

from collections.abc import Sequence

from crmkit.connectors.hubspot.bodies import DERIVED, LINKS
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, LINKS_LIMIT
from crmkit.connectors.hubspot.posts import LINK_CREATE_LIMIT, LINK_REMOVE_LIMIT
from crmkit.connectors.writing import Act, Budget, Change
from crmkit.model import Kind


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
    floor = max(0, requests - 1) // max(1, int(calls)) * seconds
    return Budget(requests, floor, requests)


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
