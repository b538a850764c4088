"""`POST /coql`: queries over the records as they are now, without the lag of the search index.

Source: https://www.zoho.com/crm/developer/docs/api/v8/COQL-Limitations.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.wire import json_reply, read_json
from crmkit.sandbox.zoho.answers import no_content, refuse
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
from crmkit.sandbox.zoho.coql_text import Condition, CoqlError, Pair, Query, Selected, Tree, read_query
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.schema import MULTI_LINE, NUMBERS, Module, write
from crmkit.sandbox.zoho.views import SORTS

LIMIT_MOST, REACH_MOST = 2_000, 100_000
_COLUMNS_MOST, _ORDER_MOST, _GROUP_MOST = 50, 10, 4
_RANGES = {"eq", "gt", "ge", "lt", "le", "between"}
_TEXT_TESTS = {"eq", "ne", "like", "not_like", "in", "not_in", "null", "not_null"}
_LOOKUP_TESTS = {"eq", "ne", "in", "not_in", "null", "not_null"}
_ORDERED_TESTS = _LOOKUP_TESTS | _RANGES | {"not_between"}


@dataclass(slots=True)
class _Span:
    """A stretch of an ordered view, from `low` to before `high`."""

    low: int
    high: int


class Coql:
    """Answers queries."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]]) -> None:
        self.org, self._modules = org, modules

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route("/crm/{version}/coql", self.query, methods=["POST"])]

    async def query(self, request: Request) -> Response:
        """Answer a query."""
        try:
            body = read_json(await request.body())
        except ValueError:
            refuse("INVALID_DATA", {}, "the request body is not valid JSON")
        if not isinstance(body, dict) or "select_query" not in body:
            refuse("MANDATORY_NOT_FOUND", {"api_name": "select_query"})
        text = body["select_query"]
        if not isinstance(text, str):
            refuse(
                "INVALID_DATA",
                {"expected_data_type": "string", "api_name": "select_query", "json_path": "$.select_query"},
            )
        try:
            data, more = self.answer(read_query(text))
        except CoqlError as error:
            refuse(error.code, error.details, error.message)
        if not data:
            return no_content()
        return json_reply({"data": data, "info": {"count": len(data), "more_records": more}})

    def answer(self, query: Query) -> tuple[list[dict[str, Any]], bool]:
        """The rows of a query, and whether there are more.

        Raises:
            CoqlError: It names what does not exist or asks for too much.
        """
        if query.limit > LIMIT_MOST or query.limit < 1:
            raise CoqlError("LIMIT_EXCEEDED", {"limit": LIMIT_MOST}, "limit exceeded")
        if query.limit + query.offset > REACH_MOST:
            raise CoqlError("LIMIT_EXCEEDED", {"limit": REACH_MOST}, "limit exceeded")
        for parts, most in (
            (query.columns, _COLUMNS_MOST),
            (query.order, _ORDER_MOST),
            (query.group, _GROUP_MOST),
        ):
            if len(parts) > most:
                raise CoqlError("LIMIT_EXCEEDED", {"limit": most}, "limit exceeded")
        module = self._modules().get(query.module)
        if module is None:
            raise CoqlError("INVALID_MODULE", {}, "the module name given seems to be invalid")
        if module.name == "DealHistory":  # whether it can be queried is not documented: be strict
            raise CoqlError("INVALID_QUERY", {"module": module.name}, "module not supported")
        run = _Run(self.org, Columns(self.org, self._modules()), module, query)
        if query.group or any(column.aggregate for column in query.columns):
            return run.aggregated()
        return run.plain()


