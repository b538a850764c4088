"""The message that people get, harmless in every chat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crmkit.alerts.decide import Decision, Finding
from crmkit.report.notify import Message
from crmkit.report.render.digest import harmless

_QUOTED_LINES = 5


def message(sync: str, decision: Decision, redact: Callable[[str], str]) -> Message:
    """What is told about a sync, in plain text and as Markdown.

    Args:
        sync: Its name.
        decision: What to tell.
        redact: Masks every secret that was handed out.
    """
    over = not (decision.new or decision.again)
    title = f"crmkit: sync {sync}: {'resolved' if over else 'needs somebody'}"
    lines = list(_lines(decision, redact))
    return Message(title, "\n".join(lines), "\n".join(f"- {line}" for line in lines))


def _lines(decision: Decision, redact: Callable[[str], str]) -> Iterator[str]:
    for one in decision.new:
        yield f"{one.topic}: {one.text}{_quoted(one, redact)}"
    for one in decision.again:
        yield f"{one.topic}, still: {one.text}{_quoted(one, redact)}"
    for known in decision.resolved:
        yield f"{known.topic}: resolved; it lasted since {known.since:%Y-%m-%d %H:%M} UTC."


def _quoted(finding: Finding, redact: Callable[[str], str]) -> str:
    """The text of an error, made harmless line by line: it may quote what a CRM said."""
    lines = [line.strip() for line in redact(finding.quoted).splitlines() if line.strip()]
    told = "; ".join(harmless(line) for line in lines[:_QUOTED_LINES])
    return f" ({told})" if told else ""
