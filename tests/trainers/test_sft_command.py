"""`trainers sft` as users and the data engine start it: a process with an exit code, stdout and stderr."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainers.conftest import Done

Sums = Callable[..., list[dict[str, Any]]]
Write = Callable[..., Path]
Run = Callable[..., Done]
COMMAND = [sys.executable, "-m", "trainers.cli", "sft"]


@pytest.fixture
def run(trainers: Run) -> Run:
    """The command without the seconds that a process needs to load torch."""
    return partial(trainers, "sft")


def process(*arguments: str | Path) -> Done:
    """The command as a process of its own."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def refusal(done: Done) -> str:
    """The one line of a refused command."""
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def sha256(checkpoint: str) -> str:
    return hashlib.sha256((Path(checkpoint) / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_training_ends_in_a_whole_checkpoint_and_a_second_run_has_nothing_to_do(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums
) -> None:
    write_snapshot(sums(40), sums(10, first=60))
    config = write_config(epochs=2, batch_size=8)
    result = (first := process(config)).summary
    assert not result["done_before"]
    assert "step 10/10  loss " in first.stderr
    folder = Path(result["checkpoint"])
    training = json.loads((folder / "training.json").read_bytes())
    assert training["weights_sha256"] == sha256(result["checkpoint"])
    assert result["policy"] == training["policy"] == f"tiny@{training['weights_sha256'][:12]}"
    assert folder.name == f"tiny-{training['key'][:12]}"
    assert (training["steps"], training["snapshot"], result["steps"]) == (10, "sums@1", 10)
    assert result["validation_loss"] == training["losses"]["validation"] > 0
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics] == list(range(1, 11))
    assert [m["step"] for m in metrics if "validation/loss" in m] == [5, 10]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]

    second = process(config)
    assert second.summary == result | {"done_before": True}
    assert second.stderr == f"nothing to do: {folder}\n"


def test_the_model_card_names_the_snapshot_by_its_number_and_no_path(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    write_snapshot(sums(4))
    write_snapshot(sums(8), version=2)
    folder = Path(run(write_config(snapshot="sums@2", epochs=1)).summary["checkpoint"])
    training = json.loads((folder / "training.json").read_bytes())
    text = (folder / "README.md").read_text()
    told = ModelCard(text).data.to_dict()
    assert (told["snapshot"], told["snapshot_hash"]) == ("sums@2", training["snapshot_hash"])
    assert (told["datasets"], told["library_name"], told["tags"]) == (["sums"], "transformers", ["dataengine", "sft"])
    base, _, sha256 = training["start"]["policy"].partition("@")
    assert told["base_model"] == base and told["base_model_sha256"].startswith(sha256)
    assert "license" not in told, "nobody has said what the start weights' is"
    assert "`dataengine snapshot show sums@2`" in text and training["snapshot_hash"] in text.partition("\n# ")[2]
    assert str(tmp_path) not in text and "/" not in text.replace("hub/", "").partition("\n# ")[0]


def test_checkpoint_loads_and_can_be_trained_on(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_snapshot(sums(16))
    first = run(write_config(epochs=1)).summary
    tokenizer = AutoTokenizer.from_pretrained(first["checkpoint"])
    assert tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(first["checkpoint"])
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    second = run(write_config(epochs=1, name="again", model=first["checkpoint"])).summary
    training = json.loads((Path(second["checkpoint"]) / "training.json").read_bytes())
    assert training["start"] == {"policy": first["policy"], "sha256": sha256(first["checkpoint"])}
    assert first["validation_loss"] is None


def wait_for_state(partial_of: Path, running: subprocess.Popen[Any]) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert running.poll() is None, "finished before it could be killed"
        if states := list(partial_of.glob("*.partial/state-*")):
            return states[0]
        time.sleep(0.005)
    raise TimeoutError(partial_of)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "ctrl-c"])
