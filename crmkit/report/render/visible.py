"""Makes what a text would do to a terminal or a page visible instead of letting it happen."""

from __future__ import annotations

import re
import unicodedata

# Controls, bidirectional marks and overrides (CVE-2021-42574), invisible spaces, line separators.
# The zero width joiners stay: emoji and several scripts need them.
_HIDDEN = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """The text on one line: control characters as pictures or `<U+202E>`, nothing else changed."""
    return _HIDDEN.sub(_picture, text)


def shortened(text: str, length: int) -> str:
    """The text, cut at `length` characters with an ellipsis, never before a combining mark."""
    if len(text) <= length:
        return text
    end = length - 1
    while end > 1 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end] + "…"


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"
