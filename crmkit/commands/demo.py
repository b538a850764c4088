"""The main job end to end on five sandbox CRMs, told in plain words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from crmkit import workspace as workspaces
from crmkit.commands.demo_sync import INDEX_LAG_SECONDS, keep_in_step
from crmkit.commands.material import open_facts
from crmkit.commands.pull import pull_exit_code, show_pull
from crmkit.commands.report import render, save
from crmkit.commands.run import Run
from crmkit.commands.sandbox import local_crms
from crmkit.connectors.clock import ShiftedClock, SystemClock
from crmkit.errors import CrmkitError
from crmkit.mapping.render import suggestions_toml
from crmkit.mapping.suggest import Suggestion, suggest
from crmkit.report import load
from crmkit.report.compared import Differences
from crmkit.report.differences import differences
from crmkit.report.metrics.listed import listed_deals
from crmkit.report.pipeline import pipeline_report
from crmkit.report.render.difference_tables import difference_tables, overview_table
from crmkit.report.render.html import differences_html, pipeline_html
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.table import terminal_tables
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.server import VENDORS, Sandbox
from crmkit.sandbox.week import work
from crmkit.session import Session, pull
from crmkit.sync import queries
from crmkit.sync.state import State
from crmkit.terminal import Terminal

_WEEK = timedelta(days=7)
_UNDECIDED = "qualification"
_SHOWN_TABLES = ("by_stage", "by_connection")


@click.command()
@click.option(
    "--deals", type=click.IntRange(1), default=300, show_default=True,
    help="Deals in each of the five CRMs.",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same world again.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("crmkit-demo"),
    show_default=True, help="Folder for the workspace and the reports.",
)  # fmt: skip
@click.pass_obj
def demo(run: Run, deals: int, seed: int, out: Path) -> None:
    """Show the main job on five CRMs that run on this machine; needs no account.

    Starts a sandbox, pulls all five CRMs, lets a week pass in them, maps their stages, finds
    the differences, writes an HTML report, and then keeps two of them in step: plans,
    writes, shows that a second plan is empty, and that a contradiction is held. Leaves a
    workspace to play with. Sends nothing anywhere.
    """
    terminal = run.terminal
    started = time.monotonic()
    _step(terminal, 1, f"Starting five CRMs on this machine, {deals:,} deals each, a week ago")
    clock = Clock()
    clock.advance(-_WEEK.total_seconds())
    box = Sandbox.seeded(tuple(VENDORS), deals=deals, seed=seed, limits="off", clock=clock)
    box.start()
    try:
        _tell(run, box, out, seed)
    finally:
        box.stop()
    terminal.say(f"\nDone in {time.monotonic() - started:.0f} s.", "bold")
    _next(terminal, out, deals, seed)


def _tell(run: Run, box: Sandbox, out: Path, seed: int) -> None:
    terminal = run.terminal
    path = workspaces.write(out, local_crms(box.apps))
    terminal.say(f"   Their addresses and (made-up) credentials are in {path}")
    run.session = session = Session.open(path)
    names = list(session.config.settings.connections)

    session.clock = ShiftedClock(-_WEEK)
    with session.state() as state:
        _step(terminal, 2, "Pulling pipelines, owners, companies, contacts and deals from all of them")
        _pull(run, session, state)
        touched = work([app.world for app in box.apps.values()], box.clock, days=_WEEK.days, seed=seed)
        terminal.say(f"   A week passes: people move, win, lose, put off and reprice {touched} deals.")
        session.clock = SystemClock()
        # The search indexes trail behind: what was edited last would be read only the next time.
        box.clock.advance(INDEX_LAG_SECONDS)
        terminal.say("   Pulling again reads only what changed, and remembers what was there before:")
        _pull(run, session, state)

        _step(terminal, 3, "Mapping every native stage to a common stage")
        outline = load.outline(session.config.settings)
        pipelines = {name: queries.pipelines(state, name) for name in names}
        found = {name: suggest(pipelines[name], outline) for name in names}
        _show_stages(terminal, found)
        texts = [
            suggestions_toml(name, [_decided(line) for line in lines], pipelines[name])
            for name, lines in found.items()
        ]
        workspaces.add_stage_maps(path, texts)
        run.session = session = Session.open(path)

        _step(terminal, 4, "Linking deals that are the same and comparing the CRMs")
        with open_facts(session, state, names) as opened:
            material, settings = opened.material, opened.settings
            coverage = [
                load.coverage(one, load.deals_by_stage(state, one.stage_map.connection))
                for one in material.maps
            ]
            links = material.linked.deals.group_of
            compared = differences(material.rows(state), links, material.rates, settings, names, coverage)
            groups = len(set(links.values()))
            terminal.say(f"   {len(links)} deals are the same as one in another CRM: {groups} deals in truth")
            if not terminal.quiet:
                terminal.err.print(terminal_tables([overview_table(compared)]))

            _step(terminal, 5, "Adding it all up: one pipeline over five CRMs, and what changed this week")
            figures = pipeline_report(opened.facts, settings)
            listed, left_out = listed_deals(opened.facts, settings)
    tables = {table.id: table for table in pipeline_tables(figures)}
    if not terminal.quiet:
        terminal.err.print(terminal_tables([tables[name] for name in _SHOWN_TABLES if name in tables]))
    page = pipeline_html(figures, listed, left_out, differences=compared)
    _write(terminal, out, compared, page)
    keep_in_step(run, session, box, _step)
    if terminal.as_json:
        terminal.result(render("json", "pipeline report", figures, list(tables.values())))


def _pull(run: Run, session: Session, state: State) -> None:
    results = pull(session, state, [], watch=run.terminal.watch_pulls)
    show_pull(run, results)
    if any(result.error is not None for result in results):
        raise SystemExit(pull_exit_code(results))


def _write(terminal: Terminal, out: Path, compared: Differences, page: str) -> None:
    if not difference_tables(compared):
        raise CrmkitError("there is nothing to compare")
    save(out / "report.html", page)
    save(out / "differences.html", differences_html(compared))
    terminal.say(f"   Open {out / 'report.html'} in a browser (and {out / 'differences.html'})")


def _show_stages(terminal: Terminal, found: dict[str, list[Suggestion]]) -> None:
    total = sum(len(lines) for lines in found.values())
    mapped = sum(line.common is not None for lines in found.values() for line in lines)
    terminal.say(f"   {mapped} of {total} stages mapped; the lines are in crmkit.toml, each with its reason.")
    doubtful = [(name, line) for name, lines in found.items() for line in lines if line.common is None]
    for name, line in doubtful:
        terminal.say(f"   Left to a person: {name}, {line.pipeline}: {line.stage}: {line.reason}.", "yellow")
        terminal.say(f"   This demo takes {_UNDECIDED!r} for it; in your own workspace, you decide.")


def _decided(line: Suggestion) -> Suggestion:
    """The line, with the demo's own choice where the suggester left it to a person."""
    if line.common is not None:
        return line
    return replace(line, common=_UNDECIDED, reason="not certain; the choice of this demo")


def _step(terminal: Terminal, number: int, text: str) -> None:
    terminal.say(f"\n{number}. {text}", "bold")


def _next(terminal: Terminal, out: Path, deals: int, seed: int) -> None:
    hints: Sequence[tuple[str, str]] = (
        ("crmkit report", "the pipeline as tables (also --format html, md, csv, json)"),
        ("crmkit diff", "what differs between the CRMs"),
        ("crmkit diff hubspot zoho", "the same for two of them"),
        ("crmkit stages show", "each native stage, its common stage and its deals"),
        ("crmkit stages check", "mistakes in the stage map"),
        ("crmkit conflicts list main", "what waits for a decision"),
        ("crmkit links review", "records that may be the same"),
    )
    terminal.say(f"\nNext: cd {out}, then try")
    for command, text in hints:
        terminal.say(f"  {command:<28} {text}")
    terminal.say(
        "The CRMs of this demo are gone now. To pull again, start them with\n"
        f"  crmkit sandbox up --deals {deals} --seed {seed} --workspace {out}"
    )
