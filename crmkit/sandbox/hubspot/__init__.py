"""HubSpot on the wire: accounts, records, search, associations and what describes them."""

from __future__ import annotations

from crmkit.sandbox.hubspot.app import HubSpotApp

__all__ = ["HubSpotApp"]
