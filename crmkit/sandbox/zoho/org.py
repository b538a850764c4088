"""One organisation: its zone, its people and companies as they are named inside records, its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec

from crmkit.sandbox.clicks import Wanted
from crmkit.sandbox.rows import Company, Contact, Deal, Kind, Stage, User
from crmkit.sandbox.wire import Settings
from crmkit.sandbox.world import World
from crmkit.sandbox.zoho.seed import spare_stages

_STAMPS_KEPT = 500_000
_encode = msgspec.json.Encoder().encode
Named = msgspec.Raw


class Org:
    """What every call needs to know of the organisation.

    References inside records are encoded once per version of what they name: a page of deals names the
    same users and companies again and again.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings = world, settings
        self.spare_stages = spare_stages()
        self._stamps: dict[datetime, str] = {}
        self._names: dict[tuple[Any, str], tuple[Any, Named]] = {}
        self._stages: dict[str, Stage] = {}
        self._by_value: dict[str, Stage] = {}
        self._me: User | None = None
        self._ahead = timedelta(minutes=float(settings.extra.get("offset_minutes", 180)))
        self.zone = timezone(self._ahead)
        self._suffix = datetime.now(self.zone).isoformat()[-6:]

    def refresh(self) -> None:
        """Look at users and pipelines again; called before each request, as they can be changed freely."""
        self._me = None
        self._stages = {stage.id: stage for stage in self.spare_stages} | {
            stage.id: stage for pipeline in self.world.pipelines.values() for stage in pipeline.stages
        }
        self._by_value = {actual_value(stage): stage for stage in self._stages.values()}

    def add_stages(self, stages: Sequence[Wanted]) -> None:
        """Add values to the Stage picklist that it does not have yet."""
        self.refresh()
        for one in stages:
            if any((known.name, known.outcome) == (one.name, one.outcome) for known in self._stages.values()):
                continue
            place = max(int(known.extra.get("place", 0)) for known in self._stages.values()) + 1
            taken = {actual_value(known) for known in self._stages.values()}
            actual = one.name if one.name not in taken else f"{one.name} ({one.outcome})"
            share = one.probability if one.probability is not None else float(one.outcome == "won")
            made = Stage(
                str(max(map(int, self._stages)) + 2), one.name, place, one.outcome, share,
                {"actual_value": actual, "place": place},
            )  # fmt: skip
            self.spare_stages.append(made)
            self.refresh()

    @property
    def multi_currency(self) -> bool:
        """Whether deals have a currency of their own."""
        return bool(self.settings.extra.get("multi_currency", True))

    @property
    def has_pipelines(self) -> bool:
        """Whether the feature is on; where it is not, deals have no `Pipeline` at all."""
        return bool(self.settings.extra.get("pipelines", True))

    @property
    def me(self) -> User:
        """Whose token it is: the first active user."""
        if self._me is None or self.world.users.get(self._me.id) is not self._me:
            self._me = next(user for user in self.world.users.values() if user.active)
        return self._me

    @property
    def deleted_user_ids(self) -> frozenset[str]:
        """Users that were deleted, but still own records: the last of the inactive ones."""
        gone = [user.id for user in self.world.users.values() if not user.active]
        return frozenset(gone[-1:]) if len(gone) > 1 else frozenset()

    def stamp(self, moment: datetime | None) -> str | None:
        """A time as this user sees it: whole seconds, with the offset of the user's zone."""
        if moment is None:
            return None
        text = self._stamps.get(moment)
        if text is None:
            if len(self._stamps) >= _STAMPS_KEPT:
                self._stamps.clear()
            # Nearly every time is in UTC: then adding the offset is enough, and faster than `astimezone`.
            utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
            text = (utc + self._ahead).isoformat("T", "seconds")[:19] + self._suffix
            self._stamps[moment] = text
        return text

    def now_stamp(self, *, hours_ahead: float = 0) -> str:
        """The time, or one some hours ahead."""
        moment = self.world.clock() + timedelta(hours=hours_ahead)
        return moment.astimezone(self.zone).isoformat(timespec="seconds")

    # Stages

    def stage(self, stage_id: str) -> Stage | None:
        """The stage of that id, in a pipeline or not: its meaning is the same in all of them."""
        return self._stages.get(stage_id)

    def stage_named(self, value: str) -> Stage | None:
        """The stage whose actual value this is: a label that differs from it is not known."""
        return self._by_value.get(value)

    def stage_value(self, stage_id: str) -> str:
        """What a record says for a stage; a string that no pipeline knows was stored unchecked."""
        stage = self._stages.get(stage_id)
        return actual_value(stage) if stage else stage_id

    def probability(self, deal: Deal, stage_id: str | None = None) -> int:
        """In percent: the deal's own, else its stage's."""
        if deal.probability is not None and stage_id is None:
            return round(deal.probability * 100)
        stage = self._stages.get(stage_id or deal.stage_id)
        return round((stage.probability or 0) * 100) if stage else 0

    def pipeline_value(self, deal: Deal) -> str:
        """What a deal says for its pipeline: the display string."""
        pipeline = self.world.pipelines.get(deal.pipeline_id)
        return pipeline.name if pipeline else deal.pipeline_id

    def picklist(self) -> list[Stage]:
        """The values of the Stage picklist, in its own order."""
        return sorted(self._stages.values(), key=lambda stage: (stage.extra.get("place", 10**6), stage.id))

    # References

    def user_ref(self, user_id: str | None) -> Named | None:
        """`{name, id, email}`."""
        return self._ref("user", user_id, _user_name) if user_id else None

    def user_short(self, user_id: str | None) -> Named | None:
        """`{name, id}`."""
        return self._ref("user", user_id, _user_short) if user_id else None

    def user_last(self, user_id: str | None) -> Named | None:
        """`{name, id}` as COQL gives it: the last name only."""
        return self._ref("user", user_id, _user_last) if user_id else None

    def company_ref(self, company_id: str | None) -> Named | None:
        """`{name, id}`."""
        return self._ref("company", company_id, _name_and_id) if company_id else None

    def contact_ref(self, contact_id: str | None) -> Named | None:
        """`{name, id}`."""
        return self._ref("contact", contact_id, _contact_name) if contact_id else None

    def deal_ref(self, deal_id: str | None) -> Named | None:
        """`{name, id}`."""
        return self._ref("deal", deal_id, _name_and_id) if deal_id else None

    def _ref(self, kind: Kind, row_id: str, show: Callable[[Any], Mapping[str, str]]) -> Named | None:
        row = self.world.live.tables[kind].get(row_id)
        if row is None:
            if kind != "user" or not self.world.complete:
                return None
            # A reader of the real organisation does not see every user who owns something.
            row = User(id=row_id, name="", email="", active=False, created=datetime.min.replace(tzinfo=UTC))
            return msgspec.Raw(_encode(show(row)))
        known = self._names.get((show, row_id))
        if known is not None and known[0] is row:
            return known[1]
        made = msgspec.Raw(_encode(show(row)))
        self._names[show, row_id] = (row, made)
        return made

    # Money

    def currency(self, deal: Deal) -> str:
        """The ISO code of a deal's amount."""
        return deal.currency if self.multi_currency else self.world.base_currency

    def exchange_rate(self, currency: str) -> float:
        """How many units one unit of the home currency buys (the direction is inferred)."""
        return round(1 / self.world.rates.get(currency, 1.0), 9)

    def home_amount(self, deal: Deal) -> Decimal | None:
        """The amount in the home currency: what conditions on it compare."""
        if deal.amount is None or not self.multi_currency or deal.currency == self.world.base_currency:
            return deal.amount
        return deal.amount / Decimal(str(self.exchange_rate(deal.currency)))


