"""Which error a code of Bitrix24 means.

Source: https://apidocs.bitrix24.com/error-codes.html
"""

from __future__ import annotations

from typing import Any

from crmkit.errors import (
    AccessDenied,
    CrmkitError,
    MissingScope,
    NotFound,
    RateLimited,
    Rejected,
    ServerFault,
)

BATCH = "batch"
EXPIRED = "EXPIRED_TOKEN"
_NO_CREDENTIALS = frozenset(
    {
        EXPIRED,
        "INVALID_CREDENTIALS",
        "NO_AUTH_FOUND",
        "INVALID_TOKEN",
        "AUTHORIZATION_ERROR",
        "ERROR_OAUTH",
        "APPLICATION_NOT_FOUND",
        "NOT_INSTALLED",
        "WRONG_CLIENT",
        "INVALID_CLIENT",
        "INVALID_GRANT",
        "PORTAL_DELETED",
    }
)
_NO_RIGHT = frozenset(
    {
        "INSUFFICIENT_SCOPE",
        "INVALID_SCOPE",
        "ACCESS_DENIED",
        "USER_ACCESS_ERROR",
        "WRONG_AUTH_TYPE",
        "ALLOWED_ONLY_INTRANET_USER",
        "METHOD_CONFIRM_WAITING",
        "ERROR_METHOD_NOT_FOUND",
    }
)
_LIMITS = frozenset({"QUERY_LIMIT_EXCEEDED", "OVERLOAD_LIMIT"})
_FAULTS = frozenset({"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"})


class BadArgument(Rejected):
    """`INVALID_ARG_VALUE`: in a chain of pages, also the way its end shows."""


class WorkLimited(RateLimited):
    """`OPERATION_TIME_LIMIT`: the method's execution time of ten minutes is used up."""


def error_for(code: str, said: str, what: str, *, method: str = BATCH) -> CrmkitError:
    """The error that a code means, whatever the HTTP status and the code's case.

    Statuses differ between versions of the official page; legacy methods send an empty
    code and only a text, which is English or in the portal's language.

    Args:
        code: `error` of the answer, also a number as text, or empty.
        said: `error_description`, already redacted.
        what: Connection and call.
        method: The method that refused, for its work limit.

    Source: https://apidocs.bitrix24.com/error-codes.html
    """
    name = code.strip().upper()
    text = f"{what}: {code or 'refused'}" + (f": {said}" if said else "")
    if name in _LIMITS:
        return RateLimited(text, bucket="default")
    if name == "OPERATION_TIME_LIMIT":
        return WorkLimited(text, bucket=method)
    if name in _FAULTS:
        return ServerFault(text)
    if name == "PAYMENT_REQUIRED":
        return AccessDenied(text, hint="The portal's plan or Market subscription has ended: renew it.")
    if name in _NO_CREDENTIALS:
        return AccessDenied(text)
    words = said.strip().rstrip(".!").casefold()
    if name in _NO_RIGHT or (not name and words == "access denied"):
        return MissingScope(
            text,
            hint="Give the webhook or app the scopes crm and user_basic, let an administrator own it, "
            "and check that the portal's plan includes REST.",
        )
    if name == "NOT_FOUND" or (not name and words == "not found"):
        return NotFound(text)
    if name == "INVALID_ARG_VALUE":
        return BadArgument(text)
    return Rejected(text)


def problem(body: Any) -> tuple[str, str]:
    """Code and description of one error, each empty when it is not told."""
    if not isinstance(body, dict):
        return "", ""
    code, said = body.get("error"), body.get("error_description")
    if isinstance(code, dict):  # the shape of REST v3
        said = code.get("message")
        code = code.get("code")
    return ("" if code is None else str(code)), ("" if said is None else str(said))
