"""What the connectors send is what the vendors' own OpenAPI files allow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from crmkit.connectors.base import Support
from crmkit.errors import Unsupported
from crmkit.model import Kind, Ref
from tests.sandbox_bench import SandboxBench, bench

validation = pytest.importorskip(
    "openapi_schema_validator", reason="openapi-schema-validator is not installed: pip install crmkit[dev]"
)

SPECS = Path(__file__).parents[2].parent / "shared" / "specs"
pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="the official specs (../shared/specs) are absent")


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Where a spec is wrong or silent about its own API, each with the reason.

    Attributes:
        paths: Patterns of paths that the spec does not list.
        parameters: Query parameters that it does not list, per path.
        not_required: What it wrongly requires: query parameters, or body properties.
        bodies: Paths whose body schema contradicts the vendor's own examples.
    """

    prefix: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[tuple[str, str], str] = field(default_factory=dict)
    not_required: Mapping[str, str] = field(default_factory=dict)
    bodies: Mapping[str, str] = field(default_factory=dict)


EXCEPTIONS: dict[str, Exceptions] = {
    "hubspot": Exceptions(
        paths={r"/account-info/v3/details": "kept in another spec file; contract, section 1"},
        not_required=dict.fromkeys(
            (
                "associations",
                "properties",
                "propertiesWithHistory",
                "after",
                "limit",
                "sorts",
                "filterGroups",
            ),
            "marked required, left out by the official examples; contract, section 13",
        ),
        bodies={
            "/crm/v3/objects/{objectType}/search": "sorts are texts there, objects in the guide; section 3",
        },
    ),
    "zoho": Exceptions(
        paths={
            r"/oauth/v2/token": "the accounts server has no spec",
            r"/crm/v8/DealHistory": "a history module, read as a plain module; contract, section 2.6",
            r"/crm/v8/Deals/\d+/Stage_History": "a related list; contract, section 2.6",
        },
        not_required={"include": "required by the spec, absent in recorded calls; contract, section 3"},
    ),
    "close": Exceptions(
        prefix="/api/v1",
        paths={
            r"/data/search/": "not part of the published file; contract, section 15",
            r"/me/": "trimmed from the file; contract, section 1",
            r"/organization/[^/]+/": "trimmed from the file; contract, section 6",
            r"/user/": "trimmed from the file; contract, section 6",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it went out."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any


def send_everything(crm: SandboxBench) -> None:
    """Make a full read, an increment, a read by id and the history of a few deals."""
    connector = crm.connect()
    connector.check()
    name = connector.context.connection
    cursors = {}
    for kind in Kind:
        try:
            cursors[kind] = list(connector.read(kind))[-1].cursor
        except Unsupported:
            continue
    crm.settle()
    some = sorted(crm.ids(Kind.DEAL))[:3]
    for deal in some:
        crm.app.world.edit_deal(deal, name="Edited meanwhile")
    crm.settle()
    for kind, cursor in cursors.items():
        list(connector.read(kind, since=cursor))
    connector.get([Ref(name, Kind.DEAL, deal) for deal in some])
    if connector.capabilities.stage_history is Support.YES:
        list(connector.history([Ref(name, Kind.DEAL, deal) for deal in some]))
    connector.fields(Kind.DEAL)
    connector.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """Every request that leaves this process."""
    found: list[Sent] = []
    send = requests.Session.send

    def record(
        session: requests.Session, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        parts = urlsplit(request.url or "")
        is_json = "json" in (request.headers.get("Content-Type") or "")
        body = json.loads(request.body) if request.body and is_json else None
        found.append(Sent(request.method or "", parts.path, tuple(parse_qsl(parts.query)), body))
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", record)
    return found


@pytest.mark.parametrize("crm", sorted(EXCEPTIONS))
def test_every_request_is_one_that_the_spec_allows(crm: str, sent: list[Sent]) -> None:
    with bench(crm, deals=300) as running:
        send_everything(running)
    spec = Spec(json.loads((SPECS / crm / "openapi.json").read_text(encoding="utf-8")), EXCEPTIONS[crm])
    assert len(sent) > 10
    assert sorted({problem for request in sent for problem in spec.problems(request)}) == []


class Spec:
    """An OpenAPI file and its known errors."""

    def __init__(self, document: dict[str, Any], exceptions: Exceptions) -> None:
        self._document = document
        self._exceptions = exceptions
        # Literal paths before those with placeholders, as a server matches them.
        self._paths = sorted(document["paths"], key=lambda path: (path.count("{"), path))

    def problems(self, request: Sent) -> Iterator[str]:
        """What the spec says against a request."""
        path = request.path.removeprefix(self._exceptions.prefix)
        if any(re.fullmatch(pattern, path) for pattern in self._exceptions.paths):
            return
        template = self._template(path, request.method)
        if template is None:
            yield f"{request.method} {path}: not in the spec"
            return
        operation = self._document["paths"][template][request.method.lower()]
        label = f"{request.method} {template}"
        yield from self._query_problems(label, template, operation, request)
        content = self._resolve(operation.get("requestBody", {})).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if request.body is not None and schema is None:
            yield f"{label}: takes no JSON body"
        elif schema is not None and template not in self._exceptions.bodies:
            yield from self._body_problems(label, schema, request.body)

    def _template(self, path: str, method: str) -> str | None:
        for template in self._paths:
            pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in self._document["paths"][template]:
                return template
        return None

    def _query_problems(
        self, label: str, template: str, operation: Mapping[str, Any], request: Sent
    ) -> Iterator[str]:
        shared = self._document["paths"][template].get("parameters", [])
        parameters = [self._resolve(one) for one in [*shared, *operation.get("parameters", [])]]
        known = {one["name"]: one for one in parameters if one["in"] == "query"}
        names = {name for name, _ in request.query}
        for name in sorted(names - known.keys()):
            if (template, name) not in self._exceptions.parameters:
                yield f"{label}: no query parameter {name!r}"
        for name, one in known.items():
            if one.get("required") and name not in names and name not in self._exceptions.not_required:
                yield f"{label}: query parameter {name!r} is required"
        for name, value in request.query:
            schema = self._resolve(known.get(name, {}).get("schema", {}))
            if schema.get("type") == "integer" and not value.lstrip("-").isdigit():
                yield f"{label}: query parameter {name!r} is not a whole number"
            if "enum" in schema and value not in map(str, schema["enum"]):
                yield f"{label}: query parameter {name!r} has no value {value!r}"

    def _body_problems(self, label: str, schema: Mapping[str, Any], body: Any) -> Iterator[str]:
        whole = {**self._loosened(schema), "components": self._loosened(self._document["components"])}
        for error in validation.OAS31Validator(whole).iter_errors(body):
            yield f"{label}: {'.'.join(map(str, error.absolute_path))}: {error.message[:120]}"

    def _loosened(self, schema: Any) -> Any:
        """The schema without the properties that it wrongly requires."""
        if isinstance(schema, list):
            return [self._loosened(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        loosened = {key: self._loosened(value) for key, value in schema.items()}
        if isinstance(loosened.get("required"), list):
            loosened["required"] = [
                name for name in loosened["required"] if name not in self._exceptions.not_required
            ]
        return loosened

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            target: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/")]
            node = target
        return node
