"""What ties records together: the contacts of a deal with their roles, merging, changing the owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import Deal
from crmkit.sandbox.wire import Refusal, json_reply, read_json
from crmkit.sandbox.zoho.answers import error, refuse
from crmkit.sandbox.zoho.bodies import answer, done, failed, read_body, rows_in
from crmkit.sandbox.zoho.lists import ROLES, role_id
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.schema import Module
from crmkit.sandbox.zoho.writes import WRITABLE, Writes

_LOSERS_MOST, _OWNED_MOST = 2, 500
_BAD_ID = "the id given seems to be invalid"
_RELATED = "the related id given seems to be invalid"


class Links:
    """The calls that write what lies between records."""

    def __init__(self, org: Org, writes: Writes) -> None:
        self.org, self._writes = org, writes

    def routes(self) -> list[Route]:
        """What is served."""
        one = "/crm/{version}/{module}/{id}"
        return [
            Route(f"{one}/Contact_Roles", self.put_roles, methods=["PUT"]),
            Route(f"{one}/Contact_Roles", self.drop_roles, methods=["DELETE"]),
            Route(one + "/Contact_Roles/{contact}", self.put_role, methods=["PUT"]),
            Route(one + "/Contact_Roles/{contact}", self.drop_role, methods=["DELETE"]),
            Route(f"{one}/actions/merge", self.merge, methods=["POST"]),
            Route(f"{one}/actions/change_owner", self.change_owner, methods=["POST"]),
            Route("/crm/{version}/{module}/actions/change_owner", self.change_owners, methods=["POST"]),
        ]

    # Contacts of a deal

    async def put_roles(self, request: Request) -> Response:
        """Add contacts to a deal, or change the parts they play."""
        deal, said = self._deal(request), await read_body(request)
        return answer([self._put(deal.id, row, place) for place, row in enumerate(rows_in(said))], 200)

    async def put_role(self, request: Request) -> Response:
        """Add the contact in the address, or change its part."""
        deal, rows = self._deal(request), rows_in(await read_body(request), 1)
        row = {**rows[0], "id": request.path_params["contact"]} if isinstance(rows[0], Mapping) else rows[0]
        return answer([self._put(deal.id, row, 0)], 200)

    async def drop_roles(self, request: Request) -> Response:
        """Take contacts off a deal."""
        deal, text = self._deal(request), request.query_params.get("ids")
        if not text:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "ids"})
        return answer([self._drop(deal.id, one.strip()) for one in text.split(",")], 200)

    async def drop_role(self, request: Request) -> Response:
        """Take the contact in the address off a deal."""
        deal, contact_id = self._deal(request), request.path_params["contact"]
        if contact_id not in deal.contact_ids:
            refuse("INVALID_DATA", {"resource_path_index": 3}, _RELATED)
        return answer([self._drop(deal.id, contact_id)], 200)

    def _deal(self, request: Request) -> Deal:
        if self._writes.module(request).name != "Deals":
            refuse("INVALID_MODULE", {"resource_path_index": 0})
        deal = self.org.world.deals.get(request.path_params["id"])
        if deal is None:
            refuse("INVALID_DATA", {"resource_path_index": 1}, _BAD_ID)
        return deal

    def _put(self, deal_id: str, row: Any, place: int) -> dict[str, Any]:
        path, world = f"$.data[{place}]", self.org.world
        said = row if isinstance(row, Mapping) else {}
        contact_id = str(said.get("id"))
        if contact_id not in world.contacts:
            return failed("INVALID_DATA", {"api_name": "id", "json_path": f"{path}.id"}, _RELATED)
        part = _role_place(said.get("Contact_Role"))
        if part is None:
            where = {"api_name": "Contact_Role", "json_path": f"{path}.Contact_Role"}
            if said.get("Contact_Role") is None:
                return failed("MANDATORY_NOT_FOUND", where, "required field not found")
            return failed("INVALID_DATA", where, "invalid data")
        deal = world.deals[deal_id]
        known = contact_id in deal.contact_ids
        fields: dict[str, Any] = {}
        custom: dict[str, Any] = {"$Roles": {**deal.custom.get("$Roles", {}), contact_id: part}}
        if not known:
            fields["contact_ids"] = (*deal.contact_ids, contact_id)
            if not deal.contact_ids:
                custom["$No_Primary"] = True  # a role does not fill `Contact_Name` (inferred)
        # Links move no stamp of the deal (inferred).
        world.edit("deal", deal_id, by=self.org.me.id, touch=False, custom=custom, **fields)
        return done({"id": contact_id}, "relation updated" if known else "relation added")

    def _drop(self, deal_id: str, contact_id: str) -> dict[str, Any]:
        world = self.org.world
        deal = world.deals[deal_id]
        if contact_id not in deal.contact_ids:
            return failed("INVALID_DATA", {"id": contact_id}, _RELATED)
        left = tuple(one for one in deal.contact_ids if one != contact_id)
        roles = {one: part for one, part in deal.custom.get("$Roles", {}).items() if one != contact_id}
        emptied = "$No_Primary" in deal.custom or deal.contact_ids[0] == contact_id
        custom = {"$Roles": roles or None, "$No_Primary": True if emptied and left else None}
        world.edit("deal", deal_id, by=self.org.me.id, touch=False, contact_ids=left, custom=custom)
        return done({"id": contact_id}, "relation removed")

    # Merging

    async def merge(self, request: Request) -> Response:
        """Let one or two records go up in the one in the address.

        Fields named in `_fields` of a loser are taken over, empty ones of the master are filled; the links of
        the losers go to the master, and the losers are reported as deleted.
        """
        module, said = self._writes.module(request), await read_body(request)
        kind = WRITABLE.get(module.name)
        if kind is None or kind == "note":
            refuse("NOT_SUPPORTED", {"resource_path_index": 0})
        table, master = self.org.world.live.tables[kind], request.path_params["id"]
        if master not in table:
            refuse("INVALID_DATA", {"resource_path_index": 1}, _BAD_ID)
        losers = self._losers(said, table, master)
        me = self.org.me.id
        for row in losers:
            lost = table[row["id"]]
            self.org.world.merge(kind, row["id"], master, by=me)
            taken = self._taken(module, row, lost)
            self.org.world.edit(kind, master, by=me, **taken)
        self._writes.note_effects(kind, master, ("workflow",))
        return json_reply({"merge": [done({"id": master}, "records merged successfully")]})

    def _losers(self, said: Mapping[str, Any], table: Mapping[str, Any], master: str) -> list[dict[str, Any]]:
        merges = said.get("merge")
        one = merges[0] if isinstance(merges, list) and len(merges) == 1 else None
        rows = one.get("data") if isinstance(one, Mapping) else None
        if not isinstance(rows, list) or not rows:
            where = {"api_name": "data", "json_path": "$.merge[0].data"}
            self._refuse_merge("MANDATORY_NOT_FOUND", where, "required field not found")
        if len(rows) > _LOSERS_MOST:
            too_many = {"api_name": "data", "json_path": "$.merge[0].data", "maximum_length": _LOSERS_MOST}
            self._refuse_merge("INVALID_DATA", too_many, "invalid data")
        found: list[dict[str, Any]] = []
        for place, row in enumerate(rows):
            loser = {**row, "id": str(row.get("id"))} if isinstance(row, Mapping) else {"id": ""}
            where = {"api_name": "id", "json_path": f"$.merge[0].data[{place}].id"}
            if loser["id"] == master or any(loser["id"] == other["id"] for other in found):
                self._refuse_merge("DUPLICATE_DATA", where, "duplicate data")
            if loser["id"] not in table:
                self._refuse_merge("INVALID_DATA", where, _BAD_ID)
            found.append(loser)
        return found

    def _refuse_merge(self, code: str, details: Mapping[str, Any], message: str) -> NoReturn:
        raise Refusal(json_reply({"merge": [failed(code, details, message)]}, 400))

    def _taken(self, module: Module, row: Mapping[str, Any], lost: Any) -> dict[str, Any]:
        """What the master takes over, read from the loser as a write would send it."""
        names = [str(one.get("api_name")) for one in row.get("_fields", ()) if isinstance(one, Mapping)]
        fields = [module.fields[name] for name in names if name in module.fields]
        sent = {}
        for field in fields:
            value = field.value(lost)
            raw = field.raw(lost)
            sent[field.name] = {"id": raw} if field.lookup and raw else value
        draft = self._writes.drafts.make(module, _plain(sent), lost, "$.merge[0].data[0]")
        return draft.fields if not draft.errors else {}

    # Owners

    async def change_owner(self, request: Request) -> Response:
        """Give the record in the address to somebody else."""
        module, said = self._writes.module(request), await read_body(request)
        return self._hand_over(module, [request.path_params["id"]], said, in_path=True)

    async def change_owners(self, request: Request) -> Response:
        """Give several records to somebody else; one id that is wrong refuses all."""
        module, said = self._writes.module(request), await read_body(request)
        ids = said.get("ids")
        if not isinstance(ids, list) or not ids:
            refuse(
                "MANDATORY_NOT_FOUND", {"api_name": "ids", "json_path": "$.ids"}, "required field not found"
            )
        if len(ids) > _OWNED_MOST:
            refuse("INVALID_DATA", {"maximum_length": _OWNED_MOST, "api_name": "ids", "json_path": "$.ids"})
        return self._hand_over(module, [str(one) for one in ids], said, in_path=False)

    def _hand_over(
        self, module: Module, ids: list[str], said: Mapping[str, Any], *, in_path: bool
    ) -> Response:
        kind = WRITABLE.get(module.name)
        if kind is None or kind == "note":
            refuse("NOT_SUPPORTED", {"resource_path_index": 0})
        owner = said.get("owner")
        owner_id = str(owner.get("id")) if isinstance(owner, Mapping) else ""
        user = self.org.world.users.get(owner_id)
        if user is None or not user.active:
            refuse("INVALID_DATA", {"api_name": "id", "json_path": "$.owner.id"}, _RELATED)
        table = self.org.world.live.tables[kind]
        for place, one in enumerate(ids):
            if one not in table:
                where = {"api_name": "ids", "json_path": f"$.ids[{place}]"}
                return error(400, "INVALID_DATA", {"resource_path_index": 1} if in_path else where, _BAD_ID)
        me = self.org.me.id
        for one in ids:
            self.org.world.edit(kind, one, by=me, owner_id=owner_id, custom={"$Modified_By": me})
            self._writes.note_effects(kind, one, ("workflow",))
        return json_reply(done({"id": ids[0]}, "owner updated successfully"))


def _role_place(said: Any) -> int | None:
    """Which role is meant, by its id or its name."""
    if not isinstance(said, Mapping):
        return None
    for place, name in enumerate(ROLES):
        if said.get("id") is not None:
            if str(said["id"]) == role_id(place):
                return place
        elif said.get("name") == name:
            return place
    return None


def _plain(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a record as JSON would carry them."""
    found: dict[str, Any] = read_json(bytes(json_reply(sent).body))
    return found
