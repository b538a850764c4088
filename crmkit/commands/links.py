"""Commands about records that are the same in two CRMs: `links suggest|review`, and the group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from crmkit.commands.links_decide import links_accept, links_part, links_reject, links_show
from crmkit.commands.report import save
from crmkit.commands.review_csv import Line, read_verdicts, refusal, review_csv
from crmkit.commands.run import Run
from crmkit.errors import UsageError
from crmkit.migrating import open_group
from crmkit.model import Kind, Ref
from crmkit.sync import queries
from crmkit.sync.candidates import Examined, Pair, survey
from crmkit.sync.decisions import Book, decided
from crmkit.sync.described import Described, described
from crmkit.sync.matching import Matcher
from crmkit.sync.state import State
from crmkit.sync.tables import LINKED_KINDS

_SHOWN = 40


@click.group()
def links() -> None:
    """The same company, person or deal in two CRMs: what is linked, and what you decide.

    Works on the local copy; changes nothing in a CRM. A record is written as
    connection:kind:id, for example hubspot-us:deal:4711.
    """


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found out about the records of a sync, or of all connections."""

    connections: Sequence[str]
    kinds: Mapping[Kind, Examined]
    waiting: Mapping[Ref, str]

    def pairs(self, kind: Kind | None = None) -> list[Pair]:
        chosen = [kind] if kind is not None else list(LINKED_KINDS)
        return [pair for one in chosen if one in self.kinds for pair in self.kinds[one].pairs()]


def _look(run: Run, state: State, sync: str | None) -> _Looked:
    session = run.open()
    if sync is not None:
        with open_group(session, state, sync) as group, state.read() as db:
            matching = Matcher(group, db, everything=True).run()
            return _Looked(list(group.members), matching.examined, matching.held)
    names = list(session.config.chosen(()))
    if len(names) < 2:
        raise UsageError("links needs two or more connections", hint="Add one to crmkit.toml.")
    queries.pulled(state, names)
    with state.read() as db:
        found = survey(db, names, lambda kind: decided(db, kind))
    waiting = {ref: reason for one in found.values() for ref, reason in one.waiting().items()}
    return _Looked(names, found, waiting)


@links.command("suggest")
@click.argument("sync", required=False)
@click.pass_obj
def links_suggest(run: Run, sync: str | None) -> None:
    """Count what is linked by which key, and what waits for a person.

    Looks at the members of SYNC with its scope and links, or at all connections. Exits 4 if
    something waits: nothing is created for it in another CRM until it is decided.
    """
    session = run.open()
    with session.state() as state:
        looked = _look(run, state, sync)
    if run.terminal.as_json:
        run.terminal.json(
            {
                "sync": sync,
                "connections": looked.connections,
                "kinds": [_counted(kind, one) for kind, one in looked.kinds.items()],
                "waiting": [
                    {"record": str(ref), "reason": why} for ref, why in sorted(looked.waiting.items())
                ],
            }
        )
    else:
        _show_counts(run, looked)
        _show_waiting(run, looked, sync)
    raise SystemExit(4 if looked.waiting else 0)


def _counted(kind: Kind, one: Examined) -> dict[str, Any]:
    return {
        "kind": str(kind),
        "records": len(one.records),
        "linked": len(one.found.group_of),
        "groups": len(set(one.found.group_of.values())),
        "rungs": dict(Counter(one.found.evidence.values())),
        "ambiguous": len(one.found.ambiguous),
        "suggested": len(one.suggested.pairs),
        "waiting": len(one.waiting()),
        "keys_shared_by_too_many": dict(one.found.worn_out),
        "blocks_skipped": one.suggested.skipped,
    }


def _show_counts(run: Run, looked: _Looked) -> None:
    rows: list[list[object]] = []
    for kind, one in looked.kinds.items():
        count = _counted(kind, one)
        rows.append([kind, "records", f"{count['records']:,}", ""])
        rows += [
            [kind, f"linked by {rung}", f"{number:,}", ""] for rung, number in sorted(count["rungs"].items())
        ]
        rows.append([kind, "ambiguous keys", f"{count['ambiguous']:,}", "several records share one"])
        rows.append([kind, "suggested pairs", f"{count['suggested']:,}", "similar, a person decides"])
        for rung, number in sorted(count["keys_shared_by_too_many"].items()):
            rows.append(
                [kind, f"{rung}: left aside", f"{number:,}", "shared by so many that it says nothing"]
            )
        if count["blocks_skipped"]:
            rows.append(
                [kind, "not compared", f"{count['blocks_skipped']:,}", "groups of too many look-alikes"]
            )
    run.terminal.table(("kind", "what", "how many", ""), rows, right=(2,))


