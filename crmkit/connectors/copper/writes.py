"""Carries changes out, ten a request where Copper can, and tells what became of each.

People, companies, opportunities and notes can be created ten at a time, people and companies
changed so too; everything else is one request each. The bulk endpoints are marked BETA: one
that is not there (or switched off for the account) is noticed at the first try, and single
requests take its place.

Source: https://developer.copper.com/opportunities/bulk-create-opportunities.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from crmkit.connectors.copper import answers
from crmkit.connectors.copper.answers import Refusal
from crmkit.connectors.copper.bodies import Ready, reads_first, ready
from crmkit.connectors.copper.choices import UNLISTED, Account, chunks
from crmkit.connectors.copper.dialect import PER_BULK
from crmkit.connectors.copper.keys import Finder
from crmkit.connectors.copper.records import ENTITIES
from crmkit.connectors.copper.settling import Outcomes, write_call
from crmkit.connectors.copper.steps import Wire
from crmkit.connectors.copper.values import Days, Row
from crmkit.connectors.http import Answer
from crmkit.connectors.sending import Job, halves, outcomes, send, stops, unanswered
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import (
    CredentialsError,
    CrmkitError,
    Interrupted,
    MissingScope,
    NotFound,
    Rejected,
)
from crmkit.model import Kind

PATHS = {
    Kind.DEAL: "opportunities",
    Kind.COMPANY: "companies",
    Kind.CONTACT: "people",
    Kind.NOTE: "activities",
}
# What is documented today, or was seen in use. Changing opportunities in bulk is neither, so
# it is only tried where it would save many requests.
IN_BULK = frozenset(
    {
        *((kind, Act.CREATE) for kind in PATHS),
        (Kind.COMPANY, Act.UPDATE),
        (Kind.CONTACT, Act.UPDATE),
    }
)
TRY_BULK_FROM = 10
_SIZE_WORDS = ("limit", "maximum", "at most", "too many", "too large")


class Writer:
    """The writing side of one connection.

    Args:
        wire: Sends calls.
        account: Settings and lists of the account.
        days: How days are read.
        in_flight: How many requests run side by side.
    """

    def __init__(self, wire: Wire, account: Account, days: Days, in_flight: int) -> None:
        self.wire = wire
        self.account = account
        self.finder = Finder(wire)
        # Whether a bulk endpoint answers; absent until one was tried.
        self.bulk: dict[tuple[Kind, Act], bool] = {}
        self._per_bulk = PER_BULK
        self._outcomes = Outcomes(wire, account, days, self.finder)
        self._in_flight = in_flight
        # What made the rest of a request's stand-ins pointless, for example refused credentials.
        self._stopped: CrmkitError | None = None

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """One outcome for each change, in groups; all of one kind and act."""
        try:
            prepared, done = self._prepared(changes)
        except CrmkitError as error:
            # Only reading went wrong: nothing was sent that changes anything.
            yield [Written(change.id, Result.UNSENT, reason=str(error)) for change in changes]
            if isinstance(error, CredentialsError | Interrupted):
                raise
            return
        if done:
            yield done
        if not prepared:
            return
        self._stopped = None
        kind, act = changes[0].kind, changes[0].act
        size = self._group_size(kind, act, len(prepared))
        groups = chunks(prepared, size)
        if size > 1 and (kind, act) not in self.bulk:
            # One request shows whether the endpoint is there; the others wait for it.
            rest = prepared[size:]
            try:
                yield from send([self._job(groups[0])], 1)
                self._raise_stopped()
            except (CredentialsError, Interrupted) as error:
                yield [Written(one.change.id, Result.UNSENT, reason=str(error)) for one in rest]
                raise
            groups = chunks(rest, self._group_size(kind, act, len(prepared)))
        yield from send([self._job(group) for group in groups], self._in_flight)
        self._raise_stopped()

    def forget_fields(self) -> None:
        """Custom fields changed: answers are read anew with the account's book."""
        self._outcomes.forget()

    def _raise_stopped(self) -> None:
        if isinstance(self._stopped, CredentialsError | Interrupted):
            raise self._stopped

    def _group_size(self, kind: Kind, act: Act, count: int) -> int:
        known = self.bulk.get((kind, act))
        if known is None:
            likely = (kind, act) in IN_BULK
            may = act is not Act.DELETE and kind is not Kind.NOTE and count >= TRY_BULK_FROM
            known = likely or may
        return self._per_bulk if known else 1

    def _job(self, group: Sequence[Ready]) -> Job:
        return Job([one.change for one in group], partial(self._carry_out, group))

    # Before anything is sent.

    def _prepared(self, changes: Sequence[Change]) -> tuple[list[Ready], list[Written]]:
        """Bodies of the changes, and outcomes of those that are not sent at all."""
        kind, act = changes[0].kind, changes[0].act
        if act is Act.DELETE:
            return self._addressed([Ready(change) for change in changes])
        self._read_lists(kind, fresh=False)
        current = self._current(kind, [change for change in changes if reads_first(change)])
        bodies = [ready(change, self.account, _row(current, change)) for change in changes]
        if kind in ENTITIES and any(_names_missing(body) for body in bodies):
            # The list may be older than the option.
            self._read_lists(kind, fresh=True)
            bodies = [ready(change, self.account, _row(current, change)) for change in changes]
        good, done = self._addressed(bodies) if act is Act.UPDATE else (bodies, [])
        to_send: list[Ready] = []
        for body in good:
            change = body.change
            if reads_first(change) and _row(current, change) is None:
                done.append(Written(change.id, Result.GONE))
            elif body.refused:
                done.append(_not_sent(body, body.refused))
            elif act is Act.UPDATE and not body.body and not body.links:
                done.append(_nothing_to_write(body))
            else:
                to_send.append(body)
        return to_send, done

    @staticmethod
    def _addressed(bodies: Sequence[Ready]) -> tuple[list[Ready], list[Written]]:
        """Those that name a record of Copper; what is no number cannot be one."""
        good: list[Ready] = []
        bad: list[Written] = []
        for body in bodies:
            if body.change.ref and body.change.ref.id.isdecimal():
                good.append(body)
            else:
                bad.append(Written(body.change.id, Result.GONE, reason="the id is not one of Copper's"))
        return good, bad

    def _read_lists(self, kind: Kind, *, fresh: bool) -> None:
        book = self.account.book
        if kind in ENTITIES and (fresh or book.definitions is None):
            book.learn_definitions(self.wire.listed("/custom_field_definitions")[0])
        if kind is Kind.DEAL and (fresh or book.loss_reasons is None):
            book.loss_reasons = self.wire.named("/loss_reasons")
        if kind is Kind.DEAL and (fresh or book.sources is None):
            book.sources = self.wire.named("/customer_sources")
        self._outcomes.learn(kind, fresh=fresh)

    def _current(self, kind: Kind, changes: Sequence[Change]) -> dict[int, Row]:
        natives = [int(change.ref.id) for change in changes if change.ref and change.ref.id.isdecimal()]
        return self.wire.current(kind, natives)

    # Sending.

    def _carry_out(self, group: Sequence[Ready]) -> list[Written]:
        key = group[0].change.kind, group[0].change.act
        if len(group) == 1:
            return [self._single(group[0])]
        if self.bulk.get(key) is False:
            return self._parts([[one] for one in group])
        if len(group) > self._per_bulk:
            return self._parts(chunks(group, self._per_bulk))
        return self._bulk(group)

    def _parts(self, groups: Sequence[Sequence[Ready]]) -> list[Written]:
        """Several requests in the place of one: what one of them meets is not the others' outcome."""
        done: list[Written] = []
        stopped: CrmkitError | None = None
        for group in groups:
            changes = [one.change for one in group]
            if stopped is not None:
                done += [Written(change.id, Result.UNSENT, reason=str(stopped)) for change in changes]
                continue
            try:
                done += self._carry_out(group)
            except CrmkitError as error:
                done += outcomes(changes, error)
                stopped = error if stops(error) else None
                self._stopped = stopped or self._stopped
        return done

    def _bulk(self, group: Sequence[Ready]) -> list[Written]:
        kind, act = group[0].change.kind, group[0].change.act
        path = f"/{PATHS[kind]}/bulk_{act}"
        body = {PATHS[kind]: [_bulk_item(one) for one in group]}
        request = write_call("POST", path, body, bulk=True)
        try:
            items = self.wire.http.fetch(request, Answer.rows)
        except NotFound:
            self.bulk[kind, act] = False
            return self._parts([[one] for one in group])
        except MissingScope:
            if self.bulk.get((kind, act)):
                raise
            self.bulk[kind, act] = False
            return self._parts([[one] for one in group])
        except Rejected as error:
            return self._smaller(group, str(error))
        self.bulk[kind, act] = True
        return self._read_items(group, items)

    def _smaller(self, group: Sequence[Ready], said: str) -> list[Written]:
        """The same in halves after the whole was refused, down to single requests."""
        if _too_many(said):
            self._per_bulk = min(self._per_bulk, max(1, len(group) // 2))
        changes = {one.change.id: one for one in group}
        parts = [[changes[change.id] for change in half] for half in halves([one.change for one in group])]
        done = self._parts(parts)
        kind, act = group[0].change.kind, group[0].change.act
        if len(group) >= 4 and (kind, act) not in self.bulk:
            # Not even a half was taken in bulk: whatever the endpoint is, it does not serve.
            self.bulk[kind, act] = False
        return done

    def _read_items(self, group: Sequence[Ready], items: Sequence[Any]) -> list[Written]:
        found = answers.paired(group, items)
        done: list[Written] = []
        refused: list[tuple[Ready, Refusal]] = []
        for one in group:
            item = found.get(one.change.id)
            if item is None:
                continue
            if answers.is_record(item):
                done.append(self._outcomes.written(one, item))
            else:
                refused.append((one, answers.refused_item(item)))
        done += self._outcomes.refused(refused)
        return done + unanswered([one.change for one in group], done)

    def _single(self, one: Ready) -> Written:
        change = one.change
        path = f"/{PATHS[change.kind]}"
        native = None if change.ref is None else int(change.ref.id)
        method = {Act.CREATE: "POST", Act.UPDATE: "PUT", Act.DELETE: "DELETE"}[change.act]
        address, label = (path, path) if native is None else (f"{path}/{native}", f"{path}/{{id}}")
        body = None if change.act is Act.DELETE else one.body
        request = write_call(method, address, body, label=f"{method} {label}")
        try:
            row = self.wire.http.fetch(request, lambda answer: answers.a_record(answer.mapping(), native))
        except Rejected as error:
            if isinstance(error, NotFound) and change.act is not Act.CREATE:
                return Written(change.id, Result.GONE, reason=answers.cut(str(error)))
            return self._outcomes.refused([(one, answers.refused_text(str(error)))])[0]
        if change.act is Act.DELETE:
            return Written(change.id, Result.DONE, change.ref)
        return self._outcomes.written(one, row)


def _too_many(said: str) -> bool:
    """Whether the size of a batch was refused: `{"error": "<text with the limit>"}`, of which
    the documentation says that it may change."""
    text = said.lower()
    return "validation" not in text and any(word in text for word in _SIZE_WORDS)


def _bulk_item(one: Ready) -> Row:
    ref = one.change.ref
    return one.body if ref is None else {"id": int(ref.id), **one.body}


def _row(current: Mapping[int, Row], change: Change) -> Row | None:
    ref = change.ref
    return current.get(int(ref.id)) if ref and ref.id.isdecimal() else None


def _names_missing(body: Ready) -> bool:
    return any(reason.startswith(UNLISTED) for reason in body.unwritten.values())


def _not_sent(body: Ready, reasons: Mapping[str, str]) -> Written:
    field, reason = next(iter(reasons.items()))
    unwritten = dict(body.unwritten)
    return Written(body.change.id, Result.REJECTED, field=field, reason=reason, unwritten=unwritten)


def _nothing_to_write(body: Ready) -> Written:
    if not body.unwritten:
        return Written(body.change.id, Result.DONE, body.change.ref)
    return _not_sent(body, body.unwritten)
