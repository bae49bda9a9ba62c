"""Cases whose verdict is known: rows of a file, or what people said in reviews."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from dataengine.judge.judge import Case, Judge, question_of
from dataengine.judge.preference import PairCase, PairJudge
from dataengine.judge.step import reference_of
from dataengine.prompting import take_apart
from dataengine.sources.files import refuse_unknown
from dataengine.sources.rows import read_rows
from schemas.errors import InputError
from schemas.keys import key
from schemas.records import Message
from warehouse.connect import connect
from warehouse.views import names_in

Label = Literal["pass", "fail"]
_FIELDS = ("prompt", "response", "reference", "label")
_PAIR_FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A case, what is known of it, and where it is from. Of a pair `pass` says that a is better, `fail` that b is."""

    case: Case | PairCase
    label: Label
    place: str
    size: int
    """Characters of the response; of a pair by how many a is longer."""


def from_file(
    judge: Judge | PairJudge, path: Path, mapping: Mapping[str, str], notes: list[str]
) -> tuple[list[Labelled], str]:
    """The cases of a file with the columns `prompt`, `response`, `label` and, for some judges, `reference`.

    A label is one of the judge's words, pass or fail, or true or false. Of pairs the columns are `prompt`, `chosen` and
    `rejected`; which of the two is called a is drawn from their texts. A row that cannot be taken is named in `notes`.
    The second value names the set by its file and cases. Raises InputError for a file without a case, ConfigError for a
    field of `mapping` that is none.
    """
    names = _PAIR_FIELDS if isinstance(judge, PairJudge) else _FIELDS
    refuse_unknown(mapping, names)
    found = []
    for row in read_rows(path):
        try:
            if row.problem:
                raise ValueError(row.problem)
            fields = {f: row.value[mapping.get(f, f)] for f in names if row.value.get(mapping.get(f, f)) is not None}
            if isinstance(judge, PairJudge):
                found.append(_pair(judge, fields, row.place))
            else:
                label = _label(judge, fields.get("label"))
                found.append(Labelled(_case(judge, fields), label, row.place, len(fields["response"])))
        except ValueError as e:
            notes.append(f"{row.place}: left out: {e}")
    if not found:
        raise InputError(f"{path}: no labelled case in it" + (f"; first problem: {notes[0]}" if notes else ""))
    return found, f"{path.name}@{_digest(found)}"


def _digest(cases: Sequence[Labelled]) -> str:
    """12 characters of a hash of what the judge is shown and of the labels, whichever columns they came from."""
    return key([[*astuple(c.case), c.label] for c in cases])[:12]


def _refuse_missing(fields: Mapping[str, Any], names: Sequence[str]) -> None:
    for field in names:
        if not isinstance(fields.get(field), str):
            raise ValueError(f"there is no text in the field `{field}`; name its column with --map {field}=COLUMN")


def _pair(judge: PairJudge, fields: Mapping[str, Any], place: str) -> Labelled:
    _refuse_missing(fields, _PAIR_FIELDS)
    question, *texts = (fields[f] for f in _PAIR_FIELDS)
    chosen, rejected = texts if judge.prompt.front.response == "whole" else [take_apart(t).answer or "" for t in texts]
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        raise ValueError("two answers are needed that differ")
    # Drawn from the texts, in the same way whichever was chosen.
    a, b = sorted((chosen, rejected), key=lambda text: key(question, text))
    case = PairCase(key(question, a, b), question, a, b, group=question)
    return Labelled(case, "pass" if a == chosen else "fail", place, len(a) - len(b))


def _case(judge: Judge, fields: Mapping[str, Any]) -> Case:
    _refuse_missing(fields, ["prompt", "response", *(["reference"] if judge.uses_reference else [])])
    answer = take_apart(fields["response"]).answer
    reference = fields.get("reference")
    return Case(fields["prompt"], fields["response"], answer, reference, group=fields["prompt"])


def _label(judge: Judge, value: Any) -> Label:
    told = value.strip().lower() if isinstance(value, str) else value
    words = {word.lower(): meaning.outcome for word, meaning in judge.prompt.words.items()}
    known: dict[Any, str] = {
        True: "pass",
        False: "fail",
        "true": "pass",
        "false": "fail",
        "pass": "pass",
        "fail": "fail",
    }
    outcome = {**known, **words}.get(told) if isinstance(told, str | bool) else None
    if outcome == "pass":
        return "pass"
    if outcome == "fail":
        return "fail"
    raise ValueError(f"the label is {value!r}; there are: {', '.join(judge.prompt.words)}, or true and false")


_REVIEWED = """
SELECT t.trajectory_id, t.prompt_id, p.messages, t.text, t.answer, p.reference, p.metadata, v.outcome
FROM verdicts_current v
JOIN trajectories_current t USING (trajectory_id)
JOIN prompts_current p USING (prompt_id)
WHERE v."check" = 'human' AND v.outcome IN ('pass', 'fail') AND v.reason <> 'edited'
ORDER BY t.trajectory_id
"""


def from_reviews(judge: Judge | PairJudge, warehouse: Path) -> tuple[list[Labelled], str]:
    """What people approved or rejected, by the check `human`; what they edited is neither. Raises InputError for none.

    The second value names the set by what it holds.
    """
    if isinstance(judge, PairJudge):
        raise InputError(f"judge {judge.name}: people review single responses; give it pairs with --on FILE")
    with connect(warehouse, only=names_in(_REVIEWED)) as connection:
        rows: Sequence[Any] = connection.execute(_REVIEWED).fetchall()
    found: list[Labelled] = []
    for trajectory_id, prompt_id, messages, text, answer, reference, metadata, outcome in rows:
        question = question_of([Message(**m) for m in messages])
        case = Case(question, text, answer, reference_of(reference, metadata), group=prompt_id)
        if judge.uses_reference and not case.reference:
            continue
        found.append(Labelled(case, outcome, trajectory_id, len(text)))
    if not found:
        raise InputError(f"{warehouse}: nobody has reviewed anything that {judge.name} can judge")
    return found, f"reviews@{_digest(found)}"
