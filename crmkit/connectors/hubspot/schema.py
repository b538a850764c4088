"""What is asked of HubSpot for each kind, and how a portal's own fields are typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crmkit.connectors import translate
from crmkit.errors import ConnectorError
from crmkit.model import Kind, Outcome

KEY_PROPERTY = "crmkit_uid"
LONGEST_URL = 14_000  # connectors cut at 15,000; 5,100 was seen to pass (contract, section 4)
CURRENT_STAGE = "hs_v2_date_entered_current_stage"
MOST_STAGE_TIMES = 100

Reader = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """How a kind is called on the wire.

    Attributes:
        kind: The canonical kind.
        of: HubSpot's name of the object type, in paths.
        type_id: Its type id, in addresses of the user interface.
        modified: The property that moves when a record changes.
        links: Object types whose links are read with it.
        primary: Per linked type the name and the type id of the primary link.
        properties: The properties that are always asked for.
        history: Properties that are read with their history.
    """

    kind: Kind
    of: str
    type_id: str
    modified: str = "hs_lastmodifieddate"
    links: tuple[str, ...] = ()
    primary: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    properties: tuple[str, ...] = ()
    history: tuple[str, ...] = ()


WIRES: Mapping[Kind, Wire] = {
    Kind.DEAL: Wire(
        Kind.DEAL,
        "deals",
        "0-3",
        links=("companies", "contacts"),
        primary={"companies": ("deal_to_company", 5)},
        properties=(
            "dealname",
            "pipeline",
            "dealstage",
            "amount",
            "deal_currency_code",
            "closedate",
            "createdate",
            "hs_lastmodifieddate",
            "hubspot_owner_id",
            "hs_is_closed",
            "hs_is_closed_won",
            "hs_is_closed_lost",
            "hs_deal_stage_probability",
            "closed_lost_reason",
            "hs_manual_forecast_category",
            "hs_analytics_source",
            "notes_last_updated",
            "notes_next_activity_date",
            "hs_merged_object_ids",
            KEY_PROPERTY,
        ),
    ),
    Kind.COMPANY: Wire(
        Kind.COMPANY,
        "companies",
        "0-2",
        properties=(
            "name",
            "domain",
            "phone",
            "city",
            "country",
            "zip",
            "hubspot_owner_id",
            "createdate",
            "hs_lastmodifieddate",
            "hs_merged_object_ids",
            KEY_PROPERTY,
        ),
    ),
    Kind.CONTACT: Wire(
        Kind.CONTACT,
        "contacts",
        "0-1",
        modified="lastmodifieddate",
        links=("companies",),
        primary={"companies": ("contact_to_company", 1)},
        properties=(
            "firstname",
            "lastname",
            "email",
            "hs_additional_emails",
            "phone",
            "mobilephone",
            "city",
            "country",
            "zip",
            "hubspot_owner_id",
            "createdate",
            "lastmodifieddate",
            "hs_merged_object_ids",
            KEY_PROPERTY,
        ),
    ),
    Kind.NOTE: Wire(
        Kind.NOTE,
        "notes",
        "0-46",
        links=("deals", "companies"),
        properties=("hs_note_body", "hs_timestamp", "hubspot_owner_id", "hs_lastmodifieddate"),
    ),
    Kind.STAGE_CHANGE: Wire(Kind.STAGE_CHANGE, "deals", "0-3", history=("dealstage",)),
}


@dataclass(frozen=True, slots=True)
class Account:
    """The portal: what records need of it.

    Attributes:
        portal_id: Its id.
        zone: Its time zone; a close date is the day in this zone.
        currency: Its currency, for deals without one of their own.
        ui: Where its user interface lives.
        currencies: All currencies that a deal can have, its own first.
    """

    portal_id: str
    zone: ZoneInfo
    currency: str | None
    ui: str
    currencies: tuple[str, ...] = ()

    @property
    def single_currency(self) -> bool:
        """Whether deals cannot have another currency than the portal's own."""
        return len(self.currencies) < 2

    @classmethod
    def of(cls, connection: str, row: Mapping[str, Any]) -> Account:
        """Read the account details.

        Raises:
            ConnectorError: The time zone is not known to this machine.
        """
        name = row.get("timeZone") or "UTC"
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConnectorError(
                f"{connection}: the account's time zone {name!r} is not known here",
                hint="Install the system's time zone data, or `pip install tzdata`.",
            ) from error
        ui = row.get("uiDomain") or "app.hubspot.com"
        own = row.get("companyCurrency") or None
        codes = [own, *(row.get("additionalCurrencies") or ())]
        currencies = tuple(dict.fromkeys(code for code in codes if code))
        return cls(str(row["portalId"]), zone, own, str(ui), currencies)


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything that translating one kind needs, made once per read.

    Attributes:
        connection: Name of the connection.
        wire: The kind on the wire.
        names: All properties to ask for.
        custom: Name of each of the portal's own fields, and its reader.
        zone: The portal's time zone.
        currency: The portal's currency.
        url: What a record's address begins with.
        entered: Stage id to the property that tells when it was entered.
        outcomes: (pipeline id, stage id) to outcome.
        people: HubSpot user id to owner id, for stage changes.
        labelled: Whether links to contacts carry labels of the portal's own.
    """

    connection: str
    wire: Wire
    names: tuple[str, ...]
    custom: tuple[tuple[str, Reader], ...]
    zone: ZoneInfo
    currency: str | None
    url: str
    entered: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    labelled: bool = False

    @property
    def oversize(self) -> bool:
        """Whether the names are too long for a URL; then a batch body carries them."""
        return sum(map(len, self.names)) + len(self.names) > LONGEST_URL


def entered_properties(
    pipelines: Iterable[Mapping[str, Any]], properties: Iterable[Mapping[str, Any]]
) -> dict[str, str]:
    """Stage id to the calculated property with the time of its latest entry.

    Newer portals have one property for whatever stage a deal is in, which is not in the
    contract but in many public property lists: it is used where the portal's own list has
    it. Otherwise there is one per stage. They make every answer larger by one value per
    stage, so that with too many of them the stage history has to tell.
    """
    stages = [
        str(stage.get("id"))
        for pipeline in pipelines
        for stage in pipeline.get("stages") or ()
        if isinstance(stage, dict)
    ]
    if any(row["name"] == CURRENT_STAGE for row in properties):
        return dict.fromkeys(stages, CURRENT_STAGE)
    names = {stage: f"hs_v2_date_entered_{stage}" for stage in stages}
    fits = len(names) <= MOST_STAGE_TIMES and sum(map(len, names.values())) < LONGEST_URL // 2
    return names if fits else {}


def custom_readers(wire: Wire, rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, Reader], ...]:
    """The portal's own fields of a kind, each with what reads its values."""
    known = set(wire.properties)
    return tuple(
        (row["name"], reader(row))
        for row in rows
        if not by_hubspot(row) and not row.get("archived") and row["name"] not in known
    )


def by_hubspot(row: Mapping[str, Any]) -> bool:
    """Whether a property is one of HubSpot's own."""
    # The flag is optional in the spec; HubSpot's own names begin with hs_ mostly.
    return bool(row.get("hubspotDefined", row["name"].startswith("hs_")))


def reader(row: Mapping[str, Any]) -> Reader:
    """What reads the values of a property: everything on the wire is text.

    Ids are text whatever their declared type (`hs_object_id` is declared a number).
    """
    if row.get("referencedObjectType") or row["name"].endswith("_id"):
        return translate.text
    kind = row.get("type")
    if kind == "enumeration":
        return _choices if row.get("fieldType") == "checkbox" else translate.text
    return _READERS.get(kind or "", translate.text)


def _choices(value: Any, name: str) -> tuple[str, ...] | None:
    chosen = translate.text(value, name)
    return tuple(option for option in chosen.split(";") if option) if chosen else None


def _boolean(value: Any, name: str) -> bool | None:
    return translate.yes_no(value, name, yes=("true",), no=("false",))


_READERS: Mapping[str, Reader] = {
    "number": translate.number,
    "bool": _boolean,
    "date": translate.day,
    "datetime": translate.instant,
}
