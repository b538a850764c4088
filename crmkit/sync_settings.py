"""The `[syncs.NAME]` tables of crmkit.toml: which CRMs are kept in step, and by which rules.

```toml
[syncs.main]
members = ["hubspot-us", "zoho-eu"]       # two or more connections
order = ["hubspot-us", "zoho-eu"]         # system of record first; decides conflicts by `priority`
fields = ["name", "stage", "amount", "owner", "company", "contacts", "expected_close"]
rule = "hold"                             # for fields without a rule of their own

[syncs.main.rules]
stage = "furthest_stage"
amount = "priority"

[syncs.main.member.zoho-eu]
role = "target"                           # both (default), source: only read, target: only written
create = "all"                            # or "none"
pipeline = "Standard"                     # where new deals go; the first pipeline if not named

[syncs.main.scope.hubspot-us]
pipelines = ["Sales Pipeline"]

[syncs.main.owners]                       # one person, two addresses: this one = that one
"ann@corp.example" = "ann@example.com"

[syncs.main.custom.segment]               # a custom field: its id in each CRM
in = { hubspot-us = "segment", zoho-eu = "Segment" }
values = { hubspot-us = { smb = "Small" } }   # CRM value = common value, where they differ
```
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEAL_FIELDS = (
    "name", "stage", "amount", "probability", "expected_close", "owner", "company", "contacts",
    "lost_reason", "source", "tags",
)  # fmt: skip
DEFAULT_FIELDS = ("name", "stage", "amount", "expected_close", "owner", "company", "contacts")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class SettingError(ValueError):
    """One setting does not fit another; `path` leads to it inside the sync."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Role(StrEnum):
    """How a member takes part."""

    BOTH = "both"
    SOURCE = "source"  # read, never written
    TARGET = "target"  # written; its own edits stay there


class Deletes(StrEnum):
    """What happens elsewhere when a deal is deleted in one member (sync-semantics 7)."""

    NONE = "none"
    DELETE = "delete"
    RECREATE = "recreate"


class MemberSettings(_Table):
    """How one connection takes part.

    `create`: whether deals that exist elsewhere are created here. `pipeline`: name or id
    of the pipeline for new deals.
    """

    role: Role = Role.BOTH
    create: Literal["all", "none"] = "all"
    pipeline: str | None = None


class ScopeSettings(_Table):
    """Which deals of one connection take part; all conditions must hold, an empty one always does.

    `pipelines`: names or ids. `owners`: e-mail addresses. `created_from`: the first day.
    `where`: custom field id to the values it may have.
    """

    pipelines: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    created_from: date | None = None
    where: Mapping[str, tuple[str, ...]] = {}


class CustomSettings(_Table):
    """One custom field that is kept in step.

    `in`: per connection, the CRM's id of the field. `values`: per connection, the CRM's
    value to the common one; values that are not named are the same everywhere.
    `options_only`: whether a value that is not named is reported instead of taken as it is.
    """

    in_: Mapping[str, str] = Field(alias="in")
    values: Mapping[str, Mapping[str, str]] = {}
    options_only: bool = False


class GuardSettings(_Table):
    """When a run stops before its first write (sync-semantics 7.1): a number, or a share of the links."""

    deletes: _Count = 5
    deletes_share: _Share = 0.02
    creates: _Count = 50
    creates_share: _Share = 0.10
    field_share: _Share = 0.30
    emptied_share: _Share = 0.10


class SyncSettings(_Table):
    """One sync group."""

    members: tuple[str, ...]
    order: tuple[str, ...] = ()
    fields: tuple[str, ...] = DEFAULT_FIELDS
    rule: str = ""
    rules: Mapping[str, str] = {}
    sources: Mapping[str, tuple[str, ...]] = {}
    member: Mapping[str, MemberSettings] = {}
    scope: Mapping[str, ScopeSettings] = {}
    custom: Mapping[str, CustomSettings] = {}
    pipelines: Mapping[str, Mapping[str, str]] = {}
    owners: Mapping[str, str] = {}
    deletes: Deletes = Deletes.NONE
    parties: Literal["create", "link"] = "create"
    guards: GuardSettings = GuardSettings()
    in_flight_seconds: Annotated[float, Field(ge=110)] = 300.0
    plan_minutes: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _consistent(self) -> SyncSettings:
        if len(self.members) < 2 or len(set(self.members)) != len(self.members):
            raise SettingError(("members",), "name at least two different connections")
        for where, names in (
            (("order",), self.order),
            (("member",), self.member),
            (("scope",), self.scope),
            *((("custom", field, "in"), settings.in_) for field, settings in self.custom.items()),
            *((("sources", field), names) for field, names in self.sources.items()),
            *((("pipelines", name), names) for name, names in self.pipelines.items()),
        ):
            for name in names:
                if name not in self.members:
                    path = (*where, name) if isinstance(names, Mapping) else where
                    raise SettingError(path, f"{name!r} is not a member. {_nearest(name, self.members)}")
        known = [*DEAL_FIELDS, *self.custom]
        for where, names in (
            (("fields",), self.fields), (("rules",), self.rules), (("sources",), self.sources),
        ):  # fmt: skip
            for name in names:
                if name not in known:
                    path = (*where, name) if isinstance(names, Mapping) else where
                    raise SettingError(path, f"there is no field {name!r}. {_nearest(name, known)}")
        for name in self.custom:
            if not _NAME.fullmatch(name) or name in DEAL_FIELDS:
                raise SettingError(("custom", name), "cannot be the name of a custom field")
        if not any(self.of(name).role is not Role.SOURCE for name in self.members):
            raise ValueError("every member is a source, so that nothing would be written")
        if not any(self.of(name).role is not Role.TARGET for name in self.members):
            raise ValueError("every member is a target, so that nothing would be read")
        return self

    def of(self, connection: str) -> MemberSettings:
        """How a member takes part."""
        return self.member.get(connection, MemberSettings())

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The fields that are kept in step, custom ones last."""
        return (*self.fields, *self.custom)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
