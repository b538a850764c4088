"""From a row of a write's body to the fields of our world, with everything that Zoho objects to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from crmkit.sandbox.rows import Contact, Deal, Kind, Note
from crmkit.sandbox.zoho.org import Org, actual_value
from crmkit.sandbox.zoho.people import website_domain
from crmkit.sandbox.zoho.schema import Field, Module
from crmkit.sandbox.zoho.values import TABLES, Wrong, read_value

_COLUMNS: Mapping[Kind, Mapping[str, str]] = {
    "deal": {
        "Owner": "owner_id",
        "Deal_Name": "name",
        "Closing_Date": "expected_close",
        "Account_Name": "company_id",
        "Lead_Source": "source",
        "Reason_For_Loss__s": "lost_reason",
        "Currency": "currency",
        "Amount": "amount",
    },
    "company": {
        "Owner": "owner_id",
        "Account_Name": "name",
        "Phone": "phone",
        "Billing_Street": "street",
        "Billing_City": "city",
        "Billing_Code": "postcode",
        "Billing_Country": "country",
    },
    "contact": {
        "Owner": "owner_id",
        "First_Name": "first",
        "Last_Name": "last",
        "Account_Name": "company_id",
    },
    "note": {"Owner": "author_id", "Note_Content": "text"},
    "user": {},
}
_NEVER_EMPTY = {"first", "text"}  # text in our rows where Zoho shows null
_NOTE_PARENTS = {"Deals": "deal_id", "Accounts": "company_id", "Contacts": "contact_id"}
_CENT, _ONE = Decimal("0.01"), Decimal(1)


@dataclass(slots=True)
class Draft:
    """What a row will become.

    Attributes:
        said: What was said of each field, as our rows hold it.
        fields: What the world is given.
        errors: Why nothing will be written, as Zoho says it.
    """

    said: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)


class Drafts:
    """Makes drafts for one organisation."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self._requirements: dict[str, tuple[Module, Sequence[Field]]] = {}
        self._finish: Mapping[Kind, Callable[[Draft, Any, str], None]] = {
            "deal": self._deal,
            "company": self._company,
            "contact": self._contact,
        }

    def make(
        self, module: Module, row: Any, before: Any | None, path: str, *, complete: bool = False
    ) -> Draft:
        """Read one row.

        Unknown names are ignored, and so are the fields that only Zoho writes (an official example sends
        `Expected_Revenue`).

        Args:
            before: The record that is changed; `None` for a new one.
            path: Where the row stands in the body, for `json_path`.
            complete: Whether every required field must be there although a record is changed.
        """
        draft = Draft()
        if not isinstance(row, dict):
            draft.errors.append(_error(Wrong("INVALID_DATA", expected_data_type="jsonobject"), "data", path))
            return draft
        for name, value in row.items():
            one = module.fields.get(name)
            if one is not None and not one.read_only and not one.hidden:
                self._read(draft, one, value, path)
        self._require(draft, module, row, before is None or complete, path)
        if "Layout" in row:
            self._check_layout(draft, module, row["Layout"], path)
        assert module.kind is not None
        if module.kind == "note":
            self._note(draft, row, before, path)
        elif not draft.errors:
            self._place(draft, module, row, before)
            self._finish[module.kind](draft, before, path)
        return draft

    def _read(self, draft: Draft, one: Field, value: Any, path: str) -> None:
        if one.name in {"Tag", "Parent_Id"}:
            return
        try:
            stored = read_value(self.org, one, value)
            if stored is None and one.name == "Owner":
                raise Wrong("INVALID_DATA", expected_data_type="jsonobject")
            if one.name == "Probability" and stored is not None and not 0 <= stored <= 100:
                raise Wrong("INVALID_DATA")
        except Wrong as wrong:
            draft.errors.append(_error(wrong, one.name, path))
        else:
            draft.said[one.name] = stored

    def _require(
        self, draft: Draft, module: Module, row: Mapping[str, Any], complete: bool, path: str
    ) -> None:
        for one in self._required(module):
            missing = complete if one.name not in row else one.name in draft.said
            value = draft.said.get(one.name)
            if missing and (value is None or (isinstance(value, str) and not value.strip())):
                wrong = Wrong("MANDATORY_NOT_FOUND", "required field not found")
                draft.errors.append(_error(wrong, one.name, path))

    def _required(self, module: Module) -> Sequence[Field]:
        known = self._requirements.get(module.name)
        if known is None or known[0] is not module:
            known = (module, [one for one in module.fields.values() if one.mandatory])
            self._requirements[module.name] = known
        return known[1]

    def _check_layout(self, draft: Draft, module: Module, layout: Any, path: str) -> None:
        known = module.fields["$layout_id"].raw(None)["id"] if "$layout_id" in module.fields else None
        if not isinstance(layout, dict) or str(layout.get("id")) != known:
            draft.errors.append(_error(Wrong("INVALID_DATA"), "Layout", path))

    def _place(self, draft: Draft, module: Module, row: Mapping[str, Any], before: Any | None) -> None:
        """Put each value in its column, or where the organisation's fields and all the others are kept."""
        assert module.kind is not None
        columns, fields = _COLUMNS[module.kind], draft.fields
        custom: dict[str, Any] = fields.setdefault("custom", {})
        appended = row.get("$append_values")
        for name, value in draft.said.items():
            one = module.fields[name]
            if name in columns:
                column = columns[name]
                fields[column] = "" if value is None and column in _NEVER_EMPTY else value
            elif one.custom is not None:
                key = one.custom.key
                if before is not None and isinstance(appended, dict) and appended.get(name) and value:
                    custom[key] = tuple(dict.fromkeys((*before.custom.get(key, ()), *value)))
                else:
                    custom[key] = value
            elif name not in {"Stage", "Pipeline", "Probability", "Contact_Name"}:
                custom[f"${name}"] = value
        if "Tag" in row:
            fields["tags"] = _tags(row["Tag"])

    # What is more than a column

    def _deal(self, draft: Draft, before: Deal | None, path: str) -> None:
        self._money(draft, before)
        self._stage(draft, before, path)
        if "Contact_Name" in draft.said:
            _primary(draft, before)

    def _money(self, draft: Draft, before: Deal | None) -> None:
        amount = draft.fields.get("amount")
        if draft.fields.get("currency", "") is None:
            del draft.fields["currency"]
        if amount is None:
            return
        currency = draft.fields.get("currency") or (
            before.currency if before else self.org.world.base_currency
        )
        digits = _ONE if currency == "JPY" else _CENT
        draft.fields["amount"] = amount.quantize(digits, ROUND_HALF_UP)

    def _stage(self, draft: Draft, before: Deal | None, path: str) -> None:
        """Stage, pipeline and what follows from them: probability, status, day of closing.

        Both are text that Zoho stores unchecked; an unknown stage leaves the probability as it was
        (recorded). With the switch `strict_stages` they must belong together.
        """
        said, fields, org = draft.said, draft.fields, self.org
        if "Pipeline" in said:
            fields["pipeline_id"] = self._pipeline_id(said["Pipeline"])
        pipeline_id = fields.get("pipeline_id") or (before.pipeline_id if before else None)
        if "Stage" in said:
            stage = org.stage_named(said["Stage"])
            stage_id = stage.id if stage else said["Stage"]
            if before is None or stage_id != before.stage_id:
                fields["stage_id"] = stage_id
                if stage is not None:
                    fields["probability"] = None
                    fields["status"] = stage.outcome
                    fields["closed_at"] = None if stage.outcome == "open" else org.world.now()
                elif before is not None:
                    fields["probability"] = org.probability(before) / 100
                    fields["status"], fields["closed_at"] = before.status, before.closed_at
        if "Probability" in said:
            percent = said["Probability"]
            fields["probability"] = None if percent is None else percent / 100
        changed = "Stage" in said or "Pipeline" in said
        if changed and org.settings.extra.get("strict_stages"):
            stage_id = fields.get("stage_id") or (before.stage_id if before else "")
            self._check_together(draft, pipeline_id, stage_id, path)

    def _pipeline_id(self, value: str) -> str:
        for pipeline in self.org.world.pipelines.values():
            if value == pipeline.name:
                return pipeline.id
        return value

    def _check_together(self, draft: Draft, pipeline_id: str | None, stage_id: str, path: str) -> None:
        pipeline = self.org.world.pipelines.get(pipeline_id or next(iter(self.org.world.pipelines)))
        if pipeline is None:
            shown = [one.name for one in self.org.world.pipelines.values()]
            draft.errors.append(_error(Wrong("INVALID_DATA", supported_values=shown), "Pipeline", path))
        elif self.org.stage(stage_id) is None:
            values = [actual_value(stage) for stage in pipeline.stages]
            draft.errors.append(_error(Wrong("INVALID_DATA", supported_values=values), "Stage", path))
        elif all(stage.id != stage_id for stage in pipeline.stages):
            dependee = {"api_name": "Pipeline", "json_path": f"{path}.Pipeline"}
            wrong = Wrong("DEPENDENT_MISMATCH", "the dependent field value does not match", dependee=dependee)
            draft.errors.append(_error(wrong, "Stage", path))

    def _company(self, draft: Draft, before: Any | None, path: str) -> None:
        if "Website" in draft.said:
            written = draft.said["Website"]
            draft.fields["domain"] = website_domain(written) if written else None

    def _contact(self, draft: Draft, before: Contact | None, path: str) -> None:
        custom, said = draft.fields["custom"], draft.said
        if before is None:
            draft.fields.setdefault("first", "")
        for column, names in (("emails", ("Email", "Secondary_Email")), ("phones", ("Phone", "Mobile"))):
            if said.keys().isdisjoint(names):
                continue
            old: tuple[str, ...] = getattr(before, column) if before else ()
            now = [
                said.get(name, old[place] if place < len(old) else None) for place, name in enumerate(names)
            ]
            draft.fields[column] = _row_of(now, old[2:])
            for name in names:
                custom.pop(f"${name}", None)

    def _note(self, draft: Draft, row: Mapping[str, Any], before: Note | None, path: str) -> None:
        said, fields = draft.said, draft.fields
        if before is None:
            self._note_parent(draft, row, path)
        title = (
            said.get("Note_Title")
            if "Note_Title" in said or before is None
            else before.custom.get("$Note_Title")
        )
        text = said.get("Note_Content") if "Note_Content" in said or before is None else before.text
        if not title and not text and not draft.errors:
            names = ("Note_Content", "Note_Title")
            expected = [{"api_name": name, "json_path": f"{path}.{name}"} for name in names]
            message = "Either one or both the fields are mandatory"
            draft.errors.append(_row_error("EXPECTED_FIELD_MISSING", {"expected_fields": expected}, message))
        fields["text"] = text or ""
        fields["custom"] = {"$Note_Title": title}
        if "Owner" in said:
            fields["author_id"] = said["Owner"]

    def _note_parent(self, draft: Draft, row: Mapping[str, Any], path: str) -> None:
        parent = row.get("Parent_Id")
        if parent is None:
            wrong = Wrong("MANDATORY_NOT_FOUND", "required field not found")
            draft.errors.append(_error(wrong, "Parent_Id", path))
            return
        module = parent.get("module") if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or not isinstance(module, dict):
            wrong = Wrong("INVALID_DATA", expected_data_type="jsonobject")
            draft.errors.append(_error(wrong, "Parent_Id", path))
            return
        name, parent_id = str(module.get("api_name")), str(parent.get("id"))
        column = _NOTE_PARENTS.get(name)
        table: Mapping[str, Any] = self.org.world.live.tables.get(TABLES.get(name, ""), {})  # type: ignore[call-overload]
        if column is None or parent_id not in table:
            wrong = Wrong("INVALID_DATA", "the related id given seems to be invalid")
            draft.errors.append(_error(wrong, "Parent_Id", path))
        else:
            draft.fields[column] = parent_id


