"""From Copper's JSON to canonical records; no calls, no clock.

Source: https://developer.copper.com/opportunities/overview.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from crmkit.connectors.copper.values import Names, Row, custom_values
from crmkit.connectors.translate import FieldError, from_seconds, native_id, number, text
from crmkit.model import Kind, LostKind, Outcome, Ref, Stage

MARKER = "crmkit:"
STATUSES: dict[str | None, tuple[Outcome, LostKind | None]] = {
    None: (Outcome.OPEN, None),
    "Open": (Outcome.OPEN, None),
    "Won": (Outcome.WON, None),
    "Lost": (Outcome.LOST, LostKind.LOST),
    "Abandoned": (Outcome.LOST, LostKind.ABANDONED),
}
ENTITIES = {Kind.DEAL: "opportunity", Kind.COMPANY: "company", Kind.CONTACT: "person"}

_PERCENTS = {share: Decimal(share) / 100 for share in range(101)}


def deal_translator(connection: str, names: Names) -> Callable[[Row], Row]:
    """A function that gives the `Deal` fields of one opportunity."""
    days, currency, kind = names.days, names.currency, Kind.DEAL

    def translate(row: Row) -> Row:
        get = row.get
        try:
            outcome, lost_kind = STATUSES[get("status")]
        except KeyError:
            raise FieldError("status", "is none of Open, Won, Lost, Abandoned") from None
        close = days.written(get("close_date"), "close_date")
        company, contact = get("company_id"), get("primary_contact_id")
        created, modified = get("date_created"), get("date_modified")
        tags, key = _tags(row)
        reason, source = get("loss_reason_id"), get("customer_source_id")
        return {
            "ref": Ref(connection, kind, str(row["id"])),
            "name": row["name"],
            "pipeline_id": _id(get("pipeline_id")),
            "stage_id": _id(get("pipeline_stage_id")),
            "outcome": outcome,
            "lost_kind": lost_kind,
            "lost_reason": None if reason is None else names.loss_reasons.get(reason) or str(reason),
            "amount": number(get("monetary_value"), "monetary_value"),
            # Without several currencies the field is null (inferred).
            "currency": get("monetary_unit") or currency,
            "probability": _share(get("win_probability")),
            "owner_id": _id(get("assignee_id")),
            "companies": () if company is None else (str(company),),
            # The model builds the contact itself in half the time.
            "contacts": () if contact is None else ({"id": str(contact), "primary": True},),
            "expected_close": close,
            # When a deal was closed is not told; its close date is what the account entered.
            "closed_at": days.noon(close) if close and outcome is not Outcome.OPEN else None,
            "created_at": _moment(created, "date_created"),
            "modified_at": _moment(modified, "date_modified"),
            "stage_entered_at": _moment(get("date_stage_changed"), "date_stage_changed"),
            "last_activity_at": _moment(get("date_last_contacted"), "date_last_contacted"),
            "source": None if source is None else names.sources.get(source) or str(source),
            "tags": tags,
            "custom": custom_values(row, names),
            "key": key,
            "version": _id(modified),
        }

    return translate


def company_translator(connection: str, names: Names) -> Callable[[Row], Row]:
    """A function that gives the `Company` fields of one company."""

    def translate(row: Row) -> Row:
        return {
            "ref": Ref(connection, Kind.COMPANY, str(row["id"])),
            "name": row["name"],
            "domain": text(row.get("email_domain"), "email_domain"),
            **_shared(row, names),
        }

    return translate


def contact_translator(connection: str, names: Names) -> Callable[[Row], Row]:
    """A function that gives the `Contact` fields of one person."""

    def translate(row: Row) -> Row:
        company = row.get("company_id")
        return {
            "ref": Ref(connection, Kind.CONTACT, str(row["id"])),
            "name": row["name"],
            "first_name": text(row.get("first_name"), "first_name"),
            "last_name": text(row.get("last_name"), "last_name"),
            "emails": _parts(row, "emails", "email"),
            "companies": () if company is None else (str(company),),
            **_shared(row, names),
        }

    return translate


def _shared(row: Row, names: Names) -> Row:
    # An unset address is null or holds nothing but nulls or empty texts.
    address = row.get("address") or {}
    modified = row.get("date_modified")
    return {
        "phones": _parts(row, "phone_numbers", "number"),
        "owner_id": _id(row.get("assignee_id")),
        "city": text(address.get("city"), "address.city"),
        "country": text(address.get("country"), "address.country"),
        "postcode": text(address.get("postal_code"), "address.postal_code"),
        "key": _tags(row)[1],
        "custom": custom_values(row, names),
        "created_at": _moment(row.get("date_created"), "date_created"),
        "modified_at": _moment(modified, "date_modified"),
        "version": _id(modified),
    }


def is_deal_pipeline(row: Row) -> bool:
    """Whether a pipeline holds opportunities; older answers have no type."""
    return row.get("type") in (None, "opportunity")


def pipeline_translator(connection: str) -> Callable[[tuple[int, Row]], Row]:
    """A function that gives the `Pipeline` fields of one numbered pipeline.

    No stage means won or lost in Copper: all of them are open.
    """

    def translate(numbered: tuple[int, Row]) -> Row:
        order, row = numbered
        return {
            "ref": Ref(connection, Kind.PIPELINE, str(row["id"])),
            "name": row["name"],
            "order": order,
            "stages": tuple(
                Stage(
                    id=str(stage["id"]),
                    name=stage["name"],
                    order=place,
                    probability=_share(stage.get("win_probability")),
                )
                for place, stage in enumerate(row.get("stages") or ())
            ),
        }

    return translate


def owner_translator(connection: str) -> Callable[[Row], Row]:
    """A function that gives the `Owner` fields of one user; only users who may log in are known."""

    def translate(row: Row) -> Row:
        email = text(row.get("email"), "email")
        return {
            "ref": Ref(connection, Kind.OWNER, str(row["id"])),
            "name": row.get("name") or email or str(row["id"]),
            "email": email,
        }

    return translate


def note_translator(connection: str) -> Callable[[Row], Row]:
    """A function that gives the `Note` fields of one note activity."""

    def translate(row: Row) -> Row:
        parent = row["parent"]
        native, kind = _id(parent.get("id")), parent.get("type")
        return {
            "ref": Ref(connection, Kind.NOTE, str(row["id"])),
            "deal_id": native if kind == "opportunity" else None,
            "company_id": native if kind == "company" else None,
            "text": row.get("details") or "",
            "author_id": _id(row.get("user_id")),
            "at": _moment(row.get("activity_date"), "activity_date"),
            "modified_at": _moment(row.get("date_modified"), "date_modified"),
        }

    return translate


def stage_ids(pipelines: Iterable[Row]) -> dict[str, list[str]]:
    """Stage ids per name; a name may be used by several pipelines."""
    found: dict[str, list[str]] = {}
    for pipeline in pipelines:
        for stage in pipeline.get("stages") or ():
            found.setdefault(str(stage["name"]), []).append(str(stage["id"]))
    return found


def stage_change_translator(connection: str, stages: Mapping[str, Sequence[str]]) -> Callable[[Row], Row]:
    """A function that gives the `StageChange` fields of one system activity.

    Args:
        connection: Name of the connection.
        stages: Stage ids per name.
    """

    def translate(row: Row) -> Row:
        to = _stage(row.get("new_value"), "new_value", stages)
        if to is None:
            raise FieldError("new_value", "names no stage")
        return {
            "ref": Ref(connection, Kind.STAGE_CHANGE, str(row["id"])),
            "deal_id": str(row["parent"]["id"]),
            "from_stage_id": _stage(row.get("old_value"), "old_value", stages),
            "to_stage_id": to,
            "at": from_seconds(row["activity_date"], "activity_date"),
            "by": _id(row.get("user_id")),
        }

    return translate


def _stage(value: Any, name: str, stages: Mapping[str, Sequence[str]]) -> str | None:
    """The id of a stage in an activity.

    How `old_value` and `new_value` hold it is not documented: an id, an object with one, and
    a name that only one pipeline uses are understood.
    """
    if isinstance(value, dict):
        value = value.get("id") or value.get("pipeline_stage_id") or value.get("name")
    if value is None or value == "":
        return None
    if isinstance(value, str) and not value.isdecimal():
        found = stages.get(value, ())
        if len(found) != 1:
            raise FieldError(name, f"is the name of {len(found)} stages")
        return found[0]
    return native_id(value, name)


def identify(row: Any) -> str:
    """The id of any row; of `(order, row)` too."""
    return str((row[1] if isinstance(row, tuple) else row)["id"])


def _id(value: Any) -> str | None:
    return None if value is None else str(value)


def _moment(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    if type(value) is int and 0 <= value < 253402300800:
        return _at(value)
    return from_seconds(value, name)


@lru_cache(maxsize=4096)
def _at(seconds: int) -> datetime:
    # Several times of one deal are often the same, and those of an import too.
    return datetime.fromtimestamp(seconds, UTC)


def _share(value: Any) -> Decimal | None:
    if value is None:
        return None
    share = _PERCENTS.get(value) if type(value) is int else None
    if share is None:
        raise FieldError("win_probability", "is not a whole number from 0 to 100")
    return share


def _tags(row: Row) -> tuple[tuple[str, ...], str | None]:
    """The tags without our marker, and the key that the marker holds."""
    tags = row.get("tags")
    if not tags:
        return (), None
    marker = next((tag for tag in tags if tag.startswith(MARKER)), None)
    if marker is None:
        return tuple(tags), None
    return tuple(tag for tag in tags if not tag.startswith(MARKER)), marker.removeprefix(MARKER)


def _parts(row: Row, name: str, part: str) -> tuple[str, ...]:
    found = (text(entry.get(part), name) for entry in row.get(name) or ())
    return tuple(value for value in found if value)
