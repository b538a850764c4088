"""What a seeded portal holds: four pipelines, the numbering of records, the currencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count

from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.rows import Outcome, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed

STATUS_ID_LENGTH = 21
OFFSET_HOURS = 3
_COLOURS = ("#39A8EF", "#2FC6F6", "#55D0E0", "#47E4C2", "#FFA900", "#7BD500", "#FF5752", "#FF5752")
# https://apidocs.bitrix24.com/api-reference/crm/status/crm-status-list.html
_DEFAULT: tuple[tuple[str, str, Outcome], ...] = (
    ("NEW", "New", "open"),
    ("PREPARATION", "Document preparation", "open"),
    ("PREPAYMENT_INVOICE", "Prepayment invoice", "open"),
    ("EXECUTING", "In progress", "open"),
    ("FINAL_INVOICE", "Final invoice", "open"),
    ("WON", "Deal successful", "won"),
    ("LOSE", "Deal failed", "lost"),
    ("APOLOGY", "Failure reason analysis", "lost"),
)
_GERMAN: tuple[tuple[str, str, Outcome], ...] = (
    ("NEW", "1. Erstkontakt", "open"),
    ("UC_KN8KFI", "2. Bedarf qualifiziert", "open"),
    ("UC_7QW2LX", "3. Termin / Präsentation", "open"),
    ("PREPARATION", "4. Angebot verschickt", "open"),
    ("EXECUTING", "5. Verhandlung", "open"),
    ("WON", "Gewonnen ✅", "won"),
    ("LOSE", "Verloren ❌", "lost"),
    ("APOLOGY", "Verlustanalyse", "lost"),
)
_SPANISH: tuple[tuple[str, str, Outcome], ...] = (
    ("NEW", "Prospección", "open"),
    ("PREPARATION", "Calificación", "open"),
    ("PREPAYMENT_INVOICE", "Propuesta enviada 📄", "open"),
    ("FINAL_INVOICE", "Negociación", "open"),
    ("WON", "Ganada", "won"),
    ("LOSE", "Perdida", "lost"),
)
_AFTER_SALE: tuple[tuple[str, str, Outcome], ...] = (
    ("NEW", "Onboarding", "open"),
    ("UC_2HD01M", "Adoption", "open"),
    ("UC_9P4RTA", "Renewal & upsell", "open"),
    ("WON", "Renewed", "won"),
    ("LOSE", "Churned", "lost"),
)
_INITIAL = {code: label for code, label, _ in _DEFAULT}
_PIPELINES = (
    ("0", "General", 300, _DEFAULT),
    ("7", "Partnervertrieb", 200, _GERMAN),
    ("10", "Ventas LatAm", 400, _SPANISH),
    ("12", "Customer success", 500, _AFTER_SALE),
)
_FIELD_NAMES = (
    "UF_CRM_1700000001",
    "UF_CRM_1700000007",
    "UF_CRM_SEATS",
    "UF_CRM_CONTRACT_END",
    "UF_CRM_PO_NUMBER",
    "UF_CRM_1700000023",
)


def status_id(pipeline_id: str, name: str) -> str:
    """The stage id of a standard name: prefixed outside pipeline 0, and cut at 21 characters."""
    return (name if pipeline_id == "0" else f"C{pipeline_id}:{name}")[:STATUS_ID_LENGTH]


def pipelines() -> list[Pipeline]:
    """Fresh pipelines; a stage's `extra` holds its row id, colour and whether it is a system stage."""
    row_ids = count(101, 2)
    return [
        Pipeline(pipeline_id, name, sort, _stages(pipeline_id, stages, row_ids))
        for pipeline_id, name, sort, stages in _PIPELINES
    ]


def default_stages(pipeline_id: str) -> list[Stage]:
    """The stages that a new pipeline is born with; their row ids are still to be given."""
    return _stages(pipeline_id, _DEFAULT, count())


def _stages(
    pipeline_id: str, stages: Sequence[tuple[str, str, Outcome]], row_ids: Iterator[int]
) -> list[Stage]:
    return [
        Stage(
            status_id(pipeline_id, code),
            label,
            place,
            outcome,
            extra={
                "row_id": next(row_ids),
                "system": code in {"NEW", "WON", "LOSE"},
                "initial": _INITIAL.get(code, ""),
                "color": _COLOURS[place % 5] if outcome == "open" else _COLOURS[5 + (outcome == "lost")],
                "apology": code == "APOLOGY",
            },
        )
        for place, (code, label, outcome) in enumerate(stages)
    ]


def make_ids(seed: int) -> Mapping[str, Callable[[], str]]:
    """Numbers for every kind; each kind counts on its own, so that ids of two kinds coincide."""
    return {
        "user": counting_ids(1, step=4),
        "company": counting_ids(12 + seed % 7),
        "contact": counting_ids(23, step=2),
        "deal": counting_ids(101 + seed % 50, step=1),
        "note": counting_ids(71, step=3),
        "field": _field_names().__next__,
        "option": counting_ids(45, step=2),
    }


def _field_names() -> Iterator[str]:
    return chain(_FIELD_NAMES, (f"UF_CRM_{number}" for number in count(1_700_001_000)))


def bitrix24_seed() -> VendorSeed:
    """The world of a portal; its clock is three hours ahead of UTC all year."""
    return VendorSeed(
        pipelines=pipelines,
        make_ids=make_ids,
        workspace_id="a223c6b3710f85df22e9377d6c4f7553",
        workspace_name="Sandbox portal",
        time_zone="Europe/Istanbul",
        currencies={"EUR": 1.0, "USD": 0.92, "GBP": 1.17, "JPY": 0.0061, "PLN": 0.23},
        deal_probability=True,
    )
