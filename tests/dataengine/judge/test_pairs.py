"""Pairs of answers: which are compared, how often and in what order, and what comes of it."""

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.engines.client import ChatReply
from dataengine.judge.calibration import Report, coin
from dataengine.judge.labels import Labelled
from dataengine.judge.preference import PairCase, PairJudge
from dataengine.judge.prompt_file import load_prompt
from dataengine.policy import Policy
from schemas.keys import key
from schemas.recipe import EndpointEngine, JudgeSpec

PAIRS = "SELECT pair_id, prompt_id, a_id, b_id FROM pairs ORDER BY 1"
DRAWS = (
    "SELECT pair_id, version, draw, draws, a_first, outcome, score, reason, "
    """regexp_replace(details, '"seconds":[0-9.e-]+', '') FROM pair_verdicts ORDER BY ALL"""
)
LINE = "SELECT applicable, pass, fail, undecided, error, pending FROM funnel WHERE stage = '(pairs)'"
WORDS = {2: "a_much_better", 1: "a_better", 0: "equal", -1: "b_better", -2: "b_much_better"}


def judge(engines: int = 1, **spec: Any) -> PairJudge:
    policies = [
        Policy.of(EndpointEngine(kind="endpoint", url="http://localhost:1/v1", model=f"m{i}")) for i in range(engines)
    ]
    made = JudgeSpec(ask="preference", engine=[f"e{i}" for i in range(engines)], **spec)
    return PairJudge("preference", made, load_prompt("preference"), policies)


def case(number: int = 0) -> PairCase:
    return PairCase(key(number), "Which?", "The first.", "The second.")


def reply(score: int | None) -> ChatReply:
    said = {"own_answer": "Mine.", "analysis": "Because.", "verdict": WORDS.get(score or 0)}
    return ChatReply("I like both." if score is None else json.dumps(said), finish_reason="stop", seconds=1.0)


def test_the_order_is_drawn_anew_for_each_draw_and_is_the_same_in_every_run() -> None:
    orders = [[judge().a_first(key(number), draw) for draw in range(4)] for number in range(200)]
    assert 340 < sum(map(sum, orders)) < 460
    assert len({tuple(order) for order in orders}) == 16
    assert [[judge().a_first(key(n), d) for d in range(4)] for n in range(200)] == orders
    for draw in range(4):
        text = judge().request_of(case(), draw).messages[-1]["content"]
        assert (text.index("The first.") < text.index("The second.")) == orders[0][draw]
        assert text.index("<response_a-") < text.index("<response_b-")
    assert len({judge().request_of(case(), draw).seed for draw in range(4)}) == 4


def test_a_verdict_is_turned_back_to_the_pairs_own_order() -> None:
    asked = judge()
    for draw in range(4):
        said = asked.draw_of(case(), draw, reply(2))
        assert said.a_first == asked.a_first(case().pair_id, draw)
        assert (said.score, said.outcome) == ((2, "pass") if said.a_first else (-2, "fail"))
        tie = asked.draw_of(case(), draw, reply(0))
        assert (str(tie.score), tie.outcome, tie.reason) == ("0.0", "undecided", "equal")
        none = asked.draw_of(case(), draw, reply(None))
        assert (none.score, none.outcome, none.reason) == (None, "undecided", "unparseable")
        assert none.vote["raw"] == "I like both."


@pytest.mark.parametrize(
    ("scores", "outcome", "score", "reason"),
    [
        ([2, 2, 1, 1], "pass", 1.5, ""),
        ([-2, -1, -2, -2], "fail", -1.75, ""),
        ([2, -2, 1, -1], "undecided", 0.0, "equal"),
        ([2, None, 1, 2], "pass", 5 / 3, ""),
        ([2, None, None, 2], "undecided", None, "unparseable"),
    ],
)
def test_draws_together_say_their_mean(scores: list[int | None], outcome: str, score: Any, reason: str) -> None:
    asked = judge()
    shown = [s if s is None or asked.a_first(case().pair_id, d) else -s for d, s in enumerate(scores)]
    draws = [asked.draw_of(case(), d, reply(s)) for d, s in enumerate(shown)]
    opinion = asked.opinion(draws)
    assert (opinion.outcome, opinion.score, opinion.reason) == (outcome, score, reason)


