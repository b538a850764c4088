"""Bitrix24 rows as canonical records: pure, no calls, no clock.

Rows of `crm.item.*` carry numbers and camelCase names; users, stages, comments and stage
changes carry UPPER_CASE names, mostly with every value a string.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crmkit.connectors.base import Unreadable
from crmkit.connectors.bitrix24.customs import Customs, day
from crmkit.connectors.translate import FieldError, instant, native_id, number, percent, records, text
from crmkit.errors import UnreadableRecord
from crmkit.model import (
    AnyRecord,
    Company,
    Contact,
    Deal,
    Kind,
    LostKind,
    Note,
    Outcome,
    Owner,
    Pipeline,
    Record,
    Ref,
    StageChange,
)

DEAL_FIELDS = (
    "id",
    "title",
    "stageId",
    "stageSemanticId",
    "categoryId",
    "assignedById",
    "companyId",
    "contactId",
    "contactIds",
    "opportunity",
    "currencyId",
    "probability",
    "closedate",
    "closed",
    "createdTime",
    "updatedTime",
    "movedTime",
    "lastActivityTime",
    "sourceId",
    "originatorId",
    "originId",
)
KEY_PREFIX = "crmkit:"
REMEMBERED_DEALS = 50_000
R = TypeVar("R", bound=Record)

_PERCENT = {whole: Decimal(whole) / 100 for whole in range(101)}
_OUTCOMES = {"P": Outcome.OPEN, "S": Outcome.WON, "F": Outcome.LOST}
# `apology` is the second kind of lost stage ("failure reason analysis"); it says that the
# loss was looked into, not that the deal was abandoned or disqualified.
_STAGE_OUTCOMES = {
    **_OUTCOMES,
    "PROCESS": Outcome.OPEN,
    "SUCCESS": Outcome.WON,
    "FAILURE": Outcome.LOST,
    "APOLOGY": Outcome.LOST,
}


class Rows:
    """Translates the rows of one kind of one portal.

    Args:
        connection: Name of the connection, for refs.
        root: The portal's address, for links into its own UI.
        customs: The kind's custom fields.
    """

    def __init__(self, connection: str, root: str, customs: Customs | None = None) -> None:
        self.connection = connection
        self.root = root
        self.customs = customs or Customs({})
        self._has_customs = bool(self.customs.names)

    def deals(self, rows: Iterable[Any]) -> tuple[list[Deal], list[Unreadable]]:
        """Deals, and those that cannot be read."""
        return self._page(Deal, Kind.DEAL, rows, self._deal)

    def companies(self, rows: Iterable[Any]) -> tuple[list[Company], list[Unreadable]]:
        """Companies, and those that cannot be read."""
        return self._page(Company, Kind.COMPANY, rows, self._company)

    def contacts(self, rows: Iterable[Any]) -> tuple[list[Contact], list[Unreadable]]:
        """Contacts, and those that cannot be read."""
        return self._page(Contact, Kind.CONTACT, rows, self._contact)

    def owners(self, rows: Iterable[Any]) -> tuple[list[Owner], list[Unreadable]]:
        """Users, dismissed ones too."""
        return self._page(Owner, Kind.OWNER, rows, self._owner, id_field="ID")

    def notes(self, rows: Iterable[Any]) -> tuple[list[Note], list[Unreadable]]:
        """Timeline comments of deals."""
        return self._page(Note, Kind.NOTE, rows, self._note, id_field="ID")

    def pipelines(self, rows: Iterable[Any]) -> tuple[list[Pipeline], list[Unreadable]]:
        """Pipelines from pairs of a category and the rows of its stage directory."""
        return records(
            Pipeline, self.connection, Kind.PIPELINE, rows, self._pipeline, lambda pair: str(pair[0]["id"])
        )

    def stage_changes(
        self, rows: Iterable[Any], came_from: Mapping[int, str]
    ) -> tuple[list[StageChange], list[Unreadable]]:
        """Stage changes; `came_from` gives the stage before each row, by the row's id."""

        def change(row: Mapping[str, Any]) -> dict[str, Any]:
            native = int(row["ID"])
            return {
                "ref": Ref(self.connection, Kind.STAGE_CHANGE, str(native)),
                "deal_id": _required(native_id(row["OWNER_ID"], "OWNER_ID"), "OWNER_ID"),
                "from_stage_id": came_from.get(native),
                "to_stage_id": _required(text(row["STAGE_ID"], "STAGE_ID"), "STAGE_ID"),
                "at": instant(row["CREATED_TIME"], "CREATED_TIME"),
            }

        return self._page(StageChange, Kind.STAGE_CHANGE, rows, change, id_field="ID")

    def _page(
        self,
        model: type[R],
        kind: Kind,
        rows: Iterable[Any],
        translate: Callable[[Any], dict[str, Any]],
        *,
        id_field: str = "id",
    ) -> tuple[list[R], list[Unreadable]]:
        return records(model, self.connection, kind, rows, translate, lambda row: str(row[id_field]))

    def _deal(self, row: Mapping[str, Any]) -> dict[str, Any]:
        get = row.get
        native = str(row["id"])
        outcome = _OUTCOMES.get(get("stageSemanticId")) or _outcome(row)
        moved = instant(get("movedTime"), "movedTime")
        updated = instant(get("updatedTime"), "updatedTime")
        pipeline, amount, chance = get("categoryId"), get("opportunity"), get("probability")
        company = _id(get("companyId"), "companyId")
        deal: dict[str, Any] = {
            "ref": Ref(self.connection, Kind.DEAL, native),
            "name": text(get("title"), "title") or "",
            # 0 is the default pipeline here, not "none".
            "pipeline_id": str(pipeline) if type(pipeline) is int else native_id(pipeline, "categoryId"),
            "stage_id": text(get("stageId"), "stageId"),
            "outcome": outcome,
            "amount": amount if type(amount) is Decimal else number(amount, "opportunity"),
            "currency": text(get("currencyId"), "currencyId"),
            "owner_id": _id(get("assignedById"), "assignedById"),
            "companies": () if company is None else (company,),
            "contacts": _deal_contacts(get("contactId"), get("contactIds")),
            "expected_close": day(get("closedate"), "closedate"),
            "created_at": instant(get("createdTime"), "createdTime"),
            "modified_at": updated,
            "stage_entered_at": moved,
            "source": text(get("sourceId"), "sourceId"),
            "url": f"{self.root}/crm/deal/details/{native}/",
        }
        if updated is not None:
            deal["version"] = updated.isoformat()
        if chance is not None:
            whole = type(chance) is int and 0 <= chance <= 100
            deal["probability"] = _PERCENT[chance] if whole else percent(chance, "probability")
        if active := get("lastActivityTime"):
            deal["last_activity_at"] = instant(active, "lastActivityTime")
        if get("originatorId"):
            deal["key"] = _key(row)
        if self._has_customs:
            deal["custom"] = self.customs.read(row)
        if outcome is not Outcome.OPEN:
            # `closedate` is the planned end and freely writable; a deal closed when it last moved.
            deal["closed_at"] = moved
            if outcome is Outcome.LOST:
                deal["lost_kind"] = LostKind.LOST
        return deal

    def _company(self, row: Mapping[str, Any]) -> dict[str, Any]:
        get = row.get
        native = str(row["id"])
        updated = instant(get("updatedTime"), "updatedTime")
        return {
            "ref": Ref(self.connection, Kind.COMPANY, native),
            "name": text(get("title"), "title") or "",
            "domain": _domain(reached_by(get("fm"), "WEB")),
            "phones": reached_by(get("fm"), "PHONE"),
            "owner_id": some_id(get("assignedById"), "assignedById"),
            "key": _key(row),
            "custom": self.customs.read(row),
            "url": f"{self.root}/crm/company/details/{native}/",
            "created_at": instant(get("createdTime"), "createdTime"),
            "modified_at": updated,
            "version": None if updated is None else updated.isoformat(),
        }

    def _contact(self, row: Mapping[str, Any]) -> dict[str, Any]:
        get = row.get
        native = str(row["id"])
        first, last = text(get("name"), "name"), text(get("lastName"), "lastName")
        updated = instant(get("updatedTime"), "updatedTime")
        return {
            "ref": Ref(self.connection, Kind.CONTACT, native),
            "name": " ".join(part for part in (first, last) if part),
            "first_name": first,
            "last_name": last,
            "emails": reached_by(get("fm"), "EMAIL"),
            "phones": reached_by(get("fm"), "PHONE"),
            "companies": _ids(get("companyId"), get("companyIds") or (), "companyIds"),
            "owner_id": some_id(get("assignedById"), "assignedById"),
            "key": _key(row),
            "custom": self.customs.read(row),
            "url": f"{self.root}/crm/contact/details/{native}/",
            "created_at": instant(get("createdTime"), "createdTime"),
            "modified_at": updated,
            "version": None if updated is None else updated.isoformat(),
        }

    def _owner(self, row: Mapping[str, Any]) -> dict[str, Any]:
        native = str(row["ID"])
        # E-mail addresses are left out under the scope `user_brief`.
        email = text(row.get("EMAIL"), "EMAIL")
        name = " ".join(part for part in (row.get("NAME"), row.get("LAST_NAME")) if part)
        return {
            "ref": Ref(self.connection, Kind.OWNER, native),
            "name": name or email or "",
            "email": email,
            "active": row.get("ACTIVE") not in (False, "N", "false", 0),
        }

    def _note(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "ref": Ref(self.connection, Kind.NOTE, str(row["ID"])),
            "deal_id": _required(native_id(row["ENTITY_ID"], "ENTITY_ID"), "ENTITY_ID"),
            "text": text(row.get("COMMENT"), "COMMENT") or "",
            "author_id": some_id(row.get("AUTHOR_ID"), "AUTHOR_ID"),
            "at": instant(row.get("CREATED"), "CREATED"),
        }

    def _pipeline(self, pair: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        category, rows = pair
        stages = [_stage(row, place) for place, row in enumerate(rows)]
        return {
            "ref": Ref(self.connection, Kind.PIPELINE, str(category["id"])),
            "name": text(category.get("name"), "name") or "",
            "order": int(category.get("sort") or 0),
            "stages": tuple(sorted(stages, key=lambda stage: int(stage["order"]))),
        }


def _stage(row: Mapping[str, Any], place: int) -> dict[str, Any]:
    """One row of a stage directory; `SEMANTICS` is empty for open stages."""
    extra = row.get("EXTRA")
    told = row.get("SEMANTICS") or (extra.get("SEMANTICS") if isinstance(extra, Mapping) else None) or "P"
    outcome = _STAGE_OUTCOMES.get(str(told).upper())
    if outcome is None:
        raise FieldError("SEMANTICS", "is neither open, won nor lost")
    sort = number(row.get("SORT"), "SORT")
    return {
        "id": _required(text(row["STATUS_ID"], "STATUS_ID"), "STATUS_ID"),
        "name": text(row.get("NAME"), "NAME") or "",
        "order": place if sort is None else int(sort),
        "outcome": outcome,
    }


def _outcome(row: Mapping[str, Any]) -> Outcome:
    told = row.get("stageSemanticId")
    if told:
        outcome = _OUTCOMES.get(told)
        if outcome is None:
            raise FieldError("stageSemanticId", "is not P, S or F")
        return outcome
    if row.get("closed") == "Y":
        raise FieldError("stageSemanticId", "does not say whether the closed deal was won or lost")
    return Outcome.OPEN


def _key(row: Mapping[str, Any]) -> str | None:
    originator, origin = row.get("originatorId"), row.get("originId")
    if not originator or not origin or not str(originator).startswith(KEY_PREFIX):
        return None
    return f"{str(originator).removeprefix(KEY_PREFIX)}:{origin}"


def some_id(value: Any, field: str) -> str | None:
    """An id; 0 and nothing both mean none."""
    if value is None or value in (0, "0", ""):
        return None
    return native_id(value, field)


def _id(value: Any, field: str) -> str | None:
    """`some_id`, quick for the number that it nearly always is."""
    if type(value) is int:
        return str(value) if value else None
    return some_id(value, field)


def _ids(first: Any, others: Any, field: str) -> tuple[str, ...]:
    """Ids with the primary one first, each once."""
    primary = _id(first, field)
    if not others:
        return () if primary is None else (primary,)
    listed = others.values() if isinstance(others, Mapping) else others
    ids = [native for one in listed if (native := _id(one, field)) is not None]
    if primary is not None and ids[:1] != [primary]:
        ids.insert(0, primary)
    return tuple(dict.fromkeys(ids)) if len(ids) > 1 else tuple(ids)


def _deal_contacts(primary: Any, listed: Any) -> tuple[dict[str, Any], ...]:
    # `contactId` is the primary one and deprecated; the first of `contactIds` is the same.
    if not listed and not primary:
        return ()
    ids = _ids(primary, listed, "contactIds")
    return tuple(
        {"id": native, "primary": True} if place == 0 else {"id": native} for place, native in enumerate(ids)
    )


def reached_by(fm: Any, type_id: str) -> tuple[str, ...]:
    """Values of one type (PHONE, EMAIL, WEB) from the multi-field `fm`, each once.

    Raises:
        FieldError: It is neither a list nor a map.
    """
    if not fm:
        return ()
    if not isinstance(fm, (list, Mapping)):
        raise FieldError("fm", f"is a {type(fm).__name__}, not a list")
    entries = fm.values() if isinstance(fm, Mapping) else fm
    values = [one.get("value") for one in entries if one.get("typeId") == type_id]
    return tuple(dict.fromkeys(value.strip() for value in values if value and value.strip()))


def _domain(addresses: Sequence[str]) -> str | None:
    for address in addresses:
        try:
            host = urlsplit(address if "://" in address else f"//{address}").hostname
        except ValueError:
            continue
        if host and "." in host:
            return host.removeprefix("www.")
    return None


def _required(value: str | None, field: str) -> str:
    if value is None:
        raise FieldError(field, "is empty")
    return value


def previous_stages(rows: Sequence[Mapping[str, Any]], before: Mapping[str, str]) -> dict[int, str]:
    """The stage before each change, by the change's id.

    Args:
        rows: Changes in order of id.
        before: Per deal, its stage before the first of these changes, if it had one.
    """
    stages = dict(before)
    came_from: dict[int, str] = {}
    for row in rows:
        deal, stage = str(row.get("OWNER_ID")), row.get("STAGE_ID")
        if deal in stages:
            came_from[int(row["ID"])] = stages[deal]
        if stage:
            stages[deal] = str(stage)
    return came_from


def latest_stages(rows: Sequence[Mapping[str, Any]], before: Mapping[str, str]) -> dict[str, str]:
    """Per deal its stage after the last of some changes; the longest known are forgotten."""
    stages = dict(before)
    for row in rows:
        deal = str(row.get("OWNER_ID"))
        stages.pop(deal, None)
        stages[deal] = str(row.get("STAGE_ID") or "")
    surplus = len(stages) - REMEMBERED_DEALS
    for deal in list(stages)[: max(0, surplus)]:
        del stages[deal]
    return stages


def readable_or_raise(found: Sequence[AnyRecord], unreadable: Sequence[Unreadable]) -> Sequence[AnyRecord]:
    """The records, for callers that cannot set an unreadable one aside.

    Raises:
        UnreadableRecord: One of them cannot be read.
    """
    for one in unreadable:
        raise UnreadableRecord(str(one.ref), one.field, one.reason)
    return found
