"""Fact tables from short deal rows, as the state store would give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from crmkit.model import Ref
from crmkit.report.facts import arrays
from crmkit.report.facts.collect import check_currency, outline
from crmkit.report.facts.engine import Facts, duckdb
from crmkit.report.facts.scale import RATE_DIGITS, day_number, instant, whole
from crmkit.report.facts.snapshot import NO_VALUE, VALUE_MARK
from crmkit.report.facts.tables import LAYOUTS
from crmkit.report.inputs import Links, PipelineRow, Settings
from crmkit.report.rates import Rates

LONG_AGO = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a record that was `old` until a pull at `at` saw `new`.

    `field` is a column of the fact table `deals`; values as Python has them (Decimal, date,
    datetime, text, bool, None).
    """

    ref: Ref
    field: str
    at: datetime
    old: Any
    new: Any
    own: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """An entry into a stage that the CRM itself tells."""

    ref: Ref
    stage_id: str
    at: datetime


@dataclass(slots=True)
class Book:
    """Everything that fact tables are made of.

    `first_seen` and `gone` are instants by ref; a record is known since `LONG_AGO` otherwise.
    """

    rows: Iterable[PipelineRow]
    links: Links = field(default_factory=dict)
    changes: Sequence[Change] = ()
    steps: Sequence[Step] = ()
    first_seen: Mapping[Ref, datetime] = field(default_factory=dict)
    gone: Mapping[Ref, datetime] = field(default_factory=dict)
    archived: frozenset[Ref] = frozenset()
    extra: Mapping[Ref, Mapping[str, Any]] = field(default_factory=dict)


def tables(book: Book, rates: Rates, settings: Settings) -> dict[str, pa.Table]:
    """The fact tables of a book."""
    check_currency(rates, settings)
    rows = list(_stages_apart(book.rows))
    # One owner has one name, whatever comes first; the deals stay in their order.
    ordered = sorted(rows, key=lambda row: row.ref)
    found: dict[str, list[dict[str, Any]]] = {
        "deals": [_deal(row, book) for row in rows],
        "changes": [_change(number, change) for number, change in enumerate(book.changes, 1)],
        "stage_steps": [_step(step) for step in book.steps],
        "stages": _stages(ordered, settings),
        "owners": _owners(ordered, settings),
        "companies": _companies(ordered),
        "rates": _rates(rows, rates, settings),
        "pulls": _pulls(rows, book),
    }
    made = {
        layout.name: pa.Table.from_pylist(
            [{name: row.get(name) for name in layout.columns} for row in found.get(layout.name, ())],
            schema=layout.arrow(),
        )
        for layout in LAYOUTS
    }
    return made | {"outline": outline(settings)}


def _stages_apart(rows: Iterable[PipelineRow]) -> Iterator[PipelineRow]:
    """The rows, so that one stage id stands for one stage: rows say what they want of it."""
    known = list(rows)
    meanings: dict[object, set[tuple[str, str]]] = {}
    for row in known:
        meanings.setdefault((row.connection, row.pipeline_id, row.stage_id), set()).add(_meant(row))
    for row in known:
        several = sorted(meanings[row.connection, row.pipeline_id, row.stage_id])
        place = several.index(_meant(row))
        yield replace(row, stage_id=f"{row.stage_id}~{place}") if place and row.stage_id else row


def _meant(row: PipelineRow) -> tuple[str, str]:
    return row.common_stage or "", row.stage_name or ""


@contextmanager
def facts_of(book: Book, rates: Rates, settings: Settings) -> Iterator[Facts]:
    """A book in the embedded engine."""
    with duckdb(tables(book, rates, settings)) as facts:
        yield facts


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else instant(moment)


def _deal(row: PipelineRow, book: Book) -> dict[str, Any]:
    amount = None if row.amount is None else arrays.amount(row.amount)
    known: dict[str, Any] = {
        "connection": row.ref.connection,
        "id": row.ref.id,
        "logical": book.links.get(row.ref),
        "name": row.name,
        "pipeline_id": row.pipeline_id,
        "stage_id": row.stage_id,
        "status": row.outcome.value,
        "lost_kind": row.lost_kind.value if row.lost_kind else None,
        "lost_reason": row.lost_reason,
        "amount": amount,
        "amount_unreadable": row.amount is not None and amount is None,
        "currency": row.currency,
        "value_period": row.value_period.value,
        "probability": arrays.share(row.probability),
        "owner_id": row.owner_id,
        "company_id": row.company_id,
        "contacts": 1,
        "close_day": day_number(row.expected_close) if row.expected_close else None,
        "closed_us": None if row.closed_at_estimated else _us(row.closed_at),
        "created_us": _us(row.created_at),
        "modified_us": _us(row.modified_at),
        "stage_entered_us": _us(row.stage_entered_at),
        "activity_us": _us(row.last_activity_at),
        "url": row.url,
        "archived": row.ref in book.archived,
        "first_seen_us": instant(book.first_seen.get(row.ref, LONG_AGO)),
        "gone_us": _us(book.gone.get(row.ref)),
    }
    return known | dict(book.extra.get(row.ref, {}))


