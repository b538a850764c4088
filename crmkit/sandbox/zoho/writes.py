"""Records: create, update, upsert, delete; a bad row never stops its neighbours.

Sources: https://www.zoho.com/crm/developer/docs/api/v8/insert-records.html, update-records.html,
upsert-records.html and delete-records.html beside it; the examples of github.com/zoho/crm-oas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import Kind, SideEffect
from crmkit.sandbox.zoho.answers import refuse
from crmkit.sandbox.zoho.bodies import (
    ROWS_MOST,
    all_errors,
    answer,
    done,
    failed,
    read_body,
    rows_in,
    triggers_in,
)
from crmkit.sandbox.zoho.drafts import Draft, Drafts
from crmkit.sandbox.zoho.org import Org, read_time
from crmkit.sandbox.zoho.schema import Field, Module
from crmkit.sandbox.zoho.uniques import Uniques
from crmkit.sandbox.zoho.values import Wrong, read_value

WRITABLE: Mapping[str, Kind] = {
    "Deals": "deal",
    "Accounts": "company",
    "Contacts": "contact",
    "Notes": "note",
}
# What an upsert matches by unless told otherwise, before the unique fields. Several clients have overwritten
# a namesake with it: https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html
_SYSTEM_CHECKS = {"Deals": ("Deal_Name",), "Accounts": ("Account_Name",), "Contacts": ("Email",)}
_NO_MODULES = frozenset({"coql", "org", "settings", "upload", "users"})  # they stand where modules do
_BAD_ID = "the id given seems to be invalid"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What holds for every row of one write."""

    module: Module
    kind: Kind
    triggers: Sequence[str]
    unchanged_since: datetime | None
    in_path: bool = False
    uniques: Sequence[Field] = ()


