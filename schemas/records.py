"""The rows of the warehouse. The Arrow types, the JSON Schema and the messages of refused rows all come from here."""

import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.keys import canonical_json, key, storable

Stage = Literal["cold_start", "r1_zero", "reasoning", "non_reasoning", "rl_rollout", "eval"]
Outcome = Literal["pass", "fail", "undecided", "error"]
# What a person may say: of an attempt, of a pair of answers, of either.
Word = Literal["approve", "reject", "edit", "prefer_a", "prefer_b", "tie", "flag", "withdraw"]
OF_PAIRS = ("prefer_a", "prefer_b", "tie")
OF_EITHER = ("flag", "withdraw")
# The check that tells what people said.
HUMAN = "human"
Role = Literal["annotator", "adjudicator", "lead"]
Kind = Literal["verifier", "filter", "judge", "reward", "person"]
FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "unknown"]
MOST_NAME = 100
JsonText = Annotated[str, Field(description="a JSON object as text; query it with DuckDB's JSON functions")]


def now() -> datetime:
    """The current time in UTC, to the microsecond."""
    return datetime.now(UTC)


def reviewer_name(name: str) -> str:
    """A reviewer's name as rows hold it: composed (NFC), without space around. Raises ValueError for what is no name.

    >>> reviewer_name(" ann ")
    'ann'
    """
    composed = unicodedata.normalize("NFC", storable(name)).strip()
    if not composed.isprintable() or not 1 <= len(composed) <= MOST_NAME:
        raise ValueError(f"a reviewer's name is 1 to {MOST_NAME} printable characters")
    return composed


class _Held(BaseModel):
    """A frozen model of which a process holds a great many objects at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _ALL_ALIKE: ClassVar[set[str]] = set()

    def model_post_init(self, context: Any, /) -> None:
        """Drops the set of fields that were given, of which every object has its own: half of what a prompt weighs."""
        object.__setattr__(self, "__pydantic_fields_set__", self._ALL_ALIKE)


class Record(BaseModel):
    """A row. `KEYS` name the columns of which no two rows of the table hold the same values."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="utf8")
    TABLE: ClassVar[str]
    KEYS: ClassVar[tuple[str, ...]]
    if TYPE_CHECKING:
        created_at: datetime  # every table has it; declared in each, where it stands last


