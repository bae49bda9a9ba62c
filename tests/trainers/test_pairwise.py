"""`trainers evaluate` on sets without a rule: who is compared, in which order, and what comes of it."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trainers.cli
from dataengine.judge.preference import lone_judge
from dataengine.shipped import load_recipe
from schemas.records import Calibration, now
from tests.dataengine.conftest import Answered, ScriptedServer
from warehouse.connect import connect
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

WORDS = {2: "a_much_better", 1: "a_better", 0: "equal", -1: "b_better", -2: "b_much_better"}
Shown = dict[str, str]


def shown_to(body: dict[str, Any]) -> Shown:
    asked = body["messages"][-1]["content"]
    return dict(re.findall(r"^<(\w+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>$", asked, re.M | re.S))


def better(shown: Shown) -> int | None:
    """A good judge: an answer's worth is the number of its exclamation marks."""
    a, b = (shown[f"response_{side}"].count("!") for side in "ab")
    return (a > b) - (a < b)


class Script:
    """Models `ours` and `theirs`, whose answers a test sets, and a judge."""

    def __init__(self) -> None:
        self.says: dict[str, Callable[[str], str]] = {"ours": lambda q: f"On {q}!", "theirs": lambda q: f"On {q}."}
        self.judge: Callable[[Shown], int | None] = better

    def reply(self, body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" not in body:
            return self.says[body["model"]](body["messages"][-1]["content"]), "stop"
        score = self.judge(shown_to(body))
        if score is None:
            return "I like both.", "stop"
        return json.dumps({"own_answer": "Mine.", "analysis": "So.", "verdict": WORDS[score]}), "stop"


class Bench:
    """A folder with questions, answers, a judge's recipe and evaluation files, and the command on it."""

    def __init__(self, folder: Path, server: ScriptedServer, script: Script, command: Callable[..., Answered]) -> None:
        self.folder, self.server, self.script, self.command = folder, server, script, command
        self.data = folder / "data"
        self.questions([{"question_id": f"q{n}", "turns": [{"content": f"topic {n}"}]} for n in range(20)])
        self.answers([f"On topic {n}." for n in range(20)])
        self.recipe()

    def engine(self, model: str) -> dict[str, Any]:
        return {"kind": "endpoint", "url": self.server.url, "model": model, "revision": "1", "retries": 0}

    def recipe(self, **judge: Any) -> None:
        spec = {"ask": "preference", "engine": "strong", "draws": 2, "order": "both", **judge}
        value = {
            "recipe": "judges",
            "engines": {"strong": self.engine("strong")},
            "judges": {"preference": spec},
            "steps": {"c": {"kind": "calibrate", "judge": "preference", "cases": "gold.jsonl"}},
        }
        (self.folder / "judges.yaml").write_text(json.dumps(value))

    def questions(self, rows: list[dict[str, Any]]) -> None:
        self._write("question.jsonl", rows)

    def answers(self, texts: list[Any], name: str = "gpt.jsonl", turns: list[list[str]] | None = None) -> None:
        said = turns or [[text] for text in texts]
        self._write(
            name,
            [
                {"question_id": f"q{n}", "model_id": "gpt", "choices": [{"index": 0, "turns": t}]}
                for n, t in enumerate(said)
                if t
            ],
        )

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def prove(self, low: float | None = 0.7) -> None:
        """Stores a calibration of the recipe's judge, as it is now."""
        judge = lone_judge("preference", load_recipe(str(self.folder / "judges.yaml")))
        row = Calibration(
            judge=judge.name, version=judge.version, gold=f"gold@{low}", kappa=0.8, low=low, high=0.9, n=90,
            created_at=now(),
        )  # fmt: skip
        Warehouse.open(self.data, create=True).append("calibrations", [row])

    def evaluate(self, *overrides: str, **settings: Any) -> Answered:
        pairwise = {"judge": "preference", "recipe": "judges.yaml", "against": {"answers": "gpt.jsonl"}}
        value = {
            "name": "open",
            "warehouse": "data",
            "engine": self.engine("ours"),
            "prompts": {"hard": {"source": "file", "path": "question.jsonl", "name": "hard", "layout": "arena_hard"}},
            "samples": 1,
            "template": "plain",
            "pairwise": pairwise | settings.pop("pairwise", {}),
            **settings,
        }
        (self.folder / "open.yaml").write_text(json.dumps(value))
        return self.command("evaluate", "open.yaml", *overrides)

    def result(self, *overrides: str, **settings: Any) -> dict[str, Any]:
        done = self.evaluate(*overrides, **settings)
        assert done.code == 0, done
        assert len(done.out.splitlines()) == 1
        told: dict[str, Any] = json.loads(done.out)
        return told

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with connect(self.data) as connection:
            return connection.execute(sql).fetchall()

    def win_rates(self) -> list[dict[str, Any]]:
        """What the shipped question says, from the rows alone."""
        sql = (Path(__file__).parents[2] / "warehouse" / "queries" / "win_rates.sql").read_text()
        with connect(self.data) as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    def command(*args: str) -> Answered:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["trainers", *args])
        capsys.readouterr()
        # At its end the command stops listening to signals; this process goes on.
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        code: Any = 0
        try:
            trainers.cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        told = capsys.readouterr()
        return Answered(code or 0, told.out, told.err)

    script = Script()
    server = ScriptedServer(reply=script.reply)
    try:
        yield Bench(tmp_path, server, script, command)
    finally:
        server.stop()


