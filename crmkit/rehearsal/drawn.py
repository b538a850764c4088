"""Draws the blueprint of a real CRM from the local copy and from what the CRM says of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

import sqlalchemy as sa

from crmkit.connectors.base import Connector, Field
from crmkit.errors import StateError
from crmkit.model import Kind
from crmkit.rehearsal.masked import masked
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox import blueprint as plan
from crmkit.sync import queries, schema
from crmkit.sync.rows import TABLES
from crmkit.sync.state import State

_ROWS_AT_ONCE = 5000
_KINDS: Mapping[plan.FieldKind, Kind] = {kind: Kind(kind) for kind in get_args(plan.FieldKind)}


def blueprint_of(
    state: State,
    connection: str,
    connector: Connector,
    *,
    mask: Masking | None,
    rates: Mapping[str, Decimal] | None = None,
) -> plan.Blueprint:
    """What the CRM behind a connection consists of, as the last pull saw it.

    Asks the CRM itself for nothing but its workspace and its fields. Records that are gone,
    archived or could not be read are left out, and counted in `left_out`.

    Args:
        state: The local copy; notes and history are in it if they were pulled.
        connection: Whose records.
        connector: The open connection.
        mask: What makes it anonymous; use the same for both CRMs of a rehearsal. `None`: as it is.
        rates: The worth of one unit of a currency in the CRM's base currency, where known.

    Raises:
        StateError: The connection has not been pulled yet.
    """
    queries.pulled(state, [connection])
    fields = {kind: connector.fields(model_kind) for kind, model_kind in _KINDS.items()}
    workspace = connector.check()
    drawing = _Drawing(state, connection, fields)
    drawn = drawing.draw(
        name_field=getattr(connector.options, "name_field", None),
        currencies={code: (rates or {}).get(code, Decimal(1)) for code in workspace.currencies},
    )
    return drawn if mask is None else masked(drawn, mask, _listed(fields))


def _listed(fields: Mapping[plan.FieldKind, Sequence[Field]]) -> frozenset[str]:
    """Every option that some list of the CRM offers: no text that a person wrote about somebody."""
    found: set[str] = set()
    for some in fields.values():
        for field in some:
            found |= {*field.options, *field.options.values()}
    return frozenset(found)


class _Drawing:
    """One reading of the local copy."""

    def __init__(
        self, state: State, connection: str, fields: Mapping[plan.FieldKind, Sequence[Field]]
    ) -> None:
        self.state, self.connection = state, connection
        self.fields = {kind: tuple(one for one in some if one.custom) for kind, some in fields.items()}
        self.lists = {
            kind: {one.id: dict(one.options) for one in some if one.options and not one.custom}
            for kind, some in fields.items()
        }
        self.types = {kind: {one.id: one.type for one in some} for kind, some in self.fields.items()}
        self.left_out: dict[str, int] = {}

    def draw(self, **given: Any) -> plan.Blueprint:
        """The whole blueprint."""
        with self.state.read() as db:
            workspace = self._workspace(db)
            users = tuple(self._users(db))
            companies = tuple(self._companies(db))
            contacts = tuple(self._contacts(db, {one.id for one in companies}))
            deals = tuple(self._deals(db, {one.id for one in companies}, {one.id for one in contacts}))
            known = {one.id for one in deals}
            notes = tuple(self._notes(db, known, {one.id for one in companies}))
            visits = tuple(self._visits(db, known))
        self._count_quarantine()
        return plan.Blueprint(
            **workspace,
            pipelines=tuple(self._pipelines()),
            users=users,
            fields={kind: tuple(map(_field, some)) for kind, some in self.fields.items()},
            lists=self.lists,
            companies=companies,
            contacts=contacts,
            deals=deals,
            notes=notes,
            visits=visits,
            left_out=tuple(f"{count} {what}" for what, count in self.left_out.items()),
            **given,
        )

    def _leave_out(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1

    def _rows(self, db: sa.Connection, kind: Kind) -> Iterator[sa.RowMapping]:
        """The live records of a kind in order of id; archived ones are counted."""
        table = TABLES[kind]
        query = (
            sa.select(table)
            .where(table.c.connection == self.connection, table.c.gone_at.is_(None))
            .order_by(sa.func.length(table.c.id), table.c.id)
        )
        for row in db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query).mappings():
            if kind is not Kind.PIPELINE and row.get("archived"):
                self._leave_out(f"archived {kind}s")
                continue
            yield row

    def _workspace(self, db: sa.Connection) -> dict[str, Any]:
        table = schema.workspaces
        row = db.execute(sa.select(table).where(table.c.connection == self.connection)).one_or_none()
        if row is None:
            raise StateError(
                f"{self.connection}: nothing has been pulled yet",
                hint=f"Run `crmkit pull {self.connection}`.",
            )
        return {
            "crm": row.crm,
            "workspace_id": row.workspace_id,
            "workspace_name": row.name,
            "time_zone": row.time_zone,
            "base_currency": row.base_currency,
        }

    def _pipelines(self) -> Iterator[plan.Pipeline]:
        for one in queries.pipelines(self.state, self.connection):
            stages = tuple(
                plan.Stage(
                    id=stage.id,
                    name=stage.name,
                    order=stage.order,
                    outcome=stage.outcome.value,
                    probability=stage.probability,
                    archived=stage.archived,
                )
                for stage in one.stages
            )
            yield plan.Pipeline(
                id=one.ref.id, name=one.name, order=one.order, stages=stages, archived=one.archived
            )

    def _users(self, db: sa.Connection) -> Iterator[plan.User]:
        for row in self._rows(db, Kind.OWNER):
            yield plan.User(id=row["id"], name=row["name"], email=row["email"], active=row["active"])

    def _companies(self, db: sa.Connection) -> Iterator[plan.Company]:
        for row in self._rows(db, Kind.COMPANY):
            yield plan.Company(
                **_some(row, "id", "name", "domain", "tax_id", "owner_id"),
                **_party(row),
                custom=self._custom("company", row),
            )

    def _contacts(self, db: sa.Connection, companies: set[str]) -> Iterator[plan.Contact]:
        for row in self._rows(db, Kind.CONTACT):
            yield plan.Contact(
                **_some(row, "id", "name", "owner_id"),
                first=row["first_name"],
                last=row["last_name"],
                emails=tuple(row["emails"]),
                company_ids=self._known(row["companies"], companies, "contacts to companies"),
                **_party(row),
                custom=self._custom("contact", row),
            )

    def _deals(self, db: sa.Connection, companies: set[str], contacts: set[str]) -> Iterator[plan.Deal]:
        for row in self._rows(db, Kind.DEAL):
            listed = {one["id"]: one for one in row["contacts"]}
            yield plan.Deal(
                **_some(row, *_DEAL_COLUMNS),
                abandoned=row["lost_kind"] == "abandoned",
                company_ids=self._known(row["companies"], companies, "deals to companies"),
                people=tuple(
                    plan.Person(id=one, role=listed[one]["role"], primary=listed[one]["primary"])
                    for one in self._known(list(listed), contacts, "deals to contacts")
                ),
                created=row["created_at"],
                modified=row["modified_at"],
                stage_entered=row["stage_entered_at"],
                last_activity=row["last_activity_at"],
                next_activity=row["next_activity_at"],
                tags=tuple(row["tags"]),
                custom=self._custom("deal", row),
            )

    def _notes(self, db: sa.Connection, deals: set[str], companies: set[str]) -> Iterator[plan.Note]:
        for row in self._rows(db, Kind.NOTE):
            on = row["deal_id"] in deals, row["company_id"] in companies
            if (row["deal_id"] or row["company_id"]) and not any(on):
                self._leave_out("notes on records that are left out")
                continue
            yield plan.Note(
                **_some(row, "id", "text", "author_id", "at"),
                deal_id=row["deal_id"] if on[0] else None,
                company_id=row["company_id"] if on[1] else None,
                modified=row["modified_at"],
            )

    def _visits(self, db: sa.Connection, deals: set[str]) -> Iterator[plan.Visit]:
        table = schema.stage_changes
        query = (
            sa.select(table)
            .where(table.c.connection == self.connection, table.c.gone_at.is_(None))
            .order_by(table.c.deal_id, table.c.at, sa.func.length(table.c.id), table.c.id)
        )
        by_deal: dict[str, list[plan.Visit]] = {}
        for row in db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query).mappings():
            if row["deal_id"] in deals:
                visit = plan.Visit(**_some(row, "deal_id", "from_stage_id", "to_stage_id", "at", "by"))
                by_deal.setdefault(visit.deal_id, []).append(visit)
        for some in by_deal.values():
            yield from _chained(some)

    def _known(self, ids: Iterable[str], there: set[str], what: str) -> tuple[str, ...]:
        found = tuple(ids)
        if all(one in there for one in found):
            return found
        for one in found:
            if one not in there:
                self._leave_out(f"links of {what} that are left out")
        return tuple(one for one in found if one in there)

    def _custom(self, kind: plan.FieldKind, row: sa.RowMapping) -> dict[str, plan.Value]:
        found: dict[str, plan.Value] = {}
        for name, value in row["custom"].items():
            type_ = self.types[kind].get(name)
            if type_ is None:
                self._leave_out(f"values of {kind} field {name}, which is gone")
            elif value is not None:
                found[name] = _READERS.get(type_, _as_is)(value)
        return found

    def _count_quarantine(self) -> None:
        for row in queries.quarantined(self.state, [self.connection]):
            self._leave_out(f"{row['kind']}s that could not be read")


_DEAL_COLUMNS = (
    "id", "name", "pipeline_id", "stage_id", "outcome", "lost_reason", "amount", "currency",
    "value_period", "probability", "forecast_category", "owner_id", "expected_close", "closed_at",
    "source", "key",
)  # fmt: skip


def _some(row: sa.RowMapping, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _party(row: sa.RowMapping) -> dict[str, Any]:
    return {
        **_some(row, "city", "country", "postcode", "key"),
        "phones": tuple(row["phones"]),
        "created": row["created_at"],
        "modified": row["modified_at"],
    }


def _field(field: Field) -> plan.Field:
    return plan.Field(
        id=field.id,
        label=field.label,
        type=field.type,
        options=dict(field.options),
        required=field.required,
        unique=field.unique,
        read_only=field.read_only,
        max_length=field.max_length,
    )


def _chained(visits: Sequence[plan.Visit]) -> Sequence[plan.Visit]:
    """Steps of one deal so that each begins where the one before ended, where that is possible.

    Two steps of the same second come in the order of their ids, which need not be theirs.
    """
    left, made = list(visits), list[plan.Visit]()
    at: str | None = None
    while left:
        same = [one for one in left if one.at == left[0].at]
        step = next((one for one in same if one.from_stage_id == at), same[0]) if made else same[0]
        if not made and len(same) > 1:
            ends = {one.to_stage_id for one in same}
            step = next((one for one in same if one.from_stage_id not in ends), same[0])
        left.remove(step)
        made.append(step)
        at = step.to_stage_id
    return made


def _as_is(value: Any) -> plan.Value:
    """A value as JSON holds it; lists are tuples here."""
    return tuple(map(str, value)) if isinstance(value, list) else value


def _number(value: Any) -> plan.Value:
    # Whole numbers are kept as such, decimals as text. Some money comes with its currency: `300.00|USD`.
    if not isinstance(value, str):
        return _as_is(value)
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


def _day(value: Any) -> plan.Value:
    return date.fromisoformat(value) if isinstance(value, str) else _as_is(value)


def _time(value: Any) -> plan.Value:
    return datetime.fromisoformat(value) if isinstance(value, str) else _as_is(value)


_READERS: Mapping[str, Callable[[Any], plan.Value]] = {
    "number": _number,
    "money": _number,
    "day": _day,
    "time": _time,
}
