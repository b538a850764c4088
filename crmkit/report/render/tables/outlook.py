"""What is to come, in detail: forecasts by team and owner, what they leave out, their accuracy."""

from __future__ import annotations

from crmkit.report.metrics.forecast_figures import Forecast, ForecastAmounts
from crmkit.report.render.cells import Link, Share, Table
from crmkit.report.render.tables.making import Making


def forecast_tables(making: Making, found: Forecast) -> list[Table]:
    """The forecasts for everybody, teams and owners, what is left out, and the accuracy."""
    return [_amounts(making, found), _left_out(making, found), _accuracy(making, found)]


def _amounts(making: Making, found: Forecast) -> Table:
    texts = making.texts
    groups: list[tuple[str, str, ForecastAmounts]] = [("", texts["everybody"], found)]
    groups += [(texts["col_team"], one.team or texts["no_team"], one) for one in found.by_team]
    groups += [(texts["col_owner"], making.owner(one.owner), one) for one in found.by_owner]
    rows = tuple(
        (
            kind,
            name,
            making.money(one.won_amount),
            making.money(one.forecast_weighted),
            making.money(one.forecast_commit),
            making.money(one.forecast_best),
            making.money(one.quota),
            making.share(one.commit_attainment),
            making.money(one.commit_gap),
            making.money(one.overdue_amount),
        )
        for kind, name, one in groups
    )
    columns = (
        *making.words("kind", "name"),
        *making.numbers("won", "forecast_weighted", "forecast_commit", "forecast_best", "quota"),
        *making.numbers("commit_attainment", "commit_gap", "overdue_amount"),
    )
    return Table("forecast_amounts", f"{texts['forecast_amounts']} {found.key}", columns, rows)


def _left_out(making: Making, found: Forecast) -> Table:
    parts = (("overdue", found.overdue), ("omitted", found.omitted))
    rows = tuple(
        (
            making.texts[f"category_{name}"],
            Link(deal.name, deal.url),
            deal.connection,
            deal.owner,
            deal.expected_close,
            making.money(deal.amount),
            deal.ref,
        )
        for name, part in parts
        for deal in part.deals
    )
    columns = (
        *making.words("kind", "deal", "connection", "owner", "close"),
        *making.numbers("amount"),
        *making.words("ref"),
    )
    return making.table("forecast_left_out", columns, rows)


def _accuracy(making: Making, found: Forecast) -> Table:
    texts = making.texts
    rows = tuple(
        (
            quarter.key,
            texts[f"age_{point.age}"],
            texts[f"col_forecast_{kind.kind}"],
            making.money(kind.forecast),
            making.money(quarter.actual),
            Share(kind.forecast_accuracy),
            Share(kind.forecast_bias),
        )
        for quarter in found.accuracy
        for point in quarter.points
        for kind in point.kinds
    )
    columns = (
        *making.words("quarter", "day_of", "kind"),
        *making.numbers("forecast", "actual", "accuracy", "bias"),
    )
    return making.table("forecast_accuracy", columns, rows)
