"""Tables and deals as Parquet files for other programs: exact decimals, days as days, texts as they are.

Imported late: pyarrow is in the extra `report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from crmkit.errors import CrmkitError
from crmkit.report.listed import ListedDeal
from crmkit.report.money import rounded_to
from crmkit.report.render.cells import Cell, Column, Days, Link, Money, Share, Table, safe_url

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 16
"""Digits after the point of every decimal: those of an amount in the report currency (`facts.scale`).

That leaves 22 before it; weighted amounts and ratios are rounded half-up to it.
"""
_PRECISION = 38
_PER_BATCH = 20_000

# What a column holds whose cells are all empty; the others tell it themselves.
_DAYS = frozenset({"close", "day", "start", "end", "old_close", "new_close", "next_step", "renewal", "due"})
_LINKS = frozenset({"deal"})
_COUNTS = frozenset({"deals", "records", "open_deals", "idle", "pushes", "age"})


def parquet_files(
    tables: Iterable[Table], deals: Iterable[ListedDeal] = (), about: Mapping[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """File name and content, one after the other: a file for each table, then `deals.parquet`.

    A table keeps its rows and leaves out its total. A column of links has a second one
    with `_url` behind its name; a column whose cells have several units has a second one
    with `_unit`. Equal tables give equal bytes.

    Args:
        tables: Under their ids.
        deals: The deals behind the figures, read once.
        about: What the files are of: written into their metadata.

    Raises:
        CrmkitError: pyarrow is not installed.
    """
    arrow = _arrow()
    metadata = {f"crmkit.{name}": value for name, value in (about or {}).items()}
    for table in tables:
        columns = [
            part for at, column in enumerate(table.columns) for part in _parts(arrow, table, at, column)
        ]
        schema = arrow.schema([(name, kind) for name, kind, _ in columns], metadata=metadata)
        arrays = [arrow.array(values, kind) for _, kind, values in columns]
        yield f"{table.id}.parquet", _written(schema, [arrow.Table.from_arrays(arrays, schema=schema)])
    schema = arrow.schema(_deal_fields(arrow), metadata=metadata)
    yield "deals.parquet", _written(schema, _deal_tables(arrow, schema, deals))


def _arrow() -> Any:
    try:
        import pyarrow  # noqa: PLC0415 - heavy, and only this output needs it
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise CrmkitError(
            "Parquet files need the package pyarrow", hint="Install it with `pip install 'crmkit[report]'`."
        ) from error
    return pyarrow


def _written(schema: pa.Schema, tables: Iterable[pa.Table]) -> bytes:
    arrow = _arrow()
    out = arrow.BufferOutputStream()
    with arrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    content: bytes = out.getvalue().to_pybytes()
    return content


def _parts(
    arrow: Any, table: Table, at: int, column: Column
) -> Iterator[tuple[str, pa.DataType, list[object]]]:
    """Name, type and values of a column, and of the one that goes with it."""
    cells = [row[at] for row in table.rows]
    kinds = {type(cell) for cell in cells if cell is not None}
    if not kinds:
        yield column.key, _empty_kind(arrow, column), [None] * len(cells)
    elif kinds <= {int}:
        yield column.key, arrow.int64(), list(cells)
    elif kinds == {date}:
        yield column.key, arrow.date32(), list(cells)
    elif kinds <= {int, Money, Share, Days}:
        yield column.key, arrow.decimal128(_PRECISION, DIGITS), [_number(cell) for cell in cells]
        units = [_unit(cell) for cell in cells]
        if len(set(units) - {None}) > 1:
            yield f"{column.key}_unit", arrow.string(), list(units)
        return
    else:
        yield column.key, arrow.string(), [_text(cell) for cell in cells]
    if Link in kinds or (not kinds and column.key in _LINKS):
        urls = [safe_url(cell.url) if isinstance(cell, Link) else None for cell in cells]
        yield f"{column.key}_url", arrow.string(), list(urls)


def _empty_kind(arrow: Any, column: Column) -> pa.DataType:
    if column.key in _DAYS:
        return arrow.date32()
    if column.key in _COUNTS:
        return arrow.int64()
    return arrow.decimal128(_PRECISION, DIGITS) if column.numeric else arrow.string()


def _number(cell: Cell) -> Decimal | None:
    match cell:
        case int():
            return Decimal(cell)
        case Money():
            return _exact(cell.amount)
        case Share() | Days():
            return _exact(cell.value)
        case _:
            return None


def _unit(cell: Cell) -> str | None:
    match cell:
        case int():
            return "count"
        case Money():
            return cell.currency
        case Share():
            return "share"
        case Days():
            return "days"
        case _:
            return None


def _exact(value: Decimal | None) -> Decimal | None:
    """The number as the type holds it."""
    return None if value is None else rounded_to(value, DIGITS)


def _text(cell: Cell) -> str | None:
    match cell:
        case None:
            return None
        case Link():
            text = cell.text
        case date():
            text = cell.isoformat()
        case Money() | Share() | Days():
            number = _number(cell)
            text = "" if number is None else format(number.normalize(), "f")
        case _:
            text = str(cell)
    # Half of a pair of surrogates is no letter, and UTF-8 cannot hold it.
    return text.encode("utf-8", "replace").decode()


def _deal_fields(arrow: Any) -> list[tuple[str, pa.DataType]]:
    """The columns of `deals.parquet`: the fields of `ListedDeal`."""
    number = arrow.decimal128(_PRECISION, DIGITS)
    typed = {
        **dict.fromkeys(("amount", "native_amount", "probability", "weighted"), number),
        **dict.fromkeys(("expected_close", "created_on", "closed_on", "next_step_on"), arrow.date32()),
        **dict.fromkeys(("stage_age_days", "idle_days", "push_count"), arrow.int64()),
        "findings": arrow.list_(arrow.string()),
    }
    return [(name, typed.get(name, arrow.string())) for name in ListedDeal.model_fields]


def _deal_tables(arrow: Any, schema: pa.Schema, deals: Iterable[ListedDeal]) -> Iterator[pa.Table]:
    rest = iter(deals)
    while batch := list(islice(rest, _PER_BATCH)):
        columns = {name: [_value(getattr(deal, name)) for deal in batch] for name in schema.names}
        yield arrow.table(columns, schema=schema)


def _value(value: object) -> object:
    match value:
        case Decimal():
            return _exact(value)
        case str():
            return _text(value)
        case tuple():
            return [_text(str(one)) for one in value]
        case _:
            return value
