"""From the state store to fact tables in Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from crmkit.model import Kind
from crmkit.report.facts import arrays
from crmkit.report.facts.own import OwnWrites
from crmkit.report.facts.scale import DAY, RATE_DIGITS, day, day_number, whole
from crmkit.report.facts.snapshot import NO_VALUE, TRACKED, VALUE_MARK
from crmkit.report.facts.tables import (
    CHANGES,
    COMPANIES,
    DEALS,
    OUTLINE,
    OWNERS,
    PULLS,
    RATES,
    STAGE_STEPS,
    STAGES,
    Layout,
)
from crmkit.report.inputs import Settings
from crmkit.report.load import Linked
from crmkit.report.rates import Rates
from crmkit.sync import schema
from crmkit.sync.state import State

ROWS_AT_ONCE = 50_000
FIRST_DAY, LAST_DAY = day_number(date(1990, 1, 1)), day_number(date(2059, 12, 31))
"""Days before and after are misread: no rate is looked for."""
_LOOK_BACK = timedelta(days=500)
"""Five quarters: figures of the four before this one need their rates."""
_STORED = {
    "status": "outcome",
    "company_id": "companies",
    "close_day": "expected_close",
    "closed_us": "closed_at",
    "created_us": "created_at",
    "modified_us": "modified_at",
    "stage_entered_us": "stage_entered_at",
    "activity_us": "last_activity_at",
    "next_us": "next_activity_at",
    "first_seen_us": "first_seen_at",
    "gone_us": "gone_at",
}
"""What a column is called in the state store, where it has another name there."""
_TRACKED_FIELDS = {
    _STORED.get(name, name): name for name in TRACKED if name not in ("renewal_day", "upsell_day")
}


class Collector:
    """Writes the fact tables of some connections into a folder.

    Args:
        state: The open store.
        linked: Owners, companies and links of the connections, and their stage maps.
        rates: To the report currency.
        settings: The zone, the teams and the day of the report.
        custom_days: Per connection, the custom fields that hold the days of a renewal and
            of an upsell.
    """

    def __init__(
        self,
        state: State,
        linked: Linked,
        rates: Rates,
        settings: Settings,
        *,
        custom_days: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        check_currency(rates, settings)
        self._state = state
        self._linked = linked
        self._rates = rates
        self._settings = settings
        self._custom_days = custom_days or {}
        self._connections = sorted(linked.maps)
        since = settings.since or settings.as_of
        first = since.astimezone(settings.zone).date() - timedelta(days=1)
        self._days = (min(first, settings.as_of_date - _LOOK_BACK), settings.as_of_date)

    def write(self, folder: Path) -> None:
        """Write every table; one Parquet file each."""
        for layout, batches in (
            (DEALS, self._deals()),
            (CHANGES, self._changes()),
            (STAGE_STEPS, self._steps()),
            (STAGES, [self._stages()]),
            (OUTLINE, [outline(self._settings)]),
            (OWNERS, [self._owners()]),
            (COMPANIES, [self._companies()]),
            (RATES, self._rate_rows()),
            (PULLS, [self._pulls()]),
        ):
            with pq.ParquetWriter(folder / f"{layout.name}.parquet", layout.arrow()) as file:
                for batch in batches:
                    file.write_table(batch)

    def _deals(self) -> Iterator[pa.Table]:
        table = schema.deals
        notes = self._last_notes()
        logical = {(ref.connection, ref.id): group for ref, group in self._linked.deals.group_of.items()}
        names = [_STORED.get(name, name) for name in DEALS.columns]
        plain = [name for name in names if name in table.c]
        for columns in self._read(table, [*plain, "custom"], table.c.connection.in_(self._connections)):
            self._span(columns)
            count = len(columns["id"])
            keys = list(zip(columns["connection"], columns["id"], strict=True))
            amounts, unreadable = arrays.amounts(columns["amount"])
            custom = columns["custom"] if self._custom_days else [None] * count
            made: dict[str, Any] = {
                "logical": [logical.get(key) for key in keys],
                "amount": amounts,
                "amount_unreadable": unreadable,
                "probability": arrays.shares(columns["probability"]),
                "company_id": _first(columns["companies"]),
                "contacts": _count(columns["contacts"]),
                "note_us": [notes.get(key) for key in keys],
                "renewal_day": self._custom_day(keys, custom, "renewal"),
                "upsell_day": self._custom_day(keys, custom, "upsell"),
            }
            yield _table(
                DEALS,
                {
                    name: made[name]
                    if name in made
                    else arrays.column(columns[_STORED.get(name, name)], name)
                    for name in DEALS.columns
                },
            )

    def _custom_day(
        self, keys: Sequence[tuple[str, str]], custom: Sequence[Any], which: str
    ) -> list[int | None]:
        found: list[int | None] = []
        for (connection, _), values in zip(keys, custom, strict=True):
            field = self._custom_days.get(connection, {}).get(which)
            found.append(_day_of(_decoded(values).get(field)) if field and values else None)
        return found

    def _changes(self) -> Iterator[pa.Table]:
        table = schema.history
        own = OwnWrites(self._state, self._connections)
        where = (
            table.c.kind == Kind.DEAL.value,
            table.c.connection.in_(self._connections),
            table.c.field.in_(sorted(_TRACKED_FIELDS)),
        )
        names = ["connection", "id", "field", "observed_at", "number", "old", "new"]
        for columns in self._read(table, names, *where):
            fields = columns["field"]
            at = arrays.column(columns["observed_at"], "at_us")
            yield _table(
                CHANGES,
                {
                    "connection": columns["connection"],
                    "id": columns["id"],
                    "field": [_TRACKED_FIELDS[name] for name in fields],
                    "at_us": at,
                    "number": columns["number"],
                    "old": _texts(fields, columns["old"]),
                    "new": _texts(fields, columns["new"]),
                    "own": own.flags(columns["connection"], columns["id"], at),
                },
            )

    def _steps(self) -> Iterator[pa.Table]:
        table = schema.stage_changes
        names = ["connection", "deal_id", "to_stage_id", "at", "from_stage_id"]
        where = (table.c.connection.in_(self._connections), table.c.gone_at.is_(None))
        for columns in self._read(table, names, *where):
            yield _table(
                STAGE_STEPS,
                {
                    "connection": columns["connection"],
                    "id": columns["deal_id"],
                    "stage_id": columns["to_stage_id"],
                    "at_us": arrays.column(columns["at"], "at_us"),
                    "from_stage_id": columns["from_stage_id"],
                },
            )

    def _stages(self) -> pa.Table:
        rows = [
            {
                "connection": connection,
                "pipeline_id": pipeline.ref.id,
                "pipeline": pipeline.name,
                "stage_id": stage.id,
                "native_stage": stage.name,
                "place": stage.order,
                "stage_status": stage.outcome.value,
                "stage_probability": arrays.share(stage.probability),
                "stage": found.entries.get((pipeline.ref.id, stage.id)),
            }
            for connection, found in sorted(self._linked.maps.items())
            for pipeline in found.pipelines
            for stage in pipeline.stages
        ]
        return _rows(STAGES, rows)

    def _owners(self) -> pa.Table:
        teams = {
            word.strip().casefold(): team
            for team, members in self._settings.teams.items()
            for word in members
        }
        rows = []
        for (connection, native), owner in sorted(
            self._linked.owners.items(), key=lambda one: (one[0][0], one[0][1] or "")
        ):
            email = (owner.email or "").strip()
            team = next(
                (teams[word] for word in (email.casefold(), owner.name.strip().casefold()) if word in teams),
                None,
            )
            rows.append(
                {
                    "connection": connection,
                    "owner_id": native,
                    "owner_name": owner.name,
                    "owner_email": owner.email,
                    "owner_active": owner.active,
                    "owner_key": email.casefold() or f"{connection}:{native}",
                    "team": team,
                }
            )
        return _rows(OWNERS, rows)

    def _companies(self) -> pa.Table:
        groups = self._linked.companies.group_of
        rows = [
            {
                "connection": ref.connection,
                "company_id": ref.id,
                "company": name,
                "company_key": groups.get(ref, str(ref)),
            }
            for ref, name in self._linked.company_names()
        ]
        return _rows(COMPANIES, rows)

    def _rate_rows(self) -> Iterator[pa.Table]:
        """The rates of the days that the deals need, once those are read."""
        # A deal is valued on the day of the report or on the day it was closed.
        first, last = self._days
        found = list(self._rates.by_day(first, max(last, self._settings.as_of_date + timedelta(days=1))))
        yield _table(
            RATES,
            {
                "currency": [currency for currency, _, _ in found],
                "rate_day": [day_number(day) for _, day, _ in found],
                "rate": [Decimal(whole(rate, RATE_DIGITS)) for _, _, rate in found],
            },
        )

    def _span(self, columns: Mapping[str, Any]) -> None:
        """Widen the days that need rates by those of some deals."""
        closed = arrays.column(columns["closed_at"], "closed_us")
        days = [
            *_ends(arrays.column(columns["expected_close"], "close_day")),
            *(at // DAY for at in _ends(closed)),
        ]
        for number in days:
            if FIRST_DAY <= number <= LAST_DAY:
                found = day(number)
                assert found is not None
                self._days = (
                    min(self._days[0], found - timedelta(days=1)),
                    max(self._days[1], found + timedelta(days=1)),
                )

    def _pulls(self) -> pa.Table:
        table = schema.deals
        query = (
            sa.select(table.c.connection, sa.func.min(table.c.first_seen_at))
            .where(table.c.connection.in_(self._connections))
            .group_by(table.c.connection)
        )
        with self._state.read() as db:
            found = [(name, first) for name, first in db.execute(query)]
        return _table(
            PULLS,
            {
                "connection": [name for name, _ in found],
                "first_us": arrays.column([first for _, first in found], "first_us"),
            },
        )

    def _last_notes(self) -> dict[tuple[str, str], int | None]:
        table = schema.notes
        query = (
            sa.select(table.c.connection, table.c.deal_id, sa.func.max(table.c.at))
            .where(table.c.deal_id.is_not(None), table.c.at.is_not(None))
            .where(table.c.connection.in_(self._connections))
            .group_by(table.c.connection, table.c.deal_id)
        )
        with self._state.read() as db:
            found = db.execute(query).all()
        instants = arrays.column([row[2] for row in found], "at_us").to_pylist()
        return {(row[0], row[1]): at for row, at in zip(found, instants, strict=True)}

    def _read(
        self, table: sa.Table, names: Sequence[str], *where: sa.ColumnElement[bool]
    ) -> Iterator[dict[str, list[Any]]]:
        """Raw values, column by column, many rows at a time."""
        columns = [sa.type_coerce(table.c[name], sa.types.NullType()).label(name) for name in names]
        query = sa.select(*columns).where(*where)
        with self._state.read() as db:
            for part in db.execution_options(yield_per=ROWS_AT_ONCE).execute(query).partitions():
                yield dict(zip(names, map(list, zip(*part, strict=True)), strict=True))


def check_currency(rates: Rates, settings: Settings) -> None:
    """Make sure that the rates lead to the report's currency.

    Raises:
        ValueError: They lead to another one.
    """
    if rates.report_currency != settings.report_currency.strip().upper():
        raise ValueError(f"rates to {rates.report_currency}, report in {settings.report_currency}")


def outline(settings: Settings) -> pa.Table:
    """The common stages as a fact table."""
    return _rows(
        OUTLINE,
        [
            {
                "stage": stage.id,
                "stage_name": stage.name,
                "stage_order": stage.order,
                "common_status": stage.outcome.value,
                "stage_category": settings.forecast_categories.get(stage.id),
                "stale_days": settings.stale_days_by_stage.get(stage.id, settings.stale_days),
                "max_days": settings.stage_max_days_by_stage.get(stage.id, settings.stage_max_days),
            }
            for stage in settings.stages
        ],
    )


def _table(layout: Layout, columns: Mapping[str, Any]) -> pa.Table:
    target = layout.arrow()
    arrays_ = [
        value.cast(field.type)
        if isinstance(value, (pa.Array, pa.ChunkedArray))
        else pa.array(value, field.type)
        for field, value in ((field, columns[field.name]) for field in target)
    ]
    return pa.Table.from_arrays(arrays_, schema=target)


def _rows(layout: Layout, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return _table(layout, {name: [row[name] for row in rows] for name in layout.columns})


def _ends(values: Any) -> list[int]:
    found = pc.min_max(values).as_py()
    return [value for value in (found["min"], found["max"]) if value is not None]


def _decoded(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, (str, bytes)) else value


def _first(values: Sequence[Any]) -> list[str | None]:
    return [_first_of(value) for value in values]


def _first_of(value: Any) -> str | None:
    if value is None or value == "[]":
        return None
    found = _decoded(value)
    return str(found[0]) if found else None


def _count(values: Sequence[Any]) -> list[int]:
    return [0 if value is None or value == "[]" else len(_decoded(value)) for value in values]


def _day_of(value: Any) -> int | None:
    """The day in a custom field: dates and times come as ISO text in the store."""
    if isinstance(value, Mapping):
        value = next(iter(value.values()), None)
    if not isinstance(value, str):
        return None
    try:
        return day_number(date.fromisoformat(value[:10]))
    except ValueError:
        return None


def _texts(fields: Sequence[str], values: Sequence[str | None]) -> list[str]:
    return [
        NO_VALUE if value is None else VALUE_MARK + _DECODERS.get(field, str)(value)
        for field, value in zip(fields, values, strict=True)
    ]


def _amount_text(text: str) -> str:
    found = arrays.amount(Decimal(text))
    return "" if found is None else str(found)


def _moment_text(text: str) -> str:
    return str(arrays.instant(datetime.fromisoformat(text)))


_DECODERS: dict[str, Callable[[str], str]] = {
    "amount": _amount_text,
    "probability": lambda text: str(arrays.share(Decimal(text))),
    "expected_close": lambda text: str(day_number(date.fromisoformat(text))),
    "companies": lambda text: _first_of(text) or "",
    "contacts": lambda text: str(_count([text])[0]),
    "archived": lambda text: "1" if text == "true" else "0",
    **dict.fromkeys(
        ("closed_at", "modified_at", "stage_entered_at", "last_activity_at", "next_activity_at", "gone_at"),
        _moment_text,
    ),
}
"""How a field's text in the history becomes the text of its column."""
