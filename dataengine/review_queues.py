"""The review queues there are, shipped and the user's, and what each of them holds now."""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from dataengine.shipped import shipped
from schemas.errors import ConfigError, QueryError
from schemas.queue import Queue
from warehouse.quoting import identifier, literal
from warehouse.sql import query
from warehouse.standing import Item

# A queue of the user's stands in the warehouse's own folder: whoever opens the warehouse has the same ones.
FOLDER = "queues"


def load_queues(warehouse: Path, files: Iterable[Path] = ()) -> dict[str, Queue]:
    """All queues by name: the shipped ones, over them those in the warehouse's folder `queues`, over them `files`.

    Raises ConfigError for a file that holds no queue, or two in one place that have the same name.
    """
    own = sorted(p for p in (warehouse / FOLDER).glob("*") if p.suffix in (".yaml", ".yml"))
    found: dict[str, Queue] = {}
    for place in (shipped("queues").values(), own, files):
        here: dict[str, Queue] = {}
        for file in place:
            queue = Queue.load(file)
            if queue.queue in here:
                raise ConfigError(f"{file}: queue {queue.queue} stands in {here[queue.queue].file} too; rename one")
            here[queue.queue] = queue
        found |= here
    return found


def candidates(warehouse: Path, queue: Queue) -> list[Item]:
    """What the queue's SQL gives now, each once, in the queue's order.

    An attempt is the current one of its trajectory, and has a reply. Ids that the warehouse does not know are left out.
    A random order is drawn by hash of the queue's name and the id: everybody has the same one, today and tomorrow.
    Raises ConfigError, which names queue and file, for SQL that fails, does more than read or gives no ids.
    """
    column = identifier(queue.id_column)
    order = "min(place)" if queue.order == "given" else f"sha256({literal(queue.queue)} || id), id"
    there = (
        "SELECT pair_id AS id, 0 AS attempt FROM pairs"
        if queue.rows == "pairs"
        else "SELECT trajectory_id AS id, attempt FROM trajectories_current WHERE error IS NULL"
    )
    try:
        asked = query(warehouse, queue.sql)
        if queue.id_column not in asked.columns:
            raise QueryError(f"its sql gives no column {queue.id_column}, but {', '.join(asked.columns)}")
        rows = query(
            warehouse,
            # The line ends before the bracket: the SQL may end in a comment. That it is one SELECT is known by now.
            f"WITH given AS (SELECT {column}::VARCHAR AS id, row_number() OVER () AS place FROM (\n"
            f"{_without_end(queue.sql)}\n)), there AS ({there})\n"
            f"SELECT id, any_value(attempt) FROM given JOIN there USING (id) GROUP BY id ORDER BY {order}",
        ).fetchall()
    except (QueryError, duckdb.Error) as e:
        said = next((line for line in str(e).splitlines() if line.strip()), "it fails")
        where = f"{queue.file}: " if queue.file else ""
        raise ConfigError(f"{where}queue {queue.queue}: {said}") from None
    return [Item(ident, attempt) for ident, attempt in rows]


def _without_end(sql: str) -> str:
    """The one statement of a text, without its semicolon and what follows that, which are comments."""
    text = sql.encode()
    ends = [at for at, kind in duckdb.tokenize(sql) if kind == duckdb.token_type.operator and text[at : at + 1] == b";"]
    return text[: ends[0]].decode() if ends else sql
