"""What will fail, be cut or be held, told before the first write; pure.

One look at each planned write, and one at each held record. What is remembered is how often
each sort of trouble occurs; only where a CRM wants values to be unique is each of them
remembered, as a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from crmkit.connectors.base import Connector, Field
from crmkit.connectors.writing import Act, Keys, Writing
from crmkit.mapping.custom import Plain, Unmapped
from crmkit.mapping.fields import Codec
from crmkit.migration.findings import Example, Finding, Findings, Severity, shape
from crmkit.migration.targets import Shape, model_name
from crmkit.model import Kind, ValuePeriod
from crmkit.sync.computed import Computed
from crmkit.sync.plan import Held, Op
from crmkit.sync.reconcile import NOTHING

Taken = Callable[[Kind, str, Any], str | None]
"""The id of the target's record that has a value in a unique field; `None` if none has."""
_SIGNS = re.compile(r"[\W_]+")
_QUOTAS = frozenset({"daily", "daily_remaining", "credits_remaining"})
_UNWRITTEN = ("company", "contacts")  # ids that may not exist yet; what is lost of them is looked at
_SEVERITIES = {
    "told": Severity.NOTE,
    "foreign": Severity.NOTE, "unwritable": Severity.LOSES, "unmapped": Severity.LOSES,
    "merged": Severity.NOTE,
    "left_out": Severity.LOSES,
}  # fmt: skip
_BY_FIELD = {"owner": "owner", "stage": "stage", "company": "company", "contacts": "contacts"}
_TELLS_VALUES = ("conflict", "frozen")
_IDS = frozenset({"companies", "deal_id", "company_id"})
_TIMES = frozenset({"at", "created_at", "closed_at"})
_KINDS = frozenset(one.value for one in Kind)


class Target(Protocol):
    """What is asked of the member that is written to; `crmkit.sync.group.Member` is one."""

    @property
    def connection(self) -> str:
        """Its name."""
        ...

    @property
    def connector(self) -> Connector:
        """Its open connection; nothing is sent."""
        ...

    @property
    def codec(self) -> Codec:
        """Its deal fields."""
        ...

    def writing(self, kind: Kind) -> Writing:
        """What the connector can write of a kind."""
        ...


def nobody(_kind: Kind, _name: str, _value: Any) -> str | None:
    """A target in which no value is taken."""
    return None


def preflight(
    target: Target,
    found: Computed,
    fields: Mapping[Kind, Sequence[Field]],
    limits: Mapping[str, int],
    existing: Taken = nobody,
    *,
    needs: Mapping[str, int] | None = None,
    currencies: Collection[str] = (),
    lacking: Sequence[str] = (),
    unprepared: Sequence[str] = (),
) -> list[Finding]:
    """Everything that would go wrong, the worst and most frequent first.

    Args:
        target: The member that is written to.
        found: The plan.
        fields: The target's fields by kind, as `Connector.fields` gives them.
        limits: What the target's plan allows, by name: `Workspace.limits`, and what the user
            says about it, for example `pipelines` or `custom_fields.deal`.
        existing: Tells which values of unique fields are taken.
        needs: What the migration needs, by the names of `limits`.
        currencies: The target's currencies; empty if they are not known.
        lacking: Rights that the login lacks, in words.
        unprepared: What `Connector.unprepared` says.
    """
    out = Findings()
    _rights(target, found, lacking, out)
    _limits(limits, needs or {}, out)
    for one in unprepared:
        out.add("prepare", Severity.NOTE, None, None, "is created before the first write", variant=one)
    for guard in found.guards:
        out.add(
            "guard",
            Severity.HELD,
            None,
            None,
            "a guard stops the plan",
            variant=guard.name,
            count=guard.count,
        )
    for held in found.held:
        _held(held, out)
    held_fields = {(one.entity, one.field) for one in found.held if one.connection == target.connection}
    checks = {kind: _Check(target, kind, fields.get(kind, ()), existing, currencies, out) for kind in Kind}
    for op in found.ops:
        if op.connection != target.connection or op.act is Act.DELETE:
            continue
        check = checks[op.kind]
        if op.kind is Kind.DEAL:
            check.deal(op, found, held_fields)
        else:
            check.party(op)
    return out.found()


