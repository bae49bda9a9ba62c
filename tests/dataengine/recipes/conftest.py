"""A scripted server that plays every model of the R1 recipes, strong judge included, and the files they read."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from schemas.keys import key
from tests.dataengine.conftest import ScriptedServer
from tests.dataengine.rewrites.conftest import is_rewrite, shown
from tests.tiny_model import save_tiny_model

_PARTS = re.compile(r"<([a-z_]+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>", re.DOTALL)
_ENGLISH = (
    "I look at the numbers that the question gives me. I add them up one after the other, so that I get {}. "
    "Let me check this once more: when I take the second number away from the result, the first number is left."
)
_CHINESE = "我先看一下题目里给出的数字，然后把它们一个接一个地加起来，所以结果就是这个数。我再检查一遍，答案是正确的。"
# A word that marks what a judge is to find bad.
POOR = "poor"


def _chance(*parts: object) -> int:
    return int(hashlib.sha256(key(parts).encode()).hexdigest(), 16)


def scripted_model(body: dict[str, Any]) -> tuple[str, str]:
    """A reply of any of the models, from nothing but the request."""
    if "structured_outputs" in body:
        return json.dumps(_verdict(body)), "stop"
    if is_rewrite(body):
        return _rewrite(body), "stop"
    question = body["messages"][-1]["content"]
    found = re.search(r"\d+(?: \+ \d+)+", question)
    if found is None:
        return _chat(body, question), "stop"
    result = sum(map(int, found.group().split(" + ")))
    chance = _chance(body["messages"], body.get("seed"), body["model"]) % 6
    if chance == 0:
        result += 1
    # All replies to a question, or the shorter ones without would be taken.
    mixed = f" {_CHINESE}" if _chance(question) % 3 == 1 else ""
    return (
        f"<think>\n{_ENGLISH.format(result)}{mixed}\n</think>\nThe sum of both is {result}.\n<answer>{result}</answer>",
        "stop",
    )


def _chat(body: dict[str, Any], question: str) -> str:
    """Answers of two models are equally long; which of them is poor is drawn by the question."""
    poor = POOR if _chance(question) % 2 == (body["model"] == "chat") else "good"
    said = f"This is a {poor} answer to what was asked, written in plain English so that everybody can read it."
    if not body["messages"][0]["content"].startswith("Before you answer"):
        return said
    return f"<think>\nI think about what the user wants to know and how to say it in plain words.\n</think>\n{said}"


def _rewrite(body: dict[str, Any]) -> str:
    system, parts = body["messages"][0]["content"], shown(body)
    result = re.findall(r"-?\d+", parts.get("summary") or parts["reasoning"])[-1]
    if "what a person thinks in the moment" in system:
        return f"<reasoning>I see at once that both numbers together are {result}.</reasoning>"
    keeps = "" if "You translate" in system or _CHINESE not in parts.get("reasoning", "") else _CHINESE
    reasoning = f"<reasoning>{_ENGLISH.format(result)} {keeps}</reasoning>"
    if "You write the summary" in system:
        return f"<summary>Both numbers are added up, which gives \\boxed{{{result}}}.</summary>"
    if "<summary>" in system:
        return f"{reasoning}<summary>The sum is {result}.\n<answer>{result}</answer></summary>"
    return reasoning


def _verdict(body: dict[str, Any]) -> dict[str, str]:
    """A judge that is right: by the reference where there is one, else by the word that marks what is bad."""
    fields = body["structured_outputs"]["json"]["properties"]
    words, parts = fields["verdict"]["enum"], dict(_PARTS.findall(body["messages"][-1]["content"]))
    if "response_a" in parts:
        better = POOR not in parts["response_a"], POOR not in parts["response_b"]
        verdict = words[2] if better[0] == better[1] else words[0] if better[0] else words[-1]
        return {"own_answer": "An answer.", "analysis": "One of them is poor.", "verdict": verdict}
    right = POOR not in parts["response"]
    if "correct" in words:
        right = re.findall(r"<answer>(.*?)</answer>", parts["response"])[-1:] == [parts["reference"]]
    return {"analysis": "I compare.", "verdict": words[0] if right else words[-1]}


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _files(folder: Path) -> None:
    """What the recipes name: prompts, labels, examples, an SFT set."""
    sums = [(40 + 7 * i, 11 + i) for i in range(24)]
    asked = [{"prompt": f"What is {a} + {b}?", "reference": str(a + b)} for a, b in sums]
    prompts = folder / "prompts"
    for number, name in enumerate(("math", "code", "stem", "logic")):
        _lines(prompts / f"{name}.jsonl", asked[4 * number : 4 * number + 4])
    proofs = [{**row, "prompt": f"Show in words how much {row['prompt'][8:-1]} is."} for row in asked[16:18]]
    _lines(prompts / "open.jsonl", proofs)
    cold = [*asked[18:23], {"prompt": "3 + 4 = ?", "reference": "7"}]
    _lines(prompts / "cold-start.jsonl", [{**row, "domain": "math"} for row in cold])
    for name in ("writing", "identity", "translation", "role-play", "general", "software"):
        _lines(prompts / f"{name}.jsonl", [{"prompt": f"Please help me with {name}, case {i}."} for i in range(2)])
    # One that the rule finds, one that it does not and the judge does.
    known = [{"prompt": f"What is {r}?", "reference": r} for r in ("plain English", "something else")]
    _lines(prompts / "facts.jsonl", known)
    for name in ("helpfulness", "harmlessness"):
        _lines(prompts / f"{name}.jsonl", [{"prompt": f"A request about {name}, number {i}."} for i in range(8)])
    before, edited = "<think>\nWe add.\n</think>\n42", "<think>\nI add.\n</think>\n42"
    _lines(prompts / "first-person.jsonl", [{"prompt": "What is 40 + 2?", "response": before, "edited": edited}] * 4)

    labels, told = folder / "labels", [(i, i % 2 == 0) for i in range(40)]
    graded: list[dict[str, Any]] = [
        {"prompt": f"What is {i} + 1?", "reference": str(i + 1), "response": f"<answer>{i + right}</answer>"}
        | {"label": right}
        for i, right in told
    ]
    _lines(labels / "correctness.jsonl", graded)
    rated: list[dict[str, Any]] = [
        {"prompt": f"Question {i}?", "reference": "x", "response": f"a {'good' if right else POOR} answer"}
        | {"label": right}
        for i, right in told
    ]
    for name in ("helpfulness", "thought", "safety", "equivalence"):
        _lines(labels / f"{name}.jsonl", rated)
    compared = [{"chosen": f"a good answer {i}", "rejected": f"a {POOR} answer {i}"} for i, _ in told]
    _lines(labels / "preference.jsonl", [{"prompt": f"Question {i}?", **row} for i, row in enumerate(compared)])
    said = "Good evening! I am well, thank you, and glad to help you with your work."
    chat = [{"role": "user", "content": "Good evening, how are you?"}, {"role": "assistant", "content": said}]
    _lines(folder / "sft" / "chat.jsonl", [{"messages": chat}])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def full(scripted: ScriptedServer, tiny_model: Path, tmp_path: Path) -> list[str]:
    """Files in the test's folder, and the arguments that run `r1-full` on them; only what is trained is a model."""
    _files(tmp_path)
    scripted.reply = scripted_model
    shared = f'kind: endpoint, url: "{scripted.url}", revision: "1", backoff: 0.01, max_in_flight: 8'
    engines = [f"engines.{name}={{{shared}, model: {name}}}" for name in ("zero", "strong", "chat", "policy")]
    base = f"engines.base={{kind: embedded, model: {tiny_model}}}"
    trained = "steps.cold_sft.config={epochs: 1, batch_size: 8, max_length: 1024}"
    return ["r1-full", *engines, base, "steps.zero_samples.engine=zero", "steps.zero_samples.samples=4", trained]
