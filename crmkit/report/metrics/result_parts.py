"""The results of a period by owner, team, connection and month, and by stage entered (metrics.md 4, 8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypedDict

from crmkit.mapping.stages import CommonStage
from crmkit.model import LostKind, Outcome, ValuePeriod
from crmkit.report.calendar import Span, month_of
from crmkit.report.facts import scale
from crmkit.report.facts.deals import LOST, OPEN, WON, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import RATE_DIGITS, WHOLE, day_number, instant
from crmkit.report.facts.snapshot import NO_VALUE
from crmkit.report.facts.visits import visits_at
from crmkit.report.figures import Closed
from crmkit.report.inputs import AmountBasis, Settings
from crmkit.report.metrics.result_figures import (
    ConnectionResults,
    MonthResults,
    OwnerResults,
    ResultsInParts,
    StageWinRate,
    TeamResults,
)
from crmkit.report.metrics.results import results
from crmkit.report.money import ZERO, add, subtract
from crmkit.report.ratios import Ratio, share

CREATED = "created"
_DUPLICATE = LostKind.DUPLICATE.value
_SUMS = """
    count(*) AS n, sum(value) AS amount, sum(CASE WHEN priced THEN 0 ELSE 1 END) AS unpriced,
    sum(CASE WHEN fx_missing THEN 1 ELSE 0 END) AS unrated, sum(CASE WHEN rated THEN 1 ELSE 0 END) AS rated
