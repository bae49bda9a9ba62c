"""Required of a mix: that every row was held against the benchmarks it names, and holds none of their items."""

from collections.abc import Sequence
from typing import Any

import duckdb

from schemas.errors import SnapshotError
from schemas.manifest import BenchmarkCheck
from schemas.mix import AnyMix, LabelSource, MixSource, PairSource, PromptSource

#: Which trajectory a candidate is that is one itself.
ITSELF = "SELECT trajectory_id AS id, trajectory_id FROM held"

# Of each trajectory's current attempt: the benchmarks of the mix that it was held against, those of them that were
# found in it, and the versions that say so. Each benchmark goes by the latest verdict that looked for it, so that two
# runs with a benchmark each count for both.
_HELD = """
    CREATE OR REPLACE TABLE held AS
    WITH said AS (
        SELECT v.trajectory_id, v.version, v.created_at,
            list_intersect(from_json(v.details -> '$.benchmarks', '["VARCHAR"]'), $benchmarks::VARCHAR[]) AS benchmarks,
            list_transform(from_json(v.details -> '$.matches', '[{"benchmark": "VARCHAR"}]'), lambda m: m.benchmark)
                AS matches
        FROM verdicts v SEMI JOIN trajectories_current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
        WHERE v."check" = 'contamination' AND v.outcome IN ('pass', 'fail')
    ), each AS (
        SELECT * EXCLUDE (benchmarks), unnest(benchmarks) AS benchmark FROM said
    ), latest AS (
        SELECT trajectory_id, benchmark, arg_max(version, (created_at, version)) AS version,
            arg_max(coalesce(list_contains(matches, benchmark), false), (created_at, version)) AS found
        FROM each GROUP BY ALL
    )
    SELECT trajectory_id, list(benchmark) AS benchmarks, list(benchmark) FILTER (WHERE found) AS found,
        list({'benchmark': benchmark, 'version': version}) AS versions
    FROM latest GROUP BY ALL"""

# What a candidate was not held against: a pair's replies each have to be, of a prompt any reply.
_MISSING = """list_filter($benchmarks::VARCHAR[], lambda b:
            NOT {every_or_any}(list_transform(held, lambda against: list_contains(against, b))))"""


def begin_decontamination(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> None:
    """Makes the tables `held`, by trajectory, and `decontaminated`, by source of a mix and candidate."""
    if mix.decontaminated:
        connection.execute(_HELD, {"benchmarks": mix.decontaminated})
    connection.execute(
        "CREATE OR REPLACE TABLE decontaminated "
        "(source INTEGER, id VARCHAR, missing VARCHAR[], found VARCHAR[], "
        "versions STRUCT(benchmark VARCHAR, version VARCHAR)[])"
    )


def decontaminated(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, number: int, candidates: str, trajectories: str
) -> str:
    """The candidates of source `number`, where `early` is `contaminated` or `not_decontaminated` for some more of them.

    `candidates` is a SELECT as for `choose_from`, `trajectories` one of (id, trajectory_id): what of each is looked at.
    """
    if not mix.decontaminated:
        return candidates
    missing = _MISSING.format(every_or_any="list_bool_or" if mix.rows == "prompts" else "list_bool_and")
    connection.execute(
        f"""
        INSERT INTO decontaminated
        WITH each AS (
            SELECT id, list(coalesce(h.benchmarks, [])) AS held,
                list_distinct(flatten(list(coalesce(h.found, [])))) AS found,
                list_distinct(flatten(list(coalesce(h.versions, [])))) AS versions
            FROM (SELECT id FROM ({candidates}) WHERE early IS NULL)
            LEFT JOIN ({trajectories}) USING (id)
            LEFT JOIN held h USING (trajectory_id)
            GROUP BY id
        )
        SELECT {number}, id, {missing}, found, versions FROM each""",
        {"benchmarks": mix.decontaminated, "seed": str(mix.seed)},
    )
    return f"""
        SELECT c.* REPLACE (CASE
            WHEN c.early IS NOT NULL THEN c.early
            WHEN len(d.found) > 0 THEN 'contaminated'
            WHEN len(d.missing) > 0 THEN 'not_decontaminated' END AS early)
        FROM ({candidates}) c
        LEFT JOIN (SELECT * FROM decontaminated WHERE source = {number}) d ON d.id = c.id"""


def lacking(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a candidate was not held against a benchmark, so that the mix will be refused."""
    row = connection.execute("SELECT count(*) FROM decontaminated WHERE len(missing) > 0 AND len(found) = 0").fetchone()
    return bool(row and row[0])


def refuse_not_decontaminated(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> None:
    """Raises SnapshotError, with what to do, where candidates were not held against a benchmark of the mix."""
    asked = "chosen c JOIN decontaminated d USING (source, id) WHERE c.dropped = 'not_decontaminated'"
    found = connection.execute(
        f"SELECT benchmark, count(DISTINCT id) FROM (SELECT id, unnest(missing) AS benchmark FROM {asked}) "
        "GROUP BY 1 ORDER BY list_position($1::VARCHAR[], benchmark)",
        [mix.decontaminated or []],
    ).fetchall()
    if not found:
        return
    told = ", ".join(f"{rows:,} against {benchmark}" for benchmark, rows in found)
    known = connection.execute(
        "SELECT DISTINCT unnest(from_json(details -> '$.benchmarks', '[\"VARCHAR\"]')) AS benchmark FROM verdicts "
        "WHERE \"check\" = 'contamination' ORDER BY 1"
    ).fetchall()
    others = (
        f"looked for so far: {', '.join(row[0] for row in known)}" if known else "no benchmark was looked for so far"
    )
    entries = ", ".join(f"{{path: FILE, name: {benchmark}}}" for benchmark, _ in found)
    raise SnapshotError(
        f"mix {mix.mix}: asks for `decontaminated` rows, and candidates were never held against a benchmark: {told} "
        f"({others}); add {{check: contamination, params: {{benchmarks: [{entries}]}}}} to the `checks` of "
        f"{steps_of(mix.sources)}, and `dataengine run RECIPE` gives the verdicts that are missing"
    )


def steps_of(sources: Sequence[MixSource | PairSource | LabelSource | PromptSource]) -> str:
    """The steps of a recipe that made what the sources take, in words."""
    stages = dict.fromkeys(stage for source in sources if (stage := source.stage))
    return f"the {' and '.join(stages)} step" if stages else "the steps that made the replies"


def decontamination(connection: duckdb.DuckDBPyConnection, mix: AnyMix) -> dict[str, BenchmarkCheck]:
    """The report of a mix that `refuse_not_decontaminated` let through, by benchmark; empty where none is named."""
    if not mix.decontaminated:
        return {}
    found: dict[str, Any] = {
        benchmark: (rows, contaminated, versions)
        for benchmark, rows, contaminated, versions in connection.execute(
            """
            SELECT benchmark, count(DISTINCT id), count(DISTINCT id) FILTER (WHERE list_contains(found, benchmark)),
                list(DISTINCT version ORDER BY version)
            FROM (SELECT id, found, unnest(versions, recursive := true) FROM decontaminated) GROUP BY 1"""
        ).fetchall()
    }
    return {
        benchmark: BenchmarkCheck(checked=rows, contaminated=contaminated, versions=versions)
        for benchmark in mix.decontaminated
        for rows, contaminated, versions in [found[benchmark]]
    }
