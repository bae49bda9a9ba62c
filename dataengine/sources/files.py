"""Prompts from files: the layouts of well-known data sets, and any other by naming its columns."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from dataengine.sources.build import PromptSet
from dataengine.sources.chats import CHATS, filler
from dataengine.sources.hub import rows_of
from dataengine.sources.open_ended import OPEN_ENDED
from dataengine.sources.rows import Row, read_rows
from dataengine.verify.logic import form_of
from schemas.errors import ConfigError, InputError, first_problem
from schemas.keys import key
from schemas.recipe import DatasetsSource, FileSpec
from schemas.records import Message, Prompt

FIELDS = (
    *("id", "prompt", "messages", "response", "reference", "aliases", "domain", "language"),
    *("tests", "entry_point", "options", "tolerance", "unit", "verify"),
    *("chosen", "rejected"),
)
# Replies that somebody put beside the columns of a data set are called what ours are.
_REPLIES = ("response", "chosen", "rejected")
_MOST_CHARACTERS = 1_000_000


def gsm8k(row: dict[str, Any]) -> dict[str, Any]:
    """GSM8K: `question`, and `answer` ending in `#### 72`; what is between `<<` and `>>` is for a calculator."""
    solution = re.sub(r"<<.*?>>", "", row["answer"].rpartition("####")[0]).strip()
    return {"prompt": row["question"], "reference": row["answer"], "domain": "math", "solution": solution}


def mgsm(row: dict[str, Any]) -> dict[str, Any]:
    """MGSM: question and number, separated by a tab; the language is in the file's name (`mgsm_de.tsv`).

    Its Parquet version has the number in `answer_number`.
    """
    return {"prompt": row["question"], "reference": str(row.get("answer_number", row["answer"])), "domain": "math"}


def math(row: dict[str, Any]) -> dict[str, Any]:
    """MATH and its like: `problem`, and `answer` or else the box of `solution`."""
    reference = row.get("answer") or row.get("solution")
    if not reference:
        raise ValueError("there is neither an `answer` nor a `solution`")
    return {
        "prompt": row["problem"],
        "reference": str(reference),
        "domain": "math",
        "solution": str(row.get("solution") or ""),
    }


def arc(row: dict[str, Any]) -> dict[str, Any]:
    """ARC: `question` with its `choices` and `answerKey`, as released or as Parquet.

    In instruction form the options stand in the text as `Answer1: ...`, and `answer` is `answer1`.
    """
    if "answerKey" in row:
        return _arc(row)
    text = str(row["instruction"])
    question, _, rest = text.partition("\n\n")
    question = question.removeprefix("Please choose the correct answer to the question:").strip()
    options = [o.strip() for o in re.split(r"Answer\d+:", rest.split("\n\nAnswer format")[0])[1:]]
    place = int(str(row["answer"]).removeprefix("answer")) - 1
    if not 0 <= place < len(options):
        raise ValueError(f"the answer {row['answer']!r} is none of {len(options)} options")
    return _choice(question, options, place) | {"domain": "stem"}


def _arc(row: dict[str, Any]) -> dict[str, Any]:
    question = row["question"]
    stem, choices = (
        (question["stem"], question["choices"]) if isinstance(question, dict) else (question, row["choices"])
    )
    if isinstance(choices, dict):  # Parquet: one list of texts, one of labels
        choices = [{"text": t, "label": n} for t, n in zip(choices["text"], choices["label"], strict=True)]
    labels = [str(choice["label"]) for choice in choices]
    if row["answerKey"] not in labels:
        raise ValueError(f"the answer {row['answerKey']!r} is none of the options {', '.join(labels)}")
    # Some questions call their options 1, 2, 3, 4.
    made = _choice(stem, [str(choice["text"]) for choice in choices], labels.index(row["answerKey"]))
    return made | {"id": row.get("id"), "domain": "stem"}


def gpqa(row: dict[str, Any]) -> dict[str, Any]:
    """GPQA: `Question`, `Correct Answer` and three `Incorrect Answer`; their order is drawn by the question's hash."""
    question, right = str(row["Question"]).strip(), str(row["Correct Answer"]).strip()
    options = [right, *(str(row[f"Incorrect Answer {i}"]).strip() for i in (1, 2, 3))]
    options.sort(key=lambda option: key(question, option))
    return _choice(question, options, options.index(right)) | {"id": row.get("Record ID"), "domain": "stem"}


def mmlu(row: dict[str, Any]) -> dict[str, Any]:
    """MMLU and MMLU-Pro: `question`, `choices` or `options`, and `answer` as a letter or as a place from 0 on."""
    options = [str(o) for o in row.get("options") or row["choices"]]
    answer = row["answer"]
    place = answer if isinstance(answer, int) else _place_of(str(answer).strip())
    if not 0 <= place < len(options):
        raise ValueError(f"the answer {answer!r} is none of {len(options)} options")
    if row.get("answer_index", place) != place:
        raise ValueError(f"the answer {answer!r} is not the one of answer_index, {row['answer_index']!r}")
    return _choice(str(row["question"]), options, place) | {"id": row.get("question_id"), "domain": "stem"}


