"""Workbooks, Parquet files, terminals: values are right, texts stay texts, equal input gives equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from crmkit.report.render.bars import bar, both_ways
from crmkit.report.render.cells import Column, Days, Link, Money, Share, Table
from crmkit.report.render.json_file import json_text
from crmkit.report.render.parameters import parameters_table
from crmkit.report.render.parquet_files import parquet_files
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.table import terminal_table, terminal_tables
from crmkit.report.render.terminal_report import SHOWN, terminal_report
from crmkit.report.render.texts import LANGUAGES, de, en, ja, tables_de, tables_en, tables_ja, texts_of
from crmkit.report.render.workbook import sheet_name, workbook_bytes
from crmkit.report.whole import PipelineReport
from tests.report.pages import HOSTILE, hostile_report, sample_report

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
COLUMNS = (
    Column("deal", "Deal"),
    Column("deals", "Deals", numeric=True),
    Column("amount", "Amount", numeric=True),
    Column("share", "Share", numeric=True),
    Column("close", "Close"),
)
MIXED = Table(
    "mixed",
    "Mixed",
    COLUMNS,
    (
        (Link("One", "https://crm.example.com/1"), 3, Money(Decimal("1234.565"), "EUR"),
         Share(Decimal("0.25")), date(2026, 12, 31)),
        (Link("Two", "javascript:alert(1)"), 0, Money(None, "EUR"), Share(None), None),
    ),
    ("Total", 3, Money(Decimal("1234.565"), "EUR"), None, None),
)  # fmt: skip


class Sheet:
    """A sheet as a program reads it: cell -> (kind, text), and what the file holds beside it."""

    def __init__(self, content: bytes, number: int = 1) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            self.parts = {name: book.read(name).decode() for name in book.namelist()}
        root = ElementTree.fromstring(self.parts[f"xl/worksheets/sheet{number}.xml"])
        self.formulas = [node.text for node in root.iter(f"{SHEET}f")]
        self.cells = {
            cell.get("r"): (cell.get("t", "n"), "".join(cell.itertext())) for cell in root.iter(f"{SHEET}c")
        }
        self.frozen = root.find(f".//{SHEET}pane") is not None
        self.filtered = root.find(f"{SHEET}autoFilter") is not None

    @property
    def texts(self) -> list[str]:
        return [text for kind, text in self.cells.values() if kind == "inlineStr"]


def table_of(*cells: object) -> Table:
    return Table("t", "T", (Column("a", "A"),), tuple((cell,) for cell in cells))


def test_a_workbook_holds_numbers_as_numbers_and_days_as_days():
    sheet = Sheet(workbook_bytes("T", [MIXED], at=AT))
    assert sheet.cells["C1"] == ("inlineStr", "Amount, EUR")
    assert sheet.cells["A2"] == ("inlineStr", "One")
    assert sheet.cells["B2"] == ("n", "3")
    assert sheet.cells["C2"] == ("n", "1234.57")
    assert sheet.cells["D2"] == ("n", "0.250000")
    assert sheet.cells["E2"] == ("n", str((date(2026, 12, 31) - date(1899, 12, 30)).days))
    assert "C3" not in sheet.cells
    assert sheet.cells["C4"] == ("n", "1234.57")
    assert (sheet.frozen, sheet.filtered) == (True, True)


def test_only_safe_addresses_become_links():
    sheet = Sheet(workbook_bytes("T", [MIXED], at=AT))
    links = sheet.parts["xl/worksheets/_rels/sheet1.xml.rels"]
    assert "https://crm.example.com/1" in links
    assert "javascript" not in links


def test_no_text_of_a_crm_is_a_formula_in_a_workbook():
    hostile = Sheet(workbook_bytes("T", [table_of(*HOSTILE)], at=AT))
    assert hostile.formulas == []
    assert {kind for kind, _ in hostile.cells.values()} == {"inlineStr"}
    assert '=HYPERLINK("http://evil.example";"x")' in hostile.texts
    assert "quotePrefix" in hostile.parts["xl/styles.xml"]


def test_texts_that_xml_refuses_do_not_break_a_workbook():
    sheet = Sheet(workbook_bytes("\ud800", [table_of("\ud800", "\ufffe", "_x000D_", "y" * 40_000)], at=AT))
    # `_xFFFE_` and `_x005F_` are how the format writes what XML cannot hold.
    assert sheet.texts == ["A", "\ufffd", "_xFFFE_", "_x005F_x000D_", "y" * 32_766 + "…"]


def test_the_whole_hostile_report_is_a_workbook_without_formulas():
    report = hostile_report()[0]
    tables = pipeline_tables(report)
    content = workbook_bytes("T", tables, parameters=parameters_table(report), at=report.as_of)
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        sheets = [name for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
        assert len(sheets) == 1 + sum(bool(table.rows) for table in tables[1:])
        for name in sheets:
            assert ElementTree.fromstring(book.read(name)).find(f".//{SHEET}f") is None


def test_the_first_sheet_says_how_it_was_counted():
    report = sample_report()[0]
    tables = pipeline_tables(report)
    texts = Sheet(workbook_bytes("T", tables, parameters=parameters_table(report), at=report.as_of)).texts
    assert {"Open pipeline", "Time zone", report.time_zone, "Scope", "everything"} <= set(texts)


def test_equal_tables_give_equal_workbooks_that_name_nobody():
    first, second = (
        workbook_bytes("T", [MIXED], at=AT.astimezone(zone)) for zone in (UTC, timezone(timedelta(hours=9)))
    )
    assert first == second
    core = Sheet(first).parts["docProps/core.xml"]
    assert "<dc:creator></dc:creator>" in core
    assert "2026-11-23T09:00:00Z" in core


@pytest.mark.parametrize(
    ("title", "taken", "name"),
    [
        ("a/b\\c?*[x]:'", (), "a b c   x"),
        ("'", (), "Sheet"),
        ("History", (), "History."),
        ("By stage", ("by STAGE",), "By stage 2"),
        ("x" * 40, (), "x" * 30 + "…"),
        ("x" * 40, ("x" * 30 + "…",), "x" * 28 + "… 2"),
        ("😀" * 20, (), "😀" * 15 + "…"),
    ],
)
def test_names_of_sheets_are_such_as_excel_takes(title, taken, name):
    assert sheet_name(title, taken) == name
    assert len(name.encode("utf-16-le")) // 2 <= 31


def read(content: bytes) -> pa.Table:
    # The reader's threads and those of the engine that counts do not end together.
    return pq.ParquetFile(io.BytesIO(content)).read(use_threads=False)


def test_a_parquet_file_has_exact_types():
    (name, content), _ = parquet_files([MIXED])
    table = read(content)
    assert name == "mixed.parquet"
    assert table.schema.types == [
        pa.string(), pa.string(), pa.int64(), pa.decimal128(38, 16), pa.decimal128(38, 16), pa.date32(),
    ]  # fmt: skip
    assert table.to_pylist() == [
        {"deal": "One", "deal_url": "https://crm.example.com/1", "deals": 3, "amount": Decimal("1234.565"),
         "share": Decimal("0.25"), "close": date(2026, 12, 31)},
        {"deal": "Two", "deal_url": None, "deals": 0, "amount": None, "share": None, "close": None},
    ]  # fmt: skip


def test_a_parquet_file_has_the_same_types_without_rows():
    (_, filled), _ = parquet_files([MIXED])
    (_, empty), _ = parquet_files([replace(MIXED, rows=())])
    assert read(empty).schema.types == read(filled).schema.types


def test_a_column_of_several_units_says_which():
    rows = ((Money(Decimal(5), "EUR"),), (Share(Decimal("0.5")),), (Days(Decimal(3)),), (4,), (None,))
    (_, content), _ = parquet_files([Table("t", "T", (Column("value", "V", numeric=True),), rows)])
    assert read(content)["value_unit"].to_pylist() == ["EUR", "share", "days", "count", None]


def test_deals_become_a_typed_parquet_file_and_hostile_texts_stay_as_they_are():
    report, deals = hostile_report()
    files = dict(parquet_files(pipeline_tables(report), deals, {"as_of": report.as_of.isoformat()}))
    table = read(files["deals.parquet"])
    assert table.num_rows == len(deals)
    assert set(HOSTILE) <= set(table["name"].to_pylist())
    assert table.schema.field("amount").type == pa.decimal128(38, 16)
    assert table.schema.metadata[b"crmkit.as_of"] == report.as_of.isoformat().encode()
    again = dict(parquet_files(pipeline_tables(report), iter(deals), {"as_of": report.as_of.isoformat()}))
    assert files == again


def printed(thing: object, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(thing)
    out.flush()
    return raw.getvalue().decode(encoding)


STAGES = Table(
    "by_stage",
    "By stage",
    (
        Column("stage", "Stage"),
        Column("amount", "Amount", numeric=True),
        Column("no_rate", "No rate", numeric=True),
    ),
    (
        ("Proposal", Money(Decimal(1_000_000), "USD"), 0),
        ("Negotiation", Money(Decimal(500_000), "USD"), 0),
        ("Meeting", Money(Decimal(1), "USD"), 0),
        ("Other", Money(Decimal(0), "USD"), 0),
    ),
)


def test_bars_are_as_long_as_their_values():
    lines = printed(terminal_table(STAGES), 60).splitlines()[3:7]
    assert [line.count("█") for line in lines] == [24, 12, 0, 0]
    assert "▏" in lines[2]


def test_a_terminal_without_unicode_gets_ascii():
    text = printed(terminal_table(STAGES), 60, "ascii")
    assert [line.count("#") for line in text.splitlines()[3:7]] == [24, 12, 0, 0]


def test_no_number_is_cut_and_no_line_is_too_long():
    tables = pipeline_tables(sample_report()[0])
    for width in (72, 100, 160):
        text = printed(
            terminal_tables([table for table in tables if table.id in {"by_stage", "ageing", "results"}]),
            width,
        )
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_columns_of_what_is_missing_show_only_where_something_is():
    assert "No rate" not in printed(terminal_table(STAGES))
    missing = replace(STAGES, rows=(*STAGES.rows, ("Lost", Money(None, "USD"), 2)))
    assert "No rate" in printed(terminal_table(missing))
    narrow = printed(terminal_table(missing), 34)
    assert "No rate" not in narrow
    assert "1 columns more" in " ".join(narrow.split())


def test_changes_are_drawn_to_both_sides():
    width = 11
    assert both_ways(Decimal(10), Decimal(10), width) == "     │█████"
    assert both_ways(Decimal(-10), Decimal(10), width) == "█████│"
    assert both_ways(Decimal(-5), Decimal(10), width) == "  ▐██│"
    assert both_ways(Decimal(-10), Decimal(10), width, plain=True) == "#####|"
    assert both_ways(Decimal(0), Decimal(0), width) == "     │"
    assert bar(Decimal(3), Decimal(0), 5) == ""


def test_the_report_starts_with_the_figures_and_says_what_it_leaves_out():
    report = sample_report()[0]
    tables = pipeline_tables(report)
    text = printed(
        terminal_report(report, tables, changes={"open_amount": Decimal(-5_000)}, since=date(2026, 11, 16))
    )
    assert text.startswith("Pipeline report · As of 2026-11-23")
    assert "−5.00k since 2026-11-16" in text
    assert "more tables with --format" in text
    assert set(SHOWN) <= {table.id for table in tables}


def test_the_documented_schema_is_the_one_in_use():
    """After a change of a model write the right side of this to that file again."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == PipelineReport.model_json_schema(
        mode="serialization"
    )


def test_a_report_follows_the_documented_schema():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json_text(sample_report()[0])))


def test_every_language_has_every_text_of_the_tables_once():
    keys = [list(module.TEXTS) for module in (tables_en, tables_de, tables_ja)]
    assert keys[0] == keys[1] == keys[2]
    assert not set(keys[0]) & set(en.TEXTS)
    report = sample_report()[0]
    for language in LANGUAGES:
        assert pipeline_tables(report, texts_of(language))
    assert len({len(module.TEXTS) for module in (en, de, ja)}) == 1
