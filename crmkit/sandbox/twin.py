"""Raises a twin of a real CRM: a world filled from a blueprint instead of from the seed."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from crmkit.errors import SandboxError
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.blueprint import Blueprint
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.fitting import Fitting, structure_ids, unused
from crmkit.sandbox.server import vendor_app
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Settings
from crmkit.sandbox.world import World

_SEED = 1


def twin(blueprint: Blueprint, settings: Settings | None = None, clock: Clock | None = None) -> VendorApp:
    """A CRM that holds what the blueprint says, and goes on from there.

    Ids that it gives out later are none of the blueprint's.

    Args:
        blueprint: What it consists of.
        settings: How it behaves; the vendor's own settings that the blueprint implies are added.
        clock: What it goes by; the real time if absent.

    Raises:
        SandboxError: There is no such CRM.
        Unfit: The CRM could not hold a record; names it and the field.
    """
    app_class = vendor_app(blueprint.crm)
    fitting = _fitting(blueprint)
    seed = app_class.vendor_seed()
    settings = settings or Settings()
    settings = replace(settings, extra={**fitting.extra(), **settings.extra})
    collecting = gc.isenabled()
    gc.disable()  # as for the seed: many new objects, none of them garbage
    try:
        world = _world(blueprint, fitting, seed, clock)
        fitting.fill(world)
        app = app_class(world, settings)
        fitting.finish(app)
    finally:
        if collecting:
            gc.enable()
    return app


def _fitting(blueprint: Blueprint) -> Fitting:
    module = f"{vendor_app(blueprint.crm).__module__.rpartition('.')[0]}.fitting"
    try:
        found: type[Fitting] = importlib.import_module(module).Fitting
    except (ModuleNotFoundError, AttributeError) as error:
        raise SandboxError(
            f"the sandbox cannot make twins of {blueprint.crm}: {module} is missing"
        ) from error
    return found(blueprint)


def _world(blueprint: Blueprint, fitting: Fitting, seed: VendorSeed, clock: Clock | None) -> World:
    used = {deal.currency: None for deal in blueprint.deals}
    codes = [*blueprint.currencies, *(code for code in used if code and code not in blueprint.currencies)]
    base = blueprint.base_currency or next(iter(codes), next(iter(seed.currencies)))
    rates = {code: float(blueprint.currencies.get(code, 1)) for code in dict.fromkeys([base, *codes])}
    return World(
        crm=blueprint.crm,
        workspace_id=blueprint.workspace_id,
        workspace_name=blueprint.workspace_name,
        ids=_new_ids(blueprint, fitting, seed),
        id_key=seed.id_key,
        time_zone=blueprint.time_zone or seed.time_zone,
        base_currency=base,
        rates=rates,
        step_microseconds=seed.step_microseconds,
        status_follows_stage=seed.status_follows_stage,
        clock=clock,
        complete=True,
    )


def _new_ids(blueprint: Blueprint, fitting: Fitting, seed: VendorSeed) -> Mapping[str, Callable[[], str]]:
    """Makers of ids: numbers go on behind the highest one, as a CRM's own do."""
    records: Mapping[str, Iterable[str]] = {
        "user": (one.id for one in blueprint.users),
        "company": (one.id for one in blueprint.companies),
        "contact": (one.id for one in blueprint.contacts),
        "deal": (one.id for one in blueprint.deals),
        "note": (one.id for one in blueprint.notes),
    }
    taken = {kind: set(ids) for kind, ids in records.items()}
    parts = structure_ids(blueprint)
    everything = set().union(parts, *taken.values())
    shared: Callable[[], str] | None = None
    makers: dict[str, Callable[[], str]] = {}
    for kind, make in seed.make_ids(_SEED).items():
        mine = taken.get(kind, parts)
        if fitting.one_id_space:
            mine = everything
        if fitting.numbered and (kind in taken or fitting.one_id_space):
            # The seed's first number stands for a CRM without any record of this kind.
            if fitting.one_id_space:
                makers[kind] = shared = shared or _behind(make, mine)
            else:
                makers[kind] = _behind(make, mine)
        else:
            makers[kind] = unused(make, mine)
    return makers


def _behind(make: Callable[[], str], taken: Iterable[str]) -> Callable[[], str]:
    numbers = [int(one) for one in taken if one.isascii() and one.isdigit()]
    return map(str, count(max(numbers) + 3, 3)).__next__ if numbers else make
