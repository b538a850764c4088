"""Pseudonyms: texts that keep their length, script, case and shape, and nothing else of what they said.

Word by word, so that the same word is masked alike wherever it stands: in a company's name,
its domain, an e-mail address, the name of a deal, in this CRM and in the other one. Letters are
shifted by an amount that depends on the salt and on all letters before them in the word, with
accents and case set aside: `Müller` and `MULLER` stay two spellings of one name, words that
begin alike still begin alike, and two different words never become the same.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from crmkit.mapping import identity

_TLD = (
    "com org net info biz edu gov int eu io ai app dev me tv co de at ch li fr es pt it nl be lu uk ie dk se "
    "no fi is pl cz sk hu ro bg gr tr ru ua us ca mx br ar cl jp cn kr in au nz za ae il example test invalid"
)
_SECOND_LEVEL = frozenset("co com org net ac gov edu or ne".split())
_DOMAIN = rf"(?<![\w.-])(?:[^\W_][\w-]*\.)+(?:{'|'.join(_TLD.split())})(?![\w-]|\.\w)"
_LEGAL_SIGNS = "株式会社|有限会社|合同会社|有限公司|㈱"
_DOTTED = r"\b(?:[^\W\d_]\.){2,}(?:[^\W\d_]\b)?"
_TOKEN = re.compile(
    rf"(?P<scheme>\bhttps?://|\bmailto:)|(?P<domain>(?:(?<=@)|){_DOMAIN})|(?P<sign>{_LEGAL_SIGNS})"
    rf"|(?P<dotted>{_DOTTED})|(?P<word>[\w\u0300-\u036f]+)",
    re.IGNORECASE,
)
_LEGAL_WORDS = frozenset(
    "gesellschaft beschrankter beschränkter haftung societe société anonyme sociedad anonima anónima societa "
    "società azioni kabushiki kaisha liability www".split()
)
# Of HTML these names of tags and attributes are kept; all else between angle brackets is text.
_TAG = re.compile(
    r"</?(?:a|abbr|b|blockquote|body|br|center|code|col|colgroup|dd|del|div|dl|dt|em|font|h[1-6]|head|hr|html|i|"
    r"img|ins|li|mark|ol|p|pre|s|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)"
    r"(?=[\s/>])[^<>]*>",
    re.IGNORECASE,
)
_TAG_HEAD = re.compile(r"</?\w+")
_ATTRIBUTE = re.compile(
    r"(?<=\s)(?:href|src|alt|title|class|style|target|rel|width|height|align|dir|lang|id|name|data-[\w-]+)(?==)",
    re.IGNORECASE,
)
_ENTITY = re.compile(
    r"&(?:#\d{2,6}|#x[0-9a-f]{2,5}|amp|lt|gt|quot|apos|nbsp|[a-z]+uml|szlig|euro);", re.IGNORECASE
)
_MONEY = re.compile(r"-?\d+(?:\.\d+)?(?:\|[A-Z]{3})?")
# https://www.itu.int/pub/T-SP-E.164D: those of one and two digits; all others have three.
_SHORT_CODES = frozenset(
    "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 "
    "81 82 84 86 90 91 92 93 94 95 98".split()
)
_WORDS_KEPT = 500_000
_FULL_WIDTH = 0xFEE0


class Masking:
    """One set of pseudonyms.

    Args:
        salt: Other salts give other pseudonyms; whoever has it can undo them.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._shifts: dict[tuple[str, str], int] = {}
        self._words: dict[str, str] = {}

    @classmethod
    def random(cls) -> Masking:
        """Pseudonyms that nobody can undo or make again."""
        return cls(secrets.token_bytes(32))

    def text(self, text: str) -> str:
        """Any text: legal forms, the endings of domains, mail providers and all signs between words stay."""
        return _TOKEN.sub(self._token, text)

    def name(self, name: str) -> str:
        """The name of a person: no word of it stays."""
        if "@" in name:
            return self.text(name)
        return re.sub(r"[\w\u0300-\u036f]+", lambda match: self.word(match.group()), name)

    def phone(self, phone: str) -> str:
        """A phone number of the same length, country and spelling; its last digits decide alone.

        So that a number with and one without country code stay the same number. Zeros stay zeros:
        a prefix for long distances is not to be mistaken for anything else.
        """
        kept = _prefix_digits(phone)
        digits = [sign for sign in phone if sign.isdecimal()]
        made: list[str] = []
        behind = ""
        for place in range(len(digits) - 1, -1, -1):
            value = unicodedata.decimal(digits[place])
            if place >= kept and value:
                shifted = (value + self._shift("phone", behind) % 8) % 9 + 1
                made.append(str(shifted))
            else:
                made.append(digits[place])
            behind = str(value) + behind
        left = iter(reversed(made))
        text = "".join(next(left) if sign.isdecimal() else sign for sign in phone)
        return re.sub(r"[^\W\d_]+", lambda match: self.word(match.group()), text)

    def html(self, text: str) -> str:
        """A note: tags and entities stay, what they hold is masked."""
        done, at = "", 0
        for match in _TAG.finditer(text):
            done += self._between(text[at : match.start()]) + self._tag(match.group())
            at = match.end()
        return done + self._between(text[at:])

    def place(self, text: str) -> str:
        """A country stays if it is a code."""
        return text if re.fullmatch(r"[A-Z]{2,3}", text) else self.text(text)

    def money(self, text: str) -> str:
        """An amount with its currency stays; anything else is masked."""
        return text if _MONEY.fullmatch(text) else self.text(text)

    def word(self, word: str) -> str:
        """One word: as many signs, of the same script and case."""
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= _WORDS_KEPT:
                self._words.clear()
            known = self._words[word] = self._masked(word)
        return known

    def _token(self, match: re.Match[str]) -> str:
        found = match.group()
        if match.lastgroup in {"scheme", "sign"}:
            return found
        if match.lastgroup == "domain":
            return self._domain(found)
        if match.lastgroup == "dotted":
            plain = found.replace(".", "")
            return found if is_legal_form(plain) else "".join(map(self.word, found))
        return found if is_legal_form(found) else self.word(found)

    def _domain(self, host: str) -> str:
        if host.casefold() in identity.FREE_MAIL:
            return host
        parts = host.split(".")
        kept = 2 if len(parts) > 2 and parts[-2].casefold() in _SECOND_LEVEL else 1
        labels = [part if part.casefold() == "www" else self._label(part) for part in parts[:-kept]]
        return ".".join([*labels, *parts[-kept:]])

    def _label(self, label: str) -> str:
        return re.sub(r"[\w\u0300-\u036f]+", lambda match: self.word(match.group()), label)

    def _between(self, text: str) -> str:
        done, at = "", 0
        for match in _ENTITY.finditer(text):
            done += self.text(text[at : match.start()]) + match.group()
            at = match.end()
        return done + self.text(text[at:])

    def _tag(self, tag: str) -> str:
        head = _TAG_HEAD.match(tag)
        assert head is not None
        done, at = head.group(), head.end()
        for match in _ATTRIBUTE.finditer(tag, at):
            done += self._between(tag[at : match.start()]) + match.group()
            at = match.end()
        return done + self._between(tag[at:])

    def _masked(self, word: str) -> str:
        made, before = "", ""
        for sign in word:
            plain = _plain(sign)
            made += self._sign(sign, plain, before)
            before += plain
        return made

    def _sign(self, sign: str, plain: str, before: str) -> str:
        """One sign of a word, given what stands before it in plain letters."""
        if not plain or sign == "_":
            return sign
        if sign.isdecimal() and plain.isascii():
            value = (int(plain) + 1 + self._shift("digit", before) % 9) % 10
            return chr(ord(sign) - int(plain) + value)
        if len(plain) > 1 and plain.isascii():
            return sign  # no single letter is masked like two: `ß` stays, as does a ligature
        if plain.isascii() and plain.isalpha():
            shift = 1 + self._shift("letter", before) % 25
            letter = chr((ord(plain) - ord("a") + shift) % 26 + ord("a"))
            return _dressed(letter, sign)
        lower = folded if len(folded := sign.casefold()) == 1 else sign
        script = _script(lower)
        if len(script) < 2:
            return (
                sign if not sign.isalpha() else _dressed("abcdefghij"[self._shift("rare", before) % 10], "x")
            )
        shift = 1 + self._shift("script", before) % (len(script) - 1)
        found = script[(max(script.find(lower), 0) + shift) % len(script)]
        upper = found.upper()
        return upper if sign.isupper() and len(upper) == 1 else found

    def _shift(self, what: str, before: str) -> int:
        known = self._shifts.get((what, before))
        if known is None:
            if len(self._shifts) >= 4 * _WORDS_KEPT:
                self._shifts.clear()
            said = f"{what}:{before}".encode("utf-8", "surrogatepass")
            digest = blake2b(said, key=self._salt[:64], digest_size=8).digest()
            known = self._shifts[what, before] = int.from_bytes(digest)
        return known


