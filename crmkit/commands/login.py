"""Commands `login` and `logout`: secrets in, tried at once; secrets out."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping

import click

from crmkit import logging_in
from crmkit.commands.run import Run
from crmkit.config import suggestion
from crmkit.connectors import registry
from crmkit.connectors.logins import REDIRECT_PORT, Ask, Login, Proof, Redirected, authorise_url
from crmkit.errors import ConfigError, CrmkitError, UsageError
from crmkit.report.render.visible import visible
from crmkit.session import Session

_PATIENCE_SECONDS = 300.0


@click.command()
@click.argument("name")
@click.option("--method", metavar="WAY", help="Another way than the usual one; a wrong one lists them.")
@click.option(
    "--no-browser", is_flag=True, help="Print the address, and paste the one where the browser ends."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=REDIRECT_PORT, show_default=True,
    help="Where the browser comes back to; the app must know http://localhost:PORT/.",
)  # fmt: skip
@click.option("--stdin", "piped", is_flag=True, help="Read lines NAME=VALUE instead of asking, for scripts.")
@click.pass_obj
def login(run: Run, name: str, method: str | None, no_browser: bool, port: int, piped: bool) -> None:
    """Store the secrets of a connection, once they were tried.

    Asks for what the CRM needs, unseen, and calls the CRM with it. What works is kept in the
    system's keyring, else in `secrets_dir` of crmkit.toml; what does not is forgotten, and
    the former secrets stay. Never takes a secret as an argument. Changes nothing in the CRM.

    \b
    crmkit login hubspot-us                        asks
    crmkit login zoho-eu --method browser          an app, in the browser
    pass crm/close | sed s/^/api_key=/ | crmkit login close --stdin
    """
    session = run.open()
    _configured(session, name)
    way = logging_in.chosen(session, name, method)
    if not piped and not run.terminal.can_ask:
        asked = ", ".join(ask.secret for ask in _typed(way))
        raise UsageError(
            "nobody is there to ask",
            hint=f"Pipe lines NAME=VALUE into `crmkit login {name} --stdin` ({asked}).",
        )
    secrets = session.secrets(name)
    for secret in logging_in.needed(way):
        secrets.storable(secret)
    given = _read(run, session, name, way) if piped else _asked(run, name, way)
    new: Mapping[str, str] = given
    if way.exchange is not None:
        back, redirect, proof = _code(run, way, given, port, no_browser=no_browser or piped)
        plain = {ask.secret: given[ask.secret] for ask in way.asks}
        new = logging_in.exchange_code(session, name, way, plain, back, redirect, proof)
    workspace, trial = logging_in.try_out(session, name, new)
    trial.keep()
    reached = f"{workspace.name} ({workspace.id})"
    if run.terminal.as_json:
        run.terminal.json({"connection": name, "workspace": workspace.model_dump(mode="json")})
    else:
        user = f" as {workspace.user}" if workspace.user else ""
        run.terminal.tell(visible(f"{name}: logged in to {reached}{user}."), result=True)


@click.command()
@click.argument("name")
@click.option(
    "--revoke", is_flag=True, help="Also give the refresh token back: no machine can use it any more."
)
@click.pass_obj
def logout(run: Run, name: str, revoke: bool) -> None:
    """Forget the stored secrets of a connection.

    Changes nothing in the CRM unless --revoke. What was pulled stays.
    """
    session = run.open()
    _configured(session, name)
    given_back, problem = False, None
    if revoke:
        try:
            given_back = logging_in.revoke(session, name)
        except CrmkitError as error:
            problem = error
    gone = logging_in.forget(session, name)
    connector = registry.connector(session.config.settings.connections[name].crm)
    left = session.secrets(name).from_environment((*connector.secret_names, "access_token"))
    if run.terminal.as_json:
        run.terminal.json({"connection": name, "forgotten": gone, "revoked": given_back, "environment": left})
    else:
        what = ", ".join(gone) or "nothing was stored"
        run.terminal.tell(f"{name}: forgotten: {what}.", result=True)
        if given_back:
            run.terminal.say("The CRM took the refresh token back.")
        elif revoke and problem is None:
            run.terminal.say(
                "This CRM has no place to give a token back: remove the access in its settings.", "yellow"
            )
        for variable in left:
            run.terminal.say(f"{variable} still holds a secret: unset it too.", "yellow")
    if problem is not None:
        raise problem


def _configured(session: Session, name: str) -> None:
    known = session.config.settings.connections
    if name in known:
        return
    near = suggestion(name, known) if known else ""
    lines = (
        f'[connections.{name}]\ncrm = "hubspot"   # or {", ".join(crm for crm in registry.OptionModels())}'
    )
    raise ConfigError(
        f"there is no connection {name!r} in {session.config.path.name}. {near}".rstrip(),
        hint=f"Add it, then log in:\n{lines}",
    )


def _typed(way: Login) -> tuple[Ask, ...]:
    return (*way.asks, way.code) if way.code is not None else way.asks


def _asked(run: Run, name: str, way: Login) -> dict[str, str]:
    """What a person types, unseen."""
    run.terminal.say(f"{name}: {way.title}")
    given: dict[str, str] = {}
    for ask in _typed(way):
        if ask.find:
            run.terminal.say(f"  {ask.label}: {ask.find}")
        text = click.prompt(f"  {ask.label}", hide_input=ask.hidden, err=True, default="", show_default=False)
        given[ask.secret] = logging_in.checked(ask, text)
    return given


def _read(run: Run, session: Session, name: str, way: Login) -> dict[str, str]:
    """What a script pipes in, one NAME=VALUE a line."""
    del run
    wanted = {ask.secret: ask for ask in _typed(way)}
    given: dict[str, str] = {}
    for line in sys.stdin.read().splitlines():
        if not line.strip():
            continue
        secret, sign, value = line.partition("=")
        session.redactor.learn(value.strip())
        if not sign or secret.strip() not in wanted:
            raise UsageError(
                f"{name}: a line on stdin is not one of {', '.join(f'{one}=VALUE' for one in wanted)}",
                hint="It is not shown, as it may hold a secret.",
            )
        given[secret.strip()] = logging_in.checked(wanted[secret.strip()], value)
    missing = [secret for secret in wanted if secret not in given]
    if missing:
        raise UsageError(f"{name}: missing on stdin: {', '.join(f'{one}=VALUE' for one in missing)}")
    return given


def _code(
    run: Run, way: Login, given: Mapping[str, str], port: int, *, no_browser: bool
) -> tuple[Redirected, str, Proof]:
    """The code that becomes a refresh token: typed, or brought back by a browser."""
    exchange, proof = way.exchange, Proof.new()
    assert exchange is not None  # asked by the caller
    if way.code is not None:
        return Redirected(given[way.code.secret]), "", proof
    if no_browser:
        redirect = f"http://localhost:{port}/"
        url = authorise_url(exchange, given["client_id"], redirect, proof)
        run.terminal.alert(f"Open this address, and allow access:\n{url}")
        text = click.prompt("Paste the address where the browser ended", hide_input=True, err=True)
        return logging_in.pasted(exchange, text, proof), redirect, proof
    loopback = logging_in.Loopback(exchange, proof, port)
    url = authorise_url(exchange, given["client_id"], loopback.redirect, proof)
    with loopback.listening():
        run.terminal.say(f"The app must know {loopback.redirect} as its redirect address.")
        run.terminal.alert(f"Your browser opens; if it does not, open this address:\n{url}")
        webbrowser.open(url)
        return loopback.wait(_PATIENCE_SECONDS), loopback.redirect, proof
