"""What HubSpot says when it refuses a record, in crmkit's words. Pure: no calls, no clock.

The bodies of clashes are partly undocumented, so that nothing here is relied on to tell
whether a record exists: that is looked up. Sources: contracts/hubspot.md, section 9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crmkit.connectors.hubspot.bodies import ADDITIONAL_EMAILS, LINKS, field_of, texts_sent
from crmkit.connectors.writing import Change, Result

REASON_LENGTH = 300
CLASH = "CONFLICTING_UNIQUE_VALUE"
_EXISTING = re.compile(r"Existing ID: (\d+)")
_LISTED = re.compile(r"Property values were not valid: (\[.*\])", re.DOTALL)
_ADDRESS = re.compile(r"[^\s@\"'\[\]:;,<>]+@[^\s@\"'\[\]:;,<>]+")
_SHORTEST_VALUE = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one record, or with a batch as a whole.

    Attributes:
        category: HubSpot's word for it.
        causes: (code, property) of each value at fault, as far as HubSpot names them.
        text: The message, which may quote values.
        existing: The id of a record that is in the way.
        ids: Ids that the error is about: trace ids, record ids, or ids of linked records.
    """

    category: str
    causes: tuple[tuple[str, str], ...] = ()
    text: str = ""
    existing: str | None = None
    ids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, said: Mapping[str, Any], text: str = "") -> Fault:
        """Read an error body, or one entry of the `errors` of a 207."""
        message = said.get("message")
        message = message if isinstance(message, str) else text
        found = _EXISTING.search(message)
        context = said.get("context")
        return cls(
            category=str(said.get("category") or ""),
            causes=tuple(dict.fromkeys([*_named(said.get("errors")), *_listed(message)])),
            text=message,
            existing=found[1] if found else None,
            ids=frozenset(_ids(context if isinstance(context, dict) else {})),
        )

    @property
    def clashes(self) -> bool:
        """Whether another record is in the way."""
        return self.category == "CONFLICT" or any(code == CLASH for code, _ in self.causes)

    @property
    def only_about_more_emails(self) -> bool:
        """Whether nothing but the further e-mail addresses was refused."""
        return bool(self.causes) and all(name == ADDITIONAL_EMAILS for _, name in self.causes)

    def result(self) -> Result:
        """What a refusal of one record of a batch means."""
        if "RATE_LIMIT" in self.category:
            return Result.UNSENT
        if any(word in self.category for word in ("INTERNAL", "TIMEOUT", "UNAVAILABLE")):
            return Result.UNKNOWN
        return Result.REJECTED

    def field(self, change: Change) -> str | None:
        """The model's name of the field at fault, if HubSpot tells."""
        for _, name in self.causes:
            return field_of(change.kind, name)
        for field in LINKS.get(change.kind, {}):
            value = change.values.get(field) or ()
            ids = [value] if isinstance(value, str) else [getattr(one, "id", one) for one in value]
            if any(re.search(rf"(?<!\d){re.escape(native)}(?!\d)", self.text) for native in ids):
                return field
        return None

    def reason(self, change: Change, redact: Callable[[str], str]) -> str:
        """What HubSpot says, without the values that were sent and without addresses."""
        if self.causes:
            text = ", ".join(f"{code or 'INVALID'} ({name})" for code, name in self.causes)
        else:
            text = self.text
            for value in sorted(texts_sent(change), key=len, reverse=True):
                if len(value) >= _SHORTEST_VALUE:
                    text = text.replace(value, "…")
        text = f"{self.category}: {text}" if self.category and self.category not in text else text
        return redact(_ADDRESS.sub("…", text))[:REASON_LENGTH]


def _ids(context: Mapping[str, Any]) -> Iterable[str]:
    for name in ("objectWriteTraceId", "ids", "id", "fromObjectId", "toObjectId"):
        value = context.get(name)
        for one in value if isinstance(value, list) else ():
            yield str(one)


def _named(errors: Any) -> Iterable[tuple[str, str]]:
    for error in errors if isinstance(errors, list) else ():
        if not isinstance(error, dict):
            continue
        context = error.get("context")
        names = context.get("propertyName") if isinstance(context, dict) else None
        names = names if isinstance(names, list) else [error.get("in") or error.get("name")]
        for name in names:
            if isinstance(name, str) and name:
                yield str(error.get("code") or ""), name


def _listed(message: str) -> Iterable[tuple[str, str]]:
    """The causes that a message carries as JSON: in a 207 they come in no other way."""
    found = _LISTED.search(message)
    if not found:
        return
    try:
        rows = json.loads(found[1])
    except ValueError:
        return
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            yield str(row.get("error") or ""), row["name"]