def test_the_judge_answers_itself_before_it_judges() -> None:
    schema = load_prompt("preference").guided.as_json_schema()
    assert list(schema["properties"]) == ["own_answer", "analysis", "verdict"]
    assert schema["properties"]["verdict"]["enum"] == list(WORDS.values())
    no_answer = ChatReply(json.dumps({"analysis": "x", "verdict": "equal"}), finish_reason="stop")
    assert judge().draw_of(case(), 0, no_answer).reason == "wrong_keys"


def test_several_engines_make_their_draws_each() -> None:
    asked = judge(engines=2, draws=3)
    assert asked.asked == 6
    assert [asked.policy_of(draw)[0] for draw in range(6)] == [0, 0, 0, 1, 1, 1]


def test_draws_differ_unless_they_are_told_not_to(refused: Any, paired: Any, scripted: Any) -> None:
    """Left out, the temperature is above 0 for judges of pairs; at 0 there is one draw for each order at most."""
    drawn = [judge().request_of(case(), draw) for draw in range(4)]
    assert {request.temperature for request in drawn} == {0.7}
    assert judge(sampling={"temperature": 0.0}, draws=2).request_of(case(), 1).temperature == 0
    path = paired()
    for temperature in ("0", "[0, 0.0]"):
        told = refused("run", path, f"judges.preference.sampling={{temperature: {temperature}}}")
        assert told == (
            "ConfigError: judges.preference: 4 draws at temperature 0 are two at most, one for each order; "
            "set sampling.temperature, or draws to 2 or 1"
        )
    assert scripted.asked == []


# -- runs


def policy_and_judge(body: dict[str, Any]) -> tuple[str, str]:
    """Answers that differ from sample to sample, every third wrong; a judge who knows, and finds length no merit."""
    asked = body["messages"][-1]["content"]
    if "structured_outputs" not in body:
        a, b = map(int, re.findall(r"\d+", asked)[:2])
        said = a + b + (body["seed"] % 3 == 0)
        return f"<think>\nI add.\n</think>\n<answer>{said}</answer>{'!' * (1 + body['seed'] % 11)}", "stop"
    shown = dict(re.findall(r"^<(\w+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>$", asked, re.M | re.S))
    a, b = map(int, re.findall(r"\d+", shown["question"])[:2])
    right = [f"<answer>{a + b}</answer>" in shown[f"response_{side}"] for side in "ab"]
    score = 0 if right[0] == right[1] else 2 if right[0] else -2
    return json.dumps({"own_answer": f"{a + b}", "analysis": "I compare.", "verdict": WORDS[score]}), "stop"


@pytest.fixture
def paired(recipe: Any, scripted: Any) -> Callable[..., Path]:
    """A recipe of two steps that sample, the pairs between them, and their judge."""
    scripted.reply = policy_and_judge

    def write(*, pairs: dict[str, Any] | None = None, judge: dict[str, Any] | None = None, **changes: Any) -> Path:
        path: Path = recipe(scripted, template="plain", **{"checks": ["length"], "prompts": 12, **changes})
        value = json.loads(path.read_text())
        one = value["steps"]["sample"]
        value["judges"] = {"preference": {"ask": "preference", "engine": "scripted", **(judge or {})}}
        value["steps"] = {
            "one": one,
            "other": {**one, "sampling": {"seed": 1}},
            "pairs": {"kind": "pairs", "of": ["one", "other"], **(pairs or {})},
            "preferred": {"kind": "judge", "judge": "preference", "of": ["pairs"]},
        }
        path.write_text(json.dumps(value))
        return path

    return write


@pytest.fixture
def run(cli: Callable[..., Any]) -> Callable[..., Any]:
    return lambda path, *settings, warehouse="data": cli("run", path, "--warehouse", warehouse, *settings)


def add(path: Path, steps: dict[str, Any], judges: dict[str, Any] | None = None) -> None:
    """Puts steps at a recipe's end, and judges among its own."""
    value = json.loads(path.read_text())
    value["steps"] |= steps
    value["judges"] |= judges or {}
    path.write_text(json.dumps(value))


def draws(scripted: Any) -> int:
    return sum("structured_outputs" in body for body in scripted.asked)


