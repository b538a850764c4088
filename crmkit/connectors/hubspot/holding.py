"""What HubSpot makes of values, and what it cannot hold at all. Pure: no calls, no clock.

What a portal has (currencies, fields, labels) is used as far as it was read before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.hubspot.bodies import (
    DERIVED,
    LINKS,
    NAME_PARTS,
    PHONES,
    PROPERTIES,
    Labels,
    emails,
    instant_of,
    lowered,
    note_body,
    people,
    phones,
    split_role,
    wire_text,
)
from crmkit.connectors.hubspot.schema import Account
from crmkit.model import DealContact, Kind, Outcome, Stage, ValuePeriod

LONGEST_TEXT = 65_536
MOST_STAGES = 100
# Fields of the model that every record has and that nobody writes.
_READ_ONLY = frozenset(
    {"ref", "key", "version", "url", "archived", "merged_into", "modified_at", "created_at",
     "stage_entered_at", "last_activity_at", "next_activity_at"}
)  # fmt: skip
_REASONS: Mapping[tuple[Kind, str], str] = {
    (Kind.DEAL, "probability"): "HubSpot derives the probability from the stage",
    (Kind.DEAL, "value_period"): "HubSpot deals have no billing period",
    (Kind.DEAL, "source"): "HubSpot finds the source by itself",
    (Kind.DEAL, "tags"): "HubSpot deals have no tags",
    (Kind.COMPANY, "tax_id"): "HubSpot companies have no tax number",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of a portal so far.

    Attributes:
        account: Zone and currencies.
        fields: A kind's fields by id, empty if they were not read.
        outcomes: (pipeline id, stage id) to outcome.
        labels: The portal's own labels for people of deals; `None` if they were not read.
    """

    account: Account | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    outcomes: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)
    labels: Labels | None = None

    def outcome(self, values: Mapping[str, Any]) -> Outcome | None:
        """Whether a deal with these values is over, as far as they tell."""
        stage = values.get("pipeline_id") or "", values.get("stage_id") or ""
        return self.outcomes.get(stage) or values.get("outcome")


