"""Zoho's own SDK, a client that nobody here wrote, writes to the sandbox and reads back what it wrote."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crmkit.sandbox.server import Sandbox

WRITER = Path(__file__).with_name("zoho_sdk_writer.py")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("zohocrmsdk") is None, reason="zohocrmsdk8-0 is not installed"
)


def test_the_official_sdk_writes_deals_and_reads_them_back(tmp_path: Path) -> None:
    """https://github.com/zoho/zohocrm-python-sdk-8.0, unpatched: it is given another environment."""
    with Sandbox.up(["zoho"], deals=40, limits="off") as box:
        app = box["zoho"]
        said = app.credentials
        secrets = [said["client_id"], said["client_secret"], said["refresh_token"]]
        done = subprocess.run(
            [sys.executable, str(WRITER), app.origin, *secrets, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        steps = json.loads(done.stdout)
        created, clash = steps["create"]
        assert (created["code"], clash["code"], clash["api_name"]) == (
            "SUCCESS",
            "DUPLICATE_DATA",
            "Crmkit_Key",
        )
        assert clash["id"] == created["id"]
        assert [row["code"] for row in steps["update"] + steps["upsert"]] == ["SUCCESS"] * 3
        assert steps["upsert"][0]["id"] == created["id"]
        assert steps["read"] == {
            "name": "One again",
            "stage": "Qualification",
            "amount": 12500.5,
            "closing": "2026-12-31",
            "key": "k1",
        }
        assert [row["code"] for row in steps["delete"] + steps["delete_many"]] == ["SUCCESS"] * 2
        assert len(app.world.deals) == 40
        assert {one.what for one in app.world.side_effects} == {"workflow"}
        assert app.crashes == []
