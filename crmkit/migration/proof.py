"""The proof of a migration: every record of the source beside its counterpart in the target.

Reads the state store only, so both CRMs must have been pulled right before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from crmkit.migration.evidence import Evidence
from crmkit.migration.proof_changes import Change, against
from crmkit.migration.proof_compare import PARTY_FIELDS
from crmkit.migration.proof_deals import DealProof
from crmkit.migration.proof_extras import add_extras
from crmkit.migration.proof_file import Digested, Proof, Side, Verdict, load_proof
from crmkit.migration.proof_parties import PartyProof
from crmkit.migration.proof_reasons import EXPLANATIONS, HeldIndex
from crmkit.migration.proof_sums import Sums
from crmkit.migration.proof_tally import KINDS, Tally, verdict
from crmkit.model import Kind
from crmkit.sync.group import Group
from crmkit.sync.plan import Held
from crmkit.sync.state import State

__all__ = ["EXPLANATIONS", "Change", "Proof", "Verdict", "against", "load_proof", "prove"]


def prove(
    group: Group,
    state: State,
    *,
    source: str,
    target: str,
    held: Sequence[Held],
    left_out: Mapping[str, str],
    now: datetime,
    notes: bool | None = None,
) -> Proof:
    """Compare what the source holds with what the migration left in the target.

    Args:
        group: The migration as a sync group.
        state: The open store, with both CRMs freshly pulled.
        source: The member that deals come from.
        target: The member that they go to.
        held: What a fresh plan holds back.
        left_out: Deals of the source that stay behind by decision, with its words.
        now: The time.
        notes: Whether the migration carries notes, if it does not say so itself; notes that are
            not carried are only counted.
    """
    waiting = HeldIndex(held)
    moving = group.moving
    if notes is None:
        notes = moving is not None and moving.notes
    tally = Tally()
    with state.read() as db:
        evidence = Evidence(group, db, source, target)
        sums = Sums(group.members[source].codec, group.members[target].codec)
        deals = DealProof(group, evidence, waiting, tally, sums, left_out, notes=notes)
        deals.run()
        parties = PartyProof(group, evidence, waiting, tally, deals.waits)
        whole = moving is not None and moving.everybody and moving.only is None
        for kind in (Kind.CONTACT, Kind.COMPANY):
            if whole:
                for natives in evidence.everybody(kind):
                    parties.run(kind, natives)
            else:
                # A person brings the company they work for along.
                parties.run(kind, deals.named[kind] | (parties.employers if kind is Kind.COMPANY else set()))
        add_extras(evidence, waiting, tally, sums, deals.target_fields)
        sides = [_side(group, evidence, name) for name in (source, target)]
    tally.put_in_order()
    findings = tally.findings()
    return Proof(
        source=sides[0],
        target=sides[1],
        made_at=now,
        digest=group.digest,
        verdict=verdict(findings),
        findings=findings,
        counts=tally.finish_counts(),
        sums=sums.sums(),
        links=tally.finish_links(),
        agreement=tally.finish_agreement({Kind.DEAL: deals.fields, **PARTY_FIELDS}),
        left_behind=deals.left_behind(),
        hash=Digested(tally.hashes).hash,
        records=tally.records,
        hashes=tally.hashes,
    )


def _side(group: Group, evidence: Evidence, connection: str) -> Side:
    member = group.members[connection]
    return Side(
        connection=connection,
        crm=member.crm,
        account=member.account,
        workspace=evidence.workspace(connection),
        pulled_at=evidence.pulled_at(connection, KINDS),
        notes_pulled_at=evidence.pulled_at(connection, [Kind.NOTE]),
    )
