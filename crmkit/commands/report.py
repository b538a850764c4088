"""Commands that compare and report: `diff`, `report`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from crmkit.commands.run import Run
from crmkit.errors import ConfigError, CrmkitError, UsageError
from crmkit.private_file import write_private
from crmkit.report import load
from crmkit.report.compared import Differences
from crmkit.report.differences import differences
from crmkit.report.figures import PipelineReport
from crmkit.report.inputs import AmountBasis, Scope, Settings
from crmkit.report.pipeline import pipeline_report
from crmkit.report.rates import Rates, rates_from_csv, rates_from_mapping
from crmkit.report.render.cells import Table
from crmkit.report.render.csv_files import csv_files
from crmkit.report.render.difference_tables import difference_tables
from crmkit.report.render.html import differences_html, pipeline_html
from crmkit.report.render.json_file import json_text
from crmkit.report.render.markdown import markdown_text
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.table import terminal_tables
from crmkit.session import Session
from crmkit.sync import queries
from crmkit.sync.state import State

FORMATS = ("table", "html", "md", "json", "csv")


@dataclass(frozen=True, slots=True)
class Material:
    """What both commands work on."""

    settings: Settings
    rates: Rates
    maps: list[load.Mapped]
    rows: load.Rows


def gather(
    session: Session,
    state: State,
    names: Sequence[str],
    *,
    scope: Scope | None = None,
) -> Material:
    """Settings, rates, stage maps and deals of the chosen connections.

    Raises:
        ConfigError: A rate or setting cannot be used.
        StateError: A connection has not been pulled yet.
    """
    settings = session.config.settings
    chosen = session.config.chosen(names)
    queries.pulled(state, list(chosen))
    outline = load.outline(settings)
    maps = [load.stage_map(state, name, one, outline) for name, one in chosen.items()]
    report_currency = settings.report.currency
    return Material(
        Settings(
            report_currency=report_currency,
            time_zone=settings.report.time_zone,
            as_of=session.clock.now(),
            stages=outline.stages,
            native_stages=load.native_stages(maps),
            amount_basis=AmountBasis(settings.report.amount_basis),
            stale_days=settings.report.stale_days,
            trailing_days=settings.report.win_rate_days,
            record_order=settings.report.record_order,
            scope=scope or Scope(),
        ),
        _rates(session, report_currency),
        maps,
        load.Rows(state, load.Linked(state, maps), settings.report.time_zone),
    )


def _rates(session: Session, currency: str) -> Rates:
    report = session.config.settings.report
    if report.rates_file is None:
        return rates_from_mapping(currency, report.rates)
    path = session.config.folder / report.rates_file
    try:
        return rates_from_csv(currency, path.read_text(encoding="utf-8"), source=path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the rates file {path}: {error}") from error


_FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
_OUT = click.option(
    "--out", "-o", type=click.Path(path_type=Path),
    help="Write to this file (csv: this folder) instead of stdout.",
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_FORMAT
@_OUT
@click.option("--pipeline", "pipelines", multiple=True, help="Only this pipeline; may be repeated.")
@click.option("--owner", "owners", multiple=True, help="Only this owner; may be repeated.")
@click.pass_obj
def report(
    run: Run,
    /,
    names: Sequence[str],
    form: str,
    out: Path | None,
    pipelines: Sequence[str],
    owners: Sequence[str],
) -> None:
    """The pipeline over all CRMs: by common stage, CRM and month; win rates; ageing.

    Deals that are linked across CRMs count once. Works on the local copy; changes
    nothing in a CRM. Ends with 4 if something was left out of the money sums.
    """
    session = run.open()
    scope = Scope(pipelines=frozenset(pipelines), owners=frozenset(owners))
    with session.state() as state:
        found = gather(session, state, names, scope=scope)
        figures = pipeline_report(found.rows, found.rows.deals.group_of, found.rates, found.settings)
    write(run, "pipeline report", form, out, figures, pipeline_tables(figures))
    waiting = figures.items
    if waiting.fx_missing or waiting.unmapped or waiting.errors:
        run.terminal.say(
            f"Left out of some sums: {len(waiting.fx_missing)} without exchange rate, "
            f"{len(waiting.unmapped)} unmapped stages, {len(waiting.errors)} errors. "
            "`crmkit stages check` and [report.rates] help.",
            "yellow",
        )
        raise SystemExit(4)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_FORMAT
@_OUT
@click.option("--exit-code", is_flag=True, help="End with 3 if there are differences.")
@click.pass_obj
def diff(
    run: Run,
    /,
    names: Sequence[str],
    form: str,
    out: Path | None,
    exit_code: bool,
) -> None:
    """What differs between CRMs: missing records, fields, stages, amounts, stage maps.

    Compares every two of the named connections, or of all. Works on the local copy;
    changes nothing in a CRM.
    """
    session = run.open()
    chosen = list(session.config.chosen(names))
    if len(chosen) < 2:
        raise UsageError("diff needs two or more connections", hint="Name them, or add one to crmkit.toml.")
    with session.state() as state:
        found = gather(session, state, chosen)
        coverage = [
            load.coverage(mapped, load.deals_by_stage(state, mapped.stage_map.connection))
            for mapped in found.maps
        ]
        result = differences(
            found.rows, found.rows.deals.group_of, found.rates, found.settings, chosen, coverage
        )
    write(run, "differences", form, out, result, difference_tables(result))
    if exit_code and result.any:
        raise SystemExit(3)


def write(
    run: Run,
    title: str,
    form: str,
    out: Path | None,
    figures: PipelineReport | Differences,
    tables: Sequence[Table],
) -> None:
    """Write figures in the form that was asked for, to stdout or to a file."""
    terminal = run.terminal
    if terminal.as_json:
        form = "json"
    if form == "csv":
        _write_csv(run, out or Path(f"{title.replace(' ', '-')}-csv"), tables)
        return
    if form == "table" and out is None:
        terminal.out.print(terminal_tables(tables))
        return
    if form == "html":
        out = out or Path(f"{title.replace(' ', '-')}.html")
    text = render(form, title, figures, tables)
    if out is None:
        terminal.result(text)
    else:
        save(out, text)
        terminal.say(f"Wrote {out}")


def render(form: str, title: str, figures: PipelineReport | Differences, tables: Sequence[Table]) -> str:
    """Figures as the text of a file."""
    if form == "json":
        return json_text(figures)
    if form == "html":
        return pipeline_html(figures) if isinstance(figures, PipelineReport) else differences_html(figures)
    return markdown_text(title.capitalize(), tables)


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only.

    Raises:
        UsageError: It cannot be written.
    """
    write_private(path, [text.encode()])


def _write_csv(run: Run, folder: Path, tables: Iterable[Table]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CrmkitError(
            f"cannot make the folder {folder}: {error.strerror}", hint="Name another place with --out."
        ) from error
    for name, text in csv_files(tables).items():
        save(folder / name, text)
    run.terminal.say(f"Wrote {folder}")
