"""What `report`, `review` and `diff` work on: settings, rates, stage maps, and the deals behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from crmkit.connectors import registry
from crmkit.errors import ConfigError
from crmkit.report import load
from crmkit.report.calendar import span_of
from crmkit.report.facts.engine import Facts, MissingPackages, duckdb, spark
from crmkit.report.inputs import AmountBasis, Quota, Scope, Settings, SkipPolicy
from crmkit.report.rates import Rates, rates_from_csv, rates_from_mapping
from crmkit.session import Session
from crmkit.sync import queries
from crmkit.sync.state import State


@dataclass(frozen=True, slots=True)
class Material:
    """Settings, rates and stage maps of some connections, and what is the same in two of them."""

    settings: Settings
    rates: Rates
    maps: list[load.Mapped]
    linked: load.Linked

    def rows(self, state: State) -> load.Rows:
        """Their deals, one by one."""
        return load.Rows(state, self.linked, self.settings.time_zone)


@dataclass(frozen=True, slots=True)
class Opened:
    """The fact tables of some connections, open for questions."""

    facts: Facts
    settings: Settings
    material: Material


def gather(
    session: Session,
    state: State,
    names: Sequence[str],
    *,
    scope: Scope | None = None,
    as_of: datetime | None = None,
    since: datetime | None = None,
    period: str | None = None,
) -> Material:
    """Settings, rates, stage maps and links of the chosen connections.

    Args:
        session: The workspace.
        state: Its open store.
        names: Connections; all if none is named.
        scope: Which deals count.
        as_of: The instant of the report; now if none is given.
        since: What changes are told since.
        period: A month, fiscal quarter or year, as `2026-11`, `2026-Q4` or `2026`.

    Raises:
        ConfigError: A rate or setting cannot be used.
        StateError: A connection has not been pulled yet.
    """
    settings = session.config.settings
    chosen = session.config.chosen(names)
    queries.pulled(state, list(chosen))
    outline = load.outline(settings)
    maps = [load.stage_map(state, name, one, outline) for name, one in chosen.items()]
    report = settings.report
    fiscal = report.fiscal_start_month
    span = None if period is None else span_of(period, fiscal)
    return Material(
        Settings(
            report_currency=report.currency,
            time_zone=report.time_zone,
            as_of=as_of or session.clock.now(),
            since=since,
            stages=outline.stages,
            native_stages=load.native_stages(maps),
            period=None if span is None else (span.start, span.end),
            fiscal_start_month=fiscal,
            amount_basis=AmountBasis(report.amount_basis),
            trailing_days=report.win_rate_days,
            qualified_stage=report.qualified_stage,
            record_order=report.record_order,
            scope=scope or Scope(),
            top=report.top,
            teams=report.teams,
            quotas=tuple(
                Quota(start=one.start, end=one.end, amount=quota.amount, owner=quota.owner, team=quota.team)
                for quota in report.quotas
                for one in [span_of(quota.period, fiscal)]
            ),
            forecast_categories=report.forecast_categories,
            forecast_names=report.forecast_names,
            commit_share=report.commit_share,
            best_case_share=report.best_case_share,
            skip_policy=SkipPolicy(report.skipped_stages),
            stale_days=report.stale_days,
            stale_warning_days=report.stale_warning_days,
            stale_days_by_stage=report.stale_days_by_stage,
            stuck_factor=report.stuck_factor,
            stage_max_days=report.stage_max_days,
            stage_max_days_by_stage=report.stage_max_days_by_stage,
            amount_required_stage=report.amount_required_stage,
            outlier_factor=report.outlier_factor,
            push_limit=report.push_limit,
            month_end_close=frozenset(
                name
                for name, one in chosen.items()
                if registry.connector(one.crm).capabilities.presets_month_end
            ),
            follow_up_days=report.follow_up_days,
            renewal_days=report.renewal_days,
        ),
        _rates(session, report.currency),
        maps,
        load.Linked(state, maps),
    )


@contextmanager
def open_facts(
    session: Session,
    state: State,
    names: Sequence[str],
    *,
    scope: Scope | None = None,
    as_of: datetime | None = None,
    since: datetime | None = None,
    period: str | None = None,
    engine: Literal["duckdb", "spark"] = "duckdb",
) -> Iterator[Opened]:
    """The fact tables of the chosen connections in an engine; the other arguments as `gather`.

    Raises:
        MissingPackages: The extra `report` is not installed.
    """
    material = gather(session, state, names, scope=scope, as_of=as_of, since=since, period=period)
    with TemporaryDirectory(prefix="crmkit-facts-") as place:
        folder = Path(place)
        write_facts(session, state, material, folder)
        opened = duckdb(folder, folder=folder) if engine == "duckdb" else spark(folder)
        with opened as facts:
            yield Opened(facts, material.settings, material)


def write_facts(session: Session, state: State, material: Material, folder: Path) -> None:
    """Write the fact tables as Parquet files into a folder.

    Raises:
        MissingPackages: The extra `report` is not installed.
    """
    try:
        from crmkit.report.facts.collect import Collector  # noqa: PLC0415 - heavy, and only reports need it
    except ImportError as error:
        raise MissingPackages("reports need PyArrow and DuckDB") from error
    report = session.config.settings.report
    custom = {
        name: _fields(name, report.renewal_fields, report.upsell_fields) for name in material.linked.maps
    }
    collector = Collector(
        state,
        material.linked,
        material.rates,
        material.settings,
        custom_days={name: fields for name, fields in custom.items() if fields},
    )
    collector.write(folder)


def _fields(name: str, renewal: Mapping[str, str], upsell: Mapping[str, str]) -> dict[str, str]:
    named = {"renewal": renewal.get(name), "upsell": upsell.get(name)}
    return {which: field for which, field in named.items() if field is not None}


def _rates(session: Session, currency: str) -> Rates:
    report = session.config.settings.report
    if report.rates_file is None:
        return rates_from_mapping(currency, report.rates)
    path = session.config.folder / report.rates_file
    try:
        return rates_from_csv(currency, path.read_text(encoding="utf-8"), source=path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the rates file {path}: {error}") from error
