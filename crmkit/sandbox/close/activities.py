"""Notes and status changes; both hang on the lead.

Sources: https://developer.close.com/api/resources/activities/notes/list ,
/activities/opportunity-status-changes/list , /activities/list
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crmkit.sandbox.close.answers import Params, field_list, missing, only, page_of, read_moment, refuse
from crmkit.sandbox.close.records import Records, change_id, lead_of
from crmkit.sandbox.rows import Deal, Note, Visit

_MAX_SKIP = 250_000  # recorded for /activity/email/
_TIMES = ("date_created", "activity_at")


@dataclass(frozen=True, slots=True)
class Imported:
    """A status change that another system told of; the deal's own history does not know it."""

    id: str
    deal_id: str
    before: Visit
    after: Visit


@dataclass(slots=True)
class Activity:
    """A note, a step of a deal's history (`place` of it) or an imported one, with what filters ask about."""

    at: datetime
    id: str
    type: str
    lead_id: str | None
    user_id: str | None
    contact_id: str | None
    source: Note | Deal
    place: int = 0
    imported: Imported | None = None


class Activities:
    """The lists of activities, newest first."""

    def __init__(self, records: Records) -> None:
        self.records, self.world = records, records.world
        self._imported: dict[str, dict[str, Imported]] = {}
        self._removed: set[str] = set()
        self._changes = 0

    def import_step(self, step: Imported) -> dict[str, Any]:
        """Add a status change to the feed and show it."""
        self._imported.setdefault(step.deal_id, {})[step.id] = step
        self._changes += 1
        return self._show(_activity_of(step, self.world.deals[step.deal_id]))

    def remove_step(self, activity_id: str) -> None:
        """Take a status change out of the feed."""
        self.status_change(activity_id)
        for steps in self._imported.values():
            steps.pop(activity_id, None)
        self._removed.add(activity_id)
        self._changes += 1

    def notes(self, params: Params) -> dict[str, Any]:
        """Notes, of one lead if asked so."""
        return self._page(params, self._all("Note", self._make_notes))

    def note(self, note_id: str) -> dict[str, Any]:
        """One note."""
        row = self.world.notes.get(note_id)
        if row is None:
            raise missing("Activity")
        return self.records.note(row)

    def status_changes(self, params: Params) -> dict[str, Any]:
        """Status changes, of one opportunity if asked so."""
        deal_id = params.get("opportunity_id")
        if deal_id:
            deal = self.world.deals.get(deal_id)
            return self._page(params, sorted(self._steps(deal), key=_by_time) if deal else [])
        return self._page(params, self._all("OpportunityStatusChange", self._make_changes))

    def status_change(self, activity_id: str) -> dict[str, Any]:
        """One status change."""
        for activity in self._all("OpportunityStatusChange", self._make_changes):
            if activity.id == activity_id:
                return self._show(activity)
        raise missing("Activity")

    def all(self, params: Params) -> dict[str, Any]:
        """All kinds, with the rules of this list: most filters only together with a lead."""
        lead_id = params.get("lead_id")
        narrow = {"user_id", "contact_id", "_type", "user_id__in", "contact_id__in", "_type__in"}
        if not lead_id and not narrow.isdisjoint(params):
            raise refuse("Filtering by user_id, contact_id or _type requires lead_id.")
        order = params.get("_order_by")
        if order:
            if order not in {"activity_at", "-activity_at"}:
                raise refuse(f"Invalid value for _order_by: {order}.")
            if not lead_id:
                raise refuse("_order_by requires lead_id.")
            if any(name.startswith("date_created") for name in params):
                raise refuse("Only activity_at filters can be combined with _order_by.")
        if lead_id:
            deals = self.world.live.group("deal", "company_id", lead_id)
            found = [activity for activity in self._make_notes() if activity.lead_id == lead_id]
            found += [activity for deal in deals for activity in self._steps(deal)]
            found.sort(key=_by_time)
        else:
            found = self._all("any", lambda: self._make_notes() + self._make_changes())
        return self._page(params, found, newest_first=order != "activity_at")

    def _all(self, kind: str, make: Callable[[], list[Activity]]) -> list[Activity]:
        """The activities of a kind, oldest first."""
        return self.world.live.memo(("activities", kind, self._changes), lambda: sorted(make(), key=_by_time))

    def _make_notes(self) -> list[Activity]:
        deals = self.world.deals
        return [
            Activity(
                row.created,
                row.id,
                "Note",
                lead_of(row, deals.get(row.deal_id or "")),
                row.author_id,
                row.contact_id,
                row,
            )
            for row in self.world.notes.values()
        ]

    def _make_changes(self) -> list[Activity]:
        return [
            activity
            for deal in self.world.deals.values()
            if len(deal.history) > 1 or deal.id in self._imported
            for activity in self._steps(deal)
        ]

    def _steps(self, deal: Deal) -> list[Activity]:
        own = _steps(deal)
        if deal.id in self._imported:
            own += [_activity_of(step, deal) for step in self._imported[deal.id].values()]
        return [step for step in own if step.id not in self._removed] if self._removed else own

    def _page(
        self, params: Params, found: Sequence[Activity], *, newest_first: bool = True
    ) -> dict[str, Any]:
        """One page of what was found, which is given oldest first."""
        skip, limit = page_of(params, 100, max_skip=_MAX_SKIP)
        fields = field_list(params)
        found = _within(found, params)
        tests = _tests(params)
        if tests:
            found = [activity for activity in found if all(test(activity) for test in tests)]
        if newest_first:
            top = max(len(found) - skip, 0)
            page = found[max(top - limit, 0) : top][::-1]
        else:
            page = found[skip : skip + limit]
        data = [only(self._show(activity), fields) for activity in page]
        return {"data": data, "has_more": skip + limit < len(found)}

    def _show(self, activity: Activity) -> dict[str, Any]:
        if isinstance(activity.source, Note):
            return self.records.note(activity.source)
        if activity.imported is not None:
            step = activity.imported
            return self.records.step(activity.source, step.id, step.before, step.after)
        return self.records.status_change(activity.source, activity.place)


