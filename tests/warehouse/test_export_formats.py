"""Every format of samples gives back the snapshot's rows, reasoning once, and so does what trainers are told of it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from dataengine.prompting import take_apart
from schemas.errors import SnapshotError
from schemas.keys import canonical_json
from schemas.records import Message, Prompt
from tests.warehouse.conftest import MakeMix, MakeTrajectory, MakeVerdict, mix_of
from tests.warehouse.talks import ASSISTANT, ENDLESS, REPLIES, SYSTEM, TALKS, USER, Talk, kept, said, talk_of
from warehouse.export import export_snapshot
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

MakeSnapshot = Callable[..., Snapshot]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def made() -> dict[str, Snapshot]:
    """Snapshots by what they were made of: exports only read them."""
    return {}


@pytest.fixture
def make_snapshot(
    made: dict[str, Snapshot],
    tmp_path_factory: pytest.TempPathFactory,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> MakeSnapshot:
    def make(talks: list[Talk] = TALKS, **source: Any) -> Snapshot:
        name = canonical_json([talks, source])
        if name in made:
            return made[name]
        warehouse = Warehouse.open(tmp_path_factory.mktemp("talks") / "warehouse", create=True)
        asked = [[Message.model_validate({"role": r, "content": c}) for r, c in talk] for talk in talks]
        prompts = [Prompt.make(m, domain="math", source="talks", license="cc0-1.0") for m in asked]
        replies = [REPLIES[i % len(REPLIES)] for i in range(len(talks))]
        rows = [make_trajectory(p, reasoning=r, answer=a) for p, (r, a) in zip(prompts, replies, strict=True)]
        warehouse.append("prompts", prompts)
        warehouse.append("trajectories", rows)
        warehouse.append("verdicts", [make_verdict(row) for row in rows])
        made[name], _ = create_snapshot(warehouse.path, make_mix(validation=0.4, **source), {"plain": None})
        return made[name]

    return make


def read(path: Path, cache: Path) -> dict[str, list[dict[str, Any]]]:
    """An export as `datasets` reads its folder."""
    import datasets

    found = datasets.load_dataset(str(path), cache_dir=str(cache))
    return {split: list(rows) for split, rows in found.items()}


def of_alpaca(row: dict[str, Any]) -> Talk:
    turns = [(SYSTEM, row["system"])] if row["system"] else []
    for asked, replied in row["history"]:
        turns += [(USER, asked), (ASSISTANT, replied)]
    assert row["input"] == ""
    return [*turns, (USER, row["instruction"]), (ASSISTANT, row["output"])]


TURNS: dict[str, Callable[[dict[str, Any]], Talk]] = {
    "messages": lambda row: said(row["messages"]),
    "openai": lambda row: said(row["messages"]),
    "prompt-completion": lambda row: said([*row["prompt"], *row["completion"]]),
    "sharegpt": lambda row: said(row["conversations"], "from", "value"),
    "alpaca": of_alpaca,
}
SPLITTABLE = [form for form in TURNS if form != "alpaca"]


@pytest.mark.parametrize("form", TURNS)
def test_every_format_gives_back_the_rows(make_snapshot: MakeSnapshot, tmp_path: Path, form: str) -> None:
    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "out")
    rows = read(tmp_path / "out", tmp_path / "cache")
    before = kept(snapshot)
    assert {split: [TURNS[form](row) for row in found] for split, found in rows.items()} == {
        split: [talk_of(row) for row in found] for split, found in before.items()
    }
    if form != "openai":
        for split, found in rows.items():
            assert [row["trajectory_id"] for row in found] == [row["trajectory_id"] for row in before[split]]


@pytest.mark.parametrize("form", SPLITTABLE)
def test_split_reasoning_stands_apart_from_the_content_and_only_there(
    make_snapshot: MakeSnapshot, tmp_path: Path, form: str
) -> None:
    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "out", reasoning="split")
    role, content = ("from", "value") if form == "sharegpt" else ("role", "content")
    for split, found in read(tmp_path / "out", tmp_path / "cache").items():
        for row, before in zip(found, kept(snapshot)[split], strict=True):
            turns = row.get("messages") or row.get("conversations") or [*row["prompt"], *row["completion"]]
            assert len(turns) == len(before["messages"])
            for turn, whole in zip(turns, before["messages"], strict=True):
                if whole["role"] != ASSISTANT:
                    assert (turn[content], turn.get("reasoning_content")) == (whole["content"], None)
                    continue
                assert turn[role] in (ASSISTANT, "gpt")
                parts = take_apart(whole["content"])
                assert turn["reasoning_content"] == (parts.reasoning or "")
                assert turn[content] == (parts.answer or "")
                if parts.reasoning:
                    assert json.dumps(row).count(json.dumps(parts.reasoning)[1:-1]) == 1


def test_openai_lines_name_the_reasoning_of_the_assistant_alone(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    export_snapshot(make_snapshot(), "openai", tmp_path / "out", reasoning="split")
    lines = [json.loads(line) for file in tmp_path.glob("out/*.jsonl") for line in file.read_text("utf-8").splitlines()]
    assert len(lines) == len(TALKS)
    for line in lines:
        assert list(line) == ["messages"]
        for message in line["messages"]:
            keys = ["role", "content"] + ["reasoning_content"] * (message["role"] == ASSISTANT)
            assert list(message) == keys


def test_reasoning_between_special_tokens_is_split_too(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    snapshot = make_snapshot(pattern="special_token")
    export_snapshot(snapshot, "messages", tmp_path / "out", reasoning="split")
    rows = [row for found in read(tmp_path / "out", tmp_path / "cache").values() for row in found]
    replies = {(row["messages"][-1]["reasoning_content"], row["messages"][-1]["content"]) for row in rows}
    assert replies == {(thought or "", answer or "") for thought, answer in REPLIES}


@pytest.mark.parametrize(("form", "reasoning"), [("messages", "content"), ("openai", "split"), ("alpaca", "content")])
def test_shards_hold_the_same_rows_in_the_same_order(
    make_snapshot: MakeSnapshot, tmp_path: Path, form: str, reasoning: str
) -> None:
    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "one", reasoning=reasoning)
    export_snapshot(snapshot, form, tmp_path / "many", reasoning=reasoning, shard_rows=2)
    rows = snapshot.manifest.counts["split"]["train"]
    names = sorted(file.name for file in (tmp_path / "many").glob("train-*"))
    count = -(-rows // 2)
    assert count > 1
    assert [name.partition(".")[0] for name in names] == [f"train-{i:05d}-of-{count:05d}" for i in range(count)]
    assert read(tmp_path / "one", tmp_path / "cache1") == read(tmp_path / "many", tmp_path / "cache2")


def test_everything_that_is_written_has_its_sum(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    files = export_snapshot(make_snapshot(), "sharegpt", tmp_path / "out", shard_rows=3)
    sums = dict(reversed(line.split("  ")) for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines())
    assert sums == {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.name != "SHA256SUMS"}
    beside = {"README.md", "croissant.json", "dataset_info.json", "llama-factory.yaml", "axolotl.yaml"}
    assert beside < set(sums)


def refused(snapshot: Snapshot, form: str, tmp_path: Path, **how: Any) -> str:
    with pytest.raises(SnapshotError) as error:
        export_snapshot(snapshot, form, tmp_path / "new" / "out", **how)
    assert not list(tmp_path.glob("new/*")), "nothing half-written is left"
    return str(error.value)


def test_what_a_format_cannot_hold_is_refused_in_a_line(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    snapshot = make_snapshot([*TALKS, ENDLESS])
    assert "demo@1: in 1 rows user and assistant do not take turns, such as " in refused(snapshot, "alpaca", tmp_path)
    assert refused(snapshot, "alpaca", tmp_path, reasoning="split") == (
        "'alpaca' has no place for reasoning apart from the content; messages, prompt-completion, openai, sharegpt do"
    )
    assert refused(snapshot, "messages", tmp_path, reasoning="none") == (
        "there is no reasoning 'none'; there are: content, split"
    )
    assert "has to be at least 1" in refused(snapshot, "messages", tmp_path, shard_rows=0)


def rows_of_llama_factory(out: Path, cache: Path) -> dict[str, list[Talk]]:
    """The rows by split, read as LLaMA-Factory's `data/README.md` documents `dataset_info.json`."""
    import datasets

    config = yaml.safe_load((out / "llama-factory.yaml").read_text())
    assert config["mask_history"] is True
    info = json.loads((out / config["dataset_dir"] / "dataset_info.json").read_text())
    rows: dict[str, list[Talk]] = {}
    for split, key in (("train", "dataset"), ("validation", "eval_dataset")):
        for name in config[key].split(","):
            entry = info[name]
            columns, file = entry["columns"], out / entry["file_name"]
            kind = {"jsonl": "json", "parquet": "parquet"}[file.name.rpartition(".")[2]]
            for row in datasets.load_dataset(kind, data_files=[str(file)], split="train", cache_dir=str(cache)):
                if entry["formatting"] == "alpaca":
                    talk = of_alpaca({key: row[columns[c]] for key, c in ALPACA.items()})
                else:
                    tags = entry["tags"]
                    roles = {tags["user_tag"]: USER, tags["assistant_tag"]: ASSISTANT, tags["system_tag"]: SYSTEM}
                    turns = row[columns["messages"]]
                    talk = [(roles[turn[tags["role_tag"]]], turn[tags["content_tag"]]) for turn in turns]
                rows.setdefault(split, []).append(talk)
    assert sum(len(info[name]["file_name"].split("-of-")) - 1 for name in info) == len(info)
    return rows