def left_behind(rows: Iterable[Mapping[str, Any]], carried: Collection[str]) -> list[Finding]:
    """What deals of the source hold and the migration does not move.

    Args:
        rows: Deals, as `crmkit.sync.stored` gives them; read once.
        carried: The model fields that are moved, custom ones as `custom.<id>`.
    """
    out = Findings()
    plain = (
        "lost_reason",
        "source",
        "tags",
        "probability",
        "expected_close",
        "closed_at",
        "forecast_category",
    )
    asked = [name for name in plain if name not in carried]
    for row in rows:
        example = Example(str(row["name"]), str(row["id"]))
        if len(row["companies"]) > 1:
            out.add(
                "companies",
                Severity.LOSES,
                Kind.DEAL,
                "companies",
                "only a deal's first company is moved",
                example,
            )
        custom = (f"custom.{name}" for name, value in row["custom"].items() if _filled(value))
        names = [
            *(name for name in asked if _filled(row[name])),
            *(one for one in custom if one not in carried),
        ]
        for name in names:
            out.add("left_behind", Severity.LOSES, Kind.DEAL, name, "holds values and is not moved", example)
    return out.found()


class _Check:
    """Looks at the writes of one kind."""

    def __init__(
        self,
        target: Target,
        kind: Kind,
        fields: Sequence[Field],
        existing: Taken,
        currencies: Collection[str],
        out: Findings,
    ) -> None:
        self._target = target
        self._kind = kind
        self._shape = Shape(kind, fields, target.writing(kind))
        self._existing = existing
        self._currencies = frozenset(currencies)
        self._out = out
        self._seen: dict[str, set[int]] = {name: set() for name in self._shape.unique}
        self._written: dict[tuple[str, str], Mapping[str, Any]] = {}

    def deal(self, op: Op, found: Computed, held: Collection[tuple[str, str | None]]) -> None:
        """One deal to create or update."""
        values, present = self._payload(op)
        for one in op.fields:
            if one.field in _UNWRITTEN:
                if one.new:
                    present.add("companies" if one.field == "company" else one.field)
            elif one.exact is None:
                values |= self._model(one.field, one.new)
        self._values(op, values, present)
        entity = found.entities.get(op.entity)
        if entity is None:
            return
        planned = {one.field: one for one in op.fields}
        for name, known in entity.hub.items():
            if name in planned:
                if planned[name].exact is None:
                    self._lost(op, name, known.value, planned[name].new)
            elif op.act is not Act.CREATE or (op.entity, name) in held or known.value is NOTHING:
                continue
            elif _filled(known.value):
                self._dropped(op, name)

    def party(self, op: Op) -> None:
        """One company, person or note to create."""
        values, present = self._payload(op)
        self._values(op, values, present)

    def _payload(self, op: Op) -> tuple[dict[str, Any], set[str]]:
        """Model values that are only set by the create, and the names of those that are ids."""
        values: dict[str, Any] = {}
        for name, one in op.payload.items():
            if name in _TIMES:
                values[name] = datetime.fromisoformat(one)
            elif name.startswith("custom."):
                values[name] = self._target.codec.brought_value(op.kind, name.removeprefix("custom."), one)
            elif name not in _IDS:
                values[name] = tuple(one) if isinstance(one, list) else one
        return values, {name for name in _IDS if op.payload.get(name)}

    def _values(self, op: Op, values: Mapping[str, Any], present: Collection[str]) -> None:
        connector, kind = self._target.connector, self._kind
        refused = connector.cannot_hold(kind, values)
        for name, reason in refused.items():
            severity = Severity.STOPS if self._shape.needs(name) else Severity.LOSES
            self._add("cannot_hold", severity, name, shape(reason), op)
        held = connector.holds(kind, values)
        if held != values:
            for name, value in values.items():
                if name in held and held[name] != value:
                    self._lost(op, name, value, held[name])
        if op.act is Act.CREATE:
            self._required(op, {*present, *(name for name, value in values.items() if _filled(value))})
        for name, value in values.items():
            described = self._shape.by_name.get(name)
            if described is not None and name not in refused:
                self._described(op, name, value, described)
        currency = values.get("currency")
        if currency and self._currencies and currency not in self._currencies:
            self._add("currency", Severity.STOPS, "amount", "the target has no such currency", op, currency)

    def _required(self, op: Op, given: Collection[str]) -> None:
        for label, names in self._shape.required:
            if not any(name in given for name in names):
                self._add("required", Severity.STOPS, label, "the target takes none without it", op)
        for label in self._shape.unknown:
            reason = "the target wants it, and crmkit does not know what it is"
            self._add("required_unknown", Severity.NOTE, label, reason, op)

    def _described(self, op: Op, name: str, value: Any, described: Field) -> None:
        if described.read_only:
            self._add("read_only", Severity.STOPS, name, "the target calculates it or locks it", op)
        if not _filled(value):
            return
        if described.max_length is not None:
            longest = max((len(one) for one in _texts(value)), default=0)
            if longest > described.max_length:
                reason = f"longer than {described.max_length:,} characters"
                self._add("too_long", Severity.STOPS, name, reason, op, length=longest)
        if name.startswith("custom.") and described.options and described.type in ("choice", "choices"):
            for one in _each(value):
                if not self._shape.takes(name, str(one)):
                    self._add("option", Severity.STOPS, name, "the target lacks the option", op, str(one))
        if name in self._seen:
            for one in _each(value):
                self._unique(op, name, one)

    def _unique(self, op: Op, name: str, value: Any) -> None:
        key = hash(value.strip().casefold() if isinstance(value, str) else value)
        if key in self._seen[name]:
            self._add("twice", Severity.STOPS, name, "unique in the target, and planned more than once", op)
        self._seen[name].add(key)
        owner = self._existing(self._kind, name, value)
        if owner is not None and owner != op.native_id:
            self._add("taken", Severity.STOPS, name, "unique in the target, and another record has it", op)

    def _lost(self, op: Op, name: str, before: Plain, after: Plain) -> None:
        """A value that the target keeps in another form, unless it means the same."""
        if before is NOTHING or _alike(name, before, after):
            return
        lower = name.removeprefix("custom.")
        if isinstance(before, (list, tuple)) and name not in ("amount", "stage"):
            kept = len(after or ())
            reason = "the target keeps one of several" if kept == 1 else "the target keeps only some of them"
            self._add("fewer", Severity.LOSES, lower, reason, op)
        elif not _filled(after):
            self._dropped(op, name)
        elif isinstance(before, str) and isinstance(after, str) and before.startswith(after):
            self._add("cut", Severity.LOSES, lower, "the target cuts the text", op, length=len(before))
        else:
            self._add("changed", Severity.LOSES, lower, _how(name, before, after), op)

    def _dropped(self, op: Op, name: str) -> None:
        if self._kind is Kind.DEAL and name not in self._target.codec.custom and not _standard(name):
            self._add("no_field", Severity.LOSES, name, "the target has no such field", op)
        else:
            self._add("dropped", Severity.LOSES, name, "the target does not keep it", op)

    def _model(self, name: str, value: Plain) -> Mapping[str, Any]:
        """Model values of a planned field, as far as they can be known before the write."""
        codec = self._target.codec
        if name == "amount" and value is not None:
            amount = {
                "amount": Decimal(value[0]),
                "currency": value[1],
                "value_period": ValuePeriod(value[2]),
            }
            return {each: one for each, one in amount.items() if each in codec.writable}
        if name == "expected_close":
            return {name: None if value is None else date.fromisoformat(value)}
        if name == "probability":
            return {name: None if value is None else Decimal(value)}
        if name in ("stage", "owner"):
            key = (name, repr(value))
            if key not in self._written:
                found = codec.write_values(name, value)
                self._written[key] = {} if isinstance(found, Unmapped) else found
            return self._written[key]
        if name in codec.custom:
            found = codec.write_values(name, value)
            return {} if isinstance(found, Unmapped) else found
        if name == "amount":
            return {}
        return {name: tuple(value or ()) if name == "tags" else value}

    def _add(
        self,
        code: str,
        severity: Severity,
        field: str,
        reason: str,
        op: Op,
        variant: str = "",
        *,
        length: int = 0,
    ) -> None:
        self._out.add(code, severity, self._kind, field, reason, _example(op), variant=variant, length=length)


