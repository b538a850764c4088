"""How long the pipeline report takes over many deals with years of history.

    python benchmarks/report.py --deals 1000000

Makes fact tables of made-up deals as Parquet files (the same ones for the same numbers),
computes the whole report of them in a process of its own, and prints the seconds that each
module's queries took, the total, and the peak memory of that process. Making the tables is
not measured.
"""

# ruff: noqa: E501 - queries read best unbroken
from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
import pyarrow.parquet as pq

from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.report.facts import engine
from crmkit.report.facts.collect import outline
from crmkit.report.facts.scale import DAY, day_number, instant
from crmkit.report.facts.tables import LAYOUTS
from crmkit.report.inputs import Settings
from crmkit.report.pipeline import pipeline_report

AS_OF = datetime(2026, 11, 23, 9, tzinfo=UTC)
YEARS = 5
CURRENCIES = ("EUR", "USD", "GBP", "SEK")
CONNECTIONS = 5
OPEN_STAGES = ("prospecting", "qualification", "meeting", "proposal", "negotiation")


def settings() -> Settings:
    """Settings of a workspace with the built-in stages."""
    return Settings(
        report_currency="EUR", time_zone="Europe/Berlin", as_of=AS_OF, stages=DEFAULT_OUTLINE.stages
    )


def chance(salt: int, column: str = "i") -> str:
    """SQL for a number in 0..999999 that a row always draws again."""
    return f"CAST(hash({column} * 1000 + {salt}) % 1000000 AS BIGINT)"


def deals(count: int) -> str:
    """Deals created over the years: `last_stage` moves through the stages, some of them still on their way.

    One in ten is a copy of the deal before it in another CRM, linked with it. In two of the five
    connections the first pull came two years ago, in the others when the oldest deals were made.
    """
    now, span = instant(AS_OF), YEARS * 365 * DAY
    stages = ", ".join(f"'{name}'" for name in OPEN_STAGES)
    currencies = ", ".join(f"'{name}'" for name in CURRENCIES)
    return f"""
        WITH drawn AS (
            SELECT i, i - CASE WHEN i % 10 = 9 THEN 1 ELSE 0 END AS twin, i % {CONNECTIONS} AS place
            FROM range({count}) r(i)
        ),
        born AS (
            SELECT *, {now} - {chance(1, "twin")} * {span // 10**6} AS created,
                20 * {DAY} + {chance(2, "twin")} * {chance(3, "twin")} // 1000000 * {1400 * DAY // 10**6} AS cycle,
                {chance(4, "twin")} AS luck
            FROM drawn
        ),
        lived AS (
            SELECT *, created + cycle AS ends, created + cycle < {now} AS ended,
                least({len(OPEN_STAGES)}, 1 + {len(OPEN_STAGES)} * ({now} - created) // cycle) AS reached,
                {now} - {2 * 365 * DAY} AS late
            FROM born
        )
        SELECT i, created, cycle, ended, reached, 'crm' || place AS connection, 'd' || i AS id,
            CASE WHEN i % 10 >= 8 THEN 'l' || twin END AS logical,
            'Deal ' || i AS name, 'p' || (i % 2) AS pipeline_id,
            CASE WHEN NOT ended THEN [{stages}][reached]
                WHEN luck < 300000 THEN 'won' ELSE 'lost' END AS stage_id,
            CASE WHEN NOT ended THEN 'open' WHEN luck < 300000 THEN 'won' ELSE 'lost' END AS status,
            CASE WHEN ended AND luck >= 300000 THEN ['lost', 'abandoned', 'duplicate'][1 + i % 3] END AS lost_kind,
            CASE WHEN ended AND luck >= 300000 AND i % 7 > 0 THEN 'Reason ' || (i % 12) END AS lost_reason,
            CASE WHEN i % 25 > 0 THEN {chance(5)} * 500 + 10000 END AS amount, FALSE AS amount_unreadable,
            [{currencies}][1 + place % {len(CURRENCIES)}] AS currency,
            CASE WHEN i % 40 = 0 THEN 'monthly' ELSE 'one_time' END AS value_period,
            CASE WHEN i % 9 = 0 THEN NULL ELSE {chance(6)} END AS probability,
            CASE WHEN i % 3 = 0 THEN ['pipeline', 'best_case', 'commit'][1 + i % 3] END AS forecast_category,
            CASE WHEN i % 50 > 0 THEN 'o' || (i % 211) END AS owner_id,
            CASE WHEN i % 20 > 0 THEN 'c' || (i % {max(count // 20, 1)}) END AS company_id, i % 4 AS contacts,
            CASE WHEN i % 30 > 0 THEN (created + cycle) // {DAY} - 15 + i % 60 END AS close_day,
            CASE WHEN ended AND i % 5 > 0 THEN ends END AS closed_us, created AS created_us,
            least(ends, {now} - {DAY}) AS modified_us,
            CASE WHEN i % 5 > 0 THEN least(created + (reached - 1) * (cycle // 5), {now} - {DAY}) END
                AS stage_entered_us,
            CASE WHEN i % 6 > 0 THEN least(ends, {now} - (i % 60) * {DAY}) END AS activity_us,
            CASE WHEN NOT ended AND i % 2 = 0 THEN {now} + (i % 40 - 10) * {DAY} END AS next_us,
            CASE WHEN i % 8 = 0 THEN least(ends, {now} - {3 * DAY}) END AS note_us,
            CASE WHEN ended AND i % 11 = 0 THEN ends // {DAY} + 365 END AS renewal_day,
            CASE WHEN ended AND i % 23 = 0 THEN ends // {DAY} + 200 END AS upsell_day,
            'https://crm.example/deals/' || i AS url, i % 97 = 0 AS archived, NULL AS merged_into,
            greatest(created + 3600000000, CASE WHEN place < 2 THEN late ELSE 0 END) AS first_seen_us,
            CASE WHEN i % 101 = 0 THEN {now} - (i % 700) * {DAY} END AS gone_us
        FROM lived
    """


