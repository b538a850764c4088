"""The crmkit.toml of a rehearsal: production's settings, without its addresses and secrets; pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from crmkit.config import Config
from crmkit.rehearsal.decisions import Decisions

RATES_FILE = "rates.csv"
_KEPT = ("clock_margin_seconds", "sweep_hours", "stages")
# What says how to log in is the twin's own matter, but for the way of logging in.
_ADDRESS_ENDS = ("_url", "portal")


def settings_of_twins(
    config: Config,
    names: Collection[str],
    addresses: Mapping[str, Mapping[str, Any]],
    decisions: Decisions | None,
) -> dict[str, Any]:
    """The tables of crmkit.toml for the twins of some connections.

    Migrations and syncs stay if every one of their CRMs has a twin.

    Args:
        config: Production's.
        names: The connections that have a twin; they keep their names.
        addresses: Per connection, what its twin's client needs besides the secrets.
        decisions: What masks settings that name people; `None`: they stay as they are.
    """
    settings = config.settings
    said = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    found: dict[str, Any] = {name: said[name] for name in _KEPT if name in said}
    found["connections"] = {
        name: {
            **_without_addresses(config.options[name].model_dump(mode="json", exclude_unset=True)),
            **{
                key: said["connections"][name][key]
                for key in ("history", "stages", "stage_defaults")
                if key in said["connections"][name]
            },
            "crm": settings.connections[name].crm,
            "limits": "off",
            **addresses[name],
        }
        for name in names
    }
    report = dict(said.get("report", {}))
    if "record_order" in report:
        report["record_order"] = [name for name in report["record_order"] if name in names]
    if "rates_file" in report:
        report["rates_file"] = RATES_FILE
    migrations = {
        name: table
        for name, table in said.get("migrations", {}).items()
        if {table["source"], table["target"]} <= set(names)
    }
    syncs = {
        name: table for name, table in said.get("syncs", {}).items() if set(table["members"]) <= set(names)
    }
    if decisions is not None:
        migrations = {name: decisions.migration(table) for name, table in migrations.items()}
        syncs = {name: decisions.sync(table) for name, table in syncs.items()}
    return {**found, "report": report, "migrations": migrations, "syncs": syncs}


def _without_addresses(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are true of a twin too: no host, no address of a person."""
    return {
        name: value
        for name, value in options.items()
        if value is not None
        and not name.endswith(_ADDRESS_ENDS)
        and not (isinstance(value, str) and ("://" in value or "@" in value))
    }


def toml_text(tables: Mapping[str, Any]) -> str:
    """A document in TOML; tables of tables have headers of their own."""
    lines: list[str] = []
    _write(tables, (), lines)
    return "\n".join(lines).strip() + "\n"


def _write(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if path and (plain or not table):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(name)} = {_value(value)}" for name, value in plain.items()]
    for name, value in table.items():
        if isinstance(value, Mapping):
            _write(value, (*path, name), lines)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _text(name)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for the one control character that JSON lets pass.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
