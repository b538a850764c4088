"""What a read of Close has to walk: everything, or what changed since the last one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from crmkit.connectors.close import walks
from crmkit.connectors.close.events import EventLog, back_dated, event_time, few, merged, renamed
from crmkit.connectors.close.steps import OBJECTS, PATHS
from crmkit.connectors.walk import Segment
from crmkit.model import Kind

# A record that the event log names costs a call, a full read one per 100 to 250 records:
# beyond this, everything is read.
SINGLE_READS_AT_MOST = 500
# The Date header tells whole seconds: what was created earlier in its second counts too.
_SECOND = timedelta(seconds=1)
_LEADS = (Kind.COMPANY, Kind.CONTACT)


def full(kind: Kind, now: datetime) -> dict[str, Any]:
    """The state of a read of everything, begun at `now` of the server's clock."""
    segments: list[Segment] = []
    if kind in _LEADS:
        segments.append({"t": "lead", "skip": 0})
    if kind in (Kind.NOTE, Kind.STAGE_CHANGE):
        segments += [{"t": "act", **window} for window in walks.activity_windows(None, now + _SECOND)]
    if kind in (Kind.NOTE, Kind.DEAL):
        segments.append(_by_creation(now))
    return _state(kind, segments, now, whole=True)


def increment(kind: Kind, log: EventLog, since: datetime, now: datetime) -> dict[str, Any]:
    """The state of a read of what changed; some of it is asked of the event log first."""
    vanished = _vanished(kind, since)
    singles = _deals_of_leads(log, since, now) if kind is Kind.DEAL else _singles(kind, log, since)
    if singles is None:
        state = full(kind, now)
        return {**state, "segs": [*state["segs"], *vanished]}
    segments = [*vanished, *singles]
    if kind in (Kind.NOTE, Kind.DEAL):
        by_update = {"t": "time", "by": "date_updated", "a": walks.wire(since), "b": None}
        segments.append({**by_update, "h": walks.wire(now)})
    if kind in (Kind.NOTE, Kind.STAGE_CHANGE):
        segments += [{"t": "act", **window} for window in walks.activity_windows(since, now + _SECOND)]
    return _state(kind, segments, now, whole=False)


def _vanished(kind: Kind, since: datetime) -> list[Segment]:
    """The event lists that tell what is gone."""
    lists = {
        Kind.COMPANY: [("lead", "deleted"), ("lead", "merged")],
        Kind.CONTACT: [("contact", "deleted"), ("lead", "deleted")],
        Kind.DEAL: [("opportunity", "deleted"), ("lead", "deleted")],
        # A deal's own note goes with the deal.
        Kind.NOTE: [("activity.note", "deleted"), ("opportunity", "deleted")],
    }.get(kind, [])
    return [{"t": "events", "o": what, "x": x, "c": None, "since": walks.wire(since)} for what, x in lists]


def _deals_of_leads(log: EventLog, since: datetime, now: datetime) -> list[Segment] | None:
    """The deals of merged and renamed leads; `None` if there are too many leads.

    Whether a merge or a new name of the lead moves the deal's own `date_updated` is not
    documented: these deals are read in any case.
    """

    def leads() -> Iterator[str | None]:
        yield from (merged(event)[1] for event in log.since("lead", "merged", since))
        yield from (event["object_id"] for event in log.since("lead", "updated", since) if renamed(event))

    touched = few(leads(), SINGLE_READS_AT_MOST)
    return None if touched is None else [{**_by_creation(now), "lead": lead} for lead in sorted(touched)]


def _singles(kind: Kind, log: EventLog, since: datetime) -> list[Segment] | None:
    """The records that only the event log names, one by one; `None` if there are too many."""
    what = OBJECTS[kind]

    def created() -> Iterator[str | None]:
        for event in log.since(what, "created", since):
            # New activities come with their window; leads and contacts have no time filter.
            if kind in _LEADS or back_dated(event, since):
                yield event["object_id"]

    def changed() -> Iterator[str | None]:
        yield from created()
        # Of activities: edited notes; status changes that were put together with a later one.
        yield from (event["object_id"] for event in log.since(what, "updated", since))

    natives = few(changed(), SINGLE_READS_AT_MOST)
    # The survivor of a merge has taken over the other lead's contacts.
    merges = log.since("lead", "merged", since) if kind in _LEADS else ()
    survivors = few((merged(event)[1] for event in merges), SINGLE_READS_AT_MOST)
    if natives is None or survivors is None:
        return None
    wanted = {(PATHS[kind], native) for native in natives} | {("/lead/", native) for native in survivors}
    return [{"t": "one", "path": path, "id": native} for path, native in sorted(wanted)]


def slid(log: EventLog, state: dict[str, Any]) -> bool:
    """Whether so many leads vanished during a walk that later pages slid past unread ones."""
    if not state["full"] or state["k"] not in _LEADS:
        return False
    start, vanished = walks.moment(state["t0"]), 0
    for action in ("deleted", "merged"):
        for event in log.since("lead", action, start):
            vanished += event_time(event) >= start
            if vanished > walks.LEAD_OVERLAP:
                return True
    return False


def _state(kind: Kind, segments: list[Segment], now: datetime, *, whole: bool) -> dict[str, Any]:
    return {"k": kind, "full": whole, "t0": walks.wire(now), "segs": segments}


def _by_creation(now: datetime) -> Segment:
    return {"t": "time", "by": "date_created", "a": None, "b": None, "h": walks.wire(now)}
