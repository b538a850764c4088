"""Zoho's envelopes: errors, empty answers, parameters that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.wire import Refusal, json_reply

_MESSAGES = {
    "AMBIGUITY_DURING_PROCESSING": "ambiguity while processing the request",
    "EXPECTED_PARAM_MISSING": "One of the expected parameter is missing",
    "EXPIRED_VALUE": "the page_token given has expired",
    "INVALID_DATA": "invalid data",
    "INVALID_MODULE": "the module name given seems to be invalid",
    "INVALID_QUERY": "Invalid query formed",
    "LIMIT_EXCEEDED": "limit exceeded",
    "LIMIT_REACHED": "maximum response iteration limit reached",
    "MANDATORY_NOT_FOUND": "mandatory key not found",
    "NOT_SUPPORTED": "The module does not support this operation",
    "PAGINATION_LIMIT_EXCEEDED": "You have reached the maximum limit of records that can be fetched",
    "REQUIRED_PARAM_MISSING": "required param is missing",
    "DISCRETE_PAGINATION_LIMIT_EXCEEDED": (
        "You can only get the first 2000 records without using page_token param"
    ),
    "TOKEN_BOUND_DATA_MISMATCH": (
        "The page_token given seems to be invalid or input param is added or altered or deleted"
    ),
}


def error(status: int, code: str, details: Mapping[str, Any] | None = None, message: str = "") -> Response:
    """An error of the whole request; the message is the usual one unless given."""
    said = message or _MESSAGES.get(code, code.replace("_", " ").lower())
    return json_reply({"code": code, "details": details or {}, "message": said, "status": "error"}, status)


def refuse(
    code: str, details: Mapping[str, Any] | None = None, message: str = "", *, status: int = 400
) -> NoReturn:
    """Answer with an error from anywhere in a handler."""
    raise Refusal(error(status, code, details, message))


def no_content() -> Response:
    """Nothing found: an empty body and no content type."""
    return Response(status_code=204)


def not_modified() -> Response:
    """Nothing new under `If-Modified-Since`: an empty body too."""
    return Response(status_code=304)


def whole_number(request: Request, name: str, default: int, most: int) -> int:
    """A parameter from 1 to `most`; 400 if it is anything else."""
    text = request.query_params.get(name)
    if text is None or not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= most:
        refuse("INVALID_DATA", {"param_name": name}, f"the {name} given seems to be invalid")
    return int(text)
