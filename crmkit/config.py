"""crmkit.toml, checked: every problem in one message, each with file and line.

```toml
state = ".crmkit/state.db"            # or postgresql+psycopg://user@host/db
secrets_dir = ".crmkit/secrets"       # optional: a folder of owner-only secret files

[connections.hubspot-us]
crm = "hubspot"                       # everything else here is an option of that connector

[connections.hubspot-us.stages."Sales Pipeline"]
"Appointment Scheduled" = "meeting"   # native stage (name or id) = common stage

[report]
currency = "USD"
time_zone = "Europe/Berlin"
rates_file = "rates.csv"              # currency,date,rate

[syncs.main]
members = ["hubspot-us", "zoho-eu"]   # see crmkit.sync_settings
```
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crmkit.alert_settings import AlertSettings
from crmkit.errors import ConfigError
from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Outcome
from crmkit.observe_settings import ObserveSettings
from crmkit.renamed_settings import brought_forward
from crmkit.report_settings import ReportSettings
from crmkit.sync_settings import SettingError, SyncSettings

FILE_NAME = "crmkit.toml"
CONNECTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_PASSWORD = re.compile(r"[^/]+://([^/@:]*:[^@]+@|.*[?&](ssl)?password=)")
_SYNC_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class _Misplaced(ValueError):
    """Something is wrong between two parts of the file; `path` says where to correct it."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageSettings(_Section):
    """One common stage of this workspace, in place of the built-in outline."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str
    outcome: Outcome = Outcome.OPEN


class ConnectionSettings(_Section):
    """One configured login. Keys that are not named here are options of the connector.

    `history` reads stage changes too. `limits = "off"` is for a sandbox without limits.
    `daily_quota` is how many calls a day the plan at the CRM allows; `daily_share` is the part
    of them that crmkit may take, the rest is for other tools. A share without a quota limits nothing.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    crm: str
    history: bool = False
    limits: Literal["real", "off"] = "real"
    daily_quota: int | None = Field(default=None, gt=0)
    daily_share: float = Field(default=1.0, gt=0, le=1)
    stages: Mapping[str, Mapping[str, str]] = {}
    stage_defaults: Mapping[str, Mapping[str, str]] = {}

    @property
    def options(self) -> dict[str, Any]:
        """What is left for the connector's own `Options`."""
        return dict(self.model_extra or {})


class Settings(_Section):
    """The whole file.

    `secrets = "secrets_dir"`: secrets come from the files of `secrets_dir` only; a workspace
    of made-up CRMs must not find the real ones' in the keyring.
    `sweep_hours`: a sync reads everything again if the last whole read is older, and so
    finds what no list of changes shows.
    """

    state: str = ".crmkit/state.db"
    secrets: Literal["anywhere", "secrets_dir"] = "anywhere"
    secrets_dir: Path | None = None
    clock_margin_seconds: float = Field(default=120.0, gt=0)
    sweep_hours: float = Field(default=24.0, gt=0)
    stages: tuple[StageSettings, ...] = ()
    connections: Mapping[str, ConnectionSettings] = {}
    report: ReportSettings = ReportSettings()
    syncs: Mapping[str, SyncSettings] = {}
    migrations: Mapping[str, MigrationSettings] = {}
    observe: ObserveSettings = ObserveSettings()
    alerts: AlertSettings = AlertSettings()

    @field_validator("state")
    @classmethod
    def _without_password(cls, state: str) -> str:
        if _PASSWORD.match(state):
            raise ValueError(
                "a password does not belong in this file: write the address without it, and set "
                "CRMKIT_STATE_PASSWORD, CRMKIT_STATE_PASSWORD_FILE, or `keyring set crmkit state:password`"
            )
        return state

    @model_validator(mode="after")
    def _known_connections(self) -> Settings:
        unknown = [name for name in self.report.record_order if name not in self.connections]
        if unknown:
            raise _Misplaced(
                ("report", "record_order"),
                f"{unknown[0]!r} is not a connection. {suggestion(unknown[0], self.connections)}",
            )
        self._report_names()
        for name, sync in self.syncs.items():
            for member in sync.members:
                if member not in self.connections:
                    raise _Misplaced(
                        ("syncs", name, "members"),
                        f"{member!r} is not a connection. {suggestion(member, self.connections)}",
                    )
        for name, migration in self.migrations.items():
            for key in ("source", "target"):
                end = getattr(migration, key)
                if end not in self.connections:
                    raise _Misplaced(
                        ("migrations", name, key),
                        f"{end!r} is not a connection. {suggestion(end, self.connections)}",
                    )
        self._apart()
        return self

    def _report_names(self) -> None:
        """Refuse stages, teams and connections that the report names and nothing declares."""
        report = self.report
        for key in ("renewal_fields", "upsell_fields"):
            for name in getattr(report, key):
                if name not in self.connections:
                    raise _Misplaced(
                        ("report", key, name),
                        f"{name!r} is not a connection. {suggestion(name, self.connections)}",
                    )
        stages = [stage.id for stage in self.stages] or [stage.id for stage in DEFAULT_OUTLINE.stages]
        for key, named in report.stages_named():
            if named not in stages:
                raise _Misplaced(
                    ("report", key), f"{named!r} is not a common stage. {suggestion(named, stages)}"
                )

    def _apart(self) -> None:
        """Refuse two syncs that would write the same deals."""
        names = sorted(self.syncs)
        for at, one in enumerate(names):
            for other in names[at + 1 :]:
                for member in set(self.syncs[one].members) & set(self.syncs[other].members):
                    left, right = self.syncs[one].scope.get(member), self.syncs[other].scope.get(member)
                    apart = left and right and left.pipelines and right.pipelines
                    if not apart or set(left.pipelines) & set(right.pipelines):  # type: ignore[union-attr]
                        raise _Misplaced(
                            ("syncs", other, "members"),
                            f"syncs.{one} has {member!r} too: put all members into one sync, or give "
                            "each a scope with pipelines of its own",
                        )


