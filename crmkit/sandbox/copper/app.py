"""Copper's Developer API v1: its addresses, its login, its limits, and the reading side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.activities import TYPES, Activities
from crmkit.sandbox.copper.answers import Body, failure, invalid, not_found
from crmkit.sandbox.copper.links import Links
from crmkit.sandbox.copper.records import ENTITY_TYPES, KINDS, Records
from crmkit.sandbox.copper.search import Search, Searchable
from crmkit.sandbox.copper.seed import finish_seed, vendor_seed
from crmkit.sandbox.copper.validation import Invalid
from crmkit.sandbox.copper.writes import known_row
from crmkit.sandbox.copper.writing import Writing
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.limits import RollingWindow
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Refusal, Settings, json_reply, read_json
from crmkit.sandbox.world import World

_BASE = "/developer_api/v1"
_API_KEY = "sandbox-copper-key"
_ACCESS_TOKEN = "sandbox-copper-access-token"  # noqa: S105 - made up
_OAUTH_CLIENT = ("sandbox-copper-client", "sandbox-copper-client-secret")
_CALLS_PER_MINUTE, _BULKS_PER_SECOND = 180, 3
_EMPTY_ENTITIES = ("leads", "projects", "tasks")  # a client may search them; there are none


class CopperApp(VendorApp):
    """Copper on the wire.

    `settings.extra` may hold `copper_newer_filters` (take the search keys of the 2026
    description, whose availability is unverified), `copper_hide_left_users` (whether
    users who left are listed is unknown; they are unless this is set),
    `copper_retry_after` (send that header with a 429), `copper_forbidden` (entities
    such as `people` that the key's owner may not see) and `copper_day_first` (close
    dates are `D/M/YYYY`). For writes: `copper_read_only` (the key's owner may not
    write), `copper_no_bulk` (entities without bulk addresses: only those of people and
    activities are documented), `copper_contact_optional` (an opportunity needs no
    primary contact), `copper_former_primary_stays` (a replaced primary contact stays
    related) and `copper_left_assignees` (users who left may be given records).
    """

    name = "copper"
    default_lag_seconds = 2.0

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        if not world.complete:
            finish_seed(world)
        super().__init__(world, settings)
        extra = self.settings.extra
        self.records = Records(
            world, day_first=bool(extra.get("copper_day_first")), lists=extra.get("copper_lists")
        )
        self.searches = Search(self.records, newer=bool(extra.get("copper_newer_filters")))
        self.activities = Activities(self.records)
        self.account = Account(self.records, extra, self.courier)
        self.links = Links(self.account)
        self.writing = Writing(self.account, self.activities, self.links)
        self.window = RollingWindow(_CALLS_PER_MINUTE, 60, world.clock.monotonic)
        self.bulk_window = RollingWindow(_BULKS_PER_SECOND, 1, world.clock.monotonic)
        self.records.prepare()

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        """What the world is seeded with."""
        return vendor_seed()

    @property
    def base_url(self) -> str:
        """The address a client is given."""
        return self.origin + _BASE

    @property
    def credentials(self) -> dict[str, str]:
        """An API key, and an OAuth token that never ends; each works alone."""
        return {"api_key": _API_KEY, "access_token": _ACCESS_TOKEN}

    @property
    def connection(self) -> dict[str, str | bool | int]:
        """What a client's configuration needs besides secrets: the key belongs to a user."""
        return {"base_url": self.base_url, "user_email": self.account.user.email}

    # Routes

    def routes(self) -> Sequence[Route]:
        """What can be read, by GET or by the POST of a search, and what can be written."""
        records = self.records
        lists: dict[str, Callable[[Request], Any]] = {
            "/account": lambda request: {
                "id": int(self.world.workspace_id),
                "name": self.world.workspace_name,
            },
            "/users/{id}": self._user,
            "/pipelines": lambda request: records.pipelines(),
            "/pipeline_stages": lambda request: records.stages(),
            "/pipeline_stages/pipeline/{id}": lambda request: records.stages(request.path_params["id"]),
            "/loss_reasons": lambda request: records.loss_reasons.shown(),
            "/customer_sources": lambda request: records.sources.shown(),
            "/contact_types": lambda request: records.contact_types.shown(),
            "/tags": lambda request: records.tags(),
            "/custom_field_definitions": lambda request: records.definitions(),
            "/custom_field_definitions/{id}": self._definition,
            "/activity_types": lambda request: TYPES,
            "/activities/{id}": self._activity,
            "/webhooks": lambda request: list(self.account.webhooks.by_id.values()),
            "/webhooks/{id}": self._webhook,
            "/{entity}/{id:int}": self._record,
            "/{entity}/{id:int}/related": self._related,
            "/{entity}/{id:int}/related/{related}": self._related,
        }
        posts: dict[str, Callable[[Request, Body], Response]] = {
            "/users/search": self._search_users,
            "/people/fetch_by_email": self._person_by_email,
            "/activities/search": lambda request, body: json_reply(self.activities.page(body)),
            "/{entity}/search": self._search,
            "/{entity}/{id:int}/activities": self._activities_of,
        }
        return [
            Route("/oauth/token", self._token, methods=["POST"]),
            *(Route(_BASE + path, self._posting(answer), methods=["POST"]) for path, answer in posts.items()),
            *(
                Route(_BASE + path, self._posting(answer), methods=[method])
                for (method, path), answer in self.writing.handlers().items()
            ),
            *(Route(_BASE + path, self._getting(answer), methods=["GET"]) for path, answer in lists.items()),
        ]

    def _getting(self, answer: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def read(request: Request) -> Response:
            self.records.refresh()
            return json_reply(answer(request))

        return read

    def _posting(
        self, answer: Callable[[Request, Body], Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            self.records.refresh()
            said = await request.body()
            try:
                body = read_json(said) if said.strip() else {}
            except ValueError:
                raise Refusal(failure(400, "Malformed JSON")) from None
            if not isinstance(body, dict):
                raise invalid("Base", "must be an object")
            # The official form is the body; public clients page in the query string, and that works too.
            paging = {
                name: value
                for name, value in request.query_params.items()
                if name in {"page_number", "page_size"}
            }
            try:
                return answer(request, {**paging, **body})
            except Invalid as problem:
                return problem.response()

        return answered

    # Searches

    def _search(self, request: Request, body: Body) -> Response:
        entity = request.path_params["entity"]
        if entity in _EMPTY_ENTITIES:
            return json_reply([], headers={"X-PW-TOTAL": "0"})
        if entity not in KINDS:
            return not_found()
        what, show = self._shown(entity, request)
        rows, bound = self.searches.page(what, body)
        return json_reply([show(row) for row in rows], headers={"X-PW-TOTAL": str(bound)})

    def _shown(self, entity: str, request: Request) -> tuple[Searchable, Callable[[Any], Any]]:
        computed = request.query_params.get("custom_field_computed_values", "").lower() == "true"
        searches = self.searches
        kind = KINDS[entity]
        what = {"deal": searches.deals, "company": searches.companies}.get(kind, searches.people)
        return what, self.records.shower(kind, computed=computed)

    def _search_users(self, request: Request, body: Body) -> Response:
        unknown = body.keys() - {"page_number", "page_size"}
        if unknown:
            raise invalid("Base", f"Unknown parameter {min(unknown)}")
        size, number = int(body.get("page_size") or 20), int(body.get("page_number") or 1)
        if not 1 <= size <= 200:
            raise invalid("Page size", "must be between 1 and 200")
        hidden = self.settings.extra.get("copper_hide_left_users")
        users = [user for user in self.world.live.users() if user.active or not hidden]
        page = users[(number - 1) * size : number * size]
        return json_reply([self.records.user(user) for user in page], headers={"X-PW-TOTAL": str(len(users))})

    def _person_by_email(self, request: Request, body: Body) -> Response:
        person_id = self.account.taken.by("contact", str(body.get("email", "")))
        if person_id is None:
            return not_found()
        return json_reply(self.records.person(self.world.contacts[person_id]))

    def _activities_of(self, request: Request, body: Body) -> Response:
        kind, row_id = self._known(request)
        return json_reply(self.activities.page(body, (kind, row_id)))

    # Single records

    def _record(self, request: Request) -> Any:
        kind, row_id = self._known(request)
        _, show = self._shown(request.path_params["entity"], request)
        return show(self.world.live.tables[kind][row_id])

    def _related(self, request: Request) -> Any:
        kind, row_id = self._known(request)
        wanted = request.path_params.get("related")
        if wanted is not None and wanted not in (*KINDS, *_EMPTY_ENTITIES):
            raise Refusal(not_found())
        return [
            {"id": int(other_id), "type": ENTITY_TYPES[other]}
            for other, other_id in self.links.of(kind, row_id)
            if wanted is None or KINDS.get(wanted) == other
        ]

    def _known(self, request: Request) -> tuple[Kind, str]:
        row_id = str(request.path_params["id"])
        return known_row(self.account, KINDS.get(request.path_params["entity"]), row_id), row_id

    def _user(self, request: Request) -> Any:
        user = self.world.users.get(request.path_params["id"])
        if user is None:
            raise Refusal(not_found())
        return self.records.user(user)

    def _definition(self, request: Request) -> Any:
        field = self.records.field(request.path_params["id"])
        if field is None:
            raise Refusal(not_found())
        return self.records.definition(field)

    def _webhook(self, request: Request) -> Any:
        found = self.account.webhooks.by_id.get(request.path_params["id"])
        if found is None:
            raise Refusal(not_found())
        return found

    def _activity(self, request: Request) -> Any:
        shown = self.activities.activity(request.path_params["id"])
        if shown is None:
            raise Refusal(not_found())
        return shown

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if (form.get("client_id"), form.get("client_secret")) != _OAUTH_CLIENT:
            return json_reply({"error": "invalid_client"}, 401)
        return json_reply(
            {"access_token": _ACCESS_TOKEN, "token_type": "Bearer", "scope": "developer/v1/all"}
        )

    # Hooks

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        """Searches list although they are POSTs."""
        path = request.scope["path"]
        if path == "/oauth/token":
            return "token"
        if request.method in {"PUT", "DELETE"}:
            return "write"
        if request.method == "POST":
            lists = path.endswith(("/search", "/activities", "/fetch_by_email"))
            return "list" if lists and path != f"{_BASE}/activities" else "write"
        single = path.rpartition("/")[2].isdigit() or path.endswith("/account")
        return "read" if single else "list"

    def authenticate(self, request: Request) -> Response | None:
        """Three headers, or a bearer token alone."""
        path = request.scope["path"]
        if path == "/oauth/token":
            return None
        headers: dict[bytes, bytes] = dict(request.scope["headers"])  # one pass: this is asked of every call
        if b"authorization" in headers:
            allowed = headers[b"authorization"] == b"Bearer " + _ACCESS_TOKEN.encode()
        else:
            email = headers.get(b"x-pw-useremail", b"").decode("latin-1")
            allowed = (
                headers.get(b"x-pw-accesstoken") == _API_KEY.encode()
                and headers.get(b"x-pw-application") == b"developer_api"
                and email.casefold() == self.account.user.email.casefold()
            )
        if not allowed:
            return self.expired(request)
        entity = path.removeprefix(_BASE).strip("/").partition("/")[0]
        if entity in self.settings.extra.get("copper_forbidden", ()):
            return _forbidden()
        if self.settings.extra.get("copper_read_only") and self.call_kind(request, b"") == "write":
            return _forbidden()
        return None

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        """180 calls in any 60 seconds, for the whole account, and 3 bulks in any second."""
        wait = self.window.take()
        if not wait and request.scope["path"].endswith(("/bulk_create", "/bulk_update")):
            wait = self.bulk_window.take()
        return self._too_many(wait) if wait else None

    def rate_limited(self, reason: str) -> Response:
        """429; neither a header with the rest nor, normally, one with the wait."""
        return self._too_many(1.0)

    def _too_many(self, wait_seconds: float) -> Response:
        response = failure(429, "Too many requests")
        if self.settings.extra.get("copper_retry_after"):
            response.headers["retry-after"] = str(int(wait_seconds) + 1)
        return response

    def expired(self, request: Request) -> Response:
        """401 (body inferred)."""
        return failure(401, "Invalid API credentials")

    def not_found(self, request: Request) -> Response:
        """404 for an address, the same as for a record."""
        return not_found()

    def not_allowed(self, request: Request) -> Response:
        """A method that an address does not have looks like no address (inferred)."""
        return not_found()


def _forbidden() -> Response:
    """403 (body inferred)."""
    return failure(403, "You do not have permission to perform this action")
