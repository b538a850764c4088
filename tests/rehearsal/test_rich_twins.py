"""What the seed does not have: a blueprint by hand becomes a twin, and drawing that gives it again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.errors import SandboxError
from crmkit.sandbox import blueprint as plan
from crmkit.sandbox.fitting import Unfit, structure_ids
from crmkit.sandbox.rows import Kind
from tests.rehearsal.real import CRMS, pull, raised, serving

DAY = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
TYPES = ("text", "number", "day", "choice", "choices")
IDS: dict[str, dict[str, str]] = {
    "hubspot": {"text": "po_text", "number": "seats", "day": "ends", "choice": "tier", "choices": "parts"},
    "zoho": {"text": "PO_Text", "number": "Seats", "day": "Ends", "choice": "Tier", "choices": "Parts"},
    "copper": dict(zip(TYPES, ("901", "902", "903", "904", "905"), strict=True)),
    "bitrix24": {
        "text": "ufCrmPoText",
        "number": "ufCrm_17001",
        "day": "ufCrmEnds",
        "choice": "ufCrmTier",
        "choices": "ufCrmParts",
    },
    "close": {name: f"cf_{name}{'x' * 30}" for name in TYPES},
}
MORE: dict[str, dict[str, tuple[str, plan.Value]]] = {
    "hubspot": {
        "is_big": ("boolean", True),
        "signed": ("time", DAY),
        "fee": ("money", Decimal("9.5")),
        "second_owner": ("owner", "73001"),
    },
    "zoho": {
        "Is_Big": ("boolean", True),
        "Signed": ("time", DAY),
        "Fee": ("money", Decimal("9.5")),
        "Count": ("number", 7),
        "Second_Owner": ("owner", "73001"),
    },
    "bitrix24": {
        "ufCrmIsBig": ("boolean", True),
        "ufCrmSigned": ("time", DAY),
        "ufCrmFee": ("money", "9.50|USD"),
        "ufCrmCount": ("number", 7),
        "ufCrmSecond": ("owner", "73001"),
        "ufCrmMany": ("other", ("a", "b")),
    },
    "copper": {"906": ("boolean", True), "907": ("money", Decimal("9.5"))},
    "close": {"cf_signed": ("time", DAY), "cf_user": ("owner", "user_x")},
}
KEY_FIELDS = {
    "hubspot": ("crmkit_uid", "crmkit"),
    "zoho": ("Crmkit_Key", "Crmkit Key"),
    "close": ("cf_key" + "x" * 30, "crmkit_id"),
}


def _record(crm: str, kind: str, number: int) -> str:
    prefix = {"company": "lead_", "contact": "cont_", "deal": "oppo_", "user": "user_", "note": "acti_"}
    return prefix[kind] + f"{number:043}" if crm == "close" else str(73_000 + number)


def _options(crm: str) -> dict[str, str]:
    if crm in ("close", "zoho"):  # known by their text
        return {"Größe L": "Größe L", "Core": "Core"}
    return {"7001": "Größe L", "7003": "Core"}


def _custom(crm: str) -> dict[str, plan.Value]:
    first, second = _options(crm).items()
    chosen = [label if crm == "copper" else native for native, label in (first, second)]
    values = ("Ж ünï 🎯", Decimal("12.5"), date(2026, 12, 24), chosen[0], tuple(chosen))
    more = {name: value for name, (_, value) in MORE[crm].items()}
    return {**{IDS[crm][name]: value for name, value in zip(TYPES, values, strict=True)}, **more}


def _fields(crm: str) -> tuple[plan.Field, ...]:
    made = [
        plan.Field(
            id=IDS[crm][name],
            label=f"My {name}",
            type=name,
            options=_options(crm) if "choice" in name else {},
        )
        for name in TYPES
    ]
    made += [plan.Field(id=name, label=name, type=type_) for name, (type_, _) in MORE[crm].items()]
    if crm in KEY_FIELDS:
        native, label = KEY_FIELDS[crm]
        made.append(plan.Field(id=native, label=label, type="text", unique=crm != "close"))
    return tuple(made)


def _stages(crm: str) -> tuple[plan.Stage, ...]:
    ids = {"bitrix24": ("C5:NEW", "C5:WON"), "close": ("stat_one", "stat_two")}.get(crm, ("501", "502"))
    chance = None if crm in ("bitrix24", "close") else Decimal("0.3")
    sure = None if chance is None else Decimal(1)
    outcome: Any = "open" if crm == "copper" else "won"
    orders = {"zoho": (1, 2), "bitrix24": (10, 20)}.get(crm, (0, 1))
    return (
        plan.Stage(id=ids[0], name="Neu 🎯", order=orders[0], outcome="open", probability=chance),
        plan.Stage(id=ids[1], name="Done", order=orders[1], outcome=outcome, probability=sure),
    )


def _keyed(records: tuple[Any, ...]) -> tuple[Any, ...]:
    native = KEY_FIELDS["close"][0]
    return tuple(replace(one, custom={**one.custom, native: one.key}) for one in records)


def rich(crm: str) -> plan.Blueprint:
    """A small CRM that uses what its vendor has."""
    stages = _stages(crm)
    users = tuple(
        plan.User(id=_record(crm, "user", n), name=f"Zoë Nr{n}", email=f"zoe{n}@example.com", active=True)
        for n in (1, 2)
    )
    stamps: dict[str, Any] = {"created": DAY, "modified": DAY + timedelta(days=1)}
    owned = crm != "close"
    key = "other-crm:deal:4711"
    companies = tuple(
        plan.Company(
            id=_record(crm, "company", n),
            name=f"Acme {n} GmbH",
            domain=f"acme{n}.example.com",
            phones={"close": (), "hubspot": ("+49 30 1",), "zoho": ("+49 30 1",)}.get(
                crm, ("+49 30 1", "+49 30 2")
            ),
            owner_id=users[0].id if owned else None,
            custom=_custom(crm),
            **stamps,
            **({} if crm == "bitrix24" else {"city": None, "country": "DE", "postcode": "10115"}),
            key=f"other-crm:company:{n}",
        )
        for n in (1, 2)
    )
    names = {"close": ("Dr. Ada Lovelace", None, None), "copper": ("Dr. Ada Lovelace PhD", "Ada", "Lovelace")}
    name, first, last = names.get(crm, ("Ada Lovelace", "Ada", "Lovelace"))
    several = crm in ("hubspot", "bitrix24")
    contact = plan.Contact(
        id=_record(crm, "contact", 3),
        name="Frau Ada Lovelace" if crm == "zoho" else name,
        first=first,
        last=last,
        emails=("ada@acme1.example.com", "ada@example.org"),
        phones=("+493011", "+493012"),
        company_ids=tuple(one.id for one in companies) if several else (companies[0].id,),
        owner_id=users[1].id if owned else None,
        custom=_custom(crm),
        **stamps,
        **({} if crm in ("bitrix24", "close") else {"city": "Köln", "country": "DE", "postcode": "50667"}),
        key="other-crm:contact:3",
    )
    base = plan.Deal(
        id=_record(crm, "deal", 10),
        name="Würfel" if crm != "close" else companies[0].name,
        pipeline_id="0",
        amount=Decimal("1234.56"),
        currency="EUR",
        probability=None if stages[0].probability is None else Decimal("0.3"),
        owner_id=users[0].id,
        company_ids=tuple(one.id for one in companies) if crm == "hubspot" else (companies[0].id,),
        people=(
            plan.Person(id=contact.id, primary=crm != "hubspot", role="Buyer" if crm == "hubspot" else None),
        ),
        expected_close=date(2026, 6, 30),
        key=key,
        custom=_custom(crm),
        **stamps,
    )
    pipeline = {"bitrix24": "5", "close": "pipe_one"}.get(crm, "401")
    open_deal = replace(base, pipeline_id=pipeline, stage_id=stages[0].id)
    if crm in ("copper", "bitrix24", "close"):
        open_deal = replace(open_deal, probability=Decimal("0.45"))
    if crm == "copper":
        open_deal = replace(open_deal, tags=("vip", "größe"), source="Messe", last_activity=DAY)
    if crm == "zoho":
        open_deal = replace(open_deal, tags=("vip",), source="Messe", forecast_category="Best Case")
    if crm == "bitrix24":
        open_deal = replace(open_deal, source="WEB", last_activity=DAY)
    if crm == "hubspot":
        open_deal = replace(open_deal, forecast_category="COMMIT", source="OFFLINE", next_activity=DAY)
    if crm != "close":
        open_deal = replace(open_deal, stage_entered=DAY)
    text = "<p>Hallo <b>Welt</b></p>" if crm == "hubspot" else "Hallo\nWelt"
    note = plan.Note(
        id=_record(crm, "note", 20),
        deal_id=None if crm == "close" else open_deal.id,
        company_id=companies[0].id if crm in ("hubspot", "close") else None,
        text=text,
        author_id=users[1].id,
        at=DAY,
        modified=None if crm == "bitrix24" else DAY + timedelta(hours=1),
    )
    notes: tuple[plan.Note, ...] = (note,)
    if crm == "close":
        notes = (
            note,
            plan.Note(
                id=open_deal.id,
                deal_id=open_deal.id,
                company_id=companies[0].id,
                text="Own",
                modified=open_deal.modified,
            ),
        )
    lists: Any = {
        "copper": {"deal": {"customer_source_id": {"77": "Messe", "78": "Web"}, "loss_reason_id": {}}}
    }
    if crm == "close":  # where a key is a custom value like any other
        companies, (contact,), (open_deal,) = map(_keyed, (companies, (contact,), (open_deal,)))
    return plan.Blueprint(
        crm=crm,
        workspace_id="orga_1" if crm == "close" else "4711",
        workspace_name="Production",
        time_zone="Europe/Berlin",
        base_currency="EUR",
        currencies={"EUR": Decimal(1)}
        if crm in ("close", "copper")
        else {"EUR": Decimal(1), "USD": Decimal(1)},
        pipelines=(plan.Pipeline(id=pipeline, name="Vertrieb", order=0, stages=stages),),
        users=users,
        fields={kind: _fields(crm) for kind in ("deal", "company", "contact")},
        lists=lists.get(crm, {}),
        companies=companies,
        contacts=(contact,),
        deals=(open_deal,),
        notes=notes,
    )


def _sorted(fields: Any) -> Any:
    """Fields without their order; how long a text can be is the vendor's word."""
    return {
        kind: sorted((replace(one, max_length=None) for one in some), key=lambda one: one.id)
        for kind, some in fields.items()
    }


