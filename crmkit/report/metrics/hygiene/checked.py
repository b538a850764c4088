"""The deals that the hygiene rules look at, with everything that the rules ask about."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, WON, deals_at, live_at
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import MONEY_DIGITS, SECOND, WHOLE, day_number, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.inputs import Settings
from crmkit.report.metrics.dates import pushes
from crmkit.report.metrics.hygiene.look_alikes import pairs
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.open_deals import open_table
from crmkit.report.metrics.periods import trailing_window
from crmkit.report.metrics.signs import signs
from crmkit.report.metrics.sums import percentile
from crmkit.report.money import multiply

# On closing a deal a CRM may set its date itself.
_CLOSING = 60 * SECOND
_OUTLIERS = Decimal("0.95")
_LARGEST = Decimal(10) ** 20


def checked(facts: Facts, settings: Settings) -> str:
    """The query for one row per living deal in scope, open or closed; `$outlier` is bound by its user.

    The columns of `deals_at` that the rules ask for, and: `common_status`, that of the common
    stage; `next_us` of any record of the deal; `next_readable` and `owners_readable`, whether
    the connection tells any; `stale` and `stuck` (FALSE for closed deals); `push_count` and
    `push_gap_us`; `is_outlier`, `has_look_alike`, `is_default_close`, `was_edited`.
    """
    alike = pairs(facts, settings)
    return f"""
        WITH listing AS (SELECT connection, TRUE AS owners_readable FROM owners GROUP BY connection),
        alike AS (
            SELECT ref FROM (
                SELECT one_ref AS ref FROM {alike} UNION ALL SELECT other_ref AS ref FROM {alike}
            ) sides GROUP BY ref
        )
        SELECT d.ref, d.connection, d.owner_key, d.status, d.value, d.native, d.amount_unreadable,
            d.close_day, d.stage, d.stage_order, d.native_stage, d.stage_status, d.share, d.owner_id,
            d.owner_active, d.owner_listed, d.company_id, d.contacts, d.created_day, d.created_us,
            d.closed_day, d.closed_us, d.stage_entered_us, d.lost_reason, d.fx_missing,
            o.common_status, s.next_us,
            coalesce(n.next_readable, FALSE) AS next_readable,
            coalesce(w.owners_readable, FALSE) AS owners_readable,
            coalesce(i.stale, FALSE) AS stale, coalesce(i.stuck, FALSE) AS stuck,
            p.push_count, p.push_gap_us,
            coalesce(d.value > CAST($outlier AS {WHOLE}), FALSE) AS is_outlier,
            l.ref IS NOT NULL AS has_look_alike,
            c.ref IS NOT NULL AS is_default_close,
            e.ref IS NOT NULL AS was_edited
        FROM {live_at(facts, settings)} d
        LEFT JOIN outline o ON d.stage = o.stage
        LEFT JOIN {signs(facts, settings)} s ON d.logical = s.logical
        LEFT JOIN {next_readable(facts)} n ON d.connection = n.connection
        LEFT JOIN listing w ON d.connection = w.connection
        LEFT JOIN {idle(facts, settings)} i ON d.ref = i.ref
        LEFT JOIN {pushes(facts, settings)} p ON d.connection = p.connection AND d.id = p.id
        LEFT JOIN alike l ON d.ref = l.ref
        LEFT JOIN {_default_close(facts, settings)} c ON d.ref = c.ref
        LEFT JOIN {_edited(facts, settings)} e ON d.ref = e.ref
    """


def outlier_value(facts: Facts, settings: Settings) -> str | None:
    """The limit of outliers in units of the column `value`, cut: what is above the one is above the other."""
    limit = outlier_limit(facts, settings)
    if limit is None:
        return None
    return str(int(limit.scaleb(MONEY_DIGITS).to_integral_value(rounding=ROUND_FLOOR)))


def next_readable(facts: Facts) -> str:
    """The table of the connections that tell the next step of any deal at all."""
    return facts.keep(
        "next steps readable",
        "SELECT connection, TRUE AS next_readable FROM deals WHERE next_us IS NOT NULL GROUP BY connection",
    )


def silent(facts: Facts, settings: Settings) -> tuple[str, ...]:
    """Connections with open deals that tell no next step."""
    rows = facts.rows(
        f"""
        SELECT d.connection FROM {open_table(facts, settings)} d
        ANTI JOIN {next_readable(facts)} n ON d.connection = n.connection
        GROUP BY d.connection ORDER BY d.connection NULLS LAST
        """
    )
    return tuple(row["connection"] for row in rows)


def outlier_limit(facts: Facts, settings: Settings) -> Decimal | None:
    """The amount above which a deal is out of line, in the report currency.

    By the amounts won in the trailing window, in scope or not; `None` where these are fewer
    than the smallest sample, or of no size (inferred).
    """
    first, end = trailing_window(settings)
    won = percentile(
        facts,
        f"""{deals_at(facts, settings)}
        WHERE life = '{LIVE}' AND status = '{WON}' AND closed_day >= $w0 AND closed_day < $w1""",
        "value",
        _OUTLIERS,
        min_sample=settings.min_sample,
        read=scale.money,
        w0=day_number(first),
        w1=day_number(end),
    )
    if won.value is None or won.low_sample or won.value <= 0:
        return None
    return min(multiply(won.value, settings.outlier_factor), _LARGEST)


def _edited(facts: Facts, settings: Settings) -> str:
    """Closed deals whose amount, close date or owner somebody else than crmkit changed afterwards.

    What a pull saw together with the closing may have been changed before it.
    """
    query = f"""
        WITH closed AS (
            SELECT connection, id, ref, closed_us FROM {live_at(facts, settings)} WHERE status <> '{OPEN}'
        ),
        edits AS (
            SELECT c.connection, c.id, d.ref, max(c.at_us) AS edited_us
            FROM changes c JOIN closed d ON c.connection = d.connection AND c.id = d.id
            WHERE c.field IN ('amount', 'close_day', 'owner_id') AND NOT c.own AND c.at_us <= $at
                AND c.at_us > d.closed_us + {_CLOSING}
            GROUP BY c.connection, c.id, d.ref
        ),
        closings AS (
            SELECT c.connection, c.id, max(c.at_us) AS seen_us
            FROM changes c SEMI JOIN edits e ON c.connection = e.connection AND c.id = e.id
            WHERE c.field = 'status' AND c.at_us <= $at GROUP BY c.connection, c.id
        )
        SELECT e.ref FROM edits e
        LEFT JOIN closings q ON e.connection = q.connection AND e.id = q.id
        WHERE q.seen_us IS NULL OR e.edited_us > q.seen_us + {_CLOSING}
    """
    return facts.keep(f"edited {settings.as_of.isoformat()}", query, at=instant(settings.as_of))


def _default_close(facts: Facts, settings: Settings) -> str:
    """Open deals with the close date that their CRM presets: the last day of the month of creation."""
    names = sorted(settings.month_end_close)
    values: dict[str, Value] = {f"preset{place}": name for place, name in enumerate(names)}
    among = f"connection IN ({', '.join(f'${name}' for name in values)})" if names else "FALSE"
    query = f"""
        WITH preset AS (
            SELECT ref, connection, id, created_day, close_day, {_day_of_month("close_day")} AS close_place
            FROM {open_table(facts, settings)}
            WHERE {among} AND close_day BETWEEN created_day AND created_day + 30
                AND {_day_of_month("close_day + 1")} = 1
        )
        SELECT p.ref FROM preset p
        ANTI JOIN (SELECT connection, id FROM changes WHERE field = 'close_day' AND at_us <= $at) c
            ON p.connection = c.connection AND p.id = c.id
        WHERE p.close_day - p.created_day < p.close_place
    """
    return facts.keep(
        f"default close {settings.as_of.isoformat()}", query, at=instant(settings.as_of), **values
    )


def _day_of_month(day: str) -> str:
    """SQL for the day of the month of a day number, from arithmetic alone.

    Source: https://howardhinnant.github.io/date_algorithms.html, civil_from_days
    """
    # Days since 0000-03-01, of which 146,097 make 400 years.
    in_era = f"(({day} + 719468) % 146097)"
    year = f"(({in_era} - {in_era} // 1460 + {in_era} // 36524 - {in_era} // 146096) // 365)"
    in_year = f"({in_era} - (365 * {year} + {year} // 4 - {year} // 100))"
    month = f"((5 * {in_year} + 2) // 153)"
    return f"({in_year} - (153 * {month} + 2) // 5 + 1)"