@pytest.mark.slow
def test_a_pair_of_each_prompt_is_compared_in_four_draws_once(
    run: Any, paired: Any, scripted: Any, rows: Any, cli: Any
) -> None:
    path = paired()
    done = run(path)
    assert done.code == 0, done
    pairs = rows(PAIRS)
    assert 8 <= len(pairs) == len({p[1] for p in pairs}) <= 12
    first = {r[0] for r in rows("SELECT trajectory_id FROM trajectories WHERE sampling LIKE '%\"seed\":0%'")}
    for pair_id, _, a, b in pairs:
        assert pair_id == key(a, b)
        assert a in first and b not in first, "one from each step"
    assert rows("SELECT count(*), count(DISTINCT (pair_id, draw)), min(draws), max(draws) FROM pair_verdicts") == [
        (4 * len(pairs), 4 * len(pairs), 4, 4)
    ]
    assert draws(scripted) == 4 * len(pairs)
    ((applicable, *outcomes, pending),) = rows(LINE)
    assert applicable == sum(outcomes) == 4 * len(pairs)
    assert pending == 0
    assert f"    (pairs)       preference {applicable:>12} = " in done.out
    assert f"[4/4] preferred: {applicable} of {applicable} draws of pairs judged by scripted@1 (" in done.out
    assert re.search(rf"^preference +scripted@1 +{applicable} ", done.out, re.M), "the account"

    kept = rows("SELECT score, kept, chosen_id = a_id, c.answer, r.answer FROM preferences p "
                "LEFT JOIN trajectories_current c ON c.trajectory_id = chosen_id "
                "LEFT JOIN trajectories_current r ON r.trajectory_id = rejected_id")  # fmt: skip
    assert {abs(score) for score, *_ in kept} == {0.0, 2.0}
    assert all((abs(score) > 1) == keep for score, keep, *_ in kept)
    asked = cli("sql", "--name", "preferences", "--format", "json", "--warehouse", "data")
    told = json.loads(asked.out)
    assert (told["pairs"], told["kept"]) == (len(pairs), sum(k for _, k, *_ in kept))
    assert 0.2 < told["first_wins"] < 0.8

    scripted.asked.clear()
    done = run(path)
    assert (done.code, scripted.asked) == (0, [])
    assert f"pairs: nothing to do, {len(pairs)} pairs are there" in done.out
    assert rows(PAIRS) == pairs


@pytest.mark.slow
def test_no_more_pairs_than_wanted_and_of_like_length(run: Any, paired: Any, scripted: Any, rows: Any) -> None:
    lengths = ("SELECT max(greatest(length(a.answer), length(b.answer)) / least(length(a.answer), length(b.answer))) "
               "FROM pairs p JOIN trajectories a ON a.trajectory_id = p.a_id "
               "JOIN trajectories b ON b.trajectory_id = p.b_id")  # fmt: skip
    path = paired(prompts=6, samples=3, pairs={"per_prompt": 2, "max_length_ratio": 1.2})
    assert run(path).code == 0
    before = set(rows(PAIRS))
    assert rows("SELECT max(n) FROM (SELECT count(*) AS n FROM pairs GROUP BY prompt_id)") == [(2,)]
    assert rows(lengths)[0][0] <= 1.2
    assert run(path, "steps.pairs={kind: pairs, of: [one, other], per_prompt: 3}").code == 0
    assert before < set(rows(PAIRS))
    assert rows("SELECT max(n) FROM (SELECT count(*) AS n FROM pairs GROUP BY prompt_id)") == [(3,)]
    # Of one step alone: its own samples with each other.
    between = rows(PAIRS)
    assert run(path, "steps.pairs={kind: pairs, of: one}").code == 0
    own = {p[0] for p in set(rows(PAIRS)) - set(between)}
    steps = rows("SELECT DISTINCT a.sampling = b.sampling FROM pairs p JOIN trajectories a ON a.trajectory_id = p.a_id "
                 f"JOIN trajectories b ON b.trajectory_id = p.b_id WHERE pair_id IN {tuple(own)}")  # fmt: skip
    assert steps == [(True,)]