def _place_of(letter: str) -> int:
    """The place of an option from 0 on, by its letter; -1 for anything else."""
    return ord(letter) - ord("A") if re.fullmatch("[A-Z]", letter) else -1


def _choice(question: str, options: list[str], place: int) -> dict[str, Any]:
    listed = "\n".join(f"{chr(65 + i)}. {o}" for i, o in enumerate(options))
    return {
        "prompt": f"{question}\n{listed}",
        "reference": chr(65 + place),
        "options": options,
        "verifier": "choice",
    }


def kk(row: dict[str, Any]) -> dict[str, Any]:
    """Knights and knaves (Logic-RL): the puzzle in `quiz`, who is what in `solution_text_format`."""
    return {
        "prompt": row["quiz"],
        "reference": str(row.get("solution_text_format") or row["solution_text"]),
        "domain": "logic",
        "verifier": "logic",
        "verify": {"kind": "assignment"},
    }


_OPTION = re.compile(r"^\([A-Z]\) ?(.*)$", re.MULTILINE)


def bbh(row: dict[str, Any]) -> dict[str, Any]:
    """BIG-Bench Hard, which is not to be trained on: `input`, and `target`, whose form tells the verifier."""
    question, target = str(row["input"]), str(row["target"]).strip()
    fields: dict[str, Any] = {"prompt": question, "reference": target, "domain": "logic"}
    options = [o.strip() for o in _OPTION.findall(question.partition("\nOptions:")[2])]
    if options:
        if not 0 <= _place_of(target.strip("()")) < len(options):
            raise ValueError(f"the target {target!r} is none of {len(options)} options")
        return fields | {"options": options, "verifier": "choice"}
    if re.fullmatch(r"-?\d+", target):
        return fields | {"verifier": "math"}
    form = form_of(target)
    if form is not None and form.kind == "brackets":
        return fields | {"verifier": "logic", "verify": {"kind": "brackets", "given": question.rpartition("Input:")[2]}}
    if form is not None:
        return fields | {"verifier": "logic"}
    if set(target.split()) <= set(question.split()):
        return fields | {"verifier": "logic", "verify": {"kind": "ordered"}}
    return fields | {"verifier": "exact"}


def humaneval(row: dict[str, Any]) -> dict[str, Any]:
    """HumanEval: the start of a program as `prompt`, a function `check` in `test`, and `entry_point`."""
    name = row["entry_point"]
    return {
        "id": row.get("task_id"),
        "prompt": f"Complete this Python function.\n\n```python\n{row['prompt']}```",
        "domain": "code",
        "verify": {"prefix": row["prompt"], "entry_point": name, "tests": [f"{row['test']}\ncheck({name})"]},
    }


def mbpp(row: dict[str, Any]) -> dict[str, Any]:
    """MBPP: `text` or `prompt`, and assertions in `test_list` or `test`, which the prompt shows, as in its paper."""
    tests = list(row.get("test_list") or row["test"])
    shown = "\n".join(tests)
    if row.get("test_setup_code"):  # it may use what the program defines
        tests[0] = f"{row['test_setup_code']}\n{tests[0]}"
    return {
        "id": row.get("task_id"),
        "prompt": f"{row.get('text') or row['prompt']}\nYour Python code has to pass these tests:\n{shown}",
        "domain": "code",
        "verify": {"tests": tests},
    }


# What LeetCode has imported before a submission starts.
_LEETCODE = "\n".join(
    [f"from {n} import *" for n in ("typing", "collections", "itertools", "functools", "math", "heapq", "bisect")]
    + ["from builtins import pow", "import collections, functools, heapq, itertools, math, random, re, string"]
)


def leetcode(row: dict[str, Any]) -> dict[str, Any]:
    """LeetCode contests: `prompt_sft`, and a script that asserts on `Solution` in `test`."""
    return {
        "id": row.get("task_id"),
        "prompt": row["prompt_sft"],
        "domain": "code",
        "verify": {"preamble": _LEETCODE, "entry_point": "Solution", "tests": [row["test"]]},
    }


def cruxeval(row: dict[str, Any]) -> dict[str, Any]:
    """CruxEval, predicting the output: `code` with a function `f`, its `input`, and the `output` to be told."""
    call = f"f({row['input']})"
    return {
        "id": row.get("id"),
        "prompt": f"What does this call return? Answer with a literal.\n\n```python\n{row['code']}\n\n{call}\n```",
        "reference": str(row["output"]),
        "domain": "code",
        "verifier": "code",
        "verify": {"preamble": row["code"], "expression": f"{call} == (ANSWER)", "literal": True},
    }