def _rights(target: Target, found: Computed, lacking: Sequence[str], out: Findings) -> None:
    for one in lacking:
        out.add("rights", Severity.STOPS, None, None, one)
    wanted: dict[tuple[Kind, Act], int] = {}
    for op in found.ops:
        if op.connection == target.connection:
            wanted[op.kind, op.act] = wanted.get((op.kind, op.act), 0) + 1
    for (kind, act), count in wanted.items():
        writing = target.writing(kind)
        if act not in writing.acts:
            out.add("rights", Severity.STOPS, kind, None, f"this CRM cannot {act} a {kind}", count=count)
        elif act is Act.CREATE and writing.keys is Keys.NONE:
            reason = f"this CRM cannot keep the key of a {kind}, so that a lost answer could double it"
            out.add("rights", Severity.STOPS, kind, None, reason, count=count)


def _limits(limits: Mapping[str, int], needs: Mapping[str, int], out: Findings) -> None:
    for name, wanted in sorted(needs.items()):
        allowed = limits.get(name)
        if allowed is None or wanted <= allowed:
            continue
        reason = f"{wanted:,} needed, and {allowed:,} allowed"
        if name in _QUOTAS:
            out.add("quota", Severity.NOTE, None, name, f"{reason}: it takes more than a day", count=wanted)
        else:
            out.add("limit", Severity.STOPS, None, name, reason, count=wanted - allowed)


