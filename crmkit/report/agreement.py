"""Whether two linked deals agree, field by field; no value is a value (metrics.md 15)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from crmkit.report.compared import Compared, FieldAgreement, FieldDifference
from crmkit.report.deals import Deal
from crmkit.report.money import plain, rounded
from crmkit.report.ratios import share


@dataclass(slots=True)
class _Count:
    equal: int = 0
    differing: int = 0
    not_comparable: int = 0


class FieldCounter:
    """Compares linked pairs and counts agreement by field.

    Args:
        stage_names: Names of the common stages by id, for display.
    """

    def __init__(self, stage_names: Mapping[str, str]) -> None:
        self._counts = {field: _Count() for field in Compared}
        self._shown: dict[Compared, Callable[[Deal], str | None]] = {
            Compared.STATUS: lambda deal: deal.row.outcome.value,
            Compared.STAGE: lambda deal: stage_names.get(deal.stage or "", deal.stage),
            Compared.AMOUNT: _amount,
            Compared.CURRENCY: _currency,
            Compared.CLOSE_DATE: _close_date,
            Compared.OWNER: lambda deal: deal.row.owner_name or deal.row.owner_email or deal.row.owner_id,
            Compared.COMPANY: lambda deal: deal.row.company_name or deal.row.company_id,
        }

    def compare(self, logical: str, x: Deal, y: Deal) -> Iterator[FieldDifference]:
        """The fields on which the two deals differ; counts all of them."""
        for field, show in self._shown.items():
            count = self._counts[field]
            equal = _EQUAL[field](x, y)
            if equal is None:
                count.not_comparable += 1
            elif equal:
                count.equal += 1
            else:
                count.differing += 1
                yield FieldDifference(
                    field=field,
                    deal=logical,
                    x_ref=str(x.row.ref),
                    y_ref=str(y.row.ref),
                    name=x.row.name,
                    x_value=show(x),
                    y_value=show(y),
                    x_url=x.row.url,
                    y_url=y.row.url,
                )

    def agreement(self, *, min_sample: int) -> tuple[FieldAgreement, ...]:
        """The share of pairs that agree, by field."""
        return tuple(
            FieldAgreement(
                field=field,
                agreement=share(
                    count.equal,
                    count.equal + count.differing,
                    sample=count.equal + count.differing,
                    min_sample=min_sample,
                ),
                differing=count.differing,
                not_comparable=count.not_comparable,
            )
            for field, count in self._counts.items()
        )


def _amount(deal: Deal) -> str | None:
    """The amount at the scale of its currency: 100 and 100.00 are the same money."""
    native, raw = deal.native_amount, deal.row.amount
    if native is None:
        return None if raw is None else str(raw)
    return plain(rounded(native, deal.row.currency))


def _currency(deal: Deal) -> str | None:
    return deal.row.currency.strip().upper() if deal.row.currency else None


def _close_date(deal: Deal) -> str | None:
    return deal.row.expected_close.isoformat() if deal.row.expected_close else None


def _same_stage(x: Deal, y: Deal) -> bool | None:
    # An unmapped stage has no place in the outline: there is nothing to compare it with.
    return None if x.stage is None or y.stage is None else x.stage == y.stage


def _same_owner(x: Deal, y: Deal) -> bool:
    keys = ((x.row.owner_key, y.row.owner_key), (x.row.owner_email, y.row.owner_email))
    return _same(keys, (x.row.owner_name, y.row.owner_name), (x.row.owner_id, y.row.owner_id))


def _same_company(x: Deal, y: Deal) -> bool:
    keys = ((x.row.company_key, y.row.company_key),)
    return _same(keys, (x.row.company_name, y.row.company_name), (x.row.company_id, y.row.company_id))


_Both = tuple[str | None, str | None]


def _same(keys: tuple[_Both, ...], names: _Both, ids: _Both) -> bool:
    """Compare by the first key that both sides have, then by name; ids of two CRMs never compare."""
    for x, y in keys:
        if x and y:
            return _folded(x) == _folded(y)
    if names[0] and names[1]:
        return _folded(names[0]) == _folded(names[1])
    sides = [any(value[place] for value in (*keys, names, ids)) for place in (0, 1)]
    return not any(sides)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


_EQUAL: dict[Compared, Callable[[Deal, Deal], bool | None]] = {
    Compared.STATUS: lambda x, y: x.row.outcome is y.row.outcome,
    Compared.STAGE: _same_stage,
    Compared.AMOUNT: lambda x, y: _amount(x) == _amount(y),
    Compared.CURRENCY: lambda x, y: _currency(x) == _currency(y),
    Compared.CLOSE_DATE: lambda x, y: x.row.expected_close == y.row.expected_close,
    Compared.OWNER: _same_owner,
    Compared.COMPANY: _same_company,
}
