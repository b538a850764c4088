"""Bitrix24 rows as canonical records: pure, no calls, no clock.

Rows of `crm.item.*` carry numbers and camelCase names; users, stages, comments and stage
changes carry UPPER_CASE names, mostly with every value a string.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

from crmkit.connectors.base import Unreadable
from crmkit.connectors.bitrix24.customs import Customs
from crmkit.connectors.bitrix24.values import (
    amount_of,
    day,
    deal_contacts,
    domain,
    ids,
    key_of,
    reached_by,
    required,
    some_id,
)
from crmkit.connectors.exact import ref_maker
from crmkit.connectors.translate import (
    FieldError,
    moment,
    native_id,
    number,
    percent,
    records,
    text,
    utc_text,
)
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
Found: TypeAlias = tuple[Sequence[AnyRecord], Sequence[Unreadable]]
R = TypeVar("R", bound=Record)

_PERCENT = {whole: Decimal(whole) / 100 for whole in range(101)}
_OUTCOMES: dict[Any, Outcome] = {"P": Outcome.OPEN, "S": Outcome.WON, "F": Outcome.LOST}
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
        self._deal_ref = ref_maker(connection, Kind.DEAL)

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
                "deal_id": required(native_id(row["OWNER_ID"], "OWNER_ID"), "OWNER_ID"),
                "from_stage_id": came_from.get(native),
                "to_stage_id": required(text(row["STAGE_ID"], "STAGE_ID"), "STAGE_ID"),
                "at": moment(row["CREATED_TIME"], "CREATED_TIME"),
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
        """A deal; read a hundred thousand times, so the usual spelling of a value comes first.

        A name that the portal does not know is dropped from `select` without a word. So
        what decides about a deal must be there, or an unknown amount would look like none.
        """
        get = row.get
        native = str(row["id"])
        outcome = _OUTCOMES.get(get("stageSemanticId")) or _outcome(row)
        title, amount, pipeline = row["title"], row["opportunity"], row["categoryId"]
        stage, currency, source = row["stageId"], row["currencyId"], get("sourceId")
        moved = moment(get("movedTime"), "movedTime")
        updated = moment(row["updatedTime"], "updatedTime")
        company = some_id(get("companyId"), "companyId")
        deal: dict[str, Any] = {
            "ref": self._deal_ref(native),
            "name": title if type(title) is str else text(title, "title") or "",
            # 0 is the default pipeline here, not "none".
            "pipeline_id": str(pipeline) if type(pipeline) is int else native_id(pipeline, "categoryId"),
            "stage_id": stage if stage and type(stage) is str else text(stage, "stageId"),
            "outcome": outcome,
            "amount": amount if type(amount) is Decimal else amount_of(amount, "opportunity"),
            "currency": currency if currency and type(currency) is str else text(currency, "currencyId"),
            "owner_id": some_id(row["assignedById"], "assignedById"),
            "expected_close": day(get("closedate"), "closedate"),
            "created_at": moment(get("createdTime"), "createdTime"),
            "modified_at": updated,
            "stage_entered_at": moved,
            # Given also when empty: the model would copy its default, which takes longer.
            "custom": self.customs.read(row),
            "url": f"{self.root}/crm/deal/details/{native}/",
        }
        if company is not None:
            deal["companies"] = (company,)
        if get("contactIds") or get("contactId"):
            deal["contacts"] = deal_contacts(get("contactId"), get("contactIds"))
        if source:
            deal["source"] = text(source, "sourceId")
        if updated is not None:
            deal["version"] = utc_text(updated)
        if (chance := get("probability")) is not None:
            whole = type(chance) is int and 0 <= chance <= 100
            deal["probability"] = _PERCENT[chance] if whole else percent(chance, "probability")
        if active := get("lastActivityTime"):
            deal["last_activity_at"] = moment(active, "lastActivityTime")
        if get("originatorId"):
            deal["key"] = key_of(row)
        if outcome is not Outcome.OPEN:
            # `closedate` is the planned end and freely writable; a deal closed when it last moved.
            deal["closed_at"] = moved
            if outcome is Outcome.LOST:
                deal["lost_kind"] = LostKind.LOST
        return deal

    def _company(self, row: Mapping[str, Any]) -> dict[str, Any]:
        fm = row.get("fm")
        return {
            **self._party(row, Kind.COMPANY),
            "name": text(row.get("title"), "title") or "",
            "domain": domain(reached_by(fm, "WEB")),
            "phones": reached_by(fm, "PHONE"),
        }

    def _contact(self, row: Mapping[str, Any]) -> dict[str, Any]:
        fm = row.get("fm")
        first, last = text(row.get("name"), "name"), text(row.get("lastName"), "lastName")
        return {
            **self._party(row, Kind.CONTACT),
            "name": " ".join(part for part in (first, last) if part),
            "first_name": first,
            "last_name": last,
            "emails": reached_by(fm, "EMAIL"),
            "phones": reached_by(fm, "PHONE"),
            "companies": ids(row.get("companyId"), row.get("companyIds") or (), "companyIds"),
        }

    def _party(self, row: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
        """What companies and contacts have in common."""
        native = str(row["id"])
        updated = moment(row.get("updatedTime"), "updatedTime")
        return {
            "ref": Ref(self.connection, kind, native),
            "owner_id": some_id(row.get("assignedById"), "assignedById"),
            "key": key_of(row),
            "custom": self.customs.read(row),
            "url": f"{self.root}/crm/{kind.value}/details/{native}/",
            "created_at": moment(row.get("createdTime"), "createdTime"),
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
            "deal_id": required(native_id(row["ENTITY_ID"], "ENTITY_ID"), "ENTITY_ID"),
            "text": text(row.get("COMMENT"), "COMMENT") or "",
            "author_id": some_id(row.get("AUTHOR_ID"), "AUTHOR_ID"),
            "at": moment(row.get("CREATED"), "CREATED"),
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
        "id": required(text(row["STATUS_ID"], "STATUS_ID"), "STATUS_ID"),
        "name": text(row.get("NAME"), "NAME") or "",
        "order": place if sort is None else int(sort),
        "outcome": outcome,
    }


def _outcome(row: Mapping[str, Any]) -> Outcome:
    """The outcome of a deal whose `stageSemanticId` does not tell it."""
    if row.get("stageSemanticId"):
        raise FieldError("stageSemanticId", "is not P, S or F")
    if row["closed"] == "Y":
        raise FieldError("stageSemanticId", "does not say whether the closed deal was won or lost")
    return Outcome.OPEN


def readable_or_raise(found: Sequence[AnyRecord], unreadable: Sequence[Unreadable]) -> Sequence[AnyRecord]:
    """The records, for callers that cannot set an unreadable one aside.

    Raises:
        UnreadableRecord: One of them cannot be read.
    """
    for one in unreadable:
        raise UnreadableRecord(str(one.ref), one.field, one.reason)
    return found
