"""Search and count: over an index that trails behind, where `equals` on text means contains.

Source: https://www.zoho.com/crm/developer/docs/api/v8/search-records.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.zoho.answers import no_content, refuse, whole_number
from crmkit.sandbox.zoho.conditions import (
    Column,
    Columns,
    Test,
    both,
    either,
    key_of,
    make_test,
    read_literal,
)
from crmkit.sandbox.zoho.lists import FIELDS_MOST, Lists
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.paging import ordering
from crmkit.sandbox.zoho.schema import Module, write
from crmkit.sandbox.zoho.views import rows_of, sort_key

REACH_MOST, CONDITIONS_MOST, IN_MOST, LENGTH_MOST = 2_000, 10, 100, 3_000
_PARAMS = ("criteria", "email", "phone", "word")
_TESTS = {
    "equals": "eq",
    "not_equal": "ne",
    "greater_than": "gt",
    "greater_equal": "ge",
    "less_than": "lt",
    "less_equal": "le",
    "between": "between",
    "not_between": "not_between",
    "in": "in",
    "not_in": "not_in",
    "starts_with": "starts_with",
    "contains": "contains",
    "not_contains": "not_contains",
}
_FOLDED = re.compile(r"[-_@./\s]+")
_TEXT_TYPES = {"text", "email", "phone", "website", "textarea"}


class Search:
    """Answers searches."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]], lists: Lists) -> None:
        self.org, self._modules, self._lists = org, modules, lists

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/{version}/{module}/search", self.search, methods=["GET"]),
            Route("/crm/{version}/{module}/actions/count", self.count, methods=["GET"]),
        ]

    async def search(self, request: Request) -> Response:
        """A page of what is found; there are 2,000 records to be had."""
        module = self._lists.module(request)
        rows = self._found(request, module, self._asked(request))
        size = whole_number(request, "per_page", 200, 200)
        page = whole_number(request, "page", 1, 10**9)
        if page * size > REACH_MOST:
            refuse("LIMIT_REACHED", {"limit": str(REACH_MOST)})
        sort_by, descending = ordering(request)
        rows = sorted(rows, key=lambda row: sort_key(row, sort_by), reverse=descending)
        start = (page - 1) * size
        cut = rows[start : start + size]
        if not cut:
            return no_content()
        text = request.query_params.get("fields")
        names = [name.strip() for name in text.split(",")] if text else None
        if names and len(names) > FIELDS_MOST:
            refuse("LIMIT_EXCEEDED", {"limit": FIELDS_MOST, "param_name": "fields"})
        plan = module.plan(names)
        info = {
            "per_page": size,
            "count": len(cut),
            "sort_by": sort_by,
            "page": page,
            "sort_order": "desc" if descending else "asc",
            "more_records": start + size < len(rows),
        }
        return json_reply({"data": [write(row, plan) for row in cut], "info": info})

    async def count(self, request: Request) -> Response:
        """How many are found; without a condition this is the whole module as the index knows it."""
        module = self._lists.module(request)
        if "cvid" in request.query_params:
            refuse("INVALID_DATA", {"param_name": "cvid"}, "the cvid given seems to be invalid")
        if not any(request.query_params.get(name) for name in _PARAMS):
            return json_reply({"count": len(rows_of(self.org.world.search, module))})
        return json_reply({"count": len(self._found(request, module, self._asked(request)))})

    def _asked(self, request: Request) -> tuple[str, str]:
        """The condition that counts: the first of those given."""
        for name in _PARAMS:
            text = request.query_params.get(name)
            if text:
                return name, text
        refuse("EXPECTED_PARAM_MISSING", {"param_names": list(_PARAMS)})

    def _found(self, request: Request, module: Module, asked: tuple[str, str]) -> list[Any]:
        if module.name in {"Notes", "DealHistory"}:
            refuse("NOT_SUPPORTED", {"module": module.name})
        store = self.org.world.search
        how, text = asked

        def collect() -> list[Any]:
            if how == "criteria":
                columns = Columns(self.org, self._modules())
                passes = _Criteria(columns, module, text).read()
            else:
                passes = self._anywhere(module, how, text)
            return [row for row in rows_of(store, module) if passes(row)]

        return store.memo(("search", module.name, asked), collect)

    def _anywhere(self, module: Module, how: str, text: str) -> Test:
        types = _TEXT_TYPES if how == "word" else {how}
        if how == "word" and len(text) < 2:
            refuse("INVALID_DATA", {"param_name": "word"}, "invalid value for search")
        gets = [field.raw for field in module.fields.values() if field.type in types and not field.hidden]
        wanted = fold(text)

        def passes(row: Any) -> bool:
            return any(wanted in fold(value) for get in gets if isinstance(value := get(row), str))

        return passes


