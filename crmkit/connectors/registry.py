"""The connectors that are installed, by the name that crmkit.toml uses for a CRM.

A package adds one through the entry-point group `crmkit.connectors`. Nothing is imported
before a connection names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pydantic import BaseModel

from crmkit.connectors.base import Connector
from crmkit.errors import ConfigError

GROUP = "crmkit.connectors"


def connector(crm: str) -> type[Connector]:
    """The connector class for a `crm` name.

    Raises:
        ConfigError: None is installed under that name, or it cannot be imported.
    """
    found = _installed().get(crm)
    if found is None:
        raise ConfigError(f"there is no connector {crm!r}", hint=f"Installed: {', '.join(_installed())}.")
    try:
        loaded = found.load()
    except ImportError as error:
        raise ConfigError(f"the connector {crm!r} cannot be imported: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        raise ConfigError(f"the connector {crm!r} ({found.value}) is not a crmkit connector")
    return loaded


class OptionModels(Mapping[str, type[BaseModel]]):
    """The options model per `crm` name, imported when it is asked for."""

    def __getitem__(self, crm: str) -> type[BaseModel]:
        if crm not in _installed():
            raise KeyError(crm)
        return connector(crm).Options

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_installed()))

    def __len__(self) -> int:
        return len(_installed())


@cache  # what is installed stays so while a process runs, and asking reads a file of every package
def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
