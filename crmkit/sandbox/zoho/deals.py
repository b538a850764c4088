"""The modules Deals and DealHistory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crmkit.sandbox import names
from crmkit.sandbox.rows import Deal
from crmkit.sandbox.zoho.org import Org, actual_value, number
from crmkit.sandbox.zoho.schema import Field, FieldMaker, Module
from crmkit.sandbox.zoho.seed import ORG_BASE

LAYOUT_ID = str(ORG_BASE + 91_023)
_HISTORY_BASE = 500_000_000_000
_TYPES = ("Existing Business", "New Business")
_NO = {"approve": False, "reject": False, "resubmit": False}


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage that a deal has been in; `left` is `None` while it is there."""

    id: str
    deal: Deal
    stage_id: str
    entered: datetime
    by_user_id: str | None
    moved_to: str | None
    left: datetime | None

    @property
    def modified(self) -> datetime:
        """When this row was last written: on leaving the stage, until then on entering it (inferred)."""
        return self.left or self.entered

    created = modified


def stage_rows(deal: Deal) -> Iterator[StageRow]:
    """The stages of a deal, the oldest first; their ids are in the same space and never change."""
    base = int(deal.id) // 10**12 * 10**12
    start = base + _HISTORY_BASE + (int(deal.id) - base) * 1_000
    for place, visit in enumerate(deal.history):
        after = deal.history[place + 1] if place + 1 < len(deal.history) else None
        yield StageRow(
            str(start + place),
            deal,
            visit.stage_id,
            visit.at,
            visit.by_user_id,
            after.stage_id if after else None,
            after.at if after else None,
        )


def tag_list(tags: tuple[str, ...]) -> list[dict[str, Any]]:
    """Tags as records show them."""
    return [
        {"name": tag, "id": str(ORG_BASE + 414_001 + sum(map(ord, tag))), "color_code": None} for tag in tags
    ]


def system_fields(maker: FieldMaker, layout_id: str) -> list[Field]:
    """The `$` keys that every record has, as recorded."""
    symbol = maker.org.world.base_currency
    return [
        maker.hidden("$currency_symbol", symbol),
        maker.hidden("$field_states", None),
        maker.hidden("$review_process", _NO),
        maker.hidden("$layout_id", {"display_label": "Standard", "name": "Standard", "id": layout_id}),
        maker.hidden("$review", None),
        maker.hidden("$state", "save"),
        maker.hidden("$process_flow", False),
        maker.hidden("$locked_for_me", False),
        maker.hidden("$approved", True),
        maker.hidden("$approval", {"delegate": False, "takeover": False, **_NO}),
        maker.hidden("$editable", True),
        maker.hidden("$orchestration", False),
        maker.hidden("$in_merge", False),
        maker.hidden("$approval_state", "approved"),
        maker.hidden("$zia_owner_assignment", None),
    ]


