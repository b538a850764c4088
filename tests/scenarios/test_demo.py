"""The main job end to end, through the command line, over real HTTP with all five CRMs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.cli import main
from crmkit.sandbox.server import Sandbox
from tests.scenarios.conftest import Crmkit, sit_down

CRMS = {"hubspot", "zoho", "copper", "bitrix24", "close"}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that the demo leaves; not to be changed."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        sit_down(folder, patch)
        with pytest.raises(SystemExit) as end:
            main(("demo", "--deals", "80", "--out", "w"))
    assert not end.value.code
    return folder / "w"


@pytest.fixture
def demo(crmkit: Crmkit, left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace that the demo leaves; commands run in it."""
    shutil.copytree(left, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def test_the_demo_leaves_reports_that_need_nothing_else(crmkit: Crmkit, demo: Path) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    # Nothing is fetched, and no script runs but the page's own, which the policy knows by its hash.
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("script-src")[2].partition(";")[0]
    assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](?!data:|#)""", page)
    assert all(crm in page for crm in CRMS)
    assert (demo / "differences.html").stat().st_size > 10_000


def test_what_the_demo_writes_is_for_its_owner_only(left: Path) -> None:
    secrets = left / ".crmkit" / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
    assert stat.S_IMODE((left / ".crmkit" / "state.db").stat().st_mode) == 0o600


def test_the_demo_can_be_run_again_in_the_same_folder(
    crmkit: Crmkit, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.parent)
    again = crmkit("demo", "--deals", "50", "--seed", "2", "--out", "w")
    monkeypatch.chdir(demo)
    shown = json.loads(crmkit("--json", "report").out)
    assert again.code == 0
    # What people edited last is read too: nothing is left for a second plan.
    assert " 0 writes planned" in again.err
    # The demo itself created deals; those of the first world are gone.
    assert 5 * 50 <= shown["records"] < 5 * 80


def test_every_deal_is_in_a_common_stage_and_counts_once(crmkit: Crmkit, demo: Path) -> None:
    report = json.loads(crmkit("--json", "report").out)
    assert report["items"]["unmapped"] == []
    assert report["items"]["fx_missing"] == []
    assert report["deals"] < 5 * 80 < report["records"]
    assert {row["connection"] for row in report["by_connection"]} == CRMS


def test_differences_are_found_and_told_by_the_exit_code(crmkit: Crmkit, demo: Path) -> None:
    result = crmkit("--json", "diff", "hubspot", "zoho", "--exit-code")
    found = json.loads(result.out)
    assert (result.code, found["any"]) == (3, True)
    assert found["connections"] == ["hubspot", "zoho"]
    assert found["duplicate_links"] == []


@pytest.mark.parametrize("command", ["report", "diff", "review"])
def test_markdown_and_tables_go_to_stdout(crmkit: Crmkit, demo: Path, command: str) -> None:
    assert "| " in crmkit(command, "--format", "md").out
    assert "hubspot" in crmkit(command).out


@pytest.mark.parametrize("command", ["report", "diff"])
def test_csv_is_a_folder_of_tables(crmkit: Crmkit, demo: Path, command: str) -> None:
    crmkit(command, "--format", "csv", "--out", "tables")
    files = sorted((demo / "tables").glob("*.csv"))
    assert len(files) > 4
    for path in files:
        with path.open(encoding="utf-8", newline="") as stream:
            widths = {len(row) for row in csv.reader(stream)}
        assert len(widths) <= 1, path.name


def test_the_review_tells_the_week_that_the_demo_lets_pass(crmkit: Crmkit, demo: Path) -> None:
    buckets = json.loads(crmkit("--json", "review", "--since", "6d").out)["waterfalls"]["all_open"]["buckets"]
    values = [Decimal(bucket["value"]) for name, bucket in buckets.items() if name != "end"]
    assert sum(values) == Decimal(buckets["end"]["value"])
    assert buckets["created"]["count"] > 0
    assert buckets["backfilled"]["count"] == 0
    # Before the first pull nothing is known, and that is said.
    early = crmkit("review", "--since", "4w", "--format", "html", "--out", "review.html")
    assert early.code == 0
    assert "Known only since" in early.err
    assert "default-src 'none'" in (demo / "review.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("since", ["yesterday", "-3d", "2999-01-01"])
def test_a_review_since_nonsense_is_refused(crmkit: Crmkit, demo: Path, since: str) -> None:
    refused = crmkit("review", "--since", since)
    assert refused.code == 2
    assert "7d" in refused.err


def test_verbose_tells_what_was_read_of_each_kind(crmkit: Crmkit, up: Callable[..., Sandbox]) -> None:
    up("close")
    assert "120 deals" in crmkit("-v", "pull").err
    assert "120 deals" not in crmkit("pull", "--full").err


def test_the_stage_map_is_shown_and_checked(crmkit: Crmkit, demo: Path) -> None:
    shown = json.loads(crmkit("--json", "stages", "show").out)
    checked = json.loads(crmkit("--json", "stages", "check").out)
    assert {row["connection"] for row in shown} == CRMS
    assert all(row["common_stage"] for row in shown)
    assert "unmapped-stage" not in {finding["code"] for finding in checked}
