"""What an org lets be written: its fields, stages, pipelines and currencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crmkit.connectors.zoho.calls import Calls
from crmkit.connectors.zoho.columns import MODULES
from crmkit.connectors.zoho.stages import ONLY_PIPELINE, stage_values
from crmkit.connectors.zoho.workspace import Metadata, understood
from crmkit.errors import MissingScope
from crmkit.model import Kind, Outcome

_MULTI_CURRENCY = "Currency"
"""This field of a deal exists only where the org uses several currencies."""


@dataclass(frozen=True, slots=True)
class WritableStage:
    """A stage as a deal has to name it: by the actual value of the picklist."""

    actual: str
    outcome: Outcome
    display: str = ""


@dataclass(frozen=True, slots=True)
class WritablePipeline:
    """A pipeline as a deal has to name it: by what is displayed.

    `layout` is set where the deal has to name it too: the org has several layouts of deals.
    """

    display: str
    stages: frozenset[str]
    layout: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known about writing one kind; `None` is not known yet.

    Attributes:
        fields: Metadata by API name.
        stages: By id.
        pipelines: By id; empty where sales pipelines are off.
        currency: The org's own currency.
        currencies: All that deals may have, where the org uses several.
    """

    fields: Mapping[str, Mapping[str, Any]] | None = None
    stages: Mapping[str, WritableStage] | None = None
    pipelines: Mapping[str, WritablePipeline] | None = None
    currency: str | None = None
    currencies: frozenset[str] | None = None

    def meta(self, name: str) -> Mapping[str, Any]:
        """The metadata of a field; empty if it is not known."""
        return (self.fields or {}).get(name, {})

    @property
    def one_currency(self) -> bool:
        """Whether deals are known to have no currency of their own."""
        return self.fields is not None and _MULTI_CURRENCY not in self.fields

    def knows(self, stage_ids: Iterable[str], pipeline_ids: Iterable[str]) -> bool:
        """Whether all these stages and pipelines are there."""
        stages = (self.stages or {}).keys()
        pipelines = (self.pipelines or {}).keys() | {ONLY_PIPELINE}
        return set(stage_ids) <= stages and set(pipeline_ids) <= pipelines


class Shapes:
    """The shape of each kind: as it was last seen, or read now."""

    def __init__(self, metadata: Metadata, calls: Calls) -> None:
        self._metadata = metadata
        self._calls = calls
        self._seen: dict[Kind, Shape] = {}
        self._currencies: frozenset[str] | None = None

    def seen(self, kind: Kind) -> Shape:
        """What is known without a call."""
        return self._seen.get(kind, Shape())

    def saw_fields(self, kind: Kind, metadata: Sequence[Mapping[str, Any]]) -> None:
        """Somebody read the fields of a kind."""
        fields = {str(field["api_name"]): field for field in metadata}
        shape = replace(self.seen(kind), fields=fields)
        if kind is Kind.DEAL and "Stage" in fields:
            shape = replace(shape, stages=understood("stages", lambda: _stages(fields["Stage"])))
        self._seen[kind] = shape

    def saw_currencies(self, base: str | None, codes: Sequence[str]) -> None:
        """Somebody read the currencies of the org; a single one may be all that could be read."""
        self._currencies = frozenset(codes) if len(codes) > 1 else self._currencies
        known = replace(self.seen(Kind.DEAL), currency=base, currencies=self._currencies)
        self._seen[Kind.DEAL] = known

    def fields(self, kind: Kind, *, fresh: bool = False) -> Shape:
        """The shape of a kind as far as its fields go, for which one call is enough."""
        module = MODULES[kind]
        if fresh:
            self._metadata.forget_fields(module)
        self.saw_fields(kind, self._metadata.fields(module))
        return self._seen[kind]

    def load(self, kind: Kind) -> Shape:
        """The shape of a kind, from metadata that is at most half a minute old."""
        module = MODULES[kind]
        self._metadata.load(deals=kind is Kind.DEAL, module=module)
        self.saw_fields(kind, self._metadata.fields(module))
        if kind is Kind.DEAL:
            self._seen[kind] = self._with_deals(self._seen[kind])
        return self._seen[kind]

    def reload(self, kind: Kind) -> Shape:
        """The shape of a kind, read anew."""
        self._metadata.forget_fields(MODULES[kind])
        self._metadata.forget_names()
        return self.load(kind)

    def _with_deals(self, shape: Shape) -> Shape:
        rows = self._metadata.pipelines()
        code = self._metadata.org().get("iso_code")
        currency = code if isinstance(code, str) else None
        if not shape.one_currency and self._currencies is None:
            self._read_currencies(currency)
        return replace(
            shape,
            pipelines=understood("pipelines", lambda: _pipelines(rows)),
            currency=currency,
            currencies=self._currencies,
        )

    def _read_currencies(self, base: str | None) -> None:
        try:
            rows = self._calls.listing("/org/currencies").rows
        except MissingScope:
            return  # Zoho itself refuses a currency that it does not have
        codes = [str(row["iso_code"]) for row in rows if row.get("is_active") is not False]
        self._currencies = frozenset([*codes, *([base] if base else [])])


def _stages(field: Mapping[str, Any]) -> Mapping[str, WritableStage]:
    actual = {str(value["id"]): str(value["actual_value"]) for value in field.get("pick_list_values") or ()}
    return {
        stage.id: WritableStage(actual[stage.id], stage.outcome, stage.name) for stage in stage_values(field)
    }


def _pipelines(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, WritablePipeline]:
    layouts: dict[str, set[str]] = {}
    for row in rows:
        layouts.setdefault(str(row["id"]), set()).add(str(row["layout_id"]))
    several = len(set().union(*layouts.values())) > 1 if layouts else False
    found: dict[str, WritablePipeline] = {}
    for row in rows:
        native = str(row["id"])
        # A pipeline that several layouts share leaves the choice to Zoho.
        layout = str(row["layout_id"]) if several and len(layouts[native]) == 1 else None
        stages = frozenset(str(entry["id"]) for entry in row.get("maps") or ())
        if native in found:
            stages |= found[native].stages
        found[native] = WritablePipeline(str(row["display_value"]), stages, layout)
    return found
