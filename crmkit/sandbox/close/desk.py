"""What every write needs: one call's body, the role's permissions, and how a record is saved.

Source: https://developer.close.com/api/resources/roles (permissions); what starts a workflow is inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from crmkit.sandbox.close.answers import Params, refuse
from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, Body
from crmkit.sandbox.close.customs import read_customs
from crmkit.sandbox.close.records import Records
from crmkit.sandbox.rows import Kind, SideEffect

FORBIDDEN = "You do not have permission to perform this action."


@dataclass(frozen=True, slots=True)
class Call:
    """One write: who, where, and what was said."""

    said: Mapping[str, Any]
    path: Mapping[str, str]
    params: Params
    by: str
    tz: timedelta


Write = Callable[[Call], Any]


class Desk:
    """Saves what was written, as the key's user.

    `settings.extra` may hold `close_read_only` (the role may not write at all) and
    `close_lacking` (permissions that the role lacks, such as `manage_customizations`).
    """

    def __init__(self, records: Records, extra: Mapping[str, Any]) -> None:
        self.records, self.world = records, records.world
        self._extra = extra

    def admit(self) -> None:
        """Refuse every write of a role that may only read (403, body inferred)."""
        if self._extra.get("close_read_only"):
            raise refuse(FORBIDDEN, 403)

    def need(self, permission: str) -> None:
        """Refuse what the role lacks the permission for."""
        if permission in self._extra.get("close_lacking", ()):
            raise refuse(FORBIDDEN, 403)

    def customs(
        self, kind: Kind, body: Body, fields: dict[str, Any], row: Any | None = None
    ) -> dict[str, Any]:
        """The fields of a row, and the custom values of a body added to them."""
        read_customs(self.world, self.records.fields_by_id[kind], kind, body, fields, row)
        return fields

    def owner(self, body: Body, name: str = "user_id") -> str | None:
        """A user who can own something; who left cannot (the shape of that refusal is inferred)."""
        user_id = body.text(name)
        if user_id is None:
            return None
        user = self.world.users.get(user_id)
        if user is None:
            body.wrong(name, NO_SUCH_OBJECT)
        elif not user.active:
            body.wrong(name, "User is not an active member of this organization.")
        return user_id

    def save(self, kind: Kind, row: Any, by: str, fields: dict[str, Any]) -> Any:
        """Write what differs; a body that changes nothing leaves `date_updated` alone (inferred)."""
        custom = {
            key: value for key, value in fields.pop("custom", {}).items() if row.custom.get(key) != value
        }
        changed = {name: value for name, value in fields.items() if getattr(row, name) != value}
        if custom:
            changed["custom"] = custom
        return self.world.edit(kind, row.id, by=by, **changed) if changed else row

    def started(self, kind: Kind, row_id: str, by: str) -> None:
        """Note that the write started the organization's workflows; the API has no switch for them."""
        self.world.side_effects.append(SideEffect(kind, row_id, "workflow", by))


def filled(custom: Mapping[str, Any]) -> dict[str, Any]:
    """The custom values of a new record: those that are set."""
    return {key: value for key, value in custom.items() if value is not None}
