"""HubSpot's app: which calls there are, who may make them and how many."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.hubspot.account import Account
from crmkit.sandbox.hubspot.answers import CORRELATION, failure, refuse, too_many
from crmkit.sandbox.hubspot.auth import Auth
from crmkit.sandbox.hubspot.batch_writes import BatchWrites
from crmkit.sandbox.hubspot.content import KEY_PROPERTY, hubspot_seed
from crmkit.sandbox.hubspot.link_writes import LinkWrites
from crmkit.sandbox.hubspot.links import Links
from crmkit.sandbox.hubspot.pipeline_writes import PipelineWrites
from crmkit.sandbox.hubspot.portal import Portal, close_day
from crmkit.sandbox.hubspot.quota import TIERS, Quota
from crmkit.sandbox.hubspot.records import Records
from crmkit.sandbox.hubspot.schema import Schema
from crmkit.sandbox.hubspot.schema_writes import SchemaWrites
from crmkit.sandbox.hubspot.search import Search
from crmkit.sandbox.hubspot.webhooks import Webhooks
from crmkit.sandbox.hubspot.writes import Writes
from crmkit.sandbox.seed import KEY_FIELD
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Settings
from crmkit.sandbox.world import World

VERSIONS = frozenset({"2025-09", "2026-03", "2026-09"})
# Where the dated versions moved a call (contract, section 1), most special first.
_MOVED = (
    (re.compile(r"^/crm/v4/objects/"), "/crm/objects/{version}/"),
    (
        re.compile(r"^/(crm)/v\d/(objects|pipelines|properties|owners|associations|limits)\b"),
        r"/\1/\2/{version}",
    ),
    (re.compile(r"^/(account-info|oauth)/v3\b"), r"/\1/{version}"),
)
Endpoint = Callable[[Request], Awaitable[Response]]


class HubSpotApp(VendorApp):
    """One HubSpot account.

    `settings.extra` knows `missing_scopes` (a list), `read_only`, `hubspot_tier` (a key of `TIERS`),
    `rotate_refresh_tokens`, `associations_per_page`; about writes `no_key_field`, `archived_keeps_unique`,
    `merge_makes_new_id`, `auto_close_date` (`False` turns it off), `association_limits` (such as
    `{"deal_to_contact": 3}`), `validation_rules` (`{"deals": {"dealname": "[A-Z].*"}}`), and for addresses
    of 2026-09 `required_on_create` (`{"deals": ["amount"]}`) and `conditional_required`
    (`{"deals": {"closed_lost_reason": "closedate"}}`: the first is needed wherever the second is set).
    """

    name = "hubspot"
    default_lag_seconds = 3.0

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        super().__init__(world, settings)
        if self.settings.extra.get("no_key_field"):
            world.fields["deal"].pop(KEY_FIELD, None)
        key_field = world.fields["deal"].get(KEY_FIELD)
        if key_field is not None:
            key_field.id = KEY_PROPERTY
            key_field.extra["hasUniqueValue"] = True
        self.portal = Portal(world, self.settings)
        self.auth = Auth(self.portal)
        self.webhooks = Webhooks(world, self.portal.portal_id, self.auth.client_secret, self.courier)
        tier = TIERS[self.settings.extra.get("hubspot_tier", "professional")]
        self.quota = Quota(tier, self.portal.zone, world.clock, world.clock.monotonic)

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """A Professional portal with four pipelines and five currencies."""
        return hubspot_seed()

    @property
    def credentials(self) -> dict[str, str]:
        """A static token, and what an OAuth client has: use one or the other."""
        return {
            "token": self.auth.static,
            "client_id": self.auth.client_id,
            "client_secret": self.auth.client_secret,
            "refresh_token": self.auth.refresh_token,
        }

    @property
    def connection(self) -> dict[str, str | bool | int]:
        """What a client's configuration needs besides secrets."""
        return {"base_url": self.base_url}

    def routes(self) -> Sequence[Route]:
        """Every call at its v1 to v4 address, then the same at its dated ones."""
        self.portal.origin = self.origin
        parts = (
            Search(self.portal),
            Links(self.portal),
            LinkWrites(self.portal),
            Records(self.portal),
            BatchWrites(self.portal),
            Writes(self.portal),
            Account(self.portal, self.quota),
            PipelineWrites(self.portal),
            SchemaWrites(self.portal),
            Schema(self.portal),
            self.auth,
        )
        plain = [route for part in parts for route in part.routes()]
        return [*plain, *(twin for route in plain if (twin := _dated_twin(route)))]

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """Search and lists shift under edits; a batch read names its records."""
        path = request.scope["path"]
        if path.startswith("/oauth/"):
            return "token"
        if path.endswith("/search"):
            return "list"
        if path.endswith("/batch/read"):
            return "read"
        if request.method in {"GET", "HEAD"}:
            return "list" if path.rstrip("/").count("/") <= 4 else "read"
        return "write"

    def authenticate(self, request: Request) -> Response | None:
        """The 401, unless the call carries a good token or is about tokens."""
        if request.scope["path"].startswith("/oauth/"):
            return None
        return self.auth.check(request)

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """The 429 of the first policy that is exhausted."""
        path = request.scope["path"]
        if path.startswith("/oauth/"):
            return None
        search, oauth = path.endswith("/search"), self.auth.is_oauth(request)
        policy = self.quota.take(search=search, links=_is_about_links(path), oauth=oauth)
        if policy is None:
            if self.call_kind(request, body) == "write" and self.quota.locked(batch="/batch/" in path):
                return failure(
                    423, "The objects are locked by other writes. Try again later."
                )  # text is ours
            return None
        via = "oauth" if oauth else "private-apps"
        group = (
            f"publicapi:crm:search:{via}:20003991:{self.portal.portal_id}" if policy == "SECONDLY" else None
        )
        return too_many(policy, group)

    def rate_limited(self, reason: str) -> Response:
        """The 429 of the ten seconds."""
        return too_many("TEN_SECONDLY_ROLLING")

    def click_webhook(self, target: str) -> bool:
        """The target URL of the app, with everything subscribed."""
        self.webhooks.target = target
        return True

    def expire_tokens(self) -> None:
        """End every OAuth access token."""
        self.auth.expire_all()

    def expired(self, request: Request) -> Response:
        """The 401 of an access token whose time is over."""
        return self.auth.expired(request)

    def not_found(self, request: Request) -> Response:
        """The 404 of an address that does not exist."""
        return failure(404, "resource not found")

    def not_allowed(self, request: Request) -> Response:
        """The 405 of a method that an address does not have."""
        return failure(405, "HTTP 405 Method Not Allowed")

    def finish(self, request: Request, response: Response) -> None:
        """The correlation id on every answer, the rate headers on all but search."""
        response.headers.setdefault(CORRELATION, str(uuid.uuid4()))
        path = request.scope["path"]
        if path.startswith("/oauth/") or path.endswith("/search") or response.status_code == 401:
            return
        told = self.quota.headers(links=_is_about_links(path), oauth=self.auth.is_oauth(request))
        response.headers.update(told)

    def expected_deals(self) -> list[dict[str, Any]]:
        """The live deals in neutral words; a close date is the day that the account's UI shows."""
        days: dict[str, date | None] = {
            deal.id: close_day(deal, self.portal.zone) for deal in self.world.live.deals()
        }
        return [line | {"expected_close": days[line["id"]]} for line in super().expected_deals()]


def _is_about_links(path: str) -> bool:
    return "/associations/" in path


def _dated_twin(route: Route) -> Route | None:
    for pattern, replacement in _MOVED:
        path, count = pattern.subn(replacement, route.path)
        if count:
            return Route(path, _dated(route.endpoint), methods=list(route.methods or ()))
    return None


def _dated(endpoint: Endpoint) -> Endpoint:
    async def checked(request: Request) -> Response:
        if request.path_params["version"] not in VERSIONS:
            refuse(404, "resource not found")
        return await endpoint(request)

    return checked
