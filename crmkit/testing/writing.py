"""What every connector that writes must do, as tests over a CRM that a bench provides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

from crmkit.connectors.base import Connector
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result, Writing, Written
from crmkit.errors import ConnectorError, Unsupported
from crmkit.model import DealContact, Kind, Ref
from crmkit.testing.contract import Bench
from crmkit.testing.samples import Samples, gather

KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
# What a CRM changes by itself with every write, or derives from other fields.
_MOVING = frozenset({"version", "modified_at", "last_activity_at"})
_FEW, _MANY = 30, 230
# A person's name is one thing that some CRMs keep in two fields.
_PART_OF = {"first_name": "name", "last_name": "name"}


class WritingBench(Bench, Protocol):
    """A CRM that can be written to and looked at from outside."""

    def connect(self, *, bad_credentials: bool = False, read_only: bool = False) -> Connector:
        """A new connection; a read-only one must not change anything."""
        ...

    def lose_answer(self) -> None:
        """Let the next call that writes be carried out, and its answer be lost."""
        ...

    def garble_answer(self) -> None:
        """Let the next call that writes be answered by something else than the CRM, which never sees it."""
        ...

    def written(self) -> int:
        """How many calls that change something the CRM has carried out."""
        ...


class WritingContract:
    """Subclass it and give it a `bench` fixture whose CRM lacks our key field."""

    @pytest.fixture
    def connector(self, bench: WritingBench) -> Iterator[Connector]:
        connection = bench.connect()
        connection.check()
        connection.prepare(_kinds(connection))
        yield connection
        connection.close()

    @pytest.fixture
    def samples(self, connector: Connector) -> Samples:
        return gather(connector)

    # The key field

    def test_what_is_not_prepared_is_told_and_then_made_once(self, bench: WritingBench) -> None:
        fresh = bench.connect()
        kinds = _kinds(fresh)
        told = list(fresh.unprepared(kinds))
        assert list(fresh.prepare(kinds)) == told
        assert list(fresh.unprepared(kinds)) == []
        assert list(bench.connect().prepare(kinds)) == []

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_a_created_record_carries_its_key_and_is_found_by_it(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        writing = _writing(connector, kind, Act.CREATE)
        if writing.keys is Keys.NONE:
            pytest.skip("the CRM keeps no key")
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        found = bench.connect().find([look_up(samples, kind, 1), look_up(samples, kind, 2)])
        assert found == {key(1): [made]}
        assert record_of(connector, made).key == key(1)

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_a_second_record_with_the_same_key_is_not_made(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        writing = _writing(connector, kind, Act.CREATE)
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        before = bench.ids(kind)
        if writing.keys is Keys.UNIQUE:
            outcome = write(connector, [change(samples, kind, 1)])[0]
            assert (outcome.result, outcome.ref) == (Result.EXISTS, made)
        else:  # whoever creates looks first
            assert bench.connect().find([look_up(samples, kind, 1)])[key(1)] == [made]
        assert bench.ids(kind) == before

    def test_a_note_of_a_deal_is_found_by_its_key(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        if _writing(connector, Kind.NOTE, Act.CREATE).keys is Keys.NONE:
            pytest.skip("a note keeps no key")
        deal = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        values = {"text": 'Called. <b>"Yes"</b> & more', "deal_id": deal.id}
        made = created(connector, Change("n", Act.CREATE, Kind.NOTE, None, values, key(2)))
        bench.settle()
        found = bench.connect().find([Lookup(Kind.NOTE, key(2), deal), Lookup(Kind.NOTE, key(3), deal)])
        assert found == {key(2): [made]}

    # What is held

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_a_created_record_holds_what_was_promised(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        _writing(connector, kind, Act.CREATE)
        values = samples.full(kind, 1)
        assert not connector.cannot_hold(kind, values)
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        assert shown(bench.connect(), made, values) == promised(connector, kind, values)

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_only_what_is_required_must_be_given(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        writing = _writing(connector, kind, Act.CREATE)
        values = samples.least(kind, 1)
        made = created(connector, change(samples, kind, 1, values=values))
        bench.settle()
        assert shown(connector, made, values) == promised(connector, kind, values)
        for number, name in enumerate(sorted(writing.required), 2):
            rest = {field: one for field, one in values.items() if field != name}
            outcome = write(connector, [change(samples, kind, number, values=rest)])[0]
            # Some CRMs put something of their own where nothing is said.
            if outcome.result is not Result.DONE:
                assert outcome.result is Result.REJECTED
                at_fault = _PART_OF.get(outcome.field or "", outcome.field)
                assert at_fault in writing.required or at_fault is None

    def test_money_in_an_unknown_currency_is_never_stored_as_other_money(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.CREATE)
        if "currency" not in writing.fields:
            pytest.skip("the CRM's deals have no currency of their own")
        values = {**samples.full(Kind.DEAL, 1), "currency": "XTS"}
        refused = connector.cannot_hold(Kind.DEAL, values)
        outcome = write(connector, [change(samples, Kind.DEAL, 1, values=values)])[0]
        money = {"amount", "currency"}
        assert refused.keys() <= money
        if outcome.result is Result.REJECTED:
            assert outcome.field in money
            return
        assert outcome.ref is not None
        held = shown(connector, outcome.ref, values)
        if outcome.unwritten:
            assert outcome.unwritten.keys() <= money
            assert held["amount"] is None
        else:
            assert not refused
            assert held == promised(connector, Kind.DEAL, values)

    # Updating

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_an_update_touches_only_the_named_field(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        writing = _writing(connector, kind, Act.UPDATE)
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        before = record_of(connector, made)
        for name, value in samples.others(kind, 2).items():
            if name.split(".")[0] not in writing.fields or connector.cannot_hold(kind, {name: value}):
                continue
            updated(connector, made, before, {name: value})
            bench.settle()
            after = record_of(bench.connect(), made)
            assert shown_of(after, {name: value}) == promised(connector, kind, {name: value}), name
            assert _rest(after, name) == _rest(before, name)
            before = after

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_none_clears_a_field(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        writing = _writing(connector, kind, Act.UPDATE)
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        before = record_of(connector, made)
        for name in samples.clearable(kind, writing):
            empty = samples.empty(name)
            one = Change("u", Act.UPDATE, kind, made, {name: empty}, None, before.version)
            outcome = write(connector, [one])[0]
            bench.settle()
            after = record_of(bench.connect(), made)
            if outcome.result is Result.REJECTED or outcome.unwritten:  # said, and left as it was
                assert name in (outcome.field, *outcome.unwritten)
                assert shown_of(after, {name: empty}) == shown_of(before, {name: empty})
            else:
                assert outcome.result is Result.DONE
                assert shown_of(after, {name: empty}) == promised(connector, kind, {name: empty}), name
            before = after

    def test_people_of_a_deal_are_replaced_as_given(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.UPDATE)
        if "contacts" not in writing.fields or len(samples.contacts) < 3:
            pytest.skip("the CRM keeps no people of a deal")
        made = created(connector, change(samples, Kind.DEAL, 1))
        first, second, third = samples.contacts[:3]
        for wanted in ([first, second], [third, first], [second], []):
            people = tuple(DealContact(id=one, primary=at == 0) for at, one in enumerate(wanted))
            values = {"contacts": people}
            if connector.cannot_hold(Kind.DEAL, values):
                continue
            bench.settle()
            updated(connector, made, record_of(connector, made), values)
            bench.settle()
            assert shown(bench.connect(), made, values) == promised(connector, Kind.DEAL, values)

    def test_companies_of_a_deal_are_replaced_as_given(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.UPDATE)
        if "companies" not in writing.fields:
            pytest.skip("the company of a deal is fixed")
        made = created(connector, change(samples, Kind.DEAL, 1))
        first, second, third = samples.companies[:3]
        for wanted in ((first, second), (third,), (second, first), ()):
            values = {"companies": wanted}
            if connector.cannot_hold(Kind.DEAL, values):
                continue
            bench.settle()
            updated(connector, made, record_of(connector, made), values)
            bench.settle()
            assert shown(bench.connect(), made, values) == promised(connector, Kind.DEAL, values)

    def test_a_record_that_changed_meanwhile_is_not_overwritten_where_the_crm_can_tell(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.UPDATE)
        if not writing.update_if_unchanged:
            pytest.skip("the CRM takes every update")
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        before = record_of(connector, made)
        read_at = before.modified_at
        bench.settle()
        bench.edit_deal(made.id, samples.amount(7))
        bench.settle()
        late = Change("late", Act.UPDATE, Kind.DEAL, made, {"name": "Late"}, None, before.version, read_at)
        outcome = write(connector, [late])[0]
        assert outcome.result is Result.STALE
        assert record_of(connector, made).name == before.name

    # Records that are not there

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_a_deleted_record_is_gone_and_stays_so(
        self, bench: WritingBench, connector: Connector, samples: Samples, kind: Kind
    ) -> None:
        _writing(connector, kind, Act.DELETE)
        made = created(connector, change(samples, kind, 1))
        bench.settle()
        assert write(connector, [Change("d", Act.DELETE, kind, made)])[0].result is Result.DONE
        bench.settle()
        assert list(bench.connect().get([made])) == []
        assert made.id not in bench.ids(kind)
        again = write(bench.connect(), [Change("d", Act.DELETE, kind, made)])[0]
        assert again.result in (Result.GONE, Result.DONE)
        assert bench.connect().find([look_up(samples, kind, 1)]) == {}

    def test_an_update_of_a_deleted_record_says_that_it_is_gone(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        _writing(connector, Kind.DEAL, Act.UPDATE)
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        bench.delete_deal(made.id)
        bench.settle()
        one = Change("u", Act.UPDATE, Kind.DEAL, made, {"name": "Nobody home"})
        assert write(connector, [one])[0].result is Result.GONE

    # Batches

    def test_one_bad_record_never_fails_its_neighbours(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        _writing(connector, Kind.DEAL, Act.CREATE)
        changes = [change(samples, Kind.DEAL, number) for number in range(1, 8)]
        bad = {**samples.full(Kind.DEAL, 4), "owner_id": "987654321"}
        changes[3] = change(samples, Kind.DEAL, 4, values=bad)
        outcomes = write(connector, changes)
        assert [one.result for one in outcomes] == [
            Result.DONE if number != 4 else Result.REJECTED for number in range(1, 8)
        ]
        assert outcomes[3].field == "owner_id"
        bench.settle()
        assert connector.find([look_up(samples, Kind.DEAL, 4)]) == {}

    def test_many_changes_cost_what_the_budget_says(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.CREATE)
        values: dict[str, Any] = {"amount": samples.amount(5)}
        if "currency" in writing.fields:
            values["currency"] = samples.currency

        def cost(changes: Sequence[Change]) -> list[Ref]:
            before, budget = connector.context.usage.requests, connector.budget(changes)
            outcomes = write(connector, changes)
            assert {one.result for one in outcomes} == {Result.DONE}
            # What a connector has to learn about the CRM first, it has learnt with the first few.
            if len(changes) == _MANY:
                assert connector.context.usage.requests - before == budget.requests
            return [one.ref for one in outcomes if one.ref is not None]

        for numbers in (range(_MANY + 1, _MANY + _FEW), range(1, _MANY + 1)):
            refs = cost([change(samples, Kind.DEAL, number) for number in numbers])
            assert len({ref.id for ref in refs}) == len(numbers)
            cost([Change(ref.id, Act.UPDATE, Kind.DEAL, ref, values) for ref in refs])
            cost([Change(ref.id, Act.DELETE, Kind.DEAL, ref) for ref in refs])

    # Answers that never came

    def test_a_create_whose_answer_was_lost_is_unknown_and_found_later(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        writing = _writing(connector, Kind.DEAL, Act.CREATE)
        before = bench.ids(Kind.DEAL)
        bench.lose_answer()
        outcome = write(connector, [change(samples, Kind.DEAL, 1)])[0]
        bench.settle()
        made = bench.ids(Kind.DEAL) - before
        assert len(made) == 1
        if outcome.result is Result.DONE:  # the connector looked, and saw it
            assert outcome.ref is not None
            assert {outcome.ref.id} == made
        else:
            assert outcome.result is Result.UNKNOWN
        if writing.keys is not Keys.NONE:
            found = bench.connect().find([look_up(samples, Kind.DEAL, 1)])
            assert [ref.id for ref in found[key(1)]] == list(made)

    def test_an_update_whose_answer_was_lost_is_unknown_and_was_carried_out_once(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        _writing(connector, Kind.DEAL, Act.UPDATE)
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        before = record_of(connector, made)
        writes = bench.written()
        bench.lose_answer()
        one = Change("u", Act.UPDATE, Kind.DEAL, made, {"name": "Said once"}, None, before.version)
        outcome = write(connector, [one])[0]
        assert outcome.result in (Result.UNKNOWN, Result.DONE)
        assert bench.written() - writes == 1
        bench.settle()
        expected = promised(connector, Kind.DEAL, {"name": "Said once"})
        assert shown(bench.connect(), made, {"name": "Said once"}) == expected

    def test_a_delete_whose_answer_was_lost_is_unknown_and_the_record_is_gone(
        self, bench: WritingBench, connector: Connector, samples: Samples
    ) -> None:
        _writing(connector, Kind.DEAL, Act.DELETE)
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        bench.lose_answer()
        outcome = write(connector, [Change("d", Act.DELETE, Kind.DEAL, made)])[0]
        assert outcome.result in (Result.UNKNOWN, Result.DONE, Result.GONE)
        bench.settle()
        assert list(bench.connect().get([made])) == []

    @pytest.mark.parametrize("act", list(Act), ids=str)
    def test_a_page_in_the_place_of_an_answer_proves_nothing(
        self, bench: WritingBench, connector: Connector, samples: Samples, act: Act
    ) -> None:
        _writing(connector, Kind.DEAL, act)
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        before = record_of(connector, made)
        one = {
            Act.CREATE: change(samples, Kind.DEAL, 2),
            Act.UPDATE: Change("u", Act.UPDATE, Kind.DEAL, made, {"name": "Never"}, None, before.version),
            Act.DELETE: Change("d", Act.DELETE, Kind.DEAL, made),
        }[act]
        there = bench.ids(Kind.DEAL)
        bench.garble_answer()
        outcome = write(connector, [one])[0]
        assert outcome.result is Result.UNKNOWN
        bench.settle()
        assert bench.ids(Kind.DEAL) == there
        assert record_of(connector, made).name == before.name

    # Runs that only read, and what cannot be done

    @pytest.mark.parametrize("act", list(Act), ids=str)
    def test_a_run_that_only_reads_changes_nothing(
        self, bench: WritingBench, connector: Connector, samples: Samples, act: Act
    ) -> None:
        made = created(connector, change(samples, Kind.DEAL, 1))
        bench.settle()
        before, there = bench.written(), bench.ids(Kind.DEAL)
        values = samples.full(Kind.DEAL, 2) if act is Act.CREATE else {"name": "Never"}
        ref = None if act is Act.CREATE else made
        one = Change("x", act, Kind.DEAL, ref, {} if act is Act.DELETE else values, key(2))
        reading = bench.connect(read_only=True)
        try:
            outcomes = [outcome for group in reading.write([one]) for outcome in group]
        except ConnectorError:
            outcomes = []
        assert not [outcome for outcome in outcomes if outcome.result is Result.DONE]
        assert (bench.written(), bench.ids(Kind.DEAL)) == (before, there)

    def test_a_run_that_only_reads_cannot_make_the_key_field(self, bench: WritingBench) -> None:
        reading = bench.connect(read_only=True)
        told = list(reading.unprepared(_kinds(reading)))
        before = bench.written()
        if told:
            with pytest.raises(ConnectorError):
                reading.prepare(_kinds(reading))
        assert bench.written() == before
        assert list(bench.connect().unprepared(_kinds(reading))) == told

    def test_what_cannot_be_written_is_refused_before_any_call(self, connector: Connector) -> None:
        before = connector.context.usage.requests
        wrong = Change("x", Act.CREATE, Kind.OWNER, None, {"name": "Nobody"})
        with pytest.raises(Unsupported):
            list(connector.write([wrong]))
        assert connector.context.usage.requests == before


def key(number: int) -> str:
    """A marker as the sync engine writes them."""
    return f"ck1:5ca1ab1e:0ddba11c:deal:{4000 + number}"


def change(samples: Samples, kind: Kind, number: int, values: Mapping[str, Any] | None = None) -> Change:
    """A create with the sample's values, or with others."""
    return Change(
        f"c{number}",
        Act.CREATE,
        kind,
        None,
        samples.full(kind, number) if values is None else values,
        key(number),
    )


