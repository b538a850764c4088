"""Colours of charts: a drawing holds stand-ins, a page turns them into its own, a slide into these.

A stand-in is a colour that nobody would choose, so that one drawing serves light, dark and
paper: the page's style sheet says what each of them is (`fill="#010001"` -> `var(--s0)`).
"""

from __future__ import annotations

import re

LIGHT = {
    "ink": "#14181f",
    "soft": "#5b6472",
    "line": "#e4e7ec",
    "track": "#eef0f4",
    "card": "#ffffff",
    "accent": "#3157d5",
    "bad": "#c4320a",
    "warn": "#b54708",
    "good": "#087443",
    "mute": "#aab2bf",
    "s0": "#3b63dd",
    "s1": "#f0913a",
    "s2": "#159c8b",
    "s3": "#b75cc4",
    "s4": "#5db4e6",
    "s5": "#d9486e",
    "s6": "#8aa33b",
    "s7": "#7a6bd1",
    "a0": "#c9d7fa",
    "a1": "#9db6f5",
    "a2": "#6c8dea",
    "a3": "#3f63cf",
    "a4": "#26429b",
    "a0ink": "#14181f",
    "a1ink": "#14181f",
    "a2ink": "#ffffff",
    "a3ink": "#ffffff",
    "a4ink": "#ffffff",
}
"""The names, and what each is on white."""

SERIES = 8
"""Colours that tell series apart; more series than that start over."""
STRENGTHS = 5
"""Steps from little to much."""

STAND_IN = {name: f"#0100{place:02x}" for place, name in enumerate(LIGHT, start=1)}
_NAME = {value: name for name, value in STAND_IN.items()}
_ANY = re.compile("#0100[0-9a-f]{2}")


def series(place: int) -> str:
    """The name of the colour of a series."""
    return f"s{place % SERIES}"


def style_rules() -> str:
    """CSS that gives every stand-in the page's colour of that name."""
    return "\n".join(
        f'.chart [{kind}="{value}"]{{{kind}:var(--{name})}}'
        for name, value in STAND_IN.items()
        for kind in ("fill", "stroke")
    )


def in_light(svg: str) -> str:
    """The drawing with real colours for a white slide."""
    return _ANY.sub(lambda match: LIGHT[_NAME[match.group()]], svg)