"""
_FIRST = ("amount", "currency", "value_period")
"""The fields that say what a deal was worth when it was created."""


def results_in_parts(
    facts: Facts, settings: Settings, period: tuple[date, date], *, overdue_or_stale: int
) -> ResultsInParts:
    """The results of a period with their parts; arguments as `results`."""
    table = _happened(facts, settings, period)
    least = settings.min_sample
    first = _at_creation(facts, settings, period)
    found = results(facts, settings, period, overdue_or_stale=overdue_or_stale)
    known = int(first["n"])
    return ResultsInParts(
        **dict(found),
        by_owner=_by_owner(facts, table, least),
        by_team=_by_team(facts, settings, table),
        by_connection=tuple(
            ConnectionResults(**part.figures(least), connection=key)
            for key, part in sorted(_parts(facts, table, "connection").items())
        ),
        by_month=_by_month(facts, table, period, least),
        win_rate_from_stage=_from_stage(facts, settings, period),
        created_amount_at_creation=None
        if not known and found.created.count
        else scale.money(first["amount"]),
        created_at_creation_count=known,
        created_at_creation_now_amount=None
        if not known and found.created.count
        else scale.money(first["now"]),
    )


class _Figures(TypedDict):
    won: Closed
    lost: Closed
    created: Closed
    net_new_pipeline: Decimal
    win_rate: Ratio


@dataclass(slots=True)
class _Sums:
    """Deals that were closed or created, added up."""

    count: int = 0
    amount: Decimal = ZERO
    unpriced: int = 0
    unrated: int = 0
    rated: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self.count += int(row["n"])
        self.amount = add(self.amount, scale.money(row["amount"]))
        self.unpriced += int(row["unpriced"] or 0)
        self.unrated += int(row["unrated"] or 0)
        self.rated += int(row["rated"] or 0)

    def closed(self) -> Closed:
        return Closed(
            count=self.count,
            amount=self.amount,
            amount_missing_count=self.unpriced,
            fx_missing_count=self.unrated,
        )


@dataclass(slots=True)
class _Part:
    """One group, by what happened to its deals."""

    by_kind: dict[str, _Sums] = field(default_factory=lambda: {WON: _Sums(), LOST: _Sums(), CREATED: _Sums()})
    name: str | None = None

    def figures(self, least: int) -> _Figures:
        won, lost, created = (self.by_kind[kind] for kind in (WON, LOST, CREATED))
        closed = won.rated + lost.rated
        return {
            "won": won.closed(),
            "lost": lost.closed(),
            "created": created.closed(),
            "net_new_pipeline": subtract(subtract(created.amount, won.amount), lost.amount),
            "win_rate": share(won.rated, closed, sample=closed, min_sample=least),
        }


def _happened(facts: Facts, settings: Settings, period: tuple[date, date]) -> str:
    """The table with one row per deal that was closed in the period, and one per deal created in it.

    Columns: `kind` (won, lost or created), day, ref, connection, id, pipeline_id, owner_key, owner, team,
    value, priced, fx_missing, `rated` (whether a win rate counts it).
    """
    table = live_at(facts, settings)
    columns = """ref, connection, id, pipeline_id, owner_key,
        coalesce(owner_name, owner_email, owner_id) AS owner, team, value, priced, fx_missing"""
    query = f"""
        SELECT status AS kind, closed_day AS day, {columns},
            status = '{WON}' OR lost_kind <> '{_DUPLICATE}' AS rated
        FROM {table} WHERE status <> '{OPEN}' AND closed_day >= $start AND closed_day < $end
        UNION ALL
        SELECT '{CREATED}' AS kind, created_day AS day, {columns}, FALSE AS rated
        FROM {table} WHERE created_day >= $start AND created_day < $end
    """
    return facts.keep(f"happened {settings.as_of.isoformat()} {period}", query, **_days(period))


def _days(period: tuple[date, date]) -> dict[str, int]:
    return {"start": day_number(period[0]), "end": day_number(period[1])}


def _parts(
    facts: Facts, table: str, column: str, *, group: Callable[[Any], Any] = lambda value: value
) -> dict[Any, _Part]:
    """The groups by the value of a column, or by what `group` makes of it."""
    found: defaultdict[Any, _Part] = defaultdict(_Part)
    for row in facts.rows(
        f"SELECT {column} AS part, kind, min(owner) AS owner, {_SUMS} FROM {table} GROUP BY {column}, kind"
    ):
        part = found[group(row["part"])]
        part.by_kind[row["kind"]].add(row)
        names = [name for name in (part.name, row["owner"]) if name is not None]
        part.name = min(names, default=None)
    return dict(found)


def _by_owner(facts: Facts, table: str, least: int) -> tuple[OwnerResults, ...]:
    parts = _parts(facts, table, "owner_key")
    found = [
        OwnerResults(**part.figures(least), owner=None if key is None else part.name, owner_key=key)
        for key, part in parts.items()
    ]
    found.sort(key=lambda one: (one.owner_key is None, -one.won.amount, one.owner or "", one.owner_key or ""))
    return tuple(found)


def _by_team(facts: Facts, settings: Settings, table: str) -> tuple[TeamResults, ...]:
    parts = {team: _Part() for team in settings.teams} | _parts(facts, table, "team")
    if not settings.teams and set(parts) <= {None}:
        return ()
    return tuple(
        TeamResults(**part.figures(settings.min_sample), team=team)
        for team, part in sorted(parts.items(), key=lambda pair: (pair[0] is None, pair[0] or ""))
    )


def _by_month(facts: Facts, table: str, period: tuple[date, date], least: int) -> tuple[MonthResults, ...]:
    start, end = period
    found = _parts(facts, table, "day", group=lambda number: month_of(scale.day(number)))
    months: list[Span] = [month_of(start)]
    while months[-1].end < end:
        months.append(month_of(months[-1].end))
    return tuple(
        MonthResults(
            **found.get(month, _Part()).figures(least),
            key=month.key,
            start=max(month.start, start),
            end=min(month.end, end),
        )
        for month in months
    )


def _from_stage(facts: Facts, settings: Settings, period: tuple[date, date]) -> tuple[StageWinRate, ...]:
    """Every common stage of open deals, in order."""
    rows = facts.rows(
        f"""
        WITH elsewhere AS (
            SELECT connection, stage_id, min_by(stage, pipeline_id) AS stage
            FROM stages GROUP BY connection, stage_id
        ),
        entered AS (
            SELECT DISTINCT c.ref, c.kind, coalesce(s.stage, e.stage) AS stage
            FROM (SELECT * FROM {_happened(facts, settings, period)} WHERE kind <> '{CREATED}' AND rated) c
            JOIN {visits_at(facts, instant(settings.as_of))} v ON c.connection = v.connection AND c.id = v.id
            LEFT JOIN stages s
                ON c.connection = s.connection AND c.pipeline_id = s.pipeline_id AND v.stage_id = s.stage_id
            LEFT JOIN elsewhere e ON c.connection = e.connection AND v.stage_id = e.stage_id
        )
        SELECT stage, count(*) AS closed, count(CASE WHEN kind = '{WON}' THEN 1 END) AS won
        FROM entered WHERE stage IS NOT NULL GROUP BY stage
        """
    )
    found = {row["stage"]: (int(row["won"]), int(row["closed"])) for row in rows}

    def rate(stage: CommonStage) -> StageWinRate:
        won, closed = found.get(stage.id, (0, 0))
        ratio = share(won, closed, sample=closed, min_sample=settings.min_sample)
        return StageWinRate(stage=stage.id, name=stage.name, win_rate=ratio)

    return tuple(
        rate(stage)
        for stage in sorted(settings.stages, key=lambda stage: (stage.order, stage.id))
        if stage.outcome is Outcome.OPEN
    )


def _at_creation(facts: Facts, settings: Settings, period: tuple[date, date]) -> dict[str, Any]:
    """What the deals created in the period were worth at first, of those whose creation was watched."""
    fields = ", ".join(f"min_by(old, number) FILTER (WHERE field = '{name}') AS {name}" for name in _FIRST)
    names = ", ".join(f"'{name}'" for name in _FIRST)
    first = facts.keep(
        "first values",
        f"SELECT connection, id, {fields} FROM changes WHERE field IN ({names}) GROUP BY connection, id",
    )

    def value(name: str, kind: str) -> str:
        text = f"substr(f.{name}, 2)"
        read = f"CAST(nullif({text}, '') AS BIGINT)" if kind == "number" else text
        return (
            f"CASE WHEN f.{name} IS NULL THEN d.{name} WHEN f.{name} = '{NO_VALUE}' THEN NULL ELSE {read} END"
        )

    annual = settings.amount_basis is AmountBasis.ANNUALISED
    twelve = f"CASE WHEN value_period = '{ValuePeriod.MONTHLY.value}' THEN 12 ELSE 1 END" if annual else "1"
    return facts.row(
        f"""
        SELECT count(*) AS n, sum(w.value) AS now, sum(CAST(w.native AS {WHOLE})
            * CASE WHEN w.currency = $own THEN CAST($one AS {WHOLE}) ELSE r.rate END) AS amount
        FROM (
            SELECT value, rate_day, nullif(upper(trim(currency)), '') AS currency, amount * {twelve} AS native
            FROM (
                SELECT d.value, d.rate_day, {value("amount", "number")} AS amount,
                    {value("currency", "text")} AS currency, {value("value_period", "text")} AS value_period
                FROM {live_at(facts, settings)} d
                JOIN pulls p ON d.connection = p.connection AND d.created_us >= p.first_us
                LEFT JOIN {first} f ON d.connection = f.connection AND d.id = f.id
                WHERE d.created_day >= $start AND d.created_day < $end
            ) watched
        ) w LEFT JOIN rates r ON w.currency = r.currency AND w.rate_day = r.rate_day
        """,
        **_days(period),
        own=settings.report_currency.strip().upper(),
        one=10**RATE_DIGITS,
    )