class Writes:
    """The calls that write records."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]], uniques: Uniques) -> None:
        self.org, self.modules, self._uniques = org, modules, uniques
        self.drafts = Drafts(org)

    def routes(self) -> list[Route]:
        """What is served."""
        one = "/crm/{version}/{module}"
        return [
            Route(f"{one}/upsert", self.upsert, methods=["POST"]),
            Route(one, self.create, methods=["POST"]),
            Route(one, self.update, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(one + "/{id}", self.update_one, methods=["PUT"]),
            Route(one + "/{id}", self.delete_one, methods=["DELETE"]),
            Route(one + "/{id}/Notes", self.create_notes, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """New records."""
        said = await read_body(request)
        call, rows = self.call(request, said), rows_in(said)
        return answer([self.create_row(call, row, f"$.data[{place}]") for place, row in enumerate(rows)], 201)

    async def create_notes(self, request: Request) -> Response:
        """New notes on one record."""
        parent, said = self.module(request), await read_body(request)
        rows, parent_id = rows_in(said), request.path_params["id"]
        if parent.kind is None or parent_id not in self.org.world.live.tables[parent.kind]:
            refuse("INVALID_DATA", {"resource_path_index": 1}, _BAD_ID)
        call = Call(self.modules()["Notes"], "note", (), None)
        above = {"module": {"api_name": parent.name}, "id": parent_id}
        results = []
        for place, row in enumerate(rows):
            whole = {**row, "Parent_Id": above} if isinstance(row, dict) else row
            results.append(self.create_row(call, whole, f"$.data[{place}]"))
        return answer(results, 201)

    async def update(self, request: Request) -> Response:
        """Changes of several records."""
        said = await read_body(request)
        call, rows = self.call(request, said), rows_in(said)
        return answer([self.update_row(call, row, f"$.data[{place}]") for place, row in enumerate(rows)], 200)

    async def update_one(self, request: Request) -> Response:
        """Changes of the record in the address."""
        said = await read_body(request)
        call, rows = self.call(request, said, in_path=True), rows_in(said, 1)
        row = {**rows[0], "id": request.path_params["id"]} if isinstance(rows[0], dict) else rows[0]
        return answer([self.update_row(call, row, "$.data[0]")], 200)

    async def upsert(self, request: Request) -> Response:
        """Changes of the records that match, new ones for the rest."""
        said = await read_body(request)
        call, rows = self.call(request, said), rows_in(said)
        if call.kind == "note":
            refuse("NOT_SUPPORTED", {"resource_path_index": 0})
        checks = self._checks(call.module, said.get("duplicate_check_fields"))
        results = [self.upsert_row(call, row, f"$.data[{place}]", checks) for place, row in enumerate(rows)]
        return answer(results, 200)

    async def delete(self, request: Request) -> Response:
        """Several records into the recycle bin."""
        text = request.query_params.get("ids")
        if not text:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "ids"})
        ids = [part.strip() for part in text.split(",") if part.strip()]
        if len(ids) > ROWS_MOST:
            refuse("LIMIT_EXCEEDED", {"limit": ROWS_MOST, "param_name": "ids"})
        call = self._call_to_delete(request)
        return answer([self._delete(call, one) for one in ids], 200)

    async def delete_one(self, request: Request) -> Response:
        """The record in the address into the recycle bin."""
        call, record_id = self._call_to_delete(request), request.path_params["id"]
        if record_id not in self.org.world.live.tables[call.kind]:
            refuse("INVALID_DATA", {"resource_path_index": 1}, _BAD_ID)
        return answer([self._delete(call, record_id)], 200)

    # What a call is about

    def module(self, request: Request) -> Module:
        """The module an address names."""
        name = request.path_params["module"]
        found = self.modules().get(name)
        if found is None and name in _NO_MODULES:
            message = "The http request method type is not a valid one"
            refuse("INVALID_REQUEST_METHOD", {}, message, status=405)
        if found is None:
            refuse("INVALID_MODULE", {"resource_path_index": 0})
        return found

    def call(self, request: Request, said: Mapping[str, Any], *, in_path: bool = False) -> Call:
        """The module, the automations and the condition of a write."""
        module = self._writable(request)
        # Notes have no automations that the API knows of: their body has no `trigger`.
        triggers = () if module.name == "Notes" else triggers_in(said)
        since = _unmodified_since(request)
        return Call(module, WRITABLE[module.name], triggers, since, in_path, unique_fields(module))

    def _call_to_delete(self, request: Request) -> Call:
        module = self._writable(request)
        starts = request.query_params.get("wf_trigger", "true").lower() != "false"
        triggers = ("workflow",) if starts and module.name != "Notes" else ()
        return Call(module, WRITABLE[module.name], triggers, None)

    def _writable(self, request: Request) -> Module:
        module = self.module(request)
        if module.name not in WRITABLE:
            refuse("NOT_SUPPORTED", {"resource_path_index": 0})
        return module

    def _checks(self, module: Module, asked: Any) -> list[Field]:
        """The fields that an upsert matches by, in order."""
        names = _SYSTEM_CHECKS[module.name]
        if asked is None:
            return [module.fields[name] for name in names] + unique_fields(module)
        if not isinstance(asked, list):
            where = {"api_name": "duplicate_check_fields", "json_path": "$.duplicate_check_fields"}
            refuse("INVALID_DATA", {"expected_data_type": "jsonarray", **where})
        for place, name in enumerate(asked):
            field = module.fields.get(name) if isinstance(name, str) else None
            if field is None or not (field.unique or name in names):
                json_path = f"$.duplicate_check_fields[{place}]"
                refuse("INVALID_DATA", {"api_name": "duplicate_check_fields", "json_path": json_path})
        return [module.fields[name] for name in asked]

    # One row

    def create_row(self, call: Call, row: Any, path: str) -> Row:
        """Carry out one row of a create."""
        draft = self.drafts.make(call.module, row, None, path)
        refused = self._refused(call, draft, None, path)
        return refused or self._added(call, draft)

    def update_row(self, call: Call, row: Any, path: str) -> Row:
        """Carry out one row of an update."""
        if not isinstance(row, dict):
            return all_errors(self.drafts.make(call.module, row, None, path).errors)
        if row.get("id") in (None, ""):
            missing = {"api_name": "id", "json_path": f"{path}.id"}
            return failed("MANDATORY_NOT_FOUND", missing, "required field not found")
        before = self.org.world.live.tables[call.kind].get(str(row["id"]))
        if before is None:
            in_body = {"api_name": "id", "json_path": f"{path}.id"}
            where: Row = {"resource_path_index": 1} if call.in_path else in_body
            return failed("INVALID_DATA", where, _BAD_ID)
        return self._change(call, row, before, path)

    def upsert_row(
        self, call: Call, row: Any, path: str, checks: Sequence[Field], *, insert: bool = True
    ) -> Row:
        """Carry out one row of an upsert; without `insert` what matches nothing is refused."""
        if not isinstance(row, dict):
            return all_errors(self.drafts.make(call.module, row, None, path).errors)
        if row.get("id") not in (None, ""):
            result = self.update_row(call, row, path)
            if result["code"] == "SUCCESS":
                result |= {"duplicate_field": "id", "action": "update"}
            return result
        for field in checks:
            found = self._matches(call, field, row.get(field.name))
            if found:
                before = self.org.world.live.tables[call.kind][found[0]]
                # Also a change of a record needs every required field here, as an official example shows.
                result = self._change(call, row, before, path, complete=True)
                if result["code"] == "SUCCESS":
                    result |= {"duplicate_field": field.name, "action": "update"}
                return result
        if not insert:
            return failed("INVALID_DATA", {"api_name": checks[0].name, "json_path": path}, "no such record")
        result = self.create_row(call, row, path)
        return (
            result | {"duplicate_field": None, "action": "insert"} if result["code"] == "SUCCESS" else result
        )

    def _matches(self, call: Call, field: Field, value: Any) -> Sequence[str]:
        """The records that an upsert could mean; a value that does not fit matches none."""
        try:
            stored = read_value(self.org, field, value)
        except Wrong:
            return ()
        return () if stored is None else self._uniques.find(call.kind, field, stored)

    def _change(
        self, call: Call, row: Mapping[str, Any], before: Any, path: str, *, complete: bool = False
    ) -> Row:
        since = call.unchanged_since
        if since is not None and before.modified > since:
            message = "record updated time has already passed if-unmodified-since time"
            details = self.details(call.kind, before)
            details.pop("$approval_state", None)
            return failed("ALREADY_MODIFIED", details, message)
        if before.custom.get("$Locked__s"):
            return _locked({"api_name": "id", "json_path": f"{path}.id"})
        draft = self.drafts.make(call.module, row, before, path, complete=complete)
        if complete:
            for one in draft.errors:
                if one["code"] == "MANDATORY_NOT_FOUND":
                    one["details"]["id"] = before.id
        refused = self._refused(call, draft, before.id, path)
        if refused:
            return refused
        me = self.org.me.id
        draft.fields.setdefault("custom", {})["$Modified_By"] = me
        after = self.org.world.edit(call.kind, before.id, by=me, **draft.fields)
        self.note_effects(call.kind, before.id, call.triggers)
        return done(self.details(call.kind, after), "record updated")

    def _added(self, call: Call, draft: Draft) -> Row:
        world, me = self.org.world, self.org.me.id
        fields = draft.fields
        custom = {**fields.pop("custom", {}), "$Created_By": me, "$Modified_By": me}
        fields["custom"] = {name: value for name, value in custom.items() if value is not None}
        fields.setdefault("author_id" if call.kind == "note" else "owner_id", me)
        row = world.create(call.kind, by=me, **fields)
        if call.kind == "note" and row.deal_id:
            world.edit("deal", row.deal_id, by=me, touch=False, last_activity=row.created)
        self.note_effects(call.kind, row.id, call.triggers)
        return done(self.details(call.kind, row), "record added")

    def _delete(self, call: Call, record_id: str) -> Row:
        world = self.org.world
        row = world.live.tables[call.kind].get(record_id)
        if row is None:
            return failed("INVALID_DATA", {"id": record_id}, _BAD_ID)
        if row.custom.get("$Locked__s"):
            return _locked({"id": record_id})
        world.delete(call.kind, record_id, by=self.org.me.id)
        self.note_effects(call.kind, record_id, call.triggers)
        return done({"id": record_id}, "record deleted")

    def _refused(self, call: Call, draft: Draft, own_id: str | None, path: str) -> Row | None:
        """Why a row cannot be written, if so; what is unique is looked at when all else is well."""
        if draft.errors:
            return all_errors(draft.errors)
        errors = []
        for field in call.uniques:
            value = draft.said.get(field.name)
            if value is None:
                continue
            others = [one for one in self._uniques.find(call.kind, field, value) if one != own_id]
            if others:
                errors.append(self._duplicate(call, field, others, path))
        return all_errors(errors) if errors else None

    def _duplicate(self, call: Call, field: Field, others: Sequence[str], path: str) -> Row:
        holder = self.org.world.live.tables[call.kind][others[0]]
        owner = self.org.world.users.get(holder.owner_id or "")
        shown = {"name": owner.name, "id": owner.id, "zuid": str(int(owner.id) % 10**8)} if owner else None
        record = {
            "Owner": shown,
            "id": holder.id,
            "module": {"api_name": call.module.name, "id": call.module.id},
        }
        details = {
            "api_name": field.name,
            "duplicate_record": record,
            "json_path": f"{path}.{field.name}",
            "id": holder.id,
            "more_records": len(others) > 1,
        }
        return failed("DUPLICATE_DATA", details, "duplicate data")

    # What every written record leaves behind

    def details(self, kind: Kind, row: Any) -> Row:
        """What the answer tells of a record."""
        org = self.org
        owner = row.author_id if kind == "note" else row.owner_id
        custom = row.custom
        told: Row = {
            "Modified_Time": org.stamp(row.modified),
            "Modified_By": org.user_short(custom.get("$Modified_By") or owner),
            "Created_Time": org.stamp(row.created),
            "id": row.id,
            "Created_By": org.user_short(custom.get("$Created_By") or owner),
        }
        if kind != "note":
            told["$approval_state"] = "approved"
        return told

    def note_effects(self, kind: Kind, record_id: str, triggers: Sequence[str]) -> None:
        """Remember the automations that a write has started."""
        me = self.org.me.id
        self.org.world.side_effects.extend(SideEffect(kind, record_id, what, me) for what in triggers)


def unique_fields(module: Module) -> list[Field]:
    """The fields whose values only one record can hold."""
    return [field for field in module.fields.values() if field.unique]


def _locked(where: Mapping[str, Any]) -> Row:
    message = "Sorry, you cannot perform this operation as the record is locked."
    return failed("RECORD_LOCKED", {**where, "action": "record_locking"}, message)


def _unmodified_since(request: Request) -> datetime | None:
    text = request.headers.get("if-unmodified-since")
    if not text:
        return None
    moment = read_time(text)
    if moment is None:
        refuse("INVALID_DATA", {"param_name": "If-Unmodified-Since"}, "the header given seems to be invalid")
    return moment
