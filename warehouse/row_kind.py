"""What a kind of rows is to a snapshot: how they are chosen and rendered, and what their hash is over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from schemas.errors import SnapshotError
from schemas.mix import AnyMix, Mix
from warehouse.fitting import Chat

Systems = Mapping[str, str | None]


@dataclass(frozen=True)
class RowKind:
    """One kind of rows.

    `select` makes of a mix, the system prompts of its templates and the chat template that it names the tables `chosen`
    and `taken` and the view `selected` of a connection. Of `selected`, `order` are the columns that tell rows apart and
    sort them; the logical hash is over `hashed`, and then over `nested`, which are lists and structs; `counted` are
    columns whose values are counted. `dropped` are the rules that leave something out. `checks` is a SELECT of (check,
    version) of those relied on; it may read `hashed`, which are the rows as they were written.
    """

    select: Callable[[duckdb.DuckDBPyConnection, Any, Systems, Chat | None], None]
    order: str
    hashed: Sequence[str]
    nested: Sequence[str]
    counted: Sequence[str]
    dropped: Sequence[str]
    checks: str

    @property
    def ident(self) -> str:
        """The id by which its rows are told apart."""
        return self.order.partition(",")[0]

    def left_out(self, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """How many rows each rule left out."""
        sql = "SELECT dropped, count(*) FROM chosen WHERE dropped IS NOT NULL GROUP BY 1"
        return dict.fromkeys(self.dropped, 0) | {rule: int(rows) for rule, rows in connection.execute(sql).fetchall()}


def refuse_empty(connection: duckdb.DuckDBPyConnection, mix: AnyMix, kind: RowKind) -> None:
    """Raises SnapshotError for a mix that takes nothing, with what left its candidates out."""
    row = connection.execute("SELECT count(*) FROM taken").fetchone()
    if row and row[0]:
        return
    left_out = {rule: rows for rule, rows in kind.left_out(connection).items() if rows}
    if isinstance(mix, Mix) and set(left_out) == {"license"}:
        raise SnapshotError(
            f"mix {mix.mix}: takes no samples: {left_out['license']:,} that pass have none of its `licenses`: "
            f"{', '.join(mix.licenses or ())}"
        )
    if isinstance(mix, Mix) and not left_out:
        stages = ", ".join(dict.fromkeys(s.stage or "any stage but eval" for s in mix.sources))
        raise SnapshotError(
            f"mix {mix.mix}: no trajectory of {stages} passes what it requires; "
            "`dataengine status` shows where they stop, `dataengine explain ID --mix` why one does"
        )
    told = ", ".join(f"{rule} {rows:,}" for rule, rows in left_out.items())
    why = f"left out are {told}" if told else "nothing here meets what its sources ask"
    raise SnapshotError(f"mix {mix.mix}: takes no {mix.rows}: {why}")


def parameters_of(mix: AnyMix, systems: Systems) -> dict[str, object]:
    """What the rendering of every kind of rows is given: each source's system prompt, and how to split."""
    return {"systems": [systems[s.template] for s in mix.sources], "salt": mix.salt, "share": mix.validation}
