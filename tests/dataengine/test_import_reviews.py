"""`dataengine import FILE --as reviews`: each row is taken once, or named and left out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dataengine.importing
from schemas.keys import key
from schemas.recipe import FileSpec
from schemas.records import Pair, now
from warehouse.journal import Journal
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

ADDED = "reviews: {} rows = {} added + {} there before + {} left out\n"
VERDICTS = (
    "SELECT t.text, v.outcome, v.reason, v.details ->> 'note' FROM verdicts_current v "
    "JOIN trajectories_current t USING (trajectory_id) WHERE v.\"check\" = 'human' ORDER BY ALL"
)
Import = Callable[..., Any]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replies `It is N.` to the prompts `What is N?`, of 4 by two policies."""
    folder = tmp_path_factory.mktemp("imported")
    rows = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(5)]
    for policy, part in (("a@1", rows), ("b@1", rows[4:])):
        spec = FileSpec(path=str(write(folder / "replies.jsonl", part)))
        dataengine.importing.import_file(folder / "data", spec, "trajectories", stage="reasoning", policy=policy)
    return folder


@pytest.fixture(autouse=True)
def warehouse(imported: Path, tmp_path: Path) -> Path:
    """A copy of it in the test's folder."""
    shutil.copytree(imported, tmp_path, dirs_exist_ok=True)
    return tmp_path / "data"


@pytest.fixture
def take(cli: Any, tmp_path: Path) -> Import:
    def take(*rows: Any, options: tuple[str, ...] = ()) -> Any:
        write(tmp_path / "said.jsonl", list(rows))
        return cli("import", "said.jsonl", "--as", "reviews", "--warehouse", "data", *options)

    return take


@pytest.fixture
def ident(rows: Any) -> Callable[[int], str]:
    """The id of the reply with a number."""
    return lambda number: rows(f"SELECT trajectory_id FROM trajectories WHERE text = 'It is {number}.'")[0][0]


def test_reviews_are_taken_by_id_by_its_start_and_by_prompt_and_response(take: Import, ident: Any, rows: Any) -> None:
    file = [
        {"trajectory_id": ident(0), "reviewer": "ann", "verdict": "approve", "note": "good"},
        {"trajectory_id": ident(1)[:10].upper(), "reviewer": "ann", "verdict": " Reject "},
        {"prompt": "What is 2?\n", "response": " It is 2.", "reviewer": "bob", "verdict": "edit", "text": "It is two."},
    ]
    done = take(*file)
    assert (done.code, done.out, done.err) == (0, ADDED.format(3, 3, 0, 0), "")
    told = [("It is 0.", "pass", "", "good"), ("It is 1.", "fail", "rejected", ""), ("It is 2.", "fail", "edited", "")]
    assert rows(VERDICTS) == [*told, ("It is two.", "pass", "", "")]
    again = take(*file, file[0])
    assert (again.code, again.out) == (0, ADDED.format(4, 0, 4, 0))
    assert rows("SELECT count(*) FROM reviews") == [(3,)]


def test_a_changed_mind_is_a_further_review(take: Import, ident: Any, rows: Any) -> None:
    for verdict, outcome in (("approve", "pass"), ("reject", "fail")):
        assert take({"trajectory_id": ident(0), "reviewer": "ann", "verdict": verdict}).out == ADDED.format(1, 1, 0, 0)
        assert rows(VERDICTS)[0][1] == outcome
    assert rows("SELECT count(*), count(*) FILTER (verdict = 'reject') FROM reviews_current") == [(1, 1)]


def test_columns_with_other_names_and_tags_in_either_form(take: Import, ident: Any, rows: Any) -> None:
    file = [
        {"id": ident(0), "who": "ann", "label": "approve", "response": "It is 0.", "tags": "a, b,"},
        {"id": ident(1), "who": "ann", "label": "approve", "text": "It is 1.", "tags": ["c"]},
    ]
    mapping = ("--map", "trajectory_id=id", "--map", "reviewer=who", "--map", "verdict=label")
    assert take(*file, options=mapping).out == ADDED.format(2, 2, 0, 0)
    assert rows("SELECT tags FROM reviews ORDER BY number") == [(["a", "b"],), (["c"],)]


GOOD = {"trajectory_id": "ID", "reviewer": "ann", "verdict": "approve"}


