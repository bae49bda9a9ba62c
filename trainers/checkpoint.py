"""What a training leaves on disk: states to resume from, then one folder in Hugging Face format, whole or absent."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError, SnapshotError, UserError
from schemas.keys import key
from schemas.manifest import Manifest
from trainers.card import model_card
from trainers.config import TrainingConfig
from trainers.data import read_manifest
from trainers.lora import save_model
from trainers.sample_log import join_parts
from warehouse.writing import fsync, refusal

if TYPE_CHECKING:
    import torch

SAMPLES = "samples"
"""The folder of a SampleLog's parts, and the checkpoint's file that they become."""
_MARK = "training.json"
_PLANNED = "planned.json"


@dataclass(frozen=True)
class Start:
    """The weights a training starts from: the policy they are known by, the sha256 that tells them apart, a licence."""

    policy: str
    sha256: str
    license: str | None = None


@dataclass(frozen=True)
class Plan:
    """One training: what goes in, the key of what comes out, and the folder for it."""

    config: TrainingConfig
    manifest: Manifest
    start: Start
    key: str

    @property
    def folder(self) -> Path:
        """The finished checkpoint: `<output>/<name>-<first 12 digits of the key>`."""
        return self.config.output.expanduser() / f"{self.config.name}-{self.key[:12]}"

    def folder_of(self, step: int) -> Path:
        """The checkpoint of a step on the way."""
        return self.folder.with_name(f"{self.folder.name}-step{step}")

    @property
    def partial(self) -> Path:
        """What there is of an unfinished training; gone once the checkpoint is whole."""
        return self.folder.with_name(f"{self.folder.name}.partial")


def make_plan(config: TrainingConfig) -> Plan:
    """Works out the training key; reads the manifest and the identity of the start weights, and loads no torch.

    key = key(trainer, settings that change the result, snapshot's logical hash, sha256 of the start weights), and the
    versions of the warehouse's tables where they matter. Raises SnapshotError or ConfigError when one of the inputs is
    not there.
    """
    manifest = read_manifest(config.warehouse, config.snapshot)
    if manifest.rows_of != config.ROWS_OF:
        raise SnapshotError(
            f"{manifest.id}: its rows are {manifest.rows_of}, and this trainer learns from {config.ROWS_OF}"
        )
    # A tag may move: what is written down of the training names the version. A shipped model has its folder.
    config = config.model_copy(update={"snapshot": manifest.id, "model": model_folder(config.model)})
    start = start_weights(config.model)
    settings = config.result_settings()
    tables = [manifest.tables] if config.reads_tables else []
    return Plan(config, manifest, start, key(config.TRAINER, settings, manifest.logical_hash, start.sha256, *tables))


def planned_checkpoint(config: TrainingConfig) -> Path:
    """The folder that a training with this configuration ends in, whether it is there yet or not."""
    return make_plan(config).folder


def finished(folder: Path) -> dict[str, Any] | None:
    """The `training.json` of a whole checkpoint, or None when there is none. Raises ConfigError when it is damaged."""
    return _read_json(folder / _MARK)


def model_folder(model: Path) -> Path:
    """The folder of the start weights, which may be given as the name of a shipped model.

    Raises EngineError where such a model is not installed.
    """
    from dataengine.engines.weights import SHIPPED, find_model

    if str(model) in SHIPPED and not model.exists():
        return find_model(str(model)).folder
    return model.expanduser()


def start_weights(folder: Path) -> Start:
    """The identity of the weights in a folder: by `training.json`, else `model.json`, else the weights' bytes."""
    if (folder / "adapter_config.json").is_file():
        raise ConfigError(
            f"model: {folder} holds adapters alone; train them with lora.merge: true, and go on from that"
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model: {folder} is no model in Hugging Face format (no config.json there)")
    if trained := finished(folder):
        return Start(trained["policy"], trained["weights_sha256"], trained.get("start", {}).get("license"))
    described = _read_json(folder / "model.json") or {}
    sha256 = described.get("sha256") or weights_sha256(folder)
    policy = described.get("policy") or f"{folder.resolve().name}@{sha256[:12]}"
    return Start(policy, sha256, described.get("license"))


def weights_sha256(folder: Path) -> str:
    """The sha256 of a folder's weights: `model.safetensors`, all shards one after the other, or adapters.

    Raises ConfigError without weights.
    """
    single = [folder / name for name in ("model.safetensors", "adapter_model.safetensors")]
    files = [file for file in single if file.is_file()][:1] or sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        raise ConfigError(f"model: {folder} has no model.safetensors; save the model there with save_pretrained")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


@contextmanager
def sole_trainer(plan: Plan) -> Iterator[None]:
    """Holds the unfinished training for this process alone.

    Raises UserError when another process is at it, or the system refuses to write, such as on a full disk.
    """
    with _full_disks_told(plan.partial):
        plan.partial.mkdir(parents=True, exist_ok=True)
        with (plan.partial / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{plan.partial}: another process is at this training; wait for it or stop it"
                ) from None
            # `dataengine gc` looks here: a training needs its snapshot until it has ended.
            _write_json(plan.partial / _PLANNED, {"key": plan.key, "snapshot": plan.manifest.id})
            yield


@contextmanager
def _full_disks_told(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch reports a write that failed in words of its own, while it handles the system's.
        cause: BaseException | None = error
        while cause is not None:
            if refused := refusal(cause):
                raise UserError(f"{folder}: cannot be written: {refused}") from error
            cause = cause.__context__
        raise


def save_state(
    plan: Plan,
    step: int,
    model: Any,
    tokenizer: Any,
    tensors: dict[str, Any],
    progress: dict[str, Any],
    weights: "dict[str, torch.Tensor] | None" = None,
) -> None:
    """Keeps what resuming at `step` needs, whole or not at all, and then removes older states.

    A state is a model in Hugging Face format, or its adapters in PEFT's, with `state.pt` (`tensors`) and
    `progress.json` beside it. `weights` are the model's, where it holds a part only.
    """
    import torch

    new = plan.partial / f"state-{step:08d}"
    making = plan.partial / "state.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    save_model(model, making, _base(plan), merge=False, weights=weights)
    tokenizer.save_pretrained(making)
    # Into a file that is open: given a path, torch does not say what the system said of a full disk.
    with (making / "state.pt").open("wb") as file:
        torch.save(tensors, file)
    _write_json(making / "progress.json", {"key": plan.key, "step": step, **progress})
    _publish(making, new)
    for old in plan.partial.glob("state-*"):
        if old != new:
            shutil.rmtree(old)


@dataclass(frozen=True)
class State:
    """Where an unfinished training stands: a folder with the model, and what else `save_state` was given."""

    folder: Path
    tensors: dict[str, Any]
    progress: dict[str, Any]


def load_state(plan: Plan, device: "torch.device") -> State | None:
    """The newest state, or None at the start. Raises UserError for one that cannot be used."""
    import pickle

    import torch

    states = sorted(plan.partial.glob("state-*"))
    if not states:
        return None
    remedy = f"remove {plan.partial} to start again"
    try:
        progress = json.loads((states[-1] / "progress.json").read_bytes())
        # Launched for FSDP without a GPU a process has the device cpu:1, say, where nothing can be loaded to.
        place = "cpu" if device.type == "cpu" else device
        tensors = torch.load(states[-1] / "state.pt", map_location=place, weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
        raise UserError(f"{states[-1]}: damaged ({type(e).__name__}); {remedy}") from None
    if progress.get("key") != plan.key:
        raise UserError(f"{states[-1]}: is of another training (other settings, snapshot or start weights); {remedy}")
    return State(states[-1], tensors, progress)


def publish_checkpoint(
    plan: Plan,
    model: Any,
    tokenizer: Any,
    result: dict[str, Any],
    method: str,
    facts: dict[str, str],
    weights: "dict[str, torch.Tensor] | None" = None,
) -> dict[str, Any]:
    """Writes the finished checkpoint and removes the unfinished one; returns `training.json`, with the policy.

    All files are on disk before `training.json` is, and that before the folder gets its name. `result` goes into
    `training.json`; `method` and `facts` are for the card. `weights` are the model's, where it holds a part only.
    """
    training = _write_checkpoint(plan, plan.folder, model, tokenizer, result, method, facts, weights)
    clean_up(plan)
    return training


def publish_on_the_way(
    plan: Plan,
    step: int,
    model: Any,
    tokenizer: Any,
    result: dict[str, Any],
    method: str,
    facts: dict[str, str],
    weights: "dict[str, torch.Tensor] | None" = None,
) -> None:
    """Writes the checkpoint of a step as a whole one, `<name>-<key>-step<N>`, and removes the oldest of many."""
    _write_checkpoint(plan, plan.folder_of(step), model, tokenizer, result, method, facts, weights)
    steps = sorted(int(p.name.rpartition("-step")[2]) for p in plan.folder.parent.glob(f"{plan.folder.name}-step*"))
    for old in steps[: -plan.config.checkpoints_kept]:
        shutil.rmtree(plan.folder_of(old))


def _write_checkpoint(
    plan: Plan,
    folder: Path,
    model: Any,
    tokenizer: Any,
    result: dict[str, Any],
    method: str,
    facts: dict[str, str],
    weights: "dict[str, torch.Tensor] | None",
) -> dict[str, Any]:
    making = plan.partial / "checkpoint.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    merge = plan.config.lora is not None and plan.config.lora.merge
    save_model(model, making, _base(plan), merge=merge, weights=weights)
    tokenizer.save_pretrained(making)
    shutil.copy(plan.partial / "metrics.jsonl", making / "metrics.jsonl")
    if (samples := plan.partial / SAMPLES).is_dir():
        join_parts(samples, making / f"{SAMPLES}.parquet")
    sha256 = weights_sha256(making)
    training = {
        "name": plan.config.name,
        "trainer": plan.config.trainer(),
        "policy": f"{plan.config.name}@{sha256[:12]}",
        "key": plan.key,
        "snapshot": plan.manifest.id,
        "snapshot_hash": plan.manifest.logical_hash,
        "start": {name: value for name, value in asdict(plan.start).items() if value is not None},
        "config": plan.config.model_dump(mode="json"),
        "weights_sha256": sha256,
        **result,
    }
    (making / "README.md").write_text(model_card(training, plan.manifest, method, facts), encoding="utf-8")
    _sync_files(making)
    _write_json(making / _MARK, training)
    _publish(making, folder)
    return training


def clean_up(plan: Plan) -> None:
    """Removes what an unfinished training left, once its checkpoint is whole."""
    shutil.rmtree(plan.partial, ignore_errors=True)


def _base(plan: Plan) -> str:
    """The start weights' name where a reader expects a name on the hub: the hash stands in training.json."""
    return plan.start.policy.partition("@")[0]


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ConfigError(f"{path}: damaged, not valid JSON; remove its folder and train again") from None
    return value if isinstance(value, dict) else None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _publish(making: Path, final: Path) -> None:
    """Gives a finished folder its name, after everything in it is on disk."""
    _sync_files(making)
    shutil.rmtree(final, ignore_errors=True)
    making.rename(final)
    fsync(final.parent)


def _sync_files(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        fsync(path)
