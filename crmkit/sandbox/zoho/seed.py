"""What a seeded organisation holds: four pipelines over one Stage picklist, ids in blocks, currencies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from crmkit.sandbox.rows import Outcome, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed

ORG_NUMBER = 7_328_395
ORG_BASE = ORG_NUMBER * 10**12
ORG_ID = str(ORG_BASE + 2_001)
STAGE_FIELD_ID = str(ORG_BASE + 2_565)
FORECAST_IDS = {
    "Pipeline": str(ORG_BASE + 6_787),
    "Closed": str(ORG_BASE + 6_789),
    "Omitted": str(ORG_BASE + 6_791),
}
DEFAULT_PIPELINE = "Standard (Standard)"
_KINDS = ("user", "company", "contact", "deal", "note")
_BLOCK, _SHUFFLED = 40, 8

# Label, probability in percent, outcome, and the actual value where it differs from the label.
# The first nine are Zoho's own, as recorded (field_stage_200).
_Value = tuple[str, int, Outcome, str | None]
_STAGES: dict[str, _Value] = {
    "qualification": ("Qualification", 10, "open", None),
    "needs": ("Needs Analysis", 20, "open", None),
    "value": ("Value Proposition", 40, "open", None),
    "decision": ("Identify Decision Makers", 60, "open", "Id. Decision Makers"),
    "proposal": ("Proposal/Price Quote", 75, "open", None),
    "negotiation": ("Negotiation/Review", 90, "open", None),
    "won": ("Closed Won", 100, "won", None),
    "lost": ("Closed Lost", 0, "lost", None),
    "competition": ("Closed Lost to Competition", 0, "lost", None),
    "de_contact": ("1. Erstkontakt", 5, "open", None),
    "de_needs": ("2. Bedarf qualifiziert", 20, "open", None),
    "de_demo": ("3. Termin / Präsentation", 35, "open", None),
    "de_offer": ("4. Angebot verschickt", 60, "open", None),
    "de_won": ("Gewonnen ✅", 100, "won", None),
    "de_lost": ("Verloren ❌", 0, "lost", None),
    "es_prospect": ("Prospección", 5, "open", None),
    "es_demo": ("Reunión / demo", 30, "open", None),
    "es_offer": ("Propuesta enviada 📄", 65, "open", None),
    "es_talks": ("Negociación", 85, "open", "Negociacion"),
    "es_lost": ("Perdida", 0, "lost", None),
    "cs_start": ("Onboarding", 50, "open", None),
    "cs_use": ("Adoption", 60, "open", None),
    "cs_renew": ("Renewal & Upsell", 80, "open", None),
    "cs_churn": ("Churned", 0, "lost", None),
    "spare": ("Verbal OK", 95, "open", None),
}
_PIPELINES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        DEFAULT_PIPELINE,
        (
            "qualification",
            "needs",
            "value",
            "decision",
            "proposal",
            "negotiation",
            "won",
            "lost",
            "competition",
        ),
    ),
    (
        "Vertrieb DACH",
        ("de_contact", "de_needs", "de_demo", "de_offer", "negotiation", "de_won", "de_lost", "competition"),
    ),
    (
        "Ventas LatAm",
        ("es_prospect", "qualification", "es_demo", "es_offer", "es_talks", "won", "es_lost"),
    ),
    ("Customer Success", ("cs_start", "cs_use", "cs_renew", "won", "cs_churn")),
)


def make_stage(name: str, order: int) -> Stage:
    """A value of the Stage picklist as a stage: the same id and meaning in every pipeline that has it."""
    label, percent, outcome, actual = _STAGES[name]
    place = list(_STAGES).index(name)
    return Stage(
        str(ORG_BASE + 6_801 + 2 * place),
        label,
        order,
        outcome,
        percent / 100,
        {"actual_value": actual or label, "place": place + 1},
    )


def spare_stages() -> list[Stage]:
    """Values of the Stage picklist that no pipeline has."""
    return [make_stage("spare", 0)]


def pipelines() -> list[Pipeline]:
    """Fresh pipelines, the default one first."""
    return [
        Pipeline(
            str(ORG_BASE + 91_101 + 8 * place),
            name,
            place,
            [make_stage(stage, order) for order, stage in enumerate(stages)],
            extra={"default": place == 0},
        )
        for place, (name, stages) in enumerate(_PIPELINES)
    ]


def make_ids(seed: int) -> Mapping[str, Callable[[], str]]:
    """Ids of 19 digits from one space, handed out in blocks.

    Zoho gives each of its servers a block of numbers, so that a younger record can have the lower id
    (seen in recorded lists). Here eight blocks at a time are used in shuffled order.
    """
    makers: dict[str, Callable[[], str]] = {
        kind: _block_ids(place, seed).__next__ for place, kind in enumerate(_KINDS)
    }
    makers["field"] = _counting(ORG_BASE + 412_001)
    makers["option"] = _counting(ORG_BASE + 413_001)
    return makers


def _block_ids(kind_place: int, seed: int) -> Iterator[str]:
    rng = random.Random(f"{seed}-{kind_place}")
    for group in count():
        blocks = list(range(group * _SHUFFLED, (group + 1) * _SHUFFLED))
        rng.shuffle(blocks)
        for block in blocks:
            start = ORG_BASE + 600_000 + (block * len(_KINDS) + kind_place) * 1_000
            for offset in range(_BLOCK):
                yield str(start + 1 + offset * 3)


def _counting(start: int) -> Callable[[], str]:
    return map(str, count(start, 2)).__next__


def zoho_seed() -> VendorSeed:
    """The world of an organisation whose users live three hours ahead of UTC."""
    return VendorSeed(
        pipelines=pipelines,
        make_ids=make_ids,
        workspace_id=ORG_ID,
        workspace_name="Sandbox organisation",
        time_zone="Africa/Nairobi",
        currencies={"USD": 1.0, "EUR": 1.1, "GBP": 1.28, "JPY": 0.0067, "CHF": 1.13},
        deals_need_owner=True,
    )