def changes() -> str:
    """What pulls saw: moves of stages, dates, amounts, the end, and the time of the last modification."""
    stages = ", ".join(f"'{name}'" for name in OPEN_STAGES)
    moved = f"""
        SELECT connection, id, 'stage_id' AS field, created + s * (cycle // 5) AS at_us,
            '=' || [{stages}][s] AS old,
            CASE WHEN s < reached THEN '=' || [{stages}][s + 1] ELSE '=' || stage_id END AS new, i % 9 = 0 AS own
        FROM made, range(1, 6) r(s) WHERE s < reached OR (ended AND s = 5)
    """
    ended = """
        SELECT connection, id, 'status', created + cycle, '=open', '=' || status, i % 9 = 0
        FROM made WHERE ended
    """
    pushed = f"""
        SELECT connection, id, 'close_day', created + t * (cycle // 4), '=' || (close_day - 30 * (4 - t)),
            '=' || (close_day - 30 * (3 - t)), i % 13 = 0
        FROM made, range(1, 4) r(t) WHERE i % 3 = 0 AND close_day IS NOT NULL AND created + t * (cycle // 4) < {instant(AS_OF)}
    """
    priced = f"""
        SELECT connection, id, 'amount', created + cycle // 3, '=' || (amount // 2), '=' || amount, FALSE
        FROM made WHERE i % 2 = 0 AND amount IS NOT NULL AND created + cycle // 3 < {instant(AS_OF)}
    """
    return f"""
        SELECT connection, id, field, at_us,
            row_number() OVER (ORDER BY at_us, connection, id, field) AS number, old, new, own
        FROM ({moved} UNION ALL {ended} UNION ALL {pushed} UNION ALL {priced}) x
        JOIN (SELECT connection AS c, min(first_seen_us) AS first_us FROM made GROUP BY connection) f
            ON connection = c AND at_us > first_us
    """


def steps() -> str:
    """Entries into stages, which three of the CRMs tell."""
    stages = ", ".join(f"'{name}'" for name in OPEN_STAGES)
    return f"""
        SELECT connection, id, [{stages}][s] AS stage_id, created + (s - 1) * (cycle // 5) AS at_us,
            CASE WHEN s > 1 THEN [{stages}][s - 1] END AS from_stage_id
        FROM made, range(1, 6) r(s) WHERE i % {CONNECTIONS} > 1 AND s <= reached
        UNION ALL
        SELECT connection, id, stage_id, created + cycle, '{OPEN_STAGES[-1]}' FROM made
        WHERE i % {CONNECTIONS} > 1 AND ended
    """


