"""What a migration asks of the engine beyond keeping deals in step.

A migration is a sync of one source and one target. On top of that it brings along
everybody and every note, keeps when a deal was made and closed, and leaves a note of what
the target has no place for. The engine asks here and nowhere else whether it migrates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from crmkit.mapping.custom import CustomField
from crmkit.model import Kind

Missing = Literal["hold", "without", "leave_out"]
"""What becomes of a new deal one of whose values cannot be written: it waits, it goes without
that value, or it stays where it is."""


@dataclass(frozen=True, slots=True)
class PartyField:
    """A custom field of companies or people, in both CRMs; values of both stand for the same."""

    source: CustomField
    target: CustomField


@dataclass(frozen=True, slots=True)
class Untold:
    """A custom field of the source without a counterpart: its label, and the labels of its options."""

    label: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moving:
    """How a migration moves.

    Attributes:
        source: The connection that is read.
        target: The connection that is written.
        missing: Per deal field, what becomes of a new deal whose value cannot be written.
        stamps: Model field of a source deal to where a new deal keeps it: a model field that
            a create can set, or `custom.<id>`.
        party_fields: Custom fields of companies and people.
        party_names: Their fields that are kept in step, custom ones too.
        everybody: Whether companies and people come along that no deal names.
        notes: Whether notes come along.
        letters: Whether each deal gets a note that tells its past.
        untold: Custom deal fields that the target has no place for, by the source's id; the
            letter tells their values.
        only: Ids of the source deals that may be written; `None` for all.
    """

    source: str
    target: str
    missing: Mapping[str, Missing] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)
    party_fields: Mapping[Kind, tuple[PartyField, ...]] = field(default_factory=dict)
    party_names: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    everybody: bool = True
    notes: bool = True
    letters: bool = True
    untold: Mapping[str, Untold] = field(default_factory=dict)
    only: frozenset[str] | None = None
