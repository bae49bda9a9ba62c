"""A judge: what it sends for a case, and what it makes of the replies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dataengine.checks import CHECKS, Opinion
from dataengine.engines.client import ChatReply, ChatRequest
from dataengine.judge.prompt_file import JudgePrompt, load_prompt
from dataengine.judge.reading import Said, read_reply
from dataengine.policy import Policy
from dataengine.prompting import assemble
from schemas.errors import ConfigError
from schemas.keys import key
from schemas.recipe import EmbeddedEngine, JudgeSpec, Sampling
from schemas.records import Message, Prompt, Trajectory

# Why nothing is asked.
NO_REFERENCE = "no_reference"
NO_ANSWER = "no_answer"
# No verdict has more than half of the votes.
VOTES_TIED = "votes_tied"

# Where a judge's recipe sets no temperature. Of pairs the mean of several draws is wanted, which have to differ; the R1
# report does not say how its judge was decoded, so this one is ours.
_TEMPERATURE, _TEMPERATURE_OF_PAIRS = 0.0, 0.7

# Columns of trajectory_facts: the name of a check is another one.
_TAKEN = {*CHECKS, *Trajectory.model_fields, *Prompt.model_fields}
_TAKEN |= {"human", "correct", "kept", "checks", "not_passed", "verifier_outcome"}
# What the verifiers prefer of a pair, in the view `preferences`.
_TAKEN |= {"rule"}


@dataclass(frozen=True, slots=True)
class Case:
    """A response to be judged, with its question."""

    question: str
    response: str
    """The whole text, thinking included."""
    answer: str | None
    """What follows the thinking."""
    reference: str | None = None
    group: str = ""
    """Cases of one group have question and reference in common."""


@dataclass(frozen=True)
class AnyJudge:
    """A recipe's judge with the policies that answer for it, and the name that its verdicts carry."""

    name: str
    spec: JudgeSpec
    prompt: JudgePrompt
    policies: Sequence[Policy] = field(default=())

    @cached_property
    def version(self) -> str:
        """See `judge_version`."""
        return judge_version(self.spec, self.prompt, [p.name for p in self.policies])

    def request(self, messages: list[dict[str, str]], policy: Policy, number: int, group: str) -> ChatRequest:
        """The request number `number` to a policy."""
        drawn = _sampling(self.spec, self.prompt).of(number)
        send_seed = isinstance(policy.engine, EmbeddedEngine) or policy.engine.send_seed
        return ChatRequest(
            messages=messages,
            max_tokens=self.spec.max_tokens,
            temperature=drawn["temperature"],
            top_p=drawn["top_p"],
            # Every request its own, the same in every run.
            seed=int(key(self.version, messages, number)[:8], 16) & 0x7FFFFFFF if send_seed else None,
            guided=self.prompt.guided if self.spec.guided else None,
            group=group,
        )


class Judge(AnyJudge):
    """A judge of single responses."""

    @property
    def uses_reference(self) -> bool:
        """Whether a corrected reference asks for a new verdict."""
        return self.prompt.shows_reference

    @property
    def asked(self) -> int:
        """How many requests a case takes."""
        return self.spec.votes * len(self.policies)

    def unasked(self, case: Case) -> Opinion | None:
        """The opinion on a case that is not worth a request: there is nothing to compare, or to compare with."""
        if self.prompt.shows_reference and not (case.reference or "").strip():
            return _undecided(NO_REFERENCE, [], 0.0)
        return None if self._shown(case).strip() else _undecided(NO_ANSWER, [], 0.0)

    def requests(self, case: Case) -> list[tuple[int, ChatRequest]]:
        """What is asked: for each vote the number of the policy, and the request."""
        shown = self._shown(case)
        messages = self.prompt.render(question=case.question, reference=case.reference or "", response=shown)
        return [
            (number, self.request(messages, policy, vote, case.group))
            for number, policy in enumerate(self.policies)
            for vote in range(self.spec.votes)
        ]

    def opinion(self, replies: Sequence[ChatReply]) -> Opinion:
        """What the replies to `requests`, in their order and none of them failed, say together.

        A verdict needs more than half of all votes, those that are no verdict counted. Its score is the votes' mean.
        """
        said = [read_reply(r.text, r.finish_reason, self.prompt.words, self.prompt.fields) for r in replies]
        policies = [p.name for p in self.policies for _ in range(self.spec.votes)]
        votes = [vote_of(*v) for v in zip(policies, said, replies, strict=True)]
        seconds = sum(r.seconds for r in replies)
        given = [s.verdict for s in said if s.verdict is not None]
        if not given:
            return _undecided(Counter(s.reason for s in said).most_common(1)[0][0], votes, seconds)
        word, count = Counter(given).most_common(1)[0]
        if 2 * count <= len(said):
            return _undecided(VOTES_TIED, votes, seconds)
        outcome = self.prompt.words[word].outcome
        scores = [s for s in (self.prompt.words[w].score for w in given) if s is not None]
        score = sum(scores) / len(scores) if len(scores) == len(given) else None
        reason = "" if outcome == "pass" else word
        return Opinion(outcome, score, reason, {"verdict": word, "votes": votes}, seconds)

    def _shown(self, case: Case) -> str:
        return case.response if self.prompt.front.response == "whole" else case.answer or ""


def judge_prompt(name: str, spec: JudgeSpec) -> JudgePrompt:
    """The prompt of a recipe's judge.

    Raises ConfigError, also for a name that its verdicts cannot carry, and for draws that cannot differ.
    """
    if name in _TAKEN:
        raise ConfigError(f"judges.{name}: {name!r} is a check or a column already; name it otherwise")
    prompt = load_prompt(spec.ask)
    # Two of them can, if they show the answers in either order.
    if prompt.of_pairs and spec.draws > 2 and _sampling(spec, prompt).all_zero(spec.draws):
        raise ConfigError(
            f"judges.{name}: {spec.draws} draws at temperature 0 are two at most, one for each order; "
            "set sampling.temperature, or draws to 2 or 1"
        )
    return prompt


def _sampling(spec: JudgeSpec, prompt: JudgePrompt) -> Sampling:
    return spec.sampling.given(_TEMPERATURE_OF_PAIRS if prompt.of_pairs else _TEMPERATURE)


def judge_version(spec: JudgeSpec, prompt: JudgePrompt, policies: Sequence[str]) -> str:
    """12 hex characters of the prompt's content, the policies and the decoding: a judge that was proven is that one."""
    asked = spec.draws if prompt.of_pairs else spec.votes
    sampling = _sampling(spec, prompt)
    decoding = [[sampling.of(number) for number in range(asked)], spec.max_tokens, spec.guided]
    if prompt.of_pairs and spec.order != "drawn":
        decoding.append(spec.order)
    return key(prompt.content, sorted(policies), decoding)[:12]


def question_of(messages: Sequence[Message]) -> str:
    """A conversation as one text: the question alone where there is no more."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in messages)


def _undecided(reason: str, votes: list[dict[str, Any]], seconds: float) -> Opinion:
    return Opinion("undecided", None, reason, {"verdict": None, "votes": votes}, seconds)


def vote_of(policy: str, said: Said, reply: ChatReply) -> dict[str, Any]:
    """A reply as the details of a verdict hold it."""
    return {
        "policy": policy,
        "verdict": said.verdict,
        "analysis": said.analysis,
        "reason": said.reason,
        # What the server split off as thinking is put back, as in trajectories.
        "raw": reply.text if reply.reasoning is None else assemble(reply.reasoning, reply.text),
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "seconds": round(reply.seconds, 4),
    }
