"""SQL from users: read-only by construction, over nothing but the warehouse's own files."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import duckdb

from schemas.errors import QueryError
from warehouse.connect import connect_with_files
from warehouse.views import names_in

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Answer:
    """The first rows of a query's answer, and whether there are more."""

    rows: "pa.Table"
    more: bool


def named_queries() -> dict[str, tuple[str, str]]:
    """The shipped questions: name -> (what it answers, its SQL)."""
    found = {}
    for file in sorted((Path(__file__).parent / "queries").glob("*.sql")):
        sql = file.read_text(encoding="utf-8")
        found[file.stem] = (sql.splitlines()[0].removeprefix("--").strip(), sql)
    return found


def named_query(name: str) -> str:
    """The SQL of a shipped question. Raises QueryError for an unknown name."""
    queries = named_queries()
    if name not in queries:
        raise QueryError(f"there is no query {name!r}; `dataengine sql --list` shows them: {', '.join(queries)}")
    return queries[name][1]


def locked_connection(
    path: str | Path, *, at: str | None = None, only: Iterable[str] | None = None, snapshots: bool = False
) -> duckdb.DuckDBPyConnection:
    """A connection that can read the warehouse's tables and views, and no other file, table, or setting.

    `snapshots` adds the view `snapshot_rows`; see `connect` for `only`.
    """
    connection, files = connect_with_files(path, at=at, only=only, snapshots=snapshots)
    connection.execute("SET allowed_paths = ?", [files])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    return connection


def query(path: str | Path, sql: str, *, at: str | None = None) -> duckdb.DuckDBPyRelation:
    """One SELECT (or EXPLAIN) over the warehouse, as a DuckDB relation.

    Raises QueryError, with DuckDB's own first line, for SQL that fails, is more than one statement, or does more than
    read.
    """
    return _asked(path, sql, at)


def answer(path: str | Path, sql: str, *, most: int, seconds: float, at: str | None = None) -> Answer:
    """At most `most` rows of what `query` gives, for a screen. Raises QueryError as it does, and when it takes longer.

    Whatever is asked is stopped after so many seconds; what it has found until then is not shown.
    """
    watches: list[Timer] = []

    def watch(connection: duckdb.DuckDBPyConnection) -> None:
        watches.append(Timer(seconds, connection.interrupt))
        watches[-1].daemon = True
        watches[-1].start()

    try:
        found = _asked(path, sql, at, watch).limit(most + 1).to_arrow_table()
    except duckdb.InterruptException:
        raise QueryError(f"stopped after {seconds:g} s: ask for less, or use `dataengine sql`, which waits") from None
    except duckdb.Error as e:
        raise QueryError(_explained(e, sql)) from e
    finally:
        for late in watches:
            late.cancel()
    return Answer(found.slice(0, most), found.num_rows > most)


def _asked(
    path: str | Path, sql: str, at: str | None, watch: Callable[[duckdb.DuckDBPyConnection], None] | None = None
) -> duckdb.DuckDBPyRelation:
    """The relation of a query; `watch` is called with each connection before the query is on it."""
    # Bytes on a command line that are no UTF-8 arrive as lone surrogates.
    sql = sql.encode("utf-8", "replace").decode("utf-8")
    # Only where it is asked for: with many snapshots it takes a while, and a damaged one stands in nobody else's way.
    snapshots = "snapshot_rows" in sql.lower()
    only = None if _asks_what_there_is(sql) else names_in(sql)
    connection = locked_connection(path, at=at, only=only, snapshots=snapshots)
    if watch:
        watch(connection)
    kind = _kind(connection, sql)
    if kind == "EXPLAIN":
        # EXPLAIN ANALYZE runs what it explains, and a COPY may overwrite the very files that may be read.
        kind = _kind(connection, re.sub(r"\A\s*EXPLAIN\s+(ANALYZE\s+)?", "", sql, count=1, flags=re.IGNORECASE))
    if kind != "SELECT":
        raise QueryError(f"{kind} refused: only SELECT and EXPLAIN SELECT are run here, the warehouse is read-only")
    try:
        try:
            relation = connection.sql(sql)
        except duckdb.CatalogException:
            # A name put together by the query itself; or none, and then DuckDB tells those that are like it.
            connection = locked_connection(path, at=at, snapshots=snapshots)
            if watch:
                watch(connection)
            relation = connection.sql(sql)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as e:
        raise QueryError(_explained(e, sql)) from e
    if relation is None:
        raise QueryError("the statement gives no rows")
    return relation


def _asks_what_there_is(sql: str) -> bool:
    """Whether a query reads DuckDB's own lists of tables, views and columns."""
    return any(word in sql.lower() for word in ("show", "information_schema", "duckdb_", "sqlite_", "pg_"))


def _kind(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The type of the one statement in `sql`."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as e:
        raise QueryError(_explained(e, sql)) from e
    if len(statements) != 1:
        raise QueryError(f"give one statement, not {len(statements)}")
    return str(statements[0].type.name)


def _explained(error: duckdb.Error, sql: str) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    message = lines[0]
    if re.search(r"(?<![.\"\w])check(?![\"\w])", sql, re.IGNORECASE) and "syntax error" in message:
        message += ' (check is a word of SQL: write "check" in double quotes)'
    return message
