"""HubSpot's rows as canonical records. Pure: no calls, no clock.

Every value inside `properties` is a text or null. Sources: contracts/hubspot.md,
sections 2, 4, 5, 6 and 7.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from crmkit.connectors.hubspot.links import linked, people
from crmkit.connectors.hubspot.schema import KEY_PROPERTY, Reader, Schema
from crmkit.connectors.translate import FieldError, fraction, instant, number, text
from crmkit.model import Kind, Outcome, Ref, Stage, Tombstone

Row = dict[str, Any]


def deal(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a deal.

    Won and lost come from the deal's own flags, or from its stage when the flags are not
    set, never from a label. `expected_close` is the close date as a day of the portal's
    time zone; for a closed deal the same property is also the instant it was closed.
    """
    native = str(row["id"])
    get = row["properties"].get
    stage, pipeline = get("dealstage") or None, get("pipeline") or None
    outcome = _outcome(get, pipeline, stage, schema)
    closes = instant(get("closedate"), "closedate")
    changed, version = _changed(row, get("hs_lastmodifieddate"))
    read: dict[str, Any] = {
        "ref": Ref(schema.connection, Kind.DEAL, native),
        "name": get("dealname") or "",
        "pipeline_id": pipeline,
        "stage_id": stage,
        "outcome": outcome,
        "currency": get("deal_currency_code") or schema.currency,
        "owner_id": get("hubspot_owner_id") or None,
        "created_at": instant(get("createdate") or row.get("createdAt"), "createdate"),
        "modified_at": changed,
        "custom": _custom(get, schema.custom),
        "url": schema.url + native,
        "version": version,
        "archived": bool(row.get("archived")),
    }
    # Most deals lack most of what follows: what is unset is left to the record's defaults.
    for name, field, value_of in _OFTEN_UNSET:
        raw = get(name)
        if raw:
            read[field] = value_of(raw, name)
    if closes is not None:
        read["expected_close"] = closes.astimezone(schema.zone).date()
        if outcome is not Outcome.OPEN:
            read["closed_at"] = closes
    if outcome is Outcome.LOST:
        read["lost_reason"] = get("closed_lost_reason") or None
    entered = schema.entered.get(stage) if stage else None
    if entered:
        read["stage_entered_at"] = instant(get(entered), entered)
    links = row.get("associations")
    if links:
        read["companies"] = linked(links.get("companies"), "deal_to_company")
        read["contacts"] = people(links.get("contacts"))
    return read