class Message(_Held):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Record, _Held):
    """A question with its domain, language, reference answer (or none) and the verifier that fits it."""

    TABLE: ClassVar[str] = "prompts"
    KEYS: ClassVar[tuple[str, ...]] = ("prompt_id", "source", "revision")

    prompt_id: str = Field(description="key(messages)")
    revision: int = Field(default=1, ge=1, description="1 for the first row of a prompt and source; the latest counts")
    domain: str = Field(description="math, code, stem, logic, general, ...")
    source: str = Field(description="where it came from: a task, a data set, a file's stem")
    source_ref: str = Field(default="", description="which item of the source: an index, an id")
    language: str = Field(default="en", description="ISO 639-1 code")
    messages: list[Message] = Field(min_length=1, description="the conversation the policy has to go on with")
    reference: str | None = Field(default=None, description="the right answer, where there is one")
    verifier: str | None = Field(default=None, description="the check that compares an answer with the reference")
    against: str = Field(description="key(reference, verifier, what the verifier needs beside the reference)")
    license: str | None = None
    metadata: JsonText = "{}"
    created_at: datetime

    @classmethod
    def make(
        cls,
        messages: list[Message],
        *,
        domain: str,
        source: str,
        source_ref: str = "",
        language: str = "en",
        reference: str | None = None,
        verifier: str | None = None,
        license: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> "Prompt":
        """A prompt with its keys worked out."""
        metadata = metadata or {}
        return cls(
            prompt_id=key([m.model_dump() for m in messages]),
            domain=domain,
            source=source,
            source_ref=source_ref,
            language=language,
            messages=messages,
            reference=reference,
            verifier=verifier,
            against=key(reference, verifier, metadata.get("verify")),
            license=license,
            metadata=canonical_json(metadata),
            created_at=now(),
        )


class Trajectory(Record):
    """One attempt of one policy at one prompt."""

    TABLE: ClassVar[str] = "trajectories"
    KEYS: ClassVar[tuple[str, ...]] = ("trajectory_id", "attempt")

    trajectory_id: str = Field(
        description="key(prompt_id, stage, rendered messages, policy, sampling, sample_index, parent_id)"
    )
    attempt: int = Field(default=1, ge=1, description="1 for the first request; a repeated one counts on")
    prompt_id: str
    stage: Stage
    policy: str = Field(description="model@revision, or checkpoint@hash of its weights")
    engine: str = Field(description="embedded, endpoint, import, or review for what a person edited")
    sampling: JsonText = Field(
        description="sampling parameters without max_tokens; of an evaluation also its template, shots and examples"
    )
    sample_index: int = Field(ge=0)
    parent_id: str | None = Field(default=None, description="the trajectory this one rewrites")
    rendered_key: str = Field(description="key(messages as rendered), few-shot turns and prefill included")
    system_prompt: str | None = None
    reasoning: str | None = Field(default=None, description="what stands between the think tags")
    answer: str | None = Field(default=None, description="what the reader sees: the summary with the final answer")
    text: str = Field(default="", description="the raw reply, a prefilled start included")
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    max_tokens: int | None = None
    logprob_sum: float | None = Field(default=None, description="log-probability of the whole reply, nats")
    seconds: float | None = Field(default=None, description="from sending the request to its last byte")
    error: str | None = None
    run_id: str
    step: int | None = Field(default=None, description="optimizer step, for rollouts")
    created_at: datetime


class Verdict(Record):
    """One check's result on one trajectory."""

    TABLE: ClassVar[str] = "verdicts"
    KEYS: ClassVar[tuple[str, ...]] = ("trajectory_id", "attempt", "check", "version", "against")

    trajectory_id: str
    attempt: int
    check: str
    version: str
    against: str = Field(default="", description="the prompt's `against` for checks that use the reference, else empty")
    kind: Kind
    outcome: Outcome
    score: float | None = None
    reason: str = ""
    details: JsonText = "{}"
    seconds: float | None = None
    run_id: str
    created_at: datetime


class Rollout(Record):
    """What reinforcement learning made of a trajectory that it sampled; the parts of its reward are verdicts."""

    TABLE: ClassVar[str] = "rollouts"
    KEYS: ClassVar[tuple[str, ...]] = ("trajectory_id", "attempt")

    trajectory_id: str
    attempt: int = Field(ge=1)
    step: int = Field(ge=0, description="the optimizer step whose weights sampled it; 0 is the start weights")
    reward: float | None = Field(default=None, description="weighted sum of the parts; NULL where one cannot be told")
    advantage: float | None = Field(default=None, description="within its group; NULL: left out of the loss")
    clipped: bool = Field(description="whether the reply was cut at max_tokens")
    run_id: str = Field(description="the training, as in `metrics`")
    created_at: datetime


class Review(Record):
    """What one person said of one attempt or one pair; an event of the journal, copied here in its order."""

    TABLE: ClassVar[str] = "reviews"
    KEYS: ClassVar[tuple[str, ...]] = ("review_id",)

    review_id: str = Field(pattern="^[0-9a-f]{32,64}$", description="drawn at random; key(content) if imported")
    number: int = Field(default=0, ge=0, description="its place in the journal, where numbers grow and may leave gaps")
    trajectory_id: str
    attempt: int = Field(ge=1, description="the attempt that the reviewer saw")
    reviewer: Annotated[str, AfterValidator(reviewer_name)]
    verdict: Word
    text: str | None = Field(default=None, description="what an edit made of the reply")
    child_id: str | None = Field(default=None, description="the trajectory with the edited text")
    note: str = ""
    tags: list[str] = Field(default_factory=list, description="coded reasons")
    seconds: float | None = Field(default=None, description="from taking the lease to submitting")
    created_at: datetime = Field(description="when it was submitted")
    pair_id: str | None = Field(default=None, description="of a pair: which; trajectory_id is then its first answer")
    a_first: bool | None = Field(default=None, description="of a pair: whether the first answer stood left; drawn")
    queue: str = Field(default="", description="what it was taken from; empty if imported")
    guideline: str = Field(default="", description="12 characters of the hash of the queue's guideline and reasons")
    role: Role = Field(default="annotator", description="an adjudicator's word decides alone")
    repeat: int = Field(default=0, ge=0, description="1 and more: asked again, unknowingly; decides nothing")

    @model_validator(mode="after")
    def _edit_has_text(self) -> "Review":
        if {self.text is None, self.child_id is None} != {self.verdict != "edit"}:
            raise ValueError("an edit has `text` and `child_id`, other verdicts have neither")
        if self.verdict not in OF_EITHER and (self.verdict in OF_PAIRS) != (self.pair_id is not None):
            raise ValueError(f"{self.verdict} is said of {'pairs' if self.verdict in OF_PAIRS else 'attempts'}")
        if (self.pair_id is None) != (self.a_first is None):
            raise ValueError("a review of a pair has `pair_id` and `a_first`, others have neither")
        return self


class Pair(Record):
    """Two answers to one prompt that are compared."""

    TABLE: ClassVar[str] = "pairs"
    KEYS: ClassVar[tuple[str, ...]] = ("pair_id",)

    pair_id: str = Field(description="key(a_id, b_id)")
    prompt_id: str
    a_id: str = Field(description="a trajectory")
    b_id: str = Field(description="the other")
    run_id: str
    created_at: datetime


class PairStep(Record):
    """That a recipe's step holds a pair's answers against each other; several steps may, whichever chose it first."""

    TABLE: ClassVar[str] = "pair_steps"
    KEYS: ClassVar[tuple[str, ...]] = ("pair_id", "recipe", "step")

    pair_id: str
    recipe: str
    step: str = Field(description="the step of kind pairs, by its name in the recipe")
    run_id: str
    created_at: datetime


class PairVerdict(Record):
    """What one draw of a judge says of a pair."""

    TABLE: ClassVar[str] = "pair_verdicts"
    KEYS: ClassVar[tuple[str, ...]] = ("pair_id", "check", "version", "draw")

    pair_id: str
    check: str
    version: str
    draw: int = Field(ge=0, description="which of its draws, from 0")
    draws: int = Field(ge=1, description="how many it makes of a pair in all")
    a_first: bool = Field(description="whether a was shown before b")
    outcome: Outcome = Field(description="pass: a is better, fail: b is, undecided: neither, or no verdict")
    score: float | None = Field(default=None, description="above 0 where a is better; NULL where there is no verdict")
    reason: str = ""
    details: JsonText = "{}"
    seconds: float | None = None
    run_id: str
    created_at: datetime


class Cluster(Record):
    """Which cluster of near duplicates a prompt belongs to; the latest row of an id and version counts."""

    TABLE: ClassVar[str] = "clusters"
    KEYS: ClassVar[tuple[str, ...]] = ("kind", "id", "version", "cluster_id")

    kind: Literal["prompt"] = Field(description="what is clustered; replies have their verdicts of `duplicate`")
    id: str = Field(description="the prompt_id")
    version: str = Field(description="the rules and settings that clusters were made with")
    cluster_id: str = Field(description="the smallest id of the cluster")
    created_at: datetime

    @model_validator(mode="after")
    def _smallest(self) -> "Cluster":
        if self.cluster_id > self.id:
            raise ValueError("a cluster is called by the smallest of its ids, and cluster_id is after id")
        return self


class Calibration(Record):
    """How far a judge agreed with known verdicts on a set of cases."""

    TABLE: ClassVar[str] = "calibrations"
    KEYS: ClassVar[tuple[str, ...]] = ("judge", "version", "gold")

    judge: str
    version: str = Field(description="the judge's: prompt, models and decoding")
    gold: str = Field(description="the labelled cases: a name and 12 characters of a hash of what they hold")
    kappa: float | None = Field(default=None, description="Cohen's; none where one side said one thing only")
    low: float | None = Field(default=None, description="the bootstrap's 95 % interval")
    high: float | None = None
    n: int = Field(ge=1, description="cases")
    report: JsonText = "{}"
    created_at: datetime


class Run(Record):
    """One event in the life of a run; the latest event of a run_id is its state."""

    TABLE: ClassVar[str] = "runs"
    KEYS: ClassVar[tuple[str, ...]] = ("run_id", "event")

    run_id: str
    event: Literal["started", "finished", "interrupted", "failed"]
    recipe: str
    config: JsonText
    checks: JsonText = Field(default="[]", description="[{stage, check, version, verifier}] that the recipe asks for")
    versions: JsonText = "{}"
    counts: JsonText = "{}"
    created_at: datetime


class Metric(Record):
    """One number of a training or evaluation run at one step."""

    TABLE: ClassVar[str] = "metrics"
    KEYS: ClassVar[tuple[str, ...]] = ("run_id", "step", "name")

    run_id: str
    step: int
    name: str
    value: float
    created_at: datetime


class Migration(Record):
    """A numbered change of the warehouse's shape that was applied."""

    TABLE: ClassVar[str] = "migrations"
    KEYS: ClassVar[tuple[str, ...]] = ("number",)

    number: int
    name: str
    created_at: datetime


RECORDS: dict[str, type[Record]] = {
    r.TABLE: r
    for r in (
        Prompt,
        Trajectory,
        Verdict,
        Rollout,
        Review,
        Pair,
        PairStep,
        PairVerdict,
        Cluster,
        Calibration,
        Run,
        Metric,
        Migration,
    )
}
