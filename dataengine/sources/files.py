"""Prompts from files: the layouts of well-known data sets, and any other by naming its columns."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from dataengine.sources.build import PromptSet
from dataengine.sources.rows import read_rows
from schemas.errors import ConfigError, InputError
from schemas.recipe import FileSource
from schemas.records import Message, Prompt

FIELDS = (
    *("id", "prompt", "messages", "response", "reference", "aliases", "domain", "language"),
    *("tests", "entry_point", "options", "verify"),
)
_MOST_CHARACTERS = 1_000_000


def gsm8k(row: dict[str, Any]) -> dict[str, Any]:
    """GSM8K: `question`, and `answer` ending in `#### 72`."""
    return {"prompt": row["question"], "reference": row["answer"], "domain": "math"}


def mgsm(row: dict[str, Any]) -> dict[str, Any]:
    """MGSM: question and number, separated by a tab; the language is in the file's name (`mgsm_de.tsv`)."""
    return {"prompt": row["question"], "reference": row["answer"], "domain": "math"}


def math(row: dict[str, Any]) -> dict[str, Any]:
    """MATH and its like: `problem`, and `answer` or else the box of `solution`."""
    reference = row.get("answer") or row.get("solution")
    if not reference:
        raise ValueError("there is neither an `answer` nor a `solution`")
    return {"prompt": row["problem"], "reference": str(reference), "domain": "math"}


def arc(row: dict[str, Any]) -> dict[str, Any]:
    """ARC in instruction form: the options stand in the text as `Answer1: ...`, and `answer` is `answer1`."""
    text = str(row["instruction"])
    question, _, rest = text.partition("\n\n")
    question = question.removeprefix("Please choose the correct answer to the question:").strip()
    options = [o.strip() for o in re.split(r"Answer\d+:", rest.split("\n\nAnswer format")[0])[1:]]
    place = int(str(row["answer"]).removeprefix("answer")) - 1
    if not 0 <= place < len(options):
        raise ValueError(f"the answer {row['answer']!r} is none of {len(options)} options")
    listed = "\n".join(f"{chr(65 + i)}. {o}" for i, o in enumerate(options))
    return {
        "prompt": f"{question}\n{listed}",
        "reference": chr(65 + place),
        "options": options,
        "domain": "stem",
        "verifier": "choice",
    }


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
    "humaneval": humaneval,
    "mbpp": mbpp,
    "leetcode": leetcode,
    "cruxeval": cruxeval,
    "cruxeval_input": cruxeval_input,
    "open_qa": open_qa,
    "ifeval": ifeval,
}


def prompts_of(source: FileSource) -> PromptSet:
    """The prompts of a file; rows that cannot be one are left out, each with a note that names its line.

    Raises ConfigError for an unknown layout or field, InputError for a file that cannot be read or holds no prompt.
    """
    path = Path(source.path).expanduser()
    fields_of = reader_of(source)
    name = source.name or path.name.split(".")[0]
    found = PromptSet([])
    seen: dict[str, tuple[str, str | None]] = {}
    ids: dict[str, str] = {}
    for row in read_rows(path, ["question", "answer"] if source.layout == "mgsm" else None):
        found.read += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            prompt = prompt_of(fields_of(row.value), name, row.place, source.license)
            _refuse_repeated(prompt, row.place, ids, seen)
            found.prompts.append(prompt)
        except (KeyError, ValueError, TypeError) as e:
            found.notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
    if not found.prompts:
        detail = f"; first problem: {found.notes[0]}" if found.notes else ""
        raise InputError(f"{path}: no prompt in it{detail}")
    return found


def reason_of(error: Exception, row: Mapping[str, Any]) -> str:
    """What is wrong with a row, on one line, from the exception that its fields raised."""
    if isinstance(error, KeyError):
        return f"there is no column {error}; the row has: {', '.join(row) or 'nothing'}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__


def _refuse_repeated(prompt: Prompt, place: str, ids: dict[str, str], seen: dict[str, tuple[str, str | None]]) -> None:
    first = ids.setdefault(prompt.source_ref, place)
    if first != place:
        raise ValueError(f"id {prompt.source_ref!r} stands already at {first}")
    first, reference = seen.setdefault(prompt.prompt_id, (place, prompt.reference))
    if first != place:
        other = "" if reference == prompt.reference else f" with another reference ({reference!r} there)"
        raise ValueError(f"the prompt of {first} again{other}")


def reader_of(source: FileSource) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function from a row of the file to fields by our names. Raises ConfigError for an unknown layout or field."""
    if source.layout and source.layout not in LAYOUTS:
        raise ConfigError(f"there is no layout {source.layout!r}; there are: {', '.join(LAYOUTS)}")
    for field in source.map:
        if field not in FIELDS:
            raise ConfigError(f"--map {field}=...: there is no field {field!r}; there are: {', '.join(FIELDS)}")
    layout = LAYOUTS[source.layout] if source.layout else None
    language = source.language
    if source.layout == "mgsm" and not language:
        language = Path(source.path).name.split(".")[0].rpartition("_")[2]
    fixed = {"domain": source.domain, "language": language, "verifier": source.verifier}
    fixed = {k: v for k, v in fixed.items() if v}

    def fields_of(row: dict[str, Any]) -> dict[str, Any]:
        # A reply that somebody put beside the columns of a data set is called what ours are.
        fields = {f: row[f] for f in (("response",) if layout else FIELDS) if f in row}
        fields |= layout(row) if layout else {}
        return fields | {f: row[c] for f, c in source.map.items() if c in row} | fixed

    return fields_of


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
    domain = str(fields.get("domain") or ("code" if verify.get("tests") else "general"))
    metadata = ({"options": options} if options else {}) | ({"verify": verify} if verify else {})
    return Prompt.make(
        messages,
        domain=domain,
        source=source,
        source_ref=str(fields.get("id") or place),
        language=str(fields.get("language") or "en"),
        reference=reference.strip() if reference else None,
        verifier=fields.get("verifier") or default_verifier(domain, reference, options, verify),
        license=license,
        metadata=metadata,
    )


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
    return verify


def default_verifier(
    domain: str, reference: str | None, options: list[str], verify: Mapping[str, Any] = MappingProxyType({})
) -> str | None:
    """The verifier that fits an answer's form: tests, rules, options, mathematics, or plain text; none without any."""
    if verify.get("tests") or verify.get("cases") or verify.get("calls"):
        return "code"
    if verify.get("instructions"):
        return "instructions"
    if reference is None:
        return None
    if options:
        return "choice"
    return "math" if domain == "math" else "exact"
