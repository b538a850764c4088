"""Open deals that are probably one deal entered twice (metrics.md 14, H14)."""

from __future__ import annotations

from crmkit.mapping import identity
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.metrics.open_deals import open_table
from crmkit.sync.alike import title_score

SIMILAR = 80.0
"""Names from this score on are similar; the score is the one that links deals across CRMs."""
NEAR_DAYS = 30
CROWD = 200
"""Deals of one company and amount beyond so many are a series, not copies: none of them is compared."""
COMPARED = 20_000
"""Pairs whose names are compared, at most."""


def pairs(facts: Facts, settings: Settings) -> str:
    """The table of look-alikes.

    Columns: `one_ref` and `other_ref` (smaller ref first), `one_name`, `other_name`, `company`.
    Two records that are linked are one deal here, so no pair is linked.
    """
    name = f"look-alikes {settings.as_of.isoformat()}"
    made = facts.kept(name)
    if made is not None:
        return made
    candidates = _candidates(facts, settings)
    rows = facts.rows(
        f"SELECT one_name, other_name, company FROM {candidates} ORDER BY pair_number NULLS LAST"
    )
    # Which pairs are similar goes back as one text: a mark for each pair, by its number.
    marks = "".join(
        "1" if likeness(row["one_name"], row["other_name"], row["company"]) >= SIMILAR else "0"
        for row in rows
    )
    query = f"SELECT * FROM {candidates} WHERE substr($marks, CAST(pair_number AS INT), 1) = '1'"
    return facts.keep(name, query, marks=marks)


def likeness(one: str, other: str, company: str | None) -> float:
    """How similar two names are, 0 to 100, apart from what they share with their company's name."""
    common = {*identity.words(company or "")}
    return title_score(_title(one, common), _title(other, common))


def left_out(facts: Facts, settings: Settings) -> tuple[int, int]:
    """How many deals and how many pairs were not compared because there are too many alike."""
    deals = facts.row(f"SELECT count(*) AS n FROM {_groups(facts, settings)} WHERE group_size > {CROWD}")
    last = facts.row(f"SELECT max(all_pairs) AS n FROM {_candidates(facts, settings)}")
    return int(deals["n"]), max(int(last["n"] or 0) - COMPARED, 0)


def _title(name: str, company: set[str]) -> str:
    every = identity.words(name)
    return " ".join([word for word in every if word not in company] or every)


def _groups(facts: Facts, settings: Settings) -> str:
    """Open deals that share company, currency and amount with another one."""
    query = f"""
        SELECT * FROM (
            SELECT ref, name, company, company_key, currency, native, close_day,
                count(*) OVER (PARTITION BY company_key, currency, native) AS group_size
            FROM {open_table(facts, settings)}
            WHERE company_key IS NOT NULL AND currency IS NOT NULL AND native IS NOT NULL
                AND close_day IS NOT NULL
        ) sized WHERE group_size > 1
    """
    return facts.keep(f"alike in amount {settings.as_of.isoformat()}", query)


def _candidates(facts: Facts, settings: Settings) -> str:
    groups = _groups(facts, settings)
    query = f"""
        SELECT * FROM (
            SELECT a.ref AS one_ref, b.ref AS other_ref, a.name AS one_name, b.name AS other_name, a.company,
                row_number() OVER (ORDER BY a.ref NULLS LAST, b.ref NULLS LAST) AS pair_number,
                count(*) OVER () AS all_pairs
            FROM {groups} a
            JOIN {groups} b
                ON a.company_key = b.company_key AND a.currency = b.currency AND a.native = b.native
            WHERE a.ref < b.ref AND a.group_size <= {CROWD}
                AND a.close_day - b.close_day BETWEEN -{NEAR_DAYS} AND {NEAR_DAYS}
        ) numbered WHERE pair_number <= {COMPARED}
    """
    return facts.keep(f"pairs alike in amount {settings.as_of.isoformat()}", query)
