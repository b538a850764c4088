"""What the five vendor apps share: routing, the wire's faults, and the order of things around a call.

An answer comes about in this order: fault (if one strikes instead of the call),
`authenticate`, `check_limits`, the handler, `finish`. The control plane under
`/_sandbox/` passes all of it by.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from crmkit.sandbox.clicks import Wanted
from crmkit.sandbox.control import CONTROL_PREFIX, control
from crmkit.sandbox.courier import Courier
from crmkit.sandbox.edits import edit_at_random
from crmkit.sandbox.faults import CallKind, Fault, FaultPlan
from crmkit.sandbox.limits import Concurrency
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Refusal, RequestLog, Settings, json_reply
from crmkit.sandbox.world import World

logger = logging.getLogger(__name__)

_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@dataclass(slots=True)
class LateCall:
    """A call whose connection is closed already, and when it will be carried out."""

    due: datetime
    request: Request
    kind: CallKind


class VendorApp:
    """One CRM on the wire: an ASGI app over a `World`.

    A vendor module subclasses it, sets the class attributes and fills in the hooks.

    Attributes:
        name: The CRM's name, as in the registry.
        default_lag_seconds: How far its search index trails unless the settings say otherwise.
        origin: Scheme, host and port, once the sandbox listens.
        crashes: Tracebacks of handlers that failed; the client saw a 500.
        late: Calls that are still to be carried out, see `Fault.COMMIT_LATE`.
        courier: Delivers webhooks.
    """

    name: ClassVar[str]
    default_lag_seconds: ClassVar[float] = 0.0

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.world = world
        self.settings = settings or Settings()
        self.origin = "http://127.0.0.1:0"
        self.requests: RequestLog = RequestLog()
        self.crashes: list[str] = []
        self.late: list[LateCall] = []
        self.faults: FaultPlan = FaultPlan(
            self.settings.faults, self.settings.seed, slow_seconds=self.settings.slow_seconds
        )
        lag = self.settings.lag_seconds
        world.lag_seconds = self.default_lag_seconds if lag is None else lag
        self.courier: Courier = Courier(seed=self.settings.seed)
        self._routes: list[Route] = []
        self._routes_by_method: dict[str, list[Route]] = {}

    # What a vendor fills in

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """What the world is seeded with."""
        raise NotImplementedError

    @property
    def base_url(self) -> str:
        """The address a client is given."""
        return self.origin

    @property
    def credentials(self) -> dict[str, str]:
        """The secrets a client is given; made up, and good for this sandbox only."""
        raise NotImplementedError

    @property
    def connection(self) -> Mapping[str, str | bool | int]:
        """What a client's configuration needs besides the secrets."""
        return {"base_url": self.base_url}

    def routes(self) -> Sequence[Route]:
        """The calls this CRM has; each handler is an async method from `Request` to `Response`."""
        raise NotImplementedError

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """Whether a call reads one record, lists, writes or fetches a token; faults are addressed by it."""
        return "read" if request.method in {"GET", "HEAD"} else "write"

    def authenticate(self, request: Request) -> Response | None:
        """The refusal, or `None` if the call may pass."""
        return None

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """Count the call, and refuse it if that is one too many; not asked with limits off."""
        return None

    def lanes(self, request: Request, body: bytes) -> Sequence[Concurrency]:
        """What this call occupies while it runs; not asked with limits off."""
        return ()

    def rate_limited(self, reason: str) -> Response:
        """The CRM's own answer to too many calls; `reason` is `storm`, `concurrency` or the vendor's word."""
        return json_reply({"error": reason}, 429)

    def click_stages(self, stages: Sequence[Wanted]) -> bool:
        """Make stages where they are made apart from pipelines; whether this CRM does so.

        The API then makes the pipelines of them.
        """
        return False

    def click_webhook(self, target: str) -> bool:
        """Enter where webhooks go, as a person does in the settings; whether there is a place for it."""
        return False

    def expire_tokens(self) -> None:
        """Make every access token handed out so far worthless, where this CRM has such tokens."""

    def expired(self, request: Request) -> Response:
        """The CRM's own answer to an access token that expired."""
        return json_reply({"error": "expired"}, 401)

    def not_found(self, request: Request) -> Response:
        """The CRM's own answer to an address it does not have."""
        return json_reply({"error": "not found"}, 404)

    def not_allowed(self, request: Request) -> Response:
        """The CRM's own answer to a method that the address does not have."""
        return json_reply({"error": "method not allowed"}, 405)

    def finish(self, request: Request, response: Response) -> None:
        """Add what every answer carries, such as rate headers; also called for refusals."""

    def expected_deals(self) -> list[dict[str, Any]]:
        """What a reader must find: the live deals in neutral words, in order of id."""
        return [
            {
                "id": deal.id,
                "name": deal.name,
                "amount": None if deal.amount is None else str(deal.amount),
                "currency": deal.currency,
                "pipeline_id": deal.pipeline_id,
                "stage_id": deal.stage_id,
                "status": deal.status,
                "owner_id": deal.owner_id,
                "company_id": deal.company_id,
                "contact_ids": deal.contact_ids,
                "expected_close": deal.expected_close,
                "created": deal.created,
                "modified": deal.modified,
            }
            for deal in self.world.live.deals()
        ]

    # The way of a call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        await self._carry_out_late()
        if scope["path"].startswith(CONTROL_PREFIX):
            told = control(self, request, body)
            await self._carry_out_late()  # the call may have moved the clock
            await told(scope, receive, send)
            return
        response, fault = await self._answer(request, body)
        if response is not None:
            # The server's clock is the world's, which a test may have pushed forward.
            response.headers.setdefault("date", format_datetime(self.world.clock(), usegmt=True))
        if response is None:
            self._log(request, 0)
            await _hang_up(scope, receive)
        elif fault is Fault.TRUNCATED and len(response.body) > 1:
            self._log(request, response.status_code)
            await _send_half(response, scope, receive, send)
        else:
            self._log(request, response.status_code)
            await response(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> tuple[Response | None, Fault | None]:
        settings = self.settings
        kind = self.call_kind(request, body)
        self.requests.total += 1
        self.requests.kinds[kind] += 1
        if settings.latency_ms:
            await asyncio.sleep(settings.latency_ms / 1000)
        fault = None if self.faults.quiet else self.faults.choose(kind, _call_number(request, body))
        if fault is not None:
            if fault in _INSTEAD:
                return self._fault_response(fault, request), fault
            await self._fault_before(fault)
        if fault is Fault.COMMIT_LATE:
            self._put_off(request, kind)
            return None, fault
        response = await self._respond(request, body, kind)
        if fault is Fault.TIMEOUT_AFTER_COMMIT:
            return None, fault
        if fault is Fault.SERVER_ERROR_AFTER_COMMIT:
            return self._server_error(), fault
        return response, fault

    def _put_off(self, request: Request, kind: CallKind) -> None:
        try:
            refused = self.authenticate(
                request
            )  # while its token is good: it may not be when the call is due
        except Refusal as refusal:
            refused = refusal.response
        if refused is None:
            due = self.world.clock() + timedelta(seconds=self.faults.late_seconds)
            self.late.append(LateCall(due, request, kind))

    async def _carry_out_late(self) -> None:
        if not self.late:
            return
        now = self.world.clock()
        due = [call for call in self.late if call.due <= now]
        self.late = [call for call in self.late if call.due > now]
        for call in due:
            try:
                await self._route(call.request, call.kind)
            except Refusal:  # nobody is there to be told
                continue
            except Exception as error:  # the boundary of the server, as in `_respond`
                self._crashed(call.request, error)

    async def _respond(self, request: Request, body: bytes, kind: CallKind) -> Response:
        try:
            response = self.authenticate(request)
            if response is None:
                with self._limited(request, body) as refused:
                    response = refused or await self._route(request, kind)
        except Refusal as refusal:
            response = refusal.response
        except Exception as error:  # the boundary of the server: a client must get some answer
            self._crashed(request, error)
            response = Response("Internal Server Error", 500, media_type="text/plain")
        self.finish(request, response)
        return response

    def _crashed(self, request: Request, error: Exception) -> None:
        logger.error("%s: %s %s failed", self.name, request.method, request.url.path, exc_info=error)
        self.crashes.append("".join(traceback.format_exception(error)))

    @contextmanager
    def _limited(self, request: Request, body: bytes) -> Iterator[Response | None]:
        if not self.settings.limits:
            yield None
            return
        lanes = self.lanes(request, body)
        if not all(lane.free for lane in lanes):
            yield self.rate_limited("concurrency")
            return
        with ExitStack() as stack:
            for lane in lanes:
                stack.enter_context(lane)
            yield self.check_limits(request, body)

    async def _route(self, request: Request, kind: CallKind) -> Response:
        scope = request.scope
        for route in self._routes_of(request.method):
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                self.requests.families[f"{request.method} {route.path}"] += 1
                self.requests.mutating += kind == "write"
                response: Response = await route.endpoint(request)
                return response
        known_path = any(route.matches(scope)[0] is Match.PARTIAL for route in self._routes)
        return self.not_allowed(request) if known_path else self.not_found(request)

    def _routes_of(self, method: str) -> list[Route]:
        """The routes that take this method: matching a path costs more than most handlers do."""
        known = self._routes_by_method.get(method)
        if known is None:
            self._routes = self._routes or list(self.routes())
            known = [route for route in self._routes if not route.methods or method in route.methods]
            self._routes_by_method[method] = known
        return known

    def _fault_response(self, fault: Fault, request: Request) -> Response | None:
        if fault is Fault.RATE_LIMITED:
            return self.rate_limited("storm")
        if fault is Fault.EXPIRED:
            self.expire_tokens()
            return self.expired(request)
        if fault is Fault.SERVER_ERROR:
            return self._server_error()
        if fault is Fault.GARBAGE:
            half = self.faults.calls % 2
            page = _HTML.format("We will be back soon") if half else '{"results": [{"id": '
            return Response(page, 200, media_type="text/html" if half else "application/json")
        return None

    def _server_error(self) -> Response:
        status = (500, 502, 503)[self.faults.calls % 3]
        return Response(_HTML.format(f"{status} Server Error"), status, media_type="text/html")

    async def _fault_before(self, fault: Fault) -> None:
        if fault is Fault.SLOW:
            await asyncio.sleep(self.faults.slow_seconds)
        elif fault is Fault.EDITS:
            edit_at_random(self.world, random.Random(self.faults.seed * 1_000_003 + self.faults.calls))

    def _log(self, request: Request, status: int) -> None:
        self.requests.statuses[status] += 1
        self.requests.recent.append((request.method, request.scope["path"], status))


_INSTEAD = {Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.DROPPED, Fault.GARBAGE, Fault.EXPIRED}


def _call_number(request: Request, body: bytes) -> int:
    target = request.method.encode() + request.scope["raw_path"] + b"?" + request.scope["query_string"]
    return zlib.crc32(body, zlib.crc32(target))


async def _hang_up(scope: Scope, receive: Receive) -> None:
    scope["extensions"]["crmkit.transport"].close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_half(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    half = bytes(response.body)[: len(response.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    await _hang_up(scope, receive)
