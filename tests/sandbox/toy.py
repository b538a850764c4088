"""The smallest vendor app: enough to try everything that all vendor apps share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.faults import CallKind
from crmkit.sandbox.limits import RollingWindow
from crmkit.sandbox.rows import Deal, Pipeline, Stage
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.wire import Refusal, Settings, json_reply, read_json
from crmkit.sandbox.world import World


def make_ids(seed: int) -> dict:
    kinds = ("user", "company", "contact", "deal", "note", "field", "option")
    return {kind: counting_ids(1000 * place + 5) for place, kind in enumerate(kinds, 1)}


def pipelines() -> list[Pipeline]:
    sales = [
        Stage("new", "New", 0, "open", 0.1),
        Stage("demo", "Demo", 1, "open", 0.4),
        Stage("offer", "Offer", 2, "open", 0.8),
        Stage("won", "Won", 3, "won", 1.0),
        Stage("lost", "Lost", 4, "lost", 0.0),
    ]
    region = [
        Stage("r1", "Erstkontakt", 0, "open", 0.2),
        Stage("r2", "Angebot", 1, "open", 0.6),
        Stage("r3", "Gewonnen", 2, "won", 1.0),
        Stage("r4", "Verloren", 3, "lost", 0.0),
    ]
    return [Pipeline("sales", "Sales", 0, sales), Pipeline("region", "Region", 1, region)]


class ToyApp(VendorApp):
    name = "toy"

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        super().__init__(world, settings)
        self.window = RollingWindow(5, 10, world.clock.monotonic)
        self.tokens_left = 1_000

    @classmethod
    def vendor_seed(cls) -> VendorSeed:
        rates = {"USD": 1.0, "EUR": 1.1, "GBP": 1.3, "JPY": 0.007}
        return VendorSeed(pipelines=pipelines, make_ids=make_ids, currencies=rates)

    @property
    def credentials(self) -> dict[str, str]:
        return {"token": "toy-secret"}

    def routes(self) -> Sequence[Route]:
        return [
            Route("/deals", self.list_deals, methods=["GET"]),
            Route("/deals", self.create_deal, methods=["POST"]),
            Route("/deals/changed", self.changed_deals, methods=["GET"]),
            Route("/deals/{id}", self.read_deal, methods=["GET"]),
            Route("/broken", self.broken, methods=["GET"]),
        ]

    def call_kind(self, request: Request, body: bytes) -> CallKind:
        if request.method == "POST":
            return "write"
        return "list" if request.scope["path"] == "/deals" else "read"

    def authenticate(self, request: Request) -> Response | None:
        return None if request.headers.get("authorization") == "toy-secret" else self.expired(request)

    def check_limits(self, request: Request, body: bytes) -> Response | None:
        return self.rate_limited("window") if self.window.take() else None

    def finish(self, request: Request, response: Response) -> None:
        response.headers["x-remaining"] = str(self.window.remaining)

    async def list_deals(self, request: Request) -> Response:
        after = int(request.query_params.get("after", 0))
        view = self.world.live.deals()
        rows = view.page(view.stop(after), 100)
        return json_reply({"deals": [deal_json(deal) for deal in rows]})

    async def changed_deals(self, request: Request) -> Response:
        since = datetime.fromisoformat(request.query_params["since"])
        view = self.world.search.deals("modified")
        rows = view.page(0, 100, low=view.start(since))
        return json_reply({"deals": [deal_json(deal) for deal in rows]})

    async def read_deal(self, request: Request) -> Response:
        deal = self.world.deals.get(request.path_params["id"])
        if deal is None:
            raise Refusal(self.not_found(request))
        return json_reply(deal_json(deal))

    async def create_deal(self, request: Request) -> Response:
        fields = read_json(await request.body())
        return json_reply(deal_json(self.world.create_deal(**fields)), 201)

    async def broken(self, request: Request) -> Response:
        raise ZeroDivisionError


def deal_json(deal: Deal) -> dict:
    return {"id": int(deal.id), "name": deal.name, "amount": deal.amount, "modified": deal.modified}
