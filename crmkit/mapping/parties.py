"""Fields of companies and people as a migration keeps them in step; the deals' are in `fields`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmkit.mapping.custom import (
    CustomField,
    Plain,
    Unmapped,
    decoded,
    plain_custom,
    restored_custom,
    tidy,
    written_custom,
)
from crmkit.mapping.fields import Codec
from crmkit.model import Kind

PARTY_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.COMPANY: ("name", "domain", "tax_id", "phones", "city", "country", "postcode", "owner"),
    Kind.CONTACT: ("name", "emails", "phones", "city", "country", "postcode", "owner"),
}
_LISTS = frozenset({"emails", "phones"})
_EMPTY: Mapping[str, Any] = {
    "name": "", "first_name": None, "last_name": None, "domain": None, "tax_id": None, "phones": (),
    "emails": (), "city": None, "country": None, "postcode": None, "owner_id": None, "custom": {},
}  # fmt: skip


@dataclass(frozen=True)
class PartyCodec:
    """The fields of one connection's companies or people: native, common and model values.

    Attributes:
        kind: Company or contact.
        deals: The connection's deal codec: it knows the owners.
        holds: The connector's `holds` for this kind.
        cannot_hold: The connector's `cannot_hold` for this kind.
        writable: Model fields that an update can set.
        custom: Custom fields by their common name.
    """

    kind: Kind
    deals: Codec
    holds: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    cannot_hold: Callable[[Mapping[str, Any]], Mapping[str, str]]
    writable: frozenset[str]
    custom: Mapping[str, CustomField] = field(default_factory=dict)

    def native(self, name: str, row: Mapping[str, Any]) -> Plain:
        """What a stored record holds of a field."""
        if name == "owner":
            return row["owner_id"]
        if name in self.custom:
            return plain_custom(row["custom"].get(self.custom[name].id), self.custom[name].type)
        if name == "name" and self.kind is Kind.CONTACT:
            return [row["name"], row["first_name"], row["last_name"]]
        return list(row[name]) if name in _LISTS else row[name]

    def decode(self, name: str, native: Plain) -> Plain | Unmapped:
        """The common value that a native one stands for."""
        if name == "owner":
            return self.deals.decode("owner", native)
        if name in self.custom:
            return decoded(self.custom[name], native)
        if name == "name" and self.kind is Kind.CONTACT:
            return tidy(" ".join(str(native[0] or "").split()))
        if name in _LISTS:
            return [str(one).strip() for one in native or () if str(one).strip()]
        return tidy(native)

    def project(self, name: str, value: Plain, current: Plain = None) -> Plain | Unmapped:
        """What this CRM can express of a common value."""
        written = self.write_values(name, value, current)
        if isinstance(written, Unmapped) or name == "owner":
            return written if isinstance(written, Unmapped) else value
        held = {**written, **self.holds(written)}
        row = {**_EMPTY, **{each: one for each, one in held.items() if not each.startswith("custom.")}}
        row["custom"] = {
            each.removeprefix("custom."): one for each, one in held.items() if each.startswith("custom.")
        }
        if name == "name" and not row["name"]:
            row["name"] = " ".join(filter(None, (row["first_name"], row["last_name"])))
        return self.decode(name, self.native(name, row))

    def write_values(self, name: str, value: Plain, current: Plain = None) -> dict[str, Any] | Unmapped:
        """The model values that express a common value here."""
        values = self._write_values(name, value)
        if isinstance(values, Unmapped):
            return values
        able = {each: one for each, one in values.items() if each.split(".")[0] in self.writable}
        if not able:
            return Unmapped("this CRM has no such field, or it cannot be written")
        refused = self.cannot_hold(able)
        return Unmapped("; ".join(sorted(set(refused.values())))) if refused else able

    def left_values(self, name: str, value: Plain, current: Plain = None) -> dict[str, Any]:
        """What a record holds after `write_values` was written."""
        left = self.write_values(name, value, current)
        return {} if isinstance(left, Unmapped) else left

    def restore_values(self, name: str, native: Plain) -> dict[str, Any]:
        """The model values that put back exactly what this CRM held."""
        if name == "owner":
            values: dict[str, Any] = {"owner_id": native}
        elif name in self.custom:
            values = restored_custom(self.custom[name], native)
        elif name == "name" and self.kind is Kind.CONTACT:
            values = dict(zip(("name", "first_name", "last_name"), native, strict=True))
        else:
            values = {name: tuple(native) if name in _LISTS else native}
        return {each: one for each, one in values.items() if each.split(".")[0] in self.writable}

    def _write_values(self, name: str, value: Plain) -> dict[str, Any] | Unmapped:
        if name == "owner":
            return self.deals.write_values("owner", value)
        if name in self.custom:
            return written_custom(self.custom[name], value)
        if name == "name" and self.kind is Kind.CONTACT:
            # An update renames a person by the whole name; how it parts is seen by its last word.
            first, _, last = (value or "").rpartition(" ")
            return {"name": value or "", "first_name": first or None, "last_name": last or None}
        return {name: tuple(value or ()) if name in _LISTS else value}