@pytest.mark.parametrize("crm", CRMS)
def test_a_twin_holds_all_that_its_vendor_knows(crm: str, tmp_path: Path) -> None:
    before = rich(crm)
    options = {"time_zone": "Europe/Berlin"} if crm == "copper" else {}
    with serving(raised(before)) as twin:
        after = pull(twin, tmp_path / "twin.db", **options).blueprint()
    assert after.deals == before.deals
    assert after.companies == before.companies
    assert after.contacts == before.contacts
    assert after.users == before.users
    assert after.pipelines == before.pipelines
    assert {one.id: one for one in after.notes} == {one.id: one for one in before.notes}
    assert _sorted(after.fields) == _sorted(before.fields)
    assert after.left_out == ()


@pytest.mark.parametrize("crm", CRMS)
def test_new_ids_never_clash_with_those_of_the_blueprint(crm: str) -> None:
    blueprint = rich(crm)
    world = raised(blueprint).world
    used: dict[Kind, set[str]] = {
        "user": {one.id for one in blueprint.users},
        "company": {one.id for one in blueprint.companies},
        "contact": {one.id for one in blueprint.contacts},
        "deal": {one.id for one in blueprint.deals},
        "note": {one.id for one in blueprint.notes},
    }
    made = {kind: {world.new_id(kind) for _ in range(50)} for kind in used}
    if crm == "zoho":  # where records of all kinds are numbered together
        assert set().union(*used.values(), structure_ids(blueprint)).isdisjoint(set().union(*made.values()))
    assert [kind for kind, ids in used.items() if not ids.isdisjoint(made[kind])] == []


