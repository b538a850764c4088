"""One CRM's whole content, and every way it can change.

The vendor apps and the control plane change it only through the methods here, so
that views, stage history, the search index and listeners always agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from crmkit.sandbox.clock import Clock
from crmkit.sandbox.rows import (
    Change,
    Company,
    Contact,
    CustomField,
    Deal,
    Deleted,
    Kind,
    Merged,
    Note,
    Pipeline,
    SideEffect,
    Stage,
    User,
    Visit,
)
from crmkit.sandbox.store import Store

_ROWS: dict[Kind, type[Any]] = {
    "user": User,
    "company": Company,
    "contact": Contact,
    "deal": Deal,
    "note": Note,
}


class World:
    """One CRM's content.

    Attributes:
        live: The records as they are, with their sorted views.
        pipelines: By id, in the order of creation; change them freely.
        fields: The custom fields of a kind, by `CustomField.key`.
        deleted, merged: What went away, oldest first.
        side_effects: The automations that writes have started, oldest first; the vendor's app adds to it.
        listeners: Called with every `Change`, for event logs and webhooks.
        status_follows_stage: Whether moving a deal sets its status and `closed_at`.
        complete: Whether it is filled from elsewhere, so that the vendor's app adds nothing of its own.
    """

    def __init__(
        self,
        *,
        crm: str,
        workspace_id: str,
        workspace_name: str,
        ids: Mapping[str, Callable[[], str]],
        id_key: Callable[[str], Any] = int,
        time_zone: str = "UTC",
        base_currency: str = "USD",
        rates: Mapping[str, float] | None = None,
        step_microseconds: int = 1_000_000,
        status_follows_stage: bool = True,
        clock: Clock | None = None,
        complete: bool = False,
    ) -> None:
        self.crm, self.workspace_id, self.workspace_name = crm, workspace_id, workspace_name
        self.time_zone, self.base_currency = time_zone, base_currency
        self.rates: dict[str, float] = dict(rates or {base_currency: 1.0})
        self.clock = clock or Clock()
        self.status_follows_stage, self.complete = status_follows_stage, complete
        self.live = Store(id_key)
        self.pipelines: dict[str, Pipeline] = {}
        self.fields: dict[Kind, dict[str, CustomField]] = {kind: {} for kind in _ROWS}
        self.deleted: list[Deleted] = []
        self.merged: list[Merged] = []
        self.side_effects: list[SideEffect] = []
        self.listeners: list[Callable[[Change], None]] = []
        self._ids, self._step = ids, step_microseconds
        self._lag_seconds = 0.0
        self._index: Store | None = None
        self._unindexed: deque[Change] = deque()

    # Reading

    @property
    def users(self) -> dict[str, User]:
        """Users by id."""
        return self.live.tables["user"]

    @property
    def companies(self) -> dict[str, Company]:
        """Companies by id."""
        return self.live.tables["company"]

    @property
    def contacts(self) -> dict[str, Contact]:
        """Contacts by id."""
        return self.live.tables["contact"]

    @property
    def deals(self) -> dict[str, Deal]:
        """Deals by id."""
        return self.live.tables["deal"]

    @property
    def notes(self) -> dict[str, Note]:
        """Notes by id."""
        return self.live.tables["note"]

    @property
    def generation(self) -> int:
        """Grows with every change of a record."""
        return self.live.generation

    @property
    def search(self) -> Store:
        """The records as the search index knows them: as they were `lag_seconds` ago."""
        if self._index is None:
            return self.live
        ripe = self.clock() - timedelta(seconds=self._lag_seconds)
        while self._unindexed and self._unindexed[0].at <= ripe:
            change = self._unindexed.popleft()
            if change.after is None:
                self._index.drop(change.kind, change.id)
            else:
                self._index.put(change.kind, change.after)
        return self._index

    @property
    def lag_seconds(self) -> float:
        """How far the search index trails; set it before the writes it shall miss."""
        return self._lag_seconds

    @lag_seconds.setter
    def lag_seconds(self, seconds: float) -> None:
        self._lag_seconds = seconds
        if seconds <= 0:
            self._index = None
            self._unindexed.clear()
        elif self._index is None:
            self._index = self.live.copy()

    def stage(self, pipeline_id: str, stage_id: str) -> Stage | None:
        """The stage of a pipeline, or `None`; two pipelines may share a stage id."""
        pipeline = self.pipelines.get(pipeline_id)
        stages = pipeline.stages if pipeline else ()
        return next((stage for stage in stages if stage.id == stage_id), None)

    def now(self) -> datetime:
        """The time, as coarse as this CRM's stamps."""
        now = self.clock()
        return now.replace(microsecond=now.microsecond // self._step * self._step)

    def new_id(self, kind: str) -> str:
        """The next id of a kind: a record's, or whatever else the vendor counts."""
        return self._ids[kind]()

    # Changing

    def create(self, kind: Kind, *, by: str | None = None, **fields: Any) -> Any:
        """Add a record and give it; id and stamps are made unless given."""
        now = self.now()
        fields = {
            "id": self.new_id(kind) if "id" not in fields else fields["id"],
            **_stamps(kind, now),
            **fields,
        }
        if kind == "deal":
            fields = self._placed(fields, by)
        row = _ROWS[kind](**fields)
        self._commit(kind, row.id, None, row, by)
        return row

    def edit(
        self, kind: Kind, row_id: str, *, by: str | None = None, touch: bool = True, **fields: Any
    ) -> Any:
        """Replace fields of a record and give its new version.

        `custom` is merged key by key, `None` removing one. A new stage extends the history. `touch` moves the
        modified stamp; a given one wins.

        Raises:
            KeyError: There is no such record.
        """
        before = self.live.tables[kind][row_id]
        if "custom" in fields:
            merged = {**before.custom, **fields["custom"]}
            fields["custom"] = {key: value for key, value in merged.items() if value is not None}
        if touch and kind != "user":
            fields.setdefault("modified", self.now())
        if kind == "deal":
            fields = self._moved(before, fields, by)
        after = replace(before, **fields)
        self._commit(kind, row_id, before, after, by)
        return after

    def delete(self, kind: Kind, row_id: str, *, by: str | None = None) -> Deleted:
        """Take a record out, with the links to it; it is remembered in `deleted`."""
        row = self.live.tables[kind][row_id]
        self._relink(kind, row_id, None)
        gone = Deleted(kind, row_id, self.now(), row, by)
        self.deleted.append(gone)
        self._commit(kind, row_id, row, None, by)
        return gone

    def merge(self, kind: Kind, loser: str, winner: str, *, by: str | None = None) -> Any:
        """Let one record go up in another, which takes over links and empty fields; give the winner."""
        table = self.live.tables[kind]
        lost, kept = table[loser], table[winner]
        if loser == winner:
            raise ValueError(f"{kind} {loser} cannot be merged with itself")
        filled: dict[str, Any] = {
            name: value
            for name in lost.__slots__
            if getattr(kept, name) in (None, ()) and (value := getattr(lost, name)) not in (None, ())
        }
        if kind == "deal":
            filled["contact_ids"] = tuple(dict.fromkeys((*kept.contact_ids, *lost.contact_ids)))
        self._relink(kind, loser, winner)
        self.merged.append(Merged(kind, loser, winner, self.now(), lost))
        self._commit(kind, loser, lost, None, by)
        return self.edit(kind, winner, by=by, **filled)

    def create_deal(self, **fields: Any) -> Deal:
        """Add a deal; without pipeline and stage it starts in the first ones."""
        return cast(Deal, self.create("deal", **fields))

    def edit_deal(self, deal_id: str, **fields: Any) -> Deal:
        """Edit a deal; see `edit`."""
        return cast(Deal, self.edit("deal", deal_id, **fields))

    def delete_deal(self, deal_id: str) -> Deleted:
        """Delete a deal; see `delete`."""
        return self.delete("deal", deal_id)

    def merge_deals(self, loser: str, winner: str) -> Deal:
        """Merge two deals; see `merge`."""
        return cast(Deal, self.merge("deal", loser, winner))

    def create_company(self, **fields: Any) -> Company:
        """Add a company."""
        return cast(Company, self.create("company", **fields))

    def edit_company(self, company_id: str, **fields: Any) -> Company:
        """Edit a company; see `edit`."""
        return cast(Company, self.edit("company", company_id, **fields))

    def delete_company(self, company_id: str) -> Deleted:
        """Delete a company; see `delete`."""
        return self.delete("company", company_id)

    def create_contact(self, **fields: Any) -> Contact:
        """Add a contact."""
        return cast(Contact, self.create("contact", **fields))

    def edit_contact(self, contact_id: str, **fields: Any) -> Contact:
        """Edit a contact; see `edit`."""
        return cast(Contact, self.edit("contact", contact_id, **fields))

    def delete_contact(self, contact_id: str) -> Deleted:
        """Delete a contact; see `delete`."""
        return self.delete("contact", contact_id)

    def add_note(self, **fields: Any) -> Note:
        """Add a note."""
        return cast(Note, self.create("note", **fields))

    def load(self, kind: Kind, row: Any) -> None:
        """Put a finished record in without history, stamps or listeners; for seeding."""
        self.live.tables[kind][row.id] = row

    def _commit(self, kind: Kind, row_id: str, before: Any, after: Any, by: str | None) -> None:
        if after is None:
            self.live.drop(kind, row_id)
        else:
            self.live.put(kind, after)
        change = Change(kind, row_id, self.clock(), before, after, by)
        if self._index is not None:
            self._unindexed.append(change)
        for listener in self.listeners:
            listener(change)

    def _placed(self, fields: dict[str, Any], by: str | None) -> dict[str, Any]:
        fields.setdefault("name", "")
        fields.setdefault("currency", self.base_currency)
        pipeline_id = fields.setdefault("pipeline_id", next(iter(self.pipelines)))
        stage_id = fields.get("stage_id") or self.pipelines[pipeline_id].stages[0].id
        created = fields["created"]
        fields |= {"stage_id": stage_id, "stage_entered": fields.get("stage_entered", created)}
        fields.setdefault("history", (Visit(stage_id, created, by),))
        return self._closed(fields, pipeline_id, stage_id, created)

    def _moved(self, before: Deal, fields: dict[str, Any], by: str | None) -> dict[str, Any]:
        stage_id = fields.get("stage_id", before.stage_id)
        pipeline_id = fields.get("pipeline_id", before.pipeline_id)
        if (pipeline_id, stage_id) == (before.pipeline_id, before.stage_id):
            return fields
        now = self.now()
        fields.setdefault("stage_entered", now)
        fields.setdefault("history", (*before.history, Visit(stage_id, now, by)))
        return self._closed(fields, pipeline_id, stage_id, now)

    def _closed(
        self, fields: dict[str, Any], pipeline_id: str, stage_id: str, now: datetime
    ) -> dict[str, Any]:
        stage = self.stage(pipeline_id, stage_id)
        if self.status_follows_stage and stage is not None:
            fields.setdefault("status", stage.outcome)
            fields.setdefault("closed_at", None if stage.outcome == "open" else now)
        return fields

    def _relink(self, kind: Kind, old: str, new: str | None) -> None:
        follow: dict[Kind, tuple[tuple[Kind, str], ...]] = {
            "company": (("deal", "company_id"), ("contact", "company_id"), ("note", "company_id")),
            "contact": (("deal", "contact_ids"), ("note", "contact_id")),
            "deal": (("note", "deal_id"),),
        }
        for child, field in follow.get(kind, ()):
            for row in self.live.group(child, field, old):
                if child == "note" and new is None and not _elsewhere(row, field):
                    self.delete("note", row.id)
                    continue
                value: Any = new
                if field == "contact_ids":
                    others = [new if contact == old else contact for contact in row.contact_ids]
                    value = tuple(dict.fromkeys(contact for contact in others if contact))
                self.edit(child, row.id, touch=False, **{field: value})


def _elsewhere(note: Note, field: str) -> bool:
    """Whether a note hangs on another record than the one in a field."""
    return any(getattr(note, name) for name in ("deal_id", "company_id", "contact_id") if name != field)


def _stamps(kind: Kind, now: datetime) -> dict[str, datetime]:
    return {"created": now} if kind == "user" else {"created": now, "modified": now}
