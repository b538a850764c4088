"""Asks the machine, the state store and the CRMs, and lets every subject judge what was found.

The thin edge: one check that fails is a finding and stops no other.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from crmkit import credentials
from crmkit.connectors import registry
from crmkit.connectors.base import Connector
from crmkit.connectors.oauth import ENDS
from crmkit.connectors.quota import Quota
from crmkit.errors import ConfigError
from crmkit.health import access, expiry, machine, settings
from crmkit.health.findings import HERE, SETTINGS, Finding, failed
from crmkit.model import Kind, Workspace
from crmkit.observers import traces_wanted
from crmkit.session import Session
from crmkit.sync_settings import Role
from crmkit.syncing import named

AT_ONCE = 16
_KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "postgres": ("psycopg",),
    "notify": ("apprise",),
    "observe": ("prometheus_client", "opentelemetry"),
    "report": ("duckdb", "pyarrow", "vl_convert", "babel"),
}


@dataclass(slots=True)
class Examined:
    """What is known about one connection.

    Attributes:
        connection: Its name.
        workspace: What the CRM says about itself; `None` if it was not reached or not asked.
        skew_seconds: How far this machine's clock is ahead of the CRM's.
        quota: What is left of the CRM's own budget.
        findings: What was checked.
    """

    connection: str
    workspace: Workspace | None = None
    skew_seconds: float | None = None
    quota: Quota | None = None
    findings: list[Finding] = field(default_factory=list)

    def check(self, what: str, work: Callable[[], Finding | Iterable[Finding]]) -> bool:
        """Add what a check finds; whether it came to its end."""
        found, complete = guarded(self.connection, what, work)
        self.findings += found
        return complete


def guarded(
    subject: str, check: str, work: Callable[[], Finding | Iterable[Finding]]
) -> tuple[list[Finding], bool]:
    """What a check finds, and whether it came to its end; what it raises is a finding."""
    found: list[Finding] = []
    try:
        given = work()
        if isinstance(given, Finding):
            found.append(given)
        else:
            found.extend(given)
    except Exception as problem:  # one broken check must not hide what the others say
        found.append(failed(subject, check, problem))
        return found, False
    return found, True


def examine(session: Session, names: Sequence[str], *, offline: bool) -> list[Examined]:
    """Every connection, all side by side, in order; `offline` looks only for its secrets."""
    if not names:
        return []
    with ThreadPoolExecutor(min(len(names), AT_ONCE), thread_name_prefix="doctor") as pool:
        return list(pool.map(lambda name: _examined(session, name, offline=offline), names))


def _examined(session: Session, name: str, *, offline: bool) -> Examined:
    found = Examined(name)
    if not found.check("secrets", lambda: _secrets(session, name)):
        return found
    found.check("expiry", lambda: expiry.check(name, expiries(session, name), session.clock.now()))
    if offline or any(one.exit_code for one in found.findings):
        return found
    opened: list[Connector] = []

    def connect() -> Iterator[Finding]:
        opened.append(session.connect(name, read_only=True))
        workspace = found.workspace = opened[0].check()
        found.skew_seconds = access.skew(workspace, session.clock.now())
        yield access.check_workspace(name, workspace)

    try:
        if found.check("access", connect):
            _ask(session, opened[0], found)
        else:
            found.findings[-1] = access.sandbox_down(found.findings[-1], session.config.folder)
    finally:
        for connector in opened:
            connector.close()
    return found


def _ask(session: Session, connector: Connector, found: Examined) -> None:
    name, able = found.connection, connector.capabilities
    margin = session.config.settings.clock_margin_seconds
    found.check("clock", lambda: access.check_clock(name, found.skew_seconds, margin))
    writes = writing(session, connector, name)
    if writes.used_by:
        found.check("rights", lambda: access.check_rights(name, connector.unwritable(writes.kinds), writes))
        found.check(
            "key-fields", lambda: access.check_key_fields(name, connector.unprepared(writes.kinds), writes)
        )

    def limits() -> Iterable[Finding]:
        found.quota = connector.quota()
        return access.check_quota(name, found.quota, session.clock.now())

    found.check("limits", limits)
    searching = getattr(connector.options, "search_lag_seconds", able.search_lag_seconds)
    found.check("lag", lambda: access.check_lag(name, searching, able.find_lag_seconds))


def writing(session: Session, connector: Connector, name: str) -> access.Writes:
    """Which syncs and migrations write to a connection, and what."""
    used = writers(session, name)
    able = connector.capabilities.writing
    return access.Writes(used, [kind for kind in _KINDS if kind in able] if used else [])


def writers(session: Session, name: str) -> list[str]:
    """The syncs and migrations that write to a connection."""
    known = session.config.settings
    syncs = [
        sync
        for sync, one in known.syncs.items()
        if name in one.members and (name not in one.member or one.member[name].role is not Role.SOURCE)
    ]
    return [*syncs, *(each for each, one in known.migrations.items() if one.target == name)]


def expiries(session: Session, name: str) -> Sequence[expiry.Expiry]:
    """When the secrets of a connection end, as far as is known."""
    told = session.secrets(name).find(ENDS)
    if told is None:
        return ()
    try:
        return (expiry.Expiry("refresh_token", datetime.fromisoformat(told.get_secret_value())),)
    except ValueError:  # somebody else wrote it
        return ()


def _secrets(session: Session, name: str) -> Finding:
    possible = registry.connector(session.config.settings.connections[name].crm).secret_names
    secrets = session.secrets(name)
    return access.check_secrets(name, [one for one in possible if secrets.find(one) is not None], possible)


def of_machine(session: Session) -> list[Finding]:
    """What is missing on this machine."""
    return guarded(HERE, "machine", lambda: machine.check(_machine(session)))[0]


def _machine(session: Session) -> machine.Machine:
    known = session.config.settings
    why = {"report": "`crmkit report`"}
    if session.config.state_url.startswith("postgresql"):
        why["postgres"] = "`state`, a PostgreSQL address,"
    if known.alerts.to or known.report.notify.targets:
        why["notify"] = "[alerts] or [report.notify]"
    if known.observe.textfile is not None or traces_wanted(os.environ):
        why["observe"] = "[observe] or an OTEL_ variable"
    used = known.secrets != "secrets_dir"
    keyring = credentials.system_keyring() if used else None
    return machine.Machine(
        python=sys.version_info[:3],
        extras={
            extra: tuple(one for one in _PACKAGES[extra] if importlib.util.find_spec(one) is None)
            for extra in why
        },
        why=why,
        keyring=type(keyring).__module__ if keyring is not None else None,
        keyring_used=used,
        secrets_dir=session.config.secrets_dir is not None,
    )


def of_settings(session: Session) -> list[Finding]:
    """What crmkit.toml does not tell by itself."""
    return guarded(SETTINGS, "file", lambda: settings.check(_configured(session)))[0]


def _configured(session: Session) -> settings.Configured:
    known = session.config.settings
    wrong: dict[str, ConfigError] = {}
    for sync in known.syncs:
        try:
            named(session, sync)
        except ConfigError as problem:
            wrong[sync] = problem
    files: dict[str, Path | None] = {"report.rates_file": known.report.rates_file}
    return settings.Configured(
        path=session.config.path.name,
        connections=len(known.connections),
        syncs=len(known.syncs),
        migrations=len(known.migrations),
        renamed=session.config.warnings,
        wrong=wrong,
        no_files={
            key: str(path)
            for key, path in files.items()
            if path is not None and not (session.config.folder / path).exists()
        },
    )