def cruxeval_input(row: dict[str, Any]) -> dict[str, Any]:
    """CruxEval, predicting an input: any with which `f` returns the `output` is right."""
    return {
        "id": row.get("id"),
        "prompt": "Find arguments with which this function returns the value below. Answer with them alone.\n\n"
        f"```python\n{row['code']}\n```\n\nValue: {row['output']}",
        "reference": str(row["input"]),
        "domain": "code",
        "verifier": "code",
        "verify": {"preamble": row["code"], "expression": f"f(ANSWER) == ({row['output']})"},
    }


def open_qa(row: dict[str, Any]) -> dict[str, Any]:
    """Open questions (NQ-open and its like): `question`, and the answers that are all right in `answer`."""
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    return {
        "prompt": row["question"],
        "reference": str(answers[0]),
        "aliases": [str(a) for a in answers[1:]],
        "domain": "general",
        "verifier": "exact",
    }


def scibench(row: dict[str, Any]) -> dict[str, Any]:
    """SciBench: `problem_text`, `answer_number` and `unit`; five per cent is its own evaluation's tolerance."""
    return {
        "id": f"{row['source']} {row['problemid']}",
        "prompt": row["problem_text"],
        "reference": str(row["answer_number"]),
        "tolerance": 0.05,
        "unit": str(row["unit"]).strip(),
        "domain": "stem",
        "verifier": "math",
    }


def ifeval(row: dict[str, Any]) -> dict[str, Any]:
    """IFEval: `prompt`, the rules in `instruction_id_list` and the arguments of each in `kwargs`.

    Its Parquet version holds every argument for every rule, null where the rule has none of that name.
    """
    ids, arguments = row["instruction_id_list"], row["kwargs"]
    if len(ids) != len(arguments):
        raise ValueError(f"{len(ids)} ids in `instruction_id_list`, {len(arguments)} in `kwargs`")
    used = [{k: v for k, v in given.items() if v is not None} for given in arguments]
    return {
        "id": row.get("key"),
        "prompt": row["prompt"],
        "domain": "general",
        "verifier": "instructions",
        "verify": {"instructions": [{"id": i} | given for i, given in zip(ids, used, strict=True)]},
    }


LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "gsm8k": gsm8k,
    "mgsm": mgsm,
    "math": math,
    "arc": arc,
    "gpqa": gpqa,
    "mmlu": mmlu,
    "kk": kk,
    "bbh": bbh,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "leetcode": leetcode,
    "cruxeval": cruxeval,
    "cruxeval_input": cruxeval_input,
    "open_qa": open_qa,
    "scibench": scibench,
    "ifeval": ifeval,
    **CHATS,
    **OPEN_ENDED,
}


def prompts_of(source: FileSpec, *, solutions: bool = False) -> PromptSet:
    """The prompts of a file or data set; rows that cannot be one are left out, each with a note that names its line.

    With `solutions` what its layout knows of worked ones is kept. Raises ConfigError for an unknown layout or field,
    InputError for a file that cannot be read or holds no prompt.
    """
    fields_of = reader_of(source)
    (name,) = source.names
    found = PromptSet([])
    seen: dict[str, tuple[str, str | None]] = {}
    ids: dict[str, str] = {}
    for row in _rows(source):
        found.read += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            fields = fields_of(row.value)
            prompt = prompt_of(fields, name, row.place, source.license)
            _refuse_repeated(prompt, row.place, ids, seen)
            found.prompts.append(prompt)
            if solutions and fields.get("solution"):
                found.solutions[prompt.prompt_id] = fields["solution"]
        except (KeyError, ValueError, TypeError) as e:
            found.notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
    if not found.prompts:
        detail = f"; first problem: {found.notes[0]}" if found.notes else ""
        raise InputError(f"{source.path}: no prompt in it{detail}")
    return found


def _rows(source: FileSpec) -> Iterator[Row]:
    if isinstance(source, DatasetsSource):
        return rows_of(source)
    columns = ["question", "answer"] if source.layout == "mgsm" else None
    return read_rows(Path(source.path).expanduser(), columns)


def reason_of(error: Exception, row: Mapping[str, Any]) -> str:
    """What is wrong with a row, on one line, from the exception that its fields raised."""
    if isinstance(error, KeyError):
        return f"there is no column {error}; the row has: {', '.join(row) or 'nothing'}"
    if isinstance(error, ValidationError):
        return first_problem(error)
    return " ".join(str(error).split()) or type(error).__name__


