"""What can be written to Close, and what it costs; pure."""

from __future__ import annotations

from collections.abc import Sequence

from crmkit.connectors.close.learnt import Learnt
from crmkit.connectors.writing import Act, Budget, Change, Keys, Writing
from crmkit.model import Kind

# The documentation's example of a key's limit. Real keys were seen with 40, and three keys
# of one organization may use three times as much.
# Source: https://developer.close.com/api/overview/rate-limits
PER_SECOND = 20.0
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
