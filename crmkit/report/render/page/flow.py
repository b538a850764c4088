"""Sections on what moves: waterfall, funnel, forecast, idle stages, hygiene, the deals to focus on."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from crmkit.report.metrics.flow_figures import Waterfall
from crmkit.report.money import ZERO
from crmkit.report.ratios import divide
from crmkit.report.render import fragments
from crmkit.report.render.charts.shapes import Bars, Heat, HeatCell, Mark, Picture, Row, Rule
from crmkit.report.render.flow_tables import cohort_list, listed, shown_buckets
from crmkit.report.render.formats import Formats
from crmkit.report.render.page.section import Page, Section, name


def waterfall(page: Page) -> Section:
    """How the open pipeline of a week ago became today's."""
    return _waterfall(page, "waterfall", page.report.waterfalls.all_open)


def waterfall_period(page: Page) -> Section:
    """The same for what is due in the period."""
    return _waterfall(page, "waterfall_period", page.report.waterfalls.period)


def _waterfall(page: Page, key: str, flow: Waterfall) -> Section:
    texts = page.texts
    picture = waterfall_picture(key, texts[key], flow, page.formats, lambda name: page.target(listed(name)))
    late = [start.connection for start in flow.history_starts if start.late]
    note = texts["history_late"].format(names=", ".join(name(one, "") for one in late)) if late else ""
    return Section(
        key, texts[key], "changes", "waterfall", pictures=(picture,), tables=(page.table(key),), note=note
    )


def waterfall_picture(
    key: str, title: str, flow: Waterfall, formats: Formats, behind: Callable[[str], str | None]
) -> Picture:
    """The bars of a waterfall; `behind` tells where the list of a bar's deals is, by its name."""
    rows, level = [], ZERO
    for bucket in shown_buckets(flow):
        part = flow.buckets[bucket]
        whole = bucket in ("start", "end")
        before, after = (ZERO, part.value) if whole else (level, level + part.value)
        level = after
        label = formats.texts[f"bucket_{bucket}"]
        deals = formats.deals(part.count)
        spoken = f"{label}: {formats.exact(part.value)}, {deals}"
        colour = "s0" if whole else "good" if part.value > 0 else "bad"
        target = behind(f"{key}_{bucket}") if part.refs else None
        ends = sorted((float(before), float(after)))
        marks = (Mark(ends[0], ends[1], colour, spoken, target),) if ends[0] < ends[1] else ()
        rows.append(Row(label, marks, formats.compact(part.value), deals))
    return Picture(key, title, Bars(tuple(rows), steps=True))


def moves(page: Page) -> Section:
    """What was put off, pulled in and moved."""
    return Section("moves", page.texts["moves"], "changes", "moves", tables=(page.table("moves"),))


def forecast(page: Page) -> Section:
    """Won and expected in the period, from sure to open, against the quota."""
    found, texts = page.report.forecast, page.texts
    rows = []
    for key, amount in (
        ("won", found.won_amount),
        ("commit", found.forecast_commit),
        ("weighted", found.forecast_weighted),
        ("best", found.forecast_best),
    ):
        label = texts[f"forecast_{key}"]
        spoken = f"{label}: {page.formats.exact(amount)}"
        marks = [Mark(0.0, float(found.won_amount), "s1", spoken)] if found.won_amount > 0 else []
        if amount > found.won_amount:
            marks.append(Mark(float(max(found.won_amount, ZERO)), float(amount), "s0", spoken))
        rows.append(Row(label, tuple(marks), page.formats.compact(amount)))
    rules = () if found.quota is None else (Rule(float(found.quota), texts["col_quota"]),)
    title = f"{texts['forecast']}, {found.key}"
    return Section(
        "forecast",
        title,
        "changes",
        "forecast",
        pictures=(Picture("forecast", title, Bars(tuple(rows), rules=rules)),),
        tables=(page.table("forecast"), page.table("coverage")),
    )