def actual_value(stage: Stage) -> str:
    """What records hold for a stage; the label can differ."""
    return str(stage.extra.get("actual_value", stage.name))


def number(value: Decimal | float | None) -> int | float | None:
    """An amount as Zoho writes it: without decimals if it has none."""
    if value is None:
        return None
    plain = float(value)
    return int(plain) if plain.is_integer() else plain


def split_name(name: str) -> tuple[str, str]:
    """First and last name of a user."""
    first, _, last = name.partition(" ")
    return (first, last) if last else ("", first)


def read_time(text: str) -> datetime | None:
    """A time with an offset, or `None` if the text is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or "T" not in text:
        return None
    return moment.astimezone(UTC)


def read_day(text: str) -> date | None:
    """A day, or `None` if the text is not one."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def contact_name(contact: Contact) -> str:
    """First and last name as one."""
    return f"{contact.first} {contact.last}".strip()


def _user_name(user: User) -> Mapping[str, str]:
    return {"name": user.name, "id": user.id, "email": user.email}


def _user_short(user: User) -> Mapping[str, str]:
    return {"name": user.name, "id": user.id}


def _user_last(user: User) -> Mapping[str, str]:
    return {"name": split_name(user.name)[1], "id": user.id}


def _name_and_id(row: Company | Deal) -> Mapping[str, str]:
    return {"name": row.name, "id": row.id}


def _contact_name(contact: Contact) -> Mapping[str, str]:
    return {"name": contact_name(contact), "id": contact.id}
