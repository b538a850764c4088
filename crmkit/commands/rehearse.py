"""`rehearse`: a migration or a sync of real CRMs, carried out on local twins of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from crmkit.commands.budget import COST_COLUMNS, cost_json, cost_row
from crmkit.commands.rehearse_twins import Played, act_words, play_migration, play_sync
from crmkit.commands.report import save
from crmkit.commands.run import Run, worst
from crmkit.commands.sync import tell_unread
from crmkit.commands.words import plural, records
from crmkit.config import FILE_NAME
from crmkit.errors import ConfigError, UsageError
from crmkit.migrating import costs_of, open_migration, sample_of, settings_of
from crmkit.migration.proof_html import proof_html
from crmkit.migration.structure import Way
from crmkit.rehearsal.masking import Masking
from crmkit.rehearsal.thinned import thinned
from crmkit.rehearsing import ReadingSession, Rehearsal, check_twins, drawn, rehearsal, take_decisions
from crmkit.sandbox.blueprint import Blueprint
from crmkit.session import Session, pull
from crmkit.sync import queries
from crmkit.sync.estimate import Cost
from crmkit.sync.group import Group
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.state import State
from crmkit.syncing import named, open_sync, raise_if_hopeless
from crmkit.terminal import Terminal
from crmkit.workspace import configuration

_SEED = 1


@dataclass(frozen=True, slots=True)
class _Asked:
    """What shall be rehearsed: a sync by its name, else a migration from the first to the second."""

    names: tuple[str, ...]
    sync: str | None
    deals: int | None
    no_pull: bool


@dataclass(frozen=True, slots=True)
class _Production:
    """What production told.

    `planned` is what its own plan would write, by act and kind, and `costs` what that costs; `undecided`
    names the owners that need a decision, by address. `begun`: something was written already.
    `quarantined`: some records could not be read.
    """

    planned: Counter[tuple[str, str]]
    costs: Sequence[Cost]
    undecided: Sequence[str]
    drawn: Mapping[str, Blueprint]
    begun: bool
    quarantined: bool


@click.command()
@click.argument("ends", nargs=-1, metavar="[SOURCE TARGET]")
@click.option("--sync", metavar="NAME", help="Rehearse this sync instead of a migration.")
@click.option(
    "--deals", type=click.IntRange(1), metavar="N",
    help="Only N deals of the source, the strange ones first, with what hangs on them. Default: everything.",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Keep the rehearsal's workspace in this folder. Default: it is thrown away.",
)  # fmt: skip
@click.option("--unmasked", is_flag=True, help="Give the twins the real names, addresses and texts.")
@click.option("--no-pull", is_flag=True, help="Work on the local copy of production as it is.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Save the proof as a page.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the proof (JSON).")
@click.pass_obj
def rehearse(
    run: Run,
    ends: Sequence[str],
    sync: str | None,
    deals: int | None,
    keep: Path | None,
    unmasked: bool,
    no_pull: bool,
    html: Path | None,
    out: Path | None,
) -> None:
    """Try a migration or a sync on local twins of the real CRMs. Changes nothing in them.

    Reads the CRMs, raises twins on this machine with the same pipelines, stages, fields,
    users and records, all names and texts replaced by pseudonyms unless --unmasked, and
    does the whole there with the settings of crmkit.toml: plan, clicks that only a person
    can do, apply, deltas, proof. Ends with what production will cost each CRM.

    \b
    crmkit rehearse hubspot zoho               a migration
    crmkit rehearse hubspot zoho --deals 500   faster, with a sample
    crmkit rehearse --sync main                a sync

    Exits 0 if it went through, 3 if the proof fails, 4 if something waits for a person.
    """
    session = run.open()
    asked = _asked(session, ends, sync, deals, no_pull)
    if sync is not None and (html or out):
        raise UsageError("a sync has no proof to save", hint="Leave out --html and --out.")
    _check_places(session, keep, html, out)
    mask = None if unmasked else Masking.random()
    terminal = run.terminal
    with ExitStack() as stack:
        state = stack.enter_context(session.state())
        told = _read(run, session, state, asked, mask)
        _step(terminal, 2, f"Raising twins on this machine{' with pseudonyms' if mask else ''}")
        _show_drawn(terminal, told)
        scratch = tempfile.TemporaryDirectory(prefix="crmkit-rehearsal-") if keep is None else None
        folder = Path(stack.enter_context(scratch)) if scratch is not None else keep
        assert folder is not None
        twins = stack.enter_context(rehearsal(session, told.drawn, folder, mask=mask))
        own = stack.enter_context(twins.session.state())
        take_decisions(state, own, asked.names)
        played = _play(run, twins, own, asked)
    _save(played, html, out)
    code = worst([played.code, 4 if told.quarantined else 0])
    if terminal.as_json:
        terminal.json(_document(asked, told, played, masked=mask is not None, code=code))
    else:
        _show_pseudonyms(terminal, told, played, asked, masked=mask is not None)
        _show_costs(terminal, told, played, asked)
        for path in (html, out, keep):
            if path is not None:
                terminal.say(f"Saved as {path}.")
        if keep is not None:
            terminal.say("The twins are gone; what does not call them works there, such as `crmkit report`.")
    raise SystemExit(code)


def _asked(
    session: Session, ends: Sequence[str], sync: str | None, deals: int | None, no_pull: bool
) -> _Asked:
    if sync is not None:
        if ends:
            raise UsageError("name a source and a target, or a sync with --sync, not both")
        if deals is not None:
            raise UsageError(
                "a sample of a sync would tear pairs of deals apart", hint="Leave out --deals for a sync."
            )
        names = named(session, sync).members
    else:
        if len(ends) != 2:
            raise UsageError("name a source and a target, or a sync with --sync NAME")
        settings_of(session, *ends)
        names = tuple(ends)
    check_twins(session, names)
    return _Asked(names, sync, deals, no_pull)


def _check_places(session: Session, keep: Path | None, html: Path | None, out: Path | None) -> None:
    """Reading production takes long; a place that cannot be written is told before."""
    for path in (html, out):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if keep is None:
        return
    if keep.resolve() == session.config.folder:
        raise UsageError("--keep names the workspace of production itself", hint="Choose another folder.")
    path = keep / FILE_NAME
    mark = configuration({}).partition("\n")[0]
    if path.exists() and mark not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"{path} is there already and was not made by a rehearsal", hint="Choose another folder."
        )


def _read(run: Run, session: Session, state: State, asked: _Asked, mask: Masking | None) -> _Production:
    """What is needed of production; every connection refuses to write."""
    terminal = run.terminal
    reading = ReadingSession.of(session)
    _step(terminal, 1, f"Reading {' and '.join(asked.names)}; nothing is written there")
    pulls: Sequence[PullResult] = ()
    if not asked.no_pull:
        pulls = pull(reading, state, asked.names, whole_past=True, watch=terminal.watch_pulls)
        raise_if_hopeless(pulls, {one.progress.connection: "" for one in pulls if one.error is not None})
        for one in pulls:
            if one.error is not None:
                raise one.error
        tell_unread(run, pulls)
    queries.pulled(state, asked.names)
    chosen: frozenset[str] | None = None
    undecided: list[str] = []
    if asked.sync is not None:
        with open_sync(reading, state, asked.sync, watch=None, read_only=True) as opened:
            found, file = opened.run.plan()
            costs = costs_of(reading, state, opened, found)
            begun = _begun(opened.group, state)
    else:
        with open_migration(reading, state, *asked.names, watch=None, read_only=True) as moving:
            planned = moving.as_planned()
            would_be = moving.as_sync(planned)
            found, file = would_be.run.plan()
            costs = costs_of(reading, state, would_be, found)
            owners = [one for one in planned.structure.owners if one.way is Way.OPEN]
            undecided += [one.source.email or one.source.name for one in owners]
            begun = _begun(moving.migration.group, state)
            if asked.deals is not None:
                chosen = frozenset(one.id for one in sample_of(moving, asked.deals, _SEED))
    blueprints = drawn(reading, state, asked.names, mask=mask)
    if chosen is not None:
        blueprints[asked.names[0]] = thinned(blueprints[asked.names[0]], chosen)
    quarantined = any(one.outcome is PullOutcome.HELD for one in pulls)
    counts = Counter((write.act, write.kind) for write in file.writes)
    return _Production(counts, costs, undecided, blueprints, begun, quarantined)


def _begun(group: Group, state: State) -> bool:
    with state.read() as db:
        return bool(group.hub.positions(db))


def _play(run: Run, twins: Rehearsal, state: State, asked: _Asked) -> Played:
    def step(number: int, text: str) -> None:
        _step(run.terminal, number, text)

    if asked.sync is not None:
        return play_sync(run, twins, state, asked.sync, step)
    return play_migration(run, twins, state, asked.names[0], asked.names[1], step)


def _show_drawn(terminal: Terminal, told: _Production) -> None:
    for name, one in told.drawn.items():
        counts = {"company": one.companies, "contact": one.contacts, "deal": one.deals, "note": one.notes}
        words = ", ".join(records(len(some), kind) for kind, some in counts.items())
        terminal.say(f"   {name}: {words}, {plural(len(one.visits), 'stage change')}")
        for line in one.left_out:
            terminal.say(f"   {name}: without {line}", "yellow")
    if told.begun:
        terminal.say(
            "   This has begun in production already. The rehearsal begins anew: it knows what crmkit "
            "made by its keys, but not what was agreed since.",
            "yellow",
        )


def _show_pseudonyms(
    terminal: Terminal, told: _Production, played: Played, asked: _Asked, *, masked: bool
) -> None:
    """What a person has to know who read pseudonyms so far."""
    if not masked:
        return
    terminal.say("\nAll names above are pseudonyms; ids are production's.", "yellow")
    if told.undecided:
        terminal.say(f"The owners that need a decision are {', '.join(told.undecided)}.", "yellow")
    if asked.deals is None and not told.begun and told.planned != played.planned:
        terminal.say(
            f"Production itself would begin with {act_words(told.planned)}; the twins began with "
            f"{act_words(played.planned)}. Names that differ by a letter are less alike as pseudonyms: "
            "--unmasked shows what is found to be the same.",
            "yellow",
        )


def _show_costs(terminal: Terminal, told: _Production, played: Played, asked: _Asked) -> None:
    _step(terminal, 6, "What production will cost each CRM, at its real limits")
    terminal.table(COST_COLUMNS, [cost_row(one) for one in told.costs], right=(1, 2, 3, 4, 5))
    sample = " (of the sample)" if asked.deals is not None else ""
    answered = ", ".join(f"{name} {count:,}" for name, count in played.requests.items())
    terminal.say(
        f"Requests that the twins answered for it, reading and all deltas included{sample}: {answered}"
    )
    clicks = played.document.get("checklist")
    if clicks:
        told_how_many = plural(len(clicks), "thing")
        terminal.say(
            f"Before it, {told_how_many} to be made by hand in production, as listed above.", "yellow"
        )


def _save(played: Played, html: Path | None, out: Path | None) -> None:
    if played.proof is None:
        return
    if out is not None:
        played.proof.write(out)
    if html is not None:
        save(html, proof_html(played.proof, None))


def _document(asked: _Asked, told: _Production, played: Played, *, masked: bool, code: int) -> dict[str, Any]:
    source, target = asked.names[0], asked.names[1]
    ends = {"source": source, "target": target} if asked.sync is None else {"sync": asked.sync}
    return {
        **ends,
        "masked": masked,
        "sample": asked.deals,
        "begun": told.begun,
        "twins": {
            name: {
                "crm": one.crm,
                "records": {
                    "company": len(one.companies),
                    "contact": len(one.contacts),
                    "deal": len(one.deals),
                    "note": len(one.notes),
                    "stage_change": len(one.visits),
                },
                "left_out": list(one.left_out),
            }
            for name, one in told.drawn.items()
        },
        **played.document,
        "planned": {"production": _by_act(told.planned), "twins": _by_act(played.planned)},
        "requests": played.requests,
        "estimate": [cost_json(one) for one in told.costs],
        "exit_code": code,
    }


def _by_act(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (act, kind), count in sorted(counts.items()):
        found.setdefault(act, {})[kind] = count
    return found


def _step(terminal: Terminal, number: int, text: str) -> None:
    terminal.say(f"\n{number}. {text}", "bold")
