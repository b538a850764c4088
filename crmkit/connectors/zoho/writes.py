"""Creates, updates and deletes records, a hundred at a time.

A create is a plain one, never an upsert: repeated after an unknown outcome, an upsert
would overwrite what somebody edited meanwhile. The unique key field makes Zoho itself
refuse a second record.

Source: https://www.zoho.com/crm/developer/docs/api/v8/insert-records.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from crmkit.connectors import sending
from crmkit.connectors.base import Context
from crmkit.connectors.sending import Job, stops
from crmkit.connectors.writing import Act, Budget, Change, Lookup, Result, Written
from crmkit.connectors.zoho import answers
from crmkit.connectors.zoho.bodies import Refused, body
from crmkit.connectors.zoho.calls import Raw
from crmkit.connectors.zoho.columns import KEY_FIELD, MODULES
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.keys import RecordKeys, usable
from crmkit.connectors.zoho.notes import note_body
from crmkit.connectors.zoho.posts import Posts
from crmkit.connectors.zoho.roles import Roles, further
from crmkit.connectors.zoho.shape import Shape, Shapes
from crmkit.errors import CrmkitError, NotFound
from crmkit.model import Kind, Ref

ROWS_PER_WRITE = 100
_ROWS_PER_CREDIT = 10
# The whole request is wrong, whichever rows it carries: nothing is said about their values.
_NOT_THE_ROWS = {"INVALID_MODULE", "INVALID_REQUEST_METHOD", "INVALID_URL_PATTERN", "REQUIRED_PARAM_MISSING"}
_NOT_THE_ROWS |= {"NOT_SUPPORTED", "FEATURE_NOT_SUPPORTED", "NOT_ALLOWED"}


@dataclass(frozen=True, slots=True)
class Item:
    """A change and the row that carries it out."""

    change: Change
    row: Raw
    unwritten: Mapping[str, str]


class Writes:
    """Writes the records of one connection.

    Args:
        context: Name and secrets of the connection.
        posts: Sends what changes something.
        shapes: What the org lets be written.
        keys: Finds records by key.
        roles: Links further contacts to deals.
        short: Makes Zoho's words fit for messages.
        in_flight: How many requests at once.
    """

    def __init__(
        self,
        context: Context,
        posts: Posts,
        shapes: Shapes,
        keys: RecordKeys,
        roles: Roles,
        short: Callable[[str], str],
        in_flight: int,
    ) -> None:
        self._connection = context.connection
        self._posts = posts
        self._shapes = shapes
        self._keys = keys
        self._roles = roles
        self._short = short
        self._in_flight = in_flight

    def run(self, act: Act, kind: Kind, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """The outcomes of changes of one act and kind; see `Connector.write`."""
        try:
            items, settled = self._items(act, kind, changes)
        except CrmkitError as error:
            # Nothing was sent yet: what the org lets be written could not be read.
            yield [Written(change.id, Result.UNSENT, reason=str(error)) for change in changes]
            if stops(error):
                raise
            return
        if settled:
            yield settled
        jobs = [
            Job([item.change for item in batch], partial(self._batch, act, kind, batch))
            for batch in batches(act, items)
        ]
        yield from sending.send(jobs, self._in_flight)

    def _items(self, act: Act, kind: Kind, changes: Sequence[Change]) -> tuple[list[Item], list[Written]]:
        """What is to be sent, and the outcomes of what is not."""
        items: list[Item] = []
        settled: list[Written] = []
        shape = Shape() if act is Act.DELETE or kind is Kind.NOTE else self._shape(kind, changes)
        taken: set[str] = set()
        for change in changes:
            if act is not Act.CREATE and not _real(change.ref):
                settled.append(Written(change.id, Result.GONE, reason="this cannot be an id of Zoho"))
            elif change.key and kind is not Kind.NOTE and not usable(shape.meta(KEY_FIELD)):
                reason = f"{MODULES[kind]} has no unique field {KEY_FIELD}: prepare the connection first"
                settled.append(Written(change.id, Result.UNSENT, reason=reason))
            elif change.key and change.key in taken:
                # What Zoho does with two equal keys in one batch is not documented.
                reason = "another change of this call carries the same key"
                settled.append(Written(change.id, Result.UNSENT, reason=reason))
            else:
                taken |= {change.key} if change.key else set()
                one = self._item(act, kind, change, shape)
                (items if isinstance(one, Item) else settled).append(one)  # type: ignore[arg-type]
        return items, settled

    def _shape(self, kind: Kind, changes: Sequence[Change]) -> Shape:
        shape = self._shapes.load(kind)
        stages = {one for change in changes if (one := change.values.get("stage_id"))}
        pipelines = {one for change in changes if (one := change.values.get("pipeline_id"))}
        known = kind is not Kind.DEAL or shape.knows(stages, pipelines)
        keyed = not any(change.key for change in changes) or usable(shape.meta(KEY_FIELD))
        # Made since the metadata was read, maybe a moment ago by another process.
        return shape if known and keyed else self._shapes.reload(kind)

    def _item(self, act: Act, kind: Kind, change: Change, shape: Shape) -> Item | Written:
        if act is Act.DELETE:
            return Item(change, {}, {})
        creating = act is Act.CREATE
        try:
            if kind is Kind.NOTE:
                made = note_body(change)
            else:
                made = body(kind, change.values, shape, creating=creating)
        except Refused as refused:
            return Written(change.id, Result.REJECTED, field=refused.field, reason=str(refused))
        if not creating and not made.row:
            return _nothing_to_write(change, made.unwritten)
        row = made.row
        if change.ref is not None:
            row = {"id": change.ref.id, **row}
        elif change.key and kind is not Kind.NOTE:
            row = {**row, KEY_FIELD: change.key}
        return Item(change, row, made.unwritten)

    def _batch(self, act: Act, kind: Kind, items: Sequence[Item]) -> list[Written]:
        """The outcomes of one batch, which is sent in halves if it is refused as a whole."""
        changes = [item.change for item in items]
        try:
            rows = self._send(act, kind, items)
        except ZohoRefused as error:
            if error.code in _NOT_THE_ROWS and not error.rows:
                return [Written(change.id, Result.UNSENT, reason=str(error)) for change in changes]
            whole = len(error.rows) != len(items) and not any(map(answers.succeeded, error.rows))
            if whole and len(items) > 1:
                return self._halves(act, kind, items)
            rows = [_as_row(error)] if whole else error.rows
        except NotFound as error:
            # An unknown record is never a 404 with Zoho: this is a wrong address.
            return [Written(change.id, Result.UNSENT, reason=str(error)) for change in changes]
        found = answers.outcomes(changes, rows, self._connection, self._short)
        return self._finish(kind, items, self._look_up(kind, found, changes))

    def _halves(self, act: Act, kind: Kind, items: Sequence[Item]) -> list[Written]:
        middle = len(items) // 2
        found: list[Written] = []
        for half in (items[:middle], items[middle:]):
            try:
                found += self._batch(act, kind, half)
            except CrmkitError as error:
                found += sending.outcomes([item.change for item in half], error)
        return found

    def _send(self, act: Act, kind: Kind, items: Sequence[Item]) -> Sequence[answers.Row]:
        path = f"/{MODULES[kind]}"
        if act is Act.DELETE:
            ids = ",".join(item.change.ref.id for item in items if item.change.ref)
            return self._posts.send("DELETE", path, params={"ids": ids, "wf_trigger": "false"})
        rows: dict[str, Any] = {"data": [item.row for item in items]}
        if kind is not Kind.NOTE:
            # Left out, it would mean that workflows, approvals and blueprints run. Notes start
            # none, and their endpoint does not take it.
            rows["trigger"] = []
        method = "POST" if act is Act.CREATE else "PUT"
        return self._posts.send(method, path, json=rows, headers=unmodified(items))

    def _look_up(self, kind: Kind, found: Sequence[Written], changes: Sequence[Change]) -> list[Written]:
        """Refused creates may have met their own key: not every clash says so."""
        keys = {change.id: change.key for change in changes if change.key and change.act is Act.CREATE}
        refused = [one for one in found if one.result is Result.REJECTED and one.id in keys]
        if not refused or kind is Kind.NOTE:
            return list(found)
        try:
            there = self._keys.find(kind, [Lookup(kind, keys[one.id] or "") for one in refused])
        except CrmkitError as error:
            odd = {one.id for one in refused}
            reason = f"it was refused, and whether it exists could not be found out: {error}"
            return [Written(one.id, Result.UNKNOWN, reason=reason) if one.id in odd else one for one in found]
        refs = {one.id: there.get(keys[one.id] or "") for one in refused}
        return [
            Written(one.id, Result.EXISTS, known[0], reason=one.reason)
            if (known := refs.get(one.id))
            else one
            for one in found
        ]

    def _finish(self, kind: Kind, items: Sequence[Item], found: Sequence[Written]) -> list[Written]:
        """The outcomes with what could not be written, after linking further contacts."""
        by_id = {item.change.id: item for item in items}
        finished: list[Written] = []
        for one in found:
            item = by_id[one.id]
            if one.result is Result.DONE:
                unwritten = dict(item.unwritten)
                if kind is Kind.DEAL and one.ref is not None and further(item.change):
                    problem = self._roles.link(one.ref.id, further(item.change))
                    unwritten |= {"contacts": problem} if problem else {}
                finished.append(replace(one, unwritten=unwritten))
            else:
                finished.append(one)
        return finished


def batches(act: Act, items: Sequence[Item]) -> list[Sequence[Item]]:
    """Items by request: updates that Zoho is to check go together, in the order of reading."""
    if act is Act.UPDATE:
        checked = sorted((one for one in items if one.change.read_at), key=_read_at)
        groups = [checked, [one for one in items if not one.change.read_at]]
    else:
        groups = [list(items)]
    return [
        group[start : start + ROWS_PER_WRITE]
        for group in groups
        for start in range(0, len(group), ROWS_PER_WRITE)
    ]


def unmodified(items: Sequence[Item]) -> Mapping[str, str]:
    """The header by which Zoho refuses rows that changed after the first of them was read.

    Zoho knows whole seconds only, so a change in the second of the read may have come after
    it: a second earlier is asked for. A row that was changed right before it was read is then
    refused without need, which costs one more read and loses nothing.
    """
    moments = [item.change.read_at for item in items if item.change.read_at]
    if not moments or items[0].change.act is not Act.UPDATE:
        return {}
    first = min(moments).astimezone(UTC).replace(microsecond=0) - timedelta(seconds=1)
    return {"If-Unmodified-Since": first.isoformat()}


def budget(changes: Sequence[Change]) -> Budget:
    """Requests and credits; Zoho limits neither by time, so there is no floor in seconds."""
    counts: dict[tuple[Act, Kind, bool], int] = {}
    roles = 0
    for change in changes:
        checked = change.act is Act.UPDATE and change.read_at is not None
        group = change.act, change.kind, checked
        counts[group] = counts.get(group, 0) + 1
        if change.kind is Kind.DEAL and further(change):
            roles += 1
    requests = credit = 0
    for (act, kind, _), count in counts.items():
        size = 1 if kind is Kind.PIPELINE else ROWS_PER_WRITE
        calls = -(-count // size)
        requests += calls
        small = act is Act.DELETE or kind is Kind.PIPELINE
        credit += calls if small else -(-count // _ROWS_PER_CREDIT)
    if roles:
        roles += 1  # the list of roles
    return Budget(requests + roles, 0.0, credit + roles)


def _nothing_to_write(change: Change, unwritten: Mapping[str, str]) -> Written:
    if unwritten:
        name, reason = next(iter(unwritten.items()))
        return Written(change.id, Result.REJECTED, field=name, reason=reason)
    return Written(change.id, Result.DONE, change.ref, reason="Zoho keeps nothing of this apart")


def _as_row(error: ZohoRefused) -> answers.Row:
    """A refusal of a request with one row, as the outcome of that row."""
    return {"code": error.code, "details": error.details, "message": str(error), "status": "error"}


def _read_at(item: Item) -> datetime:
    return item.change.read_at or datetime.min.replace(tzinfo=UTC)


def _real(ref: Ref | None) -> bool:
    return ref is not None and ref.id.isascii() and ref.id.isdigit()
