"""The step `import`: an SFT file that somebody has becomes trajectories like any other, once, row by row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

ALPACA = [
    {"instruction": "Translate into French.", "input": "Good day", "output": "Bonjour"},
    {"instruction": "Who are you?", "input": "", "output": "I am {{name}}, made by {{ author }}."},
    {"instruction": "And then?", "output": "Rain.", "system": "Be short.", "history": [["Weather?", "Sun."]]},
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": "Name a river."}, {"from": "gpt", "value": "The Elbe."}]},
    {
        "id": "b",
        "system": "You know rivers.",
        "conversations": [
            {"from": "user", "value": "One more?"},
            {"from": "gpt", "value": "The Oder."},
            {"from": "human", "value": "Another?"},
            {"from": "gpt", "value": "The Rhine."},
            {"from": "human", "value": "Thanks, and one more?"},
        ],
    },
]


@pytest.fixture
def reuse(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of rows and a recipe whose step `reused` imports it; `steps` go after it."""

    def write(rows: list[Any], steps: dict[str, Any] | None = None, *, more: Any = None, **step: Any) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "chats.jsonl").write_text("".join(line + "\n" for line in lines))
        reused = {"kind": "import", "path": str(tmp_path / "chats.jsonl"), "checks": ["length", "format"], **step}
        path = tmp_path / "reuse.yaml"
        path.write_text(json.dumps({"recipe": "reuse", "steps": {"reused": reused, **(steps or {})}, **(more or {})}))
        return path

    return write


def run(cli: Cli, recipe: Path, *more: object) -> Any:
    return cli("run", recipe, "--warehouse", "data", *more)


def test_rows_that_cannot_be_taken_are_named_by_the_step_and_by_the_command(cli: Cli, reuse: Any) -> None:
    told = ["chats.jsonl:1: left out: no JSON: Expecting property name enclosed in double quotes at column 2",
            "chats.jsonl:2: left out: the conversation is no list of turns"]  # fmt: skip
    recipe = reuse(["{torn", {"conversations": "hello"}, *SHAREGPT, SHAREGPT[0]], layout="sharegpt", checks=["length"])
    done = run(cli, recipe)
    assert done.code == 0
    assert [line.strip() for line in done.out.splitlines()[:2]] == told
    assert "2 replies added: 5 rows = 2 wanted + 1 said twice + 2 left out" in done.out
    # The command takes the same rows.
    args = ("import", "chats.jsonl", "--as", "trajectories", "--layout", "sharegpt", "--stage", "non_reasoning")
    again = cli(*args, "--with", "length", "--warehouse", "data")
    assert (again.code, again.err.splitlines()) == (1, told)
    assert again.out == "trajectories: 5 rows = 0 added + 3 there before + 2 left out\n"


def test_a_file_in_another_layout_is_told(reuse: Any, refused: Any) -> None:
    assert refused("run", reuse(SHAREGPT), "--warehouse", "data").endswith("or the layout of the file: sharegpt")
    told = refused("run", reuse(SHAREGPT, layout="chatml"), "--warehouse", "data")
    assert told.startswith("ConfigError: there is no layout 'chatml'; there are: ")


FUNNEL = 'SELECT "check", applicable, pending FROM funnel WHERE "check" NOT LIKE \'(%\' ORDER BY 1'


@pytest.mark.slow
def test_a_second_run_does_nothing_and_a_changed_check_checks_again(cli: Cli, reuse: Any, rows: Any) -> None:
    assert "3 replies added: 3 rows = 3 wanted" in run(cli, reuse(ALPACA, layout="alpaca")).out
    assert rows(FUNNEL) == [("format", 3, 0), ("length", 3, 0)]
    again = run(cli, reuse(ALPACA, layout="alpaca"))
    assert again.code == 0
    assert again.out.splitlines()[-1].startswith("nothing to do: ")
    assert rows("SELECT count(*) FROM runs") == [(2,)]
    checks = [{"check": "length", "params": {"max_chars": 6}}, "format"]
    assert run(cli, reuse(ALPACA, layout="alpaca", checks=checks)).code == 0
    assert rows(FUNNEL) == [("format", 3, 0), ("length", 3, 0)]
    assert rows("SELECT count(*) FROM verdicts_current WHERE \"check\" = 'length' AND outcome = 'pass'") == [(1,)]
    assert rows("SELECT count(*) FROM verdicts WHERE \"check\" = 'format'") == [(3,)]
    assert rows("SELECT count(*) FROM trajectories") == [(3,)]


