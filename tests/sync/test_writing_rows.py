"""How the store writes many rows at once: shared values, odd texts, several tombstones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from crmkit.connectors.base import Page
from crmkit.model import Deal, Kind, Owner, Ref, Tombstone
from crmkit.sync import schema
from crmkit.sync.state import State
from crmkit.sync.store import Batch, Store

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ref(native: str, kind: Kind = Kind.DEAL) -> Ref:
    return Ref("crm", kind, native)


def put(state: State, kind: Kind, page: Page, *, first: bool = True) -> None:
    batch = Batch()
    batch.add(page)
    with state.write() as db:
        Store(state.engine.dialect, "crm").put(db, kind, batch, walk=3, now=NOW, first=first)


def stored(state: State, table: sa.Table) -> list[sa.Row]:
    with state.read() as db:
        return list(db.execute(sa.select(table).order_by(table.c.id)))


@pytest.mark.parametrize("text", ["", "plain", 'it\'s 100 % "so"?', "%s", "a\\b", "--", "日本", "NULL"])
def test_a_text_that_all_rows_share_is_stored_as_it_is(state: State, text: str):
    deals = [Deal(ref=ref(native), name=text, source=text, tags=(text,)) for native in ("1", "2")]

    put(state, Kind.DEAL, Page(deals))

    found = [(row.id, row.name, row.source, row.tags) for row in stored(state, schema.deals)]
    assert found == [("1", text, text, [text]), ("2", text, text, [text])]


@pytest.mark.parametrize("count", [1, 3])
def test_shared_values_keep_their_types(state: State, count: int):
    deals = [
        Deal(ref=ref(str(number)), name="x", archived=True, amount=Decimal("1.50"), created_at=NOW)
        for number in range(count)
    ]

    put(state, Kind.DEAL, Page(deals))

    found = [(row.archived, row.amount, row.created_at, row.seen_walk) for row in stored(state, schema.deals)]
    assert found == [(True, Decimal("1.50"), NOW, 3)] * count


def test_a_record_that_comes_back_unset_loses_the_old_value(state: State):
    put(state, Kind.DEAL, Page([Deal(ref=ref("1"), name="x", source="web")]))

    put(state, Kind.DEAL, Page([Deal(ref=ref("1"), name="x")]), first=False)

    assert stored(state, schema.deals)[0].source is None


def test_a_tombstone_of_a_kind_without_versions_buries_its_record(state: State):
    owners = [Owner(ref=ref(native, Kind.OWNER), name="Ann") for native in ("1", "2")]

    put(state, Kind.OWNER, Page(owners, tombstones=[Tombstone(ref=ref("1", Kind.OWNER))]))

    assert [row.gone_at for row in stored(state, schema.owners)] == [NOW, None]


def test_each_of_many_tombstones_counts_for_its_own_record(state: State):
    changed = NOW - timedelta(days=1)
    deals = [Deal(ref=ref(native), name="x", modified_at=changed) for native in ("1", "2", "3", "4")]
    before, after = changed - timedelta(hours=1), changed + timedelta(hours=1)
    stones = [
        Tombstone(ref=ref("1"), at=after),
        Tombstone(ref=ref("2"), at=before),  # restored since, as its last change tells
        Tombstone(ref=ref("3"), merged_into="4"),
    ]

    put(state, Kind.DEAL, Page(deals, tombstones=stones))

    found = [(row.gone_at, row.merged_into) for row in stored(state, schema.deals)]
    assert found == [(after, None), (None, None), (NOW, "4"), (None, None)]


def test_a_tombstone_that_comes_twice_keeps_the_survivor_that_either_names(state: State):
    stones = [Tombstone(ref=ref("1")), Tombstone(ref=ref("1"), merged_into="2"), Tombstone(ref=ref("1"))]

    put(state, Kind.DEAL, Page(tombstones=stones))
    put(state, Kind.DEAL, Page(tombstones=stones[:1]), first=False)

    assert [row.merged_into for row in stored(state, schema.tombstones)] == ["2"]
