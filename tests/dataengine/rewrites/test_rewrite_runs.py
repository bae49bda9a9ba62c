"""A rewrite step makes new trajectories of earlier ones, verifies them again, and asks nothing twice."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.rewrites.rewriting import shipped_rewrites
from tests.dataengine.conftest import ScriptedServer
from tests.dataengine.rewrites.conftest import Chain, is_rewrite, scripted_rewriter, shown
from warehouse.snapshot import open_snapshot

ROWS = "SELECT trajectory_id, attempt, parent_id, text, reasoning, answer, finish_reason FROM trajectories ORDER BY ALL"
VERDICTS = 'SELECT trajectory_id, attempt, "check", version, against, outcome, score, reason FROM verdicts ORDER BY ALL'
LAST = "run_id = (SELECT max(run_id) FROM runs)"
CHILDREN = "trajectory_facts f JOIN trajectory_facts p ON p.trajectory_id = f.parent_id"


def test_what_passed_is_rewritten_and_nothing_else(made: Chain) -> None:
    right = "exact = 'pass' AND format = 'pass'"
    (sampled,) = made.rows(f"SELECT count(*) FROM trajectory_facts WHERE parent_id IS NULL AND {right}")
    (refined,) = made.rows(f"SELECT count(*) FROM trajectory_facts WHERE rewrite = 'refine' AND {right}")
    by_step = f"SELECT f.rewrite, p.rewrite, count(*), count(DISTINCT p.trajectory_id) FROM {CHILDREN} GROUP BY ALL"
    counts = {(step, of): numbers for step, of, *numbers in made.rows(by_step)}
    chosen = made.rows(
        f"SELECT count(*) FROM trajectory_facts WHERE rewrite = 'refine' AND {right} AND same_answer = 'pass'"
    )
    assert counts == {("refine", None): [*sampled, *sampled], ("first_person", "refine"): [*chosen[0], *chosen[0]]}
    assert 0 < chosen[0][0] <= refined[0] < sampled[0] < 24
    assert made.rows(f"SELECT DISTINCT f.prompt_id = p.prompt_id, f.stage FROM {CHILDREN}") == [(True, "cold_start")]
    assert (
        f"    {sampled[0]} of 24 replies are to be rewritten, {24 - sampled[0]} do not meet the conditions" in made.said
    )


def test_a_rewrite_is_put_together_of_what_stays_and_what_was_written(made: Chain) -> None:
    both = made.rows(f"SELECT f.text, p.text FROM {CHILDREN} WHERE f.rewrite = 'refine' AND f.format = 'pass'")
    for child, _ in both:
        assert re.fullmatch(
            r"<think>\nIn good order: the sum is (\d+)\.\n</think>\nThe result is \1\.\n<answer>\1</answer>", child
        )
    one = made.rows(
        f"SELECT f.reasoning, f.answer, p.answer FROM {CHILDREN} WHERE f.rewrite = 'first_person' AND f.kept"
    )
    assert one
    for reasoning, answer, before in one:
        assert reasoning.startswith("I say to myself")
        assert answer == before


def test_a_rewrite_in_another_form_is_stored_as_it_came_and_fails_the_format(made: Chain) -> None:
    came = "SELECT text, reasoning, answer, reason FROM trajectories JOIN verdicts USING (trajectory_id, attempt) "
    told = made.rows(f"{came} WHERE parent_id IS NOT NULL AND \"check\" = 'format' AND outcome = 'fail' ORDER BY ALL")
    # The second would pass for a reply like any other: nothing says that the model meant it as the rewrite.
    assert {(re.sub(r"\d+", "N", t), r, a, why) for t, r, a, why in told} == {
        ("<reasoning>\nI begin", None, None, "no_think"),
        ("<think>\nI rewrite it.\n</think>\nHere it is.\n<answer>N</answer>", None, None, "not_as_asked"),
    }


def test_another_answer_is_found_out_with_both_answers(made: Chain) -> None:
    sql = "SELECT reason, details FROM verdicts WHERE \"check\" = 'same_answer' AND outcome = 'fail'"
    details = [json.loads(d) for why, d in made.rows(sql) if why == "answer_changed"]
    assert details
    assert all(int(d["answer"]) == int(d["parent"]) + 1 for d in details)
    assert {why for why, _ in made.rows(sql)} == {"answer_changed", "answer_lost"}
    dropped = made.rows(f"SELECT count(*) FROM {CHILDREN} WHERE p.same_answer = 'fail'")
    assert dropped == [(0,)]


def test_the_snapshot_holds_the_last_rewrites_that_passed(made: Chain) -> None:
    snapshot = open_snapshot(made.warehouse, "chain")
    kept = made.rows(
        "SELECT count(DISTINCT (prompt_id, text)) FROM trajectory_facts WHERE rewrite = 'first_person' AND kept"
    )
    assert snapshot.manifest.rows == kept[0][0] > 0


def test_nothing_is_pending_although_each_step_has_checks_of_its_own(made: Chain) -> None:
    funnel = made.rows('SELECT "check", applicable, pending FROM funnel WHERE "check" NOT LIKE \'(%\' ORDER BY 1')
    (rewrites,) = made.rows("SELECT count(*) FROM trajectories WHERE parent_id IS NOT NULL")
    every = 24 + rewrites[0]
    assert funnel == [("exact", every, 0), ("format", every, 0), ("length", 24, 0), ("same_answer", *rewrites, 0)]


@pytest.mark.slow
def test_what_the_rewriter_is_sent(chain: Chain) -> None:
    result = chain.run("steps.refined.sampling={seed: 3}")
    assert result.counts["requests"] > 0
    body = next(b for b in chain.server.asked if is_rewrite(b))
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].startswith("You edit worked solutions")
    parts = shown(body)
    assert list(parts) == ["question", "reasoning", "summary"]
    assert parts["reasoning"].startswith("I add them up and get ")
    assert re.fullmatch(r"It is (\d+)\.\n<answer>\1</answer>", parts["summary"])
    first = chain.rows("SELECT system_prompt, sampling FROM trajectories WHERE sampling LIKE '%refine@%' LIMIT 1")[0]
    assert first[0] == body["messages"][0]["content"]
    assert re.fullmatch(r"refine@[0-9a-f]{12}", json.loads(first[1])["rewrite"])


@pytest.mark.slow
def test_a_second_run_asks_and_writes_nothing(chain: Chain) -> None:
    before = chain.rows(ROWS), chain.rows("SELECT count(*) FROM verdicts"), chain.rows("SELECT count(*) FROM runs")
    result = chain.run()
    assert (result.worked, chain.server.asked) == (False, [])
    assert any("nothing to do, 18 rewrites are there" in line for line in chain.said)
    after = chain.rows(ROWS), chain.rows("SELECT count(*) FROM verdicts"), chain.rows("SELECT count(*) FROM runs")
    assert after == before


@pytest.mark.slow
def test_more_replies_to_rewrite_ask_only_for_the_new_rewrites(chain: Chain) -> None:
    before = set(chain.rows(ROWS))
    chain.run("steps.sample.samples=3")
    assert len([b for b in chain.server.asked if not is_rewrite(b)]) == 12
    sql = "SELECT count(*) FROM trajectory_facts WHERE sample_index = 2 AND parent_id IS NULL AND exact = 'pass' "
    refined = [b for b in chain.server.asked if is_rewrite(b) and "summary" in shown(b)]
    assert len(refined) == chain.rows(f"{sql} AND format = 'pass'")[0][0] > 0
    assert before < set(chain.rows(ROWS))


@pytest.mark.slow
def test_what_was_cut_off_is_asked_again_with_a_larger_budget(chain: Chain) -> None:
    cut = chain.rows("SELECT count(*) FROM trajectory_facts WHERE rewrite = 'refine' AND finish_reason = 'length'")[0][
        0
    ]
    chain.run("steps.refined.max_tokens=300")
    assert len([b for b in chain.server.asked if b["max_tokens"] == 300]) == cut > 0
    again = "SELECT format, same_answer FROM trajectory_facts WHERE attempt = 2"
    assert set(chain.rows(again)) == {("pass", "pass")}


@pytest.mark.slow
def test_requests_that_failed_are_asked_again(chain: Chain) -> None:
    def fault(body: dict[str, Any], before: int) -> str | None:
        return "500" if is_rewrite(body) and "What is 2 +" in body["messages"][-1]["content"] else None

    chain.server.fault = fault
    result = chain.run("steps.refined.sampling={temperature: 0.5}")
    failed = chain.rows("SELECT count(*) FROM trajectories WHERE error IS NOT NULL")[0][0]
    assert result.errors == failed > 0
    chain.server.fault = lambda body, before: None
    assert chain.run("steps.refined.sampling={temperature: 0.5}").errors == 0
    assert len([b for b in chain.server.asked if b["temperature"] == 0.5]) == failed
    assert chain.rows("SELECT count(*) FROM trajectories_current WHERE error IS NOT NULL") == [(0,)]


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_leaves_the_rows_of_an_undisturbed_run(chain: Chain, tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> tuple[str, str]:
        if is_rewrite(body):
            rewritten.append(body)
            if len(rewritten) == 7:
                server.die()
        return scripted_rewriter(body)

    rewritten: list[dict[str, Any]] = []
    server = ScriptedServer(reply=script)
    other = Chain(server, chain.recipe, tmp_path / "other")
    settings = ["engines.scripted.max_in_flight=2", "engines.scripted.patience=0.1"]
    try:
        with pytest.raises(Exception, match="mend the server"):
            other.run(*settings, f"engines.scripted.url={server.url}")
        assert (
            0 < other.rows("SELECT count(*) FROM trajectories WHERE parent_id IS NOT NULL AND error IS NULL")[0][0] < 18
        )
    finally:
        server.stop()
    other.server = chain.server
    other.run()
    # A request that failed is an attempt of its own, so the attempts differ, and nothing else.
    said = "SELECT trajectory_id, text FROM trajectories WHERE error IS NULL ORDER BY ALL"
    found = VERDICTS.replace(" attempt,", "")
    files = [open_snapshot(c.warehouse, "chain").data_files() for c in (other, chain)]
    kept = [f"SELECT trajectory_id, messages FROM read_parquet('{file}') ORDER BY ALL" for (file,) in files]
    assert [other.rows(sql) for sql in (said, found, kept[0])] == [chain.rows(sql) for sql in (said, found, kept[1])]


@pytest.mark.slow
def test_the_content_of_a_prompt_file_is_part_of_the_key_and_its_name_is_not(chain: Chain, tmp_path: Path) -> None:
    mine = tmp_path / "mine.md"
    text = shipped_rewrites()["refine"].read_text()
    mine.write_text(text)
    chain.change(lambda r: r["steps"]["refined"].update(rewrite=str(mine)))
    assert not chain.run().counts.get("requests")
    # The settings above the text do not show in what is sent, and change what becomes of it.
    mine.write_text(text.replace("shows: [question, reasoning, answer]", "shows: [question, answer, reasoning]"))
    assert chain.run().counts["requests"] >= 18
    mine.write_text(f"{text} And be brief.")
    assert chain.run().counts["requests"] >= 18
    assert chain.rows("SELECT count(*) FROM trajectory_facts WHERE rewrite = 'mine'")[0][0] == 36


@pytest.mark.slow
def test_at_most_so_many_of_a_prompt_by_a_stated_rule(chain: Chain) -> None:
    def longer(body: dict[str, Any]) -> tuple[str, str]:
        text, reason = scripted_rewriter(body)
        return (
            (text, reason)
            if is_rewrite(body)
            else (text.replace("I add", "I " + "very " * (body["seed"] % 7) + "add"), reason)
        )

    chain.server.reply = longer
    chain.run("steps.sample.samples=5", "steps.sample.sampling={seed: 9}", "steps.refined.max_per_prompt=2",
              "steps.refined.choose=shortest")  # fmt: skip
    told = next(line for line in chain.said if "are over max_per_prompt" in line)
    taken = chain.rows(f"SELECT p.prompt_id, list(p.completion_tokens) FROM {CHILDREN} "
                       f"WHERE f.rewrite = 'refine' AND p.{LAST} GROUP BY ALL")  # fmt: skip
    sql = (
        "SELECT completion_tokens FROM trajectory_facts WHERE parent_id IS NULL AND exact = 'pass' AND format = 'pass' "
    )
    sql += "AND run_id = (SELECT max(run_id) FROM runs) AND prompt_id = "
    for prompt, tokens in taken:
        assert sorted(tokens) == sorted(n for (n,) in chain.rows(f"{sql}'{prompt}'"))[:2]
    assert told.strip().startswith(f"{sum(len(t) for _, t in taken)} of 60 replies are to be rewritten, ")
    assert any(len(t) == 2 for _, t in taken)


@pytest.mark.slow
def test_only_trivial_questions_or_those_that_a_condition_names(chain: Chain) -> None:
    chain.change(lambda r: r["prompts"]["sums"]["prompts"].append({"prompt": "What is 12 + 7 + 5?", "reference": "24",
                                                                   "verifier": "exact"}))  # fmt: skip
    short = {"rewrite": "short_thought", "only": "trivial", "where": "sample_index = 1 -- a comment"}
    chain.change(lambda r: r["steps"]["refined"].update(short))
    chain.run()
    parents = chain.rows(
        f"SELECT DISTINCT p.sample_index, p.messages[1].content FROM {CHILDREN} WHERE f.rewrite = 'short_thought'"
    )
    assert {index for index, _ in parents} == {1}
    assert all(question.count("+") == 1 for _, question in parents)
    chain.change(lambda r: r["steps"]["refined"].update(only="not_trivial", where=None))
    chain.run()
    assert any(line.strip().startswith(("1 of 26", "2 of 26")) for line in chain.said)


@pytest.mark.slow
def test_what_the_rewriter_thinks_for_itself_is_no_part_of_the_rewrite(chain: Chain) -> None:
    def thinking(body: dict[str, Any]) -> tuple[str, str]:
        text, reason = scripted_rewriter(body)
        return (
            (f"<think>\nThe user wants me to rewrite this.\n</think>\n{text}", reason)
            if is_rewrite(body)
            else (text, reason)
        )

    before = set(chain.rows("SELECT text FROM trajectory_facts WHERE rewrite = 'refine' AND format = 'pass'"))
    for split in (None, "split"):
        chain.server.reply = thinking if split is None else scripted_rewriter
        if split:
            chain.server.reply = thinking
            chain.server.fault = lambda body, before: "split" if is_rewrite(body) else None
        chain.run(f"steps.refined.sampling={{seed: {1 if split else 2}}}")
        new = f"SELECT text FROM trajectory_facts WHERE rewrite = 'refine' AND format = 'pass' AND {LAST}"
        texts = set(chain.rows(new))
        assert texts
        assert all("The user wants" not in text for (text,) in texts)
        assert texts & before


@pytest.mark.slow
def test_examples_are_shown_first_and_change_the_key(chain: Chain, tmp_path: Path) -> None:
    edit = {"prompt": "What is 40 + 2?", "response": "<think>\nWe add: 42.\n</think>\n<answer>42</answer>",
            "edited": "<think>\nI add 40 and 2, which is 42.\n</think>\n40 + 2 = 42\n<answer>42</answer>"}  # fmt: skip
    file = tmp_path / "edits.jsonl"
    file.write_text(json.dumps({**edit, "reviewer": "ann"}) + "\n")
    chain.change(lambda r: r["steps"]["refined"].update(demonstrations=[edit], prefill="<reasoning>"))
    chain.server.reply = lambda body: (scripted_rewriter(body)[0].removeprefix("<reasoning>"), "stop")
    assert chain.run().counts["requests"] >= 18
    body = next(b for b in chain.server.asked if is_rewrite(b))
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert body["messages"][2]["content"] == (
        "<reasoning>\nI add 40 and 2, which is 42.\n</reasoning>\n"
        "<summary>\n40 + 2 = 42\n<answer>42</answer>\n</summary>"
    )
    assert body["messages"][4]["content"] == "<reasoning>"
    assert shown({"messages": body["messages"][:2]}) == {
        "question": "What is 40 + 2?", "reasoning": "We add: 42.", "summary": "<answer>42</answer>"
    }  # fmt: skip
    passed = f"SELECT count(*) FROM trajectory_facts WHERE rewrite = 'refine' AND format = 'pass' AND {LAST}"
    assert chain.rows(passed)[0][0] > 0
    chain.change(lambda r: r["steps"]["refined"].update(demonstrations={"path": str(file), "count": 1}))
    assert not chain.run().counts.get("requests"), "the same example from a file"


@pytest.mark.slow
def test_with_nothing_to_rewrite_there_is_nothing_to_do(chain: Chain) -> None:
    chain.change(lambda r: r["steps"]["personal"].update(where="language = 'xx'"))
    chain.run()
    assert any(line.startswith("[3/4] personal: nothing to do, 0 rewrites are there") for line in chain.said)


@pytest.mark.slow
def test_trivial_questions_are_asked_for_no_thought(chain: Chain) -> None:
    more = {"prompt": "What is 12 + 7 + 5?", "reference": "24", "verifier": "exact"}
    chain.change(lambda r: r["prompts"]["sums"].update(prompts=[*r["prompts"]["sums"]["prompts"][:2], more]))
    two = {"quick": {"only": "trivial", "template": "plain"}, "slow": {"only": "not_trivial"}}
    chain.change(lambda r: r.update(steps={n: r["steps"]["sample"] | step for n, step in two.items()}))
    chain.run("steps.quick.sampling={seed: 4}", "steps.slow.sampling={seed: 4}")
    asked = [(len(body["messages"]), body["messages"][-1]["content"].count("+")) for body in chain.server.asked]
    assert sorted(asked) == [(1, 1)] * 4 + [(2, 2)] * 2
    assert any(line.startswith("[1/2] quick: 4 of 4 samples asked for") for line in chain.said)


@pytest.mark.slow
def test_runs_killed_between_rewrites_end_in_the_rows_of_an_undisturbed_run(
    made: Chain, process: Callable[..., Any], tmp_path: Path
) -> None:
    server = ScriptedServer(reply=scripted_rewriter, seconds=0.05)
    settings = [f"engines.scripted.url={server.url}", "engines.scripted.max_in_flight=2"]
    arguments = ["run", made.recipe, *settings, "--warehouse", tmp_path / "data"]
    killed = Chain(server, made.recipe, tmp_path / "data")
    try:
        for count in (20, 12, 4, 10, 5):
            server.asked.clear()
            child = process(*arguments)
            until = time.monotonic() + 60
            while len(server.asked) < count and child.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            assert child.poll() is None, child.communicate()
            child.kill()
            child.wait()
        last = process(*arguments)
        assert last.wait() == 0, last.communicate()
    finally:
        server.stop()
    assert killed.rows(ROWS) == made.rows(ROWS)
    assert killed.rows(VERDICTS) == made.rows(VERDICTS)
    hashes = [open_snapshot(c.warehouse, "chain").manifest.logical_hash for c in (killed, made)]
    assert hashes[0] == hashes[1]
