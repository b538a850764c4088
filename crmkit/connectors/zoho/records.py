"""From Zoho's rows to canonical records. No calls, no clock.

Ids: a pipeline is known by its id; a stage by the id of its value in the `Stage` picklist,
because that value is shared by all pipelines and survives renaming. Deals hold neither:
they name the pipeline by what is displayed and the stage by its `actual_value`, so both
are looked up. A name that is not known (Zoho stores any text) stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from crmkit.connectors.translate import FieldError, day, instant, number, percent, text
from crmkit.connectors.zoho.columns import KEY_FIELD, Reader, lookup_id
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

# The id of the one pipeline of an org that has sales pipelines switched off.
ONLY_PIPELINE = "default"
_OUTCOMES = {"Open": Outcome.OPEN, "Closed Won": Outcome.WON, "Closed Lost": Outcome.LOST}
_PERCENTS = {whole: Decimal(whole) / 100 for whole in range(101)}


@dataclass(frozen=True, slots=True)
class StageValue:
    """One value of the Stage picklist."""

    id: str
    name: str
    order: int
    outcome: Outcome
    probability: Decimal | None
    forecast_category: str | None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What the texts in deals mean.

    Attributes:
        stages: Stage by actual value, and by display value where nothing else has it.
        pipelines: Pipeline id by display value.
        only_pipeline: The pipeline of every deal, if sales pipelines are off.
        shared: Names that pipelines of several layouts have: id and stage ids of each.
    """

    stages: Mapping[str, StageValue]
    pipelines: Mapping[str, str]
    only_pipeline: str | None = None
    shared: Mapping[str, Sequence[tuple[str, frozenset[str]]]] = field(default_factory=dict)

    def stage_id(self, name: str) -> str:
        """The id of a stage, or the text itself if no stage is called that."""
        stage = self.stages.get(name)
        return stage.id if stage else name

    def know(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether all stages and pipelines that these deals name are known."""
        stages = {row.get("Stage") for row in rows}
        if any(name and name not in self.stages for name in stages if isinstance(name, str)):
            return False
        pipelines = {row.get("Pipeline") for row in rows if isinstance(row.get("Pipeline"), str)}
        return not any(name and name not in self.pipelines for name in pipelines)

    def pipeline_id(self, name: str | None, stage: StageValue | None) -> str | None:
        """The id of a deal's pipeline, or the text itself if no pipeline is called that."""
        if self.only_pipeline is not None:
            return self.only_pipeline
        if name is not None and name in self.shared and stage is not None:
            # A deal does not tell its layout here, so its stage has to decide.
            having = [native for native, stages in self.shared[name] if stage.id in stages]
            if len(having) == 1:
                return having[0]
        return self.pipelines.get(name, name) if name else None


NO_NAMES = Names({}, {})


def stage_values(stage_field: Mapping[str, Any]) -> list[StageValue]:
    """The values of the Stage picklist; the only place that tells probabilities."""
    found: list[StageValue] = []
    for order, value in enumerate(stage_field.get("pick_list_values") or ()):
        category = value.get("forecast_category")
        found.append(
            StageValue(
                id=str(value["id"]),
                name=str(value["display_value"]),
                order=order if value.get("sequence_number") is None else int(value["sequence_number"]),
                # Probability 0 or 100 does not decide: only the forecast type does.
                outcome=_OUTCOMES.get(str(value.get("forecast_type")), Outcome.OPEN),
                probability=percent(value.get("probability"), "Stage.probability"),
                forecast_category=category.get("name") if isinstance(category, dict) else None,
                archived=value.get("type") == "unused",
            )
        )
    return found


def names(stage_field: Mapping[str, Any], pipelines: Sequence[Mapping[str, Any]]) -> Names:
    """The names that deals use, from the Stage field and the pipelines of all layouts."""
    values = stage_field.get("pick_list_values") or ()
    by_id = {stage.id: stage for stage in stage_values(stage_field)}
    stages: dict[str, StageValue] = {}
    for key in ("actual_value", "display_value", "reference_value"):
        for value in values:
            if isinstance(value.get(key), str):
                stages.setdefault(value[key], by_id[str(value["id"])])
    by_name: dict[str, str] = {}
    for key in ("display_value", "actual_value"):
        for row in pipelines:
            by_name.setdefault(str(row[key]), str(row["id"]))
    members: dict[str, dict[str, frozenset[str]]] = {}
    for row in pipelines:
        stage_ids = frozenset(str(entry["id"]) for entry in row.get("maps") or ())
        members.setdefault(str(row["display_value"]), {})[str(row["id"])] = stage_ids
    shared = {name: tuple(found.items()) for name, found in members.items() if len(found) > 1}
    return Names(stages, by_name, None if pipelines else ONLY_PIPELINE, shared)


def pipelines(
    connection: str, stage_field: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[Pipeline]:
    """All pipelines, or the Stage picklist as the one pipeline if there are none."""
    values = stage_values(stage_field)
    if not rows:
        stages = tuple(_stage(value, value.name, value.order) for value in values)
        ref = Ref(connection, Kind.PIPELINE, ONLY_PIPELINE)
        return [Pipeline(ref=ref, name="Deals", stages=_in_order(stages))]
    by_id = {value.id: value for value in values}
    found: dict[str, Pipeline] = {}
    for order, row in enumerate(rows):
        stages = tuple(_mapped(entry, by_id) for entry in row.get("maps") or ())
        ref = Ref(connection, Kind.PIPELINE, str(row["id"]))
        # The same pipeline may be listed for several layouts.
        found.setdefault(
            ref.id, Pipeline(ref=ref, name=str(row["display_value"]), order=order, stages=_in_order(stages))
        )
    return list(found.values())


def _mapped(entry: Mapping[str, Any], by_id: Mapping[str, StageValue]) -> Stage:
    value = by_id.get(str(entry["id"]))
    order = int(entry.get("sequence_number") or 0)
    if value is None:
        outcome = _OUTCOMES.get(str(entry.get("forecast_type")), Outcome.OPEN)
        return Stage(id=str(entry["id"]), name=str(entry["display_value"]), order=order, outcome=outcome)
    return _stage(value, str(entry["display_value"]), order)


def _stage(value: StageValue, name: str, order: int) -> Stage:
    return Stage(
        id=value.id,
        name=name,
        order=order,
        outcome=value.outcome,
        probability=value.probability,
        archived=value.archived,
    )


def _in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    return tuple(sorted(stages, key=lambda stage: stage.order))


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read the rows of one kind of one org.

    Attributes:
        connection: Name of the connection, for refs.
        custom: Readers of the custom fields.
        names: What stages and pipelines are called; deals and stage changes need it.
        currency: The org's own currency.
        url: Where a record is in Zoho's UI, without its id; `None` if not known.
    """

    connection: str
    custom: Sequence[tuple[str, Reader]] = ()
    names: Names = NO_NAMES
    currency: str | None = None
    url: str | None = None

    def deal(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Deal`; what is not set is left out, which is what costs least."""
        get = row.get
        native = row["id"]
        modified = _time(get("Modified_Time"), "Modified_Time")
        stage_name = text(get("Stage"), "Stage")
        found: dict[str, Any] = {
            "ref": Ref(self.connection, Kind.DEAL, native),
            "name": text(get("Deal_Name"), "Deal_Name") or "",
            # The record's own currency exists only where the org uses several.
            "currency": text(get("Currency"), "Currency") or self.currency,
            "created_at": _time(get("Created_Time"), "Created_Time"),
            "modified_at": modified,
            "version": modified.isoformat() if modified else None,
            "stage_id": stage_name,
        }
        stage = self.names.stages.get(stage_name) if stage_name else None
        if stage is not None:
            found["stage_id"] = stage.id
            found["outcome"] = stage.outcome
            found["forecast_category"] = stage.forecast_category
            if stage.outcome is Outcome.LOST:
                found["lost_reason"] = text(get("Reason_For_Loss__s"), "Reason_For_Loss__s")
        found["pipeline_id"] = self.names.pipeline_id(text(get("Pipeline"), "Pipeline"), stage)
        if (value := get("Amount")) is not None:
            found["amount"] = number(value, "Amount")
        if (value := get("Probability")) is not None:
            known = _PERCENTS.get(value) if type(value) is int else None
            found["probability"] = known if known is not None else percent(value, "Probability")
        if (value := get("Owner")) is not None:
            found["owner_id"] = lookup_id(value, "Owner")
        if (value := lookup_id(get("Account_Name"), "Account_Name")) is not None:
            found["companies"] = (value,)
        if (value := lookup_id(get("Contact_Name"), "Contact_Name")) is not None:
            found["contacts"] = ({"id": value, "primary": True},)
        if (value := get("Closing_Date")) is not None:
            found["expected_close"] = day(value, "Closing_Date")
        if (value := get("Last_Activity_Time")) is not None:
            found["last_activity_at"] = _time(value, "Last_Activity_Time")
        # Newer orgs only, and empty for deals that have not moved since.
        if (value := get("Stage_Modified_Time")) is not None:
            found["stage_entered_at"] = entered = _time(value, "Stage_Modified_Time")
            if stage is not None and stage.outcome is not Outcome.OPEN:
                found["closed_at"] = entered
        if (value := get("Lead_Source")) is not None:
            found["source"] = text(value, "Lead_Source")
        if value := get("Tag"):
            found["tags"] = _tags(value)
        if self.url:
            found["url"] = self.url + native
        if (value := get(KEY_FIELD)) is not None:
            found["key"] = _key(value)
        if self.custom:
            found["custom"] = self._custom(row)
        return found

    def company(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Company`."""
        get = row.get
        native = row["id"]
        modified = _time(get("Modified_Time"), "Modified_Time")
        phone = text(get("Phone"), "Phone")
        return {
            "ref": Ref(self.connection, Kind.COMPANY, native),
            "name": text(get("Account_Name"), "Account_Name") or "",
            "domain": _domain(text(get("Website"), "Website")),
            "phones": (phone,) if phone else (),
            "owner_id": lookup_id(get("Owner"), "Owner"),
            "city": text(get("Billing_City"), "Billing_City"),
            "country": text(get("Billing_Country"), "Billing_Country"),
            "postcode": text(get("Billing_Code"), "Billing_Code"),
            "key": _key(get(KEY_FIELD)),
            "custom": self._custom(row),
            "url": self.url and self.url + native,
            "created_at": _time(get("Created_Time"), "Created_Time"),
            "modified_at": modified,
            "version": modified.isoformat() if modified else None,
        }

    def contact(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Contact`."""
        get = row.get
        native = row["id"]
        modified = _time(get("Modified_Time"), "Modified_Time")
        first, last = text(get("First_Name"), "First_Name"), text(get("Last_Name"), "Last_Name")
        company = lookup_id(get("Account_Name"), "Account_Name")
        return {
            "ref": Ref(self.connection, Kind.CONTACT, native),
            "name": text(get("Full_Name"), "Full_Name") or " ".join(part for part in (first, last) if part),
            "first_name": first,
            "last_name": last,
            "emails": _texts(row, "Email", "Secondary_Email"),
            "phones": _texts(row, "Phone", "Mobile", "Home_Phone", "Other_Phone"),
            "companies": (company,) if company else (),
            "owner_id": lookup_id(get("Owner"), "Owner"),
            "city": text(get("Mailing_City"), "Mailing_City"),
            "country": text(get("Mailing_Country"), "Mailing_Country"),
            "postcode": text(get("Mailing_Zip"), "Mailing_Zip"),
            "key": _key(get(KEY_FIELD)),
            "custom": self._custom(row),
            "url": self.url and self.url + native,
            "created_at": _time(get("Created_Time"), "Created_Time"),
            "modified_at": modified,
            "version": modified.isoformat() if modified else None,
        }

    def owner(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of an `Owner`."""
        whole = text(row.get("full_name"), "full_name")
        email = text(row.get("email"), "email")
        parts = [text(row.get(part), part) for part in ("first_name", "last_name")]
        return {
            "ref": Ref(self.connection, Kind.OWNER, row["id"]),
            "name": whole or " ".join(part for part in parts if part) or email or row["id"],
            "email": email,
            "active": row.get("status") == "active",
        }

    def note(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Note`; the row must be one of a deal or an account (`note_parent`)."""
        module = note_parent(row)
        parent = lookup_id(row.get("Parent_Id"), "Parent_Id")
        # A note may have a title, a text, or both.
        written = [text(row.get(part), part) for part in ("Note_Title", "Note_Content")]
        return {
            "ref": Ref(self.connection, Kind.NOTE, row["id"]),
            "deal_id": parent if module == "Deals" else None,
            "company_id": parent if module == "Accounts" else None,
            "text": "\n".join(part for part in written if part),
            "author_id": lookup_id(row.get("Created_By") or row.get("Owner"), "Owner"),
            "at": _time(row.get("Created_Time"), "Created_Time"),
            "modified_at": _time(row.get("Modified_Time"), "Modified_Time"),
        }

    def _custom(self, row: Mapping[str, Any]) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        for name, read in self.custom:
            value = row.get(name)
            if value is not None:
                value = read(value, name)
                if value is not None:
                    custom[name] = value
        return custom


def note_parent(row: Mapping[str, Any]) -> str:
    """The module of the record that a note is on.

    Raises:
        FieldError: Neither of the two places tells it.
    """
    parent = row.get("Parent_Id")
    module = parent.get("module") if isinstance(parent, dict) else None
    name = module.get("api_name") if isinstance(module, dict) else row.get("$se_module")
    if not isinstance(name, str):
        raise FieldError("$se_module", "does not tell what the note is on")
    return name


def row_id(row: Mapping[str, Any]) -> str:
    """The id of any row."""
    return str(row["id"])


def _time(value: Any, field: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return instant(value, field)
    return moment.astimezone(UTC) if moment.tzinfo else instant(value, field)


def _texts(row: Mapping[str, Any], *fields: str) -> tuple[str, ...]:
    found = (text(row.get(field), field) for field in fields)
    return tuple(dict.fromkeys(value for value in found if value))


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise FieldError("Tag", "is not a list of tags")
    return tuple(tag["name"] if isinstance(tag, dict) else str(tag) for tag in value)


def _key(value: Any) -> str | None:
    key = text(value, KEY_FIELD)
    return key.removeprefix("crmkit:") if key else None


def _domain(website: str | None) -> str | None:
    if not website:
        return None
    try:
        host = urlsplit(website if "://" in website else f"//{website}").hostname or ""
    except ValueError:  # such as an unclosed bracket: people type anything into this field
        return None
    return host.removeprefix("www.") or None
