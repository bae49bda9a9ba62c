"""Checks answers to procedural tasks with the scorer of the reasoning-gym data set that made the task."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.extract import final_answer, last_number
from dataengine.verify.pool import DEADLINE, Pool
from schemas.keys import canonical_json

# Data sets whose scorers hand the answer to Python's `eval`, by themselves or through sympy's `parse_expr`.
_EVALUATED = {
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
}
# Data sets that compare grids of tuples, which JSON has made lists.
_GRIDS = {"arc_agi", "rearc"}
_FUNCTIONS = {
    *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("exp", "log", "ln", "sqrt", "Abs", "Rational", "Integer"),
}
_CALL = re.compile(r"([^\W\d]\w*)\s*[(\[]")
_DANGER = re.compile(r"__|\.\s*[^\W\d]|\b(?:lambda|for|while|import|yield|await)\b|:=|!{2}|\d{7}|\*\*[\s(]*\d{4}")


class ReasoningGymCheck(Verifier):
    """Passes when the data set's own scorer gives the answer `THRESHOLD` or more.

    The prompt's metadata holds `verify`: {"dataset": name, "config": {...}, "entry": the entry as it was generated}.
    `score` is the scorer's. `deadline` is seconds per answer, `workers` the scoring processes.
    """

    name: ClassVar[str] = "reasoning_gym"
    RULES: ClassVar[str] = "1"
    THRESHOLD: ClassVar[float] = 1.0

    def __init__(self, *, deadline: float = DEADLINE, workers: int | None = None) -> None:
        super().__init__()
        self._pool = Pool(["reasoning_gym"], workers=workers, deadline=deadline)

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        opinions: list[Opinion | None] = []
        tasks: list[tuple[str, str, dict[str, Any], list[str]]] = []
        asked: list[tuple[int, dict[str, Any]]] = []
        for i, sample in enumerate(samples):
            task = _task(sample)
            if isinstance(task, Opinion):
                opinions.append(task)
            else:
                opinions.append(None)
                tasks.append(task[0])
                asked.append((i, task[1]))
        for (i, details), answer in zip(asked, self._pool.map(score, tasks), strict=True):
            if answer.failure or answer.value is None:
                reason = answer.message.partition(":")[0] if answer.failure == "raised" else answer.failure or "crash"
                opinions[i] = Opinion("error", None, reason, details | {"message": answer.message}, answer.seconds)
                continue
            value, scored = answer.value
            passed = value >= self.THRESHOLD
            details = details | {"scored": scored[:500]}
            reason = "" if passed else "different"
            opinions[i] = Opinion("pass" if passed else "fail", value, reason, details, answer.seconds)
        return [o for o in opinions if o is not None]


def score(task: tuple[str, str, dict[str, Any], list[str]]) -> tuple[float, str]:
    """The best score of (data set, config as JSON, entry, forms of one answer) and its form; runs in a worker."""
    name, config, entry, forms = task
    scorer = _dataset(name, config)
    if name in _GRIDS:
        entry = entry | {"metadata": _tuples(entry.get("metadata"))}
    best = (-1.0, "")
    for form in forms:
        best = max(best, (float(scorer.score_answer(form, entry)), form), key=lambda pair: pair[0])
        if best[0] >= ReasoningGymCheck.THRESHOLD:
            break
    return best


@lru_cache(maxsize=32)
def _dataset(name: str, config: str) -> Any:
    # Some scorers read the settings of their data set (digits to round to, ranges), so the defaults would not do.
    import reasoning_gym

    return reasoning_gym.create_dataset(name, **json.loads(config))


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def forms_of(value: str, reference: str, *, lenient: bool) -> list[str]:
    """The forms of one answer to score, as given first: a scorer takes "7." or "**7**" for another answer than "7".

    Decoration is removed where the reference is a number, or where the answer was not marked as one (`lenient`).

    >>> forms_of("x = **7**.", "7", lenient=False)
    ['x = **7**.', '7']
    """
    forms = [value.strip()]
    bare = value.strip().strip("*`$ ").rstrip(".").strip("*`$ ")
    if _is_number(reference):
        bare = bare.rpartition("=")[2].strip().strip("*`$ ")
        if not _is_number(bare):
            numbers = re.findall(r"\d+(?:[.,]\d+)*", bare)
            bare = (last_number(bare) or bare) if len(numbers) == 1 else bare
        forms += [bare, bare.replace(",", "")]
    elif lenient:
        forms.append(bare)
    return list(dict.fromkeys(f for f in forms if f))


def is_safe(name: str, answer: str) -> bool:
    """Whether an answer may go to the scorer of this data set: some evaluate it, and then it has to be plain maths."""
    if name not in _EVALUATED:
        return True
    return len(answer) <= 2_000 and not _DANGER.search(answer) and set(_CALL.findall(answer)) <= _FUNCTIONS


def _task(sample: Sample) -> Opinion | tuple[tuple[str, str, dict[str, Any], list[str]], dict[str, Any]]:
    verify = sample.metadata.get("verify")
    entry = verify.get("entry") if isinstance(verify, Mapping) else None
    name = verify.get("dataset") if isinstance(verify, Mapping) else None
    config = (verify.get("config") or {}) if isinstance(verify, Mapping) else {}
    if not isinstance(entry, Mapping) or not isinstance(name, str) or not isinstance(config, Mapping):
        return Opinion("undecided", reason="no_reference")
    oracle = entry.get("answer")
    reference = oracle if isinstance(oracle, str) else sample.reference or ""
    found = final_answer(sample.answer, sample.text, numeric=_is_number(reference))
    if found is None:
        return Opinion("undecided", reason="no_answer")
    details: dict[str, Any] = {"extracted": found.value[:500], "from": found.origin, "dataset": name}
    if not is_safe(name, found.value):
        return Opinion("undecided", None, "answer_refused", details)
    forms = forms_of(found.value, reference, lenient=found.origin not in ("answer_tag", "boxed", "hashes"))
    return (name, canonical_json(dict(config)), dict(entry), forms), details


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d{1,400}(?:\.\d{1,400})?", text.strip()) is not None
