"""Two snapshots row beside row, as tables in DuckDB that hold hashes in place of texts."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import ConfigError, SnapshotError
from warehouse.connect import opened
from warehouse.quoting import identifier, literal, parquet
from warehouse.snapshot import KINDS, Snapshot
from warehouse.writing import fsync

# Columns with few different values, by which rows are counted.
_FEW_VALUES = (
    *("split", "label", "stage", "domain", "source", "language", "license", "policy", "chosen_policy"),
    *("rejected_policy", "labelled_by", "verifier", "answer_form"),
)
_ENDINGS = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".jsonl": "FORMAT json", ".csv": "FORMAT csv, HEADER"}
# Each thread holds texts of a group of rows, so there are not more of them.
_MOST_THREADS = 4


@dataclass(frozen=True)
class Compared:
    """The tables of a comparison, in a connection, and which columns they are of.

    `compared` has a row for each id: the `keys`, `what` (added, removed, changed, same), `changed` (names of columns
    that differ), and X_before and X_after for each column X of `told`, whose values are short, and of `verdicts`, whose
    values are hashes. `by` are those of `told` that have few values. `reworded` has a row for each pair of different
    lists of verdicts and each check in which these differ. `notes` are sentences on what could not be compared.
    """

    connection: duckdb.DuckDBPyConnection
    keys: list[str]
    told: list[str]
    by: list[str]
    verdicts: list[str]
    notes: list[str]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query over the tables."""
        return self.connection.execute(sql).fetchall()


@contextmanager
def compared(before: Snapshot, after: Snapshot, limit: int | None = None) -> Iterator[Compared]:
    """Compares two snapshots of one kind of rows, or the first `limit` rows of each.

    Raises SnapshotError for files that are gone, cannot be read, lack the ids, or hold other rows than the manifest
    says.
    """
    sides = {"before": before, "after": after}
    with tempfile.TemporaryDirectory(prefix="dataengine-diff-") as spill, opened(Path(spill)) as connection:
        ((threads,),) = connection.execute("SELECT current_setting('threads')").fetchall()
        connection.execute(f"SET threads = {min(threads, _MOST_THREADS)}")
        connection.execute("SET preserve_insertion_order = false")
        types = {side: _open(connection, side, snapshot) for side, snapshot in sides.items()}
        both = [name for name in types["before"] if name in types["after"]]
        kind = KINDS[before.manifest.rows_of]
        keys = kind.order.split(", ")
        for name in (*keys, "prompt_id", "split"):
            if name not in both:
                lacking = next(s for side, s in sides.items() if name not in types[side])
                raise SnapshotError(f"{lacking.manifest.id} cannot be compared: its rows have no {name}")
        by = [name for name in _FEW_VALUES if name in both]
        short = {*keys, *by, "prompt_id"}
        hashed = [n for n in both if n not in short and any(_may_be_long(t[n]) for t in types.values())]
        found = Compared(
            connection=connection,
            keys=keys,
            told=[name for name in both if name not in (*keys, *hashed)],
            by=by,
            verdicts=[name for name in kind.nested if name.endswith("verdicts") and name in both],
            notes=[
                f"the column {name} is in {snapshot.manifest.id} alone and was not compared"
                for side, snapshot in sides.items()
                for name in types[side]
                if name not in both
            ],
        )
        for side, snapshot in sides.items():
            _load(connection, side, snapshot, {n: _hash(n) if n in hashed else identifier(n) for n in both}, limit)
        _join(found, [name for name in both if name not in keys])
        _reword(found, sides)
        yield found


def _may_be_long(kind: str) -> bool:
    return kind.endswith("[]") or kind.startswith("STRUCT") or kind in ("VARCHAR", "JSON")


def _hash(name: str) -> str:
    """A column's md5, or NULL. Of JSON, as different values have different JSON; DuckDB's own hash has but 64 bits."""
    return f"md5_number(to_json({identifier(name)})::VARCHAR)"


