"""A mix: which rows, by whose word, how many of a prompt, split how. Its rows are samples, pairs, labels or prompts."""

from collections.abc import Hashable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from schemas.records import Stage

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


Policy = Literal["rule", "judge", "rule or judge", "rule and judge", "human"]
RowKind = Literal["samples", "pairs", "labels", "prompts"]
Show = Literal["answer", "whole"]
_SHOWN = "the final answer alone, or the whole reply with its reasoning in think tags"


class Threshold(BaseModel):
    """The scores with which a check passes, in place of its own threshold."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
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


class Target(BaseModel):
    """How much of a mix a source is to be: in rows, or as its share of all tokens that are learnt."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    rows: int | None = Field(default=None, ge=1, description="rows, and so its proportion to the other sources")
    share_of_tokens: float | None = Field(default=None, gt=0, le=1, description="of the completion tokens of the mix")

    @model_validator(mode="after")
    def _measured(self) -> "Target":
        if (self.rows is None) == (self.share_of_tokens is None):
            raise ValueError("a target is either {rows: 1000} or {share_of_tokens: 0.2}")
        return self

    @property
    def unit(self) -> Literal["rows", "tokens"]:
        """What it counts."""
        return "tokens" if self.rows is None else "rows"


class ChatTemplateCheck(BaseModel):
    """What every row of a mix has to be under a tokenizer's chat template: whole, and not too long."""

    model_config = ConfigDict(extra="forbid")
    tokenizer: str = Field(
        min_length=1, description="a folder with a tokenizer in Hugging Face format, or a shipped model's name"
    )
    max_length: int | None = Field(
        default=None, ge=8, description="tokens of a row, from the prompt's first to the reply's end"
    )
    overlong: Literal["error", "drop"] = Field(
        default="error", description="what becomes of longer rows: refuse the mix, or leave them out"
    )

    @model_validator(mode="after")
    def _drops_what_is_over_something(self) -> "ChatTemplateCheck":
        if self.overlong == "drop" and self.max_length is None:
            raise ValueError("overlong is for rows longer than `max_length`; name it")
        return self


class _Source(BaseModel):
    """One part of a mix."""

    model_config = ConfigDict(extra="forbid", strict=True)
    max_rows: int | None = Field(default=None, ge=1, description="at most this many rows, drawn by hash")
    template: str = Field(default="plain", description="the zero-shot prompting template the rows are rendered with")


class _Replies(_Source):
    """One part of a mix whose rows hold replies."""

    stage: Stage | None = Field(default=None, description="of its replies; left out: any but eval")
    where: str | None = Field(default=None, description="a SQL condition over trajectory_facts")
    require: list[str] = Field(default_factory=list, description="checks whose outcome must be `pass`")
    not_failed: list[str] = Field(
        default_factory=list, description="checks that must not have failed; `undecided` is let in"
    )
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict,
        description="by check of `require` or `not_failed`: the stored score decides between pass and fail",
    )
    judge: str | None = Field(default=None, description="the judge whose word counts")
    min_kappa: float = Field(
        default=0.6,
        ge=-1,
        le=1,
        description="the least that the judge's calibration may vouch for: the low end of its interval; ours",
    )
    max_per_prompt: int | None = Field(default=None, ge=1, description="at most this many rows of a prompt")

    @property
    def checks(self) -> list[str]:
        """The checks whose verdicts on single replies it looks at, apart from the prompts' verifiers."""
        return list(dict.fromkeys([*self.require, *self.not_failed]))

    @model_validator(mode="after")
    def _thresholds_of_its_checks(self) -> "_Replies":
        for check in self.thresholds:
            if check not in self.checks:
                raise ValueError(f"thresholds names {check}, which neither require nor not_failed does")
        return self