def test_stopped_training_resumes_to_the_same_weights(
    number: signal.Signals, run: Run, write_snapshot: Write, write_config: Write, sums: Sums, tmp_path: Path
) -> None:
    write_snapshot(sums(90), sums(8, first=95))
    settings = {"epochs": 3, "batch_size": 8, "save_every": 7}
    undisturbed = run(write_config(**settings, output=str(tmp_path / "a"))).summary

    config = write_config(**settings, output=str(tmp_path / "b"))
    with subprocess.Popen(
        [*COMMAND, str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_for_state(tmp_path / "b", running)
        running.send_signal(number)
        if number == signal.SIGINT:
            running.send_signal(signal.SIGTERM)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert stdout == ""
    assert "Traceback" not in stderr
    assert ("stopped after step" in stderr) == (number == signal.SIGINT)
    done = run(config)
    assert "resuming after step" in done.stderr
    resumed = done.summary
    assert resumed["policy"] == undisturbed["policy"]
    assert sha256(resumed["checkpoint"]) == sha256(undisturbed["checkpoint"])
    assert resumed["train_loss"] == undisturbed["train_loss"]
    metrics = (Path(resumed["checkpoint"]) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == list(range(1, 37))


@pytest.mark.slow
def test_training_learns_a_synthetic_task(run: Run, write_snapshot: Write, write_config: Write, sums: Sums) -> None:
    write_snapshot(sums(100), sums(20))
    result = run(write_config(epochs=9, batch_size=8, learning_rate=3e-3, final_learning_rate=3e-4)).summary
    losses = json.loads((Path(result["checkpoint"]) / "training.json").read_bytes())["losses"]
    assert losses["first"] > 5
    assert losses["last_epoch"] < 0.5
    assert losses["validation"] < 0.5


def test_help_is_fast_and_loads_no_torch() -> None:
    code = "import sys, trainers.cli; print(sorted({'torch', 'transformers', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    done = process("--help")
    assert done.code == 0
    assert "CONFIG" in done.stdout


def test_curves_go_into_the_warehouse(run: Run, write_snapshot: Write, write_config: Write, sums: Sums) -> None:
    store = pytest.importorskip("warehouse.store")
    warehouse = write_snapshot(sums(16), sums(4))
    (warehouse / "snapshots").rename(warehouse.parent / "aside")
    store.Warehouse.open(warehouse, create=True)
    (warehouse.parent / "aside").rename(warehouse / "snapshots")
    result = run(write_config(epochs=1, batch_size=8)).summary
    from deltalake import DeltaTable

    rows = DeltaTable(str(warehouse / "tables" / "metrics")).to_pyarrow_table().to_pylist()
    assert {r["run_id"] for r in rows} == {
        json.loads((Path(result["checkpoint"]) / "training.json").read_bytes())["key"]
    }
    names = ["train/grad_norm", "train/loss", "train/lr", "train/tokens_per_second"]
    assert sorted((r["step"], r["name"]) for r in rows) == sorted(
        [(s, n) for s in (1, 2) for n in names] + [(2, "validation/loss")]
    )


def test_missing_snapshot_names_the_command_that_makes_it(run: Run, write_config: Write) -> None:
    assert "SnapshotError" in (line := refusal(run(write_config())))
    assert "dataengine snapshot create" in line


def test_damaged_file_is_named(run: Run, write_snapshot: Write, write_config: Write, sums: Sums) -> None:
    file = write_snapshot(sums(8)) / "snapshots" / "sums" / "v1" / "train-00001.parquet"
    file.write_bytes(file.read_bytes()[:-9] + b"different")
    assert f"{file}: damaged" in refusal(run(write_config()))


def test_overlong_rows_are_refused_left_out_or_cut_as_configured(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums
) -> None:
    rows = sums(16)
    rows[3]["reply"] = "so it is " * 300
    write_snapshot(rows)
    assert "1 row (train0003/1) longer than max_length 128" in refusal(run(config := write_config(max_length=128)))
    assert not (config.parent / "checkpoints").exists()
    for policy, count, word in (("drop", 15, "left out"), ("truncate", 16, "cut")):
        done = run(write_config(max_length=128, epochs=1, overlong=policy))
        training = json.loads((Path(done.summary["checkpoint"]) / "training.json").read_bytes())
        assert training["rows"] == {"train": count, "validation": 0, "overlong": ["train0003/1"]}
        assert f"{word}: train0003/1" in done.stderr


def test_rows_with_nothing_to_learn_are_refused(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums
) -> None:
    write_snapshot([*sums(4), {"question": "Say nothing.", "reply": ""}])
    assert "1 row (train0004/1) without a token to learn" in refusal(run(write_config()))


@pytest.mark.slow
def test_two_trainings_at_once_are_refused(run: Run, write_snapshot: Write, write_config: Write, sums: Sums) -> None:
    write_snapshot(sums(90))
    config = write_config(epochs=50, save_every=1)
    with subprocess.Popen([*COMMAND, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_for_state(Path(config).parent / "checkpoints", running)
        assert "another process is at this training" in refusal(run(config))
        os.kill(running.pid, signal.SIGKILL)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
REPLICATED = [*TORCHRUN, "-m", "trainers.cli", "sft"]
SHARDED = [*TORCHRUN, str(Path(__file__).with_name("sharded_on_cpu.py")), "sft"]


def launched(command: list[str], *arguments: str) -> Done:
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=180, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "lora"),
    [(REPLICATED, None), (REPLICATED, {"r": 4}), (SHARDED, None)],
    ids=["all weights", "lora", "sharded"],
)
def test_two_processes_train_the_weights_of_one(
    command: list[str], lora: Any, run: Run, write_snapshot: Write, write_config: Write, sums: Sums, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import load_file

    write_snapshot(sums(41), sums(7))
    config = write_config(batch_size=8, micro_batch_tokens=200, lora=lora)
    one = run(config, f"output={tmp_path}/one").summary
    done = launched(command, str(config), f"output={tmp_path}/two")
    two = done.summary
    assert done.stdout.count("\n") == 1
    weights = [load_file(Path(r["checkpoint"]) / "model.safetensors") for r in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)
    assert two["validation_loss"] == pytest.approx(one["validation_loss"])
    told = [pq.read_table(Path(r["checkpoint"]) / "samples.parquet") for r in (one, two)]
    assert told[0].drop_columns("loss") == told[1].drop_columns("loss")
    assert told[1]["loss"].to_pylist() == pytest.approx(told[0]["loss"].to_pylist(), rel=1e-4)


@pytest.mark.slow
def test_sharded_weights_go_on_where_they_stood(
    run: Run, write_snapshot: Write, write_config: Write, sums: Sums, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    write_snapshot(sums(90))
    config = str(write_config(batch_size=4, micro_batch_tokens=200, save_every=3))
    whole = launched(SHARDED, config, f"output={tmp_path}/whole").summary
    cut = subprocess.Popen(
        [*SHARDED, config, f"output={tmp_path}/cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_state(tmp_path / "cut", cut)
    for process in (psutil.Process(cut.pid), *psutil.Process(cut.pid).children(recursive=True)):
        process.kill()
    cut.wait()
    (state,) = (tmp_path / "cut").glob("*/state-*")
    AutoModelForCausalLM.from_pretrained(state, local_files_only=True)
    done = launched(SHARDED, config, f"output={tmp_path}/cut")
    assert "resuming after step" in done.stderr
    assert done.summary["policy"] == whole["policy"]
