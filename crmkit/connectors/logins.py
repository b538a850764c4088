"""How a person logs in to a CRM, as data: what to ask for, and where a browser is sent.

Every connector says it for its own CRM; whoever talks to the person knows no vendor.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.pacing import Pacer
from crmkit.errors import AccessDenied, BadAnswer, CrmkitError

REDIRECT_PORT = 8765
_TOLD_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """Something that a person types.

    Attributes:
        secret: The name that it is stored under.
        label: What it is called in the CRM.
        find: Where a person finds it there; empty if that was said already.
        pattern: What it looks like, as a whole; any text if empty.
        hidden: Whether it must not be seen while it is typed.
    """

    secret: str
    label: str
    find: str = ""
    pattern: str = ""
    hidden: bool = True


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where a code is had, and where it becomes a refresh token.

    Attributes:
        token: Address of the token endpoint.
        hosts: Pattern of hosts that may get the code and the client's secret.
        authorise: Where the browser is sent; `None` if codes come from elsewhere.
        parameters: What that address carries besides the client and the state.
        sends_redirect: Whether the redirect address is sent along; else it stands in the app's
            own settings only.
        pkce: Whether a proof of key is sent (RFC 7636).
        returns_state: Whether the state is known to come back; else it may be missing.
        server: The parameter of the redirect that names the host of the token endpoint.
        path: The token endpoint's path at that host.
        revoke: Where a refresh token is given back; `None` if nowhere.
    """

    token: str
    hosts: str
    authorise: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    sends_redirect: bool = True
    pkce: bool = False
    returns_state: bool = True
    server: str | None = None
    path: str = ""
    revoke: str | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """One way to log in.

    Attributes:
        name: For `--method`.
        title: What it is, for a person who has to choose.
        asks: What is typed first.
        exchange: How a code becomes a refresh token; `None` if what is typed is all.
        code: The code that a person types; `None` if the browser brings it back.
    """

    name: str
    title: str
    asks: tuple[Ask, ...]
    exchange: Exchange | None = None
    code: Ask | None = None

    @property
    def in_browser(self) -> bool:
        """Whether a browser is sent to the CRM."""
        return self.exchange is not None and self.code is None


def typed(secret_names: tuple[str, ...]) -> Login:
    """The way of a connector that says nothing: every secret is typed."""
    return Login(
        "secrets", "Type every secret", tuple(Ask(name, name.replace("_", " ")) for name in secret_names)
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves that a code comes back to who asked for it: a state, and a key (RFC 7636)."""

    state: str
    verifier: str

    @classmethod
    def new(cls) -> Proof:
        """Unguessable ones."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(64))

    @property
    def challenge(self) -> str:
        """The verifier as the authorise address shows it."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorise_url(exchange: Exchange, client_id: str, redirect: str, proof: Proof) -> str:
    """Where the browser is sent."""
    assert exchange.authorise is not None  # asked for only where a browser is used
    said = {"client_id": client_id, "state": proof.state, **exchange.parameters}
    if exchange.sends_redirect:
        said["redirect_uri"] = redirect
    if exchange.pkce:
        said |= {"code_challenge": proof.challenge, "code_challenge_method": "S256"}
    return f"{exchange.authorise}?{urlencode(said)}"


@dataclass(frozen=True, slots=True)
class Redirected:
    """What came back with the browser.

    Attributes:
        code: The code.
        server: The host of the token endpoint, where the CRM names one.
    """

    code: str
    server: str | None = None


def redirected(exchange: Exchange, parameters: Mapping[str, str], proof: Proof) -> Redirected:
    """Read the redirect.

    Raises:
        AccessDenied: The person refused, or it does not answer what was asked.
    """
    state = parameters.get("state")
    right = state is not None and secrets.compare_digest(state.encode(), proof.state.encode())
    if not right and (state is not None or exchange.returns_state):
        raise AccessDenied(
            "the browser came back with an answer to another question",
            hint="Start again; if it repeats, somebody may be trying to connect you to an account of theirs.",
        )
    if "error" in parameters:
        said = parameters.get("error_description") or parameters["error"]
        raise AccessDenied(
            f"the CRM gave no access: {said[:_TOLD_CHARACTERS]}", hint="Start again and allow it."
        )
    if not parameters.get("code"):
        raise AccessDenied("the browser came back without a code", hint="Start again.")
    return Redirected(parameters["code"], parameters.get(exchange.server) if exchange.server else None)


class _Plain:
    """Token endpoints: no credentials in a header; refusals with any status, 200 too."""

    def authorise(self, call: Call, *, force: bool) -> Call:
        del force
        return call

    def can_renew(self, answer: Answer) -> bool:
        del answer
        return False

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        """No limits are told."""

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        del call
        body = answer.try_json()
        if isinstance(body, dict) and "error" in body and answer.status < 500:
            said = [body[name] for name in ("error", "error_description") if isinstance(body.get(name), str)]
            return AccessDenied(
                f"{answer.what}: {': '.join(said)[:_TOLD_CHARACTERS]}",
                hint="A code works once and not for long: start again. Check client id and secret too.",
            )
        return None


def exchanged(
    context: Context,
    exchange: Exchange,
    given: Mapping[str, str],
    back: Redirected,
    redirect: str,
    proof: Proof,
) -> dict[str, str]:
    """What a code gives: the refresh token, as it is to be stored.

    Args:
        context: The connection that logs in.
        exchange: Where.
        given: `client_id` and `client_secret`.
        back: The code, and what else came with it.
        redirect: The redirect address that the code was sent to.
        proof: What the code was asked for with.

    Raises:
        AccessDenied: The code or the client is refused.
        BadAnswer: No refresh token came.
    """
    url = back.server.rstrip("/") + exchange.path if back.server else exchange.token
    form = {
        "grant_type": "authorization_code",
        "client_id": given["client_id"],
        "client_secret": given["client_secret"],
        "code": back.code,
        **({"redirect_uri": redirect} if exchange.sends_redirect and exchange.authorise else {}),
        **({"code_verifier": proof.verifier} if exchange.pkce else {}),
    }
    answer = _post(context, exchange, url, form, "exchange of the code")
    token = answer.mapping().get("refresh_token")
    if not isinstance(token, str) or not token:
        raise BadAnswer(
            f"{answer.what}: no refresh token came ({answer.shape()})",
            hint="Remove the app's access in the CRM's own settings, then log in again.",
        )
    context.secrets.learn(token)
    return {"refresh_token": token}


def revoked(context: Context, exchange: Exchange, given: Mapping[str, str], token: str) -> None:
    """Give a refresh token back, so that it works nowhere any more.

    Raises:
        CrmkitError: The CRM did not take it back.
    """
    assert exchange.revoke is not None  # asked for only where the CRM has a place for it
    form = {**given, "token": token, "token_type_hint": "refresh_token"}
    _post(context, exchange, exchange.revoke, form, "giving the token back")


def _post(context: Context, exchange: Exchange, url: str, form: Mapping[str, str], label: str) -> Answer:
    for name in ("client_secret", "code", "code_verifier", "token"):
        context.secrets.learn(form.get(name, ""))
    http = Http(
        context, base_url=exchange.token, dialect=_Plain(), limits={}, hosts=exchange.hosts, configured=True
    )
    try:
        return http.send(Call("POST", url, form=form, label=label, buckets=(), authorised=False))
    finally:
        http.close()
