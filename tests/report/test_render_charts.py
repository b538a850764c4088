"""Charts: what Vega draws is written again from what a chart needs, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from xml.etree import ElementTree as ET

import pytest

from crmkit.report.render.charts import drawing, tokens
from crmkit.report.render.charts.shapes import (
    Bars,
    Columns,
    Heat,
    HeatCell,
    Lines,
    Mark,
    Picture,
    Point,
    Row,
    Rule,
    Series,
)
from crmkit.report.render.page.document import chart_files
from crmkit.report.render.visible import visible
from tests.report.pages import HOSTILE
from tests.report.report_of import report_from
from tests.report.rows import USD, row, settings

ELEMENTS = frozenset("svg a g path line text".split())


def hostile_shapes() -> list[Picture]:
    """One chart of each kind with every hostile text in every place."""
    marks = [Mark(0, place + 1, "s0", text, f"#deals?owner={place}") for place, text in enumerate(HOSTILE)]
    rows = tuple(Row(text, (mark,), text, text) for text, mark in zip(HOSTILE, marks, strict=True))
    legend = tuple((f"s{place % 8}", text) for place, text in enumerate(HOSTILE))
    cells = tuple(HeatCell(place, 0, 0.5, text, text, "#deals?x=1") for place, text in enumerate(HOSTILE))
    points = tuple(Point(place, place, text, "#deals?x=1") for place, text in enumerate(HOSTILE))
    names = tuple(HOSTILE)
    shapes = (
        Bars(rows, legend, (Rule(3, HOSTILE[0]),)),
        Columns(rows, ((0, HOSTILE[0]), (30, HOSTILE[1])), legend, (Rule(3, HOSTILE[0]),)),
        Heat(names, (HOSTILE[0],), cells, legend),
        Lines(names, (Series(HOSTILE[0], "s1", points),), ((0, HOSTILE[0]), (30, "30")), legend),
    )
    # XML has no place for control characters; callers pass what `visible` leaves.
    return [Picture(f"p{place}", HOSTILE[0], _visible(shape)) for place, shape in enumerate(shapes)]


def _visible(shape):
    if isinstance(shape, str):
        return visible(shape)
    if isinstance(shape, tuple):
        return tuple(_visible(one) for one in shape)
    if is_dataclass(shape):
        changed = {field.name: _visible(getattr(shape, field.name)) for field in fields(shape)}
        return replace(shape, **changed)
    return shape


@pytest.fixture(scope="module")
def drawn() -> list[ET.Element]:
    narrow, *wide = hostile_shapes()
    return [
        ET.fromstring(drawing.page_svg(narrow, 330)),
        *(ET.fromstring(drawing.page_svg(one, 520)) for one in wide),
    ]


def test_chart_holds_no_element_that_it_does_not_need(drawn):
    assert {one.tag for svg in drawn for one in svg.iter()} <= ELEMENTS


def test_chart_has_no_id_style_class_or_event(drawn):
    names = {name for svg in drawn for one in svg.iter() for name in one.attrib}
    assert not names & {"id", "style", "class"}
    assert not [name for name in names if name.startswith("on") or ":" in name]


def test_chart_links_only_to_the_targets_it_was_given(drawn):
    links = {one.get("href") for svg in drawn for one in svg.iter("a")}
    assert links == {"#deals?x=1", *(f"#deals?owner={place}" for place in range(len(HOSTILE)))}


def test_every_mark_says_what_it_is(drawn):
    marks = [one for svg in drawn for one in svg.iter() if one.tag == "a" or one.get("role") == "img"]
    assert marks
    assert all(one.get("aria-label") for one in marks)


def test_chart_shows_hostile_text_as_text(drawn):
    assert "<script>alert(1)</script>" in {text.text for svg in drawn for text in svg.iter("text")}


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "https://evil.example", "#a b", '#"><script>', "//x"]
)
def test_mark_with_another_target_than_a_fragment_is_no_link(target):
    picture = Picture("p", "T", Bars((Row("a", (Mark(0, 1, "s0", "spoken", target),), "1"),)))
    svg = ET.fromstring(drawing.page_svg(picture, 330))
    assert list(svg.iter("a")) == []
    assert [one.get("aria-label") for one in svg.iter() if one.get("role") == "img"] == ["spoken"]


def test_page_colours_are_stand_ins_that_the_style_sheet_knows(drawn):
    used = {one.get(name) for svg in drawn for one in svg.iter() for name in ("fill", "stroke")} - {
        None,
        "none",
    }
    rules = tokens.style_rules()
    assert used
    assert all(f'[fill="{colour}"]' in rules for colour in used)


def test_waterfall_steps_from_bar_to_bar():
    rows = tuple(
        Row(name, (Mark(low, high, "s0", name),), name) for name, low, high in (("a", 0, 9), ("b", 9, 4))
    )
    svg = ET.fromstring(drawing.page_svg(Picture("w", "W", Bars(rows, steps=True)), 520))
    assert len(list(svg.iter("line"))) == 1


def test_slides_are_whole_files_with_title_and_real_colours():
    report = report_from([row("1"), row("2", "two")], {}, USD, settings())
    files = chart_files(report)
    assert {"stages.svg", "stages.png", "expected_close.svg", "ageing.png"} <= set(files)
    svg = files["stages.svg"].decode()
    assert "Open pipeline by stage" in "".join(ET.fromstring(svg).itertext())
    assert re.search("#0100[0-9a-f]{2}", svg) is None
    assert "two" in "".join(ET.fromstring(svg).itertext())
    assert files["stages.png"].startswith(b"\x89PNG\r\n")


def test_command_line_starts_without_what_only_pages_need():
    code = (
        "import sys, crmkit.commands.report\n"
        "print([name for name in ('vl_convert', 'babel') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
