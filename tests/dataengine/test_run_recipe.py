"""`dataengine run` asks for what is missing and nothing else, and says what became of everything."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

IDS = "SELECT trajectory_id, attempt, text, finish_reason FROM trajectories ORDER BY ALL"


@pytest.fixture
def run(cli: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Path, *settings: str) -> Any:
        return cli("run", path, "--warehouse", "data", *settings)

    return call


def test_a_run_stores_every_sample_and_its_verdicts(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    done = run(recipe(scripted, prompts=12))
    assert done.code == 0, done
    assert len(scripted.asked) == 24
    assert rows("SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories") == [(24, 24)]
    stored = dict(rows("SELECT finish_reason, count(*) FROM trajectories GROUP BY 1"))
    assert stored["length"] > 0
    assert stored["stop"] + stored["length"] == 24
    verdicts = dict(rows('SELECT "check", count(*) FROM verdicts GROUP BY 1'))
    assert verdicts == {"exact": 24, "format": 24, "length": 24}
    seeds = [body["seed"] for body in scripted.asked]
    assert len(set(seeds)) == 24
    assert "[1/2] sample: 24 of 24 samples asked for by scripted@1 (" in done.out
    assert "[2/2] keep: sums-kept@1 made: " in done.out


def test_the_conservation_line_is_printed_for_each_check_and_adds_up(run: Any, recipe: Any, scripted: Any) -> None:
    done = run(recipe(scripted, prompts=12))
    lines = [line.split() for line in done.out.splitlines() if line.startswith("    reasoning")]
    assert [words[1] for words in lines] == ["(replied)", "exact", "format", "length"]
    for words in lines:
        assert words[5::3] == ["pass", "fail", "undecided", "error", "pending"]
        numbers = [int(w) for w in words[2:] if w.isdigit()]
        assert numbers[0] == 24 == sum(numbers[1:])


@pytest.mark.slow
def test_a_second_run_asks_nothing_writes_nothing_and_says_so(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted)
    assert run(path).code == 0
    before = rows(IDS), rows("SELECT count(*) FROM runs")
    scripted.asked.clear()
    done = run(path)
    assert done.code == 0
    assert scripted.asked == []
    assert done.out.splitlines()[-1] == f"nothing to do: {path} is complete in data"
    assert "nothing to do, 12 samples are there" in done.out
    assert "sums-kept@1 unchanged" in done.out
    assert (rows(IDS), rows("SELECT count(*) FROM runs")) == before


@pytest.mark.slow
def test_more_samples_ask_only_for_the_new_ones(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted)
    run(path)
    before = set(rows(IDS))
    scripted.asked.clear()
    assert run(path, "steps.sample.samples=3").code == 0
    assert len(scripted.asked) == 6
    assert before < set(rows(IDS))
    assert rows("SELECT DISTINCT sample_index FROM trajectories ORDER BY 1") == [(0,), (1,), (2,)]


@pytest.mark.slow
def test_more_prompts_ask_only_about_the_new_ones(run: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted)
    assert "4 of 4 samples" in run(path, "--limit", "2").out
    assert len(scripted.asked) == 4
    run(path)
    assert len(scripted.asked) == 12


@pytest.mark.slow
def test_a_larger_budget_asks_again_only_for_what_was_cut_off(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted, prompts=12)
    run(path)
    cut = {r[0] for r in rows("SELECT trajectory_id FROM trajectories WHERE finish_reason = 'length'")}
    whole = rows("SELECT * FROM trajectories WHERE finish_reason = 'stop' ORDER BY trajectory_id")
    scripted.asked.clear()
    assert run(path, "steps.sample.max_tokens=50").code == 0
    assert scripted.asked == []
    assert run(path, "steps.sample.max_tokens=300").code == 0
    assert len(scripted.asked) == len(cut) > 0
    again = rows("SELECT trajectory_id, attempt, finish_reason, max_tokens FROM trajectories WHERE attempt > 1")
    assert {(i, 2, "stop", 300) for i in cut} == set(again)
    assert rows("SELECT count(*) FROM trajectories WHERE attempt = 1 AND finish_reason = 'length'") == [(len(cut),)]
    assert set(whole) <= set(rows("SELECT * FROM trajectories"))
    assert rows("SELECT count(*) FROM trajectories_current WHERE finish_reason = 'length'") == [(0,)]


@pytest.mark.slow
def test_what_changes_an_answer_is_new_work(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted, prompts=3)
    run(path)
    settings = [
        "steps.sample.template=plain",
        "steps.sample.sampling={temperature: 0.5}",
        "steps.sample.sampling={seed: 1}",
        "steps.sample.prefill=<think>",
        "engines.scripted.revision=b",
        "steps.sample.stage=cold_start",
    ]
    for number, setting in enumerate(settings, start=2):
        # The snapshot may find nothing to keep then: only the sampling is looked at here.
        run(path, setting)
        assert len(scripted.asked) == 6 * number, setting
    assert rows("SELECT count(*), count(DISTINCT trajectory_id), max(attempt) FROM trajectories") == [(42, 42, 1)]


@pytest.mark.slow
def test_what_changes_no_answer_is_no_new_work(run: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted)
    run(path)
    scripted.asked.clear()
    done = run(path, "engines.scripted.timeout=5", "engines.scripted.max_in_flight=2", "steps.sample.samples=1")
    assert (done.code, scripted.asked) == (0, [])


@pytest.mark.slow
def test_a_corrected_reference_checks_again_without_a_request(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    run(recipe(scripted, samples=4))
    scripted.asked.clear()
    done = run(recipe(scripted, samples=4, references={0: "999"}))
    assert (done.code, scripted.asked) == (0, [])
    assert rows("SELECT revision, reference FROM prompts WHERE source_ref = '1' ORDER BY 1") == [(1, "5"), (2, "999")]
    again = rows("""SELECT outcome, count(*) FROM verdicts_current v JOIN trajectories_current USING (trajectory_id)
        JOIN prompts_current USING (prompt_id) WHERE reference = '999' AND "check" = 'exact' GROUP BY 1""")
    assert sum(n for outcome, n in again if outcome != "pass") == 4
    assert rows("SELECT count(*) FROM verdicts WHERE \"check\" = 'exact'") == [(24 + 4,)]
    assert "sums-kept@2 made" in done.out
    assert "nothing to do" in run(recipe(scripted, samples=4, references={0: "999"})).out


@pytest.mark.slow
def test_failed_requests_become_rows_and_only_they_are_asked_again(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    def fault(body: dict[str, Any], before: int) -> str | None:
        return "500" if "What is 2 +" in body["messages"][-1]["content"] else None

    scripted.fault = fault
    path = recipe(scripted, prompts=12)
    done = run(path)
    assert done.code == 1
    assert "12 requests failed (recorded; run again to ask them again)" in done.out
    assert "12 requests or checks failed and are recorded: `dataengine sql --name errors`" in done.out
    assert rows("SELECT DISTINCT error, text, finish_reason FROM trajectories WHERE error IS NOT NULL") == [
        ("HTTP 500: out of memory", "", None)
    ]
    assert rows("SELECT count(*) FROM verdicts v JOIN trajectories t USING (trajectory_id) WHERE t.error <> ''") == [
        (0,)
    ]
    scripted.asked.clear()
    scripted.fault = lambda body, before: None
    done = run(path)
    assert done.code == 0
    assert len(scripted.asked) == 12
    assert all("What is 2 +" in body["messages"][-1]["content"] for body in scripted.asked)
    assert rows("SELECT attempt, error IS NULL, count(*) FROM trajectories GROUP BY ALL ORDER BY ALL") == [
        (1, False, 12),
        (1, True, 12),
        (2, True, 12),
    ]
    assert "nothing to do" in run(path).out


def test_hostile_replies_are_stored_as_they_came(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    scripted.fault = lambda body, before: "surrogate" if "What is 2 + 3?" in str(body) else None
    assert run(recipe(scripted)).code == 0
    assert rows("SELECT count(*) FROM trajectories WHERE text = 'lone \ufffd and NUL ' || chr(0) || ' here'") == [(2,)]


@pytest.mark.slow
def test_reasoning_that_the_server_split_off_is_stored_in_the_one_form(
    run: Any, cli: Any, recipe: Any, scripted: Any, rows: Any, tmp_path: Path
) -> None:
    columns = "SELECT reasoning, answer, text FROM trajectories ORDER BY trajectory_id"
    assert run(recipe(scripted, max_tokens=300)).code == 0
    plain = rows(columns)
    scripted.fault = lambda body, before: "split"
    assert cli("run", recipe(scripted, max_tokens=300), "--warehouse", "split").code == 0
    assert rows(columns, tmp_path / "split") == plain


def test_a_server_that_is_not_there_is_refused_before_anything_is_written(
    refused: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        path = recipe(scripted, engine={"url": url})
        assert refused("run", path, "--warehouse", "data").endswith("is the server running there?")
    for table in ("prompts", "trajectories", "runs"):
        assert rows(f"SELECT count(*) FROM {table}") == [(0,)]


@pytest.mark.slow
def test_a_server_that_dies_leaves_what_it_answered_and_a_later_run_completes(
    run: Any, recipe: Any, scripted: Any, rows: Any, tmp_path: Path
) -> None:
    def fault(body: dict[str, Any], before: int) -> str | None:
        if len(scripted.asked) < 30:
            return None
        scripted.die()
        return "slow"  # never to be answered

    scripted.fault = fault
    path = recipe(scripted, prompts=40, engine={"patience": 0.5})
    done = run(path)
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith(f"EngineError: {scripted.url}: cannot connect: ")
    assert last.endswith("what was asked is recorded: mend the server and run the same command again")
    assert "Traceback" not in done.err
    kept = rows("SELECT count(*) FROM trajectories WHERE error IS NULL")[0][0]
    assert 20 <= kept <= 30
    assert rows("SELECT event FROM runs ORDER BY created_at") == [("started",), ("failed",)]

    fresh = type(scripted)()
    try:
        settings = json.dumps({**json.loads(path.read_text())["engines"]["scripted"], "url": fresh.url})
        done = run(path, f"engines.scripted={settings}")
        assert done.code == 0
        assert len(fresh.asked) == 80 - kept
    finally:
        fresh.stop()
    assert rows("SELECT count(*) FROM trajectories_current WHERE error IS NULL") == [(80,)]


@pytest.mark.slow
def test_generated_tasks_and_inline_prompts_run_side_by_side(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    config = {"min_digits": 1, "max_digits": 1, "min_terms": 2, "max_terms": 2}
    sources = {
        "tasks": {
            "source": "reasoning_gym",
            "tasks": [
                {"task": "chain_sum", "name": "chains", "count": 3, "config": config},
                {"task": "spell_backward", "count": 2, "domain": "logic", "config": {"max_word_len": 4}},
            ],
        }
    }
    checks = ["reasoning_gym", "exact", "format"]
    path = recipe(scripted, sources=sources, prompts=3, checks=checks)
    path = path.rename(path.with_name("both.yaml"))
    done = run(path, "steps.sample.prompts=[tasks, sums]")
    assert done.code == 0, done
    assert len(scripted.asked) == 16
    by_source = 'SELECT source, "check", count(*) FROM verdicts JOIN trajectories USING (trajectory_id) '
    by_source += "JOIN prompts USING (prompt_id) WHERE kind = 'verifier' GROUP BY ALL ORDER BY ALL"
    assert rows(by_source) == [
        ("chains", "reasoning_gym", 6),
        ("spell_backward", "reasoning_gym", 4),
        ("sums", "exact", 6),
    ]
    assert rows("SELECT count(*) FROM trajectory_facts WHERE source = 'chains' AND correct")[0][0] > 0
    scripted.asked.clear()
    assert "nothing to do: " in run(path, "steps.sample.prompts=[tasks, sums]").out


def test_a_key_that_is_not_set_is_named(refused: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted, engine={"api_key_env": "NO_SUCH_KEY_HERE"})
    assert refused("run", path).endswith("set the environment variable NO_SUCH_KEY_HERE to the key")