@pytest.mark.slow
def test_draws_that_failed_are_asked_again_alone_and_the_rest_stays(
    run: Any, paired: Any, scripted: Any, rows: Any, tmp_path: Path
) -> None:
    assert run(paired(), warehouse="undisturbed").code == 0
    scripted.asked.clear()

    def fault(body: dict[str, Any], before: int) -> str | None:
        return "500" if "structured_outputs" in body and body["seed"] % 5 == 0 else None

    scripted.fault = fault
    done = run(paired())
    assert done.code == 1
    failed = len({b["seed"] for b in scripted.asked if fault(b, 0)})
    assert done.out.splitlines()[-1].startswith(f"{failed} verdicts of judges are missing")
    assert rows(LINE)[0][-1] == failed > 0
    assert rows("SELECT count(*) FROM preferences WHERE drawn < draws AND kept") == [(0,)]
    scripted.fault = lambda body, before: None
    scripted.asked.clear()
    assert run(paired()).code == 0
    assert draws(scripted) == len(scripted.asked) == failed
    assert rows(DRAWS) == rows(DRAWS, tmp_path / "undisturbed")
    assert rows(PAIRS) == rows(PAIRS, tmp_path / "undisturbed")


@pytest.mark.slow
def test_each_judge_of_pairs_is_still_to_draw_what_its_own_steps_hold(
    run: Any, paired: Any, scripted: Any, rows: Any
) -> None:
    path = paired(prompts=6, samples=1, judge={"draws": 2})
    one = json.loads(path.read_text())["steps"]["one"]
    add(
        path,
        {
            "third": {**one, "sampling": {"seed": 2}},
            "more": {"kind": "pairs", "of": ["one", "third"]},
            "asked": {"kind": "judge", "judge": "second", "of": "more"},
            # The pairs of `pairs`, which that step chose.
            "again": {"kind": "pairs", "of": ["one", "other"]},
            "asked_again": {"kind": "judge", "judge": "third", "of": ["again", "more"]},
        },
        {name: {"ask": "preference", "engine": "scripted", "draws": n} for name, n in (("second", 3), ("third", 1))},
    )
    line = "SELECT \"check\", applicable, applicable - pending FROM funnel WHERE stage = '(pairs)' ORDER BY 1"

    def fault(body: dict[str, Any], before: int) -> str | None:
        return "500" if "structured_outputs" in body and body["seed"] % 3 == 0 else None

    scripted.fault = fault
    assert run(path).code == 1
    ((pairs,),) = rows("SELECT count(*) FROM pair_steps WHERE step = 'pairs'")
    ((more,),) = rows("SELECT count(*) FROM pair_steps WHERE step = 'more'")
    assert pairs > 4 and more > 4
    assert rows("SELECT count(*) FROM pair_steps WHERE step = 'again'") == [(pairs,)]
    assert rows("SELECT count(*) FROM pairs") == [(pairs + more,)]
    wanted = [("preference", 2 * pairs), ("second", 3 * more), ("third", pairs + more)]
    drawn = dict(rows('SELECT "check", count(*) FROM pair_verdicts GROUP BY 1'))
    assert rows(line) == [(name, count, drawn[name]) for name, count in wanted]
    assert all(drawn[name] < count for name, count in wanted)
    scripted.fault = lambda body, before: None
    done = run(path)
    assert (done.code, rows(line)) == (0, [(name, count, count) for name, count in wanted])
    scripted.asked.clear()
    before = rows("SELECT count(*) FROM runs")
    assert (run(path).code, scripted.asked, rows("SELECT count(*) FROM runs")) == (0, [], before)


@pytest.mark.slow
def test_pairs_of_a_right_and_a_wrong_answer_and_what_the_rule_prefers(
    run: Any, paired: Any, rows: Any, cli: Any
) -> None:
    path = paired(prompts=8, checks=["exact"], samples=3, pairs={"contrast": "rule", "max_length_ratio": 3.0})
    # Other pairs that are there already, of the same steps, are none of the step with the contrast.
    value = json.loads(path.read_text())
    first = {name: value["steps"].pop(name) for name in ("one", "other")}
    value["steps"] = first | {"any": {"kind": "pairs", "of": ["one", "other"]}} | value["steps"]
    path.write_text(json.dumps(value))
    assert run(path).code == 0
    held = "SELECT pair_id FROM pair_steps WHERE step = "
    sides = rows("SELECT a.outcome, b.outcome FROM pairs JOIN verdicts a ON a.trajectory_id = a_id "
                 f"JOIN verdicts b ON b.trajectory_id = b_id WHERE pair_id IN ({held} 'pairs')")  # fmt: skip
    assert len(sides) == 8
    assert set(sides) == {("pass", "fail"), ("fail", "pass")}
    assert len(rows(f"{held} 'any'")) == 8
    assert len(rows(PAIRS)) > 8
    told = 'SELECT pair_id, chosen_id, score, kept FROM preferences WHERE "check" = '
    ruled = rows(f"{told} 'rule' ORDER BY 1")
    assert ruled == rows(f"{told} 'preference' ORDER BY 1"), "the judge knows what is right"
    assert {pair for pair, *_ in ruled} == {pair for (pair,) in rows(f"{held} 'pairs'")}
    assert rows("SELECT DISTINCT outcome FROM preferences JOIN verdicts ON trajectory_id = chosen_id") == [("pass",)]
    balanced = "sum(sign(chosen_length - rejected_length)) FILTER (WHERE balanced)"
    assert rows(f"SELECT {balanced}, bool_and(kept), bool_and(drawn = draws) FROM preferences "
                "WHERE \"check\" = 'rule'") == [(0, True, True)]  # fmt: skip
    shown = cli("sql", "--name", "preferences", "--format", "json", "--warehouse", "data")
    judge, rule = map(json.loads, shown.out.splitlines())
    same = ("pairs", "kept", "a_wins", "chosen_characters", "rejected_characters")
    assert [judge[name] for name in same] == [rule[name] for name in same]
    assert (rule["check"], rule["first_wins"]) == ("rule", None)


