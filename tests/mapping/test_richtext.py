"""Notes go from HTML to plain text and back without losing what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.mapping.richtext import html_text, plain_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ('<a href="https://x.test/?a=1&amp;b=2">here</a>', "here (https://x.test/?a=1&b=2)"),
        ('<a href="https://x.test">https://x.test</a>', "https://x.test"),
        ('<a href="mailto:ann@x.test">ann@x.test</a>', "ann@x.test"),
        ('<img src="x.png" alt="Plan"> and <img src="y.png">', "[Plan] and [picture]"),
        ("<b>5 &lt; 6</b> &amp; 🙂 &nbsp;", "5 < 6 & 🙂"),
        ("<style>p {color: red}</style><script>alert(1)</script>said", "said"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)  # fmt: skip
def test_html_reads_as_people_saw_it(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a <b>c</b>", "&lt;b&gt;", "AT&T", '<img src=x onerror="x()">']
)
def test_plain_text_brings_no_markup_along(text: str) -> None:
    html = html_text(text)
    assert html.count("<") == 2  # the paragraph around it
    assert plain_text(html) == text


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1)))
def test_lines_of_plain_text_come_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert plain_text(html_text(text)) == text
