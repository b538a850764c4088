"""Settings of migrations: `[migrations.NAME]` in crmkit.toml; most have a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crmkit.sync_settings import DEAL_FIELDS, ScopeSettings, SettingError

SKIP = "skip"
"""Instead of a target: leave it where it is."""
NOTE = "note"
"""Instead of a target field: tell the value in the note about the deal's past."""
NOBODY = "nobody"
"""Instead of a target owner: the deal goes without one."""
Missing = Literal["hold", "without", "leave_out"]
WITHOUT_VALUE = (*DEAL_FIELDS, "people")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldDecisions(_Table):
    """Custom fields by kind: the source's id or label to the target's, or `note`, or `skip`."""

    deal: Mapping[str, str] = {}
    company: Mapping[str, str] = {}
    contact: Mapping[str, str] = {}


class MigrationSettings(_Table):
    """How one CRM is moved into another one.

    Attributes:
        source: The connection that is read, never written.
        target: The connection that is written.
        pipelines: A source pipeline (name or id) to one of the target, or `skip`.
        stages: Per source pipeline, a stage (name or id) to one of the target's pipeline.
        fields: Custom fields.
        options: Per source field, an option's label to one of the target's.
        owners: The e-mail address or id of a source owner to the address of a target user, or `nobody`.
        missing: Per deal field, what becomes of a deal whose value the target cannot take: it
            waits (`hold`), goes `without`, or stays where it is (`leave_out`); `people` is for
            companies and contacts that the target does not take.
        parties: Whether companies and people come along that no deal names.
        notes: Whether notes come along.
        history: Whether each deal gets a note about its past: stages, dates, and what found no field.
        conflicts: What becomes of a field that source and target hold differently, because it
            was edited in both or was there before: it waits, or what the target holds stays.
        scope: Which deals take part.
    """

    source: str
    target: str
    pipelines: Mapping[str, str] = {}
    stages: Mapping[str, Mapping[str, str]] = {}
    fields: FieldDecisions = FieldDecisions()
    options: Mapping[str, Mapping[str, str]] = {}
    owners: Mapping[str, str] = {}
    missing: Mapping[str, Missing] = {}
    parties: Literal["all", "deals"] = "all"
    notes: bool = True
    history: bool = True
    conflicts: Literal["hold", "target"] = "hold"
    scope: ScopeSettings = ScopeSettings()
    in_flight_seconds: Annotated[float, Field(ge=110)] = 300.0
    plan_minutes: Annotated[float, Field(gt=0)] = 60.0

    def options_of(self, native: str, label: str) -> Mapping[str, str]:
        """What is decided about the options of a source field: label to label."""
        return self.options.get(native, self.options.get(label, {}))

    @model_validator(mode="after")
    def _consistent(self) -> MigrationSettings:
        if self.source == self.target:
            raise SettingError(("target",), "is the source itself")
        for name in self.missing:
            if name not in WITHOUT_VALUE:
                known = ", ".join(WITHOUT_VALUE)
                raise SettingError(("missing", name), f"there is no such field. Known: {known}.")
        for name in ("name", "stage"):
            if self.missing.get(name) == "without":
                raise SettingError(("missing", name), f"no CRM takes a deal without a {name}")
        return self
