"""Break the sync engine on purpose, one rule at a time, and show that the tests notice.

`python -m tests.mutants` copies the package to a temporary folder, takes one rule of
sync-semantics out of the copy, and runs the tests that must fail then. It prints a table,
and exits 1 if a mutant survives.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HISTORIES = "tests/sync/test_histories.py"
ENGINE = "tests/sync/test_engine.py"
TABLE = "tests/sync/test_reconcile.py"
COPPER = "tests/connectors/test_copper.py"
SECONDS = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule taken out.

    Attributes:
        rule: The rule, as sync-semantics 13 names what is missing.
        file: The module.
        old: A text that is there exactly once.
        new: What stands there instead.
        tests: What must fail: files, or files with `::` and a name.
    """

    rule: str
    file: str
    old: str
    new: str
    tests: Sequence[str]

    def source(self, root: Path) -> str:
        """The module without the rule.

        Raises:
            ValueError: The text is not there exactly once: the mutant must follow the code.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.rule}: {self.file} holds {text.count(self.old)} times {self.old!r}")
        return text.replace(self.old, self.new)


MUTANTS = (
    Mutant(
        "no intent",
        "crmkit/sync/apply.py",
        "self._group.hub.journal_add(db, [one.entry for one in ready], self._lease.epoch)",
        "pass",
        (f"{HISTORIES}::TestUpdates::test_an_update_without_an_answer_ends_alike_everywhere",),
    ),
    Mutant(
        "no marker",
        "crmkit/sync/ready.py",
        "Change(op.id, op.act, op.kind, None, values, op.marker)",
        "Change(op.id, op.act, op.kind, None, values, None)",
        (f"{HISTORIES}::TestCreates::test_a_create_without_an_answer_makes_one_record",),
    ),
    Mutant(
        "no parking",
        "crmkit/sync/writes.py",
        "if intent is not None and intent.id not in self._basis.settling:",
        "if False:",
        (f"{HISTORIES}::TestUpdates::test_while_a_write_is_open_nothing_else_is_sent_to_that_record",),
    ),
    Mutant(
        "no D wait",
        "crmkit/sync/recover.py",
        "return self._clock.now() >= since + timedelta(seconds=wait)",
        "return True",
        (f"{HISTORIES}::TestCreates::test_a_create_that_lands_late_is_not_sent_again_meanwhile",),
    ),
    Mutant(
        "no re-check",
        "crmkit/sync/ready.py",
        "return bool(native == one.expected or (same and not isinstance(value, Unmapped)))",
        "return True",
        (f"{HISTORIES}::TestUpdates::test_an_edit_between_plan_and_write_is_not_overwritten",),
    ),
    Mutant(
        "no echo by intent",
        "crmkit/sync/reconcile.py",
        "    if side.value in side.sent:\n        return Row.ECHO\n",
        "",
        (f"{HISTORIES}::TestUpdates::test_a_late_write_over_an_edit_that_was_imported_is_corrected",),
    ),
    Mutant(
        "no ambiguous base",
        "crmkit/sync/reconcile.py",
        "    if side.sent:\n        return Row.AMBIGUOUS\n",
        "",
        (f"{TABLE}::test_any_history_of_lost_answers_converges_and_loses_no_update", f"{TABLE}::TestRows"),
    ),
    Mutant(
        "trust listed rows",
        "crmkit/sync/recover.py",
        "if native in parked or (listed and (older or observed_at <= written_at + lag)):",
        "if False:",
        (f"{HISTORIES}::TestUpdates::test_a_list_that_trails_behind_our_write_does_not_undo_it",),
    ),
    Mutant(
        "no overlap",
        "crmkit/connectors/copper/connector.py",
        "OVERLAP = timedelta(minutes=5)",
        "OVERLAP = timedelta(0)",
        (COPPER,),
    ),
    Mutant(
        "no probe after state loss",
        "crmkit/sync/apply.py",
        "if not self._young and member.writing(ops[0].kind).keys is Keys.UNIQUE:",
        "if True:",
        (f"{HISTORIES}::TestCreates::test_after_the_state_was_lost_a_record_that_no_list_shows_yet_is_found_by_its_key",),
    ),
    Mutant(
        "blind delete",
        "crmkit/sync/writes.py",
        "why = self._unseen(entity, dead, live)",
        'why = ""',
        (f"{HISTORIES}::TestDeletes", f"{ENGINE}::TestDeletes"),
    ),
    Mutant(
        "blind upsert retry",
        "crmkit/sync/recover.py",
        "found = member.connector.find(lookups)",
        "found: dict[str, list[Ref]] = {}",
        (f"{HISTORIES}::TestCreates::test_a_lost_create_is_looked_up_and_the_edit_made_since_is_taken_over",),
    ),
)  # fmt: skip


def copied(folder: Path) -> Path:
    """A copy of the package and its tests to break."""
    unneeded = shutil.ignore_patterns("__pycache__", "payloads")
    for name in ("crmkit", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    payloads = ROOT / "tests" / "payloads"
    if payloads.is_dir():
        (folder / "tests" / "payloads").symlink_to(payloads)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def killers(mutant: Mutant, folder: Path) -> list[str]:
    """The tests that fail without the rule; empty if the mutant survives."""
    path = folder / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutant.source(folder), encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *mutant.tests],
            cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    finally:
        path.write_text(whole, encoding="utf-8")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, flags=re.M)
    if done.returncode not in (0, 1):
        raise RuntimeError(
            f"{mutant.rule}: pytest could not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return failed


def main(wanted: Sequence[str]) -> int:
    """Try all mutants, or those whose rule contains one of the words; 1 if one survives."""
    chosen = [one for one in MUTANTS if not wanted or any(word in one.rule for word in wanted)]
    survived = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = copied(Path(scratch))
        for mutant in chosen:
            failed = killers(mutant, folder)
            survived += not failed
            by = failed[0].rsplit("/", 1)[-1] if failed else "SURVIVED"
            print(f"{mutant.rule:28} {by}", flush=True)  # noqa: T201 - a program of its own
    return 1 if survived else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
