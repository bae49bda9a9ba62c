"""A recipe: engines, prompt sets and the steps that turn prompts into trajectories, snapshots and checkpoints."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.mix import NAME, MixOrName
from schemas.records import Message, Stage


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Price(_Strict):
    """What an engine costs, in US dollars; for the estimate of `preview` and the account at the end of a run."""

    input: float = Field(default=0.0, ge=0, description="a million prompt tokens")
    output: float = Field(default=0.0, ge=0, description="a million tokens of replies")
    hour: float = Field(default=0.0, ge=0, description="an hour of the engine, all its machines together")

    def of(self, input_tokens: float, output_tokens: float, seconds: float) -> float:
        """The cost of so many tokens that took so many seconds, in US dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6 + self.hour * seconds / 3600


class _Weights(_Strict):
    """An engine that loads weights itself, so that it can sample what a train step made."""

    model: str | None = Field(
        default=None,
        description="`smollm2-135m-instruct`, a folder in Hugging Face format, or, for vllm, a hub id",
    )
    checkpoint: str | None = Field(default=None, description="the train step whose checkpoint is sampled")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("give either `model` or `checkpoint`")
        return self


class EmbeddedEngine(_Weights):
    """A small model on CPU, started and stopped by the run."""

    kind: Literal["embedded"]
    slots: int = Field(default=96, ge=1, le=1024, description="sequences decoded at once")
    max_in_flight: int = Field(default=192, ge=1, description="requests waiting or running at the server")
    timeout: float = Field(default=600.0, gt=0, description="seconds a request may take")
    price: Price | None = None


Guiding = Literal["structured_outputs", "response_format"]


class Guided(_Strict):
    """What a reply must be: one of some texts, or JSON of a schema. Part of a trajectory's key."""

    choice: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    json_schema: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "Guided":
        if (self.choice is None) == (self.json_schema is None):
            raise ValueError("give either `choice` or `json_schema`")
        return self

    def as_json_schema(self) -> dict[str, Any]:
        """The schema; for choices that of an object with the one field `choice`."""
        if self.json_schema is not None:
            return self.json_schema
        field = {"type": "string", "enum": self.choice}
        return {
            "type": "object",
            "properties": {"choice": field},
            "required": ["choice"],
            "additionalProperties": False,
        }

    def value(self, text: str) -> str:
        """The reply's text; a choice that was asked for as an object is taken out of it."""
        if self.choice is None or text in self.choice:
            return text
        try:
            chosen = json.loads(text)["choice"]
        except (ValueError, TypeError, KeyError):
            return text
        return chosen if chosen in self.choice else text


Url = Annotated[str, Field(pattern=r"^https?://")]


class EndpointEngine(_Strict):
    """Any server that speaks the OpenAI chat-completions API."""

    kind: Literal["endpoint"]
    url: Url | Annotated[list[Url], Field(min_length=1)] = Field(
        description="up to and including /v1; several servers of one model share the work"
    )
    model: str = Field(min_length=1)
    revision: str = Field(default="unknown", description="which version of the model the server runs, if you know it")
    api_key_env: str | None = Field(default=None, description="environment variable that holds the key")
    max_in_flight: int = Field(default=256, ge=1, description="requests at one server at once, at most")
    start_in_flight: int = Field(default=32, ge=1, description="... at first; then as many as make it faster")
    timeout: float = Field(default=600.0, gt=0, description="seconds a request may take")
    patience: float = Field(default=120.0, ge=0, description="seconds to wait for servers that are all gone")
    send_seed: bool = Field(default=True, description="some servers refuse or break on a per-request seed")
    prefill: bool = Field(default=True, description="the server can continue a started reply (vLLM, not OpenAI)")
    logprobs: bool = Field(default=False, description="ask for log-probabilities; some servers refuse them")
    guiding: Guiding = Field(
        default="structured_outputs", description="how the server takes `guided`: vLLM's way, or OpenAI's"
    )
    price: Price | None = None
    retries: int = Field(default=4, ge=0, le=20, description="further tries of a request that failed")
    backoff: float = Field(default=0.5, ge=0, description="seconds before the first retry at most; doubles each time")

    @property
    def urls(self) -> list[str]:
        """The addresses, as a list."""
        return [self.url] if isinstance(self.url, str) else self.url


