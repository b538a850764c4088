"""Sends a message to chats, webhooks and mailboxes through Apprise.

A target is a name; its address is a secret, looked up like every other one
(`crmkit.credentials`): keyring entry `crmkit` / `notify:team-slack_url`, environment
variable `CRMKIT_NOTIFY_TEAM_SLACK_URL`, the file named by `CRMKIT_NOTIFY_TEAM_SLACK_URL_FILE`,
or the file `notify.team-slack_url` in `secrets_dir`. Addresses are Apprise's:
`slack://token/token/token`, `jsons://host/path`, `mailtos://user:password@host`, or the
plain `https://` address of a Slack or Teams webhook.

Imported late: Apprise is in the extra `notify`.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from crmkit.connectors.clock import Clock
from crmkit.credentials import ConnectionSecrets, Redactor
from crmkit.errors import CrmkitError, MissingSecret

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 2.0
_SHORTEST_TOKEN = 8
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Apprise and what it sends with write addresses into their logs.
_LOGGERS = ("apprise", "urllib3", "requests", "slack_sdk")
_STATUS = re.compile(r"error[= ]+(\d{3})\b")


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: `text` where a service shows plain text, `markdown` where it can do more."""

    title: str
    text: str
    markdown: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A target that was not told, and what helps; nothing in it is secret."""

    target: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.target} was not told: {self.reason}"


class Workspace(Protocol):
    """The part of a session that is needed."""

    redactor: Redactor

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    def secrets(self, connection: str) -> ConnectionSecrets:
        """Secrets under a name."""
        ...


def notify(session: Workspace, targets: Iterable[str], message: Message) -> list[Failure]:
    """Send the message to every target, one after the other.

    What looks like passing trouble is tried three times. A target that fails stops no other.

    Args:
        session: Where the addresses are kept, as secrets, and hidden.
        targets: Names from `[report.notify]`.
        message: What to send.

    Returns:
        The targets that were not told, in order; empty if all were.

    Raises:
        CrmkitError: Apprise is not installed.
    """
    wanted = list(targets)
    if not wanted:
        return []
    apprise = _apprise()
    secrets = session.secrets("notify")
    failures: list[Failure] = []
    with _silent() as heard:
        for target in wanted:
            try:
                address = secrets.get(f"{target}_url").get_secret_value()
            except MissingSecret as error:
                failures.append(Failure(target, "its address is not stored", error.hint))
                continue
            _hide_parts(address, session.redactor)
            failure = _send(apprise, target, address, message, session.clock, heard)
            if failure is not None:
                failures.append(failure)
    return failures


def _apprise() -> Any:
    try:
        import apprise  # noqa: PLC0415 - heavy, and only notifications need it
    except ImportError as error:
        raise CrmkitError(
            "notifications need the package Apprise", hint="Install it with `pip install 'crmkit[notify]'`."
        ) from error
    return apprise


def _send(
    apprise: Any, target: str, address: str, message: Message, clock: Clock, heard: list[str]
) -> Failure | None:
    service = _service(apprise, address)
    if service is None:
        return Failure(
            target,
            "its address is not one that Apprise knows",
            "Store one such as slack://…, jsons://host/path or mailtos://…; see docs/report.md.",
        )
    refusal = _refusal(service)
    if refusal is not None:
        return Failure(target, refusal, "Take the form of the address that ends with s, and leave TLS on.")
    formats = apprise.NotifyFormat
    marked = _shown_as(service) != "text"
    sender = apprise.Apprise(asset=service.asset)
    sender.add(service)
    for attempt in range(1, ATTEMPTS + 1):
        heard.clear()
        if _notified(
            sender,
            title=message.title,
            body=message.markdown if marked else message.text,
            body_format=formats.MARKDOWN if marked else formats.TEXT,
        ):
            return None
        reason, again = _why(heard)
        if not again or attempt == ATTEMPTS:
            break
        clock.sleep(FIRST_PAUSE_SECONDS * 4 ** (attempt - 1), threading.Event())
    return Failure(target, reason, "Look at the service's side, then at the address that is stored.")


def _shown_as(service: Any) -> str:
    """`text`, `html` or `markdown`: what the address asks for, else what the service likes best."""
    # Before Apprise 2 a service has one format; since then it has several and chooses.
    found = service.resolve_format() if hasattr(service, "resolve_format") else service.notify_format
    return str(getattr(found, "value", found))


def _service(apprise: Any, address: str) -> Any:
    """What sends to the address, or `None`; never raises, because an error would hold the address."""
    asset = apprise.AppriseAsset(
        storage_mode="memory",  # nothing is kept on this machine
        app_id="crmkit",
        app_desc="crmkit",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
    )
    if hasattr(asset, "http_redirects"):  # since Apprise 2
        asset.http_redirects = False  # no answer sends the message on to another host
    try:
        with warnings.catch_warnings():
            # It loads every service it knows, some of them through modules that are on their way out.
            warnings.simplefilter("ignore", DeprecationWarning)
            return apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    except Exception:  # a parser of a library, on a text of any shape
        return None


def _notified(sender: Any, **what: Any) -> bool:
    try:
        return bool(sender.notify(**what))
    except Exception:  # its text may hold the address
        return False


def _refusal(service: Any) -> str | None:
    """Why the message must not go that way, or `None`."""
    if not getattr(service, "verify_certificate", True):
        return "its address turns off the check of the server's certificate"
    host = (getattr(service, "host", None) or "").strip("[]").lower()
    if not getattr(service, "secure", True) and host not in _LOOPBACK and _has_two_forms(service):
        return "its address would send the figures over the network unencrypted"
    return None


def _has_two_forms(service: Any) -> bool:
    """Whether the service has an encrypted form beside the plain one."""
    return bool(getattr(service, "protocol", None)) and bool(getattr(service, "secure_protocol", None))


def _why(heard: list[str]) -> tuple[str, bool]:
    """What went wrong, in our words, and whether trying again may help.

    What Apprise wrote is read for the status only: the rest may name hosts and channels.
    """
    for line in reversed(heard):
        status = _STATUS.search(line)
        if status:
            code = int(status.group(1))
            return f"the service answered {code}", code == 429 or code >= 500
        if "onnection error" in line:
            return "the service cannot be reached", True
    return "the service did not take the message", False


def _hide_parts(address: str, redactor: Redactor) -> None:
    """Let the redactor know the tokens in the address too, each by itself."""
    try:
        parts = urlsplit(address)
        words = [
            parts.username,
            parts.password,
            *parts.path.split("/"),
            *(v for _, v in parse_qsl(parts.query)),
        ]
        if parts.hostname and "." not in parts.hostname and parts.hostname not in _LOOPBACK:
            words.append(parts.netloc.rpartition("@")[2])  # `slack://token/...`
    except ValueError:
        return
    for word in words:
        for form in {word, unquote(word)} if word else ():
            if len(form) >= _SHORTEST_TOKEN:
                redactor.learn(form)


@contextmanager
def _silent() -> Iterator[list[str]]:
    """Keep what Apprise and its transport log to ourselves; yields the lines heard so far."""
    heard: list[str] = []
    ear = _Ear(heard)
    found = [logging.getLogger(name) for name in _LOGGERS]
    # A child logger with a handler of its own would speak past its parent.
    found += [
        logger
        for name, logger in list(logging.Logger.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.startswith(tuple(f"{one}." for one in _LOGGERS))
    ]
    before = [(one, one.level, one.propagate, one.handlers[:], one.disabled) for one in found]
    for one in found:
        one.handlers, one.propagate, one.disabled = [ear], False, False
        one.setLevel(logging.INFO)
    try:
        yield heard
    finally:
        for one, level, propagate, handlers, disabled in before:
            one.handlers, one.propagate, one.disabled = handlers, propagate, disabled
            one.setLevel(level)


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())
