"""What a vendor module declares about its CRM, for the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.sandbox.rows import Pipeline

MakeIds = Callable[[int], Mapping[str, Callable[[], str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSeed:
    """What a CRM's world is made of.

    Attributes:
        pipelines: Makes fresh ones each time: the CRM's default pipeline first, then custom ones whose
            stage names drifted. Stages stand in order, the open ones from first contact to commitment.
        make_ids: From the seed, a maker of ids for each of `user`, `company`, `contact`, `deal`, `note`,
            and if the CRM numbers them `field` and `option`. Records are made in order of creation.
        id_key: What ids sort by.
        step_microseconds: How coarse the CRM's time stamps are.
        currencies: What a deal can be in, with the worth of one unit in the base currency; the first is
            the base. Only one: the CRM has no currency per deal.
        named_deals: `False`: deals have no name of their own.
        deals_need_company, deals_need_owner: What the CRM does not let be empty.
        contacts_per_deal: The most contacts that one deal can have.
        status_follows_stage: `False`: won and lost are a status beside the stage (and `abandoned` exists).
        deal_probability: Whether a deal has a probability of its own.
        value_periods: What the value of a deal can be: `one_time`, `monthly`, `annual`.
        key_field: Whether the field `crmkit_key` exists already and some deals carry it.
        custom_fields: Whether the workspace has added fields of its own.
    """

    pipelines: Callable[[], Sequence[Pipeline]]
    make_ids: MakeIds
    id_key: Callable[[str], Any] = int
    workspace_id: str = "1"
    workspace_name: str = "Sandbox"
    time_zone: str = "UTC"
    step_microseconds: int = 1_000_000
    currencies: Mapping[str, float] = field(default_factory=lambda: {"USD": 1.0})
    named_deals: bool = True
    deals_need_company: bool = False
    deals_need_owner: bool = False
    contacts_per_deal: int = 3
    status_follows_stage: bool = True
    deal_probability: bool = False
    value_periods: tuple[str, ...] = ("one_time",)
    key_field: bool = True
    custom_fields: bool = True
