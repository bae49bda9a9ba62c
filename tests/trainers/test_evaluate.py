"""Evaluations against a scripted server: results, few-shot beside zero-shot, rows and metrics, refusals."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataengine.engines.weights import Model
from dataengine.policy import Policy
from dataengine.scores import Attempt, score
from schemas.errors import ConfigError
from schemas.recipe import EmbeddedEngine
from schemas.yaml_file import load_yaml
from tests.dataengine.conftest import ScriptedServer
from trainers.evaluate import EvaluateConfig, evaluate, load_evaluation
from trainers.results import Result, Training, training_of, write_metrics
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.store import Warehouse
from warehouse.views import names_in

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def solved(low: int, high: int) -> list[dict[str, str]]:
    """Sums in GSM8K's form, with a worked solution."""
    return [
        {"question": f"What is {a} + 4?", "answer": f"Start at {a}, four more: <<{a}+4={a + 4}>>{a + 4}.\n#### {a + 4}"}
        for a in range(low, high)
    ]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    started = ScriptedServer()
    yield started
    started.stop()


@pytest.fixture
def config(tmp_path: Path, server: ScriptedServer) -> Write:
    """Writes an evaluation of the scripted server on eight sums; keyword arguments are further settings."""
    lines(tmp_path / "test.jsonl", solved(10, 18))
    lines(tmp_path / "train.jsonl", solved(14, 30))

    def write(**settings: Any) -> Path:
        engine = {"kind": "endpoint", "url": server.url, "model": "scripted", "revision": "1", "retries": 0}
        files = {
            n: {"source": "file", "path": str(tmp_path / f"{n}.jsonl"), "layout": "gsm8k"} for n in ("test", "train")
        }
        values = {
            "name": "sums", "warehouse": str(tmp_path / "data"), "engine": engine, "prompts": files, "sets": ["test"],
            "samples": 4, "checks": ["math", "format", "features"], "max_tokens": 300, **settings,
        }  # fmt: skip
        path = tmp_path / "evaluation.yaml"
        path.write_text(json.dumps(values))
        return path

    return write


def run(path: Path) -> dict[str, Any]:
    return evaluate(load_yaml(path, EvaluateConfig))


def asked(tmp_path: Path, sql: str) -> list[dict[str, Any]]:
    with connect(tmp_path / "data", only=names_in(sql)) as connection:
        return as_dicts(connection.execute(sql))


