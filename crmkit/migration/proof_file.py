"""The file of a proof: what a migration moved, both sides beside each other, and every difference.

A proof of a million deals is a large file, so it is written line by line and its two long
parts are compact: `records` names only records that differ, `hashes` has four texts for
each record. Whoever wants to check it finds a record again by its ids and its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, SkipValidation, ValidationError
from pydantic.dataclasses import dataclass as checked

from crmkit.errors import UsageError
from crmkit.private_file import write_private
from crmkit.report.money import Number

MAX_BYTES = 1024 * 1024 * 1024
UNEXPLAINED = "unexplained"
HashRow = tuple[str, str, str, str]
"""(source id, target id, source hash, target hash); empty where there is no such record."""

_STRICT = ConfigDict(extra="forbid")
_ENCODER = msgspec.json.Encoder()


class Verdict(StrEnum):
    """What the comparison proves."""

    PROVEN = "proven"  # nothing differs
    EXPLAINED = "explained"  # something differs, and it is known why
    UNPROVEN = "unproven"  # something differs, and nothing explains it


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Json):
    """One of the two CRMs.

    Attributes:
        connection: Its name here.
        crm: The connector's name.
        account: The CRM's own id of the workspace.
        workspace: The workspace's name.
        pulled_at: When deals, companies and people were read last, the oldest of them; `None`
            if one of them never was.
        notes_pulled_at: The same of notes.
    """

    connection: str
    crm: str
    account: str
    workspace: str
    pulled_at: AwareDatetime | None
    notes_pulled_at: AwareDatetime | None


class Count(_Json):
    """Records of one kind: `in_scope` is `linked`, `missing` and `left_out` together.

    Attributes:
        kind: Deal, company, contact or note.
        in_scope: In the source: deals in scope, and who and what hangs on them.
        linked: With a counterpart in the target.
        missing: Without one.
        left_out: Without one, by decision.
        extra: In the target, made by the migration, but without a source that is in scope.
        pre_existing: Of the linked ones those that were in the target before.
    """

    kind: str
    in_scope: int
    linked: int
    missing: int
    left_out: int
    extra: int
    pre_existing: int


@checked(frozen=True, slots=True, config=_STRICT)
class Sum:
    """Deals and money of one group and currency, as entered and never converted, on both sides.

    Attributes:
        by: What is grouped by: total, left_out, pipeline, stage, owner, outcome or month.
        key: The group; a stage comes after its pipeline, both as the target names them. A
            month is that of the creation in the source, on both sides. Left-out deals stand
            under the decision, and in no other sum.
        currency: ISO 4217; `XXX` for amounts without one, empty for deals without an amount.
        source_deals: How many in the source.
        target_deals: How many in the target.
        source_amount: Their amounts together.
        target_amount: Their amounts together.
        difference: Target minus source.
    """

    by: str
    key: tuple[str, ...]
    currency: str
    source_deals: int
    target_deals: int
    source_amount: Number
    target_amount: Number
    difference: Number


class LinkCount(_Json):
    """Ties between records: `source` is `both`, `missing` and `not_carried` together.

    Attributes:
        link: Like `deal-company`.
        source: In the source, of all records in scope.
        target: In the target, of their counterparts.
        both: On both sides between the same records.
        missing: Only in the source; the records that differ tell why.
        not_carried: Only in the source, as the migration does not carry such ties, for
            example a deal's second company.
        extra: Only in the target.
    """

    link: str
    source: int
    target: int
    both: int
    missing: int
    not_carried: int
    extra: int


class Agreement(_Json):
    """One field over all linked records of a kind.

    Attributes:
        kind: Deal, company or contact.
        field: The field.
        agree: Records that mean the same on both sides.
        differ: Records that do not.
        inexpressible: Records whose value one of the CRMs cannot express, exactly or at all.
    """

    kind: str
    field: str
    agree: int
    differ: int
    inexpressible: int


class LeftBehind(_Json):
    """A field that holds values in the source and is not part of the migration."""

    field: str
    deals: int


@checked(frozen=True, slots=True, config=_STRICT)
class Difference:
    """One difference.

    Attributes:
        field: The field; empty if the record as a whole is missing or extra.
        source: The source's value as people read it.
        target: The target's.
        code: Why, see `EXPLANATIONS`; `unexplained` if nobody knows.
        reason: Why, in words.
    """

    field: str
    source: str
    target: str
    code: str
    reason: str

    @property
    def is_explained(self) -> bool:
        """Whether it is known why."""
        return self.code != UNEXPLAINED


@checked(frozen=True, slots=True, config=_STRICT)
class Record:
    """A record that differs; ids are empty where there is no such record."""

    kind: str
    label: str
    source: str
    target: str
    source_url: str | None
    target_url: str | None
    source_hash: str
    target_hash: str
    differences: list[Difference]


class Findings(_Json):
    """How many records were compared, and how many differences there are of each sort.

    Attributes:
        same: Linked records that mean the same in every field.
        different: Records that do not, that are missing or extra.
        explained: Differences with an explanation.
        unexplained: Differences without one.
        by_code: Differences by explanation; ties and notes that are not carried count too.
    """

    same: int
    different: int
    explained: int
    unexplained: int
    by_code: dict[str, int]


class Proof(_Json):
    """What a migration left in the target beside what the source holds; `crmkit migrate verify`.

    Attributes:
        crmkit_proof: Version of this format.
        source: Where the deals come from.
        target: Where they went.
        made_at: When both were compared.
        digest: Settings and maps that the migration had.
        verdict: What follows.
        findings: With which figures.
        counts: Per kind.
        sums: Deals and money on both sides.
        links: Ties on both sides.
        agreement: Per kind and field.
        left_behind: Fields that the migration does not take.
        hash: SHA-256 over `hashes`: equal proofs have equal ones.
        records: Records that differ.
        hashes: Per kind, one row for each record: source id, target id, and SHA-256 of the
            values in common terms on both sides, equal if all fields mean the same.
    """

    crmkit_proof: Literal[1] = 1
    source: Side
    target: Side
    made_at: AwareDatetime
    digest: str
    verdict: Verdict
    findings: Findings
    counts: list[Count] = []
    sums: list[Sum] = []
    links: list[LinkCount] = []
    agreement: list[Agreement] = []
    left_behind: list[LeftBehind] = []
    hash: str
    records: list[Record] = []
    # Millions of rows are not copied; `load_proof` checks those of a file.
    hashes: Annotated[dict[str, list[HashRow]], SkipValidation] = {}

    def write(self, path: Path) -> None:
        """Save it whole or not at all, readable by its owner only: it holds customers' data.

        A link of that name is replaced, never followed.

        Raises:
            UsageError: It cannot be written.
        """
        write_private(path, self._lines())

    def _lines(self) -> Iterator[bytes]:
        head = self.model_dump_json(exclude={"records", "hashes"}).encode()
        yield head[:-1] + b',\n"records":['
        yield from _rows(map(_ENCODER.encode, self.records))
        yield b'],\n"hashes":{'
        for at, (kind, rows) in enumerate(self.hashes.items()):
            yield b"\n" + (b"," if at else b"") + _ENCODER.encode(kind) + b":["
            yield from _rows(map(_ENCODER.encode, rows))
            yield b"]"
        yield b"}}\n"


@dataclass(frozen=True, slots=True)
class Digested:
    """Rows of hashes, in the order of the file, with one hash over all of them."""

    rows: Mapping[str, Sequence[HashRow]]

    @property
    def hash(self) -> str:
        """SHA-256 over every kind and row."""
        found = hashlib.sha256()
        for kind in sorted(self.rows):
            found.update(_ENCODER.encode(kind))
            for row in self.rows[kind]:
                found.update(_ENCODER.encode(row))
        return found.hexdigest()


def load_proof(path: Path) -> Proof:
    """Read a saved proof.

    Raises:
        UsageError: It is not one, or it is not as it was written.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large to be a proof")
        parts = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        hashes = _hashes(parts.pop("hashes", msgspec.Raw(b"{}")))
        if not set(hashes) <= {"deal", "company", "contact"}:
            raise ValueError("hashes: there are no records of such a kind")
        rest = b",".join(_ENCODER.encode(name) + b":" + bytes(part) for name, part in parts.items())
        del parts
        proof = Proof.model_validate_json(b"{" + rest + b"}").model_copy(update={"hashes": hashes})
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _not_a_proof(path, f"{where + ': ' if where else ''}{first['msg']}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _not_a_proof(path, str(error)) from error
    if Digested(proof.hashes).hash != proof.hash:
        raise _not_a_proof(path, "its hashes were changed after it was written")
    return proof


def _hashes(part: msgspec.Raw) -> dict[str, list[HashRow]]:
    found: dict[str, list[HashRow]] = {}
    for kind, raw in msgspec.json.decode(part, type=dict[str, msgspec.Raw]).items():
        rows = msgspec.json.decode(raw, type=list[HashRow])
        for at, (source, target, one, other) in enumerate(rows):
            # Most records have the same hash on both sides: one text is enough in memory.
            rows[at] = (source, target, one, one if one == other else other)
        found[kind] = rows
    return found


def _not_a_proof(path: Path, problem: str) -> UsageError:
    return UsageError(
        f"{path} is not a proof of this version: {problem[:300]}",
        hint="Make a new one with `crmkit migrate verify NAME --out FILE`.",
    )


def _rows(encoded: Iterable[bytes]) -> Iterator[bytes]:
    for at, one in enumerate(encoded):
        yield (b",\n" if at else b"\n") + one
