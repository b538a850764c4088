"""What a plan costs is told before it runs, and is what is counted afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import pytest

from benchmarks.writes import CRMS, Rehearsal
from crmkit.connectors.base import Connector
from crmkit.connectors.writing import Act, Budget, Lookup
from crmkit.model import Kind, Ref
from crmkit.sync.estimate import Cost, Part, costs, pull_cost, skeleton
from crmkit.sync.plan import Op
from crmkit.sync.run import SyncRun
from tests.migration.strangers import Strangers
from tests.sandbox_bench import SandboxBench, bench
from tests.sync.engine import Bench

KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
DEALS = 210
WRITTEN = 130
KEPT_SECONDS = 31  # Zoho's lists are read again after half a minute


@pytest.fixture(scope="module", params=CRMS)
def crm(request):
    """A CRM with a few hundred deals."""
    with bench(request.param, deals=DEALS, lag_seconds=0) as box:
        yield box


@pytest.fixture
def connector(crm: SandboxBench):
    """A connection that has only been checked, as every run begins."""
    with closing(crm.connect()) as found:
        found.check()
        yield found


def refs_of(crm: SandboxBench, connector: Connector, kind: Kind) -> list[Ref]:
    return [Ref(connector.context.connection, kind, native) for native in sorted(crm.ids(kind))]


def counted(connector: Connector, act) -> int:
    before = connector.context.usage.requests
    act()
    return connector.context.usage.requests - before


@pytest.mark.parametrize("kind", KINDS)
class TestOneCall:
    def test_reading_by_id_takes_the_requests_that_were_told(self, crm, connector, kind: Kind):
        refs = refs_of(crm, connector, kind)
        told = connector.reading_budget(kind, len(refs)).requests
        assert counted(connector, lambda: connector.get(refs)) == told

    def test_once_the_lists_are_known_they_are_told_no_more(self, crm, connector, kind: Kind):
        refs = refs_of(crm, connector, kind)
        connector.get(refs[:1])
        crm.box.clock.advance(KEPT_SECONDS)
        told = connector.reading_budget(kind, len(refs)).requests
        assert counted(connector, lambda: connector.get(refs)) == told

    def test_copper_without_fresh_reads_takes_the_requests_that_were_told(self, crm, kind: Kind):
        if crm.crm != "copper":
            pytest.skip("only Copper has the option")
        with closing(crm.connect(fresh_reads=False)) as connector:
            refs = refs_of(crm, connector, kind)
            told = connector.reading_budget(kind, len(refs)).requests
            assert counted(connector, lambda: connector.get(refs)) == told < len(refs)

    def test_a_whole_read_takes_about_the_requests_that_were_told(self, crm, connector, kind: Kind):
        many = len(refs_of(crm, connector, kind))
        told = connector.reading_budget(kind, many, whole=True).requests
        sent = counted(connector, lambda: list(connector.read(kind)))
        assert told <= sent + (many if (crm.crm, kind) == ("close", Kind.CONTACT) else 0)
        assert sent <= told * 1.2 + 3

    def test_finding_takes_the_requests_that_were_told(self, crm, connector, kind: Kind):
        connector.prepare([kind])
        crm.box.clock.advance(KEPT_SECONDS)
        companies = refs_of(crm, connector, Kind.COMPANY)
        lookups = [
            Lookup(kind, f"ck1:12345678:87654321:{kind}:{number}", companies[number % 7])
            for number in range(120)
        ]
        told = connector.finding_budget(kind, lookups, existing=len(crm.ids(kind))).requests
        assert counted(connector, lambda: connector.find(lookups)) == told


@pytest.fixture(scope="module", params=CRMS)
def carried_out(request, tmp_path_factory):
    """Per act the cost as it was told when the plan was made, and what was counted."""
    with bench(request.param, deals=DEALS, lag_seconds=0) as box:
        folder = tmp_path_factory.mktemp(request.param)
        with closing(Rehearsal(folder, box.connect, box.clock, WRITTEN)) as rehearsal:
            found = {}
            for act in (Act.CREATE, Act.UPDATE, Act.DELETE):
                found[act] = foretold(rehearsal, act, {(rehearsal.name, Kind.DEAL): len(box.ids(Kind.DEAL))})
                box.box.clock.advance(KEPT_SECONDS)
            yield found


def foretold(
    rehearsal: Rehearsal, act: Act, existing: Mapping[tuple[str, Kind], int], *, young: bool = False
):
    told: list[Cost] = []
    prepares = SyncRun._prepares

    def spied(run, ops):
        # A plan is priced once it is known what has to be prepared.
        found = prepares(run, ops)
        told.extend(costs(run.group, ops, young=young, existing=existing))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncRun, "_prepares", spied)
        measured = rehearsal.measure(act)
    return next(one for one in told if one.connection == rehearsal.name), measured


class TestPlan:
    """A plan's costs, part by part."""

    @pytest.mark.parametrize("act", [Act.UPDATE, Act.DELETE])
    def test_re_checks_are_told_exactly(self, carried_out, act: Act):
        cost, measured = carried_out[act]
        assert cost.parts[Part.CHECK].requests == measured.counts.total("re-check")

    def test_looks_before_creates_are_told_exactly(self, carried_out):
        cost, measured = carried_out[Act.CREATE]
        assert cost.parts.get(Part.LOOK, Budget()).requests == measured.counts.total("look first")

    def test_writes_cost_what_the_plan_says(self, carried_out):
        for cost, measured in carried_out.values():
            assert cost.parts[Part.WRITE].requests == measured.cost.requests - measured.cost.reads

    def test_records_are_counted_by_act(self, carried_out):
        cost, _ = carried_out[Act.UPDATE]
        assert (cost.creates, cost.updates, cost.deletes) == (0, WRITTEN, 0)


