"""What `dataengine judge calibrate` reports of judges that are known, on public labelled answers, beside scikit-learn.

    python benchmarks/planted_judges.py DATA --sklearn PYTHON [--cases 1200]
    python benchmarks/planted_judges.py DATA --sklearn PYTHON --model smollm2-135m-instruct --cases 40

DATA holds the public sets, PYTHON is the interpreter of an environment of its own:

    python -m venv /tmp/sklearn && /tmp/sklearn/bin/pip install scikit-learn

The judges are played by a local server, which is asked as any other is: always the first answer (of single responses:
always a pass), the longer one (one over the median), one at random in each request, and the labels, of one case in five
their opposite. scikit-learn is given the labels and the outcomes alone; its interval is the plain bootstrap over cases.
With `--model` a real judge on the embedded engine is asked instead. Without, it is also counted how often the interval
holds the kappa of the population that cases are drawn from.
"""

import argparse
import asyncio
import contextlib
import io
import json
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from public_sets import rows_of

from dataengine.judge.calibrating import calibrate
from dataengine.judge.calibration import OUTCOMES, Report, agreement
from dataengine.judge.judge import Case, Judge
from dataengine.judge.labels import Labelled, from_file
from dataengine.judge.preference import PairCase, PairJudge
from dataengine.judge.prompt_file import load_prompt
from dataengine.policy import Policy
from schemas.keys import key
from schemas.recipe import EmbeddedEngine, EndpointEngine, JudgeSpec

NOISE = 0.2
WORDS = ("a_much_better", "a_better", "equal", "b_better", "b_much_better")
SKLEARN = """
import json, sys
import numpy as np
from sklearn.metrics import cohen_kappa_score
found = []
for labels, told in json.load(sys.stdin):
    labels, told, chance = np.array(labels), np.array(told), np.random.default_rng(1)
    drawn = (chance.integers(len(labels), size=len(labels)) for _ in range(500))
    low, high = np.nanquantile([cohen_kappa_score(labels[d], told[d]) for d in drawn], [0.025, 0.975])
    found.append((cohen_kappa_score(labels, told), low, high))
json.dump(found, sys.stdout)
"""

AnyCase = Case | PairCase
Says = Callable[[Labelled, bool, int], str]
"""The word that a planted judge says of a case, given whether a is shown first, and the request's seed."""


# -- the public sets, as rows of a file of labelled cases


def instructions(row: dict[str, Any]) -> dict[str, Any]:
    asked = "\n\n".join(text for text in (row["instruction"], row["input"]) if text)
    return {"prompt": asked, "chosen": row["chosen"], "rejected": row["rejected"]}


def conversations(row: dict[str, Any]) -> dict[str, Any]:
    asked = "\n\n".join(f"{turn['from']}: {turn['value']}" for turn in row["conversations"])
    return {"prompt": asked, "chosen": row["chosen"]["value"], "rejected": row["rejected"]["value"]}


def transcripts(row: dict[str, Any]) -> dict[str, Any]:
    asked, mark, chosen = row["chosen"].rpartition("\n\nAssistant:")
    rejected = row["rejected"].rpartition(mark)[2]
    return {"prompt": asked.strip(), "chosen": chosen.strip(), "rejected": rejected.strip()}


def messages(row: dict[str, Any]) -> dict[str, Any]:
    *asked, last = row["messages"]
    text = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in asked)
    return {"prompt": text, "response": last["content"], "label": row["label"]}


