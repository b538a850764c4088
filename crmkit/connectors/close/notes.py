"""Writes notes, which hang on leads: one on a deal names it in its title."""

from __future__ import annotations

import threading

from crmkit.connectors.close import bodies
from crmkit.connectors.close.custom import CustomFields, Row, with_flat_custom
from crmkit.connectors.close.posts import NotSent, Posts, asked, rejected
from crmkit.connectors.close.refusals import Roles
from crmkit.connectors.writing import Change, Result, Written
from crmkit.model import Kind

_TITLE_LENGTH = 120


class Notes:
    """Writes notes, and remembers the leads and names of deals for them."""

    def __init__(self, posts: Posts) -> None:
        self.posts = posts
        self._lock = threading.Lock()
        self._deals: dict[str, tuple[str, str]] = {}
        self._asking: dict[str, threading.Lock] = {}

    def write(self, change: Change, roles: Roles) -> Written:
        """Create one note.

        A deal has one note of its own, a field that others may have filled: it is left alone.
        """
        deal, lead = change.values.get("deal_id"), change.values.get("company_id")
        name = ""
        if deal and (not lead or deal in self._deals):
            found, name = self._deal(change, deal)
            lead = found or lead
        if not lead:
            raise rejected(change, "deal_id", "a note needs a deal or a company")
        title = f"Deal: {name} ({deal})" if name else f"Deal {deal}" if deal else None
        return self.posts.stored(
            change, bodies.note(change.values, lead=lead, title=title, key=change.key), roles
        )

    def remember(self, row: Row, fields: CustomFields) -> tuple[str, str]:
        """The lead and the name of a deal, from now on known."""
        row = with_flat_custom(row, fields)
        name = str(row.get(fields.name or "") or row.get("lead_name") or "")[:_TITLE_LENGTH]
        found = self._deals[row["id"]] = str(row.get("lead_id") or ""), name
        return found

    def _deal(self, change: Change, deal: str) -> tuple[str, str]:
        with self._lock:
            asking = self._asking.setdefault(deal, threading.Lock())
        with asking:  # several notes of one deal ask once
            known = self._deals.get(deal)
            if known is not None:
                return known
            fields = asked(change, lambda: self.posts.learnt.fields(Kind.DEAL))
            try:
                row = self.posts.before(change, "/opportunity/", deal, "lead_id")
            except NotSent as early:
                if early.written.result is Result.GONE:
                    raise rejected(change, "deal_id", "there is no such deal") from None
                raise
            return self.remember(row, fields)
