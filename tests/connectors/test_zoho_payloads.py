"""Which example payloads of Zoho the read side is tested with, and which it never receives.

The payloads lie beside the repository in shared/specs/zoho/examples; `index.json` there
tells source and date of each.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.http import Answer, Call
from crmkit.connectors.zoho.calls import Rows, rows_of
from crmkit.errors import BadAnswer

HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[3] / "shared/specs/zoho/examples"
DATE = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}

LEFT_OUT = {
    "bulk_.*": "bulk jobs are not used: COQL needs as few calls and keeps a position",
    ".*_request": "what a client sends",
    "(deal|note|field|pipeline)_(create|update|delete|transfer)_20[01]": "an answer to a write",
    "(create|update|upsert)_.*": "an answer to a write",
    "pipeline_400_.*": "an answer to a write",
    "deal_contact_roles_.*": "one call per deal, so contact roles are not read",
    "coql_200_join": "dotted columns are not asked for",
    "oauth_code_exchange_200": "logging in for the first time is not the connector's work",
    "search_.*": "the search index lags, so it is not asked",
    "watch_.*": "notifications are not used",
}


def names() -> list[str]:
    if not EXAMPLES.exists():
        pytest.skip(f"{EXAMPLES} is not there: the specs lie beside the repository")
    return sorted(path.stem for path in EXAMPLES.glob("*.json") if path.stem != "index")


def rows(name: str, label: str, *, paged: bool = True) -> Rows:
    names()
    body = (EXAMPLES / f"{name}.json").read_bytes()
    return rows_of(Call("GET", "/", label=label), Answer(200, DATE, body, "z: GET"), paged=paged)


def test_every_example_is_read_in_a_test_or_left_out_for_a_reason() -> None:
    tests = "".join(path.read_text() for path in HERE.glob("test_zoho_*.py"))
    unread = {name for name in names() if f'"{name}"' not in tests}
    assert {name for name in unread if not any(re.fullmatch(pattern, name) for pattern in LEFT_OUT)} == set()


@pytest.mark.parametrize(
    ("name", "label", "paged", "count"),
    [
        ("deals_list_200", "GET /crm/v8/Deals", True, 3),
        ("deal_get_200", "GET /crm/v8/Deals", False, 1),
        ("account_get_200", "GET /crm/v8/Accounts", False, 1),
        ("records_list_200_last_page", "GET /crm/v8/Contacts", True, 2),
        ("coql_200", "POST /crm/v8/coql", True, 1),
        ("coql_200_lookups", "POST /crm/v8/coql", True, 1),
        ("deleted_list_200", "GET /crm/v8/Deals/deleted", True, 4),
        ("users_list_200", "GET /crm/v8/users", True, 1),
        ("stage_history_200", "GET /crm/v8/Deals/Stage_History", True, 2),
        ("note_get_200", "GET /crm/v8/Notes", False, 1),
        ("field_stage_200", "GET /crm/v8/settings/fields", False, 1),
        ("pipelines_get_200", "GET /crm/v8/settings/pipeline", False, 2),
    ],
)
def test_all_rows_of_an_answer_are_found(name: str, label: str, paged: bool, count: int) -> None:
    found = rows(name, label, paged=paged)
    assert (len(found.rows), found.more) == (count, False)


def test_an_answer_of_fewer_rows_than_it_counts_is_not_believed() -> None:
    # The example is shortened: `info` counts five rows, one is shown.
    with pytest.raises(BadAnswer, match="5 rows are promised, 1 came"):
        rows("records_list_200_page_token", "GET /crm/v8/Leads")


def test_the_token_of_the_next_page_is_read() -> None:
    names()
    body: dict[str, Any] = json.loads((EXAMPLES / "records_list_200_page_token.json").read_text())
    body["info"]["count"] = 1
    answer = Answer(200, DATE, json.dumps(body).encode(), "z: GET")
    found = rows_of(Call("GET", "/", label="GET /crm/v8/Leads"), answer, paged=True)
    assert (found.more, found.token) == (True, "c8582xx9e7c7")
