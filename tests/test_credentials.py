"""Secrets come from keyring, environment or owner-only files, and never show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from crmkit.credentials import ConnectionSecrets, Redactor
from crmkit.errors import MissingSecret


class Ring:
    def __init__(self, **values: str) -> None:
        self.values = {name.replace("__", ":"): value for name, value in values.items()}

    def get_password(self, service_name: str, username: str) -> str | None:
        return self.values.get(username)

    def set_password(self, service_name: str, username: str, password: str) -> None:
        self.values[username] = password

    def delete_password(self, service_name: str, username: str) -> None:
        del self.values[username]


def secrets(ring: Ring | None = None, directory: Path | None = None, **environ: str) -> ConnectionSecrets:
    return ConnectionSecrets(
        "hub-us", keyring=ring, environ=environ, directory=directory, redactor=Redactor()
    )


def test_the_keyring_comes_first() -> None:
    found = secrets(Ring(**{"hub-us__token": "from-ring"}), CRMKIT_HUB_US_TOKEN="from-environment")
    assert found.get("token").get_secret_value() == "from-ring"


def test_then_the_environment() -> None:
    assert secrets(Ring(), CRMKIT_HUB_US_TOKEN="from-env").get("token").get_secret_value() == "from-env"


def test_then_the_named_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    path.chmod(0o600)
    found = secrets(None, CRMKIT_HUB_US_TOKEN_FILE=str(path))
    assert found.get("token").get_secret_value() == "from-file"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file")
    path.chmod(0o644)
    with pytest.raises(MissingSecret, match="other users") as caught:
        secrets(None, CRMKIT_HUB_US_TOKEN_FILE=str(path)).get("token")
    assert "chmod 600" in caught.value.hint


def test_without_a_keyring_the_hint_names_the_variable() -> None:
    with pytest.raises(MissingSecret) as caught:
        secrets(None).get("token")
    assert "no keyring backend" in caught.value.hint
    assert "CRMKIT_HUB_US_TOKEN" in caught.value.hint


def test_a_rotated_secret_goes_to_the_keyring() -> None:
    ring = Ring()
    secrets(ring).put("refresh_token", SecretStr("fresh"))
    assert ring.values == {"hub-us:refresh_token": "fresh"}


def test_without_a_keyring_it_goes_to_an_owner_only_file(tmp_path: Path) -> None:
    secrets(None, tmp_path).put("refresh_token", SecretStr("fresh"))
    path = tmp_path / "hub-us.refresh_token"
    assert path.read_text() == "fresh"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["hub-us.refresh_token"]


def test_a_rotating_secret_from_the_environment_alone_is_refused() -> None:
    with pytest.raises(MissingSecret, match="no place to keep it"):
        secrets(None, CRMKIT_HUB_US_REFRESH_TOKEN="old").put("refresh_token", SecretStr("new"))


def test_every_secret_that_was_handed_out_is_masked() -> None:
    found = secrets(None, CRMKIT_HUB_US_TOKEN="pat-secret-1")
    found.get("token")
    assert found.redact("sent pat-secret-1 to the host") == "sent ••• to the host"


def test_a_secret_does_not_show_in_its_representation() -> None:
    assert "pat-secret-1" not in repr(secrets(None, CRMKIT_HUB_US_TOKEN="pat-secret-1").get("token"))
