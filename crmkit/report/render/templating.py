"""The Jinja environment that every page is made with."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from crmkit.report.render.visible import visible


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Escapes everything, and fails on a name that is not there."""
    found = Environment(
        loader=PackageLoader("crmkit.report.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["visible"] = visible
    return found


def source_hash(text: str) -> str:
    """What a content security policy calls a style or script by: base64 of its SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
