"""A file for an earlier crmkit works on, and its owner is told what to write now."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from crmkit import config, renamed_settings
from crmkit.cli import cli
from crmkit.connectors import registry
from crmkit.errors import ConfigError
from crmkit.renamed_settings import Removed, Renamed, brought_forward

CHANGES = (
    Renamed(("sweep_every",), ("sweep_hours",), "0.9"),
    Renamed(("connections", "*", "with_history"), ("connections", "*", "history"), "0.9"),
    Renamed(("report", "base"), ("report", "money", "currency"), "0.9"),
    Removed(("connections", "*", "threads"), "nothing, the CRM's own ceiling is used", "0.9"),
)


@pytest.fixture
def changed() -> Iterator[None]:
    """A crmkit that renamed settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renamed_settings, "CHANGES", CHANGES)
        yield


def test_a_renamed_setting_counts_and_is_told() -> None:
    document = {"connections": {"a": {"crm": "memory", "with_history": True}}}
    current, warnings, problems = brought_forward(document, CHANGES)
    assert current == {"connections": {"a": {"crm": "memory", "history": True}}}
    assert [notice.text for notice in warnings] == [
        "connections.a.with_history: is called connections.a.history since 0.9; write it like that"
    ]
    assert problems == []


def test_a_setting_moves_into_a_table_that_was_not_there() -> None:
    current, _, _ = brought_forward({"report": {"base": "EUR"}}, CHANGES)
    assert current == {"report": {"money": {"currency": "EUR"}}}


def test_old_and_new_name_together_are_a_problem() -> None:
    _, warnings, problems = brought_forward({"sweep_every": 1, "sweep_hours": 2}, CHANGES)
    assert warnings == []
    assert problems[0].text == "sweep_every: is called sweep_hours now, which is set too"


def test_a_removed_setting_says_what_to_do_instead() -> None:
    _, _, problems = brought_forward({"connections": {"a": {"threads": 3}}}, CHANGES)
    assert problems[0].path == ("connections", "a", "threads")
    assert "since 0.9: nothing, the CRM's own ceiling is used" in problems[0].text


_documents = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["connections", "a", "threads", "with_history", "report", "base", "sweep_every"]),
        inner,
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["connections", "report", "sweep_every", "x"]), _documents))
def test_any_document_is_read_and_left_as_it_was(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    current, warnings, problems = brought_forward(document, CHANGES)
    assert document == before
    if not warnings and not problems:
        assert current == document


@pytest.mark.usefixtures("changed")
def test_a_file_with_former_names_loads_and_names_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text('sweep_every = 6\n\n[connections.a]\ncrm = "memory"\nwith_history = true\n')
    loaded = config.load(path, registry.OptionModels())
    assert loaded.settings.sweep_hours == 6
    assert loaded.settings.connections["a"].history is True
    assert [warning.split(": ")[0] for warning in loaded.warnings] == ["crmkit.toml:1", "crmkit.toml:5"]


@pytest.mark.usefixtures("changed")
def test_a_removed_setting_stops_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text('[connections.a]\ncrm = "memory"\nthreads = 4\n')
    with pytest.raises(ConfigError, match=r"crmkit\.toml:3: connections\.a\.threads: is no more since 0\.9"):
        config.load(path, registry.OptionModels())


@pytest.mark.usefixtures("changed")
def test_a_command_tells_former_names_once_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text('sweep_every = 6\n\n[connections.a]\ncrm = "memory"\n')
    done = CliRunner().invoke(cli, ["--config", str(path), "runs"])
    assert done.exit_code == 0
    assert done.output.count("sweep_every: is called sweep_hours since 0.9") == 1
