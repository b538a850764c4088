"""What became of each change: from the answers of single records to outcomes.

A refused create is looked for before it is called refused, a record that Copper answers
otherwise than it was sent says so, and what hangs on a deal beside its primary company and
person is linked here.

Source: https://developer.copper.com/related-items/overview.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Unreadable
from crmkit.connectors.copper import answers, records
from crmkit.connectors.copper.answers import Refusal
from crmkit.connectors.copper.bodies import Ready
from crmkit.connectors.copper.choices import Account
from crmkit.connectors.copper.dialect import BUCKET, BULK
from crmkit.connectors.copper.holding import differences
from crmkit.connectors.copper.keys import Finder
from crmkit.connectors.copper.steps import Wire, call, rows_of
from crmkit.connectors.copper.values import Days, Names, Row, readers
from crmkit.connectors.http import Answer, Call
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError
from crmkit.model import AnyRecord, Company, Contact, Deal, Kind, Note, Record, Ref

_TRANSLATORS = {
    Kind.DEAL: records.deal_translator,
    Kind.COMPANY: records.company_translator,
    Kind.CONTACT: records.contact_translator,
}
_MODELS: dict[Kind, type[Record]] = {
    Kind.DEAL: Deal,
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.NOTE: Note,
}


class Outcomes:
    """Settles changes of one connection, from several threads.

    Args:
        wire: Sends calls.
        account: Settings and lists of the account.
        days: How days are read.
        finder: Looks for records that are there already.
    """

    def __init__(self, wire: Wire, account: Account, days: Days, finder: Finder) -> None:
        self.wire = wire
        self.account = account
        self.finder = finder
        self._days = days
        self._translators: dict[Kind, Callable[[Row], Row]] = {}

    def learn(self, kind: Kind, *, fresh: bool) -> None:
        """Take over the account's lists for reading answers."""
        book = self.account.book
        if kind in _TRANSLATORS and (fresh or kind not in self._translators):
            names = Names(
                readers=readers((book.definitions or {}).values(), self._days),
                loss_reasons=book.loss_reasons or {},
                sources=book.sources or {},
                days=self._days,
                currency=self.account.currency,
            )
            self._translators[kind] = _TRANSLATORS[kind](self.wire.context.connection, names)

    def forget(self) -> None:
        """Read answers with the lists as they are by the next write."""
        self._translators.clear()

    def written(self, one: Ready, row: Row) -> Written:
        """The outcome of a record that Copper answered, after linking what hangs on it."""
        change = one.change
        unwritten = {**one.unwritten, **self._link(one, row)}
        ref = Ref(self.wire.context.connection, change.kind, str(row["id"]))
        record, unreadable = self._record(change.kind, row)
        sent = {name: value for name, value in change.values.items() if name not in unwritten}
        if change.act is Act.CREATE:
            sent = {name: value for name, value in sent.items() if value is not None and value != ()}
        if record is not None:
            unwritten |= self._kept_otherwise(change, sent, record, row)
        for bad in unreadable:
            name = answers.model_name(bad.field)
            if name in sent:  # for example a close date in the other order of day and month
                unwritten[name] = f"Copper's answer cannot be read: {bad.reason}"
        if change.act is Act.CREATE and change.key and not self._keeps_key(change, row):
            unwritten["key"] = "Copper did not keep the tag that marks the record"
        modified = row.get("date_modified")
        version = None if modified is None else str(modified)
        return Written(change.id, Result.DONE, ref, version, record, unwritten=unwritten)

    def _kept_otherwise(
        self, change: Change, sent: Mapping[str, Any], record: AnyRecord, row: Row
    ) -> dict[str, str]:
        found = differences(change.kind, sent, record, self.account)
        if "currency" in found:
            found["currency"] = "Copper did not keep the currency: the amount counts in another one"
            # From now on amounts in other currencies are refused on this side.
            self.account.book.one_currency |= row.get("monetary_unit") is None
        if change.kind is Kind.NOTE:
            found.pop("text", None)  # our own marker line is in it
        return found

    @staticmethod
    def _keeps_key(change: Change, row: Row) -> bool:
        key = change.key or ""
        if change.kind is Kind.NOTE:
            return answers.in_text(row, key)
        return answers.carries(row, key)

    def _record(self, kind: Kind, row: Row) -> tuple[AnyRecord | None, Sequence[Unreadable]]:
        """The record that an answer shows, if it is whole, and what of it cannot be read."""
        whole = {"date_modified"} if kind is Kind.NOTE else {"date_modified", "tags", "custom_fields"}
        if not whole <= row.keys():
            return None, ()
        connection = self.wire.context.connection
        translator = self._translators.get(kind) or records.note_translator(connection)
        good, bad = translate.records(_MODELS[kind], connection, kind, [row], translator, records.identify)
        return (good[0] if good else None), bad  # type: ignore[return-value]

    def refused(self, refused: Sequence[tuple[Ready, Refusal]]) -> list[Written]:
        """Outcomes of what Copper refused: a create may be there already.

        How a clash of e-mail addresses or domains is worded is not documented, so the
        record is looked for instead.
        """
        if not refused:
            return []
        try:
            there = self._look(refused[0][0].change.kind, refused)
        except CrmkitError as error:
            # Refused or there already: nothing was written, and which it is has to be asked again.
            reasons = {
                one.change.id: f"{refusal.reason}; looking for it: {error}" for one, refusal in refused
            }
            return [Written(native, Result.UNSENT, reason=reason) for native, reason in reasons.items()]
        return [self._refusal(one, refusal, there.get(one.change.id)) for one, refusal in refused]

    def _refusal(self, one: Ready, refusal: Refusal, there: int | None) -> Written:
        change = one.change
        if there is not None:
            ref = Ref(self.wire.context.connection, change.kind, str(there))
            return Written(change.id, Result.EXISTS, ref, reason=refusal.reason)
        if refusal.gone and change.act is Act.UPDATE:
            return Written(change.id, Result.GONE, reason=refusal.reason)
        field = refusal.field
        if field == "custom":
            named = [name for name in change.values if name.startswith("custom.")]
            field = named[0] if len(named) == 1 else None
        unwritten = dict(one.unwritten)
        return Written(change.id, Result.REJECTED, field=field, reason=refusal.reason, unwritten=unwritten)

    def _look(self, kind: Kind, refused: Sequence[tuple[Ready, Refusal]]) -> dict[str, int]:
        """The ids of records that stand in the way of refused changes, by change."""
        found: dict[str, int] = {}
        if kind not in _TRANSLATORS:
            return found
        creates = [one.change for one, _ in refused if one.change.act is Act.CREATE]
        keys = [change.key for change in creates if change.key]
        if keys:
            by_key = self.finder.by_tags(kind, keys)
            found = {
                change.id: min(by_key[change.key])
                for change in creates
                if change.key is not None and change.key in by_key
            }
        open_ = [
            one.change
            for one, refusal in refused
            if one.change.id not in found and _may_clash(kind, one.change, refusal)
        ]
        if open_:
            found |= self._domain_holders(open_) if kind is Kind.COMPANY else self._email_holders(open_)
        return found

    def _domain_holders(self, changes: Sequence[Change]) -> dict[str, int]:
        held = self.finder.by_domain([change.values["domain"] for change in changes])
        return _others(
            changes, {change.id: held.get(change.values["domain"].casefold()) for change in changes}
        )

    def _email_holders(self, changes: Sequence[Change]) -> dict[str, int]:
        held: dict[str, int | None] = {}
        held |= self.finder.by_email([email for change in changes for email in change.values["emails"]])
        for change in changes:
            emails = [email.casefold() for email in change.values["emails"]]
            if not any(email in held for email in emails):
                # Asked past the search, which may trail behind.
                held |= {email: self.finder.person_with(email) for email in emails}
        return _others(
            changes,
            {
                change.id: next(
                    filter(None, (held.get(email.casefold()) for email in change.values["emails"])), None
                )
                for change in changes
            },
        )

    # Links beyond the primary company and person of a deal: one request each.

    def _link(self, one: Ready, row: Row) -> dict[str, str]:
        if not one.links:
            return {}
        unwritten: dict[str, str] = {}
        path = f"/opportunities/{row['id']}/related"
        label = "/opportunities/{id}/related"
        try:
            there = self._related(path, label) if one.change.act is Act.UPDATE else set()
        except CrmkitError as error:
            return {name: answers.cut(str(error)) for name, _, _ in one.links}
        for name, type_, native in one.links:
            if (type_, native) in there:
                continue
            body = {"resource": {"id": native, "type": type_}}
            try:
                self.wire.http.fetch(write_call("POST", path, body, label=f"POST {label}"), Answer.json)
            except CrmkitError as error:
                unwritten[name] = f"{type_} {native} could not be linked: {answers.cut(str(error))}"
        return unwritten

    def _related(self, path: str, label: str) -> set[tuple[str, int]]:
        """What a deal is linked to already; linking it again might be refused."""
        rows = self.wire.http.fetch(call("GET", path, label=f"GET {label}"), rows_of)
        return {(str(row.get("type")), row["id"]) for row in rows}


def _may_clash(kind: Kind, change: Change, refusal: Refusal) -> bool:
    """Whether the refusal may be about what Copper keeps unique."""
    unique = {Kind.CONTACT: "emails", Kind.COMPANY: "domain"}.get(kind)
    return unique is not None and bool(change.values.get(unique)) and refusal.field in (None, unique)


def _others(changes: Sequence[Change], held: Mapping[str, int | None]) -> dict[str, int]:
    """The holders that are not the changed record itself."""
    own = {change.id: change.ref and change.ref.id for change in changes}
    return {
        native: there for native, there in held.items() if there is not None and str(there) != own[native]
    }


def write_call(method: str, path: str, body: Any, *, label: str | None = None, bulk: bool = False) -> Call:
    """A call that changes something."""
    buckets = (BUCKET, BULK) if bulk else (BUCKET,)
    return replace(call(method, path, label=label, json=body), buckets=buckets, writes=True)
