"""A mix that asks for decontaminated rows, refused and then made by what the refusal says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from warehouse.snapshot import open_snapshot

Cli = Callable[..., Any]


@pytest.mark.slow
def test_what_the_refusal_says_makes_the_mix(cli: Cli, recipe: Any, scripted: Any, rows: Any, tmp_path: Path) -> None:
    items = [{"problem": f"Item {n} of the benchmark: what is {n} + {n} in a town of its own?"} for n in range(3)]
    (tmp_path / "town.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    path = recipe(scripted, snapshot={"decontaminated": ["town"]})
    value = json.loads(path.read_text())
    value["prompts"]["sums"]["prompts"][0] |= {"prompt": items[2]["problem"], "reference": "4"}
    path.write_text(json.dumps(value))
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 2
    assert "never held against a benchmark" in done.err
    asked = len(scripted.asked)

    said = re.search(r"add (\{check: .*?\}) to the `checks` of the reasoning step", done.err)
    assert said
    check = yaml.safe_load(said[1].replace("FILE", "town.jsonl"))
    value["steps"]["sample"]["checks"].append(check)
    path.write_text(json.dumps(value))
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 0, done
    assert len(scripted.asked) == asked, "no reply was asked for again"
    manifest = open_snapshot(tmp_path / "data", "sums-kept").manifest
    report = manifest.decontamination["town"]
    assert report.checked == manifest.rows + report.contaminated + sum(
        n for rule, n in manifest.counts["dropped"].items() if rule != "contaminated"
    )
    assert report.contaminated > 0
    assert report.versions == manifest.checks["contamination"]
    ((ident,),) = rows("SELECT min(trajectory_id) FROM trajectory_facts WHERE contamination = 'fail' "
                       "AND exact = 'pass' AND format = 'pass'")  # fmt: skip
    (tmp_path / "mix.yaml").write_text(json.dumps(manifest.mix))
    told = cli("explain", ident, "--mix", "mix.yaml", "--warehouse", "data").out
    assert "leaves it out (contaminated): it holds an item of a benchmark; the mix is decontaminated of town" in told
    told = cli("snapshot", "show", "sums-kept", "--warehouse", "data").out
    assert f"held against  town: {report.checked} candidates, {report.contaminated} contaminated" in told


def test_a_recipe_whose_mix_names_no_tokenizer_that_is_there_is_refused_before_it_runs(
    refused: Any, recipe: Any, scripted: Any
) -> None:
    path = recipe(scripted, snapshot={"chat_template": {"tokenizer": "nowhere"}})
    line = refused("run", path, "--warehouse", "data")
    assert line.startswith("ConfigError: chat_template.tokenizer: nowhere: there is no tokenizer_config.json in it")
    assert not scripted.asked
