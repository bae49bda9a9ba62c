"""`dataengine judge calibrate`: planted judges are recognised for what they are; figures are those of the formula."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.judge.calibration import agreement, surprise, within_labels

Counts = dict[tuple[str, str], int]
Says = Callable[[str, bool], bool | None]


def by_chance(text: str, share: float) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8 < share


# Whether a planted judge says `correct` of a response, which is or is not; None for prose.
PLANTED: dict[str, Says] = {
    "oracle": lambda response, right: right,
    "oracle but once": lambda response, right: right or response.startswith("Case 199"),
    "noisy oracle": lambda response, right: right != by_chance(response, 0.2),
    "always correct": lambda response, right: True,
    "random": lambda response, right: by_chance(response, 0.5),
    "longest": lambda response, right: len(response) > 120,
    "prose": lambda response, right: None if by_chance(response, 0.3) else right,
}


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """200 cases, half of them right; the response's length says nothing of that."""
    rows = []
    for i in range(200):
        right = i % 2 == 0
        words = "I count once more. " * (1 + (i // 2) % 10)
        response = f"Case {i:03}. {words}<answer>{i if right else i + 1}</answer>"
        rows.append({"prompt": f"What is {i}?", "response": response, "reference": str(i), "label": right})
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def calibrate(cli: Any, recipe: Any, scripted: Any, cases: Path) -> Callable[..., Any]:
    def call(says: Says, *options: str) -> Any:
        known = {row["response"][:9]: row for row in map(json.loads, cases.read_text().splitlines()[:200])}

        def reply(body: dict[str, Any]) -> tuple[str, str]:
            found = re.search(r"Case \d{3}\.", body["messages"][-1]["content"])
            assert found is not None
            case = known[found.group()]
            told = says(case["response"], case["label"])
            if told is None:
                return "I would say that it is correct.", "stop"
            return json.dumps({"analysis": "It stands there.", "verdict": "correct" if told else "incorrect"}), "stop"

        scripted.reply = reply
        path = recipe(scripted, judge={}, engine={"price": {"input": 1.0, "output": 1.0}})
        on = () if "--on-reviews" in options else ("--on", cases)
        return cli("judge", "calibrate", "judge", "--recipe", path, "--warehouse", "data", *on, *options)

    return call


@pytest.mark.parametrize(
    ("name", "kappa", "said"),
    [
        ("oracle", (1.0, 1.0), ""),
        # What it got wrong is the longest of all: of one case that says nothing.
        ("oracle but once", (0.99, 0.99), ""),
        ("noisy oracle", (0.45, 0.75), ""),
        ("always correct", (0.0, 0.0), "It says `correct` of everything."),
        ("random", (-0.2, 0.2), "It agrees no better than chance would."),
        ("longest", (-0.05, 0.05), "It prefers longer responses, right or wrong."),
        ("prose", (0.4, 0.8), "It gave no verdict on "),
    ],
)
def test_planted_judges_are_recognised(
    calibrate: Any, rows: Any, name: str, kappa: tuple[float, float], said: str
) -> None:
    done = calibrate(PLANTED[name])
    assert done.code == 0, done
    remarks = [line for line in done.out.splitlines() if line.startswith("It ")]
    assert any(line.startswith(said) for line in remarks) if said else not remarks, done.out
    ((judge, found, low, high, n, gold, report),) = rows(
        "SELECT judge, kappa, low, high, n, gold, report FROM calibrations"
    )
    assert (judge, n) == ("judge", 200)
    assert kappa[0] <= found <= kappa[1]
    assert low <= found <= high
    assert gold.startswith("gold.jsonl@")
    assert json.loads(report)["usd"] > 0


def test_asked_again_it_says_the_same_and_stores_it_once(calibrate: Any, rows: Any, tmp_path: Path) -> None:
    first = calibrate(PLANTED["noisy oracle"], "--out", "said.jsonl")
    assert calibrate(PLANTED["noisy oracle"]).out == first.out
    assert rows("SELECT count(*) FROM calibrations") == [(1,)]
    told = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert len(told) == 200
    assert {row["votes"][0]["verdict"] for row in told} == {"correct", "incorrect"}


def test_figures_of_a_wrong_column_do_not_stand_in_the_way_of_the_right_one(
    calibrate: Any, cases: Path, rows: Any
) -> None:
    listed = [json.loads(line) for line in cases.read_text().splitlines()]
    cases.write_text("".join(json.dumps(row | {"other": not row["label"]}) + "\n" for row in listed))
    assert calibrate(PLANTED["oracle"], "--map", "label=other").code == 0
    assert calibrate(PLANTED["oracle"]).code == 0
    assert rows("SELECT kappa FROM calibrations ORDER BY 1") == [(-1.0,), (1.0,)]


def test_an_out_that_cannot_be_is_refused_before_anything_is_asked(
    calibrate: Any, cases: Path, scripted: Any, tmp_path: Path
) -> None:
    before = cases.read_text()
    (tmp_path / "folder").mkdir()
    for out, problem in (("gold.jsonl", "is the input file"), ("folder", "is a folder")):
        done = calibrate(PLANTED["oracle"], "--out", out)
        assert (done.code, scripted.asked) == (2, [])
        assert f"ConfigError: --out {out}: {problem}; name" in done.err
    assert cases.read_text() == before


def test_engines_that_are_paid_by_the_hour_cost_something(
    calibrate: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    assert calibrate(PLANTED["oracle"], "engines.scripted.price={hour: 3600}").code == 0
    ((told,),) = rows("SELECT report FROM calibrations")
    told = json.loads(told)
    assert 0 < told["seconds"] < 300
    assert told["usd"] == pytest.approx(told["seconds"], abs=0.01)


def test_rows_without_a_label_are_named_and_left_out(calibrate: Any, cases: Path, rows: Any) -> None:
    with cases.open("a") as file:
        file.write(
            '{"prompt": "What?", "response": "x", "reference": "x", "label": "maybe"}\n{"prompt": "What?"}\n[]\n'
        )
    done = calibrate(PLANTED["oracle"])
    assert done.code == 1
    assert [line.partition(": left out: ")[0].rpartition(":")[2] for line in done.err.splitlines()[1:]] == [
        "201",
        "202",
        "203",
    ]
    assert "the label is 'maybe'; there are: correct, incorrect, or true and false" in done.err
    assert rows("SELECT n FROM calibrations") == [(200,)]


@pytest.mark.slow
def test_what_people_said_calibrates_as_well(calibrate: Any, cli: Any, cases: Path, rows: Any, tmp_path: Path) -> None:
    cli("import", cases, "--as", "trajectories", "--warehouse", "data", "--verifier", "exact")
    (tmp_path / "said.jsonl").write_text(
        "".join(
            json.dumps({"prompt": r["prompt"], "response": r["response"], "reviewer": "ann",
                        "verdict": "approve" if r["label"] else "reject"}) + "\n"
            for r in list(map(json.loads, cases.read_text().splitlines()))[:20]
        )
    )  # fmt: skip
    assert cli("import", "said.jsonl", "--as", "reviews", "--warehouse", "data").code == 0
    done = calibrate(PLANTED["oracle"], "--on-reviews")
    assert done.code == 0, done
    assert rows("SELECT n, kappa FROM calibrations WHERE gold LIKE 'reviews@%'") == [(20, 1.0)]


def test_wrong_calls_are_one_line(refused: Any, recipe: Any, scripted: Any, cases: Path) -> None:
    path = recipe(scripted, judge={})
    call = ("judge", "calibrate", "judge", "--recipe", path, "--warehouse", "data")
    assert refused(*call) == "ConfigError: give either --on FILE or --on-reviews"
    assert "--map lable=...: there is no field 'lable'; there are: prompt, response, reference, label" in refused(
        *call, "--on", cases, "--map", "lable=right"
    )
    assert "no warehouse here" in refused(*call, "--on-reviews")
    other = ("judge", "calibrate", "other", "--recipe", path, "--on", cases)
    assert "has no judge 'other' (known: judge)" in refused(*other)
    cases.write_text('{"prompt": "x"}\n')
    assert "no labelled case in it; first problem" in refused(*call, "--on", cases)


def test_kappa_is_that_of_worked_examples() -> None:
    # Observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert (
        agreement({("pass", "pass"): 20, ("pass", "fail"): 5, ("fail", "pass"): 10, ("fail", "fail"): 15}).kappa == 0.4
    )
    # Without a verdict is agreement with nothing: observed 0.5, expected 0.25 + 0.25 * 0.5.
    half = agreement({("pass", "pass"): 2, ("fail", "undecided"): 1, ("fail", "fail"): 0, ("pass", "undecided"): 1})
    assert half.kappa == pytest.approx((0.5 - 0.375) / (1 - 0.375))
    assert agreement({("pass", "pass"): 9}).kappa is None


def test_a_few_cases_without_an_error_open_no_gate() -> None:
    few, many = (agreement({("pass", "pass"): n, ("fail", "fail"): n}) for n in (5, 200))
    assert few.kappa == many.kappa == few.high == many.high == 1.0
    assert few.low is not None and few.low < 0.6
    assert many.low is not None and many.low > 0.95


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(lambda n: n[0] + n[1] > 0 < n[2] + n[3]))
@settings(max_examples=30)
def test_kappa_lies_in_its_interval_and_does_not_depend_on_which_side_is_which(cells: list[int]) -> None:
    counts: Counts = dict(
        zip([("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("fail", "fail")], cells, strict=True)
    )
    found = agreement(counts)
    turned = agreement({(b, a): n for (a, b), n in counts.items()})
    assert found.kappa == turned.kappa
    if found.kappa is not None and found.low is not None and found.high is not None:
        assert -1 <= found.low <= found.kappa + 0.05
        assert found.kappa - 0.05 <= found.high <= 1


def test_length_is_compared_within_labels_alone() -> None:
    labels, told = ["pass", "pass", "fail", "fail"], ["pass", "fail", "pass", "fail"]
    assert within_labels(labels, told, [5, 1, 9, 2]) == 1.0
    assert within_labels(labels, told, [3, 3, 9, 9]) == 0.5
    assert within_labels(["pass", "fail"], ["pass", "fail"], [9, 1]) is None


def test_how_surprising_it_is_is_that_of_the_rank_sum_test() -> None:
    # One label: {3, 4} passed, {1, 2} failed. All 4 pairs instead of 2; variance 2 * 2 / 12 * 5.
    labels, told = ["pass"] * 4, ["pass", "pass", "fail", "fail"]
    assert surprise(labels, told, [3, 4, 1, 2]) == pytest.approx(2 / (5 / 3) ** 0.5)
    assert surprise(labels, told, [1, 2, 3, 4]) == pytest.approx(-2 / (5 / 3) ** 0.5)
    # {2, 3} and {1, 2}: 3.5 pairs; a tie of two, so the variance is 2 * 2 / 12 * (5 - 6 / 12).
    assert surprise(labels, told, [2, 3, 1, 2]) == pytest.approx(1.5 / 1.5**0.5)
    assert surprise(labels, told, [7, 7, 7, 7]) == 0.0
    assert surprise(["pass", "fail"], ["pass", "fail"], [9, 1]) == 0.0
