"""`crmkit listen subscriptions`: the webhooks as the CRMs have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from crmkit.commands.run import Run
from crmkit.connectors.base import Connector
from crmkit.connectors.hooks import Subscription, ours
from crmkit.errors import Unsupported, UsageError
from crmkit.listening.addresses import checked_url, path_of
from crmkit.session import Session

_NOWHERE = "https://localhost"


@click.group(invoke_without_command=True)
@click.pass_context
def subscriptions(context: click.Context) -> None:
    """The webhooks that the CRMs have for crmkit. Lists them unless told otherwise."""
    if context.invoked_subcommand is None:
        context.invoke(list_command, names=())


@subscriptions.command("list")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def list_command(run: Run, names: Sequence[str]) -> None:
    """List crmkit's webhooks at the CRMs. Changes nothing."""
    session = run.open()
    rows: list[tuple[str, Subscription]] = []
    with ExitStack() as stack:
        for name, connector in _connectors(run, session, names, stack).items():
            hooks = connector.hooks()
            target = _NOWHERE + path_of(session, name, hooks)
            rows += [(name, one) for one in ours(hooks.subscriptions(), target)]
    if run.terminal.as_json:
        run.terminal.json([_row(run, name, one) for name, one in rows])
        return
    if not rows:
        run.terminal.say(
            "There are none. Make them with `crmkit listen subscriptions create --public-url URL`."
        )
        return
    lines = [
        [name, one.id, one.about, run.redact(one.target), "yes" if one.active else "no",
         f"{one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at else ""]
        for name, one in rows
    ]  # fmt: skip
    run.terminal.table(("connection", "id", "about", "target", "active", "until (UTC)"), lines)


@subscriptions.command("create")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--public-url", required=True, metavar="URL", help="What the CRMs reach `crmkit listen` under.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def create_command(run: Run, names: Sequence[str], public_url: str, yes: bool) -> None:
    """Make the webhooks that are missing, or say what to click where a person has to.

    Writes to the CRMs: shows first what, and asks. Safe to repeat. Secrets that come with it
    are stored as the connection's other secrets are. The address holds a secret part: keep it to
    yourself.
    """
    session = run.open()
    with ExitStack() as stack:
        connectors = _connectors(run, session, names, stack)
        create_shown(run, session, connectors, checked_url(public_url), yes=yes)


@subscriptions.command("remove")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def remove_command(run: Run, names: Sequence[str], yes: bool) -> None:
    """Remove crmkit's webhooks from the CRMs; those of others stay."""
    session = run.open()
    with ExitStack() as stack:
        connectors = _connectors(run, session, names, stack)
        found = {
            name: ours(
                connector.hooks().subscriptions(), _NOWHERE + path_of(session, name, connector.hooks())
            )
            for name, connector in connectors.items()
        }
        removed = [(name, one) for name, some in found.items() for one in some]
        for name, one in removed:
            run.terminal.say(f"{name}: remove {one.id} ({one.about})")
        if removed:
            _confirm(run, yes)
        for name, some in found.items():
            connectors[name].hooks().unsubscribe(some)
    if run.terminal.as_json:
        run.terminal.json([_row(run, name, one) for name, one in removed])
    elif not removed:
        run.terminal.say("There are none.")


def create_shown(
    run: Run, session: Session, connectors: Mapping[str, Connector], base_url: str, *, yes: bool
) -> None:
    """Show what is missing at the CRMs, ask, and make it."""
    plans: list[tuple[str, str, Sequence[Subscription], Sequence[str]]] = []
    clicks: dict[str, Sequence[str]] = {}
    now = session.clock.now()
    for name, connector in connectors.items():
        try:
            hooks = connector.hooks()
        except Unsupported as error:
            run.terminal.error(error, run.redact)
            continue
        target = base_url + path_of(session, name, hooks)
        if by_hand := hooks.clicks(target):
            clicks[name] = by_hand
            continue
        found = hooks.subscriptions()
        plans.append((name, target, found, hooks.lacking(target, found, now)))
    if not run.terminal.as_json:
        for name, lines in clicks.items():
            run.terminal.say(f"{name}: a person has to do this:")
            for number, line in enumerate(lines, start=1):
                run.terminal.say(f"  {number}. {line}")
        for name, _, _, lines in plans:
            for line in lines or ("everything is there",):
                run.terminal.say(f"{name}: {line}")
    if any(lines for *_, lines in plans):
        _confirm(run, yes)
    for name, target, found, lines in plans:
        if lines:
            connectors[name].hooks().subscribe(target, found, session.clock.now())
    if run.terminal.as_json:
        made = [{"connection": name, "changes": list(lines)} for name, _, _, lines in plans]
        by_person = {name: list(lines) for name, lines in clicks.items()}
        run.terminal.line({"event": "subscribed", "created": made, "clicks": by_person})


def _connectors(run: Run, session: Session, names: Sequence[str], stack: ExitStack) -> dict[str, Connector]:
    """Connections with webhooks; others are left out unless they were named.

    Raises:
        Unsupported: A named one has none.
    """
    found: dict[str, Connector] = {}
    for name in session.config.chosen(names):
        connector = session.connect(name)
        stack.callback(connector.close)
        try:
            connector.hooks()
        except Unsupported as error:
            if names:
                raise
            run.terminal.error(error, run.redact)
            continue
        found[name] = connector
    return found


def _confirm(run: Run, yes: bool) -> None:
    if yes:
        return
    if not run.terminal.can_ask:
        raise UsageError("nobody is there to confirm this", hint="Add --yes to write without asking.")
    click.confirm("Write this to the CRMs?", abort=True, err=True)


def _row(run: Run, name: str, one: Subscription) -> dict[str, Any]:
    return {
        "connection": name, "id": one.id, "about": one.about, "target": run.redact(one.target),
        "active": one.active, "expires_at": one.expires_at.isoformat() if one.expires_at else None,
    }  # fmt: skip
