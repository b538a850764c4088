"""`batch`: up to 50 commands in one request, chained by `$result`; HTTP 200 whatever they do.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from crmkit.sandbox.bitrix24.methods import run
from crmkit.sandbox.bitrix24.php import as_map, fill_references, parse_query, php_array, truth
from crmkit.sandbox.bitrix24.portal import UNSET, Answer, Caller, Failure, Portal
from crmkit.sandbox.bitrix24.work import Work

MAX_COMMANDS = 50


def run_batch(
    portal: Portal,
    work: Work,
    params: Mapping[str, Any],
    caller: Caller,
    note: Callable[[str], None],
) -> Answer:
    """Carry out the commands in order.

    Args:
        portal: What they work on.
        work: Where each is charged, under its own name.
        params: `cmd` and `halt`.
        caller: Who calls.
        note: Told the method of each command that ran.
    """
    results: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    totals: dict[str, Any] = {}
    following: dict[str, Any] = {}
    times: dict[str, Any] = {}
    halt = truth(params.get("halt", 0))
    for place, (key, command) in enumerate(as_map(params.get("cmd")).items()):
        began = perf_counter()
        method, _, query = str(command).partition("?")
        method = method_name(method)
        try:
            if place >= MAX_COMMANDS:
                raise Failure("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
            if method == "batch":
                raise Failure("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage", 405)
            work.check(method)
            note(method)
            answer = run(portal, method, fill_references(parse_query(query), results), caller)
        except Failure as failure:
            errors[key] = failure.body
            if halt:
                break
            continue
        work.charge(method, answer.units)
        results[key] = answer.result
        if answer.total not in (UNSET, None):
            totals[key] = answer.total
        if answer.next not in (UNSET, None):
            following[key] = answer.next
        times[key] = work.time(method, began)
    return Answer(
        {
            "result": php_array(results),
            "result_error": php_array(errors),
            "result_total": php_array(totals),
            "result_next": php_array(following),
            "result_time": php_array(times),
        }
    )


def method_name(said: str) -> str:
    """A method's name as we know it: small letters, no `.json`, no slash at the end."""
    return said.strip().strip("/").lower().removesuffix(".json")
