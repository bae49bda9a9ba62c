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

import yaml

from schemas.errors import ConfigError, SnapshotError, UserError
from schemas.keys import key
from schemas.manifest import Manifest
from trainers.config import SftConfig
from trainers.data import read_manifest
from warehouse.writing import fsync

if TYPE_CHECKING:
    import torch

# Raised when the same settings on the same rows come to train other weights.
_TRAINER = "sft-1"
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

    config: SftConfig
    manifest: Manifest
    start: Start
    key: str

    @property
    def folder(self) -> Path:
        """The finished checkpoint: `<output>/<name>-<first 12 digits of the key>`."""
        return self.config.output.expanduser() / f"{self.config.name}-{self.key[:12]}"

    @property
    def partial(self) -> Path:
        """What there is of an unfinished training; gone once the checkpoint is whole."""
        return self.folder.with_name(f"{self.folder.name}.partial")


def make_plan(config: SftConfig) -> Plan:
    """Works out the training key; reads the manifest and the identity of the start weights, and loads no torch.

    key = key(trainer, settings that change the result, snapshot's logical hash, sha256 of the start weights). Raises
    SnapshotError or ConfigError when one of the inputs is not there.
    """
    manifest = read_manifest(config.warehouse, config.snapshot)
    if manifest.rows_of != "samples":
        raise SnapshotError(f"{manifest.id}: its rows are {manifest.rows_of}, and this trainer learns from samples")
    # A tag may move: what is written down of the training names the version.
    config = config.model_copy(update={"snapshot": manifest.id})
    start = start_weights(config.model.expanduser())
    return Plan(config, manifest, start, key(_TRAINER, config.result_settings(), manifest.logical_hash, start.sha256))


def planned_checkpoint(config: SftConfig) -> Path:
    """The folder that a training with this configuration ends in, whether it is there yet or not."""
    return make_plan(config).folder


def finished(folder: Path) -> dict[str, Any] | None:
    """The `training.json` of a whole checkpoint, or None when there is none. Raises ConfigError when it is damaged."""
    return _read_json(folder / _MARK)


