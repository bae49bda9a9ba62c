"""What a training leaves beside its weights: which rows were learnt when, checkpoints on the way, trackers."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml
from trainers import sample_log
from trainers.checkpoint import Plan, finished, make_plan
from trainers.config import SftConfig
from trainers.data import collate, encode, read_rows
from trainers.grpo_config import GrpoConfig
from trainers.model import TokenLogProbs, end_ids, load_model
from trainers.sample_log import SampleLog, join_parts
from trainers.sft import train

Write = Callable[..., Path]


@pytest.fixture
def plan_of(write_snapshot: Write, write_config: Write, sums: Callable[..., Any], tmp_path: Path) -> Any:
    rows = sums(20)
    rows[3]["weight"] = 2.5
    write_snapshot(rows, sums(6, first=60))

    def plan(output: str = "checkpoints", **settings: Any) -> Plan:
        values = {"epochs": 2, "batch_size": 8, "output": str(tmp_path / output)} | settings
        return make_plan(load_yaml(write_config(**values), SftConfig))

    return plan


def power_cut(step: int) -> Callable[..., None]:
    def look(loss: float, grad_norm: float, at: int) -> None:
        if at == step:
            raise RuntimeError("power cut")

    return look


# -- samples.parquet


def test_every_row_of_every_step_is_told_with_its_own_loss(plan_of: Any, tiny_model: Path) -> None:
    plan = plan_of(micro_batch_tokens=200)
    train(plan)
    rows = pq.read_table(plan.folder / "samples.parquet").to_pylist()
    metrics = [json.loads(line) for line in (plan.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 20
    for epoch in (1, 2):
        steps = {m["step"] for m in metrics if m["epoch"] == epoch}
        assert sorted(r["trajectory_id"] for r in rows if r["step"] in steps) == [f"train{i:04d}" for i in range(20)]
    assert {(r["attempt"], r["snapshot"], r["source"]) for r in rows} == {(1, "sums@1", "sums")}
    assert {r["weight"] for r in rows if r["trajectory_id"] == "train0003"} == {2.5}
    for m in metrics:
        mine = [r for r in rows if r["step"] == m["step"]]
        weighed = sum(r["weight"] * r["labelled_tokens"] * r["loss"] for r in mine)
        assert weighed / m["weight"] == pytest.approx(m["train/loss"], rel=1e-5)
        assert sum(r["labelled_tokens"] for r in mine) == m["labelled_tokens"]
    # Those of the first step are the start weights' losses, row by row.
    model, tokenizer = load_model(tiny_model)
    given = read_rows(plan.config.warehouse, plan.manifest)["train"]
    examples = {e.id: e for e in encode(tokenizer, given, end_ids(model, tokenizer), 2048, "error")}
    for r in (r for r in rows if r["step"] == 1):
        alone = collate([examples[f"{r['trajectory_id']}/1"]], 0)
        with torch.no_grad():
            logprobs = TokenLogProbs(model.eval())(alone.input_ids, alone.positions, alone.targets)
        assert r["loss"] == pytest.approx(-logprobs.mean().item(), rel=1e-4)


def test_a_resumed_training_tells_of_the_same_rows(plan_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = plan_of("a")
    train(undisturbed)
    plan = plan_of("b", save_every=2, checkpoint_every=3)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr("trainers.sft.refuse_infinite", power_cut(6))
        train(plan)
    assert sorted(p.name for p in (plan.partial / "samples").iterdir()) == [
        "00000002.parquet",
        "00000003.parquet",
        "00000004.parquet",
    ]
    (plan.partial / "samples" / "00000005.parquet").write_bytes(b"left by a later step")
    train(plan)
    assert (plan.folder / "samples.parquet").read_bytes() == (undisturbed.folder / "samples.parquet").read_bytes()


def test_joined_parts_do_not_show_where_they_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_log, "_ROW_GROUP", 10)
    schema = pa.schema([("step", pa.int32())])
    written = []
    for every in (1, 3, 50):
        folder = tmp_path / str(every)
        log = SampleLog(folder, schema, 0)
        for step in range(1, 48):
            log.append([{"step": step}])
            if step % every == 0 or step == 47:
                log.keep(step)
        join_parts(folder, tmp_path / f"{every}.parquet")
        written.append((tmp_path / f"{every}.parquet").read_bytes())
    assert written[0] == written[1] == written[2]
    file = pq.ParquetFile(tmp_path / "1.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 10, 10, 7]
    assert file.read()["step"].to_pylist() == list(range(1, 48))


# -- checkpoints on the way


def test_checkpoints_on_the_way_are_whole_and_the_newest_are_kept(plan_of: Any) -> None:
    plan = plan_of(checkpoint_every=1, checkpoints_kept=2, epochs=2, lora={"r": 4})
    train(plan)
    end = finished(plan.folder)
    assert sorted(p.name for p in plan.folder.parent.iterdir()) == [
        plan.folder.name,
        f"{plan.folder.name}-step4",
        f"{plan.folder.name}-step5",
    ]
    told = finished(plan.folder_of(4))
    assert told and end
    assert (told["steps"], end["steps"], told["key"]) == (4, 6, end["key"])
    assert told["policy"] == f"tiny@{told['weights_sha256'][:12]}" != end["policy"]
    assert len((plan.folder_of(4) / "metrics.jsonl").read_text().splitlines()) == 4
    assert set(pq.read_table(plan.folder_of(4) / "samples.parquet")["step"].to_pylist()) == {1, 2, 3, 4}
    assert AutoModelForCausalLM.from_pretrained(plan.folder_of(4)), "merged, a plain model"


def test_checkpoints_of_epochs_leave_the_training_as_it_is(plan_of: Any) -> None:
    plan, without = plan_of(checkpoint_every="epoch"), plan_of("b")
    assert plan.key == without.key
    assert train(plan)["weights_sha256"] == train(without)["weights_sha256"]
    assert [p.name for p in plan.folder.parent.glob("*-step*")] == [f"{plan.folder.name}-step3"]
    assert (finished(plan.folder_of(3)) or {})["losses"]["validation"] > 0


@pytest.mark.parametrize(
    ("every", "message"), [(0, "checkpoint_every is 0; it must be at least 1"), ("day", "checkpoint_every")]
)
def test_a_bad_distance_is_refused(plan_of: Any, every: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(checkpoint_every=every)


def test_a_trainer_without_epochs_has_no_checkpoints_of_them(write_config: Write) -> None:
    with pytest.raises(ConfigError, match="checkpoint_every is 'epoch', and this trainer has none: give a number of"):
        load_yaml(write_config(checkpoint_every="epoch", rewards=["accuracy"]), GrpoConfig)


# -- trackers

FAKE = """
calls = []
def init(**settings):
    calls.append(("init", settings))
