"""Records by id: the ones that are there, and proof that the others are gone.

A list leaves out what the connection's user may not read, without a word. So a record of
the CRM that a list does not show is asked for by itself: only `NOT_FOUND` means gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.changes import changes_by_id
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, Command, command
from crmkit.connectors.bitrix24.customs import Customs
from crmkit.connectors.bitrix24.lists import pipelines, users
from crmkit.connectors.bitrix24.records import Found, Rows
from crmkit.errors import CrmkitError, MissingScope, NotFound, Rejected
from crmkit.model import Kind

ENTITY_TYPES = {Kind.DEAL: 2, Kind.CONTACT: 3, Kind.COMPANY: 4}


def fields_command(kind: Kind) -> Command:
    """Asks for the fields of deals, companies or contacts."""
    return command("crm.item.fields", ("entityTypeId", ENTITY_TYPES[kind]))


def translator(rows: Rows, kind: Kind) -> Callable[[list[Any]], Found]:
    """What makes records of the rows of deals, companies or contacts."""
    translators: Mapping[Kind, Callable[[list[Any]], Found]] = {
        Kind.DEAL: rows.deals,
        Kind.COMPANY: rows.companies,
        Kind.CONTACT: rows.contacts,
    }
    return translators[kind]


def get_records(portal: Portal, kind: Kind, ids: Sequence[str]) -> Found:
    """The records with the given ids, in the fewest requests; those that are gone are left out.

    Raises:
        MissingScope: This connection's user may not read a record, so it may exist.
    """
    if kind in ENTITY_TYPES:
        return _items(portal, kind, ids)
    rows = Rows(portal.context.connection, portal.root)
    if kind is Kind.PIPELINE:
        return rows.pipelines(pair for pair in pipelines(portal) if str(pair[0]["id"]) in set(ids))
    if kind is Kind.OWNER:
        return rows.owners(users(portal, ids))
    if kind is Kind.NOTE:
        return rows.notes(_comments(portal, ids))
    return rows.stage_changes(*changes_by_id(portal, ids))


def _items(portal: Portal, kind: Kind, ids: Sequence[str]) -> Found:
    lists = {
        f"g{begin}": command(
            "crm.item.list",
            ("entityTypeId", ENTITY_TYPES[kind]),
            *(("filter[@id][]", one) for one in ids[begin : begin + PAGE_ROWS]),
            ("order[id]", "ASC"),
            ("start", -1),
            ("select[]", "*"),
        )
        for begin in range(0, len(ids), PAGE_ROWS)
    }
    results = portal.run({"fields": fields_command(kind), **lists})
    found = [row for key in lists for row in results.values[key]]
    shown = {str(row.get("id")) for row in found}
    found += _not_shown(portal, kind, [one for one in ids if one not in shown])
    rows = Rows(portal.context.connection, portal.root, Customs(results.values["fields"]))
    return translator(rows, kind)(found)


def _not_shown(portal: Portal, kind: Kind, ids: Sequence[str]) -> list[Any]:
    """Rows that a list left out and that exist after all."""
    gets = {
        f"i{one}": command("crm.item.get", ("entityTypeId", ENTITY_TYPES[kind]), ("id", one)) for one in ids
    }
    results = portal.run(gets, tolerated=gets)
    hidden = 0
    for error in results.errors.values():
        if isinstance(error, MissingScope):
            hidden += 1
        elif not isinstance(error, NotFound):
            raise error
    if hidden:
        raise MissingScope(
            f"{portal.context.connection}: {kind}: {hidden} no longer listed, and this login may not "
            "read them, so it cannot be told whether they are gone",
            hint="Let an administrator own the webhook or app, so that nothing is out of its reach.",
        )
    return [results.values[key] for key in gets if key in results.values]


def _comments(portal: Portal, ids: Sequence[str]) -> list[Any]:
    commands = {f"n{one}": command("crm.timeline.comment.get", ("id", one)) for one in ids}
    results = portal.run(commands, tolerated=commands)
    for error in results.errors.values():
        if not _may_mean_gone(error):
            raise error
    return [results.values[key] for key in commands if key in results.values]


def _may_mean_gone(error: CrmkitError) -> bool:
    # A comment that is gone is refused without a code, in the portal's language.
    return type(error) is NotFound or type(error) is Rejected