@pytest.mark.slow
def test_killed_runs_end_in_the_same_pairs_and_draws(
    process: Any, paired: Any, scripted: Any, rows: Any, tmp_path: Path
) -> None:
    scripted.seconds = 0.02
    path = paired(prompts=40, engine={"max_in_flight": 6})
    assert process("run", path, "--warehouse", "undisturbed").wait() == 0
    whole = len(scripted.asked)
    scripted.asked.clear()
    # While it samples, between the steps, while it compares.
    for share in (0.3, 0.49, 0.52, 0.6, 0.7, 0.8, 0.9):
        child = process("run", path, "--warehouse", "data")
        while len(scripted.asked) < share * whole and child.poll() is None:
            time.sleep(0.005)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert process("run", path, "--warehouse", "data").wait() == 0
    for table in (PAIRS, DRAWS):
        assert rows(table) == rows(table, tmp_path / "undisturbed")
    assert rows(LINE)[0][-1] == 0
    assert rows("SELECT count(*) - count(DISTINCT (pair_id, draw)) FROM pair_verdicts") == [(0,)]


@pytest.mark.slow
def test_kept_pairs_are_balanced_in_length(run: Any, paired: Any, scripted: Any, rows: Any) -> None:
    """A judge that goes by length alone: nothing is left of what it says, where lengths differ."""

    def longest(body: dict[str, Any]) -> tuple[str, str]:
        if "structured_outputs" not in body:
            return policy_and_judge(body)
        shown = dict(re.findall(r"^<(\w+)-[0-9a-f]{12}>\n(.*?)\n</\1-", body["messages"][-1]["content"], re.M | re.S))
        score = 2 if len(shown["response_a"]) > len(shown["response_b"]) else -2
        return json.dumps({"own_answer": "", "analysis": "", "verdict": WORDS[score]}), "stop"

    path = paired()
    assert run(path).code == 0
    kept = "SELECT count(*) FILTER (WHERE chosen_length > rejected_length), count(*) FILTER (WHERE chosen_length < "
    kept += "rejected_length), count(*) FROM preferences WHERE balanced"
    longer, shorter, count = rows(kept)[0]
    assert longer == shorter
    assert 0 < count < rows("SELECT count(*) FROM preferences WHERE kept")[0][0]
    scripted.reply = longest
    assert run(path, "engines.scripted.revision=longest", warehouse="longest").code == 0
    told = "SELECT count(*) FROM preferences WHERE balanced AND chosen_length <> rejected_length"
    assert rows(told, Path(path.parent / "longest")) == [(0,)]


def test_judges_and_steps_have_to_fit(refused: Any, paired: Any, scripted: Any) -> None:
    path = paired()
    single = refused("run", path, "judges.preference.ask=correctness")
    assert single == "ConfigError: judge preference is asked about single responses: `of` names pairs"
    both = refused("run", path, "steps.preferred.of=[one]")
    assert both == "ConfigError: judge preference is asked about pairs: `of` has to name steps of kind pairs"
    assert "steps.preferred.of: 'pairs' is no earlier step" in refused("run", path, "steps.preferred.of=[one, pairs]")
    assert "steps.pairs.of: 'preferred' is no earlier step" in refused("run", path, "steps.pairs.of=preferred")
    assert scripted.asked == []


