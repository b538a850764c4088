"""The linter: each fault is found, named and weighed, and a sound map is quiet."""

from __future__ import annotations

from decimal import Decimal

from crmkit.mapping.lint import Coverage, Finding, Severity, StageDeals, check, coverage
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

STAGES = (
    Stage(id="new", name="New", order=1, probability=Decimal("0.1")),
    Stage(id="qual", name="Qualified", order=2, probability=Decimal("0.2")),
    Stage(id="demo", name="Demo", order=3, probability=Decimal("0.4")),
    Stage(id="offer", name="Offer", order=4, probability=Decimal("0.6")),
    Stage(id="deal", name="Negotiation", order=5, probability=Decimal("0.8")),
    Stage(id="won", name="Won", order=6, outcome=Outcome.WON),
    Stage(id="lost", name="Lost", order=7, outcome=Outcome.LOST),
    Stage(id="care", name="Onboarding", order=8, outcome=Outcome.WON),
)
SOUND = {
    "new": "prospecting",
    "qual": "qualification",
    "demo": "meeting",
    "offer": "proposal",
    "deal": "negotiation",
    "won": "won",
    "lost": "lost",
    "care": "post_purchase",
}


def sales(*stages: Stage) -> Pipeline:
    return Pipeline(ref=Ref("crm", Kind.PIPELINE, "p"), name="Sales", stages=stages or STAGES)


def changed(stage_id: str, **changes: object) -> Pipeline:
    """The sound pipeline with one stage changed."""
    return sales(*(s.model_copy(update=changes) if s.id == stage_id else s for s in STAGES))


def mapped(pipeline: Pipeline, entries: dict[str, str], **defaults: str) -> StageMap:
    stage_map, problems = resolve(
        {"p": entries}, [pipeline], DEFAULT_OUTLINE, defaults={"p": defaults}, outcome_apart=False
    )
    assert problems == ()
    return stage_map


def findings(pipeline: Pipeline, entries: dict[str, str], deals: StageDeals | None = None) -> list[Finding]:
    return check(mapped(pipeline, entries), [pipeline], deals or {})


def codes(found: list[Finding]) -> list[tuple[Severity, str, str | None]]:
    return [(finding.severity, finding.code, finding.stage_id) for finding in found]


def test_a_sound_map_has_no_findings() -> None:
    assert findings(sales(), SOUND) == []


def test_an_unmapped_stage_with_deals_is_an_error_with_their_number_and_value() -> None:
    entries = {stage: common for stage, common in SOUND.items() if stage != "demo"}
    deals = {("p", "demo"): (1200, {"USD": Decimal("4500.50"), "EUR": Decimal(80)})}

    found = [finding for finding in findings(sales(), entries, deals) if finding.code == "unmapped-stage"]

    assert codes(found) == [(Severity.ERROR, "unmapped-stage", "demo")]
    assert "1,200 deals (80 EUR, 4,500.50 USD)" in found[0].message
    assert "[connections.crm.stages]" in found[0].hint


def test_an_unmapped_stage_without_deals_is_a_warning() -> None:
    entries = {stage: common for stage, common in SOUND.items() if stage != "demo"}

    assert (Severity.WARNING, "unmapped-stage", "demo") in codes(findings(sales(), entries))


def test_an_empty_archived_stage_need_not_be_mapped() -> None:
    entries = {stage: common for stage, common in SOUND.items() if stage != "demo"}

    found = findings(changed("demo", archived=True), entries)

    assert "unmapped-stage" not in {finding.code for finding in found}


def test_an_archived_stage_that_holds_deals_must_be_mapped() -> None:
    entries = {stage: common for stage, common in SOUND.items() if stage != "demo"}

    found = findings(changed("demo", archived=True), entries, {("p", "demo"): (1, {})})

    assert (Severity.ERROR, "unmapped-stage", "demo") in codes(found)


def test_a_won_stage_mapped_to_an_open_one_is_an_error() -> None:
    found = findings(sales(), SOUND | {"won": "negotiation"})

    assert (Severity.ERROR, "outcome-clash", "won") in codes(found)


def test_an_open_stage_mapped_to_won_is_an_error() -> None:
    assert (Severity.ERROR, "outcome-clash", "deal") in codes(findings(sales(), SOUND | {"deal": "won"}))


def test_an_open_stage_after_the_sale_is_only_a_note() -> None:
    found = findings(changed("care", outcome=Outcome.OPEN), SOUND)

    assert (Severity.NOTE, "open-after-sale", "care") in codes(found)


