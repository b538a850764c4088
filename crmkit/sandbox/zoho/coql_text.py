"""The text of a COQL query, read into its parts.

Source: https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

CONDITIONS_MOST = 25
IN_MOST = 100  # older pages say 50
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.|'')*')
      | (?P<number>-?\d+(?:\.\d+)?)(?![\w])
      | (?P<word>[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)
      | (?P<sign><=|>=|!=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_SIGNS = {"=": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_AGGREGATES = {"count", "sum", "min", "max", "avg"}
_CLAUSES = {"where", "group", "order", "limit", "offset"}


class CoqlError(Exception):
    """The query cannot be read; `code` and `details` as Zoho answers."""

    def __init__(self, code: str, details: dict[str, str | int], message: str) -> None:
        super().__init__(message)
        self.code, self.details, self.message = code, details, message


class Token(NamedTuple):
    """A piece of the text; `kind` is text, number, word, sign or end."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a column, in our words for the operator; `sign` is the operator as it was written."""

    column: str
    test: str
    sign: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conditions, each of them one test or a pair again."""

    word: str
    left: Tree
    right: Tree


Tree = Condition | Pair


@dataclass(frozen=True, slots=True)
class Selected:
    """A column, or an aggregate of one, and the key it is shown under."""

    column: str
    shown: str
    aggregate: str | None = None


@dataclass(slots=True)
class Query:
    """A query."""

    module: str
    columns: list[Selected]
    where: Tree
    group: list[str] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)  # with whether descending
    limit: int = 200
    offset: int = 0


def read_query(text: str) -> Query:
    """Read a query.

    Raises:
        CoqlError: As Zoho would answer it.
    """
    return _Reader(text).query()


def conditions(tree: Tree) -> Iterator[Condition]:
    """Every single test of a where clause."""
    if isinstance(tree, Pair):
        yield from conditions(tree.left)
        yield from conditions(tree.right)
    else:
        yield tree


def _syntax(
    details: dict[str, str | int], message: str = "error occured while parsing the query"
) -> CoqlError:
    return CoqlError("SYNTAX_ERROR", details, message)


class _Reader:
    """Goes through the tokens once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._cut(text.strip().rstrip(";")))
        self._at = 0

    def _cut(self, text: str) -> Iterator[Token]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                if not text[at:].strip():
                    break
                raise _syntax({"line": 1, "column": at + 1, "near": text[at : at + 10].strip()})
            kind = str(match.lastgroup)
            yield Token(kind, match.group(kind), match.start(kind))
            at = match.end()
        yield Token("end", "", len(text))

    def query(self) -> Query:
        if not self._accept("select"):
            raise _syntax({"clause": "select"}, "missing clause")
        columns = [self._selected()]
        while self._sign(","):
            columns.append(self._selected())
        if not self._accept("from"):
            raise _syntax({"clause": "from"}, "missing clause")
        module = self._word()
        if not self._accept("where"):
            raise _syntax({"clause": "where"}, "missing clause")
        query = Query(module, columns, self._tree())
        count = sum(1 for _ in conditions(query.where))
        if count > CONDITIONS_MOST:
            raise CoqlError("LIMIT_EXCEEDED", {"limit": CONDITIONS_MOST, "clause": "where"}, "limit exceeded")
        self._tail(query)
        return query

    def _tail(self, query: Query) -> None:
        if self._accept("group"):
            self._expect("by")
            query.group = [self._word()]
            while self._sign(","):
                query.group.append(self._word())
        if self._accept("order"):
            self._expect("by")
            query.order = [self._ordered()]
            while self._sign(","):
                query.order.append(self._ordered())
        if self._accept("limit"):
            query.limit = self._whole()
            if self._sign(","):
                query.offset, query.limit = query.limit, self._whole()
        if self._accept("offset"):
            query.offset = self._whole()
        if self._now.kind != "end":
            raise self._unexpected()

    def _selected(self) -> Selected:
        name = self._word()
        shown, aggregate = name, None
        if name.lower() in _AGGREGATES and self._sign("("):
            aggregate, name = name.lower(), self._word()
            self._close()
            shown = f"{aggregate.upper()}({name})"
        if self._accept("as"):
            shown = self._word()
        return Selected(name, shown, aggregate)

    def _ordered(self) -> tuple[str, bool]:
        name = self._word()
        if self._accept("desc"):
            return name, True
        self._accept("asc")
        return name, False

    def _tree(self) -> Tree:
        """One condition or two; a third one needs brackets of its own."""
        left = self._term()
        for word in ("and", "or"):
            if self._accept(word):
                pair = Pair(word, left, self._term())
                if self._now.text.lower() in {"and", "or"}:
                    raise self._unexpected()
                return pair
        return left

    def _term(self) -> Tree:
        if self._sign("("):
            tree = self._tree()
            self._close()
            return tree
        return self._condition()

    def _condition(self) -> Condition:
        column = self._word()
        sign = self._now
        if sign.kind == "sign" and sign.text in _SIGNS:
            self._at += 1
            return Condition(column, _SIGNS[sign.text], sign.text, (self._literal(),))
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return Condition(
                column, "not_null" if negated else "null", "is not null" if negated else "is null"
            )
        negated = self._accept("not")
        prefix, said = ("not_", "not ") if negated else ("", "")
        if self._accept("in"):
            return Condition(column, f"{prefix}in", f"{said}in", tuple(self._literals()))
        if self._accept("like"):
            return Condition(column, f"{prefix}like", f"{said}like", (self._literal(),))
        if self._accept("between"):
            low = self._literal()
            self._expect("and")
            return Condition(column, f"{prefix}between", f"{said}between", (low, self._literal()))
        raise _syntax({"operator": self._now.text})

    def _literals(self) -> Iterator[str]:
        if not self._sign("("):
            raise self._unexpected()
        count = 1
        yield self._literal()
        while self._sign(","):
            count += 1
            yield self._literal()
        self._close()
        if count > IN_MOST:
            raise CoqlError("LIMIT_EXCEEDED", {"limit": IN_MOST, "operator": "in"}, "limit exceeded")

    def _literal(self) -> str:
        token = self._now
        self._at += 1
        if token.kind == "text":
            return re.sub(r"\\(.)|''", lambda match: match.group(1) or "'", token.text[1:-1])
        if token.kind == "number" or token.text.lower() in {"true", "false"}:
            return token.text
        self._at -= 1
        raise self._unexpected()

    # Single tokens

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _accept(self, word: str) -> bool:
        met = self._now.kind == "word" and self._now.text.lower() == word
        self._at += met
        return met

    def _sign(self, sign: str) -> bool:
        met = self._now.kind == "sign" and self._now.text == sign
        self._at += met
        return met

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected()

    def _close(self) -> None:
        if not self._sign(")"):
            raise self._unexpected()

    def _word(self) -> str:
        token = self._now
        if token.kind != "word" or token.text.lower() in _CLAUSES:
            raise self._unexpected()
        self._at += 1
        return token.text

    def _whole(self) -> int:
        token = self._now
        if token.kind != "number" or not token.text.isdecimal():
            raise self._unexpected()
        self._at += 1
        return int(token.text)

    def _unexpected(self) -> CoqlError:
        token = self._now
        return _syntax({"line": 1, "column": token.at + 1, "near": token.text})
