"""Common values as people read them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import sqlalchemy as sa

from crmkit.mapping.custom import Plain
from crmkit.model import Kind, Ref
from crmkit.sync.group import Group
from crmkit.sync.reconcile import NOTHING
from crmkit.sync.stored import stored

_PERIODS = {"monthly": " a month", "annual": " a year"}


def shown(field: str, value: Plain, name_of: Callable[[str], str] = str) -> str:
    """A field's value in words.

    Args:
        field: The field.
        value: Its common value.
        name_of: The name of a company or person by the id of its entity.
    """
    if value is None or value is NOTHING or value == []:
        return "(empty)"
    if field == "stage":
        pipeline, stage = value
        return f"{name_of(pipeline)}: {name_of(stage)}" if pipeline else name_of(stage)
    if field == "amount":
        amount, currency, period = value
        return f"{_grouped(amount)} {currency}{_PERIODS.get(period, '')}"
    if field == "company":
        return name_of(value)
    if field == "contacts":
        return ", ".join(name_of(one) for one in value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def names(group: Group, db: sa.Connection, entities: Collection[str]) -> dict[str, str]:
    """Names of companies and people by the id of their entity; unknown ones are left out."""
    spokes = {member.spoke: connection for connection, member in group.members.items()}
    addresses: dict[Ref, str] = {}
    for entity in entities:
        spoke, kind, native = entity.split(":", 2)
        if spoke in spokes and kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL):
            addresses[Ref(spokes[spoke], Kind(kind), native)] = entity
    rows = stored(db, addresses, ("name",))
    return {addresses[ref]: row["name"] for ref, row in rows.items() if row["name"]}


def named_in(values: Iterable[tuple[str, Plain]]) -> set[str]:
    """The entities that (field, value) pairs speak of."""
    found: set[str] = set()
    for field, value in values:
        if field == "company" and isinstance(value, str):
            found.add(value)
        elif field == "contacts" and isinstance(value, list):
            found.update(value)
    return found


def _grouped(amount: str) -> str:
    whole, dot, cents = amount.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{dot}{cents}"
