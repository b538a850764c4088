"""Measure linking: many companies of one CRM against many of another one.

    python benchmarks/link.py [--companies 1000000] [--overlap 0.6] [--no-suggest]

Prints seconds, peak memory, and precision and recall against the truth. The companies are
made up, with the trouble that real ones have:

- each CRM spells on its own: legal forms, case, accents lost, one typing error in a name of ten;
- one company in eight has no domain, one in twelve has a free-mail address for one; a website
  is written as an address, with `www`, or with a path;
- each CRM leaves out one domain, phone number or city in ten;
- one phone number in twenty is a switchboard that 2 to 200 companies share;
- one company in fifty is a branch of a chain: one name and one domain in many cities;
- one company in a hundred has a namesake in another city.

The ladder of exact keys is measured by itself; what is suggested to a person comes on top.
Figures of one run are to be compared with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from crmkit.model import Kind, Ref
from crmkit.sync.link import Decided, LinkableCompany, Links, link_companies
from crmkit.sync.suggest import suggest

_FORMS = (("Inc.", ", Incorporated", "Inc"), ("GmbH", "gmbh", "Gesellschaft mbH"), ("Ltd", "Limited", ""),
          ("S.A.", "SA", ""), ("B.V.", "BV", ""), ("LLC", ", L.L.C.", "llc"))  # fmt: skip
_TRADES = """Logistics Foods Systems Media Energy Health Pharma Robotics Textiles Steel Travel Finance
    Insurance Paper Optics Games Software Security Mining Farming Shipping Aviation Motors Chemicals
    Cosmetics Furniture Printing Telecom Water Solar Hotels Schools Consulting Partners""".split()
_SOUNDS = """ba be bi bo bu da de di do du fa fe fi fo ka ke ki ko la le li lo lu ma me mi mo mu na ne
    ni no pa pe pi po ra re ri ro ru sa se si so ta te ti to tu va ve vi vo za zo ché lé nö rü""".split()
_FREE = ("gmail.com", "web.de", "outlook.com", "mail.ru", "yahoo.com")
_PLAIN = str.maketrans("éöü", "eou")


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--companies", type=int, default=1_000_000, help="in each of the two CRMs")
    parser.add_argument("--overlap", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-suggest", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    records, same = make(options.companies, options.overlap, random.Random(options.seed))
    made, held = time.perf_counter() - started, _peak_mb()
    gc.collect()
    gc.freeze()
    print(f"{len(records):,} companies, {same:,} pairs in truth; made in {made:.0f} s, {held:,.0f} MB\n")
    print("| step | seconds | CPU | peak memory | pairs | precision | recall |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = _timed("exact keys", same, lambda: link_companies(records), _linked_pairs)
    if not options.no_suggest:
        done = _timed(
            "suggestions",
            same,
            lambda: suggest(Kind.COMPANY, records, Decided(), found),
            lambda result: [(pair.one, pair.other) for pair in result.pairs],
        )
        print(f"\n{done.compared:,} pairs compared, {done.skipped:,} keys of too many records passed over")
    waiting = {ref for one in found.ambiguous for ref in one.waiting}
    print(f"{len(waiting):,} records wait because their key is ambiguous; left aside: {found.worn_out}")


def _timed(
    name: str, same: int, work: Callable[[], Any], pairs: Callable[[Any], Sequence[tuple[Ref, Ref]]]
) -> Any:
    started, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu, peak = time.perf_counter() - started, time.process_time() - cpu, _peak_mb()
    every = pairs(result)
    right = sum(_truth(one) == _truth(other) for one, other in every)
    precision = right / len(every) if every else 1.0
    print(
        f"| {name} | {seconds:.1f} | {cpu:.1f} s | {peak:,.0f} MB | {len(every):,} "
        f"| {precision:.4f} | {right / same:.3f} |",
        flush=True,
    )
    return result


def _linked_pairs(links: Links) -> list[tuple[Ref, Ref]]:
    return [(refs[0], refs[1]) for refs in links.members().values()]


def _truth(ref: Ref) -> str:
    """A record's id ends in the number of the company that it stands for."""
    return ref.id.rpartition("-")[2]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


def make(count: int, overlap: float, rng: random.Random) -> tuple[list[LinkableCompany], int]:
    """Companies of two CRMs, `a` and `b`, and how many of them are in both."""
    shared = int(count * overlap)
    cities = ["".join(rng.choice(_SOUNDS) for _ in range(3)).capitalize() for _ in range(2000)]
    switchboards = [_number(rng) for _ in range(max(count // 1000, 1))]
    chains = [(_word(rng, 3), rng.choice(_TRADES)) for _ in range(max(count // 5000, 1))]
    records: list[LinkableCompany] = []
    namesake = "", ""
    for number in range(2 * count - shared):
        both, first = number < shared, number < count
        branch = rng.random() < 0.02
        chain = rng.choice(chains) if branch else namesake if rng.random() < 0.01 and namesake[0] else None
        stem, trade = chain or (_word(rng, 2 + (rng.random() < 0.5)), rng.choice(_TRADES))
        namesake = (stem, trade) if not branch else namesake
        draw = rng.random()
        host = (
            f"{stem}{trade}.com"
            if branch
            else f"{stem}-{trade}{number}.com"
            if chain
            else f"{stem}{number % 97}{trade}.com"
        )
        domain = (
            None
            if draw < 0.125 and not branch
            else rng.choice(_FREE)
            if draw < 0.21 and not branch
            else host.lower()
        )
        phone = (
            (rng.choice(switchboards) if rng.random() < 0.05 else _number(rng))
            if rng.random() < 0.7
            else None
        )
        truth = (f"{stem} {trade}", rng.choice(_FORMS), domain, phone, rng.choice(cities))
        sides = ("a", "b") if both else ("a",) if first else ("b",)
        records += [_spelled(side, number, truth, rng) for side in sides]
    return records, shared


def _spelled(
    side: str,
    number: int,
    truth: tuple[str, tuple[str, ...], str | None, str | None, str],
    rng: random.Random,
) -> LinkableCompany:
    """A company as one CRM holds it."""
    name, forms, domain, phone, city = truth
    if rng.random() < 0.1:
        name = _typo(name, rng)
    if rng.random() < 0.3:
        name = name.translate(_PLAIN)
    if rng.random() < 0.3:
        name = name.upper()
    if domain is not None and rng.random() < 0.4:
        domain = rng.choice(("https://www.{}/", "www.{}", "http://{}/about?x=1")).format(domain)
    kept_phone = phone if phone is not None and rng.random() < 0.9 else None
    return LinkableCompany(
        Ref(side, Kind.COMPANY, f"{rng.randrange(10**6):06}{side}-{number}"),
        f"{name} {rng.choice(forms)}".strip(),
        domain if rng.random() < 0.9 else None,
        None,
        (f"+49 {kept_phone}" if side == "a" else f"0{kept_phone}",) if kept_phone else (),
        city if rng.random() < 0.9 else None,
    )


def _word(rng: random.Random, sounds: int) -> str:
    return "".join(rng.choice(_SOUNDS) for _ in range(sounds + 1)).capitalize()


def _number(rng: random.Random) -> str:
    return f"{rng.randrange(200, 999)} {rng.randrange(10**6, 10**7)}"


def _typo(name: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(name) - 1)
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return rng.choice(
        (name[:at] + name[at + 1 :], name[:at] + letter + name[at:], name[:at] + letter + name[at + 1 :])
    )


if __name__ == "__main__":
    main()
