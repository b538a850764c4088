"""Writing deals, companies, contacts and comments: requests, and one outcome per change.

Fifty changes go in one batch. A batch cannot empty a list of links, and the portal leaves
some fields as they were when they are cleared; both take a second, smaller round for the
records concerned, after which they are read again.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/index.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import COMMANDS, command
from crmkit.connectors.bitrix24.customs import Customs
from crmkit.connectors.bitrix24.encoding import CustomFields, Unwritable
from crmkit.connectors.bitrix24.getting import ENTITY_TYPES
from crmkit.connectors.bitrix24.keys import find
from crmkit.connectors.bitrix24.multifields import TYPES, another_domain, edits, identifiable
from crmkit.connectors.bitrix24.records import Rows
from crmkit.connectors.bitrix24.sender import PILOT, Sender
from crmkit.connectors.bitrix24.settling import (
    KEPT_OTHERWISE,
    REASON_CHARACTERS,
    done,
    field_names,
    item_of,
    not_taken,
    record_of,
    refused,
    whole,
)
from crmkit.connectors.bitrix24.steps import (
    IMPORT,
    TIMES,
    UPDATE,
    Step,
    is_done,
    method_of,
    multi_names,
    place_of,
    prepare,
    puzzling,
    refused_create,
    refused_import,
    repairs,
    slices,
    with_unwritten,
)
from crmkit.connectors.bitrix24.wire import Request
from crmkit.connectors.sending import Job, outcomes, send, stops, unanswered
from crmkit.connectors.writing import Act, Change, Lookup, Result, Written
from crmkit.errors import CredentialsError, CrmkitError, Interrupted, MissingScope, Rejected
from crmkit.model import Kind, Ref


class Writer:
    """Writes what a portal keeps in `crm.item.*`, and comments.

    Args:
        portal: Where to.
        context: Name and outside world of the connection.
        sender: Sends batches.
        kind: What is written.
        customs: Its fields, as the portal describes them.
        in_flight: How many batches may be under way at once.
    """

    def __init__(
        self,
        portal: Portal,
        context: Context,
        sender: Sender,
        kind: Kind,
        customs: CustomFields,
        in_flight: int,
    ) -> None:
        self._portal = portal
        self._context = context
        self._sender = sender
        self._kind = kind
        self._customs = customs
        self._in_flight = in_flight
        self._readers = Customs(customs.described)
        self._fields = field_names(kind, customs.described)
        self._stopped: CrmkitError | None = None

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """Outcomes of changes of one act, as they become known."""
        plain = [one for one in changes if method_of(one) != IMPORT]
        # Rows of an import must not be older than those before them, so they go one batch after the other.
        imported = sorted(
            (one for one in changes if method_of(one) == IMPORT), key=lambda one: one.values["created_at"]
        )
        yield from self._send(plain, self._in_flight)
        yield from self._send(imported, 1)
        if isinstance(self._stopped, CredentialsError | Interrupted):
            raise self._stopped

    def _send(self, changes: Sequence[Change], in_flight: int) -> Iterator[Sequence[Written]]:
        if not changes:
            return
        method = method_of(changes[0])
        if not self._sender.proven(method) and len(changes) > PILOT:
            yield from send([self._job(changes[:PILOT])], 1)
            changes = changes[PILOT:]
        parts = slices(changes, self._sender.size(method), proven=True)
        yield from send([self._job(part) for part in parts], in_flight)

    def _job(self, changes: Sequence[Change]) -> Job:
        return Job(changes, lambda: self._run(changes))

    def _run(self, changes: Sequence[Change]) -> Sequence[Written]:
        """Outcomes of one batch. What is known by then outlives an error that ends it."""
        if self._stopped is not None:
            raise self._stopped
        steps = [Step(change, ref=change.ref) for change in changes]
        try:
            self._carry_out(steps)
        except CrmkitError as error:
            if stops(error):
                self._stopped = error
            open_changes = [step.change for step in steps if step.written is None]
            rest = outcomes(open_changes, error)
        else:
            rest = []
        found = [with_unwritten(step, step.written) for step in steps if step.written is not None] + rest
        return [*found, *unanswered(changes, found)]

    def _carry_out(self, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                prepare(step, self._kind, self._customs)
            except Unwritable as error:
                reason = f"{error.field} {error.reason}"
                step.written = Written(step.change.id, Result.REJECTED, field=error.field, reason=reason)
        self._edit_multifields([step for step in steps if step.written is None and step.body.multi])
        self._first_round([step for step in steps if step.written is None and step.request])
        self._without_times([step for step in steps if refused_import(step)])
        self._look_up([step for step in steps if refused_create(step)])
        second = [step for step in steps if step.fixes or step.check]
        if second:
            self._second_round(second)
        for step in steps:
            if step.written is None and step.request is None:
                step.written = Written(step.change.id, Result.DONE, step.ref)  # nothing had to be done

    # -- making requests

    def _edit_multifields(self, steps: Sequence[Step]) -> None:
        """Phones, e-mail and web addresses are changed row by row, so the rows are read first."""
        gets = {
            f"g{index}": command("crm.item.get", *place_of(self._kind, step))
            for index, step in enumerate(steps)
        }
        results = self._portal.run(gets, tolerated=gets)
        for key, step in zip(gets, steps, strict=True):
            if (error := results.errors.get(key)) is not None:
                # A record that may not be read is no reason to try it again and again.
                kept_out = Rejected(str(error)) if isinstance(error, MissingScope) else error
                step.written = refused(step.change, kept_out, self._fields)
                continue
            rows = results.values[key].get("fm")
            if not identifiable(rows):
                reason = "the portal does not tell the ids of its rows"
                step.body.unwritten |= dict.fromkeys(multi_names(step), reason)
                continue
            if another_domain(rows, step.body.multi):
                step.body.unwritten["domain"] = "the company has web addresses of other hosts, which stay"
            changed = edits(rows, step.body.multi)
            if changed:
                fields = dict(step.request.params["fields"]) if step.request else {}
                place = {"entityTypeId": ENTITY_TYPES[self._kind], "id": step.ref.id if step.ref else ""}
                step.request = Request(UPDATE, {**place, "fields": {**fields, "fm": changed}})

    # -- the first round

    def _first_round(self, steps: Sequence[Step]) -> None:
        by_key = {f"w{index}": step for index, step in enumerate(steps)}

        def take(key: str, value: object, error: CrmkitError | None) -> None:
            step = by_key[key]
            if error is not None:
                step.written = refused(step.change, error, self._fields)
            else:
                self._executed(step, value)

        self._sender.send({key: step.request for key, step in by_key.items() if step.request}, take)

    def _executed(self, step: Step, value: Any) -> None:
        change, connection = step.change, self._context.connection
        if self._kind is Kind.NOTE and change.act is Act.CREATE:
            native = str(value) if isinstance(value, (int, str)) and str(value).isdecimal() else None
            step.written = (
                Written(change.id, Result.DONE, Ref(connection, Kind.NOTE, native))
                if native
                else puzzling(change)
            )
            return
        if change.act is Act.DELETE:
            step.written = Written(change.id, Result.DONE, change.ref)
            return
        row = item_of(value)
        if row is None or (change.ref is not None and str(row["id"]) != change.ref.id):
            step.written = puzzling(change)
            return
        step.ref = Ref(connection, self._kind, str(row["id"]))
        if step.request is not None and step.request.method == IMPORT and not whole(self._kind, row):
            step.check = True  # an import answers no more than the id
        self._judge(step, row, retry=True)
        if step.fixes:
            # Until the second round has run, this is what is known.
            pending = {name: "was not reached" for _, names in step.fixes for name in names}
            step.written = Written(change.id, Result.DONE, step.ref, unwritten=pending)

    def _judge(self, step: Step, row: Mapping[str, Any], *, retry: bool) -> None:
        """The outcome from the row that the portal shows; what can be set right is noted for it."""
        record = record_of(self._rows(), self._kind, row)
        emptied = set(step.body.emptied)
        kept = [
            name
            for name in not_taken(self._kind, row, record, step.change.values, self._customs)
            if name not in step.body.unwritten and not (retry and name in emptied)
            if not (name == "currency" and step.change.values.get("amount") is None)
        ]
        if retry and set(kept) & TYPES.keys():
            # Whether the answer shows phones as they are after the write is not promised: read them.
            step.check = True
            kept = [name for name in kept if name not in TYPES]
        if retry:
            step.fixes += repairs(step, kept, self._kind, self._customs)
            kept = [name for name in kept if not any(name in names for _, names in step.fixes)]
        complete = record is not None and whole(self._kind, row) and not step.fixes
        written = done(step.change, step.ref or Ref("", self._kind, ""), record, complete=complete)
        step.written = replace(written, unwritten=dict.fromkeys(kept, KEPT_OTHERWISE))

    def _without_times(self, steps: Sequence[Step]) -> None:
        """Import once more without times: only an administrator may set them, and in order only."""
        if not steps:
            return
        for step in steps:
            reason = step.written.reason if step.written else ""
            request = step.request
            if request is not None:
                fields = {name: one for name, one in request.params["fields"].items() if name not in TIMES}
                times = [TIMES[name] for name in request.params["fields"] if name in TIMES]
                step.body.unwritten |= dict.fromkeys(times, reason)
                step.request = Request(request.method, {**request.params, "fields": fields})
                step.written = None
        self._first_round(steps)

    def _look_up(self, steps: Sequence[Step]) -> None:
        """A create that was refused although its record is there: somebody made it before."""
        lookups = [Lookup(self._kind, step.change.key) for step in steps if step.change.key]
        if not lookups or self._kind is Kind.NOTE:
            return
        there = find(self._portal, self._context, lookups)
        for step in steps:
            if refs := there.get(step.change.key or ""):
                step.written = Written(step.change.id, Result.EXISTS, refs[0], reason="the key is taken")

    # -- the second round

    def _second_round(self, steps: Sequence[Step]) -> None:
        flat = [
            (step, request, names)
            for step in steps
            if step.written is None or step.written.result is Result.DONE
            for request, names in step.fixes
        ]
        for begin in range(0, len(flat), COMMANDS):
            self._fix(flat[begin : begin + COMMANDS])
        again = [step for step in steps if step.ref is not None and is_done(step)]
        gets = {
            f"g{index}": command("crm.item.get", *place_of(self._kind, step))
            for index, step in enumerate(again)
        }
        try:
            results = self._portal.run(gets, tolerated=gets)
        except CrmkitError as error:
            if stops(error):
                self._stopped = error
            return  # what was done stays done; only its check is missing
        for key, step in zip(gets, again, strict=True):
            before = step.written.unwritten if step.written else {}
            if key in results.values:
                self._judge(step, results.values[key], retry=False)
                if step.written is not None:
                    # The record was read after the write, so it is not the write's own answer.
                    told = {**before, **step.written.unwritten}
                    step.written = replace(step.written, record=None, version=None, unwritten=told)

    def _fix(self, flat: Sequence[tuple[Step, Request, tuple[str, ...]]]) -> None:
        by_key = {f"f{index}": one for index, one in enumerate(flat)}
        left = dict(by_key)

        def take(key: str, value: object, error: CrmkitError | None) -> None:
            step, _, names = left.pop(key)
            self._fixed(step, names, error)

        try:
            self._sender.send({key: request for key, (_, request, _) in by_key.items()}, take)
        except CrmkitError as error:
            if stops(error):
                self._stopped = error
            for step, _, names in left.values():
                self._fixed(step, names, error)

    def _fixed(self, step: Step, names: Sequence[str], error: CrmkitError | None) -> None:
        alone = step.request is None
        change, before = step.change, step.written or Written(step.change.id, Result.DONE, step.ref)
        told = {name: why for name, why in before.unwritten.items() if name not in names}
        if error is None:
            step.written = replace(before, unwritten=told)
            return
        outcome = refused(change, error, self._fields)
        if alone and step.written is None:
            step.written = replace(outcome, field=outcome.field or names[0])
        elif outcome.result is Result.UNKNOWN:
            step.written = Written(change.id, Result.UNKNOWN, step.ref, reason=outcome.reason)
        elif before.result is Result.DONE:
            reason = str(error)[:REASON_CHARACTERS]
            step.written = replace(before, unwritten={**told, **dict.fromkeys(names, reason)})

    def _rows(self) -> Rows:
        return Rows(self._context.connection, self._portal.root, self._readers)
