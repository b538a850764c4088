"""What a planner found: the writes, and everything that has to be remembered with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from crmkit.model import Kind, Ref
from crmkit.sync.hub import Entity, HeldConflict, Link
from crmkit.sync.plan import Held, Op, TrippedGuard


@dataclass(slots=True)
class Computed:
    """What a plan is made of, and what has to be remembered once it is carried out."""

    ops: list[Op] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    guards: list[TrippedGuard] = field(default_factory=list)
    entities: dict[str, Entity] = field(default_factory=dict)
    links: dict[tuple[str, Kind, str], Link] = field(default_factory=dict)
    values: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[HeldConflict] = field(default_factory=list)
    settled: list[tuple[str, str]] = field(default_factory=list)
    pending: set[str] = field(default_factory=set)
    examined: set[str] = field(default_factory=set)
    positions: dict[tuple[str, Kind], int] = field(default_factory=dict)
    landed: list[tuple[str, str]] = field(default_factory=list)
    reviews: dict[Ref, str] | None = None
    allowed: list[tuple[str, str, str]] = field(default_factory=list)
    first: bool = False

    def put_link(self, link: Link) -> None:
        """Remember a link, in place of what was stored or remembered before."""
        self.links[link.connection, link.kind, link.native_id] = link
