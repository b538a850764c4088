"""What became of changes that HubSpot refused: taken, gone, or refused for good.

How a clash is answered is partly undocumented. So a refused create that carries a key is
looked up before it counts as refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crmkit.connectors.hubspot.bodies import ADDITIONAL_EMAILS, properties
from crmkit.connectors.hubspot.holding import Known
from crmkit.connectors.hubspot.keys import KeyBook
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import KEY_PROPERTY
from crmkit.connectors.hubspot.settling import Reply, gone
from crmkit.connectors.sending import unanswered
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, Rejected
from crmkit.model import Kind, Ref

Row = dict[str, Any]


class Verdicts:
    """Says what a batch's reply means for each of its changes.

    Args:
        connection: Name of the connection.
        keys: Looks records up by key.
        known: What was read of the portal so far, for a kind.
        redact: Masks secrets.
    """

    def __init__(
        self,
        connection: str,
        keys: KeyBook,
        known: Callable[[Kind], Known],
        redact: Callable[[str], str],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._known = known
        self.redact = redact

    def of(self, changes: Sequence[Change], reply: Reply) -> list[Written]:
        """One outcome per change: refused creates are looked up before they count as refused."""
        found = list(reply.outcomes)
        refused = reply.refused
        creates = [(change, fault) for change, fault in refused if change.act is Act.CREATE and change.key]
        there, unclear = self._there(creates)
        for change, fault in refused:
            reason = fault.reason(change, self.redact)
            if change.id in there:
                found.append(Written(change.id, Result.EXISTS, there[change.id], reason=reason))
            elif unclear is not None and change.key and change.act is Act.CREATE:
                text = f"{reason}; whether its key is taken could not be looked up: {unclear}"
                found.append(Written(change.id, Result.UNSENT, reason=self.redact(text)))
            else:
                found.append(self._refused(change, fault, reason))
        return [*found, *unanswered(changes, found)]

    def _refused(self, change: Change, fault: Fault, reason: str) -> Written:
        if gone(change, fault):
            return Written(change.id, Result.GONE, reason=reason)
        if fault.clashes:
            native = fault.existing or self._holder(change, fault)
            if native is not None and (change.ref is None or change.ref.id != native):
                ref = Ref(self._connection, change.kind, native)
                return Written(change.id, Result.EXISTS, ref, field=fault.field(change), reason=reason)
            if change.key and change.act is Act.CREATE:
                archived = self._archived(change)
                if archived:
                    reason = f"an archived record ({archived}) still holds its key; {reason}"
        result = fault.result()
        return Written(change.id, result, field=fault.field(change), reason=reason)

    def _there(self, refused: Sequence[tuple[Change, Fault]]) -> tuple[dict[str, Ref], CrmkitError | None]:
        """The records that carry the keys of refused creates, by change; or why nobody knows."""
        keyed = [change for change, _ in refused if change.kind is not Kind.NOTE]
        if not keyed:
            return {}, None
        try:
            ids = self._keys.ids(keyed[0].kind, KEY_PROPERTY, [change.key or "" for change in keyed])
        except Rejected:
            return {}, None  # no such property: nothing can carry a key
        except CrmkitError as error:
            return {}, error
        return {
            change.id: Ref(self._connection, change.kind, ids[change.key or ""])
            for change in keyed
            if change.key in ids
        }, None

    def _holder(self, change: Change, fault: Fault) -> str | None:
        """The id of the record that has a unique value which was refused."""
        values = sent(change, self._known(change.kind))
        for _, name in fault.causes or (("", "email"),):
            value = values.get(name)
            if value and name not in (KEY_PROPERTY, ADDITIONAL_EMAILS):
                try:
                    return self._keys.ids(change.kind, name, [value]).get(value)
                except CrmkitError:
                    return None  # it stays refused, with HubSpot's own words
        return None

    def _archived(self, change: Change) -> str | None:
        """The id of an archived record with the key; whether it still holds it is not documented."""
        key = change.key or ""
        try:
            return self._keys.ids(change.kind, KEY_PROPERTY, [key], archived=True).get(key)
        except CrmkitError:
            return None


def sent(change: Change, known: Known) -> Row:
    """The properties that a change sends."""
    if known.account is None:  # pragma: no cover - the connector asks for it before writing
        raise ValueError("the account is not known")
    found = properties(change.kind, change.values, known.account, known.outcome(change.values))
    if ADDITIONAL_EMAILS in change.values:
        found.pop(ADDITIONAL_EMAILS, None)
    return found
