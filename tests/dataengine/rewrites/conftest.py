"""A scripted rewriter, which answers questions like the scripted server, and a chain of rewrites that is made once."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dataengine.run import RunResult, run_recipe
from dataengine.shipped import load_recipe
from schemas.keys import canonical_json
from tests.dataengine.conftest import ENOUGH_TOKENS, SUMS, ScriptedServer, scripted_reply
from warehouse.connect import connect
from warehouse.views import names_in

_SHOWN = re.compile(r"<([a-z]+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>", re.DOTALL)


def is_rewrite(body: dict[str, Any]) -> bool:
    """Whether a request asks for a rewrite."""
    return "What you are given stands between tags" in body["messages"][0]["content"]


def shown(body: dict[str, Any]) -> dict[str, str]:
    """The parts that a request shows last."""
    asked = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return dict(_SHOWN.findall(asked[-1]))


def scripted_rewriter(body: dict[str, Any]) -> tuple[str, str]:
    """Stands in for a strong model: mostly the same answer; sometimes another, another form, or a reply cut off."""
    if not is_rewrite(body):
        return scripted_reply(body)
    system, parts = body["messages"][0]["content"], shown(body)
    chance = int(hashlib.sha256(canonical_json([body["messages"], body.get("seed")]).encode()).hexdigest(), 16) % 8
    result = re.findall(r"-?\d+", parts.get("summary") or parts["reasoning"])[-1]
    if chance == 5:
        result = str(int(result) + 1)
    if chance == 6:
        return f"<think>\nI rewrite it.\n</think>\nHere it is.\n<answer>{result}</answer>", "stop"
    if chance == 7 and body["max_tokens"] < ENOUGH_TOKENS:
        return "<reasoning>\nI begin", "length"
    reply = ""
    if "<reasoning>" in system:
        voice = "I say to myself" if "first person" in system else "In good order"
        reply += f"<reasoning>\n{voice}: the sum is {result}.\n</reasoning>\n"
    if "<summary>" in system:
        reply += f"<summary>\nThe result is {result}.\n<answer>{result}</answer>\n</summary>"
    return reply, "stop"


def chain_recipe(url: str, prompts: int = 12) -> dict[str, Any]:
    """Samples sums, refines the right replies, puts those that are still right into the first person."""
    listed = [{"prompt": f"What is {a} + {b}?", "reference": str(a + b), "verifier": "exact"} for a, b in SUMS]
    refined = {
        "kind": "rewrite", "rewrite": "refine", "of": ["sample"], "require": ["exact", "format"], "engine": "scripted",
        "stage": "cold_start", "max_tokens": 100, "checks": ["exact", "format", "same_answer"],
    }  # fmt: skip
    passed = ["exact", "format", "same_answer"]
    source = {"stage": "cold_start", "require": passed, "where": "rewrite = 'first_person'", "template": "think"}
    return {
        "recipe": "chain",
        "engines": {
            "scripted": {"kind": "endpoint", "url": url, "model": "scripted", "revision": "1", "retries": 1,
                         "backoff": 0.01, "max_in_flight": 8, "timeout": 20}
        },
        "prompts": {"sums": {"source": "inline", "name": "sums", "domain": "math", "prompts": listed[:prompts]}},
        "steps": {
            "sample": {"kind": "generate", "stage": "cold_start", "prompts": "sums", "engine": "scripted", "samples": 2,
                       "max_tokens": 100, "template": "think", "checks": ["exact", "format", "length"]},
            "refined": refined,
            "personal": {**refined, "rewrite": "first_person", "of": ["refined"], "require": passed},
            "keep": {"kind": "snapshot", "mix": {"mix": "chain", "sources": [source]}},
        },
    }  # fmt: skip


@dataclass
class Chain:
    """A chain of rewrites in a warehouse of its own, and the server that it asks."""

    server: ScriptedServer
    recipe: Path
    warehouse: Path
    said: list[str] = field(default_factory=list)

    def run(self, *settings: str) -> RunResult:
        """Runs the recipe with these settings; `said` and `server.asked` are of this run alone."""
        self.said.clear()
        self.server.asked.clear()
        recipe = load_recipe(str(self.recipe), settings)
        return run_recipe(recipe, self.warehouse, limit=None, say=self.said.append)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with connect(self.warehouse, only=names_in(sql)) as connection:
            return connection.execute(sql).fetchall()

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes the recipe's file."""
        value = json.loads(self.recipe.read_text())
        change(value)
        self.recipe.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The chain after its first run; not to be changed."""
    folder = tmp_path_factory.mktemp("chain")
    chain = Chain(ScriptedServer(reply=scripted_rewriter), folder / "chain.yaml", folder / "data")
    chain.recipe.write_text(json.dumps(chain_recipe(chain.server.url), indent=1))
    result = chain.run()
    assert (result.errors, result.balanced) == (0, True), chain.said
    yield chain
    chain.server.stop()


@pytest.fixture
def chain(made: Chain, tmp_path: Path) -> Iterator[Chain]:
    """A copy of the chain after its first run."""
    shutil.copytree(made.warehouse, tmp_path / "data")
    shutil.copy(made.recipe, tmp_path / "chain.yaml")
    made.server.fault = lambda body, before: None
    yield Chain(made.server, tmp_path / "chain.yaml", tmp_path / "data")
    made.server.fault = lambda body, before: None
    made.server.reply = scripted_rewriter