def _primary(draft: Draft, before: Deal | None) -> None:
    """Put the primary contact first; the former one stays only if it was given a role of its own."""
    contact_id = draft.said["Contact_Name"]
    old = before.contact_ids if before else ()
    roles = before.custom.get("$Roles", {}) if before else {}
    was_primary = old[0] if before and old and "$No_Primary" not in before.custom else None
    rest = tuple(one for one in old if one != contact_id and (one != was_primary or one in roles))
    draft.fields["contact_ids"] = (contact_id, *rest) if contact_id else rest
    draft.fields["custom"]["$No_Primary"] = True if rest and not contact_id else None


def _row_of(now: list[str | None], rest: tuple[str, ...]) -> tuple[str, ...]:
    """Values by place, an empty one only where a later one follows."""
    values = [value or "" for value in now] + list(rest)
    while values and not values[-1]:
        values.pop()
    return tuple(values)


def _tags(value: Any) -> tuple[str, ...]:
    rows = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(str(row["name"]) for row in rows if isinstance(row, dict) and row.get("name")))


def _error(wrong: Wrong, name: str, path: str) -> dict[str, Any]:
    where = path if name == "data" else f"{path}.{name}"
    return _row_error(wrong.code, {**wrong.details, "api_name": name, "json_path": where}, wrong.message)


def _row_error(code: str, details: Mapping[str, Any], message: str) -> dict[str, Any]:
    return {"code": code, "details": details, "message": message, "status": "error"}
