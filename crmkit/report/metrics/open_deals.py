"""Point-in-time figures over open deals (metrics.md 3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from crmkit.model import Outcome
from crmkit.report.calendar import Span, month_of, next_spans, quarter_of
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import (
    CloseFigures,
    ConnectionFigures,
    ConnectionPart,
    DealLine,
    DueFigures,
    NativeStageFigures,
    OpenFigures,
    OpenSummary,
    OwnerFigures,
    StageFigures,
)
from crmkit.report.inputs import NativeStage, Settings
from crmkit.report.metrics.sums import OPEN_SUMS, average, median, open_figures, open_sums
from crmkit.report.ratios import share

MONTHS_AHEAD = 12
QUARTERS_AHEAD = 4

_Row = Mapping[str, Any]


def open_table(facts: Facts, settings: Settings) -> str:
    """The table of open deals in scope; columns as `deals_at`."""
    table = live_at(facts, settings)
    return facts.keep(f"open {settings.as_of.isoformat()}", f"SELECT * FROM {table} WHERE status = '{OPEN}'")


def deal_count(facts: Facts, settings: Settings) -> int:
    """Deals in scope, open and closed."""
    return int(facts.row(f"SELECT count(*) AS n FROM {live_at(facts, settings)}")["n"])


def summary(facts: Facts, settings: Settings) -> OpenSummary:
    """All open deals, with the spread of their amounts."""
    table = open_table(facts, settings)
    row = facts.row(f"SELECT {OPEN_SUMS}, count(value) AS valued, max(value) AS largest FROM {table}")
    sums, valued, least = open_sums(row), int(row["valued"]), settings.min_sample
    return OpenSummary(
        **sums,
        average_amount=average(sums["amount"], valued, least),
        median_amount=median(facts, table, "value", min_sample=least, read=scale.money),
        top_deal_share=share(
            scale.money(row["largest"]),
            sums["amount"],
            sample=valued,
            min_sample=least,
            meaningful=sums["amount"] > 0,
        ),
    )


def value_periods(facts: Facts, settings: Settings) -> dict[str, int]:
    """Open deals by what their amount stands for."""
    rows = facts.rows(
        f"""
        SELECT value_period, count(*) AS n FROM {open_table(facts, settings)}
        GROUP BY value_period ORDER BY value_period NULLS LAST
        """
    )
    return {row["value_period"]: int(row["n"]) for row in rows}


def by_stage(facts: Facts, settings: Settings) -> tuple[StageFigures, ...]:
    """Every open common stage in order, then any other that holds open deals, then unmapped."""
    table = open_table(facts, settings)
    whole = {row["stage"]: row for row in _grouped(facts, table, "stage")}
    parts: dict[str | None, list[ConnectionPart]] = {}
    for row in _grouped(facts, table, "stage, connection"):
        parts.setdefault(row["stage"], []).append(
            ConnectionPart(
                connection=row["connection"], count=int(row["n"]), amount=scale.money(row["amount"])
            )
        )

    def figures(stage: str | None, name: str | None, outcome: Outcome | None) -> StageFigures:
        return StageFigures(
            **open_sums(whole.get(stage)),
            stage=stage,
            name=name,
            outcome=outcome,
            by_connection=tuple(sorted(parts.get(stage, ()), key=lambda part: part.connection)),
        )

    rows = [
        figures(stage.id, stage.name, stage.outcome)
        for stage in sorted(settings.stages, key=lambda stage: (stage.order, stage.id))
        if stage.outcome is Outcome.OPEN or stage.id in whole
    ]
    return (*rows, figures(None, None, None))


def by_native_stage(facts: Facts, settings: Settings) -> tuple[NativeStageFigures, ...]:
    """Known open stages in pipeline order, zero rows too, then stages seen only on deals."""
    rows = facts.rows(
        f"""
        SELECT connection, pipeline_id, stage_id, min(pipeline) AS pipeline,
            min(native_stage) AS native_stage, min(stage) AS stage, {OPEN_SUMS}
        FROM {open_table(facts, settings)} GROUP BY connection, pipeline_id, stage_id
        """
    )
    found = {(row["connection"], row["pipeline_id"] or "", row["stage_id"] or ""): row for row in rows}
    known = {(one.connection, one.pipeline_id, one.stage_id): one for one in settings.native_stages}
    wanted = settings.scope.connections
    listed = [
        stage
        for key, stage in known.items()
        if key in found or (stage.outcome is Outcome.OPEN and (not wanted or stage.connection in wanted))
    ]
    unlisted = [
        NativeStage(
            connection=key[0],
            pipeline_id=key[1],
            pipeline_name=found[key]["pipeline"] or "",
            stage_id=key[2],
            stage_name=found[key]["native_stage"] or "",
            order=0,
            common_stage=found[key]["stage"],
        )
        for key in sorted(found)
        if key not in known
    ]
    return tuple(_native(stage, found) for stage in (*listed, *unlisted))


def _native(stage: NativeStage, found: Mapping[tuple[str, str, str], _Row]) -> NativeStageFigures:
    return NativeStageFigures(
        **open_sums(found.get((stage.connection, stage.pipeline_id, stage.stage_id))),
        connection=stage.connection,
        pipeline_id=stage.pipeline_id or None,
        pipeline=stage.pipeline_name or None,
        stage_id=stage.stage_id or None,
        stage=stage.stage_name or None,
        common_stage=stage.common_stage,
    )


def records(facts: Facts, settings: Settings) -> dict[str, int]:
    """Records per connection that lived at the instant and are looked at, before links and scope."""
    rows = facts.rows(
        """
        SELECT connection, count(*) AS n FROM deals
        WHERE first_seen_us <= $at AND NOT (gone_us IS NOT NULL AND gone_us <= $at) AND NOT archived
        GROUP BY connection
        """,
        at=scale.instant(settings.as_of),
    )
    wanted = settings.scope.connections
    return {row["connection"]: int(row["n"]) for row in rows if not wanted or row["connection"] in wanted}


def by_connection(
    facts: Facts, settings: Settings, counted: Mapping[str, int]
) -> tuple[ConnectionFigures, ...]:
    """Every connection that was read, by name."""
    found = {row["connection"]: row for row in _grouped(facts, open_table(facts, settings), "connection")}
    return tuple(
        ConnectionFigures(**open_sums(found.get(name)), connection=name, records=counted.get(name, 0))
        for name in sorted({*counted, *found})
    )


def by_owner(facts: Facts, settings: Settings) -> tuple[OwnerFigures, ...]:
    """Owners by amount, largest first; deals without one are the last row."""
    rows = facts.rows(
        f"""
        SELECT owner_key, min(coalesce(owner_name, owner_email, owner_id)) AS owner,
            max(CASE WHEN owner_active THEN 1 ELSE 0 END) AS active, {OPEN_SUMS}
        FROM {open_table(facts, settings)} GROUP BY owner_key
        """
    )
    found = [
        (row["owner_key"], OwnerFigures(**open_sums(row), owner=row["owner"], active=bool(row["active"])))
        for row in rows
    ]
    found.sort(key=lambda pair: (pair[0] is None, -pair[1].amount, pair[1].owner or "", pair[0] or ""))
    return tuple(one if key is not None else one.model_copy(update={"owner": None}) for key, one in found)


def overdue(facts: Facts, settings: Settings) -> OpenFigures:
    """Open deals whose expected close is past."""
    today = scale.day_number(settings.as_of_date)
    table = open_table(facts, settings)
    return open_figures(facts.row(f"SELECT {OPEN_SUMS} FROM {table} WHERE close_day < $today", today=today))


def due_in(facts: Facts, settings: Settings, span: Span) -> DueFigures:
    """Open deals whose expected close is in a period, overdue or not."""
    row = facts.row(
        f"""
        SELECT {OPEN_SUMS}, count(CASE WHEN close_day < $today THEN 1 END) AS late,
            sum(CASE WHEN close_day < $today THEN value END) AS late_amount
        FROM {open_table(facts, settings)} WHERE close_day >= $first AND close_day < $end
        """,
        today=scale.day_number(settings.as_of_date),
        first=scale.day_number(span.start),
        end=scale.day_number(span.end),
    )
    return DueFigures(
        **open_sums(row),
        key=span.key,
        start=span.start,
        end=span.end,
        overdue_count=int(row["late"]),
        overdue_amount=scale.money(row["late_amount"]),
    )


def no_close_date(facts: Facts, settings: Settings) -> OpenFigures:
    """Open deals without an expected close."""
    table = open_table(facts, settings)
    return open_figures(facts.row(f"SELECT {OPEN_SUMS} FROM {table} WHERE close_day IS NULL"))


def by_close(facts: Facts, settings: Settings) -> tuple[tuple[CloseFigures, ...], tuple[CloseFigures, ...]]:
    """By month and by fiscal quarter: the next twelve and four, then every later one that holds deals."""
    today, start = settings.as_of_date, settings.fiscal_start_month
    days = facts.rows(
        f"""
        SELECT close_day, {OPEN_SUMS} FROM {open_table(facts, settings)}
        WHERE close_day >= $today GROUP BY close_day
        """,
        today=scale.day_number(today),
    )
    months = next_spans(month_of(today), MONTHS_AHEAD)
    quarters = next_spans(quarter_of(today, start), QUARTERS_AHEAD, start)
    return (
        _spans(days, months, month_of),
        _spans(days, quarters, lambda day: quarter_of(day, start)),
    )


def _spans(days: list[dict[str, Any]], always: list[Span], span_of: Any) -> tuple[CloseFigures, ...]:
    found: dict[Span, dict[str, Any]] = {span: _nothing() for span in always}
    for row in days:
        day: date | None = scale.day(row["close_day"])
        total = found.setdefault(span_of(day), _nothing())
        for name in total:
            total[name] += row[name] or 0
    return tuple(
        CloseFigures(**open_sums(found[span]), key=span.key, start=span.start, end=span.end)
        for span in sorted(found)
    )


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(("n", "amount", "weighted", "unpriced", "unrated", "unlikely", "unlikely_amount"), 0)


def top_deals(facts: Facts, settings: Settings) -> tuple[DealLine, ...]:
    """The largest open deals; ties go by ref, those without an amount come last."""
    return deal_lines(facts, settings, open_table(facts, settings), settings.top)


def deal_lines(facts: Facts, settings: Settings, source: str, top: int) -> tuple[DealLine, ...]:
    """The largest deals of a table, as lines; `idle_days` where the table has it."""
    if top < 1:
        return ()
    names = {stage.id: stage.name for stage in settings.stages}
    rows = facts.rows(
        f"SELECT * FROM {source} ORDER BY value DESC NULLS LAST, ref NULLS LAST LIMIT $top", top=top
    )
    return tuple(
        DealLine(
            ref=row["ref"],
            name=row["name"],
            connection=row["connection"],
            stage=names.get(row["stage"] or "", row["native_stage"]),
            owner=row["owner_name"] or row["owner_email"],
            company=row["company"],
            amount=None if row["value"] is None else scale.money(row["value"]),
            expected_close=scale.day(row["close_day"]),
            idle_days=row.get("idle_days"),
            url=row["url"],
        )
        for row in rows
    )


def _grouped(facts: Facts, table: str, columns: str) -> list[dict[str, Any]]:
    return facts.rows(f"SELECT {columns}, {OPEN_SUMS} FROM {table} GROUP BY {columns}")
