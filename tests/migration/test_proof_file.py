"""Saved proofs: the documented format, what is refused, and what changed since an earlier one."""

from __future__ import annotations

import json
import stat
from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.errors import UsageError
from crmkit.migration import proof_file
from crmkit.migration.proof import Proof, against, load_proof
from tests.migration.proof_bench import Migration

SCHEMA = Path(__file__).parents[2] / "docs" / "proof.schema.json"


@pytest.fixture
def done(tmp_path: Path) -> Migration:
    migration = Migration(tmp_path).fill()
    migration.run()
    return migration


@pytest.fixture
def proof(done: Migration) -> Proof:
    """With a difference in it."""
    done.new.edit(done.moved("d1"), amount=Decimal("7.50"), name="Ünïcode\n\u202e")
    return done.prove()


def test_the_documented_schema_is_the_one_in_use() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == Proof.model_json_schema(mode="serialization")


def test_a_saved_proof_is_read_back_as_it_was(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    proof.write(path)
    assert load_proof(path) == proof


def test_a_saved_proof_is_plain_json_with_a_row_for_each_record(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    proof.write(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [row[0] for row in document["hashes"]["deal"]] == ["d1", "d2", "d3"]
    assert document["sums"][1]["target_amount"] == "7.5"


def test_a_saved_proof_is_its_owners_only(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    proof.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(proof: Proof, tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "proof.json"
    other.write_text("mine", encoding="utf-8")
    path.symlink_to(other)
    proof.write(path)
    assert (other.read_text(encoding="utf-8"), path.is_symlink()) == ("mine", False)


def test_a_proof_that_cannot_be_written_leaves_nothing_behind(proof: Proof, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        proof.write(tmp_path / "nowhere" / "proof.json")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"crmkit_proof": 2}',
        '{"crmkit_proof": 1, "verdict": "fine"}',
        '{"hashes": {"deal": [["1"]]}}',
        '{"hashes": {"deal": [[1, 2, 3, 4]]}}',
        '{"hashes": {"secret": []}}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        '{"crmkit_proof": ' + "[" * 100_000,
    ],
)
def test_what_is_not_a_proof_is_refused_with_advice(tmp_path: Path, text: str) -> None:
    path = tmp_path / "proof.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError) as caught:
        load_proof(path)
    assert "crmkit migrate verify" in caught.value.hint


def test_unknown_parts_are_refused(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    document = {**proof.model_dump(mode="json"), "extra": 1}
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match="extra"):
        load_proof(path)


def test_a_proof_with_other_hashes_than_it_was_written_with_is_refused(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    document = proof.model_dump(mode="json")
    document["hashes"]["deal"][0][2] = "0" * 64
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match="changed after it was written"):
        load_proof(path)


def test_what_is_too_large_is_not_read(proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "proof.json"
    proof.write(path)
    monkeypatch.setattr(proof_file, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="too large"):
        load_proof(path)


def test_a_missing_proof_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.json"):
        load_proof(tmp_path / "nothing.json")


class TestAgainst:
    """What changed since an earlier proof."""

    def test_nothing(self, done: Migration) -> None:
        assert against(done.prove(), done.prove()) == []

    def test_records_that_changed_on_either_side(self, done: Migration) -> None:
        before = done.prove()
        done.new.edit(done.moved("d1"), name="New name")
        done.old.edit("d2", name="Other name")
        found = {(one.what, one.source) for one in against(done.prove(), before)}
        assert found == {("target_changed", "d1"), ("source_changed", "d2")}

    def test_records_that_vanished_appeared_or_lost_their_counterpart(self, done: Migration) -> None:
        before = done.prove()
        done.new.delete(done.moved("d3"))
        done.old.delete("d2")
        done.old.deal("d9")
        found = {(one.what, one.source) for one in against(done.prove(), before) if one.kind == "deal"}
        assert {("relinked", "d3"), ("vanished", "d2"), ("appeared", "d9")} <= found

    def test_sums_that_moved(self, done: Migration) -> None:
        before = done.prove()
        done.new.edit(done.moved("d1"), amount=Decimal(7))
        (total,) = [one for one in against(done.prove(), before) if one.source == "total"]
        assert (total.target, total.before, total.after) == (
            "EUR",
            "source 1: 100.5; target 1: 100.5",
            "source 1: 100.5; target 1: 7",
        )

    def test_another_account_is_another_migration(self, done: Migration) -> None:
        now = done.prove()
        other = now.model_copy(update={"target": now.target.model_copy(update={"account": "else"})})
        with pytest.raises(UsageError, match="account else"):
            against(now, other)
