"""The account: its details and limits, its owners and its pipelines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import flag, page_size, refuse, reply, stamp, whole_number
from crmkit.sandbox.hubspot.kinds import ALL, ObjectType, object_type
from crmkit.sandbox.hubspot.portal import Portal, stage_facts
from crmkit.sandbox.hubspot.quota import Quota
from crmkit.sandbox.hubspot.rendering import user_id
from crmkit.sandbox.rows import Pipeline, Stage, User

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEAM = {"id": "368389", "name": "Sales Team", "primary": True}
_OWNERS_MOST = 500
PIPELINES_MOST, _PROPERTIES_MOST, _RECORDS_MOST = 15, 1_000, 15_000_000


class Account:
    """The calls that describe the account."""

    def __init__(self, portal: Portal, quota: Quota) -> None:
        self.portal, self.quota = portal, quota

    def routes(self) -> list[Route]:
        """What is served."""
        pipelines = "/crm/v3/pipelines/{type}"
        return [
            Route("/account-info/v3/details", self.details, methods=["GET"]),
            Route("/account-info/v3/api-usage/daily/private-apps", self.usage, methods=["GET"]),
            Route("/crm/v3/owners", self.owners, methods=["GET"]),
            Route("/crm/v3/owners/", self.owners, methods=["GET"]),
            Route("/crm/v3/owners/{id}", self.owner, methods=["GET"]),
            Route(pipelines, self.pipelines, methods=["GET"]),
            Route(f"{pipelines}/{{pipeline}}", self.pipeline, methods=["GET"]),
            Route(f"{pipelines}/{{pipeline}}/audit", self.pipeline_audit, methods=["GET"]),
            Route(f"{pipelines}/{{pipeline}}/stages", self.stages, methods=["GET"]),
            Route(f"{pipelines}/{{pipeline}}/stages/{{stage}}", self.stage, methods=["GET"]),
            Route("/crm/v3/limits/pipelines", self.pipeline_limits, methods=["GET"]),
            Route("/crm/v3/limits/records", self.record_limits, methods=["GET"]),
            Route("/crm/v3/limits/custom-properties", self.property_limits, methods=["GET"]),
        ]

    async def details(self, request: Request) -> Response:
        """Which account this is; the `oauth` scope is enough, which every app has."""
        self.portal.require("oauth")
        world = self.portal.world
        offset = world.clock().astimezone(self.portal.zone).utcoffset() or timedelta(0)
        seconds = int(offset.total_seconds())
        sign = "-" if seconds < 0 else "+"
        return reply(
            {
                "portalId": self.portal.portal_id,
                "accountType": "STANDARD",
                "timeZone": world.time_zone,
                "companyCurrency": world.base_currency,
                "additionalCurrencies": [code for code in world.rates if code != world.base_currency],
                "utcOffset": f"{sign}{abs(seconds) // 3600:02}:{abs(seconds) % 3600 // 60:02}",
                "utcOffsetMilliseconds": seconds * 1000,
                "uiDomain": "app.hubspot.com",
                "dataHostingLocation": "na1",
            }
        )

    async def usage(self, request: Request) -> Response:
        """How much of the day's budget is spent."""
        now = self.portal.world.clock()
        tomorrow = now.astimezone(self.portal.zone).date() + timedelta(days=1)
        reset = datetime.combine(tomorrow, time.min, self.portal.zone).astimezone(UTC)
        line = {
            "name": "private-apps-api-calls-daily",
            "usageLimit": self.quota.day.limit,
            "currentUsage": self.quota.day.used,
            "collectedAt": stamp(now),
            "fetchStatus": "SUCCESS",
            "resetsAt": stamp(reset),
        }
        return reply({"results": [line]})

    # Owners

    async def owners(self, request: Request) -> Response:
        """A page of owners: the active ones, or the archived ones."""
        self.portal.require("crm.objects.owners.read")
        size = page_size(request, 100, _OWNERS_MOST)
        archived, email = flag(request, "archived"), request.query_params.get("email")
        after = whole_number(request.query_params.get("after", 0), "after")
        found = [
            user
            for user in self.portal.world.live.users()
            if user.active is not archived
            and (not email or user.email.casefold() == email.casefold())
            and int(user.id) > after
        ]
        answer: dict[str, Any] = {"results": [_owner(user) for user in found[:size]]}
        if len(found) > size:
            following = found[size - 1].id
            link = f"{self.portal.origin}{request.url.path}?limit={size}&after={following}"
            answer["paging"] = {"next": {"after": following, "link": link}}
        return reply(answer)

    async def owner(self, request: Request) -> Response:
        """One owner by its id, or by the id of the user behind it."""
        self.portal.require("crm.objects.owners.read")
        said = request.path_params["id"]
        by_user = request.query_params.get("idProperty", "id") == "userId"
        for user in self.portal.world.users.values():
            known = str(user_id(user.id)) if by_user else user.id
            if known == said and user.active is not flag(request, "archived"):
                return reply(_owner(user))
        refuse(404, "resource not found")

    # Pipelines

    async def pipelines(self, request: Request) -> Response:
        """All pipelines with their stages; those of the archive are left out (inferred)."""
        if self._pipeline_type(request).kind != "deal":
            return reply({"results": []})
        known = [one for one in self.portal.world.pipelines.values() if not one.archived]
        return reply({"results": [pipeline_json(one) for one in sorted(known, key=_pipeline_place)]})

    async def pipeline(self, request: Request) -> Response:
        """One pipeline."""
        return reply(pipeline_json(self._pipeline(request)))

    async def pipeline_audit(self, request: Request) -> Response:
        """What happened to a pipeline, newest first: here no more than that it was made."""
        one = self._pipeline(request)
        line = {
            "portalId": self.portal.portal_id,
            "identifier": f"{self.portal.portal_id}:{one.id}",
            "action": "CREATE",
            "timestamp": stamp(_pipeline_created(one)),
            "message": "Pipeline create",
            "fromUserId": user_id(next(iter(self.portal.world.users), "0")),
            "rawObject": json.dumps({"pipelineId": one.id, "label": one.name, "displayOrder": one.order}),
        }
        return reply({"results": [line]})

    async def stages(self, request: Request) -> Response:
        """The stages of one pipeline."""
        return reply({"results": pipeline_json(self._pipeline(request))["stages"]})

    async def stage(self, request: Request) -> Response:
        """One stage."""
        one = self._pipeline(request)
        for stage in one.stages:
            if stage.id == request.path_params["stage"]:
                return reply(stage_json(one, stage))
        refuse(404, "resource not found")

    def _pipeline_type(self, request: Request) -> ObjectType:
        found = object_type(request.path_params["type"])
        self.portal.require(f"crm.objects.{found.scope}.read", f"crm.schemas.{found.scope}.read")
        return found

    def _pipeline(self, request: Request) -> Pipeline:
        found = self._pipeline_type(request)
        one = (
            self.portal.world.pipelines.get(request.path_params["pipeline"]) if found.kind == "deal" else None
        )
        if one is None or one.archived:
            refuse(404, "resource not found")
        return one

    # Limits

    async def pipeline_limits(self, request: Request) -> Response:
        """How many pipelines there are and may be."""
        known = self.portal.world.pipelines.values()
        return reply(_limits({"deals": (sum(not one.archived for one in known), PIPELINES_MOST)}))

    async def record_limits(self, request: Request) -> Response:
        """How many records there are and may be."""
        return reply(_limits({one.plural: (len(self.portal.table(one)), _RECORDS_MOST) for one in ALL}))

    async def property_limits(self, request: Request) -> Response:
        """How many custom properties there are and may be."""
        counts = {
            one.plural: (len(self.portal.world.fields[one.kind]), _PROPERTIES_MOST) for one in ALL if one.kind
        }
        used = sum(count for count, _ in counts.values())
        return reply(
            {
                "overallLimit": _PROPERTIES_MOST,
                "overallUsage": used,
                "overallPercentage": used / _PROPERTIES_MOST,
                "byObjectType": _limits(counts)["hubspotDefinedObjectTypes"],
            }
        )


