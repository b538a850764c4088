"""The command `export`: snapshots of the local copy as Parquet, for warehouses and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import click

from crmkit.commands.material import gather, write_facts
from crmkit.commands.run import Run
from crmkit.report.facts.engine import MissingPackages


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--parquet", "destination", required=True, metavar="DIR|URL", help="Where to: s3://… for example."
)
@click.pass_obj
def export(run: Run, /, names: Sequence[str], destination: str) -> None:
    """Write today's snapshot of the local copy as Parquet, and its history.

    Deals, their changes, stages, owners, companies, links and rates as the report's figures
    see them: amounts as whole numbers beside their currency, times as microseconds in UTC,
    days as numbers. One folder for each day, one file for each table and connection; the
    manifest, written last, names the files. Exporting again replaces today's. Changes nothing
    in a CRM. docs/scale.md describes the tables.
    """
    session = run.open()
    now = session.clock.now()
    day = now.astimezone(ZoneInfo(session.config.settings.report.time_zone)).date()
    with session.state() as state, TemporaryDirectory(prefix="crmkit-export-") as place:
        material = gather(session, state, names, as_of=now)
        write_facts(session, state, material, Path(place))
        try:
            from crmkit.report.export import export as written  # noqa: PLC0415 - needs an extra
        except ImportError as error:
            raise MissingPackages("exports need PyArrow") from error
        found = written(Path(place), destination, day, now, list(material.linked.maps))
    if run.terminal.as_json:
        run.terminal.json(
            {"place": found.place, "day": day.isoformat(), "rows": found.rows, "files": found.files}
        )
    else:
        rows = [[name, f"{count:,}"] for name, count in found.rows.items()]
        run.terminal.table(("table", "rows"), rows, right=(1,))
        run.terminal.say(f"Wrote {found.files} files to {found.place}")
