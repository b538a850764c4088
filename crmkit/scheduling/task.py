"""What a schedule does: `sync:main`, `pull`, `pull:zoho-eu,close`, `report`."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("sync", "pull", "report")


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of scheduled work.

    Attributes:
        kind: One of `KINDS`.
        names: The sync, or the connections to pull; no name pulls all.
    """

    kind: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} cannot be scheduled: one of {', '.join(KINDS)} can")
        if self.kind == "sync" and len(self.names) != 1:
            raise ValueError("name one sync")
        if self.kind == "report" and self.names:
            raise ValueError("a report is over all connections and takes no name")
        if any(not name or "," in name or ":" in name for name in self.names):
            raise ValueError("a name is empty, or has a comma or a colon in it")

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read what `str()` wrote.

        Raises:
            ValueError: It is no task.
        """
        kind, _, names = text.partition(":")
        if text.endswith(":"):
            raise ValueError(f"{text!r} names nothing after the colon")
        return cls(kind, tuple(names.split(",")) if names else ())

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(self.names)}" if self.names else self.kind
