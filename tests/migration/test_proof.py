"""Proofs of migrations: each kind of difference, made on purpose, is found and rightly explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Change, Result, Written
from crmkit.migration.proof import Proof, Verdict
from crmkit.model import DealContact, Kind, Owner
from crmkit.sync import tables
from crmkit.sync.moving import Moving
from crmkit.sync.undo import plan_undo
from tests.migration.proof_bench import Migration, found


@pytest.fixture
def migration(tmp_path: Path) -> Migration:
    return Migration(tmp_path).fill()


@pytest.fixture
def done(migration: Migration) -> Migration:
    """Carried over completely."""
    assert migration.run().exit_code == 0
    return migration


def count(proof: Proof, kind: str) -> dict[str, int]:
    """The counts of one kind that are not zero."""
    (one,) = [one for one in proof.counts if one.kind == kind]
    return {name: value for name, value in one if name != "kind" and value}


def ties(proof: Proof, link: str) -> dict[str, int]:
    """The ties of one sort that are not zero."""
    (one,) = [one for one in proof.links if one.link == link]
    return {name: value for name, value in one if name != "link" and value}


def sums(proof: Proof, by: str) -> dict[tuple[str, ...], tuple[int, int, Decimal]]:
    """(deals in the source, deals in the target, difference of money) per group and currency."""
    return {
        (*one.key, one.currency): (one.source_deals, one.target_deals, one.difference)
        for one in proof.sums
        if one.by == by
    }


class TestWhole:
    """Nothing is missing and nothing differs."""

    def test_a_complete_migration_is_proven(self, done: Migration) -> None:
        proof = done.prove()
        assert (proof.verdict, proof.records) == (Verdict.PROVEN, [])

    def test_everybody_whom_deals_name_is_counted_and_nobody_else(self, done: Migration) -> None:
        proof = done.prove()
        assert count(proof, "deal") == {"in_scope": 3, "linked": 3}
        assert count(proof, "company") == {"in_scope": 2, "linked": 2}
        # The second person is on no deal.
        assert count(proof, "contact") == {"in_scope": 1, "linked": 1}

    def test_ties_are_on_both_sides(self, done: Migration) -> None:
        proof = done.prove()
        assert ties(proof, "deal-company") == {"source": 3, "target": 3, "both": 3}
        assert ties(proof, "contact-company") == {"source": 1, "target": 1, "both": 1}

    def test_every_record_has_a_row_of_equal_hashes(self, done: Migration) -> None:
        rows = done.prove().hashes["deal"]
        assert [row[0] for row in rows] == ["d1", "d2", "d3"]
        assert all(one == other and len(one) == 64 for _, _, one, other in rows)

    def test_the_same_state_gives_the_same_hash(self, done: Migration) -> None:
        assert done.prove().hash == done.prove().hash

    def test_sums_balance_in_each_currency_under_the_names_of_the_target(self, done: Migration) -> None:
        assert sums(done.prove(), "stage") == {
            ("Sales", "New", "EUR"): (1, 1, Decimal(0)),
            ("Sales", "Offer", "USD"): (1, 1, Decimal(0)),
            ("Sales", "Won", ""): (1, 1, Decimal(0)),
        }

    def test_nothing_was_migrated_yet(self, migration: Migration) -> None:
        proof = migration.prove()
        assert count(proof, "deal") == {"in_scope": 3, "missing": 3}
        assert {code for _, _, code in found(proof)} <= {"new_in_source", "needs_another"}


class TestEdits:
    """Somebody worked on either side since."""

    def test_edited_in_the_target(self, done: Migration) -> None:
        done.new.edit(done.moved("d1"), amount=Decimal(7))
        proof = done.prove()
        assert found(proof) == {("d1", "amount", "edited_in_target")}
        assert proof.verdict is Verdict.EXPLAINED
        assert sums(proof, "total")["EUR",] == (1, 1, Decimal("-93.5"))

    def test_an_edit_of_the_target_stays_explained_after_another_write_to_it(self, done: Migration) -> None:
        done.new.edit(done.moved("d1"), source="Fair")
        done.old.edit("d1", amount=Decimal(8))
        done.run()
        assert found(done.prove()) == {("d1", "source", "edited_in_target")}

    def test_edited_in_the_source(self, done: Migration) -> None:
        done.old.edit("d2", stage_id="s3")
        assert found(done.prove()) == {("d2", "stage", "edited_in_source")}

    def test_the_next_run_carries_an_edit_over(self, done: Migration) -> None:
        done.old.edit("d2", stage_id="s3")
        done.run()
        assert done.prove().verdict is Verdict.PROVEN

    def test_edited_on_both_sides(self, done: Migration) -> None:
        done.old.edit("d1", amount=Decimal(1))
        done.new.edit(done.moved("d1"), amount=Decimal(2))
        proof = done.prove()
        assert found(proof) == {("d1", "amount", "conflict")}
        assert "changed in the target and in the source" in proof.records[0].differences[0].reason

    def test_edited_alike_on_both_sides_agrees(self, done: Migration) -> None:
        done.old.edit("d1", amount=Decimal(9))
        done.new.edit(done.moved("d1"), amount=Decimal(9))
        assert done.prove().verdict is Verdict.PROVEN

    def test_new_in_the_source_with_its_people(self, done: Migration) -> None:
        done.old.deal("d9", contacts=(DealContact(id="k2", primary=True),))
        proof = done.prove()
        assert ("d9", "", "new_in_source") in found(proof)
        assert ("k2", "", "needs_another") in found(proof)
        assert proof.verdict is Verdict.EXPLAINED

    def test_deleted_in_the_target(self, done: Migration) -> None:
        done.new.delete(done.moved("d3"))
        proof = done.prove()
        assert found(proof) == {("d3", "", "deleted_in_target")}
        assert count(proof, "deal") == {"in_scope": 3, "linked": 2, "missing": 1}
        assert ties(proof, "deal-company") == {"source": 3, "target": 2, "both": 2, "missing": 1}

    def test_a_delete_in_the_target_stays_known_after_the_next_run(self, done: Migration) -> None:
        done.new.delete(done.moved("d3"))
        done.run()
        assert found(done.prove()) == {("d3", "", "deleted_in_target")}

    def test_gone_from_the_source(self, done: Migration) -> None:
        there = done.moved("d3")
        done.old.delete("d3")
        proof = done.prove()
        assert found(proof) == {(f"+{there}", "", "gone_from_source")}
        assert count(proof, "deal") == {"in_scope": 2, "linked": 2, "extra": 1}
        assert sums(proof, "outcome")["won", ""] == (0, 1, Decimal(0))

    def test_a_person_who_was_taken_off_the_deal_is_a_tie_too_many(self, done: Migration) -> None:
        done.old.edit("d1", contacts=())
        proof = done.prove()
        assert ("d1", "contacts", "edited_in_source") in found(proof)
        assert ties(proof, "deal-contact") == {"target": 1, "extra": 1}

    def test_a_person_who_was_put_on_the_deal_is_not_there_yet(self, done: Migration) -> None:
        people = (DealContact(id="k1", primary=True), DealContact(id="k2"))
        done.old.edit("d1", contacts=people)
        proof = done.prove()
        assert proof.findings.unexplained == 0
        assert ("k2", "", "needs_another") in found(proof) or ("k2", "", "new_in_source") in found(proof)

    def test_undone(self, migration: Migration) -> None:
        run = migration.run()
        state = migration.bench.state()
        migration.bench.pull(state)
        runner = migration.bench.run(state)
        runner.undo(plan_undo(runner.group, state, run.run))
        state.close()
        proof = migration.prove()
        assert {code for record, _, code in found(proof) if record.startswith("d")} == {"undone"}
        assert proof.verdict is Verdict.EXPLAINED


class TestScope:
    """What takes part."""

    def test_left_out_by_decision(self, migration: Migration) -> None:
        proof = migration.prove({"d1": "a test deal", "d2": "a test deal", "d3": "a test deal"})
        assert found(proof) == {("d1", "", "left_out"), ("d2", "", "left_out"), ("d3", "", "left_out")}
        assert count(proof, "deal") == {"in_scope": 3, "left_out": 3}
        assert count(proof, "company") == {}
        assert sums(proof, "left_out")["a test deal", "EUR"] == (1, 0, Decimal("-100.5"))
        assert sums(proof, "total") == {}

    def test_deals_out_of_scope_are_not_missed(self, migration: Migration) -> None:
        migration.bench.settings["scope"] = {"old": {"owners": ["bob@x.test"]}}
        migration.run()
        assert migration.prove().counts[0].in_scope == 0

    def test_a_deal_that_left_the_scope_is_extra(self, tmp_path: Path) -> None:
        migration = Migration(tmp_path, scope={"old": {"owners": ["ann@x.test"]}}).fill()
        migration.run()
        there = migration.moved("d1")
        migration.old.edit("d1", owner_id="old-bob")
        assert (f"+{there}", "", "out_of_scope") in found(migration.prove())


class TestWhatTheTargetHolds:
    """The target cannot hold everything."""

    def test_rounded_by_the_target(self, migration: Migration) -> None:
        migration.new.connector = WholeMoney
        migration.run()
        proof = migration.prove()
        assert found(proof) == {("d1", "amount", "inexact")}
        (amount,) = [one for one in proof.agreement if (one.kind, one.field) == ("deal", "amount")]
        assert (amount.agree, amount.differ, amount.inexpressible) == (2, 0, 1)

    def test_a_currency_that_the_target_does_not_have(self, migration: Migration) -> None:
        migration.new.connector = OnlyEuro
        migration.run()
        proof = migration.prove()
        assert found(proof) == {("d2", "amount", "unwritable")}
        assert proof.records[0].differences[0].reason == "no such currency"

    def test_an_owner_without_a_counterpart(self, migration: Migration) -> None:
        migration.old.memory.put(
            Owner(ref=migration.old.ref("old-cy", Kind.OWNER), name="Cy", email="cy@x.test")
        )
        migration.old.edit("d1", owner_id="old-cy")
        migration.run()
        proof = migration.prove()
        assert found(proof) == {("d1", "owner", "unwritable")}
        assert sums(proof, "owner")["cy@x.test", "EUR"] == (1, 0, Decimal("-100.5"))

    def test_an_owner_whom_nobody_can_reach(self, migration: Migration) -> None:
        migration.old.memory.put(Owner(ref=migration.old.ref("ghost", Kind.OWNER), name="Ghost"))
        migration.old.edit("d1", owner_id="ghost")
        migration.run()
        assert found(migration.prove()) == {("d1", "owner", "unmapped")}

    def test_a_stage_without_a_common_one_keeps_the_deal_out(self, migration: Migration) -> None:
        migration.old.deal("d9", stage_id="unheard of")
        migration.run()
        proof = migration.prove()
        assert found(proof) == {("d9", "", "required")}
        assert any(key[0].endswith("(old)") for key in sums(proof, "pipeline"))

    def test_a_value_that_the_target_refuses(self, migration: Migration) -> None:
        migration.new.connector = Picky
        migration.run()
        migration.run()
        proof = migration.prove()
        assert found(proof) == {("d2", "amount", "refused")}
        assert proof.records[0].differences[0].reason == "no dollars today"

    def test_a_deal_that_the_target_refuses(self, migration: Migration) -> None:
        migration.new.connector = Picky
        migration.run()
        assert found(migration.prove()) == {("d2", "", "refused")}

    def test_a_deal_that_was_not_sent_is_due(self, migration: Migration) -> None:
        migration.new.connector = Away
        migration.run()
        assert {one for one in found(migration.prove()) if one[0] == "d2"} == {("d2", "", "due")}


class TestCompaniesAndPeople:
    """They are copied once."""

    def test_who_was_in_the_target_before_stays_as_they_are(self, migration: Migration) -> None:
        migration.new.company("n1", "ACME Inc.", domain="acme.test")
        migration.run()
        proof = migration.prove()
        codes = {(record, code) for record, _, code in found(proof)}
        assert codes == {("c1", "pre_existing")}
        assert count(proof, "company") == {"in_scope": 2, "linked": 2, "pre_existing": 1}

    def test_a_company_that_was_edited_in_the_source(self, done: Migration) -> None:
        company = done.old.memory.live(done.old.ref("c1", Kind.COMPANY))
        done.old.company("c1", "Acme", domain="acme.test", phones=company.phones, city="Bonn")
        assert found(done.prove()) == {("c1", "city", "edited_in_source")}

    def test_a_person_who_was_edited_in_the_target(self, done: Migration) -> None:
        (there,) = [row[1] for row in done.prove().hashes["contact"]]
        person = done.new.memory.live(done.new.ref(there, Kind.CONTACT))
        done.new.memory.put(
            person.model_copy(update={"emails": ("new@acme.test",), "version": done.new.memory.version()})
        )
        assert found(done.prove()) == {("k1", "emails", "edited_in_target")}

    def test_spellings_that_mean_the_same_agree(self, done: Migration) -> None:
        (there,) = [row[1] for row in done.prove().hashes["company"] if row[0] == "c1"]
        company = done.new.memory.live(done.new.ref(there, Kind.COMPANY))
        done.new.memory.put(
            company.model_copy(update={"phones": ("0049301234567",), "domain": "WWW.acme.test"})
        )
        assert done.prove().verdict is Verdict.PROVEN

    def test_a_person_without_a_company_gets_that_of_the_deal(self, tmp_path: Path) -> None:
        migration = Migration(tmp_path)
        migration.old.company("c1", "Acme", domain="acme.test")
        migration.old.contact("k1", "Ann Lee", emails=("ann@acme.test",))
        migration.old.deal("d1", companies=("c1",), contacts=(DealContact(id="k1", primary=True),))
        migration.run()
        assert found(migration.prove()) == {("k1", "company", "filled_in")}

    def test_a_second_company_is_not_carried(self, migration: Migration) -> None:
        migration.old.edit("d1", companies=("c1", "c2"))
        migration.run()
        proof = migration.prove()
        assert ties(proof, "deal-company") == {"source": 4, "target": 3, "both": 3, "not_carried": 1}
        assert (proof.verdict, proof.findings.by_code) == (Verdict.EXPLAINED, {"not_carried": 1})

    def test_what_may_be_there_already_waits_for_a_review(self, tmp_path: Path) -> None:
        migration = Migration(tmp_path)
        for box in (migration.old, migration.new):
            box.company("c1", "Acme", domain="acme.test")
        migration.old.deal("d1", companies=("c1",), amount=Decimal(500), name="Big one")
        for native in ("n1", "n2"):
            migration.new.deal(native, companies=("c1",), amount=Decimal(500), name="Big one")
        migration.run()
        assert found(migration.prove()) == {("d1", "", "review")}


class TestNotes:
    """Notes come along where the migration says so."""

    @pytest.fixture
    def noted(self, tmp_path: Path) -> Migration:
        migration = Migration(tmp_path, Moving("old", "new", letters=False)).fill()
        migration.note(migration.old, "n1", "d1", "Called twice")
        migration.bench.wait()
        return migration

    def test_without_notes_in_the_migration_they_are_not_carried(self, done: Migration) -> None:
        done.note(done.old, "n1", "d1", "Called twice")
        proof = done.prove()
        assert ties(proof, "deal-note") == {"source": 1, "not_carried": 1}
        assert proof.verdict is Verdict.EXPLAINED

    def test_a_note_that_came_along_agrees(self, noted: Migration) -> None:
        noted.run()
        proof = noted.prove()
        assert proof.verdict is Verdict.PROVEN
        assert count(proof, "note") == {"in_scope": 1, "linked": 1}

    def test_everybody_is_counted_where_everybody_comes_along(self, noted: Migration) -> None:
        noted.run()
        assert count(noted.prove(), "contact") == {"in_scope": 2, "linked": 2}

    def test_a_note_that_was_written_since_is_new(self, noted: Migration) -> None:
        noted.run()
        noted.note(noted.old, "n2", "d1", "Called again")
        proof = noted.prove()
        assert found(proof) == {("d1", "notes", "new_in_source")}
        assert count(proof, "note") == {"in_scope": 2, "linked": 1, "missing": 1}

    def test_a_note_that_was_deleted_in_the_target(self, noted: Migration) -> None:
        noted.run()
        (note,) = [ref for ref in noted.new.memory.now() if ref.kind is Kind.NOTE]
        noted.new.memory.remove(note)
        assert found(noted.prove()) == {("d1", "notes", "deleted_in_target")}

    def test_a_note_that_was_there_before_and_is_missing_is_unexplained(self, noted: Migration) -> None:
        noted.run()
        forget(noted, tables.links.c.kind == Kind.NOTE.value)
        state = noted.bench.state()
        proof = noted.compare_with(state, [])
        state.close()
        assert found(proof) == {("d1", "notes", "unexplained")}

    def test_a_sample_misses_nothing_but_its_own_deals(self, tmp_path: Path) -> None:
        moving = Moving("old", "new", letters=False, only=frozenset({"d1"}))
        migration = Migration(tmp_path, moving).fill()
        migration.run()
        assert count(migration.prove(), "deal") == {"in_scope": 1, "linked": 1}


class TestUnexplained:
    """What must not happen is not explained away."""

    def test_a_value_that_the_target_changed_behind_our_back(self, migration: Migration) -> None:
        migration.new.connector = Liar
        migration.run()
        proof = migration.prove()
        assert proof.verdict is Verdict.UNPROVEN
        assert {(record, name) for record, name, code in found(proof) if code == "unexplained"} == {
            ("d1", "name"), ("d2", "name"), ("d3", "name"),
        }  # fmt: skip

    def test_a_value_that_changes_after_the_answer_without_an_edit(self, done: Migration) -> None:
        there = done.new.get(done.moved("d1"))
        done.new.memory.put(there.model_copy(update={"amount": Decimal(1)}))
        assert found(done.prove()) == {("d1", "amount", "unexplained")}

    def test_a_deal_that_nobody_holds_back_and_that_is_not_there(self, done: Migration) -> None:
        forget(done, tables.links.c.native_id == done.moved("d1"))
        state = done.bench.state()
        proof = done.compare_with(state, [])
        state.close()
        # The target's record is there, but nothing leads to it.
        assert ("d1", "", "unexplained") in found(proof)
        assert proof.verdict is Verdict.UNPROVEN

    def test_a_copy_of_a_deal_in_the_target(self, done: Migration) -> None:
        there = done.new.get(done.moved("d1"))
        done.new.memory.put(there.model_copy(update={"ref": done.new.ref("copy")}))
        proof = done.prove()
        assert found(proof) == {("+copy", "", "clone")}
        assert sums(proof, "total")["EUR",] == (1, 2, Decimal("100.5"))

    def test_a_copy_that_the_plan_does_not_name_is_unexplained(self, done: Migration) -> None:
        there = done.new.get(done.moved("d1"))
        done.new.memory.put(there.model_copy(update={"ref": done.new.ref("copy")}))
        state = done.bench.state()
        done.bench.pull(state)
        proof = done.compare_with(state, [])
        state.close()
        assert found(proof) == {("+copy", "", "unexplained")}


class TestFields:
    """Which fields are compared."""

    def test_fields_that_are_not_carried_are_named(self, migration: Migration) -> None:
        migration.old.edit("d1", lost_reason="none yet", custom={"segment": "smb", "empty": None})
        migration.run()
        behind = {one.field: one.deals for one in migration.prove().left_behind}
        assert behind == {"lost_reason": 1, "custom.segment": 1}

    def test_tags_that_were_added_in_the_target_are_an_edit(self, done: Migration) -> None:
        done.new.edit(done.moved("d1"), tags=("vip",))
        assert found(done.prove()) == {("d1", "tags", "edited_in_target")}

    def test_values_are_shown_as_people_read_them(self, done: Migration) -> None:
        other = done.new.company("z", "Zed Ltd")
        done.new.edit(done.moved("d1"), companies=(other.ref.id,))
        (record,) = done.prove().records
        assert record.differences[0].source == "Acme"
        assert (record.differences[0].code, record.differences[0].target) == ("edited_in_target", "z")


def forget(done: Migration, which: sa.ColumnElement[bool]) -> None:
    """Lose links, as no run would."""
    state = done.bench.state()
    with state.write() as db:
        db.execute(tables.links.delete().where(which, tables.links.c.connection == "new"))
    state.close()


class WholeMoney(MemoryConnector):
    """Keeps whole amounts only."""

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        amount = values.get("amount")
        return values if amount is None else {**values, "amount": amount.quantize(Decimal(1))}

    def _create(self, change: Change) -> Written:
        return super()._create(_replaced(change, self.holds(change.kind, change.values)))


class OnlyEuro(MemoryConnector):
    """Knows one currency."""

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        foreign = values.get("currency") not in (None, "EUR")
        return {"currency": "no such currency"} if foreign else {}


class Picky(MemoryConnector):
    """Refuses dollars when it is too late."""

    def _create(self, change: Change) -> Written:
        if change.values.get("currency") == "USD":
            return Written(change.id, Result.REJECTED, field="currency", reason="no dollars today")
        return super()._create(change)


class Away(MemoryConnector):
    """Sends no dollars, and says so."""

    def _create(self, change: Change) -> Written:
        if change.values.get("currency") == "USD":
            return Written(change.id, Result.UNSENT, reason="the day's quota is used up")
        return super()._create(change)


class Liar(MemoryConnector):
    """Says done and keeps another name."""

    def _create(self, change: Change) -> Written:
        if change.kind is not Kind.DEAL:
            return super()._create(change)
        return super()._create(_replaced(change, {**change.values, "name": change.values["name"][:-1]}))


def _replaced(change: Change, values: Mapping[str, Any]) -> Change:
    return replace(change, values=values)