@pytest.mark.parametrize("name", [one for one in CRMS if one != "zoho"])
def test_looks_for_new_companies_and_people_are_told_exactly(name: str, tmp_path):
    # Zoho's lists are kept for half a minute, so that nobody knows which call reads them.
    with (
        bench(name, deals=40, lag_seconds=0) as box,
        closing(Strangers(tmp_path, box.connect, box.clock, 30)) as rehearsal,
    ):
        existing = {(rehearsal.name, kind): len(box.ids(kind)) for kind in KINDS}
        cost, measured = foretold(rehearsal, Act.CREATE, existing, young=True)
        assert cost.parts[Part.LOOK].requests == measured.counts.total("look first")


def note(number: int, **payload: str) -> Op:
    entity = f"spoke:note:{number}"
    values = {"text": "x", **payload}
    return Op(str(number), "b", Kind.NOTE, Act.CREATE, entity, None, f"m:{number}", payload=values)


def test_notes_of_several_deals_are_counted_as_such():
    changes = [skeleton(note(number, deal_id=f"spoke:deal:{number}")) for number in range(3)]
    assert len({one.values["deal_id"] for one in changes}) == 3


class TestGroup:
    @pytest.fixture
    def planned(self, tmp_path):
        box = Bench(tmp_path).add("a", "b")
        for number in range(7):
            box["a"].deal(f"d{number}")
        state = box.state()
        box.pull(state)
        run = box.run(state)
        found, _ = run.plan()
        yield run.group, found.ops
        state.close()

    def test_a_young_group_looks_for_everything_first(self, planned):
        group, ops = planned
        plain = next(one for one in costs(group, ops, young=False) if one.creates)
        young = next(one for one in costs(group, ops, young=True) if one.creates)
        assert (Part.LOOK in plain.parts, Part.LOOK in young.parts) == (False, True)

    def test_a_member_without_writes_costs_nothing(self, planned):
        group, ops = planned
        idle = next(one for one in costs(group, ops) if one.connection == "a")
        assert (idle.requests, idle.minutes, idle.units) == (0, 0.0, 0)

    def test_a_pull_to_come_is_counted(self, planned):
        group, _ = planned
        found = costs(group, [], pulls={"a": {Kind.DEAL: 9}})
        assert found[0].parts.keys() == {Part.PULL}

    def test_what_is_drawn_is_told_as_a_share_of_what_is_left(self):
        cost = Cost("x", parts={Part.WRITE: Budget(50, 60.0, 50)}, quota=200)
        assert (cost.share, cost.minutes) == (0.25, 1.0)

    def test_without_a_quota_there_is_no_share(self):
        assert Cost("x", parts={Part.WRITE: Budget(50, 60.0, 50)}).share is None

    def test_an_empty_quota_is_more_than_used_up(self):
        assert Cost("x", parts={Part.WRITE: Budget(1, 0.0, 1)}, quota=0).share == 1.0


def test_a_pull_is_priced_by_itself(crm: SandboxBench, connector: Connector):
    found = pull_cost(connector, {Kind.DEAL: 100_000, Kind.PIPELINE: 3}, {"daily": 1_000_000})
    assert found.requests > 0
    assert found.share is not None


def test_time_grows_with_the_requests_where_a_crm_limits_them():
    with bench("hubspot", deals=5) as box, closing(box.connect()) as connector:
        few = connector.reading_budget(Kind.DEAL, 1_000).seconds
        assert connector.reading_budget(Kind.DEAL, 1_000_000).seconds > few + 100
