"""Whether the credentials may do all that reading needs; every missing scope is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crmkit.connectors.zoho.client import Client
from crmkit.errors import MissingScope

_MODULE_SCOPES = {
    "Deals": "ZohoCRM.modules.deals.READ",
    "Accounts": "ZohoCRM.modules.accounts.READ",
    "Contacts": "ZohoCRM.modules.contacts.READ",
}
NEEDED = (
    "ZohoCRM.org.READ",
    "ZohoCRM.users.READ",
    *_MODULE_SCOPES.values(),
    "ZohoCRM.settings.fields.READ",
    "ZohoCRM.settings.layouts.READ",
    "ZohoCRM.settings.pipeline.READ",
    "ZohoCRM.coql.READ",
)


def missing_scopes(client: Client, granted: str | None) -> Sequence[str]:
    """The needed scopes that the credentials lack.

    Args:
        client: Sends a small call per scope, if there is no other way to tell.
        granted: The scopes as the token endpoint told them; only some data centres do.
    """
    if granted:
        have = granted.replace(",", " ").split()
        return [scope for scope in NEEDED if not any(covers(one, scope) for one in have)]
    return _found_out(client)


def covers(granted: str, needed: str) -> bool:
    """Whether a scope includes another: `ZohoCRM.modules.ALL` has `ZohoCRM.modules.deals.READ`."""
    *mine, right = granted.lower().split(".")
    *wanted, act = needed.lower().split(".")
    return right in {"all", act} and wanted[: len(mine)] == mine


def _found_out(client: Client) -> Sequence[str]:
    def pipelines() -> None:
        try:
            layouts = client.listing("/settings/layouts", {"module": "Deals"}).rows
        except MissingScope:
            return  # the other try names that one; without a layout there is nothing to ask for
        for layout in layouts[:1]:
            client.listing("/settings/pipeline", {"layout_id": layout["id"]})

    tries: dict[str, Callable[[], Any]] = {
        "ZohoCRM.org.READ": lambda: client.listing("/org"),
        "ZohoCRM.users.READ": lambda: client.listing("/users", {"type": "CurrentUser"}),
        "ZohoCRM.settings.fields.READ": lambda: client.listing("/settings/fields", {"module": "Deals"}),
        "ZohoCRM.settings.layouts.READ": lambda: client.listing("/settings/layouts", {"module": "Deals"}),
        "ZohoCRM.settings.pipeline.READ": pipelines,
        "ZohoCRM.coql.READ": lambda: client.query(
            "select id from Deals where id > 0 order by id asc limit 1"
        ),
    }
    for module, scope in _MODULE_SCOPES.items():
        tries[scope] = _first_of(client, module)

    def lacks(scope: str) -> bool:
        try:
            tries[scope]()
        except MissingScope:
            return True
        return False

    with ThreadPoolExecutor(max_workers=4) as pool:
        lacking = list(pool.map(lacks, NEEDED))
    return [scope for scope, lack in zip(NEEDED, lacking, strict=True) if lack]


def _first_of(client: Client, module: str) -> Callable[[], Any]:
    return lambda: client.listing(f"/{module}", {"fields": "id", "per_page": 1})
