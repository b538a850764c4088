"""What the name of a stage or pipeline says: words found, typing errors forgiven."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from rapidfuzz.distance import OSA

from crmkit.mapping.words import SECOND_MEANINGS, TERMS

_PERCENT = re.compile(r"(?<!\d)(\d{1,3})(?:[.,]\d+)?\s*%")
_NUMBERING = re.compile(
    r"^\W*(?:(?:stage|step|phase|etapa|etape|etap|stufe|этап|s|p)\s*)?\d{1,2}(?:\.\d{1,2})*\b", re.I
)
_JAPANESE = re.compile(r"[぀-ヿ㐀-鿿]")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase of the lists, and how strongly it speaks for each meaning (0..1)."""

    words: tuple[str, ...]
    meanings: Mapping[str, float]
    language: str
    japanese: bool = False

    def __str__(self) -> str:
        return " ".join(self.words).replace("*", "")


@dataclass(frozen=True, slots=True)
class Hit:
    """A term found in a name; `score` (0..1) tells how much of the name it explains."""

    term: Term
    score: float
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A name as understood: the terms in it, and the percentage it carries, if any."""

    hits: tuple[Hit, ...]
    percent: int | None

    def meanings(self) -> dict[str, tuple[float, Hit]]:
        """The best score of each meaning, and the term it comes from."""
        best: dict[str, tuple[float, Hit]] = {}
        # Two steps in one name ("Demo / Proposal") make each of them less certain.
        share = (
            0.8
            if len({max(h.term.meanings, key=h.term.meanings.__getitem__) for h in self.hits}) > 1
            else 1.0
        )
        for hit in self.hits:
            for meaning, weight in hit.term.meanings.items():
                score = hit.score * weight * share
                if score > best.get(meaning, (0.0, hit))[0]:
                    best[meaning] = (score, hit)
        return best


def fold(name: str) -> str:
    """The name in one spelling: compatibility forms, case and Latin or Cyrillic accents removed."""
    text = unicodedata.normalize("NFKD", _HUMP.sub(" ", unicodedata.normalize("NFKC", name))).casefold()
    # Only U+0300..U+036F: the voicing marks of kana make other words.
    text = "".join(char for char in text if not "̀" <= char <= "ͯ")
    return unicodedata.normalize("NFC", text)


def read_name(name: str, own_terms: Iterable[Term] = ()) -> Reading:
    """What a name says.

    Args:
        name: As the CRM shows it: numbering, percentages and emoji are put aside.
        own_terms: Terms besides the built-in ones, such as the names of a workspace's
            own common stages.
    """
    text = fold(name)
    percent = _PERCENT.search(text)
    text = _NUMBERING.sub(" ", _PERCENT.sub(" ", text))
    words = re.findall(r"[^\W_]+", text)
    if not words:  # the whole name was a number
        words = re.findall(r"[^\W_]+", fold(name))
    own = tuple(own_terms)
    hits = [*_spaced_hits(words, own), *_japanese_hits("".join(words))]
    share = int(percent[1]) if percent and int(percent[1]) <= 100 else None
    return Reading(tuple(sorted(hits, key=lambda hit: (-hit.score, "*" in "".join(hit.term.words)))), share)


def own_term(name: str, meaning: str) -> Term | None:
    """A term for a workspace's own word, or `None` if nothing in it can be matched."""
    words = tuple(re.findall(r"[^\W_]+", fold(name)))
    return Term(words, {meaning: 1.0}, "outline", bool(_JAPANESE.search(name))) if words else None


def _spaced_hits(words: list[str], own: tuple[Term, ...]) -> list[Hit]:
    corrected = [_corrected(word) for word in words]
    found: list[tuple[int, int, Term]] = []
    for term in own:
        found += [(at, at + len(term.words), term) for at in _places(term.words, corrected)]
    index = _by_first_word()
    for at, word in enumerate(corrected):
        for term in _starting_with(word, index):
            end = at + len(term.words)
            if end <= len(corrected) and all(map(_fits, term.words[1:], corrected[at + 1 : end])):
                found.append((at, end, term))
    letters = sum(map(len, words)) or 1
    hits = []
    for start, end, term in found:
        inside = any(
            other[0] <= start and end <= other[1] and other[1] - other[0] > end - start for other in found
        )
        if not inside:
            part = sum(map(len, words[start:end])) / letters
            typo = words[start:end] != corrected[start:end]
            hits.append(Hit(term, (0.75 + 0.2 * part) * (0.88 if typo else 1.0), typo))
    return hits


def _japanese_hits(text: str) -> list[Hit]:
    if not _JAPANESE.search(text):
        return []
    found = [(term, text.find(term.words[0])) for term in _terms() if term.japanese and term.words[0] in text]
    return [
        Hit(term, 0.75 + 0.2 * len(term.words[0]) / len(text))
        for term, _ in found
        if not any(term.words[0] != other.words[0] and term.words[0] in other.words[0] for other, _ in found)
    ]


def _places(pattern: tuple[str, ...], words: list[str]) -> Iterator[int]:
    for at in range(len(words) - len(pattern) + 1):
        if all(map(_fits, pattern, words[at:])):
            yield at


def _fits(pattern: str, word: str) -> bool:
    stem = pattern.strip("*")
    if pattern.startswith("*"):
        return stem in word
    return word.startswith(stem) if pattern.endswith("*") else word == stem


def _starting_with(word: str, index: Mapping[str, list[Term]]) -> Iterator[Term]:
    for term in (*index.get(word[:2], ()), *index.get("*", ())):
        if _fits(term.words[0], word):
            yield term


@cache
def _corrected(word: str) -> str:
    """The word, or the one listed word it is a typing error of.

    A known word is never taken for a typing error: "contact" and "contract" differ by
    one letter.
    """
    if len(word) < 6 or any(_fits(known, word) for known in _vocabulary()):
        return word
    limit = 1 if len(word) < 9 else 2
    near = sorted(
        (distance, known)
        for known in _vocabulary()
        if "*" not in known
        and len(known) >= 6
        and (distance := OSA.distance(word, known, score_cutoff=limit)) <= limit
    )
    return near[0][1] if near else word


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(word for term in _terms() if not term.japanese for word in term.words)


@cache
def _by_first_word() -> dict[str, list[Term]]:
    index: dict[str, list[Term]] = {}
    for term in _terms():
        if not term.japanese:
            first = term.words[0]
            index.setdefault("*" if first.startswith("*") else first[:2], []).append(term)
    return index


@cache
def _terms() -> tuple[Term, ...]:
    listed = [
        (text.strip(), {meaning: 1.0}, language)
        for language, meanings in TERMS.items()
        for meaning, texts in meanings.items()
        for text in texts.split(";")
        if text.strip() not in SECOND_MEANINGS
    ]
    listed += [(text, dict(weights), "ambiguous") for text, weights in SECOND_MEANINGS.items()]
    return tuple(
        Term(tuple(fold(text).split()), weights, language, bool(_JAPANESE.search(text)))
        for text, weights, language in listed
    )
