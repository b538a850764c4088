"""Exchange rates: the latest entry on or before a day, and no guess where there is none."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from crmkit.errors import ConfigError
from crmkit.report.facts.scale import LARGEST_RATE, RATE_DIGITS
from crmkit.report.money import is_sane

_ONE = Decimal(1)


@dataclass(frozen=True)
class Rates:
    """How much of `report_currency` one unit of a currency is worth, by day.

    `series` holds, per currency, the days in order and the rate from each day on.
    """

    report_currency: str
    series: Mapping[str, tuple[tuple[date, ...], tuple[Decimal, ...]]]

    def rate(self, currency: str | None, on: date) -> Decimal | None:
        """The rate of the day, or `None` if the table has none: never 1 by default."""
        if currency is None:
            return None
        code = currency.strip().upper()
        if code == self.report_currency:
            return _ONE
        days, rates = self.series.get(code, ((), ()))
        place = bisect_right(days, on)
        return rates[place - 1] if place else None

    def by_day(self, first: date, last: date) -> Iterator[tuple[str, date, Decimal]]:
        """Currency, day and rate of every day from `first` to `last` that has one."""
        for currency in sorted(self.series):
            for number in range((last - first).days + 1):
                day = first + timedelta(days=number)
                rate = self.rate(currency, day)
                if rate is not None:
                    yield currency, day, rate


@dataclass(frozen=True, slots=True)
class _Entry:
    where: str
    currency: object
    day: object
    rate: object


def rates_from_mapping(report_currency: str, table: Mapping[str, object], *, source: str = "rates") -> Rates:
    """Read rates from configuration: `{"EUR": "1.08"}` or `{"EUR": {"2026-01-01": "1.08"}}`.

    A rate without a day holds for every day. Write rates as text: a float is refused,
    because it is not the number that was written.

    Raises:
        ConfigError: Lists every entry that cannot be used.
    """
    entries: list[_Entry] = []
    for currency, value in table.items():
        if isinstance(value, Mapping):
            entries.extend(
                _Entry(f"{source}.{currency}.{day}", currency, day, rate) for day, rate in value.items()
            )
        else:
            entries.append(_Entry(f"{source}.{currency}", currency, date.min, value))
    return _rates(report_currency, entries, [])


def rates_from_csv(report_currency: str, text: str, *, source: str = "rates.csv") -> Rates:
    """Read rates from CSV text with the columns `currency`, `date` and `rate`.

    Raises:
        ConfigError: Lists every line that cannot be used, by number.
    """
    # A file saved by a spreadsheet starts with a byte order mark.
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [name for name in ("currency", "date", "rate") if name not in header]
    if missing:
        raise ConfigError(f"{source}: line 1: no column {', '.join(missing)}; expected currency,date,rate")
    places = [header.index(name) for name in ("currency", "date", "rate")]
    entries: list[_Entry] = []
    problems: list[str] = []
    for cells in reader:
        where = f"{source}: line {reader.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) <= max(places):
            problems.append(f"{where}: {len(cells)} columns, expected {len(header)}")
            continue
        currency, day, rate = (cells[place].strip() for place in places)
        entries.append(_Entry(where, currency, day, rate))
    return _rates(report_currency, entries, problems)


def _rates(report_currency: str, entries: Iterable[_Entry], problems: list[str]) -> Rates:
    own = report_currency.strip().upper()
    table: dict[str, dict[date, Decimal]] = {}
    for entry in entries:
        try:
            currency, day, rate = _currency(entry.currency), _day(entry.day), _rate(entry.rate)
            if currency == own and rate != _ONE:
                raise ValueError(f"{own} is the report currency, its rate is 1")
            if table.setdefault(currency, {}).setdefault(day, rate) != rate:
                raise ValueError(f"a second rate for {currency} on {day.isoformat()}")
        except ValueError as error:
            problems.append(f"{entry.where}: {error}")
    if problems:
        raise ConfigError("; ".join(problems), hint="A rate is worth one unit in the report currency.")
    series = {
        currency: (tuple(sorted(days)), tuple(days[day] for day in sorted(days)))
        for currency, days in table.items()
    }
    return Rates(own, series)


def _currency(value: object) -> str:
    code = value.strip().upper() if isinstance(value, str) else ""
    if len(code) != 3 or not code.isascii() or not code.isalpha():
        raise ValueError(f"{value!r} is not an ISO 4217 currency code")
    return code


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{value!r} is not a day like 2026-01-31") from error


def _rate(value: object) -> Decimal:
    if isinstance(value, (bool, float)):
        raise ValueError(f'write the rate as text: "{value!r}"')
    try:
        rate = Decimal(value if isinstance(value, (str, int, Decimal)) else "")
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a rate like 1.0837") from error
    if not is_sane(rate) or rate <= 0:
        raise ValueError(f"{value!r} is not a rate above zero")
    if rate >= LARGEST_RATE or rate != round(rate, RATE_DIGITS):
        raise ValueError(
            f"{value!r} is not below a million with at most {RATE_DIGITS} digits after the point"
        )
    return rate