def start_weights(folder: Path) -> Start:
    """The identity of the weights in a folder: by `training.json`, else `model.json`, else the weights' bytes."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model: {folder} is no model in Hugging Face format (no config.json there)")
    if trained := finished(folder):
        return Start(trained["policy"], trained["weights_sha256"], trained.get("start", {}).get("license"))
    described = _read_json(folder / "model.json") or {}
    sha256 = described.get("sha256") or weights_sha256(folder)
    policy = described.get("policy") or f"{folder.resolve().name}@{sha256[:12]}"
    return Start(policy, sha256, described.get("license"))


def weights_sha256(folder: Path) -> str:
    """The sha256 of `model.safetensors`, or of all shards one after the other. Raises ConfigError without weights."""
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
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
    """Holds the unfinished training for this process alone. Raises UserError when another process is at it."""
    plan.partial.mkdir(parents=True, exist_ok=True)
    with (plan.partial / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{plan.partial}: another process is at this training; wait for it or stop it") from None
        # `dataengine gc` looks here: a training needs its snapshot until it has ended.
        _write_json(plan.partial / _PLANNED, {"key": plan.key, "snapshot": plan.manifest.id})
        yield


def save_state(plan: Plan, step: int, tensors: dict[str, Any], progress: dict[str, Any]) -> None:
    """Keeps what resuming at `step` needs, whole or not at all, and then removes older states."""
    import torch

    new = plan.partial / f"state-{step:08d}"
    making = plan.partial / "state.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    torch.save(tensors, making / "tensors.pt")
    _write_json(making / "progress.json", {"key": plan.key, "step": step, **progress})
    _publish(making, new)
    for old in plan.partial.glob("state-*"):
        if old != new:
            shutil.rmtree(old)


def load_state(plan: Plan, device: "torch.device") -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest state as (tensors, progress), or None at the start. Raises UserError for one that cannot be used."""
    import pickle

    import torch

    states = sorted(plan.partial.glob("state-*"))
    if not states:
        return None
    remedy = f"remove {plan.partial} to start again"
    try:
        progress = json.loads((states[-1] / "progress.json").read_bytes())
        tensors = torch.load(states[-1] / "tensors.pt", map_location=device, weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
        raise UserError(f"{states[-1]}: damaged ({type(e).__name__}); {remedy}") from None
    if progress.get("key") != plan.key:
        raise UserError(f"{states[-1]}: is of another training (other settings, snapshot or start weights); {remedy}")
    return tensors, progress


def publish_checkpoint(plan: Plan, model: Any, tokenizer: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Writes the finished checkpoint and removes the unfinished one; returns `training.json`, with the policy.

    All files are on disk before `training.json` is, and that before the folder gets its name.
    """
    making = plan.partial / "checkpoint.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    model.save_pretrained(making)
    tokenizer.save_pretrained(making)
    shutil.copy(plan.partial / "metrics.jsonl", making / "metrics.jsonl")
    sha256 = weights_sha256(making)
    training = {
        "name": plan.config.name,
        "policy": f"{plan.config.name}@{sha256[:12]}",
        "key": plan.key,
        "snapshot": plan.manifest.id,
        "snapshot_hash": plan.manifest.logical_hash,
        "start": {name: value for name, value in asdict(plan.start).items() if value is not None},
        "config": plan.config.model_dump(mode="json"),
        "weights_sha256": sha256,
        **result,
    }
    (making / "README.md").write_text(_model_card(training, plan.manifest), encoding="utf-8")
    _sync_files(making)
    _write_json(making / _MARK, training)
    _publish(making, plan.folder)
    clean_up(plan)
    return training


def clean_up(plan: Plan) -> None:
    """Removes what an unfinished training left, once its checkpoint is whole."""
    shutil.rmtree(plan.partial, ignore_errors=True)


def _model_card(training: dict[str, Any], manifest: Manifest) -> str:
    """The card: front matter in the hub's terms, then what was trained on what. No path of this machine is in it."""
    config, losses = training["config"], training["losses"]
    validation = losses["validation"]
    held_out = "no held-out rows" if validation is None else f"{validation:.4f} on held-out rows"
    return (
        f"---\n{yaml.safe_dump(_front_matter(training, manifest), sort_keys=False)}---\n\n"
        f"# {training['policy']}\n\n"
        f"Supervised fine-tuning of all weights of `{training['start']['policy']}` on the snapshot "
        f"`{training['snapshot']}`, logical hash `{training['snapshot_hash']}`.\n\n"
        f"In its warehouse `dataengine snapshot show {training['snapshot']}` tells what it holds and how it was made, "
        f"and `dataengine explain ID --snapshot {training['snapshot']}` where a row of it is from.\n\n"
        f"| | |\n|---|---|\n"
        f"| rows | {training['rows']['train']:,} |\n"
        f"| optimizer steps | {training['steps']:,} of {config['batch_size']} rows, {config['epochs']} epochs |\n"
        f"| labelled tokens seen | {training['labelled_tokens']:,} |\n"
        f"| learning rate | {config['learning_rate']:g}, cosine to {config['final_learning_rate']:g} |\n"
        f"| loss, nats per token | {losses['first']:.4f} at the first step, {losses['last_epoch']:.4f} over the last "
        f"epoch, {held_out} |\n\n"
        f"`training.json` says the rest: settings, hashes, versions. `metrics.jsonl` holds every step.\n"
    )


def _front_matter(training: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """What the hub reads of a card; names cannot have an `@` there, so the version and the hashes stand beside them."""
    start = training["start"]
    languages = [code for code in manifest.counts.get("language", {}) if len(code) in (2, 3)]
    return {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": start["policy"].partition("@")[0],
        "base_model_relation": "finetune",
        "base_model_sha256": start["sha256"],
        "datasets": [manifest.name],
        "snapshot": training["snapshot"],
        "snapshot_hash": training["snapshot_hash"],
        **({"license": start["license"].lower()} if "license" in start else {}),
        **({"language": languages} if languages else {}),
        "tags": ["dataengine", "sft"],
    }


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
