"""A target as it will be: what is still to be made counts as made, so that a plan can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from crmkit.connectors.base import Connector
from crmkit.migration.structure import FRESH
from crmkit.model import Kind


def imagined(connector: Connector) -> Connector:
    """The connection, but it takes values of pipelines, stages and fields that it does not have yet."""
    return cast(Connector, _Imagined(connector))


class _Imagined:
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return self._connector.cannot_hold(kind, _real(values))

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**values, **self._connector.holds(kind, _real(values))}


def _real(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not name.startswith(f"custom.{FRESH}") and not str(value).startswith(FRESH)
    }
