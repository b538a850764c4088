"""The Close sandbox's answers to writes, and what it takes, against the official OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.close_wire import Client, starting

SPEC = Path(__file__).parents[3] / "shared/specs/close/openapi.json"
LEAD = {"name": "Bluth", "contacts": [{"name": "Gob", "phones": [{"phone": "8004445555", "type": "office"}]}]}
STATUS = {"label": "Closed", "pipeline_id": "{pipeline}", "type": "won"}
STEP = {"opportunity_id": "{deal}", "old_status_id": "{status}", "new_status_id": "{status}"}
DEAL = {"lead_id": "{lead}", "value": 500, "note_html": "<body><p>x</p></body>", "date_won": "2026-07-01"}
CALLS: list[tuple[str, str, Any, int]] = [
    ("post", "/opportunity/", DEAL, 200),
    ("put", "/opportunity/{deal}/", {"value": 7, "value_period": "monthly"}, 200),
    ("delete", "/opportunity/{deal}/", None, 200),
    ("post", "/opportunity/", {"confidence": 101}, 400),
    ("put", "/opportunity/oppo_none/", {}, 404),
    ("post", "/lead/", LEAD, 200),
    ("put", "/lead/{lead}/", {"url": "http://bluth.example/"}, 200),
    ("delete", "/lead/{lead}/", None, 200),
    ("post", "/lead/merge/", {"source": "lead_a", "destination": "lead_b"}, 404),
    ("post", "/contact/", {"lead_id": "{lead}", "name": "Gob"}, 200),
    ("put", "/contact/{contact}/", {"emails": [{"email": "gob@example.com", "type": "office"}]}, 200),
    ("delete", "/contact/{contact}/", None, 200),
    ("post", "/activity/note/", {"lead_id": "{lead}", "note": "x"}, 200),
    ("post", "/activity/status_change/opportunity/", STEP, 200),
    ("post", "/pipeline/", {"name": "Success"}, 201),
    ("put", "/pipeline/{pipeline}/", {"name": "Updated Name"}, 200),
    ("delete", "/pipeline/{pipeline}/", None, 400),
    ("post", "/status/opportunity/", STATUS, 200),
    ("put", "/status/opportunity/{status}/", {"label": "x"}, 200),
    ("delete", "/status/opportunity/{status}/", None, 400),
    ("post", "/custom_field/opportunity/", {"name": "x", "type": "text"}, 200),
]


@pytest.fixture(scope="module")
def spec() -> Any:
    if not SPEC.exists():
        pytest.skip(f"no official description at {SPEC}")
    return json.loads(SPEC.read_text())


@pytest.fixture
def close() -> Iterator[Client]:
    with starting() as start:
        yield start(deals=10)


def violations(spec: Any, schema: Any, value: Any) -> list[str]:
    openapi = pytest.importorskip("openapi_schema_validator")
    whole = {**schema, "components": spec["components"]}
    validator = openapi.OAS31Validator(whole, format_checker=openapi.oas31_format_checker)
    return [f"{'/'.join(map(str, found.path))}: {found.message}" for found in validator.iter_errors(value)]


def response_schema(spec: Any, call: Any, status: int) -> Any:
    response = call["responses"][str(status)]
    if "$ref" in response:
        response = spec["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return response["content"]["application/json"]["schema"]


@pytest.mark.parametrize(("method", "path", "said", "status"), CALLS)
def test_answers_hold_against_the_description(
    close: Client, spec: Any, method: str, path: str, said: Any, status: int
) -> None:
    lead = close.lead(contacts=[{"name": "x"}])
    deal = close.deal(lead_id=lead["id"])
    names = {
        "lead": lead["id"],
        "contact": lead["contact_ids"][0],
        "deal": deal["id"],
        "pipeline": deal["pipeline_id"],
        "status": deal["status_id"],
    }
    text = json.dumps(said)
    template = path
    for name, value in names.items():
        text, path = text.replace(f"{{{name}}}", value), path.replace(f"{{{name}}}", value)
        template = template.replace(f"{{{name}}}", "{id}")
    answer = close.send(method, path, json.loads(text))
    assert answer.status_code == status, answer.text
    call = spec["paths"][template.replace("oppo_none", "{id}")][method]
    assert violations(spec, response_schema(spec, call, status), answer.json()) == []


@pytest.mark.parametrize(("schema", "method"), [("CreateOpportunity", "POST"), ("UpdateOpportunity", "PUT")])
def test_bodies_are_taken_and_refused_exactly_as_the_published_schemas_say(
    close: Client, spec: Any, schema: str, method: str
) -> None:
    published = spec["components"]["schemas"][schema]
    deal = close.deal()
    path = "/opportunity/" if method == "POST" else f"/opportunity/{deal['id']}/"
    names = spec["components"]["schemas"]["Opportunity"]["properties"].keys() | published["properties"].keys()
    named = {"user_id": close.me(), "created_by": close.me(), "lead_id": deal["lead_id"]}
    values: list[Any] = [None, 7, 7.5, "x", True]
    disagreements = []
    for name in sorted(names):
        for value in [*values, named.get(name, "one_time")]:
            body = {name: value}
            valid = not violations(spec, published, body)
            refused = close.send(method, path, body).status_code == 400
            # What is valid by its type may still be no day and no id; what is not valid may not pass.
            surely_good = value is None or value == named.get(name)
            if valid == refused and (refused <= surely_good):
                disagreements.append(body)
    assert disagreements == []
