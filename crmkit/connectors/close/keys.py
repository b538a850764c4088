"""Finds records by our key, and makes the custom fields that hold it.

Deals and contacts are looked for in the lists of their lead, which are no search index.
Without a lead, and for leads, the list of everything is read; the event log spares that
where it knows the record. Nothing in Close is unique, so several may carry one key.

Source: https://developer.close.com/api/resources/custom-fields
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from crmkit.connectors.base import Context, Page
from crmkit.connectors.close import holding, walks
from crmkit.connectors.close.custom import KEY_FIELD, NAME_FIELDS, CustomFields, Row, with_flat_custom
from crmkit.connectors.close.events import EventLog, few
from crmkit.connectors.close.learnt import Learnt
from crmkit.connectors.close.lists import Lists
from crmkit.connectors.close.making import Maker
from crmkit.connectors.close.posts import call_for
from crmkit.connectors.close.refusals import is_gone
from crmkit.connectors.close.steps import OBJECTS, PATHS, Steps
from crmkit.connectors.http import Answer, Http
from crmkit.connectors.walk import Segment, walk
from crmkit.connectors.writing import Lookup
from crmkit.errors import OutcomeUnknown, Rejected
from crmkit.model import Company, Contact, Deal, Kind, Note, Ref

SCHEMAS = {Kind.DEAL: "opportunity", Kind.COMPANY: "lead", Kind.CONTACT: "contact"}
_TEXTS = ("text", "hidden", "textarea")
_OVERLAP = timedelta(minutes=5)
_EVENTS_AT_MOST = 500
_PER_PAGE = {Kind.DEAL: 250, Kind.CONTACT: 100, Kind.NOTE: 100}
# Up to so many leads are asked one by one without finding out how many deals there are.
_FEW_LEADS = 20

Keyed = Iterator[tuple[str, str]]


class Keys:
    """Looks records up by our key and prepares the fields that hold it.

    Args:
        context: The connection.
        http: Its HTTP side.
        lists: Its small lists.
        learnt: What is known about the organization.
        read: Pages of everything of a kind.
        in_flight: How many requests run side by side.
    """

    def __init__(
        self,
        context: Context,
        http: Http,
        lists: Lists,
        learnt: Learnt,
        read: Callable[[Kind], Iterator[Page]],
        in_flight: int,
    ) -> None:
        self.context = context
        self.http = http
        self.lists = lists
        self.learnt = learnt
        self._read = read
        self._maker = Maker(context, http)
        self.in_flight = in_flight

    def find(self, lookups: Sequence[Lookup]) -> dict[str, list[Ref]]:
        """Live records by key, lowest id first."""
        found: dict[str, set[Ref]] = {}
        for kind in dict.fromkeys(lookup.kind for lookup in lookups):
            mine = [lookup for lookup in lookups if lookup.kind is kind]
            for key, native in self._of_kind(kind, mine):
                found.setdefault(key, set()).add(Ref(self.context.connection, kind, native))
        return {key: sorted(refs, key=lambda ref: (len(ref.id), ref.id)) for key, refs in found.items()}

    def _of_kind(self, kind: Kind, lookups: Sequence[Lookup]) -> Keyed:
        if kind not in (*SCHEMAS, Kind.NOTE):
            return
        # Another process may have made the field since; without it nothing carries a key.
        anew = self.learnt.knows(kind) and self.learnt.fields(kind).key is None
        if kind in SCHEMAS and self.learnt.fields(kind, anew=anew).key is None:
            return
        wanted = {lookup.key for lookup in lookups}
        by_lead: dict[str, list[Lookup]] = {}
        others = list(lookups)
        if kind is not Kind.COMPANY:
            by_lead, others = self._by_lead(lookups)
        whole = any(lookup.since is None for lookup in others)
        if by_lead and (whole or self._cheaper_whole(kind, by_lead)):
            by_lead, others = {}, list(lookups)
        if by_lead:
            yield from self._in_leads(kind, list(by_lead), wanted)
        if others:
            yield from self._everywhere(kind, others, wanted)

    # In the lists of a lead.

    def _by_lead(self, lookups: Sequence[Lookup]) -> tuple[dict[str, list[Lookup]], list[Lookup]]:
        """Lookups by the lead under which the record must be, and those without one."""
        parents = {lookup.parent for lookup in lookups if lookup.parent is not None}
        indirect = sorted(ref for ref in parents if ref.kind in (Kind.DEAL, Kind.CONTACT))
        leads = {ref: ref.id for ref in parents if ref.kind is Kind.COMPANY} | self._leads_of(indirect)
        by_lead: dict[str, list[Lookup]] = {}
        others = []
        for lookup in lookups:
            lead = leads.get(lookup.parent) if lookup.parent is not None else None
            if lead is None:
                others.append(lookup)
            else:
                by_lead.setdefault(lead, []).append(lookup)
        return by_lead, others

    def _leads_of(self, refs: Sequence[Ref]) -> dict[Ref, str]:
        def step(segment: Segment) -> tuple[tuple[Ref, str | None], Sequence[Segment]]:
            ref = refs[segment["at"]]
            row = self._row(PATHS[ref.kind], ref.id)
            return (ref, row.get("lead_id") if row else None), []

        segments = [{"at": place} for place in range(len(refs))]
        found = (answer for answer, _ in walk(segments, step, in_flight=self.in_flight))
        return {ref: lead for ref, lead in found if lead}

    def _cheaper_whole(self, kind: Kind, by_lead: Mapping[str, Any]) -> bool:
        """Whether the list of all deals has fewer pages than there are leads to ask."""
        if kind is not Kind.DEAL or len(by_lead) <= _FEW_LEADS:
            return False
        call = replace(call_for("GET", "/opportunity/"), params={"_limit": "1"})
        _, _, total = self.http.fetch(call, lambda answer: walks.page_of(answer.json()))
        return total is not None and total / _PER_PAGE[kind] + self.in_flight < len(by_lead)

    def _in_leads(self, kind: Kind, leads: Sequence[str], wanted: set[str]) -> Keyed:
        path = PATHS[kind]

        def step(segment: Segment) -> tuple[list[Row], Sequence[Segment]]:
            # Whole records: what `_fields` answers with for custom fields was not seen.
            params = {"lead_id": segment["lead"], "_limit": str(_PER_PAGE[kind])}
            if segment["skip"]:
                params["_skip"] = str(segment["skip"])
            call = replace(call_for("GET", path), params=params)
            try:
                rows, more, _ = self.http.fetch(call, lambda answer: walks.page_of(answer.json()))
            except Rejected as error:
                if is_gone(error):
                    return [], []
                raise
            # The pages share a row, so that one that vanishes meanwhile hides no other.
            after = segment["skip"] + max(1, len(rows) - 1)
            return rows, [{**segment, "skip": after}] if more else []

        segments = [{"lead": lead, "skip": 0} for lead in leads]
        for rows, _ in walk(segments, step, in_flight=self.in_flight):
            for row in rows:
                for key in self._keys_of(kind, row, wanted):
                    yield key, row["id"]

    # Everywhere.

    def _everywhere(self, kind: Kind, lookups: Sequence[Lookup], wanted: set[str]) -> Keyed:
        missing = {lookup.key for lookup in lookups}
        starts = [lookup.since for lookup in lookups if lookup.since is not None]
        if kind is Kind.DEAL and len(starts) == len(lookups):
            # The list by time of update shows whatever was created since, also back-dated.
            yield from self._deals_since(walks.wire(min(starts) - _OVERLAP), wanted)
            return
        if kind in (Kind.COMPANY, Kind.CONTACT) and len(starts) == len(lookups):
            for key, native in self._in_events(kind, min(starts) - _OVERLAP, wanted):
                missing.discard(key)
                yield key, native
            if not missing:
                return
        # The event log may lag, and the search does: what was not found is read for.
        yield from self._in_everything(kind, wanted)

    def _deals_since(self, since: str, wanted: set[str]) -> Keyed:
        now = self.lists.schema(SCHEMAS[Kind.DEAL])[1]
        steps = self._steps(Kind.DEAL)
        segments = [
            {"t": "time", "by": "date_updated", "a": since, "b": None, "h": walks.wire(now)},
        ]
        steps.room.begin(segments)
        for found, _ in walk(segments, steps.step, in_flight=self.in_flight):
            page = Page(found.records, unreadable=found.unreadable)
            yield from self._on_page(Kind.DEAL, page, wanted)

    def _in_events(self, kind: Kind, since: Any, wanted: set[str]) -> Keyed:
        """Created since, by the event log; each is read, as it may be gone."""
        key_field = self.learnt.fields(kind).key or ""

        def candidates() -> Iterator[str | None]:
            for event in EventLog(self.http).since(OBJECTS[kind], "created", since):
                before = event.get("data")
                # Who is no admin gets the content of young events only.
                if (
                    not before
                    or (with_flat_custom(before, self.learnt.fields(kind)).get(key_field)) in wanted
                ):
                    yield event.get("object_id")

        natives = few(candidates(), _EVENTS_AT_MOST)
        for native in sorted(natives or ()):
            row = self._row(PATHS[kind], native)
            for key in self._keys_of(kind, row, wanted) if row else ():
                yield key, native

    def _in_everything(self, kind: Kind, wanted: set[str]) -> Keyed:
        for page in self._read(kind):
            yield from self._on_page(kind, page, wanted)

    def _on_page(self, kind: Kind, page: Page, wanted: set[str]) -> Keyed:
        for record in page.records:
            if isinstance(record, (Deal, Company, Contact)):
                if record.key in wanted:
                    yield str(record.key), record.ref.id
            elif isinstance(record, Note):
                for key in sorted(holding.marks(record.text) & wanted):
                    yield key, record.ref.id
        for bad in page.unreadable:
            # It cannot be translated, and may be ours all the same.
            row = self._row(PATHS[kind], bad.ref.id)
            for key in self._keys_of(kind, row, wanted) if row else ():
                yield key, bad.ref.id

    def _keys_of(self, kind: Kind, row: Row, wanted: set[str]) -> Iterable[str]:
        if kind is Kind.NOTE:
            return sorted(holding.marks(str(row.get("note") or "")) & wanted)
        fields = self.learnt.fields(kind)
        value = with_flat_custom(row, fields).get(fields.key or "")
        key = str(value).removeprefix("crmkit:") if value else None
        return [key] if key in wanted and key is not None else []

    def _row(self, path: str, native: str) -> Row | None:
        call = call_for("GET", path, native)
        try:
            return self.http.fetch(call, Answer.mapping)
        except Rejected as error:
            if is_gone(error):
                return None
            raise

    def _steps(self, kind: Kind) -> Steps:
        fields = self.learnt.fields(kind) if kind in SCHEMAS else CustomFields()
        return Steps(self.context, self.http, kind, fields, self.in_flight, full=False)

    # The fields.

    def unprepared(self, kinds: Sequence[Kind]) -> list[str]:
        """What `prepare` would create."""
        return [words for kind in kinds for words in map(_words, self._missing(kind))]

    def prepare(self, kinds: Sequence[Kind]) -> list[str]:
        """Create the missing fields."""
        made = []
        for kind in kinds:
            for what, label in self._missing(kind):
                self._create(kind, what, label)
                made.append(_words((what, label)))
            if kind in SCHEMAS:
                self.learnt.fields(kind, anew=True)
        return made

    def _missing(self, kind: Kind) -> list[tuple[str, str]]:
        """Fields to create, as the kind in Close's words and the label.

        Raises:
            Rejected: There is a field of that label that cannot hold a text.
        """
        if kind not in SCHEMAS:
            return []
        fields = self.learnt.fields(kind, anew=True)
        self._check_usable(kind)
        missing = [] if fields.key else [(SCHEMAS[kind], KEY_FIELD)]
        if kind is Kind.DEAL and fields.name is None:
            # An opportunity has no name of its own.
            missing.append((SCHEMAS[kind], NAME_FIELDS[0]))
        return missing

    def _check_usable(self, kind: Kind) -> None:
        rows = self.learnt.rows(kind)
        first = next((row for row in rows if row.get("name") == KEY_FIELD), None)
        if first is None:
            return
        if first.get("type") not in _TEXTS or first.get("accepts_multiple_values"):
            raise Rejected(
                f"{self.context.connection}: the custom field {KEY_FIELD!r} of {SCHEMAS[kind]} "
                f"({first.get('type')}) cannot hold crmkit's key",
                hint="Rename that field in Close (Settings, Custom Fields), then prepare again.",
            )

    def _create(self, kind: Kind, what: str, label: str) -> None:
        use = "Ties this record to its origin; written by crmkit."
        if label != KEY_FIELD:
            use = "The deal's name; written by crmkit."
        made = self._maker.post(what, {"name": label, "type": "text", "description": use})
        if made is None and (what, label) in self._missing(kind):
            raise OutcomeUnknown(
                f"{self.context.connection}: whether Close has the {what} field {label!r} cannot be told"
            )


def _words(missing: tuple[str, str]) -> str:
    what, label = missing
    return f"a custom field {label!r} (text) of {what}"