class MixSource(_Replies):
    """One part of a mix: trajectories of a stage, or of a condition, that the named checks passed."""

    policy: Policy | None = Field(
        default=None,
        description="whose word makes a reply right: the prompt's verifier, the judge, either, both, or people",
    )
    target: Target | None = Field(
        default=None, description="how much of the mix it is to be: {rows: N} or {share_of_tokens: S}"
    )
    max_epochs: float = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="where its rows do not reach the target, the most that each of them may weigh",
    )
    other_prompts: bool = Field(default=False, description="only prompts of which no earlier source takes a row")
    choose: Literal["shortest", "diverse", "hash"] = Field(
        default="hash",
        description="which of a prompt's rows stay: those with the fewest tokens, those least like each other, or by "
        "hash of id and seed",
    )
    pattern: Literal["think", "special_token"] = Field(
        default="think",
        description="reasoning in think tags, or as the R1 report's cold start: "
        "|special_token|<reasoning>|special_token|<summary>",
    )

    @property
    def checks(self) -> list[str]:
        """The checks whose verdicts it looks at, apart from the prompts' verifiers."""
        people = ["human"] if self.policy == "human" else []
        return list(dict.fromkeys([*super().checks, *([self.judge] if self.judge else []), *people]))

    @model_validator(mode="after")
    def _somebody_decides(self) -> "MixSource":
        if self.stage is None and not self.where:
            raise ValueError("say which replies: name a `stage`, a condition in `where`, or both")
        if not self.require and self.policy is None:
            raise ValueError("nothing decides what is taken; name checks to `require`, or a `policy`")
        asks = self.policy is not None and "judge" in self.policy
        if asks != (self.judge is not None):
            raise ValueError(
                "name the `judge` that the policy asks" if asks else "`judge` is for a policy that asks one"
            )
        if self.max_epochs > 1 and self.target is None:
            raise ValueError("max_epochs is for a source with a `target`")
        return self


class PairSource(_Replies):
    """One part of a mix of pairs: two replies to a prompt, of which one was found better."""

    check: Literal["imported", "human"] | None = Field(
        default=None, description="imported: what the file said that the pairs came from; human: what people prefer"
    )
    policy: Literal["rule"] | None = Field(
        default=None, description="one passed the prompt's verifier and the other failed it"
    )
    balanced: bool = Field(
        default=True, description="of pairs of like difference in length as many where the longer is chosen as not"
    )
    show: Show = Field(default="answer", description=_SHOWN)

    @model_validator(mode="after")
    def _one_decides(self) -> "PairSource":
        if sum(word is not None for word in (self.judge, self.check, self.policy)) != 1:
            raise ValueError(
                "say who tells the better one: either `judge: NAME`, `check: imported`, `check: human` or "
                "`policy: rule`"
            )
        return self


class LabelSource(_Replies):
    """One part of a mix of labels: single replies with somebody's yes or no."""

    check: str | None = Field(default=None, description="the check whose pass is true and whose fail is false")
    policy: Literal["human"] | None = Field(default=None, description="what people said")
    show: Show = Field(default="whole", description=_SHOWN)

    @property
    def labelled_by(self) -> str:
        """The check whose verdict is the label."""
        return self.judge or self.check or "human"

    @property
    def checks(self) -> list[str]:
        """The checks whose verdicts it looks at: those that it asks for, and the one that gives the label."""
        return list(dict.fromkeys([*super().checks, self.labelled_by]))

    @model_validator(mode="after")
    def _one_decides(self) -> "LabelSource":
        if self.stage is None and not self.where:
            raise ValueError("say which replies: name a `stage`, a condition in `where`, or both")
        if sum(word is not None for word in (self.judge, self.check, self.policy)) != 1:
            raise ValueError("say whose word is the label: either `judge: NAME`, `check: NAME` or `policy: human`")
        return self


class PromptSource(_Source):
    """One part of a prompt set: a domain's prompts, checked by rule or ranked by a reward model."""

    domain: str = Field(min_length=1)
    verifiers: list[str] = Field(
        default_factory=list,
        description="only prompts that one of these can verify; left out: prompts to be ranked by a reward model",
    )
    where: str | None = Field(
        default=None,
        description="a further SQL condition over prompts_current, with answer_form, options, solve_rate and n",
    )
    stage: Stage | None = Field(default=None, description="the attempts that the solve rate is counted on")
    solve_rate: Threshold | None = Field(
        default=None, description="of the replies that the verifier passed or failed the share that it passed"
    )

    @model_validator(mode="after")
    def _rate_can_be_told(self) -> "PromptSource":
        if self.solve_rate is None:
            return self
        if self.stage is None or not self.verifiers:
            raise ValueError("a solve_rate is what `verifiers` said of the attempts of a `stage`; name both")
        for bound in (self.solve_rate.at_least, self.solve_rate.at_most):
            if bound is not None and not 0 <= bound <= 1:
                raise ValueError(f"solve_rate is a share, from 0 to 1, and not {bound:g}")
        return self


