"""Names as different people and CRMs spell them, brought to one spelling for a comparison.

Coarser than the exact keys of `identity`: what is equal here is a reason to ask a person,
not a reason to link.
"""

from __future__ import annotations

import re
from functools import lru_cache

from crmkit.mapping import identity

_LETTERS = str.maketrans(
    {
        "ß": "ss", "æ": "ae", "œ": "oe", "Æ": "ae", "Œ": "oe", "Ø": "o", "Ł": "l", "Đ": "d", "Þ": "th",
        "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    }
)  # fmt: skip
_DOTTED = re.compile(r"\b(?:\w\.){2,}")
_LEGAL_PHRASES = re.compile(
    r"\b(?:gesellschaft mbh|gesellschaft mit beschrankter haftung|societe anonyme|sociedad anonima"
    r"|societa per azioni|kabushiki kaisha|gmbh co kg|pty ltd|private limited|pvt ltd)\b"
)
_LEGAL_SIGNS = ("株式会社", "有限会社", "合同会社", "有限公司", "(株)", "㈱")
# Endings under which a country has its own companies, as in example.co.uk.
_SECOND_LEVEL = frozenset("co com org net ac gov edu or ne".split())
_SHORTEST_ROOT = 4


@lru_cache(maxsize=200_000)
def core_name(name: str) -> str:
    """A company's name without legal form, accents, punctuation and case; may be empty."""
    for sign in _LEGAL_SIGNS:
        name = name.replace(sign, " ")
    text = _DOTTED.sub(lambda match: match.group().replace(".", ""), name)
    text = " ".join(identity.words(text.translate(_LETTERS)))
    text = " ".join(_LEGAL_PHRASES.sub(" ", text).split())
    return _plain_vowels(identity.company_name(text) or "")


@lru_cache(maxsize=200_000)
def person_name(name: str) -> str:
    """A person's name in plain letters, words in alphabetical order: `Müller, Jan` is `jan muller`."""
    return " ".join(sorted(_plain_vowels(" ".join(identity.words(name.translate(_LETTERS)))).split()))


def root(domain: str | None) -> str | None:
    """The part of a domain that stands for its owner: `acme` of `www.acme.co.uk`.

    `None` for a free-mail domain, and for one of fewer than four letters, which many share.
    """
    host = identity.domain(domain)
    if host is None:
        return None
    parts = host.split(".")[:-1]
    if len(parts) > 1 and parts[-1] in _SECOND_LEVEL:
        parts = parts[:-1]
    found = parts[-1] if parts else ""
    return found if len(found) >= _SHORTEST_ROOT else None


def _plain_vowels(text: str) -> str:
    # German and Scandinavian vowels are written with an e where a keyboard lacks them:
    # `Müller` has lost its dots by now, `Mueller` still has its e.
    return text.replace("ae", "a").replace("oe", "o").replace("ue", "u").replace("aa", "a")