def log(numbers, step):
    if step > FAILS_AFTER:
        raise ConnectionError("no route\\nto host")
    calls.append((step, numbers))
def finish():
    calls.append(("finish", {}))
"""


@pytest.fixture
def fake_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], Any]]:
    """Puts a module with the calls of wandb and trackio where they would be."""
    made: list[str] = []

    def put(name: str, fails_after: int) -> Any:
        folder = tmp_path / "packages"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"FAILS_AFTER = {fails_after}\n{FAKE}")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)
        import importlib

        made.append(name)
        return importlib.import_module(name)

    yield put
    for name in made:
        sys.modules.pop(name)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_numbers_of_metrics_jsonl(plan_of: Any, fake_tracker: Any, name: str) -> None:
    module = fake_tracker(name, 99)
    plan = plan_of(trackers=[name], epochs=1)
    train(plan)
    (begun, settings), *logged, (ended, _) = module.calls
    assert (begun, ended) == ("init", "finish")
    assert (settings["project"], settings["name"], settings["resume"]) == ("tiny", plan.folder.name, "allow")
    metrics = [json.loads(line) for line in (plan.folder / "metrics.jsonl").read_text().splitlines()]
    assert [{"step": step, **numbers} for step, numbers in logged] == metrics


def test_a_tracker_that_fails_is_told_of_once_and_stops_nothing(
    plan_of: Any, fake_tracker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module = fake_tracker("wandb", 1)
    undisturbed, plan = train(plan_of("a", epochs=1)), plan_of("b", trackers=["wandb"], epochs=1)
    capsys.readouterr()
    assert train(plan)["weights_sha256"] == undisturbed["weights_sha256"]
    note = "note: the tracker wandb failed and gets no more (ConnectionError: no route to host)\n"
    assert capsys.readouterr().err.count(note) == 1
    assert [call for call, _ in module.calls] == ["init", 1]


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(
    plan_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(trackers=["trackio"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^trackers: trackio is not installed: pip install trackio$"):
        train(plan)
    assert not plan.partial.exists()


def test_tensorboard_shows_the_numbers_of_metrics_jsonl(plan_of: Any) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = plan_of(trackers=["tensorboard"], epochs=1)
    train(plan)
    shown = EventAccumulator(str(plan.config.output / "tensorboard" / plan.folder.name))
    shown.Reload()
    metrics = [json.loads(line) for line in (plan.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [(event.step, event.value) for event in shown.Scalars("train/loss")]
    assert losses == [(m["step"], pytest.approx(m["train/loss"])) for m in metrics]
