"""Which address and method writes what, and what every write goes through on its way.

Source: https://developer.close.com/api/resources ; no record can be written in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.close.activities import Activities
from crmkit.sandbox.close.activity_writes import ActivityWrites
from crmkit.sandbox.close.answers import read_body, refuse
from crmkit.sandbox.close.desk import Call, Desk, Write
from crmkit.sandbox.close.events import EventLog
from crmkit.sandbox.close.field_writes import FieldWrites
from crmkit.sandbox.close.opportunity_writes import OpportunityWrites
from crmkit.sandbox.close.people import People
from crmkit.sandbox.close.people_writes import PeopleWrites
from crmkit.sandbox.close.structure import Structure
from crmkit.sandbox.wire import json_reply

_MOST_HOURS = 14.0


def write_table(
    desk: Desk, people: People, activities: Activities, events: EventLog
) -> Mapping[str, Mapping[str, Write]]:
    """The writes of each address, by method."""
    deals, persons, acts = OpportunityWrites(desk), PeopleWrites(desk), ActivityWrites(desk, activities)
    structure, fields = Structure(desk, events.muted), FieldWrites(desk, people, events.muted)
    return {
        "/opportunity/": {"POST": deals.create},
        "/opportunity/{id}/": {"PUT": deals.update, "DELETE": deals.delete},
        "/lead/": {"POST": persons.create_lead},
        "/lead/merge/": {"POST": persons.merge_leads},
        "/lead/{id}/": {"PUT": persons.update_lead, "DELETE": persons.delete_lead},
        "/contact/": {"POST": persons.create_contact},
        "/contact/{id}/": {"PUT": persons.update_contact, "DELETE": persons.delete_contact},
        "/activity/note/": {"POST": acts.create_note},
        "/activity/note/{id}/": {"PUT": acts.update_note, "DELETE": acts.delete_note},
        "/activity/status_change/opportunity/": {"POST": acts.import_step},
        "/activity/status_change/opportunity/{id}/": {"DELETE": acts.delete_step},
        "/pipeline/": {"POST": structure.create_pipeline},
        "/pipeline/{id}/": {"PUT": structure.update_pipeline, "DELETE": structure.delete_pipeline},
        "/status/opportunity/": {"POST": structure.create_status},
        "/status/opportunity/{id}/": {"PUT": structure.rename_status, "DELETE": structure.delete_status},
        "/custom_field/{type}/": {"POST": fields.create},
        "/custom_field/{type}/{id}/": {"PUT": fields.update, "DELETE": fields.delete},
    }


async def carry_out(desk: Desk, write: Write, request: Request, by: str) -> Response:
    """Do what the call says; deletions have no body."""
    desk.admit()
    said = {}
    if request.method != "DELETE":
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise refuse("Unsupported Media Type: expected application/json.", 415)
        said = read_body(await request.body())
    call = Call(said, request.path_params, dict(request.query_params), by, _offset(request))
    made = write(call)
    return made if isinstance(made, Response) else json_reply(made)


def _offset(request: Request) -> timedelta:
    """How far the caller's day is from UTC: `x-tz-offset`, in hours."""
    said = request.headers.get("x-tz-offset", "")
    try:
        hours = float(said) if said else 0.0
    except ValueError:
        hours = _MOST_HOURS + 1
    if not abs(hours) <= _MOST_HOURS:
        raise refuse("Invalid x-tz-offset header.")
    return timedelta(hours=hours)
