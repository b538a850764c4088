"""The text of a crmkit.toml to begin with: commented, and right as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_COLUMN = 33


@dataclass(frozen=True, slots=True)
class Start:
    """One connection of a new workspace.

    Attributes:
        crm: The connector's name.
        title: How the CRM's makers write it.
        lines: Example options of the connector, each a line of TOML.
    """

    crm: str
    title: str
    lines: Sequence[str] = ()


def first_configuration(connections: Mapping[str, Start], *, currency: str, time_zone: str) -> str:
    """The text of crmkit.toml for these connections, by name; it holds no secret."""
    lines = [
        "# crmkit.toml: what crmkit works with. Secrets do not belong here: `crmkit login NAME` stores them.",
        "",
        _line('state = ".crmkit/state.db"', "the local copy; or postgresql+psycopg://user@host/db"),
        _line('# secrets_dir = ".crmkit/secrets"', "owner-only files, where a machine has no keyring"),
    ]
    for name, start in connections.items():
        lines += [
            "",
            f"# {start.title or start.crm}. Store its secret with `crmkit login {name}`.",
            f"[connections.{name}]",
            f"crm = {_toml(start.crm)}",
            *start.lines,
            _line("# history = true", "read past stage changes too, for the report"),
        ]
    lines += [
        "",
        "# What each native stage means in common stages goes here: after the first pull,",
        "# `crmkit stages suggest` proposes it, and `crmkit stages check` looks for mistakes.",
        "",
        "# How the pipeline report counts (docs/report.md).",
        "[report]",
        _line(f"currency = {_toml(currency)}", "everything is shown in it"),
        _line(f"time_zone = {_toml(time_zone)}", "where days and quarters begin"),
        _line('# rates_file = "rates.csv"', "lines of currency,date,rate: other currencies need one"),
        "",
        "# Keep CRMs in step (docs/sync.md). `crmkit plan main` shows what it would write; nothing is",
        "# written before `crmkit apply` or `crmkit sync`.",
        *_sync(list(connections)),
    ]
    return "\n".join(lines) + "\n"


def _sync(names: Sequence[str]) -> list[str]:
    members = [*names, "one", "another"][:2] if len(names) < 2 else list(names)
    return [
        "# [syncs.main]",
        f"# members = {json.dumps(members)}",
        f"# order = {json.dumps(members)}   # the system of record first",
        '# rules = { stage = "furthest_stage", amount = "hold" }',
    ]


def _line(setting: str, comment: str) -> str:
    return f"{setting:<{_COLUMN - 1}} # {comment}"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML spells a text like this too
