"""The page of the pipeline report as text: what may stand in it, and in which language."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string
from datetime import date
from decimal import Decimal

import pytest

from crmkit.errors import UsageError
from crmkit.report.listed import ListedDeal
from crmkit.report.render import fragments
from crmkit.report.render.formats import Formats
from crmkit.report.render.html import pipeline_html
from crmkit.report.render.page.scale import ticks
from crmkit.report.render.texts import ENGLISH, LANGUAGES, texts_of
from crmkit.report.render.visible import visible
from crmkit.report.whole import PipelineReport
from tests.report.pages import HOSTILE, hostile_page, hostile_report, sample_page
from tests.report.report_of import page_of, report_from
from tests.report.rows import USD, row, settings
from tests.report.test_render import EXPECTED_ATTRIBUTES, EXPECTED_ELEMENTS, Page

ELEMENTS = (EXPECTED_ELEMENTS - {"rect"}) | set(
    "rect nav button h4 code noscript dialog script g path text".split()
)
ATTRIBUTES = EXPECTED_ATTRIBUTES | set(
    "type popover popovertarget hidden target d fill stroke stroke-width stroke-dasharray transform opacity"
    " text-anchor font-size font-weight data-v data-name data-deals data-behind data-title data-count".split()
)


def embedded(document: str) -> dict[str, object]:
    return json.loads(re.search(r'id="listed">(.*?)</script>', document, re.DOTALL)[1])


def test_page_holds_no_element_or_attribute_of_a_crm_text():
    page = Page(hostile_page())
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    assert (page.broken, page.stack) == ([], [])


def test_page_links_only_to_http_and_into_itself():
    targets = [attributes["href"] for _, attributes in Page(hostile_page()).elements if "href" in attributes]
    own = re.compile(r"#[\w?&=.,:;@!~*'()%+$/-]*")
    assert all(target.startswith("https://crm.example.com/") or own.fullmatch(target) for target in targets)


def test_page_holds_no_character_that_hides_or_reorders():
    document = hostile_page().replace("\n", "")
    assert visible(document) == document


def test_page_carries_every_hostile_name_as_it_reads():
    names = embedded(hostile_page())["columns"]["name"]
    assert {visible(text) for text in HOSTILE} <= set(names)


def test_deals_of_a_page_cannot_leave_their_element():
    document = hostile_page()
    assert document.count("</script>") == 2
    assert document.count("<!--") == 0
    assert not set("<>&") & set(re.search(r'id="listed">(.*?)</script>', document, re.DOTALL)[1])


def test_page_carries_no_address_but_plain_http():
    urls = embedded(hostile_page())["columns"]["url"]
    assert {url.split(":")[0] for url in urls if url} == {"https"}


def test_page_loads_nothing_and_runs_only_its_own_script():
    document = sample_page()
    assert re.search(r"<(link|img|iframe|object|embed|form|base)\b", document) is None
    assert "url(" not in document
    assert "@import" not in document
    assert "style=" not in document
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', document)[1]
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", document, re.DOTALL)[1]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'" in policy
    assert "unsafe" not in policy


def test_page_tables_have_captions_and_scopes_and_charts_have_names():
    page = Page(sample_page())
    tables = sum(tag == "table" for tag, _ in page.elements)
    assert tables == sum(tag == "caption" for tag, _ in page.elements)
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    named = [one for tag, one in page.elements if tag == "svg"]
    assert all(one.get("aria-label") or one.get("aria-hidden") == "true" for one in named)
    marks = [one for tag, one in page.elements if tag == "a" and one.get("href", "").startswith("#deals?")]
    assert all(one.get("aria-label") or one.get("data-title") for one in marks)


@pytest.mark.parametrize("make", [hostile_page, sample_page])
def test_page_ids_are_unique_and_labels_point_at_them(make):
    attributes = [found for _, found in Page(make()).elements]
    ids = [one["id"] for one in attributes if "id" in one]
    wanted = {one[name] for one in attributes for name in ("aria-labelledby", "popovertarget") if name in one}
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)


def test_every_section_and_headline_explains_itself():
    document = sample_page()
    sections = len(re.findall(r'<section class="card', document))
    headlines = len(re.findall(r'<div class="tile', document))
    assert headlines == 5
    assert document.count('class="why"') == sections + headlines


def test_page_without_deals_has_no_link_to_any():
    document = pipeline_html(report_from([row("1")], {}, USD, settings()))
    assert 'href="#deals' not in document
    assert 'id="panel"' not in document


def test_page_says_how_many_rows_and_deals_it_leaves_out():
    rows = [row(str(number), currency="CHF") for number in range(12)]
    report = report_from(rows, {}, USD, settings())
    document = pipeline_html(report, (), 7, limit=5)
    assert "7 more rows" in document
    assert ENGLISH["left_out"].format(count="7 deals") in document


def test_empty_report_is_a_page_too():
    document = pipeline_html(report_from([], {}, USD, settings()))
    assert ENGLISH["nothing_waits"] in document


def small() -> tuple[PipelineReport, tuple[ListedDeal, ...], int]:
    rows = [row(str(number), amount=str(90 - number)) for number in range(5)]
    return page_of(rows, {}, USD, settings())


def test_named_list_of_refs_is_carried_once_and_the_same_report_gives_the_same_page():
    report, deals, left_out = small()
    refs = {"moved": [deals[3].ref, "gone", deals[1].ref]}
    pages = [pipeline_html(report, deals, left_out, refs=refs) for _ in range(2)]
    assert embedded(pages[0])["refs"]["moved"] == [3, 1]
    assert pages[0] == pages[1]


def test_page_speaks_the_language_and_writes_its_numbers():
    document = sample_page("de")
    assert '<html lang="de">' in document
    assert "23.11.2026" in document
    assert "4.194.937,23" in document
    assert texts_of("de")["def_open_amount"] in document
    assert "Open pipeline" not in document


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts_with_the_same_places(language):
    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    found = texts_of(language)
    assert found.keys() == ENGLISH.keys()
    assert [key for key in ENGLISH if places(found[key]) != places(ENGLISH[key])] == []


@pytest.mark.parametrize("language", ["tlh", "", "../en", "en-XX-YY-ZZ-1"])
def test_language_that_is_not_there_is_a_usage_error(language):
    with pytest.raises(UsageError):
        Formats(language, "EUR")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["€12.3M", "-€2.3K", "€346", "23.6%", "Nov 3, 2026", "1,234.01", "1 deal"]),
        ("de", ["12,3 Mio. €", "-2.346 €", "346 €", "23,6 %", "03.11.2026", "1.234,01", "1 Deal"]),
        ("de-CH", ["12.3 Mio. EUR", "EUR-2’346", "EUR 346", "23.6%", "03.11.2026", "1’234.01", "1 Deal"]),
        ("ja", ["€1234.6万", "-€2,346", "€346", "23.6%", "2026/11/03", "1,234.01", "1件"]),
    ],
)
def test_figures_are_written_as_the_language_does(language, expected):
    one = Formats(language, "EUR")
    found = [one.compact(Decimal(amount)) for amount in ("12345678.5", "-2345.5", "345.5")]
    found += [one.percent(Decimal("0.2355")), one.day(date(2026, 11, 3)), one.money(Decimal("1234.005"))]
    assert [text.replace("\u00a0", " ") for text in (*found, one.deals(1))] == expected


@pytest.mark.parametrize("text", HOSTILE)
def test_fragment_holds_nothing_but_letters_of_an_address(text):
    assert re.fullmatch(r"#deals\?[\w=&%.~:-]*", fragments.open_deals(owner=text))


def test_fragment_tells_none_from_a_value_and_keeps_ranges():
    found = fragments.open_deals(*fragments.days("close", date(2026, 11, 1), date(2026, 12, 1)), stage=None)
    assert found == "#deals?status=open&stage=&close%3E=2026-11-01&close%3C2026-12-01"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0"], ["0"]),
        (["95"], ["0", "25", "50", "75", "100"]),
        (["-30", "55"], ["-50", "-25", "0", "25", "50", "75"]),
        (["1200000"], ["0", "500000", "1000000", "1500000"]),
    ],
)
def test_scale_has_a_few_round_marks_around_all_values(values, expected):
    found = ticks([Decimal(value) for value in values], lambda mark: f"{mark.normalize():f}")
    assert [text for _, text in found] == expected


def test_hostile_report_covers_every_text():
    report, deals = hostile_report()
    assert len(deals) == len(HOSTILE) * 7
    assert {deal.name for deal in report.top_deals} >= set(HOSTILE)


def test_every_colour_of_a_legend_is_one_that_the_page_has():
    document = sample_page()
    keys = set(re.findall(r'<rect class="(\w+)" width="10"', document))
    assert keys >= {"s0", "good", "bad"}
    assert [key for key in keys if not re.search(rf"\.{key}\{{fill:", document)] == []
