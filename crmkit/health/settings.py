"""crmkit.toml: what can only be seen once it was read and found right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crmkit.errors import ConfigError
from crmkit.health.findings import SETTINGS, Finding, counted, error, note, ok


@dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration holds.

    Attributes:
        path: The file.
        connections: How many.
        syncs: How many.
        migrations: How many.
        renamed: Settings that still have a former name, each with what to write now.
        wrong: Per sync, what is wrong with its rules.
        no_files: Files that are named and not there, by setting.
    """

    path: str
    connections: int
    syncs: int
    migrations: int
    renamed: Sequence[str]
    wrong: Mapping[str, ConfigError]
    no_files: Mapping[str, str]


def check(found: Configured) -> Iterator[Finding]:
    """What should be put right in crmkit.toml."""
    if not found.connections:
        yield note(
            SETTINGS,
            "connections",
            f"{found.path} has no connections yet",
            hint="Add a [connections.NAME] with its `crm` for each login.",
        )
    else:
        parts = [counted(found.connections, "connection"), counted(found.syncs, "sync"),
                 counted(found.migrations, "migration")]  # fmt: skip
        yield ok(SETTINGS, "file", f"{found.path} is right: {', '.join(parts)}")
    for text in found.renamed:
        yield note(SETTINGS, "renamed", text)
    for sync, problem in found.wrong.items():
        yield error(sync, "rules", str(problem), hint=problem.hint)
    for setting, path in found.no_files.items():
        yield error(SETTINGS, "files", f"{setting} names {path}, and there is no such file",
                    hint="Put it there, or correct crmkit.toml.")  # fmt: skip
