"""From Close's JSON to canonical records; no calls, no clock.

Source: https://developer.close.com/api/resources/opportunities/list
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from crmkit.connectors.close.custom import CustomFields, Row, a_day, with_flat_custom
from crmkit.connectors.translate import FieldError, instant, text
from crmkit.model import (
    Kind,
    LostKind,
    Outcome,
    Ref,
    Stage,
    ValuePeriod,
)

OUTCOMES = {"active": Outcome.OPEN, "won": Outcome.WON, "lost": Outcome.LOST}
_OUTCOMES = {
    None: (Outcome.OPEN, None),
    "": (Outcome.OPEN, None),
    "active": (Outcome.OPEN, None),
    "won": (Outcome.WON, None),
    "lost": (Outcome.LOST, LostKind.LOST),
}
PERIODS = {period.value: period for period in ValuePeriod}
LEAD_PAGE = "https://app.close.com/lead/"
UNTITLED = "Untitled"

_CENTS = Decimal("0.01")
_PERCENTS = {share: Decimal(share) / 100 for share in range(101)}
# ISO 4217 currencies whose minor unit is not a hundredth.
ODD_EXPONENTS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}


def deal_translator(connection: str, fields: CustomFields) -> Callable[[Row], Row]:
    """A function that gives the `Deal` fields of one opportunity."""
    read_custom, name_field = fields.read, fields.name or ""
    days, kind = Days(), Kind.DEAL

    def translate(row: Row) -> Row:
        get = row.get
        outcome, lost_kind = _OUTCOMES.get(get("status_type")) or _no_outcome()
        currency = get("value_currency") or None
        value = get("value")
        close = days.read(get("date_won"), "date_won")
        modified = get("date_updated")
        modified_at = instant(modified, "date_updated", naive_is_utc=True)
        lead, contact = get("lead_id"), get("contact_id")
        if outcome is Outcome.OPEN:
            # `date_won` is an estimate, which also stays behind when a won deal is opened again.
            closed_at = None
        elif outcome is Outcome.WON:
            closed_at = None if close is None else days.noon(close)
        else:
            closed_at = instant(get("date_lost"), "date_lost", naive_is_utc=True)
        return {
            "ref": Ref(connection, kind, row["id"]),
            "name": get(name_field) or get("lead_name") or UNTITLED,
            "pipeline_id": get("pipeline_id"),
            "stage_id": get("status_id"),
            "outcome": outcome,
            "lost_kind": lost_kind,
            "amount": None if value is None else amount(value, currency, get("value_formatted")),
            "currency": currency,
            "value_period": _period(get("value_period")),
            "probability": _share(get("confidence")),
            "owner_id": get("user_id"),
            "companies": (lead,) if lead else (),
            # The model builds the contact itself in half the time.
            "contacts": ({"id": contact, "primary": True},) if contact else (),
            "expected_close": close,
            "closed_at": closed_at,
            "created_at": instant(get("date_created"), "date_created", naive_is_utc=True),
            "modified_at": modified_at,
            "custom": read_custom(row),
            "url": f"{LEAD_PAGE}{lead}/" if lead else None,
            "key": _key(row, fields),
            "version": _version(modified, modified_at),
        }

    return translate


def _no_outcome() -> tuple[Outcome, LostKind | None]:
    raise FieldError("status_type", "is none of active, won, lost")


class Days:
    """Reads days, each spelling once."""

    def __init__(self) -> None:
        self._read: dict[Any, date] = {}
        self._noons: dict[date, datetime] = {}

    def read(self, value: Any, name: str) -> date | None:
        """A day; a date-time is cut to its day."""
        if value is None:
            return None
        known = self._read.get(value) if type(value) is str else None
        if known is None:
            known = a_day(value, name)
            if known is not None:
                self._read[value] = known
        return known

    def noon(self, day: date) -> datetime:
        """When a deal was won, of which only the day is known, in the zone of whoever set it.

        Noon UTC is that day in all but the outermost zones.
        """
        known = self._noons.get(day)
        if known is None:
            known = self._noons[day] = datetime.combine(day, time(12), UTC)
        return known


def amount(value: Any, currency: str | None, formatted: Any) -> Decimal:
    """The value in major units.

    Close says "cents" for every currency. For those without hundredths (yen, dinar) no
    example was seen; `value_formatted` shows the same number in major units, so it tells
    whether Close multiplied by 100 or used the currency's own minor unit.

    Source: https://developer.close.com/api/resources/opportunities/list
    """
    if type(value) is not int:
        raise FieldError("value", f"is a {type(value).__name__}, not a whole number of cents")
    exponent = ODD_EXPONENTS.get(currency or "", 2)
    if exponent == 2 or not isinstance(formatted, str):
        return value * _CENTS
    cents, own = value * _CENTS, Decimal(value).scaleb(-exponent)
    return own if _shows(formatted, own) and not _shows(formatted, cents) else cents


def _shows(formatted: str, value: Decimal) -> bool:
    """Whether a formatted amount can be read as `value`; a separator may mean either thing."""
    signs = [sign for sign in formatted if sign.isdecimal() or sign in ".,"]
    digits = "".join(sign for sign in signs if sign.isdecimal())
    if not digits:
        return False
    decimals = next((place for place, sign in enumerate(reversed(signs)) if sign in ".,"), 0)
    readings = {Decimal(digits), Decimal(digits).scaleb(-decimals)} if decimals == 3 else None
    return abs(value) in (readings or {Decimal(digits).scaleb(-decimals)})


def company_translator(connection: str, fields: CustomFields) -> Callable[[Row], Row]:
    """A function that gives the `Company` fields of one lead."""

    def translate(row: Row) -> Row:
        row = with_flat_custom(row, fields)
        modified_at = instant(row.get("date_updated"), "date_updated", naive_is_utc=True)
        address = next((item for item in row.get("addresses") or () if isinstance(item, dict)), {})
        return {
            "ref": Ref(connection, Kind.COMPANY, row["id"]),
            "name": row.get("name") or row.get("display_name") or UNTITLED,
            "domain": _domain(row.get("url")),
            "city": text(address.get("city"), "addresses"),
            "country": text(address.get("country"), "addresses"),
            "postcode": text(address.get("zipcode"), "addresses"),
            "key": _key(row, fields),
            "custom": fields.read(row),
            "url": row.get("html_url") or f"{LEAD_PAGE}{row['id']}/",
            "created_at": instant(row.get("date_created"), "date_created", naive_is_utc=True),
            "modified_at": modified_at,
            "version": _version(row.get("date_updated"), modified_at),
        }

    return translate


def contact_translator(connection: str, fields: CustomFields) -> Callable[[Row], Row]:
    """A function that gives the `Contact` fields of one contact."""

    def translate(row: Row) -> Row:
        row = with_flat_custom(row, fields)
        modified_at = instant(row.get("date_updated"), "date_updated", naive_is_utc=True)
        lead = row.get("lead_id")
        return {
            "ref": Ref(connection, Kind.CONTACT, row["id"]),
            "name": row.get("name") or row.get("display_name") or "",
            "emails": _parts(row, "emails", "email"),
            "phones": _parts(row, "phones", "phone"),
            "companies": (lead,) if lead else (),
            "key": _key(row, fields),
            "custom": fields.read(row),
            "url": f"{LEAD_PAGE}{lead}/" if lead else None,
            "created_at": instant(row.get("date_created"), "date_created", naive_is_utc=True),
            "modified_at": modified_at,
            "version": _version(row.get("date_updated"), modified_at),
        }

    return translate


def contacts_of(lead: Row) -> list[Row]:
    """The contacts nested in a lead, each with the lead's id, which the nested form lacks."""
    return [{**row, "lead_id": lead["id"]} for row in lead.get("contacts") or ()]


