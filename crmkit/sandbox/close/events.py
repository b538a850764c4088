"""The event log: what happened in the last 30 days, newest first, by cursor.

Source: https://developer.close.com/api/resources/events/list
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from crmkit.sandbox.close.answers import Params, missing, naive, page_of, read_moment, refuse
from crmkit.sandbox.close.records import Records, lead_of
from crmkit.sandbox.close.seed import opaque
from crmkit.sandbox.rows import Change, Company, Contact, Deal, Kind, Note
from crmkit.sandbox.world import World

Place = tuple[datetime, int]
RETENTION = timedelta(days=30)
API_KEY_ID = "api_sandbox0CloseKey"  # the name of the key, not its secret
_OBJECT_TYPES: dict[Kind, str] = {
    "deal": "opportunity",
    "company": "lead",
    "contact": "contact",
    "note": "activity.note",
}
_FILTERS = ("object_type", "object_id", "action", "lead_id", "user_id", "request_id")
_ALLOWED = [
    frozenset(allowed.split())
    for allowed in (
        "",
        "object_type object_id",
        "object_type action",
        "object_id action",
        "lead_id",
        "lead_id object_type",
        "lead_id object_type action",
        "lead_id user_id",
        "lead_id user_id object_type",
        "lead_id user_id object_type action",
        "user_id",
        "user_id object_id",
        "user_id object_id action",
        "user_id object_type",
        "user_id object_type action",
        "request_id",
    )
]
_METHODS = {"created": "POST", "updated": "PUT", "deleted": "DELETE", "merged": "POST"}


@dataclass(slots=True, order=True)
class Event:
    """Something that happened to one object, as its rows were before and after."""

    at: datetime
    number: int
    id: str = field(compare=False)
    action: str = field(compare=False)
    kind: Kind = field(compare=False)
    object_id: str = field(compare=False)
    lead_id: str | None = field(compare=False)
    user_id: str | None = field(compare=False)
    request_id: str = field(compare=False)
    before: Any = field(compare=False)
    after: Any = field(compare=False)
    meta: Mapping[str, Any] = field(compare=False, default_factory=dict)
    over_api: bool = field(compare=False, default=False)

    @property
    def object_type(self) -> str:
        """What Close calls the kind."""
        return _OBJECT_TYPES[self.kind]


class EventLog:
    """Writes down every change of a world and keeps its leads, deals and contacts together.

    Close knows no opportunity without a lead: one made without gets an untitled
    lead, and those of a deleted lead go with it.
    """

    def __init__(self, records: Records, caller: Callable[[], str]) -> None:
        self.records, self.world, self._caller = records, records.world, caller
        self.events: list[Event] = []
        self.followers: list[Callable[[Event], None]] = []
        self._rng = random.Random(f"close-events-{records.organization_id}")
        self._numbers = 0
        self._unborn: set[str] = set()
        self._unwon: dict[str, Deal] = {}
        self._muted = False
        self._from_seed(self.world)
        self.world.listeners.append(self._heard)

    # Writing

    def _from_seed(self, world: World) -> None:
        """The deals that went away, and for each that was merged a lead merged the day before.

        Close merges leads, not opportunities; whose deals were merged had two leads for one company.
        """
        for gone in world.deleted:
            self._write(gone.at, "deleted", gone.kind, gone.row, None, gone.by_user_id)
        for merged in world.merged:
            self._write(merged.at, "deleted", merged.kind, merged.row, None, None)
            winner = world.deals[merged.winner]
            lead = world.companies.get(winner.company_id or "")
            if lead is not None:
                source_id = world.new_id("company")
                self._write_merge(merged.at - timedelta(days=1), source_id, lead)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Write nothing down: what happens now follows from a change of fields or pipelines (inferred)."""
        self._muted = True
        try:
            yield
        finally:
            self._muted = False

    def _heard(self, change: Change) -> None:
        self.records.changed(change)
        if change.kind == "user" or self._muted or _only_moved(change) or self._completes(change):
            return
        world, user_id = self.world, change.by_user_id
        over_api = user_id is not None  # what people do comes without a name, and counts as the owner's
        before, after = change.before, change.after
        if change.id in self._unborn:
            self._unborn.discard(change.id)
            before = None
        before = self._unwon.pop(change.id, before)
        if after is not None:
            action = "created" if before is None else "updated"
            self._write(change.at, action, change.kind, before, after, user_id, over_api=over_api)
        elif change.kind == "company" and world.merged and world.merged[-1].loser == change.id:
            winner = world.companies[world.merged[-1].winner]
            self._write_merge(change.at, change.id, winner, user_id)
        else:
            self._write(change.at, "deleted", change.kind, before, None, user_id, over_api=over_api)
            if change.kind == "company":
                self._take_along(user_id)

    def _completes(self, change: Change) -> bool:
        """Add what Close adds to a deal by itself; the edit that does so is then the one written down."""
        before, after = change.before, change.after
        if change.kind not in {"deal", "contact"} or after is None:
            return False
        if after.company_id is None:
            if before is not None and change.id not in self._unborn:
                return True  # its lead is being deleted and takes it along
            name = "" if isinstance(after, Deal) else f"{after.first} {after.last}".strip()
            self._unborn.add(change.id)
            lead = self.world.create_company(name=name)
            self.world.edit(change.kind, change.id, touch=False, company_id=lead.id)
            return True
        if isinstance(after, Deal) and after.status == "won" and after.expected_close is None:
            if before is not None and change.id not in self._unborn:
                self._unwon.setdefault(change.id, before)
            else:
                self._unborn.add(change.id)
            self.world.edit("deal", change.id, touch=False, expected_close=change.at.date())
            return True
        return False

    def _take_along(self, user_id: str | None) -> None:
        kinds: tuple[Kind, ...] = ("deal", "contact")
        for kind in kinds:
            for row in self.world.live.group(kind, "company_id", None):
                self.world.delete(kind, row.id, by=user_id)

    def _write(
        self,
        at: datetime,
        action: str,
        kind: Kind,
        before: Any,
        after: Any,
        user_id: str | None,
        meta: Mapping[str, Any] | None = None,
        *,
        over_api: bool = False,
    ) -> None:
        row = after or before
        self._numbers += 1
        event = Event(
            at,
            self._numbers,
            f"ev_{opaque(self._rng, 22)}",
            action,
            kind,
            row.id,
            self._lead_of(kind, row),
            user_id or getattr(row, "owner_id", None) or self._caller(),
            f"req_{opaque(self._rng, 22)}",
            before,
            after,
            meta or {},
            over_api,
        )
        if not self.events or self.events[-1].at <= at:
            self.events.append(event)
        else:
            insort(self.events, event)
        for follow in self.followers:
            follow(event)

    def _write_merge(
        self, at: datetime, source_id: str, destination: Company, user_id: str | None = None
    ) -> None:
        meta = {"merge_source_lead_id": source_id, "merge_destination_lead_id": destination.id}
        self._write(at, "merged", "company", None, destination, user_id, meta)

    def _lead_of(self, kind: Kind, row: Any) -> str | None:
        if kind == "company":
            return str(row.id)
        if isinstance(row, Note):
            return lead_of(row, self.world.deals.get(row.deal_id or ""))
        lead_id: str | None = row.company_id
        return lead_id

    # Reading

    def page(self, params: Params) -> dict[str, Any]:
        """One page, newest first; cursors lead to older and newer ones."""
        _, limit = page_of(params, 50, default=50)
        wanted = {name: params[name] for name in _FILTERS if params.get(name)}
        if frozenset(wanted) not in _ALLOWED:
            raise refuse(
                "This combination of filters is not supported: " + ", ".join(sorted(wanted) or ["none"]) + "."
            )
        low, high, older_than, newer_than = self._cursor(params)
        low = max(low, self.world.clock() - RETENTION)
        found = [
            event
            for event in self.events[
                bisect_left(self.events, low, key=_at) : bisect_right(self.events, high, key=_at)
            ]
            if all(getattr(event, name) == value for name, value in wanted.items())
        ]
        if newer_than is not None:
            newer = found[bisect_right(found, newer_than, key=_place) :]
            page = newer[:limit][::-1]
            older_left, newer_left = True, len(newer) > limit
        else:
            older = found if older_than is None else found[: bisect_left(found, older_than, key=_place)]
            page = older[-limit:][::-1] if limit else []
            older_left, newer_left = len(older) > len(page), older_than is not None
        span = f"{low.isoformat()},{high.isoformat()}"
        return {
            "data": [self.show(event) for event in page],
            "cursor_next": _pack("next", page[-1], span) if page and older_left else None,
            "cursor_previous": _pack("previous", page[0], span) if page and newer_left else None,
        }

    def event(self, event_id: str) -> dict[str, Any]:
        """One event."""
        oldest = self.world.clock() - RETENTION
        for event in self.events:
            if event.id == event_id and event.at >= oldest:
                return self.show(event)
        raise missing("Event")

    def _cursor(self, params: Params) -> tuple[datetime, datetime, Place | None, Place | None]:
        """The stretch of time, and the event to go on from; a cursor brings its own times."""
        cursor = params.get("_cursor")
        if cursor:
            try:
                way, at, number, low, high = bytes.fromhex(cursor).decode().split(",")
                moments = datetime.fromisoformat(low), datetime.fromisoformat(high)
                place = datetime.fromisoformat(at), int(number)
            except ValueError:
                raise refuse("Invalid cursor.") from None
            return (*moments, place, None) if way == "next" else (*moments, None, place)
        low_at, high_at = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        step = timedelta(microseconds=1)
        for key, value in params.items():
            name, _, operator = key.partition("__")
            if name != "date_updated" or not value:
                continue
            at_moment = read_moment(value, key)
            if operator in {"gt", "gte"}:
                low_at = max(low_at, at_moment + step if operator == "gt" else at_moment)
            elif operator in {"lt", "lte"}:
                high_at = min(high_at, at_moment - step if operator == "lt" else at_moment)
        return low_at, high_at, None, None

    def show(self, event: Event) -> dict[str, Any]:
        """An event; its times are UTC and do not say so."""
        before = self._flat(event.before) if event.before is not None else {}
        after = self._flat(event.after) if event.after is not None else {}
        changed: list[str] = []
        if event.action == "updated":
            changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            before = {key: before.get(key) for key in changed}
        return {
            "action": event.action,
            "api_key_id": API_KEY_ID if event.over_api else None,
            "changed_fields": changed,
            "data": after,
            "date_created": naive(event.at),
            "date_updated": naive(event.at),
            "id": event.id,
            "lead_id": event.lead_id,
            "meta": {
                "request_method": _METHODS[event.action],
                "request_path": f"/api/v1/{event.object_type.replace('.', '/')}/{event.object_id}/",
                **event.meta,
            },
            "oauth_client_id": None,
            "object_id": event.object_id,
            "object_type": event.object_type,
            "organization_id": self.records.organization_id,
            "previous_data": before,
            "request_id": event.request_id,
            "user_id": event.user_id,
        }

    def _flat(self, row: Any) -> dict[str, Any]:
        if isinstance(row, Deal):
            return self.records.opportunity(row)
        if isinstance(row, Company):
            return self.records.lead(row, nested=False)
        if isinstance(row, Contact):
            return self.records.contact(row)
        return self.records.note(row)


def _hangs_on(note: Note) -> tuple[str | None, ...]:
    return note.deal_id, note.company_id, note.contact_id


def _only_moved(change: Change) -> bool:
    """Whether a note only lost or changed what it hangs on, because that went away."""
    if not isinstance(change.before, Note) or not isinstance(change.after, Note):
        return False
    after = change.after
    if _hangs_on(change.before) == _hangs_on(after):
        return False
    moved = replace(
        change.before, deal_id=after.deal_id, company_id=after.company_id, contact_id=after.contact_id
    )
    return replace(moved, custom=after.custom) == after


def _at(event: Event) -> datetime:
    return event.at


def _place(event: Event) -> Place:
    return event.at, event.number


def _pack(way: str, event: Event, span: str) -> str:
    return f"{way},{event.at.isoformat()},{event.number},{span}".encode().hex()
