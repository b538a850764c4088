"""Stored records as a person tells them apart: names instead of ids, and a link into the CRM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync import schema
from crmkit.sync.rows import as_text
from crmkit.sync.stored import stored


@dataclass(frozen=True, slots=True)
class Described:
    """One record in words; what it does not have is empty.

    Attributes:
        name: Its name.
        amount: A deal's amount, in plain digits.
        currency: Its currency.
        stage: A deal's pipeline and stage.
        close: A deal's expected close, as an ISO date.
        owner: The owner's name.
        company: The name of a deal's or person's company.
        reach: A company's domain and phones, a person's e-mail addresses and phones.
        city: Where a company or person is.
        url: Its address in the CRM's own pages.
    """

    name: str = ""
    amount: str = ""
    currency: str = ""
    stage: str = ""
    close: str = ""
    owner: str = ""
    company: str = ""
    reach: str = ""
    city: str = ""
    url: str = ""


def described(db: sa.Connection, refs: Iterable[Ref]) -> dict[Ref, Described]:
    """Records in words, those that are in the local copy."""
    rows = stored(db, refs)
    companies = {
        Ref(ref.connection, Kind.COMPANY, row["companies"][0])
        for ref, row in rows.items()
        if row.get("companies")
    }
    names = {ref: str(row["name"]) for ref, row in stored(db, companies, ("name",)).items()}
    owners = _labels(db, schema.owners)
    pipelines = _labels(db, schema.pipelines)
    stages = {
        (row.connection, row.pipeline_id, row.id): row.name for row in db.execute(sa.select(schema.stages))
    }
    found: dict[Ref, Described] = {}
    for ref, row in rows.items():
        where = (pipelines.get((ref.connection, row.get("pipeline_id")), ""),)
        stage = stages.get((ref.connection, row.get("pipeline_id"), row.get("stage_id")), "")
        company = Ref(ref.connection, Kind.COMPANY, row["companies"][0]) if row.get("companies") else None
        reach = [row.get("domain"), *(row.get("emails") or ()), *(row.get("phones") or ())]
        found[ref] = Described(
            name=row["name"] or "",
            amount=as_text(row.get("amount")) or "",
            currency=row.get("currency") or "",
            stage=": ".join(part for part in (*where, stage) if part),
            close=as_text(row.get("expected_close")) or "",
            owner=owners.get((ref.connection, row["owner_id"]), ""),
            company=names.get(company, "") if company is not None else "",
            reach=", ".join(str(one) for one in reach if one),
            city=row.get("city") or "",
            url=row["url"] or "",
        )
    return found


def _labels(db: sa.Connection, table: sa.Table) -> dict[tuple[str, str | None], str]:
    query = sa.select(table.c.connection, table.c.id, table.c.name)
    return {(row.connection, row.id): row.name for row in db.execute(query)}