@dataclass(frozen=True, slots=True)
class Config:
    """Checked settings and where they came from.

    Attributes:
        path: The file; relative paths in it start at its folder.
        settings: What it says.
        options: The connector options per connection, checked.
        warnings: Settings that work under a former name, each with what to write now.
    """

    path: Path
    settings: Settings
    options: Mapping[str, BaseModel]
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of crmkit.toml."""
        return self.path.parent

    @property
    def state_url(self) -> str:
        """The state store as a database URL."""
        state = self.settings.state
        return state if "://" in state else f"sqlite:///{self.folder / state}"

    @property
    def secrets_dir(self) -> Path | None:
        """The folder of secret files, if one is named."""
        return self.folder / self.settings.secrets_dir if self.settings.secrets_dir else None

    def chosen(self, names: Iterable[str]) -> dict[str, ConnectionSettings]:
        """The named connections, or all of them if none is named.

        Raises:
            ConfigError: A name is not configured.
        """
        known = self.settings.connections
        wanted = list(names) or list(known)
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    f"there is no connection {name!r} in {self.path.name}", hint=suggestion(name, known)
                )
        if not wanted:
            raise ConfigError(
                f"{self.path.name} has no connections",
                hint="Add one as [connections.NAME] with its `crm`, or try `crmkit demo` first.",
            )
        return {name: known[name] for name in wanted}


def find(start: Path) -> Path:
    """The nearest crmkit.toml in a folder or above it.

    Raises:
        ConfigError: There is none.
    """
    for folder in [start, *start.parents]:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"no {FILE_NAME} in {start} or above it",
        hint="Begin one with `crmkit init`, get one to play with by `crmkit demo`, or name the file "
        "with --config.",
    )


def load(path: Path, connectors: Mapping[str, type[BaseModel]]) -> Config:
    """Read and check a configuration file.

    Args:
        path: The file.
        connectors: The options model of each known `crm`.

    Raises:
        ConfigError: It cannot be read, or something in it is wrong; all problems at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    lines = _Lines(text)
    document, renamed, gone = brought_forward(document)
    problems = [(lines.of(notice.path), notice.text) for notice in gone]
    syncs = document.get("syncs", {})
    problems += [
        (lines.of(("syncs", name)), f"{name!r}: use lower-case letters, digits, hyphens and _")
        for name in (syncs if isinstance(syncs, dict) else ())
        if not _SYNC_NAME.fullmatch(name)
    ]
    settings = _settings(document, lines, problems)
    options: dict[str, BaseModel] = {}
    tables = document.get("connections", {})
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict):
            checked = _connection(name, table, connectors, lines, problems)
            if checked is not None:
                options[name] = checked
    if problems or settings is None:
        listing = "\n".join(f"  {path.name}:{line}: {text}" for line, text in sorted(set(problems)))
        count = len(set(problems))
        raise ConfigError(
            f"{path} has {count} problem{'s' if count != 1 else ''}:\n{listing}",
            hint="Correct these lines; nothing was changed.",
        )
    warnings = tuple(f"{path.name}:{lines.of(notice.path)}: {notice.text}" for notice in renamed)
    return Config(path.resolve(), settings, options, warnings)


