"""Logging in: what works is stored, what does not leaves the former secrets, and no secret is shown."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from crmkit import logging_in
from crmkit.connectors.logins import Exchange, Proof, authorise_url, redirected
from crmkit.credentials import MASK, ConnectionSecrets, Redactor
from crmkit.errors import AccessDenied, CredentialsError
from crmkit.sandbox.server import Sandbox
from crmkit.sandbox.zoho.auth import GRANT_CODE
from tests.scenarios.conftest import Crmkit

Up = Callable[..., Sandbox]
OAUTH = {
    "hubspot": {"auth": "oauth"},
    "zoho": {},
    "close": {"auth": "oauth"},
    "bitrix24": {"auth": "oauth"},
}


def workspace_of(folder: Path, crm: str, **options: str) -> Path:
    """Change the connection's options, and give the folder of its secrets."""
    path = folder / "crmkit.toml"
    text = path.read_text()
    lines = "".join(f'{key} = "{value}"\n' for key, value in options.items())
    path.write_text(text.replace(f'crm = "{crm}"\n', f'crm = "{crm}"\n{lines}', 1))
    return next(folder.rglob(f"{crm}.*")).parent


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What a script pipes in."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A browser that goes where it is sent, in a thread of its own, as people do."""
    seen: list[str] = []
    threads: list[threading.Thread] = []
    answers: list[int] = []

    def follow(url: str) -> bool:
        seen.append(url)

        def go() -> None:
            answers.append(requests.get(url, timeout=10).status_code)

        threads.append(threading.Thread(target=go))
        threads[-1].start()
        return True

    monkeypatch.setattr("webbrowser.open", follow)
    monkeypatch.setattr("crmkit.commands.login._PATIENCE_SECONDS", 10.0)
    yield seen
    for thread in threads:
        thread.join()
    assert answers == [200] * len(seen)


@pytest.mark.parametrize("crm", ["hubspot", "copper", "close", "bitrix24"])
def test_a_typed_secret_is_tried_and_stored(
    crmkit: Crmkit, up: Up, tmp_path: Path, piped: Callable[[str], None], crm: str
) -> None:
    box = up(crm, deals=1)
    secret = {"hubspot": "token", "bitrix24": "webhook_url"}.get(crm, "api_key")
    value = box[crm].credentials[secret]
    folder = workspace_of(tmp_path, crm)
    for path in folder.glob(f"{crm}.*"):
        path.unlink()
    piped(f"{secret}={value}\n")
    result = crmkit("login", crm, "--stdin")
    assert (result.code, value in result.out + result.err) == (0, False), result.err
    assert (folder / f"{crm}.{secret}").read_text() == value
    assert crmkit("pull").code == 0
    assert crmkit("logout", crm).code == 0
    assert not list(folder.glob(f"{crm}.*"))


def test_a_refused_secret_leaves_the_former_one(
    crmkit: Crmkit, up: Up, tmp_path: Path, piped: Callable[[str], None]
) -> None:
    up("hubspot", deals=1)
    folder = workspace_of(tmp_path, "hubspot")
    before = {path.name: path.read_text() for path in folder.glob("hubspot.*")}
    piped("token=pat-na1-00000000-wrong-wrong\n")
    result = crmkit("login", "hubspot", "--stdin")
    assert (result.code, "wrong-wrong" in result.out + result.err) == (7, False)
    assert {path.name: path.read_text() for path in folder.glob("hubspot.*")} == before


@pytest.mark.parametrize("crm", OAUTH)
def test_the_browser_brings_a_refresh_token(
    crmkit: Crmkit, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: list[str], crm: str
) -> None:
    box = up(crm, deals=1)
    options = {**OAUTH[crm], "base_url": box[crm].origin} if crm == "bitrix24" else OAUTH[crm]
    folder = workspace_of(tmp_path, crm, **options)
    known = box[crm].credentials
    for path in folder.glob(f"{crm}.*"):
        path.unlink()
    monkeypatch.setattr("crmkit.terminal.Terminal.can_ask", True)
    typed = iter([known["client_id"], known["client_secret"]])
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(typed))
    port = "0" if crm in ("hubspot", "zoho") else "8765"
    result = crmkit("login", crm, "--method", "browser", "--port", port)
    assert result.code == 0, result.err
    assert len(browser) == 1
    stored = (folder / f"{crm}.refresh_token").read_text()
    assert stored == box[crm].credentials["refresh_token"]
    assert known["client_secret"] not in result.out + result.err
    assert crmkit("pull").code == 0


