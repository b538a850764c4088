"""A HubSpot portal that can be written to, as contracts/hubspot.md describes the wire.

Batches answer in reverse order, refuse what the contract says is refused, and name errors
in the way of the official example of a 207.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
import responses

from crmkit.connectors.writing import Act, Change, Written
from crmkit.model import Kind, Ref

BASE = "https://api.hubapi.com"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
Row = dict[str, Any]
Said = tuple[int, Any]
MAIN = {"deals": "dealname", "companies": "name", "contacts": "email", "notes": "hs_note_body"}
KNOWN = {
    "deals": "dealname pipeline dealstage amount deal_currency_code closedate createdate hubspot_owner_id "
    "closed_lost_reason hs_manual_forecast_category segment",
    "companies": "name domain phone city country zip hubspot_owner_id",
    "contacts": "firstname lastname email hs_additional_emails phone mobilephone city country zip "
    "hubspot_owner_id",
    "notes": "hs_note_body hs_timestamp hubspot_owner_id",
}
PRIMARY = {("deals", "companies"): 5, ("contacts", "companies"): 1}
PLAIN = {("deals", "companies"): 341, ("contacts", "companies"): 279, ("deals", "contacts"): 3,
         ("notes", "deals"): 214, ("notes", "companies"): 190}  # fmt: skip
TO = {341: "companies", 5: "companies", 279: "companies", 1: "companies", 3: "contacts", 214: "deals",
      190: "companies", 37: "contacts", 38: "contacts"}  # fmt: skip


def refusal(message: str, category: str = "VALIDATION_ERROR", **more: Any) -> Row:
    return {"status": "error", "category": category, "message": message, **more}


def invalid(name: str, code: str, value: str = "x") -> Row:
    """The message of a bad property, as the official example of a 207 has it."""
    listed = [{"isValid": False, "message": f'"{value}" is bad', "error": code, "name": name}]
    return refusal(f"Property values were not valid: {json.dumps(listed)}")


class FakePortal:
    """Records, links, pipelines and properties in dictionaries, and a log of what was asked."""

    def __init__(self) -> None:
        self.now = START
        self.objects: dict[str, dict[str, Row]] = {name: {} for name in KNOWN}
        self.archived: dict[str, dict[str, Row]] = {name: {} for name in KNOWN}
        self.links: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
        self.properties: dict[str, dict[str, Row]] = {
            name: {one: {"name": one, "type": "string", "fieldType": "text"} for one in known.split()}
            for name, known in KNOWN.items()
        }
        for of in ("deals", "companies", "contacts"):
            self.add_key(of)
        self.labels = [
            {"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None},
            {"category": "USER_DEFINED", "typeId": 37, "label": "Decision maker"},
            {"category": "USER_DEFINED", "typeId": 38, "label": "Champion"},
        ]
        self.pipelines: list[Row] = [
            {
                "id": "default",
                "label": "Sales",
                "displayOrder": 0,
                "archived": False,
                "stages": [
                    self._stage("new", "New", 0, "0.2"),
                    self._stage("closedwon", "Won", 1, "1.0"),
                    self._stage("closedlost", "Lost", 2, "0.0"),
                ],
            }
        ]
        self.currencies = ["EUR"]
        self.zone = "Australia/Sydney"
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.hooks: list[Callable[[str, str, Any], Said | None]] = []
        self.traces = True
        self.more_emails = True
        self._last = 1000
        self._lock = threading.RLock()

    # what tests do

    def add_key(self, of: str, **more: Any) -> None:
        row = {"name": "crmkit_uid", "type": "string", "fieldType": "text", "hasUniqueValue": True}
        self.properties[of]["crmkit_uid"] = {**row, **more}

    def put(self, of: str, native: str | None = None, **properties: str) -> str:
        native = native or self._next()
        self.objects[of][native] = dict(properties)
        return native

    def link(self, of: str, native: str, to: str, other: str, *types: int) -> None:
        own = [{"typeId": t, "category": "USER_DEFINED" if t in (37, 38) else "HUBSPOT_DEFINED",
                "label": {37: "Decision maker", 38: "Champion"}.get(t)} for t in types]  # fmt: skip
        self.links.setdefault((of, to, native), {})[other] = own
        self.links.setdefault((to, of, other), {})[native] = own

    def linked(self, of: str, native: str, to: str) -> dict[str, list[int]]:
        """Other id to type ids."""
        held = self.links.get((of, to, native), {})
        return {other: sorted(type_["typeId"] for type_ in types) for other, types in held.items()}

    def counted(self) -> Counter[str]:
        return Counter(f"{method} {path}" for method, path, _, _ in self.asked)

    def bodies(self, end: str) -> list[Any]:
        return [body for _, path, _, body in self.asked if path.endswith(end)]

    # what HubSpot does

    def __call__(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.url or "")
        body = json.loads(request.body) if request.body else None
        with self._lock:
            self.asked.append((request.method or "", parts.path, parse_qs(parts.query), body))
            status, said = self._said(request.method or "", parts.path, parse_qs(parts.query), body)
        headers = {"Date": format_datetime(self.now, usegmt=True), "Content-Type": "application/json"}
        content = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
        return status, headers, content

    def _said(self, method: str, path: str, query: Any, body: Any) -> Said:
        for hook in list(self.hooks):
            said = hook(method, path, body)
            if said is not None:
                return said
        return self.route(method, path, query, body)

    def route(self, method: str, path: str, query: Any, body: Any) -> Said:
        match [method, *path.strip("/").split("/")]:
            case ["GET", "account-info", "v3", "details"]:
                return 200, {"portalId": 77, "timeZone": self.zone, "companyCurrency": "USD",
                             "additionalCurrencies": self.currencies}  # fmt: skip
            case ["GET", "crm", "v3", "properties", of]:
                return 200, {"results": list(self.properties[of].values())}
            case ["POST", "crm", "v3", "properties", of]:
                if body["name"] in self.properties[of]:
                    return 409, refusal("Property exists", "OBJECT_ALREADY_EXISTS")
                self.properties[of][body["name"]] = body
                return 201, body
            case ["POST", "crm", "v3", "objects", of, "batch", verb]:
                return self._objects(of, verb, query, body)
            case ["GET", "crm", "v3", "owners"] | ["GET", "crm", "v3", "objects", _]:
                return 200, {"results": []}
            case ["GET", "crm", "v3", "objects", of, value]:
                name, value = query["idProperty"][0], unquote(value)
                found = [n for n, held in self.objects[of].items() if held.get(name) == value]
                return (200, self._row(of, found[0])) if found else (404, {"message": "resource not found"})
            case ["GET", "crm", "v4", "associations", "deals", "contacts", "labels"]:
                return 200, {"results": self.labels}
            case ["POST", "crm", "v4", "associations", of, to, "batch", *verb]:
                return self._links(of, to, "/".join(verb), body)
            case [_, "crm", "v3", "pipelines", "deals", *rest]:
                return self._pipelines(method, rest, body)
        raise AssertionError(f"no {method} {path}")

    def _objects(self, of: str, verb: str, query: Any, body: Any) -> Said:
        inputs = body["inputs"]
        assert 0 < len(inputs) <= 100
        if verb == "read":
            return self._read(of, body, self.archived if "archived" in query else self.objects)
        if verb == "archive":
            for one in inputs:
                if one["id"] in self.objects[of]:
                    self.archived[of][one["id"]] = self.objects[of].pop(one["id"])
            return 204, None
        ids = [one["id"] for one in inputs] if verb == "update" else []
        assert len(set(ids)) == len(ids)
        traced = self.traces and all(one.get("objectWriteTraceId") for one in inputs)
        names = ("crmkit_uid", "email")
        taken = {(k, held[k]): n for n, held in self.objects[of].items() for k in names if held.get(k)}
        errors = []
        for one in inputs:
            wrong = self._wrong(of, one, taken)
            if wrong and not traced:
                return 409 if wrong["category"] == "CONFLICT" else 400, wrong
            if wrong:
                context = {**wrong.get("context", {}), "objectWriteTraceId": [one["objectWriteTraceId"]]}
                errors.append({**wrong, "context": context})
        refused = {one["context"]["objectWriteTraceId"][0] for one in errors}
        good = [one for one in inputs if one.get("objectWriteTraceId") not in refused]
        results = [self._create(of, one) if verb == "create" else self._update(of, one) for one in good]
        answer = {"status": "COMPLETE", "results": results[::-1]}
        if errors:
            return 207, {**answer, "numErrors": len(errors), "errors": errors}
        return (201 if verb == "create" else 200), answer

    def _wrong(self, of: str, one: Row, taken: dict[tuple[str, str], str]) -> Row | None:
        own = one.get("id")
        if own is not None and own not in self.objects[of]:
            return refusal("not there", "OBJECT_NOT_FOUND")
        for name, value in one["properties"].items():
            if name not in self.properties[of]:
                return invalid(name, "PROPERTY_DOESNT_EXIST", value)
            if name == "hs_additional_emails" and not self.more_emails:
                return invalid(name, "READ_ONLY_VALUE", value)
            holder = taken.get((name, value), own)
            if holder != own and name == "email":
                return refusal(f"Contact already exists. Existing ID: {holder}", "CONFLICT")
            if holder != own:
                return invalid(name, "CONFLICTING_UNIQUE_VALUE", value)
            if value == "BOOM":
                return invalid(name, "INVALID_OPTION", value)
        for link in one.get("associations", ()):
            to = TO[link["types"][0]["associationTypeId"]]
            if link["to"]["id"] not in self.objects[to]:
                return refusal(f"object with id {link['to']['id']} does not exist")
        return None

    def _create(self, of: str, one: Row) -> Row:
        native = self.put(of, **one["properties"])
        for link in one["associations"]:
            types = [spec["associationTypeId"] for spec in link["types"]]
            self._store(of, native, TO[types[0]], link["to"]["id"], types)
        return self._row(of, native)

    def _update(self, of: str, one: Row) -> Row:
        self.objects[of][one["id"]].update(one["properties"])
        return self._row(of, one["id"])

    def _row(self, of: str, native: str, archived: bool = False) -> Row:
        self.now += timedelta(milliseconds=7)
        stamp = self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        held = (self.archived if archived else self.objects)[of][native]
        moved = "lastmodifieddate" if of == "contacts" else "hs_lastmodifieddate"
        return {"id": native, "properties": {**{k: v or None for k, v in held.items()}, moved: stamp},
                "createdAt": stamp, "updatedAt": stamp, "archived": archived}  # fmt: skip

    def _read(self, of: str, body: Any, where: dict[str, dict[str, Row]]) -> Said:
        name = body.get("idProperty")
        if name and name not in self.properties[of]:
            return 400, refusal(f"Unable to perform read by non-unique property {name}")
        results, missing = [], []
        for one in body["inputs"]:
            found = [n for n, held in where[of].items() if (held.get(name) if name else n) == one["id"]]
            results += [self._row(of, native, where is self.archived) for native in found]
            missing += [] if found else [one["id"]]
        answer = {"status": "COMPLETE", "results": results[::-1]}
        if not missing:
            return 200, answer
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing}}
        return 207, {**answer, "numErrors": 1, "errors": [error]}

    def _links(self, of: str, to: str, verb: str, body: Any) -> Said:
        inputs = body["inputs"]
        assert 0 < len(inputs) <= {"read": 1000, "create": 2000}.get(verb, 1000)
        if verb == "read":
            return self._read_links(of, to, inputs)
        results, errors = [], []
        for one in inputs:
            native = one["from"]["id"]
            if verb == "archive":
                for other in one["to"]:
                    self._drop(of, native, to, other["id"])
                continue
            other, types = one["to"]["id"], [spec["associationTypeId"] for spec in one["types"]]
            if verb == "labels/archive":
                held = self.links[of, to, native][other]
                held[:] = [type_ for type_ in held if type_["typeId"] not in types]
            elif native not in self.objects[of] or other not in self.objects[to]:
                errors.append(refusal("no such record", "OBJECT_NOT_FOUND",
                                      context={"fromObjectId": [native], "toObjectId": [other]}))  # fmt: skip
            else:
                self._store(of, native, to, other, types)
                results.append({"fromObjectId": int(native), "toObjectId": int(other), "labels": []})
        if verb != "create":
            return 204, None
        answer = {"status": "COMPLETE", "results": results[::-1]}
        return (207, {**answer, "errors": errors}) if errors else (201, answer)

    def _store(self, of: str, native: str, to: str, other: str, types: list[int]) -> None:
        primary, plain = PRIMARY.get((of, to)), PLAIN[of, to]
        if primary in types:
            for held in self.links.get((of, to, native), {}).values():
                held[:] = [type_ for type_ in held if type_["typeId"] != primary]
        self.link(of, native, to, other, *dict.fromkeys([*types, plain]))

    def _drop(self, of: str, native: str, to: str, other: str) -> None:
        self.links.get((of, to, native), {}).pop(other, None)
        self.links.get((to, of, other), {}).pop(native, None)

    def _read_links(self, of: str, to: str, inputs: list[Row]) -> Said:
        results, errors = [], []
        for one in inputs:
            held = self.links.get((of, to, one["id"]))
            if held:
                ends = [{"toObjectId": int(o), "associationTypes": types} for o, types in held.items()]
                results.append({"from": {"id": one["id"]}, "to": ends})
            else:
                errors.append({"category": "OBJECT_NOT_FOUND",
                               "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                               "context": {"fromObjectId": [one["id"]]}})  # fmt: skip
        return (207 if errors else 200), {"status": "COMPLETE", "results": results, "errors": errors}

    def _stage(self, native: str, label: str, order: int, probability: str) -> Row:
        closed = "true" if probability in ("1.0", "0.0") else "false"
        return {"id": native, "label": label, "displayOrder": order, "archived": False,
                "metadata": {"isClosed": closed, "probability": probability}}  # fmt: skip

    def _pipelines(self, method: str, rest: list[str], body: Any) -> Said:
        match [method, *rest]:
            case ["GET"]:
                return 200, {"results": self.pipelines}
            case ["POST"]:
                if any(body["label"].lower() == one["label"].lower() for one in self.pipelines):
                    return 400, refusal("a pipeline of this label exists")
                stages = [self._stage(self._next(), s["label"], s["displayOrder"],
                                      s["metadata"]["probability"]) for s in body["stages"]]  # fmt: skip
                made = {**body, "id": self._next(), "archived": False, "stages": stages}
                self.pipelines.append(made)
                return 201, made
            case ["PATCH", native]:
                found = next(one for one in self.pipelines if one["id"] == native)
                found.update(body)
                return 200, found
            case ["POST", native, "stages"]:
                found = next(one for one in self.pipelines if one["id"] == native)
                stage = self._stage(self._next(), body["label"], body["displayOrder"],
                                    body["metadata"]["probability"])  # fmt: skip
                found["stages"].append(stage)
                return 201, stage
            case ["PATCH", native, "stages", stage_id]:
                found = next(one for one in self.pipelines if one["id"] == native)
                stage = next(one for one in found["stages"] if one["id"] == stage_id)
                stage.update({**body, "metadata": {**stage["metadata"], **body["metadata"]}})
                return 200, stage
        raise AssertionError(f"no {method} {rest}")

    def _next(self) -> str:
        self._last += 1
        return str(self._last)


def serve(mock: responses.RequestsMock, portal: FakePortal) -> None:
    """Answer every call to HubSpot from the portal."""
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        mock.add_callback(method, re.compile(f"{BASE}/.*"), callback=portal)


def created(id_: str, kind: Kind = Kind.DEAL, **values: Any) -> Change:
    """A create with a key of its own."""
    if kind is Kind.DEAL:
        values = {"name": f"Deal {id_}", "pipeline_id": "default", "stage_id": "new", **values}
    return Change(id_, Act.CREATE, kind, values=values, key=f"ck1:ab12cd34:ef56ab78:{kind}:{id_}")


def updated(native: str, kind: Kind = Kind.DEAL, **values: Any) -> Change:
    """An update, called like the record."""
    return Change(f"u{native}", Act.UPDATE, kind, Ref("hub", kind, native), values)


def deleted(native: str, kind: Kind = Kind.DEAL) -> Change:
    """A delete, called like the record."""
    return Change(f"d{native}", Act.DELETE, kind, Ref("hub", kind, native))


def written(connector: Any, *changes: Change) -> dict[str, Written]:
    """Outcomes by change id; there must be exactly one of each."""
    found = [outcome for group in connector.write(changes) for outcome in group]
    assert sorted(one.id for one in found) == sorted(change.id for change in changes)
    return {one.id: one for one in found}
