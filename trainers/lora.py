"""Low-rank adapters (LoRA, arXiv 2106.09685): put into a model, kept in PEFT's format, merged at the end."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError
from trainers.config import LoraConfig

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
_ADAPTER = "default"
_PREFIX = "base_model.model."


def add_adapters(model: Any, settings: LoraConfig, seed: int) -> None:
    """Puts adapters into the model's linear layers, in place; from then on nothing else of it is trained.

    The model stays what it was to its users, and computes the same as before until the first update. Raises ConfigError
    without peft, and for `target_modules` that are no linear layers of it.
    """
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("lora: needs the package peft: pip install 'peft>=0.21,<1'")
    import peft
    import torch

    if not isinstance(settings.target_modules, str):
        _refuse_others(model, settings.target_modules)
    # The matrices A are random, so that the seed decides them.
    torch.manual_seed(seed)
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=(
            settings.target_modules if isinstance(settings.target_modules, str) else [*settings.target_modules]
        ),
    )
    peft.inject_adapter_in_model(adapters, model, _ADAPTER)


def _refuse_others(model: Any, names: tuple[str, ...]) -> None:
    """Raises ConfigError for names that are none of the model's linear layers, or its output layer."""
    from torch import nn

    output = model.get_output_embeddings()
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not output]
    for name in names:
        meant = [n for n, _ in model.named_modules() if f".{n}".endswith(f".{name}")]
        if not meant or not set(meant) <= set(linear):
            known = ", ".join(dict.fromkeys(n.rpartition(".")[2] for n in linear))
            raise ConfigError(f"lora.target_modules: {name!r} is no layer that gets an adapter (there are: {known})")


def save_model(
    model: Any, folder: Path, base: str, *, merge: bool, weights: "dict[str, torch.Tensor] | None" = None
) -> None:
    """Writes the model in Hugging Face format.

    One with adapters is written with these added to its weights (`merge`), or as the adapters alone in PEFT's format,
    where `base` is the name of the model that they belong to. `weights` are the model's, where it holds a part only.
    """
    if not hasattr(model, "peft_config"):
        model.save_pretrained(folder, state_dict=weights)
    elif merge:
        model.save_pretrained(folder, state_dict=merged_weights(model))
    else:
        _save_adapters(model, folder, base)


def _save_adapters(model: Any, folder: Path, base: str) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # "auto" would ask the hub whether the vocabulary of the base is another.
    tensors = get_peft_model_state_dict(model, adapter_name=_ADAPTER, save_embedding_layers=False)
    save_file({_PREFIX + name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    adapters = model.peft_config[_ADAPTER]
    adapters.base_model_name_or_path = base
    adapters.inference_mode = True
    adapters.save_pretrained(folder)
    adapters.inference_mode = False


def load_adapters(model: Any, folder: Path) -> None:
    """Takes the adapters' weights from a folder that `save_model` wrote. Raises ConfigError when they do not fit."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = {name.removeprefix(_PREFIX): t for name, t in load_file(folder / WEIGHTS).items()}
    report: Any = set_peft_model_state_dict(model, tensors, adapter_name=_ADAPTER)
    missing = [name for name in report.missing_keys if ".lora_" in name]
    if missing or report.unexpected_keys:
        raise ConfigError(f"{folder}: holds no adapters for this model, e.g. {(missing or report.unexpected_keys)[0]}")


def merged_weights(model: Any) -> "dict[str, torch.Tensor]":
    """The weights of a plain model that computes the same, by its names: W + alpha / r * B A where there is an adapter.

    The model stays as it is: adding the adapters in place and taking them away again would leave it rounded.
    """
    tensors = {name: t for name, t in model.state_dict().items() if ".lora_" not in name}
    for name, layer in _adapted(model):
        weight = f"{name}.base_layer.weight"
        tensors[weight] = tensors[weight] + layer.get_delta_weight(_ADAPTER).detach()
    return {name.replace(".base_layer.", "."): t for name, t in tensors.items()}


def _adapted(model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]
