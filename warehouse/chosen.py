"""What copies, caps and earlier sources leave of a mix's candidates; one way for every kind of rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from schemas.mix import AnyMix
from warehouse.splits import know_clusters

#: The rows that earlier sources take, and the prompts that these are of.
TAKEN = "(SELECT id FROM chosen WHERE dropped IS NULL)"
TAKEN_PROMPTS = "(SELECT prompt_id FROM chosen WHERE dropped IS NULL)"


@dataclass(frozen=True)
class Caps:
    """What a source lets stand of its candidates.

    `copies` is the rule by which of equal candidates all but one are left out. `balanced` asks that among those of like
    difference in length, `longer` in octaves, as many are above 0 as below.
    """

    copies: str
    order: str = "lottery, id"
    most: int | None = None
    rows: int | None = None
    balanced: bool = False


def begin(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> None:
    """Makes the empty table `chosen`, a row for each source of a mix and each of its candidates; and `clustered`.

    Columns: `source` (its number in the mix, from 0), `id` (of the trajectory, pair or prompt), `prompt_id`; `copy`
    (among equal candidates of the prompt), `rank` (among its different ones) and `place` (among all that these leave),
    from 1 on; `dropped` is why it is left out, or NULL for what the mix takes.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE chosen (source INTEGER, id VARCHAR, prompt_id VARCHAR, copy BIGINT, rank BIGINT, "
        "place BIGINT, dropped VARCHAR)"
    )
    know_clusters(connection, mix)


def left_out_of(connection: duckdb.DuckDBPyConnection) -> dict[int, dict[str, int]]:
    """By source, from 0, how many of its candidates each rule left out."""
    found: dict[int, dict[str, int]] = {}
    sql = "SELECT source, dropped, count(*) FROM chosen WHERE dropped IS NOT NULL GROUP BY ALL ORDER BY ALL"
    for source, rule, rows in connection.execute(sql).fetchall():
        found.setdefault(source, {})[rule] = rows
    return found


def gather(
    connection: duckdb.DuckDBPyConnection, number: int, select: str, parameters: Mapping[str, object] | None = None
) -> None:
    """Adds what source `number` finds to the table `found`, with the column `source`; the first source makes it."""
    into = "INSERT INTO found" if number else "CREATE OR REPLACE TABLE found AS"
    connection.execute(f"{into} SELECT {number} AS source, * FROM ({select})", parameters)


def choose_from(
    connection: duckdb.DuckDBPyConnection, number: int, candidates: str, caps: Caps, parameters: Mapping[str, object]
) -> None:
    """Adds the candidates of source `number` to `chosen`.

    `candidates` is a SELECT of `id`, `prompt_id`, `said` (equal for copies), `lottery`, `prompt_lottery`, `early` (why
    one is left out before it comes to caps, or NULL), what `caps.order` names, and `longer` where they are balanced.
    """
    most, rows = caps.most or "rank", caps.rows or "place"
    even, order = ("even", _COUPLES) if caps.balanced else ("true", "prompt_lottery, lottery")
    connection.execute(
        f"""
        INSERT INTO chosen
        WITH candidates AS (
            -- Texts stay out of the windows: equal length and 64 bits of hash are equal enough within a prompt.
            SELECT * REPLACE ((strlen(said), hash(said)) AS said) FROM ({candidates}
            )
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY early, prompt_id, said ORDER BY {caps.order}) AS copy
            FROM candidates
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY early, prompt_id, copy = 1 ORDER BY {caps.order}) AS rank
            FROM numbered
        ), capped AS (
            SELECT *, early IS NULL AND copy = 1 AND rank <= {most} AS stands FROM ranked
        ){_EVENED if caps.balanced else ""}, placed AS (
            SELECT *, row_number() OVER (PARTITION BY early, stands, {even} ORDER BY {order}) AS place
            FROM {"evened" if caps.balanced else "capped"}
        )
        SELECT {number}, id, prompt_id, copy, rank, place, CASE
            WHEN early IS NOT NULL THEN early
            WHEN copy > 1 THEN '{caps.copies}'
            WHEN rank > {most} THEN 'over_max_per_prompt'
            WHEN NOT {even} THEN 'length_balance'
            WHEN place > {rows} THEN 'over_max_rows' END AS dropped
        FROM placed""",
        parameters,
    )


# As `balanced` in the view `preferences`, but over what this very source is left with. The two of a couple, one longer
# and one shorter by as much, stay together when rows are drawn, so that a cap leaves the balance as it is.
_EVENED = """, coupled AS (
            SELECT *, floor(4 * abs(longer)) AS step,
                row_number() OVER (PARTITION BY stands, step, sign(longer) ORDER BY lottery, id) AS couple
            FROM capped
        ), evened AS (
            SELECT *, longer = 0 OR couple <= least(
                count(*) FILTER (WHERE longer > 0) OVER alike, count(*) FILTER (WHERE longer < 0) OVER alike
            ) AS even
            FROM coupled
            WINDOW alike AS (PARTITION BY stands, step)
        )"""
_COUPLES = "sha256(concat($seed, '/', step, '/', couple)), lottery, id"
