"""Build records whose values are already of exactly the types that their model asks for.

Checking a record by pydantic takes longer than translating it. Translated values nearly
always have the right type, which is seen by looking at the types alone: those of a whole
record at once, as few combinations of them ever occur. What does not fit is left to
pydantic, which says what is wrong with it or accepts it after all.

Besides types, pydantic looks at two things only: numbers must be finite, which is looked at
here too, and texts must be Unicode, which the JSON decoder has seen to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from crmkit.model import CustomValue, Kind, Record, Ref

R = TypeVar("R", bound=Record)
Check = Callable[[Any], Any]
"""Gives a value as a record holds it, or `_REFUSED`."""
_Looks = tuple[tuple[str, ...], tuple[tuple[str, Check], ...]]

_REFUSED: Any = object()
_SCALARS = (str, bool, int, Decimal, datetime, date, Ref, NoneType)
_PLAIN = frozenset({str, bool, int, datetime, date, NoneType})
# An odd workspace could have as many combinations of set fields as it has records.
_SHAPES_KEPT = 4096
_new: Any = object.__new__
_put = object.__setattr__


@cache
def builder(model: type[R]) -> Builder[R] | None:
    """Builds records of a model; `None` if the model asks for more than types."""
    decorators = model.__pydantic_decorators__
    own_code = (
        decorators.field_validators,
        decorators.model_validators,
        decorators.root_validators,
        decorators.validators,
        model.__private_attributes__,
        model.__pydantic_post_init__,
    )
    config = model.model_config
    if any(own_code) or not config.get("strict") or config.get("extra") != "forbid":
        return None
    rules = {name: _rule(field) for name, field in model.model_fields.items()}
    known = {name: rule for name, rule in rules.items() if rule is not None}
    return Builder(model, known) if len(known) == len(rules) else None


class Builder(Generic[R]):
    """Builds records of one model; see `builder`.

    A record that was built equals the one that pydantic would have made of the same values.
    Only `model_fields_set` differs: it names all fields and is one set for all records,
    because a set of its own takes two kilobytes, more than the record itself.

    Args:
        model: What is built.
        rules: Per field the types that its value may have, and what else is looked at.
    """

    def __init__(self, model: type[R], rules: Mapping[str, tuple[frozenset[type], Check | None]]) -> None:
        self.model = model
        self._rules = rules
        # `_REFUSED` is of a type that no field may have: what is required must be given.
        self._unset = {
            name: _REFUSED if field.is_required() else field.get_default(call_default_factory=True)
            for name, field in model.model_fields.items()
        }
        self._names = set(self._unset)
        self._known: dict[tuple[type, ...], _Looks] = {}

    def build(self, row: Mapping[str, Any]) -> R | None:
        """The record that holds these values; `None` if pydantic has to look at them."""
        values = {**self._unset, **row}
        shape = (*map(type, values.values()),)
        looks = self._known.get(shape) or self._looks(shape)
        if looks is None:
            return None
        numbers, others = looks
        for name in numbers:
            if not values[name].is_finite():
                return None
        for name, check in others:
            if value := values[name]:
                value = values[name] = check(value)
                if value is _REFUSED:
                    return None
            elif type(value) is dict:
                values[name] = {}  # never the default itself, which all would share
        record: R = _new(self.model)
        _put(record, "__dict__", values)
        _put(record, "__pydantic_fields_set__", self._names)
        _put(record, "__pydantic_extra__", None)
        _put(record, "__pydantic_private__", None)
        return record

    def _looks(self, shape: tuple[type, ...]) -> _Looks | None:
        """What else to look at in records of this shape; `None` if a type does not fit."""
        # A name that the model does not have makes the shape longer.
        if len(shape) != len(self._rules):
            return None
        given = dict(zip(self._rules, shape, strict=True))
        if not all(given[name] in types for name, (types, _) in self._rules.items()):
            return None
        looks = (
            tuple(name for name, kind in given.items() if kind is Decimal),
            tuple((name, check) for name, (_, check) in self._rules.items() if check is not None),
        )
        if len(self._known) < _SHAPES_KEPT:
            self._known[shape] = looks
        return looks


def ref_maker(connection: str, kind: Kind) -> Callable[[str], Ref]:
    """What makes refs of one kind of one connection; three times quicker than `Ref` itself.

    A frozen dataclass looks up each of its fields by name before it sets it.
    """
    new: Any = object.__new__
    put_connection, put_kind, put_id = (vars(Ref)[name].__set__ for name in ("connection", "kind", "id"))

    def make(native: str) -> Ref:
        ref: Ref = new(Ref)
        put_connection(ref, connection)
        put_kind(ref, kind)
        put_id(ref, native)
        return ref

    return make


def _rule(field: FieldInfo) -> tuple[frozenset[type], Check | None] | None:
    """The types that a field's value may have and a closer look at it; `None` if that is not all."""
    annotation = field.annotation
    if field.metadata or field.alias or annotation is None:
        return None
    if annotation == dict[str, CustomValue]:
        return frozenset({dict}), _custom
    if get_origin(annotation) is tuple:
        inner, *rest = get_args(annotation)
        if rest != [...]:
            return None
        if inner is str:
            return frozenset({tuple}), _texts
        if isinstance(inner, type) and issubclass(inner, Record) and (nested := builder(inner)):
            return frozenset({tuple}), _records(nested)
        return None
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if not all(_is_scalar(one) for one in options):
        return None
    return frozenset(options), None


def _is_scalar(annotation: Any) -> bool:
    return annotation in _SCALARS or (isinstance(annotation, type) and issubclass(annotation, Enum))


def _texts(values: Any) -> Any:
    for value in values:
        if type(value) is not str:
            return _REFUSED
    return values


def _custom(values: Any) -> Any:
    for name, value in values.items():
        kind = type(value)
        if type(name) is not str:
            return _REFUSED
        if kind in _PLAIN:
            continue
        if kind is Decimal:
            if not value.is_finite():
                return _REFUSED
        elif kind is not tuple or _texts(value) is _REFUSED:
            return _REFUSED
    return {**values}


def _records(nested: Builder[Any]) -> Check:
    model, build = nested.model, nested.build

    def check(values: Any) -> Any:
        found = []
        for value in values:
            kind = type(value)
            record = value if kind is model else build(value) if kind is dict else None
            if record is None:
                return _REFUSED
            found.append(record)
        return (*found,)

    return check
