"""Hostile texts in every field, in every format; and what a reader is promised."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from rich.console import Console

from crmkit.report.differences import differences
from crmkit.report.inputs import CommonStage, OutcomeClash, SharedStage, StageCount, StageCoverage
from crmkit.report.render.cells import Column, Days, Link, Money, Share, Table, compact, money, safe_url
from crmkit.report.render.csv_files import csv_files, csv_text, neutral
from crmkit.report.render.difference_tables import difference_tables
from crmkit.report.render.html import differences_html
from crmkit.report.render.json_file import json_text
from crmkit.report.render.markdown import markdown_text
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.table import terminal_tables
from crmkit.report.render.texts import ENGLISH
from crmkit.report.render.visible import visible
from tests.report.pages import HOSTILE, hostile_report
from tests.report.report_of import report_from, report_of
from tests.report.rows import STAGES, USD, day, row, settings
from tests.report.sample import CONNECTIONS, coverage, rates, sample
from tests.report.sample import settings as sample_settings


def hostile_case(text: str):
    """Differences in which every text is the same hostile one."""
    words = {
        field.name: text
        for field in fields(row("1"))
        if field.name
        in {"name", "pipeline_name", "stage_name", "lost_reason", "owner_id", "owner_name", "company_name"}
    }
    open_one = row("1", "one", url=f"javascript:{text}", **words)
    other = row("2", "two", url=f"https://crm.example.com/?q={text}", amount="7", **words)
    unmapped = row("3", "one", common_stage=None, pipeline_id=text, stage_id=text, **words)
    unrated = row("4", text or "x", currency=text, **words)
    lost = replace(row("5", "one", **words), outcome=row_outcome("lost"), closed_at=day("2026-09-05"))
    stages = (*STAGES, CommonStage(text, text, 9))
    config = settings(stages=stages)
    rows = [open_one, other, unmapped, unrated, lost, row("6", "one", common_stage=text)]
    links = {open_one.ref: text, other.ref: text}
    found_coverage = StageCoverage(
        connection="one",
        deals=1,
        mapped_deals=0,
        unmapped=(StageCount(pipeline=text, stage=text, deals=1),),
        many_to_one=(SharedStage(pipeline=text, common_stage=text, stages=(text, text)),),
        clashes=(
            OutcomeClash(
                pipeline=text,
                stage=text,
                outcome=row_outcome("won"),
                common_stage=text,
                common_outcome=row_outcome("open"),
            ),
        ),
    )
    names = ["one", "two", text]
    return differences(rows, links, USD, config, names, [found_coverage])


def row_outcome(word: str):
    return type(row("1").outcome)(word)


def hostile_tables(text: str | None):
    """Tables of the differences with one text, or of the pipeline with all of them."""
    return pipeline_tables(hostile_report()[0]) if text is None else difference_tables(hostile_case(text))


class Page(HTMLParser):
    """Collects elements and attributes; tells where the nesting is broken."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.broken: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "line"}:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            self.broken.append(tag)
            return
        self.stack.pop()

    def handle_data(self, data):
        self.words.append(data)


EXPECTED_ELEMENTS = frozenset(
    "html head meta title style body a header div h1 h2 h3 p span strong main section dl dt dd ul li svg rect"
    " line details summary table caption thead tbody tfoot tr th td bdi footer".split()
)
EXPECTED_ATTRIBUTES = frozenset(
    "lang charset http-equiv content name class href id aria-label aria-labelledby aria-hidden role viewbox"
    " preserveaspectratio x y x1 x2 y1 y2 rx width height scope tabindex title rel open".split()
)


@pytest.mark.parametrize("text", HOSTILE)
def test_differences_page_holds_no_element_or_attribute_of_a_crm_text(text):
    page = Page(differences_html(hostile_case(text)))
    assert {tag for tag, _ in page.elements} <= EXPECTED_ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes} <= EXPECTED_ATTRIBUTES
    assert (page.broken, page.stack) == ([], [])


@pytest.mark.parametrize("text", HOSTILE)
def test_differences_page_links_only_to_http_and_its_own_sections(text):
    document = differences_html(hostile_case(text))
    targets = [attributes["href"] for _, attributes in Page(document).elements if "href" in attributes]
    assert all(target.startswith(("https://crm.example.com/", "#")) for target in targets)


@pytest.mark.parametrize("text", HOSTILE)
def test_differences_page_holds_no_character_that_hides_or_reorders(text):
    document = differences_html(hostile_case(text)).replace("\n", "")
    assert visible(document) == document


def test_differences_page_loads_nothing_and_runs_nothing():
    document = differences_html(hostile_case("x"))
    assert re.search(r"<(script|link|img|iframe|object|embed|form|base)\b", document) is None
    assert "url(" not in document
    assert "@import" not in document
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in document
    assert "style=" not in document


def test_differences_page_ids_are_unique_and_labels_point_at_them():
    rows, links = sample()
    found = differences(rows, links, rates(), sample_settings(), list(CONNECTIONS), coverage())
    attributes = [found_attributes for _, found_attributes in Page(differences_html(found)).elements]
    ids = [one["id"] for one in attributes if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["aria-labelledby"] for one in attributes if "aria-labelledby" in one} <= set(ids)