@pytest.mark.parametrize("crm", CRMS)
def test_a_twin_of_a_twin_does_not_give_the_same_ids_again(crm: str) -> None:
    blueprint = rich(crm)
    world = raised(blueprint).world
    first = [world.new_id("deal") for _ in range(20)]
    again = replace(
        blueprint, deals=(*blueprint.deals, *(replace(blueprint.deals[0], id=one) for one in first))
    )
    world = raised(again).world
    assert set(first).isdisjoint(world.new_id("deal") for _ in range(20))


def _spoilt(blueprint: plan.Blueprint, **changes: Any) -> plan.Blueprint:
    return replace(blueprint, deals=(replace(blueprint.deals[0], **changes),))


@pytest.mark.parametrize(
    ("crm", "changes", "said"),
    [
        ("hubspot", {"id": "abc"}, "deal abc: id is not a number"),
        ("copper", {"stage_id": "999"}, "deal 73010: stage 999 is not one of its pipeline"),
        ("hubspot", {"outcome": "lost"}, "deal 73010: outcome is lost, but its stage says open"),
        (
            "zoho",
            {"company_ids": ("73001", "73002")},
            "deal 73010: companies are 2, more than the 1 it can have",
        ),
        ("bitrix24", {"company_ids": ("1",)}, "deal 73010: companies name 1, which is not in the blueprint"),
        ("bitrix24", {"key": "nothing"}, "deal 73010: key is not SOURCE:ID"),
        ("zoho", {"custom": {"Gone": "x"}}, "deal 73010: custom field Gone does not exist"),
    ],
)
def test_what_the_crm_could_not_hold_is_an_error_that_names_it(
    crm: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unfit) as raising:
        raised(_spoilt(rich(crm), **changes))
    assert str(raising.value) == said


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "USD"}, "currency"),
        ({"company_ids": ()}, "companies"),
        ({"amount": Decimal("0.001")}, "amount"),
    ],
)
def test_close_says_which_deal_it_could_not_hold(changes: dict[str, Any], field: str) -> None:
    blueprint = rich("close")
    with pytest.raises(Unfit, match=f"deal {blueprint.deals[0].id}: {field}"):
        raised(_spoilt(blueprint, **changes))