def draws(bench: Bench) -> list[Shown]:
    return [shown_to(body) for body in bench.server.asked if "structured_outputs" in body]


def test_answers_are_compared_in_both_orders_and_sql_gives_the_same_rates(bench: Bench) -> None:
    """Ten wins, four ties, six losses; the thinking is not shown; run again, nothing is asked."""
    marks = ["!!"] * 10 + ["!"] * 4 + [""] * 6
    bench.script.says["ours"] = lambda q: f"<think>\n!!!!!\n</think>\nOn {q}{marks[int(q.split()[1])]}"
    bench.answers([f"On topic {n}!" for n in range(20)])
    bench.prove()
    done = bench.evaluate()
    assert done.code == 0, done
    told = json.loads(done.out)
    assert (told["wins"], told["ties"], told["losses"], told["undecided"]) == (10, 4, 6, 0)
    value, low, high = told["win_rate"]
    assert value == 0.6 and 0.3 < low < 0.5 < 0.7 < high < 0.9
    assert told["consistency"] == 1.0
    assert (told["policy"], told["baseline"], told["errors"]) == ("ours@1", "gpt@unknown", 0)
    assert "60.0%" in done.err and "gpt@unknown" in done.err

    shown = draws(bench)
    assert len(shown) == 40
    assert sum("!!!!!" in text for s in shown for text in s.values()) == 0
    for n in range(20):
        both = [s for s in shown if s["question"] == f"topic {n}"]
        assert {s["response_a"] for s in both} == {s["response_b"] for s in both}
        assert both[0]["response_a"] == both[1]["response_b"]

    assert bench.rows("SELECT stage, policy, count(*) FROM trajectories GROUP BY ALL ORDER BY ALL") == [
        ("eval", "gpt@unknown", 20),
        ("eval", "ours@1", 20),
    ]
    whole, hard = bench.win_rates()
    assert (whole["part"], hard["part"]) == ("(all)", "hard")
    for name in ("win_rate", "wins", "ties", "losses", "undecided", "no_answer", "questions", "pairs", "consistency"):
        assert whole[name] == (told[name][0] if name == "win_rate" else told[name]), name
    assert whole["step"] == told["step"]
    assert bench.rows("SELECT applicable, pending FROM funnel WHERE stage = '(pairs)'") == [(40, 0)]

    before = len(bench.server.asked)
    again = bench.result()
    assert again == told | {"asked": 0, "judged": 0}
    assert len(bench.server.asked) == before
    assert bench.rows("SELECT count(DISTINCT run_id), count(*) FROM runs") == [(1, 2)]


