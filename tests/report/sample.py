"""A made-up company with five CRMs: 300 deals, some of them linked, with everything that goes wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from crmkit.model import Kind, LostKind, Outcome, Ref, ValuePeriod
from crmkit.report.inputs import (
    CommonStage,
    NativeStage,
    OutcomeClash,
    PipelineRow,
    Settings,
    SharedStage,
    StageCount,
    StageCoverage,
)
from crmkit.report.rates import Rates, rates_from_mapping

AS_OF = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

OUTLINE = (
    CommonStage("prospecting", "Prospecting", 1),
    CommonStage("qualification", "Qualification", 2),
    CommonStage("meeting", "Demo or meeting", 3),
    CommonStage("proposal", "Proposal", 4),
    CommonStage("negotiation", "Negotiation and commitment", 5),
    CommonStage("won", "Won", 6, Outcome.WON),
    CommonStage("lost", "Lost", 7, Outcome.LOST),
    CommonStage("post_purchase", "Post-purchase", 8, Outcome.WON),
)

CONNECTIONS = {
    "north-america": ("USD", "Sales"),
    "europe": ("EUR", "Vertrieb"),
    "nordics": ("SEK", "Salg"),
    "brasil": ("BRL", "Vendas"),
    "partners": ("EUR", "Partner deals"),
}
_PROBABILITY = {
    "prospecting": "0.1",
    "qualification": "0.2",
    "meeting": "0.4",
    "proposal": "0.6",
    "negotiation": "0.85",
}
_WEIGHTS = {
    "prospecting": 22,
    "qualification": 18,
    "meeting": 15,
    "proposal": 12,
    "negotiation": 8,
    "won": 15,
    "lost": 10,
}
_COMPANIES = (
    "Brightwater Logistics",
    "Nordlys Energi AS",
    "Müller & Söhne GmbH",
    "Açaí do Norte Ltda",
    "Kestrel Aviation",
    "Hjort Möbler",
    "Fjällräven Outfitters",
    "Pampas Foods",
    "Orchard Medical",
    "Delta Rail Freight",
    "Zweigstelle Köln",
    "Ítaca Consultores",
    "Helios Solar",
    "Granite Insurance",
    "Blue Heron Hotels",
)
_THINGS = (
    "Annual plan",
    "Rollout phase 2",
    "Renewal",
    "Pilot",
    "500 seats",
    "Support contract",
    "Migration",
    "Upsell",
)
_OWNERS = (
    "Ada Okafor",
    "Lars Nyström",
    "Beatriz Lima",
    "Jonas Weber",
    "Priya Raman",
    "Tom Becker",
    "Ingrid Dahl",
)
_REASONS = ("Price", "No budget", "Chose a competitor", "No decision", None)


def settings(**changes: object) -> Settings:
    """Settings for the sample: euros, Berlin, the outline of `OUTLINE`."""
    values: dict[str, object] = {
        "report_currency": "EUR",
        "time_zone": "Europe/Berlin",
        "as_of": AS_OF,
        "stages": OUTLINE,
        "native_stages": native_stages(),
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


def native_stages() -> tuple[NativeStage, ...]:
    """One pipeline per connection with a native stage for each common one."""
    return tuple(
        NativeStage(
            connection=connection,
            pipeline_id="p1",
            pipeline_name=pipeline,
            stage_id=stage.id,
            stage_name=f"{stage.name} ({connection})",
            order=stage.order,
            outcome=stage.outcome,
            common_stage=stage.id,
        )
        for connection, (_, pipeline) in CONNECTIONS.items()
        for stage in OUTLINE[:7]
    )


def rates() -> Rates:
    """Euro rates; the Norwegian krone is missing on purpose."""
    return rates_from_mapping(
        "EUR",
        {
            "USD": {"2024-01-01": "0.91", "2026-06-01": "0.88"},
            "SEK": "0.0885",
            "BRL": "0.163",
            "JPY": "0.0059",
        },
    )


def coverage() -> tuple[StageCoverage, ...]:
    """Findings of a stage linter."""
    return (
        StageCoverage(connection="north-america", deals=92, mapped_deals=92),
        StageCoverage(
            connection="europe",
            deals=80,
            mapped_deals=77,
            unmapped=(StageCount(pipeline="Vertrieb", stage="Angebot intern", deals=3),),
            many_to_one=(
                SharedStage(pipeline="Vertrieb", common_stage="proposal", stages=("Angebot", "Offerte")),
            ),
            clashes=(
                OutcomeClash(
                    pipeline="Vertrieb",
                    stage="Gewonnen",
                    outcome=Outcome.WON,
                    common_stage="negotiation",
                    common_outcome=Outcome.OPEN,
                ),
            ),
        ),
    )


def sample(count: int = 300, seed: int = 7) -> tuple[list[PipelineRow], dict[Ref, str]]:
    """Rows and links: about one deal in seven exists in a second CRM, not always the same there."""
    chance = random.Random(seed)
    rows: list[PipelineRow] = []
    links: dict[Ref, str] = {}
    names = list(CONNECTIONS)
    while len(rows) < count:
        number = len(rows)
        row = _row(chance, chance.choices(names, (30, 28, 18, 14, 10))[0], number)
        rows.append(row)
        if chance.random() < 0.15:
            other = chance.choice([name for name in names if name != row.connection])
            copy = _copy(chance, row, other, number)
            rows.append(copy)
            links[row.ref] = links[copy.ref] = f"deal-{number:05d}"
    return rows, links


def _row(chance: random.Random, connection: str, number: int) -> PipelineRow:
    currency, pipeline = CONNECTIONS[connection]
    stage = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    outcome = {"won": Outcome.WON, "lost": Outcome.LOST}.get(stage, Outcome.OPEN)
    created = AS_OF - timedelta(days=min(chance.expovariate(1 / 85), 700), seconds=chance.randrange(86_400))
    touched = created + (AS_OF - created) * (1 - chance.random() ** 2.2)
    amount = Decimal(int(chance.lognormvariate(9.6, 0.9))) * {"SEK": 10, "BRL": 5}.get(currency, 1)
    owner = chance.choice(_OWNERS)
    closed = touched if outcome is not Outcome.OPEN else None
    unmapped = outcome is Outcome.OPEN and chance.random() < 0.02
    odd_currency = chance.random() < 0.015
    no_probability = chance.random() < 0.06
    return PipelineRow(
        ref=Ref(connection, Kind.DEAL, str(10_000 + number)),
        name=f"{chance.choice(_COMPANIES)}: {chance.choice(_THINGS)}",
        pipeline_id="p1",
        pipeline_name=pipeline,
        stage_id="internal" if unmapped else stage,
        stage_name="Internal review" if unmapped else stage.title(),
        common_stage=None if unmapped else stage,
        outcome=outcome,
        lost_kind=chance.choice((LostKind.LOST, LostKind.LOST, LostKind.ABANDONED, LostKind.DUPLICATE))
        if outcome is Outcome.LOST
        else None,
        lost_reason=chance.choice(_REASONS) if outcome is Outcome.LOST else None,
        amount=None if chance.random() < 0.05 else amount,
        currency="NOK" if odd_currency else currency,
        value_period=ValuePeriod.MONTHLY if chance.random() < 0.03 else ValuePeriod.ONE_TIME,
        probability=None if no_probability or outcome is not Outcome.OPEN else Decimal(_PROBABILITY[stage]),
        owner_id=owner.split()[0].lower(),
        owner_name=owner,
        owner_email=f"{owner.split()[0].lower()}@example.com",
        company_id=str(number % 15),
        company_name=chance.choice(_COMPANIES),
        expected_close=None
        if chance.random() < 0.06
        else (AS_OF + timedelta(days=chance.gauss(75, 80))).date(),
        created_at=created,
        closed_at=closed,
        stage_entered_at=touched,
        last_activity_at=None if chance.random() < 0.1 else touched,
        modified_at=touched,
        url=f"https://crm.example.com/{connection}/deals/{10_000 + number}",
    )


def _copy(chance: random.Random, row: PipelineRow, connection: str, number: int) -> PipelineRow:
    copy = replace(
        row,
        ref=Ref(connection, Kind.DEAL, str(50_000 + number)),
        pipeline_name=CONNECTIONS[connection][1],
        created_at=(row.created_at or AS_OF) + timedelta(hours=1),
        modified_at=(row.modified_at or AS_OF) - timedelta(days=1),
        url=f"https://crm.example.com/{connection}/deals/{50_000 + number}",
    )
    if chance.random() < 0.3 and row.amount is not None:
        copy = replace(copy, amount=row.amount + 500)
    if chance.random() < 0.25 and row.expected_close is not None:
        copy = replace(copy, expected_close=row.expected_close + timedelta(days=30))
    if chance.random() < 0.2:
        copy = replace(copy, owner_name="Tom Becker", owner_email="tom@example.com")
    return copy
