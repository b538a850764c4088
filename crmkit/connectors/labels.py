"""Labels of wanted fields and of their options: listed, compared and checked before any call."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from crmkit.connectors.base import Field

CHOICES = ("choice", "choices")


def labels_of(wanted: Field) -> list[str]:
    """The labels of the wanted options, each once."""
    return list(dict.fromkeys(wanted.options.values()))


def lacking(there: Iterable[Any], wanted: Iterable[str]) -> list[str]:
    """The wanted labels that are not there, each once and as one line."""
    known = {tidy(label) for label in there}
    labels = {tidy(label): one_line(label) for label in wanted}
    return [label for key, label in labels.items() if key not in known]


def tidy(label: Any) -> str:
    """A label as labels are compared: one form of each letter, single blanks."""
    return one_line(unicodedata.normalize("NFC", str(label or "")))


def one_line(label: str) -> str:
    """A label with single blanks and no line breaks."""
    return " ".join(label.split())


def check(wanted: Field, choices: Iterable[str]) -> None:
    """Raise for labels that no CRM could keep.

    Args:
        wanted: The field.
        choices: The labels of its options that are to be made.

    Raises:
        ValueError: With the reason.
    """
    options = list(choices)
    if wanted.type in CHOICES and not options:
        raise ValueError("a choice needs at least one option")
    for what, label in (("the label", wanted.label), *(("an option", one) for one in options)):
        if not label.strip():
            raise ValueError(f"{what} is empty")
        if any(unicodedata.category(letter) in ("Cc", "Cs") and not letter.isspace() for letter in label):
            raise ValueError(f"{what} holds a control character or half a character")
