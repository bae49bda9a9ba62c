"""What a check is, the list of those shipped, and how they are run over samples.

To add one: write a class with the attributes of `Check` in a file under `verify/` or `filters/`, and add its line to
`CHECKS`.
"""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from schemas.errors import ConfigError
from schemas.keys import key
from schemas.records import Kind, Outcome

CHECKS: dict[str, str] = {
    "math": "dataengine.verify.math:MathCheck",
    "choice": "dataengine.verify.choice:ChoiceCheck",
    "exact": "dataengine.verify.exact:ExactCheck",
    "logic": "dataengine.verify.logic:LogicCheck",
    "code": "dataengine.verify.code:CodeCheck",
    "instructions": "dataengine.verify.instructions:InstructionsCheck",
    "reasoning_gym": "dataengine.verify.reasoning_gym:ReasoningGymCheck",
    "vote": "dataengine.verify.vote:VoteCheck",
    "format": "dataengine.filters.format:FormatCheck",
    "length": "dataengine.filters.length:LengthCheck",
    "repetition": "dataengine.filters.repetition:RepetitionCheck",
    "readability": "dataengine.filters.readability:ReadabilityCheck",
    "features": "dataengine.filters.features:FeaturesCheck",
    "language": "dataengine.filters.language_check:LanguageCheck",
    "language_mix": "dataengine.filters.language_mix:LanguageMixCheck",
    "pii": "dataengine.filters.pii:PiiCheck",
    "refusal": "dataengine.filters.refusal:RefusalCheck",
    "duplicate": "dataengine.filters.duplicate:DuplicateCheck",
    "same_answer": "dataengine.filters.same_answer:SameAnswerCheck",
    "contamination": "dataengine.filters.contamination:ContaminationCheck",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A trajectory with what its checks need of the prompt."""

    text: str
    reasoning: str | None = None
    answer: str | None = None
    prompt: str = ""
    domain: str = ""
    language: str = "en"
    reference: str | None = None
    verifier: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    completion_tokens: int | None = None
    trajectory_id: str = ""
    attempt: int = 1
    against: str = ""
    parent: str | None = None
    """The text of the trajectory that this one rewrites, where it does."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a check says of one sample; `details` is JSON-able evidence."""

    outcome: Outcome
    score: float | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


@runtime_checkable
class Check(Protocol):
    """A named, versioned opinion on trajectories.

    `version` names the rules: change it with any change of an outcome. `uses_reference` says whether a corrected
    reference asks for a new verdict, `of_rewrites` that it compares a trajectory with its parent and is asked about
    those that have one. Calling it gives one opinion per sample, in order, and never raises for what a sample holds:
    what cannot be told is `undecided`, a crash or a timeout of the check itself is `error`.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    uses_reference: ClassVar[bool]
    of_rewrites: ClassVar[bool]
    version: str

    def applies(self, sample: Sample) -> bool:
        """Whether this check has anything to say of the sample."""
        ...

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        ...

    def close(self) -> None:
        """Gives back processes and models; a closed check may be called again and starts them anew."""
        ...


class Comparison(Protocol):
    """Samples that are looked at together before there is an opinion on any; what is kept of each is small."""

    def add(self, samples: Sequence[Sample], *, settled: bool = False) -> None:
        """Looks at samples: further ones to give an opinion on, or `settled` ones that passed before.

        The settled ones still pass, whatever is added.
        """
        ...

    def opinions(self) -> Iterator[tuple[int, Opinion]]:
        """(number in the order of adding, opinion) of each sample that is not settled, once all are added.

        They come in such an order that the same opinions come of what is left when those before it are settled.
        """
        ...


@runtime_checkable
class SetCheck(Check, Protocol):
    """A check whose opinion on a sample depends on the others. Calling it takes the samples for all there are."""

    def comparison(self) -> Comparison:
        """A new comparison, with nothing added."""
        ...


class _Rules:
    """What checks that read one sample at a time have in common."""

    name: ClassVar[str]
    of_rewrites: ClassVar[bool] = False
    RULES: ClassVar[str] = "1"

    def __init__(self, **params: Any) -> None:
        self.params = params
        self.version = versioned(self.RULES, params)

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        raise NotImplementedError

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        return [self.opinion(s) for s in samples]

    def close(self) -> None:
        """Nothing to give back."""


class Filter(_Rules):
    """A check that reads the text alone: subclass it, set `name` and `RULES`, write `opinion`."""

    kind: ClassVar[Kind] = "filter"
    uses_reference: ClassVar[bool] = False

    def applies(self, sample: Sample) -> bool:
        """Filters have an opinion on every sample."""
        return True


class Verifier(_Rules):
    """A check that compares with the reference: subclass it, set `name` and `RULES`, write `opinion`.

    One that works in other processes overrides `__call__` and `close` instead.
    """

    kind: ClassVar[Kind] = "verifier"
    uses_reference: ClassVar[bool] = True

    def applies(self, sample: Sample) -> bool:
        """Whether the prompt asks for this verifier."""
        return sample.verifier == self.name


def versioned(rules: str, params: Mapping[str, Any]) -> str:
    """The version of a check with settings: the rules' number, and a short hash of settings that are not defaults."""
    return f"{rules}+{key(dict(params))[:8]}" if params else rules


def load_check(name: str, params: Mapping[str, Any] | None = None) -> Check:
    """The check of that name, ready to be called. Raises ConfigError for an unknown name or wrong settings."""
    if name not in CHECKS:
        raise ConfigError(f"there is no check {name!r}; there are: {', '.join(sorted(CHECKS))}")
    module, _, cls = CHECKS[name].partition(":")
    made = getattr(importlib.import_module(module), cls)
    try:
        check = made(**(params or {}))
    except TypeError as e:
        raise ConfigError(f"check {name}: {str(e).split('__init__() ')[-1]}") from e
    except ValueError as e:
        raise ConfigError(f"check {name}: {e}") from e
    assert isinstance(check, Check)
    return check


def metadata_of(text: str) -> dict[str, Any]:
    """A prompt's `metadata` column as a dict."""
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}
