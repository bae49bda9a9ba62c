"""A warehouse in a temporary folder, and rows whose every column a test can set."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.keys import canonical_json, key
from schemas.mix import Mix
from schemas.records import Message, Prompt, Run, Trajectory, Verdict
from warehouse.connect import connect
from warehouse.store import Warehouse

START = datetime(2026, 1, 1, tzinfo=UTC)

MakePrompt = Callable[..., Prompt]
MakeTrajectory = Callable[..., Trajectory]
MakeVerdict = Callable[..., Verdict]
MakeRun = Callable[..., Run]
MakeMix = Callable[..., Mix]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """A second later at every call: rows are as old as the order in which they were made."""
    ticks = itertools.count()
    return lambda: START + timedelta(seconds=next(ticks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
def warehouse(folder: Path) -> Warehouse:
    return Warehouse.open(folder, create=True)


@pytest.fixture
def make_prompt(clock: Callable[[], datetime]) -> MakePrompt:
    def make(question: str = "What is 1 + 1?", *, source: str = "sums", **columns: Any) -> Prompt:
        values: dict[str, Any] = {"domain": "math", "reference": "2", "verifier": "exact", **columns}
        prompt = Prompt.make([Message(role="user", content=question)], source=source, **values)
        return prompt.model_copy(update={"created_at": clock()})

    return make


@pytest.fixture
def make_trajectory(clock: Callable[[], datetime]) -> MakeTrajectory:
    def make(prompt: Prompt, sample: int = 0, **columns: Any) -> Trajectory:
        stage, policy = columns.get("stage", "reasoning"), columns.get("policy", "model@1")
        values: dict[str, Any] = {
            "trajectory_id": key(prompt.prompt_id, stage, policy, sample),
            "prompt_id": prompt.prompt_id,
            "stage": "reasoning",
            "policy": "model@1",
            "engine": "embedded",
            "sampling": "{}",
            "sample_index": sample,
            "rendered_key": "rendered",
            "reasoning": f"thought {sample}",
            "answer": f"answer {sample}",
            "text": f"<think>\nthought {sample}\n</think>\nanswer {sample}",
            "finish_reason": "stop",
            "prompt_tokens": 10,
            "completion_tokens": 20 + sample,
            "max_tokens": 100,
            "run_id": "run-1",
            "created_at": clock(),
        }
        return Trajectory(**{**values, **columns})

    return make


@pytest.fixture
def make_verdict(clock: Callable[[], datetime]) -> MakeVerdict:
    def make(trajectory: Trajectory, outcome: str = "pass", **columns: Any) -> Verdict:
        check = columns.pop("check", "format")
        values: dict[str, Any] = {
            "trajectory_id": trajectory.trajectory_id,
            "attempt": trajectory.attempt,
            "check": check,
            "version": "1",
            "kind": "verifier" if check in ("exact", "math") else "filter",
            "outcome": outcome,
            "score": {"pass": 1.0, "fail": 0.0}.get(outcome),
            "run_id": "run-1",
            "created_at": clock(),
        }
        return Verdict(**{**values, **columns})

    return make


@pytest.fixture
def make_run(clock: Callable[[], datetime]) -> MakeRun:
    """A run of a recipe; `checks` are (stage, check, version, is it a verifier)."""

    def make(run_id: str = "run-1", *, recipe: str = "demo", checks: Any = (), event: str = "started") -> Run:
        names = ("stage", "check", "version", "verifier")
        return Run(
            run_id=run_id,
            event=event,  # type: ignore[arg-type]
            recipe=recipe,
            config="{}",
            checks=canonical_json([dict(zip(names, c, strict=True)) for c in checks]),
            created_at=clock(),
        )

    return make


@pytest.fixture
def make_mix() -> MakeMix:
    """A mix of one source, whose settings are the keyword arguments that a source has."""

    def make(name: str = "demo", *, sources: Any = None, **columns: Any) -> Mix:
        top = {k: columns.pop(k) for k in ("validation", "salt", "seed", "description") if k in columns}
        source = {"stage": "reasoning", "require": ["format"], **columns}
        return Mix.model_validate({"mix": name, "sources": sources or [source], **top})

    return make


@pytest.fixture
def rows(folder: Path) -> Rows:
    """The rows of a query over the newest tables, as dicts."""

    def ask(sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with connect(folder) as connection:
            cursor = connection.execute(sql, parameters)
            names = [d[0] for d in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    return ask
