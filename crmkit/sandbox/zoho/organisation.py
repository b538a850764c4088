"""The descriptions that metadata calls give: of the organisation and its currencies."""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.seed import ORG_BASE, ORG_ID

_CURRENCY_NAMES = {
    "USD": ("US Dollar", "$"),
    "EUR": ("Euro", "€"),
    "GBP": ("British Pound", "£"),
    "JPY": ("Japanese Yen", "¥"),
    "CHF": ("Swiss Franc", "CHF"),
}


def describe_organisation(org: Org, edition: str) -> dict[str, Any]:
    """The organisation itself; `edition` is what it pays for."""
    world = org.world
    name, symbol = _CURRENCY_NAMES.get(world.base_currency, (world.base_currency, world.base_currency))
    return {
        "country": "KE",
        "photo_id": None,
        "city": None,
        "description": None,
        "type": "production",
        "created_time": org.stamp(next(iter(world.users.values())).created),
        "mc_status": org.multi_currency,
        "gapps_enabled": False,
        "translation_enabled": False,
        "street": None,
        "domain_name": "sandboxorg",
        "alias": None,
        "currency": f"{name} - {world.base_currency}",
        "id": ORG_ID,
        "state": None,
        "fax": None,
        "employee_count": "200",
        "zip": None,
        "website": None,
        "currency_symbol": symbol,
        "mobile": None,
        "currency_locale": "en_US",
        "primary_zuid": "700000001",
        "zia_portal_id": None,
        "time_zone": world.time_zone,
        "zgid": org.settings.extra.get("workspace", "700000002"),
        "country_code": "KE",
        "deletable_org_account": True,
        "license_details": {
            "paid_expiry": None,
            "users_license_purchased": len(world.users),
            "trial_type": None,
            "trial_expiry": None,
            "paid": edition != "free",
            "paid_type": edition,
            "portal_users_license_purchased": 0,
        },
        "hierarchy_preferences": {"type": "Role_Hierarchy", "strictly_reporting": None},
        "phone": None,
        "company_name": world.workspace_name,
        "privacy_settings": False,
        "primary_email": org.me.email,
        "iso_code": world.base_currency,
        "hipaa_compliance_enabled": False,
        "lite_users_enabled": False,
    }


def describe_currencies(org: Org) -> list[dict[str, Any]]:
    """The currencies, the home currency first."""
    world = org.world
    author = org.user_short(org.me.id)
    stamp = org.stamp(org.me.created)
    rows = []
    for place, code in enumerate(world.rates):
        name, symbol = _CURRENCY_NAMES.get(code, (code, code))
        rows.append(
            {
                "prefix_symbol": True,
                "format": {
                    "numeral_system": "International",
                    "decimal_places": "0" if code == "JPY" else "2",
                    "decimal_separator": "Period",
                    "thousand_separator": "Comma",
                },
                "exchange_rate": f"{org.exchange_rate(code):.9f}",
                "is_active": True,
                "exchange_rate_auto_update": False,
                "iso_code": code,
                "symbol": symbol,
                "name": f"{name} - {code}",
                "is_base": code == world.base_currency,
                "id": str(ORG_BASE + 6_001 + place),
                "created_by": author,
                "modified_by": author,
                "created_time": stamp,
                "modified_time": stamp,
                "exchange_rate_updated_time": stamp,
            }
        )
    return rows
