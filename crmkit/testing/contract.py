"""What every connector must do, as tests over a CRM that a bench provides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal
from typing import Protocol

import pytest

from crmkit.connectors.base import Connector, Evidence, Page, Support
from crmkit.errors import AccessDenied, Interrupted, Unsupported
from crmkit.model import Deal, Kind, Outcome, Pipeline, Ref, StageChange

_PARTIES = (Kind.PIPELINE, Kind.OWNER, Kind.COMPANY, Kind.CONTACT, Kind.DEAL)


@dataclass(frozen=True, slots=True)
class ExpectedDeal:
    """What a reader must find for one deal, whatever the wire format.

    `None` in `amount`, `company_id` and so on means that the CRM holds no value; `name`
    and `currency` are `None` where the CRM has no such field.
    """

    id: str
    name: str | None
    amount: Decimal | None
    currency: str | None
    outcome: Outcome
    owner_id: str | None
    company_id: str | None
    contact_ids: tuple[str, ...]
    expected_close: date | None


class Bench(Protocol):
    """A CRM filled with records, and the means to change them from outside."""

    def connect(self, *, bad_credentials: bool = False) -> Connector:
        """A new connection, with no memory of earlier ones."""
        ...

    def ids(self, kind: Kind) -> set[str]:
        """Ids of the live records."""
        ...

    def deals(self) -> Sequence[ExpectedDeal]:
        """The live deals."""
        ...

    def create_deal(self, name: str) -> str:
        """Create a deal as another user of the CRM would; its id."""
        ...

    def edit_deal(self, deal_id: str, amount: Decimal) -> None:
        """Change a deal's amount as another user would."""
        ...

    def delete_deal(self, deal_id: str) -> None:
        """Delete a deal as another user would."""
        ...

    def settle(self) -> None:
        """Let time pass until every index of the CRM has caught up."""
        ...


