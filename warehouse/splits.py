"""Which split a row stands in: by its prompt's cluster of near duplicates, or where none is known by the prompt."""

import duckdb

from schemas.mix import AnyMix

_SHARE = "CASE WHEN ('0x' || sha256($salt || {unit})[:13])::BIGINT / 16.0**13 < $share::DOUBLE "
_SHARE += "THEN 'validation' ELSE 'train' END"
_UNIT = "coalesce((SELECT cluster_id FROM clustered WHERE member = prompt_id), prompt_id)"
#: The split of a row with a `prompt_id`, whatever else is in the mix: no prompt and no cluster stands in two.
SPLIT = _SHARE.format(unit=_UNIT)


def know_clusters(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> None:
    """Makes the table `clustered`, (member, cluster_id), that `SPLIT` reads; empty where the mix splits by prompt.

    The prompt that a cluster is called by is split by its own id and has no row, nor has a prompt that is alone.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE clustered AS SELECT id AS member, cluster_id FROM clusters_current "
        "WHERE kind = 'prompt' AND cluster_id <> id AND $by = 'cluster'",
        {"by": mix.split_by},
    )


def near_duplicates(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> dict[str, int]:
    """What clusters do to the prompts of the table `taken`.

    `prompts` share their cluster with another prompt there, in so many `clusters`; `moved` stand in another split than
    by their own id.
    """
    if connection.execute("SELECT count(*) FROM clustered").fetchone() == (0,):
        return {"prompts": 0, "clusters": 0, "moved": 0}
    row = connection.execute(
        f"""
        WITH prompts AS (
            SELECT prompt_id, any_value(split) AS split, any_value({_SHARE.format(unit="prompt_id")}) AS own,
                any_value({_UNIT}) AS unit
            FROM taken GROUP BY prompt_id
        ), units AS (
            SELECT *, count(*) OVER (PARTITION BY unit) AS size FROM prompts
        )
        SELECT count(*) FILTER (WHERE size > 1), count(DISTINCT unit) FILTER (WHERE size > 1),
            count(*) FILTER (WHERE split <> own)
        FROM units""",
        {"salt": mix.salt, "share": mix.validation},
    ).fetchone()
    assert row is not None
    return dict(zip(("prompts", "clusters", "moved"), map(int, row), strict=True))