def _settings(document: Mapping[str, Any], lines: _Lines, problems: list[tuple[int, str]]) -> Settings | None:
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        _explain(error, (), Settings, lines, problems)
        return None


def _connection(
    name: str,
    table: Mapping[str, Any],
    connectors: Mapping[str, type[BaseModel]],
    lines: _Lines,
    problems: list[tuple[int, str]],
) -> BaseModel | None:
    where = ("connections", name)
    if not CONNECTION_NAME.fullmatch(name):
        problems.append((lines.of(where), f"{name!r}: use lower-case letters, digits and hyphens"))
    crm = table.get("crm")
    if not isinstance(crm, str):
        return None  # reported by the settings themselves
    model = connectors.get(crm)
    if model is None:
        problems.append(
            (lines.of((*where, "crm")), f"there is no connector {crm!r}. {suggestion(crm, connectors)}")
        )
        return None
    own = {key: value for key, value in table.items() if key not in ConnectionSettings.model_fields}
    try:
        return model.model_validate(own)
    except ValidationError as error:
        _explain(error, where, model, lines, problems, extra=ConnectionSettings.model_fields)
        return None


# What pydantic says in words of its own trade.
_PLAIN_WORDS = {
    "tuple_type": 'write a list, for example ["one", "two"]',
    "dict_type": 'write a table, for example { name = "value" }',
    "mapping_type": 'write a table, for example { name = "value" }',
    "model_type": 'write a table, for example { name = "value" }',
    "model_attributes_type": 'write a table, for example { name = "value" }',
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "bool_parsing": "write true or false",
    "string_type": "write a text in quotes",
    "date_from_datetime_parsing": "write a date, for example 2026-01-31",
    "date_type": "write a date, for example 2026-01-31",
    "missing": "is missing",
}


def _explain(
    error: ValidationError,
    where: tuple[str, ...],
    model: type[BaseModel],
    lines: _Lines,
    problems: list[tuple[int, str]],
    extra: Iterable[str] = (),
) -> None:
    for item in error.errors(include_url=False, include_input=False):
        path = (*where, *(str(part) for part in item["loc"] if part != "[key]"))
        message = _PLAIN_WORDS.get(item["type"]) or item["msg"].removeprefix("Value error, ")
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, _Misplaced):
            path = (*where, *cause.path)
        elif isinstance(cause, SettingError):
            path = (*path, *cause.path)
        if item["type"] == "extra_forbidden":
            known = [*_fields_at(model, item["loc"][:-1]), *extra]
            message = f"unknown key. {suggestion(str(item['loc'][-1]), known)}"
        problems.append((lines.of(path), f"{'.'.join(path) or 'crmkit.toml'}: {message}"))


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The field names of the model at a path inside another one."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        for inner in getattr(current, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                current = inner
    is_model = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if is_model else []


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a hint, else all of them; empty if there are none."""
    options = list(known)
    near = difflib.get_close_matches(name, options, 1, 0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(sorted(options))}." if options else ""


class _Lines:
    """Where keys and tables stand in a TOML text, well enough to point a person there."""

    _HEADER = re.compile(r"^\s*\[\[?(?P<path>[^\]]+)\]\]?\s*(#.*)?$")
    _KEY = re.compile(
        r"""^\s*(?P<path>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
    )
    _PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := self._HEADER.match(line):
                table = self._parts(header["path"])
                self._at.setdefault(table, number)
            elif key := self._KEY.match(line):
                self._at.setdefault((*table, *self._parts(key["path"])), number)

    def of(self, path: tuple[str, ...]) -> int:
        """The line of a key, or of the nearest table around it."""
        names = tuple(part for part in path if not part.isdigit())
        for end in range(len(path), 0, -1):
            if path[:end] in self._at:
                return self._at[path[:end]]
        for end in range(len(names), 0, -1):
            if names[:end] in self._at:
                return self._at[names[:end]]
        return 1

    def _parts(self, path: str) -> tuple[str, ...]:
        return tuple(part.strip("\"'") for part in self._PART.findall(path))
