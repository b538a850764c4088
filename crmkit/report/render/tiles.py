"""The figures at the top of a page."""

from __future__ import annotations

from dataclasses import dataclass

from crmkit.report.compared import Differences
from crmkit.report.render.cells import grouped
from crmkit.report.render.texts import Texts


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: what it is, how much, the exact value or the parts, and whether it alarms."""

    label: str
    value: str
    unit: str
    note: str
    tone: str = ""
    low_sample: bool = False


def difference_tiles(found: Differences, texts: Texts) -> list[Tile]:
    """How much is linked, missing and different over all pairs."""
    linked = sum(pair.linked for pair in found.pairs)
    missing = sum(one.count for pair in found.pairs for one in pair.missing)
    fields = sum(len(pair.field_differences) for pair in found.pairs)
    deals = sum(len({one.deal for one in pair.field_differences}) for pair in found.pairs)

    def tile(label: str, count: int, note: str, tone: str = "") -> Tile:
        return Tile(texts[label], grouped(str(count), texts), "", note, tone if count else "")

    several = texts["pair_count"].format(count=len(found.pairs))
    where = several if len(found.pairs) > 1 else texts["one_pair"]
    return [
        tile("linked_pairs", linked, where, "main"),
        tile("missing_deals", missing, where, "warn"),
        tile("differing_fields", fields, texts["on_deals"].format(count=grouped(str(deals), texts)), "warn"),
        tile("duplicate_links", len(found.duplicate_links), texts["must_be_none"], "bad"),
    ]
