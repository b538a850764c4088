"""The tables of the state store, the same on SQLite and PostgreSQL.

Typed so that a person can query them. Amounts are exact: NUMERIC on PostgreSQL, decimal
text on SQLite, which would turn a NUMERIC into a float. Times are UTC: TIMESTAMPTZ on
PostgreSQL, ISO 8601 text on SQLite.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

VERSION = 2


class Money(sa.types.TypeDecorator[Decimal]):
    """An exact decimal."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Any:
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        return value.isoformat() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


metadata = sa.MetaData()


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


def _record_table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table of canonical records: address first, bookkeeping last."""
    return sa.Table(
        name,
        metadata,
        _text("connection", primary_key=True),
        _text("id", primary_key=True),
        *columns,
        # The walk that last saw the record: what a whole walk did not see may be gone.
        sa.Column("seen_walk", sa.Integer, nullable=False, server_default="0"),
        sa.Column("observed_at", Moment, nullable=False),
        # Set once a deletion or merge is proven; the row stays for history and reports.
        sa.Column("gone_at", Moment),
    )


meta = sa.Table("meta", metadata, _text("key", primary_key=True), _text("value", nullable=False))

workspaces = sa.Table(
    "workspaces",
    metadata,
    _text("connection", primary_key=True),
    _text("crm", nullable=False),
    _text("workspace_id", nullable=False),
    _text("name", nullable=False),
    _text("time_zone"),
    _text("base_currency"),
    sa.Column("checked_at", Moment, nullable=False),
)

pipelines = _record_table(
    "pipelines",
    _text("name", nullable=False),
    sa.Column("order", sa.Integer, nullable=False),
    sa.Column("archived", sa.Boolean, nullable=False),
)

stages = sa.Table(
    "stages",
    metadata,
    _text("connection", primary_key=True),
    _text("pipeline_id", primary_key=True),
    _text("id", primary_key=True),
    _text("name", nullable=False),
    sa.Column("order", sa.Integer, nullable=False),
    _text("outcome", nullable=False),
    sa.Column("probability", Money),
    sa.Column("archived", sa.Boolean, nullable=False),
)

owners = _record_table(
    "owners",
    _text("name", nullable=False),
    _text("email"),
    sa.Column("active", sa.Boolean, nullable=False),
)

_party = (
    "owner_id", "city", "country", "postcode", "key", "url", "version", "merged_into",
)  # fmt: skip

companies = _record_table(
    "companies",
    _text("name", nullable=False),
    _text("domain"),
    _text("tax_id"),
    sa.Column("phones", sa.JSON, nullable=False),
    *(_text(name) for name in _party),
    sa.Column("custom", sa.JSON, nullable=False),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("archived", sa.Boolean, nullable=False),
)

contacts = _record_table(
    "contacts",
    _text("name", nullable=False),
    _text("first_name"),
    _text("last_name"),
    sa.Column("emails", sa.JSON, nullable=False),
    sa.Column("phones", sa.JSON, nullable=False),
    sa.Column("companies", sa.JSON, nullable=False),
    *(_text(name) for name in _party),
    sa.Column("custom", sa.JSON, nullable=False),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("archived", sa.Boolean, nullable=False),
)

deals = _record_table(
    "deals",
    _text("name", nullable=False),
    _text("pipeline_id"),
    _text("stage_id"),
    _text("outcome", nullable=False),
    _text("lost_kind"),
    _text("lost_reason"),
    sa.Column("amount", Money),
    _text("currency"),
    _text("value_period", nullable=False),
    sa.Column("probability", Money),
    _text("forecast_category"),
    _text("owner_id"),
    sa.Column("companies", sa.JSON, nullable=False),
    sa.Column("contacts", sa.JSON, nullable=False),
    sa.Column("expected_close", sa.Date),
    sa.Column("closed_at", Moment),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("stage_entered_at", Moment),
    sa.Column("last_activity_at", Moment),
    sa.Column("next_activity_at", Moment),
    _text("source"),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("custom", sa.JSON, nullable=False),
    _text("url"),
    _text("key"),
    _text("version"),
    sa.Column("archived", sa.Boolean, nullable=False),
    _text("merged_into"),
)

stage_changes = _record_table(
    "stage_changes",
    _text("deal_id", nullable=False),
    _text("from_stage_id"),
    _text("to_stage_id", nullable=False),
    sa.Column("at", Moment, nullable=False),
    _text("by"),
)
sa.Index("stage_changes_by_deal", stage_changes.c.connection, stage_changes.c.deal_id)

notes = _record_table(
    "notes",
    _text("deal_id"),
    _text("company_id"),
    _text("text", nullable=False),
    _text("author_id"),
    sa.Column("at", Moment),
    sa.Column("modified_at", Moment),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    _text("connection", nullable=False),
    _text("kind", nullable=False),
    _text("id", nullable=False),
    _text("field", nullable=False),
    _text("old"),
    _text("new"),
    sa.Column("observed_at", Moment, nullable=False),
)
sa.Index("history_by_record", history.c.connection, history.c.kind, history.c.id)

tombstones = sa.Table(
    "tombstones",
    metadata,
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    _text("merged_into"),
    sa.Column("at", Moment),
    sa.Column("observed_at", Moment, nullable=False),
    _text("evidence", nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    _text("field", nullable=False),
    _text("reason", nullable=False),
    sa.Column("observed_at", Moment, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    _text("cursor"),
    # The number of the walk under way, and whether it has read everything from its start.
    sa.Column("walk", sa.Integer, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("moved_at", Moment, nullable=False),
    # When a walk that listed every live record ended last.
    sa.Column("whole_at", Moment),
)

leases = sa.Table(
    "leases",
    metadata,
    _text("name", primary_key=True),
    _text("owner", nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    _text("command", nullable=False),
    _text("connection", nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    _text("outcome"),
    sa.Column("records", sa.Integer, nullable=False, server_default="0"),
    sa.Column("requests", sa.Integer, nullable=False, server_default="0"),
    sa.Column("waited_seconds", sa.Float, nullable=False, server_default="0"),
    _text("error"),
)
