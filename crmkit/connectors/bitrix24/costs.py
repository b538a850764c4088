"""What writing and reading will cost, told without any call, and what can be written at all.

Source: https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from crmkit.connectors.bitrix24.commands import COMMANDS, PAGE_ROWS
from crmkit.connectors.bitrix24.encoding import Unwritable, key_pair
from crmkit.connectors.bitrix24.getting import ENTITY_TYPES
from crmkit.connectors.bitrix24.multifields import TYPES
from crmkit.connectors.bitrix24.sender import PILOT
from crmkit.connectors.bitrix24.steps import IMPORT, method_of, slices
from crmkit.connectors.writing import Act, Budget, Change, Keys, Lookup, Writing
from crmkit.model import Kind

# Observed on live portals: 0.3 s a record at the least, up to 1.8 s (contract, section 14).
WORK_SECONDS_PER_RECORD = 0.3
WORK_WINDOW_SECONDS = 600.0
# A page of 50 in a list of many fields takes 0.2 to 0.4 s (contract, section 14).
WORK_SECONDS_PER_PAGE = 0.3

_EVERY_ACT = frozenset(Act)
_CHUNK = 10 * COMMANDS
WRITING: Mapping[Kind, Writing] = {
    Kind.DEAL: Writing(
        _EVERY_ACT,
        frozenset(
            {
                "name", "pipeline_id", "stage_id", "amount", "currency", "probability", "owner_id",
                "companies", "contacts", "expected_close", "source", "custom",
            }
        ),
        # Only an import sets times; it starts no automation, and needs an administrator.
        create_fields=frozenset({"created_at", "closed_at"}),
        required=frozenset({"name"}),
        keys=Keys.SEARCHABLE,
        answers_record=True,
        chunk=_CHUNK,
    ),
    Kind.COMPANY: Writing(
        _EVERY_ACT,
        frozenset({"name", "domain", "phones", "owner_id", "custom"}),
        create_fields=frozenset({"created_at"}),
        required=frozenset({"name"}),
        keys=Keys.SEARCHABLE,
        chunk=_CHUNK,
    ),
    Kind.CONTACT: Writing(
        _EVERY_ACT,
        frozenset({"name", "first_name", "last_name", "emails", "phones", "companies", "owner_id", "custom"}),
        create_fields=frozenset({"created_at"}),
        keys=Keys.SEARCHABLE,
        chunk=_CHUNK,
    ),
    Kind.NOTE: Writing(
        frozenset({Act.CREATE, Act.DELETE}),
        frozenset({"text", "deal_id"}),
        required=frozenset({"text", "deal_id"}),
        keys=Keys.SEARCHABLE,
        chunk=_CHUNK,
    ),
    Kind.PIPELINE: Writing(
        _EVERY_ACT,
        frozenset({"name", "stages"}),
        required=frozenset({"name"}),
        keys=Keys.SEARCHABLE,
        answers_record=True,
        chunk=PILOT,
    ),
}  # fmt: skip


def budget(
    changes: Sequence[Change],
    *,
    described: Callable[[Kind], bool],
    proven: Callable[[str], bool],
    enterprise: bool,
    work_limit_seconds: float,
) -> Budget:
    """Requests on a quick portal, and the seconds that its limits ask for at the least.

    `units` are seconds of execution, of which a method may use `work_limit_seconds` in ten
    minutes. A slow portal takes fewer records a request, so more requests.

    Args:
        changes: What is to be written.
        described: Whether the fields of a kind are known already.
        proven: Whether it is known how many records of a method fit in one request.
        enterprise: Whether the portal has the higher rate limit.
        work_limit_seconds: The work limit of a method; 0 for none.
    """
    groups: dict[tuple[Kind, str], list[Change]] = {}
    for change in changes:
        method = change.act if change.kind is Kind.PIPELINE else method_of(change)
        groups.setdefault((change.kind, method), []).append(change)
    kinds = {kind for kind, _ in groups if kind not in (Kind.PIPELINE, Kind.NOTE) and not described(kind)}
    requests = len(kinds)
    work = 0.0
    for (kind, method), ones in groups.items():
        if kind is Kind.PIPELINE:
            requests += sum(_pipeline_requests(ones[at : at + PILOT]) for at in range(0, len(ones), PILOT))
            continue
        parts = slices(ones, COMMANDS, proven=proven(method))
        requests += sum(1 + _extra_rounds(part, method) for part in parts)
        seconds = len(ones) * WORK_SECONDS_PER_RECORD
        work = max(work, seconds)
    units = math.ceil(len(changes) * WORK_SECONDS_PER_RECORD)
    floor = _floor(requests, work, enterprise=enterprise, work_limit_seconds=work_limit_seconds)
    return Budget(requests, floor, units)


def _floor(requests: int, work: float, *, enterprise: bool, work_limit_seconds: float) -> float:
    """Seconds that the rate and the work of one method take at the least."""
    burst, per_second = (250, 5) if enterprise else (50, 2)
    rate_floor = max(0.0, (requests - burst) / per_second)
    windows = max(0.0, work / work_limit_seconds - 1) if work_limit_seconds else 0.0
    return max(rate_floor, windows * WORK_WINDOW_SECONDS)


def priced(commands: int, *, split: int = 1, enterprise: bool, work_limit_seconds: float) -> Budget:
    """Commands in as few requests as they fit in, on a quick portal.

    Args:
        commands: Pages to ask for, mostly.
        split: In how many ranges they are asked for, each of which ends in a request that may
            not be full.
        enterprise: Whether the portal has the higher rate limit.
        work_limit_seconds: The work limit of a method; 0 for none.
    """
    requests = -(-commands // COMMANDS)
    # The first one asks for the edges of the ranges.
    requests += max(0, min(split, requests - 1) - 1)
    work = commands * WORK_SECONDS_PER_PAGE
    floor = _floor(requests, work, enterprise=enterprise, work_limit_seconds=work_limit_seconds)
    return Budget(requests, floor, math.ceil(work))


def get(kind: Kind, records: int) -> int:
    """Commands of one `get`: 50 records a page, and the fields; comments one by one."""
    if not records:
        return 0
    if kind is Kind.NOTE:
        return records
    return -(-records // PAGE_ROWS) + int(kind in ENTITY_TYPES)


def whole_read(kind: Kind, records: int) -> int:
    """Commands of a whole `read`: 50 records a page, after a request of its own for the edges.

    The comments of each deal are a list of their own, so that for notes `records` should be
    the number of deals.
    """
    if not records:
        return 0
    if kind is Kind.PIPELINE:
        return 1 + records
    if kind is Kind.OWNER:
        return -(-records // PAGE_ROWS)
    pages = records if kind is Kind.NOTE else -(-records // PAGE_ROWS)
    return COMMANDS + pages


def find(kind: Kind, lookups: Sequence[Lookup]) -> int:
    """Commands of one `find`: 50 keys of one source a page; the comments of each deal."""
    if kind is Kind.PIPELINE:
        return int(bool(lookups))
    if kind is Kind.NOTE:
        return len({one.parent for one in lookups if one.parent is not None})
    sources: dict[str, set[str]] = {}
    for one in lookups:
        try:
            pair = key_pair(one.key)
        except Unwritable:
            continue  # not asked for
        sources.setdefault(pair["originatorId"], set()).add(pair["originId"])
    return sum(-(-len(ones) // PAGE_ROWS) for ones in sources.values())


def _extra_rounds(part: Sequence[Change], method: str) -> int:
    """Reads before an edit of phones, reads after an import, calls that empty a set of links."""
    updates = [one for one in part if one.act is Act.UPDATE and one.kind is not Kind.NOTE]
    multi = any(
        name in one.values for one in updates for name in TYPES if one.kind in (Kind.COMPANY, Kind.CONTACT)
    )
    emptying = any(one.values.get(name, True) in ((), None) for one in updates for name in _links(one.kind))
    return int(multi) + (2 if emptying else 0) + int(method == IMPORT)


def _links(kind: Kind) -> tuple[str, ...]:
    return {Kind.DEAL: ("contacts",), Kind.CONTACT: ("companies",)}.get(kind, ())


def _pipeline_requests(part: Sequence[Change]) -> int:
    shaped = [one for one in part if one.values.get("stages")]
    named = any(one.act is not Act.UPDATE or "name" in one.values for one in part)
    # The directories before and after, the list of pipelines, and the edits of each.
    return int(named) + (3 + len(shaped) if shaped else 0)
