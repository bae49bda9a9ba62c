"""Snapshots pushed to a stand-in of the hub, over HTTP: one commit, one tag, and what a consumer gets back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from tests.warehouse.hub_stand_in import HubStandIn
from warehouse.pushing import Pushed, push_snapshot
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

REPO = "ada/demo"
# How huggingface_hub sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = HubStandIn()
    # Read from the environment when the library was imported, maybe by another test.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    yield server
    server.stop()


@pytest.fixture
def make(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict, make_mix: MakeMix,
) -> Callable[..., Snapshot]:  # fmt: skip
    """Adds so many samples and makes the next version of the mix."""
    made = 0

    def add(rows: int = 12, name: str = "demo", **columns: Any) -> Snapshot:
        nonlocal made
        prompts = [make_prompt(f"{made + i}? 😀", **{"license": "MIT", **columns}) for i in range(rows)]
        made += rows
        replies = [make_trajectory(p) for p in prompts]
        warehouse.append("prompts", prompts)
        warehouse.append("trajectories", replies)
        warehouse.append("verdicts", [make_verdict(r) for r in replies])
        return create_snapshot(folder, make_mix(name, validation=0.4), {"plain": None})[0]

    return add


LOAD = """
import json, sys, datasets
datasets.disable_progress_bars()
found = datasets.load_dataset(sys.argv[1], revision=sys.argv[2])
print(json.dumps({split: list(rows) for split, rows in found.items()}))
"""


def loaded(hub: HubStandIn, revision: str, home: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the repository as a consumer's own process loads them."""
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_reads",
    }
    env = {name: value for name, value in env.items() if name not in ("HF_HUB_OFFLINE", "HF_DATASETS_CACHE")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, REPO, revision], capture_output=True, text=True, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def test_a_consumer_loads_the_tag_row_for_row(make: Callable[..., Snapshot], hub: HubStandIn, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    snapshot = make()
    pushed = push_snapshot(snapshot, REPO, shard_rows=5)
    assert pushed == Pushed(
        f"{hub.url}/datasets/{REPO}", "v1", hub.repos[REPO].tags["v1"], new=True, private=True, deleted=0
    )
    found = loaded(hub, "v1", tmp_path / "home")
    for split, rows in found.items():
        kept = [row for file in snapshot.data_files(split) for row in pq.read_table(file).to_pylist()]
        assert [(r["trajectory_id"], r["messages"]) for r in rows] == [
            (r["trajectory_id"], r["messages"]) for r in kept
        ]
    assert {split: len(rows) for split, rows in found.items()} == snapshot.manifest.counts["split"]
