"""A small Bitrix24 portal that can be written to, for the tests of the writing side.

It does what the contract says a portal does to writes, the unpleasant things included:
unknown fields and unreadable dates vanish, a stage of another pipeline is ignored, new deals
get defaults, directories refuse duplicate ids and stages behind the final ones.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from tests.connectors.test_bitrix24 import Portal, Refused

KINDS = {"deal": 2, "contact": 3, "company": 4}
UPPER = {
    "TITLE": "title",
    "OPPORTUNITY": "opportunity",
    "PROBABILITY": "probability",
    "COMPANY_ID": "companyId",
    "CLOSEDATE": "closedate",
    "SOURCE_ID": "sourceId",
    "NAME": "name",
    "LAST_NAME": "lastName",
}
WRITABLE = {
    2: "title categoryId stageId opportunity isManualOpportunity currencyId probability assignedById "
    "companyId contactIds closedate sourceId originatorId originId",
    3: "name lastName assignedById companyIds fm originatorId originId",
    4: "title assignedById fm originatorId originId",
}
STAGES = (
    ("NEW", "New", "", "Y"),
    ("PREPARATION", "Preparation", "", "N"),
    ("PREPAYMENT_INVOICE", "Invoice", "", "N"),
    ("EXECUTING", "In progress", "", "N"),
    ("FINAL_INVOICE", "Final invoice", "", "N"),
    ("WON", "Deal won", "S", "Y"),
    ("LOSE", "Deal lost", "F", "Y"),
    ("APOLOGY", "Analyse failure", "F", "N"),
)
FIELD = {"isDynamic": True, "isMultiple": False, "isReadOnly": False}
ITEM_FIELDS: dict[str, Any] = {
    "stageId": {"type": "crm_status", "title": "Stage", "upperName": "STAGE_ID"},
    "opportunity": {"type": "double", "title": "Сумма", "upperName": "OPPORTUNITY"},
    "createdTime": {"type": "datetime", "title": "Created at", "upperName": "CREATED_TIME"},
    "ufCrm_1": {**FIELD, "type": "string", "title": "Region", "upperName": "UF_CRM_1"},
    "ufCrm_2": {
        **FIELD,
        "type": "enumeration",
        "isMultiple": True,
        "title": "Products",
        "upperName": "UF_CRM_2",
        "items": [{"ID": "11", "VALUE": "A"}, {"ID": "14", "VALUE": "B"}],
    },
    "ufCrm_3": {**FIELD, "type": "date", "title": "Since", "upperName": "UF_CRM_3"},
    "ufCrm_4": {**FIELD, "type": "file", "title": "Contract", "upperName": "UF_CRM_4"},
    "ufCrm_5": {**FIELD, "type": "integer", "title": "Seats", "upperName": "UF_CRM_5"},
    "ufCrm_6": {**FIELD, "type": "boolean", "title": "Key account", "upperName": "UF_CRM_6"},
}


class WritablePortal(Portal):
    """See the module.

    Attributes:
        rules: Called with method and parameters before a command runs; may raise `Refused`.
        stubborn: Fields that `crm.item.update` leaves as they were when they are cleared.
        hides_fm: Whether answers to writes lack phones and e-mail addresses.
        ignores: Fields that are dropped from every write without a word.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rules: list[Callable[[str, dict[str, Any]], None]] = []
        self.stubborn: set[str] = set()
        self.ignores: set[str] = set()
        self.hides_fm = False
        self.counter = itertools.count(1000)
        self.done: list[str] = []
        for kind in (2, 3, 4):
            self.fields[kind] = dict(ITEM_FIELDS)
        self.categories = [{"id": 0, "name": "General", "sort": 300, "isDefault": "Y"}]
        self.statuses["DEAL_STAGE"] = self.born("DEAL_STAGE", "")
        self.category(7)

    def deal(self, native: int, **fields: Any) -> dict[str, Any]:
        return super().deal(native, **{"sourceId": None, **fields})

    def category(self, native: int, name: str = "Partners", **more: Any) -> dict[str, Any]:
        row = {"id": native, "name": name, "sort": 500, "entityTypeId": 2, "isDefault": "N", **more}
        self.categories.append(row)
        self.statuses[f"DEAL_STAGE_{native}"] = self.born(f"DEAL_STAGE_{native}", f"C{native}:")
        return row

    def born(self, directory: str, prefix: str) -> list[dict[str, Any]]:
        return [
            {
                "ID": str(next(self.counter)),
                "ENTITY_ID": directory,
                "STATUS_ID": (prefix + native)[:21],
                "NAME": name,
                "SORT": str((place + 1) * 10),
                "SYSTEM": system,
                "SEMANTICS": semantics or None,
            }
            for place, (native, name, semantics, system) in enumerate(STAGES)
        ]

    def party(self, kind: int, native: int, **fields: Any) -> dict[str, Any]:
        stamp = self.now.isoformat()
        row = {
            "id": native,
            "assignedById": 1,
            "fm": [],
            "originatorId": None,
            "originId": None,
            "createdTime": stamp,
            "updatedTime": stamp,
            **(
                {"name": "", "lastName": "", "companyIds": []}
                if kind == 3
                else {"title": f"Company {native}"}
            ),
            **fields,
        }
        self.items[kind][native] = row
        return row

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        method = request.url.rpartition("/")[2]
        if method == "batch":
            return super().answer(request)
        with self.lock:
            body = json.loads(request.body)
            self.requests.append({"single": method, **body})
            for front in self.fronts:
                if (answer := front(request, body)) is not None:
                    return answer
            try:
                told = self.run(method, body)
            except Refused as refusal:
                return refusal.status, {}, json.dumps(refusal.body)
            return 200, {}, json.dumps({**told, "time": {}})

    def run(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        for rule in self.rules:
            rule(method, params)
        writer = getattr(self, "_" + method.replace(".", "_"), None)
        if writer is None and not method.endswith((".update", ".set")):
            return super().run(method, params)
        self.done.append(method)
        if writer is None:
            writer = {"update": self._legacy_update, "set": self._link_set}[method.rpartition(".")[2]]
            return {"result": writer(method, params)}
        return {"result": writer(params)}

    # -- items

    def _crm_item_add(self, params: dict[str, Any]) -> Any:
        kind, fields = int(params["entityTypeId"]), params["fields"]
        native = next(self.counter)
        if kind == 2:
            week = (date(2026, 11, 23) + timedelta(days=7)).isoformat()
            row = self.deal(
                native, title=f"Deal #{native}", opportunity=None, sourceId="CALL", closedate=week
            )
            row |= {"originatorId": None, "originId": None, "isManualOpportunity": "N", "assignedById": 7}
            row |= {name: None for name in self.fields[kind] if name.startswith("ufCrm")}
        else:
            row = self.party(kind, native, assignedById=7)
        try:
            self.store(kind, row, fields)
        except Refused:
            del self.items[kind][native]
            raise
        return {"item": self.shown(row)}

    def _crm_item_import(self, params: dict[str, Any]) -> Any:
        fields = dict(params["fields"])
        times = {name: fields.pop(name) for name in ("createdTime", "movedTime") if name in fields}
        native = self._crm_item_add({**params, "fields": fields})["item"]["id"]
        self.items[int(params["entityTypeId"])][native] |= times
        return {"item": {"id": native}}

    def _crm_item_update(self, params: dict[str, Any]) -> Any:
        kind = int(params["entityTypeId"])
        row = self.found(kind, params["id"])
        fields = {
            name: value
            for name, value in params["fields"].items()
            if not (name in self.stubborn and value in ("", "0", []))
        }
        self.store(kind, row, fields)
        return {"item": self.shown(row)}

    def _crm_item_delete(self, params: dict[str, Any]) -> Any:
        row = self.found(int(params["entityTypeId"]), params["id"])
        del self.items[int(params["entityTypeId"])][row["id"]]
        return []

    def _legacy_update(self, method: str, params: dict[str, Any]) -> Any:
        kind = KINDS[method.split(".")[1]]
        row = self.found(kind, params["id"], legacy=True)
        names = {one["upperName"]: name for name, one in self.fields[kind].items()} | UPPER
        for upper, value in params["fields"].items():
            row[names[upper]] = None if value == "" else value
        return True

    def _link_set(self, method: str, params: dict[str, Any]) -> Any:
        kind, target = method.split(".")[1:3]
        row = self.found(KINDS[kind], params["id"], legacy=True)
        row[f"{target}Ids"] = [int(one[f"{target.upper()}_ID"]) for one in listed(params["items"])]
        return True

    def _crm_deal_contact_items_delete(self, params: dict[str, Any]) -> Any:
        self.found(2, params["id"], legacy=True).update(contactIds=[], contactId=None)
        return True

    def _crm_contact_company_items_delete(self, params: dict[str, Any]) -> Any:
        self.found(3, params["id"], legacy=True).update(companyIds=[])
        return True

    def found(self, kind: int, native: Any, *, legacy: bool = False) -> dict[str, Any]:
        row = self.items[kind].get(int(native))
        if row is None:
            raise Refused("", "Not found") if legacy else Refused("NOT_FOUND", "Element not found")
        return row

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if not (self.hides_fm and name == "fm")}

    def store(self, kind: int, row: dict[str, Any], fields: dict[str, Any]) -> None:
        new: dict[str, Any] = {}
        for name, value in fields.items():
            if name in self.ignores or name not in (*WRITABLE[kind].split(), *self.fields[kind]):
                continue
            if name == "fm":
                new["fm"] = self.fm(row.get("fm") or [], value)
            elif name in ("contactIds", "companyIds"):
                if not isinstance(value, (dict, list)):
                    raise Refused(100, "Expected iterable value for multiple field, but got string instead")
                new[name] = [int(one) for one in listed(value)]
            elif name in ("categoryId", "companyId", "assignedById", "probability"):
                new[name] = int(value) if value != "" else None
            elif name == "opportunity":
                new[name] = float(value) if value != "" else None
            elif name in ("closedate", "ufCrm_3"):
                day = readable(value)
                if value == "":
                    new[name] = None
                elif day:
                    new[name] = f"{day}T03:00:00+03:00"
            elif name == "ufCrm_2":
                new[name] = listed(value)
            else:
                new[name] = value if value != "" else None
        if "stageId" in new:
            category = new.get("categoryId", row.get("categoryId"))
            stages = self.statuses["DEAL_STAGE" if category == 0 else f"DEAL_STAGE_{category}"]
            found = next((one for one in stages if one["STATUS_ID"] == new["stageId"]), None)
            if found is None:
                del new["stageId"]
            else:
                semantics = found["SEMANTICS"] or "P"
                new |= {"stageSemanticId": semantics, "closed": "N" if semantics == "P" else "Y"}
        if row | new != row:
            row |= new
            row["updatedTime"] = self.now.isoformat()
        if "contactIds" in new:
            row["contactId"] = new["contactIds"][0] if new["contactIds"] else None

    def fm(self, rows: list[dict[str, Any]], value: Any) -> list[dict[str, Any]]:
        if isinstance(value, dict) and not set(value) <= {str(index) for index in range(len(value))}:
            rows = [dict(row) for row in rows]
            for key, one in value.items():
                if key.startswith("n"):
                    rows.append({"id": next(self.counter), **one})
                elif one["value"] == "":
                    rows = [row for row in rows if str(row["id"]) != key]
                else:
                    next(row for row in rows if str(row["id"]) == key).update(one)
            return rows
        return [{"id": next(self.counter), **one} for one in listed(value)]

    # -- comments, pipelines, stages

    def _crm_timeline_comment_add(self, params: dict[str, Any]) -> Any:
        fields = params["fields"]
        if int(fields["ENTITY_ID"]) not in self.items[2]:
            raise Refused("", "Not found.")
        native = str(next(self.counter))
        self.comments.append({"ID": native, "CREATED": self.now.isoformat(), "AUTHOR_ID": "7", **fields})
        return int(native)

    def _crm_category_add(self, params: dict[str, Any]) -> Any:
        return {"category": self.category(next(self.counter), **params["fields"])}

    def _crm_category_update(self, params: dict[str, Any]) -> Any:
        row = next((one for one in self.categories if one["id"] == int(params["id"])), None)
        if row is None:
            raise Refused("NOT_FOUND", "Element not found")
        row.update(params["fields"])
        return {"category": row}

    def _crm_category_delete(self, params: dict[str, Any]) -> Any:
        if any(one["categoryId"] == int(params["id"]) for one in self.items[2].values()):
            raise Refused(0, "The pipeline holds deals")
        self.categories = [one for one in self.categories if one["id"] != int(params["id"])]
        return None

    def _crm_status_add(self, params: dict[str, Any]) -> Any:
        fields = params["fields"]
        rows = self.statuses[fields["ENTITY_ID"]]
        number = fields["ENTITY_ID"].removeprefix("DEAL_STAGE").strip("_")
        native = (f"C{number}:" if number else "") + fields["STATUS_ID"]
        assert len(native) <= 21
        if any(one["STATUS_ID"] == native for one in rows):
            raise Refused("ERROR_CORE", "The specified status ID already exists.")
        semantics = fields.get("SEMANTICS") or None
        row = {
            "SYSTEM": "N",
            **fields,
            "ID": str(next(self.counter)),
            "STATUS_ID": native,
            "SEMANTICS": semantics,
        }
        in_order([*rows, row])
        rows.append(row)
        rows.sort(key=lambda one: int(one["SORT"]))
        return int(row["ID"])

    def _crm_status_update(self, params: dict[str, Any]) -> Any:
        for rows in self.statuses.values():
            for row in rows:
                if row["ID"] == params["id"]:
                    changed = {**row, **params["fields"]}
                    in_order([changed if one is row else one for one in rows])
                    row.update(params["fields"])
                    rows.sort(key=lambda one: int(one["SORT"]))
                    return True
        raise Refused("", "Status is not found.")

    def _crm_status_delete(self, params: dict[str, Any]) -> Any:
        for rows in self.statuses.values():
            for row in rows:
                if row["ID"] == params["id"]:
                    if row["SYSTEM"] == "Y":
                        raise Refused("", "CRM System Status can be deleted only if parameter FORCED is Y.")
                    rows.remove(row)
                    return True
        raise Refused("", "Status is not found.")


def in_order(rows: list[dict[str, Any]]) -> None:
    ranks = {None: 0, "": 0, "S": 1, "F": 2}
    ordered = [ranks[one["SEMANTICS"]] for one in sorted(rows, key=lambda one: int(one["SORT"]))]
    if ordered != sorted(ordered):
        raise Refused("", "Stages must keep the order: in progress, success, failure.")


def listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        assert list(value) == [str(index) for index in range(len(value))]
        return list(value.values())
    return list(value)


def readable(value: str) -> str | None:
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None
