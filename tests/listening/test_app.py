"""Deliveries are stored before they are answered; what is refused leaves nothing behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.connectors.copper.hooks import CopperHooks
from crmkit.connectors.hooks import TOKEN_SECRET
from crmkit.connectors.zoho.hooks import ZohoHooks, channel_id
from crmkit.listening import app
from crmkit.sync import heard
from crmkit.sync.heard import Stage
from crmkit.sync.state import State
from tests.listening.post import PATH, Post

TOKEN = "t0ken"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with closing(State(f"sqlite:///{tmp_path / 'state.db'}")) as state:
        yield Post(ZohoHooks(None, None, lambda: TOKEN), {TOKEN_SECRET: TOKEN}, state)  # type: ignore[arg-type]


def body(post: Post, *ids: int, token: str = TOKEN, **more: Any) -> bytes:
    said = {
        "token": token, "channel_id": channel_id(TOKEN), "module": "Deals", "operation": "update",
        "server_time": int(post.clock.now().timestamp() * 1000), "ids": [str(one) for one in ids],
    }  # fmt: skip
    return json.dumps({**said, **more}).encode()


def test_a_good_delivery_is_stored_once_answered_and_wakes_the_handler(post: Post) -> None:
    assert post.send(body(post, 7, 8)) == 200
    assert post.stored() == [("deal", "7", "saved"), ("deal", "8", "saved")]
    assert post.woken == 1


def test_a_repetition_is_answered_the_same_and_stored_only_once(post: Post) -> None:
    again = body(post, 7)
    assert [post.send(again) for _ in range(3)] == [200] * 3
    assert post.send_all([again, again, body(post, 9), body(post, 9)]) == [200] * 4
    assert post.stored() == [("deal", "7", "saved"), ("deal", "9", "saved")]


def test_two_changes_in_a_second_that_look_the_same_are_both_stored(post: Post) -> None:
    post = Post(CopperHooks(None, lambda: TOKEN), {TOKEN_SECRET: TOKEN}, post.state)  # type: ignore[arg-type]
    said = {"crmkit_token": TOKEN, "type": "opportunity", "event": "update", "ids": [7]}
    same = json.dumps({**said, "timestamp": post.clock.now().isoformat()}).encode()
    for seconds, stored in ((0.2, 1), (0.5, 2), (60, 3), (1, 3), (100, 3)):
        post.clock.sleep(seconds, None)  # type: ignore[arg-type]
        assert post.send(same) == 200
        assert len(post.stored()) == stored


def test_forged_late_and_malformed_ones_are_refused_and_leave_nothing(post: Post) -> None:
    old = body(post, 7)
    post.clock.sleep(301, None)  # type: ignore[arg-type]
    assert post.send(old) == 400
    assert post.send(body(post, 7, token="guessed")) == 401
    assert post.send(body(post, 7, ids="7")) == 400
    assert post.send(b"\x00\xff") == 400
    assert post.send(b"") == 400
    assert post.stored() == []
    assert post.woken == 0
    assert len(post.refusals) == 5
    with post.state.read() as db:
        assert db.execute(sa.select(heard.webhook_digests)).all() == []


@pytest.mark.parametrize(
    "path",
    ["/", "/hooks", "/hooks/crm", "/hooks/crm/", "/hooks/crm/wrong", PATH + "/", PATH + "x", PATH[:-1],
     "/hooks/other/an-unguessable-part", "/hooks/crm/\u00e4"],
)  # fmt: skip
def test_a_wrong_path_is_not_there_whatever_comes(post: Post, path: str) -> None:
    assert post.send(body(post, 7), path=path) == 404
    assert post.stored() == []
    assert post.refusals == []


def test_only_post_delivers(post: Post) -> None:
    assert post.send(body(post, 7), method="GET") == 405
    assert post.send(b"", method="GET", path="/health") == 200
    assert post.stored() == []


def test_an_oversized_body_is_refused_whether_it_says_its_length_or_not(post: Post) -> None:
    large = body(post, 7, filler="x" * app.MOST_BYTES)
    assert post.send(large) == 413
    assert post.send(b"", {"content-length": str(app.MOST_BYTES + 1)}) == 413
    assert post.stored() == []


def test_a_store_that_is_down_is_answered_503_and_the_next_try_counts(post: Post) -> None:
    with post.state.write() as db:
        db.exec_driver_sql("ALTER TABLE webhook_events RENAME TO away")
    one = body(post, 7)
    assert post.send(one) == 503
    with post.state.write() as db:
        db.exec_driver_sql("ALTER TABLE away RENAME TO webhook_events")
    assert post.send(one) == 200
    assert post.stored() == [("deal", "7", "saved")]


def test_a_store_that_takes_too_long_is_answered_503_in_time(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STORE_SECONDS", 0.02)
    write, released = post.app._keeper._write, threading.Event()

    def slow(told: Any) -> Any:
        released.wait(10)
        return write(told)

    monkeypatch.setattr(post.app._keeper, "_write", slow)
    timer = threading.Timer(0.1, released.set)
    timer.start()
    assert post.send(body(post, 7)) == 503
    timer.join()


def test_a_thousand_at_once_take_few_transactions(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = post.app._keeper._write

    def counted(told: Any) -> Any:
        sizes.append(len(told))
        return write(told)

    monkeypatch.setattr(post.app._keeper, "_write", counted)
    assert post.send_all([body(post, one) for one in range(1, 1001)]) == [200] * 1000
    assert len(post.stored()) == 1000
    assert len(sizes) < 20


def test_old_digests_and_events_are_forgotten_and_nothing_that_is_due(post: Post) -> None:
    post.send(body(post, 1))
    now = post.clock.now()
    with post.state.write() as db:
        heard.prune(db, now + timedelta(minutes=30))
    assert post.send(body(post, 1)) == 200
    assert len(post.stored()) == 1  # still known
    with post.state.write() as db:
        heard.prune(db, now + timedelta(days=2))
        assert db.execute(sa.select(heard.webhook_digests)).all() == []
        assert heard.unfinished(db, ["crm"]) == []  # the scheduled pulls have seen it long ago
        heard.prune(db, now + timedelta(days=9))
        assert db.execute(sa.select(heard.webhook_events)).all() == []


def test_events_know_how_far_they_have_come(post: Post) -> None:
    post.send(body(post, 1, 2))
    with post.state.write() as db:
        first, second = heard.unfinished(db, ["crm"])
        heard.move(db, [first.number], Stage.PULLED)
        heard.move(db, [second.number], Stage.DONE)
        assert [(one.id, one.state) for one in heard.unfinished(db, ["crm"])] == [("1", Stage.PULLED)]
        assert heard.unfinished(db, ["other"]) == []
