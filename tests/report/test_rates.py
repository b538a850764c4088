"""Exchange rates: read with clear errors, never guessed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from crmkit.errors import ConfigError
from crmkit.report.rates import rates_from_csv, rates_from_mapping


def test_rate_of_a_day_is_the_latest_on_or_before_it():
    rates = rates_from_csv("USD", "currency,date,rate\nEUR,2026-02-01,1.2\nEUR,2026-01-01,1.1\n")
    found = [rates.rate("EUR", date(2026, *day)) for day in ((1, 1), (1, 31), (2, 1), (12, 31))]
    assert found == [Decimal("1.1"), Decimal("1.1"), Decimal("1.2"), Decimal("1.2")]


def test_day_before_the_first_entry_has_no_rate():
    rates = rates_from_csv("USD", "currency,date,rate\nEUR,2026-02-01,1.2\n")
    assert rates.rate("EUR", date(2026, 1, 31)) is None


@pytest.mark.parametrize("currency", ["CHF", None, ""])
def test_unknown_currency_has_no_rate(currency):
    assert rates_from_mapping("USD", {}).rate(currency, date(2026, 1, 1)) is None


def test_report_currency_is_worth_itself():
    assert rates_from_mapping("usd", {}).rate("Usd", date(2026, 1, 1)) == 1


def test_configuration_may_give_one_rate_or_rates_by_day():
    rates = rates_from_mapping("USD", {"EUR": "1.1", "GBP": {"2026-01-01": "1.3"}})
    assert (rates.rate("EUR", date(1999, 1, 1)), rates.rate("GBP", date(1999, 1, 1))) == (
        Decimal("1.1"),
        None,
    )


def test_spreadsheet_export_with_a_byte_order_mark_and_other_columns_is_read():
    text = "\ufeffDate;x\r\n"
    with pytest.raises(ConfigError, match="line 1: no column currency"):
        rates_from_csv("USD", text)
    good = "\ufeffnote,Rate,Date,Currency\r\nhi,1.5,2026-01-01,eur\r\n\r\n"
    assert rates_from_csv("USD", good).rate("EUR", date(2026, 1, 1)) == Decimal("1.5")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("EURO,2026-01-01,1.1", "'EURO' is not an ISO 4217"),
        ("EUR,01.02.2026,1.1", "'01.02.2026' is not a day"),
        ('EUR,2026-01-01,"1,1"', "'1,1' is not a rate"),
        ("EUR,2026-01-01,0", "'0' is not a rate above zero"),
        ("EUR,2026-01-01,-1", "'-1' is not a rate above zero"),
        ("EUR,2026-01-01,NaN", "'NaN' is not a rate above zero"),
        ("EUR,2026-01-01", "2 columns, expected 3"),
        ("USD,2026-01-01,1.1", "USD is the report currency"),
    ],
)
def test_wrong_line_is_named_with_its_number(line, problem):
    with pytest.raises(ConfigError, match=r"rates\.csv: line 3: ") as caught:
        rates_from_csv("USD", f"currency,date,rate\nEUR,2025-01-01,1\n{line}\n")
    assert problem in str(caught.value)


def test_every_wrong_line_is_in_the_message():
    with pytest.raises(ConfigError) as caught:
        rates_from_csv("USD", "currency,date,rate\nX,2026-01-01,1\nEUR,never,1\n")
    assert "line 2" in str(caught.value)
    assert "line 3" in str(caught.value)


def test_two_rates_for_one_day_are_refused():
    with pytest.raises(ConfigError, match="a second rate for EUR"):
        rates_from_csv("USD", "currency,date,rate\nEUR,2026-01-01,1.1\nEUR,2026-01-01,1.2\n")


@pytest.mark.parametrize("value", [1.1, True])
def test_rate_that_is_not_exact_is_refused(value):
    with pytest.raises(ConfigError, match="write the rate as text"):
        rates_from_mapping("USD", {"EUR": value})
