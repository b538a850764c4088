"""A workspace over running sandbox CRMs, and the command line to use in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crmkit import workspace
from crmkit.cli import main
from crmkit.commands.sandbox import local_crms
from crmkit.sandbox.server import Sandbox


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


Crmkit = Callable[..., Result]


def sit_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell in a folder, for commands that run in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    # The workspace brings its secrets as files; a developer's own keyring must stay out of it.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr("crmkit.credentials.system_keyring", lambda: None)


@pytest.fixture
def crmkit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Crmkit:
    """Runs a command in `tmp_path`: `crmkit("pull", "hubspot")`."""
    sit_down(tmp_path, monkeypatch)

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        written = capsys.readouterr()
        return Result(int(end.value.code or 0), written.out, written.err)

    return run


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """Starts sandbox CRMs and writes a workspace for them into `tmp_path`."""
    boxes: list[Sandbox] = []

    def start(*crms: str, **options: Any) -> Sandbox:
        box = Sandbox.seeded(list(crms), **{"deals": 120, "seed": 5, "limits": "off", **options})
        box.start()
        boxes.append(box)
        workspace.write(tmp_path, local_crms(box.apps))
        return box

    yield start
    for box in boxes:
        box.stop()
        assert all(app.crashes == [] for app in box.apps.values())
