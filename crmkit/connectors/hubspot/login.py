"""How a person logs in to HubSpot: a static token, or an OAuth app in the browser.

Source: contracts/hubspot.md section 1, from
https://developers.hubspot.com/docs/api-reference/legacy/authentication/manage-oauth-tokens
"""

from __future__ import annotations

from crmkit.connectors.hubspot.dialect import BASE_URL, HOSTS, TOKEN_PATH, Auth
from crmkit.connectors.logins import Ask, Exchange, Login

SCOPES = (
    "oauth",
    "crm.objects.deals.read", "crm.objects.deals.write",
    "crm.objects.companies.read", "crm.objects.companies.write",
    "crm.objects.contacts.read", "crm.objects.contacts.write",
    "crm.schemas.deals.read", "crm.schemas.deals.write",
    "crm.schemas.companies.read", "crm.schemas.companies.write",
    "crm.schemas.contacts.read", "crm.schemas.contacts.write",
    "crm.objects.owners.read",
)  # fmt: skip
_AUTHORISE = "https://app.hubspot.com/oauth/authorize"
_APP = "Development > your app > Auth"


def logins(auth: Auth, base_url: str | None) -> tuple[Login, ...]:
    """The ways that fit the connection's `auth`."""
    if auth == "token":
        return (
            Login(
                "token",
                "Token of a service key or private app",
                (Ask("token", "Token", "HubSpot > Development > Keys > Service keys", r"pat-[a-z0-9]+-\S+"),),
            ),
        )
    root = (base_url or BASE_URL).rstrip("/")
    exchange = Exchange(
        token=f"{root}{TOKEN_PATH}",
        hosts=HOSTS,
        authorise=f"{root}/oauth/authorize" if base_url else _AUTHORISE,
        parameters={"scope": " ".join(SCOPES)},
        pkce=True,
        revoke=f"{root}{TOKEN_PATH}/revoke",
    )
    asks = (Ask("client_id", "Client ID", _APP, hidden=False), Ask("client_secret", "Client secret"))
    return (Login("browser", "OAuth app, in the browser", asks, exchange),)
