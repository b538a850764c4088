"""What the period will bring, by forecast category, owner and team (metrics.md 12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crmkit.report.calendar import Span
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, WON, live_at
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.inputs import Settings
from crmkit.report.metrics.categories import UNKNOWN, category_sql, says_closed_sql
from crmkit.report.metrics.forecast_figures import (
    CategoryAmount,
    CategoryFigures,
    CategoryProblem,
    Forecast,
    LeftOut,
    OwnerForecast,
    TeamForecast,
)
from crmkit.report.metrics.forecast_history import history
from crmkit.report.metrics.forecast_sums import Parts, Sums
from crmkit.report.metrics.open_deals import deal_lines
from crmkit.report.metrics.pairs import REFS
from crmkit.report.metrics.periods import current_period
from crmkit.report.metrics.quotas import owner_quota, team_quota, whole_quota
from crmkit.report.metrics.sums import OPEN_SUMS
from crmkit.report.money import total_of

DUE, OVERDUE, LATER = "due", "overdue", "later"

_Row = dict[str, Any]


def forecast(facts: Facts, settings: Settings) -> Forecast:
    """The forecast for the period of the settings, else for the fiscal quarter of `as_of`."""
    span = current_period(settings)
    table = forecast_table(facts, settings, span)
    rows = facts.rows(
        f"""
        SELECT place, category, owner_key, team, min(coalesce(owner_name, owner_email, owner_id)) AS owner,
            min(owner_email) AS owner_email, {OPEN_SUMS}
        FROM {table} WHERE place <> '{LATER}' GROUP BY place, category, owner_key, team
        """
    )
    whole = Parts()
    for row in rows:
        whole.add(row)
    refs = _refs(facts, table)
    problems = _problems(facts, table)
    known = history(facts, settings, span)
    return Forecast(
        **whole.amounts(_quota(settings, span), settings.min_sample),
        key=span.key,
        start=span.start,
        end=span.end,
        categories=tuple(_with_refs(one, refs) for one in whole.categories()),
        by_owner=_by_owner(rows, settings, span),
        by_team=_by_team(rows, settings, span),
        overdue=_left_out(
            facts,
            settings,
            f"{table} WHERE place = '{OVERDUE}'",
            whole.overdue,
            refs.get((OVERDUE, OVERDUE), ()),
        ),
        omitted=_left_out(
            facts,
            settings,
            f"{table} WHERE place = '{DUE}' AND category = 'omitted'",
            whole.of("omitted"),
            refs.get((DUE, "omitted"), ()),
        ),
        problem_count=int(facts.row(f"SELECT count(problem) AS n FROM {table}")["n"]),
        problems=problems,
        history_since=known.since,
        snapshots=known.snapshots,
        accuracy=known.accuracy,
    )


def _quota(settings: Settings, span: Span) -> Decimal | None:
    """What everybody in scope is to win: the owners or the teams that it names, else the whole."""
    scope = settings.scope
    if scope.owners:
        parts = [owner_quota(settings, span, owner) for owner in sorted(scope.owners)]
    elif scope.teams:
        wanted = {team.casefold() for team in scope.teams}
        parts = [team_quota(settings, span, team) for team in settings.teams if team.casefold() in wanted]
    else:
        return whole_quota(settings, span)
    known = [part for part in parts if part is not None]
    return total_of(known) if known else None


def forecast_table(facts: Facts, settings: Settings, span: Span) -> str:
    """The table of open deals in scope, and of those won in the period, with their category.

    Columns of `deals_at`, `category` (`unknown` if the CRM names one that nobody knows),
    `place` (due, overdue or later; a won deal is due), and `problem`: what is wrong with the
    category that the CRM names.
    """
    values: dict[str, Value] = {}
    category = category_sql(settings, values, deal="d", outline="o")
    query = f"""
        SELECT *,
            CASE WHEN status <> '{OPEN}' THEN NULL
                WHEN category = '{UNKNOWN}' THEN 'forecast_category_unknown'
                WHEN says_closed THEN 'forecast_category_closed' END AS problem
        FROM (
            SELECT d.ref, d.connection, d.name, d.url, d.status, d.stage, d.native_stage, d.owner_id,
                d.owner_key, d.owner_name, d.owner_email, d.team, d.company, d.close_day, d.value, d.weighted,
                d.share, d.priced, d.fx_missing, d.forecast_category AS said, {category} AS category,
                {says_closed_sql(settings, values, deal="d")} AS says_closed,
                CASE WHEN d.status = '{WON}' THEN '{DUE}'
                    WHEN d.close_day < $today THEN '{OVERDUE}'
                    WHEN d.close_day >= $first AND d.close_day < $end THEN '{DUE}'
                    ELSE '{LATER}' END AS place
            FROM {live_at(facts, settings)} d LEFT JOIN outline o ON d.stage = o.stage
            WHERE d.status = '{OPEN}'
                OR (d.status = '{WON}' AND d.closed_day >= $first AND d.closed_day < $end)
        ) categorised
    """
    return facts.keep(
        f"forecast {settings.as_of.isoformat()} {span.key}",
        query,
        today=scale.day_number(settings.as_of_date),
        first=scale.day_number(span.start),
        end=scale.day_number(span.end),
        **values,
    )


def _by_owner(rows: list[_Row], settings: Settings, span: Span) -> tuple[OwnerForecast, ...]:
    """Owners by their best forecast, largest first; deals without one are the last row."""
    groups: defaultdict[str | None, Parts] = defaultdict(Parts)
    names: dict[str | None, tuple[str | None, str | None]] = {}
    for row in rows:
        key = row["owner_key"]
        groups[key].add(row)
        name, email = names.get(key, (None, None))
        names[key] = (_first(name, row["owner"]), _first(email, row["owner_email"]))
    found = []
    for key, parts in groups.items():
        name, email = names[key] if key is not None else (None, None)
        quota = owner_quota(settings, span, key, email, name)
        found.append(
            OwnerForecast(
                **parts.amounts(quota, settings.min_sample),
                owner=name,
                owner_key=key,
                categories=parts.categories(),
            )
        )
    return tuple(
        sorted(
            found,
            key=lambda one: (
                one.owner_key is None,
                -one.forecast_best,
                one.owner or "",
                one.owner_key or "",
            ),
        )
    )


def _by_team(rows: list[_Row], settings: Settings, span: Span) -> tuple[TeamForecast, ...]:
    """Every team that is configured or seen, by name; deals of owners in no team are the last row."""
    groups: defaultdict[str | None, Parts] = defaultdict(Parts, {team: Parts() for team in settings.teams})
    for row in rows:
        groups[row["team"]].add(row)
    if not settings.teams and set(groups) <= {None}:
        return ()
    return tuple(
        TeamForecast(
            **parts.amounts(team_quota(settings, span, team), settings.min_sample),
            team=team,
            categories=parts.categories(),
        )
        for team, parts in sorted(groups.items(), key=lambda pair: (pair[0] is None, pair[0] or ""))
    )


def _first(left: str | None, right: str | None) -> str | None:
    known = [name for name in (left, right) if name is not None]
    return min(known) if known else None


def _refs(facts: Facts, table: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Refs by place and category, the largest deals first; overdue ones under one name."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in facts.rows(
        f"""
        SELECT place, bucket, ref FROM (
            SELECT place, bucket, ref,
                row_number() OVER (
                    PARTITION BY place, bucket ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST
                ) AS list_place
            FROM (
                SELECT place, CASE WHEN place = '{OVERDUE}' THEN place ELSE category END AS bucket, ref, value
                FROM {table} WHERE place <> '{LATER}'
            ) buckets
        ) ranked
        WHERE list_place <= {REFS}
        ORDER BY place NULLS LAST, bucket NULLS LAST, list_place NULLS LAST
        """
    ):
        found[row["place"], row["bucket"]].append(row["ref"])
    return {key: tuple(refs) for key, refs in found.items()}


def _with_refs(amount: CategoryAmount, refs: Mapping[tuple[str, str], tuple[str, ...]]) -> CategoryFigures:
    return CategoryFigures(**amount.model_dump(), refs=refs.get((DUE, amount.category or UNKNOWN), ()))


def _left_out(facts: Facts, settings: Settings, source: str, sums: Sums, refs: tuple[str, ...]) -> LeftOut:
    return LeftOut(
        count=sums.count,
        amount=sums.amount,
        refs=refs,
        deals=deal_lines(facts, settings, source, settings.top),
    )


def _problems(facts: Facts, table: str) -> tuple[CategoryProblem, ...]:
    rows = facts.rows(
        f"""
        SELECT problem, ref, name, connection, url, said FROM {table} WHERE problem IS NOT NULL
        ORDER BY problem DESC NULLS LAST, abs(value) DESC NULLS LAST, ref NULLS LAST LIMIT {REFS}
        """
    )
    return tuple(
        CategoryProblem(
            code=row["problem"],
            ref=row["ref"],
            name=row["name"],
            connection=row["connection"],
            url=row["url"],
            said=row["said"],
        )
        for row in rows
    )
