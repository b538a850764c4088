"""Pipelines, stages and the other directories, currencies, the portal itself.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/category/index.html,
https://apidocs.bitrix24.com/api-reference/crm/status/index.html,
https://apidocs.bitrix24.com/api-reference/crm/currency/index.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crmkit.sandbox.bitrix24.fields import SOURCE_IDS
from crmkit.sandbox.bitrix24.lists import PAGE
from crmkit.sandbox.bitrix24.php import as_map
from crmkit.sandbox.bitrix24.portal import ENTITY_KINDS, UNSET, Answer, Failure, Portal, need, stamp, whole
from crmkit.sandbox.rows import Pipeline, Stage

_SEMANTICS: Mapping[str, str | None] = {"open": None, "won": "S", "lost": "F"}
_MEANINGS = {"open": "process", "won": "success", "lost": "failure"}
_DIRECTORIES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "SOURCE": ("Sources", {**{code: name for name, code in SOURCE_IDS.items()}, "OTHER": "Other"}),
    "DEAL_TYPE": ("Deal types", {"SALE": "Sale", "SERVICE": "Service"}),
    "CONTACT_TYPE": ("Contact types", {"CLIENT": "Client", "PARTNER": "Partner"}),
    "COMPANY_TYPE": ("Company types", {"CUSTOMER": "Customer", "PARTNER": "Partner"}),
}
_CURRENCY_NAMES = {"EUR": "Euro", "USD": "United States Dollar", "GBP": "Pound", "JPY": "Yen", "PLN": "Złoty"}


def category_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.category.list`: all at once, in order of `sort`, the default pipeline 0 among them."""
    deal_type(params)
    ordered = sorted(portal.world.pipelines.values(), key=lambda pipeline: (pipeline.order, int(pipeline.id)))
    rows = [category_row(pipeline) for pipeline in ordered if not pipeline.archived]
    return Answer({"categories": rows}, len(rows))


def category_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.category.get`."""
    deal_type(params)
    pipeline = portal.world.pipelines.get(str(whole(need(params, "id"))))
    if pipeline is None:
        raise Failure("NOT_FOUND", "Element not found")
    return Answer({"category": category_row(pipeline)})


def deal_type(params: Mapping[str, Any]) -> None:
    """Refuse every kind but deals, which alone have pipelines here."""
    number = whole(need(params, "entityTypeId"))
    if number != 2:
        known = number in ENTITY_KINDS
        text = "Categories are not supported for this type" if known else "Smart process not found"
        raise Failure("ENTITY_TYPE_NOT_SUPPORTED" if known else "NOT_FOUND", text)


def category_row(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline on the wire."""
    default = pipeline.id == "0"
    row: dict[str, Any] = {
        "id": int(pipeline.id),
        "name": pipeline.name,
        "sort": pipeline.order,
        "entityTypeId": 2,
        "isDefault": "Y" if default else "N",
    }
    if not default:
        row |= {name: pipeline.extra.get(name, "") for name in ("originId", "originatorId")}
    return row


def status_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.status.list`: a directory that does not exist, such as `DEAL_STAGE_0`, is empty."""
    said = as_map(params.get("filter"))
    if any(isinstance(value, (list, Mapping)) for value in said.values()):
        raise Failure("", "Specified entity type is not supported.")
    rows = _status_rows(portal)
    for name, value in said.items():
        rows = [row for row in rows if str(row.get(name.lstrip("=")) or "") == str(value or "")]
    for name, direction in reversed(as_map(params.get("order")).items()):
        rows.sort(key=_by(name), reverse=str(direction).upper() == "DESC")
    return paged(rows, params)


def _by(name: str) -> Callable[[Mapping[str, Any]], tuple[int, str]]:
    if name in {"ID", "SORT"}:
        return lambda row: (int(row[name]), "")
    return lambda row: (0, str(row.get(name) or ""))


def status_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.status.get`."""
    wanted = str(params.get("id"))
    row = next((row for row in _status_rows(portal) if row["ID"] == wanted), None)
    if row is None:
        raise Failure("", "Status is not found.")
    return Answer(row)