BAD: list[tuple[Any, str]] = [
        ('{"trajectory_id": "x', "no JSON: "),
        ("[1]\n", "a JSON list, not an object"),
        ({"reviewer": "ann", "verdict": "approve"},
         "it names no trajectory: give `trajectory_id`, or `prompt` and `response`"),
        ({**GOOD, "trajectory_id": None, "prompt": "What is 0?"}, "it names no trajectory"),
        ({**GOOD, "trajectory_id": 7}, "`trajectory_id` is int, not text"),
        ({**GOOD, "trajectory_id": "abc"}, "'abc' is no id: give at least 4 of its hexadecimal characters"),
        ({**GOOD, "trajectory_id": "zzzz' OR true"}, "\"zzzz' or true\" is no id: give at least 4"),
        ({**GOOD, "trajectory_id": "0" * 64}, f"no trajectory has an id that starts with {'0' * 64}"),
        ({**GOOD, "trajectory_id": "0" * 65}, "no trajectory has an id that starts with 000"),
        ({**GOOD, "trajectory_id": "", "prompt": "What is 9?", "response": "It is 9."},
         "no trajectory has this prompt and response"),
        ({**GOOD, "trajectory_id": "", "prompt": "What is 4?", "response": "It is 4."},
         "2 trajectories have this prompt and response: "),
        ({**GOOD, "response": "It was 0."},
         "its `response` is not the text that the trajectory has now; look at it again"),
        ({**GOOD, "verdict": "maybe"}, "the verdict is 'maybe'; there are: approve, reject, edit"),
        ({**GOOD, "verdict": True}, "`verdict` is bool, not text"),
        ({**GOOD, "verdict": ""}, "there is no `verdict`; name its column with --map verdict=COLUMN"),
        ({**GOOD, "reviewer": None}, "there is no `reviewer`"),
        ({**GOOD, "reviewer": " \t"}, "a reviewer's name is 1 to 100 printable characters"),
        ({**GOOD, "reviewer": "a" * 101}, "a reviewer's name is 1 to 100 printable characters"),
        ({**GOOD, "verdict": "edit"}, "an edit needs the edited `text`"),
        ({**GOOD, "verdict": "edit", "text": "It is 0.\n"}, "the edited text is the text as it was"),
        ({**GOOD, "text": "It is nought."}, "approve, but the text was changed: say edit, or leave `text` out"),
        ({**GOOD, "text": ["It is 0."]}, "`text` is list, not text"),
        ({**GOOD, "tags": [1]}, "`tags` is neither a list of texts nor a text with commas"),
        ({**GOOD, "tags": {"a": 1}}, "`tags` is neither a list of texts nor a text with commas"),
        ({**GOOD, "note": "x" * 20_001}, "the note is longer than 20,000 characters"),
    ]  # fmt: skip


def test_rows_that_cannot_be_taken_are_named_and_the_rest_goes_on(take: Import, ident: Any, rows: Any) -> None:
    file: list[Any] = []
    for row, _ in BAD:
        if isinstance(row, dict) and row.get("trajectory_id") == "ID":
            row = {**row, "trajectory_id": ident(0)}
        file.append((row if isinstance(row, str) else json.dumps(row)).rstrip("\n") + "\n")
    with_good = [*file, {**GOOD, "trajectory_id": ident(1)}]
    for start in range(0, len(file), 15):  # no more than 20 notes are shown
        part = with_good[start : start + 15]
        done = take(*part)
        expected = BAD[start : start + 15]
        told = {int(line.split(":")[1]): line.split(": left out: ")[1] for line in done.err.splitlines()}
        assert sorted(told) == list(range(1, len(expected) + 1))
        for number, (row, reason) in enumerate(expected, start=1):
            assert told[number].startswith(reason), row
        assert done.code == 1
        assert done.out == ADDED.format(len(part), len(part) - len(expected), 0, len(expected))
    assert rows("SELECT count(*) FROM reviews") == [(1,)]


def test_a_start_that_several_ids_have_is_left_out(take: Import, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.review_import._SHORTEST", 1)
    ids = sorted(r[0] for r in rows("SELECT DISTINCT trajectory_id FROM trajectories"))
    starts = [i[0] for i in ids]
    twice = next((s for s in starts if starts.count(s) > 1), None)
    if twice is None:
        pytest.skip("six ids with six different first characters")
    done = take({**GOOD, "trajectory_id": twice})
    assert f"{starts.count(twice)} trajectories have an id that starts with {twice}: " in done.err


def test_odd_texts_are_taken_as_they_are(take: Import, ident: Any, rows: Any) -> None:
    odd = "NUL \0, lone \ud800, ' \" \\, 😀, right \u200fto left, line\u2028end"
    long = "a " * 250_000
    done = take(
        {**GOOD, "trajectory_id": ident(0), "verdict": "edit", "text": odd, "note": odd, "tags": [odd]},
        {**GOOD, "trajectory_id": ident(1), "verdict": "edit", "text": long},
    )
    assert done.out == ADDED.format(2, 2, 0, 0)
    stored = rows("SELECT text FROM trajectories WHERE engine = 'review' ORDER BY length(text)")
    assert stored == [(odd.replace("\ud800", "\ufffd"),), (long,)]


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        ("", (), "InputError: said.jsonl: the file is empty"),
        ("{}\n", (), "InputError: said.jsonl: no review in it; first problem: said.jsonl:1: left out: "),
        (
            "{}\n",
            ("--map", "verdikt=label"),
            "ConfigError: --map verdikt=...: there is no field 'verdikt'; there are: ",
        ),
        ("{}\n", ("--layout", "gsm8k"), "ConfigError: --layout says nothing about reviews; leave it out"),
        ("{}\n", ("--domain", "math"), "ConfigError: --domain says nothing about reviews; leave it out"),
    ],
)
def test_files_and_options_that_mean_nothing(
    refused: Any, tmp_path: Path, content: str, options: tuple[str, ...], line: str
) -> None:
    (tmp_path / "said.jsonl").write_text(content)
    assert refused("import", "said.jsonl", "--as", "reviews", "--warehouse", "data", *options).startswith(line)
    assert refused("import", "gone.jsonl", "--as", "reviews", "--warehouse", "data").endswith("no such file")


