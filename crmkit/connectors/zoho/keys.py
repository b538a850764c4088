"""The field that holds our key: made once per module, and asked for by COQL, which does not lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.connectors.walk import Segment, walk
from crmkit.connectors.writing import Lookup
from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.calls import Calls, has_ids
from crmkit.connectors.zoho.columns import KEY_FIELD, MODULES
from crmkit.connectors.zoho.customs import Customs
from crmkit.connectors.zoho.shape import Shapes
from crmkit.errors import Rejected, Unsupported
from crmkit.model import Kind, Ref

KEYED = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
KEY_CHARS = 100
_LABEL = "Crmkit Key"
# Long enough for `ck1:`, two groups, a kind, and the longest id of any CRM.
_FEWEST_CHARS = 80


def usable(meta: Mapping[str, Any]) -> bool:
    """Whether a field can hold our key: Zoho itself has to refuse a second one."""
    return bool(meta) and why_not(meta) is None


def why_not(meta: Mapping[str, Any]) -> str | None:
    """Why a field of the right name cannot hold our key."""
    length = meta.get("length")
    if meta.get("data_type") != "text":
        return "it is not a single line of text"
    if not meta.get("unique"):
        return "it allows duplicate values"
    if isinstance(length, int) and length < _FEWEST_CHARS:
        return f"it holds {length} characters only"
    if meta.get("read_only") is True or meta.get("field_read_only") is True:
        return "it is read-only"
    return None


class RecordKeys:
    """Finds records by key, and makes the key fields.

    Args:
        calls: Sends reads.
        customs: Makes fields.
        shapes: What the org has.
        connection: Name of the connection.
        in_flight: How many queries at once.
    """

    def __init__(
        self, calls: Calls, customs: Customs, shapes: Shapes, connection: str, in_flight: int
    ) -> None:
        self._calls = calls
        self._customs = customs
        self._shapes = shapes
        self._connection = connection
        self._in_flight = in_flight

    def find(self, kind: Kind, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        """Refs by key, lowest id first.

        Raises:
            Unsupported: A key has a character that a query cannot hold.
        """
        keys = list(dict.fromkeys(lookup.key for lookup in lookups))
        for key in keys:
            if "'" in key or "\\" in key:
                raise Unsupported(f"{self._connection}: a key with a quote cannot be looked for")
        if not self._shapes.fields(kind).meta(KEY_FIELD) and not self._shapes.fields(kind, fresh=True).meta(
            KEY_FIELD
        ):
            return {}  # no record can carry a key
        wanted = set(keys)
        segments: list[Segment] = [
            {"keys": list(some), "after": "0"} for some in coql.chunks(keys, coql.IDS_PER_QUERY)
        ]

        def step(segment: Segment) -> tuple[list[tuple[str, str]], Sequence[Segment]]:
            text = _by_key(MODULES[kind], segment["keys"], segment["after"])
            answer = self._calls.query(text, has_ids)
            found = [(str(row.get(KEY_FIELD)), str(row["id"])) for row in answer.rows]
            return found, [{**segment, "after": found[-1][1]}] if answer.more and found else []

        refs: dict[str, list[Ref]] = {}
        for rows, _ in walk(segments, step, in_flight=self._in_flight):
            for key, native in rows:
                if key in wanted:  # Zoho may not tell upper from lower case
                    refs.setdefault(key, []).append(Ref(self._connection, kind, native))
        return {key: sorted(found, key=lambda ref: int(ref.id)) for key, found in refs.items()}

    def missing(self, kinds: Sequence[Kind]) -> list[Kind]:
        """The kinds without a key field.

        Raises:
            Rejected: A field of that name cannot hold our key.
        """
        return [kind for kind in KEYED if kind in kinds and not self._ready(kind)]

    def make(self, kind: Kind) -> None:
        """Create the key field of a kind.

        Raises:
            AccessDenied: The login may not; the hint says what to click.
            Rejected: Zoho refuses, or made a field that cannot hold our key.
        """
        module = MODULES[kind]
        field = {
            "field_label": _LABEL,
            "data_type": "text",
            "length": KEY_CHARS,
            # Ids of other CRMs may differ in case only.
            "unique": {"case_sensitive": True},
        }
        hint = (
            f"In Zoho: Setup > Modules and Fields > {module}: add a Single Line field with the label "
            f"{_LABEL!r} and {KEY_CHARS} characters, and switch on 'Do not allow duplicate values'. "
            "Or grant this user the Customize permission and the scope ZohoCRM.settings.fields.CREATE."
        )
        self._customs.make(kind, field, hint, lambda _: self._ready(kind))

    def _ready(self, kind: Kind) -> Mapping[str, Any] | None:
        meta = self._shapes.fields(kind, fresh=True).meta(KEY_FIELD)
        problem = why_not(meta) if meta else None
        if problem:
            raise Rejected(
                f"{self._connection}: {KEY_FIELD} of {MODULES[kind]} cannot hold our key: {problem}",
                hint="Delete or rename it in Zoho, then prepare again.",
            )
        return meta or None


def label_of(kind: Kind) -> str:
    """The key field of a kind in words."""
    return f"the unique text field {_LABEL!r} ({KEY_FIELD}) on {MODULES[kind]}"


def _by_key(module: str, keys: Sequence[str], after: str) -> str:
    listed = ", ".join(f"'{key}'" for key in keys)
    where = f"({KEY_FIELD} in ({listed}) and id > {after})"
    parts = ("select", f"id, {KEY_FIELD}", "from", module, "where", where)
    return " ".join((*parts, "order by id asc limit", str(coql.ROWS_PER_CHEAP_QUERY)))
