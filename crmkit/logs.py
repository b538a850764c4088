"""Log lines: one event a line, as text for people or JSON for a log store.

A line is one line whatever stands in it, and passes the redactor as a whole right before it
is written: nothing gets past that. Rotation is logrotate's job: a file that was moved or
removed is made again with the next line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Literal

from crmkit.errors import UsageError
from crmkit.observing import Level, Sink, Value

Format = Literal["text", "json"]
LEVELS: Mapping[str, Level] = {level.name.lower(): level for level in Level}
_LOGGER = "crmkit"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What to log, how and where; without a file it goes to stderr."""

    format: Format = "text"
    level: Level = Level.INFO
    file: Path | None = None


class Log(Sink):
    """Writes events as log lines.

    Args:
        options: What, how and where.
        redact: Masks every secret that was handed out.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, options: LogOptions, redact: Callable[[str], str]) -> None:
        self.handler = _handler(options.file)
        self.handler.setFormatter(LineFormatter(options.format, redact))
        # Not a logger of the process: two workspaces in one process do not hear each other.
        self._logger = logging.Logger(_LOGGER, options.level)
        self._logger.addHandler(self.handler)

    def event(self, name: str, level: Level, fields: Mapping[str, Value]) -> None:
        """Write an event, if its level is asked for."""
        if self._logger.isEnabledFor(level):
            self._logger.log(level, name, extra={"fields": fields})

    def hear(self, *loggers: str) -> None:
        """Take over what other packages log, masked and on one line like everything else."""
        for name in loggers:
            logging.getLogger(name).addHandler(self.handler)

    def close(self) -> None:
        """Close the file."""
        self.handler.close()


class LineFormatter(logging.Formatter):
    """One record as one line; its text may come from anywhere.

    Args:
        form: Text or JSON.
        redact: Masks secrets.
    """

    def __init__(self, form: Format, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._json = form == "json"
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC)
        # Masked before it is quoted too: a secret with a quote in it looks different afterwards.
        event = self._redact(record.getMessage())
        found: Mapping[str, Value] = getattr(record, "fields", {})
        fields = {
            name: self._redact(value) if isinstance(value, str) else value for name, value in found.items()
        }
        time, level = at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), record.levelname.lower()
        if record.name != _LOGGER:
            fields["logger"] = record.name
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__name__
        if self._json:
            line = _quoted({"time": time, "level": level, "event": event, **fields})
        else:
            words = [f"{name}={_word(value)}" for name, value in fields.items()]
            line = " ".join([time, level, _word(event), *words])
        return self._redact(one_line(line))


def one_line(text: str) -> str:
    """The text with everything that is no visible character as `\\uXXXX`, which JSON reads back."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _word(value: Value) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value and all(one.isalnum() or one in "-_./:,+" for one in value)
    return value if plain else _quoted(value)


class _OwnerOnly(WatchedFileHandler):
    """A file that its owner alone may read; opened again when somebody moved it away."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """Append the line in one write, so that lines of several processes never mix."""
        try:
            self.reopenIfNeeded()
            if self.stream is None:  # its folder was away when the line before was written
                self.stream = self._open()
            os.write(self.stream.fileno(), (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except OSError:  # a full disk stops no run
            return


class _Stderr(logging.Handler):
    """Wherever stderr is when the line is written."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it any more
            return


def _handler(path: Path | None) -> logging.Handler:
    if path is None:
        return _Stderr()
    try:
        return _OwnerOnly(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the log file {path}: {error.strerror or error}",
            hint="Name a file in a folder that you may write, with --log-file.",
        ) from error