# -- calibration


def test_a_few_draws_say_nothing_of_the_order() -> None:
    def report(pairs: int) -> Report:
        asked = judge()
        cases = [case(number) for number in range(pairs)]
        # Each time the first is better.
        opinions = [asked.opinion([asked.draw_of(c, draw, reply(1)) for draw in range(4)]) for c in cases]
        labelled = [Labelled(c, "pass" if n % 2 else "fail", str(n), 0) for n, c in enumerate(cases)]
        return Report(asked, "gold", labelled, opinions)

    remark = "prefers what stands first, whichever it is"
    assert [report(pairs).first_wins for pairs in (2, 3)] == [1.0, 1.0]
    assert remark not in report(2).remarks and remark in report(3).remarks
    assert (coin(9, 9), coin(0, 9), coin(2, 4), coin(0, 0)) == (3.0, -3.0, 0.0, 0.0)


PLANTED: dict[str, Callable[[str, str, bool, int], int | None]] = {
    "oracle": lambda a, b, a_right, lot: 2 if a_right else -2,
    "noisy oracle": lambda a, b, a_right, lot: 2 if a_right != (lot < 20) else -2,
    "always the first": lambda a, b, a_right, lot: 1,
    "always equal": lambda a, b, a_right, lot: 0,
    "longest": lambda a, b, a_right, lot: 2 if len(a) > len(b) else -2,
    "random": lambda a, b, a_right, lot: 2 if (lot < 50) == a_right else -2,
    "turned round": lambda a, b, a_right, lot: -2 if a_right else 2,
    "prose": lambda a, b, a_right, lot: None,
}


@pytest.mark.parametrize(
    ("name", "low", "high", "remarks"),
    [
        ("oracle", 1.0, 1.0, []),
        ("noisy oracle", 0.45, 0.75, []),
        ("always the first", -0.2, 0.2, ["agrees no better than chance would",
                                         "prefers what stands first, whichever it is"]),
        ("always equal", 0.0, 0.0, ["says `equal` of everything"]),
        ("longest", -0.2, 0.2, ["agrees no better than chance would", "prefers longer responses, right or wrong"]),
        ("random", -0.2, 0.2, ["agrees no better than chance would"]),
        ("turned round", -1.0, -0.99, ["agrees no better than chance would"]),
        ("prose", 0.0, 0.0, ["says `unparseable` of everything",
                             "gave no verdict on 100% of the cases (unparseable 200)"]),
    ],
)  # fmt: skip
def test_planted_judges_of_pairs_are_recognised(
    cli: Any, paired: Any, scripted: Any, rows: Any, tmp_path: Path, name: str, low: float, high: float, remarks: Any
) -> None:
    cases = []
    for i in range(200):
        texts = [f"{word} answer to {i}{' indeed' * (int(key(i, word)[:4], 16) % 6)}" for word in ("right", "wrong")]
        cases.append({"prompt": f"Question {i}?", "chosen": texts[0], "rejected": texts[1]})
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases))

    def reply(body: dict[str, Any]) -> tuple[str, str]:
        shown = dict(re.findall(r"^<(\w+)-[0-9a-f]{12}>\n(.*?)\n</\1-", body["messages"][-1]["content"], re.M | re.S))
        a, b = shown["response_a"], shown["response_b"]
        # The same noise whichever stands first, so that draws do not mend it.
        lot = int(key(shown["question"])[:8], 16) % 100
        right = a.startswith("right")
        score = PLANTED[name](a, b, right, lot)
        return ("Both are fine.", "stop") if score is None else (reply_of(score), "stop")

    def reply_of(score: int) -> str:
        return json.dumps({"own_answer": "x", "analysis": "y", "verdict": WORDS[score]})

    scripted.reply = reply
    path = paired(engine={"max_in_flight": 64})
    done = cli("judge", "calibrate", "preference", "--recipe", path, "--on", "gold.jsonl", "--warehouse", "data")
    assert done.code == 0, done
    assert [line.removeprefix("It ").removesuffix(".") for line in done.out.splitlines() if line.startswith("It ")] == (
        remarks
    )
    ((kappa, n, report),) = rows("SELECT kappa, n, report FROM calibrations")
    assert n == 200
    assert low <= kappa <= high
    first = json.loads(report)["first_wins"]
    assert first is None if name in ("always equal", "prose") else first is not None