def status_entity_types(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.status.entity.types`: the directories there are."""
    rows = [{"ID": name, "NAME": label} for name, (label, _) in _DIRECTORIES.items()]
    for pipeline in portal.world.pipelines.values():
        directory = directory_of(pipeline.id)
        row: dict[str, Any] = {"ID": directory, "NAME": f"Deal stages: {pipeline.name}"}
        if pipeline.id != "0":
            row |= {"PREFIX": f"C{pipeline.id}", "CATEGORY_ID": pipeline.id, "ENTITY_TYPE_ID": 2}
        rows.append(row)
    return Answer(rows)


def status_entity_items(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.status.entity.items`: one directory in brief."""
    wanted = params.get("entityid")
    rows = [row for row in _status_rows(portal) if row["ENTITY_ID"] == wanted]
    return Answer(
        [{"NAME": row["NAME"], "SORT": int(row["SORT"]), "STATUS_ID": row["STATUS_ID"]} for row in rows]
    )


def directory_of(pipeline_id: str) -> str:
    """The directory that holds a pipeline's stages."""
    return "DEAL_STAGE" if pipeline_id == "0" else f"DEAL_STAGE_{pipeline_id}"


def _status_rows(portal: Portal) -> list[dict[str, Any]]:
    rows = []
    for pipeline in portal.world.pipelines.values():
        for place, stage in enumerate(pipeline.stages):
            rows.append(_stage_row(pipeline, stage, place))
    number = 2001
    for directory, (_, values) in _DIRECTORIES.items():
        for place, (code, name) in enumerate(values.items()):
            rows.append(_status_row(str(number), directory, code, name, place))
            number += 1
    return rows


def _status_row(row_id: str, directory: str, code: str, name: str, place: int) -> dict[str, Any]:
    return {
        "ID": row_id,
        "ENTITY_ID": directory,
        "STATUS_ID": code,
        "NAME": name,
        "NAME_INIT": "",
        "SORT": str((place + 1) * 10),
        "SYSTEM": "N",
        "CATEGORY_ID": None,
        "COLOR": None,
        "SEMANTICS": None,
    }


def _stage_row(pipeline: Pipeline, stage: Stage, place: int) -> dict[str, Any]:
    # A stage that a test put in has no row id of its own; its place makes one.
    row_id = stage.extra.get("row_id", 10_000 + int(pipeline.id) * 100 + place)
    colour = stage.extra.get("color", "#39A8EF")
    meaning = "apology" if stage.extra.get("apology") else _MEANINGS[stage.outcome]
    return {
        **_status_row(str(row_id), directory_of(pipeline.id), stage.id, stage.name, place),
        "SORT": str(stage.extra.get("sort", (place + 1) * 10)),
        "NAME_INIT": stage.extra.get("initial", "") if stage.extra.get("system") else "",
        "SYSTEM": "Y" if stage.extra.get("system") else "N",
        "CATEGORY_ID": None if pipeline.id == "0" else pipeline.id,
        "COLOR": colour,
        "SEMANTICS": _SEMANTICS[stage.outcome],
        "EXTRA": {"SEMANTICS": meaning, "COLOR": colour},
    }


def paged(rows: list[Any], params: Mapping[str, Any]) -> Answer:
    """A page of rows that are all at hand, in the manner of the old lists."""
    start = whole(params.get("start")) or 0
    if start < 0:
        return Answer(rows[:PAGE], 0)
    following = start + PAGE
    return Answer(rows[start:following], len(rows), following if following < len(rows) else UNSET)


def currency_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.currency.list`: no paging, and a total of 0 whatever there is."""
    return Answer([_currency(portal, code) for code in portal.world.rates], 0)


def currency_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.currency.get`."""
    code = str(params.get("id"))
    if code not in portal.world.rates:
        raise Failure("", "Not found")
    return Answer(_currency(portal, code))


def currency_base(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.currency.base.get`."""
    return Answer(portal.world.base_currency)


def _currency(portal: Portal, code: str) -> dict[str, Any]:
    rate = portal.world.rates[code]
    count = 100 if rate < 0.1 else 1
    return {
        "CURRENCY": code,
        "AMOUNT_CNT": str(count),
        "AMOUNT": f"{rate * count:.4f}",
        "SORT": str((list(portal.world.rates).index(code) + 1) * 100),
        "BASE": "Y" if code == portal.world.base_currency else "N",
        "FULL_NAME": _CURRENCY_NAMES.get(code, code),
        "LID": "en",
        "FORMAT_STRING": f"# {code}",
        "DEC_POINT": ".",
        "THOUSANDS_SEP": "&nbsp;",
        "DECIMALS": "0" if code == "JPY" else "2",
        "DATE_UPDATE": stamp(portal.world.users["1"].created) if "1" in portal.world.users else None,
    }


def settings_mode(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.settings.mode.get`: 2 means without leads."""
    return Answer(portal.setting("crm_mode", 2))


def enum_ownertype(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.enum.ownertype`."""
    names = {1: "Lead", 2: "Deal", 3: "Contact", 4: "Company"}
    return Answer(
        [{"ID": number, "NAME": name, "SYMBOL_CODE": name.upper()} for number, name in names.items()]
    )


def server_time(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`server.time`."""
    return Answer(stamp(portal.world.clock()))
