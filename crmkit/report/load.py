"""From the state store to what the report functions take: rows, links and stage maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from crmkit.config import ConnectionSettings
from crmkit.config import Settings as Configuration
from crmkit.mapping import identity, lint
from crmkit.mapping.resolve import Problem, resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, CommonStage, Outline, StageMap
from crmkit.model import Kind, LostKind, Outcome, Ref, ValuePeriod
from crmkit.report.inputs import (
    NativeStage,
    OutcomeClash,
    PipelineRow,
    SharedStage,
    StageCount,
    StageCoverage,
)
from crmkit.sync import queries, schema
from crmkit.sync.candidates import linkable, read_rows
from crmkit.sync.decisions import decided
from crmkit.sync.link import LinkableCompany, LinkableDeal, Links, link_companies, link_deals
from crmkit.sync.state import State

StageKey = tuple[str, str]
_ROWS_AT_ONCE = 2000


def outline(settings: Configuration) -> Outline:
    """The workspace's common stages: its own, or the built-in ones."""
    if not settings.stages:
        return DEFAULT_OUTLINE
    return Outline(
        tuple(
            CommonStage(stage.id, stage.name, order, stage.outcome)
            for order, stage in enumerate(settings.stages)
        )
    )


@dataclass(frozen=True, slots=True)
class Mapped:
    """The stage map of one connection, and what in its configuration cannot be used."""

    stage_map: StageMap
    problems: tuple[Problem, ...]


def stage_map(state: State, connection: str, configured: ConnectionSettings, common: Outline) -> Mapped:
    """The stage map that the configuration declares for a connection's pipelines."""
    found, problems = resolve(
        configured.stages,
        queries.pipelines(state, connection),
        common,
        defaults=configured.stage_defaults,
        connection=connection,
    )
    return Mapped(found, problems)


def deals_by_stage(state: State, connection: str) -> dict[StageKey, tuple[int, dict[str, Decimal]]]:
    """Per (pipeline id, stage id): how many live deals are in it, and their value per currency."""
    table = schema.deals
    counts: dict[StageKey, int] = defaultdict(int)
    values: dict[StageKey, dict[str, Decimal]] = defaultdict(dict)
    query = sa.select(table.c.pipeline_id, table.c.stage_id, table.c.amount, table.c.currency).where(
        *_live(table), table.c.connection == connection
    )
    with state.read() as db:
        for row in db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
            key = (row.pipeline_id or "", row.stage_id or "")
            counts[key] += 1
            if row.amount is not None and row.currency:
                values[key][row.currency] = values[key].get(row.currency, Decimal(0)) + row.amount
    return {key: (count, values[key]) for key, count in counts.items()}


def coverage(mapped: Mapped, deals: Mapping[StageKey, tuple[int, Mapping[str, Decimal]]]) -> StageCoverage:
    """What the linter says about one connection's map, for the difference report."""
    stages = mapped.stage_map
    covered = lint.coverage(stages, deals)
    unmapped: list[StageCount] = []
    shared: list[SharedStage] = []
    clashes: list[OutcomeClash] = []
    for pipeline in stages.pipelines:
        by_common: dict[str, list[str]] = defaultdict(list)
        for stage in pipeline.stages:
            common = stages.entries.get((pipeline.ref.id, stage.id))
            if common is None:
                count = deals.get((pipeline.ref.id, stage.id), (0, {}))[0]
                unmapped.append(StageCount(pipeline=pipeline.name, stage=stage.name, deals=count))
                continue
            by_common[common].append(stage.name)
            outcome = stages.outline[common].outcome
            if outcome is not stage.outcome and not stages.outcome_apart:
                clashes.append(
                    OutcomeClash(
                        pipeline=pipeline.name,
                        stage=stage.name,
                        outcome=stage.outcome,
                        common_stage=common,
                        common_outcome=outcome,
                    )
                )
        shared += [
            SharedStage(pipeline=pipeline.name, common_stage=common, stages=tuple(names))
            for common, names in by_common.items()
            if len(names) > 1 and (pipeline.ref.id, common) not in stages.defaults
        ]
    return StageCoverage(
        connection=stages.connection,
        deals=covered.total,
        mapped_deals=covered.mapped,
        unmapped=tuple(unmapped),
        many_to_one=tuple(shared),
        clashes=tuple(clashes),
    )


