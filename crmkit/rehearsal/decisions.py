"""Settings that name people or quote records, masked as the records are, so that they still apply; pure.

Names of pipelines, stages, fields and options stay as they are, here and in the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmkit.migration_settings import NOBODY
from crmkit.rehearsal.masked import masked_value
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox import blueprint as plan

Table = Mapping[str, Any]
_PLAIN = frozenset({"number", "boolean", "day", "time"})  # their values are no words, and stay


@dataclass(frozen=True)
class Decisions:
    """Masks the tables of crmkit.toml, given as JSON.

    Attributes:
        mask: The pseudonyms of the rehearsal.
        drawn: What each connection's CRM consists of; pseudonyms or not, ids and fields are the same.
    """

    mask: Masking
    drawn: Mapping[str, plan.Blueprint] = field(default_factory=dict)

    def migration(self, table: Table) -> dict[str, Any]:
        """One `[migrations.NAME]`."""
        made = dict(table)
        source = str(table["source"])
        if "owners" in made:
            made["owners"] = {
                self._person(source, who): said if said == NOBODY else self._address(said)
                for who, said in made["owners"].items()
            }
        if "scope" in made:
            made["scope"] = self._scope(source, made["scope"])
        return made

    def sync(self, table: Table) -> dict[str, Any]:
        """One `[syncs.NAME]`."""
        made = dict(table)
        if "owners" in made:
            made["owners"] = {
                self._address(one): self._address(other) for one, other in made["owners"].items()
            }
        if "scope" in made:
            made["scope"] = {name: self._scope(name, scope) for name, scope in made["scope"].items()}
        if "custom" in made:
            made["custom"] = {name: self._custom(custom) for name, custom in made["custom"].items()}
        return made

    def _scope(self, connection: str, scope: Table) -> dict[str, Any]:
        made = dict(scope)
        if "owners" in made:
            made["owners"] = [self._address(one) for one in made["owners"]]
        if "where" in made:
            made["where"] = {
                name: [self._quoted(connection, name, value) for value in values]
                for name, values in made["where"].items()
            }
        return made

    def _custom(self, custom: Table) -> dict[str, Any]:
        made = dict(custom)
        fields: Mapping[str, str] = made.get("in", {})
        listed = {option for name, native in fields.items() for option in _options(self._field(name, native))}
        if "values" in made:
            made["values"] = {
                name: {
                    self._quoted(name, fields[name], held): common
                    if common in listed
                    else self.mask.html(common)
                    for held, common in values.items()
                }
                if name in fields
                else {}
                for name, values in made["values"].items()
            }
        return made

    def _person(self, connection: str, who: str) -> str:
        """An owner as a decision names them: by address, by id, or by name."""
        blueprint = self.drawn.get(connection)
        if blueprint is not None and any(who == user.id for user in blueprint.users):
            return who
        return self.mask.text(who) if "@" in who else self.mask.name(who)

    def _address(self, address: str) -> str:
        return self.mask.text(address)

    def _quoted(self, connection: str, native: str, value: str) -> str:
        """A value as the records of the twin hold it."""
        found = self._field(connection, native)
        if found is not None and found.type in _PLAIN:
            return value
        return str(masked_value(self.mask, found, value))

    def _field(self, connection: str, native: str) -> plan.Field | None:
        blueprint = self.drawn.get(connection)
        some = blueprint.fields.get("deal", ()) if blueprint is not None else ()
        return next((one for one in some if one.id == native), None)


def _options(field: plan.Field | None) -> Iterable[str]:
    return () if field is None else {*field.options, *field.options.values()}
