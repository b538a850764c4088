"""The bodies of writes: read and counted, and the answers row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.wire import Refusal, json_reply, read_json
from crmkit.sandbox.zoho.answers import refuse

ROWS_MOST = 100
TRIGGERS = ("workflow", "approval", "blueprint", "pathfinder", "orchestration")
_USUAL = ("workflow", "approval", "blueprint")  # without the key `trigger` these run


class _Counted(msgspec.Struct):
    data: list[msgspec.Raw] = []


_count = msgspec.json.Decoder(_Counted).decode


def count_rows(body: bytes) -> int:
    """How many records a body starts; 0 if it has none."""
    if b'"data"' not in body:
        return 0
    try:
        return len(_count(body).data)
    except msgspec.DecodeError:
        return 0


async def read_body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a body."""
    try:
        said = read_json(await request.body())
    except ValueError:
        refuse("INVALID_DATA", {}, "body")
    if not isinstance(said, Mapping):
        refuse("INVALID_DATA", {"expected_data_type": "jsonobject"}, "body")
    return said


def rows_in(said: Mapping[str, Any], most: int = ROWS_MOST) -> Sequence[Any]:
    """The rows under `data`; more than `most` are refused as a whole."""
    rows = said.get("data")
    if rows is None:
        refuse("MANDATORY_NOT_FOUND", {"api_name": "data", "json_path": "$.data"}, "required field not found")
    if not isinstance(rows, list) or not rows:
        refuse("INVALID_DATA", {"expected_data_type": "jsonarray", "api_name": "data", "json_path": "$.data"})
    if len(rows) > most:
        message = "count of records in your request exceeds the limit"
        row = failed("LIMIT_EXCEEDED", {"maximum_length": most, "api_name": "data"}, message)
        raise Refusal(json_reply({"data": [row]}, 400))
    return rows


def triggers_in(said: Mapping[str, Any]) -> Sequence[str]:
    """The automations that a write starts."""
    if "trigger" not in said:
        return _USUAL
    asked = said["trigger"]
    if asked is None:
        return _USUAL
    if not isinstance(asked, list):
        refuse(
            "INVALID_DATA",
            {"expected_data_type": "jsonarray", "api_name": "trigger", "json_path": "$.trigger"},
        )
    for place, one in enumerate(asked):
        if one not in TRIGGERS:
            where = {"api_name": "trigger", "json_path": f"$.trigger[{place}]"}
            refuse("INVALID_DATA", {"supported_values": list(TRIGGERS), **where})
    return list(dict.fromkeys(asked))


def failed(code: str, details: Mapping[str, Any], message: str) -> dict[str, Any]:
    """A row that was refused."""
    return {"code": code, "details": details, "message": message, "status": "error"}


def done(details: Mapping[str, Any], message: str, **more: Any) -> dict[str, Any]:
    """A row that was carried out."""
    return {"code": "SUCCESS", **more, "details": details, "message": message, "status": "success"}


def all_errors(errors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One error as it is, several inside one."""
    if len(errors) == 1:
        return errors[0]
    return failed("MULTIPLE_OR_MULTI_ERRORS", {"errors": list(errors)}, "multiple errors found")


def answer(results: Sequence[Mapping[str, Any]], ok: int, key: str = "data") -> Response:
    """The answer to a batch: its status if all went well, 207 if some did, else 400 (or 412)."""
    codes = {row["code"] for row in results}
    if codes == {"SUCCESS"}:
        status = ok
    elif "SUCCESS" in codes:
        status = 207
    else:
        status = 412 if codes == {"ALREADY_MODIFIED"} else 400
    return json_reply({key: results}, status)
