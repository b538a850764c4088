"""A blueprint without a word that a person wrote: the numbers, the links and the shape of it stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from crmkit.rehearsal.masking import Masking
from crmkit.sandbox import blueprint as plan

T = TypeVar("T")
_CODE = re.compile(r"[A-Z][A-Z_]{1,30}")
_KEY = re.compile(r"[\w.-]+(?::[\w.-]+)+", re.ASCII)
_FORECASTS = frozenset({"Pipeline", "Closed", "Omitted", "Best Case", "Commit"})  # Zoho's own
_TEXTS = frozenset({"text", "other"})


def masked(blueprint: plan.Blueprint, mask: Masking, listed: frozenset[str] = frozenset()) -> plan.Blueprint:
    """The same CRM with pseudonyms for everybody and everything that a person named.

    What stays: ids, options of lists, numbers, days, money, pipelines, stages, fields, and keys of
    crmkit's own, which consist of ids.

    Args:
        blueprint: What to mask.
        mask: The pseudonyms; those of the other CRM of the rehearsal.
        listed: Texts that the CRM itself offers in lists: they stay where a list is meant, for example as
            the source of a deal.
    """
    return _Masked(blueprint, mask, listed).all()


class _Masked:
    def __init__(self, blueprint: plan.Blueprint, mask: Masking, listed: frozenset[str]) -> None:
        self.blueprint, self.mask, self.listed = blueprint, mask, listed
        self.fields = {kind: {one.id: one for one in some} for kind, some in blueprint.fields.items()}

    def all(self) -> plan.Blueprint:
        """The whole blueprint, masked."""
        one = self.blueprint
        return replace(
            one,
            # Some workspaces are known by an address that names the company.
            workspace_id=one.workspace_id if _is_id(one.workspace_id) else self.mask.text(one.workspace_id),
            workspace_name=self.mask.text(one.workspace_name),
            users=tuple(map(self.user, one.users)),
            companies=tuple(map(self.company, one.companies)),
            contacts=tuple(map(self.contact, one.contacts)),
            deals=tuple(map(self.deal, one.deals)),
            notes=tuple(replace(note, text=self.mask.html(note.text)) for note in one.notes),
        )

    def user(self, user: plan.User) -> plan.User:
        """A colleague."""
        return replace(user, name=self.mask.name(user.name), email=_maybe(self.mask.text, user.email))

    def company(self, company: plan.Company) -> plan.Company:
        """A company."""
        mask = self.mask
        return replace(
            company,
            name=mask.text(company.name),
            domain=_maybe(mask.text, company.domain),
            tax_id=_maybe(mask.name, company.tax_id),
            phones=tuple(map(mask.phone, company.phones)),
            **self._place(company),
            key=self._key(company.key),
            custom=self.custom("company", company.custom),
        )

    def contact(self, contact: plan.Contact) -> plan.Contact:
        """A person."""
        mask = self.mask
        return replace(
            contact,
            name=mask.name(contact.name),
            first=_maybe(mask.name, contact.first),
            last=_maybe(mask.name, contact.last),
            emails=tuple(map(mask.text, contact.emails)),
            phones=tuple(map(mask.phone, contact.phones)),
            **self._place(contact),
            key=self._key(contact.key),
            custom=self.custom("contact", contact.custom),
        )

    def deal(self, deal: plan.Deal) -> plan.Deal:
        """A deal."""
        return replace(
            deal,
            name=self.mask.text(deal.name),
            lost_reason=self._choice(deal.lost_reason),
            forecast_category=self._code(deal.forecast_category),
            source=self._code(deal.source),
            tags=tuple(map(self.mask.text, deal.tags)),
            people=tuple(replace(one, role=self._choice(one.role)) for one in deal.people),
            key=self._key(deal.key),
            custom=self.custom("deal", deal.custom),
        )

    def custom(self, kind: plan.FieldKind, custom: Mapping[str, plan.Value]) -> dict[str, plan.Value]:
        """Custom values: texts are masked, whatever the type of their field."""
        fields = self.fields.get(kind, {})
        return {name: masked_value(self.mask, fields.get(name), value) for name, value in custom.items()}

    def _choice(self, text: str | None) -> str | None:
        return text if text is None or text in self.listed else self.mask.text(text)

    def _code(self, text: str | None) -> str | None:
        """What comes from a list of the CRM; where that is not told, codes such as `WEB` stay."""
        return text if text in _FORECASTS or _CODE.fullmatch(text or "") else self._choice(text)

    def _key(self, key: str | None) -> str | None:
        """A key of crmkit's own ends in a record's id; something else may have been typed into its field."""
        if key is None or (_KEY.fullmatch(key) and _is_id(key.rpartition(":")[2])):
            return key
        return self.mask.text(key)

    def _place(self, party: plan.Company | plan.Contact) -> dict[str, Any]:
        return {
            "city": _maybe(self.mask.text, party.city),
            "country": _maybe(self.mask.place, party.country),
            "postcode": _maybe(self.mask.name, party.postcode),
        }


def masked_value(mask: Masking, field: plan.Field | None, value: plan.Value) -> plan.Value:
    """A custom value, masked if it is a text that no list offers; `None`: nobody knows its field."""
    if isinstance(value, tuple):
        return tuple(str(masked_value(mask, field, one)) for one in value)
    if not isinstance(value, str):
        return value
    if field is None or field.type in _TEXTS:
        return mask.html(value)
    if field.type in {"choice", "choices"}:
        # Some CRMs give the id of an option, others its label.
        return value if value in field.options or value in field.options.values() else mask.text(value)
    if field.type in {"owner", "link"}:
        return value if _is_id(value) else mask.text(value)
    return mask.money(value)


def _is_id(text: str) -> bool:
    """Whether a text can be an id: a number, or a prefix and at least ten signs without meaning."""
    if text.isascii() and text.isdigit():
        return True
    prefix, _, opaque = text.partition("_")
    return prefix.isalpha() and len(opaque) >= 10 and opaque.isalnum()


def _maybe(mask: Callable[[str], T], value: str | None) -> T | None:
    return None if value is None else mask(value)