def native_stages(maps: Sequence[Mapped]) -> tuple[NativeStage, ...]:
    """Every native stage with the common stage it is mapped to."""
    return tuple(
        NativeStage(
            connection=mapped.stage_map.connection,
            pipeline_id=pipeline.ref.id,
            pipeline_name=pipeline.name,
            stage_id=stage.id,
            stage_name=stage.name,
            order=stage.order,
            outcome=stage.outcome,
            common_stage=mapped.stage_map.entries.get((pipeline.ref.id, stage.id)),
        )
        for mapped in maps
        for pipeline in mapped.stage_map.pipelines
        for stage in pipeline.stages
    )


@dataclass(frozen=True, slots=True)
class Owned:
    """An owner as reports show it."""

    name: str
    email: str | None
    active: bool


class Linked:
    """Who owns, which company, and what is the same deal, over several connections.

    Args:
        state: The open store.
        maps: The stage map per connection; only these connections are read.
    """

    def __init__(self, state: State, maps: Sequence[Mapped]) -> None:
        self._state = state
        self.maps = {mapped.stage_map.connection: mapped.stage_map for mapped in maps}
        self.owners = self._read_owners()
        self._companies = self._read_companies()
        # What syncs keep linked and what people decided counts here as it does there.
        with state.read() as db:
            self.companies = link_companies(list(self._companies.values()), decided(db, Kind.COMPANY))
            self.deals = self._link_deals(db)

    def company(self, ref: Ref | None) -> LinkableCompany | None:
        """A company by its ref."""
        return self._companies.get(ref) if ref else None

    def company_names(self) -> Iterator[tuple[Ref, str]]:
        """Every company with its name."""
        return ((ref, company.name) for ref, company in self._companies.items())

    def _read_owners(self) -> dict[tuple[str, str | None], Owned]:
        table = schema.owners
        query = sa.select(table).where(table.c.connection.in_(list(self.maps)))
        with self._state.read() as db:
            return {
                (row.connection, row.id): Owned(row.name, row.email, row.active) for row in db.execute(query)
            }

    def _read_companies(self) -> dict[Ref, LinkableCompany]:
        found: dict[Ref, LinkableCompany] = {}
        with self._state.read() as db:
            for row in read_rows(db, Kind.COMPANY, self.maps):
                one = linkable(Kind.COMPANY, row, lambda *_: None, {}, key=row["key"])
                assert isinstance(one, LinkableCompany)
                found[one.ref] = one
        return found

    def _link_deals(self, db: sa.Connection) -> Links:
        names = {ref: company.name for ref, company in self._companies.items()}
        deals: list[LinkableDeal] = []
        for row in read_rows(db, Kind.DEAL, self.maps):
            one = linkable(Kind.DEAL, row, self._company_key, names, key=row["key"])
            assert isinstance(one, LinkableDeal)
            deals.append(one)
        return link_deals(deals, decided(db, Kind.DEAL))

    def _company_key(self, connection: str, native: str) -> str | None:
        """A deal can be the same as another one only through a company known to both CRMs, or its key."""
        return self.companies.group_of.get(Ref(connection, Kind.COMPANY, native))


