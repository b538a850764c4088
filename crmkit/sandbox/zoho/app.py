"""The organisation as an ASGI app: routes, tokens, credits and concurrency, what every answer carries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clicks import Wanted
from crmkit.sandbox.control import CONTROL_PREFIX
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.limits import Budget, Concurrency
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Settings, json_reply
from crmkit.sandbox.world import World
from crmkit.sandbox.zoho.answers import error
from crmkit.sandbox.zoho.auth import (
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    Tokens,
    has_scope,
    needed_scope,
    sent_token,
    token_parameters,
)
from crmkit.sandbox.zoho.bodies import count_rows, failed
from crmkit.sandbox.zoho.bulk import Bulk
from crmkit.sandbox.zoho.bulk_writes import BulkWrites
from crmkit.sandbox.zoho.coql import Coql
from crmkit.sandbox.zoho.field_writes import FieldWrites
from crmkit.sandbox.zoho.links import Links
from crmkit.sandbox.zoho.lists import Lists
from crmkit.sandbox.zoho.metadata import Metadata
from crmkit.sandbox.zoho.notifications import Notifications
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.people import make_modules
from crmkit.sandbox.zoho.pipeline_writes import PipelineWrites
from crmkit.sandbox.zoho.schema import Module
from crmkit.sandbox.zoho.search import Search
from crmkit.sandbox.zoho.seed import zoho_seed
from crmkit.sandbox.zoho.uniques import Uniques
from crmkit.sandbox.zoho.writes import WRITABLE, Writes

_ACCOUNTS = "/oauth/v2/"
_TOKEN_PATH = "/oauth/v2/token"  # noqa: S105
_VERSION = re.compile(r"v[2-8]")
_LIMIT = re.compile(rb"\blimit\s+(\d+)(?:\s*,\s*(\d+))?", re.IGNORECASE)
_DAY_SECONDS = 86_400
# Credits a day (base, per user, most) and calls at a time.
# https://www.zoho.com/crm/developer/docs/api/v8/api-limits.html
_EDITIONS: Mapping[str, tuple[int, int, int, int]] = {
    "free": (5_000, 0, 5_000, 5),
    "standard": (50_000, 250, 100_000, 10),
    "professional": (50_000, 500, 3_000_000, 15),
    "enterprise": (50_000, 1_000, 5_000_000, 20),
    "ultimate": (50_000, 2_000, 10**12, 25),
}
_LIGHT_ROWS = 10  # a write of more records counts among the heavy calls
_CUSTOMIZE = "Crm_Implied_Customize_Zoho_CRM"
_POOL = 10  # shared by the heavy calls, in every edition


class ZohoApp(VendorApp):
    """A Zoho CRM organisation and its accounts server, on one origin.

    `settings.extra` knows: `scopes` (a list; all are granted without it), `edition` (`enterprise`), `credits`
    (a day; replaces the edition's), `admin` (`False`: `/Notes` is refused), `pipelines` and `multi_currency`
    (`False`: the feature is off), `offset_minutes` (of the user's zone; 180), `purge_days` (what was deleted
    longer ago has gone from the recycle bin; 20), `page_token_seconds`, `read_only` (`True`, or the names of
    the modules that the user may not write), `strict_stages` (`True`: a deal's stage must be one of its
    pipeline; Zoho stores any text), `strict_picklists` (`False`: the organisation's own picklists take any
    text, as the standard ones do). A record with `$Locked__s` in `custom` is locked.
    """

    name = "zoho"
    default_lag_seconds = 5.0  # invented: Zoho only says that the index lags

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        super().__init__(world, settings)
        self.org = Org(world, self.settings)
        self.tokens = Tokens(world)
        base, per_user, most, at_a_time = _EDITIONS[self.edition]
        credit = self.settings.extra.get("credits") or min(base + per_user * len(world.users), most)
        self.credits = Budget(credit, _DAY_SECONDS, world.clock.monotonic)
        self.running, self.pool = Concurrency(at_a_time), Concurrency(_POOL)
        self.uniques = Uniques(world)
        self.notifications = Notifications(self.org, self.courier)
        self._modules: dict[str, Module] = {}
        self._made_for: Any = None

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """Zoho's own pipeline, a German, a Spanish and an after-sale one; five currencies."""
        return zoho_seed()

    @property
    def edition(self) -> str:
        """What the organisation pays for."""
        return str(self.settings.extra.get("edition", "enterprise"))

    @property
    def credentials(self) -> dict[str, str]:
        """Made up, and good for this sandbox only."""
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}

    @property
    def connection(self) -> Mapping[str, str | bool | int]:
        """The accounts server is on the same origin."""
        return {"base_url": self.origin}

    def routes(self) -> Sequence[Route]:
        """Fixed addresses first, those of any module last."""
        lists = Lists(self.org, self.modules)
        writes = Writes(self.org, self.modules, self.uniques)
        return [
            Route("/oauth/v2/auth", self.authorise, methods=["GET"]),
            Route(_TOKEN_PATH, self.token, methods=["POST"]),
            Route(f"{_TOKEN_PATH}/revoke", self.revoke, methods=["POST"]),
            *Coql(self.org, self.modules).routes(),
            *Bulk(self.org, self.modules).routes(),
            *BulkWrites(self.org, writes).routes(),
            *Metadata(self.org, self.modules, self.edition).routes(),
            *PipelineWrites(self.org).routes(),
            *FieldWrites(self.org, self.modules).routes(),
            *self.notifications.routes(),
            *Search(self.org, self.modules, lists).routes(),
            *Links(self.org, writes).routes(),
            *writes.routes(),
            *lists.routes(),
        ]

    def modules(self) -> Mapping[str, Module]:
        """The modules by name; made again once fields, pipelines or switches have changed."""
        world, org = self.world, self.org
        now = (
            org.multi_currency,
            org.has_pipelines,
            [
                (pipeline.name, [stage.id for stage in pipeline.stages])
                for pipeline in world.pipelines.values()
            ],
            [
                [(one.label, one.options, repr(one.extra)) for one in fields.values()]
                for fields in world.fields.values()
            ],
        )
        if now != self._made_for:
            self._modules, self._made_for = make_modules(org), now
        return self._modules

    async def authorise(self, request: Request) -> Response:
        """The accounts server's page where a person allows a client."""
        return self.tokens.authorise(dict(request.query_params), self.origin)

    async def revoke(self, request: Request) -> Response:
        """The accounts server's place to give a refresh token back."""
        return self.tokens.revoke(token_parameters(request, await request.body()))

    async def token(self, request: Request) -> Response:
        """The accounts server's token endpoint."""
        said = token_parameters(request, await request.body())
        return self.tokens.answer(said, self.origin, limited=self.settings.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, counting it as running from its arrival, slow answers included."""
        path, query = scope["path"], scope.get("query_string", b"")
        if path.startswith((CONTROL_PREFIX, _ACCOUNTS)):
            await super().__call__(scope, receive, send)
            return
        heavy = path.endswith(("/coql", "/__composite_requests")) or b"sort_by=" in query or b"cvid=" in query
        with self.running:
            if scope["method"] in {"POST", "PUT"} and not heavy:
                body, receive = await _read_ahead(receive)
                scope["zoho.rows"] = count_rows(body)
                heavy = scope["zoho.rows"] > _LIGHT_ROWS and _starts_records(path)
            if heavy:
                with self.pool:
                    await super().__call__(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

    # The hooks of a call

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """Queries are lists, although they are posted."""
        path = request.scope["path"]
        if path.startswith(_ACCOUNTS):
            return "token"
        if path.endswith("/coql") or path.endswith("/search"):
            return "list"
        if "/bulk/" in path and not path.endswith("/write"):
            return "read"
        if request.method != "GET":
            return "write"
        parts = path.strip("/").split("/")
        return "list" if len(parts) == 3 or parts[-1] == "deleted" else "read"

    def authenticate(self, request: Request) -> Response | None:
        """A token that is missing, unknown, too old, or short of a scope."""
        path = request.scope["path"]
        self.org.refresh()
        if path.startswith(_ACCOUNTS):
            return None
        token = sent_token(request)
        if token is None:
            return error(401, "AUTHENTICATION_FAILURE", {}, "Authentication failed")
        ends = self.tokens.expiry(token)
        if ends is None:
            return self.expired(request)
        request.scope["zoho.token_ends"] = ends
        version = path.removeprefix("/crm/").removeprefix("bulk/").partition("/")[0]
        if not path.startswith("/crm/") or not _VERSION.fullmatch(version):
            return self.not_found(request)
        granted = self.settings.extra.get("scopes")
        if granted is not None and not has_scope(granted, needed_scope(request.method, path)):
            return error(401, "OAUTH_SCOPE_MISMATCH", {}, "Unauthorized")
        return self._forbidden(request)

    def _forbidden(self, request: Request) -> Response | None:
        """What the user's profile does not allow, although the token's scope does."""
        path, extra = request.scope["path"], self.settings.extra
        if self.call_kind(request, b"") != "write":
            return None
        parts = path.strip("/").split("/")[2:]
        customizes = parts[0] == "settings"
        closed = extra.get("read_only", False)
        if customizes:
            refused = closed is True or not extra.get("admin", True)
        else:
            refused = closed is True or (closed is not False and parts[0] in closed)
        if not refused:
            return None
        if customizes:
            return error(403, "NO_PERMISSION", {"permissions": _CUSTOMIZE}, "permission denied")
        action = {"POST": "Create", "DELETE": "Delete"}.get(request.method, "Edit")
        details = {"permissions": [f"Crm_Implied_{action}_{parts[0]}"]}
        if request.method == "DELETE":
            return error(403, "NO_PERMISSION", details, "Permission denied")
        return json_reply({"data": [failed("NO_PERMISSION", details, "Permission denied")]}, 403)

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """Concurrency first, then credits; a refused call costs none (Zoho does not say)."""
        if request.scope["path"].startswith(_ACCOUNTS):
            return None
        if self.running.running > self.running.limit or self.pool.running > self.pool.limit:
            return self.rate_limited("concurrency")
        return self.rate_limited("credits") if self.credits.take(_cost(request, body)) else None

    def rate_limited(self, reason: str) -> Response:
        """The same answer whatever the cause, without a time to wait."""
        return error(429, "TOO_MANY_REQUESTS", {}, "too many requests. please try again after some time")

    def click_stages(self, stages: Sequence[Wanted]) -> bool:
        """Add values to the Stage picklist: pipelines are made of them."""
        self.org.add_stages(stages)
        return True

    def expire_tokens(self) -> None:
        """Make every access token worthless."""
        self.tokens.clear()

    def expired(self, request: Request) -> Response:
        """A token that is not good (any more)."""
        return error(401, "INVALID_TOKEN", {}, "invalid oauth token")

    def not_found(self, request: Request) -> Response:
        """An address that does not exist; an unknown record is not that."""
        message = "Please check if the URL trying to access is a correct one"
        return error(404, "INVALID_URL_PATTERN", {}, message)

    def not_allowed(self, request: Request) -> Response:
        """A method that an address does not have."""
        return error(405, "INVALID_REQUEST_METHOD", {}, "The http request method type is not a valid one")

    def finish(self, request: Request, response: Response) -> None:
        """Say when the token ends, and from half of the day's credits on how many are left."""
        ends = request.scope.get("zoho.token_ends")
        if ends is not None:
            response.headers["X-ACCESSTOKEN-RESET"] = self.org.stamp(ends) or ""
        calls_crm = request.scope["path"].startswith("/crm/")
        if calls_crm and self.settings.limits and self.credits.used * 2 >= self.credits.limit:
            response.headers["X-API-CREDITS-REMAINING"] = str(int(self.credits.remaining))

    def expected_deals(self) -> list[dict[str, Any]]:
        """The live deals; without multi-currency all of them are in the home currency."""
        deals = super().expected_deals()
        if not self.org.multi_currency:
            for deal in deals:
                deal["currency"] = self.world.base_currency
        return deals


def _starts_records(path: str) -> bool:
    """Whether a body that is posted or put there creates or changes records of a module."""
    parts = path.strip("/").split("/")[2:]
    return parts[0] in WRITABLE and (len(parts) < 3 or parts[2] == "Notes")


async def _read_ahead(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, and a channel that gives it once more."""
    parts, last = [], None
    while last is None:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            last = message
    body = b"".join(parts)
    again: Message = last if last["type"] == "http.disconnect" else {**last, "body": body}
    waiting = [again]

    async def once_more() -> Message:
        return waiting.pop() if waiting else await receive()

    return body, once_more


def _cost(request: Request, body: bytes) -> int:
    """The credits of a call."""
    path = request.scope["path"]
    if path.endswith("/coql"):
        match = _LIMIT.search(body)
        rows = int(match.group(2) or match.group(1)) if match else 200
        return 1 if rows <= 200 else 2 if rows <= 1_000 else 3
    if request.method == "POST" and "/bulk/" in path:
        return 500 if path.endswith("/write") else 50
    if path.endswith("/actions/merge"):
        return 50
    if request.method in {"POST", "PUT"} and _starts_records(path):
        started: int = request.scope.get("zoho.rows", 1)
        return max(-(-started // 10), 1)
    if path.endswith("/deleted"):
        return 2
    return 3 if "cvid" in request.query_params else 1