PREFERENCES = "ch07/04_preference-tuning-with-dpo/instruction-data-with-preference.json"
SETS: dict[str, tuple[str, str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "polite or not (rasbt)": ("preference", f"preference_safety/rasbt_pref/{PREFERENCES}", instructions),
    "DPO, English": ("preference", "nonreasoning/llamafactory_demo/dpo_en_demo.json", conversations),
    "DPO, Chinese": ("preference", "nonreasoning/llamafactory_demo/dpo_zh_demo.json", conversations),
    "hh-rlhf, harmless": ("preference", "preference_safety/hh_rlhf/harmless-base/test.jsonl", transcripts),
    "KTO, English": ("helpfulness", "nonreasoning/llamafactory_demo/kto_en_demo.json", messages),
}


def labelled(data: Path, name: str, judge: Judge | PairJudge, count: int) -> tuple[Sequence[Labelled], str, int]:
    """The cases, what they are called, and how many rows gave none."""
    _, path, read = SETS[name]
    rows = [read(row) for _, row in zip(range(count), rows_of(data / path), strict=False)]
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        cases, gold = from_file(judge, file, {}, notes)
    return cases, gold, len(notes)


# -- the planted judges


def by_chance(share: float, *of: Any) -> bool:
    return int(key(*of)[:13], 16) / 16**13 < share


def says_of_pairs() -> dict[str, Says]:
    def side(case: Labelled, a_better: bool, a_first: bool) -> str:
        return "a_much_better" if a_better == a_first else "b_much_better"

    def oracle(case: Labelled, a_first: bool, seed: int) -> str:
        right = not by_chance(NOISE, "noise", case.case.question, case.place)
        return side(case, (case.label == "pass") == right, a_first)

    return {
        "always the first": lambda case, a_first, seed: "a_better",
        "the longer": lambda case, a_first, seed: side(case, case.size > 0, a_first) if case.size else "equal",
        "random": lambda case, a_first, seed: WORDS[int(key(case.place, seed)[:13], 16) % len(WORDS)],
        "labels, 20 % noise": oracle,
    }


def says_of_one(cases: Sequence[Labelled]) -> dict[str, Says]:
    def word(passes: bool) -> str:
        return "helpful" if passes else "unhelpful"

    median = statistics.median(case.size for case in cases)
    return {
        "always a pass": lambda case, a_first, seed: word(True),
        "the longer": lambda case, a_first, seed: word(case.size > median),
        "random": lambda case, a_first, seed: word(by_chance(0.5, case.place, seed)),
        "labels, 20 % noise": lambda case, a_first, seed: word(
            (case.label == "pass") != by_chance(NOISE, "noise", case.case.question, case.place)
        ),
    }


class Server:
    """Answers for the planted judge that is in `says`; what is shown tells it the case and the order."""

    def __init__(self) -> None:
        self.says: Says | None = None
        self.known: dict[str, tuple[Labelled, bool]] = {}
        self.url = ""

    def learn(self, judge: Judge | PairJudge, cases: Sequence[Labelled]) -> None:
        self.known = {}
        for case in cases:
            if isinstance(judge, PairJudge):
                assert isinstance(case.case, PairCase)
                for draw in range(judge.asked):
                    asked = judge.request_of(case.case, draw).messages[-1]["content"]
                    self.known[asked] = case, judge.a_first(case.case.pair_id, draw)
            else:
                assert isinstance(case.case, Case)
                for _, request in judge.requests(case.case):
                    self.known[request.messages[-1]["content"]] = case, True

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        case, a_first = self.known[body["messages"][-1]["content"]]
        assert self.says is not None
        said = {"analysis": "As planted.", "verdict": self.says(case, a_first, body["seed"])}
        if "own_answer" in json.dumps(body["structured_outputs"]):
            said = {"own_answer": "Mine.", **said}
        message = {"role": "assistant", "content": json.dumps(said)}
        usage = {"prompt_tokens": 500, "completion_tokens": 20}
        return web.json_response(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def run(self, ready: threading.Event) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes([web.post("/v1/chat/completions", self.complete), web.get("/v1/models", self.models)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await asyncio.sleep(3600)


def started() -> Server:
    server, ready = Server(), threading.Event()
    threading.Thread(target=lambda: asyncio.run(server.run(ready)), daemon=True).start()
    ready.wait()
    return server


# -- what is reported


def judge_of(ask: str, policy: Policy, **spec: Any) -> Judge | PairJudge:
    kind = PairJudge if ask == "preference" else Judge
    return kind(ask, JudgeSpec(ask=ask, engine="any", **spec), load_prompt(ask), [policy])


def reports(data: Path, count: int) -> Iterator[tuple[str, str, Report]]:
    """Of each set and planted judge what the calibration says."""
    server = started()
    engine = EndpointEngine(kind="endpoint", url=server.url, model="planted", max_in_flight=64, start_in_flight=64)
    for name, (ask, _, _) in SETS.items():
        judge = judge_of(ask, Policy.of(engine))
        cases, gold, left = labelled(data, name, judge, count)
        server.learn(judge, cases)
        listed = says_of_pairs() if isinstance(judge, PairJudge) else says_of_one(cases)
        print(f"{name}: {len(cases):,} cases, {left} rows left out", flush=True)
        for planted, says in listed.items():
            server.says = says
            yield name, planted, asked(judge, cases, gold)


def asked(judge: Judge | PairJudge, cases: Sequence[Labelled], gold: str) -> Report:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        return calibrate(judge, cases, gold, Path(folder) / "log")


# What has to be said of each planted judge.
REMARKS = {
    "always the first": "prefers what stands first",
    "always a pass": "says `helpful` of everything",
    "the longer": "prefers longer responses",
    "random": "agrees no better than chance",
}


def recognised(planted: str, report: Report) -> bool:
    """Whether the report says what the judge is; of the noisy labels their kappa, and nothing else."""
    found = report.agreement
    if planted in REMARKS:
        return any(remark.startswith(REMARKS[planted]) for remark in report.remarks)
    assert found.low is not None and found.high is not None
    return not report.remarks and found.low <= 1 - 2 * NOISE <= found.high


def by_sklearn(python: str, found: Sequence[Report]) -> list[tuple[float, float, float]]:
    given = [([c.label for c in r.cases], [o.outcome for o in r.opinions]) for r in found]
    done = subprocess.run([python, "-c", SKLEARN], input=json.dumps(given), capture_output=True, text=True, check=True)
    return [(kappa, low, high) for kappa, low, high in json.loads(done.stdout)]


def show(found: Sequence[tuple[str, str, Report]], python: str, model: str | None = None) -> None:
    told = by_sklearn(python, [report for *_, report in found])
    print("\n| set | judge | agrees | kappa, interval | scikit-learn | first wins | follows length | remarks |")
    print("|---|---|---:|---|---|---:|---:|---|")
    worst = 0.0
    for (name, planted, report), (kappa, low, high) in zip(found, told, strict=True):
        ours, figures = report.agreement, report.figures()
        span = "none" if ours.kappa is None else f"{ours.kappa:.4f}, {ours.low:.3f} to {ours.high:.3f}"
        worst = max(worst, abs((ours.kappa or 0.0) - kappa))
        shares = ("" if s is None else f"{s:.2f}" for s in (report.first_wins, report.follows_length))
        print(f"| {name} | {planted} | {figures['agreement']:.1%} | {span} | {kappa:.4f}, {low:.3f} to {high:.3f} "
              f"| {' | '.join(shares)} | {'; '.join(report.remarks) or 'none'} |")  # fmt: skip
    print(f"\nLargest difference from scikit-learn's kappa: {worst:.1e}.")
    if known := [recognised(planted, report) for _, planted, report in found if planted != model]:
        print(f"Recognised for what they are: {sum(known)} of {len(known)}.")


def coverage(times: int) -> None:
    """How often the interval holds the kappa that the cases' population has."""
    sizes, kappas = (50, 100, 200, 500, 1000), (0.0, 0.3, 0.6, 0.8, 0.95)
    print(
        f"\nHow often the 95 % interval of n cases holds the kappa of their population ({times:,} draws each; half of"
    )
    print("the labels are a pass, one verdict in twenty is none):\n")
    print("| kappa | " + " | ".join(f"n = {n:,}" for n in sizes) + " |\n|---:|" + "---:|" * len(sizes))
    chance = np.random.default_rng(3)
    for wanted in kappas:
        shares = population(wanted)
        true = kappa_of(shares)
        cells = []
        for n in sizes:
            inside = 0
            for seed, drawn in enumerate(chance.multinomial(n, shares.ravel(), size=times)):
                counts = {(a, b): int(drawn[3 * i + j]) for i, a in enumerate(OUTCOMES) for j, b in enumerate(OUTCOMES)}
                found = agreement(counts, seed)
                inside += found.low is not None and found.high is not None and found.low <= true <= found.high
            cells.append(f"{inside / times:.1%}")
        print(f"| {true:.2f} | {' | '.join(cells)} |", flush=True)


def population(kappa: float) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Shares of (label, told) where the judge is right so often that, over what is told, kappa is so much."""
    right = (1 + kappa) / 2
    none = 0.05 if kappa < 0.9 else 0.0
    return np.array([
        [0.5 * (1 - none) * right, 0.5 * (1 - none) * (1 - right), 0.5 * none],
        [0.5 * (1 - none) * (1 - right), 0.5 * (1 - none) * right, 0.5 * none],
        [0.0, 0.0, 0.0],
    ])  # fmt: skip


def kappa_of(shares: "np.ndarray[Any, np.dtype[np.float64]]") -> float:
    observed, expected = np.trace(shares), float(shares.sum(axis=1) @ shares.sum(axis=0))
    return float((observed - expected) / (1 - expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sklearn", required=True, help="an interpreter that has scikit-learn")
    parser.add_argument("--cases", type=int, default=1200, help="at most so many of each set")
    parser.add_argument("--draws", type=int, default=1000, help="for the coverage of the interval")
    parser.add_argument("--model", help="a real judge on the embedded engine, instead of the planted ones")
    given = parser.parse_args()
    if given.model:
        policy = Policy.of(EmbeddedEngine(kind="embedded", model=given.model))
        judge = judge_of("preference", policy, draws=2, max_tokens=160)
        found = []
        for name in ("polite or not (rasbt)",):
            cases, gold, _ = labelled(given.data, name, judge, given.cases)
            found.append((name, given.model, asked(judge, cases, gold)))
        show(found, given.sklearn, given.model)
    else:
        show(list(reports(given.data, given.cases)), given.sklearn)
        coverage(given.draws)


if __name__ == "__main__":
    main()