def test_bitrix24_says_which_stage_is_not_of_its_category() -> None:
    blueprint = rich("bitrix24")
    stage = replace(blueprint.pipelines[0].stages[0], id="NEW")
    pipeline = replace(blueprint.pipelines[0], stages=(stage,))
    with pytest.raises(Unfit, match="stage NEW: id does not begin with C5:"):
        raised(replace(blueprint, pipelines=(pipeline,)))


def test_a_crm_without_an_active_user_is_an_error() -> None:
    blueprint = rich("hubspot")
    with pytest.raises(SandboxError, match="no active user"):
        raised(replace(blueprint, users=tuple(replace(one, active=False) for one in blueprint.users)))


def test_an_unknown_crm_is_an_error() -> None:
    with pytest.raises(SandboxError, match="no CRM called 'other'"):
        raised(replace(rich("hubspot"), crm="other"))


@pytest.mark.parametrize("crm", ["copper", "close"])
def test_histories_may_name_stages_that_were_deleted(crm: str, tmp_path: Path) -> None:
    blueprint = rich(crm)
    (deal,) = blueprint.deals
    gone = "stat_gone" if crm == "close" else "499"
    visits = (
        plan.Visit(
            deal_id=deal.id, from_stage_id=gone, to_stage_id=deal.stage_id or "", at=DAY, by=deal.owner_id
        ),
    )
    options = {"time_zone": "Europe/Berlin"} if crm == "copper" else {}
    with serving(raised(replace(blueprint, visits=visits))) as twin:
        assert pull(twin, tmp_path / "twin.db", **options).blueprint().visits == visits
