"""Commands about the stage map: `stages suggest|check|show`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from crmkit.commands.run import Run
from crmkit.mapping import lint
from crmkit.mapping.render import suggestions_toml
from crmkit.mapping.suggest import suggest
from crmkit.report import load
from crmkit.sync import queries

_MARKS = {"error": "bold red", "warning": "yellow", "note": ""}


@click.group()
def stages() -> None:
    """The stage map: what each native stage means in common stages.

    Works on the local copy; changes nothing in a CRM.
    """


@stages.command("suggest")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def stages_suggest(run: Run, names: Sequence[str]) -> None:
    """Propose a common stage for every native stage, with reason and confidence.

    Prints TOML to read, correct and paste into crmkit.toml. A stage that nothing is
    certain about is left out, as a comment.
    """
    session = run.open()
    outline = load.outline(session.config.settings)
    chosen = session.config.chosen(names)
    with session.state() as state:
        queries.pulled(state, list(chosen))
        found = {name: queries.pipelines(state, name) for name in chosen}
    if run.terminal.as_json:
        run.terminal.json(
            [
                {"connection": name, **asdict(line)}
                for name, pipelines in found.items()
                for line in suggest(pipelines, outline)
            ]
        )
        return
    for name, pipelines in found.items():
        run.terminal.result(suggestions_toml(name, suggest(pipelines, outline), pipelines))
    run.terminal.say(
        "Paste these tables into crmkit.toml, then run `crmkit stages check`.\n"
        f"Common stages: {', '.join(stage.id for stage in outline.stages)}."
    )


@stages.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def stages_check(run: Run, names: Sequence[str]) -> None:
    """Look for mistakes in the stage map: unmapped stages, clashes, lossy maps.

    Ends with 4 if something has to be put right.
    """
    session = run.open()
    outline = load.outline(session.config.settings)
    chosen = session.config.chosen(names)
    findings: list[lint.Finding] = []
    with session.state() as state:
        queries.pulled(state, list(chosen))
        for name, settings in chosen.items():
            mapped = load.stage_map(state, name, settings, outline)
            findings += lint.check(
                mapped.stage_map,
                mapped.stage_map.pipelines,
                load.deals_by_stage(state, name),
                problems=mapped.problems,
            )
    if run.terminal.as_json:
        run.terminal.json([asdict(finding) for finding in findings])
    elif findings:
        run.terminal.table(
            ("", "connection", "pipeline", "stage", "finding", "what to do"),
            [
                [
                    run.terminal.styled(finding.severity.value, _MARKS[finding.severity.value]),
                    finding.connection,
                    finding.pipeline or "",
                    finding.stage or "",
                    finding.message,
                    finding.hint,
                ]
                for finding in findings
            ],
        )
    else:
        run.terminal.say("Every stage is mapped, and nothing clashes.")
    serious = any(finding.severity is not lint.Severity.NOTE for finding in findings)
    raise SystemExit(4 if serious else 0)


@stages.command("show")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def stages_show(run: Run, names: Sequence[str]) -> None:
    """Show every native stage with its common stage, and how many deals are in it."""
    session = run.open()
    outline = load.outline(session.config.settings)
    chosen = session.config.chosen(names)
    rows: list[dict[str, object]] = []
    with session.state() as state:
        queries.pulled(state, list(chosen))
        for name, settings in chosen.items():
            mapped = load.stage_map(state, name, settings, outline).stage_map
            deals = load.deals_by_stage(state, name)
            rows += [
                {
                    "connection": name,
                    "pipeline": pipeline.name,
                    "stage": stage.name,
                    "outcome": stage.outcome.value,
                    "probability": stage.probability,
                    "common_stage": mapped.entries.get((pipeline.ref.id, stage.id)),
                    "deals": deals.get((pipeline.ref.id, stage.id), (0, {}))[0],
                }
                for pipeline in mapped.pipelines
                for stage in pipeline.stages
            ]
    if run.terminal.as_json:
        run.terminal.json(rows)
        return
    run.terminal.table(
        ("connection", "pipeline", "stage", "outcome", "probability", "common stage", "deals"),
        [["unmapped" if value is None and key == "common_stage" else "" if value is None else value
          for key, value in row.items()] for row in rows],
        right=[4, 6],
    )  # fmt: skip
