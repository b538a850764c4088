"""A client that nobody here wrote, the vendor's own SDK, reads every deal from the sandbox."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from crmkit.sandbox.server import Sandbox

DEALS = 2_450
READER = Path(__file__).with_name("zoho_sdk_reader.py")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("zohocrmsdk") is None, reason="zohocrmsdk8-0 is not installed"
)


@pytest.mark.parametrize("way", ["list", "query"])
def test_the_official_sdk_reads_every_deal(way: str, tmp_path: Path) -> None:
    """https://github.com/zoho/zohocrm-python-sdk-8.0, unpatched: it is given another environment."""
    with Sandbox.up(["zoho"], deals=DEALS, limits="off") as box:
        app = box["zoho"]
        said = app.credentials
        secrets = [said["client_id"], said["client_secret"], said["refresh_token"]]
        done = subprocess.run(
            [sys.executable, str(READER), app.origin, *secrets, str(tmp_path), way],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        read = {row["id"]: row for row in json.loads(done.stdout)}
        expected = {deal["id"]: deal for deal in app.expected_deals()}
        assert read.keys() == expected.keys()
        assert [row["name"] for row in read.values()] == [expected[one]["name"] for one in read]
        assert all(
            datetime.fromisoformat(row["modified"]) == expected[one]["modified"] for one, row in read.items()
        )
        assert app.crashes == []
