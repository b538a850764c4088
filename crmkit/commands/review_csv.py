"""The review list of links as CSV: out for a spreadsheet, and back with verdicts.

Texts of a CRM are neutralised on the way out, so that no spreadsheet takes one for a formula,
and restored on the way back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from crmkit.errors import UsageError
from crmkit.model import Ref
from crmkit.report.render.csv_files import neutral
from crmkit.sync.candidates import Pair
from crmkit.sync.described import Described

_SIDE = tuple(field.name for field in fields(Described))
COLUMNS = (
    "verdict", "score", "evidence", "kind",
    "one", *(f"one_{name}" for name in _SIDE),
    "other", *(f"other_{name}" for name in _SIDE),
)  # fmt: skip
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line with a verdict.

    Attributes:
        number: Its number in the file, the header being line 1.
        one: The first record.
        other: The second.
        same: What the person says.
    """

    number: int
    one: Ref
    other: Ref
    same: bool


def review_csv(pairs: Iterable[Pair], known: Mapping[Ref, Described]) -> str:
    """The review list with an empty `verdict` column."""
    out = io.StringIO()
    # A byte order mark tells spreadsheets that this is UTF-8.
    out.write("\ufeff")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for pair in pairs:
        cells = ["", "" if pair.score is None else f"{pair.score:.0f}", pair.evidence, str(pair.one.kind)]
        for ref in (pair.one, pair.other):
            cells += [str(ref), *astuple(known.get(ref, Described()))]
        writer.writerow([neutral(cell) for cell in cells])
    return out.getvalue()


def read_verdicts(path: Path) -> tuple[list[Line], int]:
    """What a person wrote into a review list: verdicts, and how many lines have none.

    Raises:
        UsageError: It is not a review list, or a line cannot be read; every one is named.
    """
    text = _text(path)
    first = text.split("\n", 1)[0]
    # Spreadsheets save with the separator of their country.
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    missing = [name for name in ("verdict", "one", "other") if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r}",
            hint="Make the list with `crmkit links review --csv FILE`.",
        )
    lines: list[Line] = []
    problems: list[str] = []
    empty = 0
    said: dict[frozenset[Ref], Line] = {}
    try:
        for row in reader:
            number = reader.line_num
            verdict = restored(row["verdict"] or "").strip().casefold()
            if not verdict:
                empty += 1
                continue
            if verdict not in ("same", "different"):
                problems.append(
                    f"line {number}: the verdict is 'same', 'different' or empty, not {verdict!r}"
                )
                continue
            try:
                one, other = (Ref.parse(restored(row[name] or "").strip()) for name in ("one", "other"))
            except ValueError:
                problems.append(f"line {number}: a record is written as connection:kind:id")
                continue
            line = Line(number, one, other, verdict == "same")
            before = said.setdefault(frozenset((one, other)), line)
            if before.same != line.same:
                problems.append(f"line {number}: contradicts line {before.number} about {one} and {other}")
                continue
            lines.append(line)
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}")
    if problems:
        raise refusal(path, problems)
    return lines, empty


def refusal(path: Path, problems: Iterable[str]) -> UsageError:
    """Why a review list is not taken; nothing of it is."""
    return UsageError(
        f"{path} was not taken:\n" + "\n".join(f"  {problem}" for problem in problems),
        hint="Correct these lines and read it again; no verdict of the file was stored.",
    )


def restored(text: str) -> str:
    """A cell as it was before it was neutralised."""
    return text[1:] if text.startswith("'") and neutral(text[1:]) != text[1:] else text


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too large to be a review list")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text", hint="Save it as “CSV UTF-8” in the spreadsheet."
        ) from error