def fold(text: str) -> str:
    """Text as the index keeps it: `- _ @ . /` and spaces are all one."""
    return _FOLDED.sub(" ", text.casefold()).strip()


class _Criteria:
    """Reads `((Stage:equals:Qualification)and(Amount:greater_than:5))`."""

    def __init__(self, columns: Columns, module: Module, text: str) -> None:
        if len(text) > LENGTH_MOST:
            _invalid("the criteria is too long")
        self._columns, self._module, self._text = columns, module, text.strip()
        self._at = self._count = 0

    def read(self) -> Test:
        passes = self._row_of_groups()
        if self._at != len(self._text):
            _invalid("the brackets do not match")
        return passes

    def _row_of_groups(self) -> Test:
        passes = self._group()
        while True:
            word = next((w for w in ("and", "or") if self._text[self._at :].lower().startswith(w)), None)
            if word is None:
                return passes
            self._at += len(word)
            passes = (both if word == "and" else either)(passes, self._group())

    def _group(self) -> Test:
        if self._text[self._at : self._at + 1] != "(":
            _invalid("a bracket is missing")
        self._at += 1
        if self._text[self._at : self._at + 1] == "(":
            passes = self._row_of_groups()
            if self._text[self._at : self._at + 1] != ")":
                _invalid("a bracket is missing")
            self._at += 1
            return passes
        return self._single()

    def _single(self) -> Test:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] != ")":
            self._at += 2 if self._text[self._at] == "\\" else 1
        inner = self._text[start : self._at]
        self._at += 1
        self._count += 1
        if self._count > CONDITIONS_MOST:
            refuse("CRITERIA_LIMIT_EXCEEDED", {}, "no of criterium that can be given exceed the limit 15")
        name, _, rest = inner.partition(":")
        sign, colon, value = rest.partition(":")
        if not colon or sign not in _TESTS:
            refuse("INVALID_QUERY", {"operator": sign, "reason": "invalid operator found"})
        column = self._columns.find(self._module, name)
        if column is None:
            refuse("INVALID_QUERY", {"reason": "the field is not available for search"})
        return self._test(column, sign, value)

    def _test(self, column: Column, sign: str, text: str) -> Test:
        several = sign in {"in", "not_in", "between", "not_between"}
        parts = [_unescape(part) for part in re.split(r"(?<!\\),", text)] if several else [_unescape(text)]
        if len(parts) > IN_MOST:
            refuse(
                "INVALID_QUERY", {"param_name": "criteria"}, 'Only 100 values are allowed in "IN" criteria'
            )
        if parts == ["${EMPTY}"]:
            return make_test(column.key(), "null" if sign == "equals" else "not_null", ())
        if column.field.type in _TEXT_TYPES:
            # On text `equals` finds whatever contains the value.
            test = {"equals": "contains", "not_equal": "not_contains"}.get(sign, _TESTS[sign])
            key = column.key()
            return make_test(
                lambda row: None if (value := key(row)) is None else fold(value),
                test,
                [fold(part) for part in parts],
            )
        try:
            values = [read_literal(column.field, part) for part in parts]
        except ValueError:
            refuse(
                "INVALID_QUERY", {"expected_data_type": column.field.type, "reason": "invalid value found"}
            )
        return make_test(key_of(column), _TESTS[sign], values)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _invalid(reason: str) -> Any:
    refuse("INVALID_QUERY", {"reason": reason})