def look_up(samples: Samples, kind: Kind, number: int) -> Lookup:
    """What to look for after a create."""
    values = samples.full(kind, number)
    companies = values.get("companies") or ()
    parent = Ref(samples.connection, Kind.COMPANY, companies[0]) if companies else None
    return Lookup(kind, key(number), parent)


def write(connector: Connector, changes: Sequence[Change]) -> list[Written]:
    """Write, and give the outcomes in the order of the changes; there is exactly one each."""
    found = [outcome for group in connector.write(changes) for outcome in group]
    by_id = {outcome.id: outcome for outcome in found}
    assert len(by_id) == len(found)
    assert by_id.keys() == {one.id for one in changes}
    for outcome in found:
        done = outcome.result in (Result.DONE, Result.EXISTS)
        assert outcome.ref is not None or not done
        assert outcome.reason or outcome.result in (Result.DONE, Result.GONE, Result.STALE), outcome
    return [by_id[one.id] for one in changes]


def created(connector: Connector, one: Change) -> Ref:
    """Create, and give the new record's address."""
    outcome = write(connector, [one])[0]
    assert outcome.result is Result.DONE, outcome
    assert not outcome.unwritten
    assert outcome.ref is not None
    return outcome.ref


def updated(connector: Connector, ref: Ref, before: Any, values: Mapping[str, Any]) -> Written:
    """Update a record that was read right before."""
    one = Change("u", Act.UPDATE, ref.kind, ref, values, None, before.version)
    outcome = write(connector, [one])[0]
    assert outcome.result is Result.DONE, (outcome, values)
    # What is lost of a set is told; `holds` promised only the rest.
    lost = dict(connector.holds(ref.kind, values)) != dict(values)
    assert lost or not outcome.unwritten
    assert outcome.unwritten.keys() <= values.keys()
    return outcome


