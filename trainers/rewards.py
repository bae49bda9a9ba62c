"""The rewards of a training: which functions, with what weights, and their sum for every reply of a batch."""

import importlib
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataengine.checks import Check, versioned
from schemas.errors import ConfigError, RewardError, UserError
from trainers.reward_functions import Accuracy, Columns, Format, Language, Verified, is_column

Reward = Callable[..., Sequence[float | None]]

# From which value on a reward's verdict is a pass, where the function has no `threshold` of its own.
_THRESHOLD = 0.5


class RewardSpec(BaseModel):
    """A reward with its weight and settings; in a file its plain name means the defaults.

    >>> RewardSpec.model_validate("accuracy")
    RewardSpec(name='accuracy', weight=1.0, params={})
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z_]\w*(?:(?:\.\w+)*:[A-Za-z_]\w*)?$",
        description="accuracy, format, language, or a function of your own as module:function",
    )
    weight: float = Field(
        default=1.0, allow_inf_nan=False, description="its factor in the sum; with 0 it is measured and stored only"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments, such as {form: any}")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


REWARDS: dict[str, Callable[..., Reward]] = {"accuracy": Accuracy, "format": Format, "language": Language}


@dataclass(frozen=True, slots=True)
class Part:
    """One reward of a sum; `check` and `version` are what its verdicts are called."""

    name: str
    function: Reward
    weight: float
    version: str

    @property
    def check(self) -> str:
        """The name under which its values are verdicts."""
        return f"reward_{self.name}"

    @property
    def threshold(self) -> float:
        """From which value on its verdict is a pass."""
        return float(getattr(self.function, "threshold", _THRESHOLD))

    @property
    def uses_reference(self) -> bool:
        """Whether a corrected reference asks for another value; of functions that do not say so it may."""
        return bool(getattr(self.function, "uses_reference", True))


@dataclass(frozen=True, slots=True)
class Rewarded:
    """The rewards of a batch: `parts` by name, their weighted `sums`, and the verifiers' words behind `accuracy`.

    A sum is None where a part of it is. Parts of weight 0 are no part of it.
    """

    parts: dict[str, list[float | None]]
    sums: list[float | None]
    verified: list[Verified | None]


class Rewards:
    """Several rewards as one; to be closed, or used in `with`."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewarded:
        """The rewards of a batch.

        Raises RewardError, naming the reward, the sample and its prompt (column `prompt_id`), where a function raises,
        or returns anything but a finite number or None for each sample.
        """
        parts: dict[str, list[float | None]] = {}
        verified: list[Verified | None] = [None] * len(completions)
        for part in self.parts:
            call = _Call(part.name, prompts, completions, columns)
            if isinstance(part.function, Accuracy):
                verified = call.run(part.function.verify)
                parts[part.name] = [part.function.reward(v) for v in verified]
            else:
                parts[part.name] = call.values(call.run(part.function))
        weights = {p.name: p.weight for p in self.parts if p.weight}
        return Rewarded(parts, [_sum(weights, parts, i) for i in range(len(completions))], verified)

    def verifiers(self, names: Iterable[str]) -> list[Check]:
        """The open verifiers of those names, where accuracy is asked for. Raises ConfigError for one that is none."""
        accuracy = [p.function for p in self.parts if isinstance(p.function, Accuracy)]
        return [function.verifier(name) for function in accuracy for name in sorted(set(names))]

    def close(self) -> None:
        """Gives back processes."""
        for part in self.parts:
            if isinstance(part.function, Accuracy):
                part.function.close()

    def __enter__(self) -> "Rewards":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def load_rewards(specs: Sequence[RewardSpec]) -> Rewards:
    """The rewards that a configuration names.

    A `module:function` is imported, from the current folder too, and called `function`. Raises ConfigError for a name
    that is unknown or stands twice, for settings that it does not have, and where no weight is other than 0.
    """
    parts = [_part(spec) for spec in specs]
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"rewards: {twice[0]!r} stands there twice; name it once, or call one of them otherwise")
    if not any(part.weight for part in parts):
        raise ConfigError("rewards: none has a weight other than 0; name accuracy, format or language")
    return Rewards(parts)


