"""Rehearsals: twins of real CRMs on this machine, in a workspace of their own with the same settings.

Production is only read. The twins' workspace has made-up secrets, addresses on this machine
and a state store of its own; its sessions never look for a secret anywhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from crmkit import config, workspace
from crmkit.connectors import registry
from crmkit.connectors.base import Connector, Secrets
from crmkit.errors import ConfigError
from crmkit.migrating import OpenMigration
from crmkit.migration.structure import PipelinePlace, StagePlace, Way
from crmkit.model import Kind, Stage
from crmkit.rehearsal.decisions import Decisions
from crmkit.rehearsal.drawn import blueprint_of
from crmkit.rehearsal.masking import Masking
from crmkit.rehearsal.settings import RATES_FILE, settings_of_twins, toml_text
from crmkit.report.rates import Rates, rates_from_csv, rates_from_mapping
from crmkit.sandbox.blueprint import Blueprint
from crmkit.sandbox.clicks import Wanted, click_pipeline, click_stages, unclick_stage
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.server import Sandbox, vendor_app
from crmkit.sandbox.twin import twin
from crmkit.sandbox.wire import Settings
from crmkit.session import Session
from crmkit.sync import queries, tables
from crmkit.sync.state import State

_SETTLE_SECONDS = 900.0  # longer than any index trails


class ReadingSession(Session):
    """Production's session, every connection of which refuses to change anything."""

    @classmethod
    def of(cls, session: Session) -> ReadingSession:
        """The same workspace, only to be read."""
        return cls(session.config, session.redactor, session.clock)

    def connect(
        self, connection: str, *, read_only: bool = True, secrets: Secrets | None = None
    ) -> Connector:
        """An open connection that only reads, whatever is asked for."""
        del read_only
        return Session.connect(self, connection, read_only=True, secrets=secrets)


class TwinClock:
    """The twins' clock on this side of the wire: whoever would wait pushes it forward instead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._clock()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float, cancelled: threading.Event) -> None:
        del cancelled
        with self._lock:
            self._clock.advance(seconds)


@dataclass(frozen=True)
class Rehearsal:
    """Twins that listen, and the workspace that reaches them.

    Attributes:
        session: Its workspace.
        box: The twins by connection.
        drawn: What they were raised from.
    """

    session: Session
    box: Sandbox
    drawn: Mapping[str, Blueprint]

    def settle(self, in_flight_seconds: float) -> None:
        """Let indexes catch up and everything under way come to an end, without waiting."""
        self.box.clock.advance(_SETTLE_SECONDS + in_flight_seconds)

    @property
    def requests(self) -> dict[str, int]:
        """The calls that each twin has answered so far."""
        return {name: app.requests.total for name, app in self.box.apps.items()}


def check_twins(session: Session, names: Sequence[str]) -> None:
    """Make sure, before anything is read, that the sandbox has each CRM.

    Raises:
        ConfigError: A connection is not configured.
        SandboxError: The sandbox has no such CRM.
    """
    for one in session.config.chosen(names).values():
        vendor_app(one.crm)


def drawn(
    session: Session, state: State, names: Sequence[str], *, mask: Masking | None
) -> dict[str, Blueprint]:
    """The blueprint of each connection, as the last pull saw it.

    Args:
        session: Production's, only reading.
        state: Production's local copy.
        names: The connections.
        mask: Pseudonyms for all of them; `None`: as they are.

    Raises:
        StateError: One has not been pulled yet.
    """
    rates = _rates(session)
    found: dict[str, Blueprint] = {}
    for name in names:
        connector = session.connect(name, read_only=True)
        try:
            base = connector.check()
            worth = _worth(rates, base.base_currency, base.currencies, session)
            found[name] = blueprint_of(state, name, connector, mask=mask, rates=worth)
        finally:
            connector.close()
    return found


def _rates(session: Session) -> Rates:
    report = session.config.settings.report
    if report.rates_file is None:
        return rates_from_mapping(report.currency, report.rates)
    return rates_from_csv(report.currency, _rates_text(session), source=report.rates_file.name)


def _rates_text(session: Session) -> str:
    path = session.config.folder / (session.config.settings.report.rates_file or "")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the rates file {path}: {error}") from error


def _worth(rates: Rates, base: str | None, currencies: Sequence[str], session: Session) -> dict[str, Decimal]:
    """The worth of one unit of each currency in the base currency, where the report's rates tell."""
    today = session.clock.now().astimezone(UTC).date()
    of_base = rates.rate(base, today)
    found = {code: rates.rate(code, today) for code in currencies}
    return {code: one / of_base for code, one in found.items() if one is not None and of_base}


