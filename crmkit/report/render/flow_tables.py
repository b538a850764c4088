"""Tables of what moves: the waterfall, the funnel, the forecast, coverage, hygiene, the deals to focus on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from crmkit.report.metrics.conversion_figures import LineConversion, StageConversion
from crmkit.report.metrics.coverage_figures import Coverage
from crmkit.report.metrics.flow_figures import Waterfall
from crmkit.report.render.cells import Cell, Column, Days, Link, Money, Share, Table, share_cell
from crmkit.report.render.texts import Texts
from crmkit.report.whole import PipelineReport


def flow_tables(report: PipelineReport, texts: Texts) -> list[Table]:
    """The tables, in the order in which they are read."""
    made = _Maker(report, texts)
    return [
        made.waterfall("waterfall", report.waterfalls.all_open),
        made.waterfall("waterfall_period", report.waterfalls.period),
        made.moves(),
        made.forecast(),
        made.coverage(),
        made.funnel(),
        made.heat(),
        made.hygiene(),
        made.focus(),
        made.follow_ups(),
    ]


def ref_lists(report: PipelineReport) -> dict[str, tuple[str, ...]]:
    """Lists of deals that no condition describes, by the name that a fragment gives them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, flow in (
        ("waterfall", report.waterfalls.all_open),
        ("waterfall_period", report.waterfalls.period),
    ):
        found |= {f"{name}_{bucket}": part.refs for bucket, part in flow.buckets.items() if part.refs}
    found |= {f"rule_{rule.rule}": rule.refs for rule in report.hygiene.rules if rule.refs}
    found |= {f"category_{one.category}": one.refs for one in report.forecast.categories if one.refs}
    for line in (report.conversion.common, *report.conversion.by_pipeline):
        found |= {cohort_list(line, stage): stage.refs for stage in line.stages if stage.refs}
    moved = report.movement
    for name, part in (("pushed", moved.pushed), ("pulled", moved.pulled), ("slipped", moved.cross_period)):
        if part.refs:
            found[f"moved_{name}"] = part.refs
    return found


def cohort_list(line: LineConversion, stage: StageConversion) -> str:
    """The name of the list of deals that entered a stage."""
    # An id may hold anything, a name in a fragment must not.
    words = (line.connection or "", line.pipeline_id or "", str(stage.position))
    return "entered_" + hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def listed(name: str) -> str:
    """The fragment of a list of deals by its name in `ref_lists`."""
    return f"#deals?refs={name}"


def shown_buckets(flow: Waterfall) -> list[str]:
    """The bars of a waterfall that are not empty, in order, with the first and the last one."""
    return [
        name for name, part in flow.buckets.items() if name in ("start", "end") or part.count or part.value
    ]


