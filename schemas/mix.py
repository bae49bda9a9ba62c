"""A mix: which trajectories, under which verdicts, how many of a prompt, split how."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.records import Stage

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class MixSource(BaseModel):
    """One part of a mix: trajectories of a stage that the named checks passed."""

    model_config = ConfigDict(extra="forbid")
    stage: Stage
    where: str | None = Field(default=None, description="a further SQL condition over trajectory_facts")
    require: list[str] = Field(min_length=1, description="checks whose outcome must be `pass` (the policy `rule`)")
    not_failed: list[str] = Field(
        default_factory=list, description="checks that must not have failed; `undecided` is let in"
    )
    max_per_prompt: int | None = Field(default=None, ge=1, description="at most this many rows of a prompt")
    choose: Literal["shortest", "hash"] = Field(
        default="hash", description="which of a prompt's rows stay: the fewest tokens, or by hash of id and seed"
    )
    max_rows: int | None = Field(default=None, ge=1, description="at most this many rows, by hash of the prompt")
    template: str = Field(default="plain", description="the zero-shot prompting template the rows are rendered with")
    pattern: Literal["think", "special_token"] = Field(
        default="think",
        description="reasoning in think tags, or as the R1 report's cold start: "
        "|special_token|<reasoning>|special_token|<summary>",
    )


class Mix(BaseModel):
    """A declared selection; a snapshot is one version of it."""

    model_config = ConfigDict(extra="forbid")
    mix: str = Field(pattern=NAME, description="the snapshot's name")
    description: str = ""
    sources: list[MixSource] = Field(min_length=1)
    validation: float = Field(default=0.0, ge=0.0, lt=1.0, description="share of prompts held out, by salted hash")
    salt: str = Field(default="", description="changes which prompts are held out")
    seed: int = 0

    @model_validator(mode="after")
    def _stages_once(self) -> "Mix":
        stages = [(s.stage, s.where) for s in self.sources]
        if len(set(stages)) != len(stages):
            raise ValueError("two sources name the same stage and condition; merge them")
        return self