def funnel(page: Page) -> Section | None:
    """How many deals reached each stage in the period, and how many are in it now."""
    found, texts = page.report.funnel, page.texts
    if not any(stage.reached_count for stage in found.stages):
        return None
    rows = []
    behind = {
        one.stage: page.target(listed(cohort_list(page.report.conversion.common, one)))
        for one in page.report.conversion.common.stages
        if one.refs
    }
    for stage in found.stages:
        label, step = name(stage.name, ""), stage.step.value if stage.step else None
        note = page.formats.percent(step) if step is not None else ""
        deals = page.formats.deals(stage.reached_count)
        marks = (
            (
                Mark(
                    0.0,
                    float(stage.reached_count),
                    "s0",
                    f"{label}: {deals}, {note}",
                    behind.get(stage.stage),
                ),
            )
            if stage.reached_count
            else ()
        )
        rows.append(Row(label, marks, page.formats.count(stage.reached_count), note))
    title = f"{texts['funnel']}, {page.formats.span(found.start, found.end)}"
    return Section(
        "funnel",
        title,
        "results",
        "funnel",
        pictures=(Picture("funnel", title, Bars(tuple(rows))),),
        tables=(page.table("funnel"),),
    )


def conversion(page: Page) -> Section | None:
    """How many deals went on from each stage of each pipeline, and how long they were in it."""
    table = page.table("conversion")
    if not table.rows:
        return None
    title = page.texts["conversion"]
    return Section("conversion", title, "tables", "conversion", tables=(table,), wide=True)


def heat(page: Page) -> Section | None:
    """Where open deals grow old: stage by age."""
    stages = [stage for stage in page.report.stuck.stages if stage.count]
    if not stages:
        return None
    texts, most = page.texts, max(bucket.amount for stage in stages for bucket in stage.by_age)
    ages = [bucket for bucket in stages[0].by_age if bucket.first_day is not None]
    columns = tuple(
        f"{one.first_day}–{one.last_day}" if one.last_day is not None else f"> {(one.first_day or 1) - 1}"
        for one in ages
    )
    cells = [
        HeatCell(
            row,
            column,
            float(max(divide(bucket.amount, most) or ZERO, Decimal(0))) if most > 0 else 0.0,
            page.formats.compact(bucket.amount) if bucket.count else "",
            f"{name(stage.name, texts['unmapped'])}, {columns[column]}: {page.formats.exact(bucket.amount)}, "
            f"{page.formats.deals(bucket.count)}",
            page.target(fragments.open_deals(stage=stage.stage)),
        )
        for row, stage in enumerate(stages)
        for column, bucket in enumerate(one for one in stage.by_age if one.first_day is not None)
    ]
    shape = Heat(tuple(name(stage.name, texts["unmapped"]) for stage in stages), columns, tuple(cells))
    return Section(
        "heat",
        texts["chart_heat"],
        "pipeline",
        "ageing",
        pictures=(Picture("heat", texts["chart_heat"], shape),),
        tables=(page.table("idle_stages"),),
    )


def hygiene(page: Page) -> Section:
    """What is wrong with the data, rule by rule."""
    score = page.report.hygiene.hygiene_score
    lead = page.texts["hygiene_lead"].format(share=page.formats.percent(score.value), deals=page.ratio(score))
    return Section(
        "hygiene",
        page.texts["hygiene"],
        "attention",
        "hygiene",
        lead=lead,
        tables=(page.table("hygiene"),),
        wide=True,
    )


def focus(page: Page) -> Section | None:
    """The deals that are worth a call today."""
    if not page.report.focus.deals:
        return None
    return Section(
        "focus",
        page.texts["focus"],
        "attention",
        "focus",
        tables=(page.table("focus"),),
        wide=True,
        deals=True,
    )


def follow_ups(page: Page) -> Section | None:
    """Open deals by their next step, where CRMs tell it."""
    found, texts = page.report.follow_ups, page.texts
    names = ", ".join(name(one, "") for one in found.not_readable)
    note = texts["next_step_unreadable"].format(names=names) if names else ""
    return Section(
        "follow_ups",
        texts["follow_ups"],
        "attention",
        "follow_ups",
        tables=(page.table("follow_ups"),),
        note=note,
    )
