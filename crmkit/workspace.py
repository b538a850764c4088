"""A ready workspace for a running sandbox: configuration and owner-only secret files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crmkit.config import FILE_NAME
from crmkit.errors import ConfigError

SECRETS_FOLDER = ".crmkit/secrets"
STATE_FILE = ".crmkit/state.db"
_RATES = {
    "EUR": "1.08",
    "GBP": "1.27",
    "JPY": "0.0067",
    "BRL": "0.18",
    "CHF": "1.12",
    "RUB": "0.011",
    "MXN": "0.055",
    "PLN": "0.25",
}


@dataclass(frozen=True, slots=True)
class LocalCrm:
    """One CRM to put into a workspace.

    Attributes:
        crm: The connector's name.
        connection: Keys of its table in crmkit.toml.
        secrets: Secret names and values.
        limits: Whether its rate limits apply.
    """

    crm: str
    connection: Mapping[str, str | bool | int]
    secrets: Mapping[str, str]
    limits: bool = True


def write(folder: Path, crms: Mapping[str, LocalCrm]) -> Path:
    """Write crmkit.toml and the secrets of local CRMs; the path of the file.

    A workspace of an earlier sandbox keeps its stage maps, but not its local copy: the
    records of that sandbox are gone.

    Args:
        folder: Where to; made if it is missing.
        crms: Per connection name, what to connect to.

    Raises:
        ConfigError: The folder cannot be written, or its crmkit.toml is somebody's own.
    """
    path = folder / FILE_NAME
    earlier = path.read_text(encoding="utf-8") if path.exists() else ""
    if earlier and _MARK not in earlier:
        raise ConfigError(
            f"{path} is there already and was not made by the sandbox",
            hint="Choose another folder.",
        )
    _, marker, stage_maps = earlier.partition(_STAGE_MAPS)
    try:
        secrets = folder / SECRETS_FOLDER
        secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets.chmod(0o700)
        for name, crm in crms.items():
            for key, value in crm.secrets.items():
                _write_owner_only(secrets / f"{name}.{key}", value)
            # A token that an earlier sandbox gave out is worth nothing in this one.
            (secrets / f"{name}.access_token").unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            (folder / (STATE_FILE + suffix)).unlink(missing_ok=True)
        path.write_text(configuration(crms) + marker + stage_maps, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write the workspace {folder}: {error.strerror}",
            hint="Name a folder that you may write to.",
        ) from error
    return path


_MARK = "# A crmkit workspace for the sandbox."
_STAGE_MAPS = "\n# Stage maps, as `crmkit stages suggest` proposed them.\n"


def configuration(crms: Mapping[str, LocalCrm]) -> str:
    """The text of crmkit.toml for local CRMs; it holds no secret."""
    lines = [
        _MARK,
        "# Secrets are not here: they lie in secrets_dir, and are looked for nowhere else.",
        f'state = "{STATE_FILE}"',
        f'secrets_dir = "{SECRETS_FOLDER}"',
        'secrets = "secrets_dir"',
    ]
    for name, crm in crms.items():
        lines += ["", f"[connections.{name}]", f"crm = {_toml(crm.crm)}", "history = true"]
        lines += [] if crm.limits else ['limits = "off"']
        lines += [f"{key} = {_toml(value)}" for key, value in crm.connection.items()]
    lines += ["", "[report]", 'currency = "USD"', 'time_zone = "UTC"', "", "[report.rates]"]
    lines += [f'{currency} = {{ "2000-01-01" = "{rate}" }}' for currency, rate in _RATES.items()]
    pair = [name for name in ("hubspot", "zoho") if name in crms]
    members = pair if len(pair) == 2 else list(crms)[:2]
    if len(members) == 2:
        lines += ["", "[syncs.main]", f"members = {json.dumps(members)}", f"order = {json.dumps(members)}"]
        lines += ['rules = { stage = "furthest_stage", amount = "hold" }']
    return "\n".join(lines) + "\n"


def add_stage_maps(path: Path, texts: Iterable[str]) -> None:
    """Put stage maps, as `stages suggest` prints them, at the end of a configuration file."""
    head, _, _ = path.read_text(encoding="utf-8").partition(_STAGE_MAPS)
    tables = "\n".join(text.rstrip() + "\n" for text in texts)
    path.write_text(head + _STAGE_MAPS + tables, encoding="utf-8")


def _toml(value: str | bool | int) -> str:
    return json.dumps(value, ensure_ascii=False)  # the same spelling for texts, numbers and booleans


def _write_owner_only(path: Path, text: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
