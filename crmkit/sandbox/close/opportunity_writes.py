"""Opportunities as they are created, changed and deleted: one call for each, there is no batch.

Source: https://developer.close.com/api/resources/opportunities/create , /update , /delete
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.sandbox.close.answers import field_list, missing
from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, Body
from crmkit.sandbox.close.desk import Call, Desk, filled
from crmkit.sandbox.close.opportunities import PERIODS
from crmkit.sandbox.close.records import plain_text
from crmkit.sandbox.rows import Deal, Pipeline, Stage, Visit

# The published schemas CreateOpportunity and UpdateOpportunity.
_CREATE = frozenset(
    "attachments confidence contact_id created_by date_created date_won lead_id note note_html pipeline_id "
    "status_id user_id value value_period".split()
)
_UPDATE = frozenset(
    "attachments confidence contact_id date_won note note_html status status_id user_id value "
    "value_period".split()
)
_MOST_CENTS = 10**15


class OpportunityWrites:
    """Writes opportunities of one organization."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.records, self.world = desk, desk.records, desk.world

    def create(self, call: Call) -> Any:
        """A new opportunity, of the caller unless said otherwise; without a lead it gets an untitled one."""
        body = Body(call.said, _CREATE, call.tz)
        fields = self.desk.customs("deal", body, self._values(body, nullable=True))
        lead_id = self._lead(body)
        contact_ids = self._contact(body, lead_id)
        owner_id = self.desk.owner(body) or call.by  # the caller: recorded; for null too: inferred
        creator = self._creator(body) or call.by
        created = body.moment("date_created")
        pipeline, stage = self._first_place(body)
        body.finish()
        now = self.world.now()
        created = created or now
        if stage.outcome == "won" and fields.get("expected_close") is None:
            fields["expected_close"] = self._today(call)
        if lead_id is None:
            lead_id = self.world.create("company", by=call.by, name="").id
            self.desk.started("company", lead_id, call.by)
        deal = self.world.create(
            "deal",
            by=call.by,
            **{
                **fields,
                "custom": filled(fields.get("custom", {})),
                "company_id": lead_id,
                "contact_ids": contact_ids,
                "owner_id": owner_id,
                "pipeline_id": pipeline.id,
                "stage_id": stage.id,
                "created": created,
                "modified": now,
                "closed_at": None if stage.outcome == "open" else now,
                "history": (Visit(stage.id, created, creator),),
            },
        )
        self.desk.started("deal", deal.id, call.by)
        return self.records.opportunity_json(deal, field_list(call.params))

    def update(self, call: Call) -> Any:
        """What was said is changed, the rest stays; a deal cannot move to another lead."""
        deal = self._deal(call)
        self._need(call, deal)
        body = Body(call.said, _UPDATE, call.tz)
        fields = self.desk.customs("deal", body, self._values(body, nullable=False), deal)
        if "contact_id" in body:
            fields["contact_ids"] = self._contact(body, deal.company_id)
        if "user_id" in body:
            unchanged = body.said["user_id"] == deal.owner_id
            fields["owner_id"] = deal.owner_id if unchanged else self.desk.owner(body)
        stage = self._next_stage(body, deal)
        body.finish()
        if stage is not None:
            fields |= {"pipeline_id": self.records.places[stage.id][0].id, "stage_id": stage.id}
        outcome = deal.status if stage is None else stage.outcome
        if outcome == "won" and fields.get("expected_close", deal.expected_close) is None:
            fields["expected_close"] = self._today(call)
        saved: Deal = self.desk.save("deal", deal, call.by, fields)
        if saved.stage_id != deal.stage_id:
            self.desk.started("deal", deal.id, call.by)
        return self.records.opportunity_json(saved, field_list(call.params))

    def delete(self, call: Call) -> Any:
        """Gone for good; the lead's notes stay."""
        deal = self._deal(call)
        self._need(call, deal)
        if deal.owner_id == call.by:
            self.desk.need("delete_own_opportunities")
        for note in self.world.live.group("note", "deal_id", deal.id):
            shown = self.records.note(note)
            custom = {"_title": shown["title"]}
            self.world.edit(
                "note", note.id, touch=False, deal_id=None, company_id=deal.company_id, custom=custom
            )
        self.world.delete("deal", deal.id, by=call.by)
        return {}

    # Parts of a body

    def _deal(self, call: Call) -> Deal:
        deal = self.world.deals.get(call.path["id"])
        if deal is None:
            raise missing("Opportunity")
        return deal

    def _need(self, call: Call, deal: Deal) -> None:
        if deal.owner_id != call.by:
            self.desk.need("manage_others_opportunities")

    def _values(self, body: Body, *, nullable: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        custom: dict[str, Any] = {}
        if "value" in body:
            cents = body.whole("value", low=-_MOST_CENTS, high=_MOST_CENTS, nullable=nullable)
            fields["amount"] = None if cents is None else Decimal(cents).scaleb(-2)
        if "value_period" in body:
            fields["value_period"] = body.choice("value_period", PERIODS, nullable=nullable) or "one_time"
        if "confidence" in body:
            percent = body.whole("confidence", low=0, high=100, nullable=nullable)
            fields["probability"] = None if percent is None else percent / 100
        if "date_won" in body:
            fields["expected_close"] = body.day("date_won")
        if "attachments" in body:
            body.given("attachments", nullable=nullable)
            custom["_attachments"] = body.attachments() or None
        custom |= note_values(body, nullable=nullable)
        return {**fields, "custom": custom} if custom else fields

    def _lead(self, body: Body) -> str | None:
        lead_id = body.text("lead_id")
        if lead_id is not None and lead_id not in self.world.companies:
            body.wrong("lead_id", NO_SUCH_OBJECT)
        return lead_id

    def _contact(self, body: Body, lead_id: str | None) -> tuple[str, ...]:
        """At most one contact, of the same lead (that others are refused is inferred)."""
        contact_id = body.text("contact_id")
        if contact_id is None:
            return ()
        contact = self.world.contacts.get(contact_id)
        if contact is None:
            body.wrong("contact_id", NO_SUCH_OBJECT)
        elif contact.company_id != lead_id:
            body.wrong("contact_id", "Contact does not belong to the lead.")
        return (contact_id,)

    def _creator(self, body: Body) -> str | None:
        user_id = body.text("created_by")
        if user_id is not None and user_id not in self.world.users:
            body.wrong("created_by", NO_SUCH_OBJECT)
        return user_id

    def _first_place(self, body: Body) -> tuple[Pipeline, Stage]:
        """Where a new opportunity stands: the said status, or the first of the pipeline."""
        with_stages = [pipeline for pipeline in self.world.pipelines.values() if pipeline.stages]
        place = with_stages[0], with_stages[0].stages[0]
        status_id, pipeline_id = body.text("status_id"), body.text("pipeline_id")
        pipeline = self.world.pipelines.get(pipeline_id) if pipeline_id is not None else None
        if pipeline_id is not None and pipeline is None:
            body.wrong("pipeline_id", NO_SUCH_OBJECT)
        if status_id is None:
            if pipeline is not None and not pipeline.stages:
                body.wrong("pipeline_id", "The pipeline has no statuses.")
                return place
            return (pipeline, pipeline.stages[0]) if pipeline else place
        found = self.records.places.get(status_id)
        if found is None:
            body.wrong("status_id", NO_SUCH_OBJECT)
            return place
        if pipeline is not None and found[0].id != pipeline.id:
            body.wrong("status_id", "The status does not belong to the pipeline.")
        return found

    def _next_stage(self, body: Body, deal: Deal) -> Stage | None:
        if "status" in body and "status_id" in body:
            body.wrong("status", "Send either status or status_id.")
        label = body.text("status", nullable=False)  # a label: deprecated, and ambiguous
        if label is not None:
            ordered = sorted(self.records.places.values(), key=lambda place: place[0].id != deal.pipeline_id)
            found = next((stage for _, stage in ordered if stage.name == label), None)
            if found is None:
                body.wrong("status", f"Not a valid choice: {label}.")
            return found
        status_id = body.text("status_id", nullable=False)
        place = self.records.places.get(status_id) if status_id is not None else None
        if status_id is not None and place is None:
            body.wrong("status_id", NO_SUCH_OBJECT)
        return place[1] if place else None

    def _today(self, call: Call) -> date:
        """The day in the zone of `x-tz-offset`."""
        return (self.world.clock() + call.tz).date()


def note_values(body: Body, *, nullable: bool = True) -> dict[str, Any]:
    """A note and its HTML: one overwrites the other, `note_html` wins, its null clears both."""
    text = body.text("note", nullable=nullable)
    rich = body.text("note_html")
    if "note_html" in body:
        return {"note": None if rich is None else plain_text(rich), "_note_html": rich}
    return {"note": text, "_note_html": None} if "note" in body else {}
