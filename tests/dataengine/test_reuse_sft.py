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
MESSAGES = [
    {
        "messages": [
            {"role": "developer", "content": "Answer in Italian."},
            {"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]},
            {"role": "assistant", "content": "Ciao.", "reasoning_content": "Hello is ciao."},
        ],
        "language": "it",
        "domain": "translation",
    }
]


@pytest.fixture
def reuse(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of rows and a recipe whose step `reused` imports it; `steps` go after it."""

    def write(rows: list[Any], steps: dict[str, Any] | None = None, *, more: Any = None, **step: Any) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "chats.jsonl").write_text("".join(line + "\n" for line in lines))
        reused = {"kind": "import", "path": str(tmp_path / "chats.jsonl"), "checks": ["length", "refusal"], **step}
        path = tmp_path / "reuse.yaml"
        path.write_text(json.dumps({"recipe": "reuse", "steps": {"reused": reused, **(steps or {})}, **(more or {})}))
        return path

    return write


def run(cli: Cli, recipe: Path, *more: object) -> Any:
    return cli("run", recipe, "--warehouse", "data", *more)


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


HELD = "SELECT messages, text, reasoning, answer, domain, language FROM trajectory_facts ORDER BY source_ref, text"


def test_alpaca_rows_become_turns_with_system_and_history(cli: Cli, reuse: Any, rows: Any) -> None:
    done = run(cli, reuse(ALPACA, layout="alpaca", fill={"name": "Ada", "author": "{{name}}'s people"}))
    assert done.code == 0
    assert [row[:2] for row in rows(HELD)] == [
        (turns(("user", "Translate into French.\nGood day")), "Bonjour"),
        (turns(("user", "Who are you?")), "I am Ada, made by {{name}}'s people."),
        (
            turns(("system", "Be short."), ("user", "Weather?"), ("assistant", "Sun."), ("user", "And then?")),
            "Rain.",
        ),
    ]


def test_sharegpt_conversations_keep_every_turn_before_the_last_answer(cli: Cli, reuse: Any, rows: Any) -> None:
    assert run(cli, reuse(SHAREGPT, layout="sharegpt", domain="geography")).code == 0
    found = {row[1]: (row[0], row[4]) for row in rows(HELD)}
    assert found == {
        "The Elbe.": (turns(("user", "Name a river.")), "geography"),
        "The Rhine.": (
            turns(
                ("system", "You know rivers."),
                ("user", "One more?"),
                ("assistant", "The Oder."),
                ("user", "Another?"),
            ),
            "geography",
        ),
    }
    assert ("b",) in rows("SELECT source_ref FROM prompts")


def test_messages_keep_their_reasoning_language_and_domain(cli: Cli, reuse: Any, rows: Any) -> None:
    assert run(cli, reuse(MESSAGES, layout="messages")).code == 0
    assert rows(HELD) == [
        (
            turns(("system", "Answer in Italian."), ("user", "Say hello.")),
            "<think>\nHello is ciao.\n</think>\nCiao.",
            "Hello is ciao.",
            "Ciao.",
            "translation",
            "it",
        )
    ]


def test_columns_of_any_name_are_mapped_and_the_steps_own_words_win(cli: Cli, reuse: Any, rows: Any) -> None:
    file = [{"q": "Why?", "a": "So.", "language": "fr", "domain": "x"}]
    recipe = reuse(
        file, map={"prompt": "q", "response": "a"}, domain="talk", stage="reasoning", policy="them@2", license="MIT"
    )
    assert run(cli, recipe).code == 0
    assert rows("SELECT text, domain, language, stage, policy, license, source, engine FROM trajectory_facts") == [
        ("So.", "talk", "fr", "reasoning", "them@2", "MIT", "chats", "import")
    ]


BAD: list[tuple[Any, str]] = [
    ("{torn", "no JSON: Expecting property name enclosed in double quotes at column 2"),
    ({"text": "x"}, "there is no column 'conversations'; the row has: text"),
    ({"conversations": "hello"}, "the conversation is no list of turns"),
    ({"conversations": []}, "the conversation is no list of turns"),
    ({"conversations": [7]}, "a turn is no object"),
    ({"conversations": [{"from": "human", "value": "Hi"}]}, "there is no turn of an assistant"),
    (
        {"conversations": [{"from": "gpt", "value": "Hi"}]},
        "the conversation does not start with a user",
    ),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "observation", "value": "1"}]},
        "a turn of 'observation'; taken are system, user (human) and assistant (gpt)",
    ),
    ({"conversations": [{"from": ["human"], "value": "Hi"}]},
     "a turn of ['human']; taken are system, user (human) and assistant (gpt)"),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": None}]},
        "a turn holds NoneType where text belongs",
    ),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": " "}]},
        "the last turn of the assistant is empty",
    ),
    (
        {"conversations": [{"from": "human", "value": " "}, {"from": "gpt", "value": "Hi"}]},
        "the last question is empty",
    ),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, *({"from": "gpt", "value": w} for w in "ab")]},
        "the last answer follows another, not a turn of a user",
    ),
    (
        {"tools": "[{}]", "conversations": SHAREGPT[0]["conversations"]},
        "it has tools, which are not taken",
    ),
    (
        {
            "conversations": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
            ]
        },
        "a turn calls tools, which are not taken",
    ),
    (
        {"conversations": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "a turn holds a part of type 'image_url'; only text is taken",
    ),
    ({"conversations": [{"from": "human", "value": "x" * 1_000_001}, {"from": "gpt", "value": "Hi"}]},
     "the prompt is longer than 1,000,000 characters"),
]  # fmt: skip


def test_every_row_that_cannot_be_taken_is_named_with_its_line(cli: Cli, reuse: Any) -> None:
    recipe = reuse([row for row, _ in BAD] + SHAREGPT + SHAREGPT[:1], layout="sharegpt")
    done = run(cli, recipe)
    told = [line.strip() for line in done.out.splitlines()]
    for number, (_, reason) in enumerate(BAD, start=1):
        assert f"chats.jsonl:{number}: left out: {reason}" in told
    assert f"2 replies added: {len(BAD) + 3} rows = 2 wanted + 1 said twice + {len(BAD)} left out" in done.out
    # The command takes the same rows, and leaves the same ones out.
    args = ("import", "chats.jsonl", "--as", "trajectories", "--layout", "sharegpt", "--stage", "non_reasoning")
    again = cli(*args, "--warehouse", "data")
    assert (again.code, len(again.err.splitlines())) == (1, len(BAD))
    assert again.out.splitlines()[0] == (
        f"trajectories: {len(BAD) + 3} rows = 0 added + 3 there before + {len(BAD)} left out"
    )


def test_a_file_in_another_layout_is_told(cli: Cli, reuse: Any) -> None:
    done = run(cli, reuse(SHAREGPT))
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith("or the layout of the file: sharegpt")
    done = run(cli, reuse(SHAREGPT, layout="chatml"))
    assert done.err.startswith("ConfigError: there is no layout 'chatml'; there are: ")


FUNNEL = 'SELECT "check", applicable, pending FROM funnel WHERE "check" NOT LIKE \'(%\' ORDER BY 1'


def test_a_second_run_does_nothing_and_a_changed_check_checks_again(cli: Cli, reuse: Any, rows: Any) -> None:
    assert "3 replies added: 3 rows = 3 wanted" in run(cli, reuse(ALPACA, layout="alpaca")).out
    assert rows(FUNNEL) == [("length", 3, 0), ("refusal", 3, 0)]
    again = run(cli, reuse(ALPACA, layout="alpaca"))
    assert again.code == 0
    assert again.out.splitlines()[-1].startswith("nothing to do: ")
    assert rows("SELECT count(*) FROM runs") == [(2,)]
    checks = [{"check": "length", "params": {"max_chars": 6}}, "refusal"]
    assert run(cli, reuse(ALPACA, layout="alpaca", checks=checks)).code == 0
    assert rows(FUNNEL) == [("length", 3, 0), ("refusal", 3, 0)]
    assert rows("SELECT count(*) FROM verdicts_current WHERE \"check\" = 'length' AND outcome = 'pass'") == [(1,)]
    assert rows("SELECT count(*) FROM verdicts WHERE \"check\" = 'refusal'") == [(3,)]
    assert rows("SELECT count(*) FROM trajectories") == [(3,)]


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
            "kind": "generate", "stage": "non_reasoning", "prompts": "asked", "engine": "scripted",
            "checks": ["format"],
        },
    }
    assert run(cli, reuse(SHAREGPT, steps, more=more, layout="sharegpt")).code == 0
    assert rows(FUNNEL) == [("format", 1, 0), ("length", 2, 0), ("refusal", 2, 0), ("repetition", 1, 0)]
    assert cli("status", "--warehouse", "data").code == 0


def test_rows_are_capped_by_hash_and_a_limit_takes_some_of_the_same(cli: Cli, reuse: Any, rows: Any) -> None:
    many = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(40)]
    ids = "SELECT trajectory_id FROM trajectories ORDER BY 1"
    assert "40 rows = 4 wanted + 36 over max_rows" in run(cli, reuse(many, max_rows=10), "--limit", 4).out
    few = rows(ids)
    assert len(few) == 4
    run(cli, reuse(many, max_rows=10))
    ten = rows(ids)
    assert len(ten) == 10
    # In another order of the file they are the same; without a cap they are the first by id.
    assert run(cli, reuse(many[::-1], max_rows=10)).out.splitlines()[-1].startswith("nothing to do")
    run(cli, reuse(many))
    assert rows(ids)[:10] == ten
    assert ten[:4] == few
    assert len(rows(ids)) == 40


def test_a_run_killed_between_prompts_and_replies_goes_on_to_the_same_rows(
    cli: Cli, reuse: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataengine.reusing
    from warehouse.store import Warehouse

    class Killed(BaseException):
        pass

    many = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(10)]
    recipe = reuse(many)
    monkeypatch.setattr(dataengine.reusing, "_BATCH", 3)
    append = Warehouse.append
    for table, after in (("prompts", 2), ("trajectories", 0), ("trajectories", 2), ("verdicts", 1)):
        left = [after]

        def killing(self: Warehouse, name: str, batch: Any, table: str = table, left: list[int] = left) -> Any:
            if name == table:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
            return append(self, name, batch)

        monkeypatch.setattr(Warehouse, "append", killing)
        with pytest.raises(Killed):
            run(cli, recipe)
    monkeypatch.setattr(Warehouse, "append", append)
    assert run(cli, recipe).code == 0
    assert rows("SELECT count(*), count(DISTINCT trajectory_id), max(attempt) FROM trajectories") == [(10, 10, 1)]
    assert rows("SELECT count(*), count(DISTINCT prompt_id) FROM prompts") == [(10, 10)]
    assert rows(FUNNEL) == [("length", 10, 0), ("refusal", 10, 0)]
    assert run(cli, recipe).out.splitlines()[-1].startswith("nothing to do: ")


def test_imports_are_rewritten_judged_reviewed_paired_and_mixed(
    cli: Cli, reuse: Any, rows: Any, scripted: Any, tmp_path: Path
) -> None:
    def reply(body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" in body:
            return json.dumps({"analysis": "Fine.", "verdict": "helpful"}), "stop"
        return "<think>\nI know it.\n</think>\nIt is so.", "stop"

    scripted.reply = reply
    more = {
        "engines": {"scripted": {"kind": "endpoint", "url": scripted.url, "model": "scripted", "revision": "1"}},
        "judges": {"helpful": {"ask": "helpfulness", "engine": "scripted"}},
    }
    mix = {"mix": "talk", "sources": [{"stage": "non_reasoning", "not_failed": ["length"]}]}
    steps = {
        "judged": {"kind": "judge", "judge": "helpful", "of": "reused", "scope": "all"},
        "voiced": {
            "kind": "rewrite", "rewrite": "first_person", "of": "reused", "require": ["length"],
            "engine": "scripted", "stage": "non_reasoning", "checks": ["length"],
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
    assert "talk@1 made: " in done.out
    # Nothing is asked for or paid twice, and what was imported is no request.
    assert "imported@unknown" not in done.out.partition("what this run asked for")[2]
    assert run(cli, reuse(SHAREGPT, steps, more=more, layout="sharegpt")).out.splitlines()[-1].startswith("nothing")


def test_preview_counts_the_rows_and_writes_nothing(cli: Cli, reuse: Any, tmp_path: Path) -> None:
    recipe = reuse([*ALPACA, {"instruction": "x"}], layout="alpaca", max_rows=2)
    done = cli("preview", recipe, "--warehouse", "data")
    assert done.code == 0
    assert "chats.jsonl:4: left out: there is no turn of an assistant" in done.out
    assert "4 rows = 2 wanted + 1 over max_rows + 1 left out" in done.out
    assert "2 replies to take, 0 are there; no request to make" in done.out
    assert not (tmp_path / "data").exists()
    run(cli, recipe)
    assert "0 replies to take, 2 are there" in cli("preview", recipe, "--warehouse", "data").out


def test_explain_tells_where_a_reply_is_from(cli: Cli, reuse: Any, rows: Any) -> None:
    run(cli, reuse(MESSAGES, layout="messages"))
    ((ident, prompt),) = rows("SELECT trajectory_id, prompt_id FROM trajectories")
    told = cli("explain", ident, "--warehouse", "data").out
    assert "engine        import" in told
    assert '{"imported":"chats"}' in told
    assert "system: Answer in Italian." in told
    assert "chats.jsonl:1" in cli("explain", prompt, "--warehouse", "data").out


def test_a_snapshot_exported_for_others_comes_back_as_it_was(cli: Cli, reuse: Any, rows: Any) -> None:
    mix = {"mix": "talk", "sources": [{"stage": "non_reasoning"}]}
    run(cli, reuse([*SHAREGPT, *MESSAGES[:0]], {"kept": {"kind": "snapshot", "mix": mix}}, layout="sharegpt"))
    told = "SELECT messages, text FROM trajectory_facts ORDER BY text"
    before = rows(told)
    cli("snapshot", "export", "talk@1", "--format", "openai", "--out", "out", "--warehouse", "data")
    args = ("--as", "trajectories", "--layout", "messages", "--warehouse", "again")
    assert cli("import", "out/train-00000-of-00001.jsonl", *args).code == 0
    assert rows(told, Path("again")) == before


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