@pytest.mark.slow
def test_checks_of_a_stages_samples_are_not_expected_of_imports(
    cli: Cli, reuse: Any, rows: Any, scripted: Any, tmp_path: Path
) -> None:
    # One of the file's prompts is sampled as well, so that it has two sources; another file holds it too.
    (tmp_path / "others.jsonl").write_text(json.dumps({"prompt": "Name a river.", "response": "The Nile."}) + "\n")
    more = {
        "engines": {"scripted": {"kind": "endpoint", "url": scripted.url, "model": "scripted"}},
        "prompts": {"asked": {"source": "inline", "name": "asked", "prompts": [{"prompt": "Name a river."}]}},
    }
    steps = {
        "others": {"kind": "import", "path": str(tmp_path / "others.jsonl"), "checks": ["repetition"]},
        "sample": {
            "kind": "generate",
            "stage": "non_reasoning",
            "prompts": "asked",
            "engine": "scripted",
            "checks": ["format"],
        },
    }
    assert run(cli, reuse(SHAREGPT, steps, more=more, layout="sharegpt")).code == 0
    assert rows(FUNNEL) == [("format", 3, 0), ("length", 2, 0), ("repetition", 1, 0)]
    assert cli("status", "--warehouse", "data").code == 0


@pytest.mark.slow
def test_a_limit_takes_so_many_rows_and_the_next_run_the_rest(cli: Cli, reuse: Any, rows: Any) -> None:
    recipe = reuse([{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(40)], max_rows=10)
    assert "4 replies added: 40 rows = 4 wanted + 36 over max_rows" in run(cli, recipe, "--limit", 4).out
    assert "6 replies added: 40 rows = 10 wanted + 30 over max_rows" in run(cli, recipe).out
    assert rows(FUNNEL) == [("format", 10, 0), ("length", 10, 0)]


@pytest.mark.slow
def test_a_run_killed_between_prompts_and_replies_goes_on_to_the_same_rows(
    cli: Cli, reuse: Any, rows: Any, monkeypatch: pytest.MonkeyPatch, killed_at: Any
) -> None:
    import dataengine.reusing

    many = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(10)]
    recipe = reuse(many)
    monkeypatch.setattr(dataengine.reusing, "_BATCH", 3)
    for table, after in (("prompts", 2), ("trajectories", 0), ("trajectories", 2), ("verdicts", 1)):
        with killed_at(table, after):
            run(cli, recipe)
    assert run(cli, recipe).code == 0
    assert rows("SELECT count(*), count(DISTINCT trajectory_id), max(attempt) FROM trajectories") == [(10, 10, 1)]
    assert rows("SELECT count(*), count(DISTINCT prompt_id) FROM prompts") == [(10, 10)]
    assert rows(FUNNEL) == [("format", 10, 0), ("length", 10, 0)]
    assert run(cli, recipe).out.splitlines()[-1].startswith("nothing to do: ")