def _change(number: int, change: Change) -> dict[str, Any]:
    return {
        "connection": change.ref.connection,
        "id": change.ref.id,
        "field": change.field,
        "at_us": instant(change.at),
        "number": number,
        "old": _text(change.field, change.old),
        "new": _text(change.field, change.new),
        "own": change.own,
    }


def _text(column: str, value: Any) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, datetime):
        value = instant(value)
    elif isinstance(value, date):
        value = day_number(value)
    elif column == "amount":
        value = arrays.amount(Decimal(value))
    elif column == "probability":
        value = arrays.share(Decimal(value))
    return f"{VALUE_MARK}{value}"


def _step(step: Step) -> dict[str, Any]:
    return {
        "connection": step.ref.connection,
        "id": step.ref.id,
        "stage_id": step.stage_id,
        "at_us": instant(step.at),
    }


def _stages(rows: Sequence[PipelineRow], settings: Settings) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for place, native in enumerate(settings.native_stages):
        found[native.connection, native.pipeline_id, native.stage_id] = {
            "connection": native.connection,
            "pipeline_id": native.pipeline_id,
            "pipeline": native.pipeline_name,
            "stage_id": native.stage_id,
            "native_stage": native.stage_name,
            "place": native.order or place,
            "stage_status": native.outcome.value,
            "stage": native.common_stage,
        }
    for row in rows:
        if row.pipeline_id is None or row.stage_id is None:
            continue
        found.setdefault(
            (row.ref.connection, row.pipeline_id, row.stage_id),
            {
                "connection": row.ref.connection,
                "pipeline_id": row.pipeline_id,
                "pipeline": row.pipeline_name,
                "stage_id": row.stage_id,
                "native_stage": row.stage_name,
                "place": len(found),
                "stage_status": row.outcome.value,
                "stage": row.common_stage,
            },
        )
    return list(found.values())


def _owners(rows: Sequence[PipelineRow], settings: Settings) -> list[dict[str, Any]]:
    teams = {word.casefold(): team for team, members in settings.teams.items() for word in members}
    found = {}
    # Rows may call one owner by several names: the first in order counts, whatever came first.
    for row in sorted(rows, key=lambda one: (one.owner_name or "", one.owner_email or ""), reverse=True):
        if row.owner_id is None:
            continue
        email = (row.owner_email or "").strip().casefold()
        name = (row.owner_name or "").strip().casefold()
        found[row.ref.connection, row.owner_id] = {
            "connection": row.ref.connection,
            "owner_id": row.owner_id,
            "owner_name": row.owner_name,
            "owner_email": row.owner_email,
            "owner_active": row.owner_active,
            "owner_key": row.owner_key or email or f"{row.ref.connection}:{row.owner_id}",
            "team": teams.get(email) or teams.get(name),
        }
    return list(found.values())


def _companies(rows: Sequence[PipelineRow]) -> list[dict[str, Any]]:
    found = {
        (row.ref.connection, row.company_id): {
            "connection": row.ref.connection,
            "company_id": row.company_id,
            "company": row.company_name,
            "company_key": row.company_key or f"{row.ref.connection}:company:{row.company_id}",
        }
        for row in rows
        if row.company_id is not None
    }
    return list(found.values())


def _rates(rows: Sequence[PipelineRow], rates: Rates, settings: Settings) -> list[dict[str, Any]]:
    days = [settings.as_of_date]
    for row in rows:
        days += [
            moment.date() if isinstance(moment, datetime) else moment
            for moment in (row.expected_close, row.closed_at)
            if moment is not None
        ]
    near = [day for day in days if 1990 <= day.year < 2060]
    first, last = min(near) - timedelta(days=400), max(near) + timedelta(days=2)
    return [
        {"currency": currency, "rate_day": day_number(day), "rate": Decimal(whole(rate, RATE_DIGITS))}
        for currency, day, rate in rates.by_day(first, last)
    ]


def _pulls(rows: Sequence[PipelineRow], book: Book) -> list[dict[str, Any]]:
    first: dict[str, datetime] = {}
    for row in rows:
        seen = book.first_seen.get(row.ref, LONG_AGO)
        name = row.ref.connection
        first[name] = min(seen, first.get(name, seen))
    return [{"connection": name, "first_us": instant(seen)} for name, seen in sorted(first.items())]
