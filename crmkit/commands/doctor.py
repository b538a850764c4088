"""The command `doctor`: everything that can be checked beforehand, and what puts it right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.text import Text

from crmkit.commands.run import Run, worst
from crmkit.connectors.quota import Quota
from crmkit.health import gather, gather_contents, gather_store
from crmkit.health.findings import (
    STORE,
    Advice,
    Finding,
    Severity,
    advised,
    serious,
    summary,
    worst_first,
)
from crmkit.health.gather import Examined
from crmkit.terminal import visible_lines

_MARKS = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_LEVELS = [severity.value for severity in Severity]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--offline", is_flag=True, help="Ask no CRM: look at this machine and the local state only.")
@click.option(
    "--at-least",
    type=click.Choice(_LEVELS),
    help="Show and count only what matters that much. Default: note.",
)
@click.pass_obj
def doctor(run: Run, names: Sequence[str], offline: bool, at_least: str | None) -> None:
    """Check everything beforehand, and say what to type where something is wrong.

    \b
    Looks at   Python, extras, keyring; crmkit.toml; the state store: whole, private, room
    In CRMs    credentials, rights to read, and to write where a sync or migration does,
               clocks, key fields, limits left today
    What waits stage maps, old or failed pulls and runs, quarantine, conflicts, refused and
               unknown writes, leases of the dead

    With names: only these connections. Asks each CRM a few cheap questions, all side by side.
    Changes nothing. -v shows what is well too.

    \b
    Ends with  0 nothing wrong (notes and warnings do not fail); 7 credentials or rights are
               missing; 1 another error; 4 no error, but something waits for a person: stages
               without a map, quarantine, conflicts, refused writes, records to link.
               With --at-least error what waits for a person does not count: for a container's
               health check.
    """
    session = run.open()
    chosen = list(session.config.chosen(names)) if names or session.config.settings.connections else []
    findings = [*gather.of_machine(session), *gather.of_settings(session)]
    found, usable = gather_store.of_store(session)
    findings += found
    examined = gather.examine(session, chosen, offline=offline)
    findings += [finding for one in examined for finding in one.findings]
    if usable:
        findings += gather.guarded(STORE, "contents", lambda: _contents(run, chosen))[0]
    default = Severity.OK if run.terminal.verbose else Severity.NOTE
    shown = serious(findings, Severity(at_least) if at_least else default)
    if run.terminal.as_json:
        run.terminal.json(_records(run, examined, serious(findings, Severity(at_least or "ok"))))
    else:
        _show(run, shown, findings, offline=offline)
    raise SystemExit(worst(one.exit_code for one in shown))


def _contents(run: Run, chosen: Sequence[str]) -> list[Finding]:
    session = run.open()
    with session.state() as state:
        return gather_contents.of_contents(session, state, chosen)


def _show(run: Run, shown: Sequence[Finding], findings: Sequence[Finding], *, offline: bool) -> None:
    terminal = run.terminal
    if shown:
        rows = [
            [terminal.styled(one.severity.value, _MARKS[one.severity]), one.subject, _told(run, one, advice)]
            for one, advice in advised(worst_first(shown))
        ]
        terminal.table(("", "where", "what, and what to do"), rows)
    line = summary(findings) + ("; no CRM was asked" if offline else "")
    more = "" if terminal.verbose or len(shown) == len(findings) else ". -v shows all."
    terminal.tell(run.redact(line) + (more or "."), result=True)


def _told(run: Run, finding: Finding, advice: Advice) -> Text:
    """What was found, what helps, and the command, each on a line of its own."""
    told = Text(visible_lines(run.redact(finding.message)))
    if advice.hint:
        told.append("\n" + visible_lines(run.redact(advice.hint)), style="dim")
    if advice.command:
        told.append("\n$ ", style="dim")
        told.append(visible_lines(advice.command), style="bold")
    return told


def _records(run: Run, examined: Sequence[Examined], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The documented JSON: one record for each connection, then one for everything else."""
    records = []
    for one in examined:
        mine = [finding for finding in findings if finding.subject == one.connection]
        records.append(
            {
                "connection": one.connection,
                **_ending(run, mine),
                "workspace": one.workspace.model_dump(mode="json") if one.workspace else None,
                "clock_skew_seconds": one.skew_seconds,
                "quota": _quota(one.quota) if one.quota else None,
                "findings": [_record(run, finding) for finding in mine],
            }
        )
    names = {one.connection for one in examined}
    rest = [finding for finding in findings if finding.subject not in names]
    records.append(
        {
            "connection": None,
            **_ending(run, rest),
            "workspace": None,
            "clock_skew_seconds": None,
            "quota": None,
            "findings": [_record(run, finding) for finding in rest],
        }
    )
    return records


def _quota(quota: Quota) -> dict[str, Any]:
    return {**asdict(quota), "resets_at": quota.resets_at.isoformat() if quota.resets_at else None}


def _ending(run: Run, findings: Sequence[Finding]) -> dict[str, Any]:
    """Whether there is no error, and the first one there is."""
    wrong = next((one for one in findings if one.severity is Severity.ERROR), None)
    return {
        "ok": wrong is None,
        "problem": run.redact(wrong.message) if wrong else None,
        "hint": (run.redact(wrong.hint or wrong.command) or None) if wrong else None,
    }


def _record(run: Run, finding: Finding) -> dict[str, Any]:
    told = asdict(finding)
    return {**told, "message": run.redact(finding.message), "hint": run.redact(finding.hint)}
