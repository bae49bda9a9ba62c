"""What a file of `trainers grpo` may say."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.recipe import EndpointEngine, VllmEngine
from trainers.config import TrainingConfig
from trainers.objective import Form
from trainers.rewards import RewardSpec


class Evaluation(BaseModel):
    """How held-out prompts are tried before, during and after."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(default=50, ge=1, description="optimizer steps between two evaluations")
    samples: int = Field(default=4, ge=1, description="k, samples per prompt")
    # Temperature and top-p as in the R1 report's evaluations
    temperature: float = Field(default=0.6, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=0.95, gt=0, le=1)
    prompts: int | None = Field(default=None, ge=1, description="at most so many of the held-out prompts")


class Alarms(BaseModel):
    """When a training that learns nothing is noticed; each looks at one rollout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rollouts: int = Field(default=3, ge=1, description="how many rollouts in a row have to be so")
    no_spread: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of groups whose rewards are all the same, so that they teach nothing",
    )
    truncated: float = Field(default=0.9, gt=0, le=1, description="share of replies cut at max_tokens")
    shrunk: float = Field(
        default=0.1, ge=0, lt=1, description="mean length of the replies, as a share of that of the first rollout"
    )
    stop: bool = Field(default=False, description="end the training instead of saying so only; its state is kept")


class GrpoConfig(TrainingConfig):
    """Reinforcement learning by group relative policy optimisation on the prompts of one snapshot."""

    TRAINER: ClassVar[str] = "grpo-1"
    ROWS_OF: ClassVar[str] = "prompts"

    # R1 report, section 2.2, unless it says "ours".
    learning_rate: float = Field(default=3e-6, gt=0, allow_inf_nan=False, description="constant after the warmup")
    warmup_steps: int = Field(default=0, ge=0, description="steps over which the rate rises linearly; ours")
    steps: int = Field(default=100, ge=1, description="optimizer steps in all; ours")
    prompts_per_step: int = Field(default=32, ge=1, description="questions of one optimizer step")
    group_size: int = Field(default=16, ge=2, description="G, replies sampled of each question")
    steps_per_rollout: int = Field(
        default=16,
        ge=1,
        description="minibatches: optimizer steps on the replies of one rollout, which holds prompts_per_step * "
        "group_size times as many. 1: every step is on-policy",
    )

    form: Form = Field(
        default="sequence",
        description="`sequence`: ratio and KL of whole replies, as the R1 report prints it; `token`: per token, the "
        "mean over each reply, as in DeepSeekMath",
    )
    clip: float = Field(
        default=0.2, gt=0, allow_inf_nan=False, description="eps of the clipped ratio; unpublished for R1-Zero, so ours"
    )
    kl_coefficient: float = Field(default=0.001, ge=0, allow_inf_nan=False, description="beta; 0: no reference model")
    reference_every: int | None = Field(
        default=400, ge=1, description="steps after which the reference model becomes the current one; null: never"
    )

    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="of sampling, and of the log-probabilities in the objective. Top-p is 1: below it the ratio would "
        "be biased",
    )
    max_tokens: int = Field(default=1024, ge=1, description="budget of a reply; ours, the report has 32,768")
    later_max_tokens: dict[int, int] = Field(
        default_factory=dict, description="{step: budget} from that step on; the report: {8200: 65536}"
    )
    template: Literal["plain", "think", "reflect", "think_first", "r1_zero"] = Field(
        default="r1_zero", description="how a prompt is put to the model"
    )
    prefill: str = Field(default="", description="how every reply begins, such as <think>; it is not learnt")
    slots: int = Field(default=64, ge=1, description="replies that are sampled at once; without `engine`")
    engine: Annotated[VllmEngine | EndpointEngine, Field(discriminator="kind")] | None = Field(
        default=None,
        description="vLLM to sample from instead of this process; it is handed the weights before each rollout. "
        "{kind: vllm, python: ...} is started, {kind: endpoint, url: ..., model: ...} runs already",
    )
    max_logprob_gap: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="nats by which an engine's log-probabilities of known tokens may be off ours, on average; beyond "
        "it the engine is refused",
    )

    rewards: list[RewardSpec] = Field(
        default=[RewardSpec(name="accuracy"), RewardSpec(name="format")],
        min_length=1,
        description="summed, each by its weight: accuracy, format, language, or module:function",
    )
    alarms: Alarms = Field(default_factory=Alarms)
    evaluation: Evaluation | None = Field(
        default=None, description="tries the snapshot's held-out prompts; null: they are left alone"
    )

    @model_validator(mode="before")
    @classmethod
    def _engine_of_the_model(cls, given: Any) -> Any:
        engine = given.get("engine") if isinstance(given, dict) else None
        if not isinstance(engine, dict) or engine.get("kind") != "vllm":
            return given
        return {**given, "engine": {"model": str(Path(given.get("model") or "")), **engine}}

    @model_validator(mode="after")
    def _no_other_model(self) -> Self:
        engine = self.engine
        if isinstance(engine, VllmEngine) and (engine.model != str(self.model) or engine.revision):
            raise ValueError("engine: it samples the weights in training; leave out its model, checkpoint and revision")
        return self

    @model_validator(mode="after")
    def _whole_rollouts(self) -> Self:
        if self.kl_coefficient and self.reference_every and self.reference_every % self.steps_per_rollout:
            raise ValueError(
                f"reference_every {self.reference_every} is no multiple of steps_per_rollout {self.steps_per_rollout}: "
                "the reference would change in the middle of a rollout"
            )
        if any(step < 0 or budget < 1 for step, budget in self.later_max_tokens.items()):
            raise ValueError("later_max_tokens: steps are 0 or more, budgets 1 or more")
        return self

    def budget(self, step: int) -> int:
        """The budget of replies that are sampled at a step, 0 the first."""
        reached = [begins for begins in self.later_max_tokens if begins <= step]
        return self.later_max_tokens[max(reached)] if reached else self.max_tokens

    def harmless(self) -> set[str]:
        """Settings that change no weights."""
        return super().harmless() | {"slots", "alarms", "evaluation", "engine", "max_logprob_gap"}

    def result_settings(self) -> dict[str, Any]:
        """As of every training. That vLLM samples is one of them, since it draws others; where it runs is none."""
        return super().result_settings() | ({"sampled_by": "vllm"} if self.engine else {})
