"""A week of work moves deals as people do, the same way every time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from crmkit.sandbox.server import VENDORS, Sandbox
from crmkit.sandbox.week import work


def box() -> Sandbox:
    return Sandbox.seeded(tuple(VENDORS), deals=300, seed=3, now=datetime(2026, 11, 16, 9, tzinfo=UTC))


def after_a_week(sandbox: Sandbox) -> list[object]:
    worlds = [app.world for app in sandbox.apps.values()]
    touched = work(worlds, sandbox.clock, seed=5)
    return [
        touched,
        *(
            sorted((deal.id, deal.status, str(deal.amount)) for deal in world.deals.values())
            for world in worlds
        ),
    ]


def test_every_crm_sees_deals_won_lost_made_and_put_off():
    sandbox = box()
    worlds = [app.world for app in sandbox.apps.values()]
    before = [dict(world.deals) for world in worlds]
    begun = sandbox.clock()
    work(worlds, sandbox.clock, seed=5)
    assert sandbox.clock() - begun == timedelta(days=7)
    for world, old in zip(worlds, before, strict=True):
        moved = Counter(
            deal.status for key, deal in world.deals.items() if key in old and old[key].status != deal.status
        )
        assert moved["won"] >= 1, world.crm
        assert moved["lost"] >= 1, world.crm
        assert world.deals.keys() - old.keys()
        assert any(
            key in old and deal.expected_close != old[key].expected_close for key, deal in world.deals.items()
        )


def test_the_same_seed_does_the_same_week():
    assert after_a_week(box()) == after_a_week(box())
