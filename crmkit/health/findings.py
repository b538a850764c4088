"""What a check found, and how an examination ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from crmkit.errors import AccessDenied, CredentialsError, CrmkitError, Transient

FAILED, WAITING, CREDENTIALS = 1, 4, CredentialsError.exit_code
HERE, STORE, SETTINGS = "machine", "state", "config"
"""Subjects that are no connection, sync or migration."""
UNREACHED = "Check the network and `base_url`, then try again: the CRM may have had a bad moment."


class Severity(StrEnum):
    """How much a finding matters, the least first."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing."""
    WARNING = "warning"
    """It works, but will not always, or something waits."""
    ERROR = "error"
    """It does not work."""

    @property
    def rank(self) -> int:
        """0 for what is well, more for what is worse."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        severity: How much it matters.
        subject: What it is about: a connection, sync or migration, or one of `HERE`,
            `STORE` and `SETTINGS`.
        check: What was checked, one word for programs.
        message: What was found.
        hint: What helps, in words; empty if the command says it all.
        command: What to type to put it right or to see more, exactly; empty if nothing does.
        exit_code: What the examination ends with because of it; 0 if it does not fail.
    """

    severity: Severity
    subject: str
    check: str
    message: str
    hint: str = ""
    command: str = ""
    exit_code: int = 0


def ok(subject: str, check: str, message: str) -> Finding:
    """Something that is well."""
    return Finding(Severity.OK, subject, check, message)


def note(subject: str, check: str, message: str, *, hint: str = "", command: str = "") -> Finding:
    """Something worth knowing."""
    return Finding(Severity.NOTE, subject, check, message, hint, command)


def warning(subject: str, check: str, message: str, *, hint: str = "", command: str = "") -> Finding:
    """Something that works by luck, or not for long."""
    return Finding(Severity.WARNING, subject, check, message, hint, command)


def waits(subject: str, check: str, message: str, *, hint: str = "", command: str = "") -> Finding:
    """Something that waits for a person."""
    return Finding(Severity.WARNING, subject, check, message, hint, command, WAITING)


def error(
    subject: str, check: str, message: str, *, hint: str = "", command: str = "", code: int = FAILED
) -> Finding:
    """Something that does not work."""
    return Finding(Severity.ERROR, subject, check, message, hint, command, code)


def failed(subject: str, check: str, problem: Exception) -> Finding:
    """A check that came to no end: what it met on purpose in its own words, anything else as a mistake."""
    if not isinstance(problem, CrmkitError):
        return error(
            subject, check, f"this could not be checked: {type(problem).__name__}: {problem}",
            hint="It may be a mistake in crmkit; please report it.",
        )  # fmt: skip
    message = str(problem).removeprefix(f"{subject}: ")
    if isinstance(problem, Transient):
        return error(
            subject, check, message,
            hint=UNREACHED,
        )  # fmt: skip
    if isinstance(problem, CredentialsError):
        refused = isinstance(problem, AccessDenied)
        hint = "" if problem.hint == AccessDenied.hint else problem.hint  # it points to here
        command = f"crmkit login {subject}" if refused else ""
        return error(subject, check, message, hint=hint, command=command, code=CREDENTIALS)
    return error(subject, check, message, hint=problem.hint)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first; within a severity what is about one subject together, as it was found."""
    found = list(findings)
    order = {subject: at for at, subject in enumerate(dict.fromkeys(one.subject for one in found))}
    return sorted(found, key=lambda one: (-one.severity.rank, order[one.subject]))


@dataclass(frozen=True, slots=True)
class Advice:
    """What is shown below a finding: words, and a command."""

    hint: str = ""
    command: str = ""


def advised(findings: Iterable[Finding]) -> list[tuple[Finding, Advice]]:
    """Findings with what helps; where several in a row need the same, the last one says it for all."""
    shown: list[tuple[Finding, Advice]] = []
    for _, row in groupby(findings, key=lambda one: (one.check, one.hint, one.command) if one.hint else one):
        *others, last = row
        shown += [(one, Advice()) for one in others]
        hint = f"For these {len(others) + 1}: {last.hint}" if others else last.hint
        shown.append((last, Advice(hint, last.command)))
    return shown


def serious(findings: Iterable[Finding], least: Severity) -> list[Finding]:
    """What matters at least that much."""
    return [one for one in findings if one.severity.rank >= least.rank]


def summary(findings: Sequence[Finding]) -> str:
    """One line about all of them: how many were checked, and how they came out."""
    counts = Counter(one.severity for one in findings)
    worse = [
        counted(counts[severity], severity.value)
        for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        if counts[severity]
    ]
    return f"{counted(len(findings), 'check')}: {', '.join([f'{counts[Severity.OK]} ok', *worse])}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 deal", "1,200 deals"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """A length of time in the unit that a person would choose: "3 minutes", "2 days"."""
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), word)
    return counted(int(max(seconds, 0)), "second")