def test_a_judge_who_goes_by_position_comes_out_as_a_tie(bench: Bench) -> None:
    bench.script.judge = lambda shown: 1
    bench.prove()
    told = bench.result()
    assert (told["wins"], told["ties"], told["losses"], told["consistency"]) == (0, 20, 0, 0.0)
    assert told["win_rate"] == [0.5, 0.5, 0.5]


def test_a_judge_who_loves_length_is_corrected(bench: Bench) -> None:
    """The longer one wins, and ours is the longer one to three questions in four: at equal length nobody is better."""
    bench.script.judge = lambda s: (
        (len(s["response_a"]) > len(s["response_b"])) - (len(s["response_a"]) < len(s["response_b"]))
    )
    long = {n for n in range(20) if n % 4}
    bench.script.says["ours"] = lambda q: "word " * (40 + int(q.split()[1]) if int(q.split()[1]) in long else 3)
    bench.answers([f"{'word ' * 20}{n}" for n in range(20)])
    bench.prove()
    told = bench.result()
    assert told["win_rate"][0] == 0.75
    low, high = told["length_controlled"][1:]
    assert low < 0.5 < high
    assert abs(told["length_controlled"][0] - 0.5) < 0.15
    assert not told["extrapolated"]


def test_a_judge_that_is_not_calibrated_is_refused_before_anybody_is_asked(bench: Bench) -> None:
    def refused() -> str:
        done = bench.evaluate()
        assert (done.code, done.out) == (2, ""), done
        (line,) = done.err.splitlines()
        return line

    start = "JudgeNotCalibrated: evaluation open: the judge 'preference' "
    assert refused().startswith(start) and "is not calibrated: `dataengine judge calibrate preference" in refused()
    bench.prove(low=0.4)
    assert "is too weak: kappa 0.80 (0.40 to 0.90) on 90 cases of gold@0.4, and the low end has to be 0.6" in refused()
    bench.prove(low=0.7)
    bench.recipe(draws=4)
    assert "is not calibrated" in refused(), "another number of draws is another judge"
    bench.recipe(order="drawn")
    assert refused().startswith("ConfigError: pairwise.judge: preference draws which answer is shown first; set `order")
    bench.recipe(ask="helpfulness", order="drawn")
    assert refused().startswith("ConfigError: pairwise.judge: preference judges single responses")
    assert bench.server.asked == []
    assert bench.rows("SELECT count(*) FROM runs") == [(0,)]


def test_replies_that_are_no_verdict_are_undecided_and_counted(bench: Bench) -> None:
    """Of five questions one order is not told: without both there is no verdict, and no vote for what stood first."""
    bench.script.judge = lambda s: (
        None if int(s["question"].split()[1]) < 5 and s["response_a"].endswith("!") else better(s)
    )
    bench.prove()
    told = bench.result()
    assert (told["wins"], told["undecided"], told["questions"], told["win_rate"][0]) == (15, 5, 15, 1.0)
    assert bench.win_rates()[0]["undecided"] == 5
    assert bench.rows("SELECT reason, count(*) FROM pair_verdicts WHERE score IS NULL GROUP BY 1") == [
        ("unparseable", 5)
    ]


def test_who_gives_no_answer_loses_and_no_judge_is_asked(bench: Bench) -> None:
    bench.script.says["ours"] = lambda q: "<think>\nI wonder" if q in ("topic 0", "topic 1") else f"On {q}!"
    bench.prove()
    told = bench.result()
    assert (told["wins"], told["losses"], told["no_answer"], told["win_rate"][0]) == (18, 2, 2, 0.9)
    assert len(draws(bench)) == 36
    assert bench.win_rates()[0]["win_rate"] == 0.9