def holds(kind: Kind, values: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """Values as reading them back would give them.

    Left out is what HubSpot derives: a deal's outcome and probability (from its stage), and
    a contact's name if its parts are given.
    """
    if kind is Kind.PIPELINE:
        return _pipeline_holds(values)
    held: dict[str, Any] = {}
    for name, value in values.items():
        if name in DERIVED or (kind is Kind.DEAL and name == "probability"):
            continue
        if kind is Kind.CONTACT and name == "name" and any(part in values for part in NAME_PARTS):
            continue
        held[name] = _held(kind, name, value, known)
    return _dates_held(held, values, known) if kind is Kind.DEAL else held


def _held(kind: Kind, name: str, value: Any, known: Known) -> Any:
    if name.startswith("custom."):
        return _custom_held(value, known.fields.get(name.removeprefix("custom.")))
    if name == "currency":
        return value or (known.account.currency if known.account else None)
    if name == "contacts":
        return _people_held(value or (), known.labels)
    if name == "companies":
        ids = list(dict.fromkeys(value or ()))
        return (*ids[:1], *sorted(ids[1:], key=lambda native: (len(native), native)))
    if name == "emails":
        return emails(value)
    if name == "phones":
        return phones(value)
    if name == "domain":
        return lowered(value)
    if name == "text":
        return note_body(value)
    if kind is Kind.CONTACT and name == "name":
        return " ".join((value or "").split())
    if name == "name":
        return value or ""
    if name == "value_period":
        return ValuePeriod.ONE_TIME
    if name == "tags":
        return ()
    if isinstance(value, datetime):
        return _to_millis(value)
    return None if value == "" else value


def _dates_held(held: dict[str, Any], values: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """A deal has one close date, and a reason for its loss only while it is lost."""
    outcome = known.outcome(values)
    if outcome is Outcome.OPEN and "closed_at" in held:
        held["closed_at"] = None
    if outcome in (Outcome.OPEN, Outcome.WON) and "lost_reason" in held:
        held["lost_reason"] = None
    closed, day = held.get("closed_at"), held.get("expected_close")
    if known.account and closed is not None and "expected_close" in held:
        held["expected_close"] = closed.astimezone(known.account.zone).date()
    elif known.account and day is not None and "closed_at" in held and outcome not in (None, Outcome.OPEN):
        held["closed_at"] = _to_millis(instant_of(day, known.account))
    return held


def _people_held(value: Sequence[DealContact], labels: Labels | None) -> tuple[DealContact, ...]:
    """People in order of id; HubSpot has no primary one, and only the roles it has labels for."""
    held = []
    for person in people(value):
        role = person.role or None
        if role and labels is not None:
            _, missing = split_role(role, labels)
            names = [role] if role in labels else role.split("; ")
            role = "; ".join(sorted(n for n in dict.fromkeys(names) if n and n not in missing)) or None
        held.append(DealContact(id=person.id, role=role))
    return tuple(sorted(held, key=lambda person: (len(person.id), person.id)))


def _custom_held(value: Any, described: Field | None) -> Any:
    kind = described.type if described else ""
    if isinstance(value, tuple | list):
        options = tuple(dict.fromkeys(str(option) for option in value if option))
        return options or None
    if isinstance(value, str) and kind == "choices":
        return tuple(dict.fromkeys(option for option in value.split(";") if option)) or None
    if value is not None and kind in ("text", "choice", "owner", "link"):
        value = wire_text(value)
    if isinstance(value, datetime):
        return _to_millis(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None if value == "" else value


def _to_millis(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def stage_probability(stage: Stage) -> Decimal:
    """The probability of a stage in HubSpot's steps of a tenth.

    It also says what the stage is: 1.0 is won and 0.0 is lost, so that an open stage has 0.1
    to 0.9, and 0.1 if nobody knows.
    """
    if stage.outcome is not Outcome.OPEN:
        return Decimal("1.0") if stage.outcome is Outcome.WON else Decimal("0.0")
    share = (stage.probability or Decimal(0)).quantize(Decimal("0.1"))
    return min(max(share, Decimal("0.1")), Decimal("0.9"))


def _pipeline_holds(values: Mapping[str, Any]) -> dict[str, Any]:
    held = dict(values)
    if "stages" in held:
        held["stages"] = tuple(
            stage.model_copy(update={"order": at, "probability": stage_probability(stage), "archived": False})
            for at, stage in enumerate(held["stages"] or ())
        )
    return held


def cannot_hold(kind: Kind, values: Mapping[str, Any], known: Known) -> dict[str, str]:
    """Fields whose value HubSpot cannot store, with the reason."""
    if kind is Kind.PIPELINE:
        return _pipeline_cannot(values)
    found: dict[str, str] = {}
    for name, value in values.items():
        reason = _reason(kind, name, value, known)
        if reason:
            found[name] = reason
    if kind is Kind.DEAL and found.keys() & {"currency", "value_period"} and "amount" in values:
        # An amount without its currency or period would be another amount.
        found.setdefault("amount", found.get("currency") or found["value_period"])
    return found


def _reason(kind: Kind, name: str, value: Any, known: Known) -> str | None:
    if value is None or value in ("", ()) or name in DERIVED:
        return None
    if name.startswith("custom."):
        native = name.removeprefix("custom.")
        missing = bool(known.fields) and native not in known.fields
        return "HubSpot has no such field" if missing else _custom_reason(value, known.fields.get(native))
    if name not in PROPERTIES.get(kind, {}) and name not in LINKS.get(kind, {}):
        if name in _READ_ONLY or value is ValuePeriod.ONE_TIME:
            return None
        return _REASONS.get((kind, name), f"HubSpot's API cannot write this of a {kind}")
    if name == "currency" and known.account and known.account.currencies:
        return None if value in known.account.currencies else f"the HubSpot account has no currency {value}"
    if name == "phones":
        most = len(PHONES[kind])
        return f"HubSpot holds {most} phone number(s) of a {kind}" if len(phones(value)) > most else None
    if name == "emails":
        good = all(one.count("@") == 1 and not set(one) & set("; \t\n,") for one in emails(value))
        return None if good else "is not a list of e-mail addresses"
    if name == "text":
        return _text_reason(note_body(value))
    return _value_reason(value)


def _value_reason(value: Any) -> str | None:
    if isinstance(value, str):
        return _text_reason(value)
    if isinstance(value, Decimal) and not value.is_finite():
        return "is not a finite number"
    if isinstance(value, date) and not 1 < value.year < 9999:
        return "is not a date that HubSpot can hold"
    return None


def _text_reason(value: str) -> str | None:
    return f"is longer than {LONGEST_TEXT} characters" if len(value) > LONGEST_TEXT else None


def _custom_reason(value: Any, described: Field | None) -> str | None:
    options = value if isinstance(value, tuple | list) else ()
    if any(";" in str(option) for option in options):
        return 'an option contains ";", which separates options in HubSpot'
    if described is None:
        return _value_reason(value)
    if described.read_only:
        return "HubSpot calculates this field"
    if described.type in ("choice", "choices") and described.options:
        chosen = options or (str(value).split(";") if described.type == "choices" else [wire_text(value)])
        if any(option and str(option) not in described.options for option in chosen):
            return "the field has no such option"
    return _value_reason(value)


def _pipeline_cannot(values: Mapping[str, Any]) -> dict[str, str]:
    names = [stage.name for stage in values.get("stages") or ()]
    if len(names) > MOST_STAGES:
        return {"stages": f"HubSpot pipelines have at most {MOST_STAGES} stages"}
    if len(set(names)) < len(names):
        return {"stages": "HubSpot wants a different name for each stage of a pipeline"}
    return {}
