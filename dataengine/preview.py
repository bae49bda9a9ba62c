"""A recipe before it is run: what would be asked, what comes back for a few rows, and what all of it would take."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataengine.generate import Asking, Wanted, missing, plan
from dataengine.generate import run_id as new_run_id
from dataengine.policy import Policy
from dataengine.reusing import find_replies, missing_replies
from dataengine.rewrites.parents import look_over, read_parents
from dataengine.rewrites.planning import Made, plan_step
from dataengine.runlog import RunLog, recipe_checks
from dataengine.sampling import asking_of, asking_of_rewrite, sample_and_check
from dataengine.screen import first_of, indented
from dataengine.sources.build import PromptSet, join
from schemas.recipe import (
    CheckSpec,
    EndpointEngine,
    GenerateStep,
    ImportStep,
    JudgeStep,
    MakingStep,
    PairsStep,
    Recipe,
    RewriteStep,
    Share,
)
from warehouse.connect import connect
from warehouse.store import Warehouse, is_warehouse


@dataclass(frozen=True)
class Row:
    """One previewed sample."""

    source: str
    question: str
    text: str
    kept: bool
    not_passed: list[str]
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a step, or a whole recipe, is going to take. `seconds` is a range: see `estimate`."""

    requests: int
    input_tokens: float
    output_tokens: float
    seconds: tuple[float, float]
    usd: tuple[float, float] | None

    def __add__(self, other: "Estimate") -> "Estimate":
        low, high = (a + b for a, b in zip(self.seconds, other.seconds, strict=True))
        usd = None
        if self.usd or other.usd:
            mine, yours = self.usd or (0.0, 0.0), other.usd or (0.0, 0.0)
            usd = (mine[0] + yours[0], mine[1] + yours[1])
        return Estimate(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            (low, high),
            usd,
        )

    @property
    def text(self) -> str:
        """In words."""
        cost = "" if self.usd is None else f", {_span(*self.usd, 'USD', 2)}"
        low, high = (s / 3600 for s in self.seconds)
        unit = "hours"
        if high < 2:
            low, high, unit = 60 * low, 60 * high, "minutes"
        return (
            f"{self.requests:,} requests, {self.input_tokens:,.0f} prompt tokens, {self.output_tokens:,.0f} tokens of "
            f"replies, {_span(low, high, unit, 1)}{cost}"
        )


NOTHING = Estimate(0, 0, 0, (0.0, 0.0), None)


