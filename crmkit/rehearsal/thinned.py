"""A part of a blueprint: some deals with everything that hangs on them; pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from crmkit.sandbox import blueprint as plan


def thinned(blueprint: plan.Blueprint, deals: Collection[str]) -> plan.Blueprint:
    """The same CRM with these deals only, their companies and people, and what was written about them.

    Pipelines, fields and users stay whole. What is missing is counted in `left_out`.

    Args:
        blueprint: The whole CRM.
        deals: Ids of the deals that stay.
    """
    kept = tuple(one for one in blueprint.deals if one.id in deals)
    people = {person.id for one in kept for person in one.people}
    contacts = tuple(one for one in blueprint.contacts if one.id in people)
    of_deals = {company for one in kept for company in one.company_ids}
    # A person comes with every company of theirs: a link to nowhere is none that a CRM could hold.
    companies = of_deals | {company for one in contacts for company in one.company_ids}
    ids = {one.id for one in kept}
    made = replace(
        blueprint,
        deals=kept,
        contacts=contacts,
        companies=tuple(one for one in blueprint.companies if one.id in companies),
        notes=tuple(
            one
            for one in blueprint.notes
            if one.deal_id in ids or (one.deal_id is None and one.company_id in companies)
        ),
        visits=tuple(one for one in blueprint.visits if one.deal_id in ids),
    )
    counts = {
        "deals": len(blueprint.deals) - len(made.deals),
        "companies": len(blueprint.companies) - len(made.companies),
        "contacts": len(blueprint.contacts) - len(made.contacts),
        "notes": len(blueprint.notes) - len(made.notes),
    }
    outside = tuple(f"{count} {what} outside the sample" for what, count in counts.items() if count)
    return replace(made, left_out=(*blueprint.left_out, *outside))
