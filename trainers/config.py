"""What a training file may say."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.mix import NAME
from trainers.presets import values_of

SNAPSHOT_ID = NAME.removesuffix("$") + r"@(?:[1-9][0-9]*|[A-Za-z][A-Za-z0-9._-]{0,99})$"


class LoraConfig(BaseModel):
    """Low-rank adapters, which are trained in the place of all weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=16, ge=1, description="rank of the adapters")
    alpha: int = Field(default=32, ge=1, description="what they add is scaled by alpha / r")
    dropout: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False, description="of what the adapters read")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="which layers get one: all linear layers but the output layer, or names such as [q_proj, v_proj]",
    )
    merge: bool = Field(
        default=True,
        description="the checkpoint holds the model with the adapters added to its weights; false: the adapters alone, "
        "in PEFT's format",
    )


class TrainingConfig(BaseModel):
    """What every training has. Relative paths start at the current folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    TRAINER: ClassVar[str]
    """Part of the training key; it changes when the same settings on the same rows come to train other weights."""
    ROWS_OF: ClassVar[str]
    """The kind of snapshot that the trainer learns from."""

    EPOCHS: ClassVar[bool] = False
    SHARDS: ClassVar[bool] = False
    """Whether it can be trained with the weights spread over processes."""
    """Whether the trainer goes through its rows in epochs."""

    name: str = Field(pattern=NAME, description="the checkpoint's name: letters, digits, `.`, `_` and `-`")
    warehouse: Path = Field(description="the warehouse's folder")
    snapshot: str = Field(
        pattern=SNAPSHOT_ID, description="the snapshot to learn from: name@version or name@tag, e.g. cold-start@1"
    )
    model: Path = Field(description="folder with the start weights in Hugging Face format, or a shipped model's name")
    output: Path = Field(description="folder that gets the checkpoint, as <name>-<key>")
    preset: str | None = Field(
        default=None, description="published settings that this file's go over: `trainers presets` lists them"
    )

    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False, description="peak, reached after the warmup")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="AdamW's; on matrices only")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's two decay rates, in [0, 1)")
    max_grad_norm: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="the gradient's norm is clipped here"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="decides the order of the rows, and dropout where a model has it"
    )
    lora: LoraConfig | None = Field(
        default=None, description="train low-rank adapters; `lora: {}` takes their defaults. None: all weights"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of the matrix products; the weights and their updates are fp32"
    )

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU if torch sees one")
    attention: Literal["sdpa", "eager"] = Field(
        default="sdpa", description="transformers' implementation; sdpa takes torch's fastest kernel for the device"
    )
    activation_checkpointing: bool = Field(
        default=False, description="keep a layer's input only and work out the rest again: less memory, more time"
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
    checkpoint_every: int | Literal["epoch"] | None = Field(
        default=None,
        description="optimizer steps between two checkpoints on the way, or `epoch`; none: only the finished one",
    )
    checkpoints_kept: int = Field(default=3, ge=1, description="how many of those are kept, the newest")
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=(), description="where the numbers of metrics.jsonl go too; each is a package of its own"
    )

    def checkpoint_at(self, step: int, last_of_epoch: bool) -> bool:
        """Whether there is a checkpoint on the way after the step (1 is the first)."""
        every = self.checkpoint_every
        return last_of_epoch if every == "epoch" else every is not None and step % every == 0

    @classmethod
    def trainer(cls) -> str:
        """What the trainer is called: its command, and the `trainer` of presets and checkpoints."""
        return cls.TRAINER.partition("-")[0]

    @model_validator(mode="before")
    @classmethod
    def _over_the_preset(cls, given: Any) -> Any:
        try:
            return {**values_of(given["preset"], cls.trainer()), **given} if given.get("preset") else given
        except (ValueError, AttributeError, TypeError):
            return given  # the fields say what is wrong

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, preset: str | None) -> str | None:
        if preset is not None:
            values_of(preset, cls.trainer())
        return preset

    @field_validator("checkpoint_every")
    @classmethod
    def _some_steps(cls, every: int | str | None) -> int | str | None:
        if isinstance(every, int) and every < 1:
            raise ValueError(f"checkpoint_every is {every}; it must be at least 1")
        if every == "epoch" and not cls.EPOCHS:
            raise ValueError("checkpoint_every is 'epoch', and this trainer has none: give a number of steps")
        return every

    @model_validator(mode="after")
    def _betas_in_range(self) -> Self:
        if not all(0 <= b < 1 and math.isfinite(b) for b in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; each must be at least 0 and below 1")
        return self

    def result_settings(self) -> dict[str, Any]:
        """The settings that change the trained weights by more than rounding; they go into the training key."""
        elsewhere = {"warehouse", "snapshot", "model", "output"}
        return self.model_dump(mode="json", exclude=elsewhere | self.harmless())

    @property
    def reads_tables(self) -> bool:
        """Whether the result depends on the warehouse's tables, beside the snapshot's rows."""
        return False

    def harmless(self) -> set[str]:
        """Settings that change the weights by rounding at most."""
        return {
            "activation_checkpointing",
            "attention",
            "checkpoint_every",
            "checkpoints_kept",
            "device",
            "log_every",
            "micro_batch_tokens",
            "preset",
            "save_every",
            "threads",
            "trackers",
        }


class Curriculum(BaseModel):
    """Easy rows first, within each epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["length", "solve_rate"] = Field(
        description="what is easy: a short reply, or a prompt that most of the replies to it in the warehouse solve"
    )
    stages: int = Field(
        default=10,
        ge=2,
        description="parts of an epoch, of as many batches each, from easy to hard; within a part the order is as "
        "without a curriculum",
    )
    unrated: Literal["error", "last"] = Field(
        default="error",
        description="rows whose prompt has no solve rate, since no verifier decided: refuse to train, or take them as "
        "the hardest",
    )


class SftConfig(TrainingConfig):
    """Supervised fine-tuning on one snapshot."""

    TRAINER: ClassVar[str] = "sft-1"
    ROWS_OF: ClassVar[str] = "samples"
    EPOCHS: ClassVar[bool] = True
    SHARDS: ClassVar[bool] = True

    epochs: int = Field(default=2, ge=1, description="how often every training row is seen")
    batch_size: int = Field(default=16, ge=1, description="rows per optimizer step, at most")
    final_learning_rate: float = Field(
        default=5e-6, ge=0, allow_inf_nan=False, description="where the cosine ends, at the last step"
    )
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1, description="share of all steps with a linear warmup")
    max_length: int = Field(
        default=2048, ge=8, description="tokens of a row, from the prompt's first to the reply's end"
    )
    overlong: Literal["error", "drop", "truncate"] = Field(
        default="error",
        description="what becomes of longer rows: refuse to train, leave them out, or cut their end off",
    )
    curriculum: Curriculum | None = Field(default=None, description="easy rows first; none: in random order")

    @property
    def reads_tables(self) -> bool:
        """Whether the result depends on the warehouse's tables, beside the snapshot's rows."""
        return self.curriculum is not None and self.curriculum.by == "solve_rate"

    @model_validator(mode="after")
    def _cosine_goes_down(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate:g}, above learning_rate {self.learning_rate:g}; "
                "the cosine goes down: lower it"
            )
        return self


class DistillConfig(SftConfig):
    """Supervised fine-tuning of a student on what a teacher wrote."""

    TRAINER: ClassVar[str] = "distill-1"

    teachers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="the policies whose replies may be learnt, as the snapshot's rows name them; none: those of one "
        "policy, whichever",
    )

    def harmless(self) -> set[str]:
        """Settings that change the weights by rounding at most."""
        return super().harmless() | {"teachers"}
