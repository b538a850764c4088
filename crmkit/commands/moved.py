"""A migration as a person reads it: where things go, what will fail, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from crmkit.commands.budget import COST_COLUMNS, cost_row
from crmkit.commands.planned import SHOWN
from crmkit.commands.words import plural, records
from crmkit.migrating import OpenMigration, costs_of
from crmkit.migration.compile import Migration
from crmkit.migration.findings import Finding, Severity
from crmkit.migration.sample import Chosen
from crmkit.migration.structure import FieldPlace, OwnerPlace, PipelinePlace, Place, StagePlace, Way
from crmkit.report.render.visible import shortened, visible
from crmkit.sync.computed import Computed
from crmkit.sync.guard import flags
from crmkit.sync.plan import PlanFile
from crmkit.terminal import Terminal

_STYLES = {
    Way.SAME: "dim", Way.CREATE: "green", Way.BY_HAND: "yellow", Way.NOTE: "cyan", Way.SKIP: "dim",
    Way.OPEN: "bold yellow",
}  # fmt: skip
_SEVERITIES = {
    Severity.STOPS: "bold red", Severity.HELD: "yellow", Severity.LOSES: "yellow", Severity.NOTE: "dim",
}  # fmt: skip
_LENGTH = 60


def show_structure(
    terminal: Terminal, migration: Migration, clicks: Sequence[str], *, everything: bool
) -> None:
    """Where pipelines, stages, fields and owners go; without `everything`, what is not plainly there."""
    structure = migration.structure
    counts = Counter((_sort(one), one.way) for one in structure.everything)
    for sort in dict.fromkeys(name for name, _ in counts):
        told = ", ".join(
            f"{count:,} {way.value}" for (name, way), count in counts.items() if name == sort and count
        )
        terminal.tell(Text(f"{sort}: {told}"))
    for one in structure.everything:
        if (
            everything
            or one.way in (Way.OPEN, Way.BY_HAND, Way.NOTE)
            or (one.reason and one.way is Way.CREATE)
        ):
            terminal.tell(_place(one))
    for line in migration.stamp_fields:
        if line.target is not None and line.way is Way.CREATE:
            terminal.tell(Text(f"  deal field {line.target.label!r}: will be created", "green"))
    if clicks:
        terminal.tell(Text(f"\nTo be clicked in {migration.target}, as its API cannot:", "bold yellow"))
        for at, click in enumerate(clicks, start=1):
            terminal.tell(Text(visible(f"  {at}. {click}"), "yellow"))
        terminal.tell(Text("  Then run this again: it checks, and goes on with what it finds.", "yellow"))


def _place(one: Place) -> Text:
    line = Text(f"  {_sort(one, 1)} ")
    line.append(_cut(_source(one)), style="bold")
    goes = _goes(one)
    if goes:
        line.append(" → ")
        line.append(_cut(goes))
    line.append(f": {one.way.value}", style=_STYLES[one.way])
    if one.reason:
        line.append(visible(f" ({one.reason})"), style="dim")
    if one.way is Way.OPEN and isinstance(one, OwnerPlace):
        who = one.source.email or one.source.ref.id
        line.append(visible(f'; decide with owners = {{ "{who}" = "…" }}'), style="dim")
    return line


def _sort(one: Place, count: int = 2) -> str:
    name = {PipelinePlace: "pipeline", StagePlace: "stage", OwnerPlace: "owner"}.get(type(one), "field")
    if isinstance(one, FieldPlace):
        name = f"{one.kind} field"
    return name if count == 1 else f"{name}s".capitalize()


def _source(one: Place) -> str:
    if isinstance(one, OwnerPlace):
        return f"{one.source.name} <{one.source.email}>" if one.source.email else one.source.name
    if isinstance(one, FieldPlace):
        return one.source.label
    return one.source.name


def _goes(one: Place) -> str:
    if isinstance(one, OwnerPlace):
        return one.address or ""
    if one.target is None:
        return ""
    return one.target.label if isinstance(one, FieldPlace) else one.target.name


def show_findings(terminal: Terminal, findings: Sequence[Finding]) -> None:
    """What will fail, be cut or wait, before the first write."""
    if not findings:
        terminal.tell(Text("\nPre-flight: nothing in the way.", "green"))
        return
    terminal.tell(Text("\nPre-flight:", "bold"))
    for one in findings:
        what = " ".join(part for part in (one.kind.value if one.kind else "", one.field or "") if part)
        line = Text(f"  {one.severity.value:<5} ", _SEVERITIES[one.severity])
        line.append(
            visible(f"{one.count:,} × {what}: {one.reason}" if what else f"{one.count:,} × {one.reason}")
        )
        terminal.tell(line)
        if one.examples:
            labels = "; ".join(_cut(each.label) for each in one.examples)
            terminal.tell(Text(f"        for example {labels}", "dim"))
        if one.advice:
            terminal.tell(Text(f"        {visible(one.advice)}", "dim"))


def show_summary(
    terminal: Terminal, opened: OpenMigration, migration: Migration, found: Computed, file: PlanFile
) -> None:
    """How many records would be written, what is held, what it costs, and which guards stop it."""
    counts = Counter((write.act, write.kind) for write in file.writes)
    told = ", ".join(f"{records(count, kind)} to {act}" for (act, kind), count in counts.items())
    terminal.tell(Text(f"\n{migration.source} → {migration.target}: {told or 'nothing to write'}", "bold"))
    show_costs(terminal, opened, migration, found)
    if file.guards:
        terminal.alert("Guards stop this plan before its first write:")
        for guard in file.guards:
            terminal.alert(f"    {guard.reason}")
        terminal.alert(f"Look at it; if that is what you want, add {flags(file.guards)}")


def show_costs(terminal: Terminal, opened: OpenMigration, migration: Migration, found: Computed) -> None:
    """Requests and minutes per CRM, at its real limits."""
    rows = [cost_row(one) for one in costs_of(opened.session, opened.state, opened.as_sync(migration), found)]
    terminal.table(COST_COLUMNS, rows, right=(1, 2, 3, 4, 5))


def show_sample(terminal: Terminal, chosen: Sequence[Chosen]) -> None:
    """Which deals were chosen, and why."""
    terminal.tell(Text(f"The sample: {plural(len(chosen), 'deal')}", "bold"))
    for one in chosen[:SHOWN]:
        line = Text(f"  {_cut(one.label)}")
        line.append(visible(f"   {', '.join(one.reasons)}"), style="dim")
        terminal.tell(line)
    if len(chosen) > SHOWN:
        terminal.tell(Text(f"  … and {len(chosen) - SHOWN:,} more; --json shows all", "dim"))


def place_json(one: Place) -> dict[str, Any]:
    """A place as JSON."""
    return {
        "what": _sort(one, 1),
        "source": _source(one),
        "source_id": one.source.ref.id if isinstance(one, (PipelinePlace, OwnerPlace)) else one.source.id,
        "pipeline": one.pipeline.name if isinstance(one, StagePlace) else None,
        "way": one.way.name.lower(),
        "target": _goes(one) or None,
        "reason": one.reason,
    }


def finding_json(one: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    return {
        "code": one.code,
        "severity": one.severity.value,
        "kind": one.kind.value if one.kind else None,
        "field": one.field,
        "count": one.count,
        "examples": [{"label": each.label, "id": each.id} for each in one.examples],
        "reason": one.reason,
        "advice": one.advice,
    }


def chosen_json(one: Chosen) -> dict[str, Any]:
    """A deal of a sample as JSON."""
    return {"id": one.id, "label": one.label, "reasons": list(one.reasons)}


def _cut(text: str) -> str:
    return shortened(visible(text[: 2 * _LENGTH]), _LENGTH)
