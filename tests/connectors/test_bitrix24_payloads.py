"""Bitrix24's own example payloads are read without loss, and its errors become the right class.

The payloads are the official ones in the folder of specs beside the repository; `index.json`
there names the page of each. Single values follow the contract's shape cards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import as_map, command, result_of
from crmkit.connectors.bitrix24.customs import Customs, field_of
from crmkit.connectors.bitrix24.dialect import METHODS, Address, Bitrix24Dialect, _grant
from crmkit.connectors.bitrix24.records import DEAL_FIELDS, Rows
from crmkit.connectors.bitrix24.refusals import BadArgument, WorkLimited, error_for
from crmkit.connectors.bitrix24.workspace import _user
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.translate import FieldError
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    CrmkitError,
    MissingScope,
    NotFound,
    RateLimited,
    Rejected,
    ServerFault,
)
from crmkit.model import Outcome

EXAMPLES = Path(__file__).parents[2].parent / "shared" / "specs" / "bitrix24" / "examples"
needs_specs = pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"the official examples are not in {EXAMPLES}")
ROWS = Rows("b24", "https://acme.bitrix24.com")


def example(name: str) -> Any:
    """An official payload, decoded as the connector decodes answers."""
    return Answer(200, {}, (EXAMPLES / name).read_bytes(), name).json()


# Answers to methods that the read side never calls: writing, events, activities, products,
# duplicates, REST v3, the frozen `crm.deal.*` family and other lists that `crm.item.*` replaces.
CALLED = (*METHODS, "batch", "oauth.auto-renewal", "oauth.index", "oauth.error-codes")


@needs_specs
def test_every_official_answer_to_a_method_that_is_called_is_read_here():
    answers = {path.name for path in EXAMPLES.glob("*.json") if ".request" not in path.name}
    received = {name for name in answers if name.split(".response")[0].split(".error.json")[0] in CALLED}
    source = Path(__file__).read_text()
    assert len(received) > 20
    assert {name for name in received if f'"{name}"' not in source} == set()


@pytest.fixture
def dialect(make_context: Callable[..., Context]) -> Bitrix24Dialect:
    return Bitrix24Dialect(
        make_context("b24"), Address("https://acme.bitrix24.com", SecretStr("/rest/1/c0de"))
    )


@pytest.fixture
def portal(make_context: Callable[..., Context], dialect: Bitrix24Dialect) -> Portal:
    http = Http(
        make_context("b24"),
        base_url="https://acme.bitrix24.com",
        dialect=dialect,
        limits={},
        hosts=r"acme\.bitrix24\.com",
    )
    return Portal(make_context("b24"), http, dialect, work_limit_seconds=480)


@needs_specs
def test_the_example_deal_is_read_whole():
    row = example("crm.item.add.response.json")["result"]["item"]
    customs = Customs(
        {name: {"type": "string", "isDynamic": True} for name in row if name.startswith("ufCrm")}
    )
    (deal,), unreadable = Rows("b24", "https://acme.bitrix24.com", customs).deals([row])
    assert unreadable == []
    assert (deal.name, deal.amount, deal.currency) == (
        "New deal (specifically for rest method examples)",
        Decimal("999.99"),
        "EUR",
    )
    assert (deal.pipeline_id, deal.stage_id, deal.outcome) == ("9", "C9:UC_KN8KFI", Outcome.OPEN)
    assert deal.probability == Decimal("0.5")
    assert (deal.owner_id, deal.companies) == ("6", ("5",))
    assert (deal.contacts[0].id, deal.contacts[0].primary) == ("4", True)
    assert len(deal.contacts) == len(set(row["contactIds"]))
    assert deal.expected_close == date(2024, 7, 30)
    assert deal.created_at == datetime(2024, 7, 18, 12, 0, 14, tzinfo=UTC)


@needs_specs
@pytest.mark.parametrize("name", ["crm.item.list.response.json", "crm.item.list.response.2.json"])
def test_example_lists_are_read_row_by_row(name):
    rows = result_of("crm.item.list", example(name)["result"], "b24")
    # These samples selected a few fields; crmkit selects all that it reads.
    deals, unreadable = ROWS.deals({**dict.fromkeys(DEAL_FIELDS), **row} for row in rows)
    assert unreadable == []
    assert [(one.ref.id, one.name, one.amount, one.owner_id) for one in deals] == [
        (str(row["id"]), row["title"], Decimal(row["opportunity"]), str(row["assignedById"])) for row in rows
    ]


@needs_specs
def test_the_example_stage_directory_is_read_in_order_with_outcomes():
    rows = example("crm.status.list.response.json")["result"]
    (pipeline,), _ = ROWS.pipelines([({"id": 0, "name": "General", "sort": 300}, rows)])
    assert [(stage.id, stage.name, stage.order, stage.outcome) for stage in pipeline.stages] == [
        ("NEW", "New", 10, Outcome.OPEN),
        ("PREPARATION", "Document preparation", 20, Outcome.OPEN),
        ("PREPAYMENT_INVOICE", "Prepayment invoice", 30, Outcome.OPEN),
        ("EXECUTING", "In progress", 40, Outcome.OPEN),
        ("FINAL_INVOICE", "Final invoice", 50, Outcome.OPEN),
        ("WON", "Deal successful", 60, Outcome.WON),
        ("LOSE", "Deal failed", 70, Outcome.LOST),
        ("APOLOGY", "Failure reason analysis", 80, Outcome.LOST),
    ]


@needs_specs
def test_a_stage_without_semantics_of_its_own_is_judged_by_the_extra_ones():
    rows = example("crm.status.list.response.3.json")["result"]
    (pipeline,), _ = ROWS.pipelines([({"id": 7, "name": "P", "sort": 1}, rows)])
    assert [stage.outcome for stage in pipeline.stages] == [Outcome.OPEN, Outcome.WON, Outcome.LOST]


@needs_specs
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crm.category.list.response.2.json", [("9", 200), ("10", 200), ("11", 200), ("0", 300)]),
        ("crm.category.list.response.3.json", [("0", 100), ("7", 200)]),
    ],
)
def test_example_pipelines_are_read_with_the_default_one_among_them(name, expected):
    rows = result_of("crm.category.list", example(name)["result"], "b24")
    found, unreadable = ROWS.pipelines((row, []) for row in rows)
    assert unreadable == []
    assert [(one.ref.id, one.order) for one in found] == expected
    assert [one.name for one in found] == [row["name"] for row in rows]


@needs_specs
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "user.get.response.json",
            [("1", "Vadim Valeev", "v.r.valeev@bitrix.com"), ("3", "John Smith", "test@gmail.com")],
        ),
        (
            "user.get.response.2.json",
            [("1", "Anna Fischer", "a.fischer@example.com"), ("29", "Klaus Weber", "k.weber@example.com")],
        ),
    ],
)
def test_example_users_are_read(name, expected):
    owners, unreadable = ROWS.owners(result_of("user.get", example(name)["result"], "b24"))
    assert unreadable == []
    assert [(one.ref.id, one.name, one.email) for one in owners] == expected
    assert all(one.active for one in owners)


@needs_specs
def test_the_example_of_the_current_user_is_named():
    assert _user({}, example("user.current.response.json")["result"]) == "John Smith (user 3)"


@needs_specs
def test_the_example_of_new_tokens_is_taken_over():
    raw = (EXAMPLES / "oauth.auto-renewal.response.json").read_bytes()
    grant = _grant("b24", Answer(200, {}, raw, "b24: POST /oauth/token/"))
    assert (grant.access_token, grant.refresh_token, grant.expires_in) == (
        "ydtj8pho532wydb5ixk78ol7uqlb7sch",
        "3s6lr4kr3cv2od4v853gvrchb875bwxb",
        3600.0,
    )


@needs_specs
def test_the_example_stage_change_is_read():
    rows = result_of("crm.stagehistory.list", example("crm.stagehistory.list.response.json")["result"], "b24")
    (change,), _ = ROWS.stage_changes(rows, {})
    assert (change.ref.id, change.deal_id, change.from_stage_id, change.to_stage_id, change.at) == (
        "35",
        "21",
        None,
        "NEW",
        datetime(2024, 4, 25, 14, 59, 11, tzinfo=UTC),
    )


@needs_specs
def test_the_example_comment_with_files_is_read():
    (note,), _ = ROWS.notes([example("crm.timeline.comment.get.response.json")["result"]])
    assert (note.ref.id, note.deal_id, note.text, note.author_id, note.at) == (
        "999",
        "2",
        "New comment was added",
        "1",
        datetime(2020, 3, 2, 9, 0, tzinfo=UTC),
    )


@needs_specs
def test_every_example_field_is_described():
    described = example("crm.item.fields.response.json")["result"]["fields"]
    fields = {name: field_of(name, one) for name, one in described.items()}
    assert (fields["closedate"].type, fields["createdTime"].read_only) == ("day", True)
    assert fields["title"].label == "Name"
    customs = {name for name, one in described.items() if one["isDynamic"]}
    assert {name for name, one in fields.items() if one.custom} == customs


@needs_specs
def test_the_example_batch_gives_its_values(portal):
    raw = (EXAMPLES / "batch.response.json").read_bytes()
    commands = {"get_user": command("user.current"), "get_department": command("department.get")}
    results = portal._results(Answer(200, {}, raw, "b24: POST /rest/batch"), commands)
    assert results.values["get_user"]["ID"] == "1"
    assert results.errors == {}
    assert results.totals == {"get_department": 1}
    assert results.started == datetime(2024, 8, 29, 7, 34, 19, tzinfo=UTC)


@needs_specs
def test_the_example_batch_with_errors_gives_errors(portal):
    raw = (EXAMPLES / "batch.response.2.json").read_bytes()
    commands = {"get_user": command("user.current"), "get_department": command("department.get")}
    results = portal._results(Answer(200, {}, raw, "b24: POST /rest/batch"), commands)
    assert results.values == {}
    assert {key: type(error) for key, error in results.errors.items()} == {
        "get_user": MissingScope,
        "get_department": MissingScope,
    }


@needs_specs
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crm.item.get.error.json", NotFound),
        ("crm.item.fields.error.json", NotFound),
        ("crm.category.list.error.json", NotFound),
        ("crm.timeline.comment.get.error.json", NotFound),
        ("crm.company.get.error.json", NotFound),
        ("crm.timeline.comment.list.error.json", MissingScope),
        ("crm.currency.list.error.json", MissingScope),
        ("crm.deal.list.error.json", Rejected),
        ("oauth.error-codes.error.json", AccessDenied),
        ("oauth.auto-renewal.error.json", AccessDenied),
        ("oauth.index.error.json", AccessDenied),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_example_errors_become_the_right_class_at_any_status(dialect, name, expected, status):
    answer = Answer(status, {}, (EXAMPLES / name).read_bytes(), "b24: POST /rest/batch")
    assert type(dialect.error(Call("POST", "/batch"), answer)) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"}, RateLimited),
        ({"error": "overload_limit"}, RateLimited),
        ({"error": "OPERATION_TIME_LIMIT"}, WorkLimited),
        ({"error": "INVALID_ARG_VALUE"}, BadArgument),
        ({"error": 0, "error_description": "text"}, Rejected),
        ({"error": 100}, Rejected),
        ({"error": "INTERNAL_SERVER_ERROR"}, ServerFault),
        ({"error": "insufficient_scope"}, MissingScope),
        ({"error": "ERROR_METHOD_NOT_FOUND"}, MissingScope),
        ({"error": {"code": "INVALID_CREDENTIALS", "message": "no"}}, AccessDenied),
    ],
)
def test_errors_are_told_by_their_code_in_any_case(dialect, body, expected):
    answer = Answer(400, {}, json.dumps(body).encode(), "b24: POST /rest/batch")
    assert type(dialect.error(Call("POST", "/batch"), answer)) is expected


def test_an_error_says_the_code_and_what_the_vendor_said():
    error: CrmkitError = error_for("ERROR_CORE", "Something", "b24: POST /rest/batch")
    assert str(error) == "b24: POST /rest/batch: ERROR_CORE: Something"


def test_php_maps_come_as_objects_empty_lists_and_lists():
    assert as_map([], "w", "f") == {}
    assert as_map(None, "w", "f") == {}
    assert as_map(["a", "b"], "w", "f") == {"0": "a", "1": "b"}
    assert as_map({"k": 1}, "w", "f") == {"k": 1}
    with pytest.raises(BadAnswer):
        as_map("text", "w", "f")


def test_operators_and_offsets_survive_the_encoding_of_a_command():
    text = str(
        command("crm.item.list", ("filter[>=updatedTime]", "2026-01-01T00:00:00+00:00"), ("filter[@id][]", 5))
    )
    assert text == (
        "crm.item.list?filter[%3E%3DupdatedTime]=2026-01-01T00%3A00%3A00%2B00%3A00&filter[%40id][]=5"
    )


@pytest.mark.parametrize(
    ("vendor_type", "raw", "value"),
    [
        ("string", "text", "text"),
        ("string", "0", "0"),
        ("integer", 12, 12),
        ("integer", "12", 12),
        ("integer", 0, 0),
        ("double", "12.50", Decimal("12.50")),
        ("double", Decimal("1.1"), Decimal("1.1")),
        ("boolean", "Y", True),
        ("boolean", 0, False),
        ("boolean", "0", False),
        ("boolean", False, False),
        ("date", "2026-10-01T03:00:00+03:00", date(2026, 10, 1)),
        ("datetime", "2026-10-01T03:00:00+03:00", datetime(2026, 10, 1, tzinfo=UTC)),
        ("money", "300.00|USD", "300.00|USD"),
        ("enumeration", 11, "11"),
        ("enumeration", "11", "11"),
        ("employee", 7, "7"),
        ("crm", "CO_3", "CO_3"),
        ("crm_status", "WEB", "WEB"),
        ("url", "https://example.org", "https://example.org"),
        ("file", {"id": 5, "url": "https://x/?token=abc", "urlMachine": "https://y"}, "5"),
        ("something_new", {"a": 1}, '{"a":1}'),
    ],
)
def test_custom_values_are_typed_by_their_field(vendor_type, raw, value):
    customs = Customs({"ufCrm_1": {"type": vendor_type, "isDynamic": True, "isMultiple": False}})
    read = customs.read({"ufCrm_1": raw})
    assert read == {"ufCrm_1": value}
    assert type(read["ufCrm_1"]) is type(value)


@pytest.mark.parametrize(
    "vendor_type", ["string", "integer", "double", "date", "datetime", "money", "enumeration"]
)
@pytest.mark.parametrize("raw", [None, "", False])
def test_custom_values_that_are_unset_are_left_out(vendor_type, raw):
    customs = Customs({"ufCrm_1": {"type": vendor_type, "isDynamic": True}})
    assert customs.read({"ufCrm_1": raw}) == {}


@pytest.mark.parametrize(
    ("vendor_type", "raw", "value"),
    [
        ("enumeration", ["11", 14], ("11", "14")),
        ("enumeration", {"0": 11, "1": 14}, ("11", "14")),
        ("string", ["a", "", "b"], ("a", "b")),
        ("integer", [1, 2], ("1", "2")),
        ("date", ["2026-10-01T03:00:00+03:00"], ("2026-10-01",)),
        ("file", [{"id": 5, "url": "u"}, {"id": 6, "url": "u"}], ("5", "6")),
        ("money", ["1.00|EUR", "2.00|USD"], ("1.00|EUR", "2.00|USD")),
    ],
)
def test_multiple_values_become_tuples_of_texts(vendor_type, raw, value):
    customs = Customs({"ufCrm_1": {"type": vendor_type, "isDynamic": True, "isMultiple": True}})
    assert customs.read({"ufCrm_1": raw}) == {"ufCrm_1": value}


@pytest.mark.parametrize("raw", [[], False, None, ""])
def test_multiple_values_that_are_unset_are_left_out(raw):
    customs = Customs({"ufCrm_1": {"type": "enumeration", "isDynamic": True, "isMultiple": True}})
    assert customs.read({"ufCrm_1": raw}) == {}


@pytest.mark.parametrize(
    ("vendor_type", "raw"),
    [
        ("integer", "many"),
        ("integer", Decimal("1.5")),
        ("double", "1,5"),
        ("boolean", "perhaps"),
        ("date", "01.10.2026"),
        ("datetime", "01.10.2026 12:00:00"),
        ("money", "abc|USD"),
        ("money", "1.00|dollars"),
        ("enumeration", [1]),
    ],
)
def test_custom_values_of_another_type_name_their_field(vendor_type, raw):
    customs = Customs({"ufCrm_1": {"type": vendor_type, "isDynamic": True}})
    with pytest.raises(FieldError, match="ufCrm_1"):
        customs.read({"ufCrm_1": raw})


def test_fields_of_the_system_are_not_custom():
    customs = Customs({"title": {"type": "string", "isDynamic": False}})
    assert customs.names == ()
