"""What writes and reads will cost, without any call; pure.

Source: https://developer.copper.com/introduction/requests.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crmkit.connectors.copper.bodies import primary, reads_first
from crmkit.connectors.copper.choices import Book
from crmkit.connectors.copper.dialect import BULK_PER_SECOND, PER_BULK
from crmkit.connectors.copper.keys import KEYS_PER_SEARCH
from crmkit.connectors.copper.steps import ACTIVITY_TYPES
from crmkit.connectors.copper.walks import PER_PAGE
from crmkit.connectors.copper.writes import IN_BULK, TRY_BULK_FROM
from crmkit.connectors.writing import Act, Budget, Change, Lookup
from crmkit.model import Kind


def budget(
    changes: Sequence[Change],
    book: Book,
    bulk: Mapping[tuple[Kind, Act], bool],
    calls_per_minute: int,
    *,
    fresh_reads: bool,
) -> Budget:
    """Requests of the changes in one call of `write` for each kind and act.

    An endpoint that was not tried yet counts as what is known about it. Not counted: lookups
    of records that Copper refuses, and batches sent again in parts.
    """
    groups: dict[tuple[Kind, Act], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.act), []).append(change)
    requests = bulk_requests = 0
    for key, group in groups.items():
        whole, in_bulk = _sending(key, len(group), bulk.get(key))
        requests += whole + in_bulk + _reading(group, fresh_reads)
        bulk_requests += in_bulk
    requests += _lists({kind for kind, act in groups if act is not Act.DELETE}, book)
    seconds = max(requests * 60 / calls_per_minute, bulk_requests / BULK_PER_SECOND)
    return Budget(requests, seconds, requests)


def _sending(key: tuple[Kind, Act], count: int, known: bool | None) -> tuple[int, int]:
    """Single and bulk requests."""
    if known or (known is None and key in IN_BULK):
        full, rest = divmod(count, PER_BULK)
        # One record goes to the single endpoint.
        return (1, full) if rest == 1 else (0, full + (rest > 0))
    tried = known is None and count >= TRY_BULK_FROM and key[0] is not Kind.NOTE
    return count, int(tried and key[1] is not Act.DELETE)


def _reading(group: Sequence[Change], fresh_reads: bool) -> int:
    """Records that are read first, and the links of deals, one by one."""
    return _by_id(sum(map(reads_first, group)), fresh_reads) + sum(_links(change) for change in group)


def _by_id(records: int, fresh_reads: bool) -> int:
    """One request a record, or 200 records a search; those that it does not show yet are not counted."""
    return records if fresh_reads else -(-records // PER_PAGE)


def _links(change: Change) -> int:
    if change.kind is not Kind.DEAL or change.act is Act.DELETE:
        return 0
    contacts = change.values.get("contacts") or ()
    first = primary(contacts)
    people = len({contact.id for contact in contacts if first and contact.id != first.id})
    links = people + max(0, len(change.values.get("companies") or ()) - 1)
    return links + (links > 0 and change.act is Act.UPDATE)


def _lists(kinds: set[Kind], book: Book) -> int:
    """The account's lists, once per connection."""
    needed = 0
    if kinds & {Kind.DEAL, Kind.COMPANY, Kind.CONTACT}:
        needed += book.definitions is None
    if Kind.DEAL in kinds:
        needed += (book.loss_reasons is None) + (book.sources is None)
    return needed


def priced(requests: int, calls_per_minute: int) -> Budget:
    """Requests with the floor that the limit per minute sets."""
    return Budget(requests, requests * 60 / calls_per_minute, requests)


def get(kind: Kind, records: int, *, known: bool, fresh_reads: bool) -> int:
    """Requests of one `get`; activities cannot be searched by id."""
    if kind in (Kind.PIPELINE, Kind.OWNER):
        return whole_read(kind, records) if records else 0
    lists = 0 if known else _LISTS_OF.get(kind, 1)
    return lists + _by_id(records, fresh_reads or kind in ACTIVITY_TYPES)


def whole_read(kind: Kind, records: int) -> int:
    """Requests of a whole `read`: 200 records a page.

    Not counted are windows of time that end in a page that is not full.
    """
    if kind in (Kind.PIPELINE, Kind.OWNER):
        return max(1, -(-records // PER_PAGE)) if kind is Kind.OWNER else 1
    # A page that is just full is followed by an empty one.
    return _LISTS_OF.get(kind, 1) + (records // PER_PAGE + 1 if records else 0)


def find(kind: Kind, lookups: Sequence[Lookup], existing: int) -> int:
    """Requests of one `find`: 200 tags a search; notes record by record, or all of them."""
    if kind is not Kind.NOTE:
        return -(-len({one.key for one in lookups}) // KEYS_PER_SEARCH)
    placed = {one.parent for one in lookups if one.parent and one.parent.kind in (Kind.DEAL, Kind.COMPANY)}
    everywhere = any(one.parent is None or one.parent not in placed for one in lookups)
    return len(placed) + (existing // PER_PAGE + 1 if everywhere else 0)


# Custom fields, loss reasons and sources; pipelines for stage changes; the clock for notes.
_LISTS_OF = {Kind.DEAL: 3}
