"""Tells people about a sync once a command that runs it unattended has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from crmkit.commands.run import Run
from crmkit.errors import CrmkitError
from crmkit.sync.plan import Held
from crmkit.sync.state import State


@dataclass(slots=True)
class Ending:
    """How a run ended; `None` tells nobody anything, for example where a person watches."""

    code: int | None = None
    held: Sequence[Held] = ()


@contextmanager
def alerting(run: Run, state: State, sync: str) -> Iterator[Ending]:
    """Tell whom `[alerts]` names how the block ended, whichever way; it ends as it does.

    Who could not be told is a warning line.
    """
    ending = Ending()
    try:
        yield ending
    except Exception as error:
        ending.code = error.exit_code if isinstance(error, CrmkitError) else CrmkitError.exit_code
        _tell(run, state, sync, ending, error)
        raise
    _tell(run, state, sync, ending, None)


def _tell(run: Run, state: State, sync: str, ending: Ending, error: Exception | None) -> None:
    session = run.open()
    if ending.code is None or not session.config.settings.alerts.to:
        return
    # Chats and stage maps are needed by nobody else here.
    from crmkit.alerts import after_run  # noqa: PLC0415

    # A mistake in crmkit may quote anything, so only what was meant for people is told.
    told = error if isinstance(error, CrmkitError) else None
    session.warnings += after_run(session, state, sync, ending.code, error=told, held=ending.held)
