"""What a note says, however a CRM writes it down."""

from __future__ import annotations

import hashlib
import re

from crmkit.mapping.richtext import plain_text

_OUR_KEY = re.compile(r"\bck1:\S+")


def sayings(text: str) -> list[str]:
    """Digests of a note's words, as plain text and read as HTML, without blanks and our key.

    Two notes say the same if they have one in common: some CRMs keep a text as HTML, and
    all put our key into it.
    """
    return sorted({_digest(text), _digest(plain_text(text))})


def _digest(text: str) -> str:
    words = " ".join(_OUR_KEY.sub(" ", text).split())
    return hashlib.sha256(words.encode()).hexdigest()[:32]
