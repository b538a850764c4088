"""What can be written to Close, and what writing and reading cost; pure."""

from __future__ import annotations

from collections.abc import Sequence

from crmkit.connectors.close import walks
from crmkit.connectors.close.learnt import Learnt
from crmkit.connectors.writing import Act, Budget, Change, Keys, Lookup, Writing
from crmkit.model import Kind

# The documentation's example of a key's limit. Real keys were seen with 40, and three keys
# of one organization may use three times as much.
# Source: https://developer.close.com/api/overview/rate-limits
PER_SECOND = 20.0
RECHECKED_AT_ONCE = 20
_CHUNK = 100  # a request each: so many keep the pipe full
_EVERY_ACT = frozenset(Act)

WRITING = {
    Kind.DEAL: Writing(
        _EVERY_ACT,
        # `currency` says what the amount is in: another one than the organization's is refused.
        # `closed_at` is written for won deals only.
        frozenset(
            {
                "name", "pipeline_id", "stage_id", "amount", "currency", "value_period", "probability",
                "owner_id", "contacts", "expected_close", "closed_at", "custom",
            }
        ),
        frozenset({"companies", "created_at"}),
        frozenset({"companies"}),
        Keys.SEARCHABLE,
        answers_record=True,
        chunk=_CHUNK,
    ),
    Kind.COMPANY: Writing(
        _EVERY_ACT,
        frozenset({"name", "domain", "city", "country", "postcode", "custom"}),
        required=frozenset({"name"}),
        keys=Keys.SEARCHABLE,
        answers_record=True,
        chunk=_CHUNK,
    ),
    Kind.CONTACT: Writing(
        _EVERY_ACT,
        frozenset({"name", "emails", "phones", "custom"}),
        frozenset({"companies"}),
        frozenset({"companies"}),
        Keys.SEARCHABLE,
        answers_record=True,
        chunk=_CHUNK,
    ),
    Kind.NOTE: Writing(
        frozenset({Act.CREATE, Act.DELETE}),
        create_fields=frozenset({"text", "deal_id", "company_id", "author_id", "at"}),
        required=frozenset({"text"}),
        keys=Keys.SEARCHABLE,
        chunk=_CHUNK,
    ),
    Kind.PIPELINE: Writing(
        frozenset({Act.CREATE, Act.UPDATE}), frozenset({"name", "stages"}), required=frozenset({"name"})
    ),
}  # fmt: skip
_ADDRESS = frozenset({"city", "country", "postcode"})
_LISTS = frozenset({"emails", "phones"})


def budget(changes: Sequence[Change], learnt: Learnt) -> Budget:
    """One request per change, and those that have to look first.

    Changes of addresses, e-mails and phones read the record, as these are replaced as a
    whole; a deleted company is read for what would go with it; a note that names only its
    deal asks for the deal's lead. There is no daily quota.
    """
    requests = sum(_cost(change) for change in changes)
    kinds = {change.kind for change in changes if change.act is not Act.DELETE}
    requests += sum(
        kind in (Kind.DEAL, Kind.COMPANY, Kind.CONTACT) and not learnt.knows(kind) for kind in kinds
    )
    values = [change.values for change in changes if change.kind is Kind.DEAL]
    if learnt.currency is None and any(one.get("currency") for one in values):
        requests += 2
    requests += any(one.get("closed_at") and one.get("stage_id") for one in values)
    deals = {
        change.values["deal_id"]
        for change in changes
        if change.kind is Kind.NOTE and change.values.get("deal_id") and not change.values.get("company_id")
    }
    if deals and Kind.DEAL not in kinds and not learnt.knows(Kind.DEAL):
        requests += 1
    requests += len(deals)
    return Budget(requests, requests / PER_SECOND, 0)


def _cost(change: Change) -> int:
    names = change.values.keys()
    if change.kind is Kind.PIPELINE:
        stages = len(change.values.get("stages") or ())
        # Statuses of a new pipeline go along; later each new or renamed one is a call, and the order one.
        return 1 if change.act is Act.CREATE else 2 + (stages + 1 if stages else 0)
    if change.act is Act.DELETE:
        return 2 if change.kind is Kind.COMPANY else 1
    if change.act is Act.UPDATE:
        reads = (
            (change.kind is Kind.COMPANY and not names.isdisjoint(_ADDRESS))
            or (change.kind is Kind.CONTACT and not names.isdisjoint(_LISTS))
            or (change.kind is Kind.DEAL and _asks_outcome(change))
        )
        return 2 if reads else 1
    return 1


def _asks_outcome(change: Change) -> bool:
    values = change.values
    closed = values.get("closed_at") is not None
    return closed and not values.get("stage_id") and values.get("outcome") is None


_FIELDED = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
_FEW_LEADS = 20  # as `keys.Keys` decides


def priced(requests: int) -> Budget:
    """Requests with the floor of the documented rate; there is no daily quota."""
    return Budget(requests, requests / PER_SECOND, 0)


def get(kind: Kind, records: int, *, known: bool) -> int:
    """Requests of one `get`: one a record, after the custom fields."""
    if kind in (Kind.PIPELINE, Kind.OWNER):
        return whole_read(kind, records) if records else 0
    return records + int(kind in _FIELDED and not known)


def whole_read(kind: Kind, records: int) -> int:
    """Requests of a whole `read`: 250 deals, 200 leads or 100 activities a page.

    Contacts come with their leads: one each is counted, which is too much for large teams.
    Not counted are windows of time that end in a page that is not full.
    """
    if kind is Kind.PIPELINE:
        return 1
    if kind is Kind.OWNER:
        return max(1, -(-records // walks.ACTIVITIES_PER_PAGE))
    if not records:
        return 1  # the custom fields, which also tell the time
    if kind is Kind.DEAL:
        return 1 + -(-records // walks.DEALS_PER_PAGE)
    if kind in (Kind.COMPANY, Kind.CONTACT):
        fresh = walks.LEADS_PER_PAGE - walks.LEAD_OVERLAP
        # Leads that vanished meanwhile are asked of the event log, in two lists.
        return 1 + max(1, -(-(records - walks.LEAD_OVERLAP) // fresh)) + 2
    return 1 + -(-records // (walks.ACTIVITIES_PER_PAGE - 1))


def find(kind: Kind, lookups: Sequence[Lookup], existing: int, *, known: bool, in_flight: int) -> int:
    """Requests of one `find`: a list per lead, or the list of everything where that is shorter."""
    lists = int(kind in _FIELDED and not known)
    if not lookups:
        return lists
    parents = {one.parent for one in lookups if one.parent is not None}
    indirect = (
        sum(one.kind in (Kind.DEAL, Kind.CONTACT) for one in parents) if kind is not Kind.COMPANY else 0
    )
    if kind is Kind.COMPANY or any(one.parent is None for one in lookups):
        return lists + indirect + whole_read(kind, existing)
    counted = int(kind is Kind.DEAL and len(parents) > _FEW_LEADS)
    if counted and existing / walks.DEALS_PER_PAGE + in_flight < len(parents):
        return lists + indirect + counted + whole_read(kind, existing)
    return lists + indirect + counted + len(parents)
