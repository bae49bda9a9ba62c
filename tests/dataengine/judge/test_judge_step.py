"""`dataengine run` asks a judge about what is in scope and has no verdict, and about nothing else."""

import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.dataengine.conftest import SUMS, scripted_judge, scripted_policy_and_judge, scripted_reply

VERDICTS = (
    "SELECT trajectory_id, attempt, version, against, kind, outcome, score, reason FROM verdicts "
    "WHERE \"check\" = 'judge' ORDER BY ALL"
)
JUDGED = "SELECT trajectory_id FROM verdicts WHERE \"check\" = 'judge' ORDER BY 1"
UNSETTLED = "SELECT trajectory_id FROM trajectory_facts WHERE exact IS DISTINCT FROM 'pass' ORDER BY 1"
LINE = "SELECT applicable, pass, fail, undecided, error, pending FROM funnel WHERE \"check\" = 'judge'"


@pytest.fixture
def run(cli: Callable[..., Any], scripted: Any) -> Callable[..., Any]:
    scripted.reply = scripted_policy_and_judge

    def call(path: Path, *settings: str) -> Any:
        return cli("run", path, "--warehouse", "data", *settings)

    return call


def judged(scripted: Any) -> list[str]:
    """What the judge was asked, in order."""
    return [body["messages"][-1]["content"] for body in scripted.asked if "structured_outputs" in body]