ALPACA = {"instruction": "prompt", "input": "query", "output": "response", "system": "system", "history": "history"}


@pytest.mark.parametrize(("form", "shard_rows"), [("messages", None), ("openai", None), ("sharegpt", 2), ("alpaca", 2)])
def test_llama_factory_is_told_how_to_read_it(
    make_snapshot: MakeSnapshot, tmp_path: Path, form: str, shard_rows: int | None
) -> None:
    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "out", shard_rows=shard_rows)
    assert rows_of_llama_factory(tmp_path / "out", tmp_path / "cache") == {
        split: [talk_of(row) for row in found] for split, found in kept(snapshot).items()
    }


def test_a_trainer_that_would_lose_something_is_told_nothing(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    snapshot = make_snapshot([*TALKS, ENDLESS])

    def beside(form: str, **how: Any) -> set[str]:
        made = export_snapshot(snapshot, form, tmp_path / f"{form}{len(how)}", **how)
        return {file.name for file in made if file.suffix in (".yaml", ".json")} - {"croissant.json"}

    # LLaMA-Factory leaves out rows without turns, and does not read `reasoning_content`.
    assert beside("sharegpt") == {"axolotl.yaml"}
    assert beside("messages", reasoning="split") == {"axolotl.yaml", "trl.yaml"}
    assert beside("prompt-completion") == {"trl.yaml"}


@pytest.mark.parametrize(("form", "reasoning"), [("messages", "split"), ("sharegpt", "split"), ("openai", "content")])
def test_axolotl_is_told_how_to_read_it(
    make_snapshot: MakeSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, reasoning: str
) -> None:
    import datasets

    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "out", reasoning=reasoning)
    monkeypatch.chdir(tmp_path / "out")
    config = yaml.safe_load(Path("axolotl.yaml").read_text())
    for key, split in (("datasets", "train"), ("test_datasets", "validation")):
        (told,) = config[key]
        assert told["type"] == "chat_template"
        assert Path(told["path"]).is_dir(), "so that Axolotl takes the files to be here"
        where = {key: told[key] for key in ("data_files", "split")}
        rows = datasets.load_dataset(told["ds_type"], **where, cache_dir=str(tmp_path / "cache"))
        mapped = told["message_property_mappings"]
        for row, before in zip(rows, kept(snapshot)[split], strict=True):
            turns = [{name: turn.get(key) for name, key in mapped.items()} for turn in row[told["field_messages"]]]
            assert ("reasoning_content" in turns[-1]) == (reasoning == "split")
            assert [content for _, content in said(turns)] == [
                content.removeprefix("<think>\n\n</think>\n") if reasoning == "split" else content
                for _, content in talk_of(before)
            ]


