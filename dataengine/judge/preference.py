"""A judge of pairs: shown two answers several times, in changing order, it says which is better, and how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataengine.checks import Opinion
from dataengine.engines.client import ChatReply, ChatRequest
from dataengine.judge.judge import NO_ANSWER, AnyJudge, Judge, judge_prompt, vote_of
from dataengine.judge.reading import read_reply
from dataengine.policy import Policy
from schemas.errors import ConfigError
from schemas.keys import key
from schemas.recipe import EndpointEngine, Recipe

# Neither is better.
EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class PairCase:
    """Two responses to one question; `pair_id` decides in which order they are shown. An empty one is no response."""

    pair_id: str
    question: str
    a: str
    b: str
    group: str = ""
    """Cases of one group have the question in common."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What one reply says of a pair. `score` is above 0 where a is better, None where there is no verdict."""

    a_first: bool
    score: float | None
    reason: str
    vote: dict[str, Any]
    """The reply as it came; empty where nobody was asked."""
    seconds: float

    @property
    def outcome(self) -> str:
        """pass: a is better, fail: b is, undecided: neither, or no verdict."""
        return outcome_of(self.score)


class PairJudge(AnyJudge):
    """A judge of pairs; each of its engines makes `spec.draws` draws of a pair."""

    @property
    def asked(self) -> int:
        """How many requests, draws, a pair takes."""
        return self.spec.draws * len(self.policies)

    def policy_of(self, draw: int) -> tuple[int, Policy]:
        """Who makes a draw: the number of the policy, and the policy."""
        number = draw // self.spec.draws
        return number, self.policies[number]

    def a_first(self, pair_id: str, draw: int) -> bool:
        """Whether a is shown first: drawn from the pair, the judge and the draw, the same in every run.

        With `order: both` it is in the first half of an engine's draws, and not in the second.
        """
        if self.spec.order == "both":
            return draw % self.spec.draws < self.spec.draws // 2
        return int(key(self.version, pair_id, draw)[0], 16) % 2 == 0

    def unasked(self, case: PairCase, draw: int) -> Draw | None:
        """What is said without a request: who gives no answer loses, by the most that the judge may say."""
        blank = not case.a.strip(), not case.b.strip()
        if not any(blank):
            return None
        most = max(abs(score) for score in self.prompt.front.prefers.values())
        score = 0.0 if all(blank) else -most if blank[0] else most
        return Draw(self.a_first(case.pair_id, draw), score, NO_ANSWER, {}, 0.0)

    def request_of(self, case: PairCase, draw: int) -> ChatRequest:
        """What is asked in a draw."""
        first, second = (case.a, case.b) if self.a_first(case.pair_id, draw) else (case.b, case.a)
        messages = self.prompt.render(question=case.question, response_a=first, response_b=second)
        _, policy = self.policy_of(draw)
        return self.request(messages, policy, draw % self.spec.draws, case.group)

    def draw_of(self, case: PairCase, draw: int, reply: ChatReply) -> Draw:
        """What the reply to a draw says, whichever stood first."""
        words = self.prompt.front.prefers
        said = read_reply(reply.text, reply.finish_reason, words, self.prompt.fields)
        a_first = self.a_first(case.pair_id, draw)
        score, reason = None, said.reason
        if said.verdict is not None:
            score = words[said.verdict] if a_first else -words[said.verdict]
            reason = EQUAL if score == 0 else ""
        _, policy = self.policy_of(draw)
        # No -0.0 for a tie that was turned round.
        score = 0.0 if score == 0 else score
        return Draw(a_first, score, reason, vote_of(policy.name, said, reply), round(reply.seconds, 4))

    def opinion(self, draws: Sequence[Draw]) -> Opinion:
        """What all draws of a pair say together: the mean of their scores, if more than half are verdicts."""
        scores = [d.score for d in draws if d.score is not None]
        seconds = sum(d.seconds for d in draws)
        details = {"votes": [d.vote | {"a_first": d.a_first, "score": d.score} for d in draws if d.vote]}
        if 2 * len(scores) <= self.asked:
            reasons = [d.reason for d in draws if d.score is None]
            return Opinion("undecided", None, max(reasons, key=reasons.count), details, seconds)
        score = sum(scores) / len(scores)
        return Opinion(outcome_of(score), score, EQUAL if score == 0 else "", details, seconds)  # type: ignore[arg-type]


def load_judge(name: str, recipe: Recipe, policies: Mapping[str, Policy]) -> Judge | PairJudge:
    """A recipe's judge, the policies of its engines taken from `policies`. Raises ConfigError."""
    spec = recipe.judges[name]
    prompt = judge_prompt(name, spec)
    kind = PairJudge if prompt.of_pairs else Judge
    return kind(name, spec, prompt, [policies[engine] for engine in spec.engines])


def lone_judge(name: str, recipe: Recipe) -> Judge | PairJudge:
    """A recipe's judge without a run of the recipe. Raises ConfigError, also where the recipe trains its engine."""
    if name not in recipe.judges:
        known = ", ".join(sorted(recipe.judges)) or "none"
        raise ConfigError(f"recipe {recipe.recipe} has no judge {name!r} (known: {known})")
    policies = {}
    for engine in recipe.judges[name].engines:
        given = recipe.engines[engine]
        if not isinstance(given, EndpointEngine) and given.checkpoint:
            raise ConfigError(
                f"judge {name}: the engine {engine!r} is trained by the recipe; name its folder as `model`"
            )
        policies[engine] = Policy.of(given)
    return load_judge(name, recipe, policies)


def outcome_of(score: float | None) -> str:
    """The outcome of a score: pass where a is better."""
    return "undecided" if not score else "pass" if score > 0 else "fail"
