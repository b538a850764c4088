"""The deals of all connections at an instant: linked ones once, mapped and valued."""

from __future__ import annotations

from datetime import date, datetime

from crmkit.model import LostKind, Outcome, ValuePeriod
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import DAY, RATE_DIGITS, SHARE_DIGITS, WHOLE, day_number, instant
from crmkit.report.facts.snapshot import LIVE, records_at
from crmkit.report.facts.tables import DEALS
from crmkit.report.facts.zone import ahead, local_day, start_of
from crmkit.report.inputs import AmountBasis, Scope, Settings

OPEN, WON, LOST = Outcome.OPEN.value, Outcome.WON.value, Outcome.LOST.value
CERTAIN = 10**SHARE_DIGITS
"""A probability of one."""


def deals_at(
    facts: Facts, settings: Settings, at: datetime | None = None, *, rates_on: date | None = None
) -> str:
    """The table with one row per logical deal known at an instant, whatever became of it.

    Beside the columns of `deals` (those of the member whose values count):

    - `ref`, `logical`, `records` (live members), `life`, `in_scope`;
    - `pipeline`, `native_stage`, `place`, `stage_status`, `stage` (the common stage; NULL if unmapped
      or unknown), `stage_order`, `stage_unknown`;
    - `owner_key` (the same for one person in two CRMs), `owner_name`, `owner_email`, `owner_active`,
      `owner_listed`, `team`, `company`, `company_key`;
    - `created_day`, `close_day`, `closed_us`, `closed_day`, `closed_estimated` (closed ones only);
    - `native` (amount in the deal's own currency on the report's basis), `priced`, `rate_day`, `rate`,
      `fx_missing`, `value` (in the report currency; NULL without amount or rate);
    - `share` (probability; NULL if unknown), `share_unreadable`, `weighted` (NULL without probability).

    The scales are in `scale`. All lives and scopes are in it: see `live_at`.

    Args:
        facts: The fact tables.
        settings: The zone, the currency, the scope, the connections of record.
        at: The instant; that of the report if none is given.
        rates_on: Value every deal by the rates of this day. Without it the rates of the day
            of the instant count for open deals, of the day of closing for closed ones
            (metrics.md 2.6).
    """
    at = at or settings.as_of
    query, values = deals_query(records_at(facts, instant(at)), settings, at, rates_on)
    return facts.keep(deals_name(at, rates_on), query, **values)


def deals_name(at: datetime, rates_on: date | None = None) -> str:
    """Under which name `deals_at` keeps its table."""
    return f"deals {at.isoformat()} {rates_on}"


def deals_query(
    records: str,
    settings: Settings,
    at: datetime,
    rates_on: date | None = None,
    *,
    steps: str = "stage_steps",
    companies: str = "companies",
    owners: str = "owners",
) -> tuple[str, dict[str, Value]]:
    """The query behind `deals_at`, and its values: for an aggregate that needs few of the columns.

    Args:
        records: The table of `records_at`, or its query in parentheses.
        settings: As for `deals_at`.
        at: The instant.
        rates_on: As for `deals_at`.
        steps: A table with the columns of `stage_steps`, of these deals at least.
        companies: A table with the columns of `companies`; an empty one where nobody asks for them.
        owners: The same for `owners`; scopes may ask for them.
    """
    values: dict[str, Value] = {}
    # A query is looked at three times, so it needs a name.
    inline = f"records AS {records}, " if records.startswith("(") else ""
    source = "records" if inline else records
    members = _members(source, settings, values)
    query = f"""
        WITH {inline}chosen AS ({_chosen(members)}),
        logical_deals AS ({_logical(members)}),
        named AS ({_named(companies, owners)}),
        dated AS ({_dated(settings, _last_steps(source, steps))}),
        appraised AS ({_appraised(settings, rates_on)}),
        valued AS (
            SELECT a.*, CASE WHEN a.currency = $own THEN CAST($one AS {WHOLE}) ELSE r.rate END AS rate,
                CAST(a.native AS {WHOLE})
                    * CASE WHEN a.currency = $own THEN CAST($one AS {WHOLE}) ELSE r.rate END AS value
            FROM appraised a LEFT JOIN rates r ON a.currency = r.currency AND a.rate_day = r.rate_day
        )
        SELECT *, priced AND rate IS NULL AS fx_missing,
            CASE WHEN share IS NULL THEN NULL
                ELSE coalesce(value, CAST(0 AS {WHOLE})) * CAST(share AS {WHOLE}) END AS weighted,
            {_in_scope(settings.scope, values)} AS in_scope
        FROM valued
    """
    return query, {
        "at": instant(at),
        "today": day_number(rates_on or at.astimezone(settings.zone).date()),
        "ahead": ahead(at, settings.zone),
        "own": settings.report_currency.strip().upper(),
        "one": 10**RATE_DIGITS,
        **values,
    }


