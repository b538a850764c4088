"""What is wrong with the deals, and whose deals they are (metrics.md 14)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.inputs import Settings
from crmkit.report.metrics.hygiene.checked import checked, outlier_limit, outlier_value, silent
from crmkit.report.metrics.hygiene.figures import Hygiene, LookAlike, OwnerFindings, RuleFindings, ScorePart
from crmkit.report.metrics.hygiene.look_alikes import left_out, likeness, pairs
from crmkit.report.metrics.hygiene.rules import RULES, Rule, Severity
from crmkit.report.metrics.open_deals import open_table
from crmkit.report.metrics.pairs import DETAILED, REFS
from crmkit.report.metrics.periods import current_period
from crmkit.report.money import total_of
from crmkit.report.ratios import Ratio, share

__all__ = ["RULES", "Hygiene", "Severity", "findings", "hygiene"]

_Row = Mapping[str, Any]


def findings(facts: Facts, settings: Settings) -> str:
    """The table with one row per deal in scope and rule that it breaks.

    Columns: `ref`, `rule`, `severity`, and of the deal `connection`, `owner_key`, `status`, `value`.
    """
    name = f"findings {settings.as_of.isoformat()}"
    made = facts.kept(name)
    if made is not None:
        return made
    # One pass marks the rules that a deal breaks as bits of a number.
    bits = " + ".join(
        f"CASE WHEN ({rule.condition}){f' AND {rule.readable}' if rule.readable else ''} "
        f"THEN {1 << place} ELSE 0 END"
        for place, rule in enumerate(RULES)
    )
    broken = facts.keep(
        f"broken {settings.as_of.isoformat()}",
        f"""
        SELECT * FROM (
            SELECT ref, connection, owner_key, status, value, {bits} AS marks
            FROM ({checked(facts, settings)}) checked_deals
        ) marked WHERE marks > 0
        """,
        outlier=outlier_value(facts, settings),
        **_thresholds(settings),
    )
    listed = " UNION ALL ".join(
        f"SELECT '{rule.id}' AS rule, '{rule.severity.value}' AS severity, {1 << place} AS mark"
        for place, rule in enumerate(RULES)
    )
    return facts.keep(
        name,
        f"""
        SELECT b.ref, r.rule, r.severity, b.connection, b.owner_key, b.status, b.value
        FROM {broken} b JOIN ({listed}) r ON b.marks // r.mark % 2 = 1
        """,
    )


def hygiene(facts: Facts, settings: Settings) -> Hygiene:
    """Every rule with the deals that break it, and how clean the open deals are."""
    table = findings(facts, settings)
    names = _owner_names(facts, settings)
    parts: dict[str, list[_Row]] = defaultdict(list)
    for row in facts.rows(
        f"SELECT rule, owner_key, count(*) AS n, sum(value) AS amount FROM {table} GROUP BY rule, owner_key"
    ):
        parts[row["rule"]].append(row)
    not_readable = silent(facts, settings)
    alike = pairs(facts, settings)
    crowded, uncompared = left_out(facts, settings)
    by_connection = _scores(facts, settings, table, "connection", {})
    open_count = sum(one.open_count for one in by_connection)
    high_count = sum(one.high_count for one in by_connection)
    return Hygiene(
        hygiene_score=_score(open_count, high_count, settings),
        open_count=open_count,
        high_count=high_count,
        rules=tuple(
            _figures(facts, table, rule, parts[rule.id], names, not_readable if rule.readable else ())
            for rule in RULES
        ),
        by_owner=_scores(facts, settings, table, "owner_key", names),
        by_connection=by_connection,
        outlier_limit=outlier_limit(facts, settings),
        look_alike_count=int(facts.row(f"SELECT count(*) AS n FROM {alike}")["n"]),
        look_alikes=_look_alikes(facts, alike),
        crowded_count=crowded,
        uncompared_pairs=uncompared,
    )


def _thresholds(settings: Settings) -> dict[str, Value]:
    period = current_period(settings)
    orders = {stage.id: stage.order for stage in settings.stages}
    return {
        "at": scale.instant(settings.as_of),
        "today": scale.day_number(settings.as_of_date),
        "p0": scale.day_number(period.start),
        "p1": scale.day_number(period.end),
        "amount_from": orders.get(settings.amount_required_stage or ""),
        "push_limit": settings.push_limit,
        "far_days": settings.far_days,
    }


def _owner_names(facts: Facts, settings: Settings) -> dict[str | None, str | None]:
    rows = facts.rows(
        f"""
        SELECT owner_key, min(coalesce(owner_name, owner_email, owner_id)) AS owner
        FROM {live_at(facts, settings)} WHERE owner_key IS NOT NULL GROUP BY owner_key
        """
    )
    return {row["owner_key"]: row["owner"] for row in rows}


def _figures(
    facts: Facts,
    table: str,
    rule: Rule,
    parts: Iterable[_Row],
    names: Mapping[str | None, str | None],
    not_readable: tuple[str, ...],
) -> RuleFindings:
    owners = sorted(
        (
            OwnerFindings(
                owner_key=row["owner_key"],
                owner=names.get(row["owner_key"]),
                count=int(row["n"]),
                amount=scale.money(row["amount"]),
            )
            for row in parts
        ),
        key=lambda one: (-one.count, one.owner_key is None, one.owner or "", one.owner_key or ""),
    )
    return RuleFindings(
        rule=rule.id,
        severity=rule.severity,
        name=rule.name,
        count=sum(one.count for one in owners),
        amount=total_of(one.amount for one in owners),
        refs=_refs(facts, table, rule) if owners else (),
        by_owner=tuple(owners),
        not_readable=not_readable,
    )


def _refs(facts: Facts, table: str, rule: Rule) -> tuple[str, ...]:
    rows = facts.rows(
        f"""
        SELECT ref FROM {table} WHERE rule = $rule
        ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST LIMIT {REFS}
        """,
        rule=rule.id,
    )
    return tuple(row["ref"] for row in rows)


def _scores(
    facts: Facts, settings: Settings, table: str, column: str, names: Mapping[str | None, str | None]
) -> tuple[ScorePart, ...]:
    rows = facts.rows(
        f"""
        SELECT d.{column} AS part, count(*) AS n, count(h.ref) AS high
        FROM {open_table(facts, settings)} d
        LEFT JOIN (
            SELECT ref FROM {table} WHERE severity = '{Severity.HIGH.value}' AND status = '{OPEN}'
            GROUP BY ref
        ) h ON d.ref = h.ref
        GROUP BY d.{column}
        """
    )
    found = [
        ScorePart(
            key=row["part"],
            name=names.get(row["part"], row["part"]),
            open_count=int(row["n"]),
            high_count=int(row["high"]),
            score=_score(int(row["n"]), int(row["high"]), settings),
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda one: (one.key is None, one.name or "", one.key or "")))


def _score(open_count: int, high_count: int, settings: Settings) -> Ratio:
    return share(open_count - high_count, open_count, sample=open_count, min_sample=settings.min_sample)


def _look_alikes(facts: Facts, alike: str) -> tuple[LookAlike, ...]:
    rows = facts.rows(
        f"SELECT * FROM {alike} ORDER BY one_ref NULLS LAST, other_ref NULLS LAST LIMIT {DETAILED}"
    )
    return tuple(
        LookAlike(
            ref=row["one_ref"],
            name=row["one_name"],
            other_ref=row["other_ref"],
            other_name=row["other_name"],
            company=row["company"],
            likeness=Decimal(str(likeness(row["one_name"], row["other_name"], row["company"]))).quantize(
                Decimal("0.1")
            ),
        )
        for row in rows
    )