def pipeline_translator(connection: str) -> Callable[[tuple[int, Row]], Row]:
    """A function that gives the `Pipeline` fields of one numbered pipeline."""

    def translate(numbered: tuple[int, Row]) -> Row:
        order, row = numbered
        return {
            "ref": Ref(connection, Kind.PIPELINE, row["id"]),
            "name": row["name"],
            "order": order,
            "stages": tuple(
                Stage(id=status["id"], name=status["label"], order=place, outcome=_outcome(status))
                for place, status in enumerate(row.get("statuses") or ())
            ),
        }

    return translate


def owner_translator(connection: str, former: frozenset[str]) -> Callable[[Row], Row]:
    """A function that gives the `Owner` fields of a user or of a membership.

    Args:
        connection: Name of the connection.
        former: Ids of users who have left the organization.
    """

    def translate(row: Row) -> Row:
        native = row.get("user_id") or row["id"]
        email = text(row.get("email") or row.get("user_email"), "email")
        first, last = row.get("first_name"), row.get("last_name")
        name = row.get("user_full_name") or " ".join(part for part in (first, last) if part)
        return {
            "ref": Ref(connection, Kind.OWNER, native),
            "name": name or email or native,
            "email": email,
            # Former members are still listed, with no organizations (recorded).
            "active": native not in former and row.get("organizations") != [],
        }

    return translate


