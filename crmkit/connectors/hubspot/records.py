"""HubSpot's rows as canonical records. Pure: no calls, no clock.

Every value inside `properties` is a text or null. Sources: contracts/hubspot.md,
sections 2, 4, 5, 6 and 7.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from crmkit.connectors.hubspot.schema import KEY_PROPERTY, Schema
from crmkit.connectors.translate import FieldError, fraction, instant, native_id, number, text
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage, Tombstone

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
    entered = schema.entered.get(stage) if stage else None
    changed, version = _changed(row, get("hs_lastmodifieddate"))
    links = row.get("associations") or {}
    return {
        "ref": Ref(schema.connection, Kind.DEAL, native),
        "name": get("dealname") or "",
        "pipeline_id": pipeline,
        "stage_id": stage,
        "outcome": outcome,
        "lost_reason": (get("closed_lost_reason") or None) if outcome is Outcome.LOST else None,
        "amount": number(get("amount"), "amount"),
        "currency": get("deal_currency_code") or schema.currency,
        "probability": _probability(get("hs_deal_stage_probability")),
        "forecast_category": get("hs_manual_forecast_category") or None,
        "owner_id": get("hubspot_owner_id") or None,
        "companies": _linked(links.get("companies"), "deal_to_company"),
        "contacts": _people(links.get("contacts")),
        "expected_close": closes.astimezone(schema.zone).date() if closes else None,
        "closed_at": None if outcome is Outcome.OPEN else closes,
        "created_at": instant(get("createdate") or row.get("createdAt"), "createdate"),
        "modified_at": changed,
        "stage_entered_at": instant(get(entered), entered) if entered else None,
        "last_activity_at": instant(get("notes_last_updated"), "notes_last_updated"),
        "next_activity_at": instant(get("notes_next_activity_date"), "notes_next_activity_date"),
        "source": get("hs_analytics_source") or None,
        "custom": _custom(get, schema),
        "url": schema.url + native,
        "key": get(KEY_PROPERTY) or None,
        "version": version,
        "archived": bool(row.get("archived")),
    }


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
        "companies": _linked((row.get("associations") or {}).get("companies"), "contact_to_company"),
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
        "custom": _custom(get, schema),
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
        deals = _linked(links.get("deals"), None)
        companies = _linked(links.get("companies"), None)
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


def users(rows: Iterable[Row]) -> dict[str, str]:
    """User id to owner id: the history of a property names users."""
    found: dict[str, str] = {}
    for row in rows:
        for name in ("userIdIncludingInactive", "userId"):
            if row.get(name) is not None:
                found[str(row[name])] = str(row["id"])
    return found


def pipeline(row: Row, connection: str) -> dict[str, Any]:
    """The fields of a pipeline; stages of equal order are sorted by label, as HubSpot does."""
    stages = sorted(row["stages"], key=lambda stage: (stage.get("displayOrder", 0), stage.get("label", "")))
    return {
        "ref": Ref(connection, Kind.PIPELINE, str(row["id"])),
        "name": row.get("label") or "",
        "order": row.get("displayOrder", 0),
        "archived": bool(row.get("archived")),
        "stages": tuple(_stage(stage) for stage in stages),
    }


def _stage(row: Row) -> Stage:
    metadata = row.get("metadata") or {}
    return Stage(
        id=str(row["id"]),
        name=row.get("label") or "",
        order=row.get("displayOrder", 0),
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
            with contextlib.suppress(FieldError):
                found[str(row["id"]), str(stage.get("id"))] = stage_outcome(stage.get("metadata") or {})
    return found


def spread_history(rows: Iterable[Row]) -> Iterator[Row]:
    """One row per stage change, oldest first within a deal.

    HubSpot lists values newest first and names no old one. An entry that repeats the
    value before it is no change; one without a value only ends the stage before it.
    """
    for row in rows:
        entries = (row.get("propertiesWithHistory") or {}).get("dealstage") or ()
        before: str | None = None
        oldest_first = list(reversed(entries))
        oldest_first.sort(key=_stamp)
        for entry in oldest_first:
            stage = entry.get("value") or None
            if stage is not None and stage != before:
                yield {"deal": str(row["id"]), "from": before, "to": stage, "entry": entry}
            before = stage


def _stamp(entry: Row) -> str:
    # Without the Z a time with a fraction sorts behind the same second without one.
    return str(entry.get("timestamp")).rstrip("Z")


def stage_change(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a stage change that `spread_history` has found."""
    native, stage, entry = row["deal"], row["to"], row["entry"]
    user = native_id(entry.get("updatedByUserId"), "updatedByUserId")
    return {
        "ref": Ref(schema.connection, Kind.STAGE_CHANGE, f"{native}:{entry['timestamp']}:{stage}"),
        "deal_id": native,
        "from_stage_id": row["from"],
        "to_stage_id": stage,
        "at": instant(entry["timestamp"], "dealstage"),
        "by": schema.people.get(user, f"user:{user}") if user else None,
    }


