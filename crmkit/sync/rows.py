"""Canonical records to table rows and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

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
_ADDRESS = ("connection", "id")
_FIRST_SEEN = "first_seen_at"
_BOOKKEEPING = (*_ADDRESS, "seen_walk", "observed_at", _FIRST_SEEN, "gone_at")
_PLAIN = re.compile(r"[\w .:+\[\]{}-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind is laid out in its table.

    Attributes:
        table: The table.
        fields: The columns that hold the record itself, in order.
        columns: The values of records for `fields`, column by column, ready for the driver.
        place: How the driver writes a parameter.
    """

    table: sa.Table
    fields: tuple[str, ...]
    columns: Callable[[Sequence[AnyRecord]], list[Column]]
    place: str

    def upsert(self, values: Mapping[str, Column]) -> tuple[str, list[Row]]:
        """A statement that inserts or updates rows, and the parameters of each row.

        Args:
            values: Per column of the table its values, as many for each of them.
        """
        # A parameter costs as much as writing its value: one that is the same in all rows
        # (most often unset) is written into the statement instead.
        texts = {name: _literal(column) for name, column in values.items()}
        bound = [column for name, column in values.items() if texts[name] is None]
        places = ", ".join(text or self.place for text in texts.values())
        names = ", ".join(f'"{name}"' for name in values)
        kept = (*_ADDRESS, _FIRST_SEEN)
        changed = ", ".join(f'"{name}" = excluded."{name}"' for name in values if name not in kept)
        # A record that comes back (restored, or in reach again) is no longer gone.
        statement = (
            f'INSERT INTO "{self.table.name}" ({names}) VALUES ({places}) '  # noqa: S608 - names of our own
            f"ON CONFLICT (connection, id) DO UPDATE SET {changed}, gone_at = NULL"
        )
        return statement, list(zip(*bound, strict=True))


def layout(kind: Kind, dialect: sa.Dialect) -> Layout:
    """The layout of a kind for a database."""
    table = TABLES[kind]
    fields = tuple(column.name for column in table.columns if column.name not in _BOOKKEEPING)
    place = "?" if dialect.name == "sqlite" else "%s"
    return Layout(table, fields, _reader(table, fields, dialect), place)


def _literal(column: Column) -> str | None:
    """How SQL writes the only value of a column; `None` if there are several, or it is not plain."""
    value = column[0]
    if value != column[-1] or column.count(value) < len(column):
        return None
    if value is None:
        return "NULL"
    if isinstance(value, int):  # a boolean too
        return str(value).upper()
    return f"'{value}'" if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _reader(
    table: sa.Table, fields: Sequence[str], dialect: sa.Dialect
) -> Callable[[Sequence[AnyRecord]], list[Column]]:
    # A model's own attribute access costs several times a look-up in its dictionary.
    read = itemgetter(*fields)
    ready = [_converter(table.c[name], dialect) for name in fields]

    def columns(records: Sequence[AnyRecord]) -> list[Column]:
        # Column by column: values of one kind are made ready several times faster together.
        found = zip(*map(read, map(vars, records)), strict=True)
        return [column if make is None else make(column) for column, make in zip(found, ready, strict=True)]

    return columns


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


_ENCODER = msgspec.json.Encoder(order="sorted", enc_hook=vars)


def _json_column(column: Column) -> Column:
    encode = _ENCODER.encode
    empty = "{}" if isinstance(column[0], dict) else "[]"
    return [encode(value).decode() if value else empty for value in column]


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
