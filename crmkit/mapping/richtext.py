"""Notes between a CRM that keeps them as HTML and one that keeps plain text."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

_BLOCKS = frozenset(
    {
        "p",
        "div",
        "ul",
        "ol",
        "table",
        "tr",
        "blockquote",
        "pre",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "section",
    }
)
_SILENT = frozenset({"script", "style", "head", "title"})
_SPACES = re.compile(r"[ \t\f\v]+")
_LINES = re.compile(r"\n{3,}")


def plain_text(html: str) -> str:
    """HTML as text: paragraphs as lines, list items with a dash, links with their address.

    Text that is no HTML comes back as it is, but for runs of blanks.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (_SPACES.sub(" ", line).strip() for line in "".join(reader.parts).split("\n"))
    return _LINES.sub("\n\n", "\n".join(lines)).strip()


def html_text(text: str) -> str:
    """Plain text as HTML: nothing in it becomes markup, and its lines stay lines."""
    return "<p>" + "<br>".join(escape(line, quote=False) for line in text.split("\n")) + "</p>"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._links: list[tuple[str, int]] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in ("td", "th"):
            self.parts.append(" ")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.parts)))
        elif tag == "img":
            self.parts.append(f"[{dict(attrs).get('alt') or 'picture'}]")
        elif tag in _BLOCKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a" and self._links:
            address, start = self._links.pop()
            said = "".join(self.parts[start:]).strip()
            if address and address not in (said, f"mailto:{said}"):
                self.parts.append(f" ({address})")
        elif tag in _BLOCKS:
            self._break()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)

    def _break(self) -> None:
        if self.parts and not self.parts[-1].endswith("\n"):
            self.parts.append("\n")
