"""The decision table of the three-way merge, line by line, and what holds for any history."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.mapping.custom import Unmapped
from crmkit.sync.reconcile import (
    NOTHING,
    Base,
    FieldContext,
    Merged,
    Past,
    Row,
    Side,
    merge,
)
from crmkit.sync.rules import Setting, rule

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MISSING = object()


def context(name: str = "hold", **changes: Any) -> FieldContext:
    plain = FieldContext(
        "field",
        rule(name),
        name,
        Setting(("a", "b", "c"), ("one", "two", "three")),
        lambda _connection, value, _native: value,
        is_set=False,
        now=NOW,
    )
    return replace(plain, **changes)


def side(connection: str, value: Any, base: Any = MISSING, stood: Any = MISSING, **changes: Any) -> Side:
    """A member that holds `value`, with the base it had: by default one that stood for itself."""
    agreed = None if base is MISSING else Base(base, base if stood is MISSING else stood)
    return Side(connection, value, value, agreed, None if base is MISSING else base, **changes)


def due(merged: Merged) -> dict[str, Any]:
    return {one.connection: one.value for one in merged.due}


class TestRows:
    """One line of the table each."""

    def test_a_value_that_is_still_the_base_is_no_edit(self):
        merged = merge("x", "a", [side("a", "x", "x"), side("b", "x", "x")], context())

        assert set(merged.rows.values()) == {Row.UNCHANGED}
        assert (merged.hub, merged.changed, merged.due, merged.conflict) == ("x", False, [], None)

    def test_an_edit_of_one_member_is_written_to_the_others(self):
        merged = merge("x", "a", [side("a", "y", "x"), side("b", "x", "x")], context())

        assert merged.rows["a"] is Row.REMOTE
        assert (merged.hub, merged.origin, due(merged)) == ("y", "a", {"b": "y"})
        assert merged.bases["a"] == Base("y", "y")

    def test_a_write_expects_what_the_last_agreement_found(self):
        merged = merge("x", "a", [side("a", "y", "x"), side("b", "x", "x")], context())

        assert merged.due[0].expected == "x"

    def test_a_value_that_the_hub_has_already_is_recorded_as_agreed(self):
        merged = merge("y", "a", [side("b", "y", "x")], context())

        assert merged.rows["b"] is Row.AGREE
        assert (merged.bases["b"], merged.due) == (Base("y", "y"), [])

    def test_a_lost_write_that_landed_is_no_edit(self):
        merged = merge("z", "a", [side("b", "y", "x", sent=("y",))], context())

        assert merged.rows["b"] is Row.ECHO
        assert merged.hub == "z"
        assert due(merged) == {"b": "z"}
        assert merged.due[0].expected == "y"

    def test_neither_base_nor_sent_is_an_edit_that_wins(self):
        merged = merge("y", "a", [side("a", "y", "y"), side("b", "z", "x", sent=("y",))], context())

        assert merged.rows["b"] is Row.AMBIGUOUS
        assert (merged.hub, merged.origin, due(merged)) == ("z", "b", {"a": "z"})

    def test_the_base_is_still_there_while_a_write_is_open_so_nothing_is_imported(self):
        merged = merge("y", "a", [side("b", "x", "x", sent=("y",))], context())

        assert merged.rows["b"] is Row.UNCHANGED
        assert due(merged) == {"b": "y"}

    def test_a_newer_edit_of_the_member_that_set_the_hub_wins(self):
        merged = merge("y", "a", [side("a", "z", "x", stood=NOTHING), side("b", "x", "x")], context())

        assert merged.rows["a"] is Row.OWN
        assert (merged.hub, due(merged)) == ("z", {"b": "z"})

    def test_an_edit_that_did_not_see_the_hub_is_a_conflict(self):
        merged = merge("y", "a", [side("a", "y", "y"), side("b", "z", "x")], context())

        assert merged.rows["b"] is Row.CONFLICT
        assert merged.conflict is not None
        assert {one.value for one in merged.conflict.candidates} == {"y", "z"}

    def test_a_held_conflict_changes_and_writes_nothing(self):
        merged = merge("x", "a", [side("a", "y", "x"), side("b", "z", "x"), side("c", "x", "x")], context())

        assert merged.conflict is not None
        assert (merged.hub, merged.due, merged.bases) == ("x", [], {})

    def test_a_member_that_joins_with_another_value_contends_with_the_hub(self):
        merged = merge("x", "a", [side("a", "x", "x"), side("b", "y")], context())

        assert merged.rows["b"] is Row.UNKNOWN
        assert merged.conflict is not None

    def test_a_member_that_joins_with_the_same_value_agrees(self):
        merged = merge("x", "a", [side("a", "x", "x"), side("b", "x")], context())

        assert merged.rows["b"] is Row.AGREE
        assert merged.bases["b"] == Base("x", "x")

    def test_the_first_member_of_a_new_record_sets_the_hub(self):
        merged = merge(NOTHING, "", [side("a", "x")], context())

        assert (merged.hub, merged.origin, merged.changed) == ("x", "a", True)

    def test_an_unmapped_value_is_neither_merged_nor_overwritten(self):
        unmapped = Side("b", "odd", Unmapped("no such stage"), Base("x", "x"), "x")

        merged = merge("x", "a", [side("a", "y", "x"), unmapped], context())

        assert merged.rows["b"] is Row.UNMAPPED
        assert (merged.hub, merged.due) == ("y", [])

    def test_what_a_member_cannot_express_is_told_and_not_written(self):
        def project(connection: str, value: Any, _native: Any) -> Any:
            return Unmapped("no such user") if connection == "b" else value

        merged = merge("x", "a", [side("a", "y", "x"), side("b", "x", "x")], context(project=project))

        assert (merged.due, merged.unwritable) == ([], {"b": "no such user"})

    def test_a_source_is_never_written(self):
        merged = merge("x", "a", [side("a", "x", "x", writes=False), side("b", "y", "x")], context())

        assert (merged.hub, merged.due) == ("y", [])


class TestConflicts:
    def test_equal_edits_agree(self):
        merged = merge("x", "c", [side("a", "y", "x"), side("b", "y", "x"), side("c", "x", "x")], context())

        assert merged.conflict is None
        assert (merged.hub, due(merged)) == ("y", {"c": "y"})

    def test_a_rule_decides_and_the_loser_is_written(self):
        merged = merge("x", "a", [side("a", "y", "x"), side("b", "z", "x")], context("priority"))

        assert (merged.hub, due(merged)) == ("y", {"b": "y"})
        assert [(one.connection, one.value) for one in merged.losers] == [("b", "z")]
        assert merged.due[0].expected == "z"

    def test_the_hub_wins_by_rule_and_the_loser_is_written_back(self):
        merged = merge("y", "a", [side("a", "y", "y"), side("b", "z", "x")], context("priority"))

        assert (merged.hub, merged.changed, due(merged)) == ("y", False, {"b": "y"})

    def test_a_value_that_somebody_edited_after_seeing_it_no_longer_contends(self):
        # The hub says 9 from `a`; `b` saw it and wrote 5; `c` never saw it and wrote 7.
        sides = [side("a", "9", "9"), side("b", "5", "9"), side("c", "7", "3")]

        merged = merge("9", "a", sides, context("max"))

        assert merged.hub == "7"

    def test_an_owner_who_left_does_not_make_edits_into_conflicts(self):
        # Both CRMs hold a user who cannot be assigned any more; then one of them changes it.
        def project(_connection: str, value: Any, _native: Any) -> Any:
            return Unmapped("no active user") if value == "left" else value

        merged = merge(
            "left", "b", [side("a", "ann", "left"), side("b", "left", "left")], context(project=project)
        )

        assert merged.rows["a"] is Row.REMOTE
        assert (merged.hub, due(merged)) == ("ann", {"b": "ann"})

    def test_a_persons_word_settles_a_held_conflict(self):
        def decided(candidates: Sequence[Any], _setting: Setting) -> Any:
            return next((one for one in candidates if one.connection == "b"), None)

        merged = merge("x", "a", [side("a", "y", "x"), side("b", "z", "x")], context(rule=decided))

        assert (merged.hub, due(merged)) == ("z", {"a": "z"})

    def test_a_frozen_field_is_neither_merged_nor_written(self):
        merged = merge("x", "a", [side("a", "y", "x"), side("b", "x", "x")], context(frozen=True))

        assert merged.conflict is not None
        assert merged.due == []


class TestLossy:
    """Values that a CRM cannot hold exactly."""

    @staticmethod
    def project(connection: str, value: Any, _native: Any) -> Any:
        """`b` holds whole numbers only."""
        return str(int(float(value))) if connection == "b" else value

    def test_a_rounded_copy_is_no_edit(self):
        sides = [side("a", "1.5", "1.5"), side("b", "1", "1", stood="1")]

        merged = merge("1.5", "a", sides, context(project=self.project))

        assert (merged.hub, merged.changed, merged.due) == ("1.5", False, [])

    def test_the_rounded_value_of_a_new_one_is_written_once(self):
        first = merge(
            "1.5", "a", [side("a", "2.5", "1.5"), side("b", "1", "1")], context(project=self.project)
        )
        second = merge(
            "2.5", "a", [side("a", "2.5", "2.5"), side("b", "2", "2")], context(project=self.project)
        )

        assert (due(first), due(second)) == ({"b": "2"}, {})

    def test_an_edit_that_changes_only_what_is_lost_elsewhere_writes_nothing_there(self):
        sides = [side("a", "1.7", "1.5"), side("b", "1", "1")]

        merged = merge("1.5", "a", sides, context(project=self.project))

        assert (merged.hub, merged.due) == ("1.7", [])

    def test_natives_that_mean_the_same_are_no_edit(self):
        moved = Side("a", "stage-2", "proposal", Base("stage-1", "proposal"), "proposal")

        merged = merge("proposal", "a", [moved, side("b", "proposal", "proposal")], context())

        assert merged.rows["a"] is Row.UNCHANGED
        assert (merged.changed, merged.due) == (False, [])


class TestTargets:
    """Members that are written, and whose own edits stay with them."""

    def test_an_edit_of_a_target_is_not_imported_and_stays(self):
        merged = merge("x", "a", [side("a", "x", "x"), side("b", "y", "x", imports=False)], context())

        assert merged.rows["b"] is Row.LOCAL
        assert (merged.hub, merged.due, merged.conflict) == ("x", [], None)

    def test_something_new_from_the_source_is_a_question_of_the_rule(self):
        sides = [side("a", "z", "x"), side("b", "y", "x", imports=False)]

        assert merge("x", "a", sides, context()).conflict is not None
        assert due(merge("x", "a", sides, context("priority"))) == {"b": "z"}

    def test_a_target_that_wins_keeps_its_edit_from_then_on(self):
        chosen = context("priority", setting=Setting(("b", "a")))
        first = merge("x", "a", [side("a", "z", "x"), side("b", "y", "x", imports=False)], chosen)
        base = first.bases["b"]
        again = Side("b", "y", "y", base, base.native, imports=False)

        second = merge(first.hub, first.origin, [side("a", "z", "z"), again], chosen)

        assert (first.due, second.due) == ([], [])

    def test_a_target_without_a_base_that_agrees_is_left_alone(self):
        merged = merge("x", "a", [side("a", "x", "x"), side("b", "x", imports=False)], context())

        assert (merged.bases["b"], merged.due) == (Base("x", "x"), [])


class TestSets:
    """Elements are added and removed one by one."""

    def test_additions_of_two_members_both_arrive(self):
        sides = [side("a", ["k", "l"], ["k"]), side("b", ["k", "m"], ["k"])]

        merged = merge(["k"], "a", sides, context(is_set=True))

        assert merged.hub == ["k", "l", "m"]
        assert due(merged) == {"a": ["k", "l", "m"], "b": ["k", "l", "m"]}

    def test_what_one_removes_goes_and_what_another_adds_stays(self):
        sides = [side("a", [], ["k"]), side("b", ["k", "m"], ["k"])]

        merged = merge(["k"], "a", sides, context(is_set=True))

        assert merged.hub == ["m"]

    def test_an_addition_survives_a_write_that_is_still_due(self):
        # The hub got `l` from `a`; `b` has not been written, and its user adds `m`.
        sides = [side("a", ["k", "l"], ["k", "l"]), side("b", ["k", "m"], ["k"])]

        merged = merge(["k", "l"], "a", sides, context(is_set=True))

        assert merged.hub == ["k", "l", "m"]
        assert merged.conflict is None

    def test_elements_that_a_member_cannot_hold_are_not_taken_for_removed(self):
        def project(connection: str, value: Any, _native: Any) -> Any:
            return [one for one in value if one != "far"] if connection == "b" else value

        sides = [side("a", ["far", "k"], ["far", "k"]), side("b", ["k", "m"], ["k"])]

        merged = merge(["far", "k"], "a", sides, context(is_set=True, project=project))

        assert merged.hub == ["far", "k", "m"]
        assert due(merged) == {"a": ["far", "k", "m"]}


class TestBreaker:
    """Two automations that undo each other are stopped."""

    def past(self, *values: str, hours: float = 0.1) -> list[Past]:
        return [Past(value, NOW - timedelta(hours=hours * at)) for at, value in enumerate(values)]

    def test_a_value_that_comes_back_for_the_third_time_in_a_day_is_frozen(self):
        sides = [side("a", "x", "y"), side("b", "y", "y")]

        merged = merge("y", "a", sides, context(past=self.past("y", "x", "y", "x")))

        assert merged.conflict is not None
        assert "back and forth" in merged.conflict.reason

    def test_a_value_that_comes_back_once_is_not(self):
        sides = [side("a", "x", "y"), side("b", "y", "y")]

        merged = merge("y", "a", sides, context(past=self.past("y", "x")))

        assert merged.hub == "x"

    def test_what_happened_days_ago_does_not_count(self):
        sides = [side("a", "x", "y"), side("b", "y", "y")]

        merged = merge("y", "a", sides, context(past=self.past("y", "x", "y", "x", hours=20)))

        assert merged.hub == "x"

    def test_a_hub_value_that_stays_does_not_count_as_coming_back(self):
        sides = [side("a", "x", "x"), side("b", "z", "w")]

        merged = merge("x", "a", sides, context("priority", past=self.past("x", "y", "x")))

        assert merged.conflict is None


VALUES = st.sampled_from(["1", "2", "3"])
RULES = st.sampled_from(["hold", "priority", "newest", "max", "min"])


@st.composite
def some_sides(draw: st.DrawFn) -> list[Side]:
    sides = []
    for connection in draw(st.sets(st.sampled_from("abcd"), min_size=1)):
        base = draw(st.one_of(st.just(MISSING), VALUES))
        stood = draw(st.one_of(st.just(base), VALUES, st.just(NOTHING)))
        value = draw(VALUES)
        made = side(connection, value, base, stood)
        if draw(st.booleans()) and made.base is not None:
            made = replace(made, sent=(draw(VALUES),))
        at = NOW - timedelta(minutes=draw(st.integers(0, 3)))
        imports = draw(st.sampled_from([True, True, True, False]))
        sides.append(
            replace(made, modified_at=at, imports=imports, writes=not imports or draw(st.booleans()))
        )
    return sides


@given(some_sides(), st.one_of(st.just(NOTHING), VALUES), st.sampled_from("abcd"), RULES, st.randoms())
def test_the_order_of_the_members_does_not_matter(sides, hub, origin, name, random):
    shuffled = list(sides)
    random.shuffle(shuffled)

    assert merge(hub, origin, sides, context(name)) == merge(hub, origin, shuffled, context(name))


@given(some_sides(), st.one_of(st.just(NOTHING), VALUES), st.sampled_from("abcd"), RULES)
def test_after_the_due_writes_nothing_is_left_to_do(sides, hub, origin, name):
    first = merge(hub, origin, sides, context(name))
    wanted = due(first)
    carried_out = []
    for one in sides:
        value = wanted.get(one.connection, one.value)
        base = first.bases.get(one.connection, one.base)
        if one.connection in wanted:
            base = Base(value, value)
        known = base.native if base is not None else None
        carried_out.append(replace(one, native=value, value=value, base=base, base_value=known, sent=()))

    second = merge(first.hub, first.origin, carried_out, context(name))

    assert second.due == []
    assert (second.hub, second.changed) == (first.hub, False)


@given(some_sides(), st.one_of(st.just(NOTHING), VALUES), st.sampled_from("abcd"), RULES)
def test_no_member_is_written_what_it_holds(sides, hub, origin, name):
    merged = merge(hub, origin, sides, context(name))

    held = {one.connection: one.value for one in sides}
    assert all(held[one.connection] != one.value for one in merged.due)


# One record in several CRMs, with lost answers and late commits: the merge alone, no store.


@dataclass
class Open:
    """A write whose answer was lost."""

    value: int
    lands_at: int | None
    over_at: int


@dataclass
class Holder:
    """One CRM with the only field there is, and what its users were shown."""

    value: int
    base: Base | None = None
    open: Open | None = None


@dataclass
class World:
    rule: str
    holders: dict[str, Holder]
    hub: Any = NOTHING
    origin: str = ""
    now: int = 0
    last: int = 0
    # Each edit and the edit whose value its editor was shown.
    seen: dict[int, int] = field(default_factory=dict)
    known: set[int] = field(default_factory=lambda: {0})
    excused: set[int] = field(default_factory=set)

    def pass_time(self, steps: int) -> None:
        for _ in range(steps):
            self.now += 1
            for holder in self.holders.values():
                if holder.open is not None and holder.open.lands_at == self.now:
                    self._put(holder, holder.open.value)

    def _put(self, holder: Holder, value: int) -> None:
        lost = holder.value
        while lost not in self.known:  # edits that nobody has read yet go under, with all before them
            self.excused.add(lost)
            lost = self.seen[lost]
        holder.value = value

    def edit(self, name: str) -> None:
        self.last += 1
        self.seen[self.last] = self.holders[name].value
        self.holders[name].value = self.last

    def sync(self, fate: Callable[[], str], delay: Callable[[], int]) -> int:
        sides = []
        for name, holder in self.holders.items():
            sent = (holder.open.value,) if holder.open is not None else ()
            base = holder.base
            known = base.native if base is not None else None
            sides.append(Side(name, holder.value, holder.value, base, known, sent))
            self.known.add(holder.value)
        merged = merge(self.hub, self.origin, sides, context(self.rule))
        self.hub, self.origin = merged.hub, merged.origin
        for name, base in merged.bases.items():
            self.holders[name].base = base
        for holder in self.holders.values():
            if holder.open is not None and self.now >= holder.open.over_at:
                holder.open = None
        written = 0
        for one in merged.due:
            holder = self.holders[one.connection]
            if holder.open is not None:
                continue
            written += 1
            match fate():
                case "done":
                    holder.value = one.value
                    holder.base = Base(one.value, one.value)
                case "lost before":
                    holder.open = Open(one.value, None, self.now + 6)
                case "lost after":
                    holder.value = one.value
                    holder.open = Open(one.value, None, self.now + 6)
                case _:
                    holder.open = Open(one.value, self.now + delay(), self.now + 6)
        return written

    def ancestors(self) -> set[int]:
        return set(self.seen.values())


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_any_history_of_lost_answers_converges_and_loses_no_update(data: st.DataObject):
    names = data.draw(st.sampled_from(["ab", "abc"]))
    world = World(
        data.draw(st.sampled_from(["priority", "max", "min"])),
        {name: Holder(0, Base(0, 0)) for name in names},
        0,
        "a",
    )
    fates = st.sampled_from(["done", "done", "lost before", "lost after", "late"])
    for step in data.draw(st.lists(st.sampled_from(["edit", "edit", "sync", "sync", "wait"]), max_size=14)):
        if step == "edit":
            world.edit(data.draw(st.sampled_from(names)))
        elif step == "wait":
            world.pass_time(data.draw(st.integers(1, 4)))
        else:
            world.sync(lambda: data.draw(fates), lambda: data.draw(st.integers(1, 5)))
    for _ in range(3):
        world.pass_time(7)
        world.sync(lambda: "done", lambda: 1)

    assert world.sync(lambda: "done", lambda: 1) == 0
    finals = {holder.value for holder in world.holders.values()}
    assert len(finals) == 1
    # A value that somebody replaced after seeing it must not come back.
    lost = finals & world.ancestors()
    replaced_by = {edit for edit, shown in world.seen.items() if shown in lost}
    assert replaced_by <= world.excused


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_three_members_that_edit_at_once_end_alike_in_any_order(order: tuple[str, ...]):
    values = {"a": "1", "b": "2", "c": "3"}
    merged = merge("0", "a", [side(name, values[name], "0") for name in order], context("priority"))

    assert (merged.hub, due(merged)) == ("1", {"b": "1", "c": "1"})
