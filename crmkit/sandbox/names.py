"""Words from which the seed makes names, and the ways in which two CRMs spell the same one."""

from __future__ import annotations

import random
from collections.abc import Sequence


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(separator))


HEADS = _words(
    """
    Nord Velo Acu Brix Cala Dora Elva Fenn Gala Hart Ista Jura Kest Lumi Mara Neva Orla Pexa Quin
    Rhea Sola Tera Ursa Vala Wend Xeno Ylva Zephy Arbo Bora Ceri Dyna Esta Fjor Grün Hélio Iber Kýr
    Løv Müll Nuño Öst Pære Rīga Søl Tamp Ulme Vårt Wałb Zúri
    """
)
TAILS = _words(
    """
    wind tec nova mar line dale field gate works point sys lab forge bay stone ridge brook crest
    pass wood ton ville berg haus land mont rock port well star
    """
)
TRADES = _words(
    """
    Logistics Foods Systems Media Energy Health Pharma Robotics Textiles Steel Travel Finance
    Insurance Paper Optics Games Software Security Mining Farming Shipping Aviation Motors Chemicals
    Cosmetics Furniture Printing Telecom Water Solar Hotels Schools
    """
)
FORMS = (
    ("Inc.", ", Incorporated", " Inc", ", Inc."),
    ("GmbH", " Gesellschaft mbH", " G.m.b.H.", " gmbh"),
    ("Ltd", " Limited", " Ltd.", ", Ltd"),
    ("LLC", ", L.L.C.", " llc", " LLC."),
    ("S.A.", " SA", " Société Anonyme", ", S.A."),
    ("株式会社", " K.K.", " Kabushiki Kaisha", " KK"),
)
FIRST = _words(
    """
    Ana Ben Chloé Dmitri Elif Femi Greta Hiro Inês Jan Katarzyna Liam Mei Noor Olga Pedro Qadir Rosa
    Sven Tala Uma Victor Wanjiru Ximena Yusuf Zoë Søren Łukasz José François Aoife Nguyễn
    """
)
LAST = _words(
    """
    Andersen Baptiste Costa Demir Eriksson Fischer García Hansen Ivanova Jansen Kowalski Lefèvre
    Müller Nakamura O'Brien Papadopoulos Quispe Rossi Schmidt Tanaka Usman Vargas Weber Xu Yilmaz
    Zając Østergaard Çelik D'Angelo van-Dijk
    """
)
PLACES = (
    ("Berlin", "DE", "10115", "+49", "30"),
    ("München", "DE", "80331", "+49", "89"),
    ("London", "GB", "EC1A 1BB", "+44", "20"),
    ("Paris", "FR", "75001", "+33", "1"),
    ("New York", "US", "10001", "+1", "212"),
    ("Austin", "US", "73301", "+1", "512"),
    ("São Paulo", "BR", "01000-000", "+55", "11"),
    ("東京", "JP", "100-0001", "+81", "3"),
    ("Kraków", "PL", "30-001", "+48", "12"),
    ("Stockholm", "SE", "111 20", "+46", "8"),
)
STREETS = _words(
    """
    Main Street, Hauptstraße, Rue de l'Église, Station Road, Calle Mayor, Kirchweg, High Street
    """,
    separator=",",
)
TOPLEVEL = ("com", "com", "com", "de", "co.uk", "fr", "io", "eu")
PRODUCTS = _words(
    """
    Annual licence, Pilot, Rollout, Renewal, Upgrade, Support plan, Onboarding, Add-on seats,
    Migration, Consulting, Starter package, Enterprise agreement, Training, Hardware refresh,
    Integration
    """,
    separator=",",
)
SOURCES = ("Website", "Referral", "Trade fair", "Partner", "Cold call", "Advertisement", None, None)
TAGS = ("strategic", "upsell", "Q4", "needs-legal", "EMEA", "übergabe", "partner-led")
LOST_REASONS = ("Price", "Competitor", "No budget", "No decision", "Timing", None)
NOTES = (
    "Called, will decide after the board meeting.",
    "Sent the offer.\nThey asked for a discount of 10 %.",
    "Kunde möchte erst im nächsten Quartal starten.",
    "Spoke to procurement; security review pending. 👍",
    "<b>Important:</b> contract is with legal & finance",
)
AWKWARD = (
    "🚀 Launch 👩‍👩‍👧 package",
    "عقد التوريد السنوي",
    "הסכם שירות 2026",
    "Cafe\u0301 de\u0301cor",
    'The "big" one, isn\'t it?',
    "<script>alert('x')</script>",
    '=HYPERLINK("http://example.com","x")',
    "+1 upgrade; @SUM(A1:A9)",
    "Zero\u200bwidth \u00a0 spaces",
    "日本語の商談・更新",
    "Ligne 1\tTab",
    "Ñandú & Søn // 50% off \\ back",
)
USERS = _words(
    """
    Alex Morgan, Bettina Krause, Carlos Méndez, Dana Whitfield, Emre Aydın, Fiona Gallagher, Goran
    Petrović, Hannah Lindqvist, Ingrid Solberg, Jun Watanabe, Kofi Mensah, Lucía Romero
    """,
    separator=",",
)


