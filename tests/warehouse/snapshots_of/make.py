"""Makes a tiny warehouse with snapshots, by whatever version of the program stands first on PYTHONPATH.

The archives beside this file are what it made, by the versions of the list below. They are never made anew: they stand
for the warehouses that people have.

    git worktree add --detach /tmp/old COMMIT
    PYTHONPATH=/tmp/old python tests/warehouse/snapshots_of/make.py NAME

| archive | commit | |
|---|---|---|
| `1` | 046c131 | schema 1: prompts, trajectories, verdicts, runs, metrics |
| `2` | 5776a30 | schema 2: clusters |
| `3` | 4257b80 | schema 3: reviews; mixes with thresholds |
| `4` | f77a242 | schema 4: calibrations; policies; mixes without `rows` until here |
| `5-kinds` | 782b848 | schema 5: pairs; snapshots of pairs, labels and prompts |
| `5` | e63d923 | targets and licences |
| `6` | 770fb4d | schema 6: logs stay; the hash by its second rules |
| `7` | 8b9a557 | schema 7: rollouts |
| `8` | caa6487 | schema 8: reviews know queue, pair and role |

A change of the tables, of the manifest or of the rows adds one. All rows are made up.
"""

import hashlib
import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import schemas.mix
import schemas.records as records
from schemas.keys import key
from schemas.records import Message, Prompt, Trajectory, Verdict
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

SYSTEMS = {"plain": None}
START = datetime(2026, 1, 1, tzinfo=UTC)


def known(model: Any, **columns: Any) -> Any:
    """A row of the columns that this version of the program knows."""
    return model(**{name: value for name, value in columns.items() if name in model.model_fields})


def make(folder: Path) -> None:
    """Fills a new warehouse and makes a snapshot of each kind of rows that this version has, of samples two."""
    warehouse = Warehouse.open(folder, create=True)
    sums(warehouse, range(2))
    snapshot(folder, "old-samples", stage="reasoning", require=["format"])
    sums(warehouse, range(2, 4))
    snapshot(folder, "old-samples", stage="reasoning", require=["format"])
    if hasattr(records, "Rollout"):
        rollouts(warehouse)
    if hasattr(records, "Review") and "queue" in records.Review.model_fields:
        reviews(warehouse)
    if hasattr(schemas.mix, "MixFile"):
        pairs(warehouse)
        snapshot(folder, "old-pairs", rows="pairs", policy="rule", stage="reasoning", balanced=False, show="whole")
        snapshot(folder, "old-labels", rows="labels", check="format", stage="reasoning")
        snapshot(folder, "old-prompts", rows="prompts", domain="math")
    if "target" in schemas.mix.MixSource.model_fields:
        snapshot(folder, "old-targets", stage="reasoning", require=["format"], target={"rows": 2}, licenses=["MIT"])


def sums(warehouse: Warehouse, numbers: range) -> None:
    """Adds prompts, and of each a right and a wrong reply with their verdicts."""
    prompts = [
        Prompt.make(
            [Message(role="user", content=f"What is {n} + 1?")],
            source="sums",
            domain="math",
            reference=str(n + 1),
            verifier="exact",
            license="MIT",
        ).model_copy(update={"created_at": START + timedelta(hours=n)})
        for n in numbers
    ]
    warehouse.append("prompts", prompts)
    trajectories, verdicts = [], []
    for n, prompt in zip(numbers, prompts, strict=True):
        for sample in range(2):
            answer = str(n + 1 + sample)
            reply = known(
                Trajectory,
                trajectory_id=key(prompt.prompt_id, "reasoning", "model@1", sample),
                prompt_id=prompt.prompt_id,
                stage="reasoning",
                policy="model@1",
                engine="embedded",
                sampling="{}",
                sample_index=sample,
                rendered_key="rendered",
                reasoning=f"I add {n} and 1.",
                answer=answer,
                text=f"<think>\nI add {n} and 1.\n</think>\n{answer}",
                finish_reason="stop",
                prompt_tokens=8,
                completion_tokens=12 + sample,
                max_tokens=100,
                run_id="run-1",
                created_at=START + timedelta(hours=n, minutes=sample),
            )
            trajectories.append(reply)
            for check, kind, right in (("format", "filter", True), ("exact", "verifier", not sample)):
                verdicts.append(
                    known(
                        Verdict,
                        trajectory_id=reply.trajectory_id,
                        attempt=reply.attempt,
                        check=check,
                        version="1",
                        kind=kind,
                        against=against(prompt) if kind == "verifier" else "",
                        outcome="pass" if right else "fail",
                        score=float(right),
                        run_id="run-1",
                        created_at=reply.created_at,
                    )
                )
    warehouse.append("trajectories", trajectories)
    warehouse.append("verdicts", verdicts)