def _open(connection: duckdb.DuckDBPyConnection, side: str, snapshot: Snapshot) -> dict[str, str]:
    """Makes the view of a snapshot's files; returns their columns with the types."""
    for path in snapshot.data_files():
        if not path.is_file():
            raise SnapshotError(f"{snapshot.manifest.id}: {path} is gone; restore it from a copy")
    with _reading(snapshot):
        connection.execute(f"CREATE VIEW {side}_files AS FROM {parquet(snapshot.data_files())}")
        described = connection.execute(f"DESCRIBE {side}_files").fetchall()
    return {str(row[0]): str(row[1]) for row in described}


def _load(
    connection: duckdb.DuckDBPyConnection, side: str, snapshot: Snapshot, columns: Mapping[str, str], limit: int | None
) -> None:
    """The one pass over a snapshot's texts."""
    chosen = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())
    only = "" if limit is None else f" LIMIT {limit}"
    with _reading(snapshot):
        connection.execute(f"CREATE TABLE {side}_rows AS SELECT {chosen} FROM {side}_files{only}")
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {side}_rows").fetchall()
    if limit is None and rows != snapshot.manifest.rows:
        raise SnapshotError(
            f"{snapshot.manifest.id}: its files hold {rows:,} rows and its manifest says {snapshot.manifest.rows:,}; "
            "restore it from a copy"
        )


@contextmanager
def _reading(snapshot: Snapshot) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as e:
        raise SnapshotError(
            f"{snapshot.manifest.id}: its files cannot be read: {str(e).splitlines()[0]}; "
            f"`dataengine snapshot verify {snapshot.manifest.id}` names what is damaged"
        ) from e


def _join(found: Compared, columns: list[str]) -> None:
    """Makes `compared`, by the keys."""
    keys, key = ", ".join(map(identifier, found.keys)), identifier(found.keys[0])
    differing = ", ".join(
        f"CASE WHEN old.{identifier(name)} IS DISTINCT FROM new.{identifier(name)} THEN {literal(name)} END"
        for name in columns
    )
    values = ", ".join(
        f"{side}.{identifier(name)} AS {identifier(f'{name}_{word}')}"
        for name in [*found.told, *found.verdicts]
        for side, word in (("old", "before"), ("new", "after"))
    )
    found.connection.execute(
        f"""
        CREATE TABLE compared AS
        SELECT {keys},
            CASE WHEN old.{key} IS NULL OR new.{key} IS NULL THEN []
                ELSE list_filter([{differing}], lambda name: name IS NOT NULL) END AS changed,
            CASE WHEN old.{key} IS NULL THEN 'added' WHEN new.{key} IS NULL THEN 'removed'
                WHEN len(changed) > 0 THEN 'changed' ELSE 'same' END AS what,
            {values}
        FROM before_rows AS old FULL OUTER JOIN after_rows AS new USING ({keys});
        DROP TABLE before_rows;
        DROP TABLE after_rows"""
    )


def _reword(found: Compared, sides: Mapping[str, Snapshot]) -> None:
    """Makes `reworded`. Rows have few different lists of verdicts, so it is these that are taken apart."""
    found.connection.execute(
        'CREATE TABLE reworded ("column" VARCHAR, was UHUGEINT, is_now UHUGEINT, rows BIGINT, "check" VARCHAR, '
        "before VARCHAR, after VARCHAR, version_before VARCHAR, version_after VARCHAR)"
    )
    for name in found.verdicts:
        column, was, is_now = identifier(name), identifier(f"{name}_before"), identifier(f"{name}_after")
        found.connection.execute(
            f"CREATE OR REPLACE TABLE lists AS SELECT {was} AS was, {is_now} AS is_now, count(*) AS rows "
            f"FROM compared WHERE what = 'changed' AND {was} IS DISTINCT FROM {is_now} GROUP BY ALL"
        )
        for side, hashed in (("before", "was"), ("after", "is_now")):
            with _reading(sides[side]):
                found.connection.execute(
                    f"""
                    CREATE OR REPLACE TABLE {side}_verdicts AS
                    WITH said AS (
                        SELECT {_hash(name)} AS hash, any_value({column}) AS verdicts FROM {side}_files
                        WHERE hash IN (SELECT {hashed} FROM lists) GROUP BY 1
                    )
                    SELECT was, is_now, rows, v."check", v.outcome, v.version
                    FROM lists JOIN said ON hash = {hashed}, unnest(verdicts) AS each(v)"""
                )
        found.connection.execute(
            f"""
            INSERT INTO reworded
            SELECT {literal(name)}, coalesce(old.was, new.was), coalesce(old.is_now, new.is_now),
                coalesce(old.rows, new.rows), "check", old.outcome, new.outcome, old.version, new.version
            FROM before_verdicts AS old FULL OUTER JOIN after_verdicts AS new USING (was, is_now, "check")
            WHERE (old.outcome, old.version) IS DISTINCT FROM (new.outcome, new.version)"""
        )