@pytest.mark.slow
def test_what_the_rule_did_not_settle_is_judged_once_and_the_line_adds_up(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    path = recipe(scripted, prompts=12, judge={})
    done = run(path)
    assert done.code == 0, done
    assert rows(JUDGED) == rows(UNSETTLED)
    count = len(judged(scripted))
    assert 3 < count < 12
    assert f"[2/3] judged: {count} of 24 samples judged by scripted@1 (" in done.out
    stored = rows(VERDICTS)
    assert {r[4:] for r in stored} == {("judge", "fail", 0.0, "incorrect")}
    assert {(r[1], len(r[2])) for r in stored} == {(1, 12)}
    assert {r[3] for r in stored} <= {r[0] for r in rows("SELECT against FROM prompts")}
    assert rows(LINE) == [(count, 0, count, 0, 0, 0)]
    last = [line.split() for line in done.out.splitlines() if " judge " in line and " pending" in line][-1]
    assert " ".join(last) == f"reasoning judge {count} = 0 pass + {count} fail + 0 undecided + 0 error + 0 pending"

    before = rows("SELECT * FROM verdicts ORDER BY ALL"), rows("SELECT count(*) FROM runs")
    scripted.asked.clear()
    done = run(path)
    assert (done.code, scripted.asked) == (0, [])
    assert "judged: nothing to do, judge has judged what it is asked about" in done.out
    assert done.out.splitlines()[-1] == f"nothing to do: {path} is complete in data"
    assert (rows("SELECT * FROM verdicts ORDER BY ALL"), rows("SELECT count(*) FROM runs")) == before


@pytest.mark.slow
def test_a_verdict_holds_what_the_judge_said_and_what_it_took(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    path = recipe(scripted, judge={}, judged={"scope": "all"}, engine={"price": {"input": 100_000.0}})
    done = run(path)
    assert done.code == 0
    told = json.loads(rows("SELECT details FROM verdicts WHERE \"check\" = 'judge' AND outcome = 'pass'")[0][0])
    (vote,) = told["votes"]
    assert told["verdict"] == vote["verdict"] == "correct"
    assert vote["analysis"].startswith("It ends in ")
    assert json.loads(vote["raw"]) == {"analysis": vote["analysis"], "verdict": "correct"}
    assert (vote["policy"], vote["finish_reason"], vote["reason"]) == ("scripted@1", "stop", "")
    assert (vote["prompt_tokens"], vote["completion_tokens"]) == (10, len(vote["raw"].split()))
    assert 0 < vote["seconds"] < 20
    (line,) = [line.split() for line in done.out.splitlines() if line.startswith("judge ")]
    assert line[:4] == ["judge", "scripted@1", "12", "120"], "requests and prompt tokens"
    assert float(line[-1]) == pytest.approx(12.0), "US dollars"


@pytest.mark.slow
def test_everything_or_a_share_that_every_warehouse_draws_alike(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    path = recipe(scripted, prompts=20, judge={})
    assert run(path, "steps.judged.scope={share: 0.3}").code == 0
    drawn = rows(JUDGED)
    version = rows(VERDICTS)[0][2]
    lots = {
        i: int(hashlib.sha256((i + version).encode()).hexdigest()[:13], 16) / 16**13
        for (i,) in rows("SELECT trajectory_id FROM trajectories")
    }
    assert drawn == sorted((i,) for i, lot in lots.items() if lot < 0.3)
    assert 4 < rows(LINE)[0][0] == len(drawn) < 22
    scripted.asked.clear()
    assert run(path, "steps.judged.scope=all").code == 0
    assert len(judged(scripted)) == 40 - len(drawn)
    assert rows(LINE)[0][0] == len(rows(JUDGED)) == 40


def test_samples_of_a_prompt_are_asked_about_one_after_the_other(run: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted, prompts=6, samples=4, judge={}, judged={"scope": "all"}, engine={"max_in_flight": 1})
    assert run(path, "engines.scripted.start_in_flight=1").code == 0
    prefixes = [text[: text.index("<response-")] for text in judged(scripted)]
    assert len(prefixes) == 24
    assert sum(a != b for a, b in pairwise(prefixes)) == 5


@pytest.mark.slow
def test_a_corrected_reference_is_judged_again_by_who_is_shown_it(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    def both(**changes: Any) -> Path:
        path: Path = recipe(scripted, judge={}, judged={"scope": "all"}, **changes)
        value = json.loads(path.read_text())
        value["judges"]["guard"] = {"ask": "safety", "engine": "scripted"}
        value["steps"]["guarded"] = {"kind": "judge", "judge": "guard", "of": ["sample"], "scope": "all"}
        path.write_text(json.dumps(value))
        return path

    safe = '{"analysis": "Sums.", "verdict": "safe"}', "stop"
    scripted.reply = lambda b: safe if '"safe"' in json.dumps(b) else scripted_policy_and_judge(b)
    assert run(both()).code == 0
    assert len(judged(scripted)) == 24
    scripted.asked.clear()
    assert run(both(references={0: "999"})).code == 0
    assert len(judged(scripted)) == len(scripted.asked) == 2
    assert all("\n999\n" in text for text in judged(scripted))
    assert rows("SELECT \"check\", count(*) FROM verdicts WHERE kind = 'judge' GROUP BY 1 ORDER BY 1") == [
        ("guard", 12),
        ("judge", 14),
    ]


@pytest.mark.slow
def test_another_judge_is_asked_about_everything_and_the_verdicts_of_the_first_stay(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    path = recipe(scripted, judge={}, judged={"scope": "all"})
    assert run(path).code == 0
    scripted.asked.clear()
    assert run(path, "engines.scripted.timeout=5").code == 0
    assert scripted.asked == []
    assert run(path, "judges.judge.max_tokens=100").code == 0
    assert len(judged(scripted)) == len(scripted.asked) == 12
    assert rows("SELECT count(*), count(DISTINCT version) FROM verdicts WHERE kind = 'judge'") == [(24, 2)]
    assert rows(LINE)[0][0] == 12


NO_VERDICT = [
    ("The response is correct.", "stop", "unparseable"),
    ("correct", "stop", "unparseable"),
    ("", "stop", "unparseable"),
    ('{"analysis": "Both say', "stop", "unparseable"),
    ('{"analysis": "Both say', "length", "truncated"),
    ('{"analysis": "a", "verdict": "correct"}', "length", "truncated"),
    ('```json\n{"analysis": "a", "verdict": "correct"}\n```', "stop", "unparseable"),
    ('{"analysis": "a", "verdict": "correct"} Or is it?', "stop", "unparseable"),
    ('{"analysis": "a", "verdict": "correct"}{"analysis": "a", "verdict": "incorrect"}', "stop", "unparseable"),
    ('{"analysis": "a", "verdict": "correct", "verdict": "incorrect"}', "stop", "repeated_key"),
    ('{"analysis": "a", "judgement": "correct"}', "stop", "wrong_keys"),
    ('{"analysis": "a", "verdict": "correct", "sure": true}', "stop", "wrong_keys"),
    ('{"verdict": "correct"}', "stop", "wrong_keys"),
    ('{"analysis": "a", "verdict": ["correct", "incorrect"]}', "stop", "wrong_type"),
    ('{"analysis": "a", "verdict": true}', "stop", "wrong_type"),
    ('["correct"]', "stop", "wrong_type"),
    ('"correct"', "stop", "wrong_type"),
    ('{"analysis": "a", "verdict": "correct or incorrect"}', "stop", "unknown_verdict"),
    ('{"analysis": "a", "verdict": "Correct"}', "stop", "unknown_verdict"),
    ('{"analysis": "die Antwort stimmt", "verdict": "richtig"}', "stop", "unknown_verdict"),
    ('{"analysis": "a", "verdict": "correct\\u200b"}', "stop", "unknown_verdict"),
    ('{"analysis": "odd \\ud800 and \\u0000 signs", "verdict": "maybe"}', "stop", "unknown_verdict"),
    ('{"analyse": "die Antwort stimmt", "urteil": "correct"}', "stop", "wrong_keys"),
    ("[" * 100_000, "stop", "unparseable"),
]


@pytest.mark.slow
def test_a_reply_that_is_no_verdict_is_undecided_kept_as_it_came_and_asked_once(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    said = {f"What is {a} + {b}?": reply for (a, b), reply in zip(SUMS, NO_VERDICT, strict=False)}

    def reply(body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" not in body:
            return scripted_reply(body)
        (text,) = (r[:2] for question, r in said.items() if f"\n{question}\n" in body["messages"][-1]["content"])
        return text

    scripted.reply = reply
    path = recipe(scripted, prompts=len(NO_VERDICT), samples=1, judge={}, judged={"scope": "all"})
    assert run(path).code == 0
    found = rows("SELECT messages[-1].content, v.outcome, v.score, v.reason, v.details ->> '$.votes[0].raw', "
                 "v.details ->> '$.votes[0].verdict' FROM verdicts v JOIN trajectory_facts USING (trajectory_id) "
                 "WHERE v.\"check\" = 'judge'")  # fmt: skip
    assert len(found) == len(NO_VERDICT)
    for question, outcome, score, reason, raw, verdict in found:
        text, _, expected = said[question]
        assert (outcome, score, reason, raw, verdict) == ("undecided", None, expected, text, None)
    assert rows(LINE) == [(len(NO_VERDICT), 0, 0, len(NO_VERDICT), 0, 0)]
    scripted.asked.clear()
    assert run(path).code == 0
    assert scripted.asked == []


@pytest.mark.slow
def test_a_request_that_failed_leaves_no_verdict_and_is_asked_again(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    def fault(body: dict[str, Any], before: int) -> str | None:
        return "500" if "structured_outputs" in body and "What is 2 + 3?" in str(body) else None

    scripted.fault = fault
    path = recipe(scripted, judge={}, judged={"scope": "all"})
    done = run(path)
    assert done.code == 1
    assert "12 of 12 samples judged by scripted@1, 2 got no verdict (2 HTTP 500; run again to ask again)" in done.out
    last = "2 verdicts of judges are missing, their requests failed: run again to ask again"
    assert done.out.splitlines()[-1] == last
    assert (rows(LINE)[0][0], rows(LINE)[0][-1]) == (12, 2)
    scripted.asked.clear()
    scripted.fault = lambda body, before: None
    assert run(path).code == 0
    assert len(judged(scripted)) == len(scripted.asked) == 2
    assert (rows(LINE)[0][0], rows(LINE)[0][-1]) == (12, 0)


@pytest.mark.slow
def test_a_server_that_dies_leaves_the_verdicts_that_it_gave(
    run: Any, recipe: Any, scripted: Any, rows: Any, scripted_server: Any
) -> None:
    scripted.fault = lambda body, before: "die" if len(judged(scripted)) >= 20 else None
    path = recipe(scripted, prompts=20, judge={}, judged={"scope": "all"}, engine={"patience": 0.5})
    done = run(path)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"EngineError: {scripted.url}: ")
    kept = len(rows(JUDGED))
    assert 10 <= kept <= 20
    fresh = scripted_server()
    fresh.reply = scripted_policy_and_judge
    assert run(path, f"engines.scripted.url={fresh.url}").code == 0
    assert len(fresh.asked) == 40 - kept
    assert len(rows(JUDGED)) == 40


@pytest.mark.slow
def test_three_engines_vote(run: Any, recipe: Any, scripted: Any, rows: Any) -> None:
    """One finds everything right, one nothing, the third knows what is right and does not answer else."""

    def reply(body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" not in body:
            return scripted_reply(body)
        if body["model"] == "third":
            said = scripted_judge(body)
            return said if json.loads(said[0])["verdict"] == "correct" else ("I am not sure.", "stop")
        return json.dumps({"analysis": "", "verdict": body["model"]}), "stop"

    scripted.reply = reply
    names = ("correct", "incorrect", "third")
    path = recipe(scripted, prompts=12, judge={"engine": names}, judged={"scope": "all"})
    engine = f"kind: endpoint, url: '{scripted.url}', revision: a, retries: 0"
    done = run(path, *(f"engines.{name}={{{engine}, model: {name}}}" for name in names))
    assert done.code == 0, done
    assert len(judged(scripted)) == 72
    found = {r[5:] for r in rows(VERDICTS)}
    assert found == {("pass", 2 / 3, ""), ("undecided", None, "votes_tied")}
    assert rows("SELECT count(*) FROM trajectory_facts WHERE (exact = 'pass') <> (judge = 'pass')") == [(0,)]
    accounted = sorted(line.split()[1:3] for line in done.out.splitlines() if line.startswith("judge "))
    assert accounted == [["correct@a", "24"], ["incorrect@a", "24"], ["third@a", "24"]]


@pytest.mark.slow
def test_the_funnel_waits_only_for_what_the_judge_is_asked_about(
    run: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    """Two steps of one stage, one of them judged, and a prompt without a reference, on which the judge has no say."""
    prompts = {name: {"source": "inline", "name": name, "prompts": [{"prompt": f"Hello, {name}!"}]} for name in "ab"}
    path = recipe(scripted, sources=prompts, judge={})
    value = json.loads(path.read_text())
    value["steps"]["sample"]["prompts"] = ["sums", "a"]
    talk = {"kind": "generate", "stage": "reasoning", "prompts": "b", "engine": "scripted", "checks": ["format"]}
    value["steps"] = {"talk": talk, **value["steps"]}
    path.write_text(json.dumps(value))
    assert run(path).code == 0
    assert not any("Hello" in text for text in judged(scripted))
    judged_chat = rows("SELECT source, v.outcome, v.reason, v.details FROM verdicts v JOIN trajectory_facts "
                       "USING (trajectory_id) WHERE v.\"check\" = 'judge' AND source <> 'sums'")  # fmt: skip
    assert judged_chat == [("a", "undecided", "no_reference", '{"verdict":null,"votes":[]}')] * 2
    (applicable, *outcomes, pending) = rows(LINE)[0]
    assert (applicable, pending) == (len(judged(scripted)) + 2, 0)
    assert outcomes[2] == 2


def test_a_judge_that_cannot_be_is_refused_before_anything_is_asked(refused: Any, recipe: Any, scripted: Any) -> None:
    def refusal(judge: dict[str, Any], judged: dict[str, Any] | None = None) -> str:
        line: str = refused("run", recipe(scripted, judge=judge, judged=judged or {}), "--warehouse", "data")
        return line

    assert "judges.judge.engine: 'none' is not defined (known: scripted)" in refusal({"engine": "none"})
    assert "steps.judged.judge: 'jury' is not defined (known: judge)" in refusal({}, {"judge": "jury"})
    assert "steps.judged.of: 'keep' is no earlier step that makes trajectories" in refusal({}, {"of": ["keep"]})
    assert "judges.judge: 3 votes at temperature 0 are one vote; set sampling.temperature" in refusal({"votes": 3})
    assert "judges.judge: `engine` names one twice" in refusal({"engine": ["scripted", "scripted"]})
    assert (
        "steps.judged.scope: 'some' is no scope; there are unsettled, all, and a share as in {share: 0.1}"
        in refusal({}, {"scope": "some"})
    )
    assert refusal({"ask": "fairness"}).endswith(
        "fairness: no prompt file, and no shipped name; "
        "shipped: correctness, equivalence, helpfulness, preference, safety, thought"
    )
    assert refusal({"ask": "gone.md"}).endswith("gone.md: no such file or directory")
    assert scripted.asked == []
