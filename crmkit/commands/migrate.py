"""Commands that move one CRM into another: `migrate plan | sample | apply | delta`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from crmkit.commands.migrate_proof import migrate_undo, verify
from crmkit.commands.moved import (
    chosen_json,
    finding_json,
    place_json,
    show_findings,
    show_sample,
    show_structure,
    show_summary,
)
from crmkit.commands.ran import exit_code, result_json, show_result
from crmkit.commands.run import Run, worst
from crmkit.commands.sync import confirm_option, confirmed_counts, plan_code, tell_unread
from crmkit.commands.words import plural, records
from crmkit.errors import UsageError
from crmkit.migrating import (
    OpenMigration,
    looked_ahead,
    open_migration,
    refuse_unbegun,
    sample_of,
    settings_of,
)
from crmkit.migration.build import checklist
from crmkit.migration.compile import Migration
from crmkit.migration.findings import Finding, Severity
from crmkit.migration.structure import Way
from crmkit.sync.guard import stop
from crmkit.sync.plan import PlanFile
from crmkit.sync.state import State
from crmkit.syncing import watched

_SAMPLE = 50


@click.group()
def migrate() -> None:
    """Move one CRM into another: pipelines, fields, companies, people, deals, notes, links.

    \b
    crmkit migrate plan hubspot zoho      look: what goes where, what will fail, what it costs
    crmkit rehearse hubspot zoho          try it on local twins of both CRMs
    crmkit migrate sample hubspot zoho    move a few deals, the strange ones first
    crmkit migrate apply hubspot zoho     move everything; the same command goes on after a crash
    crmkit migrate delta hubspot zoho     carry on what changed since; as often as you like
    crmkit migrate verify hubspot zoho    prove that it is all there

    Nothing is ever written to the source. Decisions (who stands for whom, which field goes
    where) stand under [migrations.NAME] in crmkit.toml: docs/migrate.md.
    """


@migrate.command("plan")
@click.argument("source")
@click.argument("target")
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.option("--all", "everything", is_flag=True, help="Show every place, not only what needs attention.")
@click.pass_obj
def migrate_plan(run: Run, source: str, target: str, no_pull: bool, everything: bool) -> None:
    """Show where everything would go, and name what would fail. Changes nothing in a CRM.

    Pulls both CRMs first, notes and stage changes too. Shows pipelines, stages, custom
    fields and owners with their place in the target; what a person has to click because an
    API cannot; every record that would be refused, cut or held, with counts and reasons; and
    requests and minutes. Exits 4 if something waits for a person.
    """
    session = run.open()
    settings_of(session, source, target)
    watch = None if no_pull else run.terminal.watch_pulls
    with (
        session.state() as state,
        open_migration(session, state, source, target, watch=watch, read_only=True) as opened,
    ):
        tell_unread(run, opened.pulls)
        migration = opened.as_planned()
        found, file = opened.run(migration).plan()
        findings = looked_ahead(opened, migration, found)
        clicks = checklist(opened.migration)
        code = _planned_code(opened, migration, file, findings)
        if run.terminal.as_json:
            run.terminal.json(
                {
                    "source": source,
                    "target": target,
                    "places": [place_json(one) for one in migration.structure.everything],
                    "checklist": clicks,
                    "findings": [finding_json(one) for one in findings],
                    "plan": file.model_dump(mode="json"),
                }
            )
        else:
            show_structure(run.terminal, migration, clicks, everything=everything)
            show_findings(run.terminal, findings)
            show_summary(run.terminal, opened, migration, found, file)
            run.terminal.say(f"Next: crmkit migrate sample {source} {target}")
    raise SystemExit(code)


@migrate.command("sample")
@click.argument("source")
@click.argument("target")
@click.option(
    "--size", type=click.IntRange(1), default=_SAMPLE, show_default=True, help="How many deals to move."
)
@click.option("--seed", default=1, show_default=True, help="Another seed draws other deals.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@confirm_option
@click.pass_obj
def migrate_sample(
    run: Run, source: str, target: str, size: int, seed: int, yes: bool, confirm: Sequence[str]
) -> None:
    """Move a few deals with everything they need: the strange ones, then one of every sort.

    Writes to the target. Deals are chosen so that every pipeline, stage, owner and currency
    is among them, and the strangest records come first: the longest name, emoji, no
    company, several contacts, closed long ago. Pipelines and fields that the target lacks
    are made. `migrate apply` goes on with the rest; `migrate undo` takes it all back.
    """
    _carry_out(run, source, target, yes=yes, confirm=confirm, sample=(size, seed))


@migrate.command("apply")
@click.argument("source")
@click.argument("target")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@confirm_option
@click.pass_obj
def migrate_apply(run: Run, source: str, target: str, yes: bool, confirm: Sequence[str]) -> None:
    """Move everything. After a crash or a used-up quota the same command goes on.

    Writes to the target, never to the source. First the pipelines, stages and fields that
    are missing, then companies, people, deals, notes. What is there already is linked, not
    doubled. Asks before it writes unless --yes.
    """
    _carry_out(run, source, target, yes=yes, confirm=confirm)


@migrate.command("delta")
@click.argument("source")
@click.argument("target")
@confirm_option
@click.pass_obj
def migrate_delta(run: Run, source: str, target: str, confirm: Sequence[str]) -> None:
    """Carry on what changed in the source since the last time; for cron, as often as you like.

    Writes to the target without asking. Edits that were made in the target stay: what was
    changed on both sides is held and listed, never overwritten. Says nothing when nothing
    happened. Exits 0 done, 4 something waits for a person, 5 partly done, 6 a guard stopped it.
    """
    session = run.open()
    settings_of(session, source, target)
    confirmed = confirmed_counts(confirm)
    with (
        session.state() as state,
        open_migration(
            session, state, source, target, watch=run.terminal.watch_pulls, read_only=False
        ) as opened,
    ):
        tell_unread(run, opened.pulls)
        refuse_unbegun(opened)
        opened.build()
        code = _write(run, state, opened, opened.migration, confirmed, brief=True)
    raise SystemExit(code)


def _carry_out(
    run: Run,
    source: str,
    target: str,
    *,
    yes: bool,
    confirm: Sequence[str],
    sample: tuple[int, int] | None = None,
) -> None:
    session, terminal = run.open(), run.terminal
    settings_of(session, source, target)
    confirmed = confirmed_counts(confirm)
    if not yes and not terminal.can_ask:
        raise UsageError("nobody is there to confirm the plan", hint="Add --yes to write without asking.")
    with (
        session.state() as state,
        open_migration(session, state, source, target, watch=terminal.watch_pulls, read_only=False) as opened,
    ):
        tell_unread(run, opened.pulls)
        chosen = sample_of(opened, *sample) if sample is not None else None
        planned = opened.as_planned()
        deals = frozenset(one.id for one in chosen) if chosen is not None else None
        if deals is not None:
            planned = planned.sampled(deals)
        if chosen is not None and not terminal.as_json:
            show_sample(terminal, chosen)
        found, file = opened.run(planned).plan()
        if not yes:
            findings = looked_ahead(opened, planned, found)
            show_structure(terminal, planned, checklist(opened.migration), everything=False)
            show_findings(terminal, findings)
            show_summary(terminal, opened, planned, found, file)
        # Nobody is asked about a plan that would be refused afterwards, and nothing is made for it.
        stop(opened.name, file.guards, confirmed, planned.group.plan_command)
        if not yes and (file.writes or planned.structure.of_way(Way.CREATE)):
            click.confirm(_question(file, target), abort=True, err=True)
        built = opened.build()
        for line in built.made:
            terminal.say(f"Made in {target}: {line}")
        for line in built.checklist:
            terminal.say(f"By hand in {target}: {line}", "yellow")
        real = opened.migration if deals is None else opened.migration.sampled(deals)
        code = _write(
            run, state, opened, real, confirmed, brief=False,
            more={"sample": [chosen_json(one) for one in chosen]} if chosen is not None else {},
        )  # fmt: skip
    raise SystemExit(code)


def _write(
    run: Run,
    state: State,
    opened: OpenMigration,
    migration: Migration,
    confirmed: Mapping[str, int],
    *,
    brief: bool,
    more: Mapping[str, Any] | None = None,
) -> int:
    sync = opened.as_sync(migration)
    result = watched(sync, state, lambda: sync.run.sync(confirmed), run.terminal.watch_writes)
    code = exit_code(result, sync)
    if run.terminal.as_json:
        run.terminal.json({**result_json(result, run, code), **(more or {})})
    else:
        show_result(run, result, brief=brief)
    return code


def _question(file: PlanFile, target: str) -> str:
    kinds = Counter(write.kind for write in file.writes)
    words = ", ".join(records(count, kind) for kind, count in kinds.items())
    return f"Write this to {target} ({words or plural(0, 'record')})?"


def _planned_code(
    opened: OpenMigration, migration: Migration, file: PlanFile, findings: Sequence[Finding]
) -> int:
    waits = migration.structure.of_way(Way.OPEN) or migration.structure.of_way(Way.BY_HAND)
    stops = any(one.severity in (Severity.STOPS, Severity.HELD) for one in findings)
    return worst([plan_code(file, opened.as_sync(migration)), 4 if waits or stops else 0])


migrate.add_command(verify)
migrate.add_command(migrate_undo)
