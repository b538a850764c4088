"""The deals of a proof: each one in scope beside its counterpart, with everything that hangs on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from crmkit.mapping.custom import Unmapped
from crmkit.mapping.fields import Codec, Directory
from crmkit.migration.evidence import Evidence, MissingNote, Notes, Partner, Row, party_ids
from crmkit.migration.proof_compare import DealPair, DealReasons, deal_values, differing, digest
from crmkit.migration.proof_file import UNEXPLAINED, LeftBehind, Record
from crmkit.migration.proof_reasons import HeldIndex, Why
from crmkit.migration.proof_sums import Sums
from crmkit.migration.proof_tally import Tally, difference
from crmkit.model import Kind
from crmkit.sync.group import Group
from crmkit.sync.hub import UNDONE, Status
from crmkit.sync.shown import shown

Waits = dict[tuple[Kind, str], Why]
_COLUMN = {
    "stage": "stage_id", "owner": "owner_id", "company": "companies", "amount": "amount", "name": "name",
    "probability": "probability", "expected_close": "expected_close", "contacts": "contacts",
    "lost_reason": "lost_reason", "source": "source", "tags": "tags",
}  # fmt: skip
_TIES = (("deal-company", "company", Kind.COMPANY), ("deal-contact", "contacts", Kind.CONTACT))


@dataclass(slots=True)
class _Page:
    """What is known of one page of deals."""

    partners: Mapping[str, Partner]
    targets: Mapping[str, Row]
    directory: Directory

    def counterpart(self, native: str) -> tuple[Partner | None, Row | None]:
        partner = self.partners.get(native)
        if partner is None or not partner.is_linked or partner.target is None:
            return partner, None
        return partner, self.targets.get(partner.target)


class DealProof:
    """Compares every deal in scope.

    Args:
        group: The migration.
        evidence: Reads it.
        held: What a fresh plan holds back.
        tally: Takes what is found.
        sums: Takes deals and money.
        left_out: Decisions by deal.
        notes: Whether the migration carries notes.

    Attributes:
        named: Companies and people that deals in scope name, by their id in the source.
        waits: Why some of those cannot be expected in the target.
    """

    def __init__(
        self,
        group: Group,
        evidence: Evidence,
        held: HeldIndex,
        tally: Tally,
        sums: Sums,
        left_out: Mapping[str, str],
        *,
        notes: bool,
    ) -> None:
        self._evidence = evidence
        self._held = held
        self._tally = tally
        self._sums = sums
        self._left_out = left_out
        self._carries_notes = notes
        self._codecs = [group.members[name].codec for name in (evidence.source, evidence.target)]
        self._writes_notes = bool(group.members[evidence.target].writing(Kind.NOTE).acts)
        self._error = timedelta(seconds=group.error_seconds(evidence.target))
        fields = [name for name in group.fields if not group.lacks(evidence.source, name)]
        self._mine = dict.fromkeys(fields, True)
        self._theirs = {name: not group.lacks(evidence.target, name) for name in fields}
        self._taken = {one.id for one in self._codecs[0].custom.values()}
        self._behind: Counter[str] = Counter()
        self._notes = Notes()
        self.named: dict[Kind, set[str]] = {Kind.COMPANY: set(), Kind.CONTACT: set()}
        self.waits: Waits = {}

    def run(self) -> None:
        """Compare all of them."""
        evidence = self._evidence
        self._notes = evidence.notes()
        for rows in evidence.deals():
            partners = evidence.partners(Kind.DEAL, rows)
            wanted = [one.target for one in partners.values() if one.is_linked and one.target]
            targets = evidence.rows(Kind.DEAL, evidence.target, wanted)
            directory = evidence.directory(party_ids(rows.values()), party_ids(targets.values()))
            page = _Page(partners, targets, directory)
            self._compare(rows, page)

    @property
    def fields(self) -> list[str]:
        """The fields that are compared."""
        return list(self._mine)

    @property
    def target_fields(self) -> list[str]:
        """Those of them that the target has."""
        return [name for name, has in self._theirs.items() if has]

    def left_behind(self) -> list[LeftBehind]:
        """Fields with values that the migration does not take."""
        return [LeftBehind(field=name, deals=self._behind[name]) for name in sorted(self._behind)]

    def _codec(self, at: int, directory: Directory) -> Codec:
        return replace(self._codecs[at], directory=directory)

    def _compare(self, rows: Mapping[str, Row], page: _Page) -> None:
        source, target = self._codec(0, page.directory), self._codec(1, page.directory)
        open_pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        for native, row in rows.items():
            self._note_left_behind(row)
            partner, there = page.counterpart(native)
            mine = deal_values(source, self._mine, row)
            if partner is None or there is None:
                self._missing(native, row, partner, _digest(source, mine, row))
                continue
            self._name_parties(row)
            theirs = deal_values(target, self._theirs, there)
            counter = self._tally.counts[Kind.DEAL]
            counter["linked"] += 1
            made = self._evidence.is_made_here(partner.entity, partner.target_evidence, there)
            counter["pre_existing"] += not made
            self._sums.add_source(row, there)
            self._sums.add_target(there, row)
            self._ties(row, there, page.directory)
            if differing(mine, theirs) or self._notes_lack(native):
                open_pairs.append((native, mine, theirs))
            else:
                same = _digest(source, mine, row)
                self._tally.hashed(Kind.DEAL, native, there["id"], same, same)
                self._tally.compared(Kind.DEAL, ())
        if open_pairs:
            self._explain(rows, page, open_pairs)

    # Pairs that differ

    def _explain(
        self,
        rows: Mapping[str, Row],
        page: _Page,
        pairs: list[tuple[str, dict[str, Any], dict[str, Any]]],
    ) -> None:
        evidence = self._evidence
        known = evidence.background(
            Kind.DEAL, {page.partners[native].entity: native for native, _, _ in pairs}
        )
        spoken = evidence.spoken(
            (name, one)
            for _, mine, theirs in pairs
            for values in (mine, theirs)
            for name, one in values.items()
        )
        # What was agreed on may name people who are on neither deal now.
        links = [link for one in known.values() for link in (one.source, one.target) if link is not None]
        source = party_ids(rows.values(), (one for one in links if one.connection == evidence.source))
        target = party_ids(page.targets.values(), (one for one in links if one.connection == evidence.target))
        directory = evidence.directory(source, target)
        codecs = self._codec(0, directory), self._codec(1, directory)
        reasons = DealReasons(*codecs, self._held, self._error)

        for native, mine, theirs in pairs:
            partner, there = page.counterpart(native)
            assert partner is not None
            assert there is not None
            pair = DealPair(rows[native], there, known[partner.entity])
            found = [
                (name, reasons.why(name, mine[name], theirs[name], pair, lacks=not self._theirs[name]))
                for name in differing(mine, theirs)
            ]
            self._tally.compared(Kind.DEAL, found)
            texts = [
                difference(
                    name,
                    _text(codecs[0], name, mine[name], pair.source, spoken),
                    _text(codecs[1], name, theirs[name], pair.target, spoken),
                    why,
                )
                for name, why in found
            ]
            lack = self._notes_lack(native)
            if lack:
                of = self._notes.on[native]
                texts.append(difference("notes", str(of), str(of - lack), self._why_notes(native, pair)))
            for name, why in found:
                self._await(name, why, pair.source, directory)
            one = _digest(codecs[0], mine, pair.source)
            other = _digest(codecs[1], theirs, pair.target)
            self._tally.hashed(Kind.DEAL, native, there["id"], one, other)
            self._tally.differs(
                Record(
                    Kind.DEAL.value, rows[native]["name"], native, there["id"], rows[native]["url"],
                    there["url"], one, other, texts,
                )
            )  # fmt: skip

    def _await(self, name: str, why: Why, row: Row, directory: Directory) -> None:
        """Nobody expects a person in the target whom no deal there needs."""
        kind = {"company": Kind.COMPANY, "contacts": Kind.CONTACT}.get(name)
        if kind is None or why.code == UNEXPLAINED:
            return
        for native in party_ids([row])[kind]:
            entity = directory.entity_of.get((self._evidence.source, kind, native))
            if entity is None or (entity, self._evidence.target) not in directory.native_of:
                self.waits.setdefault((kind, native), Why("needs_another", f"of its deal: {why.words}"))

    # Deals without a counterpart

    def _missing(self, native: str, row: Row, partner: Partner | None, hashed: str) -> None:
        decision = self._left_out.get(native)
        why = Why("left_out", decision) if decision is not None else self._why_missing(native, partner)
        counts = self._tally.counts
        counts[Kind.DEAL]["left_out" if decision is not None else "missing"] += 1
        carried = decision is None and self._carries_notes
        counts[Kind.NOTE]["missing" if carried else "left_out"] += self._notes.on[native]
        if decision is not None:
            self._sums.add_left_out(row, decision)
        else:
            self._sums.add_source(row, None)
            self._name_parties(row)
            self._tie_parties(row, None, Directory())
            self._tie_notes(native, self._notes.on[native])
            if why.code != UNEXPLAINED:
                for kind, natives in party_ids([row]).items():
                    for one in natives:
                        reason = f"its deal is missing: {why.words}"
                        self.waits.setdefault((kind, one), Why("needs_another", reason))
        self._tally.hashed(Kind.DEAL, native, "", hashed, "")
        whole = difference("", row["name"], "", why)
        self._tally.differs(
            Record(Kind.DEAL.value, row["name"], native, "", row["url"], None, hashed, "", [whole])
        )

    def _why_missing(self, native: str, partner: Partner | None) -> Why:
        waits = self._held.record(self._evidence.source, Kind.DEAL, native)
        if waits is not None:
            return waits
        why = why_missing(partner)
        if why is not None:
            return why
        assert partner is not None
        waits = self._held.whole(partner.entity)
        if waits is not None:
            return waits
        return Why("due" if self._evidence.is_due(partner.entity) else UNEXPLAINED)

    # What hangs on deals

    def _name_parties(self, row: Row) -> None:
        if "company" in self._mine:
            self.named[Kind.COMPANY].update(row["companies"][:1])
        if "contacts" in self._mine:
            self.named[Kind.CONTACT].update(one["id"] for one in row["contacts"])

    def _tie_parties(self, row: Row, there: Row | None, directory: Directory) -> None:
        of = directory.entity_of
        here, far = self._evidence.source, self._evidence.target
        for link, name, kind in _TIES:
            mine = _natives(row, kind)
            theirs = [] if there is None else _natives(there, kind)
            carried = 0 if name not in self._mine else 1 if name == "company" else len(mine)
            # Only who is known in both CRMs can be on both sides.
            self._tally.tie(
                link,
                [of.get((here, kind, one)) for one in mine],
                [of.get((far, kind, one)) for one in theirs],
                carried,
            )

    def _ties(self, row: Row, there: Row, directory: Directory) -> None:
        self._tie_parties(row, there, directory)
        lost = len(self._notes.missing.get(row["id"], ()))
        self._tie_notes(row["id"], lost)
        counter = self._tally.counts[Kind.NOTE]
        counter["linked"] += self._notes.on[row["id"]] - lost
        counter["missing" if self._carries_notes else "left_out"] += lost

    def _tie_notes(self, native: str, lost: int) -> None:
        every = self._notes.on[native]
        found = {"source": every, "target": every - lost, "both": every - lost}
        found["missing" if self._carries_notes else "not_carried"] = lost
        self._tally.ties["deal-note"].update(found)

    def _notes_lack(self, native: str) -> int:
        """How many of a deal's notes are not on its counterpart, though they should be."""
        return len(self._notes.missing.get(native, ())) if self._carries_notes else 0

    def _why_notes(self, native: str, pair: DealPair) -> Why:
        """Why notes are missing: what is worst of all of them."""
        found = [self._why_note(one, pair) for one in self._notes.missing[native]]
        return next((why for why in found if why.code == UNEXPLAINED), found[0])

    def _why_note(self, note: MissingNote, pair: DealPair) -> Why:
        if note.deleted:
            return Why("deleted_in_target")
        if not self._writes_notes:
            return Why("unwritable", "the target takes no notes")
        waits = self._held.whole(note.entity)
        if waits is not None:
            return waits
        if self._evidence.is_due(note.entity):
            return Why("due")
        link = pair.background.target
        if link is not None and link.written_at is not None and note.at is not None:
            return Why("new_in_source" if note.at >= link.written_at else UNEXPLAINED)
        return Why(UNEXPLAINED)

    def _note_left_behind(self, row: Row) -> None:
        for name, column in _COLUMN.items():
            if name not in self._mine and row[column] not in (None, "", []):
                self._behind[name] += 1
        for name, value in row["custom"].items():
            if name not in self._taken and value not in (None, "", [], ()):
                self._behind[f"custom.{name}"] += 1


def _digest(codec: Codec, values: Mapping[str, Any], row: Row) -> str:
    return digest(values, lambda name: codec.native(name, row))


def why_missing(partner: Partner | None) -> Why | None:
    """What the links say about a record without a counterpart; `None` if nothing."""
    if partner is None:
        return Why("new_in_source")
    if partner.status is Status.CLONE:
        return Why("clone")
    if partner.target is None:
        return None
    return Why("undone" if partner.target_evidence == UNDONE else "deleted_in_target")


def _natives(row: Row, kind: Kind) -> list[str]:
    if kind is Kind.COMPANY:
        return list(row["companies"])
    return [one["id"] for one in row["contacts"]]


def _text(codec: Codec, name: str, value: Any, row: Row, spoken: Mapping[str, str]) -> str:
    """A value in words; one that has no common value as the CRM holds it."""
    if not isinstance(value, Unmapped):
        return shown(name, value, lambda entity: spoken.get(entity, entity))
    native = codec.native(name, row)
    return ", ".join(map(str, native)) if isinstance(native, list) else str(native)