@pytest.mark.parametrize("text", [None, *HOSTILE])
def test_csv_gives_every_cell_back_and_no_formula(text):
    for table in hostile_tables(text):
        parsed = list(csv.reader(io.StringIO(csv_text(table), newline="")))
        assert len(parsed) == len(table.rows) + 1
        for cells, row_cells in zip(parsed[1:], table.rows, strict=True):
            for cell, value in zip(cells, row_cells, strict=True):
                if isinstance(value, (str, Link)):
                    assert cell == "" or cell[0] not in "=+-@\t\r\n\0＝＋－＠"
                    given = value if isinstance(value, str) else value.text
                    assert cell in {given, f"'{given}"}


def test_csv_numbers_stay_numbers():
    columns = tuple(Column(str(n), str(n)) for n in range(6))
    cells = (Money(Decimal("-5E+3"), "USD"), -3, Share(Decimal(1) / 3), Days(None), date(2026, 1, 2), None)
    assert csv_text(Table("t", "T", columns, (cells,))).split("\r\n")[1] == (
        '"-5000","-3","0.333333","","2026-01-02",""'
    )


@pytest.mark.parametrize(("text", "expected"), [(" =1", "' =1"), ("a=1", "a=1"), ("", ""), ("−1", "'−1")])
def test_only_texts_that_start_a_formula_get_an_apostrophe(text, expected):
    assert neutral(text) == expected


def test_csv_files_are_named_after_their_tables():
    report = report_of()
    assert {"summary.csv", "by_stage.csv", "missing_rates.csv"} <= set(csv_files(pipeline_tables(report)))


@pytest.mark.parametrize("text", [None, *HOSTILE])
def test_markdown_rows_keep_their_number_of_cells(text):
    for table in hostile_tables(text):
        if not table.rows:
            continue
        lines = markdown_text("T", [table]).split("\n")
        rows = [line for line in lines if line.startswith("|")]
        assert len(rows) == len(table.rows) + 2 + (table.total is not None)
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
        assert bars == {len(table.columns) + 1}


@pytest.mark.parametrize("text", [None, *HOSTILE])
def test_markdown_holds_no_html_and_no_foreign_link(text):
    document = markdown_text("T", hostile_tables(text))
    without_links = re.sub(r"\]\(<https://crm\.example\.com/[^<>\n]*>\)", "]", document)
    assert "<" not in without_links.replace("&lt;", "")
    assert re.search(r"(?<!\\)\]\(", without_links) is None


@pytest.mark.parametrize("text", [None, *HOSTILE])
def test_terminal_gets_no_control_character_from_a_crm(text):
    out = io.StringIO()
    console = Console(file=out, width=200, color_system=None, legacy_windows=False)
    console.print(terminal_tables(hostile_tables(text)))
    printed = out.getvalue().replace("\n", "")
    assert visible(printed) == printed


def test_terminal_is_plain_text_without_colour():
    rows, links = sample(40)
    out = io.StringIO()
    console = Console(file=out, width=160, no_color=True, color_system=None)
    console.print(terminal_tables(pipeline_tables(report_from(rows, links, rates(), sample_settings()))))
    assert "Open pipeline" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_number_cut_by_a_narrow_terminal_shows_that_it_is_cut():
    column = Column("a", "A", numeric=True)
    out = io.StringIO()
    table = Table("t", "T", (column,), ((Money(Decimal(123_456_789), "USD"),),))
    Console(file=out, width=8).print(terminal_tables([table]))
    assert "123" in out.getvalue()
    assert "…" in out.getvalue()


def test_deals_without_a_rate_are_listed_in_the_differences():
    found = differences([row("1", currency="CHF")], {}, USD, settings(), ["one", "two"])
    assert ENGLISH["missing_rates"] in differences_html(found)


def test_terminal_says_how_many_rows_it_leaves_out():
    rows = [row(str(number), currency="CHF") for number in range(12)]
    out = io.StringIO()
    tables = pipeline_tables(report_from(rows, {}, USD, settings()))
    Console(file=out, width=160).print(terminal_tables(tables, limit=5))
    assert "7 more rows" in out.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_json_keeps_every_text_as_it_is(text):
    names = {deal["name"] for deal in json.loads(json_text(hostile_report()[0]))["top_deals"]}
    assert text in names
    assert json.loads(json_text(hostile_case(text)))["kind"] == "differences"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "javascript:alert(1)",
        " https://x.com",
        "https:///path",
        "data:text/html,x",
        "//x.com",
        "https://x.com/\n",
        "https://x\u202e.com",
        "https://[bad",
    ],
)
def test_address_that_is_not_plain_http_is_no_link(url):
    assert safe_url(url) is None


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1234567.005", "USD", "1,234,567.01"),
        ("-0.001", "USD", "0.00"),
        ("-1234.5", "EUR", "−1,234.50"),
        ("1234.5", "JPY", "1,235"),
        ("0.0005", "KWD", "0.001"),
    ],
)
def test_money_is_shown_half_up_to_the_minor_unit(amount, currency, expected):
    assert money(Decimal(amount), currency, ENGLISH) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "0"),
        ("949", "949"),
        ("1500", "1.50k"),
        ("999999", "1.00M"),
        ("-12345678", "−12.3M"),
        ("4E+13", "40.0T"),
    ],
)
def test_headline_money_has_three_digits(amount, expected):
    assert compact(Decimal(amount), ENGLISH) == expected


def test_another_language_replaces_the_texts_of_the_differences():
    found = hostile_case("x")
    texts = {key: f"«{text}»" if key.startswith(("col_", "def_")) else text for key, text in ENGLISH.items()}
    document = differences_html(found, texts)
    assert not [text for key, text in ENGLISH.items() if key.startswith("def_") and f">{text}<" in document]
    assert "«Difference»" in document
