"""Charts as SVG for a page and as SVG and PNG for slides, made offline by Vega-Lite.

What Vega writes is not trusted: its drawing is parsed and written again from the few
elements and attributes that a chart needs, so that nothing in it can be a script, a style,
an address or an id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from xml.etree import ElementTree as ET

from crmkit.errors import CrmkitError
from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.charts.sheet import FONT, Spec
from crmkit.report.render.charts.spec import spec_of
from crmkit.report.render.charts.tokens import STAND_IN, in_light
from crmkit.report.render.visible import shortened

Meanings = Sequence[tuple[str, str | None]]

SLIDE = 960
"""Width of a chart on a slide, in pixels."""
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_KEPT = {
    "g": ("transform",),
    "path": ("d", "fill", "stroke", "stroke-width", "stroke-dasharray", "transform", "opacity"),
    "line": ("x2", "y2", "stroke", "stroke-width", "stroke-dasharray", "transform"),
    "text": ("text-anchor", "transform", "font-size", "font-weight", "fill"),
}
_PLAIN = re.compile(r"[#\w .,()+\-%]*")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_NUMBER_OF_MARK = re.compile(r"#m(\d+)$")
_TARGET = re.compile(r"#[\w?&=.,:;@!~*'()%+$/-]*")


def page_svg(picture: Picture, width: int) -> str:
    """The chart as SVG to stand in a page: colours are stand-ins, marks link to their deals."""
    spec, meanings = spec_of(picture.shape, width)
    return ET.tostring(_cleaned(_drawn(spec), meanings, picture.title, linked=True), encoding="unicode")


def slide_svg(picture: Picture, subtitle: str = "") -> str:
    """The chart as a file of its own with a title, a legend and real colours on white."""
    spec, meanings = spec_of(picture.shape, SLIDE)
    title = {"text": picture.title, "subtitle": subtitle, "anchor": "start"}
    look = {"fontSize": 24, "subtitleFontSize": 14, "offset": 28, "subtitlePadding": 8}
    inks = {"color": STAND_IN["ink"], "subtitleColor": STAND_IN["soft"]}
    spec |= {"title": {**title, **look, **inks}, "padding": 36}
    root = _cleaned(_drawn(spec), meanings, picture.title, linked=False)
    _add_legend(root, picture.shape.legend)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("font-family", FONT)
    return in_light(ET.tostring(root, encoding="unicode"))


def slide_png(picture: Picture, subtitle: str = "") -> bytes:
    """The same as a picture, twice as fine as a screen."""
    png: bytes = _library().svg_to_png(slide_svg(picture, subtitle), scale=2)
    return png


def _add_legend(root: ET.Element, legend: Sequence[tuple[str, str]]) -> None:
    """Names of the colours along the lower edge, where the padding leaves room."""
    if len(legend) < 2:
        return
    height, at = int(root.get("height", "0")), 36.0
    for colour, name in legend:
        ET.SubElement(root, "path", {"d": f"M{at:g},{height - 26}h10v10h-10Z", "fill": STAND_IN[colour]})
        place = f"translate({at + 16:g},{height - 17})"
        words = ET.SubElement(
            root, "text", {"transform": place, "font-size": "12px", "fill": STAND_IN["soft"]}
        )
        words.text = shortened(name, 40)
        # Roughly how wide the words are: half the size of the type for a letter, all of it for kana.
        at += 40 + sum(12 if ord(letter) > 0x2E80 else 6.6 for letter in words.text)


def _library() -> ModuleType:
    try:
        import vl_convert  # noqa: PLC0415 - heavy, and only charts need it
    except ImportError as error:
        raise CrmkitError(
            "charts need the package vl-convert-python",
            hint="Install it with `pip install 'crmkit[report]'`.",
        ) from error
    return vl_convert


def _drawn(spec: Spec) -> str:
    svg: str = _library().vegalite_to_svg(json.dumps(spec), allowed_base_urls=[])
    return svg


def _cleaned(svg: str, meanings: Meanings, title: str, *, linked: bool) -> ET.Element:
    root = ET.fromstring(svg)  # noqa: S314 - made by a library in this process, from no entity
    width, height = (round(float(root.get(side, "0"))) for side in ("width", "height"))
    out = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "group",
            "aria-label": title,
        },
    )
    if not linked:
        background = {"d": f"M0,0h{width}v{height}h-{width}Z", "fill": STAND_IN["card"]}
        ET.SubElement(out, "path", background)
    for child in root:
        out.extend(_copies(child, meanings, linked))
    return out


def _copies(element: ET.Element, meanings: Meanings, linked: bool) -> Iterator[ET.Element]:
    name = element.tag.removeprefix(_SVG)
    if name == "a":
        yield _mark(element, meanings, linked)
        return
    if name not in _KEPT or _empty(name, element):
        return
    copy = ET.Element(name, _attributes(name, element))
    if name == "text":
        copy.text = "".join(element.itertext())
        if linked:
            # The marks say it all, and the table beside the chart says it again.
            copy.set("aria-hidden", "true")
    for child in element:
        copy.extend(_copies(child, meanings, linked))
    if name == "g" and "transform" not in copy.attrib:
        yield from copy
    elif name != "g" or len(copy):
        yield copy


def _mark(element: ET.Element, meanings: Meanings, linked: bool) -> ET.Element:
    found = _NUMBER_OF_MARK.search(element.get(_LINK, ""))
    spoken, target = meanings[int(found.group(1))] if found else ("", None)
    if linked and target is not None and _TARGET.fullmatch(target):
        copy = ET.Element("a", {"href": target, "aria-label": spoken})
    else:
        copy = ET.Element("g", {"role": "img", "aria-label": spoken})
    if not linked:
        copy = ET.Element("g")
        ET.SubElement(copy, "title").text = spoken
    for child in element:
        copy.extend(_copies(child, meanings, linked))
    return copy


def _empty(name: str, element: ET.Element) -> bool:
    """Whether it draws nothing: Vega frames every group with a path without colours."""
    if name != "path":
        return False
    return not element.get("d") or not (element.get("fill") or element.get("stroke"))


def _attributes(name: str, element: ET.Element) -> dict[str, str]:
    found = {}
    for key in _KEPT[name]:
        value = element.get(key)
        if value is None or value == "translate(0,0)" or not _PLAIN.fullmatch(value):
            continue
        found[key] = _LONG_NUMBER.sub(_short, value)
    if name == "path":
        found.setdefault("fill", "none")
    if found.get("opacity") == "1":
        del found["opacity"]
    return found


def _short(match: re.Match[str]) -> str:
    return f"{round(float(match.group()), 1):g}"
