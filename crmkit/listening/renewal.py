"""Keeps webhooks from ending that end by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from crmkit.connectors.clock import Clock
from crmkit.connectors.hooks import Hooks, Subscription, ours
from crmkit.errors import CrmkitError

LOOK_EVERY = timedelta(hours=1)


class Renewal:
    """Looks once an hour whether one of our webhooks is due.

    Args:
        hooks: By connection; those that do not end are left alone.
        paths: The secret path of each connection: what tells ours from others.
        clock: Where time comes from.
        trouble: Told the connection and what went wrong.
    """

    def __init__(
        self,
        hooks: Mapping[str, Hooks],
        paths: Mapping[str, str],
        clock: Clock,
        trouble: Callable[[str, CrmkitError], None],
    ) -> None:
        self._hooks = {name: one for name, one in hooks.items() if one.expires}
        self._paths, self._clock, self._trouble = paths, clock, trouble
        self._due: dict[str, datetime] = {}
        self._missed: set[str] = set()

    def __call__(self) -> None:
        """Renew what is due; never raises for what goes wrong with a CRM."""
        now = self._clock.now()
        for name, hooks in self._hooks.items():
            if now < self._due.get(name, now):
                continue
            self._due[name] = now + LOOK_EVERY
            try:
                found = ours(hooks.subscriptions(), self._paths[name])
                self._renew(name, hooks, found, now)
            except CrmkitError as error:
                self._trouble(name, error)

    def _renew(self, name: str, hooks: Hooks, found: list[Subscription], now: datetime) -> None:
        at = hooks.renew_at(found)
        if at is not None:
            self._missed.discard(name)
            if at <= now:
                # Where it goes to stays as it is: this process need not know its own public address.
                hooks.subscribe(found[0].target, found, now)
        elif name not in self._missed:
            self._missed.add(name)
            raise CrmkitError(
                f"{name}: the CRM has no webhook of ours, or it has expired",
                hint=f"Run `crmkit listen subscriptions create {name} --public-url https://...`.",
            )
