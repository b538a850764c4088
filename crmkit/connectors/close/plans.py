"""What a read of Close has to walk: everything, or what changed since the last one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from crmkit.connectors.close import walks
from crmkit.connectors.close.custom import Row
from crmkit.connectors.close.steps import OBJECTS, PATHS, Steps, event_time, merged
from crmkit.connectors.walk import Segment
from crmkit.model import Kind

# A changed lead costs a call, a full read one per 190 leads: beyond this, read all.
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


def increment(steps: Steps, since: datetime, now: datetime) -> dict[str, Any]:
    """The state of a read of what changed; some of it is asked of the event log first."""
    kind = steps.kind
    if kind in _LEADS:
        return _changed_leads(steps, since, now)
    segments: list[Segment] = []
    if kind in (Kind.NOTE, Kind.DEAL):
        by_update = {"t": "time", "by": "date_updated", "a": walks.wire(since), "b": None}
        segments.append({**by_update, "h": walks.wire(now)})
    if kind is Kind.DEAL:
        segments += [_events("opportunity", "deleted", since), _events("lead", "deleted", since)]
        # Whether a merge or a new name of the lead moves the deal's own `date_updated` is
        # not documented: the deals of such leads are read in any case.
        touched = {merged(event)[1] for event in steps.events("lead", "merged", since)}
        renamed = filter(_renamed, steps.events("lead", "updated", since))
        touched |= {event["object_id"] for event in renamed}
        segments += [{**_by_creation(now), "lead": lead} for lead in sorted(filter(None, touched))]
    if kind in (Kind.NOTE, Kind.STAGE_CHANGE):
        segments += [{"t": "act", **window} for window in walks.activity_windows(since, now + _SECOND)]
    if kind is Kind.NOTE:
        segments.append(_events("activity.note", "deleted", since))
        # Activities have no filter by update: the event log names those that were edited.
        edited = {event["object_id"] for event in steps.events("activity.note", "updated", since)}
        segments += [{"t": "one", "path": PATHS[kind], "id": native} for native in sorted(edited)]
    return _state(kind, segments, now, whole=False)


def _changed_leads(steps: Steps, since: datetime, now: datetime) -> dict[str, Any]:
    """Leads and contacts have no time filter: the event log names those that changed."""
    kind, what = steps.kind, OBJECTS[steps.kind]
    changed: set[tuple[str, str]] = set()
    for action in ("created", "updated"):
        changed |= {(PATHS[kind], event["object_id"]) for event in steps.events(what, action, since)}
    # The survivor of a merge has taken over the other lead's contacts.
    survivors = {merged(event)[1] for event in steps.events("lead", "merged", since)}
    changed |= {("/lead/", survivor) for survivor in survivors if survivor}
    vanished = [
        _events(what, "deleted", since),
        _events("lead", "merged" if kind is Kind.COMPANY else "deleted", since),
    ]
    if len(changed) > SINGLE_READS_AT_MOST:
        state = full(kind, now)
        return {**state, "segs": [*state["segs"], *vanished]}
    singles: list[Segment] = [{"t": "one", "path": path, "id": native} for path, native in sorted(changed)]
    return _state(kind, [*vanished, *singles], now, whole=False)


def slid(steps: Steps, state: dict[str, Any]) -> bool:
    """Whether so many leads vanished during a walk that later pages slid past unread ones."""
    if not state["full"] or steps.kind not in _LEADS:
        return False
    start, vanished = walks.moment(state["t0"]), 0
    for action in ("deleted", "merged"):
        for event in steps.events("lead", action, start):
            vanished += event_time(event) >= start
            if vanished > walks.LEAD_OVERLAP:
                return True
    return False


def _state(kind: Kind, segments: list[Segment], now: datetime, *, whole: bool) -> dict[str, Any]:
    return {"k": kind, "full": whole, "t0": walks.wire(now), "segs": segments}


def _by_creation(now: datetime) -> Segment:
    return {"t": "time", "by": "date_created", "a": None, "b": None, "h": walks.wire(now)}


def _events(what: str, action: str, since: datetime) -> Segment:
    return {"t": "events", "o": what, "x": action, "c": None, "since": walks.wire(since)}


def _renamed(event: Row) -> bool:
    return not {"name", "display_name"}.isdisjoint(event.get("changed_fields") or ())
