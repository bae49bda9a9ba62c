"""Programs in replies, found and run in real sandboxes."""

import json
from pathlib import Path
from typing import Any

import pytest

from dataengine.checks import Opinion, Sample
from dataengine.sources.files import prompts_of
from dataengine.verify import sandbox
from dataengine.verify.code import CodeCheck
from schemas.recipe import FileSource

why = sandbox.problem()
pytestmark = pytest.mark.skipif(why is not None, reason=f"no program can be run here: {why}")

ADD = {"entry_point": "add", "tests": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]}
GOOD = "def add(a, b):\n    return a + b\n"


def say(reply: str, verify: dict[str, Any] | None = None) -> Opinion:
    (opinion,) = CodeCheck()([Sample(text=reply, answer=reply.strip(), metadata={"verify": verify or ADD})])
    return opinion


@pytest.mark.parametrize(
    ("reply", "origin"),
    [
        (GOOD, "whole"),
        (f"Here:\n```python\n{GOOD}```\nDone.", "fence"),
        (f"Here:\n```\n{GOOD}```", "fence"),
        (f"First:\n```python\nprint(1)\n```\nthen\n~~~py\n{GOOD}~~~\nand run\n```bash\npython add.py\n```", "fence"),
        (f"```python\n{GOOD}```\nUsed so:\n```python\nprint(add(1, 2))\n```", "fence"),
        (f"<think>\n```python\ndef add(a, b): return 7\n```\n</think>\n```python\n{GOOD}```", "fence"),
        (f"It was cut off:\n```python\n{GOOD}", "fence"),
        (f"<answer>\n{GOOD}</answer>", "whole"),
        (f"This adds them.\n\n{GOOD}", "whole"),
    ],
)
def test_the_program_is_found_in_any_form(reply: str, origin: str) -> None:
    opinion = say(reply)
    assert (opinion.outcome, opinion.score, opinion.details["from"]) == ("pass", 1.0, origin), opinion


def test_the_body_alone_goes_on_from_the_prompt() -> None:
    verify = {**ADD, "prefix": 'import math\n\ndef add(a, b):\n    """Adds."""\n'}
    assert say("    return int(math.fsum((a, b)))\n", verify).outcome == "pass"
    assert say("```python\n    return a + b\n```", verify).outcome == "pass"
    assert say(f"```python\n{GOOD}```", verify).outcome == "pass"
    assert say("    return None\n", verify).reason == "wrong_answer"


def test_a_wrong_program_fails_with_its_reason_and_share() -> None:
    opinion = say("def add(a, b):\n    return 3")
    assert (opinion.outcome, opinion.score, opinion.reason) == ("fail", 0.5, "wrong_answer")
    assert opinion.details["passed"] == opinion.details["failed_at"] == 1
    assert say("def add(a, b):\n    return c").reason == "runtime_error"
    assert say("```python\ndef add(a, b:\n```").reason == "compile_error"


def test_what_cannot_be_told_is_undecided() -> None:
    assert say("I cannot do that.").reason == "no_answer"
    assert say(GOOD, {"tests": []}).reason == "no_reference"
    assert say(GOOD, {"tests": 7}).reason == "reference_not_usable"


def test_without_a_sandbox_it_is_an_error_and_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    opinion = say(GOOD)
    assert (opinion.outcome, opinion.reason) == ("error", "no_sandbox")
    assert "apt-get install bubblewrap" in str(opinion.details["message"])


def test_a_value_is_no_way_around_the_question() -> None:
    verify = {"preamble": "def f(x):\n    return x + [1]", "expression": "f([2]) == (ANSWER)", "literal": True}
    assert say("<answer>[2, 1]</answer>", verify).outcome == "pass"
    assert say("<answer>[2]</answer>", verify).outcome == "fail"
    assert say("<answer>f([2])</answer>", verify).reason == "no_value"
    backwards = {"preamble": verify["preamble"], "expression": "f(ANSWER) == ([2, 1])"}
    assert say("<answer>[2]</answer>", backwards).outcome == "pass"
    assert say("<answer>[1]) or ([1]</answer>", backwards).reason == "no_value"


def test_order_is_kept_whatever_the_number_of_workers() -> None:
    samples = [
        Sample(text=f"```python\ndef add(a, b):\n    return {n}\n```", metadata={"verify": ADD}) for n in (3, 4, 5) * 4
    ]
    found = [[o.score for o in CodeCheck(workers=n)(samples)] for n in (1, 3)]
    assert found[0] == found[1] == [0.5, 0.5, 0.0] * 4


def test_layouts_bring_their_tests(tmp_path: Path) -> None:
    rows = {
        "humaneval": {
            "task_id": "x/1",
            "prompt": "def add(a, b):\n",
            "test": "def check(f):\n    assert f(1, 2) == 3",
            "entry_point": "add",
        },
        "mbpp": {"text": "Add.", "test_list": ["assert add(two, 2) == 4"], "test_setup_code": "two = add(1, 1)"},
        "leetcode": {"task_id": "y", "prompt_sft": "Add.", "test": "s = Solution()\nassert s.add(1, 2) == 3"},
        "cruxeval": {"id": "z", "code": "def f(a, b):\n    return a + b", "input": "1, 2", "output": "3"},
        "cruxeval_input": {"id": "z", "code": "def f(a, b):\n    return a + b", "input": "1, 2", "output": "3"},
    }
    solution = "class Solution:\n    def add(self, a: int, b: int) -> Optional[int]:\n        return a + b"
    replies = {"humaneval": "    return a + b", "leetcode": solution, "cruxeval": "3", "cruxeval_input": "2, 1"}
    for layout, row in rows.items():
        file = tmp_path / f"{layout}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        (prompt,) = prompts_of(FileSource(source="file", path=str(file), layout=layout)).prompts
        assert (prompt.verifier, prompt.domain) == ("code", "code")
        reply = replies.get(layout, GOOD)
        opinion = say(reply, json.loads(prompt.metadata)["verify"])
        assert opinion.outcome == "pass", (layout, opinion)