def _refuse_repeated(prompt: Prompt, place: str, ids: dict[str, str], seen: dict[str, tuple[str, str | None]]) -> None:
    first = ids.setdefault(prompt.source_ref, place)
    if first != place:
        raise ValueError(f"id {prompt.source_ref!r} stands already at {first}")
    first, reference = seen.setdefault(prompt.prompt_id, (place, prompt.reference))
    if first != place:
        other = "" if reference == prompt.reference else f" with another reference ({reference!r} there)"
        raise ValueError(f"the prompt of {first} again{other}")


def reader_of(source: FileSpec) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function from a row of the file to fields by our names. Raises ConfigError for an unknown layout or field."""
    if source.layout and source.layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {source.layout!r}; there are: {', '.join(LAYOUTS)}")
    refuse_unknown(source.map, FIELDS)
    layout = LAYOUTS[source.layout] if source.layout else None
    language = source.language
    if source.layout == "mgsm" and not language:
        language = Path(source.path).name.split(".")[0].rpartition("_")[2]
    fixed = {"domain": source.domain, "language": language, "verifier": source.verifier}
    fixed = {k: v for k, v in fixed.items() if v}
    fill = filler(source.fill) if source.fill else None

    def fields_of(row: dict[str, Any]) -> dict[str, Any]:
        if fill is not None:
            row = fill(row)
        fields = {f: row[f] for f in (_REPLIES if layout else FIELDS) if f in row}
        fields |= layout(row) if layout else {}
        return fields | {f: row[c] for f, c in source.map.items() if c in row} | fixed

    return fields_of


def refuse_unknown(mapping: Mapping[str, str], fields: Sequence[str]) -> None:
    """Raises ConfigError for a field of `--map` that is none."""
    for field in mapping:
        if field not in fields:
            raise ConfigError(f"--map {field}=...: there is no field {field!r}; there are: {', '.join(fields)}")


def prompt_of(fields: Mapping[str, Any], source: str, place: str, license: str | None = None) -> Prompt:
    """A prompt from fields named as in docs/cli.md. Raises ValueError or KeyError for fields that make no prompt."""
    if fields.get("messages"):
        messages = [Message.model_validate(dict(m)) for m in fields["messages"]]
    else:
        text = fields["prompt"]
        if not isinstance(text, str) or not text.strip():
            raise ValueError("the prompt is empty")
        messages = [Message(role="user", content=text)]
    if sum(len(m.content) for m in messages) > _MOST_CHARACTERS:
        raise ValueError(f"the prompt is longer than {_MOST_CHARACTERS:,} characters")
    reference = None if fields.get("reference") is None else str(fields["reference"])
    if reference and "####" in reference:
        reference = reference.rpartition("####")[2]
    options = list(fields.get("options") or [])
    verify = _verify(fields)
    domain = str(fields.get("domain") or ("code" if _tested(verify) else "general"))
    metadata = ({"options": options} if options else {}) | ({"verify": verify} if verify else {})
    if fields.get("later_turns"):
        metadata["later_turns"] = list(fields["later_turns"])
    return Prompt.make(
        messages,
        domain=domain,
        source=source,
        source_ref=str(fields.get("id") or place),
        language=str(fields.get("language") or "en"),
        reference=reference.strip() if reference else None,
        verifier=_verifier(fields.get("verifier") or default_verifier(domain, reference, options, verify)),
        license=license,
        metadata=metadata,
    )


def _verifier(named: str | None) -> str | None:
    """The word none says that no rule compares with the reference, such as a proof: that is for a judge."""
    return None if named == "none" else named


def _verify(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a verifier needs beside the reference: `verify` as it is, or made of the columns that say it."""
    verify = dict(fields.get("verify") or {})
    tests = fields.get("tests")
    if tests:
        verify["tests"] = [tests] if isinstance(tests, str) else list(tests)
    if fields.get("entry_point"):
        verify["entry_point"] = str(fields["entry_point"])
    if fields.get("aliases"):
        verify["aliases"] = list(fields["aliases"])
    if fields.get("tolerance") is not None:
        verify["tolerance"] = float(fields["tolerance"])
    if fields.get("unit"):
        verify["unit"] = str(fields["unit"])
    return verify


def _tested(verify: Mapping[str, Any]) -> bool:
    return bool(verify.get("tests") or verify.get("cases") or verify.get("calls"))


def default_verifier(
    domain: str, reference: str | None, options: list[str], verify: Mapping[str, Any] = MappingProxyType({})
) -> str | None:
    """The verifier that fits an answer's form: tests, rules, options, mathematics, logic, or plain text; or none."""
    if _tested(verify):
        return "code"
    if verify.get("instructions"):
        return "instructions"
    if reference is None:
        return None
    if options:
        return "choice"
    if domain == "logic" and form_of(reference, verify):
        return "logic"
    return "math" if domain == "math" or "tolerance" in verify else "exact"
