"""Every deal of a waterfall with its one entry, its one exit and what it adds to which bar (metrics.md 6)."""

from __future__ import annotations

from crmkit.report.calendar import Span
from crmkit.report.facts.deals import LOST, OPEN, WON
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import WHOLE, day_number, instant
from crmkit.report.facts.snapshot import ARCHIVED, LIVE
from crmkit.report.inputs import Scope, Settings
from crmkit.report.metrics.flow_figures import ENTRIES, EXITS
from crmkit.report.metrics.pairs import Between


def flow_lines(facts: Facts, settings: Settings, found: Between, window: Span | None) -> str:
    """The table of the deals that matter, each with what it adds to which bars.

    `entry` and `exit` name its bars, NULL if it has none; `in_start`, `in_end`; the values
    `start`, `fx`, `changed`, `came`, `went`, `end` are zero where it has none.
    """
    values: dict[str, Value] = {"t0": instant(found.start), "t1": instant(found.end)}
    if window:
        values |= {"w0": day_number(window.start), "w1": day_number(window.end)}
    query = f"""
        WITH members AS ({_members(found.table, window is not None)}),
        classified AS ({_classified(settings.scope, window is not None)}),
        valued AS ({_VALUED})
        SELECT *, end_value - (start_value + fx + changed + came + went) AS gap,
            CAST(in_end AS INTEGER) - CAST(in_start AS INTEGER)
                - CASE WHEN entry IS NULL THEN 0 ELSE 1 END + CASE WHEN exit_ IS NULL THEN 0 ELSE 1 END
                AS count_gap
        FROM valued
    """
    span = f"{window.start} {window.end}" if window else "all"
    name = f"waterfall {found.start.isoformat()} {found.end.isoformat()} {span}"
    return facts.keep(name, query, **values)


def _members(table: str, windowed: bool) -> str:
    """Membership at both ends (metrics.md 6.1), and what passed through in between (6.2)."""
    sides = {
        side: f"coalesce({side}_close_day >= $w0 AND {side}_close_day < $w1, FALSE)" if windowed else "TRUE"
        for side in "xy"
    }
    live = {side: f"coalesce({side}_life = '{LIVE}' AND {side}_in_scope, FALSE)" for side in "xy"}
    return f"""
        SELECT *,
            {live["x"]} AND coalesce(x_status = '{OPEN}', FALSE) AND {sides["x"]} AS in_start,
            {live["y"]} AND coalesce(y_status = '{OPEN}', FALSE) AND {sides["y"]} AS in_end,
            {live["y"]} AND coalesce(y_status <> '{OPEN}', FALSE) AND {sides["y"]}
                AND coalesce(y_closed_us >= $t0 AND y_closed_us < $t1, FALSE) AS closed_between
        FROM {table}
    """


def _classified(scope: Scope, windowed: bool) -> str:
    """The one entry and the one exit of each deal that has them: first match wins."""
    dated = (
        "WHEN x_close_day IS NULL THEN 'date_set' WHEN x_close_day >= $w1 THEN 'pulled_in' "
        "WHEN x_close_day < $w0 THEN 'pushed_in'",
        "WHEN y_close_day IS NULL THEN 'date_cleared' WHEN y_close_day >= $w1 THEN 'pushed_out' "
        "WHEN y_close_day < $w0 THEN 'pulled_out'",
    )
    # Without a window no close date leads in or out: what is left over there does not balance.
    into, out_of = dated if windowed else ("", "")
    return f"""
        SELECT m.*,
            CASE WHEN in_start THEN NULL
                WHEN x_ref IS NULL AND m.created_us >= $t0 AND m.created_us < $t1 THEN 'created'
                WHEN x_ref IS NULL THEN 'backfilled'
                WHEN x_life <> '{LIVE}' THEN 'restored'
                WHEN x_status <> '{OPEN}' THEN 'reopened'
                WHEN NOT x_in_scope THEN 'transferred_in'
                {into}
            END AS entry,
            CASE WHEN NOT in_start AND closed_between THEN y_status
                WHEN NOT in_start THEN NULL
                WHEN y_life <> '{LIVE}' THEN 'removed'
                WHEN in_end THEN NULL
                WHEN NOT y_in_scope THEN 'transferred_out'
                WHEN y_status IN ('{WON}', '{LOST}') THEN y_status
                {out_of}
            END AS exit_,
            {_handed_over(scope)} AS handed_over,
            p.first_us > $t0 AS first_pull
        FROM members m LEFT JOIN pulls p ON m.y_connection = p.connection
        WHERE in_start OR in_end OR closed_between
    """