class VllmEngine(_Weights):
    """vLLM, started and stopped by the run; what is left out is vLLM's own default."""

    kind: Literal["vllm"]
    revision: str | None = Field(default=None, description="of a hub id; part of the policy's name")
    python: str | None = Field(default=None, description="the interpreter of vLLM's environment; default: this one")
    tensor_parallel_size: int = Field(default=1, ge=1)
    data_parallel_size: int = Field(default=1, ge=1)
    dtype: str | None = None
    max_model_len: int | None = Field(default=None, ge=1)
    arguments: list[str] = Field(default_factory=list, description="further arguments of `vllm serve`")
    env: dict[str, str] = Field(default_factory=dict, description="environment variables of the server")
    ready_seconds: float = Field(default=1800.0, gt=0, description="how long it may take to come up")
    max_in_flight: int = Field(default=512, ge=1, description="requests at the server at once; it queues them itself")
    timeout: float = Field(default=7200.0, gt=0, description="seconds a request may take")
    send_seed: bool = Field(default=True, description="vLLM on CPU breaks on a per-request seed")
    logprobs: bool = True
    price: Price | None = None


Engine = Annotated[EmbeddedEngine | EndpointEngine | VllmEngine, Field(discriminator="kind")]


class Demonstration(_Strict):
    """A worked example shown before the question."""

    question: str
    reasoning: str = Field(description="what stands between the think tags; empty for an answer without them")
    answer: str = Field(description="the summary with the final answer in its tags")


class Task(_Strict):
    """One reasoning-gym task with its settings."""

    task: str = Field(description="a reasoning-gym dataset")
    name: str | None = Field(default=None, description="the source's name in the tables; default: the task's")
    count: int = Field(ge=1, description="distinct prompts wanted")
    domain: str = "math"
    config: dict[str, Any] = Field(default_factory=dict, description="passed to reasoning-gym")
    demonstrations: list[Demonstration] = Field(default_factory=list)


class ReasoningGymSource(_Strict):
    """Generated tasks with their own scorers."""

    source: Literal["reasoning_gym"]
    seed: int = 0
    tasks: list[Task] = Field(min_length=1)
    exclude: list[str] = Field(default_factory=list, description="prompt sets whose prompts must not occur here")

    @property
    def names(self) -> list[str]:
        """The sources' names in the tables."""
        return [task.name or task.task for task in self.tasks]


class FileSpec(_Strict):
    """A JSONL, JSON or Parquet file, and how its rows are read."""

    path: str
    name: str | None = Field(default=None, description="the source's name in the tables; default: the file's stem")
    layout: str | None = Field(
        default=None, description="the columns of a known data set (gsm8k, alpaca, ...); or none and a `map`"
    )
    map: dict[str, str] = Field(default_factory=dict, description="field: column")
    domain: str | None = Field(default=None, description="of every row; default: the row's own, or general")
    language: str | None = Field(default=None, description="of every row; default: the row's own, or en")
    verifier: str | None = Field(
        default=None, description="for all rows; `none` where no rule compares; default: by the answer's form"
    )
    license: str | None = None
    fill: dict[str, str] = Field(
        default_factory=dict, description="texts for placeholders: {name: Ada} puts Ada where {{name}} stands"
    )

    @property
    def names(self) -> list[str]:
        """The source's name in the tables."""
        return [self.name or Path(self.path).name.split(".")[0]]


class FileSource(FileSpec):
    """The prompts of a file."""

    source: Literal["file"]
    demonstrations: list[Demonstration] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)


class DatasetsSource(FileSpec):
    """The prompts of one split of a data set that the library `datasets` reads (the extra `datasets`)."""

    source: Literal["datasets"]
    path: str = Field(description="an id on the hub, or a folder: of `save_to_disk`, or of Parquet, JSON or CSV files")
    config: str | None = Field(default=None, description="which of the data set's configurations")
    split: str = "test"
    revision: str | None = Field(default=None, description="a commit or tag on the hub; default: the newest")
    file: str | None = Field(
        default=None, description="the name of a file with the same rows, for `trainers evaluate ... data=FOLDER`"
    )
    demonstrations: list[Demonstration] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)


class InlinePrompt(_Strict):
    """A prompt written in the recipe."""

    prompt: str | list[Message]
    reference: str | None = None
    verifier: str | None = None
    language: str = "en"
    aliases: list[str] = Field(default_factory=list, description="other right answers, for `exact`")


