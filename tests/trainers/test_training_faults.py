"""What may go wrong with disks and checkpoints: one clear line, nothing corrupted, and the training goes on after."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.conftest import mounted

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
Run = Callable[..., Any]


def small_disk(folder: Path, size: str) -> AbstractContextManager[Path]:
    """A file system of that size on a folder; skips the test where nobody lets us mount one."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def last_line(done: Any) -> str:
    """The last line of a command that failed with exit code 2 and without a traceback."""
    assert (done.code, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    line: str = done.stderr.splitlines()[-1]
    return line


@pytest.mark.parametrize("size", ["1m", "4m", "8m", "14m"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    size: str, trainers: Run, write_snapshot: Write, write_config: Write, sums: Any, tmp_path: Path
) -> None:
    write_snapshot(sums(24))
    settings = {"epochs": 1, "batch_size": 4, "save_every": 2}
    whole = trainers("sft", write_config(**settings, output=str(tmp_path / "undisturbed"))).summary
    with small_disk(tmp_path / "disk", size) as disk:
        config = write_config(**settings, output=str(disk))
        line = last_line(trainers("sft", config))
        assert line.startswith(f"UserError: {disk}/"), line
        assert line.endswith(
            ": cannot be written: No space left on device; free some space and run the same command again"
        ), line
        assert not list(disk.glob("*/training.json"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert trainers("sft", config).summary["policy"] == whole["policy"]


@pytest.mark.parametrize("writes", [1, 2, 3], ids=["first state", "second state", "checkpoint"])
def test_a_write_that_was_killed_half_way_is_made_again(
    writes: int,
    trainers: Run,
    write_snapshot: Write,
    write_config: Write,
    sums: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trainers.checkpoint as module

    write_snapshot(sums(24))
    settings = {"epochs": 1, "batch_size": 4, "save_every": 2}
    whole = trainers("sft", write_config(**settings, output=str(tmp_path / "undisturbed"))).summary
    config = write_config(**settings, output=str(tmp_path / "killed"))
    publish, left = module._publish, [writes]

    def killed(making: Path, final: Path) -> None:
        left[0] -= 1
        if left[0]:
            publish(making, final)
            return
        weights = making / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_publish", killed)
        assert trainers("sft", config).code == 130
    assert len(list(tmp_path.glob("killed/*.partial/*.making"))) == 1
    done = trainers("sft", config)
    assert ("resuming after step" in done.stderr) == (writes > 1)
    assert done.summary["policy"] == whole["policy"]
    assert [p.name for p in (tmp_path / "killed").iterdir()] == [Path(done.summary["checkpoint"]).name]


@pytest.mark.parametrize("file", ["state.pt", "progress.json", "model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_state_is_named_with_what_to_remove(
    file: str, damage: str, trainers: Run, write_snapshot: Write, write_config: Write, sums: Any, monkeypatch: Any
) -> None:
    import trainers.sft as module

    write_snapshot(sums(24))
    config = write_config(epochs=1, batch_size=4, save_every=2)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "publish_checkpoint", killed)
        assert trainers("sft", config).code == 130
    (state,) = config.parent.glob("checkpoints/*.partial/state-*")
    if damage == "cut":
        (state / file).write_bytes((state / file).read_bytes()[:40])
    else:
        (state / file).unlink()
    line = last_line(trainers("sft", config))
    assert str(state) in line and f"remove {state.parent} to start again" in line


@pytest.mark.parametrize(
    ("break_file", "what"),
    [
        (lambda file: file.unlink(), "cannot be read: No such file or directory"),
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "damaged, its sha256 is not the manifest's"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "damaged, its sha256 is not the manifest's"),
    ],
    ids=["gone", "short", "long"],
)
def test_a_snapshot_that_fails_verify_is_refused(
    break_file: Any, what: str, trainers: Run, write_snapshot: Write, write_config: Write, sums: Any, tmp_path: Path
) -> None:
    from warehouse.verifying import snapshot_targets, verify

    warehouse = write_snapshot(sums(8))
    file = warehouse / "snapshots/sums/v1/train-00001.parquet"
    break_file(file)
    assert not verify(snapshot_targets(warehouse, ["sums@1"]))[0].good
    line = last_line(trainers("sft", write_config()))
    assert line == (
        f"SnapshotError: {file}: {what}; restore it from a copy; `dataengine snapshot verify sums@1` names all that is "
        "wrong"
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["training", "dry run"])
def test_a_tokenizer_without_a_chat_template_is_refused(
    dry_run: list[str],
    trainers: Run,
    write_snapshot: Write,
    write_config: Write,
    sums: Any,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    write_snapshot(sums(8))
    model = shutil.copytree(tiny_model, tmp_path / "plain")
    (model / "chat_template.jinja").unlink()
    line = last_line(trainers("sft", write_config(model=str(model)), *dry_run))
    assert line == f"ConfigError: model: {model} has no chat template; put a chat_template.jinja there"
    assert not (tmp_path / "checkpoints").exists()


def test_start_weights_that_are_cut_off_are_refused(
    trainers: Run, write_snapshot: Write, write_config: Write, sums: Any, tiny_model: Path, tmp_path: Path
) -> None:
    write_snapshot(sums(8))
    model = shutil.copytree(tiny_model, tmp_path / "cut")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert last_line(trainers("sft", write_config(model=str(model)))).startswith(
        f"ConfigError: model: {model} cannot be loaded: "
    )
    assert not (tmp_path / "checkpoints").exists()
