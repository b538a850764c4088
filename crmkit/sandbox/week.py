"""A week of work in the CRMs: what people do between two looks at the pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from crmkit.sandbox.clock import Clock
from crmkit.sandbox.rows import Deal, Stage
from crmkit.sandbox.world import World

_DAY_SECONDS = 86_400
_SHARE = 0.04
"""How much of the open deals somebody works on, each day in each CRM."""
_REASONS = ("Price", "No budget", "No decision", "Chose a competitor")


def work(worlds: Sequence[World], clock: Clock, *, days: int = 7, seed: int = 1) -> int:
    """Let days pass in which deals advance, are won, lost, put off, repriced, made and deleted.

    Args:
        worlds: The CRMs; all go by `clock`.
        clock: Pushed forward by so many days.
        days: How many.
        seed: The same seed does the same to the same worlds.

    Returns:
        How many deals were touched.
    """
    rng = random.Random(seed)
    touched = 0
    for _ in range(days):
        clock.advance(_DAY_SECONDS)
        for world in worlds:
            deals = [deal for deal in world.live.deals().rows if deal.status == "open"]
            if not deals:
                continue
            for deal in rng.sample(deals, max(1, round(len(deals) * _SHARE))):
                _ACTS[rng.choices(range(len(_ACTS)), _WEIGHTS)[0]](world, deal, rng)
                touched += 1
    return touched


def _advance(world: World, deal: Deal, rng: random.Random) -> None:
    later = [stage for stage in _open_stages(world, deal) if stage.order > _stage(world, deal).order]
    if later:
        world.edit_deal(deal.id, stage_id=later[0].id)


def _win(world: World, deal: Deal, rng: random.Random) -> None:
    _close(world, deal, "won", "won")


def _lose(world: World, deal: Deal, rng: random.Random) -> None:
    _close(world, deal, "lost", "lost", lost_reason=rng.choice(_REASONS))


def _put_off(world: World, deal: Deal, rng: random.Random) -> None:
    if deal.expected_close is not None:
        world.edit_deal(
            deal.id, expected_close=deal.expected_close + timedelta(days=rng.choice((14, 30, 90)))
        )


def _pull_in(world: World, deal: Deal, rng: random.Random) -> None:
    if deal.expected_close is not None and deal.expected_close > world.clock().date() + timedelta(days=30):
        world.edit_deal(deal.id, expected_close=deal.expected_close - timedelta(days=21))


def _reprice(world: World, deal: Deal, rng: random.Random) -> None:
    if deal.amount is not None:
        factor = Decimal(rng.choice(("0.9", "0.8", "1.1", "1.25")))
        digits = Decimal(1).scaleb(min(0, int(deal.amount.as_tuple().exponent)))
        world.edit_deal(deal.id, amount=(deal.amount * factor).quantize(digits, ROUND_HALF_UP))


def _renew(world: World, deal: Deal, rng: random.Random) -> None:
    world.create_deal(
        name=f"{deal.name} – phase {rng.randint(2, 9)}"[:200],
        amount=deal.amount,
        currency=deal.currency,
        pipeline_id=deal.pipeline_id,
        owner_id=deal.owner_id,
        company_id=deal.company_id,
        expected_close=world.clock().date() + timedelta(days=rng.choice((30, 60, 120))),
    )


def _delete(world: World, deal: Deal, rng: random.Random) -> None:
    world.delete_deal(deal.id)


_ACTS: tuple[Callable[[World, Deal, random.Random], None], ...] = (
    _advance, _win, _lose, _put_off, _pull_in, _reprice, _renew, _delete,
)  # fmt: skip
_WEIGHTS = (30, 12, 10, 18, 8, 10, 11, 1)


def _close(world: World, deal: Deal, outcome: str, status: str, **fields: object) -> None:
    stages = [stage for stage in world.pipelines[deal.pipeline_id].stages if stage.outcome == outcome]
    if not world.status_follows_stage:
        # Stages of these CRMs say nothing about the outcome.
        world.edit_deal(deal.id, status=status, closed_at=world.clock(), **fields)
    elif stages:
        world.edit_deal(deal.id, stage_id=stages[0].id, **fields)


def _open_stages(world: World, deal: Deal) -> list[Stage]:
    return [stage for stage in world.pipelines[deal.pipeline_id].stages if stage.outcome == "open"]


def _stage(world: World, deal: Deal) -> Stage:
    return next(stage for stage in world.pipelines[deal.pipeline_id].stages if stage.id == deal.stage_id)