class InlineSource(_Strict):
    """Prompts written in the recipe itself."""

    source: Literal["inline"]
    name: str
    domain: str = "general"
    license: str | None = None
    demonstrations: list[Demonstration] = Field(default_factory=list)
    prompts: list[InlinePrompt] = Field(min_length=1)

    @property
    def names(self) -> list[str]:
        """The source's name in the tables."""
        return [self.name]


Source = Annotated[ReasoningGymSource | FileSource | DatasetsSource | InlineSource, Field(discriminator="source")]


Temperature = Annotated[float, Field(ge=0.0, le=5.0)]
Temperatures = Temperature | Annotated[list[Temperature], Field(min_length=1)]


class Sampling(_Strict):
    """Sampling parameters as the OpenAI API names them."""

    temperature: Temperatures = Field(
        default=1.0, description="one for all samples of a prompt, or a list that they take in turn"
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = Field(default=0, description="changes every sample")

    def of(self, index: int) -> dict[str, Any]:
        """The parameters of a prompt's sample number `index`, from 0, as its key holds them."""
        given = self.temperature
        temperature = given[index % len(given)] if isinstance(given, list) else given
        return {"temperature": temperature, "top_p": self.top_p, "seed": self.seed}

    def all_zero(self, samples: int) -> bool:
        """Whether the temperature of so many samples is 0, so that they are one sample."""
        return all(self.of(index)["temperature"] == 0 for index in range(samples))


class JudgeSampling(_Strict):
    """The same for a judge."""

    temperature: Temperatures | None = Field(
        default=None,
        description="one for all votes or draws, or a list that they take in turn; left out it is 0, and 0.7 where "
        "pairs are compared, as draws are to differ; ours",
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int = Field(default=0, description="changes every vote and draw")

    def given(self, temperature: float) -> Sampling:
        """With that temperature where none is set."""
        chosen = temperature if self.temperature is None else self.temperature
        return Sampling(temperature=chosen, top_p=self.top_p, seed=self.seed)


class JudgeSpec(_Strict):
    """A model that is asked for verdicts. Its version holds the prompt file's content, the policies, the decoding."""

    ask: str = Field(
        min_length=1,
        description="correctness, equivalence, safety, helpfulness, thought, preference, or a prompt file's path: "
        "docs/judging.md",
    )
    engine: str | Annotated[list[str], Field(min_length=1)] = Field(description="one, or several that vote")
    sampling: JudgeSampling = Field(default_factory=JudgeSampling)
    max_tokens: int = Field(default=2048, ge=1, description="for the analysis and the verdict together")
    votes: int = Field(
        default=1, ge=1, le=64, description="how often each engine is asked; over half of all votes make a verdict"
    )
    draws: int = Field(
        default=4,
        ge=1,
        le=64,
        description="of pairs: how often each engine compares two answers",
    )
    order: Literal["drawn", "both"] = Field(
        default="drawn",
        description="of pairs: which answer is shown first is drawn anew for each draw; both: in half of the draws the "
        "one and in half the other, as `trainers evaluate` wants it",
    )
    guided: bool = Field(default=True, description="bind the reply to its form; for servers that cannot, false")

    @model_validator(mode="after")
    def _votes_differ(self) -> Self:
        if len(set(self.engines)) < len(self.engines):
            raise ValueError("`engine` names one twice; set `votes` to ask it more than once")
        if self.votes > 1 and self.sampling.given(0.0).all_zero(self.votes):
            raise ValueError(f"{self.votes} votes at temperature 0 are one vote; set sampling.temperature")
        if self.order == "both" and self.draws % 2:
            raise ValueError(f"order: both shows either answer first in half of the draws, and {self.draws} is odd")
        return self

    @property
    def engines(self) -> list[str]:
        """The names of the engines, as a list."""
        return [self.engine] if isinstance(self.engine, str) else self.engine


class Share(_Strict):
    """A random sample, by hash of the trajectory and the judge's version: the same in every run."""

    share: float = Field(gt=0.0, le=1.0)


Scope = Literal["unsettled", "all"] | Share


class CheckSpec(_Strict):
    """A check with settings of its own; plain names mean the defaults."""

    check: str
    params: dict[str, Any] = Field(default_factory=dict)


# Who wrote replies of which nobody says it.
UNKNOWN_POLICY = "imported@unknown"


class _Checked(_Strict):
    checks: list[str | CheckSpec] = Field(default_factory=list)

    @property
    def check_specs(self) -> list[CheckSpec]:
        """The checks, names expanded to specs."""
        return [CheckSpec(check=c) if isinstance(c, str) else c for c in self.checks]


class _Asked(_Checked):
    engine: str
    samples: int = Field(default=1, ge=1, le=4096)
    sampling: Sampling = Field(default_factory=Sampling)
    max_tokens: int = Field(default=1024, ge=1)


class _Sampled(_Asked):
    prompts: str | list[str] = Field(description="prompt sets")
    template: str = Field(default="plain", description="how a prompt is put to the model: docs/recipes.md lists them")

    @property
    def prompt_sets(self) -> list[str]:
        """The names of the prompt sets, as a list."""
        return [self.prompts] if isinstance(self.prompts, str) else self.prompts


Thought = Literal["trivial", "not_trivial"]


class GenerateStep(_Sampled):
    """Sample an engine on prompts and check every reply."""

    kind: Literal["generate"]
    stage: Stage
    only: Thought | None = Field(
        default=None, description="questions that take no thought, or the others: dataengine/curate/trivial.py"
    )
    demonstrations: int = Field(default=0, ge=0, description="how many of the source's demonstrations go first")
    prefill: str = Field(default="", description="start of the reply, given to the model")
    guided: Guided | None = Field(default=None, description="what every reply must be, by guided decoding")


class ImportStep(FileSpec, _Checked):
    """Take the replies of a file as they are, with their prompts, and check every one; no model is asked."""

    kind: Literal["import"]
    stage: Stage = "non_reasoning"
    policy: str = Field(default=UNKNOWN_POLICY, min_length=1, description="who wrote the replies: model@revision")
    max_rows: int | None = Field(default=None, ge=1, description="at most so many rows, by hash: the same in every run")


class RewriteExample(_Strict):
    """A reply and what a person made of it, shown to the rewriter before the reply that it is asked about."""

    prompt: str
    response: str = Field(description="the reply as it was, reasoning in think tags")
    edited: str = Field(description="... and as it was rewritten")
    reference: str | None = None
    language: str = "en"


class RewriteExamples(_Strict):
    """A file of people's edits: rows with the columns of `RewriteExample`."""

    path: str
    count: int = Field(ge=1, description="how many are shown, from the first row on")


class RewriteStep(_Asked):
    """Ask a model to rewrite replies of earlier steps, as new trajectories beside them, and check every one."""

    kind: Literal["rewrite"]
    rewrite: str = Field(description="a shipped rewrite's name, or the path of a prompt file: docs/recipes.md")
    of: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="the generate, import, rewrite and review steps whose replies are rewritten"
    )
    stage: Literal["cold_start", "reasoning", "non_reasoning"] = Field(description="of the rewritten replies")
    require: list[str] = Field(default_factory=list, description="checks that a reply must have passed")
    not_failed: list[str] = Field(
        default_factory=list, description="checks that it must not have failed; `undecided` is let in"
    )
    where: str | None = Field(default=None, description="a further SQL condition over trajectory_facts")
    only: Thought | None = Field(
        default=None, description="questions that take no thought, or the others: dataengine/curate/trivial.py"
    )
    max_per_prompt: int | None = Field(default=None, ge=1, description="at most so many replies to a prompt")
    choose: Literal["shortest", "hash"] = Field(
        default="hash", description="which of them: the fewest tokens, or by the hash that their id is"
    )
    demonstrations: list[RewriteExample] | RewriteExamples = Field(
        default_factory=list, description="rewrites that are shown first"
    )
    prefill: str = Field(default="", description="start of the rewriter's reply, given to the model")

    @property
    def steps(self) -> list[str]:
        """The names of the steps, as a list."""
        return [self.of] if isinstance(self.of, str) else self.of


class _Of(_Strict):
    of: str | Annotated[list[str], Field(min_length=1)] = Field(description="earlier steps whose trajectories it is of")

    @property
    def steps(self) -> list[str]:
        """The names of the steps, as a list."""
        return [self.of] if isinstance(self.of, str) else self.of


class JudgeStep(_Of):
    """Ask a judge about the trajectories of earlier steps."""

    kind: Literal["judge"]
    judge: str = Field(description="one of `judges`")
    scope: Scope = Field(
        default="unsettled",
        description="unsettled: what the prompt's verifier has not passed, or nobody verifies; all; or {share: 0.1}",
    )

    @field_validator("scope", mode="before")
    @classmethod
    def _known_scope(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("unsettled", "all"):
            raise ValueError(f"{value!r} is no scope; there are unsettled, all, and a share as in {{share: 0.1}}")
        return value


class CalibrateStep(_Strict):
    """Ask a judge about cases whose verdict is known, so that mixes may trust it, or may not."""

    kind: Literal["calibrate"]
    judge: str = Field(description="one of `judges`")
    cases: str = Field(
        description="a file of labelled cases: prompt, response, reference, label; of pairs prompt, chosen, rejected"
    )
    map: dict[str, str] = Field(default_factory=dict, description="field: column")


class PairsStep(_Of):
    """Choose pairs of answers to one prompt, to be compared: of two steps one from each, of one step two of its own."""

    kind: Literal["pairs"]
    per_prompt: int = Field(default=1, ge=1, description="at most so many of a prompt, by hash")
    max_length_ratio: float = Field(
        default=2.0, ge=1, description="the longer answer has at most so many times the other's characters; ours"
    )
    contrast: Literal["rule"] | None = Field(
        default=None,
        description="rule: only pairs of which the prompt's verifier passed one answer and failed the other",
    )


class ReviewStep(_Of):
    """Say how far people have looked at the trajectories of earlier steps, and check what they edited."""

    kind: Literal["review"]
    require: list[str] = Field(default_factory=list, description="only those that passed these checks want a look")
    looks: int = Field(default=1, ge=1, description="how many people are to look at each")
    waive: str | None = Field(default=None, min_length=1, description="why nobody has to look, where nobody has to")


class SnapshotStep(_Strict):
    """Make the next version of a mix's snapshot, unless nothing changed."""

    kind: Literal["snapshot"]
    mix: MixOrName = Field(description="a shipped mix's name, a path, or the mix itself")
    if_refused: Literal["stop", "go_on"] = Field(
        default="stop", description="when a judge that the mix goes by is not calibrated, too weak, or silent"
    )


class TrainStep(_Strict):
    """Run a trainer on a snapshot, as a process of its own."""

    kind: Literal["train"]
    trainer: Literal["sft", "distill", "grpo"] = "sft"
    snapshot: str = Field(description="the snapshot step whose snapshot is trained on")
    engine: str = Field(description="the engine whose weights are trained")
    name: str = Field(pattern=NAME, description="the checkpoint's name")
    config: dict[str, Any] = Field(default_factory=dict, description="settings of the trainer: docs/trainers.md")


class EvaluateStep(_Sampled):
    """Sample held-out prompts and score them, as a process of its own."""

    kind: Literal["evaluate"]

    @property
    def check_specs(self) -> list[CheckSpec]:
        """The checks, and `vote`: cons@k counts equal answers."""
        return [*super().check_specs, CheckSpec(check="vote")]


class ReportStep(_Strict):
    """Print funnel, tables and samples, and write the HTML report."""

    kind: Literal["report"]
    evaluations: list[str] = Field(default_factory=list, description="evaluate steps to compare, in order")
    solvable: list[str] = Field(default_factory=list, description="sources the model can do; the rest is shown apart")


Step = Annotated[
    GenerateStep
    | ImportStep
    | RewriteStep
    | PairsStep
    | JudgeStep
    | CalibrateStep
    | ReviewStep
    | SnapshotStep
    | TrainStep
    | EvaluateStep
    | ReportStep,
    Field(discriminator="kind"),
]


# What makes trajectories, and checks them.
MakingStep = GenerateStep | ImportStep | RewriteStep | EvaluateStep
# A judge's name is the check of its verdicts, and so a column's name.
JudgeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
# Kinds of steps whose trajectories may become data; those of `evaluate` are judged at most.
_KEPT = ("generate", "import", "rewrite", "review")


class Recipe(_Strict):
    """What `dataengine run` does, top to bottom."""

    recipe: str = Field(pattern=NAME)
    description: str = ""
    include: list[str] = Field(
        default_factory=list,
        description="recipes that this one builds on, by shipped name or path: their settings come first, and what "
        "stands here goes over them, mapping by mapping; one with a `kind` or `source` takes the other's place whole",
    )
    engines: dict[str, Engine] = Field(default_factory=dict)
    prompts: dict[str, Source] = Field(default_factory=dict)
    judges: dict[JudgeName, JudgeSpec] = Field(default_factory=dict)
    steps: dict[str, Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _references(self) -> "Recipe":
        if self.include:
            raise ValueError(
                "include: only files can include others, and they are read by dataengine.shipped.load_recipe"
            )
        for name, judge in self.judges.items():
            if name == "imported":
                raise ValueError("judges.imported: mixes take this name for what files say of pairs; choose another")
            self._known(f"judges.{name}.engine", judge.engines, self.engines)
        seen: dict[str, str] = {}
        for name, step in self.steps.items():
            if isinstance(step, GenerateStep | EvaluateStep):
                self._known(f"steps.{name}.prompts", step.prompt_sets, self.prompts)
                self._known(f"steps.{name}.engine", [step.engine], self.engines)
                self._engine_ready(name, step.engine, seen)
            elif isinstance(step, RewriteStep):
                self._known(f"steps.{name}.engine", [step.engine], self.engines)
                self._engine_ready(name, step.engine, seen)
                self._made_before(name, step, seen, _KEPT)
            elif isinstance(step, JudgeStep | CalibrateStep):
                self._known(f"steps.{name}.judge", [step.judge], self.judges)
                for engine in self.judges[step.judge].engines:
                    self._engine_ready(name, engine, seen)
                if isinstance(step, JudgeStep) and {seen.get(earlier) for earlier in step.steps} != {"pairs"}:
                    self._made_before(name, step, seen, (*_KEPT, "evaluate"))
            elif isinstance(step, PairsStep | ReviewStep):
                self._made_before(name, step, seen, _KEPT)
            elif isinstance(step, TrainStep):
                self._known(f"steps.{name}.engine", [step.engine], self.engines)
                self._engine_ready(name, step.engine, seen)
                if seen.get(step.snapshot) != "snapshot":
                    raise ValueError(f"steps.{name}.snapshot: {step.snapshot!r} is no earlier snapshot step")
                if self.engines[step.engine].kind == "endpoint":
                    raise ValueError(f"steps.{name}.engine: an endpoint has no weights to train; name their folder")
            elif isinstance(step, ReportStep):
                evaluated = {n: k for n, k in seen.items() if k == "evaluate"}
                self._known(f"steps.{name}.evaluations", step.evaluations, evaluated)
            seen[name] = step.kind
        for name, source in self.prompts.items():
            if not isinstance(source, InlineSource):
                self._known(f"prompts.{name}.exclude", source.exclude, self.prompts)
        return self

    def sampled(self, name: str) -> list[MakingStep]:
        """The steps that made the trajectories of a step: itself, or what it is a review of."""
        step = self.steps[name]
        if isinstance(step, ReviewStep):
            return [s for earlier in step.steps for s in self.sampled(earlier)]
        assert isinstance(step, MakingStep)
        return [step]

    @staticmethod
    def _made_before(
        name: str, step: RewriteStep | PairsStep | JudgeStep | ReviewStep, seen: dict[str, str], kinds: tuple[str, ...]
    ) -> None:
        for earlier in step.steps:
            if seen.get(earlier) not in kinds:
                raise ValueError(f"steps.{name}.of: {earlier!r} is no earlier step that makes trajectories")

    def _engine_ready(self, step: str, engine: str, seen: dict[str, str]) -> None:
        spec = self.engines[engine]
        if not isinstance(spec, EndpointEngine) and spec.checkpoint and seen.get(spec.checkpoint) != "train":
            raise ValueError(
                f"steps.{step}.engine: {engine!r} samples the checkpoint of {spec.checkpoint!r}, "
                "which is no earlier train step"
            )

    @staticmethod
    def _known(where: str, names: list[str], known: Any) -> None:
        for name in names:
            if name not in known:
                choices = ", ".join(sorted(known)) or "none is defined"
                raise ValueError(f"{where}: {name!r} is not defined (known: {choices})")
