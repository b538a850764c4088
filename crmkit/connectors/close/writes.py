"""Writes deals, leads and contacts: one request per change, many side by side.

Close has no batch, no upsert, no idempotency key and nothing that is unique: a create is a
plain POST that carries our key in a custom field, and one without an answer is `UNKNOWN`.

Source: https://developer.close.com/api/resources/opportunities/create
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from crmkit.connectors.close import bodies, holding, parties
from crmkit.connectors.close.bodies import Body, Terms
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.dialect import Refused
from crmkit.connectors.close.notes import Notes
from crmkit.connectors.close.posts import NotSent, Posts, asked, ref_of, rejected
from crmkit.connectors.close.refusals import Roles, field_at_fault, is_gone, plain
from crmkit.connectors.sending import Job, send
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import (
    ConfigError,
    CredentialsError,
    CrmkitError,
    Interrupted,
    MissingScope,
    NotFound,
    Rejected,
)
from crmkit.model import Kind, Outcome, Ref

KEYED = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)


class Writer:
    """Carries out changes.

    Args:
        posts: Sends single writes.
        structure: Carries out one change of a pipeline.
    """

    def __init__(self, posts: Posts, structure: Callable[[Change, Roles], Written]) -> None:
        self.posts = posts
        self.learnt = posts.learnt
        self._structure = structure
        self._notes = Notes(posts)

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        """Outcomes in groups, as they come."""
        try:
            self._look_up(changes)
        except CrmkitError as error:
            # Nothing was sent: the next run may find Close in a better mood.
            yield [Written(change.id, Result.UNSENT, reason=plain(error)) for change in changes]
            if isinstance(error, (CredentialsError, ConfigError, Interrupted)):
                raise
            return
        roles = Roles()
        jobs = [Job([change], partial(self._one, change, roles)) for change in changes]
        yield from send(jobs, self.posts.in_flight)

    def _look_up(self, changes: Sequence[Change]) -> None:
        """What all the changes need to know, once and not in every thread."""
        for kind in {change.kind for change in changes if change.act is not Act.DELETE}:
            if kind in KEYED:
                mine = [change for change in changes if change.kind is kind]
                self.posts.reads(kind, self._fields(kind, mine))
            elif kind is Kind.NOTE:
                self.posts.reads(kind, CustomFields())
        if any(change.values.get("currency") for change in changes if change.kind is Kind.DEAL):
            self.learnt.learn_currency()

    def _fields(self, kind: Kind, changes: Sequence[Change]) -> CustomFields:
        """The custom fields of a kind; those that the changes name may be younger than what is known."""
        if not self.learnt.knows(kind):
            return self.learnt.fields(kind)
        known = self.learnt.fields(kind)
        named = {name for change in changes for name in change.values if name.startswith("custom.")}
        unknown = named - known.readers.keys()
        keyless = known.key is None and any(change.key for change in changes)
        return self.learnt.fields(kind, anew=bool(unknown) or keyless)

    def _one(self, change: Change, roles: Roles) -> list[Written]:
        try:
            return [self._written(change, roles)]
        except NotSent as early:
            return [early.written]
        except MissingScope as error:
            if roles.forbid():
                raise
            # The role may not touch this record, for example somebody else's deal.
            return [Written(change.id, Result.REJECTED, reason=f"{plain(error)} {error.hint}")]
        except Rejected as error:
            if change.act is not Act.CREATE and is_gone(error):
                return [Written(change.id, Result.GONE, reason=plain(error))]
            if isinstance(error, NotFound):
                return [Written(change.id, Result.REJECTED, reason=plain(error))]
            name = field_at_fault(change.kind, error, self.learnt.known().fields.get(change.kind))
            return [Written(change.id, Result.REJECTED, field=name, reason=plain(error))]

    def _written(self, change: Change, roles: Roles) -> Written:
        if change.kind is Kind.PIPELINE:
            return self._structure(change, roles)
        if change.act is Act.DELETE:
            return self._delete(change, roles)
        # Without what Close cannot store; it is reported.
        bad = holding.cannot_hold(change.kind, change.values, self.learnt.known())
        values = {name: value for name, value in change.values.items() if name not in bad}
        change = replace(change, values=values)
        if change.kind is Kind.NOTE:
            return self._notes.write(change, roles)
        fields = self._keyed(change)
        if change.kind is Kind.DEAL:
            return self._deal(change, fields, bad, roles)
        body = self._company(change, fields) if change.kind is Kind.COMPANY else self._contact(change, fields)
        body.left |= bad
        return self.posts.stored(change, body, roles)

    def _keyed(self, change: Change) -> CustomFields:
        fields = self.learnt.fields(change.kind)
        if change.key and fields.key is None:
            # A create that cannot be found again must not be sent.
            reason = "no custom field holds our key: it has to be prepared first"
            raise NotSent(Written(change.id, Result.UNSENT, reason=reason))
        return fields

    # Deals.

    def _deal(self, change: Change, fields: CustomFields, bad: Mapping[str, str], roles: Roles) -> Written:
        create = change.act is Act.CREATE
        if create and not change.values.get("companies"):
            # Without `lead_id` Close makes a new lead called "Untitled".
            raise rejected(change, "companies", "a deal needs a lead (company)")
        terms = Terms(fields, self.learnt.known().exponent, won=self._won(change))
        body = bodies.deal(change.values, terms, create=create, key=change.key)
        body.left |= bad
        try:
            row = self.posts.store(change, body, roles)
        except Refused as error:
            if error.fields.keys().isdisjoint(("contact", "contact_id")):
                raise
            if "contact_id" not in body.wire or len(body.wire) == 1:
                raise
            # A contact belongs to one lead, and a deal takes contacts of its own lead only:
            # the deal is worth more than its contact.
            body.drop("contact_id", plain(error))
            row = self.posts.store(change, body, roles)
        if row is not None:
            row = self._in_right_unit(change, body, row, roles)
            self._notes.remember(row, fields)
        return self.posts.outcome(change, body, row)

    def _won(self, change: Change) -> bool:
        """Whether the deal is won after the write; asked only where `closed_at` is written."""
        values = change.values
        if values.get("closed_at") is None:
            return values.get("outcome") is Outcome.WON
        stage, outcome = values.get("stage_id"), None
        if stage:
            outcome = asked(change, lambda: self.learnt.outcome(stage))
        outcome = outcome or values.get("outcome")
        if outcome is None and not stage and change.ref is not None:
            row = self.posts.before(change, "/opportunity/", change.ref.id, "status_type")
            return bool(row["status_type"] == "won")
        return outcome is Outcome.WON

    def _in_right_unit(self, change: Change, body: Body, row: Row, roles: Roles) -> Row:
        """The row after its value was put right, if Close counts another unit than cents."""
        sent, before = body.wire.get("value"), self.learnt.known().exponent
        if sent is None or row.get("value") != sent:
            return row
        right = bodies.cents(change.values["amount"], self.learnt.learn_unit(row, before))
        if right == sent:
            return row
        again = Change(
            change.id, Act.UPDATE, Kind.DEAL, Ref(self.posts.context.connection, Kind.DEAL, row["id"])
        )
        try:
            corrected = self.posts.store(again, Body({"value": right}), roles)
        except CrmkitError as error:
            body.left["amount"] = f"stored in the wrong unit: {plain(error)}"
            return row
        body.wire["value"] = right
        return corrected or row

    # Companies and contacts.

    def _company(self, change: Change, fields: CustomFields) -> Body:
        values = change.values
        if change.act is Act.CREATE and not values.get("name"):
            raise rejected(change, "name", "a company needs a name")
        addresses: Sequence[Row] = ()
        if change.ref is not None and not values.keys().isdisjoint(("city", "country", "postcode")):
            row = self.posts.before(change, "/lead/", change.ref.id, "addresses")
            addresses = row["addresses"] or ()
        return parties.company(values, fields, addresses=addresses, key=change.key)

    def _contact(self, change: Change, fields: CustomFields) -> Body:
        values, create = change.values, change.act is Act.CREATE
        if create and not values.get("companies"):
            # Without `lead_id` Close makes a lead that is called like the contact.
            raise rejected(change, "companies", "a contact needs a lead (company)")
        before: Row | None = None
        if change.ref is not None and not values.keys().isdisjoint(("emails", "phones")):
            before = self.posts.before(change, "/contact/", change.ref.id, "emails", "phones")
        return parties.contact(values, fields, create=create, before=before, key=change.key)

    def _delete(self, change: Change, roles: Roles) -> Written:
        ref = ref_of(change)
        if change.kind is Kind.NOTE and ref.id.startswith("oppo_"):
            raise rejected(change, None, "this is the deal's own note, which is a field of the deal")
        if change.kind is Kind.COMPANY:
            # Close deletes a lead together with its deals, contacts and activities.
            row = self.posts.before(change, "/lead/", ref.id, "opportunities", "contacts")
            if row["opportunities"] or row["contacts"]:
                raise rejected(change, None, "its deals and contacts would be deleted with it")
        return self.posts.delete(change, roles)
