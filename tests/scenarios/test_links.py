"""Links through the command line: counted, reviewed in a spreadsheet, decided, shown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmkit.commands.review_csv import restored
from crmkit.model import Kind, Ref
from crmkit.report.render.csv_files import neutral
from crmkit.sandbox.server import Sandbox
from crmkit.sync.hub import Entity, Hub, Link
from crmkit.sync.state import State
from tests.scenarios.conftest import Crmkit

Up = Callable[..., Sandbox]
Cells = list[dict[str, str]]


@pytest.fixture
def pulled(crmkit: Crmkit, up: Up) -> Crmkit:
    """The command line in a workspace with two CRMs that overlap, pulled."""
    up("hubspot", "close", deals=160)
    assert crmkit("pull").code == 0
    return crmkit


def review(crmkit: Crmkit, path: Path) -> Cells:
    result = crmkit("links", "review", "--csv", str(path))
    assert result.code == 4, result.err
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: Cells, delimiter: str = ",") -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8")


def pairs(crmkit: Crmkit) -> set[tuple[str, str]]:
    found: list[dict[str, Any]] = json.loads(crmkit("--json", "links", "review").out)
    return {(row["one"]["record"], row["other"]["record"]) for row in found}


def test_suggest_counts_per_key_and_tells_what_waits(pulled: Crmkit) -> None:
    result = pulled("--json", "links", "suggest")
    found = json.loads(result.out)
    kinds = {one["kind"]: one for one in found["kinds"]}
    assert (result.code, list(kinds)) == (4, ["company", "contact", "deal"])
    assert kinds["company"]["rungs"]["domain"] > 10
    assert sum(kinds["deal"]["rungs"].values()) == kinds["deal"]["linked"]
    assert found["waiting"]
    assert "links review" in pulled("links", "suggest").err


def test_verdicts_of_a_spreadsheet_are_taken(pulled: Crmkit, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    rows = review(pulled, path)
    assert {"verdict", "score", "evidence", "one_name", "one_amount", "other_url"} <= set(rows[0])
    rows[0]["verdict"], rows[1]["verdict"] = "same", "Different"
    write(path, rows)
    back = pulled("--json", "links", "review", "--csv-in", str(path))
    assert json.loads(back.out) == {"same": 1, "different": 1, "undecided": len(rows) - 2}
    left = pairs(pulled)
    assert all((row["one"], row["other"]) not in left for row in rows[:2])


def test_a_list_saved_with_semicolons_is_read(pulled: Crmkit, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    rows = [{**row, "verdict": "different"} for row in review(pulled, path)]
    write(path, rows, ";")
    result = pulled("links", "review", "--csv-in", str(path))
    assert (result.code, pairs(pulled)) == (0, set())


def test_a_list_with_mistakes_is_refused_whole_with_line_numbers(pulled: Crmkit, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    rows = review(pulled, path)[:1]
    rows[0]["verdict"] = "same"
    other = rows[0]["other"].rpartition(":")[0]
    rows += [
        {**rows[0], "verdict": "perhaps"},
        {**rows[0], "verdict": "different"},
        {**rows[0], "one": "nonsense"},
    ]
    write(path, rows)
    result = pulled("links", "review", "--csv-in", str(path))
    assert result.code == 2
    assert all(f"line {number}:" in result.err for number in (3, 4, 5))
    write(path, [rows[0], {**rows[0], "other": f"{other}:gone"}])
    result = pulled("links", "review", "--csv-in", str(path))
    assert (result.code, "line 3:" in result.err) == (2, True)
    assert (rows[0]["one"], rows[0]["other"]) in pairs(pulled)


@pytest.mark.parametrize("text", ["=1+1", "+1 upgrade", "-5", "@SUM(A1)", "\tx", "plain", "it's"])
def test_formulas_are_neutral_in_the_list_and_restored_from_it(text: str) -> None:
    assert restored(neutral(text)) == text
    assert neutral(text)[0] not in "=+-@\t"


def test_a_word_is_kept_until_the_opposite_is_said(pulled: Crmkit) -> None:
    one, other = sorted(pairs(pulled))[0]
    assert pulled("links", "accept", one, other).code == 0
    shown = json.loads(pulled("--json", "links", "show", one).out)
    assert {row["record"]: row["evidence"] for row in shown["linked"]} == {one: "decided", other: "decided"}
    assert pulled("links", "reject", other, one).code == 0
    shown = json.loads(pulled("--json", "links", "show", one).out)
    assert (shown["linked"], [said["verdict"] for said in shown["decisions"]]) == ([], ["different"])


def test_a_report_counts_what_was_decided_to_be_one_deal_once(pulled: Crmkit) -> None:
    before = json.loads(pulled("--json", "report").out)
    one, other = min(pair for pair in pairs(pulled) if ":deal:" in pair[0])
    pulled("links", "accept", one, other)
    after = json.loads(pulled("--json", "report").out)
    assert (after["records"], after["deals"]) == (before["records"], before["deals"] - 1)


def test_parting_needs_a_sync_that_linked_it(pulled: Crmkit) -> None:
    one, _ = sorted(pairs(pulled))[0]
    result = pulled("links", "part", one)
    assert (result.code, "no sync" in result.err) == (2, True)


def test_what_a_sync_linked_is_shown_and_parted_but_not_rejected(pulled: Crmkit, tmp_path: Path) -> None:
    one, other = (Ref.parse(text) for text in min(pair for pair in pairs(pulled) if ":deal:" in pair[0]))
    state = State(f"sqlite:///{tmp_path / '.crmkit' / 'state.db'}")
    with state.write() as db:
        hub = Hub("main")
        hub.put_entities(db, [Entity("spoke:deal:0", Kind.DEAL)])
        hub.put_links(
            db,
            [
                Link("spoke:deal:0", ref.connection, ref.kind, ref.id, evidence="decided")
                for ref in (one, other)
            ],
        )
    state.close()
    shown = json.loads(pulled("--json", "links", "show", str(one)).out)
    assert {(row["record"], row["sync"], row["status"]) for row in shown["linked"]} == {
        (str(one), "main", "live"),
        (str(other), "main", "live"),
    }
    refused = pulled("links", "reject", str(one), str(other))
    assert (refused.code, f"links part {other}" in refused.err) == (2, True)
    parted = pulled("--json", "links", "part", str(other))
    assert (parted.code, json.loads(parted.out)["parted_from"]) == (0, [str(one)])
    assert json.loads(pulled("--json", "links", "show", str(other)).out)["linked"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("accept", "hubspot:deal:1", "hubspot:deal:2"), "same CRM"),
        (("accept", "hubspot:deal:1", "close:deal:2"), "not in the local copy"),
        (("accept", "hubspot:deal:1", "close:contact:2"), "different kinds"),
        (("accept", "nonsense", "close:deal:2"), "no record"),
        (("accept", "hubspot:note:1", "close:note:2"), "only companies"),
        (("show", "hubspot:deal:nope"), "not in the local copy"),
    ],
)
def test_what_cannot_be_is_refused(pulled: Crmkit, arguments: tuple[str, ...], reason: str) -> None:
    result = pulled("links", *arguments)
    assert result.code == 2
    assert reason in result.err


def test_a_sync_looks_at_its_own_members(pulled: Crmkit, tmp_path: Path) -> None:
    config = tmp_path / "crmkit.toml"
    text = config.read_text()
    if "[syncs.main]" not in text:
        config.write_text(text + '\n[syncs.main]\nmembers = ["hubspot", "close"]\n')
    result = pulled("--json", "links", "suggest", "main")
    found = json.loads(result.out)
    assert (result.code, set(found["connections"])) == (4, {"hubspot", "close"})
    assert {one["kind"] for one in found["kinds"]} == {"company", "contact", "deal"}
