"""What Close's world is seeded with: pipelines, ids, and the fields through which it says more."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from crmkit.sandbox.names import LOST_REASONS, SOURCES, TAGS
from crmkit.sandbox.rows import Company, CustomField, Kind, Option, Outcome, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.world import World

ORGANIZATION_ID = "orga_RbREgmiiwcr1w2b4cOnCMQaQPSIFxMqAD2Dh243uxcH"
DEAL_NAME = "deal_name"
ROLE_ID = "role_y6eLquXvRUdmwqi61tsmgCJUU7uGfxaRbDuLoONZL9p"
_KEY_FIELD = "crmkit_key"
_PREFIXES = {
    "user": "user_",
    "company": "lead_",
    "contact": "cont_",
    "deal": "oppo_",
    "note": "acti_",
    "field": "cf_",
}
_PIPELINES: tuple[tuple[str, tuple[tuple[str, Outcome], ...]], ...] = (
    # What a new organization has.
    ("Sales", (("Active", "open"), ("Won", "won"), ("Lost", "lost"))),
    (
        "Vertrieb DACH",
        (
            ("1. Erstkontakt", "open"),
            ("2. Qualifiziert", "open"),
            ("3. Termin / Demo", "open"),
            ("4. Angebot verschickt", "open"),
            ("5. Verhandlung", "open"),
            ("✅ Gewonnen", "won"),
            ("❌ Verloren", "lost"),
            ("Kein Interesse", "lost"),
        ),
    ),
    (
        "Ventas Iberia",
        (
            ("Prospección", "open"),
            ("Reunión agendada", "open"),
            ("Propuesta enviada", "open"),
            ("Negociación", "open"),
            ("Ganado", "won"),
            ("Perdido", "lost"),
        ),
    ),
    (
        "Customer Success",
        (
            ("🚀 Onboarding", "open"),
            ("Renewal due", "open"),
            ("Upsell", "open"),
            ("Renewed", "won"),
            ("Churned", "lost"),
        ),
    ),
)


def vendor_seed() -> VendorSeed:
    """What the world is seeded with.

    An opportunity has no name of its own. The seeded name is kept in the row and
    shown in the opportunity custom field "Deal name", the key in "crmkit_id".
    """
    return VendorSeed(
        pipelines=pipelines,
        make_ids=make_ids,
        id_key=str,
        workspace_id=ORGANIZATION_ID,
        workspace_name="Sandbox Close",
        # Stored values show milliseconds: 2013-02-01T00:54:51.337000+00:00.
        step_microseconds=1_000,
        currencies={"USD": 1.0},
        deals_need_company=True,
        contacts_per_deal=1,
        deal_probability=True,
        value_periods=("one_time", "one_time", "one_time", "monthly", "annual"),
    )


def pipelines() -> list[Pipeline]:
    """Fresh pipelines, their ids always the same."""
    maker = random.Random("close-pipelines")
    made = []
    for order, (name, stages) in enumerate(_PIPELINES):
        statuses = [
            Stage(f"stat_{opaque(maker)}", label, place, outcome)
            for place, (label, outcome) in enumerate(stages)
        ]
        made.append(Pipeline(f"pipe_{opaque(maker, 22)}", name, order, statuses))
    return made


def make_ids(seed: int) -> Mapping[str, Callable[[], str]]:
    """Makers of ids: a prefix and 43 characters that tell nothing, not even the order of creation."""

    def maker(kind: str) -> Callable[[], str]:
        prefix, rng = _PREFIXES[kind], random.Random(f"close-{kind}-{seed}")
        return lambda: prefix + opaque(rng)

    return {kind: maker(kind) for kind in _PREFIXES}


def opaque(rng: random.Random, length: int = 43) -> str:
    """Letters and digits without meaning."""
    return base64.b64encode(rng.randbytes(33), b"Zz")[:length].decode()


def finish_seed(world: World) -> None:
    """Make the seeded world obey Close's rules.

    Every contact belongs to a lead, a won opportunity has a `date_won`, and what
    Close has no field for (name, source, tags, loss reason) is a custom field.
    """
    for contact in list(world.contacts.values()):
        if contact.company_id is None:
            lead = Company(
                id=world.new_id("company"),
                name=f"{contact.first} {contact.last}".strip(),
                owner_id=contact.owner_id,
                created=contact.created,
                modified=contact.modified,
            )
            world.load("company", lead)
            world.load("contact", replace(contact, company_id=lead.id))
    for deal in list(world.deals.values()):
        if deal.status == "won" and deal.expected_close is None and deal.closed_at is not None:
            world.load("deal", replace(deal, expected_close=deal.closed_at.date()))
    _add_fields(world)


def _add_fields(world: World) -> None:
    fields = world.fields["deal"]
    if _KEY_FIELD in fields:
        fields[_KEY_FIELD].label = "crmkit_id"
    for field in fields.values():
        if field.type == "checkbox":  # Close has no check box, people make a choice of two.
            field.options = (Option("Yes", "Yes"), Option("No", "No"))
    reasons = [text for text in LOST_REASONS if text]
    _add(world, "deal", CustomField("", DEAL_NAME, "Deal name", "text"))
    _add(world, "deal", CustomField("", "source", "Source", "picklist", _options(filter(None, SOURCES))))
    _add(world, "deal", CustomField("", "tags", "Tags", "multiselect", _options(TAGS)))
    _add(world, "deal", CustomField("", "lost_reason", "Loss reason", "picklist", _options(reasons)))
    _add(world, "company", CustomField("", "phone", "Phone", "text"))
    _add(world, "company", CustomField("", "owner", "Lead owner", "text", extra={"type": "user"}))


def _add(world: World, kind: Kind, field: CustomField) -> None:
    field.id = world.new_id("field")
    world.fields[kind].setdefault(field.key, field)


def _options(labels: Iterable[str]) -> tuple[Option, ...]:
    return tuple(Option(text, text) for text in labels)