class _Run:
    """One query against one module."""

    def __init__(self, org: Org, columns: Columns, module: Module, query: Query) -> None:
        self.org, self.module, self.query, self._columns = org, module, query, columns
        self.store = org.world.live
        self.passes = self._test(query.where)

    def plain(self) -> tuple[list[dict[str, Any]], bool]:
        query = self.query
        plan = [(one.shown, self._column(one.column, "select").value()) for one in query.columns]
        if all(name != "id" for name, _ in plan):
            plan.append(("id", self.module.fields["id"].value))
        rows = list(islice(self._rows(), query.offset, query.offset + query.limit + 1))
        return [write(row, plan) for row in rows[: query.limit]], len(rows) > query.limit

    def aggregated(self) -> tuple[list[dict[str, Any]], bool]:
        query = self.query
        groups: dict[tuple[Any, ...], list[Any]] = {} if query.group else {(): []}
        keys = [key_of(self._column(name, "group by")) for name in query.group]
        for row in self._filtered():
            groups.setdefault(tuple(key(row) for key in keys), []).append(row)
        for one in query.columns:
            if one.aggregate is None and one.column not in query.group:
                raise CoqlError(
                    "INVALID_QUERY", {"column_name": one.column, "clause": "group by"}, "Invalid query formed"
                )
        made = [{one.shown: self._aggregate(one, rows) for one in query.columns} for rows in groups.values()]
        return made[query.offset : query.offset + query.limit], len(made) > query.offset + query.limit

    def _aggregate(self, one: Selected, rows: Sequence[Any]) -> Any:
        column = self._column(one.column, "select")
        if one.aggregate is None:
            return column.value()(rows[0])
        key, value = column.key(), column.value()
        known = [row for row in rows if key(row) is not None]
        if one.aggregate == "count":
            return len(known)
        if not known:
            return None
        if one.aggregate in {"min", "max"}:
            return value((min if one.aggregate == "min" else max)(known, key=key))
        if column.field.type not in NUMBERS:
            raise CoqlError("INVALID_QUERY", {"column_name": one.column}, "Invalid query formed")
        total = sum(key(row) for row in known)
        return total if one.aggregate == "sum" else total / len(known)

    # Which records, in which order

    def _rows(self) -> Iterator[Any]:
        order = self.query.order or [("id", False)]
        first, descending = order[0]
        by_id_too = len(order) == 2 and order[1] == ("id", descending)
        if first in SORTS and (first == "id" or len(order) == 1 or by_id_too):
            small = self._small()
            if small is None:
                return self._scan(first, descending)
        rows = self._filtered()
        for name, down in reversed([*order, ("id", False)] if order[-1][0] != "id" else order):
            key = key_of(self._column(name, "order by"))
            rows.sort(key=lambda row, key=key: _nulls_first(key(row)), reverse=down)  # type: ignore[misc]
        return iter(rows)

    def _scan(self, name: str, descending: bool) -> Iterator[Any]:
        """Records in the order of a view; what the condition says about that order is a stretch of it."""
        rows, span, exact = self._span(name)
        passes = None if exact else self.passes
        places = range(span.low, span.high)
        found = (rows[place] for place in (reversed(places) if descending else places))
        return found if passes is None else filter(passes, found)

    def _filtered(self) -> list[Any]:
        """All records that pass, by the shortest way to them."""
        rows = self._small()
        if rows is None:
            view, span, _ = self._span("id")
            rows = list(view[span.low : span.high])
        return [row for row in rows if self.passes(row)]

    def _small(self) -> list[Any] | None:
        """Few records among which all that pass are, if the condition says so."""
        if self.module.kind is None:
            return []
        table = self.store.tables[self.module.kind]
        for one in _musts(self.query.where):
            if one.column == "id" and one.test in {"in", "eq"}:
                ids = sorted({int(value) for value in one.values})
                return [row for number in ids if (row := table.get(str(number))) is not None]
        rows, span, _ = self._span("Modified_Time")
        if (span.high - span.low) * 8 < len(rows):
            return sorted(rows[span.low : span.high], key=lambda row: int(row.id))
        return None

    def _span(self, name: str) -> tuple[Sequence[Any], _Span, bool]:
        """A view, the stretch of it that can pass, and whether all of that stretch does pass."""
        if self.module.kind is None:
            return (), _Span(0, 0), True
        view = self.store.ordered(self.module.kind, SORTS[name])
        rows, span, exact = view.rows, _Span(0, len(view.rows)), True
        if not _all_must(self.query.where):
            return rows, span, False
        for one in _musts(self.query.where):
            if one.column != name or one.test not in _RANGES:
                exact = False
                continue
            field = self.module.fields[name]
            values = [read_literal(field, value) for value in one.values]
            low, high = values[0], values[-1]
            if one.test in {"eq", "ge", "between"}:
                span.low = max(span.low, view.start(low))
            if one.test == "gt":
                span.low = max(span.low, view.stop(low))
            if one.test in {"eq", "le", "between"}:
                span.high = min(span.high, view.stop(high))
            if one.test == "lt":
                span.high = min(span.high, view.start(high))
        return rows, span, exact

    # Conditions

    def _test(self, tree: Tree) -> Test:
        if isinstance(tree, Pair):
            return (both if tree.word == "and" else either)(self._test(tree.left), self._test(tree.right))
        column = self._column(tree.column, "where")
        allowed = _allowed(column)
        if tree.test not in allowed:
            raise CoqlError(
                "INVALID_QUERY",
                {"reason": "invalid operator found", "column_name": tree.column, "operator": tree.sign},
                "Invalid query formed",
            )
        try:
            values = [read_literal(column.field, value) for value in tree.values]
        except ValueError as error:
            raise CoqlError(
                "INVALID_QUERY",
                {"reason": "invalid value found", "column_name": tree.column, "operator": tree.sign},
                "Invalid query formed",
            ) from error
        return make_test(key_of(column), tree.test, values)

    def _column(self, name: str, clause: str) -> Column:
        column = self._columns.find(self.module, name)
        if column is None or (clause == "where" and column.field.type in MULTI_LINE):
            raise CoqlError("INVALID_QUERY", {"column_name": name}, "column given seems to be invalid")
        return column


def _allowed(column: Column) -> set[str]:
    field = column.field
    if field.type == "boolean":
        return {"eq", "ne"}
    if field.lookup is not None:
        return _LOOKUP_TESTS
    if field.type in NUMBERS or field.type in {"bigint", "date", "datetime"}:
        return _ORDERED_TESTS
    return _TEXT_TESTS


def _musts(tree: Tree) -> Iterator[Condition]:
    """The tests that every record of the answer passes."""
    if isinstance(tree, Condition):
        yield tree
    elif tree.word == "and":
        yield from _musts(tree.left)
        yield from _musts(tree.right)


def _all_must(tree: Tree) -> bool:
    if isinstance(tree, Condition):
        return True
    return tree.word == "and" and _all_must(tree.left) and _all_must(tree.right)


def _nulls_first(value: Any) -> tuple[bool, Any]:
    return (False, 0) if value is None else (True, value)
