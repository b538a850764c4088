"""`crmkit listen`: hears webhooks, and runs syncs within seconds of a change."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from crmkit.commands.alerting import alerting
from crmkit.commands.listen_subscriptions import create_shown, subscriptions
from crmkit.commands.run import Run
from crmkit.commands.words import plural
from crmkit.connectors.base import Connector
from crmkit.errors import MissingSecret, Unsupported, UsageError
from crmkit.listening.addresses import Door, checked_url, door, is_loopback
from crmkit.listening.app import Keeper, ListenApp
from crmkit.listening.handling import Handling, News, Pulled, Synced, Trouble
from crmkit.listening.renewal import Renewal
from crmkit.listening.server import Server, bound
from crmkit.session import Session
from crmkit.sync.lease import hold
from crmkit.syncing import named
from crmkit.terminal import failure

_SHOWN_REFUSALS = 5  # per connection and reason; a flood of forgeries must not flood the log


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8700, show_default=True)
@click.option("--public-url", metavar="URL", help="What the CRMs reach it under: https, without the path.")
@click.option("--sync", "only", multiple=True, metavar="NAME", help="Run only this sync; may be repeated.")
@click.option("--subscribe", is_flag=True, help="Make the webhooks at the CRMs first; asks before.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before making webhooks.")
@click.pass_context
def listen(
    context: click.Context,
    /,
    host: str,
    port: int,
    public_url: str | None,
    only: Sequence[str],
    subscribe: bool,
    yes: bool,
) -> None:
    """Hear the CRMs' webhooks and keep CRMs in step within seconds.

    A delivery is checked, stored and answered; then the records that it names are read from
    the CRM, and the syncs with that connection run as `crmkit sync` would, guards included.
    Webhooks get lost: go on with scheduled syncs too. Runs until Ctrl-C or SIGTERM. Behind a
    reverse proxy, which has to do the TLS, --public-url is needed (docs/listen.md).
    """
    if context.invoked_subcommand is not None:
        return
    run: Run = context.obj
    session = run.open()
    syncs = _syncs(session, only)
    members = list(dict.fromkeys(member for one in syncs.values() for member in one))
    names = members or list(session.config.chosen(()))
    if subscribe and public_url is None:
        raise UsageError("--subscribe needs --public-url: the CRMs have to be told an address")
    listener = bound(host, port)
    own = f"http://{'[' + host + ']' if ':' in host else host}:{listener.getsockname()[1]}"
    base_url = checked_url(public_url) if public_url else own
    with ExitStack() as stack:
        stack.callback(listener.close)
        state = stack.enter_context(session.state())
        stack.enter_context(hold(state, "listen", session.clock.now, session.observer))
        connectors = {name: session.connect(name) for name in names}
        for connector in connectors.values():
            stack.callback(connector.close)
        if subscribe:
            create_shown(run, session, connectors, base_url, yes=yes)
        doors = _doors(run, session, connectors)
        tell = _Teller(run)
        handling = Handling(
            session,
            state,
            list(doors),
            syncs,
            around=lambda name: alerting(run, state, name),
            tell=tell.news,
            upkeep=Renewal(
                {name: one.hooks for name, one in doors.items()},
                {name: one.path for name, one in doors.items()},
                session.clock,
                lambda name, error: tell.news(Trouble(name, error)),
            ),
        )
        app = ListenApp(
            doors, Keeper(state, handling.wake), base_url=base_url, clock=session.clock, refused=tell.refused
        )
        server = Server(app, listener)
        stopped, mistakes = threading.Event(), list[Exception]()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, lambda *_: stopped.set())
            stack.callback(signal.signal, number, before)
        worker = threading.Thread(target=_until_stopped, args=(handling, stopped, mistakes), daemon=True)
        server.start()
        worker.start()
        _say_hello(run, base_url, own, doors, syncs, is_local=is_loopback(host))
        while not stopped.wait(0.2):
            pass
        server.stop()
        handling.stop()
        worker.join()
    if run.terminal.as_json:
        run.terminal.line({"event": "stopped"})
    if mistakes:
        raise mistakes[0]


listen.add_command(subscriptions)


def _until_stopped(handling: Handling, stopped: threading.Event, mistakes: list[Exception]) -> None:
    """Handle events; a mistake in crmkit ends the process too, for its supervisor to start it again."""
    try:
        handling.run()
    except Exception as error:
        mistakes.append(error)
    finally:
        stopped.set()


def _syncs(session: Session, only: Sequence[str]) -> dict[str, tuple[str, ...]]:
    wanted = only or list(session.config.settings.syncs)
    return {name: tuple(named(session, name).members) for name in wanted}


def _doors(run: Run, session: Session, connectors: Mapping[str, Connector]) -> dict[str, Door]:
    """The connections that can be listened to; the others are told and left out.

    Raises:
        MissingSecret, Unsupported: There is none.
    """
    doors: dict[str, Door] = {}
    problems: list[Unsupported | MissingSecret] = []
    for name, connector in connectors.items():
        try:
            doors[name] = door(session, name, connector.hooks())
        except (Unsupported, MissingSecret) as error:
            problems.append(error)
    if not doors and problems:
        raise problems[0]
    for problem in problems:
        run.terminal.error(problem, run.redact)
    return doors


def _say_hello(
    run: Run, base_url: str, own: str, doors: Mapping[str, Door], syncs: Mapping[str, Any], *, is_local: bool
) -> None:
    if run.terminal.as_json:
        run.terminal.line(
            {"event": "listening", "address": own, "public_url": base_url, "connections": list(doors),
             "syncs": list(syncs)}
        )  # fmt: skip
        return
    run.terminal.say(f"Listening on {own} for {', '.join(doors)}; Ctrl-C stops.")
    if syncs:
        run.terminal.say(f"Runs {', '.join(syncs)} when something changed.")
    if base_url == own:
        run.terminal.say("No --public-url: only CRMs on this machine can reach it.", "yellow")
    elif not is_local:
        run.terminal.say("This port speaks plain HTTP: let only the reverse proxy reach it.", "yellow")


class _Teller:
    """Says what happened, a line each."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._refusals: Counter[tuple[str, str]] = Counter()

    def refused(self, connection: str, reason: str) -> None:
        """A delivery was refused; after some of a kind only every hundredth is told."""
        self._refusals[connection, reason] += 1
        count = self._refusals[connection, reason]
        if count > _SHOWN_REFUSALS and count % 100:
            return
        if self._run.terminal.as_json:
            said = {"event": "refused", "connection": connection, "reason": reason, "count": count}
            self._run.terminal.line(said)
        else:
            more = f" ({count} so far)" if count > 1 else ""
            self._run.terminal.say(f"{connection}: a delivery was refused: {reason}{more}", "yellow")

    def news(self, news: News) -> None:
        """Something was pulled, synced, or failed; also tells what a command tells at its end."""
        terminal, session = self._run.terminal, self._run.open()
        warnings, session.warnings = session.warnings, []
        for warning in warnings:
            terminal.alert(f"Warning: {self._run.redact(warning)}", "yellow")
        if terminal.as_json:
            terminal.line(_as_json(self._run, news))
        elif isinstance(news, Pulled):
            result = news.result
            for warning in result.warnings:
                terminal.alert(f"Warning: {warning}", "yellow")
            if result.left_out:
                terminal.say(f"{news.connection}: nothing was pulled yet; run `crmkit pull` first.", "yellow")
            if result.matters:
                terminal.say(
                    f"{news.connection}: {plural(result.changed, 'changed record')}"
                    + (f", {result.gone} gone" if result.gone else "")
                )
        elif isinstance(news, Synced):
            if news.writes or news.exit_code not in (0, 4):  # what waits for a person waits all day
                terminal.say(f"{news.sync}: {plural(news.writes, 'write')} (exit code {news.exit_code})")
        else:
            terminal.error(news.error, self._run.redact)
            if news.again_seconds is not None:
                terminal.say(f"{news.what}: trying again in {news.again_seconds:.0f} s")


def _as_json(run: Run, news: News) -> dict[str, Any]:
    if isinstance(news, Pulled):
        result = news.result
        return {
            "event": "pulled", "connection": news.connection, "records": news.records,
            "changed": result.changed, "gone": result.gone, "unreadable": result.unreadable,
            "warnings": result.warnings, "never_pulled": sorted(result.left_out),
        }  # fmt: skip
    if isinstance(news, Synced):
        return {
            "event": "synced", "sync": news.sync, "writes": news.writes, "exit_code": news.exit_code,
            "seconds": round(news.seconds, 3),
        }  # fmt: skip
    assert isinstance(news, Trouble)
    return {
        "event": "failed", "what": news.what, "error": failure(news.error, run.redact),
        "again_seconds": news.again_seconds,
    }  # fmt: skip
