"""Rewards: what a reply is worth, part by part, by plain functions that TRL's GRPOTrainer takes as well.

A reward is called with prompts (strings, or conversations), completions (strings, or what TRL hands over,
`[{"role": "assistant", "content": ...}]`) and columns, lists as long: `reference`, `verifier`, `language`, `metadata`,
`finish_reason`, `prompt_id` and whatever else the rows have. It returns a number or None for each. None is never zero:
it says that the reward cannot be told, and the sample is left out.

A completion is the whole reply: where its start was prefilled, such as with `<think>`, that belongs to it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from dataengine.checks import Check, Opinion, Sample, load_check, metadata_of
from dataengine.filters.format import FormatCheck, Presence
from dataengine.filters.identify import model_path
from dataengine.filters.language import segments_of, share_of
from dataengine.prompting import assemble, take_apart
from dataengine.verify.extract import final_answer, tagged, visible
from schemas.errors import ConfigError

Columns = Mapping[str, Any]

# What verifiers say where the prompt is to blame, whatever the reply is.
_NO_REFERENCE = {"no_reference", "reference_not_usable", "reference_not_parsed", "reference_is_no_option"}


@dataclass(frozen=True, slots=True)
class Verified:
    """What the prompt's verifier says of a reply, and how long it took, in the mean over its batch."""

    check: Check
    sample: Sample
    opinion: Opinion
    seconds: float


class Accuracy:
    """1.0 for a right answer, 0.0 for a wrong one, None where neither can be told (R1 report, accuracy reward).

    The prompt's own verifier decides: column `verifier`, with `reference` and `metadata`. With `form: marked` the
    answer has to stand in an answer tag or a box, a program in a fence or an answer tag, or it is 0.0; with `any` the
    verifier's word counts in any form, for models that never keep one. A reply without any answer is 0.0, and so is one
    that was cut off (column `finish_reason`: length) before an answer that could be told. None is for prompts without
    a usable reference or verifier, for answers that the verifier cannot read, and for its crashes and timeouts.

    Verifiers work in processes that can be killed; `close` gives them back.
    """

    __name__ = "accuracy"
    uses_reference: ClassVar[bool] = True
    threshold: ClassVar[float] = 1.0

    def __init__(self, *, form: Literal["marked", "any"] = "marked") -> None:
        if form not in ("marked", "any"):
            raise ValueError(f"form is {form!r}; it must be marked or any")
        self.form = form
        self._checks: dict[str, Check] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward per sample, in order. Raises ConfigError for a verifier that does not exist."""
        return [self.reward(verified) for verified in self.verify(prompts, completions, **columns)]

    def verify(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Verified | None]:
        """What the verifiers say, in order; None for a prompt that has none."""
        _require(columns, "verifier")
        samples = _samples(prompts, completions, columns)
        found: list[Verified | None] = [None] * len(samples)
        by_name: dict[str, list[int]] = {}
        for i, sample in enumerate(samples):
            if sample.verifier:
                by_name.setdefault(sample.verifier, []).append(i)
        for name, indices in by_name.items():
            check = self.verifier(name)
            started = time.monotonic()
            opinions = check([samples[i] for i in indices])
            each = (time.monotonic() - started) / len(indices)
            for i, opinion in zip(indices, opinions, strict=True):
                found[i] = Verified(check, samples[i], opinion, each)
        return found

    def reward(self, verified: Verified | None) -> float | None:
        """The reward that goes with a verifier's word."""
        if verified is None:
            return None
        sample, opinion = verified.sample, verified.opinion
        if opinion.outcome == "error" or opinion.reason in _NO_REFERENCE:
            return None
        if self.form == "marked" and not _marked(verified):
            return 0.0
        if opinion.outcome == "undecided":
            return 0.0 if opinion.reason == "no_answer" or sample.finish_reason == "length" else None
        return 1.0 if opinion.outcome == "pass" else 0.0

    def verifier(self, name: str) -> Check:
        """The check of that name, kept open. Raises ConfigError for one that is no verifier."""
        if name not in self._checks:
            check = load_check(name)
            if check.kind != "verifier":
                raise ConfigError(f"check {name} is a {check.kind}, and cannot be a prompt's verifier")
            self._checks[name] = check
        return self._checks[name]

    def close(self) -> None:
        """Gives back the verifiers' processes; a later call starts them anew."""
        for check in self._checks.values():
            check.close()