def _part(spec: RewardSpec) -> Part:
    module, _, name = spec.name.rpartition(":")
    version = versioned("1", spec.params)
    try:
        if module:
            function = _imported(module, name)
            if spec.params:
                function = partial(function, **spec.params)
            return Part(name, function, spec.weight, version)
        if name not in REWARDS:
            raise ConfigError(
                f"rewards: there is no {name!r}; there are: {', '.join(REWARDS)}, and yours as module:function"
            )
        return Part(name, REWARDS[name](**spec.params), spec.weight, version)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"reward {spec.name}: {str(e).split('__init__() ')[-1]}") from e


def _imported(module: str, name: str) -> Reward:
    # As TRL does: the folder that the program was started in, which an installed command does not look into.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as e:  # a user's module may raise anything
        raise ConfigError(f"reward {module}:{name}: cannot be imported: {_told(e)}") from e
    if not callable(found):
        raise ConfigError(f"reward {module}:{name}: is a {type(found).__name__}, not a function")
    function: Reward = found
    return function


@dataclass(frozen=True, slots=True)
class _Call:
    """One reward asked about one batch."""

    name: str
    prompts: Sequence[Any]
    completions: Sequence[Any]
    columns: Columns

    def run(self, function: Callable[..., Any]) -> Any:
        try:
            return function(prompts=self.prompts, completions=self.completions, **self.columns)
        except UserError:
            raise
        except Exception as e:
            raise RewardError(f"reward {self.name}: {self._first_that_raises(function)}: {_told(e)}") from e

    def values(self, given: Any) -> list[float | None]:
        """What a function returned, checked."""
        count = len(self.completions)
        try:
            values = list(given)
        except TypeError:
            raise RewardError(f"reward {self.name}: returned {given!r:.50}; a list of {count} is wanted") from None
        if len(values) < count:
            raise RewardError(
                f"reward {self.name}: returned {len(values)} values for {count} samples, none for "
                f"{self._sample(len(values))}"
            )
        if len(values) > count:
            raise RewardError(
                f"reward {self.name}: returned {len(values)} values for {count} samples; the last is {self._sample(-1)}"
            )
        for i, value in enumerate(values):
            if value is not None and not (isinstance(value, numbers.Real) and math.isfinite(value)):
                told = f"{value!r:.50} for {self._sample(i)}"
                raise RewardError(f"reward {self.name}: returned {told}; a finite number or None is wanted")
        return [None if value is None else float(value) for value in values]

    def _first_that_raises(self, function: Callable[..., Any]) -> str:
        """The sample that a failed call is about: each is asked about alone."""
        for i in range(len(self.completions)):
            alone = {name: [v[i]] if is_column(v, len(self.completions)) else v for name, v in self.columns.items()}
            try:
                function(prompts=[self.prompts[i]], completions=[self.completions[i]], **alone)
            except Exception:  # noqa: BLE001  (it is the call above that is reported)
                return f"raised for {self._sample(i)}"
        return f"raised for a batch of {len(self.completions)} samples, though for none of them alone"

    def _sample(self, number: int) -> str:
        """How a sample is named, from 1."""
        count, ids = len(self.completions), self.columns.get("prompt_id")
        if not count:
            return "no sample"
        number %= count
        about = f", prompt {ids[number]!s:.12}" if ids is not None and is_column(ids, count) else ""
        return f"sample {number + 1} of {count}{about}"


def _sum(weights: Mapping[str, float], parts: Mapping[str, Sequence[float | None]], i: int) -> float | None:
    terms = [(weight, parts[name][i]) for name, weight in weights.items()]
    known = [weight * value for weight, value in terms if value is not None]
    return math.fsum(known) if len(known) == len(terms) else None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
