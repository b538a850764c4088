"""From canonical values to Close's JSON, the inverse of `records.py`; no calls, no clock.

Bodies of opportunities are closed: a key that is not in the published schema is refused, so
only what is written here is ever sent. An update takes no `pipeline_id` and no `lead_id`,
and no null for `value` and `confidence`; what cannot be sent is named in `Body.left`.

Source: https://developer.close.com/api/resources/opportunities/update
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from crmkit.connectors.close import holding
from crmkit.connectors.close.custom import CustomFields
from crmkit.connectors.close.records import OUTCOMES
from crmkit.model import LostKind, Outcome, Stage, ValuePeriod

_TYPES = {outcome: name for name, outcome in OUTCOMES.items()}
# The outcome follows from the stage; the currency is the organization's, which was checked.
_ELSEWHERE = frozenset({"outcome", "currency", "expected_close", "closed_at"})
_NO_FIELD = "Close has no field for it"


@dataclass(slots=True)
class Body:
    """What is sent, and what is not.

    Attributes:
        wire: The JSON body.
        left: Model fields that cannot be written, with the reason.
        fields: Model field per key of `wire`.
    """

    wire: dict[str, Any] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, value: Any, name: str) -> None:
        """Send a value that comes from the model field `name`."""
        self.wire[key] = value
        self.fields[key] = name

    def drop(self, key: str, reason: str) -> None:
        """Do not send a key after all."""
        del self.wire[key]
        self.left[self.fields.pop(key)] = reason


@dataclass(frozen=True, slots=True)
class Terms:
    """What translating a deal needs to know besides its values.

    Attributes:
        fields: The custom fields of the kind.
        exponent: Decimals of the unit that `value` counts: 2, unless Close was seen to count
            in the currency's own minor unit.
        won: Whether the deal is won after the write; only looked at for `closed_at`.
    """

    fields: CustomFields
    exponent: int = 2
    won: bool = False


def deal(values: Mapping[str, Any], terms: Terms, *, create: bool, key: str | None = None) -> Body:
    """The body for an opportunity.

    Fields are read-only after the creation (`companies`, `created_at`), or follow from
    others (`outcome` from the stage): those are left out or named in `Body.left`.
    """
    body = Body()
    for name, value in values.items():
        writer = _DEAL.get(name)
        if writer is not None:
            writer(body, value, values, terms, create)
        elif name not in _ELSEWHERE and value is not LostKind.LOST:
            put_other(body, name, value, terms.fields)
    _outcome(body, values)
    _days(body, values, won=terms.won)
    put_key(body, key, terms.fields)
    return body


def note(values: Mapping[str, Any], *, lead: str, title: str | None, key: str | None) -> Body:
    """The body for a note on a lead: notes do not hang on opportunities.

    The title names the deal. Our key is a line of its own at the end of the text.

    Source: https://developer.close.com/api/resources/activities/notes/list
    """
    body = Body({"lead_id": lead}, {}, {"lead_id": "company_id"})
    text = holding.prose(values.get("text")) or ""
    if key and key not in holding.marks(text):
        text = f"{text}\n\n{key}" if text else key
    body.put("note", text, "text")
    if title:
        body.put("title", title, "deal_id")
    if values.get("author_id"):
        body.put("user_id", values["author_id"], "author_id")
    if values.get("at"):
        moment = _moment(holding.millis(values["at"]))
        body.put("date_created", moment, "at")
        body.put("activity_at", moment, "at")
    return body


def stages(wanted: Sequence[Stage]) -> list[dict[str, str]]:
    """Statuses of a new pipeline, in order."""
    return [status(stage) for stage in wanted]


def status(stage: Stage) -> dict[str, str]:
    """A new status; its type cannot be changed later."""
    return {"label": holding.text(stage.name) or "", "type": _TYPES[stage.outcome]}


def type_of(outcome: Outcome) -> str:
    """Close's word for an outcome."""
    return _TYPES[outcome]


def cents(amount: Decimal, exponent: int) -> int:
    """An amount in the minor unit that `value` counts."""
    return int(amount.scaleb(exponent).quantize(Decimal(1), ROUND_HALF_UP))


def custom_value(value: Any) -> Any:
    """A custom field's value as JSON takes it; numbers stay exact."""
    value = holding.custom(value, None)
    if isinstance(value, Decimal):
        return msgspec.Raw(format(value, "f").encode())
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return list(value)
    return value


