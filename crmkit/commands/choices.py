"""Options that several commands share: which deals count, and instants as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from typing import Any
from zoneinfo import ZoneInfo

import click

from crmkit.report.inputs import Scope

_AGO = re.compile(r"(\d{1,4})([dw])")


@dataclass(frozen=True, slots=True)
class Moment:
    """A day, or so many days before now."""

    day: date | None = None
    ago: timedelta | None = None

    def start(self, zone: ZoneInfo, now: datetime) -> datetime:
        """The instant at which the day begins in a zone; so many days before `now`."""
        if self.ago is not None:
            return now - self.ago
        assert self.day is not None
        return datetime.combine(self.day, time(), tzinfo=zone).astimezone(UTC)

    def end(self, zone: ZoneInfo, now: datetime) -> datetime:
        """The last instant of the day in a zone, but never after `now`."""
        if self.ago is not None:
            return now - self.ago
        assert self.day is not None
        # The last microsecond still belongs to the day; midnight would be the next one.
        begins = datetime.combine(self.day + timedelta(days=1), time(), tzinfo=zone)
        return min(begins.astimezone(UTC) - timedelta(microseconds=1), now)


def as_moment(context: click.Context, option: click.Parameter, value: str | None) -> Moment | None:
    """A day like 2026-11-16, or 7d or 2w for so long ago; for the `callback` of an option."""
    if value is None:
        return None
    text = value.strip().lower()
    if found := _AGO.fullmatch(text):
        days = int(found[1]) * (7 if found[2] == "w" else 1)
        return Moment(ago=timedelta(days=days))
    try:
        return Moment(day=date.fromisoformat(text))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no day: write 2026-11-16, or 7d or 2w for so long ago"
        ) from None


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --pipeline, --owner and --team, and hand it a `scope`."""

    @click.option("--pipeline", "pipelines", multiple=True, help="Only this pipeline; may be repeated.")
    @click.option("--owner", "owners", multiple=True, help="Only this owner; may be repeated.")
    @click.option("--team", "teams", multiple=True, help="Only this team; may be repeated.")
    @wraps(command)
    def scoped(
        *arguments: Any,
        pipelines: tuple[str, ...],
        owners: tuple[str, ...],
        teams: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        chosen = Scope(pipelines=frozenset(pipelines), owners=frozenset(owners), teams=frozenset(teams))
        return command(*arguments, scope=chosen, **rest)

    return scoped
