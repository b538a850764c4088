"""Further contacts of a deal: contact roles, which take a call per deal.

A deal's first contact is its `Contact_Name` and goes with the deal itself. The others are
only ever added: reading does not see contact roles, so what is missing in a change may be
somebody's own entry in Zoho.

Source: https://www.zoho.com/crm/developer/docs/api/v8/update-contact-role.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.connectors.writing import Act, Change
from crmkit.connectors.zoho.answers import succeeded
from crmkit.connectors.zoho.bodies import main_contact
from crmkit.connectors.zoho.calls import BASE, Calls
from crmkit.connectors.zoho.posts import Posts
from crmkit.errors import CredentialsError, CrmkitError
from crmkit.model import DealContact

_MOST_CONTACTS = 100


def further(change: Change) -> Sequence[DealContact]:
    """The contacts of a change beyond the main one."""
    contacts: Sequence[DealContact] = change.values.get("contacts") or ()
    if change.act is Act.DELETE or len(contacts) < 2:
        return ()
    main = main_contact(contacts)
    return [one for one in contacts if main is None or one.id != main.id]


class Roles:
    """Adds contact roles to deals.

    Args:
        calls: Sends reads.
        posts: Sends writes.
        default: The role of a contact that has none of its own: Zoho wants one for each.
    """

    def __init__(self, calls: Calls, posts: Posts, default: str | None) -> None:
        self._calls = calls
        self._posts = posts
        self._default = default
        self._lock = threading.Lock()
        self._known: Mapping[str, str] | None = None

    def link(self, deal_id: str, contacts: Sequence[DealContact]) -> str | None:
        """Add contacts to a deal; why some could not be added, or `None`."""
        try:
            ids = self._ids()
            rows: list[dict[str, Any]] = []
            for one in contacts[:_MOST_CONTACTS]:
                role = ids.get((one.role or "").casefold()) or ids.get((self._default or "").casefold())
                if role is not None:
                    rows.append({"id": one.id, "Contact_Role": {"id": role}})
            refused = self._put(deal_id, rows) if rows else 0
        except CredentialsError as error:
            return f"further contacts are not linked: {error}"
        except CrmkitError as error:
            return f"further contacts may not be linked: {error}"
        roleless = len(contacts) - len(rows)
        told = []
        if roleless:
            told.append(
                f"{roleless} further contacts are not linked: Zoho wants a contact role for each "
                "(set `contact_role` of the connection)"
            )
        if refused:
            told.append(f"Zoho refused to link {refused} further contacts")
        return "; ".join(told) or None

    def _put(self, deal_id: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """How many rows were refused."""
        answer = self._posts.send(
            "PUT",
            f"/Deals/{deal_id}/Contact_Roles",
            json={"data": list(rows)},
            label=f"PUT {BASE}/Deals/Contact_Roles",
        )
        return len(rows) - sum(map(succeeded, answer))

    def _ids(self) -> Mapping[str, str]:
        with self._lock:
            if self._known is None:
                rows = self._calls.listing("/Contacts/roles").rows
                self._known = {str(row["name"]).casefold(): str(row["id"]) for row in rows}
            return self._known
