"""Writes through Zoho's own SDK and tells in JSON what it was told and what it read back.

A process of its own, as `zoho_sdk_reader`. Nothing of the SDK is patched.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store.file_store import FileStore
from zohocrmsdk.src.com.zoho.crm.api.dc.data_center import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer
from zohocrmsdk.src.com.zoho.crm.api.parameter_map import ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.record import (
    BodyWrapper,
    DeleteRecordsParam,
    Field,
    Record,
    RecordOperations,
)
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig
from zohocrmsdk.src.com.zoho.crm.api.util import Choice

FIELD = Field.Deals


def body(*records: Any, checks: list[str] | None = None) -> Any:
    made = BodyWrapper()
    made.set_data(list(records))
    made.set_trigger([])
    if checks:
        made.set_duplicate_check_fields(checks)
    return made


def deal(name: str, key: str) -> Any:
    made = Record()
    made.add_field_value(FIELD.deal_name(), name)
    made.add_field_value(FIELD.stage(), Choice("Qualification"))
    made.add_field_value(FIELD.pipeline(), Choice("Standard (Standard)"))
    made.add_field_value(FIELD.amount(), 12500.5)
    made.add_field_value(FIELD.closing_date(), date(2026, 12, 31))
    made.add_key_value("Crmkit_Key", key)
    return made


def told(answer: Any) -> list[dict[str, Any]]:
    """What became of each row."""
    found = []
    for one in answer.get_object().get_data():
        details = one.get_details()
        found.append(
            {
                "code": one.get_code().get_value(),
                "id": str(details.get("id")),
                "api_name": details.get("api_name"),
            }
        )
    return found


def main(origin: str, client_id: str, client_secret: str, refresh_token: str, folder: str) -> None:
    Initializer.initialize(
        environment=DataCenter.Environment(origin, f"{origin}/oauth/v2/token", origin),
        token=OAuthToken(client_id=client_id, client_secret=client_secret, refresh_token=refresh_token),
        store=FileStore(str(Path(folder) / "tokens")),
        sdk_config=SDKConfig(auto_refresh_fields=False, pick_list_validation=False),
        resource_path=folder,
    )
    calls = RecordOperations("Deals")
    steps: dict[str, Any] = {}
    steps["create"] = told(calls.create_records(body(deal("One", "k1"), deal("Two", "k1"))))
    deal_id = int(steps["create"][0]["id"])
    change = Record()
    change.add_field_value(FIELD.stage(), Choice("Closed Won"))
    steps["update"] = told(calls.update_record(deal_id, body(change)))
    again = calls.upsert_records(body(deal("One again", "k1"), deal("Three", "k3"), checks=["Crmkit_Key"]))
    steps["upsert"] = told(again)
    row = calls.get_record(deal_id).get_object().get_data()[0]
    steps["read"] = {
        "name": row.get_key_value("Deal_Name"),
        "stage": row.get_key_value("Stage").get_value(),
        "amount": row.get_key_value("Amount"),
        "closing": str(row.get_key_value("Closing_Date")),
        "key": row.get_key_value("Crmkit_Key"),
    }
    steps["delete"] = told(calls.delete_record(deal_id))
    params = ParameterMap()
    params.add(DeleteRecordsParam.ids, f"{steps['upsert'][1]['id']}")
    steps["delete_many"] = told(calls.delete_records(params))
    sys.stdout.write(json.dumps(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