def preview_recipe(recipe: Recipe, path: Path, *, rows: int, limit: int | None, say: Callable[[str], None]) -> Estimate:
    """Shows each sampling step of a recipe and returns the estimate of what is left to do.

    `rows` prompts of each step are sampled once and checked, in a warehouse that is thrown away: the one at `path` is
    only read. A step whose engine is a checkpoint that is not trained yet is counted and not sampled.
    Raises UserError for whatever would stop the run at this point.
    """
    recipe_checks(recipe)
    total = NOTHING
    unknown = unanswered = 0
    rewrites: list[int | None] = []
    made: dict[str, Made] = {}
    steps = {n: s for n, s in recipe.steps.items() if isinstance(s, MakingStep)}
    for number, (name, step) in enumerate(steps.items(), start=1):
        if isinstance(step, RewriteStep):
            say(f"[{number}/{len(steps)}] {name}: rewrites of {', '.join(step.steps)}")
            rewrites.append(_rewrites(recipe, path, name, step, made, say))
            continue
        if isinstance(step, ImportStep):
            say(f"[{number}/{len(steps)}] {name}: replies of {step.path}")
            made[name] = _replies(path, step, limit, say)
            continue
        prompts = join(step.prompt_sets, recipe.prompts, limit)
        if isinstance(step, GenerateStep):
            prompts = prompts.sifted(step.only)
        engine = recipe.engines[step.engine]
        head = f"[{number}/{len(steps)}] {name}: {len(prompts.prompts):,} prompts x {step.samples} samples"
        if not isinstance(engine, EndpointEngine) and engine.checkpoint:
            unknown += len(prompts.prompts) * step.samples
            say(f"{head} by the checkpoint of {engine.checkpoint}, which is sampled once it is trained")
            continue
        policy = Policy.of(engine)
        asking = asking_of(step, policy, prompts)
        wanted = plan(prompts.prompts, asking)
        made[name] = Made([w.trajectory_id for w in wanted], prompts.prompts)
        todo = missing(path, wanted, asking.max_tokens) if is_warehouse(path) else wanted
        say(f"{head} by {policy.name}")
        there = f"{len(wanted) - len(todo):,} replies are there{_others(path, asking, wanted)}"
        say(f"    {len(todo):,} requests to make, {there}")
        if not todo:
            continue
        _show(asking.render(todo[0].prompt), say)
        found = _sample(name, prompts.limited(rows), policy, replace(asking, samples=1), step.check_specs)
        say(f"    {len(found)} rows:")
        for row in found:
            say(_told(row))
        if all(row.error is not None for row in found):
            unanswered += len(todo)
            say("    no row was answered: there is nothing to estimate from")
            continue
        part = estimate(found, len(todo), policy)
        total += part
        say(f"    estimate: {part.text}")
    untrained = f"; and {unknown:,} requests to checkpoints that are not trained yet" if unknown else ""
    counted = sum(r for r in rewrites if r is not None)
    rewritten = f"; and {counted:,} rewrites, which are not estimated" if counted else ""
    rewritten += "; and rewrites of what is not there yet" if None in rewrites else ""
    silent = f"; and {unanswered:,} requests of steps of which no row was answered" if unanswered else ""
    most = sum(_to_judges(recipe, step, made) for step in recipe.steps.values() if isinstance(step, JudgeStep))
    judged = f"; and some {most:,} requests to judges, which are not estimated" if most else ""
    say(f"\nin all: {total.text}{untrained}{silent}{rewritten}{judged}")
    return total


def _to_judges(recipe: Recipe, step: JudgeStep, made: dict[str, Made]) -> int:
    """How many requests a judge's step makes at most, of what is known before the run."""
    judge, most = recipe.judges[step.judge], 0
    for name in step.steps:
        judged = recipe.steps[name]
        if isinstance(judged, PairsStep):
            prompts = {p.prompt_id for other in judged.steps if other in made for p in made[other].prompts}
            most += judged.per_prompt * len(prompts) * judge.draws * len(judge.engines)
        elif name in made:
            share = step.scope.share if isinstance(step.scope, Share) else 1.0
            most += math.ceil(share * len(made[name].ids)) * judge.votes * len(judge.engines)
    return most


def _rewrites(
    recipe: Recipe,
    path: Path,
    name: str,
    step: RewriteStep,
    made: dict[str, Made],
    say: Callable[[str], None],
) -> int | None:
    """Shows the rewrites of what the warehouse holds: how many are to be asked for, or None where nothing is there yet.

    None is asked for here: rows are sampled in a warehouse of their own, in which there is nothing to rewrite.
    """
    look_over(name, step, recipe)
    engine = recipe.engines[step.engine]
    trained = isinstance(engine, EndpointEngine) or not engine.checkpoint
    if not trained or not is_warehouse(path) or any(other not in made for other in step.steps):
        say("    nothing to rewrite is there yet")
        return None
    asking = asking_of_rewrite(step, Policy.of(engine))
    planned = plan_step(path, name, step, made, asking)
    made[name] = planned.made
    todo = missing(path, planned.wanted, asking.max_tokens)
    say(f"    {planned.chosen.text}")
    say(f"    {len(todo):,} requests to make, {len(planned.wanted) - len(todo):,} rewrites are there")
    if todo:
        parent = next(iter(read_parents(path, [str(todo[0].parent_id)])))
        _show(asking.render(todo[0].prompt, parent), say)
    return len(todo) if planned.chosen.replies else None


