"""Notifications go to real servers on this machine; addresses stay secret; texts of a CRM do nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from crmkit.credentials import ConnectionSecrets, Redactor
from crmkit.notify_settings import NotifySettings
from crmkit.report.figures import Items
from crmkit.report.notify import ATTEMPTS, Message, notify
from crmkit.report.render.digest import announcement, harmless
from crmkit.report.render.texts import texts_of
from crmkit.report.whole import PipelineReport
from tests.connectors.conftest import FakeClock
from tests.report.pages import sample_report

TOKEN = "tok3nT0k3nToK3n"
MESSAGE = Message("Pipeline report", "Open: 12 @ 3 < 4", "- Open: **12**")


class Service(ThreadingHTTPServer):
    """Takes posts; answers with the statuses it was given, then with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, dict[str, object]]] = []
        self.statuses: list[int] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(body)))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Desk:
    """What `notify` needs of a session."""

    environ: dict[str, str] = field(default_factory=dict)
    redactor: Redactor = field(default_factory=Redactor)
    clock: FakeClock = field(default_factory=FakeClock)

    def secrets(self, connection: str) -> ConnectionSecrets:
        return ConnectionSecrets(
            connection, keyring=None, environ=self.environ, directory=None, redactor=self.redactor
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with Service() as service:
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture
def service(server: Service) -> Service:
    server.posts.clear()
    server.statuses.clear()
    return server


def desk(**urls: str) -> Desk:
    return Desk({f"CRMKIT_NOTIFY_{name.upper()}_URL": url for name, url in urls.items()})


def test_a_webhook_gets_the_plain_text(service):
    assert notify(desk(hook=f"json://{service.place}/{TOKEN}?format=text"), ["hook"], MESSAGE) == []
    ((path, body),) = service.posts
    assert (path, body["title"], body["message"]) == (f"/{TOKEN}", "Pipeline report", MESSAGE.text)


def test_a_chat_that_speaks_like_slack_gets_it_too(service):
    assert notify(desk(team_chat=f"mmost://{service.place}/{TOKEN}"), ["team-chat"], MESSAGE) == []
    ((path, body),) = service.posts
    assert path == f"/hooks/{TOKEN}"
    assert "Open: 12" in body["text"]


def test_the_service_that_asks_for_markdown_gets_it(service):
    address = f"json://{service.place}/hook?format=markdown"
    assert notify(desk(hook=address), ["hook"], MESSAGE) == []
    assert service.posts[0][1]["message"] == MESSAGE.markdown


def test_passing_trouble_is_tried_again(service):
    service.statuses[:] = [503, 429]
    office = desk(hook=f"json://{service.place}/{TOKEN}")
    assert notify(office, ["hook"], MESSAGE) == []
    assert len(service.posts) == 3
    assert office.clock.slept == [2.0, 8.0]


def test_trouble_that_stays_is_reported_and_stops_no_other_target(service):
    service.statuses[:] = [500] * ATTEMPTS
    office = desk(bad=f"json://{service.place}/bad", good=f"json://{service.place}/good")
    (failure,) = notify(office, ["bad", "good"], MESSAGE)
    assert str(failure) == "bad was not told: the service answered 500"
    assert [path for path, _ in service.posts] == ["/bad"] * ATTEMPTS + ["/good"]


def test_a_refusal_is_not_tried_again(service):
    service.statuses[:] = [403]
    (failure,) = notify(desk(hook=f"json://{service.place}/x"), ["hook"], MESSAGE)
    assert failure.reason == "the service answered 403"
    assert len(service.posts) == 1


def test_a_server_that_is_not_there_is_reported():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        port = gone.server_port
    (failure,) = notify(desk(hook=f"json://127.0.0.1:{port}/{TOKEN}"), ["hook"], MESSAGE)
    assert failure.reason == "the service cannot be reached"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"nonsense {TOKEN}", "its address is not one that Apprise knows"),
        (f"slack://{TOKEN}", "its address is not one that Apprise knows"),
        (f"json://example.com/{TOKEN}", "its address would send the figures over the network unencrypted"),
        (
            f"jsons://example.com/{TOKEN}?verify=no",
            "its address turns off the check of the server's certificate",
        ),
    ],
)
def test_an_address_that_must_not_be_used_is_refused_without_showing_it(address, reason, caplog, capfd):
    (failure,) = notify(desk(hook=address), ["hook"], MESSAGE)
    assert failure.reason == reason
    assert TOKEN not in f"{failure} {failure.hint} {caplog.text} {capfd.readouterr()}"


