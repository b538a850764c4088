"""The companies and people of a proof: everybody whom deals in scope name, beside their counterpart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from crmkit.mapping.custom import Unmapped
from crmkit.mapping.fields import Directory
from crmkit.migration.evidence import PAGE, Evidence, Partner, Row, party_ids
from crmkit.migration.proof_compare import (
    PartyPair,
    PartyReasons,
    differing,
    digest,
    party_values,
)
from crmkit.migration.proof_deals import Waits, why_missing
from crmkit.migration.proof_file import UNEXPLAINED, Record
from crmkit.migration.proof_reasons import HeldIndex, Why
from crmkit.migration.proof_tally import Tally, difference
from crmkit.model import Kind
from crmkit.sync.group import Group
from crmkit.sync.shown import shown
from crmkit.sync.stored import chunks

Pair = tuple[str, Partner, Row, Row, dict[str, Any], dict[str, Any]]


class PartyProof:
    """Compares companies and people.

    Args:
        group: The migration.
        evidence: Reads it.
        held: What a fresh plan holds back.
        tally: Takes what is found.
        waits: Why some cannot be expected in the target; more of them are added.

    Attributes:
        employers: Companies of the people that were compared.
    """

    def __init__(self, group: Group, evidence: Evidence, held: HeldIndex, tally: Tally, waits: Waits) -> None:
        self._evidence = evidence
        self._held = held
        self._tally = tally
        self._waits = waits
        self._error = timedelta(seconds=group.error_seconds(evidence.target))
        self._reasons = PartyReasons(group.members[evidence.target], held, self._error)
        self.employers: set[str] = set()

    def run(self, kind: Kind, natives: Collection[str]) -> None:
        """Compare records of a kind, by their id in the source."""
        evidence = self._evidence
        for chunk in chunks(natives, PAGE):
            rows = evidence.rows(kind, evidence.source, chunk)
            partners = evidence.partners(kind, rows)
            wanted = [one.target for one in partners.values() if one.is_linked and one.target]
            targets = evidence.rows(kind, evidence.target, wanted)
            directory = Directory()
            if kind is Kind.CONTACT:
                directory = evidence.directory(_employers(rows), _employers(targets))
            self._compare(kind, rows, partners, targets, directory)

    def _compare(
        self,
        kind: Kind,
        rows: Mapping[str, Row],
        partners: Mapping[str, Partner],
        targets: Mapping[str, Row],
        directory: Directory,
    ) -> None:
        differ: list[Pair] = []
        for native, row in rows.items():
            partner = partners.get(native)
            there = targets.get(partner.target or "") if partner is not None and partner.is_linked else None
            mine = party_values(kind, row, self._employer(self._evidence.source, directory))
            if partner is None or there is None:
                self._missing(kind, native, row, partner, _digest(mine, row))
                continue
            theirs = party_values(kind, there, self._employer(self._evidence.target, directory))
            made = self._evidence.is_made_here(partner.entity, partner.target_evidence, there)
            counter = self._tally.counts[kind]
            counter["linked"] += 1
            counter["pre_existing"] += not made
            if kind is Kind.CONTACT:
                self._tie(row, there, directory, carried=made)
            if differing(mine, theirs):
                differ.append((native, partner, row, there, mine, theirs))
                continue
            same = _digest(mine, row)
            self._tally.hashed(kind, native, there["id"], same, same)
            self._tally.compared(kind, ())
        if differ:
            self._explain(kind, differ)

    def _explain(self, kind: Kind, pairs: list[Pair]) -> None:
        evidence = self._evidence
        known = evidence.background(kind, {partner.entity: native for native, partner, *_ in pairs})
        since: dict[str, datetime] = {}
        for native, partner, *_ in pairs:
            link = known[partner.entity].target
            if link is not None and link.written_at is not None:
                since[native] = link.written_at
        edits = evidence.source_edits(kind, since)
        spoken = evidence.spoken(
            ("company", values.get("company"))
            for *_, mine, theirs in pairs
            for values in (mine, theirs)
            if not isinstance(values.get("company"), Unmapped)
        )

        def text(name: str, value: Any) -> str:
            return (
                "(not linked)"
                if isinstance(value, Unmapped)
                else shown(name, value, lambda entity: spoken.get(entity, entity))
            )

        for native, partner, row, there, mine, theirs in pairs:
            background = replace(known[partner.entity], source_edits=edits.get(native, frozenset()))
            made = evidence.is_made_here(partner.entity, partner.target_evidence, there)
            pair = PartyPair(kind, row, there, background, made)
            found = [
                (name, self._reasons.why(name, mine[name], theirs[name], pair))
                for name in differing(mine, theirs)
            ]
            self._tally.compared(kind, found)
            for name, why in found:
                if name == "company" and why.code != UNEXPLAINED:
                    for one in row["companies"][:1]:
                        reason = f"of its contact: {why.words}"
                        self._waits.setdefault((Kind.COMPANY, one), Why("needs_another", reason))
            one, other = _digest(mine, row), _digest(theirs, there)
            self._tally.hashed(kind, native, there["id"], one, other)
            texts = [
                difference(name, text(name, mine[name]), text(name, theirs[name]), why) for name, why in found
            ]
            self._tally.differs(
                Record(
                    kind.value, row["name"], native, there["id"], row["url"], there["url"], one, other, texts
                )
            )

    def _missing(self, kind: Kind, native: str, row: Row, partner: Partner | None, hashed: str) -> None:
        why = self._why_missing(kind, native, partner)
        self._tally.counts[kind]["missing"] += 1
        if kind is Kind.CONTACT and why.code != UNEXPLAINED:
            for one in row["companies"][:1]:
                reason = f"its contact is missing: {why.words}"
                self._waits.setdefault((Kind.COMPANY, one), Why("needs_another", reason))
            self.employers.update(row["companies"][:1])
        self._tally.hashed(kind, native, "", hashed, "")
        whole = difference("", row["name"], "", why)
        self._tally.differs(
            Record(kind.value, row["name"], native, "", row["url"], None, hashed, "", [whole])
        )

    def _why_missing(self, kind: Kind, native: str, partner: Partner | None) -> Why:
        waits = self._held.record(self._evidence.source, kind, native)
        if waits is None and partner is not None:
            waits = self._held.whole(partner.entity)
        if waits is None and partner is not None:
            waits = why_missing(partner)
        # Who needs them tells more than that no run has seen them.
        waits = waits or self._waits.get((kind, native))
        if waits is not None:
            return waits
        if partner is None:
            return Why("new_in_source")
        return Why("due" if self._evidence.is_due(partner.entity) else UNEXPLAINED)

    def _tie(self, row: Row, there: Row, directory: Directory, *, carried: bool) -> None:
        self.employers.update(row["companies"][:1])
        of = directory.entity_of
        self._tally.tie(
            "contact-company",
            [of.get((self._evidence.source, Kind.COMPANY, one)) for one in row["companies"]],
            [of.get((self._evidence.target, Kind.COMPANY, one)) for one in there["companies"]],
            1 if carried else 0,
        )

    def _employer(self, connection: str, directory: Directory) -> Any:
        return lambda native: directory.entity_of.get((connection, Kind.COMPANY, native))


def _digest(values: Mapping[str, Any], row: Row) -> str:
    # Only the company of a person can be without a common value.
    return digest(values, lambda _name: list(row["companies"]))


def _employers(rows: Mapping[str, Row]) -> dict[Kind, set[str]]:
    return {Kind.COMPANY: party_ids(rows.values())[Kind.COMPANY]}
