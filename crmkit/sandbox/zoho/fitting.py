"""How a real organisation's records become rows: stages are values of one picklist, known by their text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, cast
from zoneinfo import ZoneInfo

from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import fitting, rows
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.fitting import Unfit
from crmkit.sandbox.rows import CustomField, Option, Visit
from crmkit.sandbox.zoho.app import ZohoApp

KEY_FIELD = "Crmkit_Key"
ONLY_PIPELINE = "default"  # what readers call the one pipeline of an organisation without the feature
_LONGEST_LINE = 255
_LARGE = 10**9  # an integer field has nine digits
_DATA_TYPES: Mapping[str, str] = {
    "number": "double",
    "money": "currency",
    "boolean": "boolean",
    "day": "date",
    "time": "datetime",
    "choice": "picklist",
    "choices": "multiselectpicklist",
    "owner": "userlookup",
    "link": "lookup",
    "text": "text",
}


class Fitting(fitting.Fitting):
    """An organisation."""

    one_id_space = True
    any_stage = True  # Zoho stores any text
    most: ClassVar = {
        ("deal", "companies"): 1,
        ("deal", "contacts"): 1,
        ("company", "phones"): 1,
        ("contact", "companies"): 1,
        ("contact", "emails"): 2,
        ("contact", "phones"): 4,
    }

    def __init__(self, blueprint: plan.Blueprint) -> None:
        super().__init__(blueprint)
        self._places: dict[str, int] = {}
        self._values: dict[str, str] = {}
        self._shown: set[str] = set()
        # Records hold what a value was first called, people see what it is called now.
        self._picks = blueprint.lists.get("deal", {}).get("Stage", {})
        self._actual = {label: value for value, label in self._picks.items()}
        self._forecasts = {
            deal.stage_id: deal.forecast_category for deal in blueprint.deals if deal.forecast_category
        }
        self._whole = _whole_fields(blueprint)

    def extra(self) -> Mapping[str, Any]:
        """The zone as an offset, and which features are on."""
        blueprint = self.blueprint
        zone = ZoneInfo(blueprint.time_zone or "UTC")
        offset = datetime.now(UTC).astimezone(zone).utcoffset()
        currencies = {deal.currency for deal in blueprint.deals if deal.currency}
        return {
            "offset_minutes": 0 if offset is None else offset.total_seconds() / 60,
            "pipelines": [one.id for one in blueprint.pipelines] != [ONLY_PIPELINE],
            "multi_currency": len(blueprint.currencies.keys() | currencies) > 1,
            "workspace": blueprint.workspace_id,
            "picklists": self.blueprint.lists.get("deal", {}),
            "stage_times": any(deal.stage_entered for deal in blueprint.deals),
        }

    def stage(self, pipeline: plan.Pipeline, stage: plan.Stage) -> rows.Stage:
        """A value of the Stage picklist, the same in every pipeline that has it."""
        made = super().stage(pipeline, stage)
        self._shown.add(stage.name)
        place = self._places.setdefault(stage.id, len(self._places) + 1)
        value = self._actual.get(stage.name, stage.name)
        if self._values.setdefault(value, stage.id) != stage.id:
            value = f"{value} {stage.id}"  # records are told apart by the value alone
        made.extra = {"actual_value": value, "place": place}
        if stage.id in self._forecasts:
            made.extra["forecast_category"] = self._forecasts[stage.id]
        return made

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A field; records hold the value of an option, people see its label."""
        made = super().field(kind, field)
        type_ = _DATA_TYPES.get(field.type, "formula")
        if type_ == "text" and (field.max_length or 0) > _LONGEST_LINE:
            type_ = "textarea"
        if type_ == "double" and field.id in self._whole:
            type_ = "integer" if self._whole[field.id] < _LARGE else "bigint"
        made.options = tuple(Option(value, value) for value in field.options)
        made.extra = {
            "api_name": field.id,
            "data_type": type_,
            "unique": field.unique,
            "case_sensitive": False,
            "length": field.max_length,
            "mandatory": field.required,
            "read_only": field.read_only,
            "labels": dict(field.options),
        }
        return made

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """An account with its key."""
        self._keep(base, "company", company.key)
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """A contact with its key, its place and further phones."""
        custom = base["custom"]
        custom |= {
            f"${name}": value
            for name, value in (
                ("Mailing_City", contact.city),
                ("Mailing_Country", contact.country),
                ("Mailing_Zip", contact.postcode),
                *zip(("Home_Phone", "Other_Phone"), contact.phones[2:], strict=False),
            )
            if value is not None
        }
        if contact.name != " ".join(part for part in (contact.first, contact.last) if part):
            custom["$Full_Name"] = contact.name
        self._keep(base, "contact", contact.key)
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """A deal with its key."""
        self._keep(base, "deal", deal.key)
        return base

    def visits_of(self, deal: plan.Deal) -> tuple[Visit, ...]:
        """The stage history; a reader learns who left a stage where our rows hold who entered it."""
        visits = super().visits_of(deal)
        movers = [one.by for one in self.visits_by_deal.get(deal.id, ())]
        movers += [None] * (len(visits) - len(movers))
        return tuple(visit._replace(by_user_id=by) for visit, by in zip(visits, movers, strict=False))

    def _keep(self, base: dict[str, Any], kind: plan.FieldKind, key: str | None) -> None:
        if key is None:
            return
        field = self.fields[kind].get(KEY_FIELD)
        if field is None:
            raise Unfit(kind, base["id"], "key", f"needs the field {KEY_FIELD}")
        base["custom"][field.key] = key

    def finish(self, app: VendorApp) -> None:
        """Mark the first pipeline as the default one, and give values that no pipeline has a meaning."""
        world, org = app.world, cast("ZohoApp", app).org
        for place, pipeline in enumerate(world.pipelines.values()):
            pipeline.extra["default"] = place == 0
        known = {stage.id for pipeline in world.pipelines.values() for stage in pipeline.stages}
        spare = {
            deal.stage_id: deal.outcome
            for deal in self.blueprint.deals
            if deal.stage_id and deal.stage_id not in known and deal.outcome != "open"
        }
        org.spare_stages = [
            rows.Stage(stage_id, stage_id, place, outcome, None, {"place": 10_000 + place})
            for place, (stage_id, outcome) in enumerate(spare.items())
        ]
        for place, (value, label) in enumerate(self._picks.items(), len(self._places) + 1):
            if label not in self._shown:
                extra = {"actual_value": value, "place": place}
                org.spare_stages.append(rows.Stage(world.new_id("option"), label, place, "open", None, extra))
        org.refresh()


def _whole_fields(blueprint: plan.Blueprint) -> dict[str, int]:
    """The fields whose values are whole numbers, as a reader tells them, with the largest one."""
    found: dict[str, int] = {}
    for field_id, value in fitting.custom_values(blueprint):
        if isinstance(value, int) and not isinstance(value, bool):
            found[field_id] = max(found.get(field_id, 0), abs(value))
    return found
