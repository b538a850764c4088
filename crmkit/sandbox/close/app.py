"""Close's REST API v1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.close import access
from crmkit.sandbox.close.access import Access, Limits
from crmkit.sandbox.close.activities import Activities
from crmkit.sandbox.close.answers import NO_SUCH_URL, UNAUTHORIZED, Params, field_list, missing, read_body
from crmkit.sandbox.close.desk import FORBIDDEN, Desk, Write
from crmkit.sandbox.close.events import EventLog
from crmkit.sandbox.close.exports import Exports
from crmkit.sandbox.close.opportunities import Opportunities
from crmkit.sandbox.close.people import People
from crmkit.sandbox.close.records import Records
from crmkit.sandbox.close.search import Search
from crmkit.sandbox.close.seed import finish_seed, vendor_seed
from crmkit.sandbox.close.webhooks import Webhooks
from crmkit.sandbox.close.writes import carry_out, write_table
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Settings, json_reply
from crmkit.sandbox.world import World

_BASE = "/api/v1"
# Routes are tried in order; the word `merge` comes before an id in its place.
_BUSY = (
    "/opportunity/",
    "/opportunity/{id}/",
    "/lead/",
    "/lead/merge/",
    "/lead/{id}/",
    "/contact/",
    "/contact/{id}/",
    "/activity/note/",
)
_REDIRECT = "http://localhost:8765/"  # as it stands in the app's settings
_OPEN_PATHS = ("/oauth2/", "/close-exports/")
Answer = Callable[[Params, Mapping[str, str]], Any]


class CloseApp(VendorApp):
    """Close on the wire.

    `settings.extra` may hold `close_max_skip` (how deep lists can be paged, 10,000
    unless given: the real numbers are not published), `close_forbidden` (first
    segments of paths that the key's role may not use, such as `export`), `close_full`
    (first segments of paths under which the plan lets nothing more be created: 402),
    and what `Desk` reads of the role's permissions.
    """

    name = "close"
    default_lag_seconds = 2.0

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        if not world.complete:
            finish_seed(world)
        super().__init__(world, settings)
        max_skip = int(self.settings.extra.get("close_max_skip", 10_000))
        self.records = Records(world)
        self.events = EventLog(self.records, self._caller)
        self.webhooks = Webhooks(self.events, self.settings.seed, self.courier)
        self.opportunities = Opportunities(self.records, max_skip)
        self.people = People(self.records, max_skip)
        self.activities = Activities(self.records)
        self.searches = Search(self.records)
        self.exports = Exports(self.opportunities)
        self.desk = Desk(self.records, self.settings.extra)
        self.access = Access(world.clock.monotonic, world.workspace_id, self._caller)
        self.quota = Limits(world.clock.monotonic)
        self.records.prepare()

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """What the world is seeded with; see `seed` on where a deal's name is."""
        return vendor_seed()

    @property
    def base_url(self) -> str:
        """The address a client is given."""
        return self.origin + _BASE

    @property
    def credentials(self) -> dict[str, str]:
        """An API key, and an OAuth client with its refresh token that is good now."""
        return {
            "api_key": access.API_KEY,
            "client_id": access.CLIENT_ID,
            "client_secret": access.CLIENT_SECRET,
            "refresh_token": self.access.refresh_token,
        }

    @property
    def connection(self) -> dict[str, str | bool | int]:
        """What a client's configuration needs besides secrets."""
        return {"base_url": self.base_url}

    def _caller(self) -> str:
        return next(user.id for user in self.world.users.values() if user.active)

    # Routes

    def routes(self) -> Sequence[Route]:
        """What can be read and written; each list also by POST with `x-http-method-override: GET`."""
        people, activities = self.people, self.activities
        reads: dict[str, Answer] = {
            "/me/": lambda params, path: people.me(self._caller()),
            "/user/": lambda params, path: people.users(params),
            "/user/{id}/": lambda params, path: people.user(path["id"]),
            "/organization/{id}/": lambda params, path: people.organization(path["id"], params),
            "/pipeline/": lambda params, path: people.pipelines(),
            "/pipeline/{id}/": lambda params, path: people.pipeline(path["id"]),
            "/status/opportunity/": lambda params, path: people.statuses(params),
            "/status/opportunity/{id}/": lambda params, path: people.status(path["id"]),
            "/status/lead/": lambda params, path: people.lead_statuses(),
            "/opportunity/": lambda params, path: self.opportunities.page(params),
            "/opportunity/{id}/": lambda params, path: self._opportunity(path["id"], params),
            "/lead/": lambda params, path: people.leads(params),
            "/lead/{id}/": lambda params, path: people.lead(path["id"], params),
            "/contact/": lambda params, path: people.contacts(params),
            "/contact/{id}/": lambda params, path: people.contact(path["id"], params),
            "/activity/": lambda params, path: activities.all(params),
            "/activity/note/": lambda params, path: activities.notes(params),
            "/activity/note/{id}/": lambda params, path: activities.note(path["id"]),
            "/activity/status_change/opportunity/": lambda params, path: activities.status_changes(params),
            "/activity/status_change/opportunity/{id}/": lambda params, path: activities.status_change(
                path["id"]
            ),
            "/event/": lambda params, path: self.events.page(params),
            "/event/{id}/": lambda params, path: self.events.event(path["id"]),
            "/custom_field/{type}/": lambda params, path: people.custom_fields(path["type"], params),
            "/custom_field/{type}/{id}/": lambda params, path: people.custom_field(path["type"], path["id"]),
            "/custom_field_schema/{type}/": lambda params, path: people.custom_field_schema(path["type"]),
            **self.webhooks.reads(),
            "/task/": lambda params, path: {"data": [], "has_more": False},
            "/export/": lambda params, path: self.exports.all(),
            "/export/opportunity/": lambda params, path: self.exports.all(),
            "/export/{id}/": lambda params, path: self.exports.poll(path["id"], self.origin),
            "/export/opportunity/{id}/": lambda params, path: self.exports.poll(path["id"], self.origin),
        }
        writes = {
            **write_table(self.desk, self.people, self.activities, self.events),
            **self.webhooks.writes(),
        }
        rest = sorted({*reads, *writes} - set(_BUSY), key=lambda path: path.count("{"))
        routes = [
            Route("/oauth2/authorize/", self._authorise, methods=["GET"]),
            Route("/oauth2/token/", self._token, methods=["POST"]),
            Route("/oauth2/revoke/", self._revoke, methods=["POST"]),
            Route("/close-exports/{name}", self._download, methods=["GET"]),
            Route(f"{_BASE}/data/search/", self._search, methods=["POST"]),
            Route(f"{_BASE}/export/opportunity/", self._export, methods=["POST"]),
        ]
        busy = [self._route_of(path, reads.get(path), writes.get(path, {})) for path in _BUSY]
        return busy + routes + [self._route_of(path, reads.get(path), writes.get(path, {})) for path in rest]

    def _route_of(self, path: str, answer: Answer | None, writes: Mapping[str, Write]) -> Route:
        """One address with all its methods; what can be read by GET can be by POST too."""

        async def act(request: Request) -> Response:
            self.records.refresh()
            if answer is not None and request.method in {"GET", "HEAD"}:
                return json_reply(answer(dict(request.query_params), request.path_params))
            if answer is not None and _is_override(request):
                said = read_body(await request.body()).get("_params") or {}
                params = {name: _text(value) for name, value in said.items() if value is not None}
                return json_reply(answer({**request.query_params, **params}, request.path_params))
            write = writes.get(request.method)
            if write is None:
                return self.not_allowed(request)
            return await carry_out(self.desk, write, request, self._caller())

        methods = {"GET", "POST", *writes} if answer is not None else {*writes}
        return Route(_BASE + path, act, methods=sorted(methods))

    def _opportunity(self, deal_id: str, params: Params) -> Any:
        deal = self.world.deals.get(deal_id)
        if deal is None:
            raise missing("Opportunity")
        return self.records.opportunity_json(deal, field_list(params))

    async def _search(self, request: Request) -> Response:
        self.records.refresh()
        return json_reply(self.searches.answer(read_body(await request.body())))

    async def _export(self, request: Request) -> Response:
        if _is_override(request):
            return json_reply(self.exports.all())
        self.records.refresh()
        return json_reply(self.exports.create(read_body(await request.body()), self._caller()))

    async def _download(self, request: Request) -> Response:
        name = request.path_params["name"]
        return self.exports.download(name, request.query_params.get("X-Amz-Signature", ""))

    async def _authorise(self, request: Request) -> Response:
        target = str(self.settings.extra.get("redirect_uri", _REDIRECT))
        return self.access.authorise(dict(request.query_params), target)

    async def _token(self, request: Request) -> Response:
        return self.access.token(dict(parse_qsl((await request.body()).decode())))

    async def _revoke(self, request: Request) -> Response:
        return self.access.revoke(dict(parse_qsl((await request.body()).decode())))

    # Hooks

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """A POST that only reads counts as a list."""
        path = request.scope["path"]
        if path.startswith("/oauth2/"):
            return "token"
        if request.method in {"PUT", "DELETE"}:
            return "write"
        if request.method == "POST" and not (_is_override(request) or path == f"{_BASE}/data/search/"):
            return "write"
        parts = path.strip("/").split("/")
        single = len(parts) > 2 and any(sign.isupper() or sign.isdigit() for sign in parts[-1])
        return "read" if single or parts[-1] == "me" else "list"

    def authenticate(self, request: Request) -> Response | None:
        """Basic with the API key as user, or a bearer token."""
        path = request.scope["path"]
        if path.startswith(_OPEN_PATHS):
            return None
        key = self.access.key_of(request)
        if key is None:
            return self.expired(request)
        request.scope["close.key"] = key
        segment = path.removeprefix(_BASE).strip("/").partition("/")[0]
        if segment in self.settings.extra.get("close_forbidden", ()):
            return json_reply({"error": FORBIDDEN}, 403)
        if (
            request.method == "POST"
            and not _is_override(request)
            and segment in self.settings.extra.get("close_full", ())
        ):
            return json_reply({"error": "You have reached the limit of your plan."}, 402)
        return None

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """One group for each first segment of a path and method."""
        path = request.scope["path"]
        if path.startswith(_OPEN_PATHS):
            return None
        method = "GET" if _is_override(request) else request.method
        group = f"{method} {path.removeprefix(_BASE).strip('/').partition('/')[0]}"
        wait, header = self.quota.take(group, request.scope["close.key"])
        if wait:
            return access.too_many(header, wait)
        request.scope["close.rate"] = header
        return None

    def rate_limited(self, reason: str) -> Response:
        """A limit that is hidden: only `retry-after` and the reset."""
        return access.too_many(access.rate_header(access.KEY_LIMIT, 0, 0.595956), 0.595956)

    def expire_tokens(self) -> None:
        """Access tokens end; the API key and the refresh token stay good."""
        self.access.expire()

    def expired(self, request: Request) -> Response:
        """401, the same for a wrong key and for a token that ended."""
        return json_reply({"error": UNAUTHORIZED}, 401)

    def not_found(self, request: Request) -> Response:
        """404 for an address."""
        return json_reply({"error": NO_SUCH_URL}, 404)

    def not_allowed(self, request: Request) -> Response:
        """405 (body inferred)."""
        return json_reply({"error": "The method is not allowed for the requested URL."}, 405)

    def finish(self, request: Request, response: Response) -> None:
        """Every counted answer says how much is left."""
        header = request.scope.get("close.rate")
        if header is not None and "ratelimit" not in response.headers:
            response.headers["ratelimit"] = header


def _is_override(request: Request) -> bool:
    return request.method == "POST" and request.headers.get("x-http-method-override", "").upper() == "GET"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