def test_draws_that_failed_are_named_and_asked_again(bench: Bench) -> None:
    def failing(body: dict[str, Any], before: int) -> str | None:
        return "400" if "structured_outputs" in body and shown_to(body)["question"] == "topic 3" else None

    bench.server.fault = failing
    bench.prove()
    done = bench.evaluate()
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["errors"], told["wins"]) == (2, 19)
    bench.server.fault = lambda body, before: None
    told = bench.result()
    assert (told["errors"], told["missing"], told["wins"], told["judged"]) == (0, 0, 20, 2)


@pytest.fixture
def talks(bench: Bench) -> Bench:
    """MT-bench: two turns; the baseline answers the second of the first six questions only."""
    bench.questions([{"question_id": n, "category": "x", "turns": [f"topic {n}", f"more on {n}"]} for n in range(8)])
    rows = [[f"Base {n}.", f"Base more {n}."][: 2 if n < 6 else 1] for n in range(8)]
    bench._write(
        "gpt.jsonl",
        [{"question_id": n, "model_id": "gpt", "choices": [{"index": 0, "turns": t}]} for n, t in enumerate(rows)],
    )
    bench.script.says["ours"] = lambda q: f"<think>\nSecret.\n</think>\n{q}{'!' if q.startswith('topic') else '?'}"
    bench.prove()
    return bench


MT = {"hard": {"source": "file", "path": "question.jsonl", "name": "mt", "layout": "mt_bench"}}


def test_a_second_turn_follows_each_sides_own_first_answer(talks: Bench) -> None:
    done = talks.evaluate(prompts=MT)
    assert done.code == 0, done
    told = json.loads(done.out)
    asked = [b["messages"] for b in talks.server.asked if "structured_outputs" not in b]
    assert [m["content"] for m in next(a for a in asked if len(a) == 3 and "4" in a[0]["content"])] == [
        "topic 4",
        "topic 4!",
        "more on 4",
    ]
    shown = [s for s in draws(talks) if s["question"] == "User: topic 4\n\nUser: more on 4"]
    assert {s["response_a"] for s in shown} == {
        "Assistant: topic 4!\n\nUser: more on 4\n\nAssistant: more on 4?",
        "Assistant: Base 4.\n\nUser: more on 4\n\nAssistant: Base more 4.",
    }
    assert told["no_baseline"] == {"turn 2": 2}
    assert "turn 2: 2 questions are not compared" in done.err
    assert (told["pairs"], told["questions"]) == (14, 8)
    assert set(told["parts"]) == {"mt", "mt, turn 1", "mt, turn 2"}
    rates = {row["part"]: row for row in talks.win_rates()}
    assert rates["(all)"]["questions"] == 8
    for part, said in told["parts"].items():
        assert rates[part]["win_rate"] == said["win_rate"][0]
    assert talks.result(prompts=MT)["asked"] == 0


def test_several_samples_of_a_question_weigh_as_one(bench: Bench) -> None:
    seen: dict[str, int] = {}

    def ours(question: str) -> str:
        seen[question] = seen.get(question, 0) + 1
        return f"On {question}{'!' * (seen[question] % 2)}"

    bench.script.says["ours"] = ours
    bench.prove()
    told = bench.result(samples=2)
    assert (told["questions"], told["pairs"], told["wins"], told["ties"]) == (20, 40, 20, 20)
    assert told["win_rate"] == [0.75, 0.75, 0.75]


