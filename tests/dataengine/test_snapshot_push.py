"""`snapshot push` as a process of its own, against a stand-in of the hub that the environment names."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.keys import key
from schemas.mix import Mix
from schemas.records import Message, Prompt, Trajectory, Verdict, now
from tests.warehouse.hub_stand_in import WRITES, HubStandIn
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    pytest.importorskip("huggingface_hub")
    server = HubStandIn()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in (("HF_ENDPOINT", server.url), ("HF_TOKEN", WRITES), ("HF_HUB_DISABLE_XET", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    # A warning of the library's own is no error of ours.
    monkeypatch.setattr("sys.warnoptions", [])
    yield server
    server.stop()


def fill(folder: Path) -> None:
    """A warehouse with the snapshot demo@1 of four samples."""
    prompts = [Prompt.make([Message(role="user", content=f"{i}?")], source="sums", domain="math") for i in range(4)]
    replies = [
        Trajectory(
            trajectory_id=key(p.prompt_id), prompt_id=p.prompt_id, stage="reasoning", policy="model@1", engine="x",
            sampling="{}", sample_index=0, rendered_key="x", reasoning="so", answer="1", text="so 1",
            finish_reason="stop", prompt_tokens=1, completion_tokens=1, max_tokens=9, run_id="r", created_at=now(),
        )
        for p in prompts
    ]  # fmt: skip
    said = [
        Verdict(
            trajectory_id=t.trajectory_id, attempt=t.attempt, check="format", version="1", kind="filter",
            outcome="pass", score=1.0, run_id="r", created_at=now(),
        )
        for t in replies
    ]  # fmt: skip
    warehouse = Warehouse.open(folder, create=True)
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", replies)
    warehouse.append("verdicts", said)
    mix = Mix.model_validate({"mix": "demo", "sources": [{"stage": "reasoning", "require": ["format"]}]})
    create_snapshot(folder, mix, {"plain": None})


@pytest.mark.slow
def test_the_command_pushes_once_and_says_where(
    process: Callable[..., "subprocess.Popen[str]"], hub: HubStandIn, tmp_path: Path
) -> None:
    fill(tmp_path / "data")
    told = []
    for _ in range(2):
        child = process("snapshot", "push", "demo@1", "ada/demo", "--warehouse", tmp_path / "data")
        out, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (0, ""), "quiet where nobody looks on"
        told.append(out.splitlines())
    where = f"{hub.url}/datasets/ada/demo (private), tag v1, commit {hub.repos['ada/demo'].tags['v1'][:12]}"
    load = 'datasets.load_dataset("ada/demo", revision="v1")'
    assert told == [[f"demo@1 pushed: {where}", load], [f"demo@1 is there already: {where}", load]]


def test_a_refusal_is_one_line_without_the_token(
    process: Callable[..., "subprocess.Popen[str]"], hub: HubStandIn, tmp_path: Path
) -> None:
    fill(tmp_path / "data")
    hub.tokens[WRITES] = False
    child = process("snapshot", "push", "demo@1", "ada/demo", "--warehouse", tmp_path / "data", "--public")
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (2, "")
    assert err == (
        "SnapshotError: ada/demo: the token may not write there (you must use a write token): "
        "set HF_TOKEN to one that may write, or log in with `hf auth login`\n"
    )