def others(count: int) -> dict[str, str]:
    """The small tables."""
    first, last = day_number(date(AS_OF.year - YEARS - 1, 1, 1)), day_number(date(AS_OF.year + 2, 1, 1))
    crms = f"range({CONNECTIONS}) c(place)"
    listed = [*OPEN_STAGES, "won", "lost"]
    rows = ", ".join(
        f"({place}, '{name}', '{name if name in ('won', 'lost') else 'open'}', {chance_of})"
        for place, (name, chance_of) in enumerate(zip(listed, (10, 20, 40, 60, 80, 100, 0), strict=True))
    )
    return {
        "stages": f"""
            SELECT 'crm' || place AS connection, 'p' || p AS pipeline_id, 'Pipeline ' || p AS pipeline,
                stage AS stage_id, stage || ' of ' || place AS native_stage, o AS place, status AS stage_status,
                share * 10000 AS stage_probability, CASE WHEN place = 4 AND o = 2 THEN NULL ELSE stage END AS stage
            FROM {crms}, range(2) q(p), (VALUES {rows}) s(o, stage, status, share)
        """,
        "owners": f"""
            SELECT 'crm' || place AS connection, 'o' || n AS owner_id, 'Owner ' || n AS owner_name,
                'o' || n || '@example.com' AS owner_email, n % 17 > 0 AS owner_active,
                'o' || n || '@example.com' AS owner_key, CASE WHEN n % 12 > 0 THEN 'Team ' || (n % 12) END AS team
            FROM {crms}, range(211) o(n)
        """,
        "companies": f"""
            SELECT 'crm' || place AS connection, 'c' || n AS company_id, 'Company ' || n AS company,
                'c' || n AS company_key
            FROM {crms}, range({max(count // 20, 1)}) o(n)
        """,
        "rates": f"""
            SELECT currency, d AS rate_day, 1000000000 * (500 + d % 400) AS rate
            FROM (VALUES ('USD'), ('GBP'), ('SEK')) c(currency), range({first}, {last}) r(d)
        """,
        "pulls": "SELECT connection, min(first_seen_us) AS first_us FROM made GROUP BY connection",
    }


def make(folder: Path, count: int) -> None:
    """Write the fact tables."""
    with duckdb.connect(config={"memory_limit": "4GB", "temp_directory": str(folder)}) as db:
        db.execute(f"CREATE TABLE made AS {deals(count)}")
        queries = {
            "deals": "SELECT * FROM made",
            "changes": changes(),
            "stage_steps": steps(),
            **others(count),
        }
        kinds = {"string": "VARCHAR", "int64": "BIGINT", "bool": "BOOLEAN", "decimal": "DECIMAL(38, 0)"}
        for layout in LAYOUTS:
            if layout.name not in queries:
                continue
            columns = ", ".join(
                f"CAST({name} AS {kinds[kind]}) AS {name}" for name, kind in layout.columns.items()
            )
            target = folder / f"{layout.name}.parquet"
            db.sql(f"SELECT {columns} FROM ({queries[layout.name]}) q").write_parquet(str(target))
    pq.write_table(outline(settings()), folder / "outline.parquet")


class Timed:
    """An engine that adds up the seconds of queries by the module that asked."""

    def __init__(self, inner: engine.Engine) -> None:
        self._inner = inner
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def rows(self, query: str, values: Mapping[str, engine.Value]) -> list[dict[str, Any]]:
        """The rows of a query."""
        start = time.perf_counter()
        try:
            return self._inner.rows(query, values)
        finally:
            self.seconds[_asker()] += time.perf_counter() - start

    def create(self, table: str, query: str, values: Mapping[str, engine.Value]) -> None:
        """A table that holds the rows of a query."""
        start = time.perf_counter()
        try:
            self._inner.create(table, query, values)
        finally:
            self.seconds[_asker()] += time.perf_counter() - start

    def view(self, table: str, query: str) -> None:
        """A name for a query; takes no time."""
        self._inner.view(table, query)


def _asker() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith("crmkit.report") and not name.endswith((".engine", ".sums")):
            return name.removeprefix("crmkit.report.")
        frame = frame.f_back
    return "elsewhere"


def measure(folder: Path) -> None:
    """Compute the report and print what it took."""
    start = time.perf_counter()
    spill = folder / "spill"
    spill.mkdir(exist_ok=True)
    with engine.duckdb(folder, folder=spill) as opened:
        timed = Timed(opened._engine)
        report = pipeline_report(engine.Facts(timed), settings())
    total = time.perf_counter() - start
    print(f"deals {report.deals:,}, open {report.open.count:,}")
    for name, seconds in sorted(timed.seconds.items(), key=lambda pair: -pair[1]):
        print(f"{seconds:8.2f} s  {name}")
    print(f"{total:8.2f} s  total")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MB peak")


def main() -> None:
    """Make the tables and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deals", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the tables are kept for the next time")
    parser.add_argument("--measure", action="store_true", help="use the tables in the folder as they are")
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, chosen.deals)
        for path in sorted(folder.glob("*.parquet")):
            print(f"{pq.read_metadata(path).num_rows:12,}  {path.stem}")
        subprocess.run([sys.executable, __file__, "--measure", "--folder", str(folder)], check=True)


if __name__ == "__main__":
    main()