class _Mixed(BaseModel):
    """A declared selection; a snapshot is one version of it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    TOLD_APART: ClassVar[str]
    mix: str = Field(pattern=NAME, description="the snapshot's name")
    description: str = ""
    validation: float = Field(default=0.0, ge=0.0, lt=1.0, description="share of prompts held out, by salted hash")
    split_by: Literal["cluster", "prompt"] = Field(
        default="cluster",
        description="what stands in one split as a whole: near-duplicate prompts, where they are known, or each prompt",
    )
    salt: str = Field(default="", description="changes which prompts are held out")
    seed: int = 0
    decontaminated: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        min_length=1,
        description="benchmarks, as the check contamination names them: every row was held against each, and is clean",
    )

    def _differ(self, sources: Sequence[Hashable]) -> None:
        if len(set(sources)) != len(sources):
            raise ValueError(f"two sources name the same {self.TOLD_APART}; merge them")


class Mix(_Mixed):
    """A declared selection of samples: prompts with the replies that are to be learnt."""

    TOLD_APART = "stage and condition"
    rows: Literal["samples"] = "samples"
    sources: list[MixSource] = Field(min_length=1)
    scale: int | None = Field(
        default=None,
        ge=1,
        description="for targets: rows, or tokens, in all; left out: as many as the scarcest source allows",
    )
    licenses: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        min_length=1,
        description="the licences of prompts that are let in, as they are written there; left out: any, and none",
    )
    chat_template: ChatTemplateCheck | None = Field(
        default=None, description="every row survives this tokenizer's chat template, and how long it may be"
    )

    @property
    def targets(self) -> list[Target]:
        """Its sources' targets: one for each source, or none at all."""
        return [s.target for s in self.sources if s.target is not None]

    @model_validator(mode="after")
    def _targets_fit(self) -> "Mix":
        if not self.targets:
            if self.scale is not None:
                raise ValueError("scale is for targets: give every source a `target`")
            return self
        if len(self.targets) < len(self.sources):
            lacking = next(i for i, s in enumerate(self.sources, 1) if s.target is None)
            raise ValueError(f"source {lacking} has no target, and others do: give every source one, or none")
        if len({target.unit for target in self.targets}) > 1:
            raise ValueError("targets are all in rows, or all in share_of_tokens")
        shares = sum(target.share_of_tokens or 0 for target in self.targets)
        if self.targets[0].unit == "tokens" and round(abs(shares - 1), 9) > 0.001:
            raise ValueError(f"the shares of tokens sum to {shares:g}; they have to sum to 1, give or take 0.001")
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> "Mix":
        if self.sources[0].other_prompts:
            raise ValueError("other_prompts is for a source that has another before it")
        self._differ([(s.stage, s.where) for s in self.sources if not s.other_prompts])
        return self


class PairMix(_Mixed):
    """A declared selection of pairs, a better and a worse reply each: what a reward model learns preference from."""

    TOLD_APART = "judge, stage and condition"
    rows: Literal["pairs"]
    sources: list[PairSource] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_differ(self) -> "PairMix":
        self._differ([(s.judge, s.check, s.policy, s.stage, s.where) for s in self.sources])
        return self


class LabelMix(_Mixed):
    """A declared selection of replies with a yes or no: what a reward model learns safety from."""

    TOLD_APART = "check, stage and condition"
    rows: Literal["labels"]
    sources: list[LabelSource] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_differ(self) -> "LabelMix":
        self._differ([(s.labelled_by, s.stage, s.where) for s in self.sources])
        return self


class PromptMix(_Mixed):
    """A declared selection of prompts: what reinforcement learning samples from."""

    TOLD_APART = "domain and condition"
    rows: Literal["prompts"]
    sources: list[PromptSource] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_differ(self) -> "PromptMix":
        self._differ([(s.domain, s.where) for s in self.sources])
        return self


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    rows = value.get("rows", "samples") if isinstance(value, dict) else getattr(value, "rows", None)
    return rows if isinstance(rows, str) else None


_BY_ROWS = Discriminator(
    _kind,
    custom_error_type="stated",
    custom_error_message="a mix is a mapping, and its `rows` are samples (the default), pairs, labels or prompts",
)
_Tagged = (
    Annotated[Mix, Tag("samples")]
    | Annotated[PairMix, Tag("pairs")]
    | Annotated[LabelMix, Tag("labels")]
    | Annotated[PromptMix, Tag("prompts")]
)
AnyMix = Annotated[_Tagged, _BY_ROWS]
MixOrName = Annotated[Annotated[str, Tag("name")] | _Tagged, _BY_ROWS]


class MixFile(RootModel[AnyMix]):
    """A mix of any kind of rows, as a file holds it."""
