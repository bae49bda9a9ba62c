"""Exports are read by Hugging Face's `datasets` and by plain JSON readers, and appear whole or not at all."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SnapshotError
from tests.warehouse.conftest import MakeMix, MakePair, MakePrompt, MakeTrajectory, MakeVerdict, mix_of
from warehouse.export import FORMATS, export_snapshot
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse


@pytest.fixture
def snapshot(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> Snapshot:
    prompts = [make_prompt(f"{i}? 😀 \\frac{{1}}{{2}}") for i in range(12)]
    rows = [make_trajectory(p) for p in prompts]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", [make_verdict(r) for r in rows])
    made, _ = create_snapshot(folder, make_mix(validation=0.4, template="think"), {"think": "Think."})
    assert set(made.manifest.counts["split"]) == {"train", "validation"}
    return made


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def by_files(out: Path, kind: str, ending: str, cache: Path) -> dict[str, list[dict[str, Any]]]:
    """The splits as `datasets` reads them by file name."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = {s: str(out / f"{s}-00000-of-00001.{ending}") for s in ("train", "validation")}
    found = datasets.load_dataset(kind, data_files=files, cache_dir=str(cache))
    return {split: list(rows) for split, rows in found.items()}


def test_messages_are_read_by_file_and_by_folder(snapshot: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_snapshot(snapshot, "messages", out)
    found = by_files(out, "parquet", "parquet", tmp_path / "cache")
    assert {s: len(r) for s, r in found.items()} == snapshot.manifest.counts["split"]
    first = found["train"][0]
    assert [m["role"] for m in first["messages"]] == ["system", "user", "assistant"]
    assert first["messages"][-1]["content"] == "<think>\nthought 0\n</think>\nanswer 0"
    assert first["weight"] == 1.0

    import datasets

    by_folder = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache2"))
    assert {s: list(r) for s, r in by_folder.items()} == found


def test_prompt_and_completion_are_the_two_parts_of_a_conversation(snapshot: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    export_snapshot(snapshot, "prompt-completion", out)
    found = by_files(out, "parquet", "parquet", tmp_path / "cache")
    for row in found["train"] + found["validation"]:
        assert [m["role"] for m in row["prompt"]] == ["system", "user"]
        assert [m["role"] for m in row["completion"]] == ["assistant"]


def test_openai_lines_are_plain_json(snapshot: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = export_snapshot(snapshot, "openai", out)
    assert [f.name for f in files] == [
        "README.md", "SHA256SUMS", "axolotl.yaml", "croissant.json", "dataset_info.json", "llama-factory.yaml",
        "train-00000-of-00001.jsonl", "trl.yaml", "validation-00000-of-00001.jsonl",
    ]  # fmt: skip
    data = [f for f in files if f.suffix == ".jsonl"]
    lines = [json.loads(line) for f in data for line in f.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == snapshot.manifest.rows
    assert all(list(line) == ["messages"] for line in lines)
    assert {line["messages"][1]["content"] for line in lines} == {f"{i}? 😀 \\frac{{1}}{{2}}" for i in range(12)}
    found = by_files(out, "json", "jsonl", tmp_path / "cache")
    assert [line["messages"] for line in lines] == [r["messages"] for r in found["train"] + found["validation"]]


@pytest.mark.parametrize("form", ["messages", "prompt-completion", "openai", "alpaca"])
def test_the_sums_of_an_export_are_right_and_the_same_every_time(snapshot: Snapshot, tmp_path: Path, form: str) -> None:
    for name in ("one", "qu'ote"):
        out = tmp_path / name
        files = export_snapshot(snapshot, form, out)
        sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
        assert set(sums) == {f.name for f in files} - {"SHA256SUMS"}
        assert sums == {n: hashlib.sha256((out / n).read_bytes()).hexdigest() for n in sums}
    assert (tmp_path / "one" / "SHA256SUMS").read_text() == (tmp_path / "qu'ote" / "SHA256SUMS").read_text()


def refusal(snapshot: Snapshot, form: str, out: Path) -> str:
    before = sorted(out.parent.iterdir())
    with pytest.raises(SnapshotError) as error:
        export_snapshot(snapshot, form, out)
    assert sorted(out.parent.iterdir()) == before, "nothing half-written is left"
    return str(error.value)


def test_a_folder_or_file_in_use_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export_snapshot(snapshot, "messages", out)
    assert refusal(snapshot, "messages", out) == f"{out}: exists already; name a new folder"
    (tmp_path / "file").write_text("mine")
    assert refusal(snapshot, "messages", tmp_path / "file").endswith("file: exists already; name a new folder")


def test_an_empty_working_folder_will_do(snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert {f.parent for f in export_snapshot(snapshot, "messages", Path())} == {tmp_path / "here"}


def test_an_unknown_format_lists_the_known(snapshot: Snapshot, tmp_path: Path) -> None:
    assert refusal(snapshot, "word", tmp_path / "out") == (
        f"there is no format 'word'; there are: {', '.join(FORMATS)}"
    )


def test_a_damaged_snapshot_is_not_exported(snapshot: Snapshot, tmp_path: Path) -> None:
    file = snapshot.data_files("train")[0]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "is damaged" in refusal(snapshot, "messages", tmp_path / "out")


@pytest.fixture
def others(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict, make_pair: MakePair, snapshot: Snapshot,
) -> dict[str, Snapshot]:  # fmt: skip
    """Snapshots of the same prompts by kind of rows."""
    prompts = [make_prompt(f"{i}?") for i in range(12)]
    replies = [[make_trajectory(p, i, answer=text) for i, text in enumerate(("fine", "poor"))] for p in prompts]
    made = [make_pair(*two) for two in replies]
    said = [make_verdict(t, o, check="exact") for two in replies for t, o in zip(two, ("pass", "fail"), strict=True)]
    tables: dict[str, list[Any]] = {
        "prompts": prompts, "trajectories": [t for two in replies for t in two], "verdicts": said,
        "pairs": [pair for pair, _ in made],
    }  # fmt: skip
    for table, rows in tables.items():
        warehouse.append(table, rows)
    asked = {
        "pairs": {"policy": "rule"},
        "labels": {"stage": "reasoning", "check": "exact"},
        "prompts": {"domain": "math", "verifiers": ["exact"], "stage": "reasoning", "where": "n = 2"},
    }
    mixes = [mix_of(rows, source, name=rows, validation=0.4) for rows, source in asked.items()]
    return {"samples": snapshot} | {m.rows: create_snapshot(folder, m, {"plain": None})[0] for m in mixes}


def test_preferences_labels_and_prompts_are_read_with_the_columns_that_trainers_want(
    others: dict[str, Snapshot], tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")

    def read(kind: str, form: str) -> Any:
        export_snapshot(others[kind], form, tmp_path / form / kind)
        found = datasets.load_dataset(str(tmp_path / form / kind), cache_dir=str(tmp_path / "cache"))
        assert {s: len(r) for s, r in found.items()} == others[kind].manifest.counts["split"]
        return found["train"]

    pairs = read("pairs", "preference")
    assert pairs.column_names[:3] == ["prompt", "chosen", "rejected"]
    assert {"pair_id", "chosen_id", "rejected_id"} < set(pairs.column_names)
    assert pairs[0]["chosen"] == [{"role": "assistant", "content": "fine"}]
    assert pairs[0]["rejected"] == [{"role": "assistant", "content": "poor"}]
    assert [m["role"] for m in pairs[0]["prompt"]] == ["user"]
    labels = read("labels", "prompt-completion")
    assert labels.column_names[:3] == ["prompt", "completion", "label"]
    assert labels.features["label"].dtype == "bool"
    said = {(row["completion"][0]["content"].splitlines()[-1], row["label"]) for row in labels}
    assert said == {("fine", True), ("poor", False)}
    prompts = read("prompts", "prompts")
    assert prompts.column_names[:4] == ["prompt", "reference", "verifier", "metadata"]
    assert {(row["reference"], row["verifier"], row["solve_rate"], row["n"]) for row in prompts} == {
        ("2", "exact", 0.5, 2)
    }


def test_a_format_that_the_rows_cannot_take_is_refused(others: dict[str, Snapshot], tmp_path: Path) -> None:
    told = {(kind, form): refusal(made, form, tmp_path / "out") for kind, made in others.items() for form in FORMATS
            if kind not in FORMATS[form].kinds}  # fmt: skip
    assert len(told) == 20
    assert told["pairs", "messages"] == "pairs@1: its rows are pairs, and 'messages' is for samples; take preference"
    assert told["prompts", "prompt-completion"] == (
        "prompts@1: its rows are prompts, and 'prompt-completion' is for samples and labels; take prompts"
    )
    assert told["samples", "preference"] == (
        "demo@1: its rows are samples, and 'preference' is for pairs; take messages, prompt-completion, openai, "
        "sharegpt, alpaca"
    )


def test_the_card_of_every_kind_counts_its_rows(others: dict[str, Snapshot]) -> None:
    cards = {kind: (made.path / "README.md").read_text(encoding="utf-8") for kind, made in others.items()}
    assert "| label | rows |" in cards["labels"]
    assert "| true | 12 |" in cards["labels"]
    assert "| chosen_policy | rows |" in cards["pairs"]
    assert "| answer_form | rows |" in cards["prompts"]
