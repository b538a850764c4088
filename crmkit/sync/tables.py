"""The sync engine's own tables, beside the copies of CRM records in `schema`.

One deal that several CRMs hold is one entity. Its id is the address of the record it came
from, `<spoke8>:<kind>:<native id>`, so that it survives the loss of this store: the marker
in the CRMs carries it (sync-semantics 1).
"""

from __future__ import annotations

import sqlalchemy as sa

from crmkit.model import Kind
from crmkit.sync.schema import Moment, metadata
from crmkit.sync.schema import text as _text

LINKED_KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
"""Kinds that are linked, parties first: people and deals are told apart by their company."""

FOLLOWED_KINDS = (*LINKED_KINDS, Kind.NOTE)
"""Kinds of which new and changed records are noted, for plans to look at."""

changes = sa.Table(
    "changes",
    metadata,
    # What a pull found new, different or gone, oldest first; `*` stands for every record.
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    _text("connection", nullable=False),
    _text("kind", nullable=False),
    _text("id", nullable=False),
)
sa.Index("changes_by_kind", changes.c.connection, changes.c.kind, changes.c.number)

positions = sa.Table(
    "positions",
    metadata,
    # Up to which change a sync has merged a connection's records of a kind.
    _text("sync", primary_key=True),
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

groups = sa.Table(
    "groups",
    metadata,
    _text("sync", primary_key=True),
    # What was true when the group was merged last: config, maps, accounts, as digests.
    _text("digest", nullable=False),
    sa.Column("accounts", sa.JSON, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

entities = sa.Table(
    "entities",
    metadata,
    _text("sync", primary_key=True),
    _text("id", primary_key=True),
    _text("kind", nullable=False),
    # live, deleted (somewhere, and nowhere recreated), merged (into another entity)
    _text("status", nullable=False),
    # {field: [value, member that set it]}
    _text("hub", nullable=False),
)

sa.Index(
    "merged_entities",
    entities.c.sync,
    sqlite_where=entities.c.status == "merged",
    postgresql_where=entities.c.status == "merged",
)

links = sa.Table(
    "links",
    metadata,
    _text("sync", primary_key=True),
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    _text("native_id", primary_key=True),
    _text("entity", nullable=False),
    # live, dead (the record is gone), out_of_scope, clone (a second record of one entity)
    _text("status", nullable=False),
    # {field: [native, stood]} or {field: [native]} where a write is due in any case
    _text("base", nullable=False),
    # The version after our own last write: an older row of a list is stale.
    _text("version"),
    sa.Column("written_at", Moment),
    # How it was found: created, marker, a rung of the ladder, a person's decision.
    _text("evidence", nullable=False),
    # Whether the base was lost with the state and rebuilt: never deleted unasked.
    sa.Column("rebuilt", sa.Boolean, nullable=False),
)
sa.Index(
    "clone_links",
    links.c.sync,
    sqlite_where=links.c.status == "clone",
    postgresql_where=links.c.status == "clone",
)
sa.Index("links_by_entity", links.c.sync, links.c.entity)
sa.Index(
    "one_live_link_per_member",
    links.c.sync,
    links.c.entity,
    links.c.connection,
    unique=True,
    sqlite_where=links.c.status == "live",
    postgresql_where=links.c.status == "live",
)

pending = sa.Table(
    "pending",
    metadata,
    # Entities that the next plan must look at although nothing changed: something is due.
    _text("sync", primary_key=True),
    _text("entity", primary_key=True),
)

journal = sa.Table(
    "journal",
    metadata,
    _text("id", primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    _text("sync", nullable=False),
    _text("connection", nullable=False),
    _text("kind", nullable=False),
    _text("act", nullable=False),
    _text("entity", nullable=False),
    _text("native_id"),
    _text("marker"),
    _text("parent"),
    # {field: [native sent, value it stands for]}, {field: native before}, {field: rule}
    _text("sent", nullable=False),
    _text("before", nullable=False),
    _text("rules", nullable=False),
    # sent, acked, unknown, failed, dropped (proven not to have happened)
    _text("state", nullable=False),
    sa.Column("misses", sa.Integer, nullable=False, server_default="0"),
    sa.Column("sent_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    _text("reason"),
    sa.Column("undone_by", sa.Integer),
)
sa.Index("journal_open", journal.c.sync, journal.c.state)
sa.Index("journal_by_run", journal.c.run)
sa.Index("journal_by_entity", journal.c.sync, journal.c.entity)
sa.Index(
    "one_open_write_per_record",
    journal.c.sync,
    journal.c.connection,
    journal.c.entity,
    unique=True,
    sqlite_where=journal.c.state.in_(("sent", "unknown")),
    postgresql_where=journal.c.state.in_(("sent", "unknown")),
)

values = sa.Table(
    "values",
    metadata,
    # Every value that the hub ever had: where it came from and why; for `why` and the breaker.
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    _text("sync", nullable=False),
    _text("entity", nullable=False),
    _text("field", nullable=False),
    _text("value", nullable=False),
    _text("origin", nullable=False),
    _text("rule", nullable=False),
    # Edits that lost: [[member, value], ...]
    _text("losers", nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("at", Moment, nullable=False),
)
sa.Index("values_by_field", values.c.sync, values.c.entity, values.c.field)

conflicts = sa.Table(
    "conflicts",
    metadata,
    _text("sync", primary_key=True),
    _text("entity", primary_key=True),
    _text("field", primary_key=True),
    _text("reason", nullable=False),
    # [[member, value], ...]
    _text("candidates", nullable=False),
    sa.Column("since", Moment, nullable=False),
    # A person's word: the member whose value shall win; applied by the next plan.
    _text("winner"),
    sa.Column("frozen", sa.Boolean, nullable=False),
)

refusals = sa.Table(
    "refusals",
    metadata,
    # Writes that a CRM refuses: retried only when the payload or the rules change.
    _text("sync", primary_key=True),
    _text("connection", primary_key=True),
    _text("entity", primary_key=True),
    _text("act", primary_key=True),
    _text("digest", nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    _text("field"),
    _text("reason", nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
)

reviews = sa.Table(
    "reviews",
    metadata,
    # Records that wait for a person before they are linked or created elsewhere.
    _text("sync", primary_key=True),
    _text("connection", primary_key=True),
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    _text("reason", nullable=False),
)

decisions = sa.Table(
    "decisions",
    metadata,
    # What a person said about two records: the same (link) or not (never).
    _text("kind", primary_key=True),
    _text("one_connection", primary_key=True),
    _text("one", primary_key=True),
    _text("other_connection", primary_key=True),
    _text("other", primary_key=True),
    _text("verdict", nullable=False),
    sa.Column("at", Moment, nullable=False),
)