def live_at(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table of deals in scope that existed at an instant; columns as `deals_at`."""
    at = at or settings.as_of
    table = deals_at(facts, settings, at)
    return facts.view(f"live {at.isoformat()}", f"SELECT * FROM {table} WHERE life = '{LIVE}' AND in_scope")


def period_us(period: tuple[date, date], settings: Settings) -> tuple[int, int]:
    """The instants at which a period of local days begins and ends."""
    return start_of(period[0], settings.zone), start_of(period[1], settings.zone)


def _members(records: str, settings: Settings, values: dict[str, Value]) -> str:
    """The records in reach, ranked: whose values count for the linked deal (metrics.md 2.8)."""
    ranks = ""
    for place, name in enumerate(settings.record_order):
        values[f"rank{place}"] = name
        ranks += f" WHEN connection = $rank{place} THEN {place}"
    rank = f"CASE{ranks} ELSE {len(settings.record_order)} END" if ranks else "0"
    where = ""
    if settings.scope.connections:
        where = f"WHERE {_among('connection', sorted(settings.scope.connections), 'connection', values)}"
    return f"""
        SELECT *, concat(connection, ':deal:', id) AS ref, {rank} AS member_rank,
            CASE WHEN life = '{LIVE}' THEN 0 ELSE 1 END AS dead
        FROM {records} r {where}
    """


def _chosen(members: str) -> str:
    """The member of each linked deal whose values count, with what comes from the others.

    A copy is created later than the deal, and closed when it is written: the earliest creation
    counts (metrics.md 4), and the earliest closing with the same outcome (inferred).
    """
    return f"""
        SELECT connection AS chosen_connection, id AS chosen_id, first_created_us, first_closed_us, records
        FROM (
            SELECT connection, id,
                row_number() OVER (
                    PARTITION BY logical
                    ORDER BY dead NULLS LAST, member_rank NULLS LAST, modified_us DESC NULLS LAST,
                        ref NULLS LAST
                ) AS member_place,
                min(CASE WHEN dead = 0 THEN created_us END) OVER (PARTITION BY logical) AS first_created_us,
                min(CASE WHEN dead = 0 THEN closed_us END)
                    OVER (PARTITION BY logical, status) AS first_closed_us,
                sum(1 - dead) OVER (PARTITION BY logical) AS records
            FROM ({members}) linked WHERE logical IS NOT NULL
        ) placed
        WHERE member_place = 1
    """


_COLUMNS = ", ".join(
    f"m.{name}" for name in DEALS.columns if name not in ("logical", "created_us", "closed_us")
)


def _logical(members: str) -> str:
    """Every record that is in no link, and of every linked deal the one that was chosen."""
    return f"""
        SELECT {_COLUMNS}, m.life, m.ref, coalesce(m.logical, m.ref) AS logical,
            coalesce(c.first_created_us, m.created_us) AS created_us,
            coalesce(c.first_closed_us, m.closed_us) AS closed_us, coalesce(c.records, 1) AS records
        FROM ({members}) m
        LEFT JOIN chosen c ON m.connection = c.chosen_connection AND m.id = c.chosen_id
        WHERE m.logical IS NULL OR c.chosen_id IS NOT NULL
    """


def _named(companies: str, owners: str) -> str:
    return f"""
        SELECT d.*, s.pipeline, s.native_stage, s.place, s.stage_status, s.stage_probability,
            o.stage, o.stage_order, s.stage IS NOT NULL AND o.stage IS NULL AS stage_unknown,
            w.owner_name, w.owner_email, w.team,
            coalesce(w.owner_active, TRUE) AS owner_active, w.owner_key IS NOT NULL AS owner_listed,
            coalesce(w.owner_key, d.connection || ':' || d.owner_id) AS owner_key,
            c.company, coalesce(c.company_key, d.connection || ':company:' || d.company_id) AS company_key
        FROM logical_deals d
        LEFT JOIN stages s
            ON d.connection = s.connection AND d.pipeline_id = s.pipeline_id AND d.stage_id = s.stage_id
        LEFT JOIN outline o ON s.stage = o.stage
        LEFT JOIN {owners} w ON d.connection = w.connection AND d.owner_id = w.owner_id
        LEFT JOIN {companies} c ON d.connection = c.connection AND d.company_id = c.company_id
    """


def _last_steps(records: str, steps: str) -> str:
    """The last entry into a stage of the closed records whose CRM does not tell when they were closed."""
    return f"""
        SELECT s.connection, s.id, max(s.at_us) AS moved_us
        FROM (SELECT * FROM {steps} WHERE at_us <= $at) s
        SEMI JOIN (SELECT connection, id FROM {records} WHERE status <> '{OPEN}' AND closed_us IS NULL) q
            ON s.connection = q.connection AND s.id = q.id
        GROUP BY s.connection, s.id
    """


def _dated(settings: Settings, last_steps: str) -> str:
    """When a closed deal was closed: as told, at its last step, or on its close date (metrics.md 2.3)."""
    noon = f"close_day * {DAY} + {DAY // 2} - $ahead"
    told = "coalesce(n.closed_us, m.moved_us)"
    return f"""
        SELECT * EXCLUDE (closed_us, told_us),
            CASE WHEN status <> '{OPEN}' THEN coalesce(told_us, {noon}) END AS closed_us,
            CASE WHEN status <> '{OPEN}'
                THEN coalesce({local_day("told_us", settings.zone)}, close_day) END AS closed_day,
            status <> '{OPEN}' AND told_us IS NULL AS closed_estimated,
            {local_day("created_us", settings.zone)} AS created_day
        FROM (
            SELECT n.*, {told} AS told_us
            FROM named n LEFT JOIN ({last_steps}) m ON n.connection = m.connection AND n.id = m.id
        ) moved
    """


def _appraised(settings: Settings, rates_on: date | None) -> str:
    """Amount, probability and the day whose rates count."""
    annual = settings.amount_basis is AmountBasis.ANNUALISED
    twelve = f"amount * CASE WHEN value_period = '{ValuePeriod.MONTHLY.value}' THEN 12 ELSE 1 END"
    expected = "coalesce(probability, stage_probability)"
    rate_day = (
        "$today"
        if rates_on
        else f"CASE WHEN status = '{OPEN}' THEN $today ELSE coalesce(closed_day, $today) END"
    )
    return f"""
        SELECT * EXCLUDE (currency, lost_kind),
            nullif(upper(trim(currency)), '') AS currency,
            {twelve if annual else "amount"} AS native, amount IS NOT NULL AS priced,
            {rate_day} AS rate_day,
            CASE WHEN status = '{LOST}' THEN coalesce(lost_kind, '{LostKind.LOST.value}') END AS lost_kind,
            status = '{OPEN}' AND {expected} IS NOT NULL AND NOT {expected} BETWEEN 0 AND {CERTAIN}
                AS share_unreadable,
            CASE WHEN status = '{WON}' THEN {CERTAIN} WHEN status = '{LOST}' THEN 0
                WHEN {expected} BETWEEN 0 AND {CERTAIN} THEN {expected} END AS share
        FROM dated
    """


def _in_scope(scope: Scope, values: dict[str, Value]) -> str:
    parts = ["TRUE"]
    for name, wanted, columns in (
        ("pipeline", scope.pipelines, ("pipeline_id", "pipeline")),
        ("owner", scope.owners, ("owner_id", "owner_email", "owner_name")),
        ("team", scope.teams, ("team",)),
    ):
        if wanted:
            words = sorted(word.lower() for word in wanted)
            passes = (f"coalesce({_among(f'lower({one})', words, name, values)}, FALSE)" for one in columns)
            parts.append(f"({' OR '.join(passes)})")
    return " AND ".join(parts)


def _among(column: str, words: list[str], name: str, values: dict[str, Value]) -> str:
    """SQL that asks whether a column holds one of the words, each of them bound."""
    for place, word in enumerate(words):
        values[f"{name}{place}"] = word
    return f"{column} IN ({', '.join(f'${name}{place}' for place in range(len(words)))})"
