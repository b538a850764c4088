"""A workspace is put together from its parts: settings, secrets, state."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from crmkit import session
from crmkit.session import Session

URL = "postgresql+psycopg://crm@db.example/crm"


class Opened:
    """Stands for a state store, and remembers which address was opened."""

    upgraded = None
    urls: ClassVar[list[str]] = []

    def __init__(self, url: str) -> None:
        self.urls.append(url)

    def close(self) -> None:
        pass


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    (tmp_path / "crmkit.toml").write_text(f'state = "{URL}"\nsecrets = "anywhere"\n')
    monkeypatch.setattr(session, "State", Opened)
    monkeypatch.setattr(Opened, "urls", [])
    monkeypatch.setattr("crmkit.credentials.system_keyring", lambda: None)
    return Session.open(tmp_path / "crmkit.toml")


def test_the_password_of_the_state_store_is_a_secret(
    workspace: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRMKIT_STATE_PASSWORD", "hunter:2/@")
    with workspace.state():
        pass
    assert Opened.urls == ["postgresql+psycopg://crm:hunter%3A2%2F%40@db.example/crm"]
    assert workspace.redactor.redact("no hunter:2/@ here") == "no \N{BULLET}\N{BULLET}\N{BULLET} here"


def test_without_a_password_the_address_stays_as_it_is(workspace: Session) -> None:
    with workspace.state():
        pass
    assert Opened.urls == [URL]
