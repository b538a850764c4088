"""How a person logs in to Close: an API key, or an OAuth app in the browser.

Source: https://developer.close.com/api/overview/oauth-authentication
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from crmkit.connectors.logins import Ask, Exchange, Login

_AUTHORISE = "https://app.close.com/oauth2/authorize/"
_SETTINGS = "Close > Settings > Developer"


def logins(auth: Literal["api_key", "oauth"], api: str, hosts: str, *, own: bool) -> tuple[Login, ...]:
    """The ways that fit the connection's `auth`.

    Args:
        auth: What the connection is configured for.
        api: The API's base address.
        hosts: Pattern of Close's hosts.
        own: Whether the address was configured, so that the browser goes there too.
    """
    if auth == "api_key":
        return (
            Login("api-key", "API key", (Ask("api_key", "API key", f"{_SETTINGS} > API Keys", r"api_\S+"),)),
        )
    parts = urlsplit(api)
    root = f"{parts.scheme}://{parts.netloc}/oauth2"
    exchange = Exchange(
        token=f"{root}/token/",
        hosts=hosts,
        authorise=f"{root}/authorize/" if own else _AUTHORISE,
        parameters={"response_type": "code"},
        sends_redirect=False,  # it stands in the app's settings
        returns_state=False,  # not documented; one that comes back must be right
        revoke=f"{root}/revoke/",
    )
    asks = (
        Ask("client_id", "Client ID", f"{_SETTINGS} > OAuth Apps", hidden=False),
        Ask("client_secret", "Client secret"),
    )
    return (Login("browser", "OAuth app, in the browser", asks, exchange),)
