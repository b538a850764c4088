"""What each sandbox CRM sends, made from the contract, is what its connector believes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from crmkit.connectors.hooks import TOKEN_SECRET, Hooks, ours
from crmkit.errors import StateError
from crmkit.listening.renewal import Renewal
from crmkit.listening.server import Server, bound
from crmkit.sandbox.courier import Courier, is_here
from crmkit.sync.state import State
from tests.listening.post import PATH, Post
from tests.sandbox_bench import NOW, SandboxBench, bench

CRMS = ["hubspot", "zoho", "copper", "bitrix24", "close"]
BY_HAND = {"hubspot"}
PATIENCE_SECONDS = 20.0


class Ends:
    """A sandbox CRM, our side of its webhooks, and the listening app on a real port."""

    def __init__(self, running: SandboxBench, post: Post, hooks: Hooks, target: str) -> None:
        self.running, self.post, self.hooks, self.target = running, post, hooks, target
        self.world, self.courier = running.app.world, running.app.courier

    def quiet(self) -> list[tuple[str, str, str]]:
        """What was stored, once everything was delivered."""
        pause, began = threading.Event(), monotonic()
        while not self.courier.idle():
            assert monotonic() - began < PATIENCE_SECONDS
            pause.wait(0.005)
        return self.post.stored()


@contextmanager
def ends(crm: str, folder: Path, **options: Any) -> Iterator[Ends]:
    with (
        bench(crm, deals=4, **options) as running,
        closing(State(f"sqlite:///{folder / 'state.db'}")) as state,
    ):
        oauth = {"auth": "oauth", "base_url": running.app.base_url} if crm == "bitrix24" else {}
        secrets = {**running.app.credentials, TOKEN_SECRET: "t0ken"}
        connector = running.connect(secrets=secrets, **oauth)
        hooks = connector.hooks()
        listener = bound("127.0.0.1", 0)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        target = base + PATH
        if crm in BY_HAND:
            assert target in " ".join(hooks.clicks(target))
            assert running.app.click_webhook(target)
        else:
            assert hooks.clicks(target) == ()
            assert hooks.lacking(target, hooks.subscriptions(), NOW)
            hooks.subscribe(target, hooks.subscriptions(), NOW)
        names = (*hooks.needed, *hooks.made)
        keys = {name: connector.context.secrets.get(name).get_secret_value() for name in names}
        post = Post(hooks, keys, state, base=base)
        server = Server(post.app, listener)
        server.start()
        try:
            yield Ends(running, post, hooks, target)
        finally:
            server.stop()
            connector.close()


@pytest.mark.parametrize("crm", CRMS)
def test_what_the_crm_sends_is_believed_and_names_the_records(crm: str, tmp_path: Path) -> None:
    with ends(crm, tmp_path) as both:
        world = both.world
        deal, company, contact = (next(iter(rows)) for rows in (world.deals, world.companies, world.contacts))
        both.courier.habits.duplicates = both.courier.habits.shuffle = True
        world.edit_deal(deal, name="Renamed")
        world.edit_company(company, name="Renamed")
        world.edit_contact(contact, last="Renamed")
        made = world.create_deal(name="New", company_id=company).id
        world.delete_deal(deal)
        stored = both.quiet()
        assert set(both.courier.answers) == {200}
        expected = {
            ("deal", deal, "saved"), ("company", company, "saved"), ("contact", contact, "saved"),
            ("deal", made, "saved"), ("deal", deal, "gone"),
        }  # fmt: skip
        assert expected <= set(stored)
        assert both.post.refusals == []


@pytest.mark.parametrize("crm", [crm for crm in CRMS if crm not in BY_HAND])
def test_subscribing_again_changes_nothing_and_a_new_address_replaces_the_old_one(
    crm: str, tmp_path: Path
) -> None:
    with ends(crm, tmp_path) as both:
        hooks, target = both.hooks, both.target
        before = hooks.subscriptions()
        assert not hooks.lacking(target, before, NOW)
        hooks.subscribe(target, before, NOW)
        assert {one.id for one in hooks.subscriptions()} == {one.id for one in before}
        moved = "https://hooks.example.com" + PATH
        assert hooks.lacking(moved, before, NOW)
        hooks.subscribe(moved, before, NOW)
        after = hooks.subscriptions()
        assert {one.target for one in ours(after, moved)} == {moved}
        assert len(after) == len(before)
        hooks.unsubscribe(ours(after, moved))
        assert not hooks.subscriptions()


def test_a_running_listener_renews_what_ends_and_tells_what_has_ended(tmp_path: Path) -> None:
    with ends("zoho", tmp_path) as both:
        told: list[str] = []
        clock = both.running.clock
        renewal = Renewal({"crm": both.hooks}, {"crm": PATH}, clock, lambda _, error: told.append(str(error)))
        calls = both.running.app.requests

        def until() -> datetime | None:
            return both.hooks.subscriptions()[0].expires_at

        renewal()
        first = until()
        calls.clear()
        renewal()  # within the hour nobody is asked
        assert (calls.total, told) == (0, [])
        both.running.box.clock.advance(timedelta(days=1, hours=1).total_seconds())
        renewal()
        renewed = until()
        assert first is not None
        assert renewed is not None
        assert renewed - first > timedelta(days=1)
        assert both.hooks.subscriptions()[0].target == both.target
        both.running.box.clock.advance(timedelta(days=8).total_seconds())
        for _ in range(3):
            renewal()
            both.running.box.clock.advance(3601)
        assert len(told) == 1
        assert "expired" in told[0]


def test_zohos_channel_is_renewed_before_it_ends(tmp_path: Path) -> None:
    with ends("zoho", tmp_path) as both:
        hooks, target = both.hooks, both.target
        found = hooks.subscriptions()
        at = hooks.renew_at(found)
        assert at is not None
        assert NOW < at < NOW + timedelta(days=1)
        both.running.box.clock.advance(timedelta(days=2).total_seconds())
        later = NOW + timedelta(days=2)
        assert hooks.lacking(target, found, later)
        hooks.subscribe(target, found, later)
        ends_at = {one.expires_at for one in hooks.subscriptions()}
        assert min(one for one in ends_at if one) > NOW + timedelta(days=8)
        # A channel that nobody renews ends, and is made again.
        both.running.box.clock.advance(timedelta(days=8).total_seconds())
        assert list(hooks.subscriptions()) == []
        hooks.subscribe(target, [], NOW + timedelta(days=10))
        assert hooks.subscriptions()


@pytest.mark.parametrize("crm", ["hubspot", "close"])
def test_a_delivery_that_is_answered_503_comes_again_and_counts_once(crm: str, tmp_path: Path) -> None:
    with ends(crm, tmp_path) as both:
        keeper, write, calls = both.post.app._keeper, both.post.app._keeper._write, [0]

        def down_at_first(told: Any) -> Any:
            calls[0] += 1
            if calls[0] == 1:
                raise StateError("the store is down")
            return write(told)

        keeper._write = down_at_first  # type: ignore[method-assign]
        deal = next(iter(both.world.deals))
        both.world.edit_deal(deal, name="Renamed")
        assert both.quiet() == [("deal", deal, "saved")]
        assert list(both.courier.answers) == [503, 200]


def test_the_sandbox_delivers_to_this_machine_only() -> None:
    packed: list[int] = []
    courier = Courier()
    targets = (
        "https://127.0.0.1/",
        "http://example.com/",
        "http://10.0.0.1/",
        "http://127.0.0.1.nip.io/",
        "",
    )
    for target in targets:
        assert not is_here(target)
        courier.post(target, packed.append)  # type: ignore[arg-type]
    assert courier.idle()
    assert (packed, courier.sent) == ([], 0)


def test_an_inbound_webhook_of_bitrix24_cannot_bind_and_says_what_to_click() -> None:
    with bench("bitrix24", deals=1) as running:
        hooks = running.connect().hooks()
        target = "https://hooks.example.com" + PATH
        assert target in " ".join(hooks.clicks(target))
        assert not hooks.lacking(target, hooks.subscriptions(), NOW)
