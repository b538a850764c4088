"""Records of the target that the migration made and that no record of the source stands behind now."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crmkit.mapping.custom import Plain
from crmkit.mapping.fields import Codec
from crmkit.migration.evidence import Evidence, Row
from crmkit.migration.proof_compare import PARTY_FIELDS, native_digest
from crmkit.migration.proof_file import UNEXPLAINED, Record
from crmkit.migration.proof_reasons import HeldIndex, Why
from crmkit.migration.proof_sums import Sums
from crmkit.migration.proof_tally import KINDS, Tally, difference
from crmkit.model import Kind
from crmkit.sync.hub import Status

Add = Callable[[Kind, str, Row, Row | None, Why], None]


def add_extras(evidence: Evidence, held: HeldIndex, tally: Tally, sums: Sums, fields: list[str]) -> None:
    """Find them, and everything that carries the migration's marker without being linked."""

    def add(kind: Kind, native: str, row: Row, origin: Row | None, why: Why) -> None:
        tally.counts[kind]["extra"] += 1
        if kind is Kind.DEAL:
            sums.add_target(row, origin)
        hashed = native_digest(_natives(kind, row, sums.target, fields))
        tally.hashed(kind, "", native, "", hashed)
        whole = difference("", "", row["name"], why)
        tally.differs(Record(kind.value, row["name"], "", native, None, row["url"], "", hashed, [whole]))

    _linked(evidence, held, tally, add)
    for kind in KINDS:
        for native, row in evidence.rows(kind, evidence.target, evidence.strays(kind)).items():
            reason = "it carries the migration's marker, but no link leads to it"
            waits = held.record(evidence.target, kind, native)
            add(kind, native, row, None, waits or Why(UNEXPLAINED, reason))


def _linked(evidence: Evidence, held: HeldIndex, tally: Tally, add: Add) -> None:
    for kind in KINDS:
        compared = {row[1] for row in tally.hashes[kind]}
        for linked in evidence.linked(kind):
            page = [one for one in linked if one[0] not in compared]
            rows = evidence.rows(kind, evidence.target, [native for native, *_ in page])
            behind = evidence.sources_of(kind, {entity for _, entity, _, _ in page})
            origins, inside = evidence.origins(kind, {one for found in behind.values() for one in found})
            for native, entity, status, found_by in page:
                row = rows.get(native)
                if row is None:
                    continue
                mine = behind.get(entity, [])
                if status is Status.CLONE:
                    why = held.record(evidence.target, kind, native) or Why("clone")
                elif inside.isdisjoint(mine) and evidence.is_made_here(entity, found_by, row):
                    why = held.whole(entity) or _why(mine, origins)
                else:
                    continue
                origin = next((origins[one] for one in mine if one in origins), None)
                add(kind, native, row, origin, why)


def _why(mine: list[str], origins: dict[str, Row]) -> Why:
    known = [origins[one] for one in mine if one in origins]
    if not known:
        return Why(UNEXPLAINED, "no record of the source is known for it")
    gone = all(row["gone_at"] is not None or row["archived"] for row in known)
    return Why("gone_from_source" if gone else "out_of_scope")


def _natives(kind: Kind, row: Row, codec: Codec, fields: list[str]) -> Mapping[str, Plain]:
    if kind is not Kind.DEAL:
        return {name: row["companies" if name == "company" else name] for name in PARTY_FIELDS[kind]}
    return {name: codec.native(name, row) for name in fields}