Writer = Callable[[Body, Any, Mapping[str, Any], Terms, bool], None]


def _deal_name(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    if terms.fields.name is None:
        body.left["name"] = holding.NO_NAME_FIELD
    else:
        body.put(terms.fields.name, holding.text(value), "name")


def _pipeline(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    # An update takes no pipeline: the status names it.
    if create and value:
        body.put("pipeline_id", value, "pipeline_id")
    elif not create and not values.get("stage_id"):
        body.left["pipeline_id"] = "a deal changes its pipeline only with a stage of the other one"


def _stage(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    if value:
        body.put("status_id", value, "stage_id")
    elif not create:
        body.left["stage_id"] = "a deal always has a stage"


def _amount(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    if value is not None:
        body.put("value", cents(value, terms.exponent), "amount")
    elif create:
        body.put("value", None, "amount")
    else:
        body.left["amount"] = "an update cannot clear a value"


def _period(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    body.put("value_period", ValuePeriod(value or ValuePeriod.ONE_TIME).value, "value_period")


def _probability(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    if value is not None:
        body.put("confidence", cents(value, 2), "probability")
    elif create:
        body.put("confidence", None, "probability")
    else:
        body.left["probability"] = "an update cannot clear a confidence"


def _owner(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    # Without `user_id` a new opportunity would belong to whoever the key belongs to.
    body.put("user_id", value or None, "owner_id")


def _companies(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    put_lead(body, value, "a deal cannot move to another lead", create=create)


def _contacts(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    first = holding.main_contact(value)
    body.put("contact_id", first.id if first else None, "contacts")
    if value and len(value) > 1:
        body.left["contacts"] = f"a deal holds one contact: {len(value) - 1} more are not written"


def _created(body: Body, value: Any, values: Mapping[str, Any], terms: Terms, create: bool) -> None:
    if value is None:
        return
    if create:
        body.put("date_created", _moment(holding.millis(value)), "created_at")
    else:
        body.left["created_at"] = "it can only be given on creation"


_DEAL: dict[str, Writer] = {
    "name": _deal_name,
    "pipeline_id": _pipeline,
    "stage_id": _stage,
    "amount": _amount,
    "value_period": _period,
    "probability": _probability,
    "owner_id": _owner,
    "companies": _companies,
    "contacts": _contacts,
    "created_at": _created,
}


def _outcome(body: Body, values: Mapping[str, Any]) -> None:
    outcome = values.get("outcome")
    if outcome not in (None, Outcome.OPEN) and "status_id" not in body.wire:
        body.left["outcome"] = "the outcome follows from the stage"


def _days(body: Body, values: Mapping[str, Any], *, won: bool) -> None:
    """`date_won`: the day a won deal was won, the expected close of any other one."""
    closed, expected = values.get("closed_at"), values.get("expected_close")
    if won and closed is not None:
        body.put("date_won", holding.won_day(closed).isoformat(), "closed_at")
        return
    if closed is not None:
        body.left["closed_at"] = holding.CLOSED_ITSELF
    # A won deal without a day: Close fills in today, which clearing would only repeat.
    if "expected_close" in values and not (won and expected is None):
        body.put("date_won", expected.isoformat() if expected else None, "expected_close")


def put_lead(body: Body, value: Any, fixed: str, *, create: bool) -> None:
    """The one lead that a new record belongs to; it cannot be changed later."""
    if not create:
        body.left["companies"] = f"{fixed} through the API"
        return
    if value:
        body.put("lead_id", value[0], "companies")
    if value and len(value) > 1:
        body.left["companies"] = f"there is one company: {len(value) - 1} more are not written"


def put_name(body: Body, value: Any) -> None:
    """A name, which may be empty but not null."""
    body.put("name", holding.text(value) or "", "name")


def put_other(body: Body, name: str, value: Any, fields: CustomFields) -> None:
    """A custom field; what is none has no place in Close."""
    if not name.startswith("custom."):
        if value not in (None, "", (), []):
            body.left[name] = _NO_FIELD
    elif name == fields.key:
        body.left[name] = holding.OUR_KEY
    else:
        body.put(name, custom_value(value), name)


def put_key(body: Body, key: str | None, fields: CustomFields) -> None:
    """Our key, in the custom field that holds it."""
    if key and fields.key:
        body.put(fields.key, key, "key")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")
