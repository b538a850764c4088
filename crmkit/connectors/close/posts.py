"""One write and what its answer says; also the reads that a write needs first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from crmkit.connectors.base import Context
from crmkit.connectors.close.bodies import Body
from crmkit.connectors.close.custom import CustomFields, Row, with_flat_custom
from crmkit.connectors.close.learnt import Learnt
from crmkit.connectors.close.refusals import Roles, is_gone, plain
from crmkit.connectors.close.steps import PATHS, Steps
from crmkit.connectors.close.walks import readable
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import BadAnswer, Rejected, Transient
from crmkit.model import AnyRecord, Kind, Ref

T = TypeVar("T")
# "Today", which Close fills in when a deal is won, is the day in UTC.
_IN_UTC = {"x-tz-offset": "0"}
# Answers that show less than this are no whole records: older ones lack the pipeline.
_WHOLE = {
    Kind.DEAL: frozenset({"id", "lead_id", "status_id", "status_type", "pipeline_id", "date_updated"}),
    Kind.COMPANY: frozenset({"id", "name", "contacts", "addresses", "date_updated"}),
    Kind.CONTACT: frozenset({"id", "lead_id", "name", "emails", "phones", "date_updated"}),
    Kind.NOTE: frozenset({"id", "lead_id", "note", "date_created"}),
}
_ECHOED = frozenset(
    "lead_id contact_id user_id status_id pipeline_id value value_period confidence date_won".split()
)
_SOON_SECONDS = 1.0


class NotSent(Exception):
    """The outcome of a change, known before its write was sent."""

    def __init__(self, written: Written) -> None:
        super().__init__(written.reason)
        self.written = written


def asked(change: Change, ask: Callable[[], T]) -> T:
    """The answer to a question that precedes a write; without one nothing is written."""
    try:
        return ask()
    except Transient as error:
        raise NotSent(Written(change.id, Result.UNSENT, reason=plain(error))) from error
    except Rejected as error:
        if is_gone(error):
            raise NotSent(Written(change.id, Result.GONE, reason=plain(error))) from error
        raise


class Posts:
    """Sends single writes and reads their answers.

    Args:
        context: The connection.
        http: Its HTTP side.
        learnt: What is known about the organization.
        in_flight: How many requests run side by side.
    """

    def __init__(self, context: Context, http: Http, learnt: Learnt, in_flight: int) -> None:
        self.context = context
        self.http = http
        self.learnt = learnt
        self.in_flight = in_flight
        self._steps: dict[Kind, Steps] = {}

    def reads(self, kind: Kind, fields: CustomFields) -> None:
        """From now on translate answers of a kind with these custom fields."""
        self._steps[kind] = Steps(self.context, self.http, kind, fields, self.in_flight, full=True)

    def store(self, change: Change, body: Body, roles: Roles) -> Row | None:
        """The record as the write's answer shows it; `None` if there is nothing to write."""
        path = PATHS[change.kind]
        if change.act is Act.CREATE:
            call = call_for("POST", path)
        elif body.wire:
            call = call_for("PUT", path, ref_of(change).id)
        else:
            return None
        row = self.http.fetch(replace(call, json=body.wire), row_of)
        roles.allow()
        return row

    def stored(self, change: Change, body: Body, roles: Roles) -> Written:
        """The outcome of a write."""
        return self.outcome(change, body, self.store(change, body, roles))

    def delete(self, change: Change, roles: Roles) -> Written:
        """The outcome of a deletion."""
        ref = ref_of(change)
        # `{}`; a page that is not Close's proves nothing.
        self.http.fetch(call_for("DELETE", PATHS[change.kind], ref.id), Answer.json)
        roles.allow()
        return Written(change.id, Result.DONE, ref)

    def outcome(self, change: Change, body: Body, row: Row | None) -> Written:
        """What an answer says about a change; `None` means that there was nothing to send."""
        if row is None:
            if not body.left:
                return Written(change.id, Result.DONE, change.ref)
            name, reason = next(iter(body.left.items()))
            return Written(change.id, Result.REJECTED, field=name, reason=reason, unwritten=body.left)
        row = with_flat_custom(row, self.learnt.known().fields.get(change.kind, CustomFields()))
        whole = row.keys() >= _WHOLE[change.kind]
        left = {**dropped(body, row, judge=whole), **body.left}
        record: AnyRecord | None = None
        if whole:
            record = next(iter(self._steps[change.kind].translated([row]).records), None)
        ref = Ref(self.context.connection, change.kind, str(row["id"]))
        version = getattr(record, "version", None)
        return Written(change.id, Result.DONE, ref, version, record, unwritten=left)

    def before(self, change: Change, path: str, native: str, *needed: str) -> Row:
        """The record as it is, read before it is written.

        Raises:
            NotSent: It cannot be read, so nothing was written.
        """

        def read(answer: Answer) -> Row:
            row = answer.mapping()
            if not row.keys() >= {"id", *needed}:
                raise BadAnswer(f"the record comes without {', '.join(needed)}")
            return row

        return asked(change, lambda: self.http.fetch(call_for("GET", path, native), read))


def dropped(body: Body, row: Row, *, judge: bool) -> dict[str, str]:
    """Fields that Close took without a word and did not store.

    Args:
        body: What was sent.
        row: What the answer shows.
        judge: Whether the answer shows the whole record, so that what it lacks is not there.
    """
    left: dict[str, str] = {}
    for key, sent in body.wire.items():
        name = body.fields.get(key, key)
        if key.startswith("custom."):
            if judge and sent is not None and key not in row:
                left[name] = "Close did not store it"
        elif key in _ECHOED and key in row and not _same(sent, row[key]):
            left[name] = "Close stored another value"
        elif key == "date_created" and key in row and not _soon(sent, row[key]):
            left[name] = "Close stored another time"
    return left


def _same(sent: Any, stored: Any) -> bool:
    if sent == stored:
        return True
    # A day may be answered with a time.
    return isinstance(stored, str) and stored[10:11] == "T" and bool(sent == stored[:10])


def _soon(sent: Any, stored: Any) -> bool:
    given, there = readable(sent), readable(stored)
    return given is not None and there is not None and abs((there - given).total_seconds()) < _SOON_SECONDS


def row_of(answer: Answer) -> Row:
    """The record that a write answers with.

    Raises:
        BadAnswer: There is none, so nothing proves what happened.
    """
    row = answer.mapping()
    if not isinstance(row.get("id"), str):
        raise BadAnswer("the answer to a write has no id")
    return row


def rejected(change: Change, name: str | None, reason: str) -> NotSent:
    """A change that is refused on this side."""
    return NotSent(Written(change.id, Result.REJECTED, field=name, reason=reason))


def ref_of(change: Change) -> Ref:
    """The record that an update or a deletion is about."""
    if change.ref is None:
        raise rejected(change, None, "the change names no record")
    return change.ref


def call_for(method: str, path: str, native: str | None = None) -> Call:
    """A call to a list or, with an id, to one record; all but GET write."""
    group = path.strip("/").partition("/")[0]
    one = "" if native is None else f"{quote(native, safe='')}/"
    return Call(
        method,
        f"{path}{one}",
        headers={} if method == "GET" else _IN_UTC,
        buckets=(f"{method} {group}",),
        writes=method != "GET",
        label=f"{method} {path}{'{id}/' if one else ''}",
    )