def company(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a company."""
    get = row["properties"].get
    phone = text(get("phone"), "phone")
    return {
        **_common(row, schema, get),
        "name": get("name") or "",
        "domain": get("domain") or None,
        "phones": (phone,) if phone else (),
    }


def contact(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a contact; its name is what is known of first and last name."""
    get = row["properties"].get
    first, last = text(get("firstname"), "firstname"), text(get("lastname"), "lastname")
    email = text(get("email"), "email")
    more = text(get("hs_additional_emails"), "hs_additional_emails") or ""
    emails = [email, *(part.strip() for part in more.split(";"))]
    phones = [text(get(name), name) for name in ("phone", "mobilephone")]
    return {
        **_common(row, schema, get),
        "name": " ".join(part for part in (first, last) if part) or email or "",
        "first_name": first,
        "last_name": last,
        "emails": tuple(dict.fromkeys(part for part in emails if part)),
        "phones": tuple(dict.fromkeys(part for part in phones if part)),
        "companies": linked((row.get("associations") or {}).get("companies"), "contact_to_company"),
    }


def _common(row: Row, schema: Schema, get: Any) -> dict[str, Any]:
    changed, version = _changed(row, get(schema.wire.modified))
    return {
        "ref": Ref(schema.connection, schema.wire.kind, str(row["id"])),
        "owner_id": get("hubspot_owner_id") or None,
        "city": get("city") or None,
        "country": get("country") or None,
        "postcode": get("zip") or None,
        "key": get(KEY_PROPERTY) or None,
        "custom": _custom(get, schema.custom),
        "url": f"{schema.url}{row['id']}",
        "created_at": instant(get("createdate") or row.get("createdAt"), "createdate"),
        "modified_at": changed,
        "version": version,
        "archived": bool(row.get("archived")),
    }


def spread_notes(rows: Iterable[Row]) -> Iterator[Row]:
    """Each note once per deal that it is on.

    The first keeps the note's id; the copy for a further deal is called `<note>:<deal>`.
    """
    for row in rows:
        links = row.get("associations") or {}
        try:
            deals = linked(links.get("deals"), None)
            companies = linked(links.get("companies"), None)
        except (KeyError, TypeError, AttributeError):
            yield row  # `note` will miss its deal and say that it cannot be read
            continue
        row["company_id"] = companies[0] if companies else None
        row["deal_id"] = deals[0] if deals else None
        yield row
        for further in deals[1:]:
            yield {**row, "deal_id": further, "id": f"{row['id']}:{further}"}


def note(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a note that `spread_notes` has given its deal; its text is HTML."""
    get = row["properties"].get
    return {
        "ref": Ref(schema.connection, Kind.NOTE, str(row["id"])),
        "deal_id": row["deal_id"],
        "company_id": row["company_id"],
        "text": get("hs_note_body") or "",
        "author_id": get("hubspot_owner_id") or None,
        "at": instant(get("hs_timestamp"), "hs_timestamp"),
        "modified_at": _changed(row, get("hs_lastmodifieddate"))[0],
    }


def owner(row: Row, connection: str) -> dict[str, Any]:
    """The fields of an owner; `id` is what deals name, never `userId`."""
    native = str(row["id"])
    names = " ".join(part for part in (row.get("firstName"), row.get("lastName")) if part)
    return {
        "ref": Ref(connection, Kind.OWNER, native),
        "name": names or row.get("email") or native,
        "email": row.get("email") or None,
        "active": not row.get("archived"),
    }


def pipeline(row: Row, connection: str) -> dict[str, Any]:
    """The fields of a pipeline; stages of equal order are sorted by label, as HubSpot does."""
    stages = sorted(
        row["stages"], key=lambda stage: (stage.get("displayOrder") or 0, stage.get("label") or "")
    )
    return {
        "ref": Ref(connection, Kind.PIPELINE, str(row["id"])),
        "name": row.get("label") or "",
        "order": row.get("displayOrder") or 0,
        "archived": bool(row.get("archived")),
        "stages": tuple(_stage(stage) for stage in stages),
    }


def _stage(row: Row) -> Stage:
    metadata = row.get("metadata") or {}
    return Stage(
        id=str(row["id"]),
        name=row.get("label") or "",
        order=row.get("displayOrder") or 0,
        outcome=stage_outcome(metadata),
        probability=fraction(metadata.get("probability"), "stages.metadata.probability"),
        archived=bool(row.get("archived")),
    )


def stage_outcome(metadata: Mapping[str, Any]) -> Outcome:
    """Won is closed with probability 1; any other closed stage is lost.

    A portal may call a stage "Closed lost" that has 0.8 and is not closed: it is open.
    A closed stage between 0 and 1 is not documented; it is over and was not won.
    """
    probability = fraction(metadata.get("probability"), "stages.metadata.probability")
    closed = str(metadata.get("isClosed", "")).lower()
    if closed not in ("true", "false"):
        closed = "true" if probability in (Decimal(0), Decimal(1)) else "false"
    if closed == "false":
        return Outcome.OPEN
    return Outcome.WON if probability == 1 else Outcome.LOST


def outcomes(rows: Iterable[Row]) -> dict[tuple[str, str], Outcome]:
    """(pipeline id, stage id) to outcome; stage ids are unique within a pipeline only.

    A stage that cannot be read is left out here; reading the pipelines names it.
    """
    found: dict[tuple[str, str], Outcome] = {}
    for row in rows:
        for stage in row.get("stages") or ():
            with contextlib.suppress(FieldError, AttributeError):
                found[str(row["id"]), str(stage.get("id"))] = stage_outcome(stage.get("metadata") or {})
    return found


def merged_away(rows: Iterable[Row], schema: Schema) -> Iterator[Tombstone]:
    """A tombstone for every record that was merged into one of these."""
    kind = schema.wire.kind
    for row in rows:
        properties = row.get("properties")
        ids = properties.get("hs_merged_object_ids") if isinstance(properties, dict) else None
        if not ids or not isinstance(ids, str):
            continue
        winner = str(row["id"])
        for loser in dict.fromkeys(part.strip() for part in ids.split(";")):
            if loser and loser != winner:
                yield Tombstone(ref=Ref(schema.connection, kind, loser), merged_into=winner)


@lru_cache(maxsize=1024)  # a portal has few probabilities, one per stage
def _probability(raw: Any, name: str = "hs_deal_stage_probability") -> Decimal | None:
    return fraction(raw, name)


_OFTEN_UNSET: tuple[tuple[str, str, Reader], ...] = (
    ("amount", "amount", number),
    ("hs_deal_stage_probability", "probability", _probability),
    ("hs_manual_forecast_category", "forecast_category", text),
    ("hs_analytics_source", "source", text),
    ("notes_last_updated", "last_activity_at", instant),
    ("notes_next_activity_date", "next_activity_at", instant),
    (KEY_PROPERTY, "key", text),
)


def _outcome(get: Any, pipeline: str | None, stage: str | None, schema: Schema) -> Outcome:
    if get("hs_is_closed_won") == "true":
        return Outcome.WON
    if get("hs_is_closed_lost") == "true":
        return Outcome.LOST
    closed = get("hs_is_closed")
    if closed == "false":
        return Outcome.OPEN
    known = schema.outcomes.get((pipeline or "", stage or ""), Outcome.OPEN)
    if closed == "true" and known is Outcome.OPEN:
        return Outcome.WON if _probability(get("hs_deal_stage_probability")) == 1 else Outcome.LOST
    return known


def _custom(get: Any, readers: Iterable[tuple[str, Reader]]) -> dict[str, Any]:
    found = {}
    for name, read in readers:
        raw = get(name)
        if raw:
            value = read(raw, name)
            if value is not None:
                found[name] = value
    return found


def _changed(row: Row, modified: Any) -> tuple[datetime | None, str | None]:
    """When a record changed last, and the same as a version that sorts.

    HubSpot leaves the fraction out when it is zero, and then the text would sort wrong.
    """
    stamp = modified or row.get("updatedAt")
    if not stamp:
        return None, None
    moment = instant(stamp, "hs_lastmodifieddate")
    if moment is None or len(stamp) == 24:
        return moment, str(stamp)
    return moment, moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
