"""Companies and people that come along with a migration although no deal names them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from crmkit.model import Kind, Ref
from crmkit.sync.basis import Basis
from crmkit.sync.moving import Moving
from crmkit.sync.parties import Parties
from crmkit.sync.stored import chunks

_PARTIES = (Kind.COMPANY, Kind.CONTACT)


def bring_everybody(
    basis: Basis, moving: Moving, parties: Parties, fresh: Iterable[Ref], waiting: Collection[str]
) -> None:
    """Plan the companies and people of the source that the target has never had.

    Args:
        basis: What the plan is made from.
        moving: How the migration moves.
        parties: The plan's companies and people.
        fresh: Records that no entity knows yet.
        waiting: Entities that waited for this plan.
    """
    group, out = basis.group, basis.out
    natives: dict[Kind, set[str]] = {kind: set() for kind in _PARTIES}
    for ref in fresh:
        if ref.connection == moving.source and ref.kind in natives:
            natives[ref.kind].add(ref.id)
    spoke = group.members[moving.source].spoke
    for entity in waiting:
        origin, kind, native = entity.split(":", 2)
        if origin == spoke and kind in _PARTIES:
            natives[Kind(kind)].add(native)
    for kind in _PARTIES:
        for chunk in chunks(natives[kind]):
            if moving.only is not None:
                # A sample takes whom its deals name; everybody else comes with the rest.
                out.pending |= {group.entity_id(moving.source, kind, native) for native in chunk}
                continue
            found = parties.identify(moving.source, kind, chunk)
            links = basis.links_of(found)
            for entity in sorted(found):
                # Also one that was deleted there since: it stays away.
                if any(link.connection == moving.target for link in links[entity]):
                    out.examined.add(entity)
                    continue
                parties.need(moving.target, kind, entity, None)
                out.pending.add(entity)
