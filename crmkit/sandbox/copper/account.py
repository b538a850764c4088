"""What every write needs: the records, who writes, what is taken, and what a write sets off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.copper.records import ENTITY_TYPES, Records
from crmkit.sandbox.copper.uniqueness import Taken
from crmkit.sandbox.copper.webhooks import Webhooks
from crmkit.sandbox.courier import Courier
from crmkit.sandbox.rows import Kind, SideEffect, User


class Account:
    """One Copper account, from the side of its writers.

    Attributes:
        extra: The switches in `settings.extra`; see `CopperApp`.
        taken: E-mail addresses and domains that are taken.
    """

    def __init__(self, records: Records, extra: Mapping[str, Any], courier: Courier | None = None) -> None:
        self.records, self.world, self.extra = records, records.world, extra
        self.taken = Taken(self.world)
        self.webhooks = Webhooks(self.world, courier)

    @property
    def user(self) -> User:
        """Whose key it is: the author of every write."""
        return next(user for user in self.world.users.values() if user.active)

    def set_off(self, kind: Kind, row_id: str, event: str, *, assigned: str | None = None) -> None:
        """Log what a write starts: automations ask not whether a person or a program wrote (inferred)."""
        log, by = self.world.side_effects, self.user.id
        if kind != "note":
            log.append(SideEffect(kind, row_id, "workflow", by))
        if assigned is not None and assigned != by:
            log.append(SideEffect(kind, row_id, "notification", by))
        entity = ENTITY_TYPES.get(kind, "activity_log")
        if self.webhooks.wants(entity, event):
            log.append(SideEffect(kind, row_id, "webhook", by))