@pytest.mark.parametrize(
    ("form", "learnt"),
    [
        ("messages", "assistant_only_loss"),
        ("openai", "assistant_only_loss"),
        ("prompt-completion", "completion_only_loss"),
    ],
)
def test_trl_is_told_how_to_read_it(
    make_snapshot: MakeSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, learnt: str
) -> None:
    import datasets

    snapshot = make_snapshot()
    export_snapshot(snapshot, form, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    text = Path("trl.yaml").read_text()
    config = yaml.safe_load(text)
    assert (config[learnt], config["max_length"]) == (True, None)
    assert "The longest row has 30 tokens" in text
    (told,) = config["datasets"]
    columns = told.pop("columns")
    rows = datasets.load_dataset(**told, cache_dir=str(tmp_path / "cache")).select_columns(columns)
    assert [TURNS[form](row) for row in rows] == [talk_of(row) for row in kept(snapshot)["train"]]


def test_croissant_names_files_with_their_hashes_and_columns_with_their_types(
    make_snapshot: MakeSnapshot, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_snapshot(make_snapshot(), "alpaca", out, shard_rows=2)
    told = json.loads((out / "croissant.json").read_text("utf-8"))
    assert told["license"] == ["cc0-1.0"]
    files = {part["@id"]: part for part in told["distribution"] if part["@type"] == "cr:FileObject"}
    assert {name: part["sha256"] for name, part in files.items()} == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.glob("*.parquet")
    }
    sets = {part["@id"]: part for part in told["distribution"] if part["@type"] == "cr:FileSet"}
    for record in told["recordSet"]:
        fields = {field["@id"].partition("/")[2]: field for field in record["field"]}
        (files_of,) = {field["source"]["fileSet"]["@id"] for field in fields.values()}
        made = sorted(out.glob(sets[files_of]["includes"]))
        assert {file.name for file in made} == {name for name in files if name.startswith(record["@id"])}
        assert list(fields) == pq.read_schema(made[0]).names
        assert fields["weight"]["dataType"] == "cr:Float64"
        assert (fields["history"]["dataType"], fields["history"]["arrayShape"]) == ("sc:Text", "-1,-1")


def test_croissant_takes_messages_apart(make_snapshot: MakeSnapshot, tmp_path: Path) -> None:
    export_snapshot(make_snapshot(), "openai", tmp_path / "out", reasoning="split")
    told = json.loads((tmp_path / "out" / "croissant.json").read_text("utf-8"))
    (field,) = told["recordSet"][0]["field"]
    assert (field["isArray"], field["arrayShape"]) == (True, "-1")
    assert [(part["@id"], part["source"]["transform"]) for part in field["subField"]] == [
        (f"train/messages/{key}", {"jsonPath": key}) for key in ("role", "content", "reasoning_content")
    ]


def test_labels_are_split_too(
    folder: Path, warehouse: Warehouse, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    prompt = Prompt.make([Message(role="user", content="1 + 1?")], domain="math", source="sums", verifier="exact")
    replies = [make_trajectory(prompt, i, reasoning=f"thought {i}", answer=str(i)) for i in range(3)]
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", replies)
    warehouse.append(
        "verdicts", [make_verdict(t, "pass" if t.answer == "2" else "fail", check="exact") for t in replies]
    )
    mix = mix_of("labels", {"stage": "reasoning", "check": "exact"})
    snapshot, _ = create_snapshot(folder, mix, {"plain": None})
    export_snapshot(snapshot, "prompt-completion", tmp_path / "out", reasoning="split")
    rows = [row for found in read(tmp_path / "out", tmp_path / "cache").values() for row in found]
    assert {(r["completion"][0]["reasoning_content"], r["completion"][0]["content"], r["label"]) for r in rows} == {
        (f"thought {i}", str(i), i == 2) for i in range(3)
    }
    (told,) = yaml.safe_load((tmp_path / "out" / "trl.yaml").read_text())["datasets"]
    assert told["columns"] == ["prompt", "completion", "label"]
