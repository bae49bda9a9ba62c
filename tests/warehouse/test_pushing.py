"""Snapshots pushed to a stand-in of the hub, over HTTP: one commit, one tag, and what a consumer gets back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import warehouse.pushing
from schemas.errors import SnapshotError
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from tests.warehouse.hub_stand_in import READS, WRITES, Blob, HubStandIn, Repo, serving
from warehouse.export import export_snapshot
from warehouse.pushing import Pushed, PushedManifest, push_snapshot
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

REPO = "ada/demo"
# How huggingface_hub sends large files.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with serving(monkeypatch) as server:
        yield server


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


def refusal(snapshot: Snapshot, repo: str = REPO, **columns: Any) -> str:
    """The one line that a push ends with."""
    with pytest.raises(SnapshotError) as error:
        push_snapshot(snapshot, repo, **columns)
    line = str(error.value)
    assert "\n" not in line
    assert WRITES not in line
    assert READS not in line
    return line


def failing(what: str, how: int | str, times: int = 99) -> Callable[[str, int], int | str | None]:
    """A fault at what is asked in these words, so often."""
    left = times

    def fault(asked: str, before: int) -> int | str | None:
        nonlocal left
        if what not in asked or not left:
            return None
        left -= 1
        return how

    return fault


def titles(repo: Repo) -> list[str]:
    """Of the commits of `main`, the newest first."""
    found, oid = [], repo.branches.get("main")
    while oid:
        found.append(repo.commits[oid].title)
        oid = repo.commits[oid].parent
    return found


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
        "HF_TOKEN": READS,
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


def test_the_repository_is_the_export_with_a_manifest(
    make: Callable[..., Snapshot], hub: HubStandIn, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    snapshot = make()
    push_snapshot(snapshot, REPO, form="prompt-completion", reasoning="split", shard_rows=5)
    got = tmp_path / "got"
    snapshot_download(REPO, repo_type="dataset", revision="v1", local_dir=got, endpoint=hub.url)
    export_snapshot(snapshot, "prompt-completion", tmp_path / "out", reasoning="split", shard_rows=5)
    same = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    found = {f.name: f.read_bytes() for f in got.iterdir() if f.is_file()}
    assert {n: b for n, b in found.items() if n in same and n != "SHA256SUMS"} == {
        n: b for n, b in same.items() if n != "SHA256SUMS"
    }
    assert set(found) - set(same) == {"manifest.json", ".gitattributes"}
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=got, check=True)
    assert b"manifest.json" in found["SHA256SUMS"]
    manifest = PushedManifest.model_validate_json(found["manifest.json"])
    assert manifest.logical_hash == snapshot.manifest.logical_hash
    assert manifest.export.model_dump() == {"format": "prompt-completion", "reasoning": "split", "shard_rows": 5}
    assert {f.path: f.bytes for f in manifest.files} == {n: len(b) for n, b in found.items() if n.endswith(".parquet")}
    assert sum(f.rows for f in manifest.files) == 12
    assert not [name for name, content in found.items() if str(tmp_path).encode() in content], "no machine's paths"


def test_a_second_push_changes_nothing(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    snapshot = make()
    first = push_snapshot(snapshot, REPO)
    before = hub.repos[REPO].state()
    hub.asked.clear()
    assert push_snapshot(snapshot, REPO) == replace(first, new=False)
    assert hub.repos[REPO].state() == before
    assert {asked.split()[0] for asked in hub.asked} <= {"GET", "HEAD"}, "nothing is sent"


def test_the_next_version_leaves_none_of_the_files_before(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    first, second = make(12), make(3)
    push_snapshot(first, REPO, shard_rows=3)
    repo = hub.repos[REPO]
    repo.commit(
        "main", "by hand", {**repo.commits[repo.branches["main"]].files, "notes.txt": Blob(b"mine", large=False)}
    )
    pushed = push_snapshot(second, REPO, shard_rows=100)
    assert pushed.tag == "v2"
    there = set(repo.commits[repo.tags["v2"]].files)
    assert {n for n in there if n.endswith(".parquet")} == {
        "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"
    }  # fmt: skip
    assert ".gitattributes" in there
    assert "notes.txt" not in there
    assert pushed.deleted == len([n for n in repo.commits[repo.tags["v1"]].files if n.endswith(".parquet")]) + 1
    assert titles(repo) == [
        f"demo@2: 15 rows, logical hash {second.manifest.logical_hash}",
        "by hand",
        f"demo@1: 12 rows, logical hash {first.manifest.logical_hash}",
        "initial commit",
    ]
    # The first is still what its tag says.
    assert not push_snapshot(first, REPO, shard_rows=3).new


def test_a_tag_of_something_else_is_not_touched(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    first, other = make(), make(name="other")
    push_snapshot(first, REPO)
    before = hub.repos[REPO].state()
    hashes = [s.manifest.logical_hash[:12] for s in (first, other)]
    way_out = "tags are not moved: name another with --tag, or another repository"
    assert refusal(other) == (
        f"ada/demo: the tag v1 holds demo@1 with hash {hashes[0]}, not other@1 with {hashes[1]}; {way_out}"
    )
    assert refusal(first, form="openai") == (
        f"ada/demo: the tag v1 holds demo@1 as format messages reasoning content shard_rows None; {way_out}"
    )
    assert refusal(first, tag="main") == "ada/demo: main is a branch there; name another with --tag"
    hub.repos[REPO].tags["mine"] = before[0]["main"]
    hub.repos[REPO].commits[before[0]["main"]].files.pop("manifest.json")
    assert refusal(first, tag="mine") == f"ada/demo: the tag mine holds no snapshot; {way_out}"
    hub.repos[REPO].tags.pop("mine")
    assert hub.repos[REPO].state() == before
    assert push_snapshot(other, REPO, tag="other-1").tag == "other-1"


AGAIN = "push again: it is one commit, which is there whole or not at all"


@pytest.mark.parametrize(
    ("what", "how", "said"),
    [
        ("/preupload/", 403, "the token may not write there (as the test wants it): set HF_TOKEN"),
        ("/preupload/", 500, f"the hub answered 500 (as the test wants it); {AGAIN}"),
        ("PUT /store/", 403, "the token may not write there"),
        ("PUT /store/", 503, f"the hub answered 503 (as the test wants it); {AGAIN}"),
        ("/verify", 404, "not found (as the test wants it)"),
        ("/commit/", 500, f"the hub answered 500 (as the test wants it); {AGAIN}"),
        ("/commit/", 413, "the hub answered 413 (as the test wants it); nothing was published"),
        ("/commit/", "drop", AGAIN),
        ("/commit/", "hang", f"did not answer in time; {AGAIN}"),
        ("/tree/", 429, "the hub answered 429"),
    ],
)
def test_what_fails_midway_leaves_the_repository_as_it_was(
    make: Callable[..., Snapshot],
    hub: HubStandIn,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    how: int | str,
    said: str,
) -> None:
    before = hub.make(REPO).state()
    snapshot = make()
    # The library waits longer before each time that it asks again.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr(warehouse.pushing, "_PATIENCE", 0.5 if how == "hang" else 30)
    hub.fault = failing(what, how)
    assert said in refusal(snapshot, shard_rows=5)
    assert hub.repos[REPO].state() == before
    hub.fault = failing("nothing", 500)
    assert push_snapshot(snapshot, REPO, shard_rows=5).new
    assert titles(hub.repos[REPO])[0].startswith("demo@1")


def test_a_short_fault_of_the_server_is_waited_out(
    make: Callable[..., Snapshot], hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.fault = failing("PUT /store/", 503, times=2)
    assert push_snapshot(make(), REPO).new


def test_a_commit_without_its_tag_is_tagged_by_the_next_push(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    snapshot = make()
    hub.fault = failing("/tag/", 500)
    line = refusal(snapshot)
    commit = hub.repos[REPO].branches["main"]
    assert line == (
        f"ada/demo: the files are there as commit {commit[:12]}, but without the tag v1: "
        f"the hub answered 500 (as the test wants it); {AGAIN}"
    )
    hub.fault = failing("nothing", 500)
    pushed = push_snapshot(snapshot, REPO)
    assert (pushed.commit, pushed.new) == (commit, True)
    assert hub.repos[REPO].state() == ({"main": commit}, {"v1": commit})


def test_a_commit_that_comes_between_is_not_lost(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    snapshot = make()
    repo = hub.make(REPO)

    def somebody_else(asked: str, before: int) -> None:
        if "/preupload/" in asked and not before:
            repo.commit("main", "mine", {"mine.txt": Blob(b"", large=False)})

    hub.fault = somebody_else
    assert "somebody else has changed it meanwhile" in refusal(snapshot)
    assert titles(repo)[0] == "mine"
    assert not repo.tags


def test_a_branch_is_made_and_main_stays(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    repo = hub.make(REPO)
    before = repo.branches["main"]
    push_snapshot(make(), REPO, branch="next/one")
    assert repo.branches["main"] == before
    assert repo.branches["next/one"] == repo.tags["v1"] != before


def test_nothing_becomes_public_unless_it_is_said(make: Callable[..., Snapshot], hub: HubStandIn) -> None:
    first, second = make(), make()
    hub.make("ada/open", private=False)
    assert refusal(first, "ada/open") == "ada/open is public: say --public to publish demo@1 there"
    assert titles(hub.repos["ada/open"]) == ["initial commit"]
    assert not push_snapshot(first, "ada/open", private=False).private
    assert push_snapshot(first, REPO).private
    assert push_snapshot(second, REPO, private=False).private, "one that is there keeps its visibility"
    assert not push_snapshot(first, "ada/new", private=False).private
    assert {name: repo.private for name, repo in hub.repos.items()} == {
        "ada/open": False, REPO: True, "ada/new": False
    }  # fmt: skip


def test_what_is_missing_is_said_in_one_line(
    make: Callable[..., Snapshot], hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    snapshot = make()
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "")
    token = "set HF_TOKEN to one that may write, or log in with `hf auth login`"
    assert refusal(snapshot) == f"there is no token: {token}"
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert refusal(snapshot).startswith("ada/demo: the hub does not take the token (Invalid credentials in Auth")
    monkeypatch.setenv("HF_TOKEN", READS)
    assert refusal(snapshot) == f"ada/demo: the token may not write there (you must use a write token): {token}"
    monkeypatch.setenv("HF_TOKEN", WRITES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(snapshot) == "ada/demo: HF_HUB_OFFLINE is set: unset it to push"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert refusal(snapshot, repo="demo") == "demo: a repository is called OWNER/REPO"
    assert refusal(snapshot, repo="ada/..").startswith("ada/..: this is no name of a repository (")
    for name in ("a b", "-x", "a..b", "a.lock", "é", "a//b", "a\n"):
        assert refusal(snapshot, tag=name).startswith(f"{name!r} is no name for a branch or a tag")
    assert refusal(snapshot, form="word").startswith("there is no format 'word'")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refusal(snapshot)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refusal(snapshot) == "pushing needs huggingface_hub: pip install 'dataengine[hub]'"
    assert hub.repos == {}
