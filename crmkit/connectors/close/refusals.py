"""What a refused write says: which field, whether the record is gone, who may not."""

from __future__ import annotations

import re
import threading

from crmkit.connectors.close.custom import CustomFields
from crmkit.connectors.close.dialect import Refused
from crmkit.errors import CrmkitError, NotFound, Rejected
from crmkit.model import Kind

# So many refusals before the first success mean the role, not the records.
_REFUSALS_OF_A_ROLE = 5
# Close quotes the values that it refuses.
_ADDRESS = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+")
_NUMBER = re.compile(r"\+?[0-9][0-9 ().\-/]{6,}[0-9]")
# Names in `field-errors` lack a final `_id` (contract, section 9).
_SHARED = {"name": "name", "emails": "emails", "phones": "phones"}
_MODEL: dict[Kind, dict[str, str]] = {
    Kind.DEAL: {
        "lead": "companies",
        "contact": "contacts",
        "user": "owner_id",
        "status": "stage_id",
        "pipeline": "pipeline_id",
        "value": "amount",
        "value_period": "value_period",
        "confidence": "probability",
        "date_won": "expected_close",
        "date_created": "created_at",
    },
    Kind.COMPANY: {"name": "name", "url": "domain", "addresses": "city"},
    Kind.CONTACT: {**_SHARED, "lead": "companies"},
    Kind.NOTE: {
        "lead": "company_id",
        "note": "text",
        "title": "deal_id",
        "user": "author_id",
        "date_created": "at",
        "activity_at": "at",
    },
    Kind.PIPELINE: {"name": "name", "statuses": "stages", "label": "stages", "type": "stages"},
}


class Roles:
    """Tells a role that may not write at all from one that may not touch some records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals = 0
        self._may = False

    def allow(self) -> None:
        """A write went through."""
        self._may = True

    def forbid(self) -> bool:
        """A call was refused for lack of a permission: whether that is enough to give up."""
        with self._lock:
            self._refusals += 1
            return not self._may and self._refusals >= _REFUSALS_OF_A_ROLE


def plain(error: CrmkitError) -> str:
    """What an error says, without the addresses and phone numbers that Close quotes."""
    return _NUMBER.sub("(number)", _ADDRESS.sub("(address)", str(error)))


def is_gone(error: Rejected) -> bool:
    """Whether the record does not exist, as opposed to the address of the call.

    Both are 404: "Empty query: Lead matching query does not exist." and "The requested URL
    was not found on the server."
    """
    if isinstance(error, NotFound):
        return "requested URL" not in str(error)
    return "matching query does not exist" in str(error)


def field_at_fault(kind: Kind, error: Rejected, fields: CustomFields | None) -> str | None:
    """The model's name of the field that was refused, if Close tells."""
    if not isinstance(error, Refused):
        return None
    names = _MODEL.get(kind, {})
    for said in error.fields:
        if fields is not None and said == fields.key:
            return "key"
        if fields is not None and said == fields.name:
            return "name"
        found = names.get(said) or names.get(said.removesuffix("_id")) or (said if "." in said else None)
        if found:
            return found
    return None
