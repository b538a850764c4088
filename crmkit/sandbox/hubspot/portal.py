"""A portal: the world as HubSpot sees it, with its merges, its archive and its unique values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.hubspot.answers import missing_scopes, stamp
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.linkbook import LinkBook
from crmkit.sandbox.rows import Change, Contact, CustomField, Deal, Deleted, Kind, Stage, User
from crmkit.sandbox.wire import Refusal, Settings
from crmkit.sandbox.world import World

GRANTED = frozenset(
    {"oauth", "crm.objects.owners.read", "crm.export", "crm.import"}
    | {
        f"crm.{part}.{name}.{verb}"
        for part in ("objects", "schemas")
        for name in ("deals", "companies", "contacts")
        for verb in ("read", "write")
    }
)


CLOSE_MOMENT = "hubspot.closedate"


class StageFacts(NamedTuple):
    """What a stage says about the deals in it."""

    probability: str | None
    closed: bool
    won: bool


NO_STAGE = StageFacts(None, False, False)


class Facts(NamedTuple):
    """What a record's calculated properties need besides the record; good for one call."""

    stages: Mapping[tuple[str, str], StageFacts]
    rates: Mapping[str, Decimal]
    merged: Mapping[tuple[Kind, str], str]
    zone: ZoneInfo


class Portal:
    """One portal.

    Attributes:
        portal_id: What HubSpot calls the hub or account id.
        zone: The account's time zone.
        book: The links that no row has room for, and the labels that users made.
        groups: The property groups that were made, by plural name of the object type and name.
        archived_fields: Custom properties that were archived, by kind and name; their values stay.
        origin: Scheme and host of the links in answers; set once the sandbox listens.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings = world, settings
        self.portal_id = int(world.workspace_id)
        self.zone = ZoneInfo(world.time_zone)
        self.origin = ""
        self._merges: tuple[int, dict[tuple[Kind, str], str], dict[tuple[Kind, str], str]] = (-1, {}, {})
        self._archives: dict[Kind, tuple[int, list[Deleted]]] = {}
        self._unique: dict[tuple[Kind, str], dict[str, str]] = {}
        self.book = LinkBook(world)
        self.archived_fields: dict[Kind, dict[str, CustomField]] = {kind: {} for kind in world.fields}
        self.groups: dict[str, dict[str, dict[str, Any]]] = {}
        self.made_ids = counting_ids(1_030_000_001, step=4)  # of pipelines and stages
        world.listeners.append(self._follow)

    def require(self, *any_of: str) -> None:
        """End the call with 403 unless one of the scopes is granted."""
        granted = self.granted()
        if not any(scope in granted for scope in any_of):
            raise Refusal(missing_scopes(any_of))

    def granted(self) -> frozenset[str]:
        """The scopes that the app has."""
        extra = self.settings.extra
        left = GRANTED - set(extra.get("missing_scopes", ()))
        return (
            frozenset(scope for scope in left if scope[-6:] != ".write") if extra.get("read_only") else left
        )

    def may_write(self, object_type: ObjectType) -> None:
        """End the call with 403 unless records of this type may be written."""
        self.require(f"crm.objects.{object_type.scope}.write")

    def may_shape(self, object_type: ObjectType) -> None:
        """End the call with 403 unless pipelines and properties of this type may be written."""
        self.require(f"crm.schemas.{object_type.scope}.write")

    def may_read(self, object_type: ObjectType) -> None:
        """End the call with 403 unless records of this type may be read."""
        self.require(f"crm.objects.{object_type.scope}.read")

    def facts(self) -> Facts:
        """What this call's answers are calculated from."""
        stages = {
            (pipeline.id, stage.id): stage_facts(stage)
            for pipeline in self.world.pipelines.values()
            for stage in pipeline.stages
        }
        rates = {code: Decimal(str(rate)) for code, rate in self.world.rates.items()}
        return Facts(stages, rates, self._merged()[1], self.zone)

    def table(self, object_type: ObjectType) -> Mapping[str, Any]:
        """The live records of a type by id."""
        return self.world.live.tables[object_type.kind] if object_type.kind else {}

    def find(self, object_type: ObjectType, record_id: str) -> Any | None:
        """The live record with this id, or the one that it was merged into."""
        kind = object_type.kind
        if kind is None:
            return None
        table = self.table(object_type)
        winners = self._merged()[0]
        for _ in range(len(winners) + 1):
            if record_id in table:
                return table[record_id]
            if (kind, record_id) not in winners:
                return None
            record_id = winners[kind, record_id]
        return None

    def merged_away(self, object_type: ObjectType, record_id: str) -> bool:
        """Whether the record with this id went up in another one."""
        return object_type.kind is not None and (object_type.kind, record_id) in self._merged()[0]

    def archive(self, object_type: ObjectType) -> list[Deleted]:
        """The archived records of a type in order of id."""
        kind = object_type.kind
        if kind is None:
            return []
        seen, rows = self._archives.get(kind, (-1, []))
        if seen != len(self.world.deleted):
            rows = sorted((gone for gone in self.world.deleted if gone.kind == kind), key=_number)
            self._archives[kind] = (len(self.world.deleted), rows)
        return rows

    def find_archived(self, object_type: ObjectType, record_id: str) -> Deleted | None:
        """The archived record with this id."""
        rows = self.archive(object_type)
        if not record_id.isdigit():
            return None
        at = bisect_left(rows, int(record_id), key=_number)
        return rows[at] if at < len(rows) and rows[at].id == record_id else None

    def unique_properties(self, kind: Kind | None) -> dict[str, str]:
        """The properties that tell records of a kind apart: their names, and whence in a row they come."""
        if kind is None:
            return {}
        custom = {
            field.id: key
            for key, field in self.world.fields[kind].items()
            if field.extra.get("hasUniqueValue")
        }
        return custom | ({"email": ""} if kind == "contact" else {})

    def find_by(self, object_type: ObjectType, name: str, value: str) -> Any | None:
        """The live record that carries this value of a unique property."""
        kind = object_type.kind
        if kind is None:
            return None
        key = self.unique_properties(kind)[name]
        index = self._unique.get((kind, key))
        if index is None:
            index = self._unique[kind, key] = {}
            for row in self.table(object_type).values():
                index.update(dict.fromkeys(_unique_values(row, key), row.id))
        found = index.get(value.casefold())
        return None if found is None else self.table(object_type).get(found)

    def now(self) -> str:
        """The time as it stands in answers."""
        return stamp(self.world.clock())

    def _follow(self, change: Change) -> None:
        for (kind, key), index in self._unique.items():
            if kind != change.kind:
                continue
            for value in _unique_values(change.before, key):
                if index.get(value) == change.id:
                    del index[value]
            index.update(dict.fromkeys(_unique_values(change.after, key), change.id))

    def _merged(self) -> tuple[dict[tuple[Kind, str], str], dict[tuple[Kind, str], str]]:
        count = len(self.world.merged)
        if self._merges[0] != count:
            winners = {(row.kind, row.loser): row.winner for row in self.world.merged}
            losers: dict[tuple[Kind, str], list[str]] = {}
            for row in self.world.merged:  # oldest first: a loser brings along what it had won before
                line = losers.setdefault((row.kind, row.winner), [])
                line += [row.loser, *losers.get((row.kind, row.loser), ())]
            texts = {key: ";".join(line) for key, line in losers.items()}
            self._merges = (count, winners, texts)
        return self._merges[1], self._merges[2]