def test_a_self_client_code_becomes_a_refresh_token(
    crmkit: Crmkit, up: Up, tmp_path: Path, piped: Callable[[str], None]
) -> None:
    box = up("zoho", deals=1)
    folder = workspace_of(tmp_path, "zoho")
    known = box["zoho"].credentials
    for path in folder.glob("zoho.*"):
        path.unlink()
    lines = f"client_id={known['client_id']}\nclient_secret={known['client_secret']}\n"
    piped(lines + "code=1000.used.up\n")
    assert crmkit("login", "zoho", "--stdin").code == 7
    assert not list(folder.glob("zoho.*"))
    piped(lines + f"code={GRANT_CODE}\n")
    result = crmkit("--json", "login", "zoho", "--stdin")
    assert (result.code, json.loads(result.out)["connection"]) == (0, "zoho")
    assert (folder / "zoho.refresh_token").read_text() == known["refresh_token"]


def test_a_revoked_login_ends_a_pull_with_7_and_says_how_to_go_on(
    crmkit: Crmkit, up: Up, tmp_path: Path
) -> None:
    up("hubspot", deals=1)
    workspace_of(tmp_path, "hubspot", auth="oauth")
    assert crmkit("pull").code == 0
    folder = next(tmp_path.rglob("hubspot.*")).parent
    kept = {path: path.read_text() for path in folder.glob("hubspot.*")}
    result = crmkit("logout", "hubspot", "--revoke")
    assert (result.code, "took the refresh token back" in result.err) == (0, True)
    for path, text in kept.items():  # as another machine still holds them
        path.write_text(text)
        path.chmod(0o600)
    refused = crmkit("pull")
    assert (refused.code, "crmkit login hubspot" in refused.err) == (7, True)


# Wrong input


def test_wrong_input_is_told(crmkit: Crmkit, up: Up, piped: Callable[[str], None]) -> None:
    up("hubspot", "zoho", deals=1)
    cases = [
        (("login", "hubspto", "--stdin"), "", 2, "Did you mean 'hubspot'"),
        (("login", "hubspot"), "", 2, "nobody is there to ask"),
        (("login", "hubspot", "--stdin"), "", 2, "missing on stdin: token=VALUE"),
        (("login", "hubspot", "--stdin"), "token=nonsense", 2, "does not look like a Token"),
        (("login", "hubspot", "--stdin"), "tokn=pat-na1-secret", 2, "is not one of token=VALUE"),
        (("login", "zoho", "--stdin", "--method", "magic"), "", 2, "Here: self-client, browser"),
        (("logout", "nobody"), "", 2, "no connection 'nobody'"),
    ]
    for arguments, text, code, said in cases:
        piped(text)
        result = crmkit(*arguments)
        assert (result.code, said in result.err) == (code, True), (arguments, result.err)
        assert "pat-na1-secret" not in result.err


# The loopback, and what comes back to it

EXCHANGE = Exchange(
    token="https://crm.example/token", hosts=r"crm\.example", authorise="https://crm.example/go"
)


def test_only_the_right_answer_ends_the_wait() -> None:
    proof = Proof.new()
    loopback = logging_in.Loopback(EXCHANGE, proof, 0)
    with loopback.listening():
        root = loopback.redirect.replace("localhost", "127.0.0.1")
        assert requests.get(f"{root}favicon.ico", timeout=5).status_code == 404
        assert requests.get(f"{root}?code=theirs&state=other", timeout=5).status_code == 400
        assert requests.get(f"{root}?code=theirs", timeout=5).status_code == 400
        right = requests.get(f"{root}?code=mine&state={proof.state}", timeout=5)
        assert (right.status_code, right.headers["Cache-Control"]) == (200, "no-store")
        assert requests.get(f"{root}?code=again&state={proof.state}", timeout=5).status_code == 410
        assert loopback.wait(0).code == "mine"


