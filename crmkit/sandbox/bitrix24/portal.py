"""One portal: its world, its settings, and the words it answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Final

from crmkit.sandbox.bitrix24.seed import OFFSET_HOURS
from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.wire import Settings
from crmkit.sandbox.world import World

ZONE: Final = timezone(timedelta(hours=OFFSET_HOURS))
AHEAD = timedelta(hours=OFFSET_HOURS)
_SUFFIX = f"+{OFFSET_HOURS:02}:00"
ENTITY_KINDS: Mapping[int, str] = {2: "deal", 3: "contact", 4: "company"}
ALL_SCOPES = ("crm", "user")
UNSET: Final = object()
_FIRST_USER_FIELD = 6991


class Failure(Exception):
    """A call that the portal refuses: `error`, `error_description` and the HTTP status.

    Inside a batch only code and text are left of it.
    """

    def __init__(self, code: str | int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.text, self.status = code, text, status

    @property
    def body(self) -> dict[str, Any]:
        """The flat error object of REST v2."""
        return {"error": self.code, "error_description": self.text}


@dataclass(slots=True)
class Answer:
    """What a method gives: the result and, for lists, total and next (left out if unset).

    `units` is how many calls' worth of work it was.
    """

    result: Any
    total: Any = UNSET
    next: Any = UNSET
    units: int = 1


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a webhook (`oauth` false) or an app, on behalf of a user."""

    user_id: str
    oauth: bool


class Portal:
    """What the methods work on.

    `settings.extra` is read at every call, so that a test can switch it meanwhile; its keys are listed
    at `Bitrix24App`.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings = world, settings
        self.memo: dict[Any, Any] = {}
        self.used_field_keys: set[str] = set()

    def setting(self, name: str, default: Any) -> Any:
        """A setting of this vendor."""
        return self.settings.extra.get(name, default)

    @property
    def scopes(self) -> list[str]:
        """What the credentials may do."""
        return [str(scope) for scope in self.setting("scopes", ALL_SCOPES)]

    @property
    def filter_shift(self) -> timedelta:
        """By how much bounds on times are moved back (contract 4.3): the user's zone minus the server's."""
        return timedelta(hours=float(self.setting("filter_shift_hours", 0)))

    def user_field_id(self, kind: str) -> int:
        """The next id of a custom field of this kind."""
        return int(self.once(("user field ids", kind), lambda: counting_ids(_FIRST_USER_FIELD, step=2))())

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What `compute` gave the first time."""
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


def stamp(moment: datetime) -> str:
    """A date-time with the portal's offset."""
    # Looked up, not formatted: the time stamps were half of what a deal costs.
    local = moment + AHEAD
    return _day_text(local.toordinal()) + _clock_texts()[local.hour * 3600 + local.minute * 60 + local.second]


@lru_cache(maxsize=20_000)
def _day_text(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


@cache
def _clock_texts() -> list[str]:
    return [
        f"T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}{_SUFFIX}" for second in range(86_400)
    ]


def day_stamp(day: date, *, server_midnight: bool = False) -> str:
    """A date, which comes back as a date-time: midnight in UTC unless told (contract 4.2)."""
    return (
        f"{day.isoformat()}T00:00:00{_SUFFIX}" if server_midnight else f"{day}T0{OFFSET_HOURS}:00:00{_SUFFIX}"
    )


def number(value: Decimal) -> int | Decimal:
    """A decimal as PHP prints it: 900 and 12500.5, never 900.00."""
    whole = int(value)
    return whole if whole == value else value.normalize()


def need(params: Mapping[str, Any], name: str) -> Any:
    """A required parameter of a universal method."""
    value = params.get(name)
    if value is None or value == "":
        raise Failure("100", f"Could not find value for parameter {{{name}}}")
    return value


def whole(value: Any) -> int | None:
    """A whole number from a number or its digits, else nothing."""
    if isinstance(value, (bool, dict, list)):
        return None
    try:
        return int(str(value).strip())
    except ValueError:
        return None
