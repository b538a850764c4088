"""One connection: credentials, rights, clocks, key fields and what is left of the CRM's limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from crmkit.connectors.quota import Quota
from crmkit.health.findings import CREDENTIALS, UNREACHED, Finding, age, error, note, ok, warning
from crmkit.model import Kind, Workspace

RESERVED_SHARE = 0.2  # what a run leaves to the customer's other programs (sync-semantics 8)
_ON_THIS_MACHINE = re.compile(r"\((127\.\d+\.\d+\.\d+|localhost|\[?::1\]?)(:\d+)?\)")
FAR_SHARE = 0.25  # of the margin: from here on a clock is worth a word


@dataclass(frozen=True, slots=True)
class Writes:
    """What a connection is written by, and which kinds.

    Attributes:
        used_by: Names of the syncs and migrations that write to it.
        kinds: What they write.
    """

    used_by: Sequence[str]
    kinds: Sequence[Kind]


def check_secrets(connection: str, stored: Sequence[str], possible: Sequence[str]) -> Finding:
    """Whether any secret is stored; which ones are needed depends on how a connection logs in."""
    if possible and not stored:
        return error(
            connection, "secrets", "no secret is stored", command=f"crmkit login {connection}",
            code=CREDENTIALS,
        )  # fmt: skip
    return ok(connection, "secrets", f"stored: {', '.join(stored)}" if stored else "needs no secret")


def check_workspace(connection: str, workspace: Workspace) -> Finding:
    """A workspace that answered: the credentials work and may read."""
    name = workspace.name if workspace.id in workspace.name else f"{workspace.name} ({workspace.id})"
    who = f", as {workspace.user}" if workspace.user else ""
    return ok(connection, "access", f"can read {name}{who}")


def sandbox_down(finding: Finding, folder: Path) -> Finding:
    """The finding about a CRM without an answer; with what starts a sandbox, if it is on this machine."""
    if finding.hint != UNREACHED or not _ON_THIS_MACHINE.search(finding.message):
        return finding
    return replace(
        finding, hint="A sandbox that is not running? Starting one begins a new local copy.",
        command=f"crmkit sandbox up --workspace {folder}",
    )  # fmt: skip


def skew(workspace: Workspace, now: datetime) -> float | None:
    """Seconds by which this machine's clock is ahead of the CRM's; `None` if the CRM does not tell."""
    return None if workspace.server_time is None else (now - workspace.server_time).total_seconds()


def check_clock(connection: str, seconds: float | None, margin: float) -> Finding:
    """Whether the clocks agree within the margin by which incremental reads reach back."""
    if seconds is None:
        return note(connection, "clock", "the CRM does not tell its time, so clocks cannot be compared")
    ahead = "ahead of" if seconds > 0 else "behind"
    text = f"this machine's clock is {age(abs(seconds))} {ahead} the CRM's"
    fix = "sudo timedatectl set-ntp true"
    if abs(seconds) > margin:
        return error(
            connection, "clock", f"{text}; {margin:.0f} s is the most (clock_margin_seconds)",
            hint="Set this machine's clock.", command=fix,
        )  # fmt: skip
    if abs(seconds) > margin * FAR_SHARE:
        return warning(connection, "clock", text, hint="Set this machine's clock.", command=fix)
    return ok(connection, "clock", f"clocks agree within {max(abs(seconds), 1):.0f} s")


def check_rights(connection: str, lacking: Sequence[str], writes: Writes) -> Finding:
    """Whether whoever writes to the connection may, as far as the CRM tells."""
    used = ", ".join(writes.used_by)
    if lacking:
        return error(
            connection, "rights", f"{used} writes here, and the credentials lack {', '.join(lacking)}",
            hint="Grant it in the CRM's own settings, then log in again.",
            command=f"crmkit login {connection}", code=CREDENTIALS,
        )  # fmt: skip
    return ok(connection, "rights", f"no right that {used} needs to write is known to be missing")


def check_key_fields(connection: str, missing: Sequence[str], writes: Writes) -> Finding:
    """Whether the field that carries our key is there; the first write that needs it makes it."""
    if missing:
        return note(
            connection, "key-fields", f"not there yet: {', '.join(missing)}",
            hint=f"The first run of {', '.join(writes.used_by)} that creates something makes it.",
        )  # fmt: skip
    return ok(connection, "key-fields", "the key fields are there")


def check_quota(connection: str, quota: Quota | None, now: datetime) -> Iterator[Finding]:
    """What is left of what the CRM counts; nothing to say where it does not tell."""
    if quota is None:
        yield ok(connection, "limits", "the CRM tells no daily limit")
        return
    left = f"{'at least ' if quota.at_least else ''}{quota.left:,} of {quota.limit:,} {quota.counts} left"
    if quota.short:
        yield ok(connection, "limits", left)
        return
    back = (
        f"; all of it comes back in {age((quota.resets_at - now).total_seconds())}" if quota.resets_at else ""
    )
    hint = "Other programs draw from it too. Look what a run will take before it starts."
    if quota.left <= 0:
        yield error(connection, "limits", f"none of {quota.limit:,} {quota.counts} is left{back}", hint=hint)
    elif quota.left < quota.limit * RESERVED_SHARE:
        yield warning(connection, "limits", left + back, hint=hint, command="crmkit budget --help")
    else:
        yield ok(connection, "limits", left + back)


def check_lag(connection: str, search_seconds: float, find_seconds: float) -> Finding:
    """How far the CRM's lists trail behind its records: a pull reads the rest the next time."""
    if max(search_seconds, find_seconds) <= 0:
        return ok(connection, "lag", "its lists show a change at once")
    return ok(connection, "lag", f"its lists may trail behind by {age(max(search_seconds, find_seconds))}")
