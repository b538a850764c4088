"""Files that hold customers' data: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from crmkit.errors import UsageError


def write_private(path: Path, parts: Iterable[bytes]) -> None:
    """Put a file in place of what was there; a link of that name is replaced, never followed.

    Args:
        path: Where; its folder must be there.
        parts: The content, in order.

    Raises:
        UsageError: It cannot be written; nothing was changed.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, flags, 0o600), "wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", hint="Name another place with --out."
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
