"""Numbers, money, days and months as a language writes them; for pages, by Babel."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from functools import lru_cache
from types import ModuleType

from crmkit.errors import CrmkitError, UsageError
from crmkit.report.money import minor_digits, rounded, rounded_to
from crmkit.report.render.cells import Cell, Days, Link, Money, Share
from crmkit.report.render.texts import Texts, texts_of
from crmkit.report.render.visible import visible

# Babel rounds as the decimal context says; figures are rounded half-up (metrics.md 2.4).
_HALF_UP = Context(prec=60, rounding=ROUND_HALF_UP)
_THOUSAND = 1_000


class Formats:
    """How one language, in one region, writes figures.

    Args:
        language: `de`, or with a region `de-CH`.
        currency: The report currency.

    Raises:
        UsageError: The language is not there.
        CrmkitError: Babel is not installed.
    """

    def __init__(self, language: str, currency: str) -> None:
        self.texts: Texts = texts_of(language)
        self.currency = currency
        self._locale = _locale(language)
        self._numbers, self._dates = _babel()
        self._percent = _with_one_digit(self._locale)

    @property
    def tag(self) -> str:
        """The language for a page and for its scripts: `de-CH`."""
        return self._locale.replace("_", "-")

    def count(self, number: int | Decimal) -> str:
        """A whole number with grouped digits."""
        return str(self._numbers.format_decimal(int(number), locale=self._locale))

    def deals(self, number: int) -> str:
        """`1 deal`, `12 deals`."""
        return self.texts["deal_one" if number == 1 else "deal_many"].format(count=self.count(number))

    def number(self, value: Decimal | None, digits: int) -> str:
        """A number with so many digits after the point."""
        if value is None:
            return self.texts["none"]
        pattern = "#,##0." + "0" * digits if digits else "#,##0"
        with localcontext(_HALF_UP):
            return str(self._numbers.format_decimal(rounded_to(value, digits), pattern, locale=self._locale))

    def percent(self, fraction: Decimal | None) -> str:
        """A fraction in percent with one digit after the point."""
        if fraction is None:
            return self.texts["none"]
        with localcontext(_HALF_UP):
            return str(self._numbers.format_percent(fraction, self._percent, locale=self._locale))

    def money(self, amount: Decimal | None, currency: str | None = None) -> str:
        """An amount to its minor unit, without the currency."""
        if amount is None:
            return self.texts["none"]
        unit = currency or self.currency
        return self.number(rounded(amount, unit), minor_digits(unit))

    def exact(self, amount: Decimal | None) -> str:
        """An amount in the report currency to its minor unit, with the currency."""
        if amount is None:
            return self.texts["none"]
        with localcontext(_HALF_UP):
            return str(self._numbers.format_currency(amount, self.currency, locale=self._locale))

    def compact(self, amount: Decimal | None) -> str:
        """An amount in three digits or so with the currency: `€12.3M`."""
        if amount is None:
            return self.texts["none"]
        with localcontext(_HALF_UP):
            if abs(amount) >= _THOUSAND:
                short = self._numbers.format_compact_currency(
                    amount, self.currency, locale=self._locale, fraction_digits=1
                )
                # Some languages have no short form of thousands and print them whole, with the digit.
                if self._is_short(amount):
                    return str(short)
            whole = rounded_to(amount, 0)
            return str(
                self._numbers.format_currency(
                    whole, self.currency, locale=self._locale, currency_digits=False
                )
            ).replace(self._point + "00", "")

    def day(self, day: date) -> str:
        """A day, in words of the language where it uses them."""
        return str(self._dates.format_date(day, "medium", locale=self._locale))

    def month(self, day: date) -> str:
        """The month of a day, with its year."""
        return str(self._dates.format_skeleton("yMMM", day, locale=self._locale))

    def month_label(self, day: date) -> str:
        """The month of a day for an axis; January shows its year."""
        skeleton = "yMMM" if day.month == 1 else "MMM"
        return str(self._dates.format_skeleton(skeleton, day, locale=self._locale))

    def span(self, start: date, end: date) -> str:
        """The days from `start` up to, not including, `end`."""
        last = date.fromordinal(end.toordinal() - 1)
        return f"{self.day(start)} – {self.day(last)}"

    def moment(self, at: datetime) -> str:
        """A day and a time, in the time zone that `at` has."""
        return str(self._dates.format_datetime(at, "short", tzinfo=at.tzinfo, locale=self._locale))

    def shown(self, cell: Cell) -> str:
        """A cell of a table: one line, nothing hidden, not yet escaped."""
        match cell:
            case None:
                return "–"
            case str():
                return visible(cell)
            case Link():
                return visible(cell.text)
            case int():
                return self.count(cell)
            case date():
                return self.day(cell)
            case Money():
                return self.money(cell.amount, cell.currency)
            case Share():
                return self.percent(cell.value)
            case Days():
                return self.number(cell.value, 1)

    @property
    def _point(self) -> str:
        return str(self._numbers.get_decimal_symbol(self._locale))

    def _is_short(self, amount: Decimal) -> bool:
        plain = self._numbers.format_compact_decimal(abs(amount), locale=self._locale)
        return any(letter.isalpha() for letter in str(plain))


def _babel() -> tuple[ModuleType, ModuleType]:
    try:
        from babel import dates, numbers  # noqa: PLC0415 - heavy, and only pages need it
    except ImportError as error:
        raise CrmkitError(
            "pages need the package Babel", hint="Install it with `pip install 'crmkit[report]'`."
        ) from error
    return numbers, dates


@lru_cache(maxsize=16)
def _locale(language: str) -> str:
    _babel()
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415

    try:
        return str(Locale.parse(language.replace("-", "_")))
    except (UnknownLocaleError, ValueError) as error:
        raise UsageError(
            f"{language!r} is not the name of a language", hint="Take `en` or `de-CH`."
        ) from error


@lru_cache(maxsize=16)
def _with_one_digit(locale: str) -> str:
    from babel import Locale  # noqa: PLC0415

    return str(Locale.parse(locale).percent_formats[None].pattern).replace("0", "0.0", 1)