@lru_cache(maxsize=50_000)
def is_legal_form(word: str) -> bool:
    """Whether a word says what kind of company it is, such as `GmbH`: it names nobody."""
    plain = word.casefold()
    return plain in _LEGAL_WORDS or identity.company_name(f"qqqq {plain}") == "qqqq"


def _prefix_digits(phone: str) -> int:
    """How many digits at the start of a number say no more than the country."""
    digits = "".join(sign for sign in phone if sign.isdecimal())
    international = phone.lstrip(" (").startswith("+")
    start = 0
    if not international and digits.startswith("00"):
        international, start = True, 2
    if not international:
        return 1 if len(digits) == 11 and digits.startswith("1") else 0
    code = digits[start:]
    length = next((size for size in (1, 2) if code[:size] in _SHORT_CODES), 3)
    return start + length


@lru_cache(maxsize=20_000)
def _plain(sign: str) -> str:
    """What a sign is told by: its letter without accent and case; nothing for an accent by itself."""
    folded = unicodedata.normalize("NFKD", sign.casefold())
    return "".join(one for one in folded if not unicodedata.combining(one) and one.isalnum())


@lru_cache(maxsize=20_000)
def _dressed(letter: str, like: str) -> str:
    """A letter of a to z in the case of another one, and with an accent or in full width like that."""
    made = letter.upper() if like.isupper() else letter
    if 0xFF21 <= ord(like) <= 0xFF5A:
        return chr(ord(made) + _FULL_WIDTH)
    if like.isascii():
        return made
    marks = [one for one in unicodedata.normalize("NFD", like) if unicodedata.combining(one)]
    for mark in (*marks, *_USUAL_MARKS):
        accented = unicodedata.normalize("NFC", made + mark)
        if len(accented) == 1:
            return accented
    return made


_USUAL_MARKS = ("\u0301", "\u0308", "\u0302", "\u0327", "\u030c", "\u0323", "\u0307")


@lru_cache(maxsize=20_000)
def _script(sign: str) -> str:
    """The letters of the same script around a letter, it among them, in a fixed order."""
    for size in (64, 256):
        start = ord(sign) // size * size
        found = "".join(one for one in map(chr, range(start, start + size)) if _alike(one, sign))
        if len(found) > 9:
            break
    return found


def _alike(one: str, sign: str) -> bool:
    if unicodedata.category(one) != unicodedata.category(sign) or one.upper().casefold() != one:
        return False  # such as the Turkish dotless i, whose capital is the capital of another letter
    if not _plain(one) or _plain(one).isascii():
        return False
    return _first_word(one) == _first_word(sign)


_first_word: Callable[[str], str] = lambda sign: unicodedata.name(sign, "").partition(" ")[0]  # noqa: E731
