"""What the user behind a connection may do in a portal, as far as it tells without a write."""

from __future__ import annotations

from collections.abc import Mapping

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import command


def unwritable(portal: Portal) -> list[str]:
    """What writing needs and the user is not: fields and pipelines are an administrator's.

    The scope `crm` covers reading and writing, so `check` has proven it.
    """
    told = portal.run({"profile": command("profile")}, tolerated=("profile",)).values.get("profile")
    if isinstance(told, Mapping) and told.get("ADMIN") is False:
        return ["the rights of a CRM administrator (for key fields, pipelines, and all records)"]
    return []
