"""Canonical records to table rows and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from crmkit.model import AnyRecord, Company, Contact, Deal, Kind, Note, Owner, Pipeline, Record, StageChange
from crmkit.sync import schema

Row = tuple[Any, ...]
Column = Sequence[Any]

TABLES: dict[Kind, sa.Table] = {
    Kind.PIPELINE: schema.pipelines,
    Kind.OWNER: schema.owners,
    Kind.COMPANY: schema.companies,
    Kind.CONTACT: schema.contacts,
    Kind.DEAL: schema.deals,
    Kind.STAGE_CHANGE: schema.stage_changes,
    Kind.NOTE: schema.notes,
}
MODELS: dict[Kind, type[Record]] = {
    Kind.PIPELINE: Pipeline,
    Kind.OWNER: Owner,
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.DEAL: Deal,
    Kind.STAGE_CHANGE: StageChange,
    Kind.NOTE: Note,
}
_BOOKKEEPING = ("connection", "id", "seen_walk", "observed_at", "gone_at")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind is laid out in its table.

    Attributes:
        table: The table.
        fields: The columns that hold the record itself, in order.
        rows: The values of records for `fields`, ready for the driver.
        upsert: Statement for `connection, id, *fields, seen_walk, observed_at`.
    """

    table: sa.Table
    fields: tuple[str, ...]
    rows: Callable[[Sequence[AnyRecord]], Iterable[Row]]
    upsert: str


def layout(kind: Kind, dialect: sa.Dialect) -> Layout:
    """The layout of a kind for a database."""
    table = TABLES[kind]
    fields = tuple(column.name for column in table.columns if column.name not in _BOOKKEEPING)
    return Layout(table, fields, _reader(table, fields, dialect), _upsert(table, fields, dialect))


def _upsert(table: sa.Table, fields: Sequence[str], dialect: sa.Dialect) -> str:
    names = ["connection", "id", *fields, "seen_walk", "observed_at"]
    module = sqlite if dialect.name == "sqlite" else postgresql
    insert = module.insert(table).values({name: sa.bindparam(name) for name in names})
    changed = {name: insert.excluded[name] for name in names[2:]}
    # A record that comes back (restored, or in reach again) is no longer gone.
    statement = insert.on_conflict_do_update(
        index_elements=[table.c.connection, table.c.id], set_={**changed, "gone_at": sa.null()}
    )
    # Positional, so that rows can go to the driver as they are: per-value processing by
    # SQLAlchemy costs more than the insert itself (see benchmarks/).
    compiled = statement.compile(
        dialect=module.dialect(paramstyle="qmark" if dialect.name == "sqlite" else "format")
    )
    if list(compiled.positiontup or ()) != names:
        raise AssertionError(f"unexpected order of parameters for {table.name}")
    return str(compiled)


def _reader(
    table: sa.Table, fields: Sequence[str], dialect: sa.Dialect
) -> Callable[[Sequence[AnyRecord]], Iterable[Row]]:
    # A model's own attribute access costs several times a look-up in its dictionary.
    read = itemgetter(*fields)
    ready = [_converter(table.c[name], dialect) for name in fields]

    def rows(records: Sequence[AnyRecord]) -> Iterable[Row]:
        if not records:
            return ()
        # Column by column: values of one kind are made ready several times faster together.
        columns = zip(*map(read, map(vars, records)), strict=True)
        return zip(
            *(column if make is None else make(column) for column, make in zip(columns, ready, strict=True)),
            strict=True,
        )

    return rows


def _converter(column: sa.Column[Any], dialect: sa.Dialect) -> Callable[[Column], Column] | None:
    if isinstance(column.type, sa.JSON):
        return _json_column
    if dialect.name == "sqlite":
        if isinstance(column.type, schema.Moment):
            return _moment_column
        if isinstance(column.type, (schema.Money, sa.Date)):
            return msgspec.to_builtins
    if column.name in ("outcome", "lost_kind", "value_period"):
        return msgspec.to_builtins
    return None


def _moment_column(column: Column) -> Column:
    # Forty times faster than `isoformat` for each. Both must give the same text: times are
    # compared as text in SQLite.
    texts = msgspec.to_builtins(column)
    return [None if text is None else text[:-1] + "+00:00" for text in texts]


def _json_column(column: Column) -> Column:
    return [_json(value) for value in column]


_ENCODER = msgspec.json.Encoder(order="sorted", enc_hook=vars)


def _json(value: Any) -> str:
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    return _ENCODER.encode(value).decode()


def plain(value: Any, column: sa.Column[Any]) -> Any:
    """A driver's value, or one ready for the driver, as a Python value that compares by meaning."""
    if value is None:
        return None
    if isinstance(column.type, sa.Boolean):
        return bool(value)
    if not isinstance(value, str):
        return value
    if isinstance(column.type, sa.JSON):
        return msgspec.json.decode(value)
    if isinstance(column.type, schema.Moment):
        return datetime.fromisoformat(value)
    if isinstance(column.type, schema.Money):
        return Decimal(value)
    if isinstance(column.type, sa.Date):
        return date.fromisoformat(value)
    return value


def as_text(value: Any) -> str | None:
    """A plain value as history keeps it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return _ENCODER.encode(value).decode()