def _held(held: Held, out: Findings) -> None:
    """Thousands of held records of one sort are one finding."""
    code, field = held.kind, held.field
    severity = _SEVERITIES.get(held.kind, Severity.HELD)
    if code in ("unwritable", "required", "unmapped", "left_out") and field is not None:
        code = "currency" if field == "amount" and "currenc" in held.reason else _BY_FIELD.get(field, code)
    reason = held.reason.partition(": ")[0] if held.kind in _TELLS_VALUES else held.reason
    kind, native = _of_entity(held)
    variant = ""
    if held.field not in (None, "owner", "company", "contacts", "name") and shape(reason) != reason:
        # Which stage, option or currency it is about; never who.
        variant = "" if "@" in reason else reason
    out.add(code, severity, kind, field, shape(reason), Example(held.label, native), variant=variant)


def _of_entity(held: Held) -> tuple[Kind | None, str]:
    parts = held.entity.split(":", 2)
    if len(parts) == 3 and parts[1] in _KINDS:
        return Kind(parts[1]), parts[2]
    named = held.reason.partition(":")[0]
    return (Kind(named) if named in _KINDS else None), held.label


def _example(op: Op) -> Example:
    return Example(op.label, op.native_id or op.entity.split(":", 2)[-1])


def _filled(value: Any) -> bool:
    return value is not None and value not in ("", (), [])


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        yield from value
    else:
        yield value


def _texts(value: Any) -> Iterator[str]:
    return (one for one in _each(value) if isinstance(one, str))


def _alike(name: str, before: Any, after: Any) -> bool:
    """Whether two values say the same, but for spelling that no person would miss."""
    if before == after:
        return True
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        return {_spelt(name, one) for one in before} == {_spelt(name, one) for one in after}
    if isinstance(before, str) and isinstance(after, str):
        return _spelt(name, before) == _spelt(name, after)
    return not _filled(before) and not _filled(after)


def _spelt(name: str, value: Any) -> str:
    text = str(value)
    if name == "phones":
        return _SIGNS.sub("", text)
    return text.strip().casefold() if name in ("emails", "domain") else " ".join(text.split())


def _standard(name: str) -> bool:
    return model_name(Kind.DEAL, name) is not None or name in ("stage", "owner", "company")


def _how(name: str, before: Any, after: Any) -> str:
    if name == "amount":
        if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
            parts = ("amount", "currency", "period")
            other = [part for part, one, two in zip(parts, before, after, strict=False) if one != two]
            return f"the target keeps another {' and '.join(other)}" + (
                " (rounded)" if other == ["amount"] else ""
            )
        return "the target rounds the amount"
    if isinstance(before, Decimal) or isinstance(after, Decimal):
        return "the target rounds the number"
    if type(before) is not type(after) or "T" in str(before)[10:11]:
        return "the target keeps less of it, such as the day without the time"
    return "the target keeps another value"
