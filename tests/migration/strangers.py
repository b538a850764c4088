"""A source and a target that have nobody in common."""

from __future__ import annotations

from benchmarks.writes import Rehearsal
from crmkit.model import Company, Contact, Kind


class Strangers(Rehearsal):
    """A source whose companies and people the target does not have."""

    def _introduce(self) -> None:
        for number, one in enumerate(one for _, one in sorted(self.memory.now().items())):
            word = "".join(chr(ord("b") + int(digit)) for digit in f"{number:06}")
            if isinstance(one, Company):
                values = {"name": f"{word} Ltd", "domain": f"{word}.test"}
            elif isinstance(one, Contact):
                values = {
                    "name": f"Pat {word}", "first_name": "Pat", "last_name": word,
                    "emails": (f"{word}@x.test",), "phones": ("+43 1 2345678",),
                }  # fmt: skip
            else:
                continue
            self.memory.put(one.model_copy(update={**values, "version": "2"}))
        self._pull(self.source, (Kind.COMPANY, Kind.CONTACT))