def _handed_over(scope: Scope) -> str:
    """Why a deal changed scope; what the scope asks for comes first."""
    causes = (
        ("team", "team", bool(scope.teams)),
        ("owner", "owner_key", bool(scope.owners)),
        ("pipeline", "pipeline_id", bool(scope.pipelines)),
    )
    ordered = sorted(causes, key=lambda cause: not cause[2])
    whens = " ".join(
        f"WHEN x_{column} IS DISTINCT FROM y_{column} THEN '{name}'" for name, column, _ in ordered
    )
    return f"CASE WHEN x_ref IS NULL THEN NULL {whens} END"


_ZERO = f"CAST(0 AS {WHOLE})"
# Where a currency has no rate the deal adds nothing; a rate that comes or goes is the currency's doing.
_VALUED = f"""
    SELECT logical, coalesce(CASE WHEN exit_ = 'removed' THEN x_ref END, y_ref) AS ref,
        y_connection AS connection, entry, exit_, in_start, in_end, stays, closed_between,
        CASE WHEN exit_ = 'removed' AND merged_into IS NOT NULL THEN 'merged'
            WHEN exit_ = 'removed' AND y_life = '{ARCHIVED}' THEN 'archived'
            WHEN exit_ = 'removed' THEN 'deleted'
            WHEN exit_ = 'transferred_out' OR entry = 'transferred_in' THEN handed_over
            WHEN entry = 'backfilled' AND coalesce(first_pull, FALSE) THEN 'first_pull'
            WHEN entry = 'backfilled' THEN 'seen_late'
            WHEN entry = 'reopened' AND x_status = y_status THEN 'closed_again' END AS reason,
        CASE WHEN exit_ = 'removed' AND merged_into IS NOT NULL
            THEN concat(y_connection, ':deal:', merged_into) END AS survivor,
        in_start AND (x_start IS NULL OR x_end IS NULL)
            OR (stays OR NOT in_start) AND y_end IS NULL AS unpriced,
        in_end AND stays AND x_native IS NOT DISTINCT FROM y_native
            AND x_currency IS NOT DISTINCT FROM y_currency AS unchanged,
        y_frozen, coalesce(y_end, {_ZERO}) AS final_value, y_status,
        CASE WHEN in_start THEN coalesce(x_start, {_ZERO}) ELSE {_ZERO} END AS start_value,
        CASE WHEN NOT in_start THEN {_ZERO}
            WHEN stays AND (x_end IS NULL OR y_end IS NULL)
                THEN coalesce(y_end, {_ZERO}) - coalesce(x_start, {_ZERO})
            ELSE coalesce(x_end, {_ZERO}) - coalesce(x_start, {_ZERO}) END AS fx,
        CASE WHEN stays AND x_end IS NOT NULL AND y_end IS NOT NULL
            THEN y_end - x_end ELSE {_ZERO} END AS changed,
        CASE WHEN entry IS NOT NULL THEN coalesce(y_end, {_ZERO}) ELSE {_ZERO} END AS came,
        CASE WHEN exit_ = 'removed' THEN -coalesce(x_end, {_ZERO})
            WHEN exit_ IS NOT NULL THEN -coalesce(y_end, {_ZERO}) ELSE {_ZERO} END AS went,
        CASE WHEN in_end THEN coalesce(y_end, {_ZERO}) ELSE {_ZERO} END AS end_value
    FROM (SELECT *, in_start AND y_life = '{LIVE}' AS stays FROM classified) c
"""
BARS = {
    "start": ("in_start", "start_value"),
    "fx": ("fx <> 0", "fx"),
    "increased": ("changed > 0", "changed"),
    "decreased": ("changed < 0", "changed"),
    **{name: (f"entry = '{name}'", "came") for name in ENTRIES},
    **{name: (f"exit_ = '{name}'", "went") for name in EXITS},
    "end": ("in_end", "end_value"),
    "unchanged": ("unchanged", "end_value"),
}
"""The deals of each bar, and what they add to it."""
