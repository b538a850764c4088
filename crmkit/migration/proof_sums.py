"""Deals and money of both sides, group by group: exact, in their own currencies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from crmkit.mapping.custom import Plain, Unmapped
from crmkit.mapping.fields import Codec
from crmkit.migration.evidence import Row
from crmkit.migration.proof_file import Sum
from crmkit.report.money import ZERO, add, subtract

GROUPS = ("total", "left_out", "pipeline", "stage", "owner", "outcome", "month")
NO_CURRENCY = "XXX"
_SOURCE, _TARGET = 0, 2
Group = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class Sums:
    """Adds deals up, on either side, under the target's names of pipelines and stages.

    Args:
        source: The source's codec.
        target: The target's.
    """

    source: Codec
    target: Codec
    _found: dict[tuple[str, tuple[str, ...], str], list[int | Decimal]] = field(default_factory=dict)
    _names: dict[tuple[str, str | None, str | None], tuple[str, str]] = field(default_factory=dict)
    _stages: dict[tuple[Plain, ...], tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for codec in (self.source, self.target):
            for pipeline in codec.stages.pipelines:
                for stage in pipeline.stages:
                    key = (codec.connection, pipeline.ref.id, stage.id)
                    self._names[key] = (pipeline.name, stage.name)

    def add_source(self, row: Row, counterpart: Row | None) -> None:
        """Count a deal of the source, with its counterpart if it has one."""
        owner = _owner(self.source, row)
        self._count(_SOURCE, row, self._groups(self._in_target(row, counterpart), owner, row, row))

    def add_target(self, row: Row, origin: Row | None) -> None:
        """Count a deal of the target, with the deal it was made from if that is known."""
        stage = self._named(self.target, row["pipeline_id"], row["stage_id"])
        self._count(_TARGET, row, self._groups(stage, _owner(self.target, row), row, origin or row))

    def add_left_out(self, row: Row, decision: str) -> None:
        """Count a deal of the source that stays behind by decision."""
        self._count(_SOURCE, row, [("left_out", (decision,))])

    def sums(self) -> list[Sum]:
        """Every group, in a fixed order."""
        ordered = sorted(self._found.items(), key=lambda one: (GROUPS.index(one[0][0]), *one[0][1:]))
        found = []
        for (by, key, currency), (source, money, target, other) in ordered:
            there, here = Decimal(other), Decimal(money)
            found.append(Sum(by, key, currency, int(source), int(target), here, there, subtract(there, here)))
        return found

    def _groups(self, stage: tuple[str, str], owner: str, row: Row, origin: Row) -> list[Group]:
        created = origin["created_at"]
        return [
            ("total", ()),
            ("pipeline", stage[:1]),
            ("stage", stage),
            ("owner", (owner,)),
            ("outcome", (str(row["outcome"]),)),
            ("month", (f"{created:%Y-%m}" if created is not None else "",)),
        ]

    def _count(self, side: int, row: Row, groups: Iterable[Group]) -> None:
        amount = row["amount"]
        currency = "" if amount is None else row["currency"] or NO_CURRENCY
        for by, key in groups:
            found = self._found.setdefault((by, key, currency), [0, ZERO, 0, ZERO])
            found[side] += 1
            if amount is not None:
                found[side + 1] = add(Decimal(found[side + 1]), amount)

    def _in_target(self, row: Row, counterpart: Row | None) -> tuple[str, str]:
        """The target's pipeline and stage that say what the source's do."""
        native = self.source.native("stage", row)
        current = None if counterpart is None else self.target.native("stage", counterpart)
        known = (*native, *(current or ()))
        if known not in self._stages:
            self._stages[known] = self._expressed(native, current)
        return self._stages[known]

    def _expressed(self, native: Plain, current: Plain) -> tuple[str, str]:
        value = self.source.decode("stage", native)
        left: Mapping[str, Plain] = {}
        if not isinstance(value, Unmapped):
            if current is not None and self.target.decode("stage", current) == value:
                return self._named(self.target, current[0], current[1])
            left = self.target.left_values("stage", value, current)
        if "stage_id" in left:
            return self._named(self.target, left["pipeline_id"], left["stage_id"])
        pipeline, stage = self._named(self.source, native[0], native[1])
        return f"{pipeline} ({self.source.connection})", stage

    def _named(self, codec: Codec, pipeline: str | None, stage: str | None) -> tuple[str, str]:
        return self._names.get((codec.connection, pipeline, stage), (pipeline or "", stage or ""))


def _owner(codec: Codec, row: Row) -> str:
    """An owner's address in common terms; the CRM's own id if there is none."""
    value = codec.decode("owner", row["owner_id"])
    return f"{row['owner_id']} ({codec.connection})" if isinstance(value, Unmapped) else value or ""
