"""Tells people that a sync needs somebody: once, again while it lasts, and when it is over.

`after_run` is what commands and workers call.
"""

from __future__ import annotations

from collections.abc import Iterable

from crmkit.alerts.decide import Decision, decide
from crmkit.alerts.findings import findings
from crmkit.alerts.message import message
from crmkit.errors import CrmkitError
from crmkit.report.notify import notify
from crmkit.session import Session
from crmkit.sync import told
from crmkit.sync.plan import Held
from crmkit.sync.state import State

__all__ = ["after_run"]


def after_run(
    session: Session,
    state: State,
    sync: str,
    code: int,
    *,
    error: Exception | None = None,
    held: Iterable[Held] = (),
) -> list[str]:
    """Tell whom `[alerts]` names what has to be known about a sync, after each of its runs.

    Never raises for what goes wrong with telling: the run has ended as it has.

    Args:
        session: The workspace.
        state: Its open store.
        sync: The sync.
        code: The exit code that its run ended with.
        error: What ended it early.
        held: What the run found that waits: told there, and so no drift.

    Returns:
        Who could not be told, one line each, for a person to read; nothing in it is secret.
    """
    settings = session.config.settings.alerts
    if not settings.to:
        return []
    redact = session.redactor.redact
    try:
        now = session.clock.now()
        found = findings(session, state, sync, code, error=error, held=held)
        with state.read() as db:
            # What is not asked for any more is forgotten, not told as resolved.
            known = [one for one in told.known(db, sync) if one.topic in settings.on]
        decision = decide(known, now, found, settings.repeat_after)
        lines = _tell(session, sync, decision) if decision.tell else []
        failed = len(lines) >= len(settings.to)
        with state.write() as db:
            told.replace(db, sync, decision.kept(now, told=not failed))
    except CrmkitError as problem:
        session.observer.event("alert_failed", sync=sync, error=type(problem).__name__)
        return [redact(f"{sync}: nobody was told about it: {problem}. {problem.hint}".rstrip())]
    except Exception as problem:
        # A mistake in here must not change how the run ended; its text may quote anything.
        session.observer.event("alert_failed", sync=sync, error=type(problem).__name__)
        return [f"{sync}: nobody was told about it: a mistake in crmkit ({type(problem).__name__})"]
    return [redact(line) for line in lines]


def _tell(session: Session, sync: str, decision: Decision) -> list[str]:
    """Send one message for all that is to be told; a line for each target that was not reached."""
    settings = session.config.settings.alerts
    text = message(sync, decision, session.redactor.redact)
    failures = notify(session, settings.to, text)
    for topic, status in decision.statuses().items():
        if len(failures) < len(settings.to):
            session.observer.event("alert", sync=sync, alert=topic, status=status)
        for failure in failures:
            session.observer.event("alert_failed", sync=sync, alert=topic, target=failure.target)
    return [f"{sync}: {failure}. {failure.hint}".rstrip() for failure in failures]
