"""What a training file may say, and how it is read: YAML, then `key=value` overrides."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError
from schemas.mix import NAME

SNAPSHOT_ID = NAME.removesuffix("$") + r"@[1-9][0-9]*$"


class SftConfig(BaseModel):
    """Supervised fine-tuning of all weights on one snapshot. Relative paths start at the current folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME, description="the checkpoint's name: letters, digits, `.`, `_` and `-`")
    warehouse: Path = Field(description="the warehouse's folder")
    snapshot: str = Field(
        pattern=SNAPSHOT_ID, description="the snapshot to learn from: name@version, e.g. cold-start@1"
    )
    model: Path = Field(description="folder with the start weights in Hugging Face format")
    output: Path = Field(description="folder that gets the checkpoint, as <name>-<key>")

    epochs: int = Field(default=2, ge=1, description="how often every training row is seen")
    batch_size: int = Field(default=16, ge=1, description="rows per optimizer step, at most")
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False, description="peak, reached after the warmup")
    final_learning_rate: float = Field(
        default=5e-6, ge=0, allow_inf_nan=False, description="where the cosine ends, at the last step"
    )
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="share of all steps with a linear warmup")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="AdamW's; on matrices only")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's two decay rates, in [0, 1)")
    max_grad_norm: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="the gradient's norm is clipped here"
    )
    max_length: int = Field(
        default=2048, ge=8, description="tokens of a row, from the prompt's first to the reply's end"
    )
    overlong: Literal["error", "drop", "truncate"] = Field(
        default="error",
        description="what becomes of longer rows: refuse to train, leave them out, or cut their end off",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="decides the order of the rows, and dropout where a model has it"
    )

    micro_batch_tokens: int = Field(
        default=1536,
        ge=1,
        description="tokens of one forward pass, padding included; a longer row goes alone. Lower it to save memory: "
        "the result changes by rounding only",
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; none: torch decides")
    save_every: int = Field(default=50, ge=1, description="optimizer steps between two states to resume from")
    log_every: int = Field(default=1, ge=1, description="optimizer steps between two lines of progress")

    @model_validator(mode="after")
    def _sensible(self) -> "SftConfig":
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate:g}, above learning_rate {self.learning_rate:g}; "
                "the cosine goes down: lower it"
            )
        if not all(0 <= b < 1 and math.isfinite(b) for b in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; each must be at least 0 and below 1")
        return self

    def result_settings(self) -> dict[str, Any]:
        """The settings that change the trained weights by more than rounding; they go into the training key."""
        elsewhere = {"warehouse", "snapshot", "model", "output"}
        harmless = {"micro_batch_tokens", "threads", "save_every", "log_every"}
        return self.model_dump(mode="json", exclude=elsewhere | harmless)


def load_sft_config(path: Path, overrides: Sequence[str] = ()) -> SftConfig:
    """The settings in the YAML file at `path`, with `key=value` overrides (values parsed as YAML) on top.

    Raises ConfigError with the file, the line where there is one, the cause and what to do.
    """
    values, lines = _read_yaml(path)
    for override in overrides:
        name, value = _parse_override(override)
        values[name] = value
        lines[name] = override
    try:
        return SftConfig.model_validate(values)
    except ValidationError as e:
        raise ConfigError(_first_problem(e, path, lines)) from None


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The mapping in a YAML file, and the line of each of its keys."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; docs/trainers.md shows one to start from") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from None
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: holds no settings; write one `setting: value` per line")
    return values, {str(k.value): k.start_mark.line + 1 for k, _ in node.value}


def _parse_override(override: str) -> tuple[str, Any]:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"{override!r} is no override; write setting=value, e.g. epochs=1")
    try:
        return name, yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}: the value is not valid YAML; quote it, e.g. {name}='\"...\"'") from None


def _first_problem(error: ValidationError, path: Path, lines: dict[str, Any]) -> str:
    """One line for the first thing pydantic found wrong, and how many more there are."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    place = lines.get(location[0]) if location else None
    where = f"{path}:{place}" if isinstance(place, int) else f"{path}: {place}" if place else f"{path}"
    match problem["type"]:
        case "extra_forbidden":
            text = f"{name!r} is no setting of `sft`; there are: {', '.join(sorted(SftConfig.model_fields))}"
        case "missing":
            text = f"{name} is missing; it is: {SftConfig.model_fields[location[0]].description}"
        case "value_error":
            text = problem["msg"].removeprefix("Value error, ")
        case _:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            text = f"{name} is {problem['input']!r}: {message}"
            field = SftConfig.model_fields.get(location[0])
            text += f" ({field.description})" if field else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {text}{more}"
