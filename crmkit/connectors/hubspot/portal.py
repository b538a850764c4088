"""What a portal tells about itself: fields, pipelines, people, currency and time zone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from crmkit.connectors.hubspot import records
from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.history import users
from crmkit.connectors.hubspot.schema import (
    WIRES,
    Account,
    Reader,
    Schema,
    Wire,
    custom_readers,
    entered_properties,
)
from crmkit.connectors.walk import walk
from crmkit.errors import IncompleteRead, NotFound
from crmkit.model import Kind, Outcome


class Portal:
    """Makes the schema of a kind from what the portal tells.

    Args:
        connection: Name of the connection.
        api: HubSpot.
        in_flight: How many calls may run at once.

    Attributes:
        account: The account's details, once they are known.
    """

    def __init__(self, connection: str, api: Api, in_flight: int) -> None:
        self.account: Account | None = None
        self._connection = connection
        self._api = api
        self._in_flight = in_flight
        self._schemas: dict[Kind, Schema] = {}

    def known(self, kind: Kind) -> Schema:
        """What translating a kind needs, as it was last read."""
        return self._schemas.get(kind) or self.schema(kind)[0]

    def knows(self, kind: Kind) -> bool:
        """Whether translating a kind needs nothing more to be read."""
        return kind in self._schemas

    def known_account(self) -> Account:
        """The account's details, asked for once."""
        if self.account is None:
            self.account = Account.of(self._connection, self._api.account()[0])
        return self.account

    def known_outcomes(self) -> Mapping[tuple[str, str], Outcome]:
        """(pipeline id, stage id) to outcome, as far as they were read."""
        schema = self._schemas.get(Kind.DEAL)
        return schema.outcomes if schema else {}

    def forget(self) -> None:
        """Ask anew for fields and pipelines the next time: some were changed from here."""
        self._schemas.clear()

    def saw_properties(self, kind: Kind, properties: Sequence[Row]) -> None:
        """Somebody changed the fields of a kind: read and write with those from now on."""
        schema = self._schemas.get(kind)
        if schema is not None:
            custom = custom_readers(schema.wire, properties)
            names = _names(schema.wire, schema.entered, custom)
            self._schemas[kind] = replace(schema, custom=custom, names=names)

    def schema(self, kind: Kind) -> tuple[Schema, datetime]:
        """What translating a kind needs, read anew, and the server's time before anything else."""
        wire, deals = WIRES[kind], kind is Kind.DEAL
        asked: dict[str, Callable[[], Any]] = {"properties": lambda: self._api.properties(wire.of)}
        if self.account is None:
            asked["account"] = self._api.account
        if deals:
            asked["pipelines"] = self._api.pipelines
            asked["labelled"] = self._labelled
        if kind is Kind.STAGE_CHANGE:
            asked["people"] = self._people
        told = self._ask(asked)
        properties, now = told["properties"]
        account = self.account = self.account or Account.of(self._connection, told["account"][0])
        custom = () if kind in (Kind.NOTE, Kind.STAGE_CHANGE) else custom_readers(wire, properties)
        pipelines: list[Row] = told.get("pipelines", [])
        entered = entered_properties(pipelines, properties) if deals else {}
        schema = Schema(
            connection=self._connection,
            wire=wire,
            names=_names(wire, entered, custom),
            custom=custom,
            zone=account.zone,
            currency=account.currency,
            url=f"https://{account.ui}/contacts/{account.portal_id}/record/{wire.type_id}/",
            entered=entered,
            outcomes=records.outcomes(pipelines),
            people=told.get("people", {}),
            labelled=told.get("labelled", False),
        )
        self._schemas[kind] = schema
        return schema, now

    def _ask(self, asked: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Answers to several questions, asked side by side."""
        answers = walk(
            [{"name": name} for name in asked],
            lambda segment: ((segment["name"], asked[segment["name"]]()), ()),
            in_flight=self._in_flight,
        )
        return dict(answer for answer, _ in answers)

    def _people(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for archived in (True, False):
            after: str | None = None
            while True:
                listing = self._api.owners(archived=archived, after=after)
                found.update(users(listing.rows))
                if listing.after is None:
                    break
                if listing.after == after:
                    raise IncompleteRead(f"{self._connection}: listing owners: a page token came twice")
                after = listing.after
        return found

    def _labelled(self) -> bool:
        """Whether the portal has labels of its own for contacts of deals."""
        try:
            labels = self._api.labels("deals", "contacts")
        except NotFound:
            return False
        return any(label.get("category") != "HUBSPOT_DEFINED" for label in labels)


def _names(wire: Wire, entered: Mapping[str, str], custom: Iterable[tuple[str, Reader]]) -> tuple[str, ...]:
    """All properties to ask for."""
    names = (*(wire.properties or ("hs_object_id",)), *entered.values(), *(name for name, _ in custom))
    return tuple(dict.fromkeys(names))