@contextmanager
def rehearsal(
    production: Session, blueprints: Mapping[str, Blueprint], folder: Path, *, mask: Masking | None
) -> Iterator[Rehearsal]:
    """Raise twins and serve them while the block runs.

    Args:
        production: Whose settings the rehearsal takes over.
        blueprints: What each twin consists of, by connection.
        folder: Where the rehearsal's workspace goes; a workspace of an earlier rehearsal or sandbox there
            is replaced.
        mask: The pseudonyms of the blueprints, for settings that name people.

    Raises:
        SandboxError: A twin could not hold what the real CRM holds.
        ConfigError: The folder cannot be written, or has somebody's own crmkit.toml.
    """
    clock = Clock()
    clock.advance((production.clock.now() - clock()).total_seconds())
    apps = {name: twin(one, Settings(limits=False), clock) for name, one in blueprints.items()}
    box = Sandbox.of(apps)
    with ExitStack() as stack:
        stack.callback(box.stop)
        box.start()
        path = _write(production, box, blueprints, folder, mask)
        loaded = config.load(path, registry.OptionModels())
        yield Rehearsal(Session(loaded, production.redactor, TwinClock(clock)), box, blueprints)


def _write(
    production: Session,
    box: Sandbox,
    blueprints: Mapping[str, Blueprint],
    folder: Path,
    mask: Masking | None,
) -> Path:
    """The workspace: secrets of the twins, and production's settings without its own."""
    # Connections have production's names: a keyring or an environment that knows a secret by such a name must
    # neither give it to a twin nor be given one, so secrets come from this folder alone.
    # The address is given always: a connector that took it from a secret would go by whichever it finds.
    addresses = {name: {"base_url": app.base_url, **app.connection} for name, app in box.apps.items()}
    crms = {
        name: workspace.LocalCrm(app.name, addresses[name], app.credentials, limits=False)
        for name, app in box.apps.items()
    }
    path = workspace.write(folder, crms)
    # The first line tells later runs that the file is nobody's own.
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    decisions = Decisions(mask, blueprints) if mask is not None else None
    document = settings_of_twins(production.config, list(blueprints), addresses, decisions)
    document = {
        "state": workspace.STATE_FILE,
        "secrets_dir": workspace.SECRETS_FOLDER,
        "secrets": "secrets_dir",
        **document,
    }
    path.write_text(f"{first}\n# Twins of a rehearsal.\n{toml_text(document)}", encoding="utf-8")
    if production.config.settings.report.rates_file is not None:
        (folder / RATES_FILE).write_text(_rates_text(production), encoding="utf-8")
    return path


def take_decisions(production: State, state: State, names: Sequence[str]) -> int:
    """Remember in a rehearsal what people said about two records of its CRMs; how many times.

    Decisions name ids only, and ids are the same in the twins.
    """
    table = tables.decisions
    columns = (table.c.one_connection, table.c.other_connection)
    query = sa.select(table).where(*(one.in_(list(names)) for one in columns))
    with production.read() as db:
        rows = [dict(row) for row in db.execute(query).mappings()]
    if rows:
        with state.write() as db:
            db.execute(table.insert(), rows)
    return len(rows)


def click_checklist(opened: OpenMigration, box: Sandbox) -> None:
    """Do in the target's twin what a person has to click in the target."""
    app = box[opened.settings.target]
    structure = opened.as_planned().structure
    by_hand = structure.of_way(Way.BY_HAND)
    whole = {one.source.ref for one in by_hand if isinstance(one, PipelinePlace)}
    lines = {one.source.ref: one.target for one in structure.pipelines}
    for place in by_hand:
        if isinstance(place, PipelinePlace) and place.target is not None:
            click_pipeline(app, place.target.name, [_wanted(stage) for stage in place.target.stages])
        elif isinstance(place, StagePlace) and place.pipeline.ref not in whole and place.target is not None:
            line = lines[place.pipeline.ref]
            assert line is not None, "a stage to add has a pipeline to be added to"
            click_stages(app, line.ref.id, [_wanted(place.target)])


def unclick_impossible(opened: OpenMigration, box: Sandbox, before: Collection[str]) -> list[str]:
    """Take back what no person could have clicked in the real CRM either; in words, one line each.

    A CRM's own rules hold for its administrators too; the connector tells them.

    Args:
        opened: The migration, opened after `click_checklist`: it has seen the new stages.
        box: The twins.
        before: Ids of the target's stages before the clicks.
    """
    target = opened.settings.target
    connector = opened.connectors[target]

    def refusal(name: str, stages: Sequence[Stage]) -> str:
        refused = connector.cannot_hold(Kind.PIPELINE, {"name": name, "stages": tuple(stages)})
        return "; ".join(sorted(set(refused.values())))

    told: list[str] = []
    for line in queries.pipelines(opened.state, target):
        if not refusal(line.name, line.stages):
            continue
        kept = [stage for stage in line.stages if stage.id in before]
        for stage in (one for one in line.stages if one.id not in before):
            reason = refusal(line.name, [*kept, stage])
            if not reason:
                kept.append(stage)
                continue
            unclick_stage(box[target], line.ref.id, stage.id)
            told.append(f"the stage {stage.name!r} of the pipeline {line.name!r}: {reason}")
    return told


def _wanted(stage: Stage) -> Wanted:
    share = stage.probability
    return Wanted(stage.name, stage.outcome.value, None if share is None else float(share))
