"""How a person logs in to Bitrix24: an inbound webhook's address, or a local app in the browser.

Source: https://apidocs.bitrix24.com/settings/oauth/index.html
"""

from __future__ import annotations

from crmkit.connectors.bitrix24.dialect import TOKEN_HOSTS
from crmkit.connectors.bitrix24.options import Bitrix24Options
from crmkit.connectors.logins import Ask, Exchange, Login

_WEBHOOK = r"https?://\S+/rest/\d+/\w+/?"


def logins(options: Bitrix24Options) -> tuple[Login, ...]:
    """The way that fits the connection's `auth`."""
    if options.auth == "webhook":
        find = "Bitrix24 > Developer resources > Other > Inbound webhook, made by an administrator"
        return (Login("webhook", "Inbound webhook", (Ask("webhook_url", "Webhook URL", find, _WEBHOOK),)),)
    own = (options.base_url or "").rstrip("/").removesuffix("/rest")
    portal = own or f"https://{options.portal}"
    if options.portal and options.portal.startswith(("127.0.0.1", "localhost")):
        portal = f"http://{options.portal}"
    exchange = Exchange(
        token=options.token_url,
        hosts=TOKEN_HOSTS,
        authorise=f"{portal}/oauth/authorize/",
        sends_redirect=False,  # it is fixed in the app's card
    )
    asks = (
        Ask("client_id", "Application ID (client_id)", "the card of your local app", hidden=False),
        Ask("client_secret", "Application key (client_secret)"),
    )
    return (Login("browser", "Local app, in the browser", asks, exchange),)
