"""Reads every deal through Zoho's own SDK and writes the rows as JSON; a process of its own.

The SDK keeps one initializer per process, so that tests which share a process would share it too.
Nothing of the SDK is patched: its `Environment` takes any address.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store.file_store import FileStore
from zohocrmsdk.src.com.zoho.crm.api.coql import BodyWrapper, CoqlOperations
from zohocrmsdk.src.com.zoho.crm.api.dc.data_center import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer
from zohocrmsdk.src.com.zoho.crm.api.parameter_map import ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.record import GetRecordsParam, RecordOperations
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig

FIELDS = "Deal_Name,Stage,Pipeline,Amount,Currency,Owner,Account_Name,Contact_Name,Closing_Date,Modified_Time"


def by_list() -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        params = ParameterMap()
        params.add(GetRecordsParam.fields, FIELDS)
        if token:
            params.add(GetRecordsParam.page_token, token)
        answer = RecordOperations("Deals").get_records(params).get_object()
        found += answer.get_data()
        if not answer.get_info().get_more_records():
            return found
        token = answer.get_info().get_next_page_token()


def by_query() -> list[Any]:
    found: list[Any] = []
    while True:
        last = found[-1].get_id() if found else 0
        body = BodyWrapper()
        columns = ", ".join(FIELDS.split(","))
        body.set_select_query(f"select {columns} from Deals where id > {last} order by id asc limit 2000")
        answer = CoqlOperations().get_records(body).get_object()
        found += answer.get_data()
        if not answer.get_info().get_more_records():
            return found


def main(origin: str, client_id: str, client_secret: str, refresh_token: str, folder: str, way: str) -> None:
    Initializer.initialize(
        environment=DataCenter.Environment(origin, f"{origin}/oauth/v2/token", origin),
        token=OAuthToken(client_id=client_id, client_secret=client_secret, refresh_token=refresh_token),
        store=FileStore(str(Path(folder) / "tokens")),
        sdk_config=SDKConfig(auto_refresh_fields=False, pick_list_validation=False),
        resource_path=folder,
    )
    deals = by_list() if way == "list" else by_query()
    rows = [
        {"id": str(deal.get_id()), "name": deal.get_key_value("Deal_Name"), "modified": _text(deal)}
        for deal in deals
    ]
    sys.stdout.write(json.dumps(rows))


def _text(deal: Any) -> str:
    return str(deal.get_key_value("Modified_Time").isoformat())


if __name__ == "__main__":
    main(*sys.argv[1:])
