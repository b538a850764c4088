"""How a real portal's records become rows: stage ids carry the category, phones and addresses are rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import count
from typing import Any, ClassVar, cast

from crmkit.sandbox import blueprint as plan
from crmkit.sandbox import fitting, rows
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.bitrix24.app import Bitrix24App
from crmkit.sandbox.bitrix24.channels import FM, KEPT, projection
from crmkit.sandbox.bitrix24.fields import COMPANY_IDS, ORIGIN_ID, ORIGINATOR_ID, camel
from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.fitting import Unfit, custom_values
from crmkit.sandbox.rows import CustomField, Kind

MARKER = "crmkit:"
FIRST_NEW = 900_001
_USER_TYPES: Mapping[str, str] = {
    "number": "double",
    "money": "money",
    "boolean": "boolean",
    "day": "date",
    "time": "datetime",
    "choice": "enumeration",
    "choices": "enumeration",
    "owner": "employee",
    "link": "crm",
}


class Fitting(fitting.Fitting):
    """A portal."""

    most: ClassVar = {("deal", "companies"): 1}

    def __init__(self, blueprint: plan.Blueprint) -> None:
        super().__init__(blueprint)
        self._row_ids, self._channel_ids = count(101, 2), count(1)
        self._whole: set[str] = set()
        self._several: set[str] = set()
        for field_id, value in custom_values(blueprint):
            if isinstance(value, tuple):
                self._several.add(field_id)
            elif isinstance(value, int) and not isinstance(value, bool):
                self._whole.add(field_id)

    def stage(self, pipeline: plan.Pipeline, stage: plan.Stage) -> rows.Stage:
        """A stage; its id says of which category it is."""
        prefix = f"C{pipeline.id}:"
        if pipeline.id != "0" and not stage.id.startswith(prefix):
            raise Unfit("stage", stage.id, "id", f"does not begin with {prefix}")
        made = super().stage(pipeline, stage)
        code = stage.id.removeprefix(prefix)
        made.extra = {
            "row_id": next(self._row_ids),
            "system": code in {"NEW", "WON", "LOSE"},
            "initial": "",
            "color": {"open": "#39A8EF", "won": "#7BD500"}.get(stage.outcome, "#FF5752"),
            "apology": stage.outcome == "lost" and code != "LOSE",
            "sort": stage.order,
        }
        return made

    def field(self, kind: plan.FieldKind, field: plan.Field) -> CustomField:
        """A custom field; readers call it by its name in camel case."""
        made = super().field(kind, field)
        name = "".join(f"_{sign}" if sign.isupper() else sign for sign in field.id).upper()
        if camel(name) != field.id:
            raise Unfit("custom field", field.id, "name", "is none that a custom field can have")
        type_ = _USER_TYPES.get(field.type, "string")
        if type_ == "double" and field.id in self._whole:
            type_ = "integer"
        if field.type == "choice" and not field.options:
            type_ = "crm_status"
        made.id = made.key = name
        several = field.id in self._several or field.type in {"choices", "other"}
        made.extra = {"user_type": type_, "multiple": several, "mandatory": field.required, "revision": 0}
        made.extra["MANDATORY"] = "Y" if field.required else "N"
        return made

    def company(self, company: plan.Company, base: dict[str, Any]) -> dict[str, Any]:
        """A company with its phones, its address on the web, and its key."""
        pages = [f"https://{company.domain}"] if company.domain else []
        self._reach(base, "company", PHONE=company.phones, WEB=pages)
        _mark(base, "company", company.key)
        return base

    def contact(self, contact: plan.Contact, base: dict[str, Any]) -> dict[str, Any]:
        """A contact with its phones, e-mails, further companies, and its key."""
        self._reach(base, "contact", PHONE=contact.phones, EMAIL=contact.emails)
        if len(contact.company_ids) > 1:
            base["custom"][COMPANY_IDS] = contact.company_ids
        _mark(base, "contact", contact.key)
        return base

    def deal(self, deal: plan.Deal, base: dict[str, Any]) -> dict[str, Any]:
        """A deal; its source is the id in a directory."""
        if deal.source is not None:
            base["custom"][f"{KEPT}sourceId"] = deal.source
        _mark(base, "deal", deal.key)
        return base

    def note(self, note: plan.Note, base: dict[str, Any]) -> dict[str, Any]:
        """A comment; 0 stands for nobody."""
        base["author_id"] = note.author_id or "0"
        return base

    def _reach(self, base: dict[str, Any], kind: Kind, **by_type: Iterable[str]) -> None:
        lines = [
            (next(self._channel_ids), type_, "WORK", value)
            for type_, values in by_type.items()
            for value in values
        ]
        if lines:
            base["custom"][FM] = tuple(lines)
            base |= projection(kind, lines)

    def finish(self, app: VendorApp) -> None:
        """Let new stages and channels have numbers behind those in use."""
        portal = cast("Bitrix24App", app).portal
        for name, used in (("stage row ids", self._row_ids), ("multi-field ids", self._channel_ids)):
            portal.once(name, partial(counting_ids, max(next(used), FIRST_NEW), step=2))


def _mark(base: dict[str, Any], kind: str, key: str | None) -> None:
    if key is None:
        return
    source, _, origin = key.rpartition(":")
    if not source or not origin:
        raise Unfit(kind, base["id"], "key", "is not SOURCE:ID")
    base["custom"] |= {ORIGINATOR_ID: MARKER + source, ORIGIN_ID: origin}
