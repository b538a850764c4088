"""Writes currencies and their rates.

Source: https://apidocs.bitrix24.com/api-reference/crm/currency/crm-currency-add.html
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal
from crmkit.sandbox.bitrix24.writes import old_fields_of


def currency_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.currency.add`: the code."""
    said = old_fields_of(params)
    code = str(said.get("CURRENCY") or "")
    if len(code) != 3:
        raise Failure("", "The field CURRENCY is required.")
    if code in portal.world.rates:
        raise Failure("", f"The currency {code} already exists.")
    portal.world.rates[code] = _rate(said, 1.0)
    return Answer(code)


def currency_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.currency.update`: a new rate."""
    code = _known(portal, params)
    portal.world.rates[code] = _rate(old_fields_of(params), portal.world.rates[code])
    return Answer(True)


def currency_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.currency.delete`; the base currency stays."""
    code = _known(portal, params)
    if code == portal.world.base_currency:
        raise Failure("", "The base currency cannot be deleted.")
    del portal.world.rates[code]
    return Answer(True)


def _known(portal: Portal, params: Mapping[str, Any]) -> str:
    code = str(params.get("id"))
    if code not in portal.world.rates:
        raise Failure("", "Not found")
    return code


def _rate(said: Mapping[str, Any], before: float) -> float:
    try:
        amount = Decimal(str(said.get("AMOUNT") or before))
        return float(amount / Decimal(str(said.get("AMOUNT_CNT") or 1)))
    except (InvalidOperation, ZeroDivisionError):
        raise Failure("", "The exchange rate is invalid.") from None
