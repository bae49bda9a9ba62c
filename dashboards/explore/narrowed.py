"""The warehouse of a few trajectories: views over their rows alone answer at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from schemas.duckdb_types import duckdb_columns
from schemas.records import RECORDS
from warehouse.connect import opened
from warehouse.quoting import parquet
from warehouse.store import Warehouse
from warehouse.views import create_views, made_of

_LINEAGE = ("trajectory_facts", "verdicts_current", "reviews_current", "preferences", "runs_current", "prompts_current")
_SHORT = ("trajectory_facts", "verdicts_current")
#: What `lineage_connection` and `facts_connection` read, for those who pin versions.
LINEAGE_TABLES = "pairs pair_verdicts pair_steps reviews rollouts verdicts trajectories prompts runs"
FACTS_TABLES = "verdicts trajectories prompts"


class _Reader:
    """Copies rows of tables, at one version of each, into a database in memory."""

    def __init__(self, path: Path, versions: Mapping[str, int] | None) -> None:
        self._warehouse = Warehouse.open(path)
        self._versions = versions or {}
        self.connection = opened(self._warehouse.path / ".tmp")

    def files(self, table: str) -> list[str]:
        return self._warehouse.files(table, self._versions.get(table))[1]

    def empty(self, table: str) -> None:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in duckdb_columns(RECORDS[table]).items())
        self.connection.execute(f"CREATE TABLE {table} ({columns})")

    def all(self, table: str) -> None:
        self.empty(table)
        if files := self.files(table):
            self.connection.execute(f"INSERT INTO {table} BY NAME FROM {parquet(files)}")

    def some(self, table: str, columns: Sequence[str], values: Iterable[str], without: Sequence[str] = ()) -> None:
        """The rows of which any of these columns has one of the values; columns `without` which stay NULL.

        Ids lie scattered, and a text is read with all texts beside it: so first it is looked which files have them.
        """
        self.empty(table)
        files, wanted = self.files(table), sorted(set(values))
        if not files or not wanted:
            return
        one_of = ", ".join("?" * len(wanted))
        condition = " OR ".join(f"{column} IN ({one_of})" for column in columns)
        asked = wanted * len(columns)
        holding = self.connection.execute(
            f"SELECT DISTINCT filename FROM {parquet(files, 'filename = true')} WHERE {condition}", asked
        ).fetchall()
        if holding:
            shown = f"SELECT * EXCLUDE ({', '.join(without)})" if without else ""
            self.connection.execute(
                f"INSERT INTO {table} BY NAME {shown} FROM {parquet(row[0] for row in holding)} WHERE {condition}",
                asked,
            )

    def column(self, table: str, column: str) -> list[str]:
        rows = self.connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
        return [row[0] for row in rows]

    def family(self, ident: str) -> list[str]:
        """The trajectory, what it was made from, and whatever was made of it; all that is read is ids."""
        files = self.files("trajectories")
        rows = self.connection.execute(
            f"""WITH RECURSIVE linked AS MATERIALIZED (
                SELECT DISTINCT trajectory_id, parent_id FROM {parquet(files)} WHERE parent_id IS NOT NULL
            ), above(id) AS (
                SELECT $id UNION SELECT t.parent_id FROM linked t JOIN above a ON a.id = t.trajectory_id
            ), below(id) AS (
                SELECT $id UNION SELECT t.trajectory_id FROM linked t JOIN below b ON t.parent_id = b.id
            )
            FROM above UNION FROM below""",
            {"id": ident},
        ).fetchall()
        return [row[0] for row in rows]


@contextmanager
def lineage_connection(
    path: Path, kind: str, ident: str, versions: Mapping[str, int] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with all rows that the lineage of a trajectory or pair is told by, for `dataengine.lineage`.

    Its tables hold no other trajectories than those of the family, and so do the views.
    """
    reader = _Reader(path, versions)
    with reader.connection as connection:
        if kind == "pair":
            reader.some("pairs", ["pair_id"], [ident])
            ids = {
                i for side in ("a_id", "b_id") for first in reader.column("pairs", side) for i in reader.family(first)
            }
        else:
            ids = set(reader.family(ident))
            reader.some("pairs", ["a_id", "b_id"], [ident])
        _trajectories(reader, ids)
        reader.some("rollouts", ["trajectory_id"], ids)
        reader.some("reviews", ["trajectory_id", "child_id"], ids)
        reader.some("pair_verdicts", ["pair_id"], reader.column("pairs", "pair_id"))
        reader.some("pair_steps", ["pair_id"], reader.column("pairs", "pair_id"))
        reader.all("runs")
        create_views(connection, made_of(_LINEAGE))
        yield connection


@contextmanager
def facts_connection(
    path: Path, ids: Sequence[str], versions: Mapping[str, int] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which `trajectory_facts` has these trajectories only, with their texts but not in parts."""
    reader = _Reader(path, versions)
    with reader.connection as connection:
        _trajectories(reader, ids, without=("reasoning", "answer"))
        create_views(connection, made_of(_SHORT))
        yield connection


def _trajectories(reader: _Reader, ids: Iterable[str], without: Sequence[str] = ()) -> None:
    reader.some("trajectories", ["trajectory_id"], ids, without)
    reader.some("verdicts", ["trajectory_id"], ids)
    reader.some("prompts", ["prompt_id"], reader.column("trajectories", "prompt_id"))
