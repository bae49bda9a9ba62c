"""Prompts from files in the layouts of well-known data sets; every sample here is written for these tests."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.sources.build import PromptSet, build
from dataengine.sources.files import prompts_of
from schemas.errors import InputError
from schemas.recipe import FileSource

APPLES = {"question": "Ann has 3 bags of 4 apples. How many apples?", "answer": "3 * 4 = <<3*4=12>>12\n#### 12"}


def read(path: Path, **settings: Any) -> PromptSet:
    return prompts_of(FileSource(source="file", path=str(path), **settings))


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def only(found: PromptSet) -> tuple[Any, ...]:
    (prompt,) = found.prompts
    assert found.notes == []
    return prompt.messages[0].content, prompt.reference, prompt.verifier, prompt.domain, prompt.language


def test_gsm8k_takes_the_number_after_the_hashes(tmp_path: Path) -> None:
    found = read(written(tmp_path / "train.jsonl", APPLES), layout="gsm8k")
    assert only(found) == (APPLES["question"], "12", "math", "math", "en")
    assert (found.prompts[0].source, found.prompts[0].source_ref) == ("train", "train.jsonl:1")


def test_mgsm_is_a_tsv_whose_name_tells_the_language(tmp_path: Path) -> None:
    path = tmp_path / "mgsm_de.tsv"
    path.write_text("Wie viel ist 3 mal 4?\t12\nnur eine Spalte\n", encoding="utf-8")
    found = read(path, layout="mgsm")
    assert found.notes == ["mgsm_de.tsv:2: left out: 1 fields, not 2"]
    assert only(PromptSet(found.prompts)) == ("Wie viel ist 3 mal 4?", "12", "math", "math", "de")


def test_math_takes_the_answer_or_else_the_solution(tmp_path: Path) -> None:
    rows = [{"problem": "Half of 3?", "solution": "It is \\boxed{\\frac{3}{2}}."}, {"problem": "1 + 1?", "answer": "2"}]
    found = read(written(tmp_path / "m.jsonl", *rows), layout="math")
    assert [(p.reference, p.verifier) for p in found.prompts] == [(rows[0]["solution"], "math"), ("2", "math")]


def test_arc_lists_its_options_under_letters(tmp_path: Path) -> None:
    row = {
        "instruction": "Please choose the correct answer to the question: What do bees make?\n\nAnswer1: honey "
        "Answer2: bread Answer3: glass\n\nAnswer format: answer1/answer2/answer3",
        "answer": "answer1",
    }
    found = read(written(tmp_path / "arc.jsonl", row, {**row, "answer": "answer9"}), layout="arc")
    assert found.notes == ["arc.jsonl:2: left out: the answer 'answer9' is none of 3 options"]
    assert only(PromptSet(found.prompts)) == (
        "What do bees make?\nA. honey\nB. bread\nC. glass", "A", "choice", "stem", "en"
    )  # fmt: skip
    assert json.loads(found.prompts[0].metadata) == {"options": ["honey", "bread", "glass"]}


@pytest.mark.parametrize(
    "row",
    [
        {"id": "q1", "question": {"stem": "What do bees make?", "choices": [
            {"text": "bread", "label": "1"}, {"text": "honey", "label": "2"}]}, "answerKey": "2"},
        {"id": "q1", "question": "What do bees make?", "choices": {"text": ["bread", "honey"], "label": ["A", "B"]},
         "answerKey": "B"},
    ],
)  # fmt: skip
def test_arc_as_it_was_released_and_as_parquet(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(written(tmp_path / "arc.jsonl", row, {**row, "id": "q2", "answerKey": "E"}), layout="arc")
    assert only(PromptSet(found.prompts)) == ("What do bees make?\nA. bread\nB. honey", "B", "choice", "stem", "en")
    assert found.prompts[0].source_ref == "q1"
    assert "the answer 'E' is none of the options" in found.notes[0]


def test_gpqa_draws_the_order_of_its_options(tmp_path: Path) -> None:
    rows = [
        {"Question": f"Which is {n}?", "Correct Answer": f"{n}", "Record ID": str(n),
         **{f"Incorrect Answer {i}": f"{n + i}" for i in (1, 2, 3)}}
        for n in range(40)
    ]  # fmt: skip
    found = read(written(tmp_path / "gpqa.jsonl", *rows), layout="gpqa")
    letters = [p.reference for p in found.prompts]
    assert {*letters} == {*"ABCD"}
    assert letters == [p.reference for p in read(tmp_path / "gpqa.jsonl", layout="gpqa").prompts]
    for prompt, row in zip(found.prompts, rows, strict=True):
        options = json.loads(prompt.metadata)["options"]
        assert options["ABCD".index(prompt.reference or "")] == row["Correct Answer"]


def test_worked_solutions_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", APPLES)
    source = FileSource(source="file", path=str(path), layout="gsm8k")
    assert prompts_of(source).solutions == {}
    found = prompts_of(source, solutions=True)
    assert found.solutions == {found.prompts[0].prompt_id: "3 * 4 = 12"}
    path = written(tmp_path / "m.jsonl", {"problem": "1 + 1?", "solution": "It is \\boxed{2}."})
    found = prompts_of(FileSource(source="file", path=str(path), layout="math"), solutions=True)
    assert [*found.solutions.values()] == ["It is \\boxed{2}."]


def test_mmlu_takes_the_answer_as_a_letter_or_as_a_place(tmp_path: Path) -> None:
    pro = {"question_id": 7, "question": "1 + 1?", "options": ["1", "2", "3"], "answer": "B", "answer_index": 1}
    plain = {"question": "1 + 2?", "choices": ["1", "2", "3"], "answer": 2}
    wrong = [{**plain, "answer": 3}, {**plain, "answer": "the third"}, {**pro, "answer_index": 0}]
    found = read(written(tmp_path / "mmlu.jsonl", pro, plain, *wrong), layout="mmlu")
    assert [(p.messages[0].content, p.reference, p.verifier, p.source_ref) for p in found.prompts] == [
        ("1 + 1?\nA. 1\nB. 2\nC. 3", "B", "choice", "7"),
        ("1 + 2?\nA. 1\nB. 2\nC. 3", "C", "choice", "mmlu.jsonl:2"),
    ]
    assert found.notes == [
        "mmlu.jsonl:3: left out: the answer 3 is none of 3 options",
        "mmlu.jsonl:4: left out: the answer 'the third' is none of 3 options",
        "mmlu.jsonl:5: left out: the answer 'B' is not the one of answer_index, 0",
    ]


def test_kk_takes_the_numbered_solution(tmp_path: Path) -> None:
    row = {"quiz": "Who is what?", "solution_text_format": "(1) Ann is a knight\n(2) Bob is a knave", "index": 3}
    found = read(written(tmp_path / "kk.jsonl", row), layout="kk")
    assert only(found) == ("Who is what?", row["solution_text_format"], "logic", "logic", "en")
    assert json.loads(found.prompts[0].metadata) == {"verify": {"kind": "assignment"}}


@pytest.mark.parametrize(
    ("question", "target", "verifier", "metadata"),
    [
        ("Which?\nOptions:\n(A) red\n(B) blue ", "(B)", "choice", {"options": ["red", "blue"]}),
        ("Is it?\nOptions:\n- Yes\n- No", "No", "logic", {}),
        ("not ( True ) is", "False", "logic", {}),
        ("How many?", "-12", "math", {}),
        ("Sort: List: pear fig", "fig pear", "logic", {"verify": {"kind": "ordered"}}),
        ("Close it. Input: < [", "] >", "logic", {"verify": {"kind": "brackets", "given": " < ["}}),
        ("What is it called?", "a kite", "exact", {}),
    ],
)
def test_bbh_takes_the_verifier_that_fits_the_target(
    tmp_path: Path, question: str, target: str, verifier: str, metadata: dict[str, Any]
) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"canary": "x", "examples": [{"input": question, "target": target}]}))
    found = read(path, layout="bbh")
    assert only(found) == (question, target, verifier, "logic", "en")
    assert json.loads(found.prompts[0].metadata) == metadata


def test_bbh_leaves_out_a_target_that_is_no_option(tmp_path: Path) -> None:
    rows = [{"input": f"Which?\nOptions:\n(A) {i}\n(B) blue", "target": t} for i, t in enumerate(["(B)", "(C)", "red"])]
    found = read(written(tmp_path / "task.jsonl", *rows), layout="bbh")
    assert found.notes == [
        "task.jsonl:2: left out: the target '(C)' is none of 2 options",
        "task.jsonl:3: left out: the target 'red' is none of 2 options",
    ]


def test_a_json_object_with_one_list_holds_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": [{"prompt": "one?"}, {"prompt": "two?"}]}))
    assert [p.source_ref for p in read(path).prompts] == ["a.json:[1]", "a.json:[2]"]
    path.write_text(json.dumps({"train": [{"prompt": "one?"}], "test": [{"prompt": "two?"}]}))
    with pytest.raises(InputError, match="a JSON dict, not a list of objects"):
        read(path)


def test_a_logic_prompt_names_the_check_that_understands_its_reference(tmp_path: Path) -> None:
    rows = [{"prompt": f"{r}?", "reference": r} for r in ("yes", "Ann > Bob", "Paris")]
    found = read(written(tmp_path / "a.jsonl", *rows), domain="logic")
    assert [p.verifier for p in found.prompts] == ["logic", "logic", "exact"]


def test_every_kind_of_file_gives_the_same_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {i} + {i}?", "reference": str(2 * i)} for i in range(1, 4)]
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = [(p.prompt_id, p.reference, p.source) for p in read(tmp_path / "a.jsonl").prompts]
    assert len(expected) == 3
    for name in ("a.jsonl.gz", "a.json", "a.json.gz", "a.parquet"):
        assert [(p.prompt_id, p.reference, p.source) for p in read(tmp_path / name).prompts] == expected


def test_a_compressed_file_that_was_cut_off_keeps_what_can_be_read(tmp_path: Path) -> None:
    # Random-looking numbers, so that the cut falls within the stream and not within its first block.
    rows = [{"prompt": f"What is {i * 7919 % 100003} + {i}?"} for i in range(20_000)]
    whole = gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found = read(tmp_path / "cut.jsonl.gz")
    assert 0 < len(found.prompts) < 20_000
    assert len(found.notes) == 1
    assert "the file ends in the middle" in found.notes[0]
    assert found.read == len(found.prompts) + 1


def test_messages_may_be_given_instead_of_a_prompt(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 1?"}]
    found = read(written(tmp_path / "chat.jsonl", {"messages": turns, "reference": "2"}))
    assert [m.model_dump() for m in found.prompts[0].messages] == turns
    assert found.prompts[0].verifier == "exact"


def test_settings_of_the_source_beat_what_the_rows_say(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"prompt": "Combien font 1 + 1 ?", "reference": "2", "language": "en"})
    found = read(path, language="fr", domain="math", verifier="exact", license="CC0-1.0", name="mine")
    assert only(found)[2:] == ("exact", "math", "fr")
    assert (found.prompts[0].license, found.prompts[0].source) == ("CC0-1.0", "mine")


def test_prompts_of_another_set_are_left_out_where_excluded(tmp_path: Path) -> None:
    both = [{"prompt": "one?"}, {"prompt": "two?"}]
    sources = {
        "held": FileSource(source="file", path=str(written(tmp_path / "held.jsonl", both[0]))),
        "rest": FileSource(source="file", path=str(written(tmp_path / "rest.jsonl", *both)), exclude=["held"]),
    }
    assert [p.messages[0].content for p in build("rest", sources).prompts] == ["two?"]


def test_a_file_without_any_prompt_names_its_first_problem(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prompt in it; first problem: a.jsonl:1: left out: there is no column"):
        read(written(tmp_path / "a.jsonl", {"text": "x"}))
