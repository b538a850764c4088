"""Undo leaves what somebody touched since, and whatever that needs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.model import DealContact, Kind, Note, Ref, Tombstone
from crmkit.sync.moving import Moving
from crmkit.sync.said import sayings
from crmkit.sync.since import still_used
from crmkit.sync.undo import Undo, plan_undo
from tests.migration.proof_bench import Migration


@pytest.fixture
def done(tmp_path: Path) -> Migration:
    """Three deals, their companies, people, notes and letters, carried over."""
    migration = Migration(tmp_path, Moving("old", "new")).fill()
    migration.note(migration.old, "n1", "d1", "Called them")
    assert migration.run().exit_code == 0
    return migration


def undo(migration: Migration) -> Undo:
    """Take the first run back; what was planned."""
    state = migration.bench.state()
    try:
        migration.bench.pull(state)
        run = migration.bench.run(state)
        with state.read() as db:
            first = min(entry.run for entry in run.group.hub.journal_of(db, _entity(migration, run, "d1")))
        found = plan_undo(run.group, state, first)
        run.undo(found)
        return found
    finally:
        migration.bench.wait()
        state.close()


def _entity(migration: Migration, run: object, native: str) -> str:
    return run.group.entity_id("old", Kind.DEAL, native)  # type: ignore[attr-defined]


def left(migration: Migration, kind: Kind) -> set[str]:
    """Names or texts of the target's records of a kind."""
    return {
        str(getattr(one, "name", None) or one.text)  # type: ignore[union-attr]
        for one in migration.new.memory.now().values()
        if one.ref.kind is kind and not isinstance(one, Tombstone)
    }


def test_all_that_a_run_made_is_gone_when_nobody_touched_it(done: Migration) -> None:
    assert undo(done).impossible == []
    assert [left(done, kind) for kind in (Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.NOTE)] == [set()] * 4


def test_an_edited_deal_keeps_its_company_and_its_people(done: Migration) -> None:
    done.new.edit(done.moved("d1"), amount=Decimal(7))
    found = undo(done)
    assert left(done, Kind.DEAL) == {"Deal d1"}
    assert (left(done, Kind.COMPANY), left(done, Kind.CONTACT)) == ({"Acme"}, {"Ann Lee"})
    assert sum("amount was edited there since" in one for one in found.impossible) == 1


def test_a_deal_to_which_somebody_added_a_person_of_the_target_stays(done: Migration) -> None:
    done.new.contact("own", "Eva New", emails=("eva@new.test",))
    deal = done.new.get(done.moved("d2"))
    done.new.edit(deal.ref.id, contacts=(*deal.contacts, DealContact(id="own")))
    found = undo(done)
    assert left(done, Kind.DEAL) == {"Deal d2"}
    assert any("contacts was edited there since" in one for one in found.impossible)


def test_a_deal_with_a_note_of_somebody_else_stays(done: Migration) -> None:
    done.note(done.new, "mine", done.moved("d1"), "My own words")
    found = undo(done)
    assert (left(done, Kind.DEAL), left(done, Kind.NOTE)) == ({"Deal d1"}, {"My own words"})
    assert any("somebody wrote a note on it" in one for one in found.impossible)


def test_a_company_for_which_somebody_works_stays(done: Migration) -> None:
    (acme,) = [
        one.ref.id for one in done.new.memory.now().values()
        if one.ref.kind is Kind.COMPANY and getattr(one, "name", "") == "Acme"
    ]  # fmt: skip
    done.new.contact("own", "Eva New", emails=("eva@new.test",), companies=(acme,))
    found = undo(done)
    assert left(done, Kind.COMPANY) == {"Acme"}
    assert any("other people belong to it" in one for one in found.impossible)


def test_a_note_that_somebody_edited_stays(done: Migration) -> None:
    (note,) = [
        one for one in done.new.memory.now().values() if isinstance(one, Note) and "Called them" in one.text
    ]
    done.new.memory.put(note.model_copy(update={"text": "Called them twice"}))
    done.new.edit(done.moved("d1"), amount=Decimal(7))
    found = undo(done)
    assert left(done, Kind.NOTE) == {"Called them twice"}
    assert any("text was edited there since" in one for one in found.impossible)


def test_a_second_undo_writes_nothing_and_lists_what_stays(done: Migration) -> None:
    done.new.edit(done.moved("d1"), amount=Decimal(7))
    first, second = undo(done), undo(done)
    assert second.ops == []
    assert sorted(second.impossible) == sorted(first.impossible)


def test_a_note_says_the_same_as_html_and_with_our_key() -> None:
    written = 'Said: "yes" & now\nsecond line'
    read = "<p>Said: &quot;yes&quot; &amp; now<br>second line</p><br>ck1:aa:bb:note:1"
    assert set(sayings(written)) & set(sayings(read))
    assert not set(sayings(written)) & set(sayings(read.replace("second", "third")))


def test_whoever_a_kept_record_needs_is_kept_too() -> None:
    deal, contact, company, other = (
        Ref("new", kind, kind.value) for kind in (Kind.DEAL, Kind.CONTACT, Kind.COMPANY, Kind.OWNER)
    )
    named_by = {contact: {other}, company: {contact}, deal: set()}
    assert still_used([deal, contact, company], named_by) == {contact, company}
    assert still_used([deal, contact, company], {contact: {deal}, company: {contact}}) == set()
