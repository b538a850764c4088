"""Commands that compare and report: `diff`, `report`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import click

from crmkit.commands.choices import Moment, as_moment, scope_options
from crmkit.commands.material import gather, open_facts
from crmkit.commands.run import Run
from crmkit.errors import CrmkitError, UsageError
from crmkit.private_file import write_private
from crmkit.report import load
from crmkit.report.compared import Differences
from crmkit.report.differences import differences
from crmkit.report.inputs import Scope
from crmkit.report.listed import ListedDeal
from crmkit.report.metrics.listed import listed_deals
from crmkit.report.notify import notify
from crmkit.report.pipeline import pipeline_report
from crmkit.report.render.cells import Table
from crmkit.report.render.csv_files import csv_files
from crmkit.report.render.difference_tables import difference_tables
from crmkit.report.render.digest import announcement
from crmkit.report.render.html import differences_html, pipeline_html
from crmkit.report.render.json_file import json_text
from crmkit.report.render.markdown import markdown_text
from crmkit.report.render.page.document import chart_files
from crmkit.report.render.parameters import parameters_table
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.table import terminal_tables
from crmkit.report.render.terminal_report import terminal_report
from crmkit.report.render.texts import LANGUAGES, texts_of
from crmkit.report.whole import PipelineReport
from crmkit.session import Session

FORMATS = ("table", "html", "md", "json", "csv")
FILES = ("xlsx", "parquet", "charts")
"""Formats that only the report has: a workbook, a folder of tables, a folder of SVG and PNG."""

_FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
_OUT = click.option(
    "--out", "-o", type=click.Path(path_type=Path),
    help="Write to this file (csv: this folder) instead of stdout.",
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--format", "form", type=click.Choice((*FORMATS, *FILES)), default="table", show_default=True,
    help="charts: every chart as SVG and PNG, for slides.",
)  # fmt: skip
@_OUT
@scope_options
@click.option(
    "--as-of",
    callback=as_moment,
    metavar="DAY",
    help="The report as it was at the end of this day, e.g. 2026-10-31.",
)
@click.option(
    "--since", callback=as_moment, metavar="DAY", help="Tell changes since this day, or 7d, 2w. Default: 7d."
)
@click.option("--period", help="The period of results: 2026-11, 2026-Q4 or 2026. Default: this quarter.")
@click.option(
    "--lang", type=click.Choice(LANGUAGES), help="Language of the page. Default: [report] language."
)
@click.option(
    "--engine", type=click.Choice(["duckdb", "spark"]), default="duckdb", show_default=True,
    help="What computes: embedded, or Spark for very many deals (extra `spark`).",
)  # fmt: skip
@click.option("--notify", "tell", is_flag=True, help="Tell the targets of [report.notify] the summary.")
@click.pass_obj
def report(
    run: Run,
    /,
    names: Sequence[str],
    form: str,
    out: Path | None,
    scope: Scope,
    as_of: Moment | None,
    since: Moment | None,
    period: str | None,
    lang: str | None,
    engine: Literal["duckdb", "spark"],
    tell: bool,
) -> None:
    """The pipeline over all CRMs: stages, forecast, win rates, ageing, hygiene.

    Deals that are linked across CRMs count once. Works on the local copy; changes
    nothing in a CRM. With --as-of it tells what was known then, today and next year;
    links and stage maps count as of today (docs/report.md). Ends with 4 if something was
    left out of the money sums.
    """
    session = run.open()
    zone = ZoneInfo(session.config.settings.report.time_zone)
    now = session.clock.now()
    at = as_of.end(zone, now) if as_of else now
    with (
        session.state() as state,
        open_facts(
            session,
            state,
            names,
            scope=scope,
            as_of=at,
            since=since.start(zone, at) if since else None,
            period=period,
            engine=engine,
        ) as found,
    ):
        figures = pipeline_report(found.facts, found.settings)
        listed, left_out = listed_deals(found.facts, found.settings)
    language = lang or session.config.settings.report.language
    write_report(run, form, out, Made(figures, listed, left_out, language))
    untold = _tell(run, session, figures, language, out) if tell else 0
    waiting = figures.items
    if waiting.fx_missing or waiting.unmapped or waiting.errors:
        run.terminal.say(
            f"Left out of some sums: {len(waiting.fx_missing)} without exchange rate, "
            f"{len(waiting.unmapped)} unmapped stages, {len(waiting.errors)} errors. "
            "`crmkit stages check` and [report.rates] help.",
            "yellow",
        )
    if untold or waiting.fx_missing or waiting.unmapped or waiting.errors:
        raise SystemExit(5 if untold else 4)


def _tell(run: Run, session: Session, figures: PipelineReport, language: str, out: Path | None) -> int:
    """Send the summary to the configured targets; how many could not be told."""
    settings = session.config.settings.report.notify
    if not settings.targets:
        raise UsageError(
            "nobody is to be told", hint='Name somebody: [report.notify] targets = ["team-slack"].'
        )
    message = announcement(
        figures,
        texts_of(language),
        place=settings.link or (str(out) if out else None),
        changes=figures.summary.changes,
        since=figures.since_date,
    )
    failures = notify(session, settings.targets, message)
    for failure in failures:
        run.terminal.say(run.redact(f"{failure.target} was not told: {failure.reason}"), "yellow")
    return len(failures)


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
            found.rows(state), found.linked.deals.group_of, found.rates, found.settings, chosen, coverage
        )
    write(run, "differences", form, out, result, difference_tables(result))
    if exit_code and result.any:
        raise SystemExit(3)


@dataclass(frozen=True, slots=True)
class Made:
    """A report and the deals behind its figures."""

    figures: PipelineReport
    deals: tuple[ListedDeal, ...]
    left_out: int
    language: str

    def page(self, differences: Differences | None = None) -> str:
        """The report as a page."""
        return pipeline_html(self.figures, self.deals, self.left_out, self.language, differences=differences)

    def workbook(self) -> bytes:
        """The report as a workbook."""
        from crmkit.report.render.workbook import workbook_bytes  # noqa: PLC0415 - heavy, and rarely asked for

        texts = texts_of(self.language)
        return workbook_bytes(
            texts["pipeline_title"],
            pipeline_tables(self.figures, texts),
            parameters=parameters_table(self.figures, texts),
            at=self.figures.as_of,
            texts=texts,
        )

    def tables(self) -> Iterable[tuple[str, bytes]]:
        """Every table and the deals as Parquet files."""
        from crmkit.report.render.parquet_files import parquet_files  # noqa: PLC0415 - heavy

        about = {"as_of": self.figures.as_of.isoformat(), "currency": self.figures.report_currency}
        return parquet_files(pipeline_tables(self.figures), self.deals, about)

    def charts(self) -> Iterable[tuple[str, bytes]]:
        """Every chart as SVG and PNG."""
        return chart_files(self.figures, self.language).items()


def write_report(run: Run, form: str, out: Path | None, made: Made) -> None:
    """Write a report in the form that was asked for."""
    title = "pipeline report"
    if run.terminal.as_json:
        form = "json"
    if form == "html":
        path = out or Path("pipeline-report.html")
        save(path, made.page())
        run.terminal.say(f"Wrote {path}")
    elif form == "xlsx":
        path = out or Path("pipeline-report.xlsx")
        save_bytes(path, made.workbook())
        run.terminal.say(f"Wrote {path}")
    elif form in FILES:
        folder = out or Path(f"pipeline-report-{form}")
        _write_files(run, folder, made.tables() if form == "parquet" else made.charts())
    elif form == "table" and out is None:
        texts = texts_of(made.language)
        run.terminal.out.print(
            terminal_report(
                made.figures,
                pipeline_tables(made.figures, texts),
                texts,
                changes=made.figures.summary.changes,
                since=made.figures.since_date,
                everything=run.terminal.verbose,
            )
        )
    else:
        write(run, title, form, out, made.figures, pipeline_tables(made.figures))


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
        write_csv(run, out or Path(f"{title.replace(' ', '-')}-csv"), tables)
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
        assert isinstance(figures, Differences)
        return differences_html(figures)
    return markdown_text(title.capitalize(), tables)


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only.

    Raises:
        UsageError: It cannot be written.
    """
    save_bytes(path, text.encode())


def save_bytes(path: Path, content: bytes) -> None:
    """As `save`, of bytes."""
    write_private(path, [content])


def write_csv(run: Run, folder: Path, tables: Iterable[Table]) -> None:
    """Write tables as CSV files into a folder.

    Raises:
        CrmkitError: The folder cannot be made.
    """
    _write_files(run, folder, ((name, text.encode()) for name, text in csv_files(tables).items()))


def _write_files(run: Run, folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CrmkitError(
            f"cannot make the folder {folder}: {error.strerror}", hint="Name another place with --out."
        ) from error
    for name, content in files:
        save_bytes(folder / name, content)
    run.terminal.say(f"Wrote {folder}")
