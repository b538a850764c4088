"""Collects what a comparison finds, record by record, into the parts of a proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern

from crmkit.migration.proof_file import (
    UNEXPLAINED,
    Agreement,
    Count,
    Difference,
    Findings,
    HashRow,
    LinkCount,
    Record,
    Verdict,
)
from crmkit.migration.proof_reasons import INEXPRESSIBLE, Why
from crmkit.model import Kind

KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
Tied = str | bytes | None
LINKS = ("deal-company", "deal-contact", "contact-company", "deal-note")


@dataclass(slots=True)
class Tally:
    """The parts of a proof while they grow."""

    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {kind: Counter() for kind in (*KINDS, Kind.NOTE)}
    )
    pairs: Counter[Kind] = field(default_factory=Counter)
    fields: dict[tuple[Kind, str], Counter[str]] = field(default_factory=dict)
    ties: dict[str, Counter[str]] = field(default_factory=lambda: {link: Counter() for link in LINKS})
    codes: Counter[str] = field(default_factory=Counter)
    records: list[Record] = field(default_factory=list)
    hashes: dict[str, list[HashRow]] = field(default_factory=lambda: {kind.value: [] for kind in KINDS})
    same: int = 0

    def compared(self, kind: Kind, differences: Sequence[tuple[str, Why]]) -> None:
        """Count a pair's fields that differ."""
        self.pairs[kind] += 1
        for name, why in differences:
            counter = self.fields.setdefault((kind, name), Counter())
            counter["inexpressible" if why.code in INEXPRESSIBLE else "differ"] += 1
        self.same += not differences

    def hashed(self, kind: Kind, source: str, target: str, one: str, other: str) -> None:
        """Note a record's hashes."""
        self.hashes[kind.value].append((source, target, one, one if one == other else other))

    def differs(self, record: Record) -> None:
        """Note a record that differs."""
        self.records.append(record)
        self.codes.update(one.code for one in record.differences)

    def tie(self, link: str, source: Sequence[Tied], target: Sequence[Tied], carried: int) -> int:
        """Count ties of one record; how many are on both sides.

        Args:
            link: Which.
            source: What it is tied to in the source, in order; `None` for what is not known.
            target: What its counterpart is tied to.
            carried: How many of the source's ties the migration carries, from the first.
        """
        counter = self.ties[link]
        there = Counter(one for one in target if one is not None)
        both = 0
        for place, one in enumerate(source):
            if one is not None and there[one]:
                there[one] -= 1
                both += 1
            else:
                counter["missing" if place < carried else "not_carried"] += 1
        counter["both"] += both
        counter["extra"] += len(target) - both
        counter["source"] += len(source)
        counter["target"] += len(target)
        return both

    def put_in_order(self) -> None:
        """Order rows and records by id, whatever the order in which they were found."""
        for rows in self.hashes.values():
            rows.sort()
        places = {kind.value: place for place, kind in enumerate(KINDS)}
        self.records.sort(key=lambda one: (places[one.kind], one.source, one.target))

    def finish_counts(self) -> list[Count]:
        """Counts per kind."""
        names = ("linked", "missing", "left_out", "extra", "pre_existing")
        return [
            Count(
                kind=kind,
                in_scope=counter["linked"] + counter["missing"] + counter["left_out"],
                **{name: counter[name] for name in names},
            )
            for kind, counter in self.counts.items()
        ]

    def finish_links(self) -> list[LinkCount]:
        """Ties per sort."""
        names = ("source", "target", "both", "missing", "not_carried", "extra")
        return [
            LinkCount(link=link, **{name: counter[name] for name in names})
            for link, counter in self.ties.items()
        ]

    def finish_agreement(self, names: Mapping[Kind, Sequence[str]]) -> list[Agreement]:
        """Agreement per field, for the fields that were compared."""
        found = []
        for kind, fields in names.items():
            for name in fields:
                counter = self.fields.get((kind, name), Counter())
                differ, cannot = counter["differ"], counter["inexpressible"]
                agree = self.pairs[kind] - differ - cannot
                found.append(
                    Agreement(kind=kind, field=name, agree=agree, differ=differ, inexpressible=cannot)
                )
        return found

    def findings(self) -> Findings:
        """The figures behind the verdict."""
        codes = Counter(self.codes)
        codes["not_carried"] += sum(counter["not_carried"] for counter in self.ties.values())
        total, unexplained = sum(codes.values()), codes[UNEXPLAINED]
        return Findings(
            same=self.same,
            different=len(self.records),
            explained=total - unexplained,
            unexplained=unexplained,
            by_code={code: codes[code] for code in sorted(codes) if codes[code]},
        )


def verdict(findings: Findings) -> Verdict:
    """What the figures prove."""
    if findings.unexplained:
        return Verdict.UNPROVEN
    return Verdict.EXPLAINED if findings.explained else Verdict.PROVEN


def difference(name: str, source: str, target: str, why: Why) -> Difference:
    """One difference as the file has it."""
    # A million alike differences share their texts.
    return Difference(intern(name), source, target, intern(why.code), intern(why.words))
