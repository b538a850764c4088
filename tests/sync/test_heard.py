"""Webhook events on both databases: stored once, taken up in order, forgotten in time."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

from crmkit.sync import heard
from crmkit.sync.heard import Stage, Told
from crmkit.sync.state import State

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def told(number: int) -> Told:
    return Told("crm", f"digest {number}", (("deal", str(number), "saved"),), NOW)


def test_deliveries_are_kept_once_and_go_their_way(state_url: str) -> None:
    with closing(State(state_url)) as state:
        with state.write() as db:
            assert heard.keep(db, [told(1), told(2), told(1)]) == [True, True, False]
            assert heard.keep(db, [told(2), told(3)]) == [False, True]
        with state.write() as db:
            events = heard.unfinished(db, ["crm", "other"])
            assert [event.id for event in events] == ["1", "2", "3"]
            assert events[0].received_at == NOW
            heard.move(db, [events[0].number], Stage.DONE)
            heard.move(db, [events[1].number], Stage.PULLED)
        with state.write() as db:
            left = [(event.id, event.state) for event in heard.unfinished(db, ["crm"])]
            assert left == [("2", Stage.PULLED), ("3", Stage.WAITING)]
            heard.prune(db, NOW + timedelta(days=2))
            assert heard.unfinished(db, ["crm"]) == []
            assert heard.keep(db, [told(1)]) == [True]  # nobody can send one so old again: it would be late