def test_the_baseline_may_be_a_policy_that_is_asked_or_was(bench: Bench) -> None:
    bench.prove()
    against = {"policy": "theirs@1", "answers": None}
    done = bench.evaluate(pairwise={"against": against})
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("InputError: evaluation open: theirs@1 has answered none of 20 samples")
    first = bench.result(pairwise={"against": {"engine": bench.engine("theirs")}})
    assert (first["baseline"], first["wins"], first["judged"]) == ("theirs@1", 20, 40)
    named = bench.result(pairwise={"against": against})
    assert named == first | {"asked": 0, "judged": 0}
    other = bench.evaluate(pairwise={"against": against}, max_tokens=7)
    assert other.code == 2 and "has answered none" in other.err
    itself = bench.evaluate(pairwise={"against": {"policy": "ours@1"}})
    assert itself.code == 2 and "ours@1 is what is evaluated; name another baseline" in itself.err


def test_questions_without_an_answer_of_the_baseline_are_not_asked(bench: Bench) -> None:
    bench.answers([], turns=[[f"On topic {n}."] if n % 2 else [] for n in range(20)])
    bench.prove()
    told = bench.result()
    assert (told["no_baseline"], told["asked"], told["pairs"]) == ({"turn 1": 10}, 10, 10)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"uid": "q1", "model": "m", "messages": [{"role": "user", "content": "topic 1"},
                                                  {"role": "assistant", "content": {"answer": "Two."}}]}, "Two."),
        ({"instruction": "topic 1", "output": "Alpaca.", "generator": "m", "dataset": "x"}, "Alpaca."),
    ],
)  # fmt: skip
def test_answers_in_other_forms_are_read(bench: Bench, row: dict[str, Any], text: str) -> None:
    bench._write("gpt.jsonl", [row])
    bench.prove()
    told = bench.result()
    assert (told["pairs"], told["baseline"], told["no_baseline"]) == (1, "m@unknown", {"turn 1": 19})
    assert {draws(bench)[0][f"response_{side}"] for side in "ab"} == {"On topic 1!", text}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "no answer in it; first problem: gpt.jsonl:1: left out: neither"),
        ([{"question_id": 1, "model_id": "m", "choices": [{"turns": ["x"]}]}] * 2, "answers '1', which a row before"),
        (
            [{"question_id": n, "model_id": f"m{n}", "choices": [{"turns": ["x"]}]} for n in (1, 2)],
            "answers of m1 and m2; a baseline is one model",
        ),
    ],
)
def test_files_that_are_no_baseline_are_refused(bench: Bench, rows: list[dict[str, Any]], problem: str) -> None:
    bench._write("gpt.jsonl", rows or [{"question_id": 3}])
    bench.prove()
    done = bench.evaluate()
    assert done.code == 2
    assert done.err.startswith("InputError: ") and problem in done.err
    assert bench.server.asked == []


def test_a_judge_is_calibrated_in_both_orders_as_it_will_be_asked(bench: Bench) -> None:
    from dataengine.judge.calibrating import calibrate_judge

    cases = [{"prompt": f"topic {n}", "chosen": "Yes!", "rejected": f"No {n}."} for n in range(40)]
    bench._write("gold.jsonl", cases)
    recipe = load_recipe(str(bench.folder / "judges.yaml"))
    report = calibrate_judge(recipe, "preference", bench.data, on=bench.folder / "gold.jsonl", mapping={}, notes=[])
    assert report.agreement.low is not None and report.agreement.low > 0.6
    assert len(draws(bench)) == 80
    assert bench.result()["win_rate"][0] == 1.0


@pytest.mark.parametrize("table", ["trajectories", "pairs", "pair_steps", "pair_verdicts"])
def test_a_killed_evaluation_goes_on_to_the_same_rows(
    talks: Bench, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    append = Warehouse.append

    def killing(self: Warehouse, name: str, rows: Any) -> Any:
        if name == table:
            raise Killed
        return append(self, name, rows)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Warehouse, "append", killing)
        talks.evaluate(prompts=MT)
    told = talks.result(prompts=MT)
    assert (told["pairs"], told["missing"]) == (14, 0)
    for name, count in (("trajectories", 28), ("pairs", 14), ("pair_steps", 14), ("pair_verdicts", 28)):
        assert talks.rows(f"SELECT count(*) FROM {name}") == [(count,)], name
