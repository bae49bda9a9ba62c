"""The report is one page in which nothing that a model wrote is markup."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.mark.slow
def test_markup_from_models_and_prompts_is_shown_as_text(
    cli: Callable[..., Any], tmp_path: Path, scripted: Any, recipe: Any
) -> None:
    path = recipe(scripted, prompts=4)
    value = json.loads(path.read_text())
    value["description"] = ATTACK
    value["prompts"]["sums"]["prompts"].append({"prompt": f"{ATTACK} What is 1 + 1?", "reference": ATTACK,
                                                "verifier": "exact"})  # fmt: skip
    value["steps"]["sample"]["prompts"] = "sums"
    value["steps"]["report"] = {"kind": "report"}
    path.write_text(json.dumps(value))
    assert cli("run", path, "--warehouse", "data").code == 0
    page = (tmp_path / "data" / "reports" / "sums.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert "applicable = pass + fail + undecided + error + pending" in page
    assert "sums-kept@1" in page
    balance = page[page.index("<h2>Balance</h2>") : page.index("<h2>Snapshots</h2>")]
    assert balance.count("<svg") == 1
    assert "<td>reasoning</td><td>difficulty</td><td>" in balance
    assert "<th>effective_sources</th>" in balance

    (tmp_path / "data" / "reports" / "sums.html").touch()
    again = cli("run", path, "--warehouse", "data")
    assert "[3/3] report: nothing to do, " in again.out
    assert (tmp_path / "data" / "reports" / "sums.html").read_text(encoding="utf-8") == page


def test_the_picture_of_the_balance_takes_any_name() -> None:
    from dataengine.pictures import balance_shift

    rows = [
        {"stage": "reasoning", "dimension": "source", "value": name, "share": 0.5, "kept_share": 0.25}
        for name in ("costs $5 $x", "a_b^{", "<script>")
    ]
    picture = balance_shift(rows)
    assert picture.startswith("<svg")
    assert "<script" not in picture
