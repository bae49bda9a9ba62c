"""A warehouse in a temporary folder, and rows whose every column a test can set."""

import itertools
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.keys import canonical_json, key
from schemas.mix import AnyMix, Mix, MixFile
from schemas.records import Calibration, Message, Pair, PairVerdict, Prompt, Run, Trajectory, Verdict
from tests.warehouse.talks import snapshots_of_every_kind
from warehouse.connect import connect
from warehouse.migrations import MIGRATIONS
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse
from warehouse.views import names_in

START = datetime(2026, 1, 1, tzinfo=UTC)

MakePrompt = Callable[..., Prompt]
MakeTrajectory = Callable[..., Trajectory]
MakeVerdict = Callable[..., Verdict]
MakeRun = Callable[..., Run]
MakeMix = Callable[..., Mix]
Rows = Callable[..., list[dict[str, Any]]]
MakePair = Callable[..., tuple[Pair, list[PairVerdict]]]
Compare = Callable[..., str]
Prove = Callable[..., None]
Take = Callable[..., list[dict[str, Any]]]
Grow = Callable[..., Snapshot]

SNAPSHOTS_OF = Path(__file__).parent / "snapshots_of"
# The archive of a warehouse that wants no migration.
NEWEST = str(len(MIGRATIONS))


def unpacked(version: str, folder: Path) -> Path:
    """The warehouse that an earlier version of the program made, in a folder."""
    with tarfile.open(SNAPSHOTS_OF / f"{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "warehouse"


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system on a folder; skips the test where nobody lets us."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


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


@pytest.fixture(scope="session")
def _snapshots_made() -> dict[str, Snapshot]:
    return {}


@pytest.fixture
def every_kind(
    _snapshots_made: dict[str, Snapshot],
    tmp_path_factory: pytest.TempPathFactory,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_pair: MakePair,
) -> dict[str, Snapshot]:
    """A snapshot of each kind of rows, by kind: exports only read them."""
    if not _snapshots_made:
        folder = tmp_path_factory.mktemp("every-kind") / "warehouse"
        _snapshots_made.update(snapshots_of_every_kind(folder, make_trajectory, make_verdict, make_pair))
    return _snapshots_made


@pytest.fixture
def rows(folder: Path) -> Rows:
    """The rows of a query over the newest tables, as dicts."""

    def ask(sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with connect(folder, only=names_in(sql)) as connection:
            cursor = connection.execute(sql, parameters)
            names = [d[0] for d in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    return ask


@pytest.fixture
def make_pair(clock: Callable[[], datetime]) -> MakePair:
    """A pair, and a judge's draws with these scores: above 0 the first is better, None is no verdict."""

    def make(
        a: Trajectory, b: Trajectory, *scores: float | None, check: str = "likes", draws: int = 0
    ) -> tuple[Pair, list[PairVerdict]]:
        pair = Pair(
            pair_id=key(a.trajectory_id, b.trajectory_id),
            prompt_id=a.prompt_id,
            a_id=a.trajectory_id,
            b_id=b.trajectory_id,
            run_id="run-1",
            created_at=clock(),
        )
        said = [
            PairVerdict(
                pair_id=pair.pair_id,
                check=check,
                version="abc",
                draw=draw,
                draws=draws or len(scores),
                a_first=draw % 2 == 0,
                outcome="undecided" if not score else "pass" if score > 0 else "fail",
                score=score,
                run_id="run-1",
                created_at=clock(),
            )
            for draw, score in enumerate(scores)
        ]
        return pair, said

    return make


@pytest.fixture
def compare(warehouse: Warehouse, make_pair: MakePair) -> Compare:
    """Adds what `make_pair` makes; returns the pair's id."""

    def add(*asked: Any, **columns: Any) -> str:
        pair, said = make_pair(*asked, **columns)
        warehouse.append("pairs", [pair])
        warehouse.append("pair_verdicts", said)
        return pair.pair_id

    return add


@pytest.fixture
def prove(warehouse: Warehouse, clock: Callable[[], datetime]) -> Prove:
    """Calibrates a judge's version: the low end of kappa's interval."""

    def add(judge: str = "likes", low: float = 0.7, version: str = "abc", gold: str = "gold@1") -> None:
        row = Calibration(
            judge=judge, version=version, gold=gold, kappa=low + 0.1, low=low, high=low + 0.2, n=90, created_at=clock()
        )
        warehouse.append("calibrations", [row])

    return add


def mix_of(rows: str, *sources: dict[str, Any], name: str = "demo", **columns: Any) -> AnyMix:
    """A mix of a kind of rows."""
    return MixFile.model_validate({"mix": name, "rows": rows, "sources": list(sources), **columns}).root


@pytest.fixture
def take(folder: Path) -> Take:
    """The rows of a mix's snapshot, in the order of its files."""

    def made(rows: str, *sources: dict[str, Any], **columns: Any) -> list[dict[str, Any]]:
        snapshot, _ = create_snapshot(folder, mix_of(rows, *sources, **columns), {"plain": None, "think": "Think."})
        return [row for file in snapshot.data_files() for row in pq.read_table(file).to_pylist()]

    return made


@pytest.fixture
def grow(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> Grow:
    """Adds prompts, each with a reply that passes `format`; makes the next version of `demo` of all there is."""
    questions = itertools.count()

    def add(prompts: int = 4, name: str = "demo", **columns: Any) -> Snapshot:
        asked = [make_prompt(f"What is {next(questions)}?") for _ in range(prompts)]
        replies = [make_trajectory(prompt) for prompt in asked]
        warehouse.append("prompts", asked)
        warehouse.append("trajectories", replies)
        warehouse.append("verdicts", [make_verdict(reply) for reply in replies])
        return create_snapshot(folder, make_mix(name, **{"validation": 0.5, **columns}), {"plain": None})[0]

    return add
