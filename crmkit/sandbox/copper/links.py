"""Which records are related, and relating them: no roles, no labels, no stamp that moves.

Primary company and contact are fields of the deal; relating a record sets neither, and parting a primary
one clears the field (both inferred).

Source: https://developer.copper.com/related-items/overview.html
"""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.answers import Body
from crmkit.sandbox.copper.records import ENTITY_TYPES, primary_of
from crmkit.sandbox.copper.validation import Form, id_of, invalid
from crmkit.sandbox.rows import Change, Kind

Ref = tuple[Kind, str]
_KIND_OF = {entity: kind for kind, entity in ENTITY_TYPES.items()}
_PLACE: dict[Kind, int] = {"deal": 0, "contact": 1, "company": 2}


class Links:
    """The related records of one account, with the companies that a deal has beside its primary one."""

    def __init__(self, account: Account) -> None:
        self.account, self.world = account, account.world
        self._companies: dict[str, list[str]] = {}
        self._deals: dict[str, list[str]] = {}
        self.world.listeners.append(self._changed)

    def of(self, kind: Kind, row_id: str) -> list[Ref]:
        """The records related to one, each once."""
        live = self.world.live
        if kind == "company":
            people = live.group("contact", "company_id", row_id)
            deals = [row.id for row in live.group("deal", "company_id", row_id)]
            found: list[Ref] = [("contact", row.id) for row in people]
            found += [("deal", deal_id) for deal_id in (*deals, *self._deals.get(row_id, ()))]
            return list(dict.fromkeys(found))
        row = live.tables[kind][row_id]
        found = [("company", row.company_id)] if row.company_id else []
        if kind == "deal":
            found += [("company", company_id) for company_id in self._companies.get(row_id, ())]
            found += [("contact", contact_id) for contact_id in row.contact_ids]
            return list(dict.fromkeys(found))
        return found + [("deal", deal.id) for deal in live.group("deal", "contact_ids", row_id)]

    def add(self, one: Ref, body: Body) -> dict[str, Any]:
        """Relate a record to another; two that are related already stay so (inferred)."""
        other = self._resource(body)
        if other not in self.of(*one):
            (first, first_id), (second, second_id) = self._pair(one, other)
            if first == "contact":
                if self.world.contacts[first_id].company_id:
                    raise invalid("base", "a person can be related to one company only", "too_many")
                self.world.edit("contact", first_id, by=self._by, touch=False, company_id=second_id)
            elif second == "contact":
                deal = self.world.deals[first_id]
                without = True if primary_of(deal) is None else None
                self.world.edit(
                    "deal",
                    first_id,
                    by=self._by,
                    touch=False,
                    contact_ids=(*deal.contact_ids, second_id),
                    custom={"no_primary": without},
                )
            else:
                self._companies.setdefault(first_id, []).append(second_id)
                self._deals.setdefault(second_id, []).append(first_id)
        return {"added": True, "resource": body["resource"]}

    def remove(self, one: Ref, body: Body) -> dict[str, Any]:
        """Part two records; refused if they are not related."""
        other = self._resource(body)
        if other not in self.of(*one):
            raise invalid("base", "not related", "not_related")
        (first, first_id), (second, second_id) = self._pair(one, other)
        if first == "contact":
            self.world.edit("contact", first_id, by=self._by, touch=False, company_id=None)
        elif second == "contact":
            deal = self.world.deals[first_id]
            rest = tuple(contact_id for contact_id in deal.contact_ids if contact_id != second_id)
            without = True if rest and primary_of(deal) in (None, second_id) else None
            self.world.edit(
                "deal", first_id, by=self._by, touch=False, contact_ids=rest, custom={"no_primary": without}
            )
        else:
            self._part(first_id, second_id)
            if self.world.deals[first_id].company_id == second_id:
                self.world.edit("deal", first_id, by=self._by, touch=False, company_id=None)
        return {"removed": True, "resource": body["resource"]}

    @property
    def _by(self) -> str:
        return self.account.user.id

    def _resource(self, body: Body) -> Ref:
        form = Form(body, ("resource",), ())
        form.check()
        said = body.get("resource")
        kind = _KIND_OF.get(str(said.get("type"))) if isinstance(said, dict) else None
        row_id = id_of(said.get("id")) if isinstance(said, dict) else None
        if kind is None or row_id is None or row_id not in self.world.live.tables[kind]:
            raise invalid("resource")
        return kind, row_id

    def _pair(self, one: Ref, other: Ref) -> tuple[Ref, Ref]:
        if one[0] == other[0]:
            raise invalid("resource", "cannot be related")
        first, second = sorted((one, other), key=lambda ref: _PLACE[ref[0]])
        return first, second

    def _part(self, deal_id: str, company_id: str) -> None:
        for index, key, value in (
            (self._companies, deal_id, company_id),
            (self._deals, company_id, deal_id),
        ):
            if value in index.get(key, ()):
                index[key].remove(value)

    def _changed(self, change: Change) -> None:
        if change.after is not None:
            return
        for company_id in list(self._companies.get(change.id, ())) if change.kind == "deal" else ():
            self._part(change.id, company_id)
        for deal_id in list(self._deals.get(change.id, ())) if change.kind == "company" else ():
            self._part(deal_id, change.id)
