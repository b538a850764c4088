"""A proposal for the stage map, with a confidence and a reason for every line.

The category decides won and lost, never the name. Among open stages the names are
read first; then the order of the pipeline settles what a name leaves open, because
deals move forward; a probability tips the scales. What cannot be known stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from crmkit.mapping.names import Hit, Reading, Term, own_term, read_name
from crmkit.mapping.stages import DEFAULT_OUTLINE, Outline
from crmkit.mapping.words import LOST, NEW_SALE, PARKED, POST_PURCHASE, SECOND_SALE, VAGUE, WON
from crmkit.model import Outcome, Pipeline, Stage

LEAST_CONFIDENCE = 0.5
"""Below this a suggestion is worse than none."""

_BACKWARD = 0.6
"""Cost of reading two stages against the order; less than what two clear names are worth."""

_TYPICAL: Mapping[str, tuple[float, float]] = {
    "prospecting": (0.0, 0.15),
    "qualification": (0.1, 0.35),
    "meeting": (0.25, 0.6),
    "proposal": (0.4, 0.75),
    "negotiation": (0.65, 0.95),
}
"""Win probabilities that teams give these steps; wide, since they differ from team to team."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One proposed line of the stage map.

    `common` is the common stage id, or `None` where nothing is certain enough; `reason`
    then tells why. `confidence` runs from 0 to 1.
    """

    pipeline_id: str
    pipeline: str
    stage_id: str
    stage: str
    common: str | None
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    common: str | None
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Open:
    """An open stage and what its name says about each open common stage, by index."""

    stage: Stage
    scores: Mapping[int, tuple[float, Hit]]
    vague: bool
    percent: float | None


def suggest(pipelines: Sequence[Pipeline], outline: Outline = DEFAULT_OUTLINE) -> list[Suggestion]:
    """A suggestion for each stage, pipeline by pipeline, in order."""
    own = _own_terms(outline)
    suggestions = []
    for pipeline in pipelines:
        stages = sorted(pipeline.stages, key=lambda stage: stage.order)
        verdicts = _verdicts(pipeline, stages, outline, own)
        for stage in stages:
            verdict = verdicts[stage.id]
            suggestions.append(
                Suggestion(
                    pipeline.ref.id,
                    pipeline.name,
                    stage.id,
                    stage.name,
                    verdict.common,
                    round(verdict.confidence, 2),
                    verdict.reason,
                )
            )
    return suggestions


def name_clash(stage: Stage) -> str | None:
    """The outcome that the name of an open stage speaks of ("won" or "lost"), against its category."""
    if stage.outcome is not Outcome.OPEN:
        return None
    meanings = read_name(stage.name).meanings()
    best = max(meanings, key=lambda meaning: meanings[meaning][0], default=None)
    return best if best in {WON, LOST} else None


def _verdicts(
    pipeline: Pipeline, stages: Sequence[Stage], outline: Outline, own: Sequence[Term]
) -> dict[str, _Verdict]:
    after = _after_sale_stage(outline)
    readings = {stage.id: read_name(stage.name, own) for stage in stages}
    later_sale = _after_sale_word(pipeline, [readings[s.id] for s in stages if s.outcome is Outcome.OPEN])
    won_orders = [stage.order for stage in stages if stage.outcome is Outcome.WON]
    verdicts: dict[str, _Verdict] = {}
    open_stages: list[_Open] = []
    for stage in stages:
        reading = readings[stage.id]
        if stage.archived:
            verdicts[stage.id] = _Verdict(None, 0.0, "archived; map it only if deals still sit in it")
        elif stage.outcome is Outcome.LOST:
            verdicts[stage.id] = _lost(stage, reading, outline)
        elif later_sale is not None and after is not None:
            why = f'pipeline "{pipeline.name}" comes after the sale ("{later_sale.term}")'
            verdicts[stage.id] = _Verdict(after, 0.8, why)
        elif stage.outcome is Outcome.WON:
            verdicts[stage.id] = _won(stage, reading, outline, after if len(won_orders) > 1 else None)
        else:
            bought = bool(won_orders) and stage.order > min(won_orders)
            verdict = _set_aside(reading, after, bought)
            if verdict is not None:
                verdicts[stage.id] = verdict
            else:
                open_stages.append(_read_open(stage, reading, outline))
    return verdicts | _open_verdicts(open_stages, outline)


def _lost(stage: Stage, reading: Reading, outline: Outline) -> _Verdict:
    own = [s.id for s in outline.stages if s.outcome is Outcome.LOST and s.id in reading.meanings()]
    if own and own[0] != outline.closing(Outcome.LOST):
        return _Verdict(own[0], 0.95, "category lost, and the name is that of the common stage")
    if WON in reading.meanings():
        return _Verdict(
            outline.closing(Outcome.LOST), 0.6, "category lost, although the name speaks of a win"
        )
    return _Verdict(outline.closing(Outcome.LOST), 0.99, "category lost")


def _won(stage: Stage, reading: Reading, outline: Outline, after: str | None) -> _Verdict:
    meanings = reading.meanings()
    own = [s.id for s in outline.stages if s.outcome is Outcome.WON and s.id in meanings]
    named = next((common for common in own if outline.after_sale(common)), None)
    if after is not None and (named or POST_PURCHASE in meanings):
        common = named or after
        return _Verdict(
            common, 0.85, f"category won, and {_says(meanings.get(POST_PURCHASE) or meanings[common])}"
        )
    if LOST in meanings:
        return _Verdict(outline.closing(Outcome.WON), 0.6, "category won, although the name speaks of a loss")
    return _Verdict(outline.closing(Outcome.WON), 0.99, "category won")


def _set_aside(reading: Reading, after: str | None, bought: bool) -> _Verdict | None:
    """The verdict on an open stage whose name is about something else than a step of the sale."""
    meanings = reading.meanings()
    best = max(meanings, key=lambda meaning: meanings[meaning][0], default=VAGUE)
    if best in {WON, LOST}:
        return _Verdict(
            None, 0.0, f'clash: the name says {best} ("{meanings[best][1].term}"), but deals in it are open'
        )
    if best == PARKED:
        return _Verdict(None, 0.0, f'"{meanings[best][1].term}" does not tell how far a deal got')
    if best == POST_PURCHASE:
        if bought and after is not None:
            return _Verdict(after, 0.7, f"{_says(meanings[best])}, and it follows the won stage")
        if not any(meaning in meanings for meaning in _TYPICAL):
            return _Verdict(
                None, 0.0, f"clash: {_says(meanings[best])}, but deals in it are open and not yet won"
            )
    return None


def _read_open(stage: Stage, reading: Reading, outline: Outline) -> _Open:
    percent = float(stage.probability) if stage.probability is not None else None
    if percent is None and reading.percent is not None:
        percent = float(Decimal(reading.percent) / 100)
    meanings = reading.meanings()
    scores = {
        index: (meanings[common.id][0] + _fit(common.id, percent), meanings[common.id][1])
        for index, common in enumerate(outline.open_stages)
        if common.id in meanings
    }
    return _Open(stage, scores, VAGUE in meanings, percent)


def _fit(common: str, percent: float | None) -> float:
    """How well a win probability suits a common stage: 0.08 inside its range, less with distance."""
    if percent is None or common not in _TYPICAL:
        return 0.0
    low, high = _TYPICAL[common]
    distance = max(low - percent, percent - high, 0.0)
    return max(0.08 - 0.4 * distance, -0.12)


def _open_verdicts(stages: Sequence[_Open], outline: Outline) -> dict[str, _Verdict]:
    named = [stage for stage in stages if stage.scores]
    path = _best_path([{index: score for index, (score, _) in stage.scores.items()} for stage in named])
    chosen = {stage.stage.id: index for stage, index in zip(named, path, strict=True)}
    verdicts: dict[str, _Verdict] = {}
    for position, (stage, index) in enumerate(zip(named, path, strict=True)):
        around = (*path[max(position - 1, 0) : position], *path[position + 1 : position + 2])
        disordered = (position > 0 and path[position - 1] > index) or (
            position + 1 < len(path) and path[position + 1] < index
        )
        verdicts[stage.stage.id] = _named_verdict(
            stage, index, outline, disordered=disordered, neighbours=around
        )
    for position, stage in enumerate(stages):
        if stage.stage.id not in verdicts:
            before = [chosen[s.stage.id] for s in stages[:position] if s.stage.id in chosen]
            after = [chosen[s.stage.id] for s in stages[position + 1 :] if s.stage.id in chosen]
            verdicts[stage.stage.id] = _between(stage, before, after, outline)
    return verdicts


def _best_path(scores: Sequence[Mapping[int, float]]) -> list[int]:
    """The choice per stage with the best sum, where each step backward costs `_BACKWARD`."""
    best: dict[int, tuple[float, list[int]]] = {}
    for choices in scores:
        best = {
            index: max(
                (
                    (total + score - (_BACKWARD if path[-1] > index else 0.0), [*path, index])
                    for total, path in best.values()
                ),
                key=lambda entry: entry[0],
                default=(score, [index]),
            )
            for index, score in sorted(choices.items())
        }
    return max(best.values(), key=lambda entry: entry[0])[1] if best else []


def _named_verdict(
    stage: _Open, index: int, outline: Outline, *, disordered: bool, neighbours: Sequence[int]
) -> _Verdict:
    common = outline.open_stages[index]
    score, hit = stage.scores[index]
    reason = _says((score, hit))
    if any(other > score for other, _ in stage.scores.values()):
        near = " and ".join(dict.fromkeys(outline.open_stages[i].name for i in neighbours))
        reason += f", read as {common.name} because of its place beside {near}" if near else ""
    if stage.percent is not None and _fit(common.id, stage.percent) > 0:
        reason += f", and {stage.percent:.0%} suits it"
    confidence = score
    if disordered:
        confidence -= 0.25
        reason += "; the order of the stages says otherwise"
    confidence = max(0.0, min(confidence, 0.98))
    if confidence < LEAST_CONFIDENCE:
        return _Verdict(None, confidence, f"perhaps {common.name}: {reason}")
    return _Verdict(common.id, confidence, reason)


def _between(stage: _Open, before: Sequence[int], after: Sequence[int], outline: Outline) -> _Verdict:
    """The verdict on a stage whose name says nothing: what its neighbours leave as possible.

    A vague word ("in progress") is known to say nothing, so that the middle of a gap
    is fair; an unknown word may say anything, so that only a narrow gap decides.
    """
    word = "the name fits any running deal" if stage.vague else "the name is not known"
    if not before and not after:
        return _Verdict(None, 0.0, f"{word}, and no other open stage tells how far its deals are")
    last = len(outline.open_stages) - 1
    low = max(before) if before else 0
    high = min(after) if after else last
    names = [outline.open_stages[i].name for i in (low, high)]
    place = (
        f"it stands {'between ' + ' and '.join(names) if before and after else 'first' if after else 'last'}"
    )
    gap = high - low
    allowed = (0.85, 0.62, 0.56, 0.5) if stage.vague else (0.75, 0.55)
    if gap < 0 or gap >= len(allowed):
        return _Verdict(None, 0.2, f"{word}, and {place}, which leaves too much open")
    index = low + gap // 2
    confidence = allowed[gap] - (0.0 if before and after else 0.1)
    common = outline.open_stages[index]
    if confidence < LEAST_CONFIDENCE:
        return _Verdict(None, confidence, f"perhaps {common.name}: {word}, but {place}")
    return _Verdict(common.id, confidence, f"{word}, but {place}")


def _says(found: tuple[float, Hit]) -> str:
    hit = found[1]
    if hit.corrected:
        return f'the name reads like "{hit.term}"'
    return f'the name says "{hit.term}"'


def _after_sale_word(pipeline: Pipeline, readings: Sequence[Reading]) -> Hit | None:
    """The word by which a whole pipeline comes after the sale, if its name has one."""
    meanings = read_name(pipeline.name).meanings()
    if POST_PURCHASE not in meanings or NEW_SALE in meanings:
        return None
    hit = meanings[POST_PURCHASE][1]
    steps = {common for reading in readings for common in reading.meanings() if common in _TYPICAL}
    second_sale = hit.term.words[0].lstrip("*").startswith(SECOND_SALE)
    return hit if second_sale or len(steps) < 3 else None


def _after_sale_stage(outline: Outline) -> str | None:
    if POST_PURCHASE in outline:
        return POST_PURCHASE
    return next((stage.id for stage in outline.stages if outline.after_sale(stage.id)), None)


def _own_terms(outline: Outline) -> tuple[Term, ...]:
    """The workspace's own names as words to look for; ids of its own making too."""
    terms = [
        own_term(text, stage.id)
        for stage in outline.stages
        for text in {stage.name, stage.id.replace("_", " ")}
        if stage not in DEFAULT_OUTLINE.stages and stage.id not in {WON, LOST}
    ]
    return tuple(term for term in terms if term is not None)