def stage_facts(stage: Stage) -> StageFacts:
    """What HubSpot derives from a stage's probability."""
    probability = stage.probability
    if probability is None:
        probability = {"won": 1.0, "lost": 0.0}.get(stage.outcome, 0.5)
    return StageFacts(str(round(float(probability), 2)), stage.outcome != "open", stage.outcome == "won")


def close_moment(deal: Deal, zone: ZoneInfo) -> datetime | None:
    """A deal's `closedate`: HubSpot keeps one moment, for the forecast and for the fact.

    A person who picks a day in the UI gives it the time at which it was picked, in the account's time
    zone; in the evening of New York that moment is already the next day in UTC.
    """
    if deal.closed_at is not None:
        return deal.closed_at
    if deal.expected_close is None:
        return None
    # Written through the API, it is to the millisecond what was written, until somebody picks another day.
    kept: datetime | None = deal.custom.get(CLOSE_MOMENT)
    if kept is not None and kept.astimezone(zone).date() == deal.expected_close:
        return kept
    return datetime.combine(deal.expected_close, deal.created.time(), zone).astimezone(UTC)


def close_day(deal: Deal, zone: ZoneInfo) -> date | None:
    """The day that the UI shows as a deal's close date."""
    moment = close_moment(deal, zone)
    return None if moment is None else moment.astimezone(zone).date()


def _unique_values(row: Any, key: str) -> Sequence[str]:
    if row is None:
        return ()
    if isinstance(row, Contact) and not key:
        return [email.casefold() for email in row.emails]
    value = row.custom.get(key) if not isinstance(row, User) else None
    return () if value is None else (str(value).casefold(),)


def _number(gone: Deleted) -> int:
    return int(gone.id)
