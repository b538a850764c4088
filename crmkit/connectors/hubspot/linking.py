"""Links of records that exist: from the whole wanted set to what is added and removed.

HubSpot has no call that replaces the links of a record: the current ones are read, 1,000
records a call, and only the difference is written. Links are added before others are
removed, so that a failure in between leaves a record with too many of them, not too few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.connectors.hubspot import links as links_
from crmkit.connectors.hubspot.bodies import DEFINED, LINKS, Labels, people, split_role
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.posts import LINK_CREATE_LIMIT, LINK_REMOVE_LIMIT, Posts, Said
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import WIRES
from crmkit.connectors.sending import result_of, stops
from crmkit.connectors.writing import Change, Result
from crmkit.errors import CrmkitError, Rejected
from crmkit.model import Kind

Row = dict[str, Any]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the links of one record are not as wanted."""

    result: Result
    reason: str


@dataclass(slots=True)
class Difference:
    """What is to be done about the links of some records, by (from id, to id)."""

    add: dict[Pair, list[Row]] = field(default_factory=dict)
    unlabel: dict[Pair, list[Row]] = field(default_factory=dict)
    remove: list[Pair] = field(default_factory=list)


def difference(kind: Kind, name: str, change: Change, current: Sequence[Row], labels: Labels) -> Difference:
    """What turns the current links of a record into the wanted ones."""
    native = change.ref.id if change.ref else ""
    held = {str(row["toObjectId"]): _kinds(row) for row in current}
    if name == "contacts":
        return _people(native, people(change.values[name] or ()), held, labels)
    primary = WIRES[kind].primary.get(name)
    wanted = list(dict.fromkeys(change.values[name] or ()))
    there = links_.linked(links_.inline(current, primary), primary[0] if primary else None)
    found = Difference()
    if set(there) == set(wanted) and there[:1] == tuple(wanted[:1]):
        return found
    _, first, plain = LINKS[kind][name]
    for at, other in enumerate(wanted):
        if at == 0 and first is not None:
            if first not in {spec["associationTypeId"] for spec in held.get(other, ())}:
                # Kinds that are sent replace those of the pair, so the portal's own go along.
                # That the primary kind moves away from another company follows from "one per
                # record" (contract, section 6).
                own = [spec for spec in held.get(other, ()) if spec["associationCategory"] != DEFINED]
                found.add[native, other] = [_spec(first), *own]
        elif other not in held:
            found.add[native, other] = [_spec(plain)]
    found.remove = [(native, other) for other in held if other not in wanted]
    return found


def _people(native: str, wanted: Sequence[Any], held: Mapping[str, list[Row]], labels: Labels) -> Difference:
    found = Difference()
    plain = _spec(LINKS[Kind.DEAL]["contacts"][2])
    for person in wanted:
        pair = native, person.id
        roles, missing = split_role(person.role, labels)
        own = [spec for spec in held.get(person.id, ()) if spec["associationCategory"] != DEFINED]
        if person.id not in held or any(spec not in own for spec in roles):
            found.add[pair] = [plain, *roles]
        stale = [spec for spec in own if spec not in roles]
        # A role that the portal has no label for says nothing about the labels that are there.
        if stale and not missing:
            found.unlabel[pair] = stale
    ids = {person.id for person in wanted}
    found.remove = [(native, other) for other in held if other not in ids]
    return found


def _kinds(row: Row) -> list[Row]:
    return [
        {"associationCategory": type_.get("category"), "associationTypeId": type_.get("typeId")}
        for type_ in row.get("associationTypes") or ()
    ]


def _spec(number: int) -> Row:
    return {"associationCategory": DEFINED, "associationTypeId": number}


