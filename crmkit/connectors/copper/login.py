"""How a person logs in to Copper: an API key, or a token of an OAuth app.

An app's code is delivered by an HTTPS POST to its own server (contracts/copper.md section 1),
so a browser cannot bring it here: the token is typed.
"""

from __future__ import annotations

from typing import Literal

from crmkit.connectors.logins import Ask, Login


def logins(auth: Literal["api_key", "oauth"]) -> tuple[Login, ...]:
    """The way that fits the connection's `auth`."""
    if auth == "oauth":
        asks = (Ask("access_token", "Access token", "your OAuth app's server"),)
        return (Login("token", "Access token of an OAuth app", asks),)
    asks = (Ask("api_key", "API key", "Copper > Settings > Integrations > API Keys"),)
    return (Login("api-key", "API key", asks),)