def _activity_of(step: Imported, deal: Deal) -> Activity:
    return Activity(
        step.after.at,
        step.id,
        "OpportunityStatusChange",
        deal.company_id,
        step.after.by_user_id,
        None,
        deal,
        imported=step,
    )


def _steps(deal: Deal) -> list[Activity]:
    return [
        Activity(
            visit.at,
            change_id(deal, place),
            "OpportunityStatusChange",
            deal.company_id,
            visit.by_user_id,
            None,
            deal,
            place,
        )
        for place, visit in enumerate(deal.history)
        if place
    ]


def _by_time(activity: Activity) -> tuple[datetime, str]:
    return activity.at, activity.id


def _bounds(params: Params) -> tuple[datetime | None, datetime | None]:
    lows, highs = [], []
    for key, value in params.items():
        name, _, operator = key.partition("__")
        if name not in _TIMES or operator not in {"gt", "gte", "lt", "lte"}:
            continue
        at = read_moment(value, key).replace(microsecond=0)  # activities compare to the second
        if operator in {"gt", "gte"}:
            lows.append(at if operator == "gte" else at + timedelta(seconds=1))
        else:
            highs.append(at if operator == "lt" else at + timedelta(seconds=1))
    return max(lows, default=None), min(highs, default=None)


def _within(found: Sequence[Activity], params: Params) -> Sequence[Activity]:
    low, high = _bounds(params)
    start = bisect_left(found, low, key=lambda activity: activity.at) if low else 0
    stop = bisect_left(found, high, key=lambda activity: activity.at) if high else len(found)
    return found if (start, stop) == (0, len(found)) else found[start:stop]


def _tests(params: Params) -> list[Callable[[Activity], bool]]:
    tests: list[Callable[[Activity], bool]] = []
    for name, attribute in (
        ("id", "id"),
        ("lead_id", "lead_id"),
        ("user_id", "user_id"),
        ("contact_id", "contact_id"),
        ("_type", "type"),
    ):
        for key in (name, f"{name}__in"):
            if params.get(key) and key != "id":
                allowed = frozenset(params[key].split(",") if key.endswith("__in") else [params[key]])
                tests.append(
                    lambda activity, attribute=attribute, allowed=allowed: (  # type: ignore[misc]
                        getattr(activity, attribute) in allowed
                    )
                )
    return tests