def pick(rng: random.Random, words: Sequence[str]) -> str:
    """One of the words; faster than `choice`, for the seed makes millions of picks."""
    return words[int(rng.random() * len(words))]


def spell_company(stem: str, form: int, variant: int) -> str:
    """A company's name as the CRM with this `variant` writes it; equal variants spell alike."""
    usual, *others = FORMS[form % len(FORMS)]
    spellings = (
        f"{stem} {usual}",
        f"{stem.upper()}{others[0]}",
        f"{stem}{others[1]}",
        stem,
        f"{plain(stem)}{others[2]}",
        f"{stem.replace(' ', '  ')} {usual}",
    )
    return spellings[variant % len(spellings)]


def spell_deal(company: str, product: str, year: int, variant: int) -> str:
    """A deal's name as the CRM with this `variant` writes it."""
    variant %= 5
    if variant == 0:
        return f"{company} – {product} {year}"
    if variant == 1:
        return f"{product} {year} ({company})"
    if variant == 2:
        return f"{company} - {product.lower()}"
    if variant == 3:
        return f"{company}: {product} {year}"
    return f"{plain(company)} – {product} '{year % 100:02}"


def spell_phone(country: str, area: str, number: int, variant: int) -> str:
    """A phone number as the CRM with this `variant` writes it."""
    digits = f"{number:07}"
    spellings = (
        f"{country} {area} {digits}",
        f"{country}{area}{digits}",
        f"{country} ({area}) {digits[:3]}-{digits[3:]}",
        f"00{country[1:]} {area} {digits[:3]} {digits[3:]}",
    )
    return spellings[variant % len(spellings)]


def plain(text: str) -> str:
    """Letters of ASCII only, the way careless imports leave them."""
    return text.translate(_PLAIN).encode("ascii", "ignore").decode()


def slug(text: str) -> str:
    """A name as a part of an address: lower case, letters and digits only."""
    return "".join(letter for letter in plain(text).lower() if letter.isalnum())


_PLAIN = str.maketrans(
    {
        **{"é": "e", "è": "e", "ë": "e", "í": "i", "ó": "o", "ú": "u", "á": "a", "ã": "a", "å": "aa"},
        **{
            "ñ": "n",
            "ç": "c",
            "ý": "y",
            "ł": "l",
            "ø": "o",
            "ı": "i",
            "ī": "i",
            "æ": "ae",
            "ê": "e",
            "ą": "a",
        },
        **{"ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss", "Ö": "Oe", "Ø": "O", "Ł": "L", "Ç": "C", "–": "-"},
        **{"ễ": "e", "ć": "c"},
    }
)
