"""People at work: edits that shift the pages of whoever is reading meanwhile."""

from __future__ import annotations

import random

from crmkit.sandbox.world import World


def edit_at_random(world: World, rng: random.Random) -> None:
    """Edit one to three deals, now and then create and delete one."""
    rows = world.live.deals().rows
    if not rows:
        return
    for deal in rng.sample(rows, min(rng.randint(1, 3), len(rows))):
        stages = world.pipelines[deal.pipeline_id].stages
        if rng.random() < 0.5:
            world.edit_deal(deal.id, stage_id=rng.choice(stages).id)
        else:
            world.edit_deal(deal.id, name=f"{deal.name} (revised)"[:200])
    if rng.random() < 0.4:
        model = rng.choice(rows)
        world.create_deal(
            name=f"{model.name} renewal"[:200],
            amount=model.amount,
            currency=model.currency,
            pipeline_id=model.pipeline_id,
            owner_id=model.owner_id,
            company_id=model.company_id,
        )
    if rng.random() < 0.4:
        world.delete_deal(rng.choice(rows).id)
