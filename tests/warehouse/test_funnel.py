"""The funnel counts verdicts of trajectories that are alike together: held against counting them one by one."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from schemas.keys import canonical_json, key
from schemas.records import Message, Outcome, Prompt, Record, Run, Trajectory, Verdict
from tests.warehouse.conftest import START
from warehouse.connect import connect
from warehouse.store import Warehouse

# The funnel as it was first written: every verdict that is expected is a row, and `kept` is that of trajectory_facts.
REFERENCE = """
WITH current AS (
    SELECT t.trajectory_id, t.attempt, t.stage, t.run_id, t.error, t.system_prompt, p.against, p.verifier, p.source,
        CASE WHEN t.engine = 'import' THEN t.sampling ->> 'imported' END AS imported,
        CASE WHEN t.parent_id IS NOT NULL THEN split_part(t.sampling ->> 'rewrite', '@', -1) END AS rewrite
    FROM trajectories_current t JOIN prompts_current p USING (prompt_id)
), asked AS (
    -- Two steps of a stage may ask for one check with different settings; a verdict by either will do.
    SELECT recipe, stage, imported, rewrite, "check", list(version) FILTER (version IS NOT NULL) AS versions,
        bool_or(verifier) AS verifier, sources, system, scope, share
    FROM recipe_checks GROUP BY ALL
), wanted AS (
    SELECT t.trajectory_id, t.stage, c."check", c.versions
    FROM current t
    JOIN runs_current r USING (run_id)
    JOIN asked c ON c.recipe = r.recipe AND c.stage = t.stage AND c.imported IS NOT DISTINCT FROM t.imported
        AND c.rewrite IS NOT DISTINCT FROM t.rewrite
    LEFT JOIN settled s ON s.trajectory_id = t.trajectory_id
    WHERE t.error IS NULL AND (NOT c.verifier OR c."check" = t.verifier)
        AND coalesce(list_contains(c.sources, t.source), true)
        AND coalesce(c.system = coalesce(t.system_prompt, ''), true)
        AND in_scope(c.scope, c.share, s.trajectory_id IS NOT NULL, t.trajectory_id, c.versions[1])
), given AS (
    SELECT t.trajectory_id, t.stage, v."check", v.version, v.outcome, v.created_at
    FROM verdicts v JOIN current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
    WHERE v.against IN ('', t.against)
), expected_verdicts AS (
    SELECT stage, trajectory_id, "check",
        arg_max(outcome, (created_at, version))
            FILTER (WHERE coalesce(list_contains(versions, version), true)) AS outcome
    FROM wanted FULL JOIN given USING (trajectory_id, stage, "check")
    GROUP BY stage, trajectory_id, "check"
), stages AS (
    SELECT stage, count(*) AS requests,
        count(*) FILTER (WHERE error IS NULL) AS replies,
        count(*) FILTER (WHERE error IS NOT NULL) AS failed
    FROM trajectories_current GROUP BY stage
), kept AS (
    SELECT stage, count(*) FILTER (WHERE f.kept) AS kept FROM trajectory_facts f GROUP BY stage
)
SELECT * FROM (
    SELECT e.stage, e."check", count(*) AS applicable,
        count(*) FILTER (WHERE outcome = 'pass') AS pass,
        count(*) FILTER (WHERE outcome = 'fail') AS fail,
        count(*) FILTER (WHERE outcome = 'undecided') AS undecided,
        count(*) FILTER (WHERE outcome = 'error') AS error,
        count(*) FILTER (WHERE outcome IS NULL) AS pending,
        round(pass / applicable, 3) AS pass_share
    FROM (
        SELECT stage, "check", outcome FROM expected_verdicts
        UNION ALL
        SELECT '(pairs)' AS stage, "check", outcome FROM expected_draws
    ) e
    GROUP BY e.stage, e."check"
    UNION ALL BY NAME
    SELECT stage, '(replied)' AS "check", requests AS applicable, replies AS pass, 0 AS fail, 0 AS undecided,
        failed AS error, 0 AS pending, round(replies / requests, 3) AS pass_share
    FROM stages
    UNION ALL BY NAME
    SELECT stage, '(kept)' AS "check", replies AS applicable, kept AS pass, replies - kept AS fail, 0 AS undecided,
        0 AS error, 0 AS pending, round(kept / greatest(replies, 1), 3) AS pass_share
    FROM stages JOIN kept USING (stage)
)
ORDER BY stage, "check" = '(kept)', "check" <> '(replied)', "check"
"""
REWRITES = ["shorten@r1", "shorten@r2"]
IMPORTS = ["hand@1", "other@1"]
SYSTEMS = [None, "", "Think.", "Be brief."]
SOURCES = ["sums", "words", "riddles"]
STAGES = ["reasoning", "cold_start"]
VERIFIERS = ["exact", "math", None]
RECIPES = ["first", "second"]
OUTCOMES: list[Outcome] = ["pass", "pass", "pass", "fail", "undecided", "error"]


T = TypeVar("T")


class Drawn:
    """Rows of a warehouse, drawn by a seed; each row is later than the one before."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._times = itertools.count()
        self.several = self.rng.random() < 0.7
        """Whether checks have verdicts in several versions."""
        self.scoped = self.rng.random() < 0.7
        """Whether judges are asked about some trajectories only."""
        # A few values each, so that many trajectories are alike but for one of them.
        self.systems, self.sources = self._few(SYSTEMS), self._few(SOURCES)
        self.verifiers, self.ran = self._few(VERIFIERS), self._few([f"run-{n}" for n in range(6)])
        self.prompts = [row for number in range(self.rng.randint(2, 8)) for row in self._prompt(number)]
        self.runs = [row for number in range(5) for row in self._run(f"run-{number}")]
        asked = {p.prompt_id: p for p in self.prompts}
        replies = [self._reply(p, i) for p in asked.values() for i in range(self.rng.randint(0, 9))]
        self.trajectories = [row for reply in replies for row in self._attempts(reply)]
        self.verdicts = [row for reply in self.trajectories for row in self._verdicts(reply)]

    def write(self, folder: Path) -> Warehouse:
        warehouse = Warehouse.open(folder, create=True)
        rows: dict[str, Sequence[Record]] = {
            "runs": self.runs,
            "prompts": self.prompts,
            "trajectories": self.trajectories,
            "verdicts": self.verdicts,
        }
        for table, some in rows.items():
            warehouse.append(table, some)
        return warehouse

    def _later(self) -> datetime:
        return START + timedelta(seconds=next(self._times))

    def _one(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def _few(self, values: Sequence[T]) -> list[T]:
        return self.rng.sample(values, self.rng.randint(1, 2))

    def _prompt(self, number: int) -> list[Prompt]:
        """A question, which may have another reference by another source or by a correction."""
        said = [Message(role="user", content=f"{number}?")]
        verifier = self.rng.choice(self.verifiers)
        columns: dict[str, Any] = {"domain": "math", "verifier": verifier, "source": self.rng.choice(self.sources)}
        reference = verifier and str(number)
        made = [Prompt.make(said, reference=reference, **columns)]
        if verifier and self.rng.random() < 0.4:
            other = {"source": self._one(*SOURCES, "resolution")}
            made.append(Prompt.make(said, reference=f"{number} too", **(columns | other)))
        return [p.model_copy(update={"created_at": self._later()}) for p in made]

    def _run(self, name: str) -> list[Run]:
        recipe, checks = self.rng.choice(RECIPES), canonical_json(self._checks())
        columns = {"run_id": name, "recipe": recipe, "config": "{}", "checks": checks}
        events = ["started", "finished"][: self._one(0, 1, 2, 2)]
        return [Run.model_validate({**columns, "event": event, "created_at": self._later()}) for event in events]

    def _checks(self) -> list[dict[str, Any]]:
        every = list(itertools.product(STAGES, ["format", "length", "exact", "math", "judge", "helpful"]))
        asked = self.rng.choices(every, k=self._one(0, 15, 30, 30))
        return [self._check(stage, check) for stage, check in asked]

    def _check(self, stage: str, check: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            "stage": stage,
            "check": check,
            "version": self._one("1", "1", "2", None),
            "verifier": check in VERIFIERS,
            "sources": self._one(None, None, self.rng.sample(SOURCES, 2)),
            "system": self._one(None, None, "", "Think."),
            **self._one({}, {}, {}, {"imported": self._one(*IMPORTS)}, {"rewrite": self._one(*REWRITES)[-2:]}),
        }
        if check in ("judge", "helpful"):
            scopes = ["unsettled", "share", "all", None] if self.scoped else ["all", None]
            row |= {"scope": self.rng.choice(scopes), "share": self._one(0.2, 0.7)}
        return row

    def _reply(self, asked: Prompt, sample: int) -> Trajectory:
        made_by = self._one({}, {}, {}, {"rewrite": self._one(*REWRITES)}, {"imported": self._one(*IMPORTS)})
        return Trajectory(
            trajectory_id=key(asked.prompt_id, sample),
            prompt_id=asked.prompt_id,
            stage=self._one(*STAGES),
            policy="model@1",
            engine="import" if "imported" in made_by else "embedded",
            sampling=canonical_json(made_by),
            sample_index=sample,
            parent_id="parent" if "rewrite" in made_by else None,
            rendered_key="rendered",
            system_prompt=self.rng.choice(self.systems),
            finish_reason="stop",
            run_id=self.rng.choice(self.ran),
            created_at=self._later(),
        )

    def _attempts(self, reply: Trajectory) -> list[Trajectory]:
        made = []
        for attempt in range(1, self._one(2, 2, 2, 3, 4)):
            ended = self._one({}, {}, {"finish_reason": "length"}, {"error": "timeout", "finish_reason": None})
            made.append(reply.model_copy(update={"attempt": attempt, "created_at": self._later(), **ended}))
        return made

    def _verdicts(self, reply: Trajectory) -> list[Verdict]:
        against = sorted({p.against for p in self.prompts if p.prompt_id == reply.prompt_id})
        versions = ["1", "2"] if self.several else ["1"]
        made = []
        for check in ("format", "length", "exact", "math", "judge", "unasked"):
            held = [*against, *([""] if self.several else [])] if check in ("exact", "math") else [""]
            # `format` is in one version in every warehouse.
            each = [(v, a) for v in (versions if check != "format" else ["1"]) for a in held]
            for version, by in self.rng.sample(each, self.rng.randint(0, len(each))):
                made.append(
                    Verdict(
                        trajectory_id=reply.trajectory_id,
                        attempt=reply.attempt,
                        check=check,
                        version=version,
                        against=by,
                        kind="verifier" if check in VERIFIERS else "judge" if check == "judge" else "filter",
                        outcome=self.rng.choice(OUTCOMES),
                        run_id="run-0",
                        created_at=self._later(),
                    )
                )
        return made


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 80), marks=pytest.mark.slow)], ids=["few", "many"])
def test_the_funnel_counts_what_counting_one_by_one_counts(tmp_path: Path, seeds: range) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        Drawn(seed).write(tmp_path / str(seed))
        with connect(tmp_path / str(seed)) as connection:
            found = connection.execute("FROM funnel")
            names, lines = [d[0] for d in found.description or []], found.fetchall()
            expected = connection.execute(REFERENCE)
            assert names == [d[0] for d in expected.description or []]
            assert lines == expected.fetchall(), seed
        for line in (dict(zip(names, values, strict=True)) for values in lines):
            parts = {name: line[name] for name in ("pass", "fail", "undecided", "error", "pending")}
            assert line["applicable"] == sum(parts.values()), (seed, line)
            seen.update(parts)
            seen[line["check"]] += line["pending"]
    # What was drawn has to leave every kind of line something to count.
    assert all(seen[name] > 0 for name in ("pass", "fail", "undecided", "error", "pending")), seen
    assert all(seen[check] > 0 for check in ("format", "length", "exact", "math", "judge", "helpful")), seen
