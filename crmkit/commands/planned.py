"""A plan as a person reads it: what is written, what is not and why, what it costs, what stops it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from rich.text import Text

from crmkit.commands.words import counted, many, records
from crmkit.report.render.visible import shortened, visible
from crmkit.sync.guard import flags
from crmkit.sync.plan import Held, PlanFile, PlannedField, PlannedHold, PlannedWrite
from crmkit.terminal import Terminal

SHOWN = 40
_EACH = 3
_NAME_LENGTH = 120
_VALUE_LENGTH = 200
_ACT_STYLES = {"create": "green", "update": "yellow", "delete": "bold red"}
_ADVICE = {
    "conflict": "values contradict each other: `crmkit conflicts list {sync}`",
    "frozen": "a value goes back and forth: `crmkit conflicts list {sync}`",
    "review": "may be the same as another record: `crmkit links review {sync}`",
    "required": "a CRM takes no deal without this: fill it in, or map the stage",
    "unmapped": "a value without a counterpart: add it to the stage map, `owners` or `values`",
    "unwritable": "a CRM cannot hold the value: its own value stays",
    "refused": "a CRM said no: `crmkit refused {sync}`",
    "delete_conflict": "deleted here, changed there: delete it there too, or restore it",
    "merged": "merged in a CRM: look at them there",
    "clone": "copied in a CRM: look at them there",
    "blocked": "a company or person that they need waits itself",
    "parked": "an earlier write is not known yet: the next run goes on",
    "left_out": "stay where they are, by decision",
    "told": "a CRM has no place for the value: the note about the deal's past tells it",
    "foreign": "made by another installation of crmkit: left alone",
}


def show_plan(terminal: Terminal, file: PlanFile, *, limit: int | None, asking: bool = False) -> None:
    """Show a plan: as the result, or on stderr where a question follows.

    Args:
        terminal: Where to.
        file: The plan.
        limit: How many records to show; `None` shows all.
        asking: Whether a question follows.
    """

    def line(text: Text) -> None:
        terminal.tell(text, result=not asking)

    if not file.writes:
        terminal.say(f"{file.sync}: nothing to write.", None if file.held else "green")
    for connection, fields in file.prepares.items():
        line(Text(visible(f"First, in {connection}: create {', '.join(fields)}.")))
    for text in _writes(file.writes, limit):
        line(text)
    for text in held_lines(file.sync, file.held, limit=limit):
        line(text)
    if file.writes:
        terminal.table(
            ("CRM", "creates", "updates", "deletes", "requests", "minutes"),
            [
                [one.connection, one.creates, one.updates, one.deletes, one.requests, f"{one.minutes:.1f}"]
                for one in file.costs
            ],
            right=(1, 2, 3, 4, 5),
            result=not asking,
        )
    if file.guards:
        terminal.alert(f"{file.sync}: guards stop this plan before its first write:")
        for guard in file.guards:
            terminal.alert(f"    {guard.reason}")
        terminal.alert(f"Look at it; if that is what you want, apply it with {flags(file.guards)}")


def _writes(writes: Sequence[PlannedWrite], limit: int | None) -> Iterable[Text]:
    """The writes in their order; of each sort the first ones, so that none is crowded out."""
    sorts: dict[tuple[str, str, str], list[PlannedWrite]] = defaultdict(list)
    for write in writes:
        sorts[write.act, write.kind, write.connection].append(write)
    each = None if limit is None or len(writes) <= limit else max(_EACH, limit // len(sorts))
    for (act, kind, connection), found in sorts.items():
        for write in found[:each]:
            yield from _lines(write)
        if each is not None and len(found) > each:
            rest = records(len(found) - each, kind)
            yield Text(f"… and {rest} to {act} in {connection} besides; --json shows all", "dim")


def _lines(write: PlannedWrite) -> Iterable[Text]:
    record = f" {write.record}" if write.record else ""
    head = Text()
    head.append(f"{write.act} ", style=_ACT_STYLES.get(write.act, ""))
    head.append(visible(f"{write.kind}{record} in {write.connection}: "))
    head.append(_cut(write.label, _NAME_LENGTH), style="bold")
    rules = {field.rule for field in write.fields}
    together = len(rules) == 1 and write.act != "update"
    if together:
        head.append(visible(f"   {next(iter(rules))}"), style="dim")
    yield head
    for field in write.fields:
        if write.act == "create" and field.field == "name" and field.new == write.label:
            continue
        yield _field(write.act, field, rule="" if together else field.rule)


def _field(act: str, field: PlannedField, *, rule: str) -> Text:
    line = Text(visible(f"    {field.field}: "))
    old, new = _cut(field.old_text, _VALUE_LENGTH), _cut(field.new_text, _VALUE_LENGTH)
    if act == "delete":
        line.append(old or "as last agreed", style="red")
    elif act == "update":
        line.append(old, style="red")
        line.append(" → ")
        line.append(new, style="green")
    else:
        line.append(new, style="green")
    if rule:
        line.append(visible(f"   {rule}"), style="dim")
    return line


def held_lines(sync: str, held: Sequence[PlannedHold | Held], *, limit: int | None) -> Iterable[Text]:
    """What is not written: by sort and reason, each with what helps and some examples."""
    if not held:
        return
    yield Text(f"Not written: {counted(Counter(one.kind for one in held))}", "yellow")
    sorts: dict[str, dict[tuple[str, str, str], list[PlannedHold | Held]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in held:
        sorts[one.kind][one.connection, one.field or "", one.reason].append(one)
    each = None if limit is None else max(_EACH, SHOWN // len(sorts))
    for kind, reasons in sorted(sorts.items()):
        yield Text(f"  {kind}: {_ADVICE.get(kind, '').format(sync=sync)}", "yellow")
        by_size = sorted(reasons.items(), key=lambda item: -len(item[1]))
        for (connection, field, reason), found in by_size[:each]:
            yield Text(f"    {_reason(connection, field, reason, found, limit)}")
        rest = sum(len(found) for _, found in by_size[each:]) if each is not None else 0
        if rest:
            yield Text(f"    … and {many(rest, kind)} more; --json shows them all", "dim")


def _reason(
    connection: str, field: str, reason: str, found: Sequence[PlannedHold | Held], limit: int | None
) -> str:
    shown = found if limit is None else found[:_EACH]
    labels = "; ".join(_cut(one.label, _NAME_LENGTH) for one in shown)
    where = " ".join(filter(None, (connection, field)))
    said = ": ".join(filter(None, (where, _cut(reason, 2 * _VALUE_LENGTH))))
    if len(found) == 1:
        return f"{labels}: {said}"
    more = f"; and {len(found) - len(shown):,} more" if len(found) > len(shown) else ""
    return f"{len(found):,} × {said} ({labels}{more})"


def _cut(text: str, length: int) -> str:
    """A text of a CRM on one line, harmless and not too long."""
    return shortened(visible(text[: 2 * length]), length)
