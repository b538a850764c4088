"""Columns of the state store as columns of whole numbers, many values at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crmkit.report.facts.scale import (
    AMOUNT_DIGITS,
    LARGEST_AMOUNT,
    SHARE_DIGITS,
    day_number,
    instant,
    whole,
)
from crmkit.report.money import is_sane

__all__ = ["amount", "amounts", "column", "instant", "share", "shares"]

_MOMENT = pa.timestamp("us", tz="UTC")
_LARGEST_SHARE = Decimal(1000)


def column(values: Sequence[Any], name: str) -> Any:
    """The values of one column by what its name says: instants, days, or as they are."""
    if name.endswith("_us"):
        return _instants(values)
    if name.endswith("_day"):
        return _days(values)
    if name == "archived":
        return pa.array([bool(value) for value in values], pa.bool_())
    return list(values)


def amounts(values: Sequence[Any]) -> tuple[list[int | None], list[bool]]:
    """Amounts in units of their last digit, and which of them are absurd."""
    found: list[int | None] = []
    unreadable: list[bool] = []
    for value in values:
        read = None if value is None else amount(Decimal(value))
        found.append(read)
        unreadable.append(value is not None and read is None)
    return found, unreadable


def amount(value: Decimal) -> int | None:
    """An amount in units of its last digit; `None` if it is absurd."""
    if not is_sane(value) or abs(value) >= LARGEST_AMOUNT:
        return None
    return whole(value, AMOUNT_DIGITS)


def shares(values: Sequence[Any]) -> list[int | None]:
    """Probabilities in units of their last digit."""
    return [None if value is None else share(Decimal(value)) for value in values]


def share(value: Decimal | None) -> int | None:
    """A probability in units of its last digit; what is absurd stays out of range."""
    if value is None:
        return None
    if not value.is_finite() or abs(value) > _LARGEST_SHARE:
        return -1
    return whole(value, SHARE_DIGITS)


def _instants(values: Sequence[Any]) -> Any:
    sample = next((value for value in values if value is not None), None)
    if sample is None:
        return pa.nulls(len(values), pa.int64())
    if isinstance(sample, str):
        return pc.cast(pc.cast(pa.array(values, pa.string()), _MOMENT), pa.int64())
    return pa.array([None if value is None else instant(value) for value in values], pa.int64())


def _days(values: Sequence[Any]) -> Any:
    sample = next((value for value in values if value is not None), None)
    if sample is None:
        return pa.nulls(len(values), pa.int64())
    if isinstance(sample, str):
        days = pc.cast(pa.array(values, pa.string()), pa.date32())
        return pc.cast(pc.cast(days, pa.int32()), pa.int64())
    return pa.array([None if value is None else day_number(_date(value)) for value in values], pa.int64())


def _date(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value
