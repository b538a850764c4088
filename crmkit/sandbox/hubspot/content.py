"""What a HubSpot portal is seeded with: the default pipeline, three that drifted, ids and currencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.rows import Outcome, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed

PORTAL_ID = 21939747
KEY_PROPERTY = "crmkit_uid"
_DEFAULT = (
    ("appointmentscheduled", "Appointment Scheduled", 0.2),
    ("qualifiedtobuy", "Qualified To Buy", 0.4),
    ("presentationscheduled", "Presentation Scheduled", 0.6),
    ("decisionmakerboughtin", "Decision Maker Bought-In", 0.8),
    ("contractsent", "Contract Sent", 0.9),
    ("closedwon", "Closed Won", 1.0),
    ("closedlost", "Closed Lost", 0.0),
)
_GERMAN = (
    ("1. Erstkontakt", 0.1),
    ("2. Bedarf geklärt", 0.3),
    ("3. Demo / Termin", 0.5),
    ("4. Angebot raus", 0.6),
    ("5. Verhandlung", 0.8),
    ("6. Mündliche Zusage", 0.9),
    ("✅ Gewonnen", 1.0),
    ("❌ Verloren", 0.0),
    ("Kein Budget", 0.0),
)
_SPANISH = (
    ("🎯 Prospección", 0.1),
    ("🤝 Reunión", 0.3),
    ("📄 Propuesta enviada", 0.5),
    ("💬 Negociación", 0.7),
    ("🏆 Ganado", 1.0),
    ("Perdido", 0.0),
    ("Descartado (no calificado)", 0.0),
)
# After the sale: three stages at 1.0, so HubSpot counts what sits in them as won.
_AFTER_SALE = (
    ("Handover from sales", 0.9),
    ("Onboarding", 1.0),
    ("Live 🚀", 1.0),
    ("Renewal due", 1.0),
    ("Churned", 0.0),
)


def hubspot_seed() -> VendorSeed:
    """A portal on the Professional plan with five currencies, in New York's time."""
    return VendorSeed(
        pipelines=_pipelines,
        make_ids=_make_ids,
        workspace_id=str(PORTAL_ID),
        workspace_name="Sandbox portal",
        time_zone="America/New_York",
        step_microseconds=1_000,
        currencies={"USD": 1.0, "EUR": 1.08, "GBP": 1.27, "JPY": 0.0067, "MXN": 0.055},
    )


def _pipelines() -> list[Pipeline]:
    sales = [
        Stage(stage_id, name, order, outcome_of(probability), probability)
        for order, (stage_id, name, probability) in enumerate(_DEFAULT)
    ]
    return [
        Pipeline("default", "Sales Pipeline", 0, sales),
        _custom(11348541, "Vertrieb DACH", 1, _GERMAN),
        _custom(48912007, "LatAm – Ventas 🌎", 2, _SPANISH),
        _custom(75500120, "Customer Success", 3, _AFTER_SALE),
    ]


def _custom(first_id: int, name: str, order: int, stages: tuple[tuple[str, float], ...]) -> Pipeline:
    return Pipeline(
        str(first_id),
        name,
        order,
        [
            Stage(str(first_id + place + 1), label, place, outcome_of(probability), probability)
            for place, (label, probability) in enumerate(stages)
        ],
    )


def outcome_of(probability: float) -> Outcome:
    """What HubSpot makes of a stage's probability: only 1.0 and 0.0 close a deal."""
    return "won" if probability >= 1 else "lost" if probability <= 0 else "open"


def _make_ids(seed: int) -> Mapping[str, Callable[[], str]]:
    # Each object type counts by itself, so the same number may name a deal and a company.
    return {
        "user": counting_ids(416_297_013 + seed % 1000, step=137),
        "company": counting_ids(9_812_400_157 + seed % 1000, step=7),
        "contact": counting_ids(15_330_021_001 + seed % 1000, step=3),
        "deal": counting_ids(9_812_400_150 + seed % 1000, step=11),
        "note": counting_ids(33_918_220_400 + seed % 1000, step=5),
        "option": counting_ids(1, prefix="option_"),
    }