def deals_module(org: Org) -> Module:
    """The module Deals as the organisation has set it up now."""
    maker = FieldMaker(org)
    make = maker.make

    def expected(deal: Deal) -> int | float | None:
        return None if deal.amount is None else number(deal.amount * org.probability(deal) / 100)

    fields = [
        make("id", "bigint", "id", read_only=True, key=lambda deal: int(deal.id)),
        maker.person("Owner", "owner_id", label="Deal Owner"),
        make("Amount", "currency", "amount", key=org.home_amount),
        make("Deal_Name", "text", "name", mandatory=True),
        make("Closing_Date", "date", "expected_close"),
        make("Account_Name", "lookup", "company_id", lookup="Accounts"),
        make(
            "Stage",
            "picklist",
            lambda deal: org.stage_value(deal.stage_id),
            mandatory=True,
            picks=[actual_value(stage) for stage in org.picklist()],
        ),
        maker.kept("Type", "picklist", picks=_TYPES),
        make("Probability", "integer", org.probability, label="Probability (%)"),
        maker.kept("Next_Step", "text"),
        make("Expected_Revenue", "currency", expected, read_only=True),
        make("Lead_Source", "picklist", "source", picks=_listed(org, "Lead_Source", names.SOURCES)),
        make("Campaign_Source", "lookup", lambda _: None, lookup="Campaigns"),
        make(
            "Contact_Name",
            "lookup",
            _primary_contact,
            lookup="Contacts",
        ),
        maker.author("Created_By", "owner_id"),
        maker.author("Modified_By", "owner_id"),
        make("Created_Time", "datetime", "created", read_only=True),
        make("Modified_Time", "datetime", "modified", read_only=True),
        make("Last_Activity_Time", "datetime", "last_activity", read_only=True),
        make("Lead_Conversion_Time", "integer", lambda _: None, read_only=True),
        make("Sales_Cycle_Duration", "integer", _cycle_days, read_only=True),
        make("Overall_Sales_Duration", "integer", _cycle_days, read_only=True),
        maker.kept("Description", "textarea"),
        make(
            "Reason_For_Loss__s",
            "picklist",
            "lost_reason",
            label="Reason For Loss",
            picks=_listed(org, "Reason_For_Loss__s", names.LOST_REASONS),
        ),
        make("Tag", "text", lambda deal: tag_list(deal.tags)),
        maker.kept("Locked__s", "boolean", False, label="Locked", read_only=True),
    ]
    if org.settings.extra.get("stage_times"):  # newer organisations only
        fields.append(make("Stage_Modified_Time", "datetime", "stage_entered", read_only=True))
    if org.has_pipelines:
        shown = [pipeline.name for pipeline in org.world.pipelines.values()]
        fields.append(make("Pipeline", "picklist", org.pipeline_value, mandatory=True, picks=shown))
    if org.multi_currency:
        fields += [
            make("Currency", "picklist", "currency", picks=list(org.world.rates)),
            make(
                "Exchange_Rate",
                "double",
                lambda deal: deal.custom.get("$Exchange_Rate", org.exchange_rate(deal.currency)),
            ),
        ]
    fields += [maker.custom(one) for one in org.world.fields["deal"].values()]
    fields += system_fields(maker, LAYOUT_ID)
    return Module(
        name="Deals",
        singular="Deal",
        plural="Deals",
        id=str(ORG_BASE + 2_181),
        kind="deal",
        fields={field.name: field for field in fields},
        display=lambda deal: deal.name,
        related=("Notes", "Contact_Roles", "Stage_History", "Attachments", "Tasks"),
    )


def _listed(org: Org, name: str, seeded: Sequence[str | None]) -> list[str]:
    """The values of a picklist of Zoho's own, which every organisation changes to its liking."""
    lists: Mapping[str, Sequence[str]] = org.settings.extra.get("picklists", {})
    return [value for value in lists.get(name, seeded) if value]


def history_module(org: Org) -> Module:
    """The stage history as a module."""
    maker = FieldMaker(org)
    make = maker.make

    def expected(row: StageRow) -> int | float | None:
        amount = row.deal.amount
        return None if amount is None else number(amount * org.probability(row.deal, row.stage_id) / 100)

    fields = [
        make("id", "bigint", "id", read_only=True, key=lambda row: int(row.id)),
        make("Stage", "picklist", lambda row: org.stage_value(row.stage_id)),
        make(
            "Moved_To__s",
            "picklist",
            lambda row: org.stage_value(row.moved_to) if row.moved_to else None,
            label="Moved To",
        ),
        make(
            "Stage_Duration_Calendar_Days",
            "integer",
            lambda row: (row.left - row.entered).days if row.left else None,
        ),
        # The amount and the closing date of that time are not kept in our world: today's stand in.
        make("Amount", "currency", lambda row: row.deal.amount),
        make("Probability", "integer", lambda row: org.probability(row.deal, row.stage_id)),
        make("Expected_Revenue", "currency", expected),
        make("Closing_Date", "date", lambda row: row.deal.expected_close, label="Close Date"),
        make("Modified_Time", "datetime", "modified"),
        make(
            "Modified_By",
            "ownerlookup",
            "by_user_id",
            lookup="users",
            value=lambda row: org.user_short(row.by_user_id),
        ),
        make("Last_Activity_Time", "datetime", lambda row: row.deal.last_activity),
        make("Potential_Name", "lookup", lambda row: row.deal.id, lookup="Deals"),
    ]
    return Module(
        name="DealHistory",
        singular="Stage History",
        plural="Stage History",
        id=str(ORG_BASE + 174_001),
        kind=None,
        fields={field.name: field for field in fields},
        generated_type="field_tracker",
    )


def _primary_contact(deal: Deal) -> str | None:
    """The first contact, unless `Contact_Name` was emptied and others have stayed."""
    return deal.contact_ids[0] if deal.contact_ids and "$No_Primary" not in deal.custom else None


def _cycle_days(deal: Deal) -> int:
    return (deal.closed_at - deal.created).days if deal.closed_at else 0