def refuse_place(out: Path, *snapshots: Snapshot) -> None:
    """Raises ConfigError for a file that `write_rows` cannot write: of another kind, or in a snapshot's folder."""
    if out.suffix not in _ENDINGS:
        raise ConfigError(f"--rows {out}: is to end in {', '.join(_ENDINGS)}")
    if out.is_dir():
        raise ConfigError(f"--rows {out}: is a folder; name a file")
    if any(out.resolve().is_relative_to(snapshot.path.resolve()) for snapshot in snapshots):
        raise ConfigError(f"--rows {out}: is in the folder of a snapshot, which never changes; name another")


def write_rows(found: Compared, out: Path) -> None:
    """Writes a line for each row that was added, removed or changed. The file appears whole or not at all.

    Columns: the keys, `prompt_id`, `what`, `changed` (columns) and `why` (from what to what, where values are short),
    which are lists, and texts in CSV. Raises ConfigError for a file that cannot be written.
    """
    work = out.with_name(f".{out.stem}-{os.getpid()}{out.suffix}")
    lists = "array_to_string({0}, '; ') AS {0}" if out.suffix == ".csv" else "{0} AS {0}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            found.connection.execute(
                f"COPY (SELECT * REPLACE ({lists.format('changed')}, {lists.format('why')}) FROM ({_happened(found)})) "
                f"TO {literal(str(work))} ({_ENDINGS[out.suffix]})"
            )
            fsync(work)
            work.replace(out)
        finally:
            work.unlink(missing_ok=True)
    except (duckdb.IOException, OSError) as e:
        reason = e.strerror if isinstance(e, OSError) else str(e).splitlines()[0]
        raise ConfigError(f"--rows {out}: cannot be written: {reason}; name another") from e


def _happened(found: Compared) -> str:
    """A SELECT of the rows that are not the same, in the order of the keys."""
    keys = ", ".join(map(identifier, found.keys))
    prompt_id = [] if "prompt_id" in found.keys else ["coalesce(prompt_id_after, prompt_id_before) AS prompt_id"]
    values = ", ".join(
        f"CASE WHEN list_contains(changed, {literal(name)}) THEN concat({literal(name + ': ')}, "
        f"{_or_none(f'{name}_before')}, ' -> ', {_or_none(f'{name}_after')}) END"
        for name in found.told
    )
    joined = " ".join(
        f'LEFT JOIN texts AS {identifier(name)} ON {identifier(name)}."column" = {literal(name)} '
        f"AND {identifier(name)}.was IS NOT DISTINCT FROM {identifier(f'{name}_before')} "
        f"AND {identifier(name)}.is_now IS NOT DISTINCT FROM {identifier(f'{name}_after')}"
        for name in found.verdicts
    )
    texts = "".join(f", {identifier(name)}.said" for name in found.verdicts)
    return f"""
        WITH texts AS (
            SELECT "column", was, is_now, list(concat(
                if("column" = 'verdicts', '', "column" || ' '), "check", ': ', concat_ws(', ',
                    if(before IS DISTINCT FROM after, concat({_or_none("before")}, ' -> ', {_or_none("after")}), NULL),
                    if(version_before <> version_after, concat('version ', version_before, ' -> ', version_after), NULL)
                )
            ) ORDER BY "check") AS said
            FROM reworded GROUP BY ALL
        )
        SELECT {", ".join([keys, *prompt_id])}, what, changed,
            if(what = 'changed', list_filter(flatten([[{values}]{texts}]), lambda text: text IS NOT NULL), []) AS why
        FROM compared {joined}
        WHERE what <> 'same' ORDER BY {keys}"""


def _or_none(name: str) -> str:
    return f"coalesce({identifier(name)}::VARCHAR, 'none')"
