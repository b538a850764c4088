"""Suggestions as the TOML a person reads, corrects and pastes into crmkit.toml."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from crmkit.mapping.suggest import Suggestion
from crmkit.model import Pipeline

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def suggestions_toml(
    connection: str, suggestions: Sequence[Suggestion], pipelines: Sequence[Pipeline]
) -> str:
    """Tables `[connections.NAME.stages."Pipeline"]`, a line per stage, the reason as its comment.

    Names are keys; where a name would be ambiguous, or is also the id of another stage
    or pipeline, the id is the key and the comment tells the name. What has no
    suggestion is commented out.

    Args:
        connection: Name of the connection.
        suggestions: What to write; may be a part of all suggestions.
        pipelines: All pipelines of the connection, by which names are ambiguous or not.
    """
    pipeline_keys = _keys((pipeline.ref.id, pipeline.name) for pipeline in pipelines)
    stage_keys = {
        pipeline.ref.id: _keys((stage.id, stage.name) for stage in pipeline.stages) for pipeline in pipelines
    }
    blocks = []
    for pipeline_id, pipeline in dict.fromkeys((line.pipeline_id, line.pipeline) for line in suggestions):
        key = pipeline_keys[pipeline_id]
        head = f"[connections.{_key(connection)}.stages.{_string(key)}]"
        if key != pipeline:
            head += f"  # {_comment(pipeline)}"
        lines = [
            _line(line, stage_keys[pipeline_id][line.stage_id])
            for line in suggestions
            if line.pipeline_id == pipeline_id
        ]
        blocks.append("\n".join([head, *lines]) + "\n")
    return "\n".join(blocks)


def _line(line: Suggestion, key: str) -> str:
    note = line.reason if key == line.stage else f"{line.stage}: {line.reason}"
    if line.common is None:
        return f'# {_string(key)} = ""  # {_comment(note)}'
    return f"{_string(key)} = {_string(line.common)}  # {line.confidence:.0%}: {_comment(note)}"


def _keys(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The key for each id: its name, or the id where `resolve` could take the name for another one."""
    pairs = list(named)
    times = Counter(_fold(name) for _, name in pairs)
    ids = {id for id, _ in pairs}
    return {
        id: name if times[_fold(name)] == 1 and name and (name not in ids or name == id) else id
        for id, name in pairs
    }


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    """A TOML basic string; every control character is escaped."""
    return '"' + "".join(_SHORT.get(char) or _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    # Line separators and direction marks are legal in TOML, but hide what a person pastes.
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _comment(text: str) -> str:
    """Text for one comment line: nothing in a stage's name may end the comment."""
    return "".join(char if char.isprintable() else " " for char in text)
