"""Writes who is linked to what: contacts of deals and companies, companies of contacts.

Sources: https://apidocs.bitrix24.com/api-reference/crm/deals/contacts/index.html,
https://apidocs.bitrix24.com/api-reference/crm/contacts/company/index.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crmkit.sandbox.bitrix24.drafts import existing
from crmkit.sandbox.bitrix24.fields import CONTACT_SORTS, companies_of, contacts_of
from crmkit.sandbox.bitrix24.php import as_list, truth
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, whole
from crmkit.sandbox.bitrix24.saving import set_company_contacts, set_contact_companies
from crmkit.sandbox.bitrix24.writes import old_fields_of
from crmkit.sandbox.rows import Kind

_NO_OWNER = "The parameter ownerEntityID is invalid or not defined."


@dataclass(frozen=True, slots=True)
class Side:
    """One kind of link as seen from its owner: `crm.{owner}.{other}.*`."""

    owner: Kind
    other: Kind
    missing: str
    read: Callable[[Portal, Any], Sequence[str]]
    write: Callable[[Portal, str, tuple[str, ...], Caller], None]

    @property
    def name(self) -> str:
        """The parameter that names the linked record."""
        return f"{self.other.upper()}_ID"


def _write_deal(portal: Portal, deal_id: str, ids: tuple[str, ...], caller: Caller) -> None:
    deal = portal.world.deals[deal_id]
    sorts = {key: sort for key, sort in deal.custom.get(CONTACT_SORTS, {}).items() if key in ids}
    columns = {"contact_ids": ids, "custom": {CONTACT_SORTS: sorts or None}}
    # Whether a link moves the deal's time stamp is nowhere documented (inferred: it does not).
    portal.world.edit("deal", deal_id, by=caller.user_id, touch=False, **columns)


SIDES: Sequence[Side] = (
    Side("deal", "contact", "Not found.", lambda portal, row: row.contact_ids, _write_deal),
    Side("contact", "company", _NO_OWNER, lambda portal, row: companies_of(row), set_contact_companies),
    Side(
        "company", "contact", _NO_OWNER, lambda portal, row: contacts_of(portal, row.id), set_company_contacts
    ),
)


def link_add(portal: Portal, side: Side, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.contact.add`: false if the link is there already."""
    owner = _owner(portal, side, params)
    fields = old_fields_of(params)
    found = existing(portal, side.other, [fields.get(side.name)])
    if not found:
        raise Failure("", f"The parameter 'fields[{side.name}]' is invalid or not defined.")
    held = side.read(portal, owner)
    if found[0] in held:
        return Answer(False)
    first = truth(fields.get("IS_PRIMARY", "N"))
    ids = (*found, *held) if first else (*held, *found)
    side.write(portal, owner.id, ids, caller)
    _keep_sorts(portal, side, owner.id, {found[0]: whole(fields.get("SORT"))})
    return Answer(True)


def link_delete(portal: Portal, side: Side, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.contact.delete`."""
    owner = _owner(portal, side, params)
    gone = str(whole(old_fields_of(params).get(side.name)))
    held = side.read(portal, owner)
    if gone in held:
        side.write(portal, owner.id, tuple(one for one in held if one != gone), caller)
    return Answer(True)


def links_set(portal: Portal, side: Side, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.contact.items.set`: replaces all; the first is primary if none is named."""
    owner = _owner(portal, side, params)
    if not isinstance(params.get("items"), (Mapping, list)):
        raise Failure("", "Parameter 'items' must be array.")
    items = [one for one in as_list(params["items"]) if isinstance(one, Mapping)]
    named = {str(whole(one.get(side.name))): one for one in items}
    ids = existing(portal, side.other, named)
    primary = next((one for one in ids if truth(named[one].get("IS_PRIMARY", "N"))), None)
    if primary is not None:
        ids = (primary, *(one for one in ids if one != primary))
    side.write(portal, owner.id, ids, caller)
    _keep_sorts(portal, side, owner.id, {one: whole(named[one].get("SORT")) for one in ids})
    return Answer(True)


def links_delete(portal: Portal, side: Side, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.contact.items.delete`."""
    side.write(portal, _owner(portal, side, params).id, (), caller)
    return Answer(True)


def _owner(portal: Portal, side: Side, params: Mapping[str, Any]) -> Any:
    owner = portal.world.live.tables[side.owner].get(str(whole(params.get("id"))))
    if owner is None:
        raise Failure("", side.missing)
    return owner


def _keep_sorts(portal: Portal, side: Side, owner_id: str, said: Mapping[str, int | None]) -> None:
    """A sort belongs to the link; we keep those of deals, the others read as (place + 1) * 10."""
    given = {key: sort for key, sort in said.items() if sort is not None}
    if side.owner == "deal" and given:
        held = portal.world.deals[owner_id].custom.get(CONTACT_SORTS, {})
        portal.world.edit("deal", owner_id, touch=False, custom={CONTACT_SORTS: {**held, **given}})
