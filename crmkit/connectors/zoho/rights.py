"""What credentials may do in an org, and how many API credits are left of the last 24 hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crmkit.connectors.quota import Quota
from crmkit.connectors.zoho.workspace import covers
from crmkit.model import Kind

_COUNTS = "API credits of the org in 24 hours"
_MODULES = {Kind.DEAL: "deals", Kind.COMPANY: "accounts", Kind.CONTACT: "contacts", Kind.NOTE: "notes"}
# Edition: flat credits, credits for each user, and the most there are (contract, section 7).
_EDITIONS: Mapping[str, tuple[int, int, int | None]] = {
    "free": (5_000, 0, 5_000),
    "standard": (50_000, 250, 100_000),
    "professional": (50_000, 500, 3_000_000),
    "enterprise": (50_000, 1_000, 5_000_000),
    "zohoone": (50_000, 1_000, 5_000_000),
    "ultimate": (50_000, 2_000, None),
}


def read_quota(org: Mapping[str, Any], remaining: int | None) -> Quota | None:
    """The credits of a rolling day; `None` if the org's edition is not known.

    Args:
        org: The org itself, with its licence.
        remaining: What the last answer said is left. Zoho says it only once half is used.

    Source: https://www.zoho.com/crm/developer/docs/api/v8/api-limits.html
    """
    limit = _credits(org.get("license_details"))
    if limit is None:
        return None
    if remaining is None:
        return Quota(limit, limit // 2, None, None, _COUNTS, at_least=True)
    # Credits that were bought besides are not told; then more is left than the edition gives.
    limit = max(limit, remaining)
    return Quota(limit, remaining, limit - remaining, None, _COUNTS)


def unwritable(granted: str | None, kinds: Iterable[Kind]) -> list[str]:
    """The scopes that writing these kinds needs and the credentials lack; only some data centres tell."""
    if not granted:
        return []
    have = granted.replace(",", " ").split()
    wanted = list(kinds)
    needed = [
        f"ZohoCRM.modules.{_MODULES[kind]}.{right}"
        for kind in wanted
        if kind in _MODULES
        for right in ("CREATE", "UPDATE")
    ]
    if any(kind is not Kind.NOTE for kind in wanted):
        needed.append("ZohoCRM.settings.fields.CREATE")
    return [f"the scope {scope}" for scope in needed if not any(_grants(one, scope) for one in have)]


def _grants(granted: str, needed: str) -> bool:
    # WRITE stands for all that changes something but deleting.
    words, _, right = granted.rpartition(".")
    if right.lower() == "write" and needed.rpartition(".")[2] in ("CREATE", "UPDATE"):
        return covers(f"{words}.ALL", needed)
    return covers(granted, needed)


def _credits(licence: Any) -> int | None:
    if not isinstance(licence, Mapping):
        return None
    edition = str(licence.get("paid_type") or "").lower().replace("_", "").replace(" ", "")
    users = licence.get("users_license_purchased")
    if edition not in _EDITIONS:
        return None
    flat, each, most = _EDITIONS[edition]
    credits_ = flat + each * (users if isinstance(users, int) else 0)
    return credits_ if most is None else min(credits_, most)