def _show_waiting(run: Run, looked: _Looked, sync: str | None) -> None:
    terminal = run.terminal
    if not looked.waiting:
        terminal.say("Nothing waits for a decision.", "green")
        return
    terminal.say(f"{len(looked.waiting):,} records wait for a decision:", "yellow")
    for ref, reason in sorted(looked.waiting.items())[:_SHOWN]:
        terminal.say(f"    {ref}: {reason}", "yellow")
    if len(looked.waiting) > _SHOWN:
        terminal.say(f"    … and {len(looked.waiting) - _SHOWN:,} more; --json shows them all.", "yellow")
    name = f"{sync} " if sync else ""
    terminal.say(f"Next: crmkit links review {name}--csv review.csv")


@links.command("review")
@click.argument("sync", required=False)
@click.option("--kind", type=click.Choice([str(kind) for kind in LINKED_KINDS]), help="Only this kind.")
@click.option("--csv", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write the list there.")
@click.option(
    "--csv-in", "back", type=click.Path(path_type=Path, dir_okay=False),
    help="Read the list back: verdict is `same`, `different` or empty.",
)  # fmt: skip
@click.pass_obj
def links_review(run: Run, sync: str | None, kind: str | None, out: Path | None, back: Path | None) -> None:
    """List pairs to decide about, side by side, or read the decisions back.

    A list with a line that cannot be right is refused as a whole, with the line numbers.
    Exits 4 if something waits.
    """
    session = run.open()
    if out is not None and back is not None:
        raise UsageError("--csv and --csv-in go one at a time")
    with session.state() as state:
        if back is not None:
            _take_back(run, state, back)
            return
        looked = _look(run, state, sync)
        pairs = looked.pairs(Kind(kind) if kind else None)
        with state.read() as db:
            known = described(db, {ref for pair in pairs for ref in (pair.one, pair.other)})
    if out is not None:
        save(out, review_csv(pairs, known))
        run.terminal.say(f"Wrote {out}: {len(pairs):,} pairs. Fill in `verdict`, then read it with --csv-in.")
    if run.terminal.as_json:
        run.terminal.json([_pair_json(pair, known) for pair in pairs])
    elif out is None:
        _show_pairs(run, pairs, known)
    for name, one in looked.kinds.items():
        for rung, count in one.crowds:
            run.terminal.say(
                f"{count:,} {name} records share one {rung}: too many to list as pairs. "
                "Merge or correct them in the CRM.",
                "yellow",
            )
    raise SystemExit(4 if looked.waiting else 0)


def _pair_json(pair: Pair, known: Mapping[Ref, Described]) -> dict[str, Any]:
    return {
        "kind": str(pair.one.kind),
        "score": pair.score,
        "evidence": pair.evidence,
        **{
            side: {"record": str(ref), **asdict(known.get(ref, Described()))}
            for side, ref in (("one", pair.one), ("other", pair.other))
        },
    }


def _show_pairs(run: Run, pairs: Sequence[Pair], known: Mapping[Ref, Described]) -> None:
    if not pairs:
        run.terminal.say("No pair waits for a decision.", "green")
        return
    rows = [
        [
            "" if pair.score is None else f"{pair.score:.0f}",
            *((ref, _words(known.get(ref, Described()))) for ref in (pair.one, pair.other)),
            pair.evidence,
        ]
        for pair in pairs[:_SHOWN]
    ]
    run.terminal.table(("score", "one", "other", "evidence"), rows, right=(0,))
    if len(pairs) > _SHOWN:
        run.terminal.say(f"… and {len(pairs) - _SHOWN:,} more; --csv and --json hold them all.")
    run.terminal.say("Decide with `crmkit links accept ONE OTHER` or `crmkit links reject ONE OTHER`.")


def _words(one: Described) -> str:
    amount = f"{one.amount} {one.currency}".strip() if one.amount else ""
    return ", ".join(
        part for part in (one.name, amount, one.stage, one.close, one.company, one.reach, one.city) if part
    )


def _take_back(run: Run, state: State, path: Path) -> None:
    lines, empty = read_verdicts(path)
    now = run.open().clock.now()
    problems: list[str] = []
    with state.write() as db:
        books = {kind: Book(db, kind, run.open().config.settings.connections) for kind in LINKED_KINDS}
        for line in lines:
            problem = _decide(books, line, now)
            if problem:
                problems.append(f"line {line.number}: {problem}")
        if problems:
            raise refusal(path, problems)
    same = sum(line.same for line in lines)
    if run.terminal.as_json:
        run.terminal.json({"same": same, "different": len(lines) - same, "undecided": empty})
    else:
        run.terminal.say(
            f"Noted: {same:,} the same, {len(lines) - same:,} different; {empty:,} left undecided.", "green"
        )
    raise SystemExit(4 if empty else 0)


def _decide(books: Mapping[Kind, Book], line: Line, now: datetime) -> str:
    """Take one verdict; why it cannot be taken, or nothing."""
    book = books.get(line.one.kind)
    if book is None:
        return f"{line.one.kind} records are not linked"
    try:
        (book.same if line.same else book.different)(line.one, line.other, now)
    except UsageError as error:
        return str(error)
    return ""


for _command in (links_accept, links_reject, links_part, links_show):
    links.add_command(_command)
