"""`dataengine explain` says why a reply would not enter a mix, with the spans at fault, from real checks' verdicts."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataengine.explain import explain
from schemas.errors import SnapshotError
from schemas.mix import Mix

Cli = Callable[..., Any]

QUESTION = "A farmer sells seven baskets of apples in the morning and five baskets in the afternoon. How many are sold?"
PASSWORD = "kX9#vQ2!mPz7Lw"
CHINESE = "所以他在一天之内一共卖出了十二个篮子的苹果"
RIGHT = (
    "<think>\nThe farmer sells seven baskets first and five baskets later, so we have to add the two numbers, "
    "and the sum of seven and five is twelve.\n</think>\nThe farmer sells twelve baskets.\n<answer>12</answer>"
)
REPLIES = {
    "right": RIGHT,
    "again": RIGHT + "\n",
    "longer": RIGHT.replace("first", "before noon").replace("later", "after it, which is all we are told here"),
    "wrong": RIGHT.replace("12", "13"),
    "mixed": RIGHT.replace("\n</think>", f" {CHINESE}。\n</think>").replace("twelve baskets.", "a dozen of them."),
    "secret": RIGHT.replace("The farmer sells twelve", f"My password = {PASSWORD} and jo.miller@fastmail.com. Twelve"),
    "terminal": RIGHT.replace("The farmer sells twelve", "\x1b[31mRed\x1b[0m \u202eare twelve"),
    "quoting": RIGHT.replace("The farmer", "The river rises every spring and floods the meadows near the old mill. He"),
}
BENCHMARK = "The river rises every spring and floods the meadows near the old mill. How high does it rise?"
CHECKS = ("exact", "language_mix", "pii", "duplicate", "contamination")
MIX = {"mix": "apples", "sources": [{"stage": "reasoning", "require": ["exact", "duplicate"],
       "not_failed": ["language_mix", "pii"], "where": "length(text) < 2000 -- not too long"}]}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A warehouse with the replies above, `longer` again as `copied`, and `river`, checked; and their ids by name."""
    from dataengine.checking import load_checks, run_checks
    from dataengine.importing import import_file
    from schemas.recipe import CheckSpec, FileSource
    from warehouse.connect import connect
    from warehouse.store import Warehouse

    folder = tmp_path_factory.mktemp("explain")
    asked = {"prompt": QUESTION, "reference": "12", "verifier": "exact"}
    river = {
        "prompt": f"{BENCHMARK} Say a number.",
        "reference": "3",
        "verifier": "exact",
        "response": "<answer>3</answer>",
    }
    files = {"hand@1": [*({**asked, "response": text} for text in REPLIES.values()), river],
             "other@1": [{**asked, "response": REPLIES["longer"]}]}  # fmt: skip
    data = folder / "data"
    for policy, rows in files.items():
        file = folder / f"{policy}.jsonl"
        file.write_text("".join(json.dumps(r) + "\n" for r in rows))
        source = FileSource(source="file", path=str(file))
        assert import_file(data, source, "trajectories", stage="reasoning", policy=policy).added == len(rows)
    with connect(data) as connection:
        made = connection.execute("SELECT policy, text, trajectory_id FROM trajectories").fetchall()
    by_text = {text: ident for policy, text, ident in made if policy == "hand@1"}
    ids = {name: by_text[text] for name, text in REPLIES.items()} | {"river": by_text[river["response"]]}
    (ids["copied"],) = [ident for policy, _, ident in made if policy == "other@1"]
    (folder / "rivers.jsonl").write_text(json.dumps({"question": BENCHMARK, "answer": "#### 3"}) + "\n")
    params: dict[str, Any] = {"contamination": {"benchmarks": [str(folder / "rivers.jsonl")]}}
    checks = load_checks([CheckSpec(check=c, params=params.get(c, {})) for c in CHECKS])
    run_checks(Warehouse.open(data), "r", checks, list(ids.values()), "check")
    return data, ids


def mix_with(**settings: Any) -> Mix:
    return Mix.model_validate({**MIX, "sources": [{**MIX["sources"][0], **settings}]})  # type: ignore[index]


def told(place: tuple[Path, dict[str, str]], name: str, *mixes: Mix) -> str:
    data, ids = place
    return explain(data, ids[name], mixes)


def test_the_stretch_in_another_language_is_shown(place: tuple[Path, dict[str, str]]) -> None:
    text = told(place, "mixed")
    assert "not kept: language_mix (fail)" in text
    section = text[text.index("\nlanguage_mix: fail, language_mixed, score 0.") :]
    assert f"⟦{CHINESE}⟧" in section
    assert " zh  …" in section
    assert '"switches": ' in section