def _replies(path: Path, step: ImportStep, limit: int | None, say: Callable[[str], None]) -> Made:
    """Shows how many replies of a file are to be taken."""
    found = find_replies(step, limit)
    todo = missing_replies(path, found.ids) if is_warehouse(path) else found.prompts
    for note in first_of(found.notes):
        say(f"    {note}")
    say(f"    {found.text}")
    say(f"    {len(todo):,} replies to take, {len(found.prompts) - len(todo):,} are there; no request to make")
    return Made(found.ids, list(found.prompts.values()))


def _show(messages: Sequence[dict[str, str]], say: Callable[[str], None]) -> None:
    say("    a prompt as it is sent:")
    for message in messages:
        say(indented(f"{message['role']}: {message['content']}", 8))


def estimate(rows: Sequence[Row], requests: int, policy: Policy) -> Estimate:
    """What `requests` like the previewed `rows`, of which at least one was answered, will take.

    Tokens are the means of the rows that were answered. The longer time is that of the engine going on at the speed of
    these few rows, the shorter one that of `max_in_flight` requests at once each going as fast as these did: a server
    that batches lies between.
    """
    answered = [r for r in rows if r.error is None]
    input_tokens = requests * sum(r.prompt_tokens for r in answered) / len(answered)
    output_tokens = requests * sum(r.completion_tokens for r in answered) / len(answered)
    each = sum(r.seconds for r in answered) / len(answered)
    at_once = min(policy.engine.max_in_flight * policy.servers, requests)
    seconds = (each * requests / at_once, each * requests / len(answered))
    price = policy.engine.price
    usd = None
    if price is not None:
        low, high = (price.of(input_tokens, output_tokens, s) for s in seconds)
        usd = (low, high)
    return Estimate(requests, input_tokens, output_tokens, (min(seconds), max(seconds)), usd)


def _others(path: Path, asking: Asking, wanted: Sequence[Wanted]) -> str:
    """Replies to the same prompts at the same stage that were made in another way."""
    if not is_warehouse(path):
        return ""
    with connect(path) as connection:
        connection.execute(
            "CREATE TABLE asked AS SELECT unnest(?::VARCHAR[]) AS prompt_id, unnest(?::VARCHAR[]) AS trajectory_id",
            [[w.prompt.prompt_id for w in wanted], [w.trajectory_id for w in wanted]],
        )
        row = connection.execute(
            "SELECT count(*) FROM trajectories_current WHERE error IS NULL AND stage = ? "
            "AND prompt_id IN (SELECT prompt_id FROM asked) AND trajectory_id NOT IN (SELECT trajectory_id FROM asked)",
            [asking.stage],
        ).fetchone()
    count = int(row[0]) if row else 0
    return f" (and {count:,} made with another engine, template or sampling, which stay)" if count else ""


def _sample(name: str, prompts: PromptSet, policy: Policy, asking: Asking, checks: list[CheckSpec]) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="dataengine-preview-") as folder:
        warehouse = Warehouse.open(Path(folder) / "warehouse", create=True)
        log = RunLog(warehouse, new_run_id(), f"preview-{name}", {}, [])
        sample_and_check(warehouse, log, name, prompts, policy, asking, checks)
        with connect(warehouse.path) as connection:
            rows = connection.execute(
                "SELECT source, messages[-1].content, text, kept, not_passed, error, coalesce(prompt_tokens, 0), "
                "coalesce(completion_tokens, 0), coalesce(seconds, 0) FROM trajectory_facts ORDER BY source, 2"
            ).fetchall()
    return [Row(s, q, t, bool(k), list(n or []), e, i, o, x) for s, q, t, k, n, e, i, o, x in rows]


def _told(row: Row) -> str:
    verdict = row.error or ("kept" if row.kept else f"not kept: {', '.join(row.not_passed) or 'no check'}")
    text = row.text if len(row.text) <= 400 else f"{row.text[:300]} … {row.text[-80:]}"
    return f"    - {row.source}: {row.question!r}\n{indented(text, 8)}\n      {verdict}"


def _span(low: float, high: float, unit: str, digits: int) -> str:
    if f"{low:.{digits}f}" == f"{high:.{digits}f}":
        return f"{high:,.{digits}f} {unit}"
    return f"{low:,.{digits}f} to {high:,.{digits}f} {unit}"
