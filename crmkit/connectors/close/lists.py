"""Close's small lists: the organization, its users, pipelines and custom fields."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Context, Page
from crmkit.connectors.close import records, walks
from crmkit.connectors.close.custom import Row
from crmkit.connectors.close.steps import server_time
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import pack
from crmkit.errors import AccessDenied, BadAnswer
from crmkit.model import Kind, Owner, Pipeline, Workspace

USERS_PER_PAGE = 1000


class Lists:
    """Reads what comes whole or in very few pages."""

    def __init__(self, context: Context, http: Http) -> None:
        self.context = context
        self.http = http

    def workspace(self) -> Workspace:
        """The organization that the credentials belong to."""
        me, now = self.http.fetch(_get("/me/"), lambda answer: (answer.mapping(), server_time(answer)))
        native = self._organization_id(me)
        organization = self._organization(native, "id,name,currency")
        currency = organization.get("currency")
        return Workspace(
            id=native,
            name=str(organization.get("name") or native),
            # Close has no zone of the organization; each user has one.
            time_zone=None,
            base_currency=currency,
            currencies=(currency,) if currency else (),
            server_time=now,
            user=me.get("email") or me.get("id"),
        )

    def pipelines(self) -> Iterator[Page]:
        """All pipelines with their statuses, in order."""
        rows, _ = self._listed("/pipeline/")
        good, bad = translate.records(
            Pipeline,
            self.context.connection,
            Kind.PIPELINE,
            list(enumerate(rows)),
            records.pipeline_translator(self.context.connection),
            records.identify,
        )
        yield Page(good, (), bad, pack({"k": Kind.PIPELINE}), last=True, whole=True)

    def owners(self) -> Iterator[Page]:
        """All users of the organization, those who left it too."""
        me = self.http.fetch(_get("/me/"), Answer.mapping)
        organization = self._organization(
            self._organization_id(me), "id,memberships,inactive_memberships", ("memberships",)
        )
        current = _by_user(organization.get("memberships"))
        former = _by_user(organization.get("inactive_memberships"))
        rows = {**former, **current, **self._users()}
        good, bad = translate.records(
            Owner,
            self.context.connection,
            Kind.OWNER,
            rows.values(),
            records.owner_translator(self.context.connection, frozenset(former.keys() - current.keys())),
            lambda row: str(row.get("user_id") or row["id"]),
        )
        yield Page(good, (), bad, pack({"k": Kind.OWNER}), last=True, whole=True)

    def schema(self, what: str) -> tuple[list[Row], datetime]:
        """Custom field definitions, and the server's time when they were read."""

        def read(answer: Answer) -> tuple[list[Row], datetime]:
            rows = answer.mapping().get("fields")
            if not isinstance(rows, list):
                raise BadAnswer("the answer holds no list of fields")
            return [row for row in rows if isinstance(row, dict)], server_time(answer)

        return self.http.fetch(_get(f"/custom_field_schema/{what}/"), read)

    def _users(self) -> dict[str, Row]:
        users: dict[str, Row] = {}
        skip, more = 0, True
        while more:
            params = {"_limit": str(USERS_PER_PAGE), "_skip": str(skip)}
            rows, more = self._listed("/user/", params)
            users |= {str(row["id"]): row for row in rows}
            skip += len(rows)
        return users

    def _listed(self, path: str, params: dict[str, str] | None = None) -> tuple[list[Row], bool]:
        def read(answer: Answer) -> tuple[list[Row], bool]:
            rows, more, _ = walks.page_of(answer.json())
            if not all("id" in row for row in rows):
                raise BadAnswer("a record has no id")
            return rows, more

        return self.http.fetch(_get(path, params), read)

    def _organization_id(self, me: Row) -> str:
        if isinstance(me.get("organization_id"), str):
            return str(me["organization_id"])
        for found in me.get("organizations") or ():
            return str(found["id"] if isinstance(found, dict) else found)
        for membership in me.get("memberships") or ():
            if membership.get("organization_id"):
                return str(membership["organization_id"])
        raise AccessDenied(f"{self.context.connection}: the user belongs to no organization in Close")

    def _organization(self, native: str, fields: str, lists: tuple[str, ...] = ()) -> Row:
        call = Call(
            "GET",
            f"/organization/{native}/",
            params={"_fields": fields},
            buckets=("GET organization",),
            label="GET /organization/{id}/",
        )

        def read(answer: Answer) -> Row:
            body = answer.mapping()
            if any(not isinstance(body.get(name, []), list) for name in lists):
                raise BadAnswer("the organization holds no list of its members")
            return body

        return self.http.fetch(call, read)


def _by_user(memberships: Any) -> dict[str, Row]:
    return {str(row["user_id"]): row for row in memberships or () if row.get("user_id")}


def _get(path: str, params: dict[str, str] | None = None) -> Call:
    group = path.strip("/").partition("/")[0]
    return Call("GET", path, params=params, buckets=(f"GET {group}",), label=f"GET {path}")
