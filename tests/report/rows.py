"""Short ways to write deal rows and settings in tests."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from crmkit.model import Kind, Outcome, Ref
from crmkit.report.inputs import CommonStage, PipelineRow, Settings
from crmkit.report.rates import Rates, rates_from_mapping

STAGES = (
    CommonStage("qualification", "Qualification", 1),
    CommonStage("proposal", "Proposal", 2),
    CommonStage("won", "Won", 3, Outcome.WON),
    CommonStage("lost", "Lost", 4, Outcome.LOST),
)
USD = rates_from_mapping("USD", {"EUR": {"2026-01-01": "1.10", "2026-09-01": "1.20"}})


def ref(id: str, connection: str = "one") -> Ref:
    return Ref(connection, Kind.DEAL, id)


def day(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).replace(hour=12)


def row(id: str, connection: str = "one", amount: str | None = "100", **values: object) -> PipelineRow:
    known: dict[str, object] = {
        "ref": ref(id, connection),
        "name": f"Deal {id}",
        "pipeline_id": "p",
        "pipeline_name": "Sales",
        "stage_id": "s1",
        "stage_name": "First",
        "common_stage": "qualification",
        "amount": None if amount is None else Decimal(amount),
        "currency": "USD",
        "created_at": day("2026-09-01"),
    }
    return PipelineRow(**(known | values))  # type: ignore[arg-type]


def settings(**values: object) -> Settings:
    known: dict[str, object] = {
        "report_currency": "USD",
        "time_zone": "UTC",
        "as_of": datetime(2026, 10, 1, tzinfo=UTC),
        "stages": STAGES,
    }
    return Settings(**(known | values))  # type: ignore[arg-type]


__all__ = ["STAGES", "USD", "Rates", "day", "ref", "row", "settings"]
