"""The settings of each trainer and the presets, as text: what may stand in a training file."""

import math
from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from schemas.errors import ConfigError
from trainers.config import DistillConfig, SftConfig
from trainers.evaluate import EvaluateConfig
from trainers.grpo_config import GrpoConfig
from trainers.presets import PRESETS

CONFIGS: dict[str, type[BaseModel]] = {
    "sft": SftConfig,
    "distill": DistillConfig,
    "grpo": GrpoConfig,
    "evaluate": EvaluateConfig,
}


def list_fields(trainer: str) -> Iterator[str]:
    """Lines with the trainer's settings, their defaults and meaning. Raises ConfigError for one that there is not."""
    if trainer not in CONFIGS:
        raise ConfigError(f"there is no trainer {trainer!r} (there are: {', '.join(CONFIGS)})")
    yield from _fields(CONFIGS[trainer], "")


def list_presets() -> Iterator[str]:
    """Lines with the presets, by trainer, and their values."""
    for name, preset in PRESETS.items():
        yield f"{name}   trainers {preset.trainer}: {preset.about}"
        for setting, value in preset.values.items():
            yield f"    {setting}: {_yaml(value)}"


def _fields(model: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        yield f"{indent}{name}:" + ("" if default is PydanticUndefined else f" {_yaml(default)}")
        if field.description:
            yield f"{indent}    {field.description}"
        for part in get_args(field.annotation) or (field.annotation,):
            others = {NoneType, part}
            if isinstance(part, type) and issubclass(part, BaseModel) and set(get_args(field.annotation)) <= others:
                yield from _fields(part, f"{indent}    ")


def _yaml(value: Any) -> str:
    """A value as it is written in a training file, on one line."""
    if not isinstance(value, dict):  # whose keys would become text
        value = to_jsonable_python(value)
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
