"""Answers in HubSpot's words: JSON bodies, times, and every shape of error body.

Source: https://developers.hubspot.com/docs/api-reference/error-handling. Where an exact text is not
published, the text here is ours and only the shape is HubSpot's; such places say so.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.wire import Refusal, read_json

CORRELATION = "X-HubSpot-Correlation-Id"
_SCOPES_PAGE = "https://developers.hubspot.com/scopes"
_encoder = msgspec.json.Encoder()


def reply(content: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(_encoder.encode(content), status, media_type="application/json;charset=utf-8")


def stamp(moment: datetime) -> str:
    """A time in UTC with milliseconds, or without them when they are zero."""
    text = _encoder.encode(moment)  # in quotes, with six decimals or none; far faster than isoformat
    return text[1:24].decode() + "Z" if len(text) > 22 else text[1:-1].decode()


def failure(status: int, message: str, category: str | None = None, **more: Any) -> Response:
    """An error in the usual shape; its `correlationId` also stands in the header."""
    correlation = str(uuid.uuid4())
    body = {"status": "error", "message": message, "correlationId": correlation, **more}
    if category is not None:
        body["category"] = category
    answer = reply(body, status)
    answer.headers[CORRELATION] = correlation
    return answer


class Rejected(Refusal):
    """Ends a call with an error, or only one input of a batch, which tells it beside its results."""

    def __init__(self, status: int, message: str, category: str | None = None, **more: Any) -> None:
        super().__init__(failure(status, message, category, **more))
        self.message, self.category = message, category or "OBJECT_NOT_FOUND"

    def beside(self, **context: list[str]) -> dict[str, Any]:
        """The error as one of those that a batch tells beside its results."""
        return {"status": "error", "category": self.category, "message": self.message, "context": context}


def refuse(status: int, message: str, category: str | None = None, **more: Any) -> NoReturn:
    """End the call with an error."""
    raise Rejected(status, message, category, **more)


def invalid(message: str, **more: Any) -> NoReturn:
    """End the call with 400 `VALIDATION_ERROR`."""
    refuse(400, message, "VALIDATION_ERROR", **more)


def missing_record(record_id: str) -> NoReturn:
    """End the call with the 404 of a record: without category if the id is a number [seen in public code]."""
    category = None if record_id.isdigit() else "OBJECT_NOT_FOUND"
    message = (
        "resource not found"
        if record_id.isdigit()
        else f"Object not found.  objectId are usually numeric: {record_id}"
    )
    refuse(404, message, category)


def invalid_properties(names: Mapping[str, tuple[str, str]], portal_id: int) -> NoReturn:
    """End the call with all bad properties at once: by name, the code and the message."""
    told = [
        {
            "isValid": False,
            "message": message,
            "error": code,
            "name": name,
            "localizedErrorMessage": message,
            "portalId": portal_id,
        }
        for name, (code, message) in names.items()
    ]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    errors = [
        {"message": message, "code": code, "context": {"propertyName": [name]}}
        for name, (code, message) in names.items()
    ]
    invalid(f"Property values were not valid: {text}", errors=errors)


def missing_scopes(any_of: Sequence[str]) -> Response:
    """The 403 of an app that was not granted any of these scopes."""
    return failure(
        403,
        "This app hasn't been granted all required scopes to make this call. "
        f"Read more about required scopes here: {_SCOPES_PAGE}.",
        "MISSING_SCOPES",
        errors=[
            {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": list(any_of)},
            }
        ],
        links={"scopes": _SCOPES_PAGE},
    )


def too_many(policy: str, group: str | None = None) -> Response:
    """The 429 of a policy: `DAILY`, `TEN_SECONDLY_ROLLING`, or `SECONDLY` with its group for search."""
    more = {"groupName": group} if group else {"requestId": str(uuid.uuid4())}
    return failure(
        429,
        f"You have reached your {policy.lower()} limit.",
        errorType="RATE_LIMIT",
        policyName=policy,
        **more,
    )


async def read_body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; 400 if it is not one."""
    try:
        said = read_json(await request.body())
    except ValueError as error:
        refuse(400, f"Invalid input JSON: {error}", "VALIDATION_ERROR")
    if not isinstance(said, dict):
        refuse(400, "Invalid input JSON: an object was expected", "VALIDATION_ERROR")
    return said


def batch_inputs(body: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """The inputs of a batch; 400 if there are too many, in a text of ours."""
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        missing_fields("inputs")
    if len(inputs) > most:
        invalid(f"The maximum number of inputs supported in a batch request is {most}. Actual: {len(inputs)}")
    return inputs


def missing_fields(*names: str) -> NoReturn:
    """End the call with the 400 of a body that lacks fields [text seen in public code]."""
    told = ", ".join(names)
    invalid(f"Invalid input JSON on line 1, column 2. Some required fields were not set: [{told}]")


def batch_answer(
    results: Sequence[Any], errors: Sequence[Any], started: str, completed: str, status: int
) -> Response:
    """The answer of a batch: 207 as soon as there is an error beside the results."""
    answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
    if errors:
        answer |= {"numErrors": len(errors), "errors": errors}
    answer |= {"startedAt": started, "completedAt": completed}
    return reply(answer, 207 if errors else status)


def version_of(request: Request) -> str:
    """The dated version that a call is made to; nothing at the addresses of v1 to v4."""
    return str(request.path_params.get("version", ""))


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A boolean query parameter."""
    said = request.query_params.get(name)
    return default if said is None else said.lower() == "true"


def names_in(request: Request, name: str) -> list[str]:
    """A list in the query: repeated, or with commas between."""
    return [
        part.strip()
        for text in request.query_params.getlist(name)
        for part in text.split(",")
        if part.strip()
    ]


def whole_number(text: Any, name: str) -> int:
    """A parameter that must be a whole number from zero up; 400 if it is not."""
    digits = str(text)
    if not (digits.isascii() and digits.isdigit()):
        invalid(f"Invalid input: {name} must be a whole number")
    return int(digits)


def page_size(request: Request, default: int, most: int) -> int:
    """The `limit` of a list; 400 outside 1 to `most`. The text is ours: HubSpot's own is not published."""
    size = whole_number(request.query_params.get("limit", default), "limit")
    if not 1 <= size <= most:
        invalid(f"Invalid input: limit must be between 1 and {most}, was {size}")
    return size