class ConnectorContract:
    """Subclass it and give it a `bench` fixture."""

    @pytest.fixture
    def connector(self, bench: Bench) -> Iterator[Connector]:
        connection = bench.connect()
        yield connection
        connection.close()

    def test_check_names_the_workspace(self, connector: Connector) -> None:
        workspace = connector.check()
        assert workspace.id
        assert workspace.name

    @pytest.mark.parametrize("kind", _PARTIES, ids=str)
    def test_a_full_read_gives_every_live_record(
        self, bench: Bench, connector: Connector, kind: Kind
    ) -> None:
        pages = list(connector.read(kind))
        assert live(pages) == bench.ids(kind)
        assert not [item for page in pages for item in page.unreadable]

    @pytest.mark.parametrize("kind", _PARTIES, ids=str)
    def test_the_last_page_is_marked_once_and_says_that_it_was_whole(
        self, connector: Connector, kind: Kind
    ) -> None:
        pages = list(connector.read(kind))
        assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
        assert pages[-1].whole
        assert all(page.cursor for page in pages)

    def test_deals_hold_what_the_crm_holds(self, bench: Bench, connector: Connector) -> None:
        found = {deal.ref.id: deal for deal in deals_of(connector.read(Kind.DEAL))}
        for expected in bench.deals():
            deal = found[expected.id]
            assert (deal.amount, deal.outcome, deal.owner_id) == (
                expected.amount,
                expected.outcome,
                expected.owner_id,
            ), deal.ref
            assert deal.companies[:1] == ((expected.company_id,) if expected.company_id else ()), deal.ref
            assert {contact.id for contact in deal.contacts} <= set(expected.contact_ids), deal.ref
            assert bool(deal.contacts) == bool(expected.contact_ids), deal.ref
            # Some CRMs know no primary contact; where one is named it must be the right one.
            assert {contact.id for contact in deal.contacts if contact.primary} <= set(
                expected.contact_ids[:1]
            ), deal.ref
            if expected.name is not None:
                assert deal.name == expected.name
            if expected.currency is not None and expected.amount is not None:
                assert deal.currency == expected.currency, deal.ref
            if expected.outcome is Outcome.OPEN:
                assert deal.expected_close == expected.expected_close, deal.ref

    def test_values_are_canonical(self, connector: Connector) -> None:
        for deal in deals_of(connector.read(Kind.DEAL)):
            assert deal.ref.connection == connector.context.connection
            assert deal.amount is None or deal.currency is not None
            assert deal.probability is None or 0 <= deal.probability <= 1
            for moment in (deal.created_at, deal.modified_at, deal.closed_at, deal.stage_entered_at):
                assert moment is None or moment.tzinfo is UTC
            assert deal.modified_at is not None
            assert deal.version

    def test_deals_stand_in_stages_that_were_read(self, connector: Connector) -> None:
        pipelines = [
            record
            for page in connector.read(Kind.PIPELINE)
            for record in page.records
            if isinstance(record, Pipeline)
        ]
        stages = {(pipeline.ref.id, stage.id) for pipeline in pipelines for stage in pipeline.stages}
        deals = deals_of(connector.read(Kind.DEAL))
        assert {(deal.pipeline_id, deal.stage_id) for deal in deals} <= stages

    @pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.CONTACT, Kind.DEAL], ids=str)
    def test_a_read_goes_on_after_any_page(self, bench: Bench, connector: Connector, kind: Kind) -> None:
        pages = list(connector.read(kind))
        assert kind is not Kind.DEAL or len(pages) > 2, "the bench holds too few deals to prove anything"
        if len(pages) == 1:
            pytest.skip("all records came on one page")
        for stop in spread(len(pages) - 1):
            rest = list(bench.connect().read(kind, since=pages[stop].cursor))
            assert live([*pages[: stop + 1], *rest]) == bench.ids(kind)
            assert rest[-1].last
            assert rest[-1].whole

    def test_an_edit_shows_in_the_next_increment(self, bench: Bench, connector: Connector) -> None:
        cursor = last(connector.read(Kind.DEAL)).cursor
        bench.settle()
        edited = sorted(bench.ids(Kind.DEAL))[3]
        bench.edit_deal(edited, Decimal("4711.25"))
        bench.settle()
        found = {deal.ref.id: deal for deal in deals_of(bench.connect().read(Kind.DEAL, since=cursor))}
        assert found[edited].amount == Decimal("4711.25")

    def test_an_edit_during_the_full_read_is_not_lost(self, bench: Bench, connector: Connector) -> None:
        target = sorted(bench.ids(Kind.DEAL))[0]
        pages: list[Page] = []
        for page in connector.read(Kind.DEAL):
            if not pages:
                bench.edit_deal(target, Decimal("815.50"))
            pages.append(page)
        bench.settle()
        pages += bench.connect().read(Kind.DEAL, since=pages[-1].cursor)
        newest = [deal for deal in deals_of(pages) if deal.ref.id == target]
        assert newest[-1].amount == Decimal("815.50")

    def test_a_new_deal_shows_in_the_next_increment(self, bench: Bench, connector: Connector) -> None:
        cursor = last(connector.read(Kind.DEAL)).cursor
        bench.settle()
        created = bench.create_deal("Made meanwhile")
        bench.settle()
        assert created in live(list(bench.connect().read(Kind.DEAL, since=cursor)))

    def test_increments_chain(self, bench: Bench, connector: Connector) -> None:
        cursor = last(connector.read(Kind.DEAL)).cursor
        chosen = sorted(bench.ids(Kind.DEAL))[:3]
        for step, deal_id in enumerate(chosen):
            bench.settle()
            bench.edit_deal(deal_id, Decimal(1000 + step))
            bench.settle()
            pages = list(bench.connect().read(Kind.DEAL, since=cursor))
            cursor = pages[-1].cursor
            amounts = {deal.ref.id: deal.amount for deal in deals_of(pages)}
            assert amounts[deal_id] == Decimal(1000 + step)

    def test_a_deletion_becomes_known(self, bench: Bench, connector: Connector) -> None:
        cursor = last(connector.read(Kind.DEAL)).cursor
        bench.settle()
        gone = sorted(bench.ids(Kind.DEAL))[2]
        bench.delete_deal(gone)
        bench.settle()
        connection = bench.connect()
        if connection.capabilities.deletions[Kind.DEAL] is Evidence.LISTED:
            pages = list(connection.read(Kind.DEAL, since=cursor))
            assert gone in {stone.ref.id for page in pages for stone in page.tombstones}
        assert connection.get([Ref(connection.context.connection, Kind.DEAL, gone)]) == []

    def test_get_gives_the_named_records_and_leaves_out_what_is_not_there(
        self, bench: Bench, connector: Connector
    ) -> None:
        name = connector.context.connection
        wanted = sorted(bench.ids(Kind.DEAL))[:5]
        gone = wanted.pop()
        bench.delete_deal(gone)
        bench.settle()
        found = connector.get([Ref(name, Kind.DEAL, native) for native in [*wanted, gone]])
        assert sorted(record.ref.id for record in found) == sorted(wanted)

    def test_stage_changes_name_known_deals(self, bench: Bench, connector: Connector) -> None:
        if connector.capabilities.stage_history is not Support.YES:
            pytest.skip("the CRM keeps no stage history")
        changes = [
            record
            for page in connector.read(Kind.STAGE_CHANGE)
            for record in page.records
            if isinstance(record, StageChange)
        ]
        assert bench.ids(Kind.DEAL) & {change.deal_id for change in changes}
        assert all(change.at.tzinfo is UTC for change in changes)

    def test_what_is_not_supported_says_so_before_any_call(self, connector: Connector) -> None:
        before = connector.context.usage.requests
        if connector.capabilities.stage_history is not Support.YES:
            with pytest.raises(Unsupported):
                next(iter(connector.read(Kind.STAGE_CHANGE)))
        assert connector.context.usage.requests == before

    def test_wrong_credentials_are_named(self, bench: Bench) -> None:
        connection = bench.connect(bad_credentials=True)
        with pytest.raises(AccessDenied) as caught:
            connection.check()
        assert connection.context.connection in str(caught.value)
        assert caught.value.hint

    def test_a_stopped_run_stops_reading(self, bench: Bench) -> None:
        connection = bench.connect()
        pages = iter(connection.read(Kind.DEAL))
        next(pages)
        connection.context.cancelled.set()
        with pytest.raises(Interrupted):
            # Pages that were in flight may still come; a new read must not begin.
            list(pages) + list(connection.read(Kind.DEAL))


def live(pages: Sequence[Page]) -> set[str]:
    """Ids that the pages leave standing."""
    ids: set[str] = set()
    for page in pages:
        ids |= {record.ref.id for record in page.records if not getattr(record, "archived", False)}
        ids -= {stone.ref.id for stone in page.tombstones}
    return ids


def deals_of(pages: Iterable[Page]) -> list[Deal]:
    """The deals on pages, in order."""
    return [record for page in pages for record in page.records if isinstance(record, Deal)]


def last(pages: Iterable[Page]) -> Page:
    """The last page."""
    return list(pages)[-1]


def spread(count: int) -> Sequence[int]:
    """A few of the positions from 0 to below `count`, both ends among them."""
    return sorted({0, count // 3, count // 2, count - 1})