def stage_change_translator(connection: str) -> Callable[[Row], Row]:
    """A function that gives the `StageChange` fields of one status change activity."""

    def translate(row: Row) -> Row:
        return {
            "ref": Ref(connection, Kind.STAGE_CHANGE, row["id"]),
            "deal_id": row["opportunity_id"],
            "from_stage_id": row.get("old_status_id"),
            "to_stage_id": row["new_status_id"],
            # `activity_at` can be edited; the change itself happened at `date_created`.
            "at": instant(row["date_created"], "date_created", naive_is_utc=True),
            "by": row.get("user_id") or row.get("created_by"),
        }

    return translate


def note_translator(connection: str) -> Callable[[Row], Row]:
    """A function that gives the `Note` fields of a note activity or of a deal's own note."""

    def translate(row: Row) -> Row:
        on_deal = row["id"].startswith("oppo_") or "status_type" in row
        return {
            "ref": Ref(connection, Kind.NOTE, row["id"]),
            "deal_id": row["id"] if on_deal else None,
            "company_id": row.get("lead_id"),
            "text": row.get("note") or "",
            "author_id": None if on_deal else row.get("user_id") or row.get("created_by"),
            # Nothing tells when a deal's own note was written.
            "at": None if on_deal else instant(row.get("date_created"), "date_created", naive_is_utc=True),
            "modified_at": instant(row.get("date_updated"), "date_updated", naive_is_utc=True),
        }

    return translate


def identify(row: Any) -> str:
    """The id of any row; of `(order, row)` too."""
    native = (row[1] if isinstance(row, tuple) else row)["id"]
    return str(native)


def _outcome(status: Row) -> Outcome:
    try:
        return OUTCOMES[status["type"]]
    except KeyError:
        raise FieldError("statuses.type", "is none of active, won, lost") from None


def _period(value: Any) -> ValuePeriod:
    if value is None:
        return ValuePeriod.ONE_TIME
    period = PERIODS.get(value)
    if period is None:
        raise FieldError("value_period", "is none of one_time, monthly, annual")
    return period


def _share(value: Any) -> Decimal | None:
    if value is None:
        return None
    share = _PERCENTS.get(value) if type(value) is int else None
    if share is None:
        raise FieldError("confidence", "is not a whole number from 0 to 100")
    return share


def _version(value: Any, moment: datetime | None) -> str | None:
    """The modified time as text that sorts: some rows lack microseconds."""
    if moment is None:
        return None
    if isinstance(value, str) and value.endswith("+00:00"):
        return value
    return moment.isoformat()


def _key(row: Row, fields: CustomFields) -> str | None:
    value = row.get(fields.key) if fields.key else None
    return str(value).removeprefix("crmkit:") if value else None


def _domain(url: Any) -> str | None:
    if not isinstance(url, str) or not url:
        return None
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def _parts(row: Row, name: str, part: str) -> tuple[str, ...]:
    found = (text(item.get(part), name) for item in row.get(name) or ())
    return tuple(value for value in found if value)
