"""The command `init`: a crmkit.toml to begin with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from crmkit.commands.run import Run
from crmkit.config import CONNECTION_NAME, FILE_NAME, load, suggestion
from crmkit.connectors import registry
from crmkit.errors import ConfigError, UsageError
from crmkit.report_settings import ReportSettings
from crmkit.starting import Start, first_configuration
from crmkit.terminal import Terminal

T = TypeVar("T")
_OWN = "memory"  # a CRM in a dictionary: nothing that a file could name
_CURRENCY = re.compile(r"[A-Z]{3}")


@click.command()
@click.option(
    "--connection", "connections", multiple=True, metavar="NAME=CRM",
    help="A login under a name of yours, for example hubspot-us=hubspot; repeat it for more.",
)  # fmt: skip
@click.option("--currency", metavar="CODE", help="The report's currency, for example EUR. Default: USD.")
@click.option(
    "--time-zone", metavar="ZONE", help="Where the report's days begin, as Europe/Berlin. Default: UTC."
)
@click.pass_obj
def init(run: Run, connections: Sequence[str], currency: str | None, time_zone: str | None) -> None:
    """Write a commented crmkit.toml into this folder, or where --config says.

    Asks for what the options do not tell, if there is a terminal. Never overwrites a file,
    calls no CRM, and stores no secret: `crmkit login` does that.
    """
    path = run.config or Path(FILE_NAME)
    if path.exists():
        raise ConfigError(
            f"{path} is there already", hint="Edit it, or go to an empty folder; nothing was changed."
        )
    terminal = run.terminal
    chosen = [_connection(text) for text in connections]
    if not chosen and terminal.can_ask:
        chosen = _ask_connections(terminal)
    asked = terminal.can_ask and not connections
    currency = _currency(currency) if currency else _ask(terminal, "Report currency", "USD", _currency, asked)
    zone = _zone(time_zone) if time_zone else _ask(terminal, "Time zone of the report", "UTC", _zone, asked)
    starts = {name: _start(crm) for name, crm in _once(chosen).items()}
    _write(path, first_configuration(starts, currency=currency, time_zone=zone))
    load(path, registry.OptionModels())
    commands = _next(list(starts))
    if terminal.as_json:
        terminal.json({"path": str(path), "connections": dict(chosen), "next": [one for one, _ in commands]})
        return
    terminal.tell(f"Wrote {path}. Look through it, then go on with", result=True)
    width = max(len(command) for command, _ in commands)
    for command, text in commands:
        terminal.tell(f"  {command:<{width}}   {text}", result=True)


def _connection(text: str) -> tuple[str, str]:
    name, _, crm = text.partition("=")
    return _name(name.strip()), _crm((crm or name).strip())


def _name(text: str) -> str:
    if not CONNECTION_NAME.fullmatch(text):
        raise UsageError(f"{text!r} cannot name a connection",
                         hint="Use lower-case letters, digits and hyphens, as in hubspot-us.")  # fmt: skip
    return text


def _crm(text: str) -> str:
    known = _crms()
    if text not in known:
        raise UsageError(f"there is no connector {text!r}",
                         hint=suggestion(text, known) or f"There are: {', '.join(known)}.")  # fmt: skip
    return text


def _crms() -> list[str]:
    return [crm for crm in registry.OptionModels() if crm != _OWN]


def _currency(text: str) -> str:
    code = text.strip().upper()
    if not _CURRENCY.fullmatch(code):
        raise UsageError(f"{text!r} is not a currency", hint="Write its ISO code, for example EUR.")
    return code


def _zone(text: str) -> str:
    try:
        return ReportSettings(time_zone=text.strip()).time_zone
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time zone", hint="Write an IANA name such as Europe/Vienna."
        ) from None


def _once(chosen: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, crm in chosen:
        if name in found:
            raise UsageError(f"two connections are named {name!r}", hint="Give each login a name of its own.")
        found[name] = crm
    return found


def _start(crm: str) -> Start:
    connector = registry.connector(crm)
    return Start(crm, connector.title, connector.example_options)


def _ask_connections(terminal: Terminal) -> list[tuple[str, str]]:
    crms = _crms()
    terminal.say(f"Which CRMs shall be connected? There are: {', '.join(crms)}.")
    terminal.say("One login each, as a CRM, or NAME=CRM to name it; an empty line ends the list.")
    chosen: list[tuple[str, str]] = []
    while True:
        text = click.prompt("Connection", default="", show_default=False, err=True)
        if not text.strip():
            return chosen
        try:
            one = _connection(text)
            _once([*chosen, one])
        except UsageError as error:
            terminal.say(f"{error}. {error.hint}", "yellow")
            continue
        chosen.append(one)


def _ask(terminal: Terminal, what: str, default: str, read: Callable[[str], T], asked: bool) -> T:
    if not asked:
        return read(default)
    while True:
        try:
            return read(click.prompt(what, default=default, err=True))
        except UsageError as error:
            terminal.say(f"{error}. {error.hint}", "yellow")


def _write(path: Path, text: str) -> None:
    try:
        # Exclusive: a file that somebody made meanwhile is not overwritten either.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already", hint="Nothing was changed.") from None
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="Go to a folder that you may write to."
        ) from error
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)


def _next(names: Sequence[str]) -> list[tuple[str, str]]:
    logins = [(f"crmkit login {name}", "store its secret") for name in names]
    if not logins:
        logins = [(f"edit {FILE_NAME}", "add a [connections.NAME] for each CRM")]
    return [
        *logins,
        ("crmkit doctor", "check access, clocks, limits and everything else"),
        ("crmkit pull", "read the CRMs into the local copy"),
        ("crmkit stages suggest", "propose what each stage means; paste it into crmkit.toml"),
        ("crmkit report", "one pipeline over all of them"),
    ]
