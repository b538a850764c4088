"""Carries out changes in batches, and reads from the answers what became of each.

Creates are plain ones that carry our key, never upserts: an upsert that is repeated after
an unknown outcome would overwrite what somebody edited in between. Every input has a trace
id, so that good ones are created beside bad ones. Sources: contracts/hubspot.md, sections
2, 6, 9, 12 and 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot.bodies import (
    ADDITIONAL_EMAILS,
    LINKS,
    associations,
    carries,
    marked,
    note_body,
    split_role,
    wire_text,
)
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, LINKS_LIMIT
from crmkit.connectors.hubspot.dialect import Refusal
from crmkit.connectors.hubspot.holding import Known, cannot_hold
from crmkit.connectors.hubspot.linking import Linker, Trouble
from crmkit.connectors.hubspot.posts import Posts
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import KEY_PROPERTY, WIRES
from crmkit.connectors.hubspot.settling import Reply, settle, trace
from crmkit.connectors.hubspot.structure import Builder
from crmkit.connectors.hubspot.verdicts import Verdicts, sent
from crmkit.connectors.sending import Job, halves, outcomes, send, stops
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, NotFound, Rejected
from crmkit.model import Kind

Row = dict[str, Any]


class Writer:
    """Writes records of one portal.

    Args:
        context: The connection.
        posts: HubSpot's write endpoints.
        verdicts: Says what became of changes that were refused.
        linker: Writes links of records that exist.
        builder: Writes pipelines.
        known: What was read of the portal so far, for a kind.
        in_flight: How many calls may run at once.
    """

    def __init__(
        self,
        context: Context,
        posts: Posts,
        verdicts: Verdicts,
        linker: Linker,
        builder: Builder,
        known: Callable[[Kind], Known],
        in_flight: int,
    ) -> None:
        self._connection = context.connection
        self._context = context
        self._posts = posts
        self._verdicts = verdicts
        self._linker = linker
        self._builder = builder
        self._known = known
        self._in_flight = in_flight

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """Outcomes in groups, as they are known."""
        for kind, act in dict.fromkeys((change.kind, change.act) for change in changes):
            mine = [change for change in changes if (change.kind, change.act) == (kind, act)]
            if kind is Kind.PIPELINE:
                yield from send([_job([one], self._pipelines) for one in mine], 1)
            elif act is Act.DELETE:
                yield from self._sent(mine, self._archive)
            elif act is Act.CREATE:
                yield from self._creates(kind, mine)
            else:
                yield from (group for group in self._updates(kind, mine) if group)

    def _pipelines(self, changes: Sequence[Change]) -> list[Written]:
        return [self._builder.write(change) for change in changes]

    def _sent(
        self, changes: Sequence[Change], run: Callable[[Sequence[Change]], Sequence[Written]]
    ) -> Iterator[Sequence[Written]]:
        batches = [changes[at : at + BATCH_LIMIT] for at in range(0, len(changes), BATCH_LIMIT)]
        yield from send([_job(batch, run) for batch in batches], self._in_flight)

    # deletes

    def _archive(self, changes: Sequence[Change]) -> list[Written]:
        def attempt(some: Sequence[Change]) -> Reply:
            self._posts.archive(WIRES[some[0].kind].of, [change.ref.id for change in some if change.ref])
            # An id that is not there is passed over, so that gone ones count as done.
            return Reply([Written(change.id, Result.DONE, change.ref) for change in some])

        return self._verdicts.of(changes, self._bisected(changes, attempt))

    # creates

    def _creates(self, kind: Kind, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        known = self._known(kind)
        ready = [_held_back(change, known) for change in changes]

        def run(some: Sequence[Change]) -> list[Written]:
            return self._create(some, known)

        keyed = [change for change, _ in ready if change.key]
        # The answer is matched by key where it carries no trace id: without a key, one by one.
        alone = [change for change, _ in ready if not change.key]
        batches = [keyed[at : at + BATCH_LIMIT] for at in range(0, len(keyed), BATCH_LIMIT)]
        jobs = [_job(batch, run) for batch in [*batches, *([one] for one in alone)]]
        notes = {change.id: blocked for change, blocked in ready if blocked}
        for group in send(jobs, self._in_flight):
            yield [_noted(outcome, notes.get(outcome.id)) for outcome in group]

    def _create(self, changes: Sequence[Change], known: Known) -> list[Written]:
        def attempt(some: Sequence[Change]) -> Reply:
            inputs = [self._create_input(change, known) for change in some]
            return self._settled(some, self._posts.create(WIRES[some[0].kind].of, inputs))

        reply = self._bisected(changes, attempt)
        return self._verdicts.of(changes, self._without_more_emails(reply, attempt))

    def _create_input(self, change: Change, known: Known) -> Row:
        found = sent(change, known)
        if change.kind is Kind.NOTE:
            found["hs_note_body"] = marked(note_body(change.values.get("text")), change.key)
            # Required: its place on the timeline.
            at = change.values.get("at") or self._context.clock.now()
            found["hs_timestamp"] = wire_text(at)
        elif change.key:
            found[KEY_PROPERTY] = change.key
        # On a new record there is nothing to clear.
        filled = {name: text for name, text in found.items() if text != ""}
        linked = associations(change.kind, change.values, known.labels or {})
        return {"objectWriteTraceId": trace(change), "properties": filled, "associations": linked}

    # updates

    def _updates(self, kind: Kind, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        known = self._known(kind)
        ready = [_held_back(change, known) for change in changes]
        notes = {change.id: blocked for change, blocked in ready if blocked}
        linked = [change for change, _ in ready if _links_of(change)]
        fields = [change for change, _ in ready if sent(change, known)]
        waiting = {change.id for change in linked}
        outcome_of: dict[str, Written] = {}

        def run(some: Sequence[Change]) -> list[Written]:
            return self._update(some, known)

        for group in self._sent(fields, run):
            for outcome in group:
                if outcome.id in waiting:
                    outcome_of[outcome.id] = outcome
            yield [_noted(one, notes.get(one.id)) for one in group if one.id not in waiting]
        told = {change.id for change in fields} | waiting
        yield [_nothing_left(change, blocked) for change, blocked in ready if change.id not in told]
        # Links only follow where the record itself was written, or had nothing else to write.
        failed = [one for one in outcome_of.values() if one.result is not Result.DONE]
        yield [_noted(one, notes.get(one.id)) for one in failed]
        out = {one.id for one in failed}
        rest = [change for change in linked if change.id not in out]
        for at in range(0, len(rest), LINKS_LIMIT):
            batch = rest[at : at + LINKS_LIMIT]
            trouble = self._link(kind, batch, known)
            yield [
                _noted(
                    _with_links(change, outcome_of.get(change.id), trouble[change.id]), notes.get(change.id)
                )
                for change in batch
            ]

    def _update(self, changes: Sequence[Change], known: Known) -> list[Written]:
        def attempt(some: Sequence[Change]) -> Reply:
            inputs = [
                {
                    "id": change.ref.id,
                    "properties": sent(change, known),
                    "objectWriteTraceId": trace(change),
                }
                for change in some
                if change.ref
            ]
            return self._settled(some, self._posts.update(WIRES[some[0].kind].of, inputs))

        reply = self._bisected(changes, attempt)
        return self._verdicts.of(changes, self._without_more_emails(reply, attempt))

    def _link(self, kind: Kind, changes: Sequence[Change], known: Known) -> dict[str, dict[str, Trouble]]:
        trouble: dict[str, dict[str, Trouble]] = {change.id: {} for change in changes}
        for name in LINKS.get(kind, {}):
            mine = [change for change in changes if name in change.values]
            if mine:
                for id_, one in self._linker.apply(kind, name, mine, known.labels or {}).items():
                    trouble[id_][name] = one
        return trouble

    # what both share

    def _settled(self, changes: Sequence[Change], said: Any) -> Reply:
        kind = changes[0].kind
        return settle(
            changes,
            said,
            connection=self._connection,
            modified=WIRES[kind].modified,
            carries=_is_note if changes[0].act is Act.CREATE else None,
        )

    def _bisected(self, changes: Sequence[Change], attempt: Callable[[Sequence[Change]], Reply]) -> Reply:
        """What an attempt brings; one that is refused whole is made again with each half."""
        try:
            return attempt(changes)
        except Rejected as error:
            if len(changes) == 1:
                return Reply(refused=[(changes[0], _fault(error))])
            return self._halved(changes, attempt)

    def _halved(self, changes: Sequence[Change], attempt: Callable[[Sequence[Change]], Reply]) -> Reply:
        reply = Reply()
        stopped: CrmkitError | None = None
        for half in halves(changes):
            if stopped is not None:
                reply.outcomes += outcomes(half, stopped)
                continue
            try:
                reply.add(self._bisected(half, attempt))
            except CrmkitError as error:
                # Not raised: what the other half brought stays true.
                reply.outcomes += outcomes(half, error)
                stopped = error if stops(error) else None
        return reply

    def _without_more_emails(self, reply: Reply, attempt: Callable[[Sequence[Change]], Reply]) -> Reply:
        """Once more without further e-mail addresses, where only they were refused.

        Whether that property can be written is not documented.
        """
        affected = [change for change, fault in reply.refused if fault.only_about_more_emails]
        if not affected:
            return reply
        faults = {change.id: fault for change, fault in reply.refused}
        fewer = [replace(change, values={**change.values, ADDITIONAL_EMAILS: None}) for change in affected]
        whole = {change.id: change for change in affected}
        again = self._caught(fewer, attempt)
        again.refused = [(whole[change.id], fault) for change, fault in again.refused]
        again.outcomes = [
            replace(one, unwritten={"emails": faults[one.id].reason(whole[one.id], self._verdicts.redact)})
            if one.result is Result.DONE
            else one
            for one in again.outcomes
        ]
        kept = [(change, fault) for change, fault in reply.refused if change.id not in whole]
        return Reply([*reply.outcomes, *again.outcomes], [*kept, *again.refused])

    def _caught(self, changes: Sequence[Change], attempt: Callable[[Sequence[Change]], Reply]) -> Reply:
        try:
            return self._bisected(changes, attempt)
        except CrmkitError as error:
            return Reply(outcomes(changes, error))


def _job(changes: Sequence[Change], run: Callable[[Sequence[Change]], Sequence[Written]]) -> Job:
    return Job(changes, lambda: run(changes))


def _fault(error: Rejected) -> Fault:
    if isinstance(error, Refusal):
        return Fault.of(error.said, str(error))
    return Fault("OBJECT_NOT_FOUND" if isinstance(error, NotFound) else "", text=str(error))


def _links_of(change: Change) -> list[str]:
    return [name for name in LINKS.get(change.kind, {}) if name in change.values]


def _held_back(change: Change, known: Known) -> tuple[Change, dict[str, str]]:
    """A change without the fields that HubSpot cannot hold, and the reasons."""
    blocked = cannot_hold(change.kind, change.values, known)
    values = {name: value for name, value in change.values.items() if name not in blocked}
    if known.labels is not None:
        roles = [split_role(person.role, known.labels)[1] for person in values.get("contacts") or ()]
        missing = sorted({name for names in roles for name in names})
        if missing:
            blocked["contacts"] = f"linked, but HubSpot has no label {', '.join(missing)}"
    return replace(change, values=values), blocked


def _noted(outcome: Written, blocked: Mapping[str, str] | None) -> Written:
    if not blocked or outcome.result is not Result.DONE:
        return outcome
    return replace(outcome, unwritten={**blocked, **outcome.unwritten})


def _nothing_left(change: Change, blocked: Mapping[str, str]) -> Written:
    """An update of which nothing can be written, or that has nothing to write."""
    for name, reason in blocked.items():
        return Written(change.id, Result.REJECTED, field=name, reason=reason)
    return Written(change.id, Result.DONE, change.ref)


def _with_links(change: Change, outcome: Written | None, trouble: Mapping[str, Trouble]) -> Written:
    failed = {name: one.reason for name, one in trouble.items()}
    if outcome is None and trouble and len(trouble) == len(_links_of(change)):
        # Nothing of this change was carried out, unless an answer was lost.
        unknown = next((n for n, one in trouble.items() if one.result is Result.UNKNOWN), None)
        name = unknown or next(iter(trouble))
        return Written(change.id, trouble[name].result, field=name, reason=trouble[name].reason)
    done = outcome or Written(change.id, Result.DONE, change.ref)
    return replace(done, unwritten={**done.unwritten, **failed})


def _is_note(row: Row, change: Change) -> bool:
    body = (row.get("properties") or {}).get("hs_note_body")
    return change.kind is Kind.NOTE and isinstance(body, str) and carries(body, change.key or "?")
