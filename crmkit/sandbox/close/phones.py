"""Phone numbers as Close keeps them: E.164, with the user's country where none is said.

The rules for each country are libphonenumber's in the real CRM; here a number is kept digit by digit.
"""

from __future__ import annotations

_HOME_CODE = "1"  # of the sandbox's users; the documentation's examples are made in the US too
_COUNTRIES = {"1": "US", "31": "NL", "33": "FR", "34": "ES", "39": "IT", "43": "AT", "44": "GB", "49": "DE"}
_MOST_DIGITS = 15


def normal_phone(said: str) -> str | None:
    """A number in E.164, or `None` if it is none: `8004445555` is `+18004445555`."""
    text = said.strip()
    digits = "".join(sign for sign in text if sign.isascii() and sign.isdigit())
    if not digits or len(digits) > _MOST_DIGITS:
        return None
    if text.startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}" if digits[2:] else None
    if len(digits) == 11 and digits.startswith(_HOME_CODE):
        return f"+{digits}"
    return f"+{_HOME_CODE}{digits}"


def country_of(phone: str) -> str | None:
    """The country of a number in E.164; `None` for one that is spelt as people do."""
    if not phone[1:].isdigit():
        return None
    digits = phone[1:]
    return _COUNTRIES.get(digits[:2]) or _COUNTRIES.get(digits[:1])


def phone_formatted(phone: str) -> str:
    """A number as people read it: `+1 800-444-5555`, `+44 1234`."""
    if not phone.startswith("+") or not phone[1:].isdigit():
        return phone
    digits = phone[1:]
    if digits.startswith("1"):
        rest = digits[1:]
        spelt = f"{rest[:3]}-{rest[3:6]}-{rest[6:]}" if len(rest) == 10 else rest
        return f"+1 {spelt}".rstrip()
    return f"+{digits[:2]} {digits[2:]}".rstrip()