class _Maker:
    def __init__(self, report: PipelineReport, texts: Texts) -> None:
        self._report, self._texts = report, texts
        self._currency = report.report_currency
        self._refs = ref_lists(report)

    def _table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Sequence[tuple[Cell, ...]],
        behind: Sequence[str | None] = (),
        *,
        words: Sequence[str] = (),
    ) -> Table:
        """A table; `words` are the columns of text, the first one is always one."""
        made = tuple(
            Column(key, self._texts[f"col_{key}"], numeric=place > 0 and key not in words)
            for place, key in enumerate(columns)
        )
        return Table(name, self._texts[name], made, tuple(rows), None, tuple(behind))

    def _money(self, amount: Decimal | None) -> Money:
        return Money(amount, self._currency)

    def _list(self, name: str) -> str | None:
        return listed(name) if name in self._refs else None

    def waterfall(self, name: str, flow: Waterfall) -> Table:
        rows, behind = [], []
        for bucket in shown_buckets(flow):
            part = flow.buckets[bucket]
            rows.append((self._texts[f"bucket_{bucket}"], part.count, self._money(part.value)))
            behind.append(self._list(f"{name}_{bucket}"))
        return self._table(name, ("change", "deals", "amount"), rows, behind)

    def moves(self) -> Table:
        moved = self._report.movement
        rows = [
            (self._texts[f"moved_{name}"], part.count, self._money(part.amount))
            for name, part in (
                ("pushed", moved.pushed),
                ("pulled", moved.pulled),
                ("slipped", moved.cross_period),
            )
        ]
        rows += [
            (self._texts[f"moved_{kind}"], part.count, self._money(part.amount))
            for kind, part in moved.by_kind.items()
        ]
        behind = [self._list(f"moved_{name}") for name in ("pushed", "pulled", "slipped")]
        return self._table(
            "moves", ("change", "deals", "amount"), rows, [*behind, *[None] * len(moved.by_kind)]
        )

    def forecast(self) -> Table:
        rows, behind = [], []
        for one in self._report.forecast.categories:
            label = self._texts[f"category_{one.category or 'unknown'}"]
            rows.append((label, one.count, self._money(one.amount), self._money(one.cumulative_amount)))
            behind.append(self._list(f"category_{one.category}"))
        return self._table("forecast", ("category", "deals", "amount", "cumulative"), rows, behind)

    def coverage(self) -> Table:
        rows = list(self._covered())
        columns = (
            "period", "of_whom", "quota", "won", "attainment", "due",
            "coverage_ratio", "required", "gap", "pace",
        )  # fmt: skip
        return self._table("coverage", columns, rows, words=("of_whom",))

    def _covered(self) -> Iterator[tuple[Cell, ...]]:
        for period in self._report.coverage.periods:
            yield self._cover(period.key, self._texts["everybody"], period.whole)
            for team in period.teams:
                if team.team is not None:
                    yield self._cover(period.key, team.team, team)
            for owner in period.owners:
                if owner.quota is not None:
                    yield self._cover(period.key, owner.owner or self._texts["no_owner"], owner)

    def _cover(self, key: str, whose: str, found: Coverage) -> tuple[Cell, ...]:
        return (
            key,
            whose,
            self._money(found.quota),
            self._money(found.won_amount),
            share_cell(found.quota_attainment),
            self._money(found.due_in_period_amount),
            share_cell(found.coverage),
            Share(found.required_coverage),
            self._money(found.coverage_gap_amount),
            Share(found.pace),
        )

    def funnel(self) -> Table:
        rows = [
            (
                stage.name,
                stage.now_count,
                self._money(stage.now_amount),
                stage.reached_count,
                None if stage.step is None else share_cell(stage.step),
                None if stage.step_resolved is None else share_cell(stage.step_resolved),
                share_cell(stage.from_start),
            )
            for stage in self._report.funnel.stages
        ]
        return self._table(
            "funnel",
            ("stage", "open_deals", "open_amount", "reached", "step", "step_resolved", "from_start"),
            rows,
        )

    def heat(self) -> Table:
        stages = self._report.stuck.stages
        rows = [
            (
                stage.name or self._texts["unmapped"],
                stage.count,
                self._money(stage.amount),
                stage.stale.count,
                stage.stuck.count,
                Days(Decimal(stage.stale_days)),
            )
            for stage in stages
        ]
        return self._table(
            "idle_stages", ("stage", "open_deals", "open_amount", "stale", "stuck", "stale_after"), rows
        )

    def hygiene(self) -> Table:
        rows, behind = [], []
        for rule in self._report.hygiene.rules:
            label = f"{rule.rule} {self._texts[f'rule_{rule.rule}']}"
            severity = self._texts[f"severity_{rule.severity}"]
            rows.append((label, severity, rule.count, self._money(rule.amount)))
            behind.append(self._list(f"rule_{rule.rule}"))
        return self._table(
            "hygiene", ("rule", "severity", "deals", "amount"), rows, behind, words=("severity",)
        )

    def focus(self) -> Table:
        weights = self._report.focus.weights
        rows = [
            (
                Link(deal.name, deal.url),
                deal.connection,
                deal.stage,
                deal.owner,
                self._money(deal.amount),
                deal.score,
                _points(deal.points, weights, self._texts),
            )
            for deal in self._report.focus.deals
        ]
        return self._table(
            "focus",
            ("deal", "connection", "stage", "owner", "amount", "score", "points"),
            rows,
            words=("connection", "stage", "owner", "points"),
        )

    def follow_ups(self) -> Table:
        found = self._report.follow_ups
        rows = [
            (self._texts[f"follow_{name}"], part.count, self._money(part.amount))
            for name, part in (("without", found.without), ("overdue", found.overdue), ("due", found.due))
        ]
        return self._table("follow_ups", ("next_step", "deals", "amount"), rows)


def _points(points: Mapping[str, int], weights: Mapping[str, int], texts: Texts) -> str:
    return ", ".join(
        f"{texts[f'factor_{name}']} {points.get(name, 0)}/{most}"
        for name, most in weights.items()
        if points.get(name)
    )