def test_a_person_who_refuses_is_believed() -> None:
    proof = Proof.new()
    loopback = logging_in.Loopback(EXCHANGE, proof, 0)
    with loopback.listening():
        root = loopback.redirect.replace("localhost", "127.0.0.1")
        requests.get(f"{root}?error=access_denied&state={proof.state}", timeout=5)
        with pytest.raises(AccessDenied, match="access_denied"):
            loopback.wait(0)


def test_a_proof_is_new_each_time_and_its_key_is_not_in_the_address() -> None:
    exchange = Exchange(token=EXCHANGE.token, hosts=EXCHANGE.hosts, authorise=EXCHANGE.authorise, pkce=True)
    proof = Proof.new()
    said = dict(parse_qsl(urlsplit(authorise_url(exchange, "me", "http://localhost:1/", proof)).query))
    assert said["code_challenge"] == proof.challenge
    assert proof.verifier not in said.values()
    assert Proof.new() != proof


@pytest.mark.parametrize("state", [None, "", "other"])
def test_an_answer_to_another_question_is_refused(state: str | None) -> None:
    said = {"code": "x"} if state is None else {"code": "x", "state": state}
    with pytest.raises(AccessDenied, match="another question"):
        redirected(EXCHANGE, said, Proof.new())


def test_a_vendor_that_is_not_known_to_return_the_state_may_leave_it_out_but_not_change_it() -> None:
    exchange = Exchange(token="t", hosts="h", returns_state=False)
    proof = Proof.new()
    assert redirected(exchange, {"code": "x"}, proof).code == "x"
    with pytest.raises(AccessDenied):
        redirected(exchange, {"code": "x", "state": "other"}, proof)


# Where secrets are kept


class Locked:
    """A keyring that nobody unlocked; what it says quotes a secret."""

    def get_password(self, service_name: str, username: str) -> str | None:
        raise RuntimeError("locked: hunter2-secret")

    def set_password(self, service_name: str, username: str, password: str) -> None:
        raise RuntimeError(f"locked: {password}")

    def delete_password(self, service_name: str, username: str) -> None:
        raise RuntimeError("locked")


def test_a_locked_keyring_is_one_clear_error() -> None:
    secrets = ConnectionSecrets("a", keyring=Locked(), environ={}, directory=None, redactor=Redactor())
    with pytest.raises(CredentialsError, match="keyring cannot be used") as caught:
        secrets.get("token")
    assert caught.value.exit_code == 7
    assert "hunter2" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


def test_an_environment_that_comes_first_is_told_before_anybody_types() -> None:
    secrets = ConnectionSecrets(
        "a-b", keyring=None, environ={"CRMKIT_A_B_TOKEN": "x"}, directory=Path("."), redactor=Redactor()
    )
    with pytest.raises(CredentialsError, match="CRMKIT_A_B_TOKEN is set"):
        secrets.storable("token")


def test_a_secret_is_masked_in_addresses_and_basic_authentication_too() -> None:
    redactor = Redactor()
    redactor.learn("s3cr/t key+1")
    for text in ("s3cr%2Ft%20key%2B1", "s3cr%2Ft+key%2B1", "Basic czNjci90IGtleSsxOg==", "czNjci90IGtleSsx"):
        assert redactor.redact(f"<{text}>").count(MASK) == 1, text
        assert "czNjci90" not in redactor.redact(text)


def test_an_interrupted_store_puts_the_former_secrets_back(tmp_path: Path, monkeypatch: Any) -> None:
    secrets = ConnectionSecrets("a", keyring=None, environ={}, directory=tmp_path, redactor=Redactor())
    first = logging_in.Trial(secrets, {"client_id": "old-id", "refresh_token": "old-token"})
    first.keep()
    put, calls = ConnectionSecrets.put, []

    def stop(self: ConnectionSecrets, name: str, value: Any) -> None:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put(self, name, value)

    monkeypatch.setattr(ConnectionSecrets, "put", stop)
    with pytest.raises(KeyboardInterrupt):
        logging_in.Trial(secrets, {"client_id": "new-id", "refresh_token": "new-token"}).keep()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.client_id": "old-id", "a.refresh_token": "old-token",
    }  # fmt: skip