def test_an_open_stage_named_lost_is_a_warning() -> None:
    found = findings(changed("deal", name="Lost"), SOUND)

    assert codes(found) == [(Severity.WARNING, "name-clash", "deal")]


def test_two_stages_of_one_meaning_want_a_default_and_the_one_in_use_is_named() -> None:
    found = [f for f in findings(sales(), SOUND | {"demo": "proposal"}) if f.code == "no-default"]

    assert codes(found) == [(Severity.WARNING, "no-default", None)]
    assert '"Demo" is used' in found[0].message


def test_a_declared_default_settles_two_stages_of_one_meaning() -> None:
    stage_map = mapped(sales(), SOUND | {"demo": "proposal"}, proposal="offer")

    assert "no-default" not in {finding.code for finding in check(stage_map, [sales()], {})}


def test_a_common_stage_that_others_need_is_missed_as_a_warning() -> None:
    stage_map = mapped(sales(), SOUND | {"demo": "qualification"})

    found = check(stage_map, [sales()], {}, needed={"meeting", "proposal"})

    missing = [finding for finding in found if finding.code == "inexpressible"]
    assert codes(missing) == [(Severity.WARNING, "inexpressible", None)]
    assert "means meeting" in missing[0].message


def test_a_missing_common_stage_nobody_asked_for_is_a_note() -> None:
    found = findings(sales(), SOUND | {"demo": "qualification"})

    assert (Severity.NOTE, "inexpressible", None) in codes(found)


def test_a_pipeline_nobody_maps_is_not_blamed_for_what_it_cannot_express() -> None:
    assert "inexpressible" not in {finding.code for finding in findings(sales(), {})}


def test_a_falling_probability_is_a_warning() -> None:
    found = findings(changed("offer", probability=Decimal("0.3")), SOUND)

    assert codes(found) == [(Severity.WARNING, "probability-falls", "offer")]
    assert "40%" in found[0].message


def test_common_stages_that_run_backward_are_a_note() -> None:
    found = findings(sales(), SOUND | {"demo": "proposal", "offer": "meeting"})

    assert codes(found) == [(Severity.NOTE, "order-falls", "offer")]


def test_an_entry_for_a_stage_that_is_gone_is_an_error() -> None:
    stage_map = mapped(sales(), SOUND)
    now = sales(*(stage for stage in STAGES if stage.id != "demo"))

    assert (Severity.ERROR, "no-such-stage", "demo") in codes(check(stage_map, [now], {}))


def test_deals_in_a_stage_the_crm_does_not_list_are_an_error() -> None:
    found = findings(sales(), SOUND, {("p", "ghost"): (3, {"EUR": Decimal(10)})})

    assert codes(found) == [(Severity.ERROR, "unlisted-stage", "ghost")]
    assert "3 deals (10 EUR)" in found[0].message


def test_an_archived_stage_still_mapped_is_a_note() -> None:
    found = findings(changed("demo", archived=True), SOUND)

    assert (Severity.NOTE, "archived-stage", "demo") in codes(found)


def test_an_archived_default_is_a_warning() -> None:
    pipeline = changed("demo", archived=True)
    stage_map = mapped(pipeline, SOUND | {"demo": "proposal"}, proposal="demo")

    assert (Severity.WARNING, "archived-stage", "demo") in codes(check(stage_map, [pipeline], {}))


def test_problems_of_the_configuration_are_errors() -> None:
    stage_map, problems = resolve({"p": SOUND | {"Nope": "won"}}, [sales()], DEFAULT_OUTLINE)

    found = check(stage_map, [sales()], {}, problems=problems)

    assert [(finding.severity, finding.code, finding.stage) for finding in found] == [
        (Severity.ERROR, "no-such-stage", "Nope")
    ]


def test_errors_come_first() -> None:
    entries = {stage: common for stage, common in SOUND.items() if stage != "new"} | {"deal": "won"}
    found = [finding.severity for finding in findings(changed("offer", probability=Decimal(0)), entries)]

    assert found == sorted(found, key=list(Severity).index)
    assert set(found) == set(Severity)


def test_coverage_is_the_share_of_deals_in_mapped_stages() -> None:
    deals = {("p", "new"): (3, {}), ("p", "demo"): (1, {}), ("p", "ghost"): (4, {})}

    assert coverage(mapped(sales(), SOUND), deals) == Coverage(mapped=4, total=8)
    assert coverage(mapped(sales(), SOUND), deals).ratio == Decimal("0.5")


def test_coverage_of_no_deals_is_unknown() -> None:
    assert coverage(mapped(sales(), SOUND), {}).ratio is None