def test_what_pii_found_is_shown_and_secrets_are_masked_everywhere(place: tuple[Path, dict[str, str]]) -> None:
    text = told(place, "secret")
    assert "pii: fail, secret, score 2" in text
    assert "⟦jo.miller@fastmail.com⟧" in text
    assert "⟦kX9•••••••••••⟧" in text
    assert "password = kX9••" in text[: text.index("verdicts:")], "in the reply as well"
    assert PASSWORD not in text


def test_what_would_act_on_the_terminal_is_written_out(place: tuple[Path, dict[str, str]]) -> None:
    text = told(place, "terminal")
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\x1b[31mRed\\x1b[0m \\u202eare twelve" in text


def test_no_table_writes_model_text_as_it_is(cli: Cli, place: tuple[Path, dict[str, str]]) -> None:
    data, ids = place
    answered = cli(
        "sql", f"SELECT answer FROM trajectories WHERE trajectory_id = '{ids['terminal']}'", "--warehouse", data
    )
    assert "\\x1b[31mRed\\x1b[0m" in answered.out
    assert "\x1b" not in answered.out


def test_a_copy_names_the_one_that_stands_for_it(place: tuple[Path, dict[str, str]]) -> None:
    ids = place[1]
    text = told(place, "right") + told(place, "again")
    assert text.count("duplicate: fail, exact, score 1") == 1
    stands = [name for name in ("right", "again") if f"the one that stands for it: {ids[name]}" in text]
    assert len(stands) == 1


def test_benchmark_text_is_cut_from_where_it_stands(place: tuple[Path, dict[str, str]]) -> None:
    found = "The river rises every spring and floods the meadows near the old mill"
    text = told(place, "quoting")
    assert "contamination: fail, benchmark_item, score 0." in text
    assert f"% of it  <think> ⟦{found}⟧. He sells" in text
    text = told(place, "river")
    assert "0-92 of the prompt rivers rivers.jsonl:1 question 100% of it  ⟦The river rises" in text
    assert "How high does it rise⟧? Say a number." in text


def test_a_mix_names_each_condition_and_the_verdict_that_breaks_it(place: tuple[Path, dict[str, str]]) -> None:
    text = told(place, "mixed", mix_with())
    section = text[text.index("mix apples:") :]
    lines = section.splitlines()
    assert lines[1:5] == [
        "  source 1 of 1:",
        "    yes  stage: reasoning",
        "    yes  has a reply",
        "    yes  require: exact: pass, score 1",
    ]
    assert lines[6].startswith("    no   not_failed: language_mix: fail, language_mixed, score 0.")
    assert f" zh  …nd the sum of seven and five is twelve. ⟦{CHINESE}⟧。" in lines[7]
    assert "    yes  where: length(text) < 2000 -- not too long" in lines
    assert "  no source takes it" in lines

    text = told(place, "mixed", mix_with(thresholds={"language_mix": {"at_least": 0.3}}, where=None))
    assert "    yes  not_failed: language_mix at_least 0.3: fail, language_mixed, score 0." in text
    assert "  source 1 takes it, into the split train" in text

    text = told(place, "right", mix_with(where="length(text) < 10", stage="cold_start"))
    assert "    no   stage: cold_start\n" in text
    assert "    no   where: length(text) < 10\n" in text


@pytest.fixture(scope="module")
def capped(place: tuple[Path, dict[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Of two mixes with caps: mix -> reply -> the lines that say what becomes of it."""
    from dataengine.explain_mix import mix_of_trajectory
    from warehouse.connect import connect

    data, ids = place
    caps = {"few": {"max_per_prompt": 2}, "lot": {"max_rows": 3}}
    mixes = [
        mix_with(require=["exact"], not_failed=[], **settings).model_copy(update={"mix": name, "validation": 0.5})
        for name, settings in caps.items()
    ]
    with connect(data) as connection:
        return {
            mix.mix: {name: mix_of_trajectory(connection, mix, ident, {}, {}) for name, ident in ids.items()}
            for mix in mixes
        }


def test_a_mix_says_what_takes_the_place_of_a_reply_that_meets_all(
    place: tuple[Path, dict[str, str]], capped: dict[str, dict[str, list[str]]]
) -> None:
    ids = place[1]
    few = {name: lines[-1].strip() for name, lines in capped["few"].items()}
    assert few.pop("wrong") == "no source takes it"
    assert few.pop("river").startswith("source 1 takes it, into the split ")
    taken = {n for n, line in few.items() if line.startswith("source 1 takes it")}
    assert len(taken) == 2
    (copy,) = {n for n, line in few.items() if "(duplicate_reply)" in line}
    original = {"longer": "copied", "copied": "longer"}[copy]
    assert few[copy] == f"source 1 leaves it out (duplicate_reply): {ids[original][:12]} says the same"
    for name in few.keys() - taken - {copy}:
        before, _, chosen = few[name].rpartition(" chooses ")
        assert before == ("source 1 leaves it out (over_max_per_prompt): max_per_prompt is 2, and of this prompt it")
        assert set(chosen.split(", ")) == {ids[n][:12] for n in taken}


def test_a_mix_says_which_place_a_reply_has_by_lot(capped: dict[str, dict[str, list[str]]]) -> None:
    lines = [found[-1].strip() for found in capped["lot"].values()]
    assert sum(line.startswith("source 1 takes it") for line in lines) == 3
    of_lot = "source 1 leaves it out (over_max_rows): max_rows is 3, and its place by lot is "
    assert sorted(line.removeprefix(of_lot) for line in lines if line.startswith(of_lot)) == ["4", "5", "6", "7", "8"]


def test_a_reply_that_an_earlier_source_takes(place: tuple[Path, dict[str, str]]) -> None:
    sources = [
        {"stage": "reasoning", "require": ["exact"]},
        {"stage": "reasoning", "require": ["pii"], "where": "true"},
    ]
    text = told(place, "mixed", Mix.model_validate({"mix": "twice", "sources": sources}))
    assert "  source 1 takes it, into the split train" in text
    assert "  source 2 leaves it out (in_another_source): an earlier source takes it" in text


@pytest.mark.slow
def test_a_reply_over_the_target_of_its_source_or_without_an_allowed_licence(
    place: tuple[Path, dict[str, str]],
) -> None:
    source = {"stage": "reasoning", "require": ["exact"], "target": {"rows": 3}}
    mix = Mix.model_validate({"mix": "aimed", "sources": [source]})
    lines = [told(place, name, mix) for name in place[1]]
    assert sum("  source 1 takes it" in text for text in lines) == 3
    over = "  source 1 leaves it out (over_target): its target is reached before, since its place by lot is "
    places = [re.search(re.escape(over) + r"(\d+)", text) for text in lines]
    assert sorted(int(found[1]) for found in places if found) == [4, 5, 6, 7, 8]
    free = Mix.model_validate({"mix": "free", "licenses": ["MIT"], "sources": [{**source, "target": None}]})
    assert "  source 1 leaves it out (license): its prompt's licence is none of MIT" in told(place, "mixed", free)


def test_it_says_what_the_snapshot_then_does(
    place: tuple[Path, dict[str, str]], capped: dict[str, dict[str, list[str]]]
) -> None:
    from warehouse.connect import connect
    from warehouse.snapshot import create_snapshot

    data, ids = place
    mix = mix_with(require=["exact"], not_failed=[], max_per_prompt=2)
    snapshot, _ = create_snapshot(data, mix.model_copy(update={"mix": "few", "validation": 0.5}), {"plain": None})
    files = [str(f) for f in snapshot.data_files()]
    with connect(data) as connection:
        rows = connection.execute("SELECT trajectory_id, split FROM read_parquet(?)", [files]).fetchall()
    told_before = {
        ids[name]: lines[-1].rpartition(" ")[2]
        for name, lines in capped["few"].items()
        if lines[-1].startswith("  source 1 takes it, into the split ")
    }
    assert dict(rows) == told_before
    assert len(rows) == 3


def test_a_check_that_nobody_ran_is_named_and_a_wrong_condition_refused(place: tuple[Path, dict[str, str]]) -> None:
    text = told(place, "right", mix_with(require=["judge"]))
    assert "    no   require: judge: no verdict\n" in text
    assert "  no snapshot of it can be made here yet: no reply has a verdict of judge" in text
    for where in ("nosuch = 1", "count(*) > 0"):
        with pytest.raises(SnapshotError, match=f"mix apples: where: {re.escape(where)}: "):
            told(place, "right", mix_with(where=where))
    assert "yes  where: trajectory_facts.stage = 'reasoning'" in told(
        place, "right", mix_with(where="trajectory_facts.stage = 'reasoning'")
    )


def test_the_replies_of_a_prompt_have_a_line_each(cli: Cli, place: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data, ids = place
    (tmp_path / "apples.yaml").write_text(json.dumps(MIX))
    (tmp_path / "other.yaml").write_text(json.dumps({"mix": "m", "sources": [{"stage": "eval", "require": ["judge"]}]}))
    two = [*MIX["sources"], {"stage": "eval", "require": ["judge"]}]  # type: ignore[misc]
    (tmp_path / "two.yaml").write_text(json.dumps({"mix": "two", "sources": two}))
    of_river = explain(data, ids["river"]).partition("\nprompt ")[2][:64]
    prompt = explain(data, ids["right"]).partition("\nprompt ")[2][:64]
    assert prompt != of_river
    answered = cli("explain", prompt, "--warehouse", data, *(f"--mix={m}.yaml" for m in ("apples", "other", "two")))
    apples, _, others = answered.out.partition("mix apples:")[2].partition("mix m:")
    other, _, both = others.partition("mix two:")
    lines = {line[:12]: line.partition("reasoning")[2].strip() for line in apples.splitlines()}
    found = {name: lines[ident[:12]] for name, ident in ids.items() if name != "river"}
    assert found["wrong"] == "not met: exact" or found["wrong"] == "not met: exact, duplicate"
    assert found["mixed"] == "not met: language_mix"
    assert found["secret"] == "not met: pii"
    assert sorted([found["right"], found["again"]]) == ["not met: duplicate", "taken, train"]
    assert sorted([found["longer"], found["copied"]]) == ["not met: duplicate", "taken, train"]
    assert other.count("no source has its stage") == len(REPLIES) + 1
    assert both.count("meets every condition") == sum(line.startswith("taken") for line in found.values())
    assert "no snapshot of it can be made here yet: no reply has a verdict of judge" in both


def test_a_prompt_without_replies_and_a_mix(tmp_path: Path) -> None:
    from schemas.records import Message, Prompt
    from warehouse.store import Warehouse

    prompt = Prompt.make([Message(role="user", content="What is 1 + 1?")], domain="math", source="sums")
    Warehouse.open(tmp_path / "data", create=True).append("prompts", [prompt])
    text = explain(tmp_path / "data", prompt.prompt_id, [mix_with(require=["pii"], not_failed=[])])
    assert "0 trajectories:\n(no rows)" in text
    assert "mix apples:\n(no rows)\nno snapshot of it can be made here yet: no reply has a verdict of pii" in text


def test_a_mix_that_is_none_is_refused(refused: Any, place: tuple[Path, dict[str, str]]) -> None:
    data, ids = place
    assert refused("explain", ids["right"], "--warehouse", data, "--mix", "nosuch").startswith("ConfigError: nosuch: ")


@pytest.mark.slow
def test_a_mix_of_other_rows_says_what_becomes_of_each_and_its_snapshots_are_named(
    place: tuple[Path, dict[str, str]], cli: Cli, tmp_path: Path
) -> None:
    data, ids = place
    source = {"stage": "reasoning", "check": "exact"}
    asked_of = {
        "labels": [source],
        "prompts": [{"domain": "code"}, {"domain": "general"}],
        "pairs": [{"policy": "rule"}],
    }
    for rows, asked in asked_of.items():
        text = f"mix: of-{rows}\nrows: {rows}\nsources: {json.dumps(asked)}\n"
        (tmp_path / f"{rows}.yaml").write_text(text, encoding="utf-8")
    prompt = explain(data, ids["right"]).partition("\nprompt ")[2][:64]
    mixes = [f"--mix={tmp_path}/{rows}.yaml" for rows in ("pairs", "labels", "prompts")]
    for ident in (ids["right"], prompt):
        told = cli("explain", ident, "--warehouse", data, *mixes).out
        assert "mix of-pairs:\n  its rows are pairs, and there are none of this\n" in told
        assert f"  {prompt[:12]}  source 2 of 2 takes it, into the split train\n" in told
        assert f"  {ids['right'][:12]}  source 1 of 1 takes it, into the split train\n" in told
    assert "source 1 of 1 leaves it out (duplicate_reply)" in told
    for rows in ("labels", "prompts"):
        assert cli("snapshot", "create", tmp_path / f"{rows}.yaml", "--warehouse", data).code == 0
    told_of = {ident: explain(data, ident).rpartition("in snapshots:")[2] for ident in (ids["right"], prompt)}
    assert re.search(r"^of-labels@1 +train +1 +1 ", told_of[ids["right"]], re.MULTILINE)
    assert "of-prompts" not in told_of[ids["right"]], "a prompt set holds no reply"
    assert re.search(r"^of-prompts@1 +train +1 +1 ", told_of[prompt], re.MULTILINE)
    assert re.search(r"^of-labels@1 +train +7 +7 ", told_of[prompt], re.MULTILINE)
    shown = cli("snapshot", "show", "of-labels", "--warehouse", data).out
    assert re.search(r"^label +true \d+, false \d+$", shown, re.MULTILINE)
    assert '"rows": "labels"' in shown
