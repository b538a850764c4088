"""Tokens are renewed once for all threads, and a rotated one is stored before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.oauth import Grant, Tokens
from tests.connectors.conftest import FakeClock, FakeSecrets

MakeContext = Callable[..., Context]


class Endpoint:
    """A token endpoint that rotates its refresh token."""

    def __init__(self, secrets: FakeSecrets) -> None:
        self.secrets = secrets
        self.asked_with: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, refresh_token: SecretStr) -> Grant:
        self.gate.wait(5)
        self.asked_with.append(refresh_token.get_secret_value())
        number = len(self.asked_with)
        return Grant(f"access-{number}", 3600, f"refresh-{number}", {"api": "x"})


def build(make_context: MakeContext, **options: bool) -> tuple[Tokens, Endpoint, FakeSecrets]:
    context = make_context("c", refresh_token="refresh-0")
    secrets = context.secrets
    assert isinstance(secrets, FakeSecrets)
    endpoint = Endpoint(secrets)
    return Tokens(context, endpoint, **{"rotates": True, **options}), endpoint, secrets


def test_many_threads_renew_once(make_context: MakeContext) -> None:
    tokens, endpoint, _ = build(make_context)
    endpoint.gate.clear()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(tokens.current()[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    endpoint.gate.set()
    for thread in threads:
        thread.join()
    assert (found, endpoint.asked_with) == (["access-1"] * 8, ["refresh-0"])


def test_a_rotated_refresh_token_is_stored_first(make_context: MakeContext) -> None:
    tokens, _, secrets = build(make_context)
    tokens.current()
    assert [name for name, _ in secrets.stored] == ["refresh_token", "access_token"]
    assert secrets.values["refresh_token"] == "refresh-1"


def test_the_next_renewal_uses_the_rotated_token(make_context: MakeContext) -> None:
    tokens, endpoint, _ = build(make_context)
    tokens.after_refusal(tokens.current()[0])
    assert endpoint.asked_with == ["refresh-0", "refresh-1"]


def test_threads_refused_together_renew_once(make_context: MakeContext) -> None:
    tokens, endpoint, _ = build(make_context)
    refused = tokens.current()[0]
    assert tokens.after_refusal(refused) == tokens.after_refusal(refused)
    assert len(endpoint.asked_with) == 2


def test_a_token_is_renewed_before_it_expires(make_context: MakeContext, clock: FakeClock) -> None:
    tokens, _endpoint, _ = build(make_context)
    tokens.current()
    clock.sleep(3590, threading.Event())
    assert tokens.current()[0] == "access-2"


def test_where_the_vendor_asks_for_it_only_after_a_refusal(
    make_context: MakeContext, clock: FakeClock
) -> None:
    tokens, _endpoint, _ = build(make_context, proactive=False)
    tokens.current()
    clock.sleep(7200, threading.Event())
    assert tokens.current()[0] == "access-1"


def test_another_process_finds_the_token_in_the_store(make_context: MakeContext) -> None:
    tokens, endpoint, secrets = build(make_context)
    first = tokens.current()
    again = Tokens(Context("c", secrets, clock=FakeClock()), endpoint, rotates=True)
    assert again.current() == first
    assert len(endpoint.asked_with) == 1