@pytest.mark.slow
def test_imports_are_rewritten_judged_reviewed_paired_and_mixed(
    cli: Cli, reuse: Any, rows: Any, scripted: Any, tmp_path: Path
) -> None:
    def reply(body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" in body:
            return json.dumps({"analysis": "Fine.", "verdict": "helpful"}), "stop"
        return "<reasoning>\nI know it.\n</reasoning>\n<summary>\nIt is so.\n</summary>", "stop"

    scripted.reply = reply
    more = {
        "engines": {"scripted": {"kind": "endpoint", "url": scripted.url, "model": "scripted", "revision": "1"}},
        "judges": {"helpful": {"ask": "helpfulness", "engine": "scripted"}},
    }
    mix = {"mix": "talk", "sources": [{"stage": "non_reasoning", "require": ["length"]}]}
    steps = {
        "judged": {"kind": "judge", "judge": "helpful", "of": "reused", "scope": "all"},
        "voiced": {
            "kind": "rewrite",
            "rewrite": "refine",
            "of": "reused",
            "require": ["length"],
            "engine": "scripted",
            "stage": "non_reasoning",
            "checks": ["length"],
        },
        "looked": {"kind": "review", "of": ["reused"], "require": ["length"]},
        "paired": {"kind": "pairs", "of": ["reused", "voiced"], "max_length_ratio": 10},
        "kept": {"kind": "snapshot", "mix": mix},
    }
    done = run(cli, reuse(SHAREGPT, steps, more=more, layout="sharegpt"))
    assert done.code == 0, done
    assert "0 of 2 looked at" in done.out
    assert rows("SELECT count(*) FROM pairs") == [(2,)]
    assert rows("SELECT count(*) FROM trajectories WHERE parent_id IS NOT NULL") == [(2,)]
    assert rows("SELECT sum(pending) FROM funnel") == [(0,)]
    assert rows("SELECT applicable FROM funnel WHERE \"check\" = 'helpful'") == [(2,)]
    # What was taken can be handed on, and comes back as it was.
    cli("snapshot", "export", "talk@1", "--format", "openai", "--out", "out", "--warehouse", "data")
    args = ("--as", "trajectories", "--layout", "messages", "--with", "length", "--warehouse", "again")
    assert cli("import", "out/train-00000-of-00001.jsonl", *args).code == 0
    told = "SELECT messages, text FROM trajectory_facts ORDER BY ALL"
    assert rows(told, tmp_path / "again") == rows(told)
    # Nothing is asked for or paid twice, and what was imported is no request.
    assert "imported@unknown" not in done.out.partition("what this run asked for")[2]
    assert run(cli, reuse(SHAREGPT, steps, more=more, layout="sharegpt")).out.splitlines()[-1].startswith("nothing")


@pytest.mark.slow
def test_preview_counts_the_rows_and_explain_tells_where_one_is_from(
    cli: Cli, reuse: Any, rows: Any, tmp_path: Path
) -> None:
    recipe = reuse([*ALPACA, {"instruction": "x"}], layout="alpaca", max_rows=2)
    done = cli("preview", recipe, "--warehouse", "data")
    assert done.code == 0
    assert "chats.jsonl:4: left out: there is no turn of an assistant" in done.out
    assert "4 rows = 2 wanted + 1 over max_rows + 1 left out" in done.out
    assert "2 replies to take, 0 are there; no request to make" in done.out
    assert not (tmp_path / "data").exists()
    run(cli, recipe)
    ((ident, prompt),) = rows("SELECT trajectory_id, prompt_id FROM trajectories ORDER BY 1 LIMIT 1")
    told = cli("explain", ident, "--warehouse", "data").out
    assert "engine        import" in told
    assert '{"imported":"chats"}' in told
    assert "chats.jsonl:" in cli("explain", prompt, "--warehouse", "data").out
    assert "0 replies to take, 2 are there" in cli("preview", recipe, "--warehouse", "data").out


@pytest.mark.slow
def test_placeholders_and_caps_are_options_of_the_command(cli: Cli, reuse: Any, rows: Any, refused: Any) -> None:
    reuse(ALPACA)
    args = ("import", "chats.jsonl", "--as", "trajectories", "--layout", "alpaca", "--warehouse", "data")
    done = cli(*args, "--fill", "name=Ada", "--fill", "author=us", "--max-rows", 2)
    assert done.out.splitlines()[0] == (
        "trajectories: 3 rows = 2 added + 0 there before + 1 over --max-rows + 0 left out"
    )
    cli(*args, "--fill", "name=Ada", "--fill", "author=us")
    assert ("I am Ada, made by us.",) in rows("SELECT text FROM trajectories")
    assert refused(*args, "--fill", "name") == ("ConfigError: --fill name: write placeholder=text, such as name=Ada")
    prompts = ("import", "chats.jsonl", "--as", "prompts", "--layout", "alpaca", "--warehouse", "data")
    assert refused(*prompts, "--max-rows", 2) == "ConfigError: --max-rows: prompts are taken all; leave it out"
