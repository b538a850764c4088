"""The portal as an ASGI app: addresses, credentials, limits, the envelope of every answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.bitrix24.auth import (
    CLIENT_ID,
    CLIENT_SECRET,
    WEBHOOK_CODE,
    WEBHOOK_USER,
    Tokens,
    caller_of,
    expired_token,
    token_answer,
)
from crmkit.sandbox.bitrix24.batch import method_name, run_batch
from crmkit.sandbox.bitrix24.events import APPLICATION_TOKEN, Events
from crmkit.sandbox.bitrix24.methods import WRITES, run
from crmkit.sandbox.bitrix24.php import parse_query
from crmkit.sandbox.bitrix24.portal import UNSET, Answer, Caller, Failure, Portal
from crmkit.sandbox.bitrix24.seed import bitrix24_seed
from crmkit.sandbox.bitrix24.work import Work
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.limits import LeakyBucket
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Refusal, Settings, json_reply, read_json
from crmkit.sandbox.world import World

_BUCKETS = {"standard": (50, 2), "enterprise": (250, 5)}
_WRITING = frozenset(method.rpartition(".")[2] for method in WRITES)
_COMMAND = re.compile(rb"\.(" + "|".join(sorted(_WRITING)).encode() + rb")(?:\?|%3f)")
# https://apidocs.bitrix24.com/error-codes.html
_REFUSALS: Mapping[str, tuple[int, str]] = {
    "PAYMENT_REQUIRED": (401, "Payment required"),
    "METHOD_CONFIRM_WAITING": (401, "Waiting for confirmation"),
    "ACCESS_DENIED": (403, "REST API is available only on commercial plans."),
    "user_access_error": (403, "The user does not have access to the application."),
    "allowed_only_intranet_user": (403, "Action is allowed only for intranet users"),
    "PORTAL_DELETED": (500, "Portal was deleted"),
    "INTERNAL_SERVER_ERROR": (500, "Internal server error"),
    "OVERLOAD_LIMIT": (503, "REST API is blocked due to overload."),
}


class Bitrix24App(VendorApp):
    """A Bitrix24 portal.

    `settings.extra` knows: `scopes` (a list; default `crm`, `user`), `admin`, `crm_access`,
    `sees_only_owner` (a user id: lists and gets leave the rest out), `plan` (`enterprise` for the larger
    bucket), `operating_seconds` (what a call costs of the work limit; a number, or one per method),
    `filter_shift_hours` (contract 4.3), `refuse` (an error code that answers every call), `refuse_token`
    (the same for the token endpoint), `moved_to` (a host name: calls to any other are redirected to it).

    For writes: `read_only`, `may_import`, `stage_rights` (rights; false, true and true unless said),
    `max_categories`, `required_from_stage` (field names by stage id), `robots` (by stage id, what a robot
    edits right after a deal got there), `ignores_empty_lists` (contract 4.5), `recalculates_amounts`
    (without `isManualOpportunity` an amount becomes that of the product rows: 0).
    """

    name = "bitrix24"

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        super().__init__(world, settings)
        clock = world.clock.monotonic
        self.portal = Portal(world, self.settings)
        self.events = Events(self.portal, self.courier)
        self.work = Work(self.portal)
        self.tokens = Tokens(self.settings.seed, clock)
        capacity, leak = _BUCKETS[str(self.portal.setting("plan", "standard"))]
        self.bucket = LeakyBucket(capacity, leak, clock)

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """What the world is seeded with."""
        return bitrix24_seed()

    @property
    def credentials(self) -> dict[str, str]:
        """A webhook's address, and what an app needs to get its first access token."""
        return {
            "webhook_url": f"{self.origin}/rest/{WEBHOOK_USER}/{WEBHOOK_CODE}/",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": self.tokens.refresh_token,
            "application_token": APPLICATION_TOKEN,
        }

    @property
    def connection(self) -> dict[str, str | bool | int]:
        """What a client's configuration needs besides secrets."""
        return {"portal": self.origin.partition("://")[2], "token_url": f"{self.origin}/oauth/token/"}

    def routes(self) -> Sequence[Route]:
        """Webhook and app calls, and the token endpoint, which elsewhere has a host of its own."""
        both = ["GET", "POST"]
        return [
            Route("/rest/{user_id:int}/{code}/{method}", self.call, methods=both),
            Route("/rest/{user_id:int}/{code}/{method}/", self.call, methods=both),
            Route("/rest/{method}", self.call, methods=both),
            Route("/rest/{method}/", self.call, methods=both),
            Route("/oauth/authorize/", self.authorise, methods=["GET"]),
            Route("/oauth/token/", self.token, methods=both),
            Route("/oauth/token", self.token, methods=both),
        ]

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """By the method's last word; a batch is what its commands are."""
        path = request.scope["path"]
        if path.startswith("/oauth/"):
            return "token"
        method = method_name(path.rstrip("/").rpartition("/")[2])
        if method == "batch":
            said = body.lower() + request.scope["query_string"].lower()
            return "write" if _COMMAND.search(said) else "list"
        last = method.rpartition(".")[2]
        if last in _WRITING:
            return "write"
        return "list" if last == "list" or method == "user.get" else "read"

    def authenticate(self, request: Request) -> Response | None:
        """Only what concerns the whole portal; who calls is asked once the parameters are read."""
        if request.scope["path"].startswith("/oauth/"):
            return None
        moved_to = self.portal.setting("moved_to", None)
        if moved_to and request.url.hostname != moved_to:
            target = request.url.replace(hostname=str(moved_to))
            return RedirectResponse(str(target), 302)
        refusal = self.portal.setting("refuse", None)
        if refusal is not None:
            status, text = _REFUSALS[str(refusal)]
            return _refused(Failure(str(refusal), text, status))
        return None

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """The leaky bucket; all our callers come from one address, so there is one bucket."""
        if request.scope["path"].startswith("/oauth/"):
            return None
        return self.rate_limited("bucket") if self.bucket.take() else None

    def rate_limited(self, reason: str) -> Response:
        """503 without any header that would say how long to wait."""
        return _refused(Failure("QUERY_LIMIT_EXCEEDED", "Too many requests", 503))

    def click_webhook(self, target: str) -> bool:
        """The handler of an outgoing webhook, with all events chosen."""
        self.events.target = target
        return True

    def expire_tokens(self) -> None:
        """End every access token; the webhook lives on."""
        self.tokens.expire()

    def expired(self, request: Request) -> Response:
        """`expired_token`; a webhook cannot expire, so for one the fault becomes a full bucket."""
        if len(urlsplit(request.scope["path"]).path.strip("/").split("/")) > 2:
            return self.rate_limited("storm")
        return _refused(expired_token())

    def not_found(self, request: Request) -> Response:
        """Also what REST v3 and event addresses get here."""
        return _refused(Failure("ERROR_METHOD_NOT_FOUND", "Method not found!", 404))

    def not_allowed(self, request: Request) -> Response:
        """Only GET and POST are understood."""
        return _refused(Failure("ERROR_METHOD_NOT_FOUND", "Method not found!", 404))

    def restore(self, kind: Kind, row_id: str) -> str:
        """Take a record out of the recycle bin, which only a person can do; it gets a new id.

        Raises:
            LookupError: It is not there.
        """
        world = self.world
        gone = next((one for one in reversed(world.deleted) if (one.kind, one.id) == (kind, row_id)), None)
        if gone is None:
            raise LookupError(f"there is no {kind} {row_id} in the recycle bin")
        world.deleted.remove(gone)
        columns = {
            name: getattr(gone.row, name) for name in gone.row.__slots__ if name not in {"id", "modified"}
        }
        return str(world.create(kind, **columns).id)

    async def call(self, request: Request) -> Response:
        """One call of a method, or a batch of them."""
        began = perf_counter()
        method = method_name(request.path_params["method"])
        params = _params(request, await request.body())
        try:
            caller = caller_of(
                self.tokens, {key: str(value) for key, value in request.path_params.items()}, params
            )
            params.pop("auth", None)
            if caller.user_id not in self.world.users:  # the portal of a twin need not have a user 1
                first = next(user.id for user in self.world.users.values() if user.active)
                caller = Caller(first, caller.oauth)
            if method == "batch":
                answer = run_batch(self.portal, self.work, params, caller, self.requests.note)
            else:
                self.work.check(method)
                self.requests.note(method)
                answer = run(self.portal, method, params, caller)
                self.work.charge(method, answer.units)
        except Failure as failure:
            raise Refusal(_refused(failure)) from failure
        return json_reply(_envelope(answer, self.work.time(method, began)))

    async def authorise(self, request: Request) -> Response:
        """The portal's page where a person allows the app; where it leads is fixed in the app's card."""
        said = dict(request.query_params)
        if said.get("client_id") != CLIENT_ID:
            return PlainTextResponse("Application not found", 404)
        rest = {
            "state": said.get("state", ""),
            "domain": self.origin.partition("://")[2],
            "member_id": self.world.workspace_id,
            "scope": ",".join(self.portal.scopes),
            "server_domain": "oauth.bitrix.info",
        }
        target = str(self.portal.setting("redirect_uri", "http://localhost:8765/"))
        return self.tokens.consents.redirect(said, target, rest)

    async def token(self, request: Request) -> Response:
        """A new token pair for a refresh token, by query or form."""
        said = _params(request, await request.body())
        try:
            return json_reply(token_answer(self.tokens, self.portal, self.origin, said))
        except Failure as failure:
            return _refused(failure)


def _envelope(answer: Answer, time: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"result": answer.result}
    if answer.total is not UNSET:
        said["total"] = answer.total
    if answer.next is not UNSET:
        said["next"] = answer.next
    said["time"] = time
    return said


def _refused(failure: Failure) -> Response:
    return json_reply(failure.body, failure.status)


def _params(request: Request, body: bytes) -> dict[str, Any]:
    """Parameters of the query and, over them, of the body; what is not JSON counts as nothing."""
    params = dict(parse_query(request.scope["query_string"].decode("latin-1")))
    if not body:
        return params
    if "json" in request.headers.get("content-type", ""):
        try:
            said = read_json(body)
        except ValueError:
            return params
        return params | said if isinstance(said, dict) else params
    return params | dict(parse_query(body.decode("utf-8", "replace")))
