"""How a person logs in to Zoho: a self client's code, or a server-based client in the browser.

Source: contracts/zoho.md section 1, from
https://www.zoho.com/crm/developer/docs/api/v8/oauth-overview.html
"""

from __future__ import annotations

from crmkit.connectors.logins import Ask, Exchange, Login
from crmkit.connectors.zoho.dialect import HOSTS

SCOPES = (
    "ZohoCRM.modules.ALL", "ZohoCRM.users.READ", "ZohoCRM.org.READ", "ZohoCRM.settings.ALL",
    "ZohoCRM.coql.READ", "ZohoCRM.notifications.ALL",
)  # fmt: skip
_TOKEN = "/oauth/v2/token"  # noqa: S105 - a path


def logins(accounts_url: str) -> tuple[Login, ...]:
    """Both ways, the self client first: it needs no redirect address."""
    root = accounts_url.rstrip("/")
    console = root.replace("accounts.", "api-console.", 1)
    client = (
        Ask("client_id", "Client ID", f"{console} > your client > Client Secret", hidden=False),
        Ask("client_secret", "Client secret"),
    )
    exchange = Exchange(
        token=root + _TOKEN,
        hosts=HOSTS,
        # Without `access_type` no refresh token comes; without `prompt` not a second time.
        parameters={
            "response_type": "code",
            "scope": ",".join(SCOPES),
            "access_type": "offline",
            "prompt": "consent",
        },
        server="accounts-server",
        path=_TOKEN,
        revoke=f"{root}{_TOKEN}/revoke",
    )
    code = Ask(
        "code", "Generated code",
        f"{console} > Self Client > Generate Code; it works for minutes only; scopes: {','.join(SCOPES)}",
    )  # fmt: skip
    browser = Exchange(
        token=exchange.token, hosts=exchange.hosts, authorise=f"{root}/oauth/v2/auth",
        parameters=exchange.parameters, server=exchange.server, path=exchange.path, revoke=exchange.revoke,
    )  # fmt: skip
    return (
        Login("self-client", "Self client: a code from Zoho's API console", client, exchange, code),
        Login("browser", "Server-based client, in the browser", client, browser),
    )
