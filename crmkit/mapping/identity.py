"""Exact keys by which the same company, person or deal is recognised in two CRMs.

Each function normalises one value so that spellings that mean the same compare equal,
and gives `None` where the value says nothing (a free-mail domain, a name of one letter).
"""

from __future__ import annotations

import re
import unicodedata

# Mail providers: thousands of unrelated companies share them.
FREE_MAIL = frozenset(
    """
    gmail.com googlemail.com outlook.com hotmail.com live.com msn.com yahoo.com yahoo.co.jp ymail.com
    icloud.com me.com mac.com aol.com gmx.de gmx.net gmx.at gmx.ch web.de t-online.de freenet.de mail.ru
    yandex.ru yandex.com bk.ru inbox.ru list.ru proton.me protonmail.com qq.com 163.com 126.com orange.fr
    free.fr laposte.net libero.it uol.com.br bol.com.br terra.com.br
    """.split()
)
_LEGAL_FORMS = frozenset(
    """
    inc incorporated corp corporation co company llc llp lp ltd limited plc gmbh mbh ag kg ohg ug se sa sas
    sarl srl spa sl slu bv nv oy ab as aps kk oao ooo zao pao ltda eireli pty pte the and
    """.split()
)
_LONG_FORMS = (
    ("gesellschaft", "mit", "beschrankter", "haftung"), ("gesellschaft", "mbh"), ("societe", "anonyme"),
    ("sociedad", "anonima"), ("societa", "per", "azioni"), ("kabushiki", "kaisha"), ("limited", "liability"),
)  # fmt: skip
# Written without a blank before or behind the name.
_JOINED_FORMS = re.compile("株式会社|有限会社|合同会社")
# Their second words: a name without any of these has no long form.
_LONG_FORM_SIGNS = frozenset(form[1] for form in _LONG_FORMS)
_WORD = re.compile(r"\w+")
_NOT_WORD = re.compile(r"[^\w]+")
_SCHEME = re.compile(r"^[a-z]+://")
_NOT_DIGIT = re.compile(r"\D+")


def words(text: str) -> list[str]:
    """The words of a text: compatibility forms folded, accents and case removed."""
    if text.isascii():  # nothing to fold, and most names
        return _WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(ch for ch in folded if not unicodedata.combining(ch))
    return [word for word in _NOT_WORD.split(unicodedata.normalize("NFKC", plain)) if word]


def company_name(name: str | None) -> str | None:
    """A company name without legal form, punctuation, accents and case.

    `ACME, Incorporated` and `Acme Inc.` both give `acme`.
    """
    if not name:
        return None
    every = words(name if name.isascii() else _JOINED_FORMS.sub(" ", name))
    if min(map(len, every), default=0) < 2:
        every = _spelled_out(every) or words(name)
    short = every if _LONG_FORM_SIGNS.isdisjoint(every) else _without_long_forms(every)
    kept = [word for word in short if word not in _LEGAL_FORMS] or every
    text = " ".join(kept)
    return text if len(text) > 1 else None


def _spelled_out(every: list[str]) -> list[str]:
    """Words with runs of single letters joined: `g m b h` of `G.m.b.H.` is `gmbh`."""
    joined: list[str] = []
    run = ""
    for word in [*every, ""]:
        if len(word) == 1 and word.isalpha():
            run += word
            continue
        joined += [run] if run else []
        joined += [word] if word else []
        run = ""
    return joined


def _without_long_forms(every: list[str]) -> list[str]:
    for form in _LONG_FORMS:
        for at in range(len(every) - len(form) + 1):
            if tuple(every[at : at + len(form)]) == form:
                return every[:at] + every[at + len(form) :]
    return every


def domain(text: str | None) -> str | None:
    """A company's own domain from a domain, an address or an e-mail; no free-mail domains."""
    if not text:
        return None
    host = text.strip().casefold().rsplit("@", 1)[-1]
    host = _SCHEME.sub("", host).split("/")[0].split("?")[0].split(":")[0].rstrip(".")
    host = host.removeprefix("www.")
    if "." not in host or host in FREE_MAIL or " " in host:
        return None
    return host


def email(text: str | None) -> str | None:
    """An e-mail address to compare; case never tells two mailboxes apart in practice."""
    if not text or "@" not in text:
        return None
    return text.strip().casefold()


def phone(text: str | None) -> str | None:
    """The last nine digits: enough to tell numbers apart, free of country and trunk prefixes."""
    if not text:
        return None
    digits = _NOT_DIGIT.sub("", text)
    return digits[-9:] if len(digits) >= 7 else None


def tax_id(text: str | None) -> str | None:
    """A tax id without blanks and punctuation."""
    plain = _NOT_WORD.sub("", text or "").replace("_", "").casefold()
    return plain if len(plain) >= 5 else None
