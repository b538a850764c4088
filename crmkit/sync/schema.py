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

VERSION = 4


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


def text(name: str, **options: Any) -> sa.Column[str]:
    """A column of text."""
    return sa.Column(name, sa.Text, **options)


def _record_table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table of canonical records: address first, bookkeeping last."""
    return sa.Table(
        name,
        metadata,
        text("connection", primary_key=True),
        text("id", primary_key=True),
        *columns,
        # The walk that last saw the record: what a whole walk did not see may be gone.
        sa.Column("seen_walk", sa.Integer, nullable=False, server_default="0"),
        sa.Column("observed_at", Moment, nullable=False),
        # When a pull showed the record for the first time: before, a report must not count it.
        sa.Column("first_seen_at", Moment),
        # Set once a deletion or merge is proven; the row stays for history and reports.
        sa.Column("gone_at", Moment),
    )


meta = sa.Table("meta", metadata, text("key", primary_key=True), text("value", nullable=False))

workspaces = sa.Table(
    "workspaces",
    metadata,
    text("connection", primary_key=True),
    text("crm", nullable=False),
    text("workspace_id", nullable=False),
    text("name", nullable=False),
    text("time_zone"),
    text("base_currency"),
    sa.Column("checked_at", Moment, nullable=False),
)

pipelines = _record_table(
    "pipelines",
    text("name", nullable=False),
    sa.Column("order", sa.Integer, nullable=False),
    sa.Column("archived", sa.Boolean, nullable=False),
)

stages = sa.Table(
    "stages",
    metadata,
    text("connection", primary_key=True),
    text("pipeline_id", primary_key=True),
    text("id", primary_key=True),
    text("name", nullable=False),
    sa.Column("order", sa.Integer, nullable=False),
    text("outcome", nullable=False),
    sa.Column("probability", Money),
    sa.Column("archived", sa.Boolean, nullable=False),
)

owners = _record_table(
    "owners",
    text("name", nullable=False),
    text("email"),
    sa.Column("active", sa.Boolean, nullable=False),
)

_party = (
    "owner_id", "city", "country", "postcode", "key", "url", "version", "merged_into",
)  # fmt: skip

companies = _record_table(
    "companies",
    text("name", nullable=False),
    text("domain"),
    text("tax_id"),
    sa.Column("phones", sa.JSON, nullable=False),
    *(text(name) for name in _party),
    sa.Column("custom", sa.JSON, nullable=False),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("archived", sa.Boolean, nullable=False),
)

contacts = _record_table(
    "contacts",
    text("name", nullable=False),
    text("first_name"),
    text("last_name"),
    sa.Column("emails", sa.JSON, nullable=False),
    sa.Column("phones", sa.JSON, nullable=False),
    sa.Column("companies", sa.JSON, nullable=False),
    *(text(name) for name in _party),
    sa.Column("custom", sa.JSON, nullable=False),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("archived", sa.Boolean, nullable=False),
)

deals = _record_table(
    "deals",
    text("name", nullable=False),
    text("pipeline_id"),
    text("stage_id"),
    text("outcome", nullable=False),
    text("lost_kind"),
    text("lost_reason"),
    sa.Column("amount", Money),
    text("currency"),
    text("value_period", nullable=False),
    sa.Column("probability", Money),
    text("forecast_category"),
    text("owner_id"),
    sa.Column("companies", sa.JSON, nullable=False),
    sa.Column("contacts", sa.JSON, nullable=False),
    sa.Column("expected_close", sa.Date),
    sa.Column("closed_at", Moment),
    sa.Column("created_at", Moment),
    sa.Column("modified_at", Moment),
    sa.Column("stage_entered_at", Moment),
    sa.Column("last_activity_at", Moment),
    sa.Column("next_activity_at", Moment),
    text("source"),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("custom", sa.JSON, nullable=False),
    text("url"),
    text("key"),
    text("version"),
    sa.Column("archived", sa.Boolean, nullable=False),
    text("merged_into"),
)

stage_changes = _record_table(
    "stage_changes",
    text("deal_id", nullable=False),
    text("from_stage_id"),
    text("to_stage_id", nullable=False),
    sa.Column("at", Moment, nullable=False),
    text("by"),
)
sa.Index("stage_changes_by_deal", stage_changes.c.connection, stage_changes.c.deal_id)

notes = _record_table(
    "notes",
    text("deal_id"),
    text("company_id"),
    text("text", nullable=False),
    text("author_id"),
    sa.Column("at", Moment),
    sa.Column("modified_at", Moment),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    text("connection", nullable=False),
    text("kind", nullable=False),
    text("id", nullable=False),
    text("field", nullable=False),
    text("old"),
    text("new"),
    sa.Column("observed_at", Moment, nullable=False),
)
sa.Index("history_by_record", history.c.connection, history.c.kind, history.c.id)

tombstones = sa.Table(
    "tombstones",
    metadata,
    text("connection", primary_key=True),
    text("kind", primary_key=True),
    text("id", primary_key=True),
    text("merged_into"),
    sa.Column("at", Moment),
    sa.Column("observed_at", Moment, nullable=False),
    text("evidence", nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    text("connection", primary_key=True),
    text("kind", primary_key=True),
    text("id", primary_key=True),
    text("field", nullable=False),
    text("reason", nullable=False),
    sa.Column("observed_at", Moment, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    text("connection", primary_key=True),
    text("kind", primary_key=True),
    text("cursor"),
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
    text("name", primary_key=True),
    text("owner", nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    text("command", nullable=False),
    text("connection", nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    text("outcome"),
    sa.Column("records", sa.Integer, nullable=False, server_default="0"),
    sa.Column("requests", sa.Integer, nullable=False, server_default="0"),
    sa.Column("waited_seconds", sa.Float, nullable=False, server_default="0"),
    text("error"),
)
