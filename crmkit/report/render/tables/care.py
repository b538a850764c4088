"""What to look after, in detail: next steps, stuck deals, scores, look-alikes, renewals."""

from __future__ import annotations

from crmkit.report.metrics.followups import FollowUps
from crmkit.report.metrics.hygiene.figures import Hygiene
from crmkit.report.metrics.renewals import Renewals
from crmkit.report.metrics.stuck_figures import StuckDeals
from crmkit.report.render.cells import Cell, Days, Table, days_cell
from crmkit.report.render.tables.making import DEAL, Making


def follow_up_tables(making: Making, found: FollowUps) -> list[Table]:
    """Deals whose next step is overdue, due or missing, and how many each owner has of them."""
    lists = (("overdue", found.overdue), ("due", found.due), ("without", found.without))
    rows = tuple(
        (
            making.texts[f"step_is_{name}"],
            *making.deal(deal),
            deal.next_step_at.isoformat(timespec="minutes") if deal.next_step_at else None,
            deal.days,
            making.money(deal.amount),
            deal.ref,
        )
        for name, part in lists
        for deal in part.deals
    )
    columns = (
        *making.words("kind", *DEAL, "next_step"),
        *making.numbers("days", "amount"),
        *making.words("ref"),
    )
    owners = tuple((making.owner(one.owner), one.overdue, one.due, one.without) for one in found.by_owner)
    total: tuple[Cell, ...] = (
        making.texts["all"], found.overdue.count, found.due.count, found.without.count,
    )  # fmt: skip
    counted = (*making.words("owner"), *making.numbers("step_overdue", "step_due", "step_missing"))
    return [
        making.table("follow_ups_by_owner", counted, owners, total),
        making.table("next_steps", columns, rows),
    ]


def stuck_tables(making: Making, found: StuckDeals) -> list[Table]:
    """From when on a deal is stuck in each stage, and the largest stuck ones."""
    limits = tuple(
        (
            one.connection,
            one.pipeline or one.pipeline_id,
            one.stage or one.stage_id,
            one.open_count,
            one.stuck_count,
            days_cell(one.median_days),
            Days(one.limit_days),
        )
        for one in found.limits
    )
    deals = tuple(
        (*making.deal(deal), deal.expected_close, making.money(deal.amount), deal.ref)
        for deal in found.stuck_deals
    )
    return [
        making.table(
            "stuck_limits",
            (
                *making.words("connection", "pipeline", "stage"),
                *making.numbers("open_deals", "stuck", "duration", "limit"),
            ),
            limits,
        ),
        making.table(
            "stuck_deals",
            (*making.words(*DEAL, "close"), *making.numbers("amount"), *making.words("ref")),
            deals,
        ),
    ]


def hygiene_tables(making: Making, found: Hygiene) -> list[Table]:
    """The scores by CRM and by owner, and deals that look alike."""
    texts = making.texts
    scores = tuple(
        (kind, name, part.open_count, part.high_count, making.share(part.score))
        for kind, name, part in (
            *((texts["col_connection"], part.name or part.key or "", part) for part in found.by_connection),
            *((texts["col_owner"], making.owner(part.name), part) for part in found.by_owner),
        )
    )
    everybody = (found.open_count, found.high_count, making.share(found.hygiene_score))
    pairs = tuple(
        (one.name, one.other_name, one.company, Days(one.likeness), one.ref, one.other_ref)
        for one in found.look_alikes
    )
    return [
        making.table(
            "hygiene_scores",
            (*making.words("kind", "name"), *making.numbers("open_deals", "high", "score_share")),
            scores,
            (texts["all"], None, *everybody),
        ),
        making.table(
            "look_alikes",
            (
                *making.words("deal", "other_deal", "company"),
                *making.numbers("likeness"),
                *making.words("ref", "other_ref"),
            ),
            pairs,
        ),
    ]


def renewal_tables(making: Making, found: Renewals) -> list[Table]:
    """Renewals and upsells deal by deal, by month, and the won deals after the sale."""
    texts = making.texts
    kinds = (("renewal", found.renewals), ("upsell", found.upsells))
    deals = tuple(
        (
            texts[f"{kind}_{when}"],
            *making.deal(deal),
            deal.due_on,
            deal.days,
            making.money(deal.amount),
            deal.ref,
        )
        for kind, dates in kinds
        for when, part in (("overdue", dates.overdue), ("upcoming", dates.upcoming))
        for deal in part.deals
    )
    months = tuple(
        (texts[kind], month.key, month.count, making.money(month.amount))
        for kind, dates in kinds
        for month in dates.by_month
        if month.count
    )
    after = tuple((one.name, one.count, making.money(one.amount)) for one in found.after_sale)
    return [
        making.table(
            "renewals",
            (
                *making.words("kind", *DEAL, "due"),
                *making.numbers("days", "amount"),
                *making.words("ref"),
            ),
            deals,
        ),
        making.table(
            "renewal_months", (*making.words("kind", "month"), *making.numbers("deals", "amount")), months
        ),
        making.table("after_sale", (*making.words("stage"), *making.numbers("deals", "amount")), after),
    ]
