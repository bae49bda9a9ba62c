"""Sets without right answers, Arena-Hard and MT-bench: their questions, and files of some model's answers to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataengine.sources.rows import read_rows
from schemas.errors import InputError
from schemas.records import Prompt

Fields = dict[str, Any]


def mt_bench(row: Mapping[str, Any]) -> Fields:
    """MT-bench and Arena-Hard 0.1: `question_id`, `turns` (texts, or objects with `content`), `category`."""
    first, *later = _turns(row["turns"])
    return {"id": str(row["question_id"]), "prompt": first, "later_turns": later, "domain": "general"}


def arena_hard(row: Mapping[str, Any]) -> Fields:
    """Arena-Hard: version 0.1 as MT-bench, version 2.0 with `uid` and `prompt`."""
    if "turns" in row:
        return mt_bench(row)
    return {"id": str(row["uid"]), "prompt": row["prompt"], "domain": "general"}


OPEN_ENDED = {"arena_hard": arena_hard, "mt_bench": mt_bench}


@dataclass
class Answers:
    """What one model answered, each sample a text for each turn."""

    model: str
    by_id: dict[str, list[list[str]]]
    by_text: dict[str, list[list[str]]]
    """By the question itself, where rows have no id."""
    notes: list[str] = field(default_factory=list)
    """A line for each row that was left out."""

    def to(self, question: Prompt) -> list[list[str]]:
        """The samples for a question; none where it was not answered."""
        return self.by_id.get(question.source_ref) or self.by_text.get(question.messages[-1].content, [])


def read_answers(path: Path) -> Answers:
    """A file of answers of one model, in one of these forms.

    MT-bench and Arena-Hard 0.1: `question_id`, `model_id`, `choices` with `turns`. Arena-Hard 2.0: `uid`, `model`,
    `messages`. AlpacaEval: `instruction`, `output`, `generator`. Raises InputError for a file without an answer, with
    those of several models, or with two rows on one question.
    """
    models: dict[str, str] = {}
    found = Answers("", {}, {})
    for row in read_rows(path):
        try:
            if row.problem:
                raise ValueError(row.problem)
            model, held, name, samples = _answer(found, row.value)
        except (KeyError, ValueError, TypeError) as e:
            what = f"there is no column {e}" if isinstance(e, KeyError) else " ".join(str(e).split())
            found.notes.append(f"{row.place}: left out: {what}")
            continue
        if name in held:
            raise InputError(f"{row.place}: answers {name!r}, which a row before does already; keep one of them")
        held[name] = samples
        models.setdefault(model, row.place)
    if not models:
        detail = f"; first problem: {found.notes[0]}" if found.notes else ""
        raise InputError(f"{path}: no answer in it{detail}")
    if len(models) > 1:
        raise InputError(
            f"{path}: answers of {' and '.join(sorted(models))}; a baseline is one model, so split the file"
        )
    (found.model,) = models
    return found


def _answer(into: Answers, row: Mapping[str, Any]) -> tuple[str, dict[str, list[list[str]]], str, list[list[str]]]:
    if "choices" in row:
        samples = [_turns(choice["turns"]) for choice in row["choices"]]
        return str(row["model_id"]), into.by_id, str(row["question_id"]), _some(samples)
    if "messages" in row:
        said = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        turns = [_text(s["answer"] if isinstance(s, Mapping) else s) for s in said]
        return str(row["model"]), into.by_id, str(row["uid"]), _some([turns])
    if "instruction" in row:
        return str(row["generator"]), into.by_text, _text(row["instruction"]), [[_text(row["output"])]]
    raise ValueError(
        "neither `choices` (MT-bench, Arena-Hard), `messages` (Arena-Hard 2.0) nor `instruction` (AlpacaEval)"
    )


def _some(samples: list[list[str]]) -> list[list[str]]:
    if not samples or not all(samples):
        raise ValueError("there is no answer in it")
    return samples


def _turns(given: Any) -> list[str]:
    if not isinstance(given, list) or not given:
        raise ValueError("`turns` is no list of texts")
    return [_text(turn["content"] if isinstance(turn, Mapping) else turn) for turn in given]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a turn holds {type(value).__name__} where text belongs")
    return value
