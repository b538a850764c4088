"""What Copper's world is seeded with: pipelines, ids, lists, custom fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.copper.answers import TIME_ZONE
from crmkit.sandbox.names import LOST_REASONS, SOURCES
from crmkit.sandbox.rows import CustomField, Kind, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.world import World

ACCOUNT_ID = "100624"
FIRST_REASON, FIRST_SOURCE = 308_806, 331_242
_FIRST_IDS = {
    "user": 137_658,
    # Unique within a kind only: the same number is a company, a person and an opportunity.
    "company": 9_607_580,
    "contact": 9_607_580,
    "deal": 9_607_580,
    "note": 3_064_242_278,
    "field": 126_240,
    "option": 167_772,
}
# No stage means won or lost: that is the status, beside the stage.
_PIPELINES: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    (
        "Sales",
        (
            ("Qualified", 5),
            ("Follow-up", 10),
            ("Presentation", 20),
            ("Contract Sent", 40),
            ("Negotiation", 80),
        ),
    ),
    (
        "Business Development",
        (("First Meeting", 10), ("Partner Meeting", 25), ("Negotiation", 50), ("Term Sheet", 75)),
    ),
    (
        "Vertrieb DACH",
        (
            ("01 Erstkontakt", 5),
            ("02 Bedarfsanalyse", 15),
            ("03 Vorführung", 30),
            ("04 Angebot", 50),
            ("05 Verhandlung 🤝", 75),
            ("06 Mündliche Zusage", 90),
        ),
    ),
    (
        "Clientes (posventa)",
        (("Bienvenida 🎉", 90), ("Implantación", 90), ("Renovación", 70), ("Ampliación", 40)),
    ),
)
_DATA_TYPES = {
    "text": "String",
    "number": "Float",
    "date": "Date",
    "picklist": "Dropdown",
    "multiselect": "MultiSelect",
    "checkbox": "Checkbox",
}


def vendor_seed() -> VendorSeed:
    """What the world is seeded with."""
    return VendorSeed(
        pipelines=pipelines,
        make_ids=make_ids,
        workspace_id=ACCOUNT_ID,
        workspace_name="Dev API Sandbox",
        time_zone=TIME_ZONE,
        currencies={"USD": 1.0, "EUR": 1.1, "GBP": 1.3, "JPY": 0.007},
        status_follows_stage=False,
        deal_probability=True,
    )


def pipelines() -> list[Pipeline]:
    """Fresh pipelines; their stages are numbered on, and two are called Negotiation."""
    made: list[Pipeline] = []
    stage_id = 987_790
    for order, (name, stages) in enumerate(_PIPELINES):
        listed = []
        for place, (label, percent) in enumerate(stages):
            listed.append(Stage(str(stage_id), label, place, "open", percent / 100))
            stage_id += 1
        made.append(Pipeline(str(213_214 + order), name, order, listed))
    return made


def make_ids(seed: int) -> Mapping[str, Callable[[], str]]:
    """Makers of ids that count up."""
    return {kind: counting_ids(first) for kind, first in _FIRST_IDS.items()}


class NamedList:
    """A small list of the account: loss reasons, sources, contact types."""

    def __init__(self, first: int, names: Iterable[str | None]) -> None:
        self._next = first
        self.ids: dict[str, int] = {}
        for name in names:
            self.id_of(name)

    def take(self, names: Mapping[str, str]) -> None:
        """Add names with ids that they have already."""
        self.ids |= {name: int(native) for native, name in names.items()}
        self._next = max([self._next, *(number + 1 for number in self.ids.values())])

    def id_of(self, name: str | None) -> int | None:
        """The id of a name; an unknown one joins the list."""
        if not name:
            return None
        if name not in self.ids:
            self.ids[name] = self._next
            self._next += 1
        return self.ids[name]

    def shown(self) -> list[dict[str, Any]]:
        """As on the wire."""
        return [{"id": number, "name": name} for name, number in self.ids.items()]


def loss_reasons() -> NamedList:
    """Why deals are lost."""
    return NamedList(FIRST_REASON, LOST_REASONS)


def customer_sources() -> NamedList:
    """Where deals come from."""
    return NamedList(FIRST_SOURCE, SOURCES)


def contact_types() -> NamedList:
    """What people and companies are."""
    return NamedList(451_490, ("Potential Customer", "Current Customer", "Uncategorized", "Other"))


def finish_seed(world: World) -> None:
    """Add the definitions that only Copper has: types that nothing else has, and one on several kinds.

    `crmkit_id` is the number field that a record can be found by; text is not searchable.
    """
    for key, label, data_type in (
        ("crmkit_id", "crmkit_id", "Float"),
        ("discount", "Discount", "Percentage"),
        ("proposal", "Proposal link", "URL"),
        ("hardware", "Hardware value", "Currency"),
    ):
        _add(world, CustomField("", key, label, "text", extra={"data_type": data_type}), "deal")
    shared = CustomField("", "remarks", "Remarks", "text", extra={"data_type": "Text"})
    _add(world, shared, "deal", "company", "contact")


def data_type_of(field: CustomField) -> str:
    """What Copper calls the type of a field."""
    return str(field.extra.get("data_type") or _DATA_TYPES[field.type])


def _add(world: World, field: CustomField, *kinds: Kind) -> None:
    field.id = world.new_id("field")
    for kind in kinds:
        world.fields[kind].setdefault(field.key, field)
