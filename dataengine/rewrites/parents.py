"""Which replies a rewrite step takes, worked out anew each time from what the warehouse holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dataengine.checks import CHECKS
from dataengine.curate.trivial import sifted
from dataengine.generate import insert_ids
from dataengine.rewrites.examples import rewriting_of
from dataengine.rewrites.rewriting import Parent
from schemas.errors import ConfigError
from schemas.recipe import Recipe, RewriteStep
from schemas.records import Prompt
from warehouse.connect import connect
from warehouse.mixing import asked_of_verdicts, without_verdicts
from warehouse.where import refuse_no_condition

_BATCH = 256


@dataclass(frozen=True)
class Chosen:
    """The replies that are rewritten, and what became of the others."""

    ids: list[str]
    replies: int
    not_passing: int
    over: int

    @property
    def text(self) -> str:
        """In words."""
        told = f"{len(self.ids):,} of {self.replies:,} replies are to be rewritten"
        left = [(self.not_passing, "do not meet the conditions"), (self.over, "are over max_per_prompt")]
        return ", ".join([told, *(f"{count:,} {why}" for count, why in left if count)])


def look_over(name: str, step: RewriteStep, recipe: Recipe) -> None:
    """Raises ConfigError or InputError for what would stop the step `name` when it is reached."""
    rewriting_of(step)
    for other in step.steps:
        given = {spec.check for asked in recipe.sampled(other) for spec in asked.check_specs}
        for check in [*step.require, *step.not_failed]:
            if check in CHECKS and check not in given:
                raise ConfigError(f"steps.{name}: asks for the check {check!r}, which is none of the checks of {other}")
    try:
        with duckdb.connect(":memory:") as connection:
            refuse_no_condition(connection, step.where)
    except duckdb.Error as e:
        raise _wrong(name, step, e) from e


def _wrong(name: str, step: RewriteStep, error: duckdb.Error) -> ConfigError:
    return ConfigError(f"steps.{name}.where: {step.where}: {str(error).splitlines()[0]}")


def choose(path: Path, name: str, step: RewriteStep, prompts: Sequence[Prompt], ids: Sequence[str]) -> Chosen:
    """Those of the trajectories `ids`, on `prompts`, that the step `name` rewrites.

    One whose request failed is no reply, and one without the part that would stay as it is cannot be rewritten. Raises
    ConfigError for a condition that does not hold together.
    """
    with connect(path) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, ids)
        connection.execute("CREATE TABLE asked (prompt_id VARCHAR)")
        connection.execute("INSERT INTO asked SELECT unnest(?::VARCHAR[])", [_asked(step, prompts)])
        replies = _count(connection, "trajectories_current SEMI JOIN wanted USING (trajectory_id) WHERE error IS NULL")
        if not replies:
            return Chosen([], 0, 0, 0)
        for check in without_verdicts(connection, (*step.require, *step.not_failed)):
            raise ConfigError(
                f"steps.{name}: asks for the check {check!r}, which has no verdict here; add it to the `checks` of "
                f"{', '.join(step.steps)}"
            )
        try:
            refuse_no_condition(connection, step.where)
            connection.execute(f"CREATE TABLE passing AS {_passing(step)}")
        except duckdb.Error as e:
            raise _wrong(name, step, e) from e
        passing = _count(connection, "passing")
        chosen = connection.execute(
            "SELECT trajectory_id FROM passing WHERE place <= coalesce(?, place) ORDER BY prompt_id, place",
            [step.max_per_prompt],
        ).fetchall()
    return Chosen([row[0] for row in chosen], replies, replies - passing, passing - len(chosen))


def _asked(step: RewriteStep, prompts: Sequence[Prompt]) -> list[str]:
    return list({p.prompt_id for p in sifted(prompts, step.only)})


def _passing(step: RewriteStep) -> str:
    order = "completion_tokens, trajectory_id" if step.choose == "shortest" else "trajectory_id"
    stays = "answer IS NOT NULL" if rewriting_of(step).settings.replaces == "reasoning" else "true"
    asked = ["error IS NULL", "(reasoning IS NOT NULL OR answer IS NOT NULL)", stays]
    asked += [c.sql for c in asked_of_verdicts(step.require, step.not_failed, step.where, {})]
    return f"""
        SELECT prompt_id, trajectory_id, row_number() OVER (PARTITION BY prompt_id ORDER BY {order}) AS place
        FROM trajectory_facts
        SEMI JOIN wanted USING (trajectory_id)
        SEMI JOIN asked USING (prompt_id)
        WHERE {" AND ".join(asked)}"""


def read_parents(path: Path, ids: Sequence[str]) -> Iterator[Parent]:
    """The replies of these trajectories as they stand, in any order, with their prompts' current references."""
    with connect(path) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, ids)
        # Chosen by their ids first: the texts then stream through.
        cursor = connection.execute(
            "WITH chosen AS MATERIALIZED ("
            "SELECT trajectory_id, attempt FROM trajectories_current SEMI JOIN wanted USING (trajectory_id)) "
            "SELECT t.trajectory_id, t.prompt_id, t.text, t.reasoning, t.answer, p.reference "
            "FROM trajectories t SEMI JOIN chosen USING (trajectory_id, attempt) "
            "JOIN prompts_current p USING (prompt_id)"
        )
        while batch := cursor.fetchmany(_BATCH):
            for row in batch:
                yield Parent(*row)


def _count(connection: duckdb.DuckDBPyConnection, rows: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
    return int(found[0]) if found else 0
