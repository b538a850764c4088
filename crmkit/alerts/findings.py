"""What a run of a sync showed that somebody should know."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from crmkit.alert_settings import AlertSettings, Topic
from crmkit.alerts.decide import Finding, Findings
from crmkit.alerts.drift import drifting
from crmkit.errors import Busy, CredentialsError, GuardTripped, Interrupted
from crmkit.session import Session
from crmkit.sync import tables
from crmkit.sync.plan import Held
from crmkit.sync.state import State

DONE, FAILED, WAITING, PARTLY = 0, 1, 4, 5
_ENDINGS = (Topic.FAILED, Topic.GUARD, Topic.PARTLY)
PARTLY_TIMES = 2


def findings(
    session: Session,
    state: State,
    sync: str,
    code: int,
    *,
    error: Exception | None = None,
    held: Iterable[Held] = (),
) -> Findings:
    """What somebody should know after a run that ended with an exit code.

    A run that was interrupted, or found another one busy, shows nothing either way.
    """
    settings = session.config.settings.alerts
    found = ended(sync, code, error)
    if found is None:
        return Findings([], frozenset())
    wanted = set(settings.on)
    checked = set(_ENDINGS)
    if Topic.CONFLICTS in wanted:
        checked.add(Topic.CONFLICTS)
        found += _conflicts(state, sync, session.clock.now(), settings)
    if Topic.DRIFT in wanted and code in (DONE, WAITING):
        # Other endings leave writes undone, which explain a difference.
        checked.add(Topic.DRIFT)
        found += _drift(session, state, sync, held, settings)
    return Findings([one for one in found if one.topic in wanted], frozenset(map(str, checked)))


def ended(sync: str, code: int, error: Exception | None) -> list[Finding] | None:
    """What the ending of a run tells; `None` if it tells nothing either way."""
    if code in (Interrupted.exit_code, Busy.exit_code):
        return None
    quoted = str(error) if error is not None else ""
    if code == GuardTripped.exit_code:
        text = f"a guard stopped it before its first write. Look with `crmkit plan {sync}`."
        return [Finding(Topic.GUARD, text, quoted=quoted)]
    if code == PARTLY:
        text = f"it was done in part only, {PARTLY_TIMES} times in a row. See `crmkit runs {sync}`."
        return [Finding(Topic.PARTLY, text, times=PARTLY_TIMES)]
    if code == CredentialsError.exit_code:
        text = "the credentials are refused. Run `crmkit doctor`."
        return [Finding(Topic.FAILED, text, quoted=quoted)]
    if code in (DONE, WAITING):
        return []
    return [Finding(Topic.FAILED, f"it failed. See `crmkit runs {sync}`.", quoted=quoted)]


def _conflicts(state: State, sync: str, now: datetime, settings: AlertSettings) -> list[Finding]:
    columns = tables.conflicts.c
    query = sa.select(sa.func.count(), sa.func.min(columns.since)).where(
        columns.sync == sync, columns.winner.is_(None), columns.since <= now - settings.conflicts_wait
    )
    with state.read() as db:
        count, since = db.execute(query).one()
    if not count:
        return []
    days = (now - since).total_seconds() / 86400
    many = "1 conflict waits" if count == 1 else f"{count:,} conflicts wait"
    text = f"{many} for a person, the oldest for {days:.1f} days. See `crmkit conflicts list {sync}`."
    return [Finding(Topic.CONFLICTS, text)]


def _drift(
    session: Session, state: State, sync: str, held: Iterable[Held], settings: AlertSettings
) -> list[Finding]:
    count = drifting(session, state, sync, {one.entity for one in held}, least=settings.drift_deals)
    if count < settings.drift_deals:
        return []
    deals = "1 linked deal differs" if count == 1 else f"{count:,} linked deals differ"
    text = f"{deals} in stage or amount, and no write is planned. See `crmkit diff`."
    return [Finding(Topic.DRIFT, text)]