class Linker:
    """Makes the links of records what a change says.

    Args:
        api: HubSpot's read endpoints.
        posts: Its write endpoints.
        redact: Masks secrets.
    """

    def __init__(self, api: Api, posts: Posts, redact: Callable[[str], str]) -> None:
        self._api = api
        self._posts = posts
        self._redact = redact

    def apply(self, kind: Kind, name: str, changes: Sequence[Change], labels: Labels) -> dict[str, Trouble]:
        """Bring one linked type up to date; by change id, what did not work."""
        by_native = {change.ref.id: change.id for change in changes if change.ref}
        of, to = WIRES[kind].of, LINKS[kind][name][0]
        try:
            current = self._api.links(of, to, list(by_native))
        except CrmkitError as error:
            # Reading changes nothing: the links are as they were.
            result = Result.REJECTED if isinstance(error, Rejected) else Result.UNSENT
            return {change.id: Trouble(result, str(error)) for change in changes}
        whole = Difference()
        for change in changes:
            one = difference(kind, name, change, current.get(change.ref.id if change.ref else "", ()), labels)
            whole.add.update(one.add)
            whole.unlabel.update(one.unlabel)
            whole.remove += one.remove
        failed: dict[Pair, Trouble] = {}
        self._each(
            list(whole.add),
            LINK_CREATE_LIMIT,
            lambda pairs: self._add(of, to, pairs, whole.add),
            failed,
        )
        broken = {native for native, _ in failed}
        # What could not be added is not followed by a removal: the record keeps what it has.
        unlabel = [pair for pair in whole.unlabel if pair[0] not in broken]
        self._each(
            unlabel,
            LINK_REMOVE_LIMIT,
            lambda pairs: self._unlabel(of, to, pairs, whole.unlabel),
            failed,
        )
        remove = [pair for pair in whole.remove if pair[0] not in broken]
        self._each(remove, LINK_REMOVE_LIMIT, lambda pairs: self._remove(of, to, pairs), failed)
        return {by_native[native]: trouble for (native, _), trouble in failed.items()}

    def _each(
        self,
        pairs: Sequence[Pair],
        size: int,
        send: Callable[[Sequence[Pair]], Mapping[Pair, Trouble]],
        failed: dict[Pair, Trouble],
    ) -> None:
        """Send pairs in batches; one that is refused whole is sent again in halves."""
        waiting = [pairs[at : at + size] for at in range(0, len(pairs), size)]
        while waiting:
            batch = waiting.pop(0)
            try:
                failed.update(send(batch))
            except Rejected as error:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    waiting[:0] = [batch[:middle], batch[middle:]]
                else:
                    failed[batch[0]] = Trouble(Result.REJECTED, self._redact(str(error)))
            except CrmkitError as error:
                stopped = waiting if stops(error) else []
                for pair in [*batch, *(pair for rest in stopped for pair in rest)]:
                    failed[pair] = Trouble(result_of(error), self._redact(str(error)))
                if stopped:
                    return

    def _add(
        self, of: str, to: str, pairs: Sequence[Pair], types: Mapping[Pair, list[Row]]
    ) -> dict[Pair, Trouble]:
        said = self._posts.link(of, to, [_input(pair, types[pair]) for pair in pairs])
        made = {pair for row in said.results if (pair := _pair(row)) is not None}
        left = [pair for pair in pairs if pair not in made]
        return {pair: self._unmade(pair, said) for pair in left}

    def _unmade(self, pair: Pair, said: Said) -> Trouble:
        faults = [Fault.of(error) for error in said.errors]
        mine = [fault for fault in faults if fault.ids & set(pair)] or faults
        if not mine:
            return Trouble(Result.UNKNOWN, "the answer does not mention this link")
        text = "; ".join(dict.fromkeys(fault.text or fault.category for fault in mine))
        return Trouble(Result.REJECTED, self._redact(text)[:300])

    def _unlabel(
        self, of: str, to: str, pairs: Sequence[Pair], types: Mapping[Pair, list[Row]]
    ) -> dict[Pair, Trouble]:
        self._posts.unlabel(of, to, [_input(pair, types[pair]) for pair in pairs])
        return {}

    def _remove(self, of: str, to: str, pairs: Sequence[Pair]) -> dict[Pair, Trouble]:
        others: dict[str, list[Row]] = {}
        for native, other in pairs:
            others.setdefault(native, []).append({"id": other})
        self._posts.unlink(of, to, [{"from": {"id": native}, "to": ids} for native, ids in others.items()])
        return {}


def _input(pair: Pair, types: list[Row]) -> Row:
    return {"from": {"id": pair[0]}, "to": {"id": pair[1]}, "types": types}


def _pair(row: Row) -> Pair | None:
    """The two ends of a created link, in either of the two shapes that HubSpot answers."""
    ends = row.get("fromObjectId"), row.get("toObjectId")
    if None in ends:
        ends = tuple((row.get(end) or {}).get("id") for end in ("from", "to"))  # type: ignore[assignment]
    return None if None in ends else (str(ends[0]), str(ends[1]))