def _limits(counts: dict[str, tuple[int, int]]) -> dict[str, Any]:
    lines = []
    for plural, (used, most) in counts.items():
        one = object_type(plural)
        lines.append(
            {
                "objectTypeId": one.type_id,
                "singularLabel": one.singular.capitalize(),
                "pluralLabel": plural.capitalize(),
                "limit": most,
                "usage": used,
                "percentage": used / most,
            }
        )
    none = {"overallLimit": 0, "overallUsage": 0, "overallPercentage": 0, "byObjectType": []}
    return {"hubspotDefinedObjectTypes": lines, "customObjectTypes": none}


def _owner(user: User) -> dict[str, Any]:
    first, _, last = user.name.partition(" ")
    answer: dict[str, Any] = {
        "id": user.id,
        "email": user.email,
        "type": "PERSON",
        "firstName": first,
        "lastName": last,
        "userId": user_id(user.id) if user.active else None,
        "userIdIncludingInactive": user_id(user.id),
        "createdAt": stamp(user.created),
        "updatedAt": stamp(user.created),
        "archived": not user.active,
    }
    if user.active and int(user.id) % 2:
        answer["teams"] = [_TEAM]
    return answer


def _pipeline_place(one: Pipeline) -> tuple[int, str]:
    return one.order, one.name


def _pipeline_created(one: Pipeline) -> datetime:
    made: datetime = one.extra.get("created", _EPOCH)
    return made


def pipeline_json(one: Pipeline) -> dict[str, Any]:
    """A pipeline with its stages as answers show it."""
    made = stamp(_pipeline_created(one))
    stages = sorted(one.stages, key=lambda stage: (stage.order, stage.name))
    return {
        "id": one.id,
        "label": one.name,
        "displayOrder": one.order,
        "archived": one.archived,
        "createdAt": made,
        "updatedAt": stamp(one.extra["modified"]) if "modified" in one.extra else made,
        "stages": [stage_json(one, stage) for stage in stages],
    }


def stage_json(one: Pipeline, stage: Stage) -> dict[str, Any]:
    """A stage as answers show it."""
    facts = stage_facts(stage)
    made = stamp(stage.extra.get("created", _pipeline_created(one)))
    return {
        "id": stage.id,
        "label": stage.name,
        "displayOrder": stage.order,
        "metadata": {"isClosed": "true" if facts.closed else "false", "probability": facts.probability},
        "archived": False,
        "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
        "createdAt": made,
        "updatedAt": stamp(stage.extra["modified"]) if "modified" in stage.extra else made,
    }
