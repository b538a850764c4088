"""A deal's letter that is written by a later run than the deal tells the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Change, Written
from crmkit.errors import NetworkFault
from crmkit.model import Kind, Note
from crmkit.sync.group import Group
from crmkit.sync.moving import Moving
from tests.migration.proof_bench import Migration


def letters(migration: Migration) -> list[str]:
    """The notes about deals' pasts in the target."""
    return sorted(
        one.text for one in migration.new.memory.now().values()
        if isinstance(one, Note) and "Migrated by" in one.text
    )  # fmt: skip


def begin(folder: Path) -> Migration:
    folder.mkdir()
    migration = Migration(folder, Moving("old", "new", missing={"source": "without"})).fill()
    migration.old.edit("d1", source="Trade fair")
    return migration


def test_a_letter_that_came_later_tells_what_the_target_has_no_place_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = Group.lacks
    monkeypatch.setattr(
        Group,
        "lacks",
        lambda group, connection, name, *kind: (
            (connection, name) == ("new", "source") or lacks(group, connection, name, *kind)
        ),
    )
    at_once = begin(tmp_path / "at once")
    at_once.run()
    later = begin(tmp_path / "later")
    with monkeypatch.context() as cut:
        cut.setattr(MemoryConnector, "write", without_notes(MemoryConnector.write))
        later.run()
        later.run()
    assert letters(later) == []
    later.run()
    assert any("Source: Trade fair" in text for text in letters(at_once))
    assert letters(later) == letters(at_once)


Write = Callable[[MemoryConnector, Sequence[Change]], Iterator[Sequence[Written]]]


def without_notes(write: Write) -> Write:
    """A connector that is cut off before it writes notes."""

    def cut_off(connector: MemoryConnector, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        if any(change.kind is Kind.NOTE for change in changes):
            raise NetworkFault("cut off", sent=False)
        yield from write(connector, changes)

    return cut_off
