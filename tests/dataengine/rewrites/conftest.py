"""A scripted rewriter, which answers questions as the scripted server does, and a recipe of a chain of rewrites."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.keys import canonical_json
from tests.dataengine.conftest import ENOUGH_TOKENS, ScriptedServer, scripted_reply

_SHOWN = re.compile(r"<([a-z]+)-[0-9a-f]{12}>\n(.*?)\n</\1-[0-9a-f]{12}>", re.DOTALL)


def shown(body: dict[str, Any]) -> dict[str, str]:
    """The parts that a request shows."""
    return dict(_SHOWN.findall(body["messages"][-1]["content"]))


def scripted_rewriter(body: dict[str, Any]) -> tuple[str, str]:
    """Stands in for a strong model: mostly the same answer; sometimes another, another form, or a reply cut off."""
    system = body["messages"][0]["content"]
    if "What you are given stands between tags" not in system:
        return scripted_reply(body)
    parts = shown(body)
    chance = int(hashlib.sha256(canonical_json([body["messages"], body.get("seed")]).encode()).hexdigest(), 16) % 12
    result = re.findall(r"-?\d+", parts.get("summary") or parts["reasoning"])[-1]
    if chance == 7:
        result = str(int(result) + 1)
    if chance == 8:
        return f"Here you are: {result}", "stop"
    if chance == 9 and body["max_tokens"] < ENOUGH_TOKENS:
        return "<reasoning>\nI begin", "length"
    reply = ""
    if "<reasoning>" in system:
        reply += f"<reasoning>\nI put it in my own words and get {result}.\n</reasoning>\n"
    if "<summary>" in system:
        reply += f"<summary>\nThe result is {result}.\n<answer>{result}</answer>\n</summary>"
    return reply, "stop"


@pytest.fixture
def rewriter(scripted: ScriptedServer) -> ScriptedServer:
    """The scripted server with the scripted rewriter."""
    scripted.script = scripted_rewriter
    return scripted


REFINED: dict[str, Any] = {
    "kind": "rewrite", "rewrite": "refine", "of": ["sample"], "require": ["exact", "format"], "engine": "scripted",
    "stage": "cold_start", "max_tokens": 100, "checks": ["exact", "format", "same_answer"],
}  # fmt: skip
PERSONAL = {**REFINED, "rewrite": "first_person", "of": ["refined"], "require": ["exact", "format", "same_answer"]}


@pytest.fixture
def chain(recipe: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a recipe that samples sums, refines the right replies and puts those into the first person.

    `refined` and `personal` change these two steps (None leaves the second away), the rest is for the first.
    """

    def write(
        server: ScriptedServer,
        *,
        refined: dict[str, Any] | None = None,
        personal: dict[str, Any] | None = PERSONAL,
        **sample: Any,
    ) -> Path:
        path = recipe(server, **{"stage": "cold_start", **sample})
        value = json.loads(path.read_text())
        keep = value["steps"].pop("keep")
        value["steps"]["refined"] = {**REFINED, **(refined or {})}
        if personal is not None:
            value["steps"]["personal"] = {**PERSONAL, **personal}
            source = {"stage": "cold_start", "require": ["exact", "format", "same_answer"], "template": "think"}
            keep["mix"]["sources"] = [{**source, "where": "rewrite = 'first_person'"}]
            value["steps"]["keep"] = keep
        path.write_text(json.dumps(value, indent=1))
        return path

    return write
