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

from crmkit.model import CustomValue, Record, Ref

R = TypeVar("R", bound=Record)
Check = Callable[[Any], Any]
"""Gives a value as a record holds it, or `_REFUSED`."""

_REFUSED: Any = object()
_SCALARS = (str, bool, int, Decimal, datetime, date, Ref, NoneType)
_PLAIN = frozenset({str, bool, int, datetime, date, NoneType})
# An odd workspace could have as many combinations of set fields as it has records.
_SHAPES_KEPT = 4096
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

    Args:
        model: What is built.
        rules: Per field the types that its value may have, and what else is looked at.
    """

    def __init__(self, model: type[R], rules: Mapping[str, tuple[frozenset[type], Check | None]]) -> None:
        self._model = model
        self._types = [types for types, _ in rules.values()]
        self._checks = [(name, check) for name, (_, check) in rules.items() if check is not None]
        fields = model.model_fields
        # `_REFUSED` is of a type that no field may have: what is required must be given.
        self._unset = {
            name: _REFUSED if field.is_required() else field.get_default(call_default_factory=True)
            for name, field in fields.items()
        }
        self._fitting: set[tuple[type, ...]] = set()
        self._given: dict[tuple[str, ...], set[str]] = {}

    def build(self, row: Mapping[str, Any]) -> R | None:
        """The record that holds these values; `None` if pydantic has to look at them."""
        values = {**self._unset, **row}
        shape = (*map(type, values.values()),)
        if shape not in self._fitting and not self._fits(shape):
            return None
        for name, check in self._checks:
            if value := values[name]:
                values[name] = value = check(value)
                if value is _REFUSED:
                    return None
            elif type(value) is dict:
                values[name] = {}  # never the default itself, which all would share
        record = self._model.__new__(self._model)
        _put(record, "__dict__", values)
        _put(record, "__pydantic_fields_set__", self._fields_set(row))
        _put(record, "__pydantic_extra__", None)
        _put(record, "__pydantic_private__", None)
        return record

    def _fits(self, shape: tuple[type, ...]) -> bool:
        # A name that the model does not have makes the shape longer.
        if len(shape) != len(self._types):
            return False
        if not all(one in types for one, types in zip(shape, self._types, strict=True)):
            return False
        if len(self._fitting) < _SHAPES_KEPT:
            self._fitting.add(shape)
        return True

    def _fields_set(self, row: Mapping[str, Any]) -> set[str]:
        """The names that were given: one set for all records, which are frozen, as it takes two kilobytes."""
        names = (*row,)
        known = self._given.get(names)
        if known is None:
            known = set(names)
            if len(self._given) < _SHAPES_KEPT:
                self._given[names] = known
        return known


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
    return frozenset(options), _finite if Decimal in options else None


def _is_scalar(annotation: Any) -> bool:
    return annotation in _SCALARS or (isinstance(annotation, type) and issubclass(annotation, Enum))


def _finite(value: Any) -> Any:
    return value if value.is_finite() else _REFUSED


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
    model, build = nested._model, nested.build

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