def merged_away(row: Row, schema: Schema) -> list[Tombstone]:
    """A tombstone for every record that was merged into this one."""
    properties = row.get("properties")
    ids = properties.get("hs_merged_object_ids") if isinstance(properties, dict) else None
    if not ids or not isinstance(ids, str):
        return []
    kind, winner = schema.wire.kind, str(row["id"])
    return [
        Tombstone(ref=Ref(schema.connection, kind, loser), merged_into=winner)
        for loser in dict.fromkeys(part.strip() for part in ids.split(";"))
        if loser and loser != winner
    ]


def inline(links: Sequence[Row], primary: tuple[str, int] | None) -> Row:
    """Links of the associations API in the shape that a list carries inline.

    A label of the portal's own is the role of the linked person.
    """
    results: list[Row] = []
    for link in links:
        types = link.get("associationTypes") or ()
        own = sorted(
            str(type_["label"])
            for type_ in types
            if type_.get("category") != "HUBSPOT_DEFINED" and type_.get("label")
        )
        first = primary is not None and any(type_.get("typeId") == primary[1] for type_ in types)
        name = primary[0] if primary and first else "other"
        results.append({"id": str(link["toObjectId"]), "type": name, "role": "; ".join(own) or None})
    return {"results": results}


def cut_short(row: Row, to: str) -> bool:
    """Whether the inline links of a row end at the hundredth."""
    block = (row.get("associations") or {}).get(to)
    return bool(block and block.get("paging"))


def _linked(block: Any, primary: str | None) -> tuple[str, ...]:
    """Linked ids, the primary one first, then by id: HubSpot's own order is not stable.

    The same id comes once per kind of link.
    """
    if not block:
        return ()
    results = block["results"]
    ids = {link["id"] for link in results}
    if len(ids) == 1:
        return (str(ids.pop()),)
    first = {str(link["id"]) for link in results if link.get("type") == primary}
    others = {str(id_) for id_ in ids} - first
    return (*sorted(first, key=_by_number), *sorted(others, key=_by_number))


def _people(block: Any) -> tuple[DealContact, ...]:
    if not block:
        return ()
    results = block["results"]
    if len(results) == 1:
        return (_person(str(results[0]["id"]), results[0].get("role")),)
    roles: dict[str, str | None] = {}
    for link in results:
        native = str(link["id"])
        roles[native] = link.get("role") or roles.get(native)
    return tuple([_person(native, roles[native]) for native in sorted(roles, key=_by_number)])


@lru_cache(maxsize=4096)
def _person(native: str, role: str | None) -> DealContact:
    return DealContact(id=native, role=role)


# A portal has few probabilities, one per stage.
_probability = lru_cache(maxsize=1024)(partial(fraction, field="hs_deal_stage_probability"))


def _by_number(native: str) -> tuple[int, str]:
    return len(native), native


def _outcome(get: Any, pipeline: str | None, stage: str | None, schema: Schema) -> Outcome:
    if get("hs_is_closed_won") == "true":
        return Outcome.WON
    if get("hs_is_closed_lost") == "true":
        return Outcome.LOST
    if get("hs_is_closed") == "false":
        return Outcome.OPEN
    if pipeline and stage:
        known = schema.outcomes.get((pipeline, stage))
        if known is not None:
            return known
    if get("hs_is_closed") == "true":
        won = _probability(get("hs_deal_stage_probability")) == 1
        return Outcome.WON if won else Outcome.LOST
    return Outcome.OPEN


def _custom(get: Any, schema: Schema) -> dict[str, Any]:
    found = {}
    for name, read in schema.custom:
        raw = get(name)
        if raw is not None:
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
