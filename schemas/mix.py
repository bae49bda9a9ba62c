"""A mix: which trajectories, under which verdicts, how many of a prompt, split how."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.records import Stage

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


Policy = Literal["rule", "judge", "rule or judge", "rule and judge", "human"]


class Threshold(BaseModel):
    """The scores with which a check passes, in place of its own threshold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    at_least: float | None = Field(default=None, description="the lowest score that passes")
    at_most: float | None = Field(default=None, description="the highest score that passes")

    @model_validator(mode="before")
    @classmethod
    def _directed(cls, value: Any) -> Any:
        if isinstance(value, cls) or (isinstance(value, dict) and value):
            return value
        raise ValueError("a threshold says which way: {at_least: 0.9}, {at_most: 0.2} or both")

    @model_validator(mode="after")
    def _passable(self) -> "Threshold":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a threshold says which way: {at_least: 0.9}, {at_most: 0.2} or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least is {self.at_least}, above at_most, which is {self.at_most}: nothing passes")
        return self

    @property
    def text(self) -> str:
        """As it stands in a mix: `at_least 0.9`."""
        bounds = (("at_least", self.at_least), ("at_most", self.at_most))
        return ", ".join(f"{name} {value:g}" for name, value in bounds if value is not None)


class MixSource(BaseModel):
    """One part of a mix: trajectories of a stage that the named checks passed."""

    model_config = ConfigDict(extra="forbid")
    stage: Stage
    where: str | None = Field(default=None, description="a further SQL condition over trajectory_facts")
    require: list[str] = Field(default_factory=list, description="checks whose outcome must be `pass`")
    not_failed: list[str] = Field(
        default_factory=list, description="checks that must not have failed; `undecided` is let in"
    )
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict,
        description="by check of `require` or `not_failed`: the stored score decides between pass and fail",
    )
    policy: Policy | None = Field(
        default=None,
        description="whose word makes a reply right: the prompt's verifier, the judge, either, both, or people",
    )
    judge: str | None = Field(default=None, description="the judge that the policy asks")
    min_kappa: float = Field(
        default=0.6,
        ge=-1,
        le=1,
        description="the least that the judge's calibration may vouch for: the low end of its interval; ours",
    )
    max_per_prompt: int | None = Field(default=None, ge=1, description="at most this many rows of a prompt")
    choose: Literal["shortest", "diverse", "hash"] = Field(
        default="hash",
        description="which of a prompt's rows stay: those with the fewest tokens, those least like each other, or by "
        "hash of id and seed",
    )
    max_rows: int | None = Field(default=None, ge=1, description="at most this many rows, by hash of the prompt")
    template: str = Field(default="plain", description="the zero-shot prompting template the rows are rendered with")
    pattern: Literal["think", "special_token"] = Field(
        default="think",
        description="reasoning in think tags, or as the R1 report's cold start: "
        "|special_token|<reasoning>|special_token|<summary>",
    )

    @property
    def checks(self) -> list[str]:
        """The checks whose verdicts it looks at, apart from the prompts' verifiers."""
        people = ["human"] if self.policy == "human" else []
        return list(dict.fromkeys([*self.require, *self.not_failed, *([self.judge] if self.judge else []), *people]))

    @model_validator(mode="after")
    def _somebody_decides(self) -> "MixSource":
        if not self.require and self.policy is None:
            raise ValueError("nothing decides what is taken; name checks to `require`, or a `policy`")
        asks = self.policy is not None and "judge" in self.policy
        if asks != (self.judge is not None):
            raise ValueError(
                "name the `judge` that the policy asks" if asks else "`judge` is for a policy that asks one"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_of_its_checks(self) -> "MixSource":
        for check in self.thresholds:
            if check not in (*self.require, *self.not_failed):
                raise ValueError(f"thresholds names {check}, which neither require nor not_failed does")
        return self


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
