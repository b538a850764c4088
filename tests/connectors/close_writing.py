"""A stand-in for Close that keeps what is written to it, strict about what it documents."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DEAL_KEY = {"id": "cf_key", "name": "crmkit_id", "type": "text", "accepts_multiple_values": False}
DEAL_NAME = {"id": "cf_name", "name": "crmkit_name", "type": "text", "accepts_multiple_values": False}
CREATABLE = {
    "confidence", "contact_id", "created_by", "date_created", "date_won", "lead_id", "note", "pipeline_id",
    "status_id", "user_id", "value", "value_period", "note_html", "attachments",
}  # fmt: skip
UPDATABLE = CREATABLE - {"created_by", "date_created", "lead_id", "pipeline_id"}
NOT_NULL = {"confidence", "value", "value_period", "status_id", "note"}
PIPELINES = [
    {
        "id": "pipe_1",
        "name": "Sales",
        "statuses": [
            {"id": "stat_a", "label": "Active", "type": "active"},
            {"id": "stat_w", "label": "Won", "type": "won"},
            {"id": "stat_l", "label": "Lost", "type": "lost"},
        ],
    },
    {"id": "pipe_2", "name": "Renewals", "statuses": [{"id": "stat_r", "label": "Due", "type": "active"}]},
]


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


class Refusal(Exception):
    def __init__(self, status: int, body: dict) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def invalid(**fields: str) -> Refusal:
    return Refusal(400, {"errors": [], "field-errors": fields})


class FakeClose:
    """Keeps rows by kind; `sent` holds (method, path, body) of every request.

    Attributes:
        faults: Called with (method, path) before an answer; may give one of its own, or raise.
        after: The same, after the request was carried out: its answer is lost then.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict]] = {
            "opportunity": {}, "lead": {}, "contact": {}, "note": {}
        }  # fmt: skip
        self.pipelines = json.loads(json.dumps(PIPELINES))
        self.schemas: dict[str, list[dict]] = {
            "opportunity": [DEAL_KEY, DEAL_NAME], "lead": [DEAL_KEY], "contact": [DEAL_KEY]
        }  # fmt: skip
        self.events: list[dict] = []
        self.currency = "USD"
        self.unit = 2
        self.nested_statuses = True
        self.sent: list[tuple[str, str, dict]] = []
        self.headers: list[dict] = []
        self.raw: list[bytes] = []
        self.faults = lambda method, path: None
        self.after = lambda method, path: None
        self.made = 0
        self.lock = threading.Lock()

    # Filling and looking.

    def lead(self, native: str = "lead_1", **more) -> dict:
        base = {"id": native, "name": f"Name of {native}", "url": None, "addresses": [], "contacts": []}
        self.rows["lead"][native] = {**base, "opportunities": [], **self.stamps(), **more}
        return self.rows["lead"][native]

    def contact(self, native: str, lead: str = "lead_1", **more) -> dict:
        base = {"id": native, "lead_id": lead, "name": "Ada", "emails": [], "phones": []}
        self.rows["contact"][native] = {**base, **self.stamps(), **more}
        return self.rows["contact"][native]

    def deal(self, native: str, lead: str = "lead_1", **more) -> dict:
        base = {
            "id": native, "lead_id": lead, "lead_name": "Lead", "status_id": "stat_a",
            "status_type": "active", "pipeline_id": "pipe_1", "value": 100,
            "value_currency": self.currency, "value_formatted": "$1", "value_period": "one_time",
            "confidence": 50, "date_won": None, "date_lost": None, "contact_id": None,
            "user_id": "user_me", "note": "",
        }  # fmt: skip
        self.rows["opportunity"][native] = {**base, **self.stamps(), **more}
        return self.rows["opportunity"][native]

    def stamps(self) -> dict:
        return {"date_created": iso(NOW), "date_updated": iso(NOW)}

    def writes(self) -> list[tuple[str, str, dict]]:
        return [one for one in self.sent if one[0] != "GET"]

    def bodies(self, method: str) -> list[dict]:
        return [body for verb, _, body in self.sent if verb == method]

    def count(self) -> Counter:
        return Counter(
            f"{method} {re.sub('(oppo|lead|cont|acti|pipe)_[^/]+', '*', p)}" for method, p, _ in self.sent
        )

    # Answering.

    def __call__(self, request):
        url = urlsplit(request.url)
        path = url.path.removeprefix("/api/v1")
        params = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = json.loads(request.body) if request.body else {}
        headers = {"Date": NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        with self.lock:
            self.sent.append((request.method, path, body or params))
            self.headers.append(dict(request.headers))
            self.raw.append(request.body or b"")
            answer = self.faults(request.method, path)
            if answer is None:
                try:
                    answer = self.route(request.method, path, params, body)
                except Refusal as refusal:
                    answer = refusal.status, refusal.body
                lost = self.after(request.method, path)
                if isinstance(lost, Exception):
                    raise lost
                answer = lost or answer
        status, content, *more = answer
        text = content if isinstance(content, str) else json.dumps(content)
        return status, {**headers, **(more[0] if more else {})}, text

    def route(self, method, path, params, body):
        parts = path.strip("/").split("/")
        if path == "/me/":
            return 200, {"id": "user_me", "email": "me@example.com", "organizations": [{"id": "orga_1"}]}
        if parts[0] == "organization":
            return 200, {"id": "orga_1", "name": "Acme", "currency": self.currency}
        if parts[0] == "custom_field_schema":
            return 200, {"fields": self.schemas[parts[1]]}
        if parts[0] == "custom_field":
            row = {**body, "id": f"cf_new{len(self.schemas[parts[1]])}", "accepts_multiple_values": False}
            self.schemas[parts[1]].append(row)
            return 200, row
        if parts[0] in ("pipeline", "status"):
            return self.structure(method, parts, body)
        if parts[0] == "event":
            return self.event_page(params)
        kind, native = ("note", parts[2:]) if parts[:2] == ["activity", "note"] else (parts[0], parts[1:])
        if not native:
            return self.create(kind, body) if method == "POST" else self.listed(kind, params)
        row = self.rows[kind].get(native[0])
        if row is None:
            raise Refusal(404, {"error": f"Empty query: {kind.title()} matching query does not exist."})
        if method == "PUT":
            return self.update(kind, row, body)
        if method == "DELETE":
            del self.rows[kind][native[0]]
            return 200, {}
        return 200, row

    def create(self, kind, body):
        self.made += 1
        prefix = {"opportunity": "oppo", "lead": "lead", "contact": "cont", "note": "acti"}[kind]
        native = f"{prefix}_new{self.made}"
        if kind == "opportunity":
            self.check(body, CREATABLE)
            row = self.deal(native, lead="lead_untitled", value=None, confidence=0)
            self.settle(row, {"pipeline_id": "pipe_1", **body})
            return 200, row
        if kind == "lead":
            return 200, self.lead(native, **{"name": "", **self.given(body)})
        if kind == "contact":
            return 200, self.contact(native, **{"lead": "lead_untitled", **self.parented(body)})
        if "lead_id" not in body:
            raise invalid(lead="This field is required.")
        self.rows["note"][native] = {"id": native, "user_id": "user_me", **self.stamps(), **body}
        return 200, self.rows["note"][native]

    def parented(self, body):
        body = dict(body)
        return {**self.given(body), "lead": body.get("lead_id", "lead_untitled")}

    def given(self, body):
        row = {key: value for key, value in body.items() if value is not None and key != "lead_id"}
        for phone in row.get("phones", ()):
            if not phone["phone"].startswith("+"):
                phone["phone"] = f"+44{phone['phone']}"
        return row

    def update(self, kind, row, body):
        if kind == "opportunity":
            self.check(body, UPDATABLE)
            for key in NOT_NULL & body.keys():
                if body[key] is None:
                    raise invalid(**{key: "This field may not be null."})
            self.settle(row, body)
        else:
            self.merge(row, self.given({**body}) | {k: None for k, v in body.items() if v is None})
        row["date_updated"] = iso(NOW + timedelta(seconds=1))
        return 200, row

    def check(self, body, allowed):
        unknown = [key for key in body if key not in allowed and not key.startswith("custom.")]
        if unknown:
            raise Refusal(400, {"errors": [f"Unknown keys: {unknown}"], "field-errors": {}})
        if isinstance(body.get("value", 0), (float, str)):
            raise invalid(value="Not an integer.")
        if body.get("user_id") == "user_left":
            raise invalid(user="The user is not active.")
        contact = self.rows["contact"].get(body.get("contact_id"))
        if contact and "lead_id" in body and contact["lead_id"] != body["lead_id"]:
            raise invalid(contact="The contact belongs to another lead.")

    def settle(self, row, body):
        status = next(
            ((s, p) for p in self.pipelines for s in p["statuses"] if s["id"] == body.get("status_id")), None
        )
        if status is None and body.get("status_id"):
            raise invalid(status="Object does not exist.")
        if (
            status
            and "pipeline_id" in body
            and body["pipeline_id"] != status[1]["id"]
            and row["value"] is None
        ):
            raise invalid(pipeline="The status is not in this pipeline.")
        self.merge(row, body)
        if row["user_id"] is None and "user_id" not in body:
            row["user_id"] = "user_me"
        if status:
            row["status_type"], row["pipeline_id"] = status[0]["type"], status[1]["id"]
            if status[0]["type"] == "won" and not row["date_won"]:
                row["date_won"] = NOW.date().isoformat()
        if row["date_won"]:
            row["date_won"] = row["date_won"][:10]
        if row["value"] is not None:
            row["value_formatted"] = str(row["value"] if self.unit == 0 else row["value"] / 100)

    def merge(self, row, body):
        for key, value in body.items():
            row[key] = value
            if key.startswith("custom.") and value in (None, []):
                del row[key]

    def structure(self, method, parts, body):
        if parts[0] == "pipeline" and method == "GET":
            return 200, {"data": self.pipelines}
        if parts[0] == "pipeline" and method == "POST":
            statuses = [self.status(one) for one in body.get("statuses", ()) if self.nested_statuses]
            row = {"id": f"pipe_new{len(self.pipelines)}", "name": body["name"], "statuses": statuses}
            self.pipelines.append(row)
            return 201, row
        if parts[0] == "pipeline":
            row = next(one for one in self.pipelines if one["id"] == parts[1])
            if "statuses" in body:
                wanted = [one["id"] for one in body["statuses"]]
                every = {s["id"]: s for p in self.pipelines for s in p["statuses"]}
                for other in self.pipelines:
                    other["statuses"] = [s for s in other["statuses"] if s["id"] not in wanted]
                row["statuses"] = [every[native] for native in wanted]
            row["name"] = body.get("name", row["name"])
            return 200, row
        if method == "POST":
            row = next(one for one in self.pipelines if one["id"] == body["pipeline_id"])
            status = self.status(body)
            row["statuses"].append(status)
            return 200, {**status, "pipeline_id": row["id"]}
        status = next(s for p in self.pipelines for s in p["statuses"] if s["id"] == parts[2])
        if body.keys() != {"label"}:
            raise invalid(type="The type cannot be changed.")
        status["label"] = body["label"]
        return 200, status

    def status(self, body):
        self.made += 1
        return {"id": f"stat_new{self.made}", "label": body["label"], "type": body["type"]}

    def listed(self, kind, params):
        rows = list(self.rows[kind].values())
        for name, wanted in params.items():
            if name == "lead_id":
                rows = [row for row in rows if row["lead_id"] == wanted]
            elif name.endswith(("__gte", "__lt")):
                field, _, test = name.partition("__")
                keep = {"gte": lambda a, b: a >= b, "lt": lambda a, b: a < b}[test]
                rows = [row for row in rows if keep(row[field], wanted)]
        skip, limit = int(params.get("_skip", 0)), int(params.get("_limit", 100))
        data = rows[skip : skip + limit]
        if kind == "lead":
            data = [
                {**row, "contacts": [c for c in self.rows["contact"].values() if c["lead_id"] == row["id"]]}
                for row in data
            ]
        return 200, {"data": data, "has_more": skip + limit < len(rows), "total_results": len(rows)}

    def event_page(self, params):
        rows = [
            e
            for e in self.events
            if (e["object_type"], e["action"]) == (params["object_type"], params["action"])
        ]
        return 200, {"data": rows, "cursor_next": None, "cursor_previous": None}