class Format:
    """1.0 for a reply in the form that was asked for, else 0.0 (R1 report, format reward).

    By the parser of the check `format`: reasoning in one pair of think tags, first, closed and not empty, and something
    after it. `answer_tag: required` asks for one answer tag too, at the end, as R1-Zero's template does; `summary` for
    text before it.
    """

    __name__ = "format"
    uses_reference: ClassVar[bool] = False
    threshold: ClassVar[float] = 1.0

    def __init__(
        self, *, thinking: Presence = "required", answer_tag: Presence = "optional", summary: bool = False
    ) -> None:
        self._check = FormatCheck(thinking=thinking, answer_tag=answer_tag, summary=summary)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward per sample, in order."""
        opinions = self._check(_samples(prompts, completions, columns))
        return [1.0 if opinion.outcome == "pass" else 0.0 for opinion in opinions]


class Language:
    """Words of the target language in the chain of thought / all words in it (R1 report v2, Eq. 7), 0.0 to 1.0.

    The target is the prompt's language (column `language`, ISO 639-1), None where it has none. Only what stands in the
    think tags counts. Code, LaTeX and URLs belong to no language, nor do words that cannot be told; scripts without
    spaces count characters. A reply without reasoning, or without a word in it, gets 0.0: the report leaves this open,
    and so a policy cannot earn the reward, nor leave its group, by not thinking.
    """

    __name__ = "language"
    uses_reference: ClassVar[bool] = False
    # As the check `language_mix` has it.
    threshold: ClassVar[float] = 0.95

    def __init__(self) -> None:
        model_path()  # a missing model is told before the training, not in the middle of it

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward per sample, in order."""
        _require(columns, "language")
        samples = _samples(prompts, completions, columns)
        found = segments_of([s.reasoning or "" for s in samples], [s.language for s in samples])
        shares = [share_of(segments, s.language)[0] for segments, s in zip(found, samples, strict=True)]
        return [share if s.language.strip() else None for share, s in zip(shares, samples, strict=True)]


def _samples(prompts: Sequence[Any], completions: Sequence[Any], columns: Columns) -> list[Sample]:
    """The replies as checks see them."""
    return [
        _sample(prompt, completion, {name: v[i] for name, v in columns.items() if is_column(v, len(completions))})
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]


def _sample(prompt: Any, completion: Any, row: Mapping[str, Any]) -> Sample:
    text = text_of(completion)
    parts = take_apart(text)
    metadata = row.get("metadata")
    return Sample(
        text=text,
        reasoning=parts.reasoning,
        answer=parts.answer,
        prompt=prompt if isinstance(prompt, str) else str(prompt[-1]["content"]),
        domain=row.get("domain") or "",
        language=row.get("language") or "",
        reference=row.get("reference"),
        verifier=row.get("verifier"),
        metadata=metadata if isinstance(metadata, Mapping) else metadata_of(metadata or ""),
        finish_reason=row.get("finish_reason"),
    )


def text_of(completion: Any) -> str:
    """A reply's text, as a string or as the turns of a conversation have it; reasoning kept apart is put back.

    >>> text_of([{"role": "assistant", "reasoning_content": "2 and 2", "content": "4"}])
    '<think>\\n2 and 2\\n</think>\\n4'
    """
    if isinstance(completion, str):
        return completion
    last = completion[-1]
    reasoning = last.get("reasoning_content")
    return assemble(reasoning, last["content"]) if reasoning else last["content"] or ""


def is_column(value: Any, count: int) -> bool:
    """Whether it has a value for each sample: trainers hand over other things by name too."""
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == count


def _require(columns: Columns, name: str) -> None:
    if name not in columns:
        raise ConfigError(f"the rows have no column {name!r}, which this reward goes by")


def _marked(verified: Verified) -> bool:
    """Whether the answer stands where it is asked for: in an answer tag or a box, a program in a fence or a tag."""
    sample, name = verified.sample, verified.check.name
    if name == "instructions":
        return True  # all of the reply is the answer
    if name == "code" and (verified.opinion.details.get("from") == "fence" or tagged(visible(None, sample.text))):
        return True
    found = final_answer(sample.answer, sample.text)
    return found is not None and found.origin in ("answer_tag", "boxed")
