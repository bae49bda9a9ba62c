"""What the documents say is what the programs do."""

import doctest
import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_generated_pages_are_up_to_date() -> None:
    # In a process of its own: the pages are made for a fixed terminal.
    code = (
        "import runpy, json; g = runpy.run_path('docs/generate.py'); "
        "print(json.dumps({str(p): t for p, t in g['pages']().items()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for path, text in json.loads(done.stdout).items():
        assert Path(path).read_text(encoding="utf-8") == text, f"{path} is stale: run `make docs`"


def test_the_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    opening = text[: text.index("\n## ", text.index("\n## ") + 1)]
    assert opening.index("make demo") < opening.index("make test")


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert named and named <= targets


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_links_between_documents_lead_somewhere(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_every_reason_to_drop_a_generated_input_is_explained() -> None:
    from dataengine.verify.generated_tests import DROPPED

    text = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    table = text[text.index("| dropped |") : text.index("\n\n", text.index("| dropped |"))]
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(DROPPED)


def test_shipped_recipes_and_mixes_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataengine.runlog import recipe_checks
    from dataengine.shipped import load_mix, load_recipe, shipped, systems_of

    # Examples of rewrites are the user's.
    example = {"prompt": "1 + 1?", "response": "<think>We add.</think>2", "edited": "<think>I add.</think>2"}
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "first-person.jsonl").write_text(f"{json.dumps(example)}\n" * 4)
    monkeypatch.chdir(tmp_path)
    for name in shipped("recipes"):
        recipe = load_recipe(name)
        assert recipe.recipe == name and recipe_checks(recipe)
        assert all(load_mix(s.mix) for s in recipe.steps.values() if s.kind == "snapshot" and isinstance(s.mix, str))
    for name in shipped("mixes"):
        mix = load_mix(name)
        assert mix.mix == name
        assert systems_of(mix)


def test_mixes_in_the_page_about_them_are_valid() -> None:
    import yaml

    from schemas.mix import MixFile

    text = (ROOT / "docs" / "mixes.md").read_text(encoding="utf-8")
    shown = [
        yaml.safe_load(block) for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE) if "    mix: " in block
    ]
    assert [MixFile.model_validate(mix).root.rows for mix in shown] == [
        "samples",
        "samples",
        "samples",
        "pairs",
        "labels",
        "prompts",
    ]


def test_every_reason_to_leave_out_a_pair_is_explained() -> None:
    from warehouse.rows_pairs import PAIRS

    text = (ROOT / "docs" / "mixes.md").read_text(encoding="utf-8")
    table = text[text.index("| dropped |") : text.index("\n\n", text.index("| dropped |"))]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= set(PAIRS.dropped)


def test_exports_were_read_by_the_versions_that_are_named() -> None:
    text = (ROOT / "docs" / "mixes.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"\| (datasets|TRL|LLaMA-Factory|Axolotl) ([0-9.]+) \|", text))
    loaders = ROOT / "tests" / "warehouse" / "loaders"
    files = [ROOT / "constraints.txt", loaders / "llama_factory.txt", loaders / "axolotl.txt"]
    ours, factory, axolotl = (dict(re.findall(r"^(\w+)==(.+)$", file.read_text(), re.MULTILINE)) for file in files)
    assert named == {
        "datasets": ours["datasets"],
        "TRL": ours["trl"],
        "LLaMA-Factory": factory["llamafactory"],
        "Axolotl": axolotl["axolotl"],
    }


def test_no_prompt_of_the_demo_is_held_out_and_shown_or_trained_on() -> None:
    from dataengine.shipped import load_recipe
    from dataengine.sources.build import build

    recipe = load_recipe("laptop")
    held_out = build("heldout", recipe.prompts)
    ladder = build("ladder", recipe.prompts)
    assert not {p.prompt_id for p in held_out.prompts} & {p.prompt_id for p in ladder.prompts}
    shown = {d.question.strip() for ds in ladder.demonstrations.values() for d in ds}
    assert shown
    assert not shown & {p.messages[0].content for p in [*held_out.prompts, *ladder.prompts]}


WITH_EXAMPLES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for floor in ("schemas", "warehouse", "dataengine", "trainers")
    for path in (ROOT / floor).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def test_the_example_of_the_page_about_reviewing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.dataengine.made import Made
    from warehouse.connect import connect

    text = (ROOT / "docs" / "reviewing.md").read_text(encoding="utf-8")
    example = text[text.index("    from pathlib import Path\n") :]
    made = Made(tmp_path / "demo-data")
    made.reply("the one reply", stage="cold_start", checks={"exact": "pass"})
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(example), {})
    assert capsys.readouterr().out == "the one reply\n"
    with connect(made.path) as connection:
        found = connection.execute("SELECT reviewer, verdict, queue FROM reviews ORDER BY number").fetchall()
    assert found == [("ann", "approve", "second-look"), ("ann", "withdraw", "second-look")]
