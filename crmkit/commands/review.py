"""The command `review`: what changed since a day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from crmkit.commands.choices import Moment, as_moment, scope_options
from crmkit.commands.material import open_facts
from crmkit.commands.report import save, save_bytes, write_csv
from crmkit.commands.run import Run
from crmkit.errors import UsageError
from crmkit.report.inputs import Scope
from crmkit.report.listed import ListedDeal
from crmkit.report.metrics.listed import listed_deals
from crmkit.report.metrics.pairs import DETAILED, REFS
from crmkit.report.render.markdown import escaped, markdown_text
from crmkit.report.render.review_page import review_html
from crmkit.report.render.review_tables import history_notes, review_notes, review_tables
from crmkit.report.render.review_terminal import terminal_review
from crmkit.report.render.texts import ENGLISH, LANGUAGES, texts_of
from crmkit.report.review import WeeklyReview, weekly_review

FORMATS = ("table", "html", "md", "json", "csv", "xlsx")
_COMPLETE = frozenset({"json", "csv", "xlsx"})
"""Formats with every deal of every list, and not only the largest."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--since", callback=as_moment, metavar="DAY",
    help="Since the begin of this day, e.g. 2026-11-16, or 7d or 2w ago. Default: seven days.",
)  # fmt: skip
@click.option(
    "--until",
    callback=as_moment,
    metavar="DAY",
    help="Until the end of this day, or 7d ago. Default: now.",
)
@click.option(
    "--period", help="The period that deals slip out of: 2026-11, 2026-Q4 or 2026. Default: this quarter."
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path),
    help="Write to this file (csv: this folder) instead of stdout.",
)  # fmt: skip
@scope_options
@click.option("--lang", type=click.Choice(LANGUAGES), help="Its language. Default: [report] language.")
@click.pass_obj
def review(
    run: Run,
    /,
    names: Sequence[str],
    since: Moment | None,
    until: Moment | None,
    period: str | None,
    form: str,
    out: Path | None,
    scope: Scope,
    lang: str | None,
) -> None:
    """What changed in the pipeline since a day, deal by deal.

    A waterfall that balances to the cent leads from the open pipeline then to that of
    now; below are the deals that were created, won, lost, put off, pulled in and moved,
    with links into the CRMs. Works on the local copy; changes nothing in a CRM. Ends
    with 4 if something was left out of the money sums.
    """
    session = run.open()
    zone = ZoneInfo(session.config.settings.report.time_zone)
    now = session.clock.now()
    at = until.end(zone, now) if until else now
    start = since.start(zone, at) if since else None
    if start is not None and start >= at:
        raise UsageError(
            f"the review would begin on {start.astimezone(zone):%Y-%m-%d %H:%M}, after its end",
            hint="Give --since an earlier day than --until, or 7d.",
        )
    form = "json" if run.terminal.as_json else form
    with (
        session.state() as state,
        open_facts(session, state, names, scope=scope, as_of=at, since=start, period=period) as found,
    ):
        detailed = REFS if form in _COMPLETE else DETAILED
        figures = weekly_review(found.facts, found.settings, detailed=detailed)
        listed: tuple[tuple[ListedDeal, ...], int] = ((), 0)
        if form == "html":
            listed = listed_deals(
                found.facts, found.settings, closed_since=figures.since.astimezone(zone).date()
            )
    _write(run, form, out, figures, listed, lang or session.config.settings.report.language)
    _warn(run, form, figures)


def _write(
    run: Run,
    form: str,
    out: Path | None,
    figures: WeeklyReview,
    listed: tuple[tuple[ListedDeal, ...], int],
    language: str,
) -> None:
    terminal, texts = run.terminal, texts_of(language)
    if form == "table" and out is None:
        terminal.out.print(terminal_review(figures, review_tables(figures, texts), texts))
    elif form == "html":
        path = out or Path("pipeline-review.html")
        save(path, review_html(figures, *listed, language))
        terminal.say(f"Wrote {path}")
    elif form == "xlsx":
        path = out or Path("pipeline-review.xlsx")
        save_bytes(path, _workbook(figures, language))
        terminal.say(f"Wrote {path}")
    elif form == "csv":
        write_csv(run, out or Path("pipeline-review-csv"), review_tables(figures, texts))
    else:
        text = figures.model_dump_json(indent=2) + "\n" if form == "json" else _markdown(figures, language)
        if out is None:
            terminal.result(text)
        else:
            save(out, text)
            terminal.say(f"Wrote {out}")


def _markdown(figures: WeeklyReview, language: str) -> str:
    texts = texts_of(language)
    title = f"{texts['review_title']}, {figures.since:%Y-%m-%d} – {figures.until:%Y-%m-%d}"
    head, _, rest = markdown_text(title, review_tables(figures, texts), texts).partition("\n")
    notes = "\n\n".join(escaped(note) for note in review_notes(figures, texts))
    return f"{head}\n\n{notes}\n{rest}"


def _workbook(figures: WeeklyReview, language: str) -> bytes:
    from crmkit.report.render.workbook import workbook_bytes  # noqa: PLC0415 - heavy, and rarely asked for

    texts = texts_of(language)
    tables = review_tables(figures, texts)
    return workbook_bytes(texts["review_title"], tables, at=figures.until, texts=texts)


def _warn(run: Run, form: str, figures: WeeklyReview) -> None:
    """Say beside the result what a table says itself."""
    missing = figures.waterfalls.all_open.fx_missing_count
    if form != "table":
        for note in history_notes(figures, ENGLISH):
            run.terminal.say(note, "yellow")
    if missing:
        run.terminal.say(
            f"{missing} deals without an exchange rate add nothing. [report.rates] helps.", "yellow"
        )
        raise SystemExit(4)
