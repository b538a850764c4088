"""Commands that decide about pairs of records and show the result: `links accept|reject|part|show`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click
import sqlalchemy as sa

from crmkit.commands.run import Run
from crmkit.commands.run import record as record_of
from crmkit.errors import UsageError
from crmkit.model import Ref
from crmkit.sync import tables
from crmkit.sync.candidates import survey
from crmkit.sync.decisions import Book, Verdict, decided, exists, part, recorded, syncs_of
from crmkit.sync.described import Described, described
from crmkit.sync.hub import Hub, Status
from crmkit.sync.lease import hold
from crmkit.sync.tables import LINKED_KINDS


@click.command("accept")
@click.argument("one")
@click.argument("other")
@click.pass_obj
def links_accept(run: Run, one: str, other: str) -> None:
    """Say that two records are the same. The next plan links them. Replaces an earlier word."""
    _say(run, one, other, same=True)


@click.command("reject")
@click.argument("one")
@click.argument("other")
@click.pass_obj
def links_reject(run: Run, one: str, other: str) -> None:
    """Say that two records are not the same, for good. Replaces an earlier word."""
    _say(run, one, other, same=False)


def _say(run: Run, one: str, other: str, *, same: bool) -> None:
    session = run.open()
    left, right = _ref(one), _ref(other)
    with session.state() as state, state.write() as db:
        book = Book(db, left.kind, session.config.settings.connections)
        (book.same if same else book.different)(left, right, session.clock.now())
    if run.terminal.as_json:
        run.terminal.json({"one": str(left), "other": str(right), "verdict": "same" if same else "different"})
    else:
        word = "the same" if same else "different"
        run.terminal.say(f"Noted: {left} and {right} are {word}. The next plan goes by it.", "green")


@click.command("part")
@click.argument("record", metavar="REF")
@click.option("--sync", "sync", help="The sync that links it; needed if there are several.")
@click.pass_obj
def links_part(run: Run, record: str, sync: str | None) -> None:
    """Take a record out of the group that a sync linked it to, and remember that it is another one.

    Changes nothing in a CRM. The next plan treats it as a record of its own, and shows what
    that creates in the other CRMs.
    """
    session = run.open()
    ref = _ref(record)
    with session.state() as state:
        with state.read() as db:
            holding = syncs_of(db, ref)
        if sync is None and len(holding) != 1:
            raise UsageError(
                f"{ref} is linked by {'no sync' if not holding else ' and '.join(holding)}",
                hint="Name one with --sync." if holding else "Only what a sync has linked is parted.",
            )
        name = sync or holding[0]
        with hold(state, f"sync:{name}", session.clock.now) as lease, state.write() as db:
            lease.guard(db)
            partners = part(db, name, ref, session.clock.now())
    if run.terminal.as_json:
        run.terminal.json({"record": str(ref), "sync": name, "parted_from": [str(one) for one in partners]})
    else:
        run.terminal.say(
            f"Parted: {ref} is another record than {' and '.join(map(str, partners))}. "
            f"See what follows with `crmkit plan {name}`.",
            "green",
        )


@click.command("show")
@click.argument("record", metavar="REF")
@click.pass_obj
def links_show(run: Run, record: str) -> None:
    """Show what a record is linked to: in which CRMs, by what evidence, since when."""
    session = run.open()
    ref = _ref(record)
    with session.state() as state, state.read() as db:
        if not exists(db, ref):
            raise UsageError(
                f"{ref} is not in the local copy, or is gone",
                hint=f"Refresh it with `crmkit pull {ref.connection}`.",
            )
        found = _linked_by_syncs(db, ref)
        if not found:
            names = list(session.config.chosen(()))
            found = _linked_by_keys(db, ref, names)
        members = {Ref.parse(one["record"]) for one in found} | {ref}
        known = described(db, members)
        said = [
            {
                "one": str(one),
                "other": str(other),
                "verdict": "same" if verdict is Verdict.LINK else "different",
            }
            for one, other, verdict in recorded(db, ref.kind)
            if one in members or other in members
        ]
    for one in found:
        one.update(asdict(known.get(Ref.parse(one["record"]), Described())))
    if run.terminal.as_json:
        run.terminal.json({"record": str(ref), "linked": found, "decisions": said})
        return
    if found:
        run.terminal.table(
            ("record", "name", "sync", "status", "evidence", "since (UTC)", "link"),
            [
                [one["record"], one["name"], one["sync"] or "", one["status"], one["evidence"],
                 (one["since"] or "")[:16].replace("T", " "), one["url"]]
                for one in found
            ],
        )  # fmt: skip
    else:
        run.terminal.say(f"{ref} ({known[ref].name}) is linked to nothing.")
    for verdict in said:
        run.terminal.say(f"Decided: {verdict['one']} and {verdict['other']} are {verdict['verdict']}.")


def _linked_by_syncs(db: sa.Connection, ref: Ref) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for sync in syncs_of(db, ref):
        hub = Hub(sync)
        entity = hub.links_to(db, ref.connection, ref.kind, [ref.id])[ref.id].entity
        since = _since(db, sync, entity)
        rows += [
            {
                "record": str(Ref(link.connection, link.kind, link.native_id)),
                "sync": sync,
                "entity": entity,
                "status": link.status.value,
                "evidence": link.evidence,
                "since": since,
            }
            for link in hub.links_of(db, [entity])[entity]
        ]
    return rows


def _since(db: sa.Connection, sync: str, entity: str) -> str | None:
    """When the sync first agreed on something about an entity."""
    table = tables.values
    query = sa.select(sa.func.min(table.c.at)).where(table.c.sync == sync, table.c.entity == entity)
    found = db.execute(query).scalar()
    return found.isoformat() if found is not None else None


def _linked_by_keys(db: sa.Connection, ref: Ref, connections: Iterable[str]) -> list[dict[str, Any]]:
    """What the ladder says of a record that no sync has linked yet."""
    found = survey(db, list(connections), lambda kind: decided(db, kind))[ref.kind].found
    group = found.group_of.get(ref)
    if group is None:
        return []
    return [
        {
            "record": str(one), "sync": None, "entity": group, "status": Status.LIVE.value,
            "evidence": found.evidence.get(one, ""), "since": None,
        }
        for one in found.members()[group]
    ]  # fmt: skip


def _ref(text: str) -> Ref:
    ref = record_of(text)
    if ref.kind not in LINKED_KINDS:
        raise UsageError(f"{text}: only companies, contacts and deals are linked")
    return ref