def test_few_shot_stands_beside_zero_shot(
    config: Write, server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(config(shots=[0, 3], shots_from="train"))
    assert [(r["source"], r["shots"], r["prompts"], r["samples"]) for r in done["results"]] == [
        ("test", 0, 8, 32),
        ("test", 3, 8, 32),
    ]
    assert (done["asked"], done["errors"], done["policy"]) == (64, 0, "scripted@1")
    turns = [len(body["messages"]) for body in server.asked]
    assert sorted(set(turns)) == [2, 8]
    # The examples are worked, and none of them is evaluated, though the sets share some.
    shown = next(body["messages"] for body in server.asked if len(body["messages"]) == 8)
    assert shown[2]["content"].startswith("<think>\nStart at ")
    assert "<<" not in shown[2]["content"]
    evaluated = {row["question"] for row in solved(10, 18)}
    assert not {m["content"] for m in shown[1:-1]} & evaluated
    assert shown[-1]["content"] in evaluated
    table = capsys.readouterr().err
    assert "95% intervals" in table
    assert [line.split()[:2] for line in table.splitlines() if line.startswith("test")] == [
        ["test", "0"],
        ["test", "3"],
    ]


def test_sql_says_what_the_evaluation_said(config: Write, tmp_path: Path) -> None:
    done = run(config(shots=[0, 2], shots_from="train"))
    table = asked(tmp_path, "SELECT * FROM evaluation")
    assert [row["setting"].partition(" examples=")[0] for row in table] == ["think T=0.6 top_p=0.95 max=300"] * 2
    for row, result in zip(table, done["results"], strict=True):
        assert (row["shots"], row["k"]) == (result["shots"], 4)
        for column, name in (
            ("strict", "strict"),
            ("lenient", "pass@1"),
            ("pass_at_k", "pass@4"),
            ("cons_at_k", "cons@4"),
        ):
            assert row[column] == pytest.approx(result[name][0], abs=1e-4)
        assert row["mean_tokens"] == result["mean_tokens"]
    ks = asked(tmp_path, "SELECT k, pass_at_k FROM pass_at_k WHERE shots = 2")
    assert {r["k"]: r["pass_at_k"] for r in ks} == {k: done["results"][1][f"pass@{k}"][0] for k in (1, 2, 4)}


def test_run_again_it_asks_for_nothing_and_says_the_same(config: Write, server: ScriptedServer, tmp_path: Path) -> None:
    first = run(config())
    counts = "SELECT (SELECT count(*) FROM metrics) AS m, (SELECT count(*) FROM verdicts) AS v"
    before = asked(tmp_path, counts)
    again = run(config())
    assert again == first | {"asked": 0}
    assert asked(tmp_path, counts) == before
    more = run(config(samples=6))
    assert (more["asked"], more["samples"]) == (16, 48)


def test_every_score_is_a_metric_and_a_number_that_is_there_stays(
    config: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(config(shots=[0, 1], shots_from="train", limit=4))
    found = {r["name"]: r["value"] for r in asked(tmp_path, "SELECT * FROM metrics WHERE run_id = 'scripted@1'")}
    assert found["eval/sums/test/pass@1"] == pytest.approx(done["lenient"][0], abs=1e-4)
    assert {"eval/sums/test/1-shot/cons@4", "eval/sums/test/reflections", "eval/sums/test/tokens"} <= found.keys()
    assert "another `name`" not in capsys.readouterr().err
    run(config())
    assert "stay (eval/sums/test/" in capsys.readouterr().err
    run(config(name="all-sums"))
    assert "another `name`" not in capsys.readouterr().err


def test_a_metric_belongs_to_the_step_of_its_training(tmp_path: Path) -> None:
    def policy(folder: Path) -> Policy:
        return Policy("p@1", EmbeddedEngine(kind="embedded", model=str(folder)), Model(folder, "p@1"))

    made, state, other = tmp_path / "made", tmp_path / "state-00000020", tmp_path / "other"
    for folder in (made, state, other):
        folder.mkdir()
    (made / "training.json").write_text(json.dumps({"key": "abc", "steps": 40, "trainer": "grpo"}))
    (state / "progress.json").write_text(json.dumps({"key": "abc", "step": 20}))
    trained = training_of(policy(made))
    assert trained == Training("abc", 40, "grpo")
    assert training_of(policy(state)) == Training("abc", 20)
    assert training_of(policy(other)) is None
    warehouse = Warehouse.open(tmp_path / "data", create=True)
    for training, right in ((training_of(policy(state)), False), (trained, True)):
        scores = score([Attempt("p", "sums", right, right, True, True, votes=True, vote="7", tokens=9)])
        write_metrics(warehouse, "sums", "p@1", training, [Result(None, 0, scores), Result("sums", 0, scores)])
    curve = asked(tmp_path, "SELECT step, value FROM curves WHERE run_id = 'abc' AND name = 'eval/sums/pass@1'")
    assert [(r["step"], r["value"]) for r in curve] == [(20, 0.0), (40, 1.0)]


def test_equal_answers_vote_together_however_they_are_written(
    config: Write, server: ScriptedServer, tmp_path: Path
) -> None:
    # The reference is 14: twice right in two forms, and three times a half. By their text 14 would be among the first.
    said = iter(["14", "14.0", "1/2", "0.5", r"$\frac{1}{2}$"])
    server.reply = lambda body: (f"<think>\nSo.\n</think>\nIt is\n<answer>{next(said)}</answer>", "stop")
    done = run(config(samples=5, limit=1))
    assert (done["pass@1"][0], done["cons@5"][0]) == (0.4, 0.0)
    votes = asked(tmp_path, "SELECT vote, count(*) AS n FROM evaluated GROUP BY vote ORDER BY n")
    assert [(r["vote"], r["n"]) for r in votes] == [("", 2), ("0.5", 3)]
    assert asked(tmp_path, "SELECT cons_at_k FROM evaluation") == [{"cons_at_k": 0.0}]


def test_examples_come_from_a_file_in_its_order(config: Write, server: ScriptedServer, tmp_path: Path) -> None:
    worked = [
        {"question": f"{i} + 1?", "reasoning": "One more.", "answer": f"<answer>{i + 1}</answer>"} for i in range(3)
    ]
    run(config(shots=2, shots_from=str(lines(tmp_path / "worked.jsonl", worked)), samples=1, limit=1))
    (body,) = server.asked
    assert [m["content"] for m in body["messages"][1:5:2]] == ["0 + 1?", "1 + 1?"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shots": 5}, "test: its `demonstrations`: 0 worked examples that are not evaluated, and 5 shots are wanted"),
        ({"shots": 13, "shots_from": "train"}, "shots_from: train: 12 worked examples that are not evaluated, and 13"),
        ({"shots": 1, "shots_from": "nowhere.jsonl"}, "nowhere.jsonl is neither a file nor a prompt set"),
        ({"shots": 1, "shots_from": "bare"}, "bare has no worked solutions"),
        ({"shots": 1, "shots_from": "torn.jsonl"}, "torn.jsonl:1: no worked example: reasoning: Field required"),
        ({"template": "thinking"}, "there is no template 'thinking'"),
        ({"checks": ["maths"]}, "there is no check 'maths'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_is_asked(
    config: Write, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "torn.jsonl", [{"question": "1?", "answer": "1"}])
    bare = {"source": "inline", "name": "bare", "prompts": [{"prompt": "1 + 1?", "reference": "2"}]}
    path = config(**settings)
    value = json.loads(path.read_text())
    value["prompts"]["bare"] = bare
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")) as told:
        run(path)
    assert "\n" not in str(told.value)
    assert server.asked == []


def test_a_set_without_solutions_shows_its_answers_where_no_reasoning_is_asked_for(
    config: Write, server: ScriptedServer, tmp_path: Path
) -> None:
    path = config(shots=1, shots_from="bare", template="plain", samples=1, limit=1)
    value = json.loads(path.read_text())
    value["prompts"]["bare"] = {"source": "inline", "name": "bare", "prompts": [{"prompt": "1 + 1?", "reference": "2"}]}
    path.write_text(json.dumps(value))
    run(path)
    (body,) = server.asked
    assert [m["content"] for m in body["messages"][:2]] == ["1 + 1?", "The answer is 2."]


def test_the_command_ends_with_one_line_of_json(config: Write, trainers_command: list[str]) -> None:
    done = subprocess.run(
        [*trainers_command, "evaluate", str(config()), "samples=1"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["samples"] == 8
    assert "pass@1" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gsm9k"], "ConfigError: gsm9k: no file, and no shipped benchmark; there are: aime, arc, bbh, gpqa, gsm8k"),
        (["gsm8k", "k=4"], "k is no setting here"),
        (["gsm8k", "data=/nowhere"], "ConfigError: data: /nowhere is not there; prompts.gsm8k.file names it"),
        (["bbh", "data=/dev/null"], "ConfigError: data: /dev/null is no folder, and there are 27 sets to be read"),
    ],
)
def test_a_wrong_command_is_one_line(trainers_command: list[str], tmp_path: Path, words: list[str], said: str) -> None:
    done = subprocess.run(
        [*trainers_command, "evaluate", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_benchmark_reads_its_files_packed_or_not(tmp_path: Path) -> None:
    lines(tmp_path / "test.jsonl", solved(1, 4))
    found = load_evaluation("gsm8k", [f"data={tmp_path}"]).sources
    assert found["gsm8k"].names == ["gsm8k"]
    assert found["worked"].source == "datasets"  # not read without shots
    with pytest.raises(ConfigError, match=r"train\.jsonl is not there; prompts\.worked\.file names it"):
        _ = load_evaluation("gsm8k", [f"data={tmp_path}", "shots=[0,2]"]).sources