class Rows:
    """The deals of several connections as report rows, read in a stream.

    Args:
        state: The open store.
        linked: Owners, companies and links of the connections to read.
        time_zone: The report's zone: it decides when the day of a closing is.
    """

    def __init__(self, state: State, linked: Linked, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._state = state
        self._maps = linked.maps
        self._linked = linked
        self.companies, self.deals = linked.companies, linked.deals
        self._last_changes = self._read_last_changes()

    def __iter__(self) -> Iterator[PipelineRow]:
        table = schema.deals
        names = {
            connection: {
                pipeline.ref.id: (pipeline.name, {stage.id: stage for stage in pipeline.stages})
                for pipeline in found.pipelines
            }
            for connection, found in self._maps.items()
        }
        query = sa.select(table).where(*_live(table), table.c.connection.in_(list(self._maps)))
        with self._state.read() as db:
            for row in db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
                yield self._row(row, names[row.connection].get(row.pipeline_id, (None, {})))

    def _row(
        self, row: sa.Row[tuple[object, ...]], pipeline: tuple[str | None, Mapping[str, object]]
    ) -> PipelineRow:
        outcome = Outcome(row.outcome)
        common = self._maps[row.connection].to_common(row.pipeline_id, row.stage_id, outcome)
        stage = pipeline[1].get(row.stage_id)
        owner = self._linked.owners.get((row.connection, row.owner_id))
        closed_at, estimated = self._closed(row, outcome)
        company_ref = Ref(row.connection, Kind.COMPANY, row.companies[0]) if row.companies else None
        company = self._linked.company(company_ref)
        return PipelineRow(
            ref=Ref(row.connection, Kind.DEAL, row.id),
            name=row.name,
            pipeline_id=row.pipeline_id,
            pipeline_name=pipeline[0],
            stage_id=row.stage_id,
            stage_name=getattr(stage, "name", None),
            common_stage=common if isinstance(common, str) else None,
            outcome=outcome,
            lost_kind=LostKind(row.lost_kind) if row.lost_kind else None,
            lost_reason=row.lost_reason,
            amount=row.amount,
            currency=row.currency,
            value_period=ValuePeriod(row.value_period),
            probability=_probability(outcome, row.probability, getattr(stage, "probability", None)),
            owner_id=row.owner_id,
            owner_name=owner.name if owner else None,
            owner_email=owner.email if owner else None,
            owner_active=owner.active if owner else True,
            owner_key=identity.email(owner.email) if owner else None,
            company_id=company_ref.id if company_ref else None,
            company_name=company.name if company else None,
            company_key=self.companies.group_of.get(company_ref) if company_ref else None,
            expected_close=row.expected_close,
            created_at=row.created_at,
            closed_at=closed_at,
            closed_at_estimated=estimated,
            stage_entered_at=row.stage_entered_at,
            last_activity_at=row.last_activity_at,
            modified_at=row.modified_at,
            url=row.url,
        )

    def _closed(self, row: sa.Row[tuple[object, ...]], outcome: Outcome) -> tuple[datetime | None, bool]:
        """When a deal was closed, and whether that is only estimated (metrics.md 2.3)."""
        if outcome is Outcome.OPEN or row.closed_at is not None:
            return row.closed_at, False
        moved = self._last_changes.get((row.connection, row.id))
        if moved is not None or row.expected_close is None:
            return moved, False
        noon = datetime.combine(row.expected_close, time(12), tzinfo=self._zone)
        return noon.astimezone(UTC), True

    def _read_last_changes(self) -> dict[tuple[str, str], datetime]:
        """The last stage change of closed deals whose CRM does not say when they were closed."""
        deals, changes = schema.deals, schema.stage_changes
        same = sa.and_(deals.c.connection == changes.c.connection, deals.c.id == changes.c.deal_id)
        query = (
            sa.select(changes.c.connection, changes.c.deal_id, sa.func.max(changes.c.at).label("at"))
            .select_from(changes.join(deals, same))
            .where(
                deals.c.connection.in_(list(self._maps)),
                deals.c.outcome != Outcome.OPEN.value,
                deals.c.closed_at.is_(None),
            )
            .group_by(changes.c.connection, changes.c.deal_id)
        )
        with self._state.read() as db:
            return {(row.connection, row.deal_id): row.at for row in db.execute(query)}


def _live(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.gone_at.is_(None), table.c.archived.is_(False))


def _probability(outcome: Outcome, own: Decimal | None, stage: Decimal | None) -> Decimal | None:
    """A deal's probability (metrics.md 2.5): its own, else its stage's; certain once it is closed."""
    if outcome is Outcome.WON:
        return Decimal(1)
    if outcome is Outcome.LOST:
        return Decimal(0)
    return own if own is not None else stage
