"""Secrets are planted, everything is run and made to fail, and every byte that came of it is searched."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from crmkit import workspace
from crmkit.sandbox.server import Sandbox
from crmkit.sync.pull import Pull
from tests.scenarios.conftest import Crmkit
from tests.scenarios.syncing import agreed_sync, configure
from tests.scenarios.test_login import workspace_of

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
LOGGED = ("--log-format", "json", "--log-level", "debug", "--log-file", "log.jsonl")


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may look: as it is, in an address, in a header, in JSON."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    for pair in (secret, f"{secret}:", f":{secret}"):
        yield base64.b64encode(pair.encode()).rstrip(b"=")


def planted(box: Sandbox, folder: Path) -> set[str]:
    """Every secret that was given out, access tokens of this run too."""
    found = {value for app in box.apps.values() for value in app.credentials.values()}
    for path in folder.iterdir():
        text = path.read_text()
        found.add(json.loads(text)["token"] if text.startswith("{") else text)
    # The webhook's code opens the portal without the rest of its address.
    found |= {value.rstrip("/").rpartition("/")[2] for value in found if value.startswith("http")}
    return {value for value in found if not value.endswith(".com")}


def everything(crmkit: Crmkit, commands: Sequence[Sequence[str]]) -> str:
    """What all of the commands wrote."""
    written = ""
    for command in commands:
        result = crmkit(*LOGGED, *command)
        assert "a mistake in crmkit" not in result.err, result.err
        written += result.out + result.err
    return written


def test_no_secret_is_in_any_output_file_or_log(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = up(*CRMS, deals=6)
    for crm in ("hubspot", "close"):
        folder = workspace_of(tmp_path, crm, auth="oauth")
    written = everything(crmkit, [["pull"], ["doctor"], ["-v", "doctor"], ["--json", "doctor"]])
    workspace.add_stage_maps(tmp_path / "crmkit.toml", [crmkit("stages", "suggest").out])
    configure(tmp_path, agreed_sync(["hubspot", "bitrix24"]))
    secrets = planted(box, folder)
    written += everything(
        crmkit,
        [
            ["plan", "main", "--out", "plan.json"],
            ["--json", "sync", "main", "--confirm", "creates=100", "--confirm", "field.name=100"],
            ["diff"], ["report"], ["--json", "report"],
            ["report", "--format", "html", "--out", "report.html"],
            ["runs"], ["--json", "runs"], ["export", "--parquet", "snapshots"], ["listen", "subscriptions"],
        ],
    )  # fmt: skip
    # What a person types wrong may be a secret too.
    for line in ("api_key=api_wrongSecretOfMine", "apikey=api_wrongSecretOfMine", "api_wrongSecretOfMine"):
        monkeypatch.setattr("sys.stdin", io.StringIO(line))
        written += everything(crmkit, [["login", "close", "--stdin"]])
    secrets.add("api_wrongSecretOfMine")
    # Refused in the middle of a run.
    for app in box.apps.values():
        app.expire_tokens()
    written += everything(crmkit, [["-v", "pull"]])
    written += everything(crmkit, [["logout", "hubspot", "--revoke"], ["-v", "pull", "hubspot"]])
    # A mistake in crmkit that quotes what it was working with.
    monkeypatch.setattr(Pull, "_read_all", crash)
    for command in (["pull", "close"], ["-v", "pull", "copper"], ["--json", "pull", "bitrix24"]):
        result = crmkit(*LOGGED, *command)
        assert (result.code, "a mistake in crmkit" in result.out + result.err) == (1, True)
        written += result.out + result.err
    secrets |= planted(box, folder)
    assert len(secrets) > 15
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder]
    assert {"log.jsonl", "plan.json", "report.html", "state.db", "manifest.json"} <= {
        one.name for one in files
    }
    content = {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}
    content["(written)"] = written.encode()
    found = [
        (place, text[max(0, text.index(form) - 60) : text.index(form) + 40])
        for secret in secrets
        for form in forms(secret)
        for place, text in content.items()
        if form in text
    ]
    assert found == []


def crash(self: Any) -> None:
    """Fail as a mistake would, with a text that quotes every secret at hand."""
    secrets = self.connector.context.secrets
    names = [name for name in self.connector.secret_names if secrets.find(name) is not None]
    quoted = " ".join(secrets.get(name).get_secret_value() for name in names)
    raise ValueError(f"unexpected: {quoted} {quote(quoted)}")