def record_of(connector: Connector, ref: Ref) -> Any:
    """The record, read by its id."""
    found = connector.get([ref])
    assert [one.ref for one in found] == [ref]
    return found[0]


def shown(connector: Connector, ref: Ref, values: Mapping[str, Any]) -> dict[str, Any]:
    """The named fields as the CRM gives them back."""
    return shown_of(record_of(connector, ref), values)


def shown_of(record: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The named fields of a record."""
    found = {}
    for name in values:
        custom, _, field = name.partition(".")
        found[name] = record.custom.get(field) if field else getattr(record, custom)
    return found


def promised(connector: Connector, kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the connector said that the CRM would hold them; saying it twice changes nothing."""
    held = dict(connector.holds(kind, values))
    assert dict(connector.holds(kind, held)) == held
    return held


def _rest(record: Any, name: str) -> dict[str, Any]:
    """Everything of a record that an update of one field must leave alone."""
    found = {**record.model_dump(exclude=set(_MOVING)), "custom": dict(record.custom)}
    custom, _, field = name.partition(".")
    if field:
        found["custom"].pop(field, None)
    for each in _COUPLED.get(name, (custom,)) if not field else ():
        found.pop(each, None)
    # A CRM without a name of deals keeps it in a field of its own.
    mirrored = None if field else getattr(record, custom)
    found["custom"] = {native: one for native, one in found["custom"].items() if one != mirrored}
    return found


# Fields that say the same thing in two ways, or follow from one another.
_COUPLED: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "first_name", "last_name"),
    "first_name": ("name", "first_name"),
    "last_name": ("name", "last_name"),
    "stage_id": ("stage_id", "stage_entered_at", "probability", "forecast_category"),
}


def _kinds(connector: Connector) -> list[Kind]:
    return [kind for kind in KINDS if kind in connector.capabilities.writing]


def _writing(connector: Connector, kind: Kind, act: Act) -> Writing:
    writing = connector.capabilities.writing.get(kind, Writing())
    if act not in writing.acts:
        pytest.skip(f"no {act} of a {kind}")
    return writing
