"""What a migration asks of a CRM besides fields: pipelines, old deals, old notes; over real HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from crmkit.connectors.base import Connector
from crmkit.connectors.writing import Act, Change, Result, Writing
from crmkit.model import DealContact, Kind, Outcome, Pipeline, Ref, Stage
from tests.sandbox_bench import NOW, SETTLE_SECONDS, SandboxBench

NAMES = (
    ('New "lead" 🎯', Outcome.OPEN, "0.05"),
    ("Qualified, maybe", Outcome.OPEN, "0.2"),
    ("Demo 'live' & more", Outcome.OPEN, "0.4"),
    ("Offer 📄", Outcome.OPEN, "0.6"),
    ("Переговоры", Outcome.OPEN, "0.9"),
    ("Won ✅", Outcome.WON, "1"),
    ("Lost ❌", Outcome.LOST, "0"),
    ('No "budget"', Outcome.LOST, "0"),
)
STAGES = tuple(
    Stage(id=f"s{place}", name=name, order=place, outcome=outcome, probability=Decimal(chance))
    for place, (name, outcome, chance) in enumerate(NAMES)
)
LONG_AGO = datetime(2018, 3, 4, 5, 6, 7, tzinfo=UTC)


def settled(connector: Connector) -> None:
    """Let every index of the sandbox catch up."""
    connector.context.clock.sleep(SETTLE_SECONDS, connector.context.cancelled)


def every(connector: Connector, kind: Kind) -> list[Any]:
    """All records of a kind."""
    return [record for page in connector.read(kind) for record in page.records]


def made(connector: Connector, kind: Kind, values: Mapping[str, Any]) -> Ref:
    """Create a record, of which everything must be written."""
    key = (
        f"ck1:ab12cd34:ef56ab78:{kind}:{values.get('name', 'x')}"[:60] if kind is not Kind.PIPELINE else None
    )
    [[done]] = connector.write([Change("1", Act.CREATE, kind, None, values, key)])
    assert (done.result, dict(done.unwritten)) == (Result.DONE, {}), done
    assert done.ref is not None
    settled(connector)
    return done.ref


class PipelineTrials:
    """Pipelines of one CRM; its test class has a fixture `bench`."""

    def test_a_pipeline_of_eight_stages_reads_back_alike(self, bench: SandboxBench) -> None:
        refs = [
            made(bench.connect(), Kind.PIPELINE, {"name": name, "stages": STAGES})
            for name in ("Migrated 🚚", 'Migrated "twice"')
        ]
        read = {one.ref: one for one in every(bench.connect(), Kind.PIPELINE)}
        found: list[Pipeline] = [read[ref] for ref in refs]
        assert [one.name for one in found] == ["Migrated 🚚", 'Migrated "twice"']
        for one in found:
            stages = sorted(one.stages, key=lambda stage: stage.order)
            assert [(stage.name, stage.outcome) for stage in stages] == [
                (name, outcome) for name, outcome, _ in NAMES
            ]
            held = bench.connect().holds(Kind.PIPELINE, {"stages": STAGES})["stages"]
            assert [stage.probability for stage in stages] == [stage.probability for stage in held]
            assert not any(stage.archived for stage in stages)
        ids = [stage.id for one in found for stage in one.stages]
        assert len(set(ids)) == 2 * len(STAGES)

    def test_deals_go_into_every_new_stage(self, bench: SandboxBench) -> None:
        connector = bench.connect()
        connector.prepare([Kind.DEAL])
        ref = made(connector, Kind.PIPELINE, {"name": "Filled", "stages": STAGES})
        [pipeline] = connector.get([ref])
        assert isinstance(pipeline, Pipeline)
        for stage in pipeline.stages:
            deal = made(
                connector,
                Kind.DEAL,
                {
                    **needs(connector),
                    "name": stage.name,
                    "pipeline_id": ref.id,
                    "stage_id": stage.id,
                },
            )
            [read] = connector.get([deal])
            assert (read.pipeline_id, read.stage_id, read.outcome) == (ref.id, stage.id, stage.outcome)  # type: ignore[union-attr]


def needs(connector: Connector) -> dict[str, Any]:
    """What every CRM takes with a new deal: a person and that person's company."""
    person = next(one for one in every(connector, Kind.CONTACT) if one.companies)
    return {"contacts": (DealContact(id=person.ref.id, primary=True),), "companies": person.companies[:1]}


class HistoryTrials:
    """Old deals and notes of one CRM; its test class has a fixture `bench`."""

    options: ClassVar[Mapping[str, Any]] = {}

    def long_ago(self, bench: SandboxBench) -> datetime:
        """When the old deals were made."""
        return LONG_AGO

    def promised(self, connector: Connector, kind: Kind) -> frozenset[str]:
        writing = connector.capabilities.writing.get(kind, Writing())
        return writing.fields | writing.create_fields

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_an_old_deal_keeps_its_times_as_far_as_promised(
        self, bench: SandboxBench, outcome: Outcome
    ) -> None:
        connector = bench.connect(**self.options)
        connector.prepare([Kind.DEAL])
        promised = self.promised(connector, Kind.DEAL)
        pipelines = every(connector, Kind.PIPELINE)
        pipeline, stage = next(
            (one, stage)
            for one in pipelines
            for stage in one.stages
            if stage.outcome is outcome or "outcome" in promised
        )
        created = self.long_ago(bench)
        closed = None if outcome is Outcome.OPEN else created + (NOW - created) / 2
        wanted = {
            "name": f"Old {outcome}",
            "pipeline_id": pipeline.ref.id,
            "stage_id": stage.id,
            "outcome": outcome,
            "amount": Decimal("12.30"),
            "created_at": created,
            "closed_at": closed and closed.replace(microsecond=0),
        }
        values = {name: value for name, value in wanted.items() if name in promised}
        values = {name: value for name, value in values.items() if value is not None}
        refused = connector.cannot_hold(Kind.DEAL, {**values, "outcome": outcome})
        values = {name: value for name, value in values.items() if name not in refused}
        assert not refused.keys() & {"created_at", "pipeline_id", "stage_id", "amount"}
        ref = made(connector, Kind.DEAL, {**needs(connector), **values})
        [deal] = connector.get([ref])
        for name, value in connector.holds(Kind.DEAL, values).items():
            assert getattr(deal, name) == value, name
        assert deal.outcome is outcome  # type: ignore[union-attr]
        if "closed_at" in values:
            assert deal.closed_at is not None  # type: ignore[union-attr]
            assert abs(deal.closed_at - values["closed_at"]) < timedelta(days=1)  # type: ignore[union-attr]

    def test_an_old_note_keeps_its_time_and_author_as_far_as_promised(self, bench: SandboxBench) -> None:
        connector = bench.connect(**self.options)
        connector.prepare([Kind.DEAL])
        promised = self.promised(connector, Kind.NOTE)
        deal = every(connector, Kind.DEAL)[0]
        author = next(one for one in reversed(every(connector, Kind.OWNER)) if one.active)
        wanted = {
            "text": 'Called "Ada" 📞\n<b>twice</b>',
            "deal_id": deal.ref.id,
            "at": LONG_AGO,
            "author_id": author.ref.id,
        }
        values = {name: value for name, value in wanted.items() if name in promised}
        ref = made(connector, Kind.NOTE, values)
        [note] = connector.get([ref])
        assert note.text.startswith(wanted["text"])  # type: ignore[union-attr]
        for name in values.keys() & {"at", "author_id"}:
            assert getattr(note, name) == values[name], name
