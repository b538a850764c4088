"""A twin of a CRM reads like the CRM itself, over real HTTP, for each of the five."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.base import Field
from crmkit.connectors.writing import Act, Change, Result
from crmkit.model import Deal, DealContact, Kind
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox.blueprint import Blueprint
from crmkit.sync import schema
from tests.rehearsal.real import CRMS, FIELD_KINDS, NAME, Copy, pull, raised, serving
from tests.sandbox_bench import SandboxBench, bench

DEALS = 120
MASK = Masking(b"the salt of this test")


@dataclass(frozen=True)
class Pair:
    """Production, its twin, and its masked twin, as a pull sees them."""

    crm: str
    blueprint: Blueprint
    real: Copy
    fields: dict[Kind, list[Field]]
    twin: Copy
    twin_fields: dict[Kind, list[Field]]
    masked: Copy


def _fields(copy: Copy) -> dict[Kind, list[Field]]:
    return {kind: list(copy.connector.fields(kind)) for kind in FIELD_KINDS}


@pytest.fixture(scope="module", params=CRMS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with bench(request.param, deals=DEALS) as production:
        _enrich(production)
        real = pull(production, folder / "real.db")
        fields = _fields(real)
        blueprint, masked = real.blueprint(), real.blueprint(MASK)
    with serving(raised(blueprint)) as one, serving(raised(masked)) as other:
        twin, anonymous = pull(one, folder / "twin.db"), pull(other, folder / "masked.db")
        yield Pair(request.param, blueprint, real, fields, twin, _fields(twin), anonymous)


def _enrich(production: SandboxBench) -> None:
    """What the seed does not have: awkward names, people of several CRMs' making, keys, long notes."""
    world = production.app.world
    deals = list(world.deals)
    world.edit_deal(deals[0], name="\u202bעסקה\u202c 🎯 " + "x" * 200)
    world.edit_deal(deals[1], amount=None, expected_close=None)
    world.add_note(deal_id=deals[2], author_id=next(iter(world.users)), text="Line one\nLine <two> & more")
    company = next(iter(world.companies))
    world.edit_company(company, name="O’Brien & Söhne – “Größe L” GmbH", city=None)
    person = next(iter(world.contacts))
    world.edit_contact(person, first="Zoë", last="d’Été-Nguyễn")
    production.settle()


@pytest.mark.parametrize("kind", list(Kind))
def test_every_record_of_the_twin_equals_that_of_the_real_crm(pair: Pair, kind: Kind) -> None:
    assert pair.twin.records(kind) == pair.real.records(kind)
    assert pair.real.records(kind) != {}


def test_the_twin_has_the_same_stages(pair: Pair) -> None:
    assert pair.twin.stages() == pair.real.stages()


@pytest.mark.parametrize("kind", FIELD_KINDS)
def test_the_twin_describes_the_same_fields(pair: Pair, kind: Kind) -> None:
    assert pair.twin_fields[kind] == pair.fields[kind]


def test_the_twin_is_the_same_workspace(pair: Pair) -> None:
    real, twin = pair.real.table(schema.workspaces), pair.twin.table(schema.workspaces)
    if pair.crm == "bitrix24":  # a portal is known by its host and has no other name
        for row in (*real.values(), *twin.values()):
            row |= {"workspace_id": "host", "name": "host"}
    assert twin == real


def test_nothing_is_left_out_of_a_healthy_crm(pair: Pair) -> None:
    assert pair.blueprint.left_out == ()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_masked_twin_has_the_same_records(pair: Pair, kind: Kind) -> None:
    assert pair.masked.records(kind).keys() == pair.real.records(kind).keys()


@pytest.mark.parametrize("columns", [("stage_id",), ("currency",), ("owner_id", "stage_id", "outcome")])
def test_a_masked_twin_adds_up_to_the_same(pair: Pair, columns: tuple[str, ...]) -> None:
    def sums(copy: Copy) -> Counter[tuple[Any, ...]]:
        found: Counter[tuple[Any, ...]] = Counter()
        for row in copy.records(Kind.DEAL).values():
            found[tuple(row[name] for name in columns)] += row["amount"] or Decimal(0)
        return found

    assert sums(pair.masked) == sums(pair.real)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        (Kind.DEAL, ("companies", "owner_id", "pipeline_id", "key", "probability", "expected_close")),
        (Kind.CONTACT, ("companies", "owner_id", "created_at")),
        (Kind.COMPANY, ("owner_id", "modified_at")),
        (Kind.NOTE, ("deal_id", "company_id", "author_id", "at")),
        (Kind.STAGE_CHANGE, ("deal_id", "from_stage_id", "to_stage_id", "at", "by")),
    ],
)
def test_a_masked_twin_has_the_same_links(pair: Pair, kind: Kind, columns: tuple[str, ...]) -> None:
    def links(copy: Copy) -> dict[tuple[Any, ...], list[Any]]:
        return {key: [row[name] for name in columns] for key, row in copy.records(kind).items()}

    assert links(pair.masked) == links(pair.real)


def test_a_masked_twin_says_no_name_of_the_real_crm(pair: Pair) -> None:
    for kind, column in ((Kind.OWNER, "name"), (Kind.COMPANY, "name"), (Kind.CONTACT, "name")):
        real = {row[column] for row in pair.real.records(kind).values() if row[column]}
        masked = {row[column] for row in pair.masked.records(kind).values()}
        assert real.isdisjoint(masked), kind


def test_a_deal_can_be_created_in_the_twin(pair: Pair) -> None:
    with serving(raised(pair.blueprint)) as twin:
        connector = twin.connect(name=NAME)
        connector.check()
        known = _fields(Copy(pair.twin.state, connector))[Kind.DEAL]
        # A number field is what all five can be given without knowing more of it.
        number = next(one for one in known if one.custom and one.label == "Seats")
        source = next(one for one in pair.blueprint.deals if one.people and one.company_ids and one.amount)
        owner = next(one.id for one in pair.blueprint.users if one.active)
        pipeline = pair.blueprint.pipelines[1]
        wanted = {
            "name": "Made in the twin",
            "pipeline_id": pipeline.id,
            "stage_id": pipeline.stages[0].id,
            "amount": Decimal(4200),
            "currency": source.currency,
            "owner_id": owner,
            "companies": source.company_ids,
            "contacts": tuple(DealContact(id=one.id, primary=one.primary) for one in source.people),
            "expected_close": source.expected_close,
            f"custom.{number.id}": Decimal(17),
        }
        change = Change("1", Act.CREATE, Kind.DEAL, values=wanted)
        (written,) = [one for group in connector.write([change]) for one in group]
        assert written.result is Result.DONE, written
        assert written.ref is not None
        assert written.ref.id not in {one.id for one in pair.blueprint.deals}
        twin.settle()
        (deal,) = connector.get([written.ref])
    assert isinstance(deal, Deal)
    assert (deal.pipeline_id, deal.stage_id, deal.amount) == (
        pipeline.id,
        pipeline.stages[0].id,
        Decimal(4200),
    )
    assert deal.custom[number.id] == 17