def against(prompt: Prompt) -> str:
    """What the prompt's verifier held replies against."""
    return str(getattr(prompt, "against", hashlib.sha256(str(prompt.reference).encode()).hexdigest()))


def pairs(warehouse: Warehouse) -> None:
    """Adds the pair of each prompt's replies."""
    with_replies: dict[str, list[str]] = {}
    delta = warehouse.delta("trajectories").to_pyarrow_table(columns=["prompt_id", "trajectory_id", "sample_index"])
    for row in sorted(delta.to_pylist(), key=lambda r: r["sample_index"]):
        with_replies.setdefault(row["prompt_id"], []).append(row["trajectory_id"])
    rows = [
        known(
            records.Pair,
            pair_id=key(a, b),
            prompt_id=prompt_id,
            a_id=a,
            b_id=b,
            run_id="run-1",
            created_at=START + timedelta(days=1),
        )
        for prompt_id, (a, b) in sorted(with_replies.items())
    ]
    warehouse.append("pairs", rows)


def rollouts(warehouse: Warehouse) -> None:
    """Adds what reinforcement learning made of the replies."""
    delta = warehouse.delta("trajectories").to_pyarrow_table(columns=["trajectory_id", "sample_index"])
    rows = [
        known(
            records.Rollout,
            trajectory_id=row["trajectory_id"],
            attempt=1,
            step=0,
            reward=1.0 - row["sample_index"],
            advantage=1.0 - 2 * row["sample_index"],
            clipped=False,
            run_id="run-1",
            created_at=START + timedelta(days=1),
        )
        for row in delta.to_pylist()
    ]
    warehouse.append("rollouts", rows)


def reviews(warehouse: Warehouse) -> None:
    """Adds what somebody said of each reply."""
    delta = warehouse.delta("trajectories").to_pyarrow_table(columns=["trajectory_id", "sample_index"])
    rows = [
        known(
            records.Review,
            review_id=key("review", row["trajectory_id"])[:32],
            number=number,
            trajectory_id=row["trajectory_id"],
            attempt=1,
            reviewer="ann",
            verdict="reject" if row["sample_index"] else "approve",
            queue="audit",
            created_at=START + timedelta(days=2, minutes=number),
        )
        for number, row in enumerate(sorted(delta.to_pylist(), key=lambda r: r["trajectory_id"]))
    ]
    warehouse.append("reviews", rows)


def snapshot(folder: Path, name: str, **columns: Any) -> None:
    """Makes the next version of a mix of one source."""
    top = {word: columns.pop(word) for word in ("rows", "licenses") if word in columns}
    mix = {"mix": name, "validation": 0.5, "sources": [columns], **top}
    file = getattr(schemas.mix, "MixFile", None)
    made = file.model_validate(mix).root if file else schemas.mix.Mix.model_validate(mix)
    done, new = create_snapshot(folder, made, SYSTEMS, {"dataengine": "0.1.0"})
    assert new
    print(done.manifest.id, done.manifest.rows, done.manifest.logical_hash)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="old-") as work:
        make(Path(work) / "warehouse")
        with tarfile.open(Path(__file__).parent / f"{sys.argv[1]}.tar.gz", "x:gz") as archive:
            archive.add(
                Path(work) / "warehouse", "warehouse", filter=lambda file: file.replace(uname="", gname="", deep=False)
            )