def test_there_is_nothing_to_review_without_a_warehouse(refused: Any, tmp_path: Path) -> None:
    write(tmp_path / "said.jsonl", [GOOD])
    assert "no warehouse here" in refused("import", "said.jsonl", "--as", "reviews", "--warehouse", "none")
    assert not (tmp_path / "none").exists()


def test_what_was_submitted_before_a_kill_comes_with_the_next_import(
    take: Import, ident: Any, rows: Any, monkeypatch: pytest.MonkeyPatch, warehouse: Path
) -> None:
    def killed(warehouse: Warehouse) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataengine.importing, "settle", killed)
        assert take({**GOOD, "trajectory_id": ident(0)}).code == 130
    with Journal(Warehouse.open(warehouse)) as journal:
        assert len([r for part in journal.reviews() for r in part]) == 1
    assert rows("SELECT count(*) FROM reviews") == [(0,)]
    assert take({**GOOD, "trajectory_id": ident(1)}).out == ADDED.format(1, 1, 0, 0)
    assert rows("SELECT count(*) FROM reviews") == [(2,)]
    assert [r[:2] for r in rows(VERDICTS)] == [("It is 0.", "pass"), ("It is 1.", "pass")]


# -- flags, and pairs


def test_a_flag_is_taken_and_a_withdrawal_is_not(take: Import, ident: Any, rows: Any) -> None:
    done = take({"trajectory_id": ident(0), "reviewer": "ann", "verdict": "flag", "note": "odd"},
                {"trajectory_id": ident(0), "reviewer": "ann", "verdict": "withdraw"})  # fmt: skip
    assert done.out == ADDED.format(2, 1, 0, 1)
    told = "approve, reject, edit, flag, prefer_a, prefer_b, tie"
    assert f"the verdict is 'withdraw'; there are: {told}" in done.err
    assert rows(VERDICTS) == [("It is 0.", "undecided", "flagged", "odd")]


@pytest.fixture
def pair(warehouse: Path, rows: Any) -> Pair:
    """The two answers to `What is 4?`."""
    found = rows("SELECT trajectory_id, prompt_id FROM trajectories WHERE text = 'It is 4.' ORDER BY policy")
    (a, prompt), (b, _) = found
    row = Pair(pair_id=key(a, b), prompt_id=prompt, a_id=a, b_id=b, run_id="r", created_at=now())
    Warehouse.open(warehouse).append("pairs", [row])
    return row


def test_what_people_prefer_is_taken_by_the_pairs_id(take: Import, pair: Pair, rows: Any) -> None:
    file = [
        {"pair_id": pair.pair_id, "reviewer": "ann", "verdict": "prefer_a", "note": "clearer", "tags": "clear"},
        {"pair_id": pair.pair_id[:8].upper(), "reviewer": "bob", "verdict": "Prefer_A", "a_first": "False"},
        {"pair_id": pair.pair_id, "reviewer": "cem", "verdict": "tie", "a_first": False},
    ]
    assert take(*file).out == ADDED.format(3, 3, 0, 0)
    assert take(*file).out == ADDED.format(3, 0, 3, 0)
    shown = "SELECT reviewer, verdict, a_first, trajectory_id, attempt, note, tags FROM reviews ORDER BY number"
    of = (pair.a_id, 1)
    assert rows(shown) == [
        ("ann", "prefer_a", True, *of, "clearer", ["clear"]),
        ("bob", "prefer_a", False, *of, "", []),
        ("cem", "tie", False, *of, "", []),
    ]
    sql = "SELECT chosen_id, round(score, 3), kept FROM preferences WHERE \"check\" = 'human'"
    assert rows(sql) == [(pair.a_id, 1.667, True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"pair_id": "abcdef"}, "no pairs have an id that starts with abcdef"),
        ({"pair_id": "xyz"}, "'xyz' is no id"),
        ({"verdict": "approve"}, "approve is not said of a pair; there are: prefer_a, prefer_b, tie, flag"),
        ({"pair_id": None}, "prefer_a is said of a pair: give its `pair_id`"),
        ({"a_first": "left"}, "`a_first` is 'left'; there are: true and false"),
        ({"text": "better"}, "`text` says nothing about a pair; leave it out"),
    ],
)
def test_words_on_pairs_that_cannot_be_taken_are_named(
    take: Import, pair: Pair, rows: Any, row: dict[str, Any], reason: str
) -> None:
    good = {"pair_id": pair.pair_id, "reviewer": "ann", "verdict": "prefer_a"}
    done = take({**good, "reviewer": "bob"}, {**good, **row})
    assert done.out == ADDED.format(2, 1, 0, 1)
    assert reason in done.err
    assert rows("SELECT count(*) FROM reviews") == [(1,)]