def test_a_target_without_an_address_says_how_to_store_it():
    (failure,) = notify(desk(), ["team-slack"], MESSAGE)
    assert "CRMKIT_NOTIFY_TEAM_SLACK_URL" in failure.hint


def test_no_token_reaches_a_log_and_loggers_are_left_as_they_were(service, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    service.statuses[:] = [500] * ATTEMPTS
    before = {name: logging.getLogger(name).propagate for name in ("apprise", "urllib3")}
    address = f"json://user:{TOKEN}@{service.place}/{TOKEN}path?-key={TOKEN}query"
    failures = notify(desk(hook=address), ["hook"], MESSAGE)
    assert TOKEN not in f"{failures} {caplog.text} {capfd.readouterr()}"
    assert before == {name: logging.getLogger(name).propagate for name in before}


def test_every_token_of_an_address_is_hidden_by_itself(service):
    office = desk(hook=f"json://{service.place}/{TOKEN}")
    notify(office, ["hook"], MESSAGE)
    assert TOKEN not in office.redactor.redact(f"POST /{TOKEN} failed")


def test_without_targets_nothing_is_loaded_or_sent():
    assert notify(desk(), [], MESSAGE) == []


HOSTILE = (
    "@channel <!here> <@U1> [x](http://evil.example) www.evil.example *b* _i_ `c` ~s~ #x :boom: \u202e\n# h"
)


@pytest.fixture(scope="module")
def report() -> PipelineReport:
    """The sample, in which one stale deal has hostile texts."""
    found = sample_report()[0]
    deal = found.ageing.stale_deals[0].model_copy(update={"name": HOSTILE, "owner": HOSTILE})
    return found.model_copy(update={"ageing": found.ageing.model_copy(update={"stale_deals": (deal,)})})


@pytest.mark.parametrize("language", ["en", "de", "ja"])
def test_the_message_has_the_figures_the_findings_and_the_place(language, report):
    message = announcement(
        report,
        texts_of(language),
        place="https://files.example.com/r.html",
        changes={"open_amount": Decimal(200)},
        since=date(2026, 9, 8),
    )
    for text in (message.text, message.markdown):
        assert "+200" in text
        assert "https://files.example.com/r.html" in text
    assert len(message.text.splitlines()) == 14


def test_nothing_that_waits_is_said_too(report):
    nothing = report.model_copy(update={"items": Items(fx_missing=(), unmapped=(), errors=())})
    assert "Nothing waits for a person." in announcement(nothing).text


def test_a_hostile_name_mentions_nobody_and_links_nowhere(service, report):
    assert report.ageing.stale_deals
    message = announcement(report)
    listed = message.markdown.rpartition("Largest stale deals**")[2]
    assert not set("@<>[]`*_~#!\u202e") & set(listed)
    assert "://" not in listed
    assert "www.evil" not in listed
    assert len(listed.strip().splitlines()) == 1
    assert notify(desk(hook=f"mmost://{service.place}/{TOKEN}"), ["hook"], message) == []
    assert "@channel" not in service.posts[0][1]["text"]


def test_a_harmless_name_stays_as_it_is():
    assert harmless("Müller GmbH, 500 seats (2027)") == "Müller GmbH, 500 seats (2027)"


def test_settings_name_targets_once_and_hold_no_password():
    assert NotifySettings(targets=("team-slack",), link="https://a.example/r").targets == ("team-slack",)
    for wrong in (
        {"targets": ("a", "a")},
        {"targets": ("slack://token",)},
        {"link": "javascript:alert(1)"},
        {"link": "https://user:secret@a.example/"},
    ):
        with pytest.raises(ValidationError):
            NotifySettings(**wrong)
